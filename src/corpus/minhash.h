// Signatures of texts by which near-duplicates are found: MinHash over runs of five words, in 14 bands of 8
// hashes (Broder 1997; locality-sensitive hashing, Indyk and Motwani 1998). Two texts of similarity s share a
// band with probability 1 - (1 - s^8)^14: 0.92 at s = 0.8, one half near 0.72.
//
// Hash functions, their parameters (NumPy's RandomState(1)), shingles and bands are datatrove's defaults.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "corpus/words.h"

namespace bm {

inline constexpr size_t kMinHashWords = 5, kMinHashBands = 14, kMinHashRows = 8;
inline constexpr size_t kMinHashes = kMinHashBands * kMinHashRows;

using MinHashSignature = std::array<uint64_t, kMinHashes>;
// False when the text has fewer than five words: there is nothing to compare.
bool minhash_signature(const PlainWords& words, MinHashSignature& signature);

// One number a band: equal bands are equal numbers. 0 stands for "no signature".
using MinHashBandKeys = std::array<uint64_t, kMinHashBands>;
MinHashBandKeys minhash_bands(const MinHashSignature& signature);

}  // namespace bm
