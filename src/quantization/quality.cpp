#include "quantization/quality.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/file.h"
#include "base/log.h"
#include "formats/jsonl.h"
#include "model/model.h"

namespace bm {
namespace {

// Windows of at most `block` tokens out of the lines of a file.
Result<std::vector<std::vector<int32_t>>> windows_of(const std::string& data, const Model& model,
                                                     int64_t block, int64_t most) {
  std::vector<std::vector<int32_t>> windows;
  BM_TRY(auto reader, JsonlReader::open(data));
  Json value;
  auto length = static_cast<size_t>(std::min(block, std::max<int64_t>(2, model.config().max_positions)));
  while (static_cast<int64_t>(windows.size()) < most) {
    BM_TRY(bool more, reader.next(value));
    if (!more) break;
    std::vector<int32_t> ids;
    if (value["ids"].is_array()) {
      for (const Json& id : value["ids"].items()) {
        if (!id.is_integer())
          return bad_input("\"ids\" holds something that is no id")
              .in("line " + std::to_string(reader.line()))
              .in(data);
        ids.push_back(static_cast<int32_t>(id.as_int()));
      }
    } else {
      if (!value["text"].is_string() || !model.tokenizer())
        return bad_input("the line has no text or ids that this model can read")
            .in("line " + std::to_string(reader.line()))
            .in(data);
      ids = model.tokenizer()->encode(value["text"].as_string());
    }
    for (size_t begin = 0; begin + 2 <= ids.size() && static_cast<int64_t>(windows.size()) < most;
         begin += length) {
      auto first = ids.begin() + static_cast<ptrdiff_t>(begin);
      windows.emplace_back(first, first + static_cast<ptrdiff_t>(std::min(length, ids.size() - begin)));
    }
  }
  if (windows.empty()) return bad_input("there is no text of two tokens or more in it").in(data);
  return windows;
}

// log softmax of one row in double precision.
void log_softmax(const float* logits, size_t vocab, std::vector<double>& out) {
  out.resize(vocab);
  double top = static_cast<double>(*std::max_element(logits, logits + vocab)), sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - top);
  double shift = top + std::log(sum);
  for (size_t i = 0; i < vocab; ++i) out[i] = static_cast<double>(logits[i]) - shift;
}

Result<std::vector<float>> logits_of(const Model& model, const std::vector<int32_t>& window) {
  auto vocab = static_cast<size_t>(model.config().vocab);
  std::vector<int64_t> rows(window.size() - 1);
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<float> all(rows.size() * vocab);
  SequenceInput input{window, nullptr, rows};
  BM_CHECK_OK(forward(model, {&input, 1}, [&](size_t, int64_t first, int64_t count, const float* logits) {
    std::copy_n(logits, static_cast<size_t>(count) * vocab, all.data() + static_cast<size_t>(first) * vocab);
  }));
  return all;
}

struct Totals {
  double loss_before = 0, loss_after = 0, same_top = 0;
  std::vector<double> divergences;

  void add(const std::vector<double>& p, const std::vector<double>& q, int32_t target) {
    double divergence = 0;
    for (size_t i = 0; i < p.size(); ++i) divergence += std::exp(p[i]) * (p[i] - q[i]);
    divergences.push_back(std::max(0.0, divergence));
    loss_before -= p[static_cast<size_t>(target)];
    loss_after -= q[static_cast<size_t>(target)];
    bool same =
        std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin();
    same_top += same ? 1 : 0;
  }
};

Json totals_json(Totals& t, const std::string& data, int64_t block) {
  auto n = static_cast<double>(t.divergences.size());
  std::sort(t.divergences.begin(), t.divergences.end());
  double mean = std::accumulate(t.divergences.begin(), t.divergences.end(), 0.0) / n;
  auto rank = static_cast<size_t>(std::ceil(0.99 * n)) - 1;  // nearest rank
  return Json::object({{"data", path_name(data)},
                       {"protocol", "windows without overlap, the first token of a window has no target"},
                       {"window", block},
                       {"tokens", static_cast<int64_t>(t.divergences.size())},
                       {"perplexity_original", std::exp(t.loss_before / n)},
                       {"perplexity_quantized", std::exp(t.loss_after / n)},
                       {"kl_mean", mean},
                       {"kl_99", t.divergences[rank]},
                       {"kl_max", t.divergences.back()},
                       {"top_token_agreement", t.same_top / n}});
}

}  // namespace

Result<Json> measure_quality(const std::string& original, const std::string& quantized,
                             const std::string& data, int64_t block, int64_t max_windows) {
  BM_TRY(auto before, Model::load(original, {}));
  BM_TRY(auto after, Model::load(quantized, {}));
  BM_TRY(auto windows, windows_of(data, *before, block, max_windows));
  auto vocab = static_cast<size_t>(before->config().vocab);
  Totals totals;
  std::vector<double> p, q;
  Progress progress("measuring quality", "windows", windows.size());
  for (const std::vector<int32_t>& window : windows) {
    if (stop_requested()) return interrupted_error("measuring quality");
    BM_TRY(auto left, logits_of(*before, window));
    BM_TRY(auto right, logits_of(*after, window));
    for (size_t i = 0; i + 1 < window.size(); ++i) {
      log_softmax(left.data() + i * vocab, vocab, p);
      log_softmax(right.data() + i * vocab, vocab, q);
      totals.add(p, q, window[i + 1]);
    }
    progress.advance();
  }
  return totals_json(totals, data, block);
}

}  // namespace bm
