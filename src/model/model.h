// A model ready to run: configuration, weights as stored, tokenizer; forward passes over ragged
// batches of sequences with KV caches. Results for one sequence are the same bits whatever the batch,
// the thread count and the split into cached and new tokens (architecture rule 5).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/kv_cache.h"
#include "tensor/tensor.h"
#include "tokenizer/tokenizer.h"

namespace bm {

// exact: float32 on the weights as stored (quantized ones decoded). bf16: the inputs of every linear and
// its weights rounded to bf16, sums in float32. fast: quantized weights by the integer kernels (inputs
// rounded to 8 bits), all others as exact.
enum class Arithmetic { exact, bf16, fast };
Result<Arithmetic> parse_arithmetic(std::string_view name);

struct ModelLoadOptions {
  Arithmetic arithmetic = Arithmetic::exact;
  bool need_tokenizer = false;  // missing tokenizer files are then an error
  std::string base = {};        // for adapter folders: the base model, if not the one they name
};

class Model {
 public:
  // A Hugging Face folder (also AWQ and bitsandbytes ones), a .gguf file, or a PEFT adapter folder.
  static Result<std::shared_ptr<const Model>> load(const std::string& path,
                                                   const ModelLoadOptions& options = {});
  ~Model();

  const ModelConfig& config() const;
  const std::string& path() const;
  const Tokenizer* tokenizer() const;  // nullptr when the folder has none
  uint64_t weight_bytes() const;       // resident bytes of the weights
  int64_t parameter_count() const;

  struct Weights;  // model/weights.h
  const Weights& weights() const { return *weights_; }

 private:
  Model();
  std::unique_ptr<Weights> weights_;
};

// New tokens of one sequence, placed behind what its cache holds.
struct SequenceInput {
  std::span<const int32_t> tokens;
  KvCache* cache = nullptr;             // nullptr: a throw-away one, float32
  std::span<const int64_t> logit_rows;  // rows (indices into tokens) whose logits are wanted, ascending
};

// Called with float32 logits [rows, vocab] of `sequence`, rows = logit_rows[first_row, first_row + rows),
// in order within a sequence, possibly from several calls (bounded memory).
using LogitSink = std::function<void(size_t sequence, int64_t first_row, int64_t rows, const float* logits)>;

// bad_input: token out of range, cache too short, logit rows not ascending. Caches are as before on error.
// Memory: activations of all new tokens of the batch, logits of at most 64 MB at a time.
Status forward(const Model& model, std::span<const SequenceInput> batch, const LogitSink& sink);

// The same, reporting activations: "embedding", "layer_K.input_layernorm", ".q_before_rope",
// ".k_before_rope", ".v", ".q_after_rope", ".k_after_rope", ".attention_heads" (o_proj's input),
// ".attention_output", ".post_attention_layernorm", ".mlp_output", ".output" (the residual stream),
// "final_norm"; rows of the batch's sequences one behind the other, `stride` floats from row to row.
using ActivationHook = std::function<void(std::string_view name, const float* values, int64_t rows,
                                          int64_t width, int64_t stride)>;
Status forward_traced(const Model& model, std::span<const SequenceInput> batch, const LogitSink& sink,
                      const ActivationHook& hook);

// The obviously right twin: scalar, float64 accumulation, one sequence, no cache; logits [n, vocab].
Result<std::vector<double>> reference_forward(const Model& model, std::span<const int32_t> tokens);

}  // namespace bm
