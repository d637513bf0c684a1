// The stage: folder contents, resume, identical bytes, ledger, held-out articles, exports, bad input.
#include "corpus/build.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/file.h"
#include "base/log.h"
#include "base/threads.h"
#include "corpus/article_helpers.h"
#include "corpus/export.h"
#include "corpus/extract.h"
#include "corpus/pieces.h"
#include "formats/compressed.h"
#include "formats/jsonl.h"
#include "formats/megatron.h"
#include "paths.h"

namespace bm {
namespace {

using testing::article_xml;
using testing::source_path;
using testing::TemporaryFolder;

std::string tokenizer_path() { return source_path("data/demo/stories260k"); }
std::string demo_articles() { return source_path("data/demo/articles"); }

CorpusOptions options_for(std::vector<std::string> inputs, const std::string& out) {
  CorpusOptions options;
  options.inputs = std::move(inputs);
  options.out = out;
  options.tokenizer = tokenizer_path();
  return options;
}

std::string content(const std::string& path) {
  auto bytes = read_file(path);
  return bytes.ok() ? bytes.value() : "ERROR " + bytes.error().paragraph();
}

std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> lines;
  EXPECT_TRUE(for_each_jsonl(path, [&](const Json& line, uint64_t) -> Status {
                lines.push_back(line);
                return {};
              }).ok());
  return lines;
}

std::string numbered(int i) {
  return article_xml("<p>Article number " + std::to_string(i) + " says something of its own.</p>",
                     "<article-id pub-id-type=\"pmcid\">PMC" + std::to_string(100 + i) + "</article-id>");
}

TEST(Build, WritesWhatTheContractNames) {
  TemporaryFolder folder;
  CommonOptions common;
  common.limit = 8;
  CorpusOptions options = options_for({demo_articles()}, folder.file("out"));
  auto report = build_corpus(options, common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  EXPECT_EQ(report->articles, 8);
  EXPECT_EQ(report->kept, 8);
  auto records = lines_of(folder.file("out/articles-00000.jsonl.zst"));
  ASSERT_EQ(records.size(), 8u);
  auto tokens = MegatronReader::open(folder.file("out/tokens"));
  ASSERT_TRUE(tokens.ok());
  EXPECT_EQ(tokens->documents(), 8u);
  EXPECT_EQ(tokens->tokens(), report->tokens);
  EXPECT_EQ(report->blocks, report->tokens / 2048);
  EXPECT_EQ(report->blocks * 2048 + report->dropped_tokens, report->tokens);
  // Every sequence is BOS … EOS, and decodes to its piece of the record's text.
  auto tokenizer = Tokenizer::load(tokenizer_path());
  ASSERT_TRUE(tokenizer.ok());
  for (uint64_t d = 0; d < 8; ++d) {
    auto pieces = cut_pieces(records[d]["text"].as_string(), 1000, false);
    auto starts = tokens->document_starts();
    ASSERT_EQ(static_cast<size_t>(starts[d + 1] - starts[d]), pieces.size());
    for (size_t k = 0; k < pieces.size(); ++k) {
      auto s = static_cast<uint64_t>(starts[d]) + k;
      std::vector<int32_t> ids(static_cast<size_t>(tokens->length(s)));
      tokens->read(s, ids.data());
      EXPECT_EQ(ids.front(), (*tokenizer)->bos_id());
      EXPECT_EQ(ids.back(), (*tokenizer)->eos_id());
      EXPECT_EQ((*tokenizer)->decode(ids, true), pieces[k]);
    }
  }
  EXPECT_EQ(lines_of(folder.file("out/ledger.jsonl")).size(), 9u);  // and ATTRIBUTION.md
  EXPECT_FALSE(exists(folder.file("out/parts")));
  EXPECT_NE(content(folder.file("out/ATTRIBUTION.txt")).find("Licence: CC BY 2.0"), std::string::npos);
  auto again = build_corpus(options, common);
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->already_complete);
  EXPECT_EQ(again->tokens, report->tokens);
  options.sequence_length = 512;
  auto other = build_corpus(options, common);
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().paragraph().find("sequence-length"), std::string::npos);
}

TEST(Build, SameBytesForAnyThreads) {
  TemporaryFolder folder;
  CommonOptions common;
  common.limit = 20;
  std::vector<std::string> outs;
  for (int threads : {1, 4}) {
    set_thread_count(threads);
    outs.push_back(folder.file("out" + std::to_string(threads)));
    CorpusOptions options = options_for({demo_articles()}, outs.back());
    options.holdout_articles = 3;
    ASSERT_TRUE(build_corpus(options, common).ok());
  }
  set_thread_count(0);
  for (const char* name : {"articles-00000.jsonl.zst", "tokens.bin", "tokens.idx", "ledger.jsonl",
                           "stats.json", "heldout.jsonl", "ATTRIBUTION.txt"})
    EXPECT_EQ(content(outs[0] + "/" + name), content(outs[1] + "/" + name)) << name;
}

TEST(Build, HoldoutIsByIdAndStaysOutOfTheTokens) {
  TemporaryFolder folder;
  for (int i = 0; i < 30; ++i)
    ASSERT_TRUE(testing::write_plain(folder.file("a" + std::to_string(i) + ".xml"), numbered(i)));
  std::vector<std::string> all, some;
  for (int i = 0; i < 30; ++i) all.push_back(folder.file("a" + std::to_string(i) + ".xml"));
  some.assign(all.begin() + 5, all.end());
  auto held = [&](const std::vector<std::string>& inputs, const std::string& out, double share) {
    CorpusOptions options = options_for(inputs, folder.file(out));
    options.holdout = share;
    EXPECT_TRUE(build_corpus(options, {}).ok());
    std::set<std::string> ids;
    for (const Json& record : lines_of(folder.file(out + "/heldout.jsonl")))
      ids.insert(record["id"].as_string());
    for (const Json& record : lines_of(folder.file(out + "/articles-00000.jsonl.zst")))
      EXPECT_EQ(ids.count(record["id"].as_string()), 0u);
    return ids;
  };
  std::set<std::string> first = held(all, "o1", 0.3), second = held(some, "o2", 0.3);
  EXPECT_GT(first.size(), 2u);
  EXPECT_LT(first.size(), 20u);
  // An article's lot does not depend on the others.
  for (const std::string& id : second) EXPECT_EQ(first.count(id), 1u);
}

TEST(Build, LedgerHasALineForEveryInput) {
  TemporaryFolder folder;
  std::string in = folder.file("in");
  ASSERT_TRUE(make_directories(in).ok());
  ASSERT_TRUE(write_file_atomic(in + "/a.xml", numbered(1)).ok());
  ASSERT_TRUE(write_file_atomic(in + "/b.nxml", "<article><body>").ok());
  ASSERT_TRUE(write_file_atomic(in + "/c.xml", numbered(1)).ok());  // the same again
  ASSERT_TRUE(
      write_file_atomic(in + "/d.xml", "<article><body><p>x</p></body></article>").ok());  // no licence
  ASSERT_TRUE(write_file_atomic(in + "/e.txt", "notes").ok());
  ASSERT_TRUE(write_file_atomic(in + "/f.tar.gz", "no archive at all").ok());
  ASSERT_TRUE(write_file_atomic(in + "/g.xml.gz", "\x1f\x8b and then nothing").ok());
  auto report = build_corpus(options_for({in}, folder.file("out")), {});
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  std::vector<std::string> seen;
  for (const Json& line : lines_of(folder.file("out/ledger.jsonl"))) {
    EXPECT_FALSE(line["reason"].as_string().empty());
    seen.push_back(line["source"].as_string() + " " + line["status"].as_string());
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"in/a.xml kept", "in/b.nxml broken", "in/c.xml duplicate",
                                            "in/d.xml rejected", "in/e.txt rejected", "in/f.tar.gz broken",
                                            "in/g.xml.gz broken"}));
  EXPECT_EQ(report->kept, 1);
  EXPECT_EQ(report->broken, 3);
  EXPECT_EQ(report->duplicates, 1);
  EXPECT_EQ(report->other_files, 1);
}

// A build in a process of its own (a fork of this one would have no worker threads): this program again,
// running only the test below, told by its environment what to build.
pid_t start_build(const std::string& inputs, const std::string& out, bool stop) {
  pid_t child = fork();
  if (child != 0) return child;
  setenv("BIOMISTRAL_TEST_INPUTS", inputs.c_str(), 1);
  setenv("BIOMISTRAL_TEST_OUT", out.c_str(), 1);
  if (stop) setenv("BIOMISTRAL_TEST_STOP", "1", 1);
  execl("/proc/self/exe", "test_corpus", "--gtest_filter=BuildInChild.Runs", "--gtest_brief=1", nullptr);
  _exit(9);
}

TEST(BuildInChild, Runs) {
  const char* inputs = getenv("BIOMISTRAL_TEST_INPUTS");
  if (!inputs) return;  // only of use to the two tests below
  if (getenv("BIOMISTRAL_TEST_STOP")) request_stop();
  auto report = build_corpus(options_for(split(inputs, ':'), getenv("BIOMISTRAL_TEST_OUT")), {});
  _exit(report.ok() ? 0 : report.error().code() == Code::interrupted ? 7 : 1);
}

TEST(Build, KilledAndStartedAgainEndsTheSame) {
  TemporaryFolder folder;
  std::vector<std::string> inputs;
  for (int part = 0; part < 3; ++part) {
    std::string in = folder.file("in" + std::to_string(part));
    ASSERT_TRUE(make_directories(in).ok());
    for (int i = 0; i < 200; ++i)
      ASSERT_TRUE(
          testing::write_plain(in + "/" + std::to_string(1000 + i) + ".xml", numbered(part * 1000 + i)));
    inputs.push_back(in);
  }
  auto whole = build_corpus(options_for(inputs, folder.file("whole")), {});
  ASSERT_TRUE(whole.ok());
  pid_t child = start_build(inputs[0] + ":" + inputs[1] + ":" + inputs[2], folder.file("killed"), false);
  for (int i = 0; i < 400 && !exists(folder.file("killed/parts/part-00000.ledger.jsonl")); ++i) usleep(5000);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  auto resumed = build_corpus(options_for(inputs, folder.file("killed")), {});
  ASSERT_TRUE(resumed.ok()) << resumed.error().paragraph();
  for (const char* name :
       {"articles-00000.jsonl.zst", "tokens.bin", "tokens.idx", "ledger.jsonl", "stats.json"})
    EXPECT_EQ(content(folder.file("killed/" + std::string(name))),
              content(folder.file("whole/" + std::string(name))))
        << name;
}

TEST(Build, FinishedPartsAreNotRedone) {
  TemporaryFolder folder;
  std::vector<std::string> inputs;
  for (int part = 0; part < 520; ++part) {  // two parts: the first of 512 files
    inputs.push_back(folder.file(std::to_string(part) + ".xml"));
    ASSERT_TRUE(testing::write_plain(inputs.back(), numbered(part)));
  }
  CorpusOptions options = options_for(inputs, folder.file("out"));
  std::string joined;
  for (const std::string& input : inputs) joined += (joined.empty() ? "" : ":") + input;
  pid_t child =
      start_build(joined, folder.file("out"), true);  // the part at hand is finished, the next one not begun
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(WEXITSTATUS(status), 7);
  std::string first = folder.file("out/parts/part-00000.ledger.jsonl");
  ASSERT_TRUE(exists(first));
  EXPECT_FALSE(exists(folder.file("out/parts/part-00001.ledger.jsonl")));
  // A mark in the finished part that only shows up at the end if the part was taken as it is.
  std::string marked = content(first);
  marked.replace(marked.find("licence CC BY 4.0"), 7, "LICENCE");
  ASSERT_TRUE(write_file_atomic(first, marked).ok());
  auto resumed = build_corpus(options, {});
  ASSERT_TRUE(resumed.ok()) << resumed.error().paragraph();
  EXPECT_EQ(resumed->kept, 520);
  EXPECT_EQ(lines_of(folder.file("out/ledger.jsonl"))[0]["reason"].as_string(), "LICENCE CC BY 4.0");
}

TEST(Build, BadInputIsNamed) {
  TemporaryFolder folder;
  auto error_of = [&](CorpusOptions options) {
    auto report = build_corpus(options, {});
    EXPECT_FALSE(report.ok());
    EXPECT_FALSE(exists(folder.file("out"))) << "nothing may be written";
    return report.ok() ? std::string() : report.error().paragraph();
  };
  CorpusOptions good = options_for({demo_articles()}, folder.file("out"));
  CorpusOptions bad = good;
  bad.inputs = {"/no/such/path"};
  EXPECT_NE(error_of(bad).find("/no/such/path"), std::string::npos);
  bad.inputs = {};
  EXPECT_NE(error_of(bad).find("no input"), std::string::npos);
  ASSERT_TRUE(make_directories(folder.file("empty")).ok());
  bad.inputs = {folder.file("empty")};
  EXPECT_NE(error_of(bad).find("no article file"), std::string::npos);
  bad = good;
  bad.tokenizer = "/no/tokenizer";
  EXPECT_NE(error_of(bad).find("/no/tokenizer"), std::string::npos);
  bad = good;
  bad.licenses = {"by", "gpl"};
  EXPECT_NE(error_of(bad).find("gpl"), std::string::npos);
  bad = good;
  bad.holdout = 1.5;
  EXPECT_NE(error_of(bad).find("holdout"), std::string::npos);
  bad = good;
  bad.sequence_length = 0;
  EXPECT_NE(error_of(bad).find("sequence-length"), std::string::npos);
}

TEST(Build, NothingKeptIsAnErrorAndTheLedgerSaysWhy) {
  TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomic(folder.file("a.xml"), "<article><body><p>x</p></body></article>").ok());
  auto report = build_corpus(options_for({folder.file("a.xml")}, folder.file("out")), {});
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().paragraph().find("ledger.jsonl"), std::string::npos);
  EXPECT_EQ(lines_of(folder.file("out/ledger.jsonl")).size(), 1u);
}

TEST(Build, DryRunWritesNothing) {
  TemporaryFolder folder;
  CommonOptions common;
  common.dry_run = true;
  auto report = build_corpus(options_for({demo_articles()}, folder.file("out")), common);
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->dry_run);
  EXPECT_FALSE(exists(folder.file("out")));
}

TEST(Pieces, WordsByWhiteSpaceOrSingleSpaces) {
  using Pieces = std::vector<std::string_view>;
  EXPECT_EQ(cut_pieces("a b\n\nc d e", 2, false), (Pieces{"a b", "c d", "e"}));
  EXPECT_EQ(cut_pieces("a b\n\nc d e", 2, true), (Pieces{"a b\n\nc", "d e"}));
  EXPECT_EQ(cut_pieces("a  b c", 2, true), (Pieces{"a ", "b c"}));  // "a", "", "b", "c"
  EXPECT_EQ(cut_pieces("a b c", 0, false), (Pieces{"a b c"}));
  EXPECT_EQ(cut_pieces("", 2, false), Pieces{});
  std::string text = "w";
  for (int i = 1; i < 2500; ++i) text += " w" + std::to_string(i);
  auto pieces = cut_pieces(text, 1000, true);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(std::string(pieces[0]) + " " + std::string(pieces[1]) + " " + std::string(pieces[2]), text);
}

TEST(Pieces, SpecialStringsInTextStayText) {
  auto tokenizer = Tokenizer::load(tokenizer_path());
  ASSERT_TRUE(tokenizer.ok());
  auto literal = encode_piece(**tokenizer, "struck </s> out", false);
  auto control = encode_piece(**tokenizer, "struck </s> out", true);
  EXPECT_EQ(std::count(literal.begin(), literal.end(), *(*tokenizer)->eos_id()), 1);
  EXPECT_EQ(std::count(control.begin(), control.end(), *(*tokenizer)->eos_id()), 2);
}

TEST(Modes, AsPublishedIsASetOfSwitches) {
  CommonOptions common;
  EXPECT_FALSE(resolve_switches({}, common)->split_on_spaces);
  common.mode = "as-published";
  EXPECT_TRUE(resolve_switches({}, common)->split_on_spaces);
  EXPECT_TRUE(resolve_switches({}, common)->parse_special);
  CorpusOptions options;
  options.parse_special = false;
  EXPECT_FALSE(resolve_switches(options, common)->parse_special);
}

TEST(Export, ThreeLayouts) {
  TemporaryFolder folder;
  CommonOptions common;
  common.limit = 3;
  ASSERT_TRUE(build_corpus(options_for({demo_articles()}, folder.file("out")), common).ok());
  auto tokens = MegatronReader::open(folder.file("out/tokens"));
  ASSERT_TRUE(tokens.ok());
  ASSERT_TRUE(export_corpus(folder.file("out"), folder.file("x"), "ds", {}).ok());
  EXPECT_EQ(content(folder.file("x.ds")), content(folder.file("out/tokens.bin")));  // both u16 here
  EXPECT_EQ(content(folder.file("x.ds.index")).size(), 3 * 8u);
  EXPECT_NE(content(folder.file("x.ds.metadata")).find("|2\n" + std::to_string(tokens->tokens()) + "\n"),
            std::string::npos);
  ASSERT_TRUE(export_corpus(folder.file("out"), folder.file("x"), "npy", {}).ok());
  std::string npy = content(folder.file("x.npy"));
  EXPECT_EQ(npy.substr(0, 8), std::string("\x93NUMPY\x01\0", 8));
  EXPECT_EQ(npy.size(), 128 + 2 * tokens->tokens());
  EXPECT_EQ(npy.substr(128), content(folder.file("out/tokens.bin")));
  EXPECT_NE(npy.find("'shape': (" + std::to_string(tokens->tokens()) + ",)"), std::string::npos);
  auto rows = read_decompressed(folder.file("x.csv.gz"));
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(std::count(rows->begin(), rows->end(), '\n'), 3);
  ASSERT_TRUE(export_corpus(folder.file("out"), folder.file("x.jsonl"), "jsonl", {}).ok());
  EXPECT_EQ(lines_of(folder.file("x.jsonl")).size(), 3u);
  EXPECT_FALSE(export_corpus(folder.file("out"), folder.file("x.jsonl"), "jsonl", {}).ok());  // there already
  EXPECT_FALSE(export_corpus(folder.path(), folder.file("y"), "ds", {}).ok());
}

TEST(Extract, MarksDuplicatesAndCountsTheLimit) {
  TemporaryFolder folder;
  for (int i = 0; i < 4; ++i)
    ASSERT_TRUE(write_file_atomic(folder.file(std::to_string(i) + ".xml"), numbered(i / 2)).ok());
  CorpusOptions options;
  options.inputs = {folder.path()};
  CommonOptions common;
  common.limit = 3;
  std::vector<ArticleStatus> statuses;
  auto counts = extract_corpus(options, common, [&](const ArticleOutcome& outcome) -> Status {
    statuses.push_back(outcome.status);
    return {};
  });
  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(counts->articles, 3);
  EXPECT_EQ(statuses,
            (std::vector<ArticleStatus>{ArticleStatus::kept, ArticleStatus::duplicate, ArticleStatus::kept}));
}

}  // namespace
}  // namespace bm
