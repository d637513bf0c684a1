#include "ops/machine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/threads.h"

namespace bm {
namespace {

TEST(Machine, FactsAndRates) {
  set_thread_count(2);
  Machine machine = examine_machine();
  EXPECT_EQ(thread_count(), 2);
  set_thread_count(0);
  EXPECT_FALSE(machine.cpu.empty());
  EXPECT_EQ(machine.threads, 2);
  EXPECT_GT(machine.memory, 1u << 27);
  EXPECT_GT(machine.read_bandwidth.one_thread, 1e8);
  EXPECT_LT(machine.read_bandwidth.all_threads, 1e13);
  EXPECT_GT(machine.float_rate.one_thread, 1e6);
  for (const char* name : {"GPU", "MPI", "memory"}) {
    EXPECT_TRUE(std::any_of(machine.parts.begin(), machine.parts.end(), [&](const MachinePart& part) {
      return part.name == name && !part.detail.empty();
    }));
  }
}

TEST(Machine, NothingIsMeasuredWhenNotAsked) {
  Machine machine = examine_machine(false);
  EXPECT_EQ(machine.read_bandwidth.one_thread, 0);
  EXPECT_EQ(machine.float_rate.all_threads, 0);
}

}  // namespace
}  // namespace bm
