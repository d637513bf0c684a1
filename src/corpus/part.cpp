#include "corpus/part.h"

#include <future>

#include "base/file.h"
#include "base/threads.h"
#include "corpus/frames.h"
#include "corpus/pieces.h"
#include "formats/jsonl.h"

namespace bm {

namespace {

constexpr uint64_t kBatchBytes = 16ull << 20;
constexpr size_t kBatchArticles = 1024;

constexpr int kPartLevel = 1;  // of Zstandard: these files are read once and removed

// What one input leaves in the part's files, made by the thread that read it.
struct Processed {
  std::string ledger, tokens;                  // lines with their ends; bytes
  std::vector<std::string> records, filtered;  // lines
  std::vector<ArticleKeys> keys;
};

Json kept_line(const ArticleOutcome& outcome, Json lengths, const BenchmarkIndex* benchmarks) {
  Json authors = Json::array(), sections = Json::object();
  for (const std::string& author : outcome.authors) authors.push_back(author);
  for (const auto& [name, words] : outcome.sections) sections.set(name, words);
  Json kept = Json::object({{"id", outcome.id},
                            {"lengths", std::move(lengths)},
                            {"title", outcome.metadata.title},
                            {"authors", std::move(authors)},
                            {"doi", outcome.metadata.doi},
                            {"journal", outcome.metadata.journal},
                            {"year", outcome.metadata.year},
                            {"language", outcome.metadata.language},
                            {"article_type", outcome.metadata.article_type},
                            {"licence", outcome.licence.name()},
                            {"licence_where", outcome.licence.evidence.where},
                            {"sections", std::move(sections)},
                            {"words", outcome.words}});
  if (outcome.items.empty()) return kept;
  Json items = Json::array();
  for (const ItemMatch& match : outcome.items) {
    const BenchmarkIndex::ItemName& name = benchmarks->items()[match.item];
    items.push_back(Json::object({{"task", name.task},
                                  {"language", name.language},
                                  {"item", name.identifier},
                                  {"number", static_cast<int64_t>(match.item)},
                                  {"shared_runs", static_cast<int64_t>(match.shared)},
                                  {"runs_of_item", static_cast<int64_t>(match.of)},
                                  {"passage", match.passage}}));
  }
  kept.set("items", std::move(items));
  return kept;
}

// Tokens of one article, appended as bytes; the lengths of its sequences.
Json add_sequences(const ArticleOutcome& outcome, const PartWork& work, std::string& bytes) {
  Json lengths = Json::array();
  if (!work.tokenizer) return lengths;
  for (std::string_view piece : cut_pieces(outcome.text, work.piece_words, work.switches.split_on_spaces)) {
    std::vector<int32_t> ids = encode_piece(*work.tokenizer, piece, work.switches.parse_special);
    lengths.push_back(static_cast<int64_t>(ids.size()));
    bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
  }
  return lengths;
}

Processed process(RawArticle& raw, const PartWork& work) {
  std::vector<ArticleOutcome> outcomes;
  if (!raw.problem.empty() || !raw.is_article)
    outcomes.push_back(outcome_without_bytes(raw));
  else
    outcomes = process_article(std::move(raw.bytes), raw.source, work.policy);
  Processed done;
  for (ArticleOutcome& outcome : outcomes) {
    Json line = Json::object({{"ledger", outcome.ledger()}});
    if (outcome.status == ArticleStatus::kept) {
      outcome.keys.contaminated = work.switches.drop_contaminated && !outcome.items.empty() ? 1 : 0;
      Json lengths = add_sequences(outcome, work, done.tokens);
      line.set("kept", kept_line(outcome, std::move(lengths), work.policy.benchmarks));
      done.records.push_back(outcome.record().dump());
      done.keys.push_back(outcome.keys);
    } else if (outcome.filtered) {
      done.filtered.push_back(outcome.record().dump());
    }
    done.ledger += line.dump();
    done.ledger += '\n';
  }
  return done;
}

class PartWriter {
 public:
  static Result<PartWriter> create(const PartFiles& files, bool with_filtered) {
    BM_TRY(AtomicFile ledger, AtomicFile::create(files.ledger));
    BM_TRY(FrameWriter records, FrameWriter::create(files.records, kPartLevel));
    BM_TRY(AtomicFile tokens, AtomicFile::create(files.tokens));
    BM_TRY(AtomicFile keys, AtomicFile::create(files.keys));
    PartWriter writer(std::move(ledger), std::move(records), std::move(tokens), std::move(keys));
    if (with_filtered) {
      BM_TRY(FrameWriter filtered, FrameWriter::create(files.filtered, kPartLevel));
      writer.filtered_.emplace(std::move(filtered));
    }
    return writer;
  }
  Status write(const Processed& done) {
    BM_CHECK_OK(ledger_.append(done.ledger));
    for (const std::string& record : done.records) BM_CHECK_OK(records_.write_line(record));
    if (filtered_)
      for (const std::string& record : done.filtered) BM_CHECK_OK(filtered_->write_line(record));
    BM_CHECK_OK(tokens_.append(done.tokens));
    return keys_.append(std::as_bytes(std::span(done.keys)));
  }
  Status commit() {
    BM_CHECK_OK(records_.commit());
    if (filtered_) BM_CHECK_OK(filtered_->commit());
    BM_CHECK_OK(tokens_.commit());
    BM_CHECK_OK(keys_.commit());
    return ledger_.commit();
  }

 private:
  PartWriter(AtomicFile ledger, FrameWriter records, AtomicFile tokens, AtomicFile keys)
      : ledger_(std::move(ledger)),
        records_(std::move(records)),
        tokens_(std::move(tokens)),
        keys_(std::move(keys)) {}
  AtomicFile ledger_;
  FrameWriter records_;
  AtomicFile tokens_, keys_;
  std::optional<FrameWriter> filtered_;
};

// The next batch, cut at the limit. Reading runs ahead of the work on the batch before.
struct Batch {
  std::vector<RawArticle> articles;
  bool more = true;
};
Batch read_batch(PartReader& reader) {
  Batch batch;
  batch.more = reader.next(batch.articles, kBatchBytes, kBatchArticles);
  return batch;
}

}  // namespace

PartFiles part_files(const std::string& folder, size_t part) {
  std::string number = std::to_string(part);
  std::string name =
      path_join(folder, "part-" + std::string(number.size() < 5 ? 5 - number.size() : 0, '0') + number);
  return {name + ".ledger.jsonl", name + ".records.jsonl.zst", name + ".filtered.jsonl.zst", name + ".tokens",
          name + ".keys"};
}

bool PartFiles::complete() const {
  return exists(ledger) && exists(records) && exists(tokens) && exists(keys);
}

ArticleOutcome outcome_without_bytes(const RawArticle& raw) {
  ArticleOutcome out;
  out.source = out.id = raw.source;
  bool broken = !raw.problem.empty() && raw.is_article;
  out.status = broken ? ArticleStatus::broken : ArticleStatus::rejected;
  out.reason = raw.problem.empty() ? std::string(kNoArticle) : raw.problem;
  return out;
}

Result<int64_t> count_part(const PartFiles& files) {
  int64_t articles = 0;
  BM_TRY(JsonlReader reader, JsonlReader::open(files.ledger));
  Json line;
  while (true) {
    BM_TRY(bool more, reader.next(line));
    if (!more) return articles;
    articles += line["ledger"]["reason"] == Json(std::string(kNoArticle)) ? 0 : 1;
  }
}

Result<int64_t> make_part(const InputPart& input, const PartFiles& files, const PartWork& work,
                          Progress& progress, uint64_t bytes_before) {
  bool with_filtered = !work.policy.filters.empty() || !work.policy.languages.empty();
  BM_TRY(PartWriter writer, PartWriter::create(files, with_filtered));
  PartReader reader(input, work.policy.max_bytes ? work.policy.max_bytes : uint64_t{1} << 30);
  int64_t articles = 0;
  Batch batch = read_batch(reader);
  while (true) {
    std::future<Batch> ahead;
    if (batch.more) ahead = std::async(std::launch::async, [&reader] { return read_batch(reader); });
    size_t take = 0;
    for (; take < batch.articles.size(); ++take) {
      const RawArticle& raw = batch.articles[take];
      bool counts = raw.is_article && !raw.is_container;
      if (counts && work.limit >= 0 && articles >= work.limit) break;
      articles += counts ? 1 : 0;
    }
    std::vector<Processed> done(take);
    parallel_for(take, [&](size_t i) { done[i] = process(batch.articles[i], work); });
    for (const Processed& one : done) BM_CHECK_OK(writer.write(one));
    bool cut = take < batch.articles.size();
    bool more = batch.more && !cut;
    if (ahead.valid()) batch = ahead.get();
    progress.set_done(bytes_before +
                      static_cast<uint64_t>(reader.share_read() * static_cast<double>(input.bytes)));
    if (!more) break;
    if (stop_requested()) return interrupted_error("corpus build");
  }
  BM_CHECK_OK(writer.commit());
  return articles;
}

}  // namespace bm
