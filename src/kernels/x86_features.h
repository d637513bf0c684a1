// Features of x86 CPUs that __builtin_cpu_supports does not know in every compiler.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace bm {

// Half-precision conversions (leaf 1, ecx bit 29).
inline bool cpu_has_f16c() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & (1u << 29)) != 0;
#else
  return false;
#endif
}

}  // namespace bm
