// AutoAWQ's quantizer and its packings, bit for bit.
#include <gtest/gtest.h>

#include "golden.h"
#include "tensor/awq_groups.h"
#include "tensor/awq_layout.h"

namespace bm::testing {
namespace {

const std::vector<std::string> kPseudo = {
    "awq_pseudo_quantiser/pseudo_quantiser_group128_fp32.safetensors",
    "awq_pseudo_quantiser/pseudo_quantiser_group128_fp16.safetensors",
    "awq_pseudo_quantiser/pseudo_quantiser_group128_bf16.safetensors",
    "awq_pseudo_quantiser/pseudo_quantiser_group64_fp32.safetensors",
    "awq_pseudo_quantiser/pseudo_quantiser_group64_fp16.safetensors",
    "awq_pseudo_quantiser/pseudo_quantiser_group64_bf16.safetensors",
};

class PseudoQuantizer : public ::testing::TestWithParam<std::string> {};

TEST_P(PseudoQuantizer, EveryValueScaleAndZeroEqualsThePeer) {
  if (golden_path(GetParam()).empty()) GTEST_SKIP() << "needs ../shared";
  GoldenFile golden = GoldenFile::open(GetParam());
  TensorView weight = golden.view("weight");
  std::vector<float> values = golden.f32("weight");
  AwqGroupOptions options{.group = std::stoll(golden.metadata("group_size")), .precision = weight.dtype};
  for (bool zero_point : {true, false}) {
    std::string kind = zero_point ? "zero_point" : "symmetric";
    options.zero_point = zero_point;
    std::vector<float> decoded = values;
    awq_pseudo_quantize(decoded.data(), weight.shape[0], weight.shape[1], options);
    // Compared as numbers: the peer's -0 and our +0 are the same weight.
    std::vector<float> expected = golden.f32(kind + ".dequantised");
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(decoded[i], expected[i]) << kind << " element " << i;
    AwqCodes codes = awq_quantize(values, weight.shape[0], weight.shape[1], options);
    EXPECT_EQ(differing(codes.scales, golden.f32(kind + ".scales")), 0u);
    if (zero_point) {
      std::vector<float> zeros = golden.f32("zero_point.zeros");
      for (size_t i = 0; i < zeros.size(); ++i) ASSERT_EQ(codes.zeros[i], zeros[i]) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, PseudoQuantizer, ::testing::ValuesIn(kPseudo));

const std::vector<std::string> kPacking = {
    "awq_packing/linear_out128_in256_group64_bias.safetensors",
    "awq_packing/linear_out256_in128_group128.safetensors",
    "awq_packing/linear_out256_in128_group32_bias.safetensors",
    "awq_packing/linear_out64_in256_group32.safetensors",
    "awq_packing/linear_out64_in384_group128_bias.safetensors",
};

class Packing : public ::testing::TestWithParam<std::string> {};

TEST_P(Packing, EveryTensorEqualsThePeerAndDecodesBack) {
  if (golden_path(GetParam()).empty()) GTEST_SKIP() << "needs ../shared";
  GoldenFile golden = GoldenFile::open(GetParam());
  TensorView weight = golden.view("weight");
  int64_t rows = weight.shape[0], columns = weight.shape[1];
  AwqGroupOptions options{.group = std::stoll(golden.metadata("group_size")), .precision = DType::f16};
  AwqCodes codes = awq_quantize(golden.f32("weight"), rows, columns, options);

  AwqPacked gemm = awq_pack(codes, AwqLayout::gemm);
  EXPECT_EQ(differing(gemm.qweight, golden.values<int32_t>("gemm.qweight")), 0u);
  EXPECT_EQ(differing(gemm.qzeros, golden.values<int32_t>("gemm.qzeros")), 0u);
  EXPECT_EQ(differing(gemm.scales, golden.values<uint16_t>("gemm.scales")), 0u);
  AwqPacked gemv = awq_pack(codes, AwqLayout::gemv);
  EXPECT_EQ(differing(gemv.qweight, golden.values<int32_t>("gemv.qweight")), 0u);
  EXPECT_EQ(differing(gemv.qzeros, golden.values<int32_t>("gemv.qzeros")), 0u);
  EXPECT_EQ(differing(gemv.scales, golden.values<uint16_t>("gemv.scales")), 0u);
  AwqPacked fast = awq_pack(codes, AwqLayout::gemv_fast);
  EXPECT_EQ(differing(fast.qweight_fast, golden.values<int16_t>("gemv_fast.qweight")), 0u);
  EXPECT_EQ(differing(fast.scales, golden.values<uint16_t>("gemv_fast.scales")), 0u);
  EXPECT_EQ(differing(fast.qzeros_fast, golden.values<uint16_t>("gemv_fast.qzeros")), 0u);
  ExllamaPacked exllama = awq_to_exllama(codes, /*borrow=*/true);
  EXPECT_EQ(differing(exllama.qweight, golden.values<int32_t>("exllama.qweight")), 0u);
  EXPECT_EQ(differing(exllama.qzeros, golden.values<int32_t>("exllama.qzeros")), 0u);

  std::vector<float> expected = golden.f32("gemm.dequantised");  // [in, out]
  for (const AwqPacked* packed : {&gemm, &gemv, &fast}) {
    std::vector<float> decoded = awq_dequantize(awq_unpack(*packed));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c)
        ASSERT_EQ(decoded[static_cast<size_t>(r * columns + c)], expected[static_cast<size_t>(c * rows + r)])
            << awq_layout_name(packed->layout) << " row " << r << " column " << c;
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, Packing, ::testing::ValuesIn(kPacking));

}  // namespace
}  // namespace bm::testing
