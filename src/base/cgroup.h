// What the process' control group allows.
#pragma once

#include <string>

namespace bm {

// CPUs that the quotas of the process' group and of all above it leave (2.5 is possible); 0 = no quota.
// cgroup version 2 (cpu.max) and version 1 (cpu.cfs_quota_us), mounted below `mount`; `self` lists the
// groups.
double cgroup_cpus(const std::string& self = "/proc/self/cgroup",
                   const std::string& mount = "/sys/fs/cgroup");

}  // namespace bm
