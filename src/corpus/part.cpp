#include "corpus/part.h"

#include <future>

#include "base/file.h"
#include "base/threads.h"
#include "corpus/pieces.h"
#include "formats/jsonl.h"

namespace bm {

namespace {

constexpr uint64_t kBatchBytes = 16ull << 20;
constexpr size_t kBatchArticles = 1024;

struct Processed {
  std::vector<ArticleOutcome> outcomes;
  std::vector<std::vector<std::vector<int32_t>>> sequences;  // [outcome][piece]
};

ArticleOutcome without_bytes(const RawArticle& raw) {
  ArticleOutcome out;
  out.source = out.id = raw.source;
  bool broken = !raw.problem.empty() && raw.is_article;
  out.status = broken ? ArticleStatus::broken : ArticleStatus::rejected;
  out.reason = raw.problem.empty() ? "no article by its name" : raw.problem;
  return out;
}

Processed process(RawArticle& raw, const PartWork& work) {
  Processed done;
  if (!raw.problem.empty() || !raw.is_article) {
    done.outcomes.push_back(without_bytes(raw));
  } else {
    done.outcomes = process_article(std::move(raw.bytes), raw.source, work.policy);
  }
  done.sequences.resize(done.outcomes.size());
  for (size_t i = 0; i < done.outcomes.size(); ++i) {
    const ArticleOutcome& outcome = done.outcomes[i];
    if (outcome.status != ArticleStatus::kept || !work.tokenizer) continue;
    for (std::string_view piece : cut_pieces(outcome.text, work.piece_words, work.switches.split_on_spaces))
      done.sequences[i].push_back(encode_piece(*work.tokenizer, piece, work.switches.parse_special));
  }
  return done;
}

Json ledger_line(const ArticleOutcome& outcome, const std::vector<std::vector<int32_t>>& sequences) {
  Json line = Json::object({{"ledger", outcome.ledger()}});
  if (outcome.status != ArticleStatus::kept) return line;
  Json lengths = Json::array();
  for (const auto& sequence : sequences) lengths.push_back(static_cast<int64_t>(sequence.size()));
  Json authors = Json::array();
  for (const std::string& author : outcome.authors) authors.push_back(author);
  line.set("kept", Json::object({{"key", outcome.content_key},
                                 {"id", outcome.id},
                                 {"lengths", std::move(lengths)},
                                 {"title", outcome.metadata.title},
                                 {"authors", std::move(authors)},
                                 {"doi", outcome.metadata.doi},
                                 {"journal", outcome.metadata.journal},
                                 {"year", outcome.metadata.year},
                                 {"language", outcome.metadata.language},
                                 {"article_type", outcome.metadata.article_type},
                                 {"licence", outcome.licence.name()},
                                 {"licence_url", outcome.licence.evidence.text},
                                 {"words", outcome.words}}));
  return line;
}

class PartWriter {
 public:
  static Result<PartWriter> create(const PartFiles& files) {
    BM_TRY(JsonlWriter ledger, JsonlWriter::create(files.ledger));
    BM_TRY(JsonlWriter records, JsonlWriter::create(files.records));
    BM_TRY(AtomicFile tokens, AtomicFile::create(files.tokens));
    return PartWriter(std::move(ledger), std::move(records), std::move(tokens));
  }
  Status write(const Processed& done) {
    for (size_t i = 0; i < done.outcomes.size(); ++i) {
      const ArticleOutcome& outcome = done.outcomes[i];
      BM_CHECK_OK(ledger_.write(ledger_line(outcome, done.sequences[i])));
      if (outcome.status != ArticleStatus::kept) continue;
      BM_CHECK_OK(records_.write_line(outcome.record().dump()));
      for (const auto& sequence : done.sequences[i])
        BM_CHECK_OK(tokens_.append(std::as_bytes(std::span(sequence))));
    }
    return {};
  }
  Status commit() {
    BM_CHECK_OK(records_.commit());
    BM_CHECK_OK(tokens_.commit());
    return ledger_.commit();
  }

 private:
  PartWriter(JsonlWriter ledger, JsonlWriter records, AtomicFile tokens)
      : ledger_(std::move(ledger)), records_(std::move(records)), tokens_(std::move(tokens)) {}
  JsonlWriter ledger_, records_;
  AtomicFile tokens_;
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
  return {name + ".ledger.jsonl", name + ".records.jsonl.zst", name + ".tokens"};
}

Result<int64_t> count_part(const PartFiles& files) {
  int64_t articles = 0;
  BM_TRY(JsonlReader reader, JsonlReader::open(files.ledger));
  Json line;
  while (true) {
    BM_TRY(bool more, reader.next(line));
    if (!more) return articles;
    articles += line["ledger"]["reason"] == Json("no article by its name") ? 0 : 1;
  }
}

Result<int64_t> make_part(const InputPart& input, const PartFiles& files, const PartWork& work,
                          Progress& progress, uint64_t bytes_before) {
  BM_TRY(PartWriter writer, PartWriter::create(files));
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
