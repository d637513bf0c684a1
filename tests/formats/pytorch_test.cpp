// The pickle reader on hand-made pickles: what it builds, and all it must refuse.
#include "formats/pytorch.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>

#include "paths.h"

namespace bm {
namespace {

std::string binunicode(std::string_view text) {
  auto n = static_cast<uint32_t>(text.size());
  return "X" + std::string(reinterpret_cast<const char*>(&n), 4) + std::string(text);
}
std::string integer(int32_t value) { return "J" + std::string(reinterpret_cast<const char*>(&value), 4); }
std::string tuple(const std::vector<std::string>& items) {
  std::string text = "(";
  for (const auto& item : items) text += item;
  return text + "t";
}
std::string integers(const std::vector<int32_t>& values) {
  std::vector<std::string> items;
  for (int32_t value : values) items.push_back(integer(value));
  return tuple(items);
}
std::string storage(std::string_view type, std::string_view key, int32_t count) {
  return tuple({binunicode("storage"), "ctorch\n" + std::string(type) + "\n", binunicode(key),
                binunicode("cpu"), integer(count)}) +
         "Q";
}
const std::string ordered_dict = "ccollections\nOrderedDict\n)R";

std::string tensor(const std::string& where, int32_t offset, const std::vector<int32_t>& shape,
                   const std::vector<int32_t>& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n" +
         tuple({where, integer(offset), integers(shape), integers(strides), "\x89", ordered_dict}) + "R";
}
std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string text = "\x80\x02" + ordered_dict + "(";
  for (const auto& [name, value] : items) text += binunicode(name) + value;
  return text + "u.";
}

Result<PickledStateDict> read(const std::string& pickle) {
  size_t position = 0;
  return read_state_dict_pickle(std::as_bytes(std::span(pickle)), position);
}
std::string refusal(const std::string& pickle) {
  auto result = read(pickle);
  return result.ok() ? "accepted" : result.error().paragraph();
}

TEST(Pickle, BuildsTensors) {
  auto state = read(
      dict({{"w", tensor(storage("FloatStorage", "0", 12), 2, {2, 3}, {3, 1})},
            {"t", tensor(storage("FloatStorage", "0", 12), 0, {3, 4}, {1, 3})},
            {"p", "ctorch._utils\n_rebuild_parameter\n" +
                      tuple({tensor(storage("BFloat16Storage", "1", 1), 0, {}, {}), "\x88", ordered_dict}) +
                      "R"}}));
  ASSERT_TRUE(state.ok()) << state.error().paragraph();
  ASSERT_EQ(state->tensors.size(), 3u);
  EXPECT_EQ(state->tensors[0].name, "w");
  EXPECT_EQ(state->tensors[0].offset, 2);
  EXPECT_TRUE(state->tensors[0].contiguous());
  EXPECT_FALSE(state->tensors[1].contiguous());
  EXPECT_EQ(state->tensors[2].dtype, DType::bf16);
  EXPECT_EQ(state->storages.at("0").count, 12);
}

TEST(Pickle, FindsANestedStateDict) {
  std::string inner =
      ordered_dict + "(" + binunicode("w") + tensor(storage("LongStorage", "0", 4), 0, {4}, {1}) + "u";
  auto state =
      read("\x80\x02}(" + binunicode("epoch") + integer(3) + binunicode("state_dict") + inner + "u.");
  ASSERT_TRUE(state.ok()) << state.error().paragraph();
  ASSERT_EQ(state->tensors.size(), 1u);
  EXPECT_EQ(state->tensors[0].dtype, DType::i64);
}

TEST(Pickle, RefusesEveryOtherGlobalByName) {
  std::string attack =
      "\x80\x02"
      "cposix\nsystem\n" +
      tuple({binunicode("touch /tmp/owned")}) + "R.";
  EXPECT_NE(refusal(attack).find("posix.system"), std::string::npos) << refusal(attack);
  EXPECT_NE(refusal("\x80\x04" + binunicode("builtins") + binunicode("eval") + "\x93.").find("builtins.eval"),
            std::string::npos);
  EXPECT_NE(refusal("\x80\x02"
                    "ctorch._utils\n_rebuild_device_tensor_from_numpy\n.")
                .find("not allowed"),
            std::string::npos);
  // Inst, Obj, extension registry, newobj: no state dict needs them.
  for (const char* code : {"(icollections\nOrderedDict\n.", "(o.", "\x82\x01.", ")\x81."})
    EXPECT_NE(refusal(code), "accepted");
}

TEST(Pickle, ChecksTensorsAgainstTheirStorage) {
  auto one = [](const std::string& value) { return refusal(dict({{"w", value}})); };
  EXPECT_EQ(one(tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 5), 0, {2, 3}, {3, 1})).find("needs 6 elements"),
            std::string::npos);
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 6), 1, {2, 3}, {3, 1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {4, 1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {-3, 1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 6), -1, {2, 3}, {3, 1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 1), 0, {1 << 30, 1 << 30, 1 << 30}, {0, 0, 0}))
                .find("too large"),
            std::string::npos);
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 1), 0, {1 << 30}, {0})).find("repeats"),
            std::string::npos);
  EXPECT_NE(one(tensor(storage("SparseStorage", "0", 6), 0, {2, 3}, {3, 1})).find("torch.SparseStorage"),
            std::string::npos);
  EXPECT_EQ(one(tensor(storage("FloatStorage", "0", 6), 6, {0, 3}, {3, 1})), "accepted");
  EXPECT_NE(one(tensor(storage("FloatStorage", "0", 6), 7, {0, 3}, {3, 1})), "accepted");
  EXPECT_NE(refusal(dict({{"w", tensor(storage("FloatStorage", "0", 6), 0, {6}, {1})},
                          {"w", tensor(storage("FloatStorage", "0", 6), 0, {6}, {1})}}))
                .find("twice"),
            std::string::npos);
  EXPECT_NE(refusal(dict({{"w", tensor(storage("FloatStorage", "0", 6), 0, {6}, {1})},
                          {"v", tensor(storage("HalfStorage", "0", 6), 0, {6}, {1})}}))
                .find("two ways"),
            std::string::npos);
}

TEST(Pickle, SurvivesEveryCutAndEveryByteChanged) {
  std::string good = dict({{"w", tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1})},
                           {"v", tensor(storage("HalfStorage", "1", 8), 0, {2, 2}, {1, 2})}});
  ASSERT_EQ(refusal(good), "accepted");
  for (size_t n = 0; n < good.size(); ++n) EXPECT_NE(refusal(good.substr(0, n)), "accepted") << n;
  for (size_t i = 0; i < good.size(); ++i)
    for (int change : {1, 0x80, 0xff}) {
      std::string bent = good;
      bent[i] = static_cast<char>(bent[i] ^ change);
      (void)refusal(bent);  // must return; accepted or not
    }
  EXPECT_NE(refusal("\x80\x02}q\x01(h\x01h\x01uh\x01h\x01h\x01s."), "accepted");
}

// A zip as torch.save writes it: stored members, sizes in the central directory.
std::string make_zip(const std::vector<std::pair<std::string, std::string>>& members, uint16_t method = 0) {
  std::string file, directory;
  auto put = [](std::string& out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  };
  for (const auto& [name, data] : members) {
    size_t offset = file.size();
    auto crc = crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
    file += "PK\x03\x04";
    put(file, 0, 2), put(file, 0x0808, 2), put(file, method, 2), put(file, 0, 4), put(file, 0, 12);
    size_t padding = (64 - (offset + 30 + name.size() + 4) % 64) % 64;
    put(file, name.size(), 2), put(file, padding + 4, 2);
    file += name + "FB";
    put(file, padding, 2);
    file += std::string(padding, 'Z') + data;
    file += "PK\x07\x08";
    put(file, crc, 4), put(file, data.size(), 4), put(file, data.size(), 4);
    directory += "PK\x01\x02";
    put(directory, 0, 4), put(directory, 0x0808, 2), put(directory, method, 2), put(directory, 0, 4),
        put(directory, crc, 4);
    put(directory, data.size(), 4), put(directory, data.size(), 4), put(directory, name.size(), 2);
    put(directory, 0, 12), put(directory, offset, 4);
    directory += name;
  }
  size_t start = file.size();
  file += directory + "PK\x05\x06";
  put(file, 0, 4), put(file, members.size(), 2), put(file, members.size(), 2), put(file, directory.size(), 4),
      put(file, start, 4), put(file, 0, 2);
  return file;
}

std::string floats(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    auto value = static_cast<float>(i);
    bytes.append(reinterpret_cast<const char*>(&value), 4);
  }
  return bytes;
}

TEST(PytorchFile, ViewsStridesAndSharedStorage) {
  testing::TemporaryFolder folder;
  std::string pickle = dict({{"w", tensor(storage("FloatStorage", "0", 12), 0, {3, 4}, {4, 1})},
                             {"t", tensor(storage("FloatStorage", "0", 12), 0, {4, 3}, {1, 4})},
                             {"row", tensor(storage("FloatStorage", "0", 12), 4, {4}, {1})}});
  std::string path = folder.file("pytorch_model.bin");
  ASSERT_TRUE(
      write_file_atomic(
          path, make_zip({{"a/data.pkl", pickle}, {"a/byteorder", "little"}, {"a/data/0", floats(12)}}))
          .ok());
  auto file = PytorchFile::open(path);
  ASSERT_TRUE(file.ok()) << file.error().paragraph();
  auto row = file->view(*file->find("row"));
  EXPECT_EQ(row->as<float>()[0], 4.0f);
  auto transposed = file->view(*file->find("t"));
  std::vector<float> got(transposed->as<float>(), transposed->as<float>() + 12);
  EXPECT_EQ(got, (std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
}

TEST(PytorchFile, RefusesDamage) {
  testing::TemporaryFolder folder;
  std::string pickle = dict({{"w", tensor(storage("FloatStorage", "0", 12), 0, {3, 4}, {4, 1})}});
  std::string path = folder.file("pytorch_model.bin");
  auto refused = [&](const std::string& bytes) {
    EXPECT_TRUE(write_file_atomic(path, bytes).ok());
    auto file = PytorchFile::open(path);
    return file.ok() ? "accepted" : file.error().paragraph();
  };
  std::string good = make_zip({{"a/data.pkl", pickle}, {"a/data/0", floats(12)}});
  EXPECT_EQ(refused(good), "accepted");
  EXPECT_NE(refused(good.substr(0, good.size() - 30)).find("truncated"), std::string::npos);
  EXPECT_NE(refused(make_zip({{"a/data.pkl", pickle}, {"a/data/0", floats(11)}})).find("truncated"),
            std::string::npos);
  EXPECT_NE(refused(make_zip({{"a/data.pkl", pickle}})).find("storage 0 is missing"), std::string::npos);
  EXPECT_NE(refused(make_zip({{"a/data/0", floats(12)}})).find("data.pkl"), std::string::npos);
  EXPECT_NE(refused(make_zip({{"a/data.pkl", pickle}, {"a/data/0", floats(12)}}, 8)).find("compressed"),
            std::string::npos);
  EXPECT_NE(refused(make_zip({{"a/data.pkl", pickle}, {"a/byteorder", "big"}, {"a/data/0", floats(12)}}))
                .find("big-endian"),
            std::string::npos);
  std::string bent = good;
  bent[bent.find("FloatStorage")] = 'D';
  EXPECT_NE(refused(bent).find("checksum"), std::string::npos);
  EXPECT_NE(refused("").find("no PyTorch weight file"), std::string::npos);
  for (size_t n = 0; n < good.size(); n += 7) EXPECT_NE(refused(good.substr(0, n)), "accepted");
}

TEST(PytorchFile, ReadsTheFormBeforeTorch16) {
  testing::TemporaryFolder folder;
  std::string magic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  std::string keys = "\x80\x02](" + binunicode("94") + "e.";
  std::string stored = tuple({binunicode("storage"), "ctorch\nFloatStorage\n", binunicode("94"),
                              binunicode("cpu"), integer(3), "N"}) +
                       "Q";
  std::string file =
      magic + "\x80\x02M\xe9\x03." + "\x80\x02}." + dict({{"w", tensor(stored, 0, {3}, {1})}}) + keys;
  int64_t count = 3;
  file.append(reinterpret_cast<const char*>(&count), 8);
  file += floats(3);
  std::string path = folder.file("old.bin");
  ASSERT_TRUE(write_file_atomic(path, file).ok());
  auto opened = PytorchFile::open(path);
  ASSERT_TRUE(opened.ok()) << opened.error().paragraph();
  EXPECT_EQ(opened->view(*opened->find("w"))->as<float>()[2], 2.0f);
  ASSERT_TRUE(write_file_atomic(path, file.substr(0, file.size() - 1)).ok());
  EXPECT_FALSE(PytorchFile::open(path).ok());
}

}  // namespace
}  // namespace bm
