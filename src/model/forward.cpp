// The forward pass: all new tokens of the batch go through a layer together, so that each packed weight
// is read once a call. Attention works sequence by sequence on its cache. In the last layer only what
// the wanted logits need is computed. Every step treats rows independently and in a fixed order, hence
// equal bits for any batch, thread count or split between cached and new tokens.

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string>

#include "base/threads.h"
#include "model/model.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rotary.h"

namespace bm {
namespace {

constexpr int64_t kMlpRows = 1024;          // rows of the widest buffers held at a time
constexpr int64_t kLogitFloats = 16 << 20;  // 64 MB of logits at a time

struct Segment {
  const SequenceInput* input;
  int64_t first_row, rows, first_position;
  std::byte* const* pages = nullptr;  // of the sequence
  const KvPageShape* page_shape = nullptr;
  bool all_layers = false;  // pages hold all layers (a cache), or one at a time
};

// A piece of a segment within one page.
struct PagePart {
  size_t segment;
  int64_t position, count;
};

class ForwardPass {
 public:
  ForwardPass(const Model& model, std::span<const SequenceInput> batch, const LogitSink& sink,
              const ActivationHook& hook, ForwardWorkspace& workspace)
      : weights_(model.weights()),
        config_(model.config()),
        batch_(batch),
        sink_(sink),
        hook_(hook),
        work_(workspace),
        epsilon_(static_cast<float>(config_.rms_epsilon)),
        shape_{config_.heads, config_.kv_heads, config_.head_dim, config_.sliding_window, 0},
        plain_shape_{config_.kv_heads, config_.head_dim, DType::f32} {}

  Status check() {
    int64_t positions = 0;
    for (size_t i = 0; i < batch_.size(); ++i) {
      BM_CHECK_OK(check_sequence(batch_[i]).in("sequence " + std::to_string(i)));
      const int64_t rows = static_cast<int64_t>(batch_[i].tokens.size());
      const int64_t first = batch_[i].cache ? batch_[i].cache->length() : 0;
      Segment segment;
      segment.input = &batch_[i];
      segment.first_row = rows_;
      segment.rows = rows;
      segment.first_position = first;
      segments_.push_back(segment);
      rows_ += rows;
      wanted_ += static_cast<int64_t>(batch_[i].logit_rows.size());
      positions = std::max(positions, first + rows);
    }
    rotary_ = weights_.rotary(positions);
    return {};
  }

  void run() {
    if (rows_ == 0) return;
    find_pages();
    embed();
    for (int64_t n = 0; n < config_.layers; ++n) {
      const PackedLayer& layer = weights_.layers[static_cast<size_t>(n)];
      layer_ = n;
      const bool last = n + 1 == config_.layers && !hook_;
      project_qkv(layer);
      if (last && wanted_ == 0) {
        rows_ = 0;  // only the caches were wanted
        break;
      }
      attend(last);
      if (last) keep_wanted_rows();
      project_output(layer);
      run_mlp(layer);
    }
    if (hook_) keep_wanted_rows();
    emit_logits();
    for (const Segment& s : segments_)
      if (s.input->cache) s.input->cache->set_length(s.first_position + s.rows);
  }

 private:
  Status check_sequence(const SequenceInput& input) const {
    const int64_t rows = static_cast<int64_t>(input.tokens.size());
    for (size_t i = 0; i < input.tokens.size(); ++i)
      if (input.tokens[i] < 0 || input.tokens[i] >= config_.vocab)
        return bad_input("token " + std::to_string(input.tokens[i]) + " is outside the vocabulary of " +
                         std::to_string(config_.vocab) + " tokens")
            .in("token " + std::to_string(i));
    if (input.cache && input.cache->length() + rows > input.cache->capacity())
      return bad_input(std::to_string(rows) + " new tokens behind " + std::to_string(input.cache->length()) +
                       " do not fit a cache of " + std::to_string(input.cache->capacity()) + " positions");
    int64_t previous = -1;
    for (int64_t row : input.logit_rows) {
      if (row <= previous || row >= rows)
        return bad_input("logit row " + std::to_string(row) + " of " + std::to_string(rows) +
                         " tokens: rows must ascend and exist");
      previous = row;
    }
    return {};
  }

  // Where the keys and values of every segment go. Sequences without a cache get pages of scratch memory,
  // which every layer uses anew.
  void find_pages() {
    const KvPageShape& plain = plain_shape_;
    auto& starts = work_.page_starts;
    int64_t pages = 0;
    for (const Segment& s : segments_)
      if (!s.input->cache) pages += (s.rows + kKeyTile - 1) / kKeyTile;
    auto* memory = reinterpret_cast<std::byte*>(work_.pages.get(pages * plain.bytes() / 4));
    starts.resize(static_cast<size_t>(pages));
    for (size_t i = 0; i < starts.size(); ++i) starts[i] = memory + static_cast<int64_t>(i) * plain.bytes();
    size_t next = 0;
    for (size_t i = 0; i < segments_.size(); ++i) {
      Segment& s = segments_[i];
      if (KvCache* cache = s.input->cache) {
        cache->make_room(s.rows);
        s.pages = cache->pages();
        s.page_shape = &cache->shape();
        s.all_layers = true;
      } else {
        s.pages = starts.data() + next;
        s.page_shape = &plain;
        next += static_cast<size_t>((s.rows + kKeyTile - 1) / kKeyTile);
      }
      const int64_t end = s.first_position + s.rows;
      for (int64_t p = s.first_position; p < end;) {
        const int64_t stop = std::min(end, (p / kKeyTile + 1) * kKeyTile);
        parts_.push_back({i, p, stop - p});
        p = stop;
      }
    }
  }

  int64_t page_offset(const Segment& s) const { return s.all_layers ? layer_ * s.page_shape->bytes() : 0; }

  int64_t qkv_width() const { return config_.q_width() + 2 * config_.kv_width(); }

  void report(std::string_view name, const float* values, int64_t width, int64_t stride) {
    if (hook_)
      hook_("layer_" + std::to_string(layer_) + "." + std::string(name), values, rows_, width, stride);
  }

  static const float* optional(const std::vector<float>& bias) {
    return bias.empty() ? nullptr : bias.data();
  }

  void embed() {
    work_.tokens.clear();
    for (const Segment& s : segments_)
      work_.tokens.insert(work_.tokens.end(), s.input->tokens.begin(), s.input->tokens.end());
    x_ = work_.x.get(rows_ * config_.hidden);
    weights_.embed(work_.tokens, x_);
    if (hook_) hook_("embedding", x_, rows_, config_.hidden, config_.hidden);
  }

  // Keys and values of the new tokens end in the pages.
  void project_qkv(const PackedLayer& layer) {
    const int64_t width = qkv_width(), q = config_.q_width(), kv = config_.kv_width();
    float* normed = work_.normed.get(rows_ * config_.hidden);
    qkv_ = work_.qkv.get(rows_ * width);
    rms_norm(x_, layer.input_layernorm.data(), epsilon_, normed, rows_, config_.hidden);
    report("input_layernorm", normed, config_.hidden, config_.hidden);
    linear(normed, rows_, layer.qkv, qkv_, {.bias = optional(layer.qkv_bias)});
    report("q_before_rope", qkv_, q, width);
    report("k_before_rope", qkv_ + q, kv, width);
    report("v", qkv_ + q + kv, kv, width);
    // q and k lie side by side: one call rotates the heads of both.
    parallel_for(parts_.size(), [&](size_t i) {
      const Segment& s = segments_[parts_[i].segment];
      const int64_t position = parts_[i].position, count = parts_[i].count;
      float* rows = qkv_ + (s.first_row + position - s.first_position) * width;
      rotary_apply(*rotary_, rows, count, config_.heads + config_.kv_heads, position, width);
      std::byte* page = s.pages[position / kKeyTile] + page_offset(s);
      store_kv(*s.page_shape, page, position % kKeyTile, count, rows + q, rows + q + kv, width);
    });
    report("q_after_rope", qkv_, q, width);
    report("k_after_rope", qkv_ + q, kv, width);
  }

  // In the last layer queries before the first wanted row are left out.
  void attend(bool last) {
    const int64_t width = qkv_width(), q = config_.q_width();
    heads_ = work_.heads.get(rows_ * q);
    attention_.clear();
    for (const Segment& s : segments_) {
      const auto wanted = s.input->logit_rows;
      const int64_t skip = last ? (wanted.empty() ? s.rows : wanted.front()) : 0;
      if (skip == s.rows) continue;
      const float* rows = qkv_ + s.first_row * width;
      AttentionSequence a;
      a.q = rows + skip * width;
      a.q_stride = width;
      a.pages = s.pages;
      a.page_shape = s.page_shape;
      a.page_offset = page_offset(s);
      a.out = heads_ + (s.first_row + skip) * q;
      a.queries = s.rows - skip;
      a.first_position = s.first_position + skip;
      attention_.push_back(a);
    }
    attention(shape_, attention_);
    report("attention_heads", heads_, q, q);
  }

  // Moves the rows whose logits are wanted to the front of x and heads; from here on they are all rows.
  void keep_wanted_rows() {
    int64_t to = 0;
    for (const Segment& s : segments_)
      for (int64_t row : s.input->logit_rows) {
        const int64_t from = s.first_row + row;
        if (from != to) {
          std::memcpy(x_ + to * config_.hidden, x_ + from * config_.hidden,
                      static_cast<size_t>(config_.hidden) * sizeof(float));
          std::memcpy(heads_ + to * config_.q_width(), heads_ + from * config_.q_width(),
                      static_cast<size_t>(config_.q_width()) * sizeof(float));
        }
        ++to;
      }
    rows_ = to;
  }

  // x += y · Wᵀ (+ bias); the sum is added to the residual stream after it is complete.
  void add_linear(float* y, const LinearWeights& weight, const std::vector<float>& bias, int64_t first,
                  int64_t rows, const char* name) {
    float* out = work_.normed.get(rows_ * config_.hidden) + first * config_.hidden;
    linear(y, rows, weight, out, {.bias = optional(bias)});
    if (hook_ && first == 0) report(name, out, config_.hidden, config_.hidden);
    add_into(x_ + first * config_.hidden, out, rows * config_.hidden);
  }

  void project_output(const PackedLayer& layer) {
    add_linear(heads_, layer.o, layer.o_bias, 0, rows_, "attention_output");
  }

  void run_mlp(const PackedLayer& layer) {
    const int64_t hidden = config_.hidden, width = config_.intermediate;
    const int64_t step = hook_ ? rows_ : std::min(rows_, kMlpRows);
    float* normed = work_.rows.get(step * hidden);
    float* gate_up = work_.gate_up.get(step * 2 * width);
    float* product = work_.product.get(step * width);
    for (int64_t first = 0; first < rows_; first += step) {
      const int64_t rows = std::min(step, rows_ - first);
      rms_norm(x_ + first * hidden, layer.post_attention_layernorm.data(), epsilon_, normed, rows, hidden);
      report("post_attention_layernorm", normed, hidden, hidden);
      linear(normed, rows, layer.gate_up, gate_up, {.bias = optional(layer.gate_up_bias)});
      swiglu(gate_up, gate_up + width, product, rows, width, 2 * width, 2 * width);
      add_linear(product, layer.down, layer.down_bias, first, rows, "mlp_output");
    }
    report("output", x_, hidden, hidden);
  }

  void emit_logits() {
    if (rows_ == 0) return;
    const int64_t hidden = config_.hidden, vocab = config_.vocab;
    const int64_t step = std::clamp<int64_t>(kLogitFloats / vocab, 1, rows_);
    float* normed = work_.normed.get(rows_ * hidden);
    rms_norm(x_, weights_.final_norm.data(), epsilon_, normed, rows_, hidden);
    if (hook_) hook_("final_norm", normed, rows_, hidden, hidden);
    float* logits = work_.logits.get(step * vocab);
    size_t sequence = 0;
    int64_t done = 0;  // rows of `sequence` that have been given out
    for (int64_t first = 0; first < rows_; first += step) {
      const int64_t rows = std::min(step, rows_ - first);
      linear(normed + first * hidden, rows, weights_.head, logits);
      for (int64_t row = 0; row < rows;) {
        const int64_t left = static_cast<int64_t>(batch_[sequence].logit_rows.size()) - done;
        const int64_t count = std::min(left, rows - row);
        if (count > 0) sink_(sequence, done, count, logits + row * vocab);
        row += count;
        done += count;
        if (count == left) {
          ++sequence;
          done = 0;
        }
      }
    }
  }

  const Model::Weights& weights_;
  const ModelConfig& config_;
  std::span<const SequenceInput> batch_;
  const LogitSink& sink_;
  const ActivationHook& hook_;
  ForwardWorkspace& work_;
  const float epsilon_;
  const AttentionShape shape_;
  const KvPageShape plain_shape_;
  std::shared_ptr<const RotaryTable> rotary_;
  std::vector<Segment> segments_;
  std::vector<PagePart> parts_;
  std::vector<AttentionSequence> attention_;
  int64_t rows_ = 0, wanted_ = 0, layer_ = 0;
  float *x_ = nullptr, *qkv_ = nullptr, *heads_ = nullptr;
};

}  // namespace

Status forward_traced(const Model& model, std::span<const SequenceInput> batch, const LogitSink& sink,
                      const ActivationHook& hook) {
  auto workspace = model.weights().take_workspace();
  ForwardPass pass(model, batch, sink, hook, *workspace);
  Status status = pass.check();
  if (status.ok()) pass.run();
  model.weights().give_back(std::move(workspace));
  return status;
}

Status forward(const Model& model, std::span<const SequenceInput> batch, const LogitSink& sink) {
  return forward_traced(model, batch, sink, {});
}

}  // namespace bm
