// Ranks on one machine against the sums one process makes.
#include "parallel/communicator.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

namespace bm {
namespace {

// What rank r brings: values whose float32 sum depends on the order of addition.
std::vector<float> values_of(int rank, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = std::ldexp(1.0f + static_cast<float>((i * 7 + static_cast<size_t>(rank) * 13) % 31) / 32,
                           static_cast<int>((i + static_cast<size_t>(rank) * 5) % 29) - 14);
  return values;
}

int check_sums(Communicator& ranks, size_t count) {
  std::vector<size_t> starts = {0};
  for (int r = 0; r < ranks.size(); ++r)  // uneven pieces, one of them empty
    starts.push_back(r == 1 ? starts.back() : std::min(count, starts.back() + count / 2 + 1));
  starts.back() = count;
  std::vector<float> values = values_of(ranks.rank(), count), expected = values_of(0, count);
  for (int r = 1; r < ranks.size(); ++r) {
    const auto more = values_of(r, count);
    for (size_t i = 0; i < count; ++i) expected[i] += more[i];
  }
  if (!ranks.reduce_scatter(values.data(), starts).ok()) return 10;
  const auto rank = static_cast<size_t>(ranks.rank());
  for (size_t i = starts[rank]; i < starts[rank + 1]; ++i)
    if (values[i] != expected[i]) return 11;
  if (!ranks.all_gather(values.data(), starts).ok()) return 12;
  if (values != expected) return 13;
  return 0;
}

TEST(LocalRanks, SumsInTheOrderOfTheRanks) {
  for (int ranks : {1, 2, 4})
    for (size_t count : {size_t{0}, size_t{1}, size_t{1000}, size_t{3} << 20}) {
      const auto code = run_local_ranks(ranks, [&](Communicator& c) { return check_sums(c, count); });
      ASSERT_TRUE(code.ok()) << code.error().paragraph();
      EXPECT_EQ(*code, 0) << ranks << " ranks, " << count << " values";
    }
}

TEST(LocalRanks, BroadcastAndDoubleSums) {
  const auto code = run_local_ranks(3, [](Communicator& c) {
    std::vector<std::byte> bytes(9'000'001, std::byte{0});
    if (c.rank() == 1) bytes.assign(bytes.size(), std::byte{42});
    if (!c.broadcast(bytes, 1).ok() || bytes.front() != std::byte{42} || bytes.back() != std::byte{42})
      return 10;
    double sums[2] = {1e16 * (c.rank() == 0 ? 1 : 0), 1.0 + c.rank()};
    if (!c.all_sum(sums).ok()) return 11;
    return sums[0] == 1e16 && sums[1] == 6 ? 0 : 12;
  });
  ASSERT_TRUE(code.ok());
  EXPECT_EQ(*code, 0);
}

TEST(LocalRanks, ADeadRankEndsTheOthersByName) {
  const auto code = run_local_ranks(3, [](Communicator& c) {
    if (c.rank() == 2) raise(SIGKILL);
    const Status status = c.barrier();
    return !status.ok() && status.error().paragraph().find("rank 2") != std::string::npos ? 1 : 55;
  });
  ASSERT_FALSE(code.ok());
  EXPECT_NE(code.error().paragraph().find("rank 2 was killed by signal 9"), std::string::npos);
}

TEST(LocalRanks, AnErrorOfOneIsTheErrorOfAll) {
  const auto code = run_local_ranks(2, [](Communicator& c) {
    if (c.rank() == 1) return 2;
    return c.barrier().ok() ? 0 : 1;
  });
  ASSERT_TRUE(code.ok());
  EXPECT_NE(*code, 0);
  EXPECT_FALSE(run_local_ranks(0, [](Communicator&) { return 0; }).ok());
}

TEST(Self, DoesNothing) {
  const auto self = self_communicator();
  float values[2] = {1, 2};
  const size_t starts[2] = {0, 2};
  EXPECT_TRUE(self->reduce_scatter(values, starts).ok() && self->all_gather(values, starts).ok());
  EXPECT_EQ(values[1], 2);
  EXPECT_EQ(self->size(), 1);
}

}  // namespace
}  // namespace bm
