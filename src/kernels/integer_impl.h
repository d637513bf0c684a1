// The integer products, written once over Ints (16 int32 lanes), Codes (64 bytes: 16 lanes × 4) and Lanes,
// and compiled once per instruction set. The including file has defined BM_ISA, the wrappers of these types
// (simd_*.h, integer_lanes_*.h), kWideOffset (what is subtracted from wide codes to make them signed: 0 or
// 128) and kStripPanels (panels of 16 outputs a register tile holds: 1 or 2).
//
// Nothing from the standard library is used here (products_impl.h says why).
#pragma once

#include "kernels/integer.h"

namespace bm::BM_ISA {
namespace {

constexpr int kPanel = 16;
constexpr int kRows = kIntegerRows;

// Eight inputs of 16 outputs as two Codes: inputs 0..3 and 4..7.
template <CodeForm form, bool wide>
struct Reader {
  static constexpr int64_t kBytes = form == CodeForm::bytes ? 256 : 128;  // of a strip
  Codes table;
  explicit Reader(const uint8_t* values) : table(form == CodeForm::lookup ? load_table(values) : Codes{}) {}
  inline Codes adjust(Codes c) const {
    if constexpr (wide && kWideOffset != 0) return make_signed(c);
    return c;
  }
  inline void read(const uint8_t* w, Codes& first, Codes& second) const {
    if constexpr (form == CodeForm::bytes) {
      first = adjust(load_codes(w));
      second = adjust(load_codes(w + 128));
    } else {
      Codes raw = load_codes(w);
      first = low_nibbles(raw);
      second = high_nibbles(raw);
      if constexpr (form == CodeForm::lookup) {
        first = adjust(look_up(table, first));
        second = adjust(look_up(table, second));
      }
    }
  }
};

// Few rows wait for memory: lines some thousand bytes ahead.
template <int64_t bytes>
inline void prefetch_strip(const uint8_t* w) {
  for (int64_t i = 0; i < bytes; i += 64) prefetch(w + 8192 + i);
}

// R rows × NP panels of 16 of one tile; acc [R][NP·16] holds the sums of the groups before, or nothing yet
// when it is fresh.
template <int R, int NP, CodeForm form, bool wide>
[[gnu::noinline]] void tile(const IntegerStrip& t, const int8_t* a, const float* a_scale,
                            const int32_t* a_start, const float* a_offset, const uint8_t* w,
                            const float* scale, const float* offset, float* acc, bool fresh) {
  const Reader<form, wide> reader(t.table);
  const int64_t steps = t.group / 8;
  for (int64_t g = 0; g < t.groups; ++g) {
    Ints sums[R][NP];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      Ints start = ints1(a_start[r]);
#pragma GCC unroll 4
      for (int p = 0; p < NP; ++p) sums[r][p] = start;
    }
    for (int64_t i = 0; i < steps; ++i) {
      Codes first[NP], second[NP];
      if constexpr (R <= 3 || form != CodeForm::bytes) prefetch_strip<Reader<form, wide>::kBytes>(w);
#pragma GCC unroll 4
      for (int p = 0; p < NP; ++p) {
        reader.read(w + p * 64, first[p], second[p]);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        Codes x = spread(a + r * 4);
#pragma GCC unroll 4
        for (int p = 0; p < NP; ++p) sums[r][p] = dot<wide>(sums[r][p], first[p], x);
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        Codes x = spread(a + kRows * 4 + r * 4);
#pragma GCC unroll 4
        for (int p = 0; p < NP; ++p) sums[r][p] = dot<wide>(sums[r][p], second[p], x);
      }
      a += kRows * 8;
      w += Reader<form, wide>::kBytes;
    }
#pragma GCC unroll 4
    for (int p = 0; p < NP; ++p) {
      Lanes s = load(scale + p * kPanel);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        float* out = acc + (r * NP + p) * kPanel;
        Lanes before = fresh ? set1(0.0f) : load(out);
        Lanes sum = fma(mul(to_float(sums[r][p]), s), set1(a_scale[r]), before);
        if (offset) sum = fma(load(offset + p * kPanel), set1(a_offset[r]), sum);
        store(out, sum);
      }
    }
    scale += kIntegerColumns;
    if (offset) offset += kIntegerColumns;
    fresh = false;
    a_scale += kRows;
    a_start += kRows;
    a_offset += kRows;
  }
}

template <int R, int NP, CodeForm form, bool wide>
inline void tile_columns(const IntegerStrip& t, int64_t row, int first_panel) {
  const int64_t index = row / kRows;
  const int64_t column = first_panel * kPanel;
  const int64_t columns = t.columns - column < NP * kPanel ? t.columns - column : NP * kPanel;
  const bool whole = columns == NP * kPanel;
  float* y = t.y + row * t.y_row + column;
  // The sums go on in a place of their own: rows of y often lie at the same offsets of a page, where loads
  // wait for stores they only seem to depend on.
  alignas(64) float sums[R * NP * kPanel];
  if (t.accumulate) {
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < NP; ++p) {
        const int64_t left = columns - p * kPanel;
        store(sums + (r * NP + p) * kPanel,
              left > 0 ? load_part(y + r * t.y_row + p * kPanel, left) : set1(0.0f));
      }
    }
  }
  tile<R, NP, form, wide>(t, t.a + index * t.a_tile, t.a_scale + index * t.a_scale_tile,
                          t.a_start + index * t.a_scale_tile, t.a_offset + index * t.a_scale_tile,
                          t.w + first_panel * 64, t.scale + column, t.offset ? t.offset + column : nullptr,
                          sums, !t.accumulate);
  if (whole) {
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < NP; ++p) store(y + r * t.y_row + p * kPanel, load(sums + (r * NP + p) * kPanel));
    }
    return;
  }
  for (int r = 0; r < R; ++r) {
    for (int64_t j = 0; j < columns; ++j) y[r * t.y_row + j] = sums[r * NP * kPanel + j];
  }
}

template <int R, CodeForm form, bool wide>
inline void tile_rows(const IntegerStrip& t, int64_t row) {
  if constexpr (kStripPanels == 2) {
    if (t.columns > kPanel) {
      tile_columns<R, 2, form, wide>(t, row, 0);
      return;
    }
  }
  tile_columns<R, 1, form, wide>(t, row, 0);
  if (t.columns > kPanel) tile_columns<R, 1, form, wide>(t, row, 1);
}

template <int R, CodeForm form, bool wide>
inline void last_rows(const IntegerStrip& t, int64_t row) {
  if (t.rows - row == R) {
    tile_rows<R, form, wide>(t, row);
  } else if constexpr (R > 1) {
    last_rows<R - 1, form, wide>(t, row);
  }
}

template <CodeForm form, bool wide>
void strip(const IntegerStrip& t) {
  int64_t row = 0;
  for (; row + kRows <= t.rows; row += kRows) tile_rows<kRows, form, wide>(t, row);
  if (row < t.rows) last_rows<kRows - 1, form, wide>(t, row);
}

void product(const IntegerStrip& t) {
  switch (t.form) {
    case CodeForm::bytes:
      return t.wide ? strip<CodeForm::bytes, true>(t) : strip<CodeForm::bytes, false>(t);
    case CodeForm::nibbles:
      return strip<CodeForm::nibbles, false>(t);
    case CodeForm::lookup:
      return strip<CodeForm::lookup, true>(t);
  }
}

void unpack(CodeForm form, int64_t inputs, const uint8_t* table, const uint8_t* w, uint8_t* out) {
  const bool look = form == CodeForm::lookup;
  const Codes values = look ? load_table(table) : Codes{};
  for (int64_t i = 0; i < inputs; i += 8) {
    for (int half = 0; half < 128; half += 64) {
      Codes raw = load_codes(w + half);
      Codes first = low_nibbles(raw), second = high_nibbles(raw);
      store_codes(out + half, look ? look_up(values, first) : first);
      store_codes(out + 128 + half, look ? look_up(values, second) : second);
    }
    w += 128;
    out += 256;
  }
}

template <DecodeRule rule>
inline Lanes decoded(const IntegerDecode& d, Ints code, Lanes scale, Lanes offset) {
  Lanes value;
  if constexpr (rule == DecodeRule::affine) {
    value = fma(to_float(code), scale, offset);
  } else if constexpr (rule == DecodeRule::lookup) {
    value = mul(pick(d.values, code), scale);
  } else {
    value = mul(mul(to_float(sub_ints(code, 128)), scale), set1(d.factor));
  }
  if (d.rounding == DecodeRounding::f16) return round_f16(value);
  if (d.rounding == DecodeRounding::bf16) return round_bf16(value);
  return value;
}

template <DecodeRule rule>
void decode_rule(const IntegerDecode& d) {
  const uint8_t* w = d.w;
  float* out = d.out;
  for (int64_t g = 0; g < d.groups; ++g) {
    const Lanes scale = load(d.scale + g * kIntegerColumns);
    const Lanes offset =
        rule == DecodeRule::affine && d.offset ? load(d.offset + g * kIntegerColumns) : set1(0.0f);
    for (int64_t i = 0; i < d.group; i += 4) {
      Codes codes = load_codes(w);
      if (d.form != CodeForm::bytes) codes = i % 8 == 0 ? low_nibbles(codes) : high_nibbles(codes);
      if (d.form == CodeForm::bytes || i % 8 != 0) w += 128;
      store(out, decoded<rule>(d, byte_of<0>(codes), scale, offset));
      store(out + kPanel, decoded<rule>(d, byte_of<1>(codes), scale, offset));
      store(out + 2 * kPanel, decoded<rule>(d, byte_of<2>(codes), scale, offset));
      store(out + 3 * kPanel, decoded<rule>(d, byte_of<3>(codes), scale, offset));
      out += 4 * kPanel;
    }
  }
}

void decode(const IntegerDecode& d) {
  switch (d.rule) {
    case DecodeRule::affine:
      return decode_rule<DecodeRule::affine>(d);
    case DecodeRule::lookup:
      return decode_rule<DecodeRule::lookup>(d);
    case DecodeRule::product:
      return decode_rule<DecodeRule::product>(d);
  }
}

// 16 outputs of one group; `at` counts from the strip's first, `run` those of its run.
inline void expand_sixteen(const ScaleExpand& e, int64_t at, int64_t run) {
  const Lanes zero = set1(0.0f);
  Lanes scale =
      e.half ? load(static_cast<const Half*>(e.scale) + run) : load(static_cast<const float*>(e.scale) + run);
  if (e.sub_scale)
    scale =
        mul(scale, to_float(e.sub_signed ? signed_bytes(e.sub_scale + at) : load_bytes(e.sub_scale + at)));
  store(e.scale_out + at, mul(scale, set1(e.factor)));
  if (!e.offset_out) return;
  Lanes offset;
  if (e.offset) {
    offset = load(reinterpret_cast<const Half*>(e.offset) + run);
    if (e.sub_offset) offset = mul(sub(zero, offset), to_float(load_bytes(e.sub_offset + at)));
  } else if (e.sub_offset) {
    offset = mul(sub(zero, scale), to_float(load_bytes(e.sub_offset + at)));
  } else {
    offset = mul(sub(zero, scale), set1(e.zero));
  }
  store(e.offset_out + at, offset);
}

void expand(const ScaleExpand& e) {
  int64_t run = 0, place = e.first;
  for (int64_t g = 0; g < e.count; ++g) {
    expand_sixteen(e, g * kIntegerColumns, run);
    expand_sixteen(e, g * kIntegerColumns + kPanel, run + kPanel);
    if (++place == e.run) {
      place = 0;
      run += kIntegerColumns;
    }
  }
}

// One row of one group; `some` of `group` inputs are there.
inline void quantize_group(const float* x, int64_t some, int64_t group, int8_t* a, float* scale,
                           int32_t* sum) {
  Lanes largest = set1(0.0f), poison = set1(0.0f);
  for (int64_t i = 0; i < some; i += kPanel) {
    Lanes v = load_part(x + i, some - i);
    largest = max(magnitude(v), largest);
    poison = fma(v, set1(0.0f), poison);
  }
  const float top = maximum(largest), bad = BM_ISA::sum(poison);  // bad: 0, or NaN
  const float inverse = top > 0.0f && bad == 0.0f ? 127.0f / top : 0.0f;
  // A tiny maximum has no finite inverse: such a group counts as zeros.
  const bool usable = inverse < 3.0e38f;
  Ints total = ints1(0);
  for (int64_t i = 0; i < group; i += kPanel) {
    Lanes v = i < some && bad == 0.0f ? load_part(x + i, some - i) : set1(0.0f);
    Ints codes = to_ints(mul(v, set1(usable ? inverse : 0.0f)));
    total = add_ints(total, codes);
    alignas(64) int8_t bytes[kPanel];
    store_bytes(bytes, codes);
    const int64_t quads = group - i < kPanel ? (group - i) / 4 : 4;
    for (int64_t q = 0; q < quads; ++q) __builtin_memcpy(a + (i / 4 + q) * kRows * 4, bytes + q * 4, 4);
  }
  *sum = sum_ints(total);
  *scale = bad == 0.0f ? (usable ? top / 127.0f : 0.0f) : bad;
}

void quantize(int64_t rows, int64_t inputs, int64_t group, const float* x, int64_t stride, int32_t zero,
              bool wide, const IntegerTile& tile) {
  const int64_t groups = (inputs + group - 1) / group;
  const int32_t start = (wide ? kWideOffset : 0) - zero;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t begin = g * group, some = inputs - begin < group ? inputs - begin : group;
    for (int r = 0; r < kRows; ++r) {
      int8_t* to = tile.codes + begin * kRows + r * 4;
      float scale = 0;
      int32_t total = 0;
      if (r < rows) {
        quantize_group(x + r * stride + begin, some, group, to, &scale, &total);
      } else {
        for (int64_t i = 0; i < group; i += 4) __builtin_memset(to + i * kRows, 0, 4);
      }
      tile.scale[g * kRows + r] = scale;
      tile.start[g * kRows + r] = start * total;
      tile.offset[g * kRows + r] = scale * static_cast<float>(total);
    }
  }
}

}  // namespace

extern const IntegerKernels integer;
const IntegerKernels integer = {product, decode, expand, unpack, quantize};

}  // namespace bm::BM_ISA
