#include "kernels/minhash_impl.h"

namespace bm::scalar {

void minhash(const uint64_t* values, size_t count, const uint64_t* a, const uint64_t* b, size_t hashes,
             uint64_t* out) {
  minhash_all(values, count, a, b, hashes, out);
}

}  // namespace bm::scalar
