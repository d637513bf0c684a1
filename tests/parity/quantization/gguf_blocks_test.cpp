// Block encoders against ggml's own bytes (golden/quantization/gguf/block_formats).
#include <gtest/gtest.h>

#include "golden.h"
#include "kernels/encode.h"
#include "tensor/quantized_blocks.h"

namespace bm {
namespace {

constexpr const char* kFile = "gguf/block_formats.safetensors";

TEST(GgufBlocks, LegacyFormatsByteForByte) {
  if (testing::golden_path(kFile).empty()) GTEST_SKIP() << kFile << " is not here";
  auto golden = testing::GoldenFile::open(kFile);
  auto x = golden.f32("input");
  for (BlockType type :
       {BlockType::q4_0, BlockType::q4_1, BlockType::q5_0, BlockType::q5_1, BlockType::q8_0}) {
    std::string name(block_name(type));
    auto expected = golden.values<uint8_t>(name + ".bytes");
    std::vector<uint8_t> bytes(expected.size());
    quantize_blocks(type, x.data(), static_cast<int64_t>(x.size()),
                    reinterpret_cast<std::byte*>(bytes.data()));
    EXPECT_EQ(testing::differing(bytes, expected), 0u) << name;
  }
}

double squared_error(const std::vector<float>& x, const std::vector<float>& y, size_t first, size_t count) {
  double sum = 0;
  for (size_t i = first; i < first + count; ++i) {
    double miss = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    sum += miss * miss;
  }
  return sum;
}

// Row by row: no row may be worse than ggml's, edge rows included.
TEST(GgufBlocks, KQuantsNoWorseThanTheLibrary) {
  if (testing::golden_path(kFile).empty()) GTEST_SKIP() << kFile << " is not here";
  auto golden = testing::GoldenFile::open(kFile);
  auto x = golden.f32("input");
  auto rows = static_cast<size_t>(golden.view("input").shape[0]), columns = x.size() / rows;
  auto encoder = [](BlockType type) {
    const EncodeKernels& k = encode_kernels();
    return type == BlockType::q4_k ? k.q4_k : type == BlockType::q5_k ? k.q5_k : k.q6_k;
  };
  for (BlockType type : {BlockType::q4_k, BlockType::q5_k, BlockType::q6_k}) {
    std::string name(block_name(type));
    auto theirs = golden.f32(name + ".dequantised");
    std::vector<uint8_t> bytes(golden.values<uint8_t>(name + ".bytes").size());
    encoder(type)(static_cast<int64_t>(x.size() / 256), x.data(), nullptr, bytes.data());
    std::vector<float> ours(x.size());
    dequantize_blocks(type, reinterpret_cast<const std::byte*>(bytes.data()), ours.data(),
                      static_cast<int64_t>(x.size()));
    double total = 0, total_theirs = 0;
    for (size_t r = 0; r < rows; ++r) {
      double mine = squared_error(x, ours, r * columns, columns);
      double other = squared_error(x, theirs, r * columns, columns);
      EXPECT_LE(mine, other * 1.0001 + 1e-30) << name << " row " << r;
      if (r < 11) continue;  // edge rows of other magnitudes would drown the sum
      total += mine;
      total_theirs += other;
    }
    EXPECT_LT(total, total_theirs) << name;
    RecordProperty(name + "_error_ratio", std::to_string(std::sqrt(total / total_theirs)));
  }
}

}  // namespace
}  // namespace bm
