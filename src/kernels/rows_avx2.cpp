// Row kernels: avx2.
#include "kernels/simd_avx2.h"
#define BM_ISA avx2
#include "kernels/rows_impl.h"
