// How far `fast` is from `exact` on real prompts: the same model in both, the distribution of the next token
// behind every position and behind the whole prompt, and the letter that would be chosen.
//   bench_accuracy MODEL PROMPTS.jsonl [--limit=200] [--arith=fast] [--kv=f32] [--against=MODEL]
// PROMPTS: {"prompt": text} a line, as `evaluate --write-prompts` writes them. --against: another file whose
// exact arithmetic is the reference (what the quantization itself loses).
#include <cmath>

#include "base/file.h"
#include "evaluation/compare.h"
#include "evaluation/prefix_runner.h"
#include "formats/jsonl.h"
#include "measure.h"

using namespace bm;

namespace {

Result<std::vector<std::vector<float>>> last_logits(const Model& model, const std::vector<TextIds>& prompts,
                                                    DType kv) {
  std::vector<PrefixRequest> requests;
  for (const TextIds& prompt : prompts)
    requests.push_back({prompt.ids, {static_cast<int64_t>(prompt.ids.size()) - 1}});
  std::vector<std::vector<float>> out(prompts.size());
  PrefixRunOptions options;
  options.kv_dtype = kv;
  auto done = run_shared_prefixes(
      model, requests, options,
      [&](size_t i, size_t, const float* logits) { out[i].assign(logits, logits + model.config().vocab); },
      [](std::span<const size_t>) -> Status { return {}; });
  if (!done.ok()) return std::move(done).error();
  return out;
}

double kl(const std::vector<float>& a, const std::vector<float>& b) {
  const auto normalizer = [](const std::vector<float>& x) {
    const double top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (float v : x) sum += std::exp(static_cast<double>(v) - top);
    return top + std::log(sum);
  };
  const double za = normalizer(a), zb = normalizer(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double p = static_cast<double>(a[i]) - za;
    if (p > -700) sum += std::exp(p) * (p - (static_cast<double>(b[i]) - zb));
  }
  return std::max(sum, 0.0);
}

size_t best(const std::vector<float>& logits, const std::vector<int32_t>& among) {
  if (among.empty())
    return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  size_t chosen = 0;
  for (size_t i = 1; i < among.size(); ++i)
    if (logits[static_cast<size_t>(among[i])] > logits[static_cast<size_t>(among[chosen])]) chosen = i;
  return chosen;
}

Status run(int argc, char** argv) {
  BM_TRY(Arithmetic arithmetic, parse_arithmetic(bench::text_argument(argc, argv, "arith", "fast")));
  BM_TRY(DType kv, parse_kv_dtype(bench::text_argument(argc, argv, "kv", "f32")));
  const std::string against = bench::text_argument(argc, argv, "against", argv[1]);
  BM_TRY(auto exact, Model::load(against, {.need_tokenizer = true}));
  BM_TRY(auto fast, Model::load(argv[1], {.arithmetic = arithmetic}));
  std::vector<TextIds> prompts;
  BM_TRY(JsonlReader reader, JsonlReader::open(argv[2]));
  Json line;
  for (int64_t n = bench::argument(argc, argv, "limit", 200); n > 0; --n) {
    BM_TRY(bool more, reader.next(line));
    if (!more) break;
    BM_TRY(std::string text, line.get_string("prompt"));
    prompts.push_back({exact->tokenizer()->encode(text), 0});
  }
  std::vector<int32_t> letters;
  for (const char* letter : {" A", " B", " C", " D"})
    letters.push_back(exact->tokenizer()->encode(letter, {.add_special = false}).back());
  BM_TRY(auto a, last_logits(*exact, prompts, DType::f32));
  BM_TRY(auto b, last_logits(*fast, prompts, kv));
  double sum = 0;
  size_t top = 0, letter = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    sum += kl(a[i], b[i]);
    top += best(a[i], {}) == best(b[i], {});
    letter += best(a[i], letters) == best(b[i], letters);
  }
  const auto n = static_cast<double>(prompts.size());
  std::printf(
      "%zu prompts, next token: mean KL %.3e nats, same likeliest token %.1f %%, same letter %.1f %%\n",
      prompts.size(), sum / n, 100 * static_cast<double>(top) / n, 100 * static_cast<double>(letter) / n);
  BM_TRY(auto all, compare_distributions(*exact, *fast, prompts, 0));
  std::printf(
      "%lld positions: mean KL %.3e, 99 %% %.3e, same likeliest token %.2f %%; perplexity %.3f → %.3f\n",
      static_cast<long long>(all.positions), all.kl_mean, all.kl_99, 100 * all.top_agreement,
      std::exp(all.reference_nll), std::exp(all.model_nll));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "bench_accuracy MODEL PROMPTS.jsonl\n"), 2;
  const Status status = run(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.error().paragraph().c_str());
  return 1;
}
