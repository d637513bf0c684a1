#include "training/memory_plan.h"

#include <algorithm>

#include "base/log.h"
#include "base/system.h"
#include "base/threads.h"

namespace bm {
namespace {

// The program, the pool's stacks and the products' packing memory.
uint64_t program_bytes() { return (uint64_t{24} + 8 * static_cast<uint64_t>(thread_count())) << 20; }

}  // namespace

Json MemoryPlan::json() const {
  return Json::object({{"parameters", Json(values)},
                       {"gradients", Json(gradients)},
                       {"moments", Json(moments)},
                       {"masters", Json(masters)},
                       {"frozen", Json(frozen)},
                       {"activations", Json(activations)},
                       {"data", Json(data)},
                       {"program", Json(program)},
                       {"total", Json(total())}});
}

std::string MemoryPlan::text() const {
  return "memory: parameters " + format_bytes(values) + ", gradients " + format_bytes(gradients) +
         ", moments " + format_bytes(moments) +
         (masters ? ", float32 masters " + format_bytes(masters) : "") +
         (frozen ? ", frozen base " + format_bytes(frozen) : "") + ", activations " +
         format_bytes(activations) + ", data " + format_bytes(data) + "; together " + format_bytes(total());
}

MemoryPlan plan_memory(const MemoryInputs& in, uint64_t activations) {
  const auto ranks = static_cast<uint64_t>(in.ranks);
  MemoryPlan plan;
  plan.values = plan.gradients = 4 * in.parameters;
  plan.moments = 8 * in.parameters / ranks;
  plan.masters = in.precision == Precision::bf16_masters ? 4 * in.parameters / ranks : 0;
  plan.frozen = in.frozen;
  plan.activations = activations;
  plan.data = in.data;
  plan.program = program_bytes();
  return plan;
}

uint64_t memory_ceiling(const CommonOptions& common, int local_ranks) {
  if (common.memory.bytes) return common.memory.bytes;
  return physical_memory() / static_cast<uint64_t>(std::max(1, local_ranks));
}

Status check_memory(const MemoryPlan& plan, uint64_t ceiling, bool given) {
  if (plan.total() <= ceiling) return {};
  const uint64_t fixed = plan.total() - plan.activations;
  std::string cure = "Even one sequence at a time with whole layers computed again does not fit: ";
  cure += fixed > ceiling ? "what is trained alone takes " + format_bytes(fixed) +
                                ". Use more ranks, LoRA (`finetune`), or a machine with more memory"
                          : "use shorter sequences, or allow " + format_bytes(plan.total());
  return bad_input("training needs " + format_bytes(plan.total()) + ", " + format_bytes(ceiling) +
                       (given ? " are allowed" : " are there") + " (" + plan.text() + ")",
                   cure);
}

}  // namespace bm
