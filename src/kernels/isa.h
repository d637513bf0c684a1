// The instruction sets the kernels are compiled for, chosen at run time (cpuid), listed and forced by name.
// All of them give the same bits (docs/kernels.md), so the choice only changes speed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace bm {

struct IsaInfo {
  std::string name;     // "scalar", "avx2", "avx512", "avx512vnni", "avx512bf16"
  bool usable = false;  // this CPU (and operating system) can run it
  bool chosen = false;
  std::string note;  // what is missing, or empty
};

// Every instruction set compiled in, slowest first.
std::vector<IsaInfo> isa_list();
// Name of the one in use.
std::string_view isa_name();
// "auto" or a name of isa_list(); bad_input for an unknown name or one this CPU lacks. Not to be called while
// kernels run.
Status select_isa(std::string_view name);

}  // namespace bm
