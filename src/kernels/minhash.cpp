#include "kernels/minhash.h"

#include "kernels/isa.h"

namespace bm {

void minhash(const uint64_t* values, size_t count, const uint64_t* a, const uint64_t* b, size_t hashes,
             uint64_t* out) {
  // Sets with further instructions (avx512vnni, …) hold the ones used here.
  std::string_view isa = isa_name();
  MinHashFunction* chosen = isa.starts_with("avx512") ? &avx512::minhash
                            : isa == "avx2"           ? &avx2::minhash
                                                      : &scalar::minhash;
  chosen(values, count, a, b, hashes, out);
}

}  // namespace bm
