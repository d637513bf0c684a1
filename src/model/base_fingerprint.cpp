#include "model/base_fingerprint.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"

namespace bm {
namespace {

void add_rounded(Sha256& hash, const float* values, size_t count) {
  std::vector<float> rounded(count);
  std::transform(values, values + count, rounded.begin(), [](float v) { return round_to_bf16(v); });
  hash.update(std::span<const std::byte>(reinterpret_cast<const std::byte*>(rounded.data()),
                                         rounded.size() * sizeof(float)));
}

}  // namespace

Result<std::string> base_fingerprint(const WeightSource& source) {
  Sha256 hash;
  const int64_t hidden = source.config().hidden;
  for (const WeightSpec& spec : expected_weights(source.config())) {
    hash.update(spec.name + shape_text(spec.shape) + "\n");
    const bool embedding = spec.name == "model.embed_tokens.weight";
    if (spec.shape.size() != 1 && !embedding) continue;
    if (spec.name.find(".bias") != std::string::npos) continue;
    BM_TRY(TensorView view, source.get(spec));
    const int64_t step = embedding ? 64 : 1, width = embedding ? hidden : spec.shape[0];
    const int64_t rows = embedding ? spec.shape[0] : 1;
    const size_t bytes = dtype_bits(view.dtype) / 8;
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t r = 0; r < rows; r += step) {
      BM_CHECK_OK(convert_elements(view.data + static_cast<size_t>(r * width) * bytes, view.dtype,
                                   reinterpret_cast<std::byte*>(row.data()), DType::f32, width));
      add_rounded(hash, row.data(), row.size());
    }
  }
  return hash.hex();
}

Status check_base_fingerprint(const Adapter& adapter, const WeightSource& source) {
  if (adapter.base_fingerprint().empty()) return {};
  BM_TRY(std::string found, base_fingerprint(source));
  if (found == adapter.base_fingerprint()) return {};
  return bad_input(
      "the adapter was trained on a base with the fingerprint " + adapter.base_fingerprint().substr(0, 16) +
          "…, this one has " + found.substr(0, 16) + "…",
      "Give the base it was trained on (it names " + json_quote(adapter.base_name()) + ") with --base");
}

}  // namespace bm
