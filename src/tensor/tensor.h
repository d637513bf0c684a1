// Shapes, views and owned tensors. Row-major, dense.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"

namespace bm {

using Shape = std::vector<int64_t>;

// Product of the dimensions (1 for rank 0); shapes are checked for overflow where files are read.
int64_t element_count(const Shape& shape);
std::string shape_text(const Shape& shape);  // "[4096, 14336]"

// A read-only view. It does not own; `keep` may hold the owner (a file's map) alive.
struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  const std::byte* data = nullptr;
  std::shared_ptr<const void> keep;

  int64_t count() const { return element_count(shape); }
  size_t bytes() const { return static_cast<size_t>((static_cast<uint64_t>(count()) * dtype_bits(dtype) + 7) / 8); }
  template <class T>
  const T* as() const { return reinterpret_cast<const T*>(data); }
  std::span<const std::byte> span() const { return {data, bytes()}; }
};

// Owned memory, 64-byte aligned, not initialized unless zeroed() is used.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);
  static Tensor zeroed(DType dtype, Shape shape);
  static Tensor copy_of(const TensorView& view);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t count() const { return element_count(shape_); }
  size_t bytes() const { return bytes_; }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  template <class T>
  T* as() { return reinterpret_cast<T*>(data_.get()); }
  template <class T>
  const T* as() const { return reinterpret_cast<const T*>(data_.get()); }
  TensorView view() const { return {dtype_, shape_, data_.get(), data_}; }  // keeps the memory alive
  bool empty() const { return !data_; }

 private:
  DType dtype_ = DType::f32;
  Shape shape_;
  size_t bytes_ = 0;
  std::shared_ptr<std::byte> data_;
};

// Element conversion between F64, F32, F16, BF16 (one rounding, to nearest even) and from integers.
// out has count elements of `to`. bad_input for a pair that has no meaning (e.g. F32 → I8).
Status convert_elements(const std::byte* in, DType from, std::byte* out, DType to, int64_t count);
Result<Tensor> convert(const TensorView& view, DType to);
// The common case: any float type to float32.
Result<std::vector<float>> to_f32(const TensorView& view);

// True when an element is NaN or infinite; first = index of the first such element.
bool has_non_finite(const TensorView& view, int64_t* first = nullptr);

}  // namespace bm
