#include "corpus/assemble.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/file.h"
#include "base/hash.h"
#include "formats/jsonl.h"
#include "formats/megatron.h"

namespace bm {

namespace {

enum class Fate : uint8_t { not_kept, kept, duplicate, held_out };

// Decisions of the first look at the ledgers: 1 byte an input, 32 bytes an article kept so far.
struct Decisions {
  std::vector<Fate> fates;
  std::unordered_map<uint32_t, uint32_t> first_of;  // duplicate → the article it repeats
  std::unordered_map<uint32_t, std::string> names;  // of those that are repeated
};

Status for_each_line(const std::vector<PartFiles>& parts,
                     const std::function<Status(const Json&)>& function) {
  for (const PartFiles& part : parts)
    BM_CHECK_OK(for_each_jsonl(part.ledger, [&](const Json& line, uint64_t) { return function(line); }));
  return {};
}

// Which kept articles are held out: by a hash of their id, so that the choice does not move when others come
// or go.
void hold_out(Decisions& decisions, const std::vector<std::pair<uint64_t, uint32_t>>& kept,
              const CorpusOptions& options) {
  if (options.holdout > 0) {
    auto limit = static_cast<uint64_t>(options.holdout * 18446744073709549568.0);
    for (auto [hash, index] : kept)
      if (hash < limit) decisions.fates[index] = Fate::held_out;
    return;
  }
  std::vector<std::pair<uint64_t, uint32_t>> order = kept;
  size_t count = std::min(order.size(), static_cast<size_t>(options.holdout_articles));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end());
  for (size_t i = 0; i < count; ++i) decisions.fates[order[i].second] = Fate::held_out;
}

Result<Decisions> decide(const std::vector<PartFiles>& parts, const CorpusOptions& options, uint64_t seed) {
  Decisions decisions;
  std::unordered_map<uint64_t, uint32_t> by_text, by_id;
  std::vector<std::pair<uint64_t, uint32_t>> kept;
  bool exact = options.duplicates == "exact";
  BM_CHECK_OK(for_each_line(parts, [&](const Json& line) -> Status {
    auto index = static_cast<uint32_t>(decisions.fates.size());
    const Json& mine = line["kept"];
    if (mine.is_null()) {
      decisions.fates.push_back(Fate::not_kept);
      return {};
    }
    uint64_t text = hash64(mine["key"].as_string()), id = hash64(mine["id"].as_string(), 1);
    auto same_text = by_text.find(text), same_id = by_id.find(id);
    bool repeats_text = exact && same_text != by_text.end(), repeats_id = exact && same_id != by_id.end();
    if (repeats_text || repeats_id) {
      uint32_t first = repeats_text ? same_text->second : same_id->second;
      decisions.fates.push_back(Fate::duplicate);
      decisions.first_of[index] = first;
      decisions.names[first];
      return {};
    }
    decisions.fates.push_back(Fate::kept);
    by_text.emplace(text, index);
    by_id.emplace(id, index);
    kept.emplace_back(hash64(mine["id"].as_string(), seed ^ 0x686F6C646F7574ull), index);
    return {};
  }));
  hold_out(decisions, kept, options);
  return decisions;
}

// Counts by a property: articles, words, tokens.
struct Tally {
  int64_t articles = 0, words = 0, tokens = 0;
};
using Tallies = std::map<std::string, Tally>;

Json tallies_json(const Tallies& tallies) {
  std::vector<std::pair<std::string, Tally>> order(tallies.begin(), tallies.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second.tokens > b.second.tokens; });
  Json out = Json::object();
  for (const auto& [name, tally] : order)
    out.set(name,
            Json::object({{"articles", tally.articles}, {"words", tally.words}, {"tokens", tally.tokens}}));
  return out;
}

class Assembler {
 public:
  Assembler(const CorpusOptions& options, int64_t vocabulary_size)
      : options_(options), vocabulary_size_(vocabulary_size) {}

  Result<CorpusReport> run(const std::vector<PartFiles>& parts, Decisions decisions) {
    decisions_ = std::move(decisions);
    BM_TRY(JsonlWriter ledger, JsonlWriter::create(file("ledger.jsonl")));
    BM_TRY(MegatronWriter tokens, MegatronWriter::create(file("tokens"), vocabulary_size_));
    BM_TRY(AtomicFile attribution, AtomicFile::create(file("ATTRIBUTION.txt")));
    BM_CHECK_OK(attribution.append("The texts of this corpus are taken from these articles:\n\n"));
    std::optional<JsonlWriter> held_out;
    if (options_.holdout > 0 || options_.holdout_articles > 0) {
      BM_TRY(JsonlWriter writer, JsonlWriter::create(file("heldout.jsonl")));
      held_out.emplace(std::move(writer));
    }
    for (const PartFiles& part : parts) BM_CHECK_OK(add_part(part, ledger, tokens, attribution, held_out));
    if (articles_) BM_CHECK_OK(articles_->commit());
    report_.tokens = tokens.tokens();
    report_.blocks = report_.tokens / static_cast<uint64_t>(options_.sequence_length);
    report_.dropped_tokens = report_.tokens % static_cast<uint64_t>(options_.sequence_length);
    report_.stats = stats(tokens.sequences());
    if (held_out) BM_CHECK_OK(held_out->commit());
    BM_CHECK_OK(attribution.commit());
    BM_CHECK_OK(tokens.commit());
    BM_CHECK_OK(ledger.commit());
    BM_CHECK_OK(write_file_atomic(file("stats.json"), report_.stats.dump_pretty() + "\n"));
    return std::move(report_);
  }

 private:
  std::string file(const std::string& name) const { return path_join(options_.out, name); }

  Status add_part(const PartFiles& part, JsonlWriter& ledger, MegatronWriter& tokens, AtomicFile& attribution,
                  std::optional<JsonlWriter>& held_out) {
    BM_TRY(JsonlReader records, JsonlReader::open(part.records));
    BM_TRY(MappedFile ids, MappedFile::open(part.tokens));
    size_t offset = 0;
    std::string record;
    return for_each_jsonl(part.ledger, [&](const Json& line, uint64_t) -> Status {
      uint32_t index = next_++;
      Fate fate = decisions_.fates[index];
      const Json& mine = line["kept"];
      Json entry = line["ledger"];
      if (!mine.is_null()) {
        BM_TRY(bool more, records.next_line(record));
        if (!more)
          return failed("the records of a part are fewer than its ledger says",
                        "Remove the output folder's parts and run again.");
      }
      if (auto name = decisions_.names.find(index); name != decisions_.names.end())
        name->second = entry["source"].as_string();
      count(fate, entry);
      if (fate == Fate::duplicate) {
        entry.set("status", "duplicate");
        entry.set("reason", "same text or id as " + decisions_.names[decisions_.first_of[index]]);
      }
      if (fate == Fate::held_out) entry.set("split", "heldout");
      BM_CHECK_OK(ledger.write(entry));
      BM_TRY(int64_t used, add_tokens(mine, ids, offset, fate == Fate::kept ? &tokens : nullptr));
      if (fate == Fate::kept || fate == Fate::held_out)
        BM_CHECK_OK(attribution.append(attribution_line(mine)));
      if (fate == Fate::held_out) return held_out->write_line(record);
      if (fate != Fate::kept) return {};
      tally(mine, used);
      return add_record(record);
    });
  }

  // Copies the article's sequences (or only steps over them); the number of tokens.
  Result<int64_t> add_tokens(const Json& mine, const MappedFile& ids, size_t& offset,
                             MegatronWriter* tokens) {
    int64_t total = 0;
    if (mine.is_null()) return total;
    for (const Json& length : mine["lengths"].items()) {
      auto count = static_cast<size_t>(length.as_int());
      if (offset + count * 4 > ids.size())
        return failed("the tokens of a part are cut off", "Remove the output folder's parts and run again.");
      if (tokens) {
        sequence_.resize(count);
        std::memcpy(sequence_.data(), ids.bytes().data() + offset, count * 4);
        BM_CHECK_OK(tokens->add_sequence(sequence_));
      }
      offset += count * 4;
      total += length.as_int();
    }
    if (tokens) tokens->end_document();
    return total;
  }

  Status add_record(const std::string& record) {
    if (articles_ && articles_->lines() >= static_cast<uint64_t>(options_.articles_per_file)) {
      BM_CHECK_OK(articles_->commit());
      articles_.reset();
    }
    if (!articles_) {
      std::string number = std::to_string(files_++);
      number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
      BM_TRY(JsonlWriter writer, JsonlWriter::create(file("articles-" + number + ".jsonl.zst")));
      articles_.emplace(std::move(writer));
    }
    return articles_->write_line(record);
  }

  static std::string attribution_line(const Json& mine) {
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
    return line + ". Licence: " + mine["licence"].as_string() + "\n";
  }

  void count(Fate fate, const Json& entry) {
    const std::string& status = entry["status"].as_string();
    if (entry["reason"] == Json("no article by its name")) {
      ++report_.other_files;
      return;
    }
    ++report_.articles;
    if (fate == Fate::duplicate)
      ++report_.duplicates;
    else if (fate == Fate::held_out)
      ++report_.held_out;
    else if (status == "kept")
      ++report_.kept;
    else if (status == "broken")
      ++report_.broken;
    else
      ++report_.rejected;
    if (status == "rejected")
      ++rejections_[entry["reason"].as_string().substr(0,
                                                       entry["reason"].as_string().find(" (contradictory"))];
  }

  void tally(const Json& mine, int64_t tokens) {
    auto add = [&](Tallies& tallies, const std::string& name) {
      Tally& one = tallies[name.empty() ? "not said" : name];
      ++one.articles;
      one.words += mine["words"].as_int();
      one.tokens += tokens;
    };
    words_ += mine["words"].as_int();
    add(licences_, mine["licence"].as_string());
    add(journals_, mine["journal"].as_string());
    add(years_, mine["year"].as_int() ? std::to_string(mine["year"].as_int()) : "");
    add(languages_, mine["language"].as_string());
    add(types_, mine["article_type"].as_string());
  }

  Json stats(uint64_t sequences) const {
    Json rejections = Json::object();
    for (const auto& [reason, number] : rejections_) rejections.set(reason, number);
    return Json::object({{"articles", Json::object({{"read", report_.articles},
                                                    {"kept", report_.kept},
                                                    {"held_out", report_.held_out},
                                                    {"rejected", report_.rejected},
                                                    {"broken", report_.broken},
                                                    {"duplicate", report_.duplicates},
                                                    {"other_files", report_.other_files}})},
                         {"rejected_for", std::move(rejections)},
                         {"words", words_},
                         {"tokens", report_.tokens},
                         {"sequences", sequences},
                         {"documents", report_.kept},
                         {"vocabulary_size", vocabulary_size_},
                         {"packing", Json::object({{"sequence_length", options_.sequence_length},
                                                   {"blocks", report_.blocks},
                                                   {"dropped_tokens", report_.dropped_tokens}})},
                         {"licenses", tallies_json(licences_)},
                         {"languages", tallies_json(languages_)},
                         {"article_types", tallies_json(types_)},
                         {"years", tallies_json(years_)},
                         {"journals", tallies_json(journals_)}});
  }

  const CorpusOptions& options_;
  int64_t vocabulary_size_;
  Decisions decisions_;
  CorpusReport report_;
  std::optional<JsonlWriter> articles_;
  std::vector<int32_t> sequence_;
  std::map<std::string, int64_t> rejections_;
  Tallies licences_, journals_, years_, languages_, types_;
  int64_t words_ = 0;
  uint32_t next_ = 0;
  int files_ = 0;
};

}  // namespace

Result<CorpusReport> assemble(const std::vector<PartFiles>& parts, const CorpusOptions& options,
                              int64_t vocabulary_size, uint64_t seed) {
  BM_TRY(Decisions decisions, decide(parts, options, seed));
  return Assembler(options, vocabulary_size).run(parts, std::move(decisions));
}

}  // namespace bm
