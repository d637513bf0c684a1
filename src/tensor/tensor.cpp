#include "tensor/tensor.h"

#include <cstring>
#include <new>

#include "base/system.h"

namespace bm {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dimension : shape) count *= dimension;
  return count;
}

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  bytes_ = static_cast<size_t>((static_cast<uint64_t>(element_count(shape_)) * dtype_bits(dtype) + 7) / 8);
  size_t padded = (bytes_ + 127) / 64 * 64;
  const auto alignment = std::align_val_t(padded >= 4 * kHugePage ? kHugePage : 64);
  auto* memory = static_cast<std::byte*>(::operator new(padded, alignment));
  if (padded >= 4 * kHugePage) advise_huge_pages(memory, padded);
  data_ = std::shared_ptr<std::byte>(memory, [alignment](std::byte* p) { ::operator delete(p, alignment); });
}

Tensor Tensor::zeroed(DType dtype, Shape shape) {
  Tensor tensor(dtype, std::move(shape));
  std::memset(tensor.data(), 0, tensor.bytes());
  return tensor;
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  if (tensor.bytes()) std::memcpy(tensor.data(), view.data, tensor.bytes());
  return tensor;
}

namespace {

// Safetensors need not align their tensors, so elements are read by copy.
template <class T>
T load(const std::byte* in, int64_t i) {
  T value;
  std::memcpy(&value, in + static_cast<size_t>(i) * sizeof(T), sizeof(T));
  return value;
}
template <class T>
void save(std::byte* out, int64_t i, T value) {
  std::memcpy(out + static_cast<size_t>(i) * sizeof(T), &value, sizeof(T));
}

// float64 → 16 bits in one rounding: through float32 rounded to odd, which keeps what the second
// rounding needs to know (24 bits >= 11 + 2).
float to_odd_f32(double value) {
  auto nearest = static_cast<float>(value);
  if (!std::isfinite(nearest) || static_cast<double>(nearest) == value) return nearest;
  uint32_t bits = std::bit_cast<uint32_t>(nearest);
  bool away = std::abs(static_cast<double>(nearest)) > std::abs(value);
  if (away) --bits;  // truncated toward zero
  return std::bit_cast<float>(bits | 1u);
}

template <class Read>
Status write_as(DType to, std::byte* out, int64_t count, Read read) {
  switch (to) {
    case DType::f64:
      for (int64_t i = 0; i < count; ++i) save<double>(out, i, static_cast<double>(read(i)));
      return {};
    case DType::f32:
      for (int64_t i = 0; i < count; ++i) save<float>(out, i, static_cast<float>(read(i)));
      return {};
    case DType::f16:
      for (int64_t i = 0; i < count; ++i) {
        auto value = read(i);
        if constexpr (sizeof(value) == 4 && std::is_floating_point_v<decltype(value)>)
          save<uint16_t>(out, i, f32_to_f16(value));
        else
          save<uint16_t>(out, i, f32_to_f16(to_odd_f32(static_cast<double>(value))));
      }
      return {};
    case DType::bf16:
      for (int64_t i = 0; i < count; ++i) {
        auto value = read(i);
        if constexpr (sizeof(value) == 4 && std::is_floating_point_v<decltype(value)>)
          save<uint16_t>(out, i, f32_to_bf16(value));
        else
          save<uint16_t>(out, i, f32_to_bf16(to_odd_f32(static_cast<double>(value))));
      }
      return {};
    default:
      return bad_input("cannot convert to " + std::string(dtype_name(to)));
  }
}

}  // namespace

Status convert_elements(const std::byte* in, DType from, std::byte* out, DType to, int64_t count) {
  if (from == to) {
    if (count)
      std::memcpy(out, in, static_cast<size_t>((static_cast<uint64_t>(count) * dtype_bits(from) + 7) / 8));
    return {};
  }
  switch (from) {
    case DType::f64:
      return write_as(to, out, count, [&](int64_t i) { return load<double>(in, i); });
    case DType::f32:
      return write_as(to, out, count, [&](int64_t i) { return load<float>(in, i); });
    case DType::f16:
      return write_as(to, out, count, [&](int64_t i) { return f16_to_f32(load<uint16_t>(in, i)); });
    case DType::bf16:
      return write_as(to, out, count, [&](int64_t i) { return bf16_to_f32(load<uint16_t>(in, i)); });
    case DType::i64:
      return write_as(to, out, count, [&](int64_t i) { return load<int64_t>(in, i); });
    case DType::i32:
      return write_as(to, out, count, [&](int64_t i) { return load<int32_t>(in, i); });
    case DType::i8:
      return write_as(to, out, count, [&](int64_t i) { return load<int8_t>(in, i); });
    case DType::u8:
      return write_as(to, out, count, [&](int64_t i) { return load<uint8_t>(in, i); });
    default:
      break;
  }
  return bad_input("cannot convert " + std::string(dtype_name(from)) + " to " + std::string(dtype_name(to)));
}

Result<Tensor> convert(const TensorView& view, DType to) {
  Tensor out(to, view.shape);
  BM_CHECK_OK(convert_elements(view.data, view.dtype, out.data(), to, view.count()));
  return out;
}

Result<std::vector<float>> to_f32(const TensorView& view) {
  std::vector<float> out(static_cast<size_t>(view.count()));
  BM_CHECK_OK(convert_elements(view.data, view.dtype, reinterpret_cast<std::byte*>(out.data()), DType::f32,
                               view.count()));
  return out;
}

bool has_non_finite(const TensorView& view, int64_t* first) {
  auto scan = [&](auto zero, auto mask) {
    using Bits = decltype(zero);
    for (int64_t i = 0; i < view.count(); ++i) {
      if ((load<Bits>(view.data, i) & mask) != mask) continue;
      if (first) *first = i;
      return true;
    }
    return false;
  };
  switch (view.dtype) {
    case DType::f64:
      return scan(uint64_t{0}, uint64_t{0x7ff0000000000000u});
    case DType::f32:
      return scan(uint32_t{0}, uint32_t{0x7f800000u});
    case DType::f16:
      return scan(uint16_t{0}, uint16_t{0x7c00u});
    case DType::bf16:
      return scan(uint16_t{0}, uint16_t{0x7f80u});
    default:
      return false;
  }
}

}  // namespace bm
