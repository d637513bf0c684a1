#include "evaluation/compare.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "base/threads.h"
#include "evaluation/score.h"
#include "model/weight_source.h"
#include "ops/cross_entropy.h"
#include "statistics/summary.h"

namespace bm {

void describe(Fields& fields, CompareOptions& o) {
  fields.add("data", o.data,
             "text file, or JSON lines with \"text\" or \"ids\"; without it only weights are compared");
  fields.add("window", o.window, "tokens the models see at once; 0 = their positions, at most 2048",
             {.unit = "tokens"});
  fields.add("arith", o.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
             {.choices = {"auto", "exact", "bf16", "fast"}});
  fields.add("names", o.names, "names of the models in the results, in order");
  fields.add("out", o.out, "folder for compare.json and a manifest", {.result_neutral = true});
  fields.add("weights", o.weights, "compare the weights tensor by tensor");
}

namespace {

constexpr int64_t segment_rows = 64;

// One position under both models.
struct Position {
  double kl = 0, reference_nll = 0, model_nll = 0;
  bool same_top = false;
};

Position compare_rows(const float* reference, const float* model, int64_t vocab, double reference_lse,
                      double model_lse, int32_t target) {
  Position out;
  double kl = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    double log_p = static_cast<double>(reference[i]) - reference_lse;
    if (log_p < -745) continue;  // p is 0 in float64
    kl += std::exp(log_p) * (log_p - (static_cast<double>(model[i]) - model_lse));
  }
  out.kl = std::max(kl, 0.0);
  out.same_top = std::max_element(reference, reference + vocab) - reference ==
                 std::max_element(model, model + vocab) - model;
  if (target >= 0) {
    out.reference_nll = reference_lse - static_cast<double>(reference[target]);
    out.model_nll = model_lse - static_cast<double>(model[target]);
  }
  return out;
}

// Logits of the next `tokens` behind a cache: [tokens, vocab].
Status segment_logits(const Model& model, std::span<const int32_t> tokens, KvCache& cache,
                      std::vector<float>& out) {
  std::vector<int64_t> rows(tokens.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  int64_t vocab = model.config().vocab;
  out.resize(tokens.size() * static_cast<size_t>(vocab));
  SequenceInput input{tokens, &cache, rows};
  return forward(model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* logits) {
    std::copy(logits, logits + count * vocab, out.begin() + first * vocab);
  });
}

class Comparer {
 public:
  Comparer(const Model& reference, const Model& model, int64_t window)
      : reference_(reference),
        model_(model),
        reference_cache_(reference.config(), window),
        model_cache_(model.config(), window) {}

  Status window(std::span<const int32_t> tokens) {
    reference_cache_.truncate(0);
    model_cache_.truncate(0);
    int64_t vocab = reference_.config().vocab;
    auto n = static_cast<int64_t>(tokens.size());
    for (int64_t begin = 0; begin + 1 < n; begin += segment_rows) {
      int64_t count = std::min(segment_rows, n - 1 - begin);  // the last token predicts nothing that is known
      auto part = tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
      BM_CHECK_OK(segment_logits(reference_, part, reference_cache_, reference_logits_));
      BM_CHECK_OK(segment_logits(model_, part, model_cache_, model_logits_));
      std::vector<double> reference_lse(static_cast<size_t>(count)), model_lse(static_cast<size_t>(count));
      log_sum_exp(reference_logits_.data(), count, vocab, reference_lse.data());
      log_sum_exp(model_logits_.data(), count, vocab, model_lse.data());
      size_t base = positions_.size();
      positions_.resize(base + static_cast<size_t>(count));
      parallel_for(static_cast<size_t>(count), [&](size_t i) {
        auto row = static_cast<int64_t>(i);
        positions_[base + i] =
            compare_rows(reference_logits_.data() + row * vocab, model_logits_.data() + row * vocab, vocab,
                         reference_lse[i], model_lse[i], tokens[static_cast<size_t>(begin + row + 1)]);
      });
    }
    return {};
  }

  DistributionComparison result() const {
    DistributionComparison out;
    out.positions = static_cast<int64_t>(positions_.size());
    std::vector<double> kl;
    double same = 0;
    for (const Position& position : positions_) {
      kl.push_back(position.kl);
      out.kl_mean += position.kl;
      out.reference_nll += position.reference_nll;
      out.model_nll += position.model_nll;
      same += position.same_top;
    }
    auto n = static_cast<double>(positions_.size());
    out.kl_mean /= n;
    out.reference_nll /= n;
    out.model_nll /= n;
    out.top_agreement = same / n;
    std::sort(kl.begin(), kl.end());
    out.kl_99 = quantile_sorted(kl, 0.99);
    out.kl_max = kl.back();
    return out;
  }
  bool empty() const { return positions_.empty(); }

 private:
  const Model& reference_;
  const Model& model_;
  KvCache reference_cache_, model_cache_;
  std::vector<float> reference_logits_, model_logits_;
  std::vector<Position> positions_;
};

}  // namespace

Result<DistributionComparison> compare_distributions(const Model& reference, const Model& model,
                                                     std::span<const TextIds> documents, int64_t window) {
  if (reference.config().vocab != model.config().vocab) {
    return bad_input("the vocabularies differ: " + std::to_string(reference.config().vocab) + " and " +
                         std::to_string(model.config().vocab) + " tokens",
                     "Only models of one tokenizer can be compared token by token.");
  }
  int64_t smallest = std::min(default_window(reference.config()), default_window(model.config()));
  if (window == 0) window = smallest;
  for (int64_t positions : {reference.config().max_positions, model.config().max_positions}) {
    if (window < 2 || (positions > 0 && window > positions))
      return bad_input("--window must lie between 2 and the models' positions");
  }
  auto windows = plan_windows(documents, window, window);
  Comparer comparer(reference, model, window);
  Progress progress("compare", "windows", windows.size());
  for (const TextWindow& one : windows) {
    if (stop_requested()) return interrupted_error("comparing models");
    std::span<const int32_t> ids(documents[one.document].ids);
    BM_CHECK_OK(comparer.window(
        ids.subspan(static_cast<size_t>(one.begin), static_cast<size_t>(one.end - one.begin))));
    progress.advance();
  }
  if (comparer.empty()) return bad_input("there is nothing to compare: no text has two tokens");
  return comparer.result();
}

Result<WeightComparison> compare_weights(const std::string& reference, const std::string& model) {
  BM_TRY(OpenedModel left, open_model(reference));
  BM_TRY(OpenedModel right, open_model(model));
  std::vector<WeightSpec> specs = expected_weights(left.source.config()),
                          others = expected_weights(right.source.config());
  WeightComparison out;
  double squares = 0, reference_squares = 0;
  Progress progress("compare weights", "tensors", specs.size());
  for (const WeightSpec& spec : specs) {
    progress.advance();
    auto other =
        std::find_if(others.begin(), others.end(), [&](const WeightSpec& o) { return o.name == spec.name; });
    if (other == others.end() || other->shape != spec.shape) {
      out.skipped.push_back(spec.name);
      continue;
    }
    BM_TRY(TensorView a_view, left.source.get(spec));
    BM_TRY(TensorView b_view, right.source.get(*other));
    BM_TRY(auto a, to_f32(a_view));
    BM_TRY(auto b, to_f32(b_view));
    double sum = 0, reference_sum = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      double difference = static_cast<double>(b[i]) - static_cast<double>(a[i]);
      sum += difference * difference;
      reference_sum += static_cast<double>(a[i]) * static_cast<double>(a[i]);
      out.changed += difference != 0;
      out.max_difference = std::max(out.max_difference, std::fabs(difference));
    }
    double relative = reference_sum > 0 ? std::sqrt(sum / reference_sum) : (sum > 0 ? INFINITY : 0);
    if (relative > out.worst_relative_error) {
      out.worst_relative_error = relative;
      out.worst_tensor = spec.name;
    }
    ++out.tensors;
    out.parameters += static_cast<int64_t>(a.size());
    squares += sum;
    reference_squares += reference_sum;
  }
  for (const WeightSpec& spec : others) {
    bool known =
        std::any_of(specs.begin(), specs.end(), [&](const WeightSpec& o) { return o.name == spec.name; });
    if (!known) out.skipped.push_back(spec.name);
  }
  out.relative_error = reference_squares > 0 ? std::sqrt(squares / reference_squares) : 0;
  return out;
}

Result<std::vector<ModelComparison>> compare_models(const CompareOptions& options, int64_t limit) {
  if (options.reference.empty() || options.models.empty())
    return bad_input("a reference and at least one model are needed");
  std::vector<ModelComparison> out;
  std::shared_ptr<const Model> base;
  std::vector<TextIds> documents;
  if (!options.data.empty()) {
    BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, options.reference));
    BM_TRY(base, Model::load(options.reference, {.arithmetic = arithmetic}));
    BM_TRY(documents, read_text_ids(options.data, base->tokenizer(), limit));
  } else if (!options.weights) {
    return bad_input("there is nothing to compare without --data and without weights");
  }
  for (size_t i = 0; i < options.models.size(); ++i) {
    const std::string& path = options.models[i];
    ModelComparison one;
    one.name = i < options.names.size() ? options.names[i] : path;
    if (base) {
      BM_TRY(Arithmetic arithmetic, resolve_arithmetic(options.arithmetic, path));
      BM_TRY(auto model, Model::load(path, {.arithmetic = arithmetic}));
      auto compared = compare_distributions(*base, *model, documents, options.window);
      if (!compared) return std::move(compared.error().in(path));
      one.distributions = *compared;
      one.has_distributions = true;
      one.weight_bytes = model->weight_bytes();
    }
    if (options.weights) {
      auto compared = compare_weights(options.reference, path);
      if (!compared) return std::move(compared.error().in(path));
      one.weights = std::move(*compared);
      one.has_weights = true;
    }
    out.push_back(std::move(one));
  }
  return out;
}

Result<CompareReport> compare(const CompareOptions& options, const CommonOptions& common) {
  if (!options.names.empty() && options.names.size() != options.models.size())
    return bad_input("--names has " + std::to_string(options.names.size()) + " names for " +
                         std::to_string(options.models.size()) + " models",
                     "Give one name for each model, in order.");
  CompareReport report;
  if (options.out.empty() || common.dry_run) {
    if (!common.dry_run) {
      BM_TRY(report.models, compare_models(options, common.limit));
    }
    return report;
  }
  Fields fields;
  CompareOptions copy = options;
  describe(fields, copy);
  StageIdentity identity{.verb = "compare",
                         .options = fields.dump_identity(),
                         .inputs = {},
                         .seed = common.seed_or(0),
                         .mode = common.mode};
  identity.options.set("limit", common.limit);
  std::vector<std::pair<std::string, std::string>> inputs = {{"reference", options.reference}};
  for (const std::string& path : options.models) inputs.emplace_back("model", path);
  if (!options.data.empty()) inputs.emplace_back("data", options.data);
  for (const auto& [role, path] : inputs) {
    BM_TRY(StageInput input, stage_input(role, path));
    identity.inputs.push_back(std::move(input));
  }
  BM_TRY(StageFolder stage, StageFolder::open(options.out, identity, common.overwrite));
  if (stage.state() == StageFolder::State::complete) {
    report.already_complete = true;
    return report;
  }
  BM_TRY(report.models, compare_models(options, common.limit));
  Json json = comparison_json(options.reference, report.models);
  BM_CHECK_OK(write_file_atomic(stage.file("compare.json"), json.dump_pretty() + "\n"));
  BM_CHECK_OK(stage.finish(json));
  return report;
}

Json comparison_json(const std::string& reference, std::span<const ModelComparison> comparisons) {
  auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  Json models = Json::array();
  for (const ModelComparison& one : comparisons) {
    Json entry = Json::object({{"model", one.name}});
    if (one.has_distributions) {
      const auto& d = one.distributions;
      entry.set("reference_perplexity", number(std::exp(d.reference_nll)));
      entry.set("perplexity", number(std::exp(d.model_nll)));
      entry.set("kl_mean", number(d.kl_mean));
      entry.set("kl_99", number(d.kl_99));
      entry.set("kl_max", number(d.kl_max));
      entry.set("top_token_agreement", number(d.top_agreement));
      entry.set("positions", d.positions);
      entry.set("weight_bytes", Json(one.weight_bytes));
    }
    if (one.has_weights) {
      const auto& w = one.weights;
      Json skipped = Json::array();
      for (const std::string& name : w.skipped) skipped.push_back(name);
      entry.set("weights", Json::object({{"tensors", w.tensors},
                                         {"parameters", w.parameters},
                                         {"changed", w.changed},
                                         {"relative_error", number(w.relative_error)},
                                         {"max_difference", number(w.max_difference)},
                                         {"worst_tensor", w.worst_tensor},
                                         {"worst_relative_error", number(w.worst_relative_error)},
                                         {"skipped", skipped}}));
    }
    models.push_back(std::move(entry));
  }
  return Json::object(
      {{"reference", reference}, {"models", models}, {"kl_unit", "nats, KL(reference || model)"}});
}

}  // namespace bm
