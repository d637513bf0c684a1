// Encoders of blocks, written once over Lanes and compiled once per instruction set; see products_impl.h for
// the rules of these files. In the K-quants a lane is a sub-block: 16 of them are searched at a time, so no
// sum crosses lanes and every instruction set gives the same bits.
//
// Formats: ggml-common.h block_q4_K, block_q5_K, block_q6_K. The search is our own: a grid of steps, for each
// the least-squares scale and minimum, then alternating rounding and refitting, then the 6-bit (8-bit)
// scales are tried one up and one down, and the block's float16 factors are refitted to the codes.

#include <cstring>

#include "kernels/encode.h"
#include "tensor/dtype.h"

namespace bm::BM_ISA {
namespace {

constexpr float kShift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer, ties to even
constexpr float kHuge = 3.0e38f;

inline Lanes zero() { return set1(0.0f); }
inline Lanes negate(Lanes a) { return sub(zero(), a); }
inline Lanes round_lanes(Lanes a) { return sub(add(a, set1(kShift)), set1(kShift)); }
inline Lanes clamp_lanes(Lanes a, float low, float high) { return min(max(a, set1(low)), set1(high)); }

// 16 sub-blocks side by side: row i holds the i-th value of each.
template <int N>
struct Side {
  Lanes x[N], w[N];
};

template <int N>
inline void transpose(const float* from, Lanes* to) {
  float columns[N][kLanes];
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < N; ++i) columns[i][lane] = from[lane * N + i];
  for (int i = 0; i < N; ++i) to[i] = load(columns[i]);
}

template <int N>
inline void fill(const float* x, const float* importance, Side<N>& side) {
  transpose<N>(x, side.x);
  if (importance) transpose<N>(importance, side.w);
}

// ---------------------------------------------------------------- scale and minimum (Q4_K, Q5_K)

// x ≈ scale · q − minimum, minimum ≥ 0, q = 0 … top.
struct Affine {
  Lanes scale, minimum, error;
};

struct Sums {
  Lanes n, x, xx;   // of the values
  Lanes q, qq, xq;  // of the codes
};

template <bool Weighted>
inline void value_sums(const Side<32>& s, Sums& t) {
  t.x = t.xx = zero();
  t.n = Weighted ? zero() : set1(32.0f);
  for (int i = 0; i < 32; ++i) {
    Lanes wx = Weighted ? mul(s.w[i], s.x[i]) : s.x[i];
    t.x = add(t.x, wx);
    t.xx = fma(wx, s.x[i], t.xx);
    if (Weighted) t.n = add(t.n, s.w[i]);
  }
}

// Sums over q = round(x · inverse + offset), 0 … top; codes are negated on the way (one operation less).
template <bool Weighted>
inline void code_sums(const Side<32>& s, Lanes inverse, Lanes offset, float top, Sums& t) {
  const Lanes slope = negate(inverse), start = negate(offset), shift = set1(kShift);
  const Lanes bottom = set1(-top), nothing = zero();
  Lanes q = zero(), qq = zero(), xq = zero();
  for (int i = 0; i < 32; ++i) {
    Lanes code = sub(add(fma(s.x[i], slope, start), shift), shift);
    code = min(max(code, bottom), nothing);
    Lanes weighted = Weighted ? mul(s.w[i], code) : code;
    q = add(q, weighted);
    qq = fma(weighted, code, qq);
    xq = fma(weighted, s.x[i], xq);
  }
  t.q = negate(q);
  t.qq = qq;
  t.xq = negate(xq);
}

// Σ w (x − scale·q + minimum)²
inline Lanes error_of(const Sums& t, Lanes scale, Lanes minimum) {
  Lanes e = t.xx;
  e = fma(mul(scale, set1(-2.0f)), t.xq, e);
  e = fma(mul(minimum, set1(2.0f)), t.x, e);
  e = fma(mul(scale, scale), t.qq, e);
  e = fma(mul(mul(scale, minimum), set1(-2.0f)), t.q, e);
  return fma(mul(minimum, minimum), t.n, e);
}

// Keeps scale and minimum where they are better by more than the sums' rounding; a NaN is not.
inline void keep_better(Lanes scale, Lanes minimum, Lanes error, Lanes noise, Affine& best) {
  Lanes limit = sub(best.error, noise);
  best.scale = select_less(error, limit, scale, best.scale);
  best.minimum = select_less(error, limit, minimum, best.minimum);
  best.error = select_less(error, limit, error, best.error);
}

// Least squares for the codes of the sums.
inline void refit(const Sums& t, Affine& best) {
  Lanes determinant = fma(t.n, t.qq, negate(mul(t.q, t.q)));
  Lanes scale = div(fma(t.n, t.xq, negate(mul(t.x, t.q))), determinant);
  Lanes minimum = div(fma(t.q, t.xq, negate(mul(t.qq, t.x))), determinant);
  // A minimum below zero cannot be stored: the best scale without one.
  Lanes alone = div(t.xq, t.qq);
  scale = select_less(minimum, zero(), alone, scale);
  minimum = max(minimum, zero());
  Lanes error = error_of(t, scale, minimum);
  error = select_less(zero(), determinant, error, set1(kHuge));
  error = select_less(scale, zero(), set1(kHuge), error);
  keep_better(scale, minimum, error, mul(t.xx, set1(1e-7f)), best);
}

template <bool Weighted>
Affine search_affine(const Side<32>& s, float top) {
  Lanes low = zero(), high = negate(set1(kHuge));
  for (int i = 0; i < 32; ++i) {
    low = min(low, s.x[i]);
    high = max(high, s.x[i]);
  }
  // Below the smallest normal quotient everything is zero in the file anyway.
  Lanes range = max(sub(high, low), set1(1e-30f));
  Lanes step = div(range, set1(top));
  Sums t;
  value_sums<Weighted>(s, t);
  Affine best{step, negate(low), set1(kHuge)};
  Lanes inverse = div(set1(top), range);
  code_sums<Weighted>(s, inverse, negate(mul(low, inverse)), top, t);
  best.error = error_of(t, best.scale, best.minimum);
  refit(t, best);
  for (float delta = -1.0f; delta < 1.35f; delta += 0.2f) {
    inverse = div(set1(top + delta), range);
    code_sums<Weighted>(s, inverse, negate(mul(low, inverse)), top, t);
    refit(t, best);
  }
  for (int again = 0; again < 3; ++again) {
    inverse = div(set1(1.0f), max(best.scale, set1(1e-30f)));
    code_sums<Weighted>(s, inverse, mul(best.minimum, inverse), top, t);
    refit(t, best);
  }
  return best;
}

// Codes for stored scale and minimum, and their error.
template <bool Weighted>
inline Lanes direct_error(const Side<32>& s, Lanes scale, Lanes minimum, float top) {
  Lanes inverse = div(set1(1.0f), max(scale, set1(1e-30f)));
  Lanes offset = mul(minimum, inverse);
  Lanes error = zero();
  for (int i = 0; i < 32; ++i) {
    Lanes q = clamp_lanes(round_lanes(fma(s.x[i], inverse, offset)), 0.0f, top);
    Lanes miss = sub(fma(scale, q, negate(minimum)), s.x[i]);
    error = fma(Weighted ? mul(s.w[i], miss) : miss, miss, error);
  }
  return error;
}

// 6-bit numbers of the sub-blocks, as floats, and the float16 factors of the block each lane belongs to.
struct Stored {
  Lanes scale, minimum;  // 0 … 63
  Lanes d, dmin;
};

template <bool Weighted>
Lanes step_scales(const Side<32>& s, float top, Stored& stored) {
  Lanes best = set1(kHuge), scale = stored.scale, minimum = stored.minimum;
  for (int a = -1; a <= 1; ++a)
    for (int b = -1; b <= 1; ++b) {
      Lanes sc = clamp_lanes(add(stored.scale, set1(static_cast<float>(a))), 0.0f, 63.0f);
      Lanes mn = clamp_lanes(add(stored.minimum, set1(static_cast<float>(b))), 0.0f, 63.0f);
      Lanes error = direct_error<Weighted>(s, mul(stored.d, sc), mul(stored.dmin, mn), top);
      scale = select_less(error, best, sc, scale);
      minimum = select_less(error, best, mn, minimum);
      best = select_less(error, best, error, best);
    }
  stored.scale = scale;
  stored.minimum = minimum;
  return best;
}

inline float stored_half(float value) { return f16_to_f32(f32_to_f16(value)); }

// The float16 `steps` above or below a positive one.
inline float half_beside(float value, int steps) {
  int bits = f32_to_f16(value) + steps;
  return f16_to_f32(static_cast<uint16_t>(bits < 0 ? 0 : bits > 0x7bff ? 0x7bff : bits));
}

// Float16 factors of one block (8 lanes from `first`) by least squares for the codes that its numbers give.
inline void refit_factors(const float* sums, const float* scale, const float* minimum, int first, float& d,
                          float& dmin) {
  const float *n = sums, *x = sums + 16, *q = sums + 32, *qq = sums + 48, *xq = sums + 64;
  double p = 0, r = 0, m = 0, u = 0, v = 0;
  for (int l = first; l < first + 8; ++l) {
    double sc = static_cast<double>(scale[l]), mn = static_cast<double>(minimum[l]);
    p += sc * sc * static_cast<double>(qq[l]);
    m += mn * mn * static_cast<double>(n[l]);
    r += sc * mn * static_cast<double>(q[l]);
    u += sc * static_cast<double>(xq[l]);
    v += mn * static_cast<double>(x[l]);
  }
  double determinant = p * m - r * r, new_d = static_cast<double>(d), new_min = static_cast<double>(dmin);
  if (determinant > 1e-9 * p * m) {
    new_d = (u * m - r * v) / determinant;
    new_min = (r * u - p * v) / determinant;
  } else if (p > 0 && m == 0) {
    new_d = u / p;
  }
  if (!(new_d > 0 && new_min >= 0)) return;
  // Rounding both to nearest is not the best pair of float16 numbers: their neighbours are tried.
  double best = 1e300;
  for (int a = -1; a <= 1; ++a)
    for (int b = -1; b <= 1; ++b) {
      float try_d = half_beside(static_cast<float>(new_d), a),
            try_min = half_beside(static_cast<float>(new_min), b);
      double x1 = static_cast<double>(try_d), y1 = static_cast<double>(try_min);
      double error = x1 * x1 * p + y1 * y1 * m - 2 * x1 * y1 * r - 2 * x1 * u + 2 * y1 * v;
      if (error >= best) continue;
      best = error;
      d = try_d;
      dmin = try_min;
    }
}

// The plain way: factors from the largest scale and minimum of a block.
inline Stored round_scales(const Affine& found) {
  float scale[16], minimum[16], d[16], dmin[16];
  store(scale, found.scale);
  store(minimum, found.minimum);
  for (int block = 0; block < 2; ++block) {
    float most = 0, most_min = 0;
    for (int l = 8 * block; l < 8 * block + 8; ++l) {
      most = scale[l] > most ? scale[l] : most;
      most_min = minimum[l] > most_min ? minimum[l] : most_min;
    }
    for (int l = 8 * block; l < 8 * block + 8; ++l) {
      d[l] = stored_half(most / 63.0f);
      dmin[l] = stored_half(most_min / 63.0f);
    }
  }
  Stored stored{zero(), zero(), load(d), load(dmin)};
  auto nearest = [](Lanes value, Lanes factor) {
    Lanes number = round_lanes(div(value, max(factor, set1(1e-30f))));
    return clamp_lanes(number, 0.0f, 63.0f);
  };
  stored.scale = nearest(found.scale, stored.d);
  stored.minimum = nearest(found.minimum, stored.dmin);
  return stored;
}

template <bool Weighted>
Stored store_scales(const Side<32>& s, float top, const Affine& found) {
  float scale[16], minimum[16], d[16], dmin[16];
  Stored stored = round_scales(found);
  Lanes error = step_scales<Weighted>(s, top, stored);
  Sums t;
  value_sums<Weighted>(s, t);
  for (int again = 0; again < 2; ++again) {
    Lanes now = mul(stored.d, stored.scale);
    Lanes inverse = div(set1(1.0f), max(now, set1(1e-30f)));
    code_sums<Weighted>(s, inverse, mul(mul(stored.dmin, stored.minimum), inverse), top, t);
    float sums[80], before[16], after[16];
    store(sums, t.n);
    store(sums + 16, t.x);
    store(sums + 32, t.q);
    store(sums + 48, t.qq);
    store(sums + 64, t.xq);
    store(scale, stored.scale);
    store(minimum, stored.minimum);
    store(d, stored.d);
    store(dmin, stored.dmin);
    for (int block = 0; block < 2; ++block) {
      float new_d = d[8 * block], new_min = dmin[8 * block];
      refit_factors(sums, scale, minimum, 8 * block, new_d, new_min);
      for (int l = 8 * block; l < 8 * block + 8; ++l) {
        d[l] = new_d;
        dmin[l] = new_min;
      }
    }
    Stored next{stored.scale, stored.minimum, load(d), load(dmin)};
    Lanes next_error = step_scales<Weighted>(s, top, next);
    store(before, error);
    store(after, next_error);
    float keep[16];
    for (int block = 0; block < 2; ++block) {
      float gain = 0;
      for (int l = 8 * block; l < 8 * block + 8; ++l) gain += before[l] - after[l];
      for (int l = 8 * block; l < 8 * block + 8; ++l) keep[l] = gain > 0 ? -1.0f : 1.0f;
    }
    Lanes take = load(keep);
    stored.scale = select_less(take, zero(), next.scale, stored.scale);
    stored.minimum = select_less(take, zero(), next.minimum, stored.minimum);
    stored.d = select_less(take, zero(), next.d, stored.d);
    stored.dmin = select_less(take, zero(), next.dmin, stored.dmin);
    error = select_less(take, zero(), next_error, error);
  }
  return stored;
}

inline void write_half(uint8_t* out, float value) {
  uint16_t bits = f32_to_f16(value);
  std::memcpy(out, &bits, 2);
}

// The 12 bytes of 6-bit scales and minima.
inline void pack_six_bits(const float* scale, const float* minimum, uint8_t* out) {
  for (int j = 0; j < 4; ++j) {
    auto s = static_cast<unsigned>(scale[j]), m = static_cast<unsigned>(minimum[j]);
    auto s4 = static_cast<unsigned>(scale[j + 4]), m4 = static_cast<unsigned>(minimum[j + 4]);
    out[j] = static_cast<uint8_t>(s | (s4 >> 4) << 6);
    out[j + 4] = static_cast<uint8_t>(m | (m4 >> 4) << 6);
    out[j + 8] = static_cast<uint8_t>((s4 & 15u) | (m4 & 15u) << 4);
  }
}

inline void pack_nibbles(const uint8_t* codes, uint8_t* low, uint8_t* high) {
  if (high) std::memset(high, 0, 32);
  for (int pair = 0; pair < 4; ++pair, codes += 64, low += 32)
    for (int l = 0; l < 32; ++l) {
      unsigned a = codes[l], b = codes[l + 32];
      low[l] = static_cast<uint8_t>((a & 15u) | (b & 15u) << 4);
      if (high) high[l] = static_cast<uint8_t>(high[l] | (a >> 4) << (2 * pair) | (b >> 4) << (2 * pair + 1));
    }
}

// Codes of a side, sub-block after sub-block.
template <int N>
inline void collect(const Lanes* codes, uint8_t* out) {
  float columns[N][kLanes];
  for (int i = 0; i < N; ++i) store(columns[i], codes[i]);
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < N; ++i) out[lane * N + i] = static_cast<uint8_t>(static_cast<int>(columns[i][lane]));
}

// Two blocks of 256 values; `used` of them are written.
template <bool Weighted>
void encode_affine_pair(const float* x, const float* importance, float top, int used, uint8_t* out) {
  Side<32> s;
  fill(x, importance, s);
  Stored stored = store_scales<Weighted>(s, top, search_affine<Weighted>(s, top));
  Lanes scale = mul(stored.d, stored.scale), minimum = mul(stored.dmin, stored.minimum);
  Lanes inverse = div(set1(1.0f), max(scale, set1(1e-30f))), offset = mul(minimum, inverse);
  Lanes q[32];
  for (int i = 0; i < 32; ++i) q[i] = clamp_lanes(round_lanes(fma(s.x[i], inverse, offset)), 0.0f, top);
  uint8_t codes[512];
  collect<32>(q, codes);
  float numbers[16], minima[16], d[16], dmin[16];
  store(numbers, stored.scale);
  store(minima, stored.minimum);
  store(d, stored.d);
  store(dmin, stored.dmin);
  const bool five = top > 15.0f;
  for (int block = 0; block < used; ++block, out += five ? 176 : 144) {
    write_half(out, d[8 * block]);
    write_half(out + 2, dmin[8 * block]);
    pack_six_bits(numbers + 8 * block, minima + 8 * block, out + 4);
    pack_nibbles(codes + 256 * block, out + (five ? 48 : 16), five ? out + 16 : nullptr);
  }
}

template <int Top>
void encode_affine(int64_t blocks, const float* x, const float* importance, uint8_t* out) {
  constexpr int64_t bytes = Top > 15 ? 176 : 144;
  for (int64_t b = 0; b < blocks; b += 2) {
    const float* from = x + b * 256;
    const float* weights = importance ? importance + b * 256 : nullptr;
    int used = blocks - b >= 2 ? 2 : 1;
    float last[512], last_weights[512];
    if (used == 1) {
      std::memcpy(last, from, sizeof last / 2);
      std::memset(last + 256, 0, sizeof last / 2);
      from = last;
      if (weights) {
        std::memcpy(last_weights, weights, sizeof last_weights / 2);
        std::memcpy(last_weights + 256, weights, sizeof last_weights / 2);
        weights = last_weights;
      }
    }
    if (weights)
      encode_affine_pair<true>(from, weights, static_cast<float>(Top), used, out + b * bytes);
    else
      encode_affine_pair<false>(from, nullptr, static_cast<float>(Top), used, out + b * bytes);
  }
}

// ---------------------------------------------------------------- scale alone (Q6_K)

template <bool Weighted>
inline void symmetric_sums(const Side<16>& s, Lanes inverse, Lanes& xq, Lanes& qq) {
  xq = qq = zero();
  for (int i = 0; i < 16; ++i) {
    Lanes q = clamp_lanes(round_lanes(mul(s.x[i], inverse)), -32.0f, 31.0f);
    Lanes weighted = Weighted ? mul(s.w[i], q) : q;
    xq = fma(weighted, s.x[i], xq);
    qq = fma(weighted, q, qq);
  }
}

template <bool Weighted>
Lanes search_symmetric(const Side<16>& s) {
  Lanes top = zero(), signed_top = zero();
  for (int i = 0; i < 16; ++i) {
    Lanes magnitude = max(s.x[i], negate(s.x[i]));
    signed_top = select_less(top, magnitude, s.x[i], signed_top);
    top = max(top, magnitude);
  }
  // Too small for a float16 factor: zero.
  Lanes divisor = select_less(top, set1(1e-30f), set1(kHuge), signed_top);
  Lanes scale = zero(), gain = zero();
  auto consider = [&](Lanes inverse) {
    Lanes xq, qq;
    symmetric_sums<Weighted>(s, inverse, xq, qq);
    Lanes better = div(mul(xq, xq), qq);
    Lanes limit = mul(gain, set1(1.0000002f));  // more than the sums' rounding
    scale = select_less(limit, better, div(xq, qq), scale);
    gain = select_less(limit, better, better, gain);
  };
  // The plain choice first: what it holds exactly must not lose to a neighbour by rounding.
  consider(div(set1(-32.0f), divisor));
  for (int step = -9; step <= 9; ++step)
    consider(div(set1(-32.0f - 0.1f * static_cast<float>(step)), divisor));
  consider(div(set1(31.0f), divisor));
  for (int again = 0; again < 2; ++again)
    consider(select_less(gain, set1(1e-37f), zero(), div(set1(1.0f), scale)));
  return scale;
}

template <bool Weighted>
inline Lanes symmetric_error(const Side<16>& s, Lanes scale) {
  Lanes inverse = select_less(mul(scale, scale), set1(1e-37f), zero(), div(set1(1.0f), scale));
  Lanes error = zero();
  for (int i = 0; i < 16; ++i) {
    Lanes q = clamp_lanes(round_lanes(mul(s.x[i], inverse)), -32.0f, 31.0f);
    Lanes miss = sub(mul(scale, q), s.x[i]);
    error = fma(Weighted ? mul(s.w[i], miss) : miss, miss, error);
  }
  return error;
}

// One up, one down; returns the sum of the errors.
template <bool Weighted>
double step_symmetric(const Side<16>& s, float d, Lanes& number) {
  Lanes best = set1(kHuge), start = number, factor = set1(d);
  for (int a = -1; a <= 1; ++a) {
    Lanes sc = clamp_lanes(add(start, set1(static_cast<float>(a))), -128.0f, 127.0f);
    Lanes error = symmetric_error<Weighted>(s, mul(factor, sc));
    number = select_less(error, best, sc, number);
    best = select_less(error, best, error, best);
  }
  float errors[16];
  store(errors, best);
  double total = 0;
  for (float error : errors) total += static_cast<double>(error);
  return total;
}

// Nibbles (128 bytes) and upper bit pairs (64 bytes) of 256 codes.
inline void pack_six(const Lanes* q, uint8_t* out) {
  uint8_t codes[256];
  collect<16>(q, codes);
  uint8_t *low = out, *high = out + 128;
  for (int half = 0; half < 2; ++half, low += 64, high += 32)
    for (int l = 0; l < 32; ++l) {
      const uint8_t* c = codes + 128 * half + l;
      unsigned c0 = c[0], c1 = c[32], c2 = c[64], c3 = c[96];
      low[l] = static_cast<uint8_t>((c0 & 15u) | (c2 & 15u) << 4);
      low[l + 32] = static_cast<uint8_t>((c1 & 15u) | (c3 & 15u) << 4);
      high[l] = static_cast<uint8_t>(c0 >> 4 | (c1 >> 4) << 2 | (c2 >> 4) << 4 | (c3 >> 4) << 6);
    }
}

template <bool Weighted>
void encode_symmetric(const float* x, const float* importance, uint8_t* out) {
  Side<16> s;
  fill(x, importance, s);
  Lanes found = search_symmetric<Weighted>(s);
  float scales[16], most = 0;
  store(scales, found);
  for (float scale : scales) most = (scale < 0 ? -scale : scale) > (most < 0 ? -most : most) ? scale : most;
  float d = stored_half(most / -128.0f);
  Lanes number = zero();
  if (d != 0) number = clamp_lanes(round_lanes(div(found, set1(d))), -128.0f, 127.0f);
  double error = step_symmetric<Weighted>(s, d, number);
  for (int again = 0; again < 2 && d != 0; ++again) {
    Lanes scale = mul(set1(d), number);
    Lanes inverse = select_less(mul(scale, scale), set1(1e-37f), zero(), div(set1(1.0f), scale));
    Lanes xq, qq;
    symmetric_sums<Weighted>(s, inverse, xq, qq);
    float a[16], b[16], c[16];
    store(a, xq);
    store(b, qq);
    store(c, number);
    double u = 0, p = 0;
    for (int l = 0; l < 16; ++l) {
      double n = static_cast<double>(c[l]);
      u += n * static_cast<double>(a[l]);
      p += n * n * static_cast<double>(b[l]);
    }
    if (p <= 0) break;
    float next_d = stored_half(static_cast<float>(u / p));
    Lanes next = number;
    double next_error = step_symmetric<Weighted>(s, next_d, next);
    if (next_error >= error) break;
    error = next_error;
    d = next_d;
    number = next;
  }
  Lanes scale = mul(set1(d), number), q[16];
  Lanes inverse = select_less(mul(scale, scale), set1(1e-37f), zero(), div(set1(1.0f), scale));
  for (int i = 0; i < 16; ++i)
    q[i] = add(clamp_lanes(round_lanes(mul(s.x[i], inverse)), -32.0f, 31.0f), set1(32.0f));
  pack_six(q, out);
  float numbers[16];
  store(numbers, number);
  for (int l = 0; l < 16; ++l)
    out[192 + l] = static_cast<uint8_t>(static_cast<int8_t>(static_cast<int>(numbers[l])));
  write_half(out + 208, d);
}

void encode_q6_k(int64_t blocks, const float* x, const float* importance, uint8_t* out) {
  for (int64_t b = 0; b < blocks; ++b) {
    if (importance)
      encode_symmetric<true>(x + b * 256, importance + b * 256, out + b * 210);
    else
      encode_symmetric<false>(x + b * 256, nullptr, out + b * 210);
  }
}

// ---------------------------------------------------------------- 4-bit blocks of bitsandbytes

template <class T>
void four_bit_blocks(const FourBitTables& tables, const T* x, int64_t blocks, int64_t block, float* absmax,
                     uint8_t* packed) {
  const RankTable table = rank_table(tables);
  for (int64_t b = 0; b < blocks; ++b, x += block) {
    Lanes top = zero();
    for (int64_t i = 0; i < block; i += kLanes) top = magnitude_max(top, load(x + i));
    float most = magnitude_maximum(top);
    if (absmax) absmax[b] = most;
    if (!packed) continue;
    const Lanes inverse = set1(1.0f / (most > 1e-38f ? most : 1e-38f));
    for (int64_t i = 0; i < block; i += 2 * kLanes, packed += kLanes) {
      Lanes a = clamp_lanes(mul(load(x + i), inverse), -1.0f, 1.0f);
      Lanes c = clamp_lanes(mul(load(x + i + kLanes), inverse), -1.0f, 1.0f);
      store_nibbles(table, a, c, packed);
    }
  }
}

void encode_four_bit(const FourBitTables& tables, EncodeSource source, const void* x, int64_t blocks,
                     int64_t block, float* absmax, uint8_t* packed) {
  if (source == EncodeSource::f32)
    four_bit_blocks(tables, static_cast<const float*>(x), blocks, block, absmax, packed);
  else if (source == EncodeSource::bf16)
    four_bit_blocks(tables, static_cast<const Bf16*>(x), blocks, block, absmax, packed);
  else
    four_bit_blocks(tables, static_cast<const Half*>(x), blocks, block, absmax, packed);
}

}  // namespace

const EncodeKernels encode = {encode_affine<15>, encode_affine<31>, encode_q6_k, encode_four_bit};

}  // namespace bm::BM_ISA
