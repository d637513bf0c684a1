// bitsandbytes' 4-bit blocks, double quantization and int8 rows: bytes equal, decoded values equal.
#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "golden.h"
#include "tensor/int8_rows.h"
#include "tensor/nf4_blocks.h"

namespace bm::testing {
namespace {

struct Case {
  std::string stem, input;  // "fp32.nf4.block64.double", "fp32"
  FourBitKind kind;
  int64_t block;
  bool nested;
};

std::vector<Case> cases_of(const GoldenFile& golden) {
  std::vector<Case> cases;
  for (const SafetensorsEntry& entry : golden.file.entries()) {
    if (!ends_with(entry.name, ".packed")) continue;
    std::string stem = entry.name.substr(0, entry.name.size() - 7);
    std::vector<std::string> parts = split(stem, '.');
    cases.push_back({stem, parts[0], parts[1] == "nf4" ? FourBitKind::nf4 : FourBitKind::fp4,
                     std::stoll(parts[2].substr(5)), parts.size() == 4});
  }
  return cases;
}

// Equal, but for bf16 results below the normal range: the peer's AVX512-BF16 conversion flushes them.
void expect_decoded(const std::vector<float>& ours, const std::vector<float>& theirs, bool bf16,
                    const std::string& what) {
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    if (bf16 && std::fabs(ours[i] - theirs[i]) < 1.2e-38f) continue;
    ASSERT_EQ(ours[i], theirs[i]) << what << " element " << i;
  }
}

class FourBit : public ::testing::TestWithParam<std::string> {};

TEST_P(FourBit, BytesMaximaAndDecodedValuesEqualThePeer) {
  if (golden_path(GetParam()).empty()) GTEST_SKIP() << "needs ../shared";
  GoldenFile golden = GoldenFile::open(GetParam());
  bool edges = GetParam().find("edge_blocks") != std::string::npos;
  for (const Case& c : cases_of(golden)) {
    SCOPED_TRACE(c.stem);
    std::vector<float> input = golden.f32(c.input + ".input");
    DType dtype = golden.view(c.input + ".input").dtype;
    auto count = static_cast<int64_t>(input.size());
    std::vector<uint8_t> packed(static_cast<size_t>(four_bit_bytes(count)));
    std::vector<float> absmax(static_cast<size_t>(four_bit_blocks(count, c.block)));
    four_bit_encode(c.kind, input.data(), count, c.block, packed.data());
    four_bit_absmax(input.data(), count, c.block, absmax.data());
    EXPECT_EQ(differing(packed, golden.values<uint8_t>(c.stem + ".packed")), 0u);
    if (!c.nested) {
      EXPECT_EQ(differing(absmax, golden.f32(c.stem + ".absmax")), 0u);
    } else {
      float theirs = golden.f32(c.stem + ".nested_offset")[0];
      float ours = nest_absmax(absmax).offset;
      float unit = std::nextafter(std::fabs(theirs), INFINITY) - std::fabs(theirs);
      EXPECT_LE(std::fabs(ours - theirs), edges ? 1e-6f * std::fabs(theirs) : 2 * unit);
      NestedAbsmax nested = nest_absmax(absmax, theirs);
      EXPECT_EQ(differing(nested.codes, golden.values<uint8_t>(c.stem + ".absmax")), 0u);
      EXPECT_EQ(differing(nested.absmax, golden.f32(c.stem + ".nested_absmax")), 0u);
      absmax = unnest_absmax(nested.codes, nested.absmax, dynamic_map(), theirs);
    }
    std::vector<float> decoded(input.size());
    four_bit_decode(c.kind, packed.data(), absmax.data(), count, c.block, dtype, decoded.data());
    expect_decoded(decoded, golden.f32(c.stem + ".dequantised"), dtype == DType::bf16, c.stem);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, FourBit,
                         ::testing::Values("bitsandbytes/four_bit_matrix.safetensors",
                                           "bitsandbytes/four_bit_edge_blocks.safetensors",
                                           "bitsandbytes/four_bit_odd_count.safetensors",
                                           "bitsandbytes/double_quantisation.safetensors"));

TEST(FourBitMaps, EqualThePeers) {
  std::string name = "bitsandbytes/double_quantisation.safetensors";
  GoldenFile state = GoldenFile::open("bitsandbytes/linear4bit_state_dict.safetensors");
  std::vector<float> dynamic(dynamic_map().begin(), dynamic_map().end());
  std::vector<float> nf4(four_bit_map(FourBitKind::nf4).begin(), four_bit_map(FourBitKind::nf4).end());
  EXPECT_EQ(differing(dynamic, state.f32("weight.nested_quant_map")), 0u);
  EXPECT_EQ(differing(nf4, state.f32("weight.quant_map")), 0u);
  if (golden_path(name).empty()) return;
  GoldenFile golden = GoldenFile::open(name);
  std::vector<float> fp4(four_bit_map(FourBitKind::fp4).begin(), four_bit_map(FourBitKind::fp4).end());
  EXPECT_EQ(differing(fp4, golden.f32("fp4_quant_map")), 0u);
  EXPECT_EQ(differing(nf4, golden.f32("nf4_quant_map")), 0u);
}

TEST(FourBitNested, MaximaBeforeAndAfterCompressionEqualThePeer) {
  std::string name = "bitsandbytes/double_quantisation.safetensors";
  if (golden_path(name).empty()) GTEST_SKIP() << "needs ../shared";
  GoldenFile golden = GoldenFile::open(name);
  std::vector<float> before = golden.f32("absmax_before_compression");
  NestedAbsmax nested = nest_absmax(before, golden.f32("bf16.nf4.block64.double.nested_offset")[0]);
  EXPECT_EQ(nested.absmax.size(), 3u);
  std::vector<float> after = unnest_absmax(nested.codes, nested.absmax, dynamic_map(), nested.offset);
  EXPECT_EQ(differing(after, golden.f32("absmax_after_decompression")), 0u);
}

TEST(Int8Rows, WeightsInputsAndProductsEqualThePeer) {
  GoldenFile golden = GoldenFile::open("bitsandbytes/int8_linear.safetensors");
  TensorView weight = golden.view("weight");
  int64_t rows = weight.shape[0], columns = weight.shape[1];
  std::vector<float> w = golden.f32("weight");
  std::vector<int8_t> codes(w.size());
  std::vector<float> scb(static_cast<size_t>(rows));
  int8_row_maxima(w.data(), rows, columns, scb.data());
  int8_encode_rows(w.data(), rows, columns, codes.data());
  EXPECT_EQ(differing(codes, golden.values<int8_t>("state_dict.weight")), 0u);
  EXPECT_EQ(differing(scb, golden.f32("state_dict.SCB")), 0u);

  TensorView input = golden.view("input.fp16");
  int64_t tokens = input.shape[0];
  std::vector<float> x = golden.f32("input.fp16");
  for (int threshold : {0, 6}) {
    SCOPED_TRACE(threshold);
    std::string stem = "threshold" + std::to_string(threshold);
    Int8Input quantized = int8_quantize_input(x.data(), tokens, columns, static_cast<float>(threshold));
    EXPECT_EQ(differing(quantized.codes, golden.values<int8_t>(stem + ".input_int8")), 0u);
    EXPECT_EQ(differing(quantized.row_maxima, golden.f32(stem + ".input_row_absmax")), 0u);
    if (threshold) {
      EXPECT_EQ(differing(quantized.outliers, golden.values<int64_t>(stem + ".outlier_columns")), 0u);
    }
    std::vector<int32_t> product(static_cast<size_t>(tokens * rows));
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = 0; r < rows; ++r) {
        int32_t sum = 0;
        for (int64_t c = 0; c < columns; ++c)
          sum += int32_t{quantized.codes[static_cast<size_t>(t * columns + c)]} *
                 int32_t{codes[static_cast<size_t>(r * columns + c)]};
        product[static_cast<size_t>(t * rows + r)] = sum;
      }
    EXPECT_EQ(differing(product, golden.values<int32_t>(stem + ".int32_product")), 0u);
  }
}

}  // namespace
}  // namespace bm::testing
