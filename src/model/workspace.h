// Scratch memory of a forward pass: grows to what is needed and stays. Internal to model/.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace bm {

class ScratchBuffer {
 public:
  // At least count floats, not initialized; what it held is lost when it grows.
  float* get(int64_t count) {
    if (count > capacity_) {
      memory_ = Tensor();
      memory_ = Tensor(DType::f32, {count});
      capacity_ = count;
    }
    return memory_.as<float>();
  }
  uint64_t bytes() const { return static_cast<uint64_t>(capacity_) * sizeof(float); }

 private:
  Tensor memory_;
  int64_t capacity_ = 0;
};

struct ForwardWorkspace {
  ScratchBuffer x, normed, qkv, heads, gate_up, product, rows, logits;
  ScratchBuffer pages;                  // of sequences without a cache, one layer at a time
  std::vector<std::byte*> page_starts;  // of those
  std::vector<int32_t> tokens;
  std::vector<int64_t> wanted;
  uint64_t bytes() const {
    return x.bytes() + normed.bytes() + qkv.bytes() + heads.bytes() + gate_up.bytes() + product.bytes() +
           rows.bytes() + logits.bytes() + pages.bytes();
  }
};

}  // namespace bm
