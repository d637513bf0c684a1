#include "merging/arithmetic.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "kernels/kernels.h"

namespace bm {

Rounding rounding_of(DType type) {
  if (type == DType::bf16) return Rounding::bf16;
  if (type == DType::f16) return Rounding::f16;
  return Rounding::none;
}

void round_values(Rounding rounding, int64_t count, float* x) {
  if (rounding == Rounding::bf16) kernels().merge->round_bf16(count, x);
  if (rounding == Rounding::f16)
    for (int64_t i = 0; i < count; ++i) x[i] = round_to_f16(x[i]);
}

void Source::read(int64_t begin, int64_t end, float* out) const {
  size_t width = dtype_bits(view_.dtype) / 8;
  const std::byte* in = view_.data + static_cast<size_t>(begin) * width;
  int64_t count = end - begin;
  bool aligned = reinterpret_cast<uintptr_t>(in) % alignof(uint16_t) == 0;
  if (aligned && view_.dtype == DType::bf16) {
    kernels().products->widen_bf16(count, reinterpret_cast<const uint16_t*>(in), out);
  } else if (aligned && view_.dtype == DType::f16) {
    kernels().products->widen_f16(count, reinterpret_cast<const uint16_t*>(in), out);
  } else {
    // Only float types get here (the plan refuses others), so this cannot fail.
    [[maybe_unused]] Status converted =
        convert_elements(in, view_.dtype, reinterpret_cast<std::byte*>(out), DType::f32, count);
  }
  if (load_ != Rounding::none && rounding_of(view_.dtype) != load_) round_values(load_, count, out);
}

void Source::drop() const {
  if (!mapped_) return;
  // Only whole pages inside the tensor: its neighbours share the first and the last.
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto begin = (reinterpret_cast<uintptr_t>(view_.data) + page - 1) / page * page;
  auto end = (reinterpret_cast<uintptr_t>(view_.data) + view_.bytes()) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::vector<size_t> TensorProblem::others() const {
  std::vector<size_t> out;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (static_cast<int>(i) != base) out.push_back(i);
  return out;
}

double TensorProblem::q(double value) const {
  if (!switches.float_scalars) return value;
  return with_rounding(
      working, [&](auto rounding) { return static_cast<double>(rounding.r(static_cast<float>(value))); });
}

int64_t row_block(int64_t row) { return row * std::max<int64_t>(1, merge_block / std::max<int64_t>(1, row)); }

std::vector<double> sum_blocks(int64_t count, int64_t block, size_t width,
                               const std::function<void(int64_t, int64_t, double*)>& function) {
  auto blocks = static_cast<size_t>((count + block - 1) / block);
  std::vector<double> partial(blocks * width, 0.0), total(width, 0.0);
  parallel_for(blocks, [&](size_t b) {
    int64_t begin = static_cast<int64_t>(b) * block;
    function(begin, std::min(count, begin + block), partial.data() + b * width);
  });
  for (size_t b = 0; b < blocks; ++b)
    for (size_t i = 0; i < width; ++i) total[i] += partial[b * width + i];
  return total;
}

float* merge_scratch(size_t slot, int64_t size) {
  thread_local std::vector<std::vector<float>> scratch;
  if (scratch.size() <= slot) scratch.resize(slot + 1);
  if (scratch[slot].size() < static_cast<size_t>(size)) scratch[slot].resize(static_cast<size_t>(size));
  return scratch[slot].data();
}

Result<BlockFunction> prepare_merge(const TensorProblem& problem) {
  switch (problem.method->kind) {
    case MethodKind::passthrough:
      return prepare_passthrough(problem);
    case MethodKind::linear:
      return prepare_linear(problem);
    case MethodKind::slerp:
      return prepare_slerp(problem);
    case MethodKind::task_vectors:
      return prepare_task_vectors(problem);
    case MethodKind::nuslerp:
      return prepare_nuslerp(problem);
    case MethodKind::model_stock:
      return prepare_model_stock(problem);
    case MethodKind::sce:
      return prepare_sce(problem);
    case MethodKind::nearswap:
      return prepare_nearswap(problem);
    case MethodKind::multislerp:
      return prepare_multislerp(problem);
    case MethodKind::karcher:
      return prepare_karcher(problem);
    case MethodKind::arcee_fusion:
      return prepare_arcee_fusion(problem);
    case MethodKind::ram:
    case MethodKind::ramplus_tl:
      return prepare_ram(problem);
  }
  return failed("method without an implementation");
}

}  // namespace bm
