#include "corpus/extract.h"

#include <unordered_map>

#include "base/log.h"
#include "base/threads.h"
#include "corpus/inputs.h"
#include "corpus/part.h"

namespace bm {

namespace {

// The first of each kind stays, in the order of the inputs. (A build sees all articles before it decides, so
// that a chain of near-duplicates is one cluster there whatever the order.)
class Duplicates {
 public:
  explicit Duplicates(const CorpusSwitches& switches) : switches_(switches) {}

  void mark(ArticleOutcome& outcome) {
    if (outcome.status != ArticleStatus::kept) return;
    if (switches_.drop_contaminated && !outcome.items.empty()) {
      outcome.status = ArticleStatus::contaminated;
      outcome.reason = "shares words with an item of a benchmark: \"" + outcome.items.front().passage + "\"";
      return;
    }
    if (!switches_.drop_exact) return;
    const std::string* first = nullptr;
    const char* how = "same text as ";
    auto look = [&](uint64_t key, const char* reason) {
      if (key == 0 || first) return;
      auto found = seen_.find(key);
      if (found == seen_.end()) return;
      first = &found->second;
      how = reason;
    };
    look(outcome.keys.text, "same text as ");
    look(outcome.keys.id, "same id as ");
    if (switches_.drop_near)
      for (size_t band = 0; band < kMinHashBands; ++band)
        look(outcome.keys.bands[band] ? outcome.keys.bands[band] + band : 0, "near-duplicate of ");
    if (first) {
      outcome.status = ArticleStatus::duplicate;
      outcome.reason = how + *first;
      return;
    }
    seen_.emplace(outcome.keys.text, outcome.source);
    seen_.emplace(outcome.keys.id, outcome.source);
    if (switches_.drop_near)
      for (size_t band = 0; band < kMinHashBands; ++band)
        if (outcome.keys.bands[band]) seen_.emplace(outcome.keys.bands[band] + band, outcome.source);
  }

 private:
  CorpusSwitches switches_;
  std::unordered_map<uint64_t, std::string> seen_;
};

void count(ExtractCounts& counts, const ArticleOutcome& outcome) {
  switch (outcome.status) {
    case ArticleStatus::kept:
      ++counts.kept;
      break;
    case ArticleStatus::broken:
      ++counts.broken;
      break;
    case ArticleStatus::duplicate:
      ++counts.duplicates;
      break;
    default:
      ++counts.rejected;
  }
}

}  // namespace

Result<ExtractCounts> extract_corpus(const CorpusOptions& options, const CommonOptions& common,
                                     const std::function<Status(const ArticleOutcome&)>& take) {
  BM_CHECK_OK(check_options(options));
  BM_TRY(std::vector<InputPart> inputs, plan_inputs(options.inputs));
  LicenceLists lists;
  for (const std::string& path : options.file_lists) BM_CHECK_OK(lists.add(path));
  BM_TRY(CorpusSwitches switches, resolve_switches(options, common));
  BM_TRY(BenchmarkIndex benchmarks, BenchmarkIndex::load(options));
  ArticlePolicy policy = make_policy(options, lists.size() ? &lists : nullptr, switches, &benchmarks);
  ExtractCounts counts;
  Duplicates duplicates(switches);
  uint64_t total = 0, before = 0;
  for (const InputPart& part : inputs) total += part.bytes;
  Progress progress("corpus extract", "bytes", total);
  for (const InputPart& part : inputs) {
    PartReader reader(part, policy.max_bytes);
    for (bool more = true; more;) {
      std::vector<RawArticle> batch;
      more = reader.next(batch, 16ull << 20, 1024);
      size_t take_count = 0;
      for (; take_count < batch.size(); ++take_count) {
        const RawArticle& raw = batch[take_count];
        bool counts_as_article = raw.is_article && !raw.is_container;
        if (counts_as_article && common.limit > 0 && counts.articles >= common.limit) break;
        counts.articles += counts_as_article ? 1 : 0;
      }
      std::vector<std::vector<ArticleOutcome>> outcomes(take_count);
      parallel_for(take_count, [&](size_t i) {
        RawArticle& raw = batch[i];
        if (raw.problem.empty() && raw.is_article)
          outcomes[i] = process_article(std::move(raw.bytes), raw.source, policy);
        else
          outcomes[i].push_back(outcome_without_bytes(raw));
      });
      for (std::vector<ArticleOutcome>& many : outcomes)
        for (ArticleOutcome& outcome : many) {
          duplicates.mark(outcome);
          if (outcome.reason != kNoArticle) count(counts, outcome);
          BM_CHECK_OK(take(outcome));
        }
      if (take_count < batch.size()) return counts;
      if (stop_requested()) return interrupted_error("corpus extract");
      progress.set_done(before +
                        static_cast<uint64_t>(reader.share_read() * static_cast<double>(part.bytes)));
    }
    before += part.bytes;
  }
  return counts;
}

}  // namespace bm
