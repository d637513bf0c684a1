// Merge kernels: scalar.
#define BM_ISA scalar
#include "kernels/merge_impl.h"
