#include "corpus/fates.h"

#include <algorithm>

#include "base/json.h"

namespace bm {

namespace {

void hold_out(const KeyFiles& keys, const CorpusOptions& options, std::vector<Fate>& fates) {
  if (options.holdout > 0) {
    auto limit = static_cast<uint64_t>(options.holdout * 18446744073709549568.0);
    keys.for_each([&](uint32_t i, const ArticleKeys& k) {
      if (fates[i] == Fate::kept && k.lot < limit) fates[i] = Fate::held_out;
    });
    return;
  }
  if (options.holdout_articles <= 0) return;
  std::vector<std::pair<uint64_t, uint32_t>> order;
  keys.for_each([&](uint32_t i, const ArticleKeys& k) {
    if (fates[i] == Fate::kept) order.emplace_back(k.lot, i);
  });
  size_t count = std::min(order.size(), static_cast<size_t>(options.holdout_articles));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end());
  for (size_t i = 0; i < count; ++i) fates[order[i].second] = Fate::held_out;
}

}  // namespace

Result<Fates> Fates::decide(const std::vector<PartFiles>& parts, const CorpusOptions& options,
                            const CorpusSwitches& switches) {
  Fates fates;
  for (const PartFiles& part : parts) {
    BM_CHECK_OK(fates.keys_.add(part.keys));
    fates.ledgers_.push_back(part.ledger);
  }
  fates.fates_.assign(fates.keys_.size(), Fate::kept);
  if (switches.drop_exact) {
    DuplicateRules rules;
    rules.near = switches.drop_near;
    rules.keep_longest = options.keep_member == "longest";
    fates.same_as_ = find_duplicates(fates.keys_, rules);
    for (uint32_t i = 0; i < fates.size(); ++i)
      if (fates.same_as_[i] != i) fates.fates_[i] = Fate::duplicate;
  }
  fates.keys_.for_each([&](uint32_t i, const ArticleKeys& k) {
    if (k.contaminated) fates.fates_[i] = Fate::contaminated;
  });
  hold_out(fates.keys_, options, fates.fates_);
  return fates;
}

Status Fates::index_sources() {
  uint64_t before = 0;
  for (const std::string& path : ledgers_) {
    BM_TRY(MappedFile file, MappedFile::open(path));
    std::string_view text = file.text();
    for (size_t at = 0; at < text.size();) {
      size_t end = std::min(text.find('\n', at), text.size());
      if (text.substr(at, end - at).find(",\"kept\":{") != std::string_view::npos)
        starts_.push_back(before + at);
      at = end + 1;
    }
    before += text.size();
    lines_.push_back(std::move(file));
  }
  if (starts_.size() != fates_.size())
    return failed("the parts' ledgers do not fit their other files",
                  "Remove the output folder's parts and run again.");
  return {};
}

Result<std::string> Fates::duplicate_reason_of(uint32_t article) {
  if (starts_.empty()) BM_CHECK_OK(index_sources());
  uint32_t kept = same_as_[article];
  uint64_t at = starts_[kept];
  for (const MappedFile& file : lines_) {
    if (at >= file.size()) {
      at -= file.size();
      continue;
    }
    std::string_view text = file.text().substr(at);
    BM_TRY(Json line, parse_json(std::string(text.substr(0, text.find('\n')))));
    return duplicate_reason(keys_.at(article), keys_.at(kept)) + line["ledger"]["source"].as_string();
  }
  return std::string("same as another article");
}

}  // namespace bm
