#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace bm {
namespace {

// Every finite f16 value, and the midpoints to its neighbours, against exact arithmetic in double.
TEST(Half, F16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7c00u; ++bits) {
    auto here = static_cast<uint16_t>(bits);
    float value = f16_to_f32(here);
    EXPECT_EQ(f32_to_f16(value), here);
    EXPECT_EQ(f32_to_f16(-value), here | 0x8000u);
    double exponent = bits >> 10 ? static_cast<double>(bits >> 10) - 25 : -24;
    double fraction = bits >> 10 ? (bits & 0x3ff) + 1024.0 : bits & 0x3ff;
    EXPECT_EQ(static_cast<double>(value), std::ldexp(fraction, static_cast<int>(exponent)));
    float next = bits + 1 < 0x7c00u ? f16_to_f32(static_cast<uint16_t>(bits + 1)) : 65536.0f;
    float middle = (value + next) / 2;
    EXPECT_EQ(f32_to_f16(middle), (bits & 1) ? bits + 1 : bits);
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), bits + 1);
  }
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7c00u);
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(std::nanf("")))));
}

TEST(Half, Bf16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7f80u; ++bits) {
    float value = bf16_to_f32(static_cast<uint16_t>(bits));
    EXPECT_EQ(f32_to_bf16(value), bits);
    float middle = std::bit_cast<float>((bits << 16) | 0x8000u);
    EXPECT_EQ(f32_to_bf16(middle), (bits & 1) ? bits + 1 : bits);
    EXPECT_EQ(f32_to_bf16(std::bit_cast<float>((bits << 16) | 0x7fffu)), bits);
    EXPECT_EQ(f32_to_bf16(std::bit_cast<float>((bits << 16) | 0x8001u)), bits + 1);
  }
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(Convert, DoubleToHalfRoundsOnce) {
  // 1 + 2^-9 + 2^-40 lies just above a bf16 midpoint (ulp 2^-7 … midpoint 1 + 2^-8): double rounding through
  // float32 would lose the last term and round the tie to even.
  double values[] = {1.0 + 0x1p-8 + 0x1p-40, 1.0 + 0x1p-8 - 0x1p-40, -(1.0 + 0x1p-8 + 0x1p-40), 1e300,
                     0x1p-200};
  uint16_t out[5];
  ASSERT_TRUE(convert_elements(reinterpret_cast<const std::byte*>(values), DType::f64,
                               reinterpret_cast<std::byte*>(out), DType::bf16, 5)
                  .ok());
  EXPECT_EQ(out[0], 0x3f81u);
  EXPECT_EQ(out[1], 0x3f80u);
  EXPECT_EQ(out[2], 0xbf81u);
  EXPECT_EQ(out[3], 0x7f80u);
  EXPECT_EQ(out[4], 0x0000u);
}

TEST(Convert, RefusesWhatHasNoMeaning) {
  float value = 1;
  int8_t out = 0;
  EXPECT_FALSE(convert_elements(reinterpret_cast<const std::byte*>(&value), DType::f32,
                                reinterpret_cast<std::byte*>(&out), DType::i8, 1)
                   .ok());
}

TEST(NonFinite, NamesTheFirst) {
  Tensor tensor = Tensor::zeroed(DType::bf16, {3, 5});
  EXPECT_FALSE(has_non_finite(tensor.view()));
  tensor.as<uint16_t>()[7] = 0xff80u;
  int64_t first = -1;
  EXPECT_TRUE(has_non_finite(tensor.view(), &first));
  EXPECT_EQ(first, 7);
}

TEST(DTypes, BothHabits) {
  EXPECT_EQ(dtype_from_user("bf16"), DType::bf16);
  EXPECT_EQ(dtype_from_user("torch.bfloat16"), DType::bf16);
  EXPECT_EQ(dtype_from_user("float32"), DType::f32);
  EXPECT_EQ(dtype_from_user("float"), DType::f32);
  EXPECT_EQ(dtype_from_user("f99"), std::nullopt);
  EXPECT_EQ(dtype_from_safetensors("F8_E4M3"), DType::f8_e4m3);
}

}  // namespace
}  // namespace bm
