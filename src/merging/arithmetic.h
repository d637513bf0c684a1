// What the methods compute with: inputs read block by block as float32, the working type's rounding,
// sums in a fixed order.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"
#include "base/threads.h"
#include "merging/methods.h"
#include "tensor/tensor.h"

namespace bm {

// The type every operation's result is rounded to. none = plain float32.
enum class Rounding { none, bf16, f16 };
Rounding rounding_of(DType type);

struct RoundNone {
  static float r(float x) { return x; }
};
struct RoundBf16 {
  static float r(float x) { return round_to_bf16(x); }
};
struct RoundF16 {
  static float r(float x) { return round_to_f16(x); }
};

// function(RoundX{}) for the rounding's type.
template <class F>
decltype(auto) with_rounding(Rounding rounding, F&& function) {
  switch (rounding) {
    case Rounding::bf16:
      return function(RoundBf16{});
    case Rounding::f16:
      return function(RoundF16{});
    case Rounding::none:
      break;
  }
  return function(RoundNone{});
}

void round_values(Rounding rounding, int64_t count, float* x);  // in place

// The named switches a mode resolves to (architecture.md, rule 4).
struct ArithmeticSwitches {
  bool round_every_operation = false;  // in the working type, and inputs on loading
  bool float_scalars = false;          // norms, angles and coefficients in float32 (else double)
  bool mt19937_masks = false;          // torch's stream in execution order (else counter-based, keyed)
  bool inverse_density = false;        // random masks rescale by 1/density (else by the ratio of L1 norms)
  bool promote_masked = false;         // arcee_fusion gives float32 whatever went in
};

// One input's values as float32, rounded to `load` on the way in.
class Source {
 public:
  Source() = default;
  // mapped: the view lies in a mapped file, whose pages may be given back.
  Source(TensorView view, Rounding load, bool mapped = false)
      : view_(std::move(view)), load_(load), mapped_(mapped) {}
  // out holds end - begin values, elements begin..end in flat order.
  void read(int64_t begin, int64_t end, float* out) const;
  const TensorView& view() const { return view_; }
  // Tells the kernel that the pages of a mapped file are no longer wanted.
  void drop() const;

 private:
  TensorView view_;
  Rounding load_ = Rounding::none;
  bool mapped_ = false;
};

// Everything one output tensor's merge depends on.
struct TensorProblem {
  std::string name;
  Shape shape;
  std::vector<Source> inputs;       // in listed order, base included
  std::vector<std::string> models;  // their references
  int base = -1;                    // index of the base, −1 = none
  const MethodInfo* method = nullptr;
  std::map<std::string, double> parameters;  // absent = not given
  std::vector<std::map<std::string, double>> per_input;
  Rounding working = Rounding::none;  // rounding after each operation
  ArithmeticSwitches switches;
  uint64_t seed = 0;
  Mt19937* stream = nullptr;  // with mt19937_masks

  int64_t count() const { return element_count(shape); }
  int64_t row() const { return shape.empty() ? 1 : shape.back(); }  // length of the last dimension
  double parameter(const std::string& key) const { return parameters.at(key); }
  double input_parameter(size_t input, const std::string& key) const { return per_input[input].at(key); }
  std::vector<size_t> others() const;  // indices of the inputs that are not the base
  // A scalar's rounding: the working type's, or float32's, or none (double).
  double q(double value) const;
};

// Writes elements begin..end of the result, rounded as the mode says. Thread-safe.
using BlockFunction = std::function<void(int64_t begin, int64_t end, float* out)>;

// Elements a block holds; results never depend on it except through the fixed order of sums.
inline constexpr int64_t merge_block = 65536;
// Block of whole rows: a multiple of the row that is near merge_block.
int64_t row_block(int64_t row);

// Sums `width` quantities over all elements: function(begin, end, acc) adds a block's share to
// acc[0..width) (doubles, zeroed). Blocks are added in order, so any thread count gives the same.
std::vector<double> sum_blocks(int64_t count, int64_t block, size_t width,
                               const std::function<void(int64_t, int64_t, double*)>& function);

// A thread's reusable scratch: `slots` arrays of `size` floats.
float* merge_scratch(size_t slot, int64_t size);

// The methods. Each does its passes over the inputs and gives the function of the last one.
Result<BlockFunction> prepare_merge(const TensorProblem& problem);
Result<BlockFunction> prepare_passthrough(const TensorProblem& problem);
Result<BlockFunction> prepare_linear(const TensorProblem& problem);
Result<BlockFunction> prepare_slerp(const TensorProblem& problem);
Result<BlockFunction> prepare_task_vectors(const TensorProblem& problem);
// How many numbers prepare_task_vectors draws from the stream for this tensor.
int64_t stream_draws(const TensorProblem& problem);
Result<BlockFunction> prepare_nuslerp(const TensorProblem& problem);
Result<BlockFunction> prepare_model_stock(const TensorProblem& problem);
Result<BlockFunction> prepare_sce(const TensorProblem& problem);
Result<BlockFunction> prepare_nearswap(const TensorProblem& problem);
Result<BlockFunction> prepare_multislerp(const TensorProblem& problem);
Result<BlockFunction> prepare_karcher(const TensorProblem& problem);
Result<BlockFunction> prepare_arcee_fusion(const TensorProblem& problem);
Result<BlockFunction> prepare_ram(const TensorProblem& problem);

}  // namespace bm
