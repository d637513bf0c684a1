#include "tokenizer/regex.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tokenizer/unicode.h"

namespace bm {
namespace {

using unicode::Regex;

std::vector<std::string> all_matches(std::string_view pattern, std::string_view text) {
  auto regex = Regex::compile(pattern);
  EXPECT_TRUE(regex) << pattern;
  std::vector<std::string> out;
  for (size_t at = 0; regex;) {
    auto [begin, end] = regex->find(text, at);
    if (begin == std::string_view::npos) break;
    out.emplace_back(text.substr(begin, end - begin));
    at = end;
  }
  return out;
}
using Strings = std::vector<std::string>;

TEST(Regex, LiteralsSetsAndRepeats) {
  EXPECT_EQ(all_matches("ab", "xabab"), (Strings{"ab", "ab"}));
  EXPECT_EQ(all_matches("[a-c]+", "xabcxca"), (Strings{"abc", "ca"}));
  EXPECT_EQ(all_matches("[^a-c]+", "abcxyc"), (Strings{"xy"}));
  EXPECT_EQ(all_matches("a{2,3}", "aaaaa"), (Strings{"aaa", "aa"}));
  EXPECT_EQ(all_matches("a{2}", "aaaaa"), (Strings{"aa", "aa"}));
  EXPECT_EQ(all_matches("(?:ab)+c?", "ababc ab"), (Strings{"ababc", "ab"}));
  EXPECT_EQ(all_matches("a|ab", "ab"), (Strings{"a"})) << "the first alternative wins, not the longest";
  EXPECT_EQ(all_matches("[]a]", "]a"), (Strings{"]", "a"}));
  EXPECT_EQ(all_matches(R"(\x41\u0042\x{43})", "ABC"), (Strings{"ABC"}));
  EXPECT_EQ(all_matches("(?i:'s)", "'S's"), (Strings{"'S", "'s"}));
  EXPECT_EQ(all_matches("^a", "aa"), (Strings{"a"}));
  EXPECT_EQ(all_matches("a$", "aa"), (Strings{"a"}));
}

TEST(Regex, GreedyLazyPossessive) {
  EXPECT_EQ(all_matches("a.*b", "a1b2b"), (Strings{"a1b2b"}));
  EXPECT_EQ(all_matches("a.*?b", "a1b2b"), (Strings{
                                               "a1b",
                                           }));
  EXPECT_EQ(all_matches("a[^x]++b", "aab"), Strings{}) << "possessive gives nothing back";
  EXPECT_EQ(all_matches("(?:ab)*+ab", "abab"), Strings{});
  EXPECT_EQ(all_matches("(?:ab)*ab", "abab"), (Strings{"abab"}));
  EXPECT_EQ(all_matches("(?:ab)*?ab", "abab"), (Strings{"ab", "ab"}));
}

TEST(Regex, UnicodeClassesAndLookahead) {
  EXPECT_EQ(all_matches(R"(\p{L}+)", "a\xC3\xA9\xE9\x95\x87 1"), (Strings{"a\xC3\xA9\xE9\x95\x87"}));
  EXPECT_EQ(all_matches(R"(\p{N})", "1\xC2\xBD\xE2\x81\xB4x"), (Strings{"1", "\xC2\xBD", "\xE2\x81\xB4"}));
  EXPECT_EQ(all_matches(R"(\p{Lu})", "aBC"), (Strings{"B", "C"}));
  EXPECT_EQ(all_matches(R"(\s+(?!\S)|\s+)", "a   b  "), (Strings{"  ", " ", "  "}));
  EXPECT_EQ(all_matches(R"(\s)", "\xC2\xA0x\xE3\x80\x80"), (Strings{"\xC2\xA0", "\xE3\x80\x80"}));
  EXPECT_EQ(all_matches(R"([^\s\p{L}\p{N}]+)", "a\xE2\x80\xA6!b"), (Strings{"\xE2\x80\xA6!"}));
  EXPECT_EQ(all_matches(R"((?=[ab])\w+)", "xab"), (Strings{"ab"}));
}

TEST(Regex, RefusesWhatItDoesNotKnow) {
  for (const char* bad : {"(", ")", "a)", "[a", "*a", "a{", "a{3,1}", R"(\p{Greek})", R"(\q)", "(?<=a)b",
                          "(?<n>a)", "(a*)*", "(?:a|)+", "\\", R"(\p)", R"(\x4)"}) {
    auto regex = Regex::compile(bad);
    EXPECT_FALSE(regex) << bad;
    if (!regex) {
      EXPECT_NE(regex.error().what().find("at byte"), std::string::npos) << bad;
    }
  }
  EXPECT_FALSE(Regex::compile(std::string(100, '(') + std::string(100, ')')));
  EXPECT_FALSE(Regex::compile("(?:(?:(?:(?:a{500}){500}){500}){500})")) << "the program would be huge";
}

// Patterns that take exponential time in a naive matcher end quickly, one way or the other.
TEST(Regex, WorkIsBounded) {
  auto regex = Regex::compile("(?:a|a)*b");
  ASSERT_TRUE(regex);
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(regex->match_at(std::string(5000, 'a'), 0), -1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Regex, LongRunsNeedNoMemoryPerCharacter) {
  auto regex = Regex::compile(R"(\s*[\r\n]+|\s+(?!\S)|\s+)");
  ASSERT_TRUE(regex);
  std::string text(1'000'000, ' ');
  EXPECT_EQ(regex->match_at(text, 0), 1'000'000);
  text += "x";
  EXPECT_EQ(regex->match_at(text, 0), 999'999);
}

TEST(Unicode, DecodesOnlyValidSequences) {
  EXPECT_EQ(unicode::decode("\xE2\x96\x81", 0).value, 0x2581u);
  EXPECT_FALSE(unicode::decode("\xC0\x80", 0).valid);
  EXPECT_FALSE(unicode::decode("\xED\xA0\x80", 0).valid) << "surrogate";
  EXPECT_FALSE(unicode::decode("\xF4\x90\x80\x80", 0).valid) << "beyond U+10FFFF";
  EXPECT_FALSE(unicode::decode("\xE2\x96", 0).valid);
  EXPECT_EQ(unicode::count("a\xC3\xA9\xF0\x9F\xA6\x99"), 3u);
  EXPECT_EQ(unicode::previous("a\xF0\x9F\xA6\x99", 5), 1u);
}

// The examples of the Unicode standard, table 3-8: one U+FFFD for each maximal invalid prefix.
TEST(Unicode, LossyAsTheStandardRecommends) {
  const std::string r(unicode::replacement);
  EXPECT_EQ(unicode::lossy("a\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(unicode::lossy("\xE2\x82"), r);
  EXPECT_EQ(unicode::lossy("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(unicode::lossy("ok \xE2\x82\xAC"), "ok \xE2\x82\xAC");
}

}  // namespace
}  // namespace bm
