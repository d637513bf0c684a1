// Near-duplicates, benchmark items, languages, filters: what is dropped for what its text is like.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/random.h"
#include "base/threads.h"
#include "corpus/article_helpers.h"
#include "corpus/build.h"
#include "corpus/contamination.h"
#include "corpus/duplicates.h"
#include "corpus/extract.h"
#include "corpus/language.h"
#include "corpus/minhash.h"
#include "corpus/quality.h"
#include "formats/jsonl.h"
#include "kernels/isa.h"
#include "kernels/minhash.h"
#include "paths.h"

namespace bm {
namespace {

using testing::article_xml;
using testing::source_path;
using testing::TemporaryFolder;

std::string plain(std::string_view text) {
  PlainWords words;
  plain_words(text, words);
  return words.text;
}

TEST(Words, AreThoseOfTheReference) {
  // simplify_text of datatrove a649de79 on the same text.
  EXPECT_EQ(
      plain("The quick brown fox, aged 10.5 years (n=3), jumps over the naïve dog’s “tail”; Ångström CAFÉ "
            "3×10^4 cells/µl ﬁnal ßtraße"),
      "the quick brown fox aged 0 years n 0 jumps over the naive dog s tail angstrom cafe 0×0 0 cells µl "
      "ﬁnal "
      "ßtraße");
  EXPECT_EQ(plain(""), "");
  EXPECT_EQ(plain(" .,; "), "");
  EXPECT_EQ(plain("1,000 and 1, 2. 3.x 4"), "0 and 0 0 0 x 0");
  // NFD: letters of three bytes become up to nine.
  EXPECT_EQ(plain("\uAC01"), "\u1100\u1161\u11A8");
}

// Made with NumPy's RandomState(1) and python-xxhash by the formula of datatrove's minhash.py.
TEST(MinHash, SignatureIsThatOfTheReference) {
  PlainWords words;
  plain_words(
      "The quick brown fox, aged 10.5 years (n=3), jumps over the naïve dog’s “tail”; Ångström CAFÉ 3×10^4 "
      "cells/µl ﬁnal ßtraße",
      words);
  MinHashSignature signature;
  ASSERT_TRUE(minhash_signature(words, signature));
  EXPECT_EQ(signature[0], 93646167985893694u);
  EXPECT_EQ(signature[1], 65564733855149835u);
  EXPECT_EQ(signature[2], 63753982913923819u);
  EXPECT_EQ(signature[111], 172034867852756336u);
  plain_words("four words are few", words);
  EXPECT_FALSE(minhash_signature(words, signature));
}

TEST(MinHash, EveryInstructionSetGivesTheSameBits) {
  CounterRandom random(3, 3);
  std::vector<uint64_t> values, a, b;
  for (uint64_t i = 0; i < 50; ++i)
    values.push_back((uint64_t{random.u32(2 * i)} << 32) | random.u32(2 * i + 1));
  for (uint64_t i = 0; i < kMinHashes; ++i) {
    a.push_back(uint64_t{random.u32(1000 + i)} * 0x9E3779B97F4A7C15u >> 3);
    b.push_back(uint64_t{random.u32(2000 + i)} * 0xC2B2AE3D27D4EB4Fu >> 3);
  }
  MinHashSignature plain{}, chosen{};
  scalar::minhash(values.data(), values.size(), a.data(), b.data(), kMinHashes, plain.data());
  for (const IsaInfo& isa : isa_list()) {
    if (!isa.usable) continue;
    ASSERT_TRUE(select_isa(isa.name).ok());
    minhash(values.data(), values.size(), a.data(), b.data(), kMinHashes, chosen.data());
    EXPECT_EQ(plain, chosen) << isa.name;
  }
  ASSERT_TRUE(select_isa("auto").ok());
}

TEST(MinHash, Xxh64OfItsSpecification) {
  EXPECT_EQ(xxh64(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(xxh64("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(xxh64("abc"), 0x44BC2CF5AD770999u);
}

// A text of words drawn by seed.
std::string words_text(uint64_t seed, int count) {
  static const char* const kSyllables[] = {"ka", "lo", "mi", "ten", "ras", "ul", "fo", "ber", "si", "nox"};
  CounterRandom random(seed, 7);
  std::string text;
  uint64_t draw = 0;
  for (int i = 0; i < count; ++i) {
    if (i) text += i % 12 == 0 ? ". " : " ";
    for (uint64_t k = 0, n = 1 + random.below(draw++, 3); k < n; ++k)
      text += kSyllables[random.below(draw++, 10)];
  }
  return text + ".";
}

// Every `step`-th word of a text replaced.
std::string changed(std::string text, int step) {
  std::string out;
  int i = 0;
  for (const std::string& word : split(text, ' ')) {
    if (!out.empty()) out += ' ';
    out += ++i % step == 0 ? "changed" : word;
  }
  return out;
}

std::string article(int number, const std::string& text) {
  return article_xml("<p>" + text + "</p>",
                     "<article-id pub-id-type=\"pmcid\">PMC" + std::to_string(number) + "</article-id>");
}

struct Built {
  CorpusReport report;
  std::vector<Json> ledger;
  std::string of(size_t line) const { return ledger[line]["status"].as_string(); }
};

class Similar : public ::testing::Test {
 protected:
  void add(const std::string& xml) {
    std::string path = folder.file("a" + std::to_string(100 + count++) + ".xml");
    ASSERT_TRUE(write_file_atomic(path, xml).ok());
    options.inputs.push_back(path);
  }
  Built build(const std::string& out) {
    options.out = folder.file(out);
    options.tokenizer = source_path("data/demo/stories260k");
    Built built;
    auto report = build_corpus(options, common);
    EXPECT_TRUE(report.ok()) << report.error().paragraph();
    if (report.ok()) built.report = *report;
    built.ledger = lines(out + "/ledger.jsonl");
    return built;
  }
  std::vector<Json> lines(const std::string& name) {
    std::vector<Json> all;
    EXPECT_TRUE(for_each_jsonl(folder.file(name), [&](const Json& line, uint64_t) -> Status {
                  all.push_back(line);
                  return {};
                }).ok());
    return all;
  }
  TemporaryFolder folder;
  CorpusOptions options;
  CommonOptions common;
  int count = 0;
};

TEST_F(Similar, NearDuplicatesGoAndTheFirstStays) {
  std::string text = words_text(1, 600);
  add(article(1, text));
  add(article(2, words_text(2, 600)));
  add(article(3, changed(text, 200)));  // three words of 600
  add(article(4, changed(text, 3)));    // too many
  add(article(5, text));                // the same
  Built built = build("near");
  EXPECT_EQ(built.of(0), "kept");
  EXPECT_EQ(built.of(1), "kept");
  EXPECT_EQ(built.of(2), "duplicate");
  EXPECT_NE(built.ledger[2]["reason"].as_string().find("near-duplicate"), std::string::npos);
  EXPECT_NE(built.ledger[2]["reason"].as_string().find("a100.xml"), std::string::npos);
  EXPECT_EQ(built.of(3), "kept");
  EXPECT_EQ(built.ledger[4]["reason"].as_string(), "same text as a100.xml");
  EXPECT_EQ(built.report.stats["duplicates"]["near"].as_int(), 1);
  EXPECT_EQ(built.report.stats["duplicates"]["exact"].as_int(), 1);
  options.duplicates = "exact";
  EXPECT_EQ(build("exact").of(2), "kept");
  options.duplicates = "keep";
  EXPECT_EQ(build("keep").report.kept, 5);
  options.duplicates.reset();
  common.mode = "as-published";
  EXPECT_EQ(build("published").of(2), "kept");
}

TEST_F(Similar, TheLongestStaysIfWanted) {
  std::string text = words_text(1, 600);
  add(article(1, text));
  add(article(2, text + " And some words more."));
  options.keep_member = "longest";
  Built built = build("longest");
  EXPECT_EQ(built.of(0), "duplicate");
  EXPECT_NE(built.ledger[0]["reason"].as_string().find("a101.xml"), std::string::npos);
  EXPECT_EQ(built.of(1), "kept");
}

TEST_F(Similar, ShortArticlesAreNotCompared) {
  add(article(1, "This corrects the article on page 12 of the journal."));
  add(article(2, "This corrects the article on page 34 of the journal."));
  EXPECT_EQ(build("short").report.kept, 2);
  options.near_min_words = 0;
  EXPECT_EQ(build("all").report.kept, 1);
}

// The brute-force twin: similarity of the sets of runs themselves.
TEST(Duplicates, BandsFindWhatIsAlike) {
  TemporaryFolder folder;
  std::vector<ArticleKeys> keys;
  auto add = [&](const std::string& text) {
    PlainWords words;
    MinHashSignature signature;
    plain_words(text, words);
    ASSERT_TRUE(minhash_signature(words, signature));
    ArticleKeys one = article_keys(text, "id" + std::to_string(keys.size()), 0);
    one.bands = minhash_bands(signature);
    keys.push_back(one);
  };
  // 60 originals; each with a copy of one word in 120 changed (similarity about 0.92: found with
  // probability 0.9997) and one of one word in 5 (about 0.1: found with probability 1e-7).
  for (uint64_t i = 0; i < 60; ++i) {
    std::string text = words_text(i, 500);
    add(text);
    add(changed(text, 120));
    add(changed(text, 5));
  }
  std::string path = folder.file("keys");
  auto bytes = std::as_bytes(std::span(keys));
  ASSERT_TRUE(
      write_file_atomic(path, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()))
          .ok());
  KeyFiles files;
  ASSERT_TRUE(files.add(path).ok());
  std::vector<uint32_t> of = find_duplicates(files, {});
  for (uint32_t i = 0; i < 60; ++i) {
    EXPECT_EQ(of[3 * i], 3 * i);
    EXPECT_EQ(of[3 * i + 1], 3 * i);
    EXPECT_EQ(of[3 * i + 2], 3 * i + 2);
  }
  // Over the edge of files the numbers go on.
  KeyFiles two;
  ASSERT_TRUE(two.add(path).ok());
  ASSERT_TRUE(two.add(path).ok());
  of = find_duplicates(two, {});
  for (uint32_t i = 0; i < 180; ++i) EXPECT_EQ(of[180 + i], of[i]);
  EXPECT_EQ(two.at(181).text, keys[1].text);
}

std::string items_file(const TemporaryFolder& folder, const std::string& question,
                       const std::string& option) {
  std::string path = folder.file("items.jsonl");
  Json item = Json::object({{"identifier", "q-1"},
                            {"corpus", "Own"},
                            {"lang", "en"},
                            {"context", Json()},
                            {"question", question},
                            {"options", Json::object({{"A", option}, {"B", "no"}})},
                            {"correct_answer_letter", "A"}});
  Json other = item;
  other.set("identifier", "q-2");
  other.set("question", "Is this one too short?");
  other.set("options", Json::object({{"A", "yes"}, {"B", "no"}}));
  EXPECT_TRUE(write_file_atomic(path, item.dump() + "\n" + other.dump() + "\n").ok());
  return path;
}

TEST_F(Similar, ArticlesThatHoldAnItemGoAndAreReported) {
  std::string question = words_text(77, 40);
  options.decontaminate = {items_file(folder, question, "yes")};
  add(article(1, words_text(1, 300)));
  // Case, signs and breaks differ.
  std::string inside = question;
  for (char& c : inside) c = c == '.' ? ';' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  add(article(2, words_text(2, 100) + " (" + inside + ") " + words_text(3, 100)));
  std::vector<std::string> words = split(question, ' ');
  std::string twelve, thirteen;
  for (size_t i = 0; i < 13; ++i) {
    thirteen += words[i] + " ";
    if (i < 12) twelve += words[i] + " ";
  }
  add(article(3, words_text(4, 100) + " " + twelve + words_text(5, 100)));
  add(article(4, words_text(6, 100) + " " + thirteen + words_text(7, 100)));
  Built built = build("drop");
  EXPECT_EQ(built.of(0), "kept");
  EXPECT_EQ(built.of(1), "contaminated");
  EXPECT_EQ(built.of(2), "kept");
  EXPECT_EQ(built.of(3), "contaminated");
  EXPECT_NE(built.ledger[1]["reason"].as_string().find("q-1"), std::string::npos);
  EXPECT_EQ(built.report.contaminated, 2);
  auto met = lines("drop/contamination.jsonl");
  ASSERT_EQ(met.size(), 2u);
  EXPECT_EQ(met[0]["article"].as_string(), "PMC2");
  EXPECT_EQ(met[0]["item"].as_string(), "q-1");
  EXPECT_EQ(met[0]["shared_runs"].as_int(), 28);  // 40 words
  EXPECT_EQ(met[0]["runs_of_item"].as_int(), 28);
  EXPECT_EQ(met[1]["shared_runs"].as_int(), 1);
  const Json& benchmark = built.report.stats["benchmarks"].members().front().second;
  EXPECT_EQ(benchmark["items"].as_int(), 2);
  EXPECT_EQ(benchmark["long_enough_to_be_found"].as_int(), 1);
  EXPECT_EQ(benchmark["items_met"].as_int(), 1);
  EXPECT_EQ(benchmark["articles"].as_int(), 2);
  common.mode = "as-published";  // leaves them in and reports
  Built published = build("published");
  EXPECT_EQ(published.report.kept, 4);
  EXPECT_EQ(lines("published/contamination.jsonl").size(), 2u);
  EXPECT_EQ(lines("published/contamination.jsonl")[0]["status"].as_string(), "kept");
}

TEST(Contamination, RowsOfFiguresGiveNothingAway) {
  BenchmarkIndex index(5);
  index.add({"t", "rows", "en", 0}, {"1 2 3 4 5 6 7 8 and 9 10 11"});
  index.add({"t", "words", "en", 0}, {"alpha 1 beta gamma delta"});
  index.add({"t", "characters", "zh", 0}, {"患者服用阿司匹林"});
  index.finish();
  EXPECT_EQ(index.items()[0].runs, 0u);
  EXPECT_EQ(index.items()[1].runs, 1u);
  EXPECT_EQ(index.items()[2].runs, 4u);
  PlainWords words;
  plain_words("7 7 7 7 7 7 7 7 and 7 7 7; Alpha 2.5 beta, gamma delta! 服用阿司匹", words);
  auto found = index.find(words);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].item, 1u);
  EXPECT_EQ(found[1].item, 2u);
}

TEST_F(Similar, OptionsOfAnItemAreLookedForToo) {
  std::string option = words_text(99, 20);
  options.decontaminate = {items_file(folder, "Which is right?", option)};
  add(article(1, words_text(1, 50) + " " + option));
  add(article(2, words_text(2, 50)));
  EXPECT_EQ(build("out").of(0), "contaminated");
}

TEST_F(Similar, BadBenchmarksAreNamed) {
  add(article(1, words_text(1, 50)));
  options.out = folder.file("out");
  options.tokenizer = source_path("data/demo/stories260k");
  options.decontaminate = {"medqq"};
  auto report = build_corpus(options, common);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().paragraph().find("medqq"), std::string::npos);
  options.decontaminate = {"medqa"};
  options.benchmark_data = folder.file("nowhere");
  EXPECT_FALSE(build_corpus(options, common).ok());
  EXPECT_FALSE(exists(options.out));
}

TEST(Language, IsTheTextsOwn) {
  std::string english =
      "The patients were treated with aspirin for three weeks and none of them reported any serious adverse "
      "event "
      "during the study, which was approved by the ethics committee of the university hospital.";
  std::string portuguese =
      "Os pacientes foram tratados com aspirina durante três semanas e nenhum deles relatou qualquer evento "
      "adverso "
      "grave durante o estudo, que foi aprovado pelo comitê de ética do hospital universitário.";
  EXPECT_EQ(detect_language(english).code, "en");
  EXPECT_EQ(detect_language(portuguese).code, "pt");
  EXPECT_EQ(detect_language("x = 3").code, "");
  std::string longer;
  for (int i = 0; i < 200; ++i) longer += portuguese + "\n";
  EXPECT_EQ(detect_language(longer).code, "pt");
  EXPECT_EQ(settle_language("en", detect_language(portuguese)), "pt");
  EXPECT_EQ(settle_language("fr", {}), "fr");
  EXPECT_EQ(settle_language("", {}), "en");
}

TEST_F(Similar, LanguagesAndFiltersWriteWhatTheyLeaveOut) {
  std::string portuguese =
      "Os pacientes foram tratados com aspirina durante três semanas e nenhum deles relatou qualquer evento "
      "adverso "
      "grave durante o estudo, que foi aprovado pelo comitê de ética do hospital universitário.";
  std::string english =
      "The patients were treated with aspirin for three weeks and none of them reported that they would have "
      "to be "
      "seen again during the study, which was approved by the ethics committee of the university hospital in "
      "the "
      "spring of the year before and ended with a long letter to all those who had taken part in it at some "
      "time.";
  add(article(1, english));
  add(article(2, portuguese));
  add(article(
      3,
      "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 "
      "37 38 39 40 41 42 43 44 45 46 47 48 49 50 1001 1002 1003 1004 1005 and the end"));
  options.languages = {"en"};
  options.filters = {"letters"};
  Built built = build("out");
  EXPECT_EQ(built.of(0), "kept");
  EXPECT_EQ(built.ledger[1]["reason"].as_string(), "language pt is not among those to keep");
  EXPECT_EQ(built.ledger[2]["reason"].as_string().rfind("filter letters: ", 0), 0u);
  auto dropped = lines("out/filtered.jsonl.zst");
  ASSERT_EQ(dropped.size(), 2u);
  EXPECT_EQ(dropped[0]["id"].as_string(), "PMC2");
  EXPECT_EQ(dropped[0]["metadata"]["language"].as_string(), "pt");
  EXPECT_EQ(built.report.stats["rejected_for"]["filter letters"].as_int(), 1);
}

TEST(Quality, EachRuleFindsItsFault) {
  auto broken = [](const std::string& text, const std::string& rule) {
    return broken_quality_rule(text, "en", {rule}) != "";
  };
  std::string good = words_text(3, 80);
  for (const std::string& rule : quality_rules()) {
    if (rule != "stop-words") {
      EXPECT_FALSE(broken(good, rule)) << rule;
    }
  }
  EXPECT_FALSE(broken("the cat and the dog", "stop-words"));
  EXPECT_TRUE(broken(good, "stop-words"));
  EXPECT_TRUE(broken("few words", "words"));
  EXPECT_TRUE(broken("a b c d", "word-length"));
  EXPECT_TRUE(broken("# # # a", "symbols"));
  EXPECT_TRUE(broken("- a\n- b\n- c", "bullets"));
  EXPECT_TRUE(broken("a ...\nb ...\nc", "ellipses"));
  EXPECT_TRUE(broken("1 2 3 word", "letters"));
  EXPECT_TRUE(broken("same\nsame\nsame\nother", "repeated-lines"));
  EXPECT_TRUE(broken("same\n\nsame\n\nsame\n\nother", "repeated-paragraphs"));
  EXPECT_TRUE(broken("one two one two one two one two x", "repeated-words"));
  std::string again = words_text(4, 30);
  EXPECT_TRUE(broken(again + " " + again, "repeated-words"));
  auto all = expand_quality_rules({"gopher"});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->size(), 10u);
  EXPECT_FALSE(expand_quality_rules({"nice"}).ok());
}

TEST_F(Similar, ShardsGiveTheBytesOfOneRun) {
  std::vector<std::string> folders;
  for (int part = 0; part < 3;
       ++part) {  // each folder is a part of its own only when it is an archive or full
    std::string in = folder.file("in" + std::to_string(part));
    ASSERT_TRUE(make_directories(in).ok());
    for (int i = 0; i < 513; ++i)
      ASSERT_TRUE(testing::write_plain(
          in + "/" + std::to_string(1000 + i) + ".xml",
          article(part * 1000 + i, words_text(static_cast<uint64_t>(part * 500 + i), 60))));
    options.inputs.push_back(in);
  }
  Built whole = build("whole");
  EXPECT_GT(whole.report.duplicates, 0);  // the folders overlap
  for (const char* shard : {"3/3", "1/3", "2/3"}) {
    common.shard = shard;
    options.out = folder.file("split");
    auto report = build_corpus(options, common);
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    EXPECT_GE(report->shard_parts, 1);
    EXPECT_FALSE(exists(folder.file("split/ledger.jsonl")));
  }
  common.shard.clear();
  build("split");
  for (const char* name : {"articles-00000.jsonl.zst", "tokens.bin", "tokens.idx", "ledger.jsonl",
                           "stats.json", "README.md", "ATTRIBUTION.txt"}) {
    auto a = read_file(folder.file("whole/" + std::string(name))),
         b = read_file(folder.file("split/" + std::string(name)));
    ASSERT_TRUE(a.ok() && b.ok()) << name;
    EXPECT_EQ(*a, *b) << name;
  }
  for (const char* bad : {"0/3", "4/3", "x", "1/"}) {
    common.shard = bad;
    EXPECT_FALSE(build_corpus(options, common).ok()) << bad;
  }
  common.shard = "1/3";
  common.limit = 5;
  EXPECT_FALSE(build_corpus(options, common).ok());
}

}  // namespace
}  // namespace bm
