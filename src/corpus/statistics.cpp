#include "corpus/statistics.h"

#include <algorithm>

#include "base/file.h"

namespace bm {

namespace {

// The rule a rejection falls under, without the article's own figures.
std::string rule_of(const std::string& reason) {
  std::string rule = reason.substr(0, reason.find(" (contradictory"));
  if (starts_with(rule, "filter ")) return rule.substr(0, rule.find(':'));
  size_t words = rule.find(" words, fewer");
  return words != std::string::npos ? "fewer than --min-words" : rule;
}

std::string task_name(const BenchmarkIndex::ItemName& item) {
  return item.language == "en" ? item.task : item.task + "." + item.language;
}

}  // namespace

void CorpusCounts::add_input(const Json& entry, const Fate* fate) {
  const std::string& status = entry["status"].as_string();
  const std::string& reason = entry["reason"].as_string();
  if (reason == kNoArticle) {
    ++other_files_;
    return;
  }
  ++read_;
  if (entry.contains("license_conflict")) ++conflicts_;
  if (fate && *fate == Fate::held_out) {
    ++held_out_;
  } else if (status == "kept") {
    ++kept_;
  } else if (status == "duplicate") {
    ++(starts_with(reason, "same ") ? exact_ : near_);
  } else if (status == "contaminated") {
    ++contaminated_;
  } else if (status == "broken") {
    ++broken_;
  } else {
    ++rejected_;
    ++rejections_[rule_of(reason)];
  }
}

void CorpusCounts::add_kept(const Json& mine, int64_t tokens) {
  int64_t words = mine["words"].as_int();
  words_ += words;
  auto add = [&](Tallies& tallies, const std::string& name) {
    Tally& one = tallies[name.empty() ? "not said" : name];
    ++one.articles;
    one.words += words;
    one.tokens += tokens;
  };
  add(licences_, mine["licence"].as_string());
  add(journals_, mine["journal"].as_string());
  add(years_, mine["year"].as_int() ? std::to_string(mine["year"].as_int()) : "");
  add(languages_, mine["language"].as_string());
  add(types_, mine["article_type"].as_string());
  // A piece may hold several sections: tokens are shared out by words, rounded so that they add up.
  int64_t words_before = 0, tokens_before = 0;
  for (const Json::Member& section : mine["sections"].members()) {
    int64_t own = section.second.as_int();
    words_before += own;
    int64_t until = words > 0 ? tokens * std::min(words_before, words) / words : 0;
    Tally& one = sections_[section.first];
    ++one.articles;
    one.words += own;
    one.tokens += until - tokens_before;
    tokens_before = until;
  }
}

void CorpusCounts::add_items(const Json& items) {
  std::vector<std::string> tasks;
  for (const Json& item : items.items()) {
    auto number = static_cast<size_t>(item["number"].as_int());
    if (number >= met_.size()) continue;
    met_[number] = true;
    std::string task = task_name(benchmarks_.items()[number]);
    if (std::find(tasks.begin(), tasks.end(), task) == tasks.end()) tasks.push_back(task);
  }
  for (const std::string& task : tasks) ++task_articles_[task];
}

Json CorpusCounts::tallies_json(const Tallies& tallies) {
  std::vector<std::pair<std::string, Tally>> order(tallies.begin(), tallies.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second.tokens > b.second.tokens; });
  Json out = Json::object();
  for (const auto& [name, tally] : order)
    out.set(name,
            Json::object({{"articles", tally.articles}, {"words", tally.words}, {"tokens", tally.tokens}}));
  return out;
}

Json CorpusCounts::benchmarks_json() const {
  struct Sum {
    int64_t items = 0, searchable = 0, met = 0;
  };
  std::map<std::string, Sum> sums;
  const auto& items = benchmarks_.items();
  for (size_t i = 0; i < items.size(); ++i) {
    Sum& sum = sums[task_name(items[i])];
    ++sum.items;
    sum.searchable += items[i].runs > 0 ? 1 : 0;
    sum.met += met_[i] ? 1 : 0;
  }
  Json out = Json::object();
  for (const auto& [task, sum] : sums) {
    auto articles = task_articles_.find(task);
    out.set(task,
            Json::object({{"items", sum.items},
                          {"long_enough_to_be_found", sum.searchable},
                          {"items_met", sum.met},
                          {"share_met", static_cast<double>(sum.met) / static_cast<double>(sum.items)},
                          {"articles", articles == task_articles_.end() ? int64_t{0} : articles->second}}));
  }
  return out;
}

void CorpusCounts::fill(CorpusReport& report, const PackingCounts& packing) const {
  report.articles = read_;
  report.kept = kept_;
  report.held_out = held_out_;
  report.rejected = rejected_;
  report.broken = broken_;
  report.duplicates = exact_ + near_;
  report.contaminated = contaminated_;
  report.other_files = other_files_;
  report.tokens = packing.tokens;
  report.blocks = packing.blocks;
  report.dropped_tokens = packing.dropped;
}

Json CorpusCounts::json(const CorpusOptions& options, const PackingCounts& packing,
                        int64_t vocabulary) const {
  Json rejections = Json::object();
  for (const auto& [reason, number] : rejections_) rejections.set(reason, number);
  Json out = Json::object({{"articles", Json::object({{"read", read_},
                                                      {"kept", kept_},
                                                      {"held_out", held_out_},
                                                      {"rejected", rejected_},
                                                      {"broken", broken_},
                                                      {"duplicate", exact_ + near_},
                                                      {"contaminated", contaminated_},
                                                      {"other_files", other_files_}})},
                           {"rejected_for", std::move(rejections)},
                           {"duplicates", Json::object({{"exact", exact_}, {"near", near_}})},
                           {"license_conflicts", conflicts_},
                           {"words", words_},
                           {"tokens", packing.tokens},
                           {"sequences", packing.sequences},
                           {"documents", kept_},
                           {"vocabulary_size", vocabulary},
                           {"packing", Json::object({{"packing", options.packing},
                                                     {"sequence_length", options.sequence_length},
                                                     {"blocks", packing.blocks},
                                                     {"dropped_tokens", packing.dropped},
                                                     {"filling_tokens", packing.filling},
                                                     {"cut_articles", packing.cut_articles}})},
                           {"licenses", tallies_json(licences_)},
                           {"languages", tallies_json(languages_)},
                           {"sections", tallies_json(sections_)},
                           {"article_types", tallies_json(types_)},
                           {"years", tallies_json(years_)},
                           {"journals", tallies_json(journals_)}});
  if (!benchmarks_.empty()) out.set("benchmarks", benchmarks_json());
  return out;
}

}  // namespace bm
