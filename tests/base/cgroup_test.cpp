#include "base/cgroup.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "paths.h"

namespace bm {
namespace {

// A folder that looks like /sys/fs/cgroup, and a list of the process' groups.
class CgroupTest : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    const std::string full = folder.file(path);
    ASSERT_TRUE(make_directories(path_parent(full)).ok());
    ASSERT_TRUE(write_file_atomic(full, text).ok());
  }
  double cpus() { return cgroup_cpus(folder.file("self"), folder.file("fs")); }
  testing::TemporaryFolder folder;
};

TEST_F(CgroupTest, VersionTwoTakesTheLeastAbove) {
  EXPECT_EQ(cpus(), 0) << "no groups at all";
  put("self", "0::/system/job\n");
  put("fs/system/job/cpu.max", "max 100000\n");
  EXPECT_EQ(cpus(), 0);
  put("fs/system/cpu.max", "250000 100000\n");
  EXPECT_EQ(cpus(), 2.5);
  put("fs/system/job/cpu.max", "100000 100000\n");
  EXPECT_EQ(cpus(), 1);
  put("fs/cpu.max", "50000 100000\n");
  EXPECT_EQ(cpus(), 0.5);
}

TEST_F(CgroupTest, VersionOne) {
  put("self", "5:devices:/\n2:cpu,cpuacct:/a/b\n0::/\n");
  put("fs/cpu/a/cpu.cfs_quota_us", "-1\n");
  put("fs/cpu/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpus(), 0);
  put("fs/cpu/a/b/cpu.cfs_quota_us", "100000\n");
  put("fs/cpu/a/b/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpus(), 1);
}

}  // namespace
}  // namespace bm
