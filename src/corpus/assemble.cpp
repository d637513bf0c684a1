#include "corpus/assemble.h"

#include <cstring>
#include <optional>

#include "base/file.h"
#include "corpus/fates.h"
#include "corpus/frames.h"
#include "corpus/statistics.h"
#include "formats/jsonl.h"

namespace bm {

namespace {

constexpr int kFinalLevel = 3;  // of Zstandard

Error cut_off(const std::string& what) {
  return failed("the " + what + " of a part are fewer than its ledger says",
                "Remove the output folder's parts and run again.");
}

// Where a licence's text stands, for the ones that have an address.
std::string licence_address(const std::string& name) {
  if (starts_with(name, "CC0")) return "https://creativecommons.org/publicdomain/zero/1.0/";
  if (!starts_with(name, "CC BY")) return "";
  std::string code, version;
  size_t space = name.find(' ', 3);
  code = name.substr(3, space == std::string::npos ? space : space - 3);
  for (char& c : code) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  version = space == std::string::npos ? "4.0" : name.substr(space + 1, 3);
  return "https://creativecommons.org/licenses/" + code + "/" + version + "/";
}

std::string attribution_line(const Json& mine) {
  std::string line, authors;
  const std::vector<Json>& names = mine["authors"].items();
  for (size_t i = 0; i < names.size() && i < 6; ++i) authors += (i ? ", " : "") + names[i].as_string();
  if (names.size() > 6) authors += " and " + std::to_string(names.size() - 6) + " others";
  if (!authors.empty()) line += authors + ". ";
  line += mine["title"].as_string() + ". " + mine["journal"].as_string();
  if (mine["year"].as_int()) line += " (" + std::to_string(mine["year"].as_int()) + ")";
  line += ". " + mine["id"].as_string();
  if (!mine["doi"].as_string().empty() && !(mine["doi"] == mine["id"]))
    line += ", https://doi.org/" + mine["doi"].as_string();
  line += ". Licence: " + mine["licence"].as_string();
  std::string address = licence_address(mine["licence"].as_string());
  return line + (address.empty() ? "" : ", " + address) + "\n";
}

constexpr std::string_view kAttributionHead =
    "The texts of this corpus are taken from the articles below. Changes: plain text was made of their XML; "
    "figures,\n"
    "cells of tables, citation marks and lists of literature were left out unless manifest.json says "
    "otherwise.\n\n";

class Assembler {
 public:
  Assembler(const AssembleWork& work, Fates fates)
      : work_(work), options_(work.options), fates_(std::move(fates)), counts_(work.benchmarks) {}

  Result<CorpusReport> run(const std::vector<PartFiles>& parts) {
    BM_CHECK_OK(open());
    for (const PartFiles& part : parts) BM_CHECK_OK(add_part(part));
    BM_TRY(PackingCounts packing, tokens_->commit());
    CorpusReport report;
    counts_.fill(report, packing);
    report.stats = counts_.json(options_, packing, work_.vocabulary_size);
    for (auto* lines : {&articles_, &filtered_})
      if (*lines) BM_CHECK_OK((*lines)->commit());
    for (auto* lines : {&held_out_, &contamination_})
      if (*lines) BM_CHECK_OK((*lines)->commit());
    BM_CHECK_OK(attribution_->commit());
    BM_CHECK_OK(ledger_->commit());
    BM_CHECK_OK(write_file_atomic(file("stats.json"), report.stats.dump_pretty() + "\n"));
    BM_CHECK_OK(write_file_atomic(file("README.md"), data_card(report.stats, options_, work_.common)));
    return report;
  }

 private:
  std::string file(const std::string& name) const { return path_join(options_.out, name); }

  template <class Writer>
  static Status take(std::optional<Writer>& place, Result<Writer> made) {
    if (!made.ok()) return made.error();
    place.emplace(std::move(made).value());
    return {};
  }

  Status open() {
    BM_CHECK_OK(take(ledger_, JsonlWriter::create(file("ledger.jsonl"))));
    BM_CHECK_OK(
        take(tokens_, SequencePacker::create(file("tokens"), work_.vocabulary_size, options_, work_.filler)));
    BM_CHECK_OK(take(attribution_, AtomicFile::create(file("ATTRIBUTION.txt"))));
    BM_CHECK_OK(attribution_->append(kAttributionHead));
    if (options_.holdout > 0 || options_.holdout_articles > 0)
      BM_CHECK_OK(take(held_out_, JsonlWriter::create(file("heldout.jsonl"))));
    if (!work_.benchmarks.empty())
      BM_CHECK_OK(take(contamination_, JsonlWriter::create(file("contamination.jsonl"))));
    if (!options_.filters.empty() || !options_.languages.empty())
      BM_CHECK_OK(take(filtered_, FrameWriter::create(file("filtered.jsonl.zst"), kFinalLevel)));
    return {};
  }

  Status add_part(const PartFiles& part) {
    BM_TRY(JsonlReader records, JsonlReader::open(part.records));
    BM_TRY(MappedFile ids, MappedFile::open(part.tokens));
    size_t offset = 0;
    std::string record;
    BM_CHECK_OK(for_each_jsonl(part.ledger, [&](const Json& line, uint64_t) -> Status {
      const Json& mine = line["kept"];
      if (mine.is_null()) {
        counts_.add_input(line["ledger"], nullptr);
        return ledger_->write(line["ledger"]);
      }
      BM_TRY(bool more, records.next_line(record));
      if (!more || next_ >= fates_.size()) return cut_off("records");
      return add_article(line["ledger"], mine, record, ids, offset);
    }));
    return filtered_ ? copy_filtered(part) : Status();
  }

  Status copy_filtered(const PartFiles& part) {
    BM_TRY(JsonlReader reader, JsonlReader::open(part.filtered));
    std::string line;
    while (true) {
      BM_TRY(bool more, reader.next_line(line));
      if (!more) return {};
      BM_CHECK_OK(filtered_->write_line(line));
    }
  }

  Status add_article(Json entry, const Json& mine, const std::string& record, const MappedFile& ids,
                     size_t& offset) {
    uint32_t number = next_++;
    Fate fate = fates_.of(number);
    BM_CHECK_OK(describe_fate(entry, mine, number, fate));
    counts_.add_input(entry, &fate);
    BM_CHECK_OK(ledger_->write(entry));
    if (mine.contains("items")) BM_CHECK_OK(report_items(entry, mine));
    BM_TRY(int64_t used, add_tokens(mine, ids, offset, fate == Fate::kept));
    if (fate == Fate::kept || fate == Fate::held_out)
      BM_CHECK_OK(attribution_->append(attribution_line(mine)));
    if (fate == Fate::held_out) return held_out_->write_line(record);
    if (fate != Fate::kept) return {};
    counts_.add_kept(mine, used);
    return add_record(record);
  }

  Status describe_fate(Json& entry, const Json& mine, uint32_t number, Fate fate) {
    if (fate == Fate::duplicate) {
      BM_TRY(std::string reason, fates_.duplicate_reason_of(number));
      entry.set("status", "duplicate");
      entry.set("reason", std::move(reason));
    }
    if (fate == Fate::contaminated) {
      const Json& first = mine["items"].items().front();
      size_t others = mine["items"].size() - 1;
      entry.set("status", "contaminated");
      entry.set("reason", "shares " + std::to_string(options_.decontamination_words) +
                              " words in a row with " + first["task"].as_string() + " " +
                              first["item"].as_string() +
                              (others ? " and " + std::to_string(others) + " other items" : std::string()) +
                              ": \"" + first["passage"].as_string() + "\"");
    }
    if (fate == Fate::held_out) entry.set("split", "heldout");
    return {};
  }

  // A line for each item an article holds, whatever became of the article.
  Status report_items(const Json& entry, const Json& mine) {
    counts_.add_items(mine["items"]);
    for (const Json& item : mine["items"].items())
      BM_CHECK_OK(contamination_->write(Json::object({{"article", mine["id"]},
                                                      {"source", entry["source"]},
                                                      {"status", entry["status"]},
                                                      {"task", item["task"]},
                                                      {"language", item["language"]},
                                                      {"item", item["item"]},
                                                      {"shared_runs", item["shared_runs"]},
                                                      {"runs_of_item", item["runs_of_item"]},
                                                      {"passage", item["passage"]}})));
    return {};
  }

  // Copies the article's sequences (or only steps over them); the number of tokens.
  Result<int64_t> add_tokens(const Json& mine, const MappedFile& ids, size_t& offset, bool keep) {
    lengths_.clear();
    size_t total = 0;
    for (const Json& length : mine["lengths"].items()) {
      lengths_.push_back(static_cast<size_t>(length.as_int()));
      total += lengths_.back();
    }
    if (offset + total * 4 > ids.size()) return cut_off("tokens");
    if (keep) {
      sequence_.resize(total);
      std::memcpy(sequence_.data(), ids.bytes().data() + offset, total * 4);
      BM_CHECK_OK(tokens_->add_article(sequence_, lengths_));
    }
    offset += total * 4;
    return static_cast<int64_t>(total);
  }

  Status add_record(const std::string& record) {
    if (articles_ && articles_->lines() >= static_cast<uint64_t>(options_.articles_per_file)) {
      BM_CHECK_OK(articles_->commit());
      articles_.reset();
    }
    if (!articles_) {
      std::string number = std::to_string(files_++);
      number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
      BM_CHECK_OK(
          take(articles_, FrameWriter::create(file("articles-" + number + ".jsonl.zst"), kFinalLevel)));
    }
    return articles_->write_line(record);
  }

  const AssembleWork& work_;
  const CorpusOptions& options_;
  Fates fates_;
  CorpusCounts counts_;
  std::optional<JsonlWriter> ledger_, held_out_, contamination_;
  std::optional<FrameWriter> articles_, filtered_;
  std::optional<SequencePacker> tokens_;
  std::optional<AtomicFile> attribution_;
  std::vector<int32_t> sequence_;
  std::vector<size_t> lengths_;
  uint32_t next_ = 0;
  int files_ = 0;
};

}  // namespace

Result<CorpusReport> assemble(const std::vector<PartFiles>& parts, const AssembleWork& work) {
  BM_TRY(Fates fates, Fates::decide(parts, work.options, work.switches));
  return Assembler(work, std::move(fates)).run(parts);
}

}  // namespace bm
