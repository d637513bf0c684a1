#include "merging/statistics.h"

#include <cmath>
#include <cstdio>

#include "base/file.h"

namespace bm {
namespace {

// Places of the sums: base², result², elements kept, voted, agreed; then per model δ², δ·result; then per
// pair.
enum : size_t { kBase, kResult, kKept, kVoted, kAgreed, kModels };

Json cosine(double dot, double a, double b) { return a > 0 && b > 0 ? Json(dot / (a * b)) : Json(); }

double number(const Json& value) { return value.is_number() ? value.as_double() : 0; }

std::string layer_of(const std::string& tensor) {
  constexpr std::string_view prefix = "model.layers.";
  if (!starts_with(tensor, prefix)) return tensor;
  return tensor.substr(0, tensor.find('.', prefix.size()));
}

std::string text(const Json& value, const char* format) {
  if (!value.is_number()) return "–";
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, format, value.as_double());
  return buffer;
}

// Sums of one layer out of the figures of its tensors.
struct LayerSums {
  std::string name;
  double elements = 0, base = 0, result = 0, kept = 0, voted = 0, agreed = 0;
  std::vector<std::string> models;
  std::vector<double> squares, dots;
  std::vector<Json> pair_names;
  std::vector<double> pair_dots;

  void add(const Json& tensor) {
    double n = number(tensor["elements"]), r = number(tensor["result_norm"]), b = number(tensor["base_norm"]);
    elements += n;
    base += b * b;
    result += r * r;
    kept += number(tensor["kept"]) * n;
    voted += number(tensor["voted"]);
    agreed += number(tensor["sign_agreement"]) * number(tensor["voted"]);
    const Json &list = tensor["models"], &pairs = tensor["pairs"];
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string& model = list[i]["model"].as_string();
      size_t at = 0;
      while (at < models.size() && models[at] != model) ++at;
      if (at == models.size()) models.push_back(model), squares.push_back(0), dots.push_back(0);
      double d = number(list[i]["delta_norm"]);
      squares[at] += d * d;
      dots[at] += number(list[i]["cosine"]) * d * r;
    }
    for (size_t i = 0; i < pairs.size(); ++i) {
      size_t at = 0;
      while (at < pair_names.size() && !(pair_names[at] == pairs[i]["models"])) ++at;
      if (at == pair_names.size()) pair_names.push_back(pairs[i]["models"]), pair_dots.push_back(0);
      pair_dots[at] += number(pairs[i]["dot"]);
    }
  }

  Json json() const {
    Json list = Json::array(), pairs = Json::array();
    for (size_t i = 0; i < models.size(); ++i) {
      double d = std::sqrt(squares[i]);
      list.push_back(Json::object({{"model", models[i]},
                                   {"delta_norm", d},
                                   {"relative", base > 0 ? Json(d / std::sqrt(base)) : Json()},
                                   {"cosine", cosine(dots[i], d, std::sqrt(result))}}));
    }
    for (size_t i = 0; i < pair_names.size(); ++i) {
      double norms[2] = {0, 0};
      for (size_t side = 0; side < 2; ++side)
        for (size_t m = 0; m < models.size(); ++m)
          if (pair_names[i][side] == Json(models[m])) norms[side] = std::sqrt(squares[m]);
      pairs.push_back(
          Json::object({{"models", pair_names[i]}, {"cosine", cosine(pair_dots[i], norms[0], norms[1])}}));
    }
    return Json::object({{"layer", name},
                         {"elements", elements},
                         {"base_norm", std::sqrt(base)},
                         {"result_norm", std::sqrt(result)},
                         {"kept", elements > 0 ? kept / elements : 0},
                         {"sign_agreement", voted > 0 ? Json(agreed / voted) : Json()},
                         {"models", list},
                         {"pairs", pairs}});
  }
};

}  // namespace

TensorStatistics::TensorStatistics(const TensorProblem& problem) : problem_(problem) {
  base_ = problem.base >= 0 ? static_cast<size_t>(problem.base) : 0;
  for (size_t i = 0; i < problem.inputs.size(); ++i)
    if (i != base_) others_.push_back(i);
  width_ = kModels + 2 * others_.size() + others_.size() * (others_.size() - 1) / 2;
  if (others_.empty()) width_ = kModels;
  partial_.assign(static_cast<size_t>((problem.count() + merge_block - 1) / merge_block) * width_, 0.0);
}

void TensorStatistics::add(int64_t begin, int64_t end, const float* merged) {
  double* sums = partial_.data() + static_cast<size_t>(begin / merge_block) * width_;
  auto n = static_cast<size_t>(end - begin);
  std::vector<float> base(n);
  std::vector<std::vector<float>> deltas(others_.size(), std::vector<float>(n));
  problem_.inputs[base_].read(begin, end, base.data());
  for (size_t k = 0; k < others_.size(); ++k) {
    problem_.inputs[others_[k]].read(begin, end, deltas[k].data());
    for (size_t i = 0; i < n; ++i) deltas[k][i] -= base[i];
  }
  for (size_t i = 0; i < n; ++i) {
    double b = base[i], r = static_cast<double>(merged[i]) - b;
    int moved = 0, up = 0;
    sums[kBase] += b * b;
    sums[kResult] += r * r;
    sums[kKept] += r != 0;
    size_t pair = kModels + 2 * others_.size();
    for (size_t k = 0; k < others_.size(); ++k) {
      double d = deltas[k][i];
      sums[kModels + 2 * k] += d * d;
      sums[kModels + 2 * k + 1] += d * r;
      moved += d != 0;
      up += d > 0;
      for (size_t l = 0; l < k; ++l) sums[pair++] += d * static_cast<double>(deltas[l][i]);
    }
    sums[kVoted] += moved > 1;
    sums[kAgreed] += moved > 1 && (up == 0 || up == moved);
  }
}

Json TensorStatistics::json() const {
  std::vector<double> sums(width_, 0.0);
  for (size_t i = 0; i < partial_.size(); ++i) sums[i % width_] += partial_[i];
  double elements = static_cast<double>(problem_.count()), base = std::sqrt(sums[kBase]),
         result = std::sqrt(sums[kResult]);
  Json models = Json::array(), pairs = Json::array();
  size_t pair = kModels + 2 * others_.size();
  for (size_t k = 0; k < others_.size(); ++k) {
    double d = std::sqrt(sums[kModels + 2 * k]);
    models.push_back(Json::object({{"model", problem_.models[others_[k]]},
                                   {"delta_norm", d},
                                   {"relative", base > 0 ? Json(d / base) : Json()},
                                   {"cosine", cosine(sums[kModels + 2 * k + 1], d, result)}}));
    for (size_t l = 0; l < k; ++l, ++pair)
      pairs.push_back(
          Json::object({{"models", Json::array({problem_.models[others_[l]], problem_.models[others_[k]]})},
                        {"dot", sums[pair]},
                        {"cosine", cosine(sums[pair], d, std::sqrt(sums[kModels + 2 * l]))}}));
  }
  return Json::object({{"tensor", problem_.name},
                       {"elements", problem_.count()},
                       {"base_norm", base},
                       {"result_norm", result},
                       {"kept", elements > 0 ? sums[kKept] / elements : 0},
                       {"voted", sums[kVoted]},
                       {"sign_agreement", sums[kVoted] > 0 ? Json(sums[kAgreed] / sums[kVoted]) : Json()},
                       {"models", models},
                       {"pairs", pairs}});
}

Json layer_statistics(const std::vector<Json>& tensors) {
  std::vector<LayerSums> layers;
  for (const Json& tensor : tensors) {
    std::string name = layer_of(tensor["tensor"].as_string());
    size_t at = 0;
    while (at < layers.size() && layers[at].name != name) ++at;
    if (at == layers.size()) layers.emplace_back().name = name;
    layers[at].add(tensor);
  }
  Json out = Json::array();
  for (const LayerSums& layer : layers) out.push_back(layer.json());
  return out;
}

std::string statistics_table(const Json& layers) {
  std::string out =
      "| layer | model: ‖δ‖/‖base‖, cosine to the result | same sign | kept |\n|---|---|---|---|\n";
  for (const Json& layer : layers.items()) {
    std::string models;
    for (const Json& model : layer["models"].items())
      models += (models.empty() ? "" : "; ") + std::string("`") + model["model"].as_string() +
                "`: " + text(model["relative"], "%.4f") + ", " + text(model["cosine"], "%.3f");
    out += "| " + layer["layer"].as_string() + " | " + models + " | " +
           text(layer["sign_agreement"], "%.3f") + " | " + text(layer["kept"], "%.3f") + " |\n";
  }
  return out;
}

}  // namespace bm
