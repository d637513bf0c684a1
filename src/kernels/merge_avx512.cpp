// Merge kernels: avx512.
#define BM_ISA avx512
#include "kernels/merge_impl.h"
