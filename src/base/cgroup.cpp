#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <initializer_list>

namespace bm {
namespace {

// "50000 100000" or "max 100000" in one file; the same in two.
double quota_of(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream both(folder + "/cpu.max");
  if (both >> quota >> period && period > 0) return quota / period;
  std::ifstream first(folder + "/cpu.cfs_quota_us"), second(folder + "/cpu.cfs_period_us");
  if (first >> quota && second >> period && quota > 0 && period > 0) return quota / period;
  return 0;
}

// The least of a group's quota and those above it. A container often shows its own group as the root.
double least_quota(const std::string& root, std::string group) {
  double least = 0;
  for (;;) {
    const double quota = quota_of(root + group);
    if (quota > 0) least = least > 0 ? std::min(least, quota) : quota;
    if (group.empty()) return least;
    group.erase(std::min(group.rfind('/'), group.size()));
  }
}

}  // namespace

double cgroup_cpus(const std::string& self, const std::string& mount) {
  double least = 0;
  const auto take = [&](double quota) {
    if (quota > 0) least = least > 0 ? std::min(least, quota) : quota;
  };
  take(least_quota(mount, ""));
  std::ifstream groups(self);
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/path", version 2: "0::/path"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string group = line.substr(second + 1);
    while (!group.empty() && group.back() == '/') group.pop_back();
    if (controllers == ",,")
      for (const char* root : {"", "/unified"}) take(least_quota(mount + root, group));
    if (controllers.find(",cpu,") != std::string::npos)
      for (const char* root : {"/cpu", "/cpu,cpuacct"}) take(least_quota(mount + root, group));
  }
  return least;
}

}  // namespace bm
