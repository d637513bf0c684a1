#include "ops/scratch.h"

#include <memory>
#include <new>

namespace bm {
namespace {

struct Free {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
struct Buffer {
  std::unique_ptr<float[], Free> data;
  int64_t capacity = 0;
};

}  // namespace

float* scratch(ScratchSlot slot, int64_t count) {
  thread_local Buffer buffers[static_cast<size_t>(ScratchSlot::count)];
  Buffer& buffer = buffers[static_cast<size_t>(slot)];
  if (buffer.capacity < count) {
    buffer.data.reset();
    size_t bytes = static_cast<size_t>(count) * sizeof(float);
    buffer.data.reset(static_cast<float*>(::operator new[](bytes, std::align_val_t{64})));
    buffer.capacity = count;
  }
  return buffer.data.get();
}

}  // namespace bm
