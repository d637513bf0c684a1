#include "formats/megatron.h"

#include <gtest/gtest.h>

#include <cstring>

#include "paths.h"

namespace bm {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  char digits[3];
  for (char c : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(c));
    text += digits;
  }
  return text;
}

TEST(Megatron, BytesOfTheFormat) {
  testing::TemporaryFolder folder;
  auto writer = MegatronWriter::create(folder.file("t"), 300);
  ASSERT_TRUE(writer.ok());
  std::vector<int32_t> a = {1, 2, 299}, b = {7};
  ASSERT_TRUE(writer->add_sequence(a).ok());
  ASSERT_TRUE(writer->add_sequence(b).ok());
  writer->end_document();
  ASSERT_TRUE(writer->add_sequence(b).ok());
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_EQ(hex(*read_file(folder.file("t.bin"))), "010002002b0107000700");
  EXPECT_EQ(hex(*read_file(folder.file("t.idx"))),
            "4d4d494449445800000100000000000000"  // magic, version
            "08"                                  // uint16
            "0300000000000000"
            "0300000000000000"
            "030000000100000001000000"
            "0000000000000000"
            "0600000000000000"
            "0800000000000000"
            "0000000000000000"
            "0200000000000000"
            "0300000000000000");
}

TEST(Megatron, RoundTripInBothWidths) {
  testing::TemporaryFolder folder;
  for (int64_t vocab : {32000, 70000}) {
    auto writer = MegatronWriter::create(folder.file("t"), vocab);
    std::vector<std::vector<int32_t>> sequences;
    for (int i = 0; i < 50; ++i) {
      std::vector<int32_t> tokens;
      for (int k = 0; k < i % 7; ++k) tokens.push_back(static_cast<int32_t>((i * 7919 + k * 104729) % vocab));
      ASSERT_TRUE(writer->add_sequence(tokens).ok());
      if (i % 3 == 0) writer->end_document();
      sequences.push_back(tokens);
    }
    ASSERT_TRUE(writer->commit().ok());
    for (const char* name : {"t", "t.bin", "t.idx"}) {
      auto reader = MegatronReader::open(folder.file(name));
      ASSERT_TRUE(reader.ok()) << reader.error().paragraph();
      ASSERT_EQ(reader->sequences(), sequences.size());
      EXPECT_EQ(reader->documents(), 18u);  // 17 closed, the last one by commit()
      EXPECT_EQ(reader->dtype(), vocab == 32000 ? DType::u16 : DType::i32);
      for (uint64_t i = 0; i < sequences.size(); ++i) {
        std::vector<int32_t> tokens(static_cast<size_t>(reader->length(i)));
        reader->read(i, tokens.data());
        EXPECT_EQ(tokens, sequences[i]);
      }
    }
  }
}

TEST(Megatron, RefusesDamage) {
  testing::TemporaryFolder folder;
  auto writer = MegatronWriter::create(folder.file("t"), 300);
  std::vector<int32_t> tokens = {1, 2, 3}, outside = {300}, negative = {-1};
  EXPECT_FALSE(writer->add_sequence(outside).ok());
  EXPECT_FALSE(writer->add_sequence(negative).ok());
  ASSERT_TRUE(writer->add_sequence(tokens).ok());
  ASSERT_TRUE(writer->commit().ok());
  std::string index = *read_file(folder.file("t.idx")), bin = *read_file(folder.file("t.bin"));
  auto refused = [&](std::string new_index, std::string new_bin) {
    EXPECT_TRUE(write_file_atomic(folder.file("t.idx"), new_index).ok());
    EXPECT_TRUE(write_file_atomic(folder.file("t.bin"), new_bin).ok());
    auto reader = MegatronReader::open(folder.file("t"));
    return reader.ok() ? "accepted" : reader.error().paragraph();
  };
  EXPECT_NE(refused(index, bin.substr(0, 4)).find("lies outside"), std::string::npos);
  EXPECT_NE(refused(index.substr(0, index.size() - 1), bin).find("truncated"), std::string::npos);
  EXPECT_NE(refused("x" + index, bin).find("MMIDIDX"), std::string::npos);
  std::string lying = index;
  std::memset(lying.data() + 18, 0xff, 8);
  EXPECT_NE(refused(lying, bin).find("truncated"), std::string::npos);
  std::string version = index;
  version[9] = 2;
  EXPECT_NE(refused(version, bin).find("version 2"), std::string::npos);
  std::string floats = index;
  floats[17] = 7;
  EXPECT_NE(refused(floats, bin).find("dtype code 7"), std::string::npos);
  std::string document = index;
  document[document.size() - 8] = 9;
  EXPECT_NE(refused(document, bin).find("document 1"), std::string::npos);
  EXPECT_EQ(refused(index, bin), "accepted");
}

TEST(Npy, HeaderAndValues) {
  testing::TemporaryFolder folder;
  std::vector<uint32_t> tokens = {1, 2, 65535};
  ASSERT_TRUE(write_npy_tokens(folder.file("t.npy"), tokens, true).ok());
  std::string file = *read_file(folder.file("t.npy"));
  ASSERT_EQ(file.size(), 128u + 6);
  EXPECT_EQ(file.substr(0, 8), std::string("\x93NUMPY\x01\0", 8));
  EXPECT_EQ(file.substr(10, 60), "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }   ");
  EXPECT_EQ(file[127], '\n');
  EXPECT_EQ(hex(file.substr(128)), "01000200ffff");
  tokens.push_back(65536);
  EXPECT_FALSE(write_npy_tokens(folder.file("u.npy"), tokens, true).ok());
  ASSERT_TRUE(write_npy_tokens(folder.file("u.npy"), tokens, false).ok());
  EXPECT_EQ(hex(read_file(folder.file("u.npy"))->substr(128)), "0100000002000000ffff000000000100");
}

}  // namespace
}  // namespace bm
