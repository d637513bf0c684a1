#include "tensor/awq_layout.h"

#include <array>
#include <cassert>
#include <cmath>

namespace bm {
namespace {

constexpr std::array<int, 8> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};

size_t at(int64_t index) { return static_cast<size_t>(index); }

// One word of eight nibbles; value(i) gives nibble i.
template <class F>
int32_t pack_word(F&& value) {
  uint32_t word = 0;
  for (int i = 0; i < 8; ++i) word |= (static_cast<uint32_t>(value(i)) & 15u) << (4 * i);
  return static_cast<int32_t>(word);
}

uint8_t nibble(int32_t word, int i) {
  return static_cast<uint8_t>((static_cast<uint32_t>(word) >> (4 * i)) & 15u);
}

int64_t groups_of(int64_t columns, int64_t group) { return columns / group; }

void pack_gemm(const AwqCodes& c, bool weights, AwqPacked& p) {
  int64_t words = c.rows / 8, groups = groups_of(c.columns, c.group);
  if (weights) {
    p.qweight.resize(at(c.columns * words));
    for (int64_t k = 0; k < c.columns; ++k)
      for (int64_t w = 0; w < words; ++w)
        p.qweight[at(k * words + w)] =
            pack_word([&](int i) { return c.codes[at((8 * w + kOrder[at(i)]) * c.columns + k)]; });
  }
  p.qzeros.resize(at(groups * words));
  p.scales.resize(at(groups * c.rows));
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t w = 0; w < words; ++w)
      p.qzeros[at(g * words + w)] = pack_word(
          [&](int i) { return static_cast<int>(c.zeros[at((8 * w + kOrder[at(i)]) * groups + g)]); });
    for (int64_t r = 0; r < c.rows; ++r)
      p.scales[at(g * c.rows + r)] = f32_to_f16(c.scales[at(r * groups + g)]);
  }
}

void pack_gemv(const AwqCodes& c, bool weights, AwqPacked& p) {
  int64_t words = c.columns / 8, groups = groups_of(c.columns, c.group),
          width = awq_zero_width(c.columns, c.group);
  if (weights) {
    p.qweight.resize(at(c.rows * words));
    for (int64_t r = 0; r < c.rows; ++r)
      for (int64_t w = 0; w < words; ++w)
        p.qweight[at(r * words + w)] =
            pack_word([&](int i) { return c.codes[at(r * c.columns + 8 * w + i)]; });
  }
  p.qzeros.assign(at(c.rows * width), 0);
  p.scales.assign(at(c.rows * width * 8), 0);
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t w = 0; w < width; ++w)
      p.qzeros[at(r * width + w)] = pack_word([&](int i) {
        int64_t g = 8 * w + i;
        return g < groups ? static_cast<int>(c.zeros[at(r * groups + g)]) : 0;
      });
    for (int64_t g = 0; g < groups; ++g)
      p.scales[at(r * width * 8 + g)] = f32_to_f16(c.scales[at(r * groups + g)]);
  }
}

// Input channel held at position `place` of 32: first (4, 4, 2) → position 8a + 2b + c holds 8b + 2a + c,
// then each run of 8 is reordered by kOrder.
int64_t fast_channel(int64_t place) {
  int64_t within = kOrder[at(place % 8)];
  int64_t a = place / 8, b = within / 2, c = within % 2;
  return 8 * b + 2 * a + c;
}

// Calls visit(word index, nibble, row, column) for every code of the GEMVFast layout.
template <class F>
void visit_fast(int64_t rows, int64_t columns, F&& visit) {
  for (int64_t block = 0; block < rows / 4; ++block)
    for (int64_t run = 0; run < columns / 64; ++run)
      for (int64_t j = 0; j < 64; ++j)
        for (int64_t i = 0; i < 4; ++i) {
          // v[row][run][position]: the four interleaved 64-runs are read as [64 positions][4 nibbles].
          int64_t flat = j * 4 + i;  // within 4 rows x 64 positions
          int64_t row = block * 4 + flat / 64, position = run * 64 + flat % 64;
          int64_t column = position / 32 * 32 + fast_channel(position % 32);
          visit((block * (columns / 64) + run) * 64 + j, static_cast<int>(i), row, column);
        }
}

void pack_fast(const AwqCodes& c, bool weights, AwqPacked& p) {
  int64_t groups = groups_of(c.columns, c.group), width = awq_zero_width(c.columns, c.group);
  if (weights) {
    p.qweight_fast.assign(at(c.rows / 4 * c.columns), 0);
    visit_fast(c.rows, c.columns, [&](int64_t word, int i, int64_t row, int64_t column) {
      uint32_t value = static_cast<uint16_t>(p.qweight_fast[at(word)]) |
                       (static_cast<uint32_t>(c.codes[at(row * c.columns + column)]) << (4 * i));
      p.qweight_fast[at(word)] = static_cast<int16_t>(static_cast<uint16_t>(value));
    });
  }
  p.scales.assign(at(width * 8 * c.rows), 0);
  p.qzeros_fast.assign(at(width * 8 * c.rows), 0);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < c.rows; ++r) {
      float scale = c.scales[at(r * groups + g)], zero = c.zeros[at(r * groups + g)];
      p.scales[at(g * c.rows + r)] = f32_to_f16(scale);
      p.qzeros_fast[at(g * c.rows + r)] =
          f32_to_f16(-(scale * (zero + 0.0f)));  // a zero of 0 is stored as -0
    }
}

AwqPacked pack(const AwqCodes& c, AwqLayout layout, bool weights) {
  assert(awq_misfit(layout, c.rows, c.columns, c.group).empty() && !c.zeros.empty());
  AwqPacked p;
  p.layout = layout;
  p.rows = c.rows;
  p.columns = c.columns;
  p.group = c.group;
  switch (layout) {
    case AwqLayout::gemm:
      pack_gemm(c, weights, p);
      break;
    case AwqLayout::gemv:
      pack_gemv(c, weights, p);
      break;
    case AwqLayout::gemv_fast:
      pack_fast(c, weights, p);
      break;
  }
  return p;
}

void unpack_gemm(const AwqPacked& p, AwqCodes& c) {
  int64_t words = p.rows / 8, groups = groups_of(p.columns, p.group);
  for (int64_t k = 0; k < p.columns; ++k)
    for (int64_t w = 0; w < words; ++w)
      for (int i = 0; i < 8; ++i)
        c.codes[at((8 * w + kOrder[at(i)]) * p.columns + k)] = nibble(p.qweight[at(k * words + w)], i);
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t w = 0; w < words; ++w)
      for (int i = 0; i < 8; ++i)
        c.zeros[at((8 * w + kOrder[at(i)]) * groups + g)] =
            static_cast<float>(nibble(p.qzeros[at(g * words + w)], i));
    for (int64_t r = 0; r < p.rows; ++r)
      c.scales[at(r * groups + g)] = f16_to_f32(p.scales[at(g * p.rows + r)]);
  }
}

void unpack_gemv(const AwqPacked& p, AwqCodes& c) {
  int64_t words = p.columns / 8, groups = groups_of(p.columns, p.group),
          width = awq_zero_width(p.columns, p.group);
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t w = 0; w < words; ++w)
      for (int i = 0; i < 8; ++i)
        c.codes[at(r * p.columns + 8 * w + i)] = nibble(p.qweight[at(r * words + w)], i);
    for (int64_t g = 0; g < groups; ++g) {
      c.zeros[at(r * groups + g)] =
          static_cast<float>(nibble(p.qzeros[at(r * width + g / 8)], static_cast<int>(g % 8)));
      c.scales[at(r * groups + g)] = f16_to_f32(p.scales[at(r * width * 8 + g)]);
    }
  }
}

void unpack_fast(const AwqPacked& p, AwqCodes& c) {
  int64_t groups = groups_of(p.columns, p.group);
  visit_fast(p.rows, p.columns, [&](int64_t word, int i, int64_t row, int64_t column) {
    c.codes[at(row * p.columns + column)] =
        static_cast<uint8_t>((static_cast<uint16_t>(p.qweight_fast[at(word)]) >> (4 * i)) & 15u);
  });
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < p.rows; ++r) {
      float scale = f16_to_f32(p.scales[at(g * p.rows + r)]);
      float offset = f16_to_f32(p.qzeros_fast[at(g * p.rows + r)]);
      c.scales[at(r * groups + g)] = scale;
      c.zeros[at(r * groups + g)] = scale == 0.0f ? 0.0f : std::nearbyint(-offset / scale);
    }
}

}  // namespace

std::string_view awq_layout_name(AwqLayout layout) {
  switch (layout) {
    case AwqLayout::gemv:
      return "gemv";
    case AwqLayout::gemv_fast:
      return "gemv_fast";
    default:
      return "gemm";
  }
}

int64_t awq_zero_width(int64_t columns, int64_t group) {
  int64_t multiple = group >= 128 ? 1 : group == 64 ? 2 : 4;
  int64_t words = (groups_of(columns, group) + 7) / 8;
  return (words + multiple - 1) / multiple * multiple;
}

std::string awq_misfit(AwqLayout layout, int64_t rows, int64_t columns, int64_t group) {
  auto text = [](int64_t n) { return std::to_string(n); };
  if (group <= 0) return "the group size " + text(group) + " is not positive";
  if (columns <= 0 || rows <= 0) return "it is empty";
  if (columns % group != 0) return text(columns) + " inputs are no multiple of the group of " + text(group);
  if (layout == AwqLayout::gemm && rows % 8 != 0) return text(rows) + " outputs are no multiple of 8";
  if (layout == AwqLayout::gemm) return {};
  if (group != 32 && group != 64 && group < 128) return "the layout has no group of " + text(group);
  if (columns % 8 != 0) return text(columns) + " inputs are no multiple of 8";
  if (layout == AwqLayout::gemv_fast && columns % 64 != 0)
    return text(columns) + " inputs are no multiple of 64";
  if (layout == AwqLayout::gemv_fast && rows % 4 != 0) return text(rows) + " outputs are no multiple of 4";
  return {};
}

std::vector<int64_t> awq_fitting_groups(AwqLayout layout, int64_t columns) {
  std::vector<int64_t> fitting;
  for (int64_t group : {int64_t{128}, int64_t{64}, int64_t{32}})
    if (awq_misfit(layout, 8, columns, group).empty()) fitting.push_back(group);
  return fitting;
}

AwqPacked awq_pack(const AwqCodes& codes, AwqLayout layout) { return pack(codes, layout, true); }
AwqPacked awq_pack_parameters(const AwqCodes& codes, AwqLayout layout) { return pack(codes, layout, false); }

AwqCodes awq_unpack(const AwqPacked& p) {
  AwqCodes c;
  c.rows = p.rows;
  c.columns = p.columns;
  c.group = p.group;
  c.codes.resize(at(p.rows * p.columns));
  c.scales.resize(at(p.rows * groups_of(p.columns, p.group)));
  c.zeros.resize(c.scales.size());
  switch (p.layout) {
    case AwqLayout::gemm:
      unpack_gemm(p, c);
      break;
    case AwqLayout::gemv:
      unpack_gemv(p, c);
      break;
    case AwqLayout::gemv_fast:
      unpack_fast(p, c);
      break;
  }
  return c;
}

ExllamaPacked awq_to_exllama(const AwqCodes& c, bool borrow) {
  int64_t groups = groups_of(c.columns, c.group), words = c.rows / 8;
  ExllamaPacked p;
  p.qweight.resize(at(c.columns / 8 * c.rows));
  for (int64_t k = 0; k < c.columns / 8; ++k)
    for (int64_t r = 0; r < c.rows; ++r)
      p.qweight[at(k * c.rows + r)] =
          pack_word([&](int i) { return c.codes[at(r * c.columns + 8 * k + i)]; });
  p.qzeros.resize(at(groups * words));
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t w = 0; w < words; ++w) {
      int64_t sum = 0;
      for (int64_t i = 0; i < 8; ++i) {
        int64_t zero = static_cast<int64_t>(c.zeros[at((8 * w + i) * groups + g)]) - 1;
        sum += (borrow ? zero : (zero & 15)) * (int64_t{1} << (4 * i));
      }
      p.qzeros[at(g * words + w)] = static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(sum)));
    }
  return p;
}

}  // namespace bm
