#include "base/hash.h"

#include <openssl/evp.h>

#include "base/file.h"
#include "base/log.h"

namespace bm {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr);
}
Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }
void Sha256::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size());
}
void Sha256::update(std::string_view text) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), text.data(), text.size());
}
std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest, &length);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < length; ++i) {
    text += kHex[digest[i] >> 4];
    text += kHex[digest[i] & 15];
  }
  return text;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.hex();
}

namespace {

Result<std::string> hash_file(const std::string& path, const HashPace& pace, uint64_t& done) {
  BM_TRY(MappedFile file, MappedFile::open(path));
  file.advise_sequential();
  Sha256 hash;
  constexpr size_t kStep = 16 << 20;  // drop what is hashed, so that mapped pages do not count as ours
  for (size_t at = 0; at < file.size(); at += kStep) {
    if (pace && !pace(done)) return interrupted_error("hashing");
    size_t size = std::min(kStep, file.size() - at);
    hash.update(file.bytes().subspan(at, size));
    file.drop(at, kStep);
    done += size;
  }
  return hash.hex();
}

}  // namespace

Result<std::string> sha256_file(const std::string& path) {
  uint64_t done = 0;
  return hash_file(path, {}, done);
}

Result<std::string> sha256_path(const std::string& path) { return sha256_path(path, {}); }

Result<std::string> sha256_path(const std::string& path, const HashPace& pace) {
  uint64_t done = 0;
  if (!is_directory(path)) return hash_file(path, pace, done);
  BM_TRY(std::vector<std::string> files, list_files(path));
  Sha256 all;
  for (const std::string& file : files) {
    BM_TRY(std::string one, hash_file(file, pace, done));
    all.update(file.substr(path.size()) + "\t" + one + "\n");
  }
  return all.hex();
}

uint64_t mix64(uint64_t value) {
  value ^= value >> 30;
  value *= 0xbf58476d1ce4e5b9u;
  value ^= value >> 27;
  value *= 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

uint64_t hash64(std::string_view text, uint64_t seed) {
  uint64_t hash = 0xcbf29ce484222325u ^ mix64(seed);
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix64(hash);
}

}  // namespace bm
