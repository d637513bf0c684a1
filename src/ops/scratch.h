// Working memory of an op: one growing buffer per thread and slot, so that hot loops do not allocate.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bm {

enum class ScratchSlot : uint8_t { a, b, c, d, e, f, g, h, count };

// At least `count` floats, 64-byte aligned, contents undefined; valid until the same thread asks for the slot
// again. An op that calls another op must not hold a slot the other uses (products: a and b).
float* scratch(ScratchSlot slot, int64_t count);

}  // namespace bm
