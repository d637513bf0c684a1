// What this machine can do for the program: facts and two short measurements, for `doctor` and run manifests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/isa.h"

namespace bm {

struct MachineRate {
  double one_thread = 0, all_threads = 0;
};

struct MachinePart {
  std::string name;  // "GPU", "MPI"
  bool found = false;
  std::string detail;  // what was found, or what is missing
  std::string cure;    // what to do about it; empty when there is nothing to do
};

struct Machine {
  std::string cpu;
  std::vector<std::string> features;  // those that matter here: avx2, fma, f16c, avx512f, …
  int threads = 0;                    // used by default
  int logical_cpus = 0;               // of the machine
  uint64_t memory = 0;                // bytes, cgroup limit included
  std::vector<IsaInfo> isas;
  std::vector<std::pair<std::string, std::string>> kernels;  // family → what is used
  MachineRate read_bandwidth;                                // bytes a second, 256 MB read in order
  MachineRate float_rate;  // float32 operations a second in linear layers (K = N = 1024, 768 rows)
  std::vector<MachinePart> parts;
};

// Takes about half a second; with measure = false the rates stay 0. Leaves the thread count as it found it.
Machine examine_machine(bool measure = true);

}  // namespace bm
