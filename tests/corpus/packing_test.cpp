// Best-fit packing: nothing lost, nothing over, few cuts; and the folder it makes.
#include "corpus/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/random.h"
#include "corpus/build.h"
#include "corpus/export.h"
#include "paths.h"

namespace bm {
namespace {

using testing::source_path;
using testing::TemporaryFolder;

TEST(BestFit, EveryChunkOnceAndNoBlockTooFull) {
  CounterRandom random(5, 1);
  std::vector<uint32_t> lengths;
  for (uint64_t i = 0; i < 2000; ++i) lengths.push_back(static_cast<uint32_t>(1 + random.below(i, 256)));
  auto blocks = best_fit_blocks(lengths, 256);
  std::vector<int> seen(lengths.size(), 0);
  uint64_t total = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  for (const auto& block : blocks) {
    uint64_t used = 0;
    for (uint32_t chunk : block) {
      ++seen[chunk];
      used += lengths[chunk];
    }
    EXPECT_LE(used, 256u);
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 2000);
  EXPECT_LE(blocks.size(), total / 256 * 102 / 100);  // nearly full
}

TEST(BestFit, PrefersTheTightestRoom) {
  std::vector<uint32_t> lengths = {6, 7, 3, 4};  // 7+3 and 6+4 fill blocks of 10
  auto blocks = best_fit_blocks(lengths, 10);
  EXPECT_EQ(blocks, (std::vector<std::vector<uint32_t>>{{0, 3}, {1, 2}}));
}

CorpusOptions demo(const std::string& out, const std::string& packing) {
  CorpusOptions options;
  options.inputs = {source_path("data/demo/articles")};
  options.out = out;
  options.tokenizer = source_path("data/demo/stories260k");
  options.packing = packing;
  options.sequence_length = 1024;
  return options;
}

TEST(BestFit, FolderHoldsWholeBlocksAndSaysWhoseTheyAre) {
  TemporaryFolder folder;
  CommonOptions common;
  common.limit = 12;
  auto report = build_corpus(demo(folder.file("fit"), "best-fit"), common);
  ASSERT_TRUE(report.ok()) << report.error().paragraph();
  auto whole = build_corpus(demo(folder.file("whole"), "documents"), common);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(report->tokens % 1024, 0u);
  EXPECT_EQ(report->dropped_tokens, 0u);
  auto filling = static_cast<uint64_t>(report->stats["packing"]["filling_tokens"].as_int());
  EXPECT_EQ(report->tokens - filling, whole->tokens);
  EXPECT_LT(filling, 1024 * 3u);
  auto fit = MegatronReader::open(folder.file("fit/tokens")),
       all = MegatronReader::open(folder.file("whole/tokens"));
  ASSERT_TRUE(fit.ok() && all.ok());
  EXPECT_EQ(all->documents(), 12u);
  EXPECT_EQ(all->sequences(), 12u);
  auto owners = read_file(folder.file("fit/tokens.articles"));
  ASSERT_TRUE(owners.ok());
  ASSERT_EQ(owners->size(), fit->documents() * 4);
  // An article's parts, put together in order, are the article.
  std::vector<std::vector<int32_t>> joined(12);
  for (uint64_t d = 0; d < fit->documents(); ++d) {
    uint32_t owner;
    std::memcpy(&owner, owners->data() + 4 * d, 4);
    if (owner == 0xFFFFFFFFu) continue;
    ASSERT_LT(owner, 12u);
    std::vector<int32_t> ids(static_cast<size_t>(fit->length(d)));
    fit->read(d, ids.data());
    EXPECT_LE(ids.size(), 1024u);
    joined[owner].insert(joined[owner].end(), ids.begin(), ids.end());
  }
  for (uint64_t d = 0; d < 12; ++d) {
    std::vector<int32_t> ids(static_cast<size_t>(all->length(d)));
    all->read(d, ids.data());
    EXPECT_EQ(joined[d].size(), ids.size());
    std::sort(ids.begin(), ids.end());  // windows put an article's parts in order of their number in a block
    std::sort(joined[d].begin(), joined[d].end());
    EXPECT_EQ(joined[d], ids) << d;
  }
  for (const char* to : {"ds", "npy"}) {
    auto exported = export_corpus(folder.file("fit"), folder.file("x"), to, {});
    ASSERT_TRUE(exported.ok()) << exported.error().paragraph();
    EXPECT_EQ(exported->tokens, report->tokens);
  }
}

}  // namespace
}  // namespace bm
