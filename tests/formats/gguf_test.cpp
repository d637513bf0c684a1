#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/checkpoint.h"
#include "paths.h"

namespace bm {
namespace {

// Writes a small file front to back.
class Builder {
 public:
  explicit Builder(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    bytes_ = "GGUF";
    number(version), number(tensors), number(keys);
  }
  template <class T>
  Builder& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Builder& text(std::string_view value) {
    number(static_cast<uint64_t>(value.size()));
    bytes_ += value;
    return *this;
  }
  Builder& key_text(std::string_view key, std::string_view value) {
    return text(key).number(uint32_t{8}).text(value);
  }
  Builder& key_u32(std::string_view key, uint32_t value) {
    return text(key).number(uint32_t{4}).number(value);
  }
  Builder& key_f32(std::string_view key, float value) { return text(key).number(uint32_t{6}).number(value); }
  Builder& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    text(name).number(static_cast<uint32_t>(dims.size()));
    for (uint64_t d : dims) number(d);
    return number(type).number(offset);
  }
  Builder& data(size_t count) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32, '\0');
    for (size_t i = 0; i < count; ++i) bytes_ += static_cast<char>(i * 37 % 251);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::string refusal(const std::string& bytes) {
  auto status = check_gguf(std::as_bytes(std::span(bytes)));
  return status.ok() ? "accepted" : status.error().paragraph();
}

TEST(Gguf, ReadsMetadataAndTensors) {
  testing::TemporaryFolder folder;
  Builder file(2, 5);
  file.key_text("general.architecture", "llama").key_u32("general.alignment", 32).key_f32("eps", 1e-5f);
  file.text("tokens")
      .number(uint32_t{9})
      .number(uint32_t{8})
      .number(uint64_t{2})
      .text("<s>")
      .text("\xe2\x96\x81 a");
  file.text("flag").number(uint32_t{7}).number(uint8_t{1});
  file.tensor("a", {4, 2}, 0, 0).tensor("b", {32, 3}, 8, 32).data(32 + 3 * 34);
  std::string path = folder.file("x.gguf");
  ASSERT_TRUE(write_file_atomic(path, file.bytes()).ok());
  auto opened = GgufFile::open(path);
  ASSERT_TRUE(opened.ok()) << opened.error().paragraph();
  EXPECT_EQ(opened->metadata()["tokens"][1].as_string(), "\xe2\x96\x81 a");
  EXPECT_EQ(opened->metadata()["eps"].as_double(), static_cast<double>(1e-5f));
  EXPECT_TRUE(opened->metadata()["flag"].as_bool());
  EXPECT_EQ(opened->find("a")->shape, (Shape{2, 4}));
  EXPECT_EQ(opened->find("b")->blocks, BlockType::q8_0);
  EXPECT_EQ(opened->data(*opened->find("b")).size(), 102u);
  EXPECT_EQ(opened->data(*opened->find("b"))[0], std::byte{static_cast<unsigned char>(32 * 37 % 251)});
}

TEST(Gguf, RefusesEveryLie) {
  const std::string good = Builder(1, 1).key_u32("k", 1).tensor("a", {4}, 0, 0).data(16).bytes();
  ASSERT_EQ(refusal(good), "accepted");
  struct Lie {
    std::string bytes;
    const char* says;
  };
  std::string big_endian = good;
  std::swap(big_endian[4], big_endian[7]);
  const Lie lies[] = {
      {"", "too short"},
      {"GGML" + good.substr(4), "does not begin with GGUF"},
      {Builder(1, 1, 1).key_u32("k", 1).bytes(), "version 1"},
      {Builder(0, 0, 4).bytes(), "version 4"},
      {big_endian, "big-endian"},
      {Builder(1, ~uint64_t{0}).key_u32("k", 1).bytes(), "keys"},
      {Builder(~uint64_t{0}, 1).key_u32("k", 1).data(64).bytes(), "tensors"},
      {Builder(0, 2).key_u32("k", 1).key_u32("k", 2).bytes(), "twice"},
      {Builder(0, 1).number(~uint64_t{0}).data(64).bytes(), "key of"},
      {Builder(0, 1).text("k").number(uint32_t{8}).number(uint64_t{1} << 40).bytes(), "string of"},
      {Builder(0, 1).text("k").number(uint32_t{99}).number(uint64_t{0}).bytes(), "unknown type 99"},
      {Builder(0, 1).text("k").number(uint32_t{7}).number(uint8_t{2}).data(8).bytes(), "truth value"},
      {Builder(0, 1).text("k").number(uint32_t{9}).number(uint32_t{9}).number(uint64_t{1}).bytes(),
       "array of arrays"},
      {Builder(0, 1).text("k").number(uint32_t{9}).number(uint32_t{4}).number(uint64_t{1} << 61).bytes(),
       "array of"},
      {Builder(0, 1).text("k").number(uint32_t{9}).number(uint32_t{77}).number(uint64_t{1}).bytes(),
       "unknown type 77"},
      {Builder(0, 1).key_u32("general.alignment", 0).bytes(), "power of two"},
      {Builder(0, 1).key_u32("general.alignment", 24).bytes(), "power of two"},
      {Builder(1, 0).tensor("a", {1, 1, 1, 1, 1}, 0, 0).data(4).bytes(), "rank 5"},
      {Builder(1, 0).tensor("a", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0).data(4).bytes(), "64 bits"},
      {Builder(1, 0).tensor("a", {uint64_t{1} << 62}, 0, 0).data(4).bytes(), "64 bits"},
      {Builder(1, 0).tensor("a", {4}, 4, 0).data(16).bytes(), "unknown type 4"},
      {Builder(1, 0).tensor("a", {33}, 2, 0).data(64).bytes(), "do not divide"},
      {Builder(1, 0).tensor("a", {4}, 0, 8).data(64).bytes(), "not aligned"},
      {Builder(1, 0).tensor("a", {4}, 0, uint64_t{1} << 62).data(16).bytes(), "truncated"},
      {Builder(1, 0).tensor("a", {8}, 0, 0).data(31).bytes(), "truncated"},
      {Builder(2, 0).tensor("a", {4}, 0, 0).tensor("a", {4}, 0, 32).data(48).bytes(), "twice"},
      {Builder(2, 0).tensor("a", {16}, 0, 0).tensor("b", {4}, 0, 32).data(64).bytes(), "overlap"},
  };
  for (const Lie& lie : lies)
    EXPECT_NE(refusal(lie.bytes).find(lie.says), std::string::npos)
        << lie.says << " | " << refusal(lie.bytes);
  for (size_t n = 0; n < good.size(); ++n) EXPECT_NE(refusal(good.substr(0, n)), "accepted") << n;
}

TEST(Gguf, RowsOfHeadsGoBackToTheirPlaces) {
  // Forward, as convert_hf_to_gguf.py does it: reshape(heads, 2, width/2).swapaxes(1, 2).
  const int64_t rows = 24, heads = 3, width = 8;
  std::vector<int64_t> gguf(rows);
  int64_t at = 0;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < width / 2; ++i)
      for (int64_t part = 0; part < 2; ++part)
        gguf[static_cast<size_t>(at++)] = h * width + part * width / 2 + i;
  for (int64_t row = 0; row < rows; ++row)
    EXPECT_EQ(gguf[static_cast<size_t>(permuted_row(row, rows, heads))], row);
}

TEST(Gguf, RefusesModelsItDoesNotKnow) {
  testing::TemporaryFolder folder;
  std::string path = folder.file("x.gguf");
  auto refused = [&](const Builder& file) {
    EXPECT_TRUE(write_file_atomic(path, file.bytes()).ok());
    auto opened = Checkpoint::open(path);
    return opened.ok() ? "accepted" : opened.error().paragraph();
  };
  EXPECT_NE(refused(Builder(0, 1).key_text("general.architecture", "qwen2")).find("qwen2 is not supported"),
            std::string::npos);
  EXPECT_NE(refused(Builder(0, 1).key_u32("k", 1)).find("general.architecture is missing"),
            std::string::npos);
  auto base = [](uint64_t tensors, uint64_t keys) {
    Builder file(tensors, keys);
    file.key_text("general.architecture", "llama")
        .key_u32("llama.embedding_length", 8)
        .key_u32("llama.block_count", 1);
    file.key_u32("llama.feed_forward_length", 8)
        .key_u32("llama.attention.head_count", 2)
        .key_u32("llama.context_length", 16);
    return file;
  };
  EXPECT_EQ(refused(base(1, 6).tensor("token_embd.weight", {8, 3}, 0, 0).data(96)), "accepted");
  EXPECT_NE(refused(base(0, 6)).find("token_embd.weight is missing"), std::string::npos);
  EXPECT_NE(refused(base(2, 6)
                        .tensor("token_embd.weight", {8, 3}, 0, 0)
                        .tensor("blk.0.ffn_exps.weight", {8}, 0, 96)
                        .data(128))
                .find("no place"),
            std::string::npos);
  EXPECT_NE(
      refused(base(1, 7).key_u32("llama.expert_count", 8).tensor("token_embd.weight", {8, 3}, 0, 0).data(96))
          .find("experts"),
      std::string::npos);
  EXPECT_NE(refused(base(2, 6)
                        .tensor("token_embd.weight", {8, 3}, 0, 0)
                        .tensor("blk.0.attn_q.weight", {8, 6}, 0, 96)
                        .data(96 + 192))
                .find("heads"),
            std::string::npos);
  EXPECT_NE(refused(base(1, 7).key_u32("split.count", 2).tensor("token_embd.weight", {8, 3}, 0, 0).data(96))
                .find("split"),
            std::string::npos);
}

}  // namespace
}  // namespace bm
