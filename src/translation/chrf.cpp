#include "translation/chrf.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenizer/unicode.h"

namespace bm {
namespace {

constexpr size_t kOrders = 6;
constexpr double kBeta = 2;

// The characters as UTF-8 pieces, white space left out.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> pieces;
  for (size_t at = 0; at < text.size();) {
    auto point = unicode::decode(text, at);
    if (!unicode::is_white_space(point.value)) pieces.push_back(text.substr(at, point.length));
    at += point.length;
  }
  return pieces;
}

using Counts = std::unordered_map<std::string_view, int64_t>;

// `text` is the characters joined; n-grams are views into it.
Counts count_ngrams(const std::string& text, const std::vector<size_t>& starts, size_t order) {
  Counts counts;
  for (size_t i = 0; i + order < starts.size(); ++i)
    ++counts[std::string_view(text).substr(starts[i], starts[i + order] - starts[i])];
  return counts;
}

struct Joined {
  std::string text;
  std::vector<size_t> starts;  // of each character, and the end
  size_t size() const { return starts.size() - 1; }
};

Joined join(std::string_view text) {
  Joined joined;
  for (auto piece : characters(text)) {
    joined.starts.push_back(joined.text.size());
    joined.text += piece;
  }
  joined.starts.push_back(joined.text.size());
  return joined;
}

}  // namespace

double chrf(std::string_view hypothesis, std::string_view reference) {
  Joined h = join(hypothesis), r = join(reference);
  double precision = 0, recall = 0, orders = 0;
  for (size_t n = 1; n <= kOrders; ++n) {
    if (h.size() < n || r.size() < n) break;
    auto of_hypothesis = count_ngrams(h.text, h.starts, n), of_reference = count_ngrams(r.text, r.starts, n);
    int64_t matches = 0;
    for (const auto& [gram, count] : of_hypothesis) {
      auto found = of_reference.find(gram);
      if (found != of_reference.end()) matches += std::min(count, found->second);
    }
    precision += static_cast<double>(matches) / static_cast<double>(h.size() - n + 1);
    recall += static_cast<double>(matches) / static_cast<double>(r.size() - n + 1);
    orders += 1;
  }
  if (orders == 0 || precision + recall == 0) return 0;
  precision /= orders;
  recall /= orders;
  return 100 * (1 + kBeta * kBeta) * precision * recall / (kBeta * kBeta * precision + recall);
}

}  // namespace bm
