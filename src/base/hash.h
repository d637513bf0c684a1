// Hashes: SHA-256 (OpenSSL) for provenance, a 64-bit mix for keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace bm {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  std::string hex();  // 64 lower-case digits; call once

 private:
  void* context_;
};

std::string sha256_hex(std::string_view text);
Result<std::string> sha256_file(const std::string& path);
// A file's own hash; a folder's: hash of the sorted lines "name<TAB>hash" of its regular files.
Result<std::string> sha256_path(const std::string& path);
// The same beside other work: before each step pace(bytes hashed so far) may wait; false gives up
// (interrupted).
using HashPace = std::function<bool(uint64_t)>;
Result<std::string> sha256_path(const std::string& path, const HashPace& pace);

// Stable over versions and machines (used as random key): FNV-1a 64 followed by splitmix's finalizer.
uint64_t hash64(std::string_view text, uint64_t seed = 0);
uint64_t mix64(uint64_t value);

}  // namespace bm
