// Row kernels: avx512.
#include "kernels/simd_avx512.h"
#define BM_ISA avx512
#include "kernels/rows_impl.h"
