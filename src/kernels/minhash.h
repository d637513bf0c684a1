// Minima of a family of hash functions over a set of numbers (corpus/minhash.h): the same bits from every
// instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bm {

// out[k] = min over i of ((a[k] * values[i] + b[k]) mod 2^64) mod (2^61 - 1). hashes is a multiple of 8.
void minhash(const uint64_t* values, size_t count, const uint64_t* a, const uint64_t* b, size_t hashes,
             uint64_t* out);

using MinHashFunction = void(const uint64_t*, size_t, const uint64_t*, const uint64_t*, size_t, uint64_t*);
namespace scalar {
MinHashFunction minhash;
}
namespace avx2 {
MinHashFunction minhash;
}
namespace avx512 {
MinHashFunction minhash;
}

}  // namespace bm
