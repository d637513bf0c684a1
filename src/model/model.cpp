#include "model/model.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "model/weights.h"

namespace bm {
namespace {

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const OpenedModel& opened) {
  const Checkpoint& checkpoint = opened.source.checkpoint();
  if (checkpoint.is_gguf()) return Tokenizer::from_gguf(checkpoint.gguf_metadata());
  return Tokenizer::load(opened.tokenizer_folder);
}

}  // namespace

Result<Arithmetic> parse_arithmetic(std::string_view name) {
  if (name == "exact") return Arithmetic::exact;
  if (name == "bf16") return Arithmetic::bf16;
  if (name == "fast") return Arithmetic::fast;
  return bad_input("unknown arithmetic " + json_quote(name), "Choose exact, bf16 or fast.");
}

Model::Model() = default;
Model::~Model() = default;

Result<std::shared_ptr<const Model>> Model::load(const std::string& path, const ModelLoadOptions& options) {
  BM_TRY(OpenedModel opened, open_model(path, options.base));
  auto tokenizer = load_tokenizer(opened);
  if (!tokenizer.ok() && options.need_tokenizer) return std::move(tokenizer).error();
  std::shared_ptr<Model> model(new Model());
  model->weights_ = std::make_unique<Weights>(std::move(opened.source), path);
  if (tokenizer.ok()) {
    model->weights_->tokenizer = *tokenizer;
    if ((*tokenizer)->vocabulary_size() > model->config().vocab)
      log_warning(path + ": the tokenizer has " + std::to_string((*tokenizer)->vocabulary_size()) +
                  " tokens, the model " + std::to_string(model->config().vocab) +
                  "; the last ones cannot be used");
  }
  model->weights_->arithmetic = options.arithmetic;
  BM_CHECK_OK(model->weights_->load());
  return std::shared_ptr<const Model>(std::move(model));
}

const ModelConfig& Model::config() const { return weights_->source.config(); }
const std::string& Model::path() const { return weights_->path; }
const Tokenizer* Model::tokenizer() const { return weights_->tokenizer.get(); }
uint64_t Model::weight_bytes() const { return weights_->bytes; }
int64_t Model::parameter_count() const { return weights_->parameters; }


}  // namespace bm
