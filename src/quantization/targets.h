// Which linears of a model are quantized, and why the others are not.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/weight_source.h"
#include "quantization/quantize.h"
#include "tensor/awq_layout.h"

namespace bm {

enum class QuantizeMethod : uint8_t {
  awq_gemm,
  awq_gemv,
  awq_gemv_fast,
  rtn,
  nf4,
  fp4,
  int8,
  w4a16,
  w8a8,
  gguf
};
Result<QuantizeMethod> parse_quantize_method(const std::string& name);
inline bool is_awq_search(QuantizeMethod m) {
  return m == QuantizeMethod::awq_gemm || m == QuantizeMethod::awq_gemv || m == QuantizeMethod::awq_gemv_fast;
}
inline bool is_awq_file(QuantizeMethod m) { return is_awq_search(m) || m == QuantizeMethod::rtn; }
inline bool is_compressed(QuantizeMethod m) {
  return m == QuantizeMethod::w4a16 || m == QuantizeMethod::w8a8;
}
// --group says how many inputs share a scale.
inline bool has_groups(QuantizeMethod m) { return is_awq_file(m) || m == QuantizeMethod::w4a16; }
AwqLayout awq_layout_of(QuantizeMethod method);
// Methods that write folders, in the order of --help.
std::vector<std::string> folder_methods();

struct QuantizeTarget {
  WeightSpec spec;  // its weight
  int64_t rows = 0, columns = 0;
  bool quantized = false;
  std::string reason;  // why not
};

// Every weight of the model in module order. Linears inside layers are targets unless --skip, --limit or
// their sizes exclude them; head, embeddings and vectors never are. bad_input: an unknown group or block
// size, or one that fits no linear at all; the message names the group sizes that would.
Result<std::vector<QuantizeTarget>> plan_targets(const ModelConfig& config, const QuantizeOptions& options,
                                                 QuantizeMethod method, int64_t limit);

// True when a --skip word means the module: its whole name or a run of whole components of it
// ("down_proj", "mlp.down_proj", "layers.0", "model.layers.3.self_attn").
bool skip_word_matches(std::string_view word, std::string_view module);

// Linears left as they are, with the reason (head and embeddings are not among them).
std::vector<SkippedModule> skipped_modules(std::span<const QuantizeTarget> targets);
// Names for modules_to_not_convert. A module skipped in every layer stands once, without its layer, when
// `by_kind` (AutoAWQ matches names within a layer); else full names.
std::vector<std::string> skipped_names(std::span<const QuantizeTarget> targets, bool by_kind);

}  // namespace bm
