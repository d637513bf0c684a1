// Facts about the process and the machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bm {

uint64_t resident_memory();       // bytes now
uint64_t peak_resident_memory();  // bytes, highest so far
uint64_t physical_memory();       // bytes, the cgroup's limit if lower
std::string cpu_model();
double now_seconds();             // monotonic
std::string utc_timestamp();      // "2026-11-22T18:20:36Z"
std::string to_utf8_safe(std::string_view bytes);  // invalid sequences become U+FFFD

}  // namespace bm
