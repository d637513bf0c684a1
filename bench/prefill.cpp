// A whole prefill of a 135M Llama (SmolLM2's shape, random weights) beside the sum of oneDNN's bare float32
// products of the same shapes: embedding, norms, rotary, attention and the output head of the last row are in
// our time only.
//   bench_prefill [--tokens=1000] [--threads=1] [--milliseconds=8000] [--bf16=0]
#include <array>
#include <filesystem>
#include <memory>

#include "measure.h"
#include "model/model.h"
#include "model/random_model.h"
#include "onednn_matmul.h"

using namespace bm;
using namespace bm::bench;

namespace {

constexpr int64_t kLayers = 30, kHidden = 576, kInner = 1536, kKv = 192, kVocab = 49152;

// The products of one layer, as oneDNN would be asked for them: q, k, v, o, gate, up, down.
class BareProducts {
 public:
  explicit BareProducts(int64_t m) {
    for (auto [k, n] : {std::array<int64_t, 2>{kHidden, kHidden},
                        {kHidden, kKv},
                        {kHidden, kKv},
                        {kHidden, kHidden},
                        {kHidden, kInner},
                        {kHidden, kInner},
                        {kInner, kHidden}}) {
      operations_ += 2 * static_cast<double>(m * n * k) * static_cast<double>(kLayers);
      for (int64_t layer = 0; layer < kLayers; ++layer) add(m, n, k);
    }
  }
  // Each layer has weights of its own, so that they come from memory as in the model.
  void run() {
    const size_t per_layer = products_.size() / static_cast<size_t>(kLayers);
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      for (size_t i = 0; i < per_layer; ++i)
        products_[i * static_cast<size_t>(kLayers) + static_cast<size_t>(layer)]->run();
    }
  }
  double operations() const { return operations_; }

 private:
  void add(int64_t m, int64_t n, int64_t k) {
    inputs_.resize(static_cast<size_t>(std::max<int64_t>(static_cast<int64_t>(inputs_.size()), m * kInner)),
                   0.5f);
    outputs_.resize(inputs_.size());
    const std::vector<float> w = random_values(n * k);
    products_.push_back(std::make_unique<OnednnMatmul>(inputs_.data(), w.data(), outputs_.data(), m, n, k));
  }
  std::vector<float> inputs_, outputs_;
  std::vector<std::unique_ptr<OnednnMatmul>> products_;
  double operations_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const int64_t tokens = argument(argc, argv, "tokens", 1000);
  const auto threads = static_cast<int>(argument(argc, argv, "threads", 1));
  const double seconds = 1e-3 * static_cast<double>(argument(argc, argv, "milliseconds", 8000));
  const bool bf16 = argument(argc, argv, "bf16", 0) != 0;
  set_thread_count(threads);
  omp_set_num_threads(threads);
  print_machine();

  const std::string folder = (std::filesystem::temp_directory_path() / "biomistral-bench-prefill").string();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  RandomModelShape shape{.model_type = "llama",
                         .vocab = kVocab,
                         .hidden = kHidden,
                         .intermediate = kInner,
                         .layers = kLayers,
                         .heads = 9,
                         .kv_heads = 3,
                         .head_dim = 64,
                         .max_positions = 8192,
                         .tied_embeddings = true};
  Status written = write_random_model(folder, shape, bf16 ? DType::bf16 : DType::f32, 1);
  auto model = written.ok() ? Model::load(folder) : Result<std::shared_ptr<const Model>>(written.error());
  std::filesystem::remove_all(folder);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.error().paragraph().c_str());
    return 1;
  }
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % kVocab);
  const int64_t last[] = {tokens - 1};
  bool failed = false;
  auto prefill = [&] {
    SequenceInput input{ids, nullptr, last};
    failed |= !forward(**model, {&input, 1}, [](size_t, int64_t, int64_t, const float*) {}).ok();
  };
  BareProducts products(tokens);
  auto times = alternate({prefill, [&] { products.run(); }}, seconds, threads == 1);
  if (failed) return 1;
  const double rate = 1e-9 * products.operations();
  std::printf("%ld tokens, %s weights, %d thread(s), %s, medians (best)\n", static_cast<long>(tokens),
              bf16 ? "bf16" : "f32", threads, threads == 1 ? "processor time" : "wall time");
  std::printf("whole prefill            %7.3f s (%.3f), %6.0f tokens/s, %6.1f G/s of products\n",
              times[0].median, times[0].best, static_cast<double>(tokens) / times[0].median,
              rate / times[0].median);
  std::printf("oneDNN's bare products   %7.3f s (%.3f), %23.1f G/s\n", times[1].median, times[1].best,
              rate / times[1].median);
  std::printf("ratio of rates           %7.2f (%.2f)\n", times[1].median / times[0].median,
              times[1].best / times[0].best);
  return 0;
}
