// Rotary position embedding (Su et al. 2021), half-split layout as in Hugging Face checkpoints:
// [x1, x2] → [x1·cos − x2·sin, x2·cos + x1·sin], x1 = the first head_dim/2 elements of a head.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bm {

// theta^(−2i/head_dim), i < head_dim/2.
std::vector<double> rotary_inverse_frequencies(double theta, int64_t head_dim);

// cos and sin of position · inverse_frequency, computed in double and rounded once: [positions][head_dim/2].
class RotaryTable {
 public:
  RotaryTable() = default;
  // Positions 0 … positions-1.
  RotaryTable(std::span<const double> inverse_frequencies, int64_t positions);

  int64_t positions() const { return positions_; }
  int64_t half() const { return half_; }
  const float* cosines(int64_t position) const { return cos_.data() + position * half_; }
  const float* sines(int64_t position) const { return sin_.data() + position * half_; }

 private:
  int64_t positions_ = 0, half_ = 0;
  std::vector<float> cos_, sin_;
};

// In place: x[rows][heads * head_dim] with `stride` elements from row to row (0 = heads * head_dim); row i
// stands at position first_position + i (< table.positions()).
void rotary_apply(const RotaryTable& table, float* x, int64_t rows, int64_t heads, int64_t first_position,
                  int64_t stride = 0);
// The gradient: rotation by the opposite angle, in place.
void rotary_backward(const RotaryTable& table, float* d_x, int64_t rows, int64_t heads,
                     int64_t first_position, int64_t stride = 0);

}  // namespace bm
