// A weight that is not trained, in the smallest form it has: as the file stores it (mapped), or encoded
// to nf4, fp4 or int8. Values are widened to float32 when a product needs them. Internal to model/.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/weight_source.h"
#include "tensor/tensor.h"

namespace bm {

// How the linears of a frozen base are held.
enum class BaseFormat : uint8_t {
  stored,  // as the files hold them
  nf4,     // bitsandbytes' blocks of 64, decoded to the stored dtype
  fp4,
  int8,  // bitsandbytes' rows
};

class FrozenMatrix {
 public:
  FrozenMatrix() = default;
  // The matrix `spec` of the source. bad_input: sizes the format cannot hold.
  static Result<FrozenMatrix> load(const WeightSource& source, const WeightSpec& spec, BaseFormat format);

  bool empty() const { return rows_ == 0; }
  // [rows, columns]; written into scratch unless it is held as float32.
  const float* values(std::vector<float>& scratch) const;
  uint64_t bytes() const { return bytes_; }  // held
  int64_t count() const { return rows_ * columns_; }

 private:
  int64_t rows_ = 0, columns_ = 0;
  uint64_t bytes_ = 0;
  TensorView dense_;  // no data: decode_ gives the values
  std::function<void(float*)> decode_;
};

}  // namespace bm
