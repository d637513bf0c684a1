// biomistral compare: models beside a reference.
#include "evaluation/compare.h"

#include <cmath>
#include <cstdio>

#include "cli/verb.h"

namespace bm {
namespace {

CompareOptions options;

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

const RegisterVerb verb{{
    .name = "compare",
    .summary = "perplexity, KL divergence, top-token agreement and weights of models against a reference",
    .details = "KL is that of the next-token distributions, KL(reference ‖ model) in nats, over every "
               "position of the text:\n"
               "mean, 99 % quantile, maximum. Weights are compared as exact values, quantized ones decoded.",
    .example = "biomistral compare model/ model-awq/ model-nf4/ --data heldout.jsonl --limit 20",
    .positionals = {{"REFERENCE", "model to measure against"}, {"MODEL", "models to measure", true, true}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = [](const Invocation& call) -> Result<Outcome> {
      options.reference = call.argument("REFERENCE");
      options.models = call.arguments_of("MODEL");
      BM_TRY(CompareReport report, compare(options, call.common));
      if (report.already_complete) {
        print_line(options.out + ": already complete");
        return Outcome::done;
      }
      if (call.common.json) {
        print_line(comparison_json(options.reference, report.models).dump());
        return Outcome::done;
      }
      std::vector<std::vector<std::string>> rows;
      for (const ModelComparison& one : report.models) {
        std::vector<std::string> row{one.name};
        const auto& d = one.distributions;
        if (one.has_distributions) {
          row.insert(row.end(),
                     {number(std::exp(d.model_nll)), number(std::exp(d.reference_nll)), number(d.kl_mean),
                      number(d.kl_99), number(d.kl_max), number(100 * d.top_agreement)});
        } else {
          row.resize(7, "-");
        }
        row.push_back(one.has_weights ? number(one.weights.relative_error) : "-");
        row.push_back(one.has_weights ? number(one.weights.max_difference) : "-");
        rows.push_back(std::move(row));
      }
      print_table({"model", "perplexity", "reference", "KL mean", "KL 99%", "KL max", "same top %",
                   "weights: relative", "largest"},
                  rows);
      return Outcome::done;
    },
}};

}  // namespace
}  // namespace bm
