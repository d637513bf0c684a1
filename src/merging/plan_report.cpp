#include "merging/plan_report.h"

#include <algorithm>

#include "base/threads.h"

namespace bm {
namespace {

Json lints_json(const std::vector<Lint>& lints) {
  Json out = Json::array();
  for (const Lint& lint : lints) out.push_back(lint.text + (lint.cure.empty() ? "" : ". " + lint.cure));
  return out;
}

// Bytes held: blocks of every thread, masks, histograms; mapped pages of one tensor's inputs.
uint64_t memory_estimate(const MergePlan& plan) {
  uint64_t largest_mask = 0, largest_inputs = 0;
  size_t inputs = 1;
  for (const PlannedTensor& tensor : plan.tensors) {
    auto count = static_cast<uint64_t>(element_count(tensor.shape));
    bool bits = plan.method->sparsifier == Sparsifier::random || plan.method->sparsifier == Sparsifier::della;
    if (bits) largest_mask = std::max(largest_mask, count / 8 * tensor.inputs.size());
    largest_inputs = std::max(largest_inputs, 4 * count * tensor.inputs.size());
    inputs = std::max(inputs, tensor.inputs.size());
  }
  uint64_t per_thread = static_cast<uint64_t>(merge_block) * (8 + 4 * (inputs + 3)) + 65536 * 12;
  return per_thread * static_cast<uint64_t>(thread_count()) + largest_mask + largest_inputs + (32u << 20);
}

Json tensor_json(const MergePlan& plan, const PlannedTensor& tensor) {
  Json inputs = Json::array();
  for (size_t i = 0; i < tensor.inputs.size(); ++i) {
    Json input = Json::object(
        {{"model", plan.models[tensor.inputs[i].model].reference.text}, {"tensor", tensor.inputs[i].stored}});
    if (static_cast<int>(i) == tensor.base) input.set("base", true);
    for (const auto& [name, value] : tensor.per_input[i]) input.set(name, value);
    inputs.push_back(std::move(input));
  }
  Json parameters = Json::object();
  for (const auto& [name, value] : tensor.parameters) parameters.set(name, value);
  Json shape = Json::array();
  for (int64_t size : tensor.shape) shape.push_back(size);
  return Json::object({{"name", tensor.name},
                       {"method", plan.method->name},
                       {"parameters", parameters},
                       {"inputs", inputs},
                       {"shape", shape},
                       {"working_dtype", dtype_torch_name(tensor.working)},
                       {"dtype", dtype_torch_name(tensor.written)},
                       {"bytes", tensor.bytes()}});
}

// Reading and hashing the inputs, writing the result and the passes over the values, each at a rate seen on
// two ordinary cores and a local disk; what is slower elsewhere is mostly the disk.
double seconds_estimate(const MergePlan& plan) {
  using K = MethodKind;
  const K kind = plan.method->kind;
  constexpr double read_rate = 1.6e9, write_rate = 1.0e9;  // bytes a second
  double rate = 1.5e9;                                     // input values a second, two cores
  if (kind == K::task_vectors) rate = plan.method->sparsifier == Sparsifier::della ? 3e7 : 6e8;
  if (kind == K::sce || kind == K::arcee_fusion || kind == K::karcher || kind == K::multislerp) rate = 1e8;
  if (plan.switches.arithmetic.mt19937_masks && plan.method->sparsifier == Sparsifier::random) rate = 1.5e8;
  double values = 0;
  for (const PlannedTensor& tensor : plan.tensors)
    values += static_cast<double>(element_count(tensor.shape)) * static_cast<double>(tensor.inputs.size());
  double work = values / rate * 2 / std::max(1, thread_count());
  return static_cast<double>(plan.read_bytes()) / read_rate +
         static_cast<double>(plan.written_bytes()) / write_rate + work;
}

}  // namespace

Json plan_summary(const MergePlan& plan, Mode mode, uint64_t seed) {
  return Json::object(
      {{"method", plan.method->name},
       {"mode", mode_name(mode)},
       {"seed", seed},
       {"tensors", static_cast<uint64_t>(plan.tensors.size())},
       {"layers", plan.layers},
       {"bytes", plan.written_bytes()},
       {"dtype", plan.tensors.empty() ? std::string_view("") : dtype_torch_name(plan.tensors[0].written)},
       {"warnings", lints_json(plan.lints)}});
}

Json plan_details(const MergePlan& plan, Mode mode, uint64_t seed) {
  Json tensors = Json::array();
  for (const PlannedTensor& tensor : plan.tensors) tensors.push_back(tensor_json(plan, tensor));
  Json out = plan_summary(plan, mode, seed);
  out.set("read_bytes", plan.read_bytes());
  out.set("disk_bytes", plan.written_bytes());
  out.set("memory_bytes", memory_estimate(plan));
  out.set("seconds_estimate", seconds_estimate(plan));
  out.set("tensors", tensors);
  return out;
}

}  // namespace bm
