// Row kernels (exponential, softmax, sums), written once over Lanes and compiled once per instruction set;
// see products_impl.h for the rules of these files.
#pragma once

#include "kernels/kernels.h"

namespace bm::BM_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();

// e^x: x = n·ln2 + r, |r| <= ln2/2, a polynomial of degree 6 in r (coefficients of Cephes' expf, S. Moshier),
// times 2^n by adding to the exponent. n comes out of adding 1.5·2^23, which also leaves its bits ready for
// the shift.
inline Lanes exponential(Lanes x) {
  const Lanes shifter = set1(12582912.0f);
  Lanes shifted = fma(x, set1(1.44269504088896341f), shifter);
  Lanes n = sub(shifted, shifter);
  Lanes r = fma(n, set1(-0.693147182464599609375f), x);
  r = fma(n, set1(1.904654299957768e-9f), r);
  Lanes p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = add(fma(p, mul(r, r), r), set1(1.0f));
  p = scale_by_bits(p, shifted);
  p = select_less(x, set1(-87.3365f), set1(0.0f), p);
  return select_less(set1(88.7228f), x, set1(kInfinity), p);
}

// The first count < 16 elements, the rest `fill`.
inline Lanes load_part(const float* p, int64_t count, float fill) {
  float part[kLanes];
  for (int i = 0; i < kLanes; ++i) part[i] = i < count ? p[i] : fill;
  return load(part);
}
inline void store_part(float* p, Lanes a, int64_t count) {
  float part[kLanes];
  store(part, a);
  for (int64_t i = 0; i < count; ++i) p[i] = part[i];
}

// out[i] = f(i-th 16 elements) for inputs that f loads itself through the given loader.
template <class F>
inline void for_lanes(int64_t count, F f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, int64_t{kLanes});
  if (i < count) f(i, count - i);
}
inline Lanes load_some(const float* p, int64_t count, float fill = 0.0f) {
  return count == kLanes ? load(p) : load_part(p, count, fill);
}
inline void store_some(float* p, Lanes a, int64_t count) {
  if (count == kLanes) {
    store(p, a);
  } else {
    store_part(p, a, count);
  }
}

void exponential_row(int64_t count, const float* x, float* out) {
  for_lanes(count,
            [&](int64_t i, int64_t some) { store_some(out + i, exponential(load_some(x + i, some)), some); });
}

// v where low <= column < high, else fill.
inline Lanes inside(Lanes v, Lanes column, Lanes low, Lanes high, Lanes fill) {
  return select_less(column, low, fill, select_less(column, high, v, fill));
}

template <int V>
void softmax_tile_columns(const SoftmaxTile& t) {
  const Lanes index = lane_index(), nothing = set1(-kInfinity);
  for (int64_t row = 0; row < t.rows; ++row) {
    float* s = t.scores + row * t.stride;
    Lanes value[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) value[v] = mul(load(s + v * kLanes), set1(t.scale));
    if (t.low[row] > 0 || t.high[row] < V * kLanes) {
      const Lanes low = set1(static_cast<float>(t.low[row])), high = set1(static_cast<float>(t.high[row]));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        value[v] = inside(value[v], add(index, set1(static_cast<float>(v * kLanes))), low, high, nothing);
      }
    }
    Lanes largest = value[0];
#pragma GCC unroll 4
    for (int v = 1; v < V; ++v) largest = max(largest, value[v]);
    const float tile_maximum = maximum(largest), old = t.maximum[row];
    const float now = tile_maximum > old ? tile_maximum : old;
    if (now == -kInfinity) {  // nothing visible so far
      for (int v = 0; v < V; ++v) store(s + v * kLanes, set1(0.0f));
      t.rescale[row] = 0.0f;
      continue;
    }
    Lanes total = set1(0.0f);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Lanes p = exponential(sub(value[v], set1(now)));
      store(s + v * kLanes, p);
      total = add(total, p);
    }
    t.rescale[row] = old - now;
    t.maximum[row] = now;
    t.scratch[row] = sum(total);
  }
}

// rescale and scratch hold exponents and the tile's own sums between the two passes.
void softmax_tile(const SoftmaxTile& t) {
  for (int64_t row = 0; row < t.rows; ++row) t.scratch[row] = 0.0f;
  switch (t.columns / kLanes) {
    case 1:
      softmax_tile_columns<1>(t);
      break;
    case 2:
      softmax_tile_columns<2>(t);
      break;
    case 3:
      softmax_tile_columns<3>(t);
      break;
    default:
      softmax_tile_columns<4>(t);
      break;
  }
  for_lanes(t.rows, [&](int64_t i, int64_t some) {
    Lanes rescale = exponential(load_some(t.rescale + i, some));
    store_some(t.rescale + i, rescale, some);
    Lanes tile_sum = load_some(t.scratch + i, some);
    store_some(t.sum + i, fma(load_some(t.sum + i, some), rescale, tile_sum), some);
  });
}

void softmax_tile_backward(const SoftmaxTileBackward& t) {
  const Lanes index = lane_index(), zero = set1(0.0f), scale = set1(t.scale);
  for (int64_t row = 0; row < t.rows; ++row) {
    const Lanes low = set1(static_cast<float>(t.low[row])), high = set1(static_cast<float>(t.high[row]));
    const Lanes total = set1(t.log_sum_exp[row]), delta = set1(t.delta[row]);
    for (int64_t j = 0; j < t.columns; j += kLanes) {
      float* s = t.scores + row * t.stride + j;
      float* g = t.gradient + row * t.stride + j;
      Lanes column = add(index, set1(static_cast<float>(j)));
      Lanes p = inside(exponential(sub(mul(load(s), scale), total)), column, low, high, zero);
      store(s, p);
      Lanes d = inside(mul(mul(p, sub(load(g), delta)), scale), column, low, high, zero);
      store(g, d);
    }
  }
}

// Two independent lane chains would halve the latency, but the shape of the sum is part of the contract: one
// chain of 16 lanes.
float sum_of_squares(int64_t count, const float* x) {
  Lanes total = set1(0.0f);
  for_lanes(count, [&](int64_t i, int64_t some) {
    Lanes v = load_some(x + i, some);
    total = fma(v, v, total);
  });
  return sum(total);
}

float dot(int64_t count, const float* x, const float* y) {
  Lanes total = set1(0.0f);
  for_lanes(count, [&](int64_t i, int64_t some) {
    total = fma(load_some(x + i, some), load_some(y + i, some), total);
  });
  return sum(total);
}

float dot3(int64_t count, const float* x, const float* y, const float* z) {
  Lanes total = set1(0.0f);
  for_lanes(count, [&](int64_t i, int64_t some) {
    total = fma(mul(load_some(x + i, some), load_some(y + i, some)), load_some(z + i, some), total);
  });
  return sum(total);
}

float maximum_row(int64_t count, const float* x) {
  Lanes largest = set1(-kInfinity);
  for_lanes(count,
            [&](int64_t i, int64_t some) { largest = max(load_some(x + i, some, -kInfinity), largest); });
  return maximum(largest);
}

// float lanes over 1,024 elements, their sums in double.
double sum_exponentials(int64_t count, const float* x, float largest) {
  const Lanes shift = set1(largest);
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += 1024) {
    int64_t size = count - begin < 1024 ? count - begin : 1024;
    Lanes part = set1(0.0f);
    for_lanes(size, [&](int64_t i, int64_t some) {
      part = add(part, exponential(sub(load_some(x + begin + i, some, -kInfinity), shift)));
    });
    total += static_cast<double>(sum(part));
  }
  return total;
}

void softmax_scaled(int64_t count, float* x, float largest, float factor) {
  for_lanes(count, [&](int64_t i, int64_t some) {
    Lanes p = exponential(sub(load_some(x + i, some), set1(largest)));
    store_some(x + i, mul(p, set1(factor)), some);
  });
}

// silu(g) = g / (1 + e^−g)
void swiglu(int64_t count, const float* gate, const float* up, float* out) {
  const Lanes one = set1(1.0f), zero = set1(0.0f);
  for_lanes(count, [&](int64_t i, int64_t some) {
    Lanes g = load_some(gate + i, some), u = load_some(up + i, some);
    Lanes silu = div(g, add(one, exponential(sub(zero, g))));
    store_some(out + i, mul(silu, u), some);
  });
}

void swiglu_backward(int64_t count, const float* gate, const float* up, const float* d_out, float* d_gate,
                     float* d_up) {
  const Lanes one = set1(1.0f), zero = set1(0.0f);
  for_lanes(count, [&](int64_t i, int64_t some) {
    Lanes g = load_some(gate + i, some), u = load_some(up + i, some), d = load_some(d_out + i, some);
    Lanes s = div(one, add(one, exponential(sub(zero, g))));
    Lanes slope = mul(s, fma(g, sub(one, s), one));
    store_some(d_gate + i, mul(mul(d, u), slope), some);
    store_some(d_up + i, mul(d, mul(g, s)), some);
  });
}

void scale_by_weight(int64_t count, const float* x, float factor, const float* weight, float* y) {
  for_lanes(count, [&](int64_t i, int64_t some) {
    store_some(y + i, mul(mul(load_some(x + i, some), set1(factor)), load_some(weight + i, some)), some);
  });
}

void norm_gradient(int64_t count, const float* dy, const float* weight, const float* x, float inverse,
                   float pull, float* dx, bool accumulate) {
  for_lanes(count, [&](int64_t i, int64_t some) {
    Lanes g = mul(load_some(dy + i, some), load_some(weight + i, some));
    Lanes d = mul(set1(inverse), sub(g, mul(load_some(x + i, some), set1(pull))));
    store_some(dx + i, accumulate ? add(load_some(dx + i, some), d) : d, some);
  });
}

void add_rows(int64_t count, const float* x, float* y) {
  for_lanes(count, [&](int64_t i, int64_t some) {
    store_some(y + i, add(load_some(y + i, some), load_some(x + i, some)), some);
  });
}

void add_scaled(int64_t count, const float* x, float scale, float* y) {
  for_lanes(count, [&](int64_t i, int64_t some) {
    store_some(y + i, add(load_some(y + i, some), mul(set1(scale), load_some(x + i, some))), some);
  });
}

void scale_row(int64_t count, float factor, float* y) {
  for_lanes(count, [&](int64_t i, int64_t some) {
    store_some(y + i, mul(load_some(y + i, some), set1(factor)), some);
  });
}

void rotate(int64_t half, const float* cosines, const float* sines, float direction, float* first,
            float* second) {
  for_lanes(half, [&](int64_t i, int64_t some) {
    Lanes a = load_some(first + i, some), b = load_some(second + i, some);
    Lanes c = load_some(cosines + i, some), s = mul(set1(direction), load_some(sines + i, some));
    store_some(first + i, sub(mul(a, c), mul(b, s)), some);
    store_some(second + i, add(mul(b, c), mul(a, s)), some);
  });
}

}  // namespace

extern const RowKernels rows;
const RowKernels rows = {
    exponential_row,
    softmax_tile,
    softmax_tile_backward,
    sum_of_squares,
    dot,
    dot3,
    maximum_row,
    sum_exponentials,
    softmax_scaled,
    swiglu,
    swiglu_backward,
    scale_by_weight,
    norm_gradient,
    add_rows,
    add_scaled,
    scale_row,
    rotate,
};

}  // namespace bm::BM_ISA
