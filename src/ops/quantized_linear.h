// Linear layers over QuantizedWeights, in two arithmetics. Both give the same bits whatever the number of
// rows, the place in the batch, the thread count and the instruction set.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "ops/linear.h"
#include "ops/quantized_weights.h"

namespace bm {

// y[M,N] = x[M,K] · Wᵀ (+ bias) on the decoded weights: the bits of linear() on them as float32.
void linear_exact(const float* x, int64_t rows, const QuantizedWeights& weight, float* y,
                  const LinearOptions& options = {});
// The same with x rounded to 8 bits in blocks of weight.sum_group() inputs and integer sums
// (kernels/integer.h).
void linear_fast(const float* x, int64_t rows, const QuantizedWeights& weight, float* y,
                 const LinearOptions& options = {});

enum class LinearArithmetic : uint8_t {
  exact,  // float32 on the weights as stored
  bf16,   // linear_bf16 where a part is bfloat16
  fast,   // linear_fast where a part is quantized
};

// The weight of one linear, or of several that share their input (q, k, v; gate, up), as the model holds it:
// outputs one under the other in parts of one storage each.
class LinearWeights {
 public:
  void add(PackedWeights part);
  void add(QuantizedWeights part);
  void set_arithmetic(LinearArithmetic arithmetic) { arithmetic_ = arithmetic; }

  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  uint64_t bytes() const;
  bool quantized() const;  // every part holds codes
  void read_row(int64_t n, float* out) const;

 private:
  friend void linear(const float*, int64_t, const LinearWeights&, float*, const LinearOptions&);
  std::vector<std::variant<PackedWeights, QuantizedWeights>> parts_;
  int64_t outputs_ = 0, inputs_ = 0;
  LinearArithmetic arithmetic_ = LinearArithmetic::exact;
};

// Parts the arithmetic has no form for run as exact.
void linear(const float* x, int64_t rows, const LinearWeights& weight, float* y,
            const LinearOptions& options = {});

}  // namespace bm
