// nuslerp and model_stock: methods that measure angles of whole tensors, rows or columns.
// Formulas: golden/merge's reference formulas of mergekit 0.1.5.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

#include "merging/arithmetic.h"

namespace bm {
namespace {

// How elements are gathered into vectors: the whole tensor is one, or each row, or each column.
struct Grouping {
  int64_t groups = 1, row = 1;
  bool rows = false, columns = false;
  size_t of(int64_t element) const {
    if (rows) return static_cast<size_t>(element / row);
    if (columns) return static_cast<size_t>(element % row);
    return 0;
  }
};

// Sums `width` quantities per group. function(n, buffers, values): values[q * n + i] = quantity q of the
// i-th element of a block. Blocks are added in order.
class GroupSums {
 public:
  GroupSums(const TensorProblem& p, const Grouping& grouping, size_t width)
      : p_(p), g_(grouping), width_(width) {}

  template <class F>
  std::vector<double> run(F&& function) const {
    int64_t count = p_.count();
    if (!g_.rows && !g_.columns)
      return sum_blocks(count, merge_block, width_,
                        [&](int64_t begin, int64_t end, double* acc) { add(function, begin, end, acc, 0); });
    auto groups = static_cast<size_t>(g_.groups);
    if (g_.rows) {
      // Blocks of whole rows: each group lies in one block.
      std::vector<double> total(groups * width_, 0.0);
      int64_t block = row_block(g_.row);
      parallel_for(static_cast<size_t>((count + block - 1) / block), [&](size_t b) {
        int64_t begin = static_cast<int64_t>(b) * block, end = std::min(count, begin + block);
        add(function, begin, end, total.data(), 0);
      });
      return total;
    }
    // Columns: a fixed number of stripes of rows, so that the partial sums stay few.
    int64_t rows = count / g_.row, stripes = std::min<int64_t>(rows, 16),
            height = (rows + stripes - 1) / stripes;
    return sum_blocks(rows, height, groups * width_, [&](int64_t first, int64_t last, double* acc) {
      int64_t step = std::max<int64_t>(1, merge_block / g_.row);
      for (int64_t r = first; r < last; r += step)
        add(function, r * g_.row, std::min(last, r + step) * g_.row, acc, 0);
    });
  }

 private:
  template <class F>
  void add(F&& function, int64_t begin, int64_t end, double* acc, size_t) const {
    int64_t n = end - begin;
    thread_local std::vector<double> values;
    values.resize(static_cast<size_t>(n) * width_);
    function(begin, end, values.data());
    for (int64_t i = 0; i < n; ++i) {
      size_t group = g_.of(begin + i);
      for (size_t q = 0; q < width_; ++q)
        acc[group * width_ + q] += values[static_cast<size_t>(i) + q * static_cast<size_t>(n)];
    }
  }

  const TensorProblem& p_;
  Grouping g_;
  size_t width_;
};

// An input, or its difference from the base.
void read_vector(const TensorProblem& p, size_t input, bool minus_base, int64_t begin, int64_t end,
                 float* out) {
  p.inputs[input].read(begin, end, out);
  if (!minus_base) return;
  float* base = merge_scratch(3, end - begin);
  p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
  with_rounding(p.working, [&](auto w) {
    for (int64_t i = 0; i < end - begin; ++i) out[i] = w.r(out[i] - base[i]);
  });
}

struct Nuslerp {
  Grouping grouping;
  bool around_base = false;
  size_t first = 0, second = 0;
  double t = 0;
  // Per group.
  std::vector<double> sine_first, sine_second, sine;
  std::vector<char> colinear;
};

// Norms, then the products of the unit vectors: the peer rounds the units, so a second pass is made.
void measure_angles(const TensorProblem& p, Nuslerp& m) {
  auto groups = static_cast<size_t>(m.grouping.groups);
  auto norms = GroupSums(p, m.grouping, 2).run([&](int64_t begin, int64_t end, double* values) {
    int64_t n = end - begin;
    float *a = merge_scratch(0, n), *b = merge_scratch(1, n);
    read_vector(p, m.first, m.around_base, begin, end, a);
    read_vector(p, m.second, m.around_base, begin, end, b);
    for (int64_t i = 0; i < n; ++i) {
      values[i] = static_cast<double>(a[i]) * a[i];
      values[n + i] = static_cast<double>(b[i]) * b[i];
    }
  });
  for (double& x : norms) x = std::max(p.q(std::sqrt(x)), p.q(1e-7));
  auto dots = GroupSums(p, m.grouping, 1).run([&](int64_t begin, int64_t end, double* values) {
    int64_t n = end - begin;
    float *a = merge_scratch(0, n), *b = merge_scratch(1, n);
    read_vector(p, m.first, m.around_base, begin, end, a);
    read_vector(p, m.second, m.around_base, begin, end, b);
    for (int64_t i = 0; i < n; ++i) {
      size_t g = m.grouping.of(begin + i);
      values[i] = p.q(p.q(static_cast<double>(a[i]) / norms[2 * g]) *
                      p.q(static_cast<double>(b[i]) / norms[2 * g + 1]));
    }
  });
  auto q = [&](double x) { return p.q(x); };
  auto scalar = [&](double x) {
    return p.switches.float_scalars ? static_cast<double>(static_cast<float>(x)) : x;
  };
  for (size_t g = 0; g < groups; ++g) {
    double c = std::clamp(q(dots[g]), -1.0, 1.0);
    bool colinear = q(1 - q(c * c)) <= 1e-16;
    bool mirrored = std::abs(norms[2 * g] / norms[2 * g + 1] - 1) < 1e-12;
    if (!p.switches.float_scalars && c < 0 && 1 - c * c < 1e-12 && mirrored) {
      // v1 = −v0: the formula's limit for angle → π is cos(πt)·v0. (Opposite vectors of different length
      // have no limit and are interpolated linearly, as parallel ones.)
      m.colinear.push_back(0);
      m.sine.push_back(1);
      m.sine_first.push_back(std::cos(std::numbers::pi * m.t));
      m.sine_second.push_back(0);
      continue;
    }
    double theta = q(std::acos(colinear ? 0.0 : c));
    m.colinear.push_back(colinear);
    m.sine.push_back(q(std::sin(theta)));
    m.sine_first.push_back(q(std::sin(q(scalar(1 - m.t) * theta))));
    m.sine_second.push_back(q(std::sin(q(scalar(m.t) * theta))));
  }
}

void nuslerp_block(const TensorProblem& p, const Nuslerp& m, int64_t begin, int64_t end, float* out) {
  int64_t n = end - begin;
  float *a = merge_scratch(0, n), *b = merge_scratch(1, n);
  read_vector(p, m.first, m.around_base, begin, end, a);
  read_vector(p, m.second, m.around_base, begin, end, b);
  auto t0 = static_cast<float>(1 - m.t), t1 = static_cast<float>(m.t);
  if (!p.switches.round_every_operation) {  // near-opposite vectors cancel: in double, rounded once
    float* base = merge_scratch(3, n);
    if (m.around_base) p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
    for (int64_t i = 0; i < n; ++i) {
      size_t g = m.grouping.of(begin + i);
      double x = a[i], y = b[i];
      double mixed =
          m.colinear[g] ? (1 - m.t) * x + m.t * y : (m.sine_first[g] * x + m.sine_second[g] * y) / m.sine[g];
      out[i] = static_cast<float>(m.around_base ? static_cast<double>(base[i]) + mixed : mixed);
    }
    return;
  }
  with_rounding(p.working, [&](auto w) {
    for (int64_t i = 0; i < n; ++i) {
      size_t g = m.grouping.of(begin + i);
      out[i] = m.colinear[g] ? w.r(w.r(t0 * a[i]) + w.r(t1 * b[i]))
                             : w.r(w.r(w.r(static_cast<float>(m.sine_first[g]) * a[i]) +
                                       w.r(static_cast<float>(m.sine_second[g]) * b[i])) /
                                   static_cast<float>(m.sine[g]));
    }
    if (!m.around_base) return;
    float* base = merge_scratch(3, n);
    p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
    for (int64_t i = 0; i < n; ++i) out[i] = w.r(base[i] + out[i]);
  });
}

}  // namespace

Result<BlockFunction> prepare_nuslerp(const TensorProblem& p) {
  auto m = std::make_shared<Nuslerp>();
  auto others = p.others();
  if (others.size() != 2) return bad_input("needs two models besides the base");
  m->first = others[0];
  m->second = others[1];
  m->around_base = p.base >= 0;
  double w0 = p.input_parameter(others[0], "weight"), w1 = p.input_parameter(others[1], "weight");
  m->t = std::abs(w0 + w1) < 1e-6 ? 0.5 : w1 / (w0 + w1);
  if (p.parameter("nuslerp_flatten") == 0) {
    // The peer's names are inverted: row_wise measures along dimension 0, i.e. per column.
    bool columns = p.parameter("nuslerp_row_wise") != 0 && p.shape.size() > 1;
    m->grouping.row = p.row();
    m->grouping.rows = !columns;
    m->grouping.columns = columns;
    m->grouping.groups = columns ? p.row() : p.count() / std::max<int64_t>(1, p.row());
  }
  measure_angles(p, *m);
  return BlockFunction(
      [&p, m](int64_t begin, int64_t end, float* out) { nuslerp_block(p, *m, begin, end, out); });
}

namespace {

struct Stock {
  Grouping grouping;
  std::vector<size_t> others;
  std::vector<float> t, rest;  // per group: t and 1 − t
};

// t = N·cos / (1 + (N−1)·cos), cos = mean of the pairs' cosines.
void stock_ratios(const TensorProblem& p, Stock& m) {
  size_t n = m.others.size(), pairs = n * (n - 1) / 2;
  auto sums = GroupSums(p, m.grouping, n + pairs).run([&](int64_t begin, int64_t end, double* values) {
    int64_t size = end - begin;
    for (size_t k = 0; k < n; ++k) read_vector(p, m.others[k], true, begin, end, merge_scratch(4 + k, size));
    size_t slot = 0;
    for (size_t k = 0; k < n; ++k, ++slot) {
      const float* x = merge_scratch(4 + k, size);
      for (int64_t i = 0; i < size; ++i)
        values[static_cast<int64_t>(slot) * size + i] = static_cast<double>(x[i]) * x[i];
    }
    for (size_t j = 0; j < n; ++j)
      for (size_t k = j + 1; k < n; ++k, ++slot) {
        const float *x = merge_scratch(4 + j, size), *y = merge_scratch(4 + k, size);
        for (int64_t i = 0; i < size; ++i)
          values[static_cast<int64_t>(slot) * size + i] = p.q(static_cast<double>(x[i]) * y[i]);
      }
  });
  auto q = [&](double x) { return p.q(x); };
  auto count = static_cast<double>(n);
  for (int64_t g = 0; g < m.grouping.groups; ++g) {
    const double* s = sums.data() + static_cast<size_t>(g) * (n + pairs);
    double total = 0;
    size_t slot = n;
    for (size_t j = 0; j < n; ++j)
      for (size_t k = j + 1; k < n; ++k, ++slot) {
        double norms = q(q(std::sqrt(s[j])) * q(std::sqrt(s[k])));
        total += std::clamp(q(q(s[slot]) / std::max(norms, q(1e-6))), -1.0, 1.0);
      }
    double cosine = q(total / static_cast<double>(pairs));
    double divisor = q(1 + q((count - 1) * cosine));
    double t = std::abs(divisor) < 1e-6 ? 0.0 : q(q(count * cosine) / divisor);
    m.t.push_back(static_cast<float>(t));
    m.rest.push_back(static_cast<float>(q(1 - t)));
  }
}

}  // namespace

Result<BlockFunction> prepare_model_stock(const TensorProblem& p) {
  auto m = std::make_shared<Stock>();
  m->others = p.others();
  if (m->others.size() < 2) return bad_input("needs the base and at least two other models");
  if (p.parameter("filter_wise") != 0)
    m->grouping = {p.count() / std::max<int64_t>(1, p.row()), p.row(), true, false};
  stock_ratios(p, *m);
  return BlockFunction([&p, m](int64_t begin, int64_t end, float* out) {
    int64_t n = end - begin;
    float *base = merge_scratch(0, n), *x = merge_scratch(1, n);
    auto count = static_cast<float>(m->others.size());
    p.inputs[static_cast<size_t>(p.base)].read(begin, end, base);
    p.inputs[m->others[0]].read(begin, end, out);
    with_rounding(p.working, [&](auto w) {
      for (size_t k = 1; k < m->others.size(); ++k) {
        p.inputs[m->others[k]].read(begin, end, x);
        for (int64_t i = 0; i < n; ++i) out[i] = w.r(out[i] + x[i]);
      }
      for (int64_t i = 0; i < n; ++i) {
        size_t g = m->grouping.of(begin + i);
        out[i] = w.r(w.r(m->t[g] * w.r(out[i] / count)) + w.r(m->rest[g] * base[i]));
      }
    });
  });
}

}  // namespace bm
