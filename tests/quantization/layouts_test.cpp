// Packing and decoding of quantized layouts: fixed patterns, round trips, edge values, published statistics.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/random.h"
#include "tensor/awq_groups.h"
#include "tensor/awq_layout.h"
#include "tensor/int8_rows.h"
#include "tensor/nf4_blocks.h"

namespace bm {
namespace {

std::vector<float> normals(size_t count, uint64_t seed) {
  CounterRandom random(seed, 3);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(random.normal(i));
  return values;
}

TEST(RoundToF16, FastFormEqualsThePlainOneOnEveryHalfAndBetween) {
  for (uint32_t half = 0; half < 65536; ++half) {
    float exact = f16_to_f32(static_cast<uint16_t>(half));
    if (std::isnan(exact)) {
      EXPECT_TRUE(std::isnan(round_to_f16_fast(exact)));
      continue;
    }
    for (int step : {-3, -2, -1, 0, 1, 2, 3}) {
      // Around the value itself and around the midpoint to the next one (half a float16 unit is 2^12 float
      // steps).
      for (uint32_t offset : {0u, 0x1000u}) {
        uint32_t bits = std::bit_cast<uint32_t>(exact) + offset + static_cast<uint32_t>(step);
        float value = std::bit_cast<float>(bits);
        if (std::isnan(value)) continue;
        ASSERT_EQ(std::bit_cast<uint32_t>(round_to_f16_fast(value)),
                  std::bit_cast<uint32_t>(round_to_f16(value)))
            << value;
      }
    }
  }
}

AwqCodes counting_codes(int64_t rows, int64_t columns, int64_t group) {
  AwqCodes codes;
  codes.rows = rows;
  codes.columns = columns;
  codes.group = group;
  CounterRandom random(5, 5);
  codes.codes.resize(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < codes.codes.size(); ++i) codes.codes[i] = static_cast<uint8_t>(random.below(i, 16));
  codes.scales.resize(static_cast<size_t>(rows * columns / group));
  codes.zeros.resize(codes.scales.size());
  for (size_t i = 0; i < codes.scales.size(); ++i) {
    codes.scales[i] = round_to_f16(0.01f * static_cast<float>(1 + i % 7));
    codes.zeros[i] = static_cast<float>(random.below(1000000 + i, 16));
  }
  return codes;
}

TEST(AwqLayouts, ChannelsZeroToSevenPackAsThePeerPacksThem) {
  AwqCodes codes = counting_codes(8, 32, 32);
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t c = 0; c < 32; ++c) codes.codes[static_cast<size_t>(r * 32 + c)] = static_cast<uint8_t>(r);
  EXPECT_EQ(awq_pack(codes, AwqLayout::gemm).qweight[0], 0x75316420);
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t c = 0; c < 32; ++c)
      codes.codes[static_cast<size_t>(r * 32 + c)] = static_cast<uint8_t>(c % 8);
  EXPECT_EQ(awq_pack(codes, AwqLayout::gemv).qweight[0], 0x76543210);
}

TEST(AwqLayouts, EveryLayoutGivesItsCodesBack) {
  for (auto [rows, columns, group] :
       {std::array<int64_t, 3>{8, 128, 32}, {24, 192, 64}, {64, 384, 128}, {32, 256, 256}}) {
    AwqCodes codes = counting_codes(rows, columns, group);
    for (AwqLayout layout : {AwqLayout::gemm, AwqLayout::gemv, AwqLayout::gemv_fast}) {
      ASSERT_EQ(awq_misfit(layout, rows, columns, group), "");
      AwqCodes back = awq_unpack(awq_pack(codes, layout));
      EXPECT_EQ(back.codes, codes.codes) << awq_layout_name(layout);
      EXPECT_EQ(back.scales, codes.scales);
      EXPECT_EQ(back.zeros, codes.zeros);
    }
  }
}

TEST(AwqLayouts, MisfitsSayWhyAndWhichGroupsFit) {
  EXPECT_NE(awq_misfit(AwqLayout::gemm, 64, 576, 128).find("576 inputs are no multiple of the group of 128"),
            std::string::npos);
  EXPECT_NE(awq_misfit(AwqLayout::gemm, 172, 64, 64).find("172 outputs are no multiple of 8"),
            std::string::npos);
  EXPECT_EQ(awq_fitting_groups(AwqLayout::gemm, 576), (std::vector<int64_t>{64, 32}));
  EXPECT_TRUE(awq_fitting_groups(AwqLayout::gemm, 172).empty());
}

TEST(AwqGroups, RangeWithZeroKeepsGroupsOfOneSign) {
  for (float value : {0.5f, -0.375f, 1.04f}) {
    std::vector<float> peer(64, value), ours(64, value);
    awq_pseudo_quantize(peer.data(), 1, 64, {.group = 64});
    awq_pseudo_quantize(ours.data(), 1, 64, {.group = 64, .widen_to_zero = true});
    EXPECT_GT(std::fabs(peer[0] - value), 0.2f) << "the peer destroys such a group";
    EXPECT_NEAR(ours[0], value, 1e-6);
  }
}

TEST(AwqGroups, ZerosSubnormalsAndOneOutlier) {
  AwqGroupOptions options{.group = 32, .widen_to_zero = true, .store_scale_f16 = true};
  std::vector<float> zeros(32, 0.0f);
  awq_pseudo_quantize(zeros.data(), 1, 32, options);
  for (float value : zeros) EXPECT_EQ(value, 0.0f);
  std::vector<float> tiny(32, std::numeric_limits<float>::denorm_min());
  awq_pseudo_quantize(tiny.data(), 1, 32, options);
  for (float value : tiny) EXPECT_TRUE(std::isfinite(value) && std::fabs(value) < 1e-6f);
  std::vector<float> outlier(32, 0.0f);
  outlier[7] = -60000.0f;
  awq_pseudo_quantize(outlier.data(), 1, 32, options);
  EXPECT_NEAR(outlier[7], -60000.0f, 60.0f);
  EXPECT_EQ(outlier[8], 0.0f);
}

// Mean |error| and mean relative error of a million normal values against the figures bitsandbytes
// publishes in its tests (mean and standard deviation over runs), 7 deviations either way.
struct Published {
  FourBitKind kind;
  int64_t block;
  double absolute, absolute_deviation, relative, relative_deviation;
};

class FourBitStatistics : public ::testing::TestWithParam<Published> {};

TEST_P(FourBitStatistics, ErrorsAreThePublishedOnes) {
  const Published& p = GetParam();
  const size_t count = 1024 * 1024;
  std::vector<float> values = normals(count, 41), decoded(count);
  std::vector<uint8_t> packed(count / 2);
  std::vector<float> absmax(count / static_cast<size_t>(p.block));
  auto n = static_cast<int64_t>(count);
  four_bit_encode(p.kind, values.data(), n, p.block, packed.data());
  four_bit_absmax(values.data(), n, p.block, absmax.data());
  four_bit_decode(p.kind, packed.data(), absmax.data(), n, p.block, DType::f32, decoded.data());
  double absolute = 0, relative = 0;
  for (size_t i = 0; i < count; ++i) {
    double error = std::fabs(static_cast<double>(values[i]) - static_cast<double>(decoded[i]));
    absolute += error;
    relative += error / (std::fabs(static_cast<double>(values[i])) + 1e-8);
  }
  EXPECT_NEAR(absolute / static_cast<double>(count), p.absolute, 7 * p.absolute_deviation);
  if (p.relative > 0) {
    EXPECT_NEAR(relative / static_cast<double>(count), p.relative, 7 * p.relative_deviation);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Bitsandbytes, FourBitStatistics,
    ::testing::Values(Published{FourBitKind::nf4, 32, .067746, .000069, 0, 0},
                      Published{FourBitKind::nf4, 64, .072798, .000074, .203339, .00034},
                      Published{FourBitKind::nf4, 128, .076831, .000091, .215237, .000391},
                      Published{FourBitKind::nf4, 256, .080337, .000102, 0, 0},
                      Published{FourBitKind::nf4, 4096, .092547, .00036, 0, 0},
                      Published{FourBitKind::fp4, 32, .088925, .000091, 0, 0},
                      Published{FourBitKind::fp4, 64, .096543, .000111, .260125, .000379},
                      Published{FourBitKind::fp4, 4096, .129536, .000612, 0, 0}));

TEST(FourBitNested, DoubleQuantizationStaysUnderThePublishedBounds) {
  const size_t count = 1024 * 1024;
  std::vector<float> values = normals(count, 43), decoded(count), absmax(count / 64);
  std::vector<uint8_t> packed(count / 2);
  four_bit_encode(FourBitKind::nf4, values.data(), count, 64, packed.data());
  four_bit_absmax(values.data(), count, 64, absmax.data());
  NestedAbsmax nested = nest_absmax(absmax);
  std::vector<float> back = unnest_absmax(nested.codes, nested.absmax, dynamic_map(), nested.offset);
  four_bit_decode(FourBitKind::nf4, packed.data(), back.data(), count, 64, DType::f32, decoded.data());
  double absolute = 0, relative = 0;
  for (size_t i = 0; i < count; ++i) {
    double error = std::fabs(static_cast<double>(values[i] - decoded[i]));
    absolute += error;
    relative += error / (std::fabs(static_cast<double>(values[i])) + 1e-8);
  }
  EXPECT_LT(absolute / count, 0.11);
  EXPECT_LT(relative / count, 0.28);
}

TEST(FourBitNested, EqualMaximaLeaveNothingToEncode) {
  std::vector<float> absmax(300, 0.25f);
  NestedAbsmax nested = nest_absmax(absmax);
  EXPECT_EQ(nested.absmax, (std::vector<float>{0.0f, 0.0f}));
  for (float value : unnest_absmax(nested.codes, nested.absmax, dynamic_map(), nested.offset))
    EXPECT_EQ(value, 0.25f);
}

TEST(Int8Rows, DecodedRowsAreWithinHalfAStepAndZeroRowsStayZero) {
  std::vector<float> values = normals(4 * 50, 44);
  for (size_t i = 50; i < 100; ++i) values[i] = 0;
  for (float& value : values) value = round_to_f16(value);
  std::vector<int8_t> codes(values.size());
  std::vector<float> scb(4), decoded(values.size());
  int8_row_maxima(values.data(), 4, 50, scb.data());
  int8_encode_rows(values.data(), 4, 50, codes.data());
  int8_decode_rows(codes.data(), scb.data(), 4, 50, decoded.data());
  EXPECT_EQ(scb[1], 0.0f);
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_LE(std::fabs(values[i] - decoded[i]), scb[i / 50] / 254.0f * 1.001f);
}

}  // namespace
}  // namespace bm
