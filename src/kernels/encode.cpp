#include "kernels/encode.h"

#include <string_view>

#include "kernels/isa.h"

namespace bm {

const EncodeKernels& encode_kernels() {
  std::string_view isa = isa_name();
  return isa == "scalar" ? scalar::encode : isa == "avx2" ? avx2::encode : avx512::encode;
}

}  // namespace bm
