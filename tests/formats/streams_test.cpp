#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>

#include "formats/archive.h"
#include "formats/compressed.h"
#include "formats/jsonl.h"
#include "paths.h"

namespace bm {
namespace {

std::string sample(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525 + 1013904223;
    text += "word" + std::to_string(state >> 20) + ' ';
  }
  return text;
}

TEST(Compressed, RoundTripsInEveryForm) {
  testing::TemporaryFolder folder;
  std::string text = sample(700'000);
  for (const char* name : {"a.txt", "a.gz", "a.zst"}) {
    auto writer = ByteWriter::create(folder.file(name));
    ASSERT_TRUE(writer.ok());
    for (size_t at = 0; at < text.size(); at += 33333)
      ASSERT_TRUE(writer->write(std::string_view(text).substr(at, 33333)).ok());
    EXPECT_FALSE(exists(folder.file(name))) << "must appear only when complete";
    ASSERT_TRUE(writer->commit().ok());
    auto back = read_decompressed(folder.file(name));
    ASSERT_TRUE(back.ok()) << back.error().paragraph();
    EXPECT_TRUE(*back == text) << name;
  }
  EXPECT_LT(*file_size(folder.file("a.zst")), text.size() / 2);
}

TEST(Compressed, SeveralMembersAndDamage) {
  testing::TemporaryFolder folder;
  for (const char* name : {"x.gz", "x.zst"}) {
    auto writer = ByteWriter::create(folder.file(name));
    ASSERT_TRUE(writer->write("hello ").ok());
    ASSERT_TRUE(writer->commit().ok());
    std::string once = *read_file(folder.file(name));
    ASSERT_TRUE(write_file_atomic(folder.file("twice"), once + once).ok());
    EXPECT_EQ(*read_decompressed(folder.file("twice")), "hello hello ") << name;
    ASSERT_TRUE(write_file_atomic(folder.file("cut"), once.substr(0, once.size() - 3)).ok());
    auto cut = read_decompressed(folder.file("cut"));
    ASSERT_FALSE(cut.ok()) << name;
    EXPECT_NE(cut.error().paragraph().find("cut off"), std::string::npos) << cut.error().paragraph();
    std::string bent = once;
    bent[bent.size() - 1] = static_cast<char>(bent[bent.size() - 1] ^ 0x55);
    ASSERT_TRUE(write_file_atomic(folder.file("bent"), bent).ok());
    EXPECT_FALSE(read_decompressed(folder.file("bent")).ok()) << name;
  }
}

TEST(Compressed, ABombIsAnError) {
  testing::TemporaryFolder folder;
  auto writer = ByteWriter::create(folder.file("b.gz"));
  ASSERT_TRUE(writer->write(std::string(1'000'000, '\0')).ok());
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_FALSE(read_decompressed(folder.file("b.gz"), 999'999).ok());
  EXPECT_TRUE(read_decompressed(folder.file("b.gz"), 1'000'000).ok());
}

TEST(Jsonl, LinesAndTheirNumbers) {
  testing::TemporaryFolder folder;
  std::string path = folder.file("a.jsonl");
  ASSERT_TRUE(write_file_atomic(path, "\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"a\":2}\n{\"a\":\n{\"a\":3}").ok());
  auto reader = JsonlReader::open(path);
  ASSERT_TRUE(reader.ok());
  Json value;
  ASSERT_TRUE(*reader->next(value));
  EXPECT_EQ(value["a"].as_int(), 1);
  EXPECT_EQ(reader->line(), 1u);
  ASSERT_TRUE(*reader->next(value));
  EXPECT_EQ(reader->line(), 4u);
  auto bad = reader->next(value);
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().paragraph().find("line 5"), std::string::npos) << bad.error().paragraph();
  ASSERT_TRUE(*reader->next(value));
  EXPECT_EQ(value["a"].as_int(), 3);
  EXPECT_EQ(reader->line(), 6u);
  EXPECT_FALSE(*reader->next(value));
  EXPECT_FALSE(*reader->next(value));
  EXPECT_DOUBLE_EQ(reader->share_read(), 1.0);
}

TEST(Jsonl, WritesWhatItReadsInEveryForm) {
  testing::TemporaryFolder folder;
  for (const char* name : {"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"}) {
    auto writer = JsonlWriter::create(folder.file(name));
    ASSERT_TRUE(writer.ok());
    for (int64_t i = 0; i < 5000; ++i)
      ASSERT_TRUE(writer->write(Json::object({{"i", i}, {"text", sample(200)}})).ok());
    ASSERT_TRUE(writer->commit().ok());
    int64_t expected = 0;
    auto status = for_each_jsonl(folder.file(name), [&](const Json& value, uint64_t line) -> Status {
      EXPECT_EQ(value["i"].as_int(), expected);
      EXPECT_EQ(line, static_cast<uint64_t>(++expected));
      return {};
    });
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(expected, 5000);
  }
  auto stopped = for_each_jsonl(folder.file("a.jsonl"), [](const Json&, uint64_t line) -> Status {
    return line == 3 ? Status(bad_input("no good")) : Status();
  });
  ASSERT_FALSE(stopped.ok());
  EXPECT_NE(stopped.error().paragraph().find("line 3"), std::string::npos);
}

struct Written {
  const char* name;
  std::string content;
};

void write_archive(const std::string& path, const std::vector<Written>& members, bool zip, int filter) {
  struct archive* out = archive_write_new();
  if (zip) {
    archive_write_set_format_zip(out);
  } else {
    archive_write_set_format_pax_restricted(out);
  }
  if (filter) archive_write_add_filter(out, filter);
  ASSERT_EQ(archive_write_open_filename(out, path.c_str()), ARCHIVE_OK);
  for (const Written& member : members) {
    struct archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, member.name);
    std::string name = member.name;
    bool is_folder = name.back() == '/';
    archive_entry_set_filetype(entry, is_folder ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    if (!is_folder) archive_entry_set_size(entry, static_cast<la_int64_t>(member.content.size()));
    ASSERT_EQ(archive_write_header(out, entry), ARCHIVE_OK);
    archive_write_data(out, member.content.data(), member.content.size());
    archive_entry_free(entry);
  }
  archive_write_close(out);
  archive_write_free(out);
}

TEST(Archive, EveryKindMemberByMember) {
  testing::TemporaryFolder folder;
  std::string big = sample(300'000);
  std::vector<Written> members = {{"a/", ""},
                                  {"a/one.xml", "<one/>"},
                                  {"a/two.xml", big},
                                  {"../evil.xml", "bad"},
                                  {"/etc/evil.xml", "bad"},
                                  {"empty.xml", ""}};
  struct Form {
    const char* name;
    bool zip;
    int filter;
  };
  for (Form form : {Form{"x.tar", false, 0}, Form{"x.tar.gz", false, ARCHIVE_FILTER_GZIP},
                    Form{"x.tar.zst", false, ARCHIVE_FILTER_ZSTD}, Form{"x.zip", true, 0}}) {
    std::string path = folder.file(form.name);
    write_archive(path, members, form.zip, form.filter);
    ASSERT_TRUE(is_archive_name(path));
    auto reader = ArchiveReader::open(path);
    ASSERT_TRUE(reader.ok()) << reader.error().paragraph();
    ArchiveMember member;
    std::vector<std::string> seen;
    while (true) {
      auto more = reader->next(member);
      ASSERT_TRUE(more.ok()) << more.error().paragraph();
      if (!*more) break;
      seen.push_back(member.name + (member.hostile.empty() ? "" : "!"));
      if (member.name == "a/two.xml") {
        EXPECT_FALSE(reader->read(1000).ok()) << "limit";
        continue;
      }
      auto content = reader->read();
      ASSERT_TRUE(content.ok());
      if (member.name == "a/one.xml") {
        EXPECT_EQ(*content, "<one/>");
      }
    }
    EXPECT_EQ(seen, (std::vector<std::string>{"a/one.xml", "a/two.xml", "../evil.xml!", "/etc/evil.xml!",
                                              "empty.xml"}))
        << form.name;
  }
}

TEST(Archive, CutOffAndForeignFiles) {
  testing::TemporaryFolder folder;
  write_archive(folder.file("x.tar.gz"), {{"one.xml", sample(300'000)}, {"two.xml", sample(300'000)}}, false,
                ARCHIVE_FILTER_GZIP);
  std::string whole = *read_file(folder.file("x.tar.gz"));
  ASSERT_TRUE(write_file_atomic(folder.file("cut.tar.gz"), whole.substr(0, whole.size() / 4)).ok());
  auto reader = ArchiveReader::open(folder.file("cut.tar.gz"));
  ASSERT_TRUE(reader.ok());
  ArchiveMember member;
  ASSERT_TRUE(*reader->next(member));
  auto content = reader->read();
  ASSERT_FALSE(content.ok());
  EXPECT_EQ(content.error().code(), Code::bad_input);
  ASSERT_TRUE(write_file_atomic(folder.file("text.zip"), "this is text").ok());
  auto foreign = ArchiveReader::open(folder.file("text.zip"));
  bool refused = !foreign.ok() || !foreign->next(member).ok();
  EXPECT_TRUE(refused);
}

TEST(Archive, HostileNames) {
  for (const char* name : {"../a", "a/../../b", "/a", "C:\\a", "..", "a/..", "\\a", "a\\..\\b", ""})
    EXPECT_NE(hostile_name_reason(name), "") << name;
  for (const char* name : {"a", "a/b.xml", "..a/b", "a..", "./a", "a/...", "PMC1.nxml"})
    EXPECT_EQ(hostile_name_reason(name), "") << name;
}

}  // namespace
}  // namespace bm
