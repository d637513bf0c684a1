// The reference's own test vectors (peers.md 4.8) and every malformed case of the format.
#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "paths.h"

namespace bm {
namespace {

std::string file_bytes(std::string_view json, size_t data, std::optional<uint64_t> length = {}) {
  std::string file;
  uint64_t n = length.value_or(json.size());
  file.append(reinterpret_cast<const char*>(&n), 8);
  file.append(json);
  file.append(data, '\0');
  return file;
}

Result<SafetensorsHeader> parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), file.size());
}

// The paragraph of the error, or "accepted".
std::string refusal(const std::string& file) {
  auto header = parse(file);
  return header.ok() ? "accepted" : header.error().paragraph();
}

TEST(SafetensorsWrite, HeaderIsTheReferenceBytes) {
  auto layout = plan_safetensors({{"attn.0", DType::f32, {1, 2, 3}}}, {});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->header, std::string("@\0\0\0\0\0\0\0", 8) +
                                R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})");
  EXPECT_EQ(layout->file_size, 8u + 64 + 24);
  layout = plan_safetensors({{"attn0", DType::f32, {1, 1, 2, 3}}}, {});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->header, std::string("H\0\0\0\0\0\0\0", 8) +
                                R"({"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}})" +
                                "       ");
  layout = plan_safetensors({}, {});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->header, std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
  layout = plan_safetensors({}, {{"framework", "pt"}});
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->header,
            std::string("(\0\0\0\0\0\0\0", 8) + R"({"__metadata__":{"framework":"pt"}})" + "     ");
}

TEST(SafetensorsWrite, OrderIsDtypeThenName) {
  std::vector<TensorSpec> specs = {
      {"b", DType::u8, {1}},  {"a", DType::boolean, {1}}, {"z", DType::f32, {1}}, {"c", DType::bf16, {1}},
      {"y", DType::f32, {1}}, {"i", DType::i64, {1}},     {"h", DType::f16, {1}}, {"q", DType::i8, {1}}};
  auto layout = plan_safetensors(specs, {});
  ASSERT_TRUE(layout.ok());
  std::string order;
  for (size_t i : layout->order) order += specs[i].name;
  EXPECT_EQ(order, "iyzchqba");
  EXPECT_EQ(layout->offsets[5], layout->header.size());
  EXPECT_EQ(layout->file_size, layout->header.size() + 8 + 8 + 4 + 3);
}

TEST(SafetensorsWrite, RefusesWhatTheFormatCannotHold) {
  EXPECT_FALSE(plan_safetensors({{"a", DType::f32, {1}}, {"a", DType::f32, {1}}}, {}).ok());
  EXPECT_FALSE(plan_safetensors({{"__metadata__", DType::f32, {1}}}, {}).ok());
  auto odd = plan_safetensors({{"a", DType::f4, {1, 3}}}, {});
  ASSERT_FALSE(odd.ok());
  EXPECT_NE(odd.error().what().find("MisalignedSlice"), std::string::npos);
  auto large = plan_safetensors({}, {{"m", std::string(100'000'000, 'x')}});
  ASSERT_FALSE(large.ok());
  EXPECT_NE(large.error().what().find("HeaderTooLarge"), std::string::npos);
}

TEST(SafetensorsRead, AcceptsWhatTheReferenceAccepts) {
  auto header = parse(file_bytes(R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})", 16));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->entries[0].shape, (Shape{2, 2}));
  EXPECT_TRUE(
      parse(file_bytes("  \n{\"test\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}} \t ", 16))
          .ok());
  EXPECT_TRUE(parse(file_bytes(R"({"test":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]}})", 0)).ok());
  auto scalar = parse(file_bytes(R"({"test":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4));
  ASSERT_TRUE(scalar.ok());
  EXPECT_TRUE(scalar->entries[0].shape.empty());
  EXPECT_TRUE(parse(file_bytes("{}", 0)).ok());
  auto reordered =
      parse(file_bytes(R"({"b":{"data_offsets":[2,4],"shape":[2],"dtype":"U8"},"__metadata__":{"k":"v"},)"
                       R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
                       4));
  ASSERT_TRUE(reordered.ok());
  EXPECT_EQ(reordered->entries[0].name, "a");
  EXPECT_EQ(reordered->metadata, (SafetensorsMetadata{{"k", "v"}}));
  EXPECT_TRUE(parse(file_bytes(R"({"t":{"dtype":"F4","shape":[1,4],"data_offsets":[0,2]}})", 2)).ok());
}

struct Malformed {
  const char* label;
  std::string file;
  const char* kind;
};

TEST(SafetensorsRead, EachMalformedCaseHasItsOwnMessage) {
  std::string shared = "{";
  for (int i = 0; i < 10; ++i)
    shared += (i ? "," : "") + std::string("\"weight_") + std::to_string(i) +
              R"(":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]})";
  shared += "}";
  const std::string plain = R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";
  const Malformed cases[] = {
      {"empty", "", "HeaderTooSmall"},
      {"seven bytes", std::string(7, '\0'), "HeaderTooSmall"},
      {"length above the limit", std::string("\x3c\0\0\0\0\xff\xff\xff", 8) + "hello", "HeaderTooLarge"},
      {"header cut", file_bytes("{\"test\":", 0, 64), "InvalidHeaderLength"},
      {"not UTF-8", file_bytes("\xff", 0), "(InvalidHeader)"},
      {"overlong UTF-8", file_bytes("{\"\xc0\xaf\":1}", 0), "(InvalidHeader)"},
      {"half a character", file_bytes("{\"\xe2\x82", 0), "(InvalidHeader)"},
      {"not JSON", file_bytes("{", 0), "InvalidHeaderDeserialization"},
      {"only spaces", file_bytes("   ", 0), "InvalidHeaderDeserialization"},
      {"a list", file_bytes("[]", 0), "InvalidHeaderDeserialization"},
      {"duplicate key",
       file_bytes(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           2),
       "InvalidHeaderDeserialization"},
      {"unknown dtype", file_bytes(R"({"t":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4),
       "InvalidHeaderDeserialization"},
      {"no dtype", file_bytes(R"({"t":{"shape":[1],"data_offsets":[0,4]}})", 4),
       "InvalidHeaderDeserialization"},
      {"negative dimension", file_bytes(R"({"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
       "InvalidHeaderDeserialization"},
      {"fractional dimension", file_bytes(R"({"t":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4),
       "InvalidHeaderDeserialization"},
      {"one offset", file_bytes(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4),
       "InvalidHeaderDeserialization"},
      {"metadata of numbers", file_bytes(R"({"__metadata__":{"a":1}})", 0), "InvalidHeaderDeserialization"},
      {"tensors share bytes", file_bytes(shared, 16), "InvalidOffset"},
      {"hole", file_bytes(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8), "InvalidOffset"},
      {"backwards",
       file_bytes(
           R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"u":{"dtype":"U8","shape":[0],"data_offsets":[4,3]}})",
           4),
       "InvalidOffset"},
      {"shape needs more", file_bytes(R"({"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,4]}})", 4),
       "TensorInvalidInfo"},
      {"product overflows",
       file_bytes(R"({"test":{"dtype":"I32","shape":[2,18446744073709551614],"data_offsets":[0,16]}})", 16),
       "ValidationOverflow"},
      {"dimensions wrap to 0",
       file_bytes(R"({"test":{"dtype":"I32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
       "ValidationOverflow"},
      {"bits overflow",
       file_bytes(R"({"test":{"dtype":"I32","shape":[2,4611686018427387904],"data_offsets":[0,16]}})", 16),
       "ValidationOverflow"},
      {"half a byte", file_bytes(R"({"t":{"dtype":"F4","shape":[1,3],"data_offsets":[0,2]}})", 2),
       "MisalignedSlice"},
      {"bytes behind", file_bytes(plain, 18), "MetadataIncompleteBuffer"},
      {"two bytes missing", file_bytes(plain, 14), "MetadataIncompleteBuffer"},
  };
  for (const Malformed& bad : cases) {
    std::string message = refusal(bad.file);
    EXPECT_NE(message.find(bad.kind), std::string::npos) << bad.label << ": " << message;
  }
  EXPECT_NE(refusal(file_bytes(plain, 14)).find("file is 82 bytes, header promises 84: truncated"),
            std::string::npos)
      << refusal(file_bytes(plain, 14));
}

TEST(SafetensorsFile, RoundTripAndUnalignedData) {
  testing::TemporaryFolder folder;
  Tensor a(DType::f32, {2, 3}), b(DType::bf16, {3});
  for (int i = 0; i < 6; ++i) a.as<float>()[i] = static_cast<float>(i) - 2.5f;
  for (int i = 0; i < 3; ++i) b.as<uint16_t>()[i] = static_cast<uint16_t>(1000 + i);
  std::string path = folder.file("m.safetensors");
  ASSERT_TRUE(write_safetensors(path, {{"b", b.view()}, {"a", a.view()}}).ok());
  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().paragraph();
  EXPECT_EQ(file->metadata(), (SafetensorsMetadata{{"format", "pt"}}));
  auto view = file->get("a");
  ASSERT_TRUE(view.ok());
  EXPECT_EQ(std::memcmp(view->data, a.data(), a.bytes()), 0);
  auto missing = file->get("aa");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code(), Code::bad_input);
  // A header of odd length puts the data at an odd address; the values must not change.
  std::string odd = file_bytes(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} )", 0);
  float value = 1.25f;
  odd.append(reinterpret_cast<const char*>(&value), 4);
  ASSERT_EQ((odd.size() - 4) % 4 != 0, true);
  ASSERT_TRUE(write_file_atomic(folder.file("odd.safetensors"), odd).ok());
  auto shifted = SafetensorsFile::open(folder.file("odd.safetensors"));
  ASSERT_TRUE(shifted.ok());
  auto t = shifted->get("t");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(t->data) % 4, 0u);
  EXPECT_EQ(*t->as<float>(), 1.25f);
}

TEST(SafetensorsFile, OverwritingAMappedFileLeavesItsReadersAlone) {
  testing::TemporaryFolder folder;
  std::string path = folder.file("m.safetensors");
  Tensor first(DType::f32, {4}), second(DType::f32, {4});
  for (int i = 0; i < 4; ++i) first.as<float>()[i] = 1, second.as<float>()[i] = 2;
  ASSERT_TRUE(write_safetensors(path, {{"t", first.view()}}).ok());
  auto old = SafetensorsFile::open(path);
  ASSERT_TRUE(old.ok());
  auto view = old->get("t");
  ASSERT_TRUE(write_safetensors(path, {{"t", second.view()}}).ok());
  EXPECT_EQ(view->as<float>()[3], 1.0f);
  auto fresh = SafetensorsFile::open(path);
  EXPECT_EQ(fresh->get("t")->as<float>()[3], 2.0f);
}

TEST(SafetensorsWriterTest, RefusesToCommitAHalfWrittenFile) {
  testing::TemporaryFolder folder;
  std::string path = folder.file("m.safetensors");
  {
    auto writer = SafetensorsWriter::create(path, {{"a", DType::f32, {1}}, {"b", DType::f32, {1}}});
    ASSERT_TRUE(writer.ok());
    float value = 1;
    ASSERT_TRUE(writer->write(0, std::as_bytes(std::span(&value, 1))).ok());
    EXPECT_FALSE(writer->write(1, {}).ok());
    auto status = writer->commit();
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().paragraph().find("tensor b"), std::string::npos);
  }
  EXPECT_TRUE(list_files(folder.path())->empty());
}

}  // namespace
}  // namespace bm
