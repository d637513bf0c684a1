// Row kernels: scalar.
#include "kernels/simd_scalar.h"
#define BM_ISA scalar
#include "kernels/rows_impl.h"
