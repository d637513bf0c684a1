// The largest singular values and vectors of a matrix.
#pragma once

#include <cstdint>
#include <vector>

namespace bm {

struct TruncatedSvd {
  std::vector<double> values;      // descending
  std::vector<float> left, right;  // [rank, rows], [rank, columns]: one vector a row
  double total = 0;                // Σ of all squared singular values = squared norm of the matrix
};

// matrix [rows, columns], row-major. At most `rank` of them; values below 1e-7 of the largest are left out.
// Small matrices: one-sided Jacobi in double. Others: subspace iteration from a fixed random start with 8
// vectors to spare, until what is captured grows by less than 1e-7 of itself, then Jacobi inside the subspace
// (Halko, Martinsson, Tropp 2011). The same bits for any number of threads.
TruncatedSvd truncated_svd(const float* matrix, int64_t rows, int64_t columns, int64_t rank);

}  // namespace bm
