// Merge kernels: avx2.
#define BM_ISA avx2
#include "kernels/merge_impl.h"
