// What a user of one model meets: time to the first score, prefill, decoding of one and of several sequences,
// memory. One JSON object on standard output; compare-peers puts it beside llama.cpp's.
//   bench_engine MODEL [--threads=2] [--arith=exact] [--kv=f32] [--prefill=512,2048] [--decode=32]
//                [--sequences=1,8] [--rounds=3]
#include <sstream>

#include "evaluation/prefix_runner.h"
#include "measure.h"
#include "model/model.h"

using namespace bm;
using namespace bm::bench;

namespace {

std::vector<int64_t> numbers(const std::string& text) {
  std::vector<int64_t> out;
  std::stringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');)
    if (!part.empty()) out.push_back(std::atoll(part.c_str()));
  return out;
}

std::vector<int32_t> prompt(int64_t tokens, int64_t vocab, int64_t shift) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((static_cast<int64_t>(i) * 7919 + shift * 31 + 3) % vocab);
  return ids;
}

[[noreturn]] void stop(const Error& error) {
  std::fprintf(stderr, "%s\n", error.paragraph().c_str());
  std::exit(1);
}

class Bench {
 public:
  Bench(const Model& model, DType kv) : model_(model), pool_(std::make_shared<KvPool>(model.config(), kv)) {}

  // Seconds for one prompt, the last row's logits wanted.
  double prefill(int64_t tokens) {
    KvCache cache(pool_, tokens);
    const auto ids = prompt(tokens, model_.config().vocab, tokens);
    const double start = now_seconds();
    feed({{ids, &cache}});
    return now_seconds() - start;
  }

  // Seconds for a step of all sequences, behind `context` tokens each.
  double decode(int64_t sequences, int64_t context, int64_t steps) {
    std::vector<KvCache> caches;
    for (int64_t s = 0; s < sequences; ++s) caches.emplace_back(pool_, context + steps);
    std::vector<std::vector<int32_t>> ids;
    for (int64_t s = 0; s < sequences; ++s) ids.push_back(prompt(context, model_.config().vocab, s));
    std::vector<std::pair<std::span<const int32_t>, KvCache*>> batch;
    for (size_t s = 0; s < ids.size(); ++s) batch.push_back({ids[s], &caches[s]});
    feed(batch);
    for (size_t s = 0; s < ids.size(); ++s) batch[s].first = std::span<const int32_t>(ids[s]).first(1);
    const double start = now_seconds();
    for (int64_t i = 0; i < steps; ++i) feed(batch);
    return (now_seconds() - start) / static_cast<double>(steps);
  }

 private:
  void feed(const std::vector<std::pair<std::span<const int32_t>, KvCache*>>& batch) {
    inputs_.clear();
    last_.resize(batch.size());
    for (size_t i = 0; i < batch.size(); ++i) {
      last_[i] = static_cast<int64_t>(batch[i].first.size()) - 1;
      inputs_.push_back({batch[i].first, batch[i].second, {&last_[i], 1}});
    }
    Status status = forward(model_, inputs_, [](size_t, int64_t, int64_t, const float*) {});
    if (!status.ok()) stop(status.error());
  }

  const Model& model_;
  std::shared_ptr<KvPool> pool_;
  std::vector<SequenceInput> inputs_;
  std::vector<int64_t> last_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const double start = now_seconds();
  if (argc < 2) return std::fprintf(stderr, "bench_engine MODEL [--threads=2] …\n"), 2;
  set_thread_count(static_cast<int>(argument(argc, argv, "threads", 0)));
  auto arithmetic = parse_arithmetic(text_argument(argc, argv, "arith", "exact"));
  auto kv = parse_kv_dtype(text_argument(argc, argv, "kv", "f32"));
  if (!arithmetic.ok()) stop(arithmetic.error());
  if (!kv.ok()) stop(kv.error());
  auto model = Model::load(argv[1], {.arithmetic = *arithmetic});
  if (!model.ok()) stop(model.error());
  const double loaded = now_seconds() - start;
  Bench bench(**model, *kv);
  bench.prefill(32);
  const double first = now_seconds() - start;
  const int64_t rounds = argument(argc, argv, "rounds", 3);
  Json out = Json::object({{"engine", "biomistral"},
                           {"cpu", cpu_model()},
                           {"kernels", std::string(isa_name())},
                           {"threads", thread_count()},
                           {"load_seconds", loaded},
                           {"first_score_seconds", first},
                           {"weight_bytes", (*model)->weight_bytes()}});
  Json prefill = Json::object(), decode = Json::object();
  for (int64_t tokens : numbers(text_argument(argc, argv, "prefill", "512,2048"))) {
    std::vector<double> seconds;
    for (int64_t i = 0; i < rounds; ++i) seconds.push_back(bench.prefill(tokens));
    prefill.set(std::to_string(tokens), static_cast<double>(tokens) / median(seconds));
  }
  const int64_t steps = argument(argc, argv, "decode", 32);
  for (int64_t sequences : numbers(text_argument(argc, argv, "sequences", "1,8"))) {
    std::vector<double> seconds;
    for (int64_t i = 0; i < rounds; ++i) seconds.push_back(bench.decode(sequences, 16, steps));
    decode.set(std::to_string(sequences), static_cast<double>(sequences) / median(seconds));
  }
  out.set("prefill_tokens_per_second", std::move(prefill));
  out.set("decode_tokens_per_second", std::move(decode));
  out.set("resident_bytes", peak_resident_memory());
  std::printf("%s\n", out.dump().c_str());
  return 0;
}
