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

// Asks for huge pages for the whole ones inside [memory, memory + bytes): fewer page faults and address
// translations for weights and caches. A hint; nothing happens where it cannot be had.
void advise_huge_pages(void* memory, size_t bytes);
inline constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace bm
