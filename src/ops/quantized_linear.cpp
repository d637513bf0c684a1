#include "ops/quantized_linear.h"

#include <algorithm>
#include <cassert>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "ops/product_plan.h"
#include "ops/scratch.h"

namespace bm {
namespace {

struct Call {
  const float* x;
  int64_t rows, x_stride;
  const QuantizedWeights& weight;
  float* y;
  int64_t y_stride;
  const float* bias;
  bool accumulate;

  Call(const float* x_in, int64_t rows_in, const QuantizedWeights& w, float* y_in,
       const LinearOptions& options)
      : x(x_in),
        rows(rows_in),
        x_stride(options.x_stride ? options.x_stride : w.inputs()),
        weight(w),
        y(y_in),
        y_stride(options.y_stride ? options.y_stride : w.outputs()),
        bias(options.bias),
        accumulate(options.accumulate) {}

  void add_bias(int64_t row, int64_t rows_here, int64_t column, int64_t columns) const {
    if (!bias) return;
    for (int64_t r = row; r < row + rows_here; ++r) {
      float* out = y + r * y_stride;
      for (int64_t j = column; j < column + columns; ++j) out[j] += bias[j];
    }
  }
};

// ---------------------------------------------------------------- exact

// The decoded weights of 16 outputs from `column` on, inputs [begin, begin + count), as [count][16]; begin
// and kSumBlock are multiples of the sum group. S and B go through slot b.
void decode_panel(const QuantizedWeights& weight, int64_t column, int64_t begin, int64_t count, float* out) {
  const int64_t size = weight.sum_group(), groups = (count + size - 1) / size;
  const int64_t strip = column / kIntegerColumns, half = column % kIntegerColumns;
  const bool affine = weight.form().rule == DecodeRule::affine;
  float* scale = scratch(ScratchSlot::b, 2 * groups * kIntegerColumns);
  float* offset = affine ? scale + groups * kIntegerColumns : nullptr;
  weight.expand(strip, begin / size, groups, false, scale, offset);
  IntegerDecode d;
  d.groups = groups;
  d.group = size;
  d.form = weight.code_form() == CodeForm::lookup ? CodeForm::nibbles : weight.code_form();
  d.rule = weight.form().rule;
  d.rounding = weight.form().rounding;
  d.w = weight.strip(strip) + begin * kIntegerColumns * weight.form().bits / 8 + half * 4;
  d.scale = scale + half;
  d.offset = affine ? offset + half : nullptr;
  d.values = weight.form().values.data();
  d.factor = weight.form().factor;
  d.out = out;
  kernels().integer->decode(d);
}

// A block of rows × up to four panels: each k block is decoded once and used by all rows.
void exact_block(const Call& call, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const int64_t k = call.weight.inputs(), panels = (columns + kLanes - 1) / kLanes;
  float* wide = scratch(ScratchSlot::a, panels * kSumBlock * kLanes);
  BlockArguments g;
  g.m = rows;
  g.n = columns;
  g.a_row = call.x_stride;
  g.b = wide;
  g.b_panel = kSumBlock * kLanes;
  g.c = call.y + row * call.y_stride + column;
  g.c_row = call.y_stride;
  for (int64_t begin = 0; begin < k; begin += kSumBlock) {
    g.k = std::min(kSumBlock, k - begin);
    for (int64_t p = 0; p < panels; ++p)
      decode_panel(call.weight, column + p * kLanes, begin, g.k, wide + p * g.b_panel);
    g.a = call.x + row * call.x_stride + begin;
    g.accumulate = call.accumulate || begin > 0;
    kernels().products->f32(g);
  }
  call.add_bias(row, rows, column, columns);
}

// ---------------------------------------------------------------- fast

// Rows of activations as 8-bit codes: tiles (kernels/integer.h) one behind the other.
struct Activations {
  IntegerTile tiles;
  int64_t inputs;  // padded to whole groups
  int64_t groups;

  IntegerTile tile(int64_t index) const {
    const int64_t at = index * groups * kIntegerRows;
    return {tiles.codes + index * inputs * kIntegerRows, tiles.scale + at, tiles.start + at,
            tiles.offset + at};
  }
};

bool wide_codes(const QuantizedWeights& weight) {
  return weight.code_form() == CodeForm::lookup || weight.form().wide;
}

// What is taken from every code; none where the offsets hold it.
int32_t zero_of(const QuantizedWeights& weight) {
  if (weight.form().rule != DecodeRule::affine) return 128;
  return weight.has_offsets() ? 0 : weight.form().zero;
}

Activations quantize_rows(const Call& call) {
  const QuantizedWeights& weight = call.weight;
  const int64_t tiles = (call.rows + kIntegerRows - 1) / kIntegerRows;
  Activations a{};
  a.groups = weight.sum_groups();
  a.inputs = a.groups * weight.sum_group();
  const int64_t scales = tiles * a.groups * kIntegerRows;
  a.tiles.codes =
      reinterpret_cast<int8_t*>(scratch(ScratchSlot::c, tiles * a.inputs * kIntegerRows / 4 + 16));
  a.tiles.scale = scratch(ScratchSlot::d, 3 * scales);
  a.tiles.offset = a.tiles.scale + scales;
  a.tiles.start = reinterpret_cast<int32_t*>(a.tiles.scale + 2 * scales);
  parallel_chunks(static_cast<size_t>(tiles), 8, [&](size_t begin, size_t end) {
    for (auto tile = static_cast<int64_t>(begin); tile < static_cast<int64_t>(end); ++tile) {
      const int64_t row = tile * kIntegerRows;
      kernels().integer->quantize(std::min<int64_t>(kIntegerRows, call.rows - row), weight.inputs(),
                                  weight.sum_group(), call.x + row * call.x_stride, call.x_stride,
                                  zero_of(weight), wide_codes(weight), a.tile(tile));
    }
  });
  return a;
}

// Inputs taken at a time, so that unpacked codes of a strip stay in the second cache.
constexpr int64_t kManyRowsInputs = 4096, kFewRowsInputs = 2048;
constexpr int64_t kFewRows = 2 * kIntegerRows;  // up to here codes are unpacked in registers

// `rows` rows from the tile of `row` on × one strip of outputs.
void fast_strip(const Call& call, const Activations& a, int64_t row, int64_t rows, int64_t strip) {
  const QuantizedWeights& weight = call.weight;
  const int64_t size = weight.sum_group();
  const IntegerTile first = a.tile(row / kIntegerRows);
  const bool unpack = rows > kFewRows && weight.code_form() != CodeForm::bytes;
  const int64_t block = std::max<int64_t>(1, (rows > kFewRows ? kManyRowsInputs : kFewRowsInputs) / size);
  IntegerStrip t;
  t.rows = rows;
  t.group = size;
  t.a_tile = a.inputs * kIntegerRows;
  t.a_scale_tile = a.groups * kIntegerRows;
  t.form = unpack ? CodeForm::bytes : weight.code_form();
  t.wide = wide_codes(weight);
  t.table = weight.table();
  t.y = call.y + row * call.y_stride + strip * kIntegerColumns;
  t.y_row = call.y_stride;
  t.columns = std::min<int64_t>(kIntegerColumns, weight.outputs() - strip * kIntegerColumns);
  for (int64_t g = 0; g < a.groups; g += block) {
    t.groups = std::min(block, a.groups - g);
    const int64_t begin = g * size, inputs = t.groups * size;
    float* scale = scratch(ScratchSlot::b, 2 * t.groups * kIntegerColumns);
    float* offset = weight.has_offsets() ? scale + t.groups * kIntegerColumns : nullptr;
    weight.expand(strip, g, t.groups, true, scale, offset);
    t.scale = scale;
    t.offset = offset;
    t.w = weight.strip(strip) + begin * kIntegerColumns * weight.form().bits / 8;
    if (unpack) {
      auto* bytes = reinterpret_cast<uint8_t*>(scratch(ScratchSlot::a, inputs * kIntegerColumns / 4));
      kernels().integer->unpack(weight.code_form(), inputs, weight.table(), t.w, bytes);
      t.w = bytes;
    }
    t.a = first.codes + begin * kIntegerRows;
    t.a_scale = first.scale + g * kIntegerRows;
    t.a_start = first.start + g * kIntegerRows;
    t.a_offset = first.offset + g * kIntegerRows;
    t.accumulate = call.accumulate || g > 0;
    kernels().integer->product(t);
  }
  call.add_bias(row, rows, strip * kIntegerColumns, t.columns);
}

// Rows of one task: as many as keep about 4 MB of activations, which stay in the shared cache while strip
// after strip is multiplied with them; fewer while there are not enough tasks for the threads.
int64_t fast_row_chunk(int64_t rows, int64_t strips, int64_t inputs) {
  const int64_t most = std::clamp<int64_t>((int64_t{4} << 20) / inputs, 96, 1024);
  int64_t chunks = (rows + most - 1) / most;
  while (chunks * strips < 4 * thread_count() && rows / (chunks + 1) >= 16 * kIntegerRows) ++chunks;
  const int64_t size = (rows + chunks - 1) / chunks;
  return (size + kIntegerRows - 1) / kIntegerRows * kIntegerRows;
}

}  // namespace

void linear_exact(const float* x, int64_t rows, const QuantizedWeights& weight, float* y,
                  const LinearOptions& options) {
  if (rows <= 0 || weight.outputs() == 0) return;
  const Call call(x, rows, weight, y, options);
  const int64_t n = weight.outputs();
  if (rows < 2 * kernels().products->tile_rows) {
    parallel_chunks(static_cast<size_t>(n), 64, [&](size_t begin, size_t end) {
      exact_block(call, 0, rows, static_cast<int64_t>(begin), static_cast<int64_t>(end - begin));
    });
    return;
  }
  // As in linear(), but with more rows a task: decoding costs more than widening.
  const int64_t chunks = std::max<int64_t>(1, rows / 512), even = (rows + chunks - 1) / chunks;
  const int64_t tile = kernels().products->tile_rows, size = (even + tile - 1) / tile * tile;
  const int64_t columns = (n + 63) / 64;
  parallel_for(static_cast<size_t>(chunks * columns), [&](size_t task) {
    const int64_t row = static_cast<int64_t>(task) % chunks * size,
                  column = static_cast<int64_t>(task) / chunks * 64;
    if (row >= rows) return;
    exact_block(call, row, std::min(size, rows - row), column, std::min<int64_t>(64, n - column));
  });
}

void linear_fast(const float* x, int64_t rows, const QuantizedWeights& weight, float* y,
                 const LinearOptions& options) {
  if (rows <= 0 || weight.outputs() == 0) return;
  const Call call(x, rows, weight, y, options);
  const Activations a = quantize_rows(call);
  const int64_t strips = (weight.outputs() + kIntegerColumns - 1) / kIntegerColumns;
  const int64_t chunk = fast_row_chunk(rows, strips, weight.inputs()), chunks = (rows + chunk - 1) / chunk;
  parallel_for(static_cast<size_t>(strips * chunks), [&](size_t task) {
    const int64_t row = static_cast<int64_t>(task) / strips * chunk;
    fast_strip(call, a, row, std::min(chunk, rows - row), static_cast<int64_t>(task) % strips);
  });
}

void LinearWeights::add(PackedWeights part) {
  assert(parts_.empty() || part.inputs() == inputs_);
  inputs_ = part.inputs();
  outputs_ += part.outputs();
  parts_.emplace_back(std::move(part));
}

void LinearWeights::add(QuantizedWeights part) {
  assert(parts_.empty() || part.inputs() == inputs_);
  inputs_ = part.inputs();
  outputs_ += part.outputs();
  parts_.emplace_back(std::move(part));
}

uint64_t LinearWeights::bytes() const {
  uint64_t total = 0;
  for (const auto& part : parts_) total += std::visit([](const auto& p) { return p.bytes(); }, part);
  return total;
}

bool LinearWeights::quantized() const {
  return !parts_.empty() && std::all_of(parts_.begin(), parts_.end(), [](const auto& part) {
    return std::holds_alternative<QuantizedWeights>(part);
  });
}

void LinearWeights::read_row(int64_t n, float* out) const {
  for (const auto& part : parts_) {
    const int64_t rows = std::visit([](const auto& p) { return p.outputs(); }, part);
    if (n < rows) return std::visit([&](const auto& p) { p.read_row(n, out); }, part);
    n -= rows;
  }
  assert(false);
}

void linear(const float* x, int64_t rows, const LinearWeights& weight, float* y,
            const LinearOptions& options) {
  LinearOptions part_options = options;
  if (!part_options.y_stride) part_options.y_stride = weight.outputs();
  for (const auto& part : weight.parts_) {
    int64_t outputs = 0;
    if (const auto* plain = std::get_if<PackedWeights>(&part)) {
      const bool pairs = weight.arithmetic_ == LinearArithmetic::bf16 && plain->dtype() == DType::bf16;
      if (pairs) {
        linear_bf16(x, rows, *plain, y, part_options);
      } else {
        linear(x, rows, *plain, y, part_options);
      }
      outputs = plain->outputs();
    } else {
      const auto& codes = std::get<QuantizedWeights>(part);
      const bool fast = weight.arithmetic_ == LinearArithmetic::fast;
      (fast ? linear_fast : linear_exact)(x, rows, codes, y, part_options);
      outputs = codes.outputs();
    }
    y += outputs;
    if (part_options.bias) part_options.bias += outputs;
  }
}

}  // namespace bm
