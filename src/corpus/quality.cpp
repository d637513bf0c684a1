#include "corpus/quality.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <unordered_map>
#include <unordered_set>

#include "base/options.h"
#include "corpus/words.h"
#include "tokenizer/unicode.h"

namespace bm {

namespace {

std::string figure(double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.3g", value);
  return buffer.data();
}

std::vector<std::string_view> parts_of(std::string_view text, std::string_view border) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(border, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + border.size();
  }
  return parts;
}

struct Words {
  std::vector<std::string_view> all;                   // by white space
  double with_letters = 0, characters = 0, plain = 0;  // "plain": words that are more than punctuation
};

bool is_alphabetic(uint32_t c) {
  return c < 0x80 ? (c | 0x20) >= 'a' && (c | 0x20) <= 'z' : unicode::is_letter(c);
}

Words words_of(std::string_view text) {
  Words words;
  size_t i = 0;
  while (i < text.size()) {
    while (i < text.size() && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t')) ++i;
    size_t begin = i;
    bool letter = false, more = false;
    double length = 0;
    while (i < text.size() && text[i] != ' ' && text[i] != '\n' && text[i] != '\t') {
      auto c = unicode::decode_ascii_fast(text, i);
      bool alphabetic = is_alphabetic(c.value);
      letter = letter || alphabetic;
      more = more || alphabetic || !unicode::is_punctuation(c.value);
      i += c.length;
      ++length;
    }
    if (i == begin) break;
    words.all.push_back(text.substr(begin, i - begin));
    words.with_letters += letter ? 1 : 0;
    words.characters += more ? length : 0;
    words.plain += more ? 1 : 0;
  }
  return words;
}

double count_of(std::string_view text, std::string_view what) {
  double count = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size()))
    ++count;
  return count;
}

// ---- the rules: "" or what is wrong ----

struct Document {
  std::string_view text;
  const std::string& language;
  Words words;
  std::vector<std::string_view> lines;
};

std::string rule_words(const Document& d) {
  if (d.words.plain < 50) return figure(d.words.plain) + ", fewer than 50";
  return d.words.plain > 100000 ? figure(d.words.plain) + ", more than 100,000" : "";
}

std::string rule_word_length(const Document& d) {
  double mean = d.words.plain > 0 ? d.words.characters / d.words.plain : 0;
  return mean < 3 || mean > 10 ? figure(mean) + " characters on average" : "";
}

std::string rule_symbols(const Document& d) {
  auto words = static_cast<double>(std::max<size_t>(d.words.all.size(), 1));
  double hashes = count_of(d.text, "#") / words;
  double dots = (count_of(d.text, "...") + count_of(d.text, "…")) / words;
  return hashes > 0.1 || dots > 0.1 ? figure(std::max(hashes, dots)) + " a word" : "";
}

double share_of_lines(const Document& d, const std::function<bool(std::string_view)>& test) {
  auto all = static_cast<double>(std::max<size_t>(d.lines.size(), 1));
  return static_cast<double>(std::count_if(d.lines.begin(), d.lines.end(), test)) / all;
}

std::string rule_bullets(const Document& d) {
  double share = share_of_lines(d, [](std::string_view line) {
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    return line.starts_with("-") || line.starts_with("•");
  });
  return share > 0.9 ? figure(share) + " of lines" : "";
}

std::string rule_ellipses(const Document& d) {
  double share =
      share_of_lines(d, [](std::string_view line) { return line.ends_with("...") || line.ends_with("…"); });
  return share > 0.3 ? figure(share) + " of lines" : "";
}

std::string rule_letters(const Document& d) {
  double share = d.words.with_letters / static_cast<double>(std::max<size_t>(d.words.all.size(), 1));
  return share < 0.8 ? "only " + figure(share) + " of words hold one" : "";
}

std::string rule_stop_words(const Document& d) {
  if (d.language != "en") return "";
  static constexpr std::array<std::string_view, 8> kStopWords = {"the", "be",   "to",   "of",
                                                                 "and", "that", "have", "with"};
  unsigned found = 0;
  for (std::string_view word : d.words.all)
    for (unsigned k = 0; k < kStopWords.size(); ++k)
      if (word == kStopWords[k]) found |= 1u << k;
  int count = __builtin_popcount(found);
  return count < 2 ? std::to_string(count) + " different ones" : "";
}

std::string repeated(const std::vector<std::string_view>& parts, size_t text_size) {
  std::unordered_set<std::string_view> seen;
  double again = 0, bytes = 0;
  for (std::string_view part : parts)
    if (!seen.insert(part).second) {
      ++again;
      bytes += static_cast<double>(part.size());
    }
  double share = again / static_cast<double>(std::max<size_t>(parts.size(), 1));
  double share_of_text = bytes / static_cast<double>(std::max<size_t>(text_size, 1));
  if (share > 0.3) return figure(share) + " of them";
  return share_of_text > 0.2 ? figure(share_of_text) + " of the text" : "";
}

std::string rule_repeated_lines(const Document& d) { return repeated(d.lines, d.text.size()); }
std::string rule_repeated_paragraphs(const Document& d) {
  return repeated(parts_of(d.text, "\n\n"), d.text.size());
}

// Words first … first + n - 1; `joined` counts them with single spaces between, as one string would.
uint64_t run_hash(const std::vector<uint64_t>& hashes, size_t first, size_t n) {
  uint64_t hash = n;
  for (size_t k = first; k < first + n; ++k) hash = (hash ^ hashes[k]) * 0x9E3779B97F4A7C15ull + (hash >> 29);
  return hash;
}

std::string rule_repeated_words(const Document& d) {
  const std::vector<std::string_view>& words = d.words.all;
  std::vector<uint64_t> hashes;
  std::vector<size_t> bytes(1, 0);
  for (std::string_view word : words) {
    hashes.push_back(xxh64(word));
    bytes.push_back(bytes.back() + word.size());
  }
  auto size = static_cast<double>(std::max<size_t>(d.text.size(), 1));
  constexpr std::array<double, 3> kTop = {0.20, 0.18, 0.16};
  for (size_t n = 2; n <= 4 && n <= words.size(); ++n) {
    std::unordered_map<uint64_t, std::pair<size_t, size_t>> counts;  // times, bytes of the run
    std::pair<size_t, size_t> top{0, 0};
    for (size_t i = 0; i + n <= words.size(); ++i) {
      auto& entry = counts[run_hash(hashes, i, n)];
      entry = {entry.first + 1, bytes[i + n] - bytes[i] + n - 1};
      if (entry.first > top.first) top = entry;
    }
    double share = static_cast<double>(top.first * top.second) / size;
    if (top.first > 1 && share > kTop[n - 2])
      return "the commonest " + std::to_string(n) + " words make " + figure(share) + " of the text";
  }
  constexpr std::array<double, 6> kSeen = {0.15, 0.14, 0.13, 0.12, 0.11, 0.10};
  for (size_t n = 5; n <= 10 && n <= words.size(); ++n) {
    std::unordered_set<uint64_t> seen;
    double again = 0;
    for (size_t i = 0; i + n <= words.size();) {
      if (seen.insert(run_hash(hashes, i, n)).second) {
        ++i;
        continue;
      }
      again += static_cast<double>(bytes[i + n] - bytes[i]);
      i += n;
    }
    if (again / size > kSeen[n - 5])
      return "runs of " + std::to_string(n) + " words seen before make " + figure(again / size) +
             " of the text";
  }
  return "";
}

struct Rule {
  const char* name;
  std::string (*broken)(const Document&);
};
constexpr std::array<Rule, 10> kRules = {{{"words", rule_words},
                                          {"word-length", rule_word_length},
                                          {"symbols", rule_symbols},
                                          {"bullets", rule_bullets},
                                          {"ellipses", rule_ellipses},
                                          {"letters", rule_letters},
                                          {"stop-words", rule_stop_words},
                                          {"repeated-lines", rule_repeated_lines},
                                          {"repeated-paragraphs", rule_repeated_paragraphs},
                                          {"repeated-words", rule_repeated_words}}};

}  // namespace

const std::vector<std::string>& quality_rules() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Rule& rule : kRules) all.emplace_back(rule.name);
    return all;
  }();
  return names;
}

Result<std::vector<std::string>> expand_quality_rules(const std::vector<std::string>& names) {
  std::vector<std::string> rules;
  for (const std::string& name : names) {
    if (name == "gopher") {
      rules.insert(rules.end(), quality_rules().begin(), quality_rules().end());
      continue;
    }
    if (std::find(quality_rules().begin(), quality_rules().end(), name) == quality_rules().end()) {
      std::string known = "gopher";
      for (const std::string& rule : quality_rules()) known += ", " + rule;
      return bad_input("--filters: \"" + name + "\" is none", "Known: " + known + ".");
    }
    rules.push_back(name);
  }
  return rules;
}

std::string broken_quality_rule(std::string_view text, const std::string& language,
                                const std::vector<std::string>& rules) {
  if (rules.empty()) return "";
  Document document{text, language, words_of(text), parts_of(text, "\n")};
  for (const Rule& rule : kRules) {
    if (std::find(rules.begin(), rules.end(), rule.name) == rules.end()) continue;
    std::string what = rule.broken(document);
    if (!what.empty()) return std::string(rule.name) + ": " + what;
  }
  return "";
}

}  // namespace bm
