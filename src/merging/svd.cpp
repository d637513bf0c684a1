#include "merging/svd.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "base/threads.h"
#include "ops/linear.h"

namespace bm {
namespace {

double dot(const double* x, const double* y, int64_t n) {
  double lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; ++j) lanes[j] += x[i + j] * y[i + j];
  for (; i < n; ++i) lanes[0] += x[i] * y[i];
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// On all threads where the work (multiplications) is worth waking them.
template <class F>
void spread(int64_t work, size_t tasks, F&& function) {
  constexpr int64_t worthwhile = 4'000'000;
  if (work >= worthwhile) return parallel_for(tasks, function);
  for (size_t i = 0; i < tasks; ++i) function(i);
}

// Rows of [count, n] made orthonormal (Gram-Schmidt, twice); a row that depends on earlier ones becomes 0.
void orthonormalize(std::vector<float>& rows, int64_t count, int64_t n) {
  std::vector<double> wide(rows.begin(), rows.end());
  for (int64_t i = 0; i < count; ++i) {
    double* row = wide.data() + i * n;
    const double before = std::sqrt(dot(row, row, n));
    for (int pass = 0; pass < 2; ++pass) {
      std::vector<double> shares(static_cast<size_t>(i));
      spread(i * n, shares.size(),
             [&](size_t j) { shares[j] = dot(row, wide.data() + static_cast<int64_t>(j) * n, n); });
      constexpr int64_t chunk = 1024;
      spread(i * n, static_cast<size_t>((n + chunk - 1) / chunk), [&](size_t part) {
        const int64_t begin = static_cast<int64_t>(part) * chunk, end = std::min(n, begin + chunk);
        for (size_t j = 0; j < shares.size(); ++j) {
          const double* other = wide.data() + static_cast<int64_t>(j) * n;
          for (int64_t x = begin; x < end; ++x) row[x] -= shares[j] * other[x];
        }
      });
    }
    const double norm = std::sqrt(dot(row, row, n));
    const double scale = norm > 1e-10 * before ? 1 / norm : 0;
    for (int64_t x = 0; x < n; ++x) row[x] *= scale;
  }
  std::transform(wide.begin(), wide.end(), rows.begin(), [](double x) { return static_cast<float>(x); });
}

// Turns the pair of rows (and the rotation kept of them) until they are orthogonal; false when they were.
bool rotate_pair(double* a, double* b, double* turn_a, double* turn_b, int64_t n, int64_t count) {
  const double aa = dot(a, a, n), bb = dot(b, b, n), ab = dot(a, b, n);
  if (std::abs(ab) <= 1e-14 * std::sqrt(aa * bb) || ab == 0) return false;
  const double zeta = (bb - aa) / (2 * ab);
  const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
  const double c = 1 / std::sqrt(1 + t * t), s = c * t;
  auto turn = [&](double* x, double* y, int64_t size) {
    for (int64_t i = 0; i < size; ++i) {
      const double p = x[i], q = y[i];
      x[i] = c * p - s * q;
      y[i] = s * p + c * q;
    }
  };
  turn(a, b, n);
  turn(turn_a, turn_b, count);
  return true;
}

// rows [count, n] = leftᵀ · values · right by one-sided Jacobi; left [count, count], right [count, n].
struct FullSvd {
  std::vector<double> values, left, right;
};

// The pairs of one round touch each row once, so they run side by side (round-robin tournament).
FullSvd jacobi(std::vector<double> rows, int64_t count, int64_t n) {
  FullSvd out;
  out.left.assign(static_cast<size_t>(count * count), 0.0);
  for (int64_t i = 0; i < count; ++i) out.left[static_cast<size_t>(i * count + i)] = 1;
  const int64_t players = count + (count & 1);
  std::vector<int64_t> seat(static_cast<size_t>(players));
  std::iota(seat.begin(), seat.end(), int64_t{0});
  for (int sweep = 0; sweep < 40; ++sweep) {
    std::vector<char> turned(static_cast<size_t>(std::max<int64_t>(1, players / 2)));
    bool any = false;
    for (int64_t round = 0; round + 1 < players; ++round) {
      std::fill(turned.begin(), turned.end(), 0);
      spread(3 * n * players, static_cast<size_t>(players / 2), [&](size_t p) {
        int64_t i = seat[p], j = seat[static_cast<size_t>(players) - 1 - p];
        if (i > j) std::swap(i, j);
        if (j >= count) return;
        turned[p] = rotate_pair(rows.data() + i * n, rows.data() + j * n, out.left.data() + i * count,
                                out.left.data() + j * count, n, count);
      });
      any = any || std::find(turned.begin(), turned.end(), 1) != turned.end();
      std::rotate(seat.begin() + 1, seat.end() - 1, seat.end());
    }
    if (!any) break;
  }
  out.values.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    out.values[static_cast<size_t>(i)] = std::sqrt(dot(rows.data() + i * n, rows.data() + i * n, n));
  out.right = std::move(rows);
  return out;
}

// The first `rank` of them in descending order; left vectors of the rows' space.
TruncatedSvd sorted(const FullSvd& full, int64_t count, int64_t n, int64_t rank) {
  std::vector<size_t> order(full.values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return full.values[a] > full.values[b]; });
  TruncatedSvd out;
  for (size_t i : order) {
    const double value = full.values[i];
    if (static_cast<int64_t>(out.values.size()) == rank || value <= 1e-7 * full.values[order[0]]) break;
    out.values.push_back(value);
    for (int64_t j = 0; j < count; ++j)
      out.left.push_back(
          static_cast<float>(full.left[i * static_cast<size_t>(count) + static_cast<size_t>(j)]));
    for (int64_t j = 0; j < n; ++j)
      out.right.push_back(
          static_cast<float>(full.right[i * static_cast<size_t>(n) + static_cast<size_t>(j)] / value));
  }
  return out;
}

std::vector<float> transposed(const float* matrix, int64_t rows, int64_t columns) {
  std::vector<float> out(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[static_cast<size_t>(c * rows + r)] = matrix[r * columns + c];
  return out;
}

double squared_norm(const float* matrix, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i)
    total += static_cast<double>(matrix[i]) * static_cast<double>(matrix[i]);
  return total;
}

TruncatedSvd by_subspace(const float* matrix, int64_t rows, int64_t columns, int64_t rank, int64_t size) {
  std::vector<float> right(static_cast<size_t>(size * columns)), left(static_cast<size_t>(size * rows));
  CounterRandom random(0, 0x5bd1e995);
  for (size_t i = 0; i < right.size(); ++i) right[i] = static_cast<float>(random.normal(i));
  double captured = 0;
  for (int pass = 0; pass < 24; ++pass) {
    sgemm(Transpose::no, Transpose::yes, size, rows, columns, right.data(), columns, matrix, columns,
          left.data(), rows, false);
    orthonormalize(left, size, rows);
    sgemm(Transpose::no, Transpose::no, size, columns, rows, left.data(), rows, matrix, columns, right.data(),
          columns, false);
    const double now = squared_norm(right.data(), size * columns);
    const bool settled = now - captured <= 1e-7 * now;
    captured = now;
    if (settled) break;
    if (pass + 1 < 24) orthonormalize(right, size, columns);
  }
  // right may have been orthonormalized: project once more.
  sgemm(Transpose::no, Transpose::no, size, columns, rows, left.data(), rows, matrix, columns, right.data(),
        columns, false);
  TruncatedSvd inner =
      sorted(jacobi(std::vector<double>(right.begin(), right.end()), size, columns), size, columns, rank);
  const auto found = static_cast<int64_t>(inner.values.size());
  std::vector<float> whole(static_cast<size_t>(found * rows));
  sgemm(Transpose::no, Transpose::no, found, rows, size, inner.left.data(), size, left.data(), rows,
        whole.data(), rows, false);
  inner.left = std::move(whole);
  return inner;
}

}  // namespace

TruncatedSvd truncated_svd(const float* matrix, int64_t rows, int64_t columns, int64_t rank) {
  TruncatedSvd out;
  const double total = squared_norm(matrix, rows * columns);
  const int64_t least = std::min(rows, columns), size = rank + 8;
  if (total > 0) {
    if (least > 2 * size && least > 96) {
      out = by_subspace(matrix, rows, columns, rank, size);
    } else if (rows <= columns) {
      out = sorted(jacobi(std::vector<double>(matrix, matrix + rows * columns), rows, columns), rows, columns,
                   rank);
    } else {
      std::vector<float> turned = transposed(matrix, rows, columns);
      out = sorted(jacobi(std::vector<double>(turned.begin(), turned.end()), columns, rows), columns, rows,
                   rank);
      std::swap(out.left, out.right);
    }
  }
  out.total = total;
  return out;
}

}  // namespace bm
