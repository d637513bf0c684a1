// The model to quantize, read tensor by tensor: weights as stored, cast to --dtype, checked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/weight_source.h"
#include "quantization/targets.h"
#include "tensor/tensor.h"

namespace bm {

class QuantizeSource {
 public:
  // dtype: what every weight is cast to ("" = as stored). bad_input: not a readable model, unknown dtype.
  static Result<QuantizeSource> open(const std::string& path, const std::string& dtype);

  const ModelConfig& config() const { return weights_->config(); }
  const std::string& path() const { return path_; }
  std::optional<DType> cast() const { return cast_; }
  // What the tensor is stored in afterwards when it is not quantized.
  Result<DType> dtype_of(const WeightSpec& spec) const;
  // Its values in that dtype.
  Result<TensorView> plain(const WeightSpec& spec) const;
  // Its values as float32 (after the cast). bad_input when one is not finite: names tensor and element.
  Result<std::vector<float>> values(const WeightSpec& spec) const;
  uint64_t stored_bytes() const { return stored_bytes_; }  // of all weights, as read

 private:
  std::shared_ptr<const WeightSource> weights_;
  std::string path_;
  std::optional<DType> cast_;
  uint64_t stored_bytes_ = 0;
};

// "tensor x: element [3, 17] is NaN"; ok when all are finite.
Status check_finite(const std::vector<float>& values, const WeightSpec& spec);

}  // namespace bm
