#include "evaluation/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "formats/jsonl.h"
#include "ops/cross_entropy.h"

namespace bm {

void describe(Fields& fields, PerplexityOptions& o) {
  fields.add("data", o.data, "text file, or JSON lines with \"text\" or \"ids\" (.gz and .zst too)");
  fields.add("window", o.window, "tokens the model sees at once; 0 = its positions, at most 2048",
             {.unit = "tokens"});
  fields.add("stride", o.stride, "step from window to window; 0 = the window", {.unit = "tokens"});
  fields.add("average", o.average, "rule of averaging that \"perplexity\" follows",
             {.choices = {"exact", "hf-page", "window-means"}});
  fields.add("arith", o.arithmetic, "arithmetic; auto = fast for quantized models, else exact",
             {.choices = {"auto", "exact", "bf16", "fast"}});
  fields.add("base", o.base, "base model of an adapter folder, if not the one it names");
}

namespace {

Result<TextIds> text_ids(const std::string& text, const Tokenizer* tokenizer) {
  if (!tokenizer) return bad_input("the model has no tokenizer", "Give JSON lines with \"ids\".");
  TextIds out;
  out.ids = tokenizer->encode(text);
  out.scored_bytes = static_cast<int64_t>(text.size());
  bool starts_with_text = !out.ids.empty() && !tokenizer->is_special(out.ids[0]);
  if (starts_with_text) {
    out.scored_bytes -= static_cast<int64_t>(tokenizer->decode(std::span(out.ids).first(1)).size());
  }
  return out;
}

Result<TextIds> line_ids(const Json& line, const Tokenizer* tokenizer) {
  if (!line["ids"].is_array()) {
    BM_TRY(std::string text, line.get_string("text"));
    return text_ids(text, tokenizer);
  }
  TextIds out;
  for (const Json& id : line["ids"].items()) {
    bool fits = id.type() == Json::Type::integer && id.as_int() >= 0 && id.as_int() <= INT32_MAX;
    if (!fits) return bad_input("\"ids\" holds " + id.dump() + ", which is no id");
    out.ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return out;
}

// A corpus folder stands for its articles.
Result<std::vector<std::string>> text_files(const std::string& path) {
  if (!is_directory(path)) return std::vector<std::string>{path};
  BM_TRY(auto files, list_files(path));
  std::erase_if(files, [](const std::string& file) { return !starts_with(path_name(file), "articles-"); });
  if (files.empty())
    return bad_input("the folder holds no articles-*.jsonl", "Name a text file or a corpus folder.").in(path);
  return files;
}

bool is_json_lines(const std::string& path) {
  return path.find(".jsonl") != std::string::npos || path.find(".ndjson") != std::string::npos;
}

}  // namespace

// Adds the documents of one file.
static Status read_text_file(const std::string& path, const Tokenizer* tokenizer, int64_t limit,
                             std::vector<TextIds>& out) {
  if (!is_json_lines(path)) {
    BM_TRY(std::string text, read_file(path));
    auto ids = text_ids(text, tokenizer);
    if (!ids) return std::move(ids.error().in(path));
    out.push_back(std::move(*ids));
    return {};
  }
  BM_TRY(JsonlReader reader, JsonlReader::open(path));
  Json line;
  for (;;) {
    if (limit > 0 && static_cast<int64_t>(out.size()) >= limit) break;
    BM_TRY(bool more, reader.next(line));
    if (!more) break;
    auto ids = line_ids(line, tokenizer);
    if (!ids) return std::move(ids.error().in("line " + std::to_string(reader.line())).in(path));
    out.push_back(std::move(*ids));
  }
  return {};
}

Result<std::vector<TextIds>> read_text_ids(const std::string& path, const Tokenizer* tokenizer,
                                           int64_t limit) {
  std::vector<TextIds> out;
  BM_TRY(auto files, text_files(path));
  for (const std::string& file : files) BM_CHECK_OK(read_text_file(file, tokenizer, limit, out));
  return out;
}

int64_t default_window(const ModelConfig& config) {
  return config.max_positions > 0 ? std::min<int64_t>(config.max_positions, 2048) : 2048;
}

std::vector<TextWindow> plan_windows(std::span<const TextIds> documents, int64_t window, int64_t stride) {
  std::vector<TextWindow> out;
  for (size_t d = 0; d < documents.size(); ++d) {
    auto n = static_cast<int64_t>(documents[d].ids.size());
    int64_t seen = 0;
    for (int64_t begin = 0; begin < n; begin += stride) {
      int64_t end = std::min(begin + window, n);
      out.push_back({d, begin, end, std::max(seen, begin + 1), end - seen});
      seen = end;
      if (end == n) break;
    }
  }
  return out;
}

namespace {

// Mean losses of windows [first, last), computed as one ragged batch.
Status score_windows(const Model& model, std::span<const TextIds> documents,
                     std::span<const TextWindow> windows, std::span<double> sums) {
  std::vector<SequenceInput> batch;
  std::vector<std::vector<int64_t>> rows(windows.size());
  std::vector<size_t> of_batch;
  for (size_t i = 0; i < windows.size(); ++i) {
    const TextWindow& window = windows[i];
    for (int64_t t = window.first_target; t < window.end; ++t) rows[i].push_back(t - 1 - window.begin);
    if (rows[i].empty()) continue;
    std::span<const int32_t> ids(documents[window.document].ids);
    batch.push_back(
        {ids.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(window.end - window.begin)),
         nullptr, rows[i]});
    of_batch.push_back(i);
  }
  if (batch.empty()) return {};
  int64_t vocab = model.config().vocab;
  std::vector<double> normalizers;
  return forward(model, batch, [&](size_t sequence, int64_t first, int64_t count, const float* logits) {
    size_t i = of_batch[sequence];
    normalizers.resize(static_cast<size_t>(count));
    log_sum_exp(logits, count, vocab, normalizers.data());
    const auto& ids = documents[windows[i].document].ids;
    for (int64_t r = 0; r < count; ++r) {
      auto target = ids[static_cast<size_t>(windows[i].first_target + first + r)];
      sums[i] += normalizers[static_cast<size_t>(r)] - static_cast<double>(logits[r * vocab + target]);
    }
  });
}

Status check_documents(const Model& model, std::span<const TextIds> documents, int64_t window,
                       int64_t stride) {
  if (window < 2) return bad_input("--window must be at least 2 tokens");
  int64_t positions = model.config().max_positions;
  if (positions > 0 && window > positions) {
    return bad_input("--window " + std::to_string(window) + " is beyond the model's " +
                     std::to_string(positions) + " positions");
  }
  if (stride < 1 || stride > window) return bad_input("--stride must lie between 1 and the window");
  for (size_t d = 0; d < documents.size(); ++d) {
    for (int32_t id : documents[d].ids) {
      if (id < 0 || id >= model.config().vocab) {
        return bad_input("document " + std::to_string(d) + " holds the id " + std::to_string(id) +
                         ", outside the model's vocabulary");
      }
    }
  }
  return {};
}

}  // namespace

Result<PerplexityResult> perplexity_of(const Model& model, std::span<const TextIds> documents,
                                       const PerplexityOptions& options) {
  constexpr int64_t batch_tokens = 2048;
  PerplexityResult out;
  out.window = options.window > 0 ? options.window : default_window(model.config());
  out.stride = options.stride > 0 ? options.stride : out.window;
  BM_CHECK_OK(check_documents(model, documents, out.window, out.stride));
  auto windows = plan_windows(documents, out.window, out.stride);
  std::vector<double> sums(windows.size(), 0.0);
  Progress progress("perplexity", "windows", windows.size());
  for (size_t first = 0; first < windows.size();) {
    size_t last = first;
    int64_t tokens = 0;
    while (last < windows.size() &&
           (last == first || tokens + windows[last].end - windows[last].begin <= batch_tokens)) {
      tokens += windows[last].end - windows[last].begin;
      ++last;
    }
    if (stop_requested()) return interrupted_error("computing perplexity");
    BM_CHECK_OK(score_windows(model, documents, std::span(windows).subspan(first, last - first),
                              std::span(sums).subspan(first, last - first)));
    progress.advance(last - first);
    first = last;
  }
  double hf_sum = 0, hf_count = 0, means = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    int64_t targets = windows[i].end - windows[i].first_target;
    if (targets <= 0) continue;
    double mean = sums[i] / static_cast<double>(targets);
    out.window_losses.push_back(mean);
    out.scored_tokens += targets;
    out.nll += sums[i];
    hf_sum += mean * static_cast<double>(windows[i].new_tokens - 1);
    hf_count += static_cast<double>(windows[i].new_tokens - 1);
    means += mean;
  }
  if (out.scored_tokens == 0) return bad_input("there is nothing to score: no text has two tokens");
  for (const TextIds& document : documents) {
    out.tokens += static_cast<int64_t>(document.ids.size());
    out.scored_bytes += document.scored_bytes;
  }
  out.documents = static_cast<int64_t>(documents.size());
  out.windows = static_cast<int64_t>(out.window_losses.size());
  out.exact = out.nll / static_cast<double>(out.scored_tokens);
  out.hf_page = hf_sum / hf_count;
  out.window_means = means / static_cast<double>(out.windows);
  return out;
}

Json perplexity_json(const PerplexityResult& result, const std::string& average) {
  auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  double mean = average == "hf-page"        ? result.hf_page
                : average == "window-means" ? result.window_means
                                            : result.exact;
  Json out = Json::object();
  out.set("perplexity", number(std::exp(mean)));
  out.set("mean_nll", number(mean));
  double bits = result.nll / std::log(2.0) / static_cast<double>(result.scored_bytes);
  out.set("bits_per_byte", result.scored_bytes > 0 ? number(bits) : Json(nullptr));
  out.set("protocol", Json::object({{"average", average.empty() ? "exact" : average},
                                    {"window", result.window},
                                    {"stride", result.stride}}));
  out.set("perplexity_by_average", Json::object({{"exact", number(std::exp(result.exact))},
                                                 {"hf-page", number(std::exp(result.hf_page))},
                                                 {"window-means", number(std::exp(result.window_means))}}));
  out.set("documents", result.documents);
  out.set("tokens", result.tokens);
  out.set("scored_tokens", result.scored_tokens);
  out.set("scored_bytes", result.scored_bytes);
  out.set("windows", result.windows);
  return out;
}

}  // namespace bm
