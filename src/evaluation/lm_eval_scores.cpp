#include "evaluation/lm_eval_scores.h"

#include <algorithm>
#include <cmath>

namespace bm {
namespace {

int64_t argmax(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

bool python_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

}  // namespace

int64_t code_points(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

size_t python_rstrip(std::string_view utf8) {
  size_t end = utf8.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && end - start < 4 && (static_cast<unsigned char>(utf8[start]) & 0xC0) == 0x80) --start;
    unsigned char lead = static_cast<unsigned char>(utf8[start]);
    size_t length = end - start;
    uint32_t c = lead;
    if (length == 2)
      c = lead & 0x1Fu;
    else if (length == 3)
      c = lead & 0x0Fu;
    else if (length == 4)
      c = lead & 0x07u;
    for (size_t i = start + 1; i < end; ++i) c = (c << 6) | (static_cast<unsigned char>(utf8[i]) & 0x3Fu);
    if (!python_space(c)) break;
    end = start;
  }
  return end;
}

ChoiceScores score_choices(std::span<const ChoiceLikelihood> likelihoods,
                           std::span<const std::string> choices, int64_t gold,
                           const std::vector<bool>& is_true) {
  ChoiceScores s;
  std::vector<double> plain, norm, bytes, mutual;
  for (size_t i = 0; i < likelihoods.size(); ++i) {
    const auto& l = likelihoods[i];
    plain.push_back(l.logprob);
    norm.push_back(l.logprob / static_cast<double>(std::max<int64_t>(1, code_points(choices[i]))));
    bytes.push_back(l.logprob / static_cast<double>(std::max<size_t>(1, choices[i].size())));
    if (l.unconditional) mutual.push_back(l.logprob - *l.unconditional);
  }
  if (plain.empty()) return s;
  s.chosen = argmax(plain);
  s.chosen_norm = argmax(norm);
  s.acc = s.chosen == gold;
  s.acc_norm = s.chosen_norm == gold;
  s.acc_bytes = argmax(bytes) == gold;
  if (mutual.size() == plain.size()) s.acc_mutual_info = argmax(mutual) == gold ? 1.0 : 0.0;
  s.exact_match = gold >= 0 && gold < static_cast<int64_t>(likelihoods.size()) &&
                  likelihoods[static_cast<size_t>(gold)].greedy;
  double top = plain[static_cast<size_t>(s.chosen)], total = 0, of_true = 0;
  for (double l : plain) total += std::exp(l - top);
  for (size_t i = 0; i < plain.size(); ++i) {
    double p = std::exp(plain[i] - top) / total, wanted = static_cast<int64_t>(i) == gold ? 1 : 0;
    s.brier_score += (p - wanted) * (p - wanted);
    if (i < is_true.size() && is_true[i]) of_true += p;
  }
  if (!is_true.empty()) s.mc2 = of_true;
  return s;
}

Json choice_scores_json(const ChoiceScores& s) {
  Json json = Json::object({{"acc", s.acc}, {"acc_norm", s.acc_norm}, {"acc_bytes", s.acc_bytes}});
  if (s.acc_mutual_info) json.set("acc_mutual_info", *s.acc_mutual_info);
  json.set("exact_match", s.exact_match);
  json.set("brier_score", s.brier_score);
  if (s.mc2) json.set("mc2", *s.mc2);
  return json;
}

}  // namespace bm
