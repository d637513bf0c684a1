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

KvCache::KvCache(const ModelConfig& config, int64_t capacity)
    : layers_(config.layers),
      width_(config.kv_width()),
      capacity_(capacity),
      keys_(static_cast<size_t>(layers_ * width_ * capacity)),
      values_(keys_.size()) {}

void KvCache::truncate(int64_t length) { length_ = std::min(length_, length); }

void KvCache::copy_prefix(const KvCache& from, int64_t length) {
  assert(from.layers_ == layers_ && from.width_ == width_ && length <= from.length_ && length <= capacity_);
  const size_t bytes = static_cast<size_t>(length * width_) * sizeof(float);
  for (int64_t layer = 0; layer < layers_; ++layer) {
    std::memcpy(keys(layer), from.keys(layer), bytes);
    std::memcpy(values(layer), from.values(layer), bytes);
  }
  length_ = length;
}

uint64_t KvCache::bytes(const ModelConfig& config, int64_t capacity) {
  return static_cast<uint64_t>(2 * config.layers * config.kv_width() * capacity) * sizeof(float);
}

float* KvCache::keys(int64_t layer) { return keys_.data() + layer * capacity_ * width_; }
float* KvCache::values(int64_t layer) { return values_.data() + layer * capacity_ * width_; }
const float* KvCache::keys(int64_t layer) const { return keys_.data() + layer * capacity_ * width_; }
const float* KvCache::values(int64_t layer) const { return values_.data() + layer * capacity_ * width_; }

}  // namespace bm
