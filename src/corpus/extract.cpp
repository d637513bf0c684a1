#include "corpus/extract.h"

#include <unordered_map>

#include "base/hash.h"
#include "base/log.h"
#include "base/threads.h"
#include "corpus/inputs.h"

namespace bm {

namespace {

ArticleOutcome unread(const RawArticle& raw) {
  ArticleOutcome out;
  out.source = out.id = raw.source;
  bool broken = !raw.problem.empty() && raw.is_article;
  out.status = broken ? ArticleStatus::broken : ArticleStatus::rejected;
  out.reason = raw.problem.empty() ? "no article by its name" : raw.problem;
  return out;
}

class Duplicates {
 public:
  void mark(ArticleOutcome& outcome) {
    if (outcome.status != ArticleStatus::kept) return;
    auto text = by_text_.emplace(hash64(outcome.content_key), outcome.source);
    auto id = by_id_.emplace(hash64(outcome.id, 1), outcome.source);
    if (text.second && id.second) return;
    outcome.status = ArticleStatus::duplicate;
    outcome.reason = "same text or id as " + (text.second ? id.first->second : text.first->second);
  }

 private:
  std::unordered_map<uint64_t, std::string> by_text_, by_id_;
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
  ArticlePolicy policy = make_policy(options, lists.size() ? &lists : nullptr);
  ExtractCounts counts;
  Duplicates duplicates;
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
          outcomes[i].push_back(unread(raw));
      });
      for (std::vector<ArticleOutcome>& many : outcomes)
        for (ArticleOutcome& outcome : many) {
          if (options.duplicates == "exact") duplicates.mark(outcome);
          if (outcome.reason != "no article by its name") count(counts, outcome);
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
