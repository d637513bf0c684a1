#include "corpus/minhash.h"

#include <string_view>
#include <vector>

#include "base/random.h"
#include "kernels/minhash.h"

namespace bm {

namespace {

struct Parameters {
  std::array<uint64_t, kMinHashes> a{}, b{};
};

// RandomState(1).randint(low, 2^61 - 1, dtype=uint64): 64 bits (the high half drawn first), masked to 61,
// drawn again while too large.
Parameters draw_parameters() {
  constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;
  Mt19937 random(1);
  auto draw = [&](uint64_t low) {
    while (true) {
      uint64_t high_half = random.next(), value = ((high_half << 32) | random.next()) & kPrime;
      if (value <= kPrime - 1 - low) return value + low;
    }
  };
  Parameters parameters;
  for (uint64_t& a : parameters.a) a = draw(1);
  for (uint64_t& b : parameters.b) b = draw(0);
  return parameters;
}

}  // namespace

bool minhash_signature(const PlainWords& words, MinHashSignature& signature) {
  static const Parameters parameters = draw_parameters();
  if (words.count() < kMinHashWords) return false;
  thread_local std::vector<uint64_t> shingles;
  shingles.clear();
  for (size_t i = 0; i + kMinHashWords <= words.count(); ++i)
    shingles.push_back(xxh64(words.run(i, kMinHashWords)));
  minhash(shingles.data(), shingles.size(), parameters.a.data(), parameters.b.data(), kMinHashes,
          signature.data());
  return true;
}

MinHashBandKeys minhash_bands(const MinHashSignature& signature) {
  MinHashBandKeys keys{};
  for (size_t band = 0; band < kMinHashBands; ++band) {
    const auto* bytes = reinterpret_cast<const char*>(signature.data() + band * kMinHashRows);
    uint64_t key = xxh64(std::string_view(bytes, kMinHashRows * sizeof(uint64_t)));
    keys[band] = key ? key : 1;
  }
  return keys;
}

}  // namespace bm
