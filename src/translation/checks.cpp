#include "translation/checks.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "base/file.h"
#include "tokenizer/unicode.h"

namespace bm {
namespace {

std::string lower(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    auto point = unicode::decode(text, at);
    unicode::append(out, unicode::to_lower(point.value));
    at += point.length;
  }
  return out;
}

// Words in lower case; an apostrophe stays inside ("don't", "n'est").
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  auto end = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    auto point = unicode::decode(text, at);
    at += point.length;
    uint32_t c = point.value == 0x2019 ? '\'' : point.value;
    if (unicode::is_word(c) || (c == '\'' && !word.empty()))
      unicode::append(word, unicode::to_lower(c));
    else
      end();
  }
  end();
  return words;
}

// 0 … 9 of ASCII, Arabic-Indic, Persian, Devanagari and full-width digits.
std::optional<char> digit_of(uint32_t c) {
  for (uint32_t zero : {uint32_t{'0'}, 0x0660u, 0x06F0u, 0x0966u, 0xFF10u})
    if (c >= zero && c < zero + 10) return static_cast<char>('0' + (c - zero));
  return std::nullopt;
}

bool separates_thousands(uint32_t c) {
  static const std::set<uint32_t> between = {',', '.', ' ', '\'', 0x00A0, 0x202F, 0x2009, 0x066C, 0x066B};
  return between.count(c) > 0;
}

struct Language {
  const char* name;
  const char* script;  // "" = Latin
  std::vector<std::string> common, negations;
};

const std::map<std::string, Language>& languages() {
  static const std::map<std::string, Language> known = {
      {"en",
       {"English",
        "",
        {"the", "of", "and", "is", "in", "with", "which", "a", "an", "to", "for", "was", "his", "her"},
        {"not", "no", "never", "without", "except", "neither", "none", "nor", "cannot"}}},
      {"fr",
       {"French",
        "",
        {"le", "la", "les", "de", "des", "du", "un", "une", "et", "est", "dans", "avec", "quel", "quelle"},
        {"ne", "pas", "sans", "sauf", "aucun", "aucune", "non", "jamais", "ni", "excepté", "hormis"}}},
      {"de",
       {"German",
        "",
        {"der", "die", "das", "und", "ist", "ein", "eine", "mit", "den", "dem", "von", "welche", "im"},
        {"nicht", "kein", "keine", "keinen", "keiner", "keines", "keinem", "ohne", "außer", "nie", "weder",
         "nein", "ausgenommen", "niemals"}}},
      {"es",
       {"Spanish",
        "",
        {"el", "la", "los", "las", "de", "del", "un", "una", "y", "es", "en", "con", "cuál", "que"},
        {"no", "sin", "excepto", "salvo", "ningún", "ninguno", "ninguna", "nunca", "ni", "tampoco"}}},
      {"pt",
       {"Portuguese",
        "",
        {"o", "a", "os", "as", "de", "do", "da", "um", "uma", "e", "é", "em", "com", "qual", "que"},
        {"não", "sem", "exceto", "salvo", "nenhum", "nenhuma", "nunca", "nem"}}},
      {"it",
       {"Italian",
        "",
        {"il", "la", "le", "di", "del", "della", "un", "una", "e", "è", "in", "con", "quale", "che"},
        {"non", "no", "senza", "tranne", "eccetto", "nessun", "nessuno", "nessuna", "mai", "né"}}},
      {"ru",
       {"Russian", "Cyrillic", {}, {"не", "нет", "без", "кроме", "исключением", "никогда", "ни", "никакой"}}},
      {"ar",
       {"Arabic",
        "Arabic",
        {},
        {"لا", "ليس", "ليست", "لم", "لن", "غير", "بدون", "دون", "عدا", "باستثناء", "ما", "إلا"}}},
      {"zh", {"Chinese", "Han", {}, {"不", "没", "無", "无", "非", "除", "未", "否"}}}};
  return known;
}

const Language* find_language(const std::string& code) {
  auto found = languages().find(code);
  return found == languages().end() ? nullptr : &found->second;
}

bool in_script(uint32_t c, std::string_view script) {
  if (script == "Cyrillic") return c >= 0x0400 && c <= 0x052F;
  if (script == "Arabic")
    return (c >= 0x0600 && c <= 0x06FF) || (c >= 0x0750 && c <= 0x077F) || (c >= 0xFB50 && c <= 0xFEFF);
  return (c >= 0x3400 && c <= 0x9FFF) || (c >= 0x20000 && c <= 0x2FA1F);
}

// Share of the letters that are of the script.
double script_share(std::string_view text, std::string_view script, int64_t& letters) {
  int64_t inside = 0;
  letters = 0;
  for (size_t at = 0; at < text.size();) {
    auto point = unicode::decode(text, at);
    at += point.length;
    if (!unicode::is_letter(point.value)) continue;
    ++letters;
    inside += in_script(point.value, script);
  }
  return letters ? static_cast<double>(inside) / static_cast<double>(letters) : 1;
}

int64_t count_of(const std::vector<std::string>& words, const std::vector<std::string>& listed) {
  return std::count_if(words.begin(), words.end(), [&](const std::string& word) {
    return std::find(listed.begin(), listed.end(), word) != listed.end();
  });
}

bool english_negation(std::string_view source) {
  for (const auto& word : words_of(source))
    if (word.ends_with("n't") || count_of({word}, find_language("en")->negations)) return true;
  return false;
}

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + item;
  return text.empty() ? "none" : text;
}

bool is_refusal(std::string_view translation) {
  std::string text = lower(trim(translation));
  static const std::array<const char*, 6> openings = {"i'm sorry", "i am sorry", "i cannot ",
                                                      "i can't ",  "as an ai",   "i’m sorry"};
  return std::any_of(openings.begin(), openings.end(), [&](const char* o) { return starts_with(text, o); });
}

}  // namespace

std::vector<std::string> numbers_of(std::string_view text) {
  std::vector<std::string> numbers;
  std::string run;
  uint32_t between = 0;             // the one character since the last digit
  size_t distance = 99;             // characters since the last digit
  std::vector<std::string> pieces;  // runs that stand one separator apart
  auto flush = [&] {
    if (pieces.empty()) return;
    bool thousands = pieces.size() > 1 && pieces[0].size() <= 3;
    for (size_t i = 1; i < pieces.size(); ++i) thousands = thousands && pieces[i].size() == 3;
    std::string joined;
    for (auto& piece : pieces) {
      if (thousands)
        joined += piece;
      else
        numbers.push_back(piece);
    }
    if (thousands) numbers.push_back(joined);
    pieces.clear();
  };
  for (size_t at = 0; at < text.size();) {
    auto point = unicode::decode(text, at);
    at += point.length;
    if (auto digit = digit_of(point.value)) {
      if (run.empty() && !(distance == 1 && separates_thousands(between))) flush();
      run += *digit;
      distance = 0;
      continue;
    }
    if (!run.empty()) pieces.push_back(std::move(run)), run.clear();
    between = point.value;
    ++distance;
  }
  if (!run.empty()) pieces.push_back(std::move(run));
  flush();
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string number_defect(std::string_view source, std::string_view translation) {
  auto wanted = numbers_of(source), found = numbers_of(translation);
  if (wanted == found) return "";
  std::vector<std::string> lost, added;
  std::set_difference(wanted.begin(), wanted.end(), found.begin(), found.end(), std::back_inserter(lost));
  std::set_difference(found.begin(), found.end(), wanted.begin(), wanted.end(), std::back_inserter(added));
  return "the numbers differ: missing " + listed(lost) + ", added " + listed(added);
}

std::string unit_defect(std::string_view source, std::string_view translation, const std::string& language) {
  auto percents = [](std::string_view text) {
    int64_t count = 0;
    for (size_t at = 0; at < text.size();) {
      auto point = unicode::decode(text, at);
      at += point.length;
      count += point.value == '%' || point.value == 0x066A || point.value == 0xFF05;
    }
    return count;
  };
  if (percents(source) != percents(translation)) return "the number of percent signs differs";
  const Language* known = find_language(language);
  if (!known || known->script[0]) return "";  // other scripts write units in their own letters
  auto before = words_of(source), after = words_of(translation);
  for (const char* unit : {"mg", "kg", "mcg", "ml", "dl", "mmol", "mol", "meq", "mmhg", "cm", "mm"}) {
    std::vector<std::string> one = {unit};
    if (count_of(before, one) > count_of(after, one)) return std::string("the unit ") + unit + " is missing";
  }
  return "";
}

std::string negation_defect(std::string_view source, std::string_view translation,
                            const std::string& language) {
  const Language* known = find_language(language);
  if (!known || language == "en" || !english_negation(source)) return "";
  std::string reason = "the negation of the source (not, no, without, except, …) is missing";
  if (std::string_view(known->script) == "Han") {
    for (const auto& mark : known->negations)
      if (translation.find(mark) != std::string_view::npos) return "";
    return reason;
  }
  for (const auto& word : words_of(translation)) {
    if (count_of({word}, known->negations) || starts_with(word, "n'")) return "";
    if (language == "de" && (starts_with(word, "un") || ends_with(word, "los"))) return "";
    // Prefixes written together: "беспричинный", "и لا".
    if (language == "ru" && (starts_with(word, "не") || starts_with(word, "бес") || starts_with(word, "без")))
      return "";
    for (const auto& negation : known->negations)
      if (language == "ar" && word.size() > negation.size() && ends_with(word, negation)) return "";
  }
  return reason;
}

std::string language_defect(std::string_view source, std::string_view translation,
                            const std::string& language) {
  const Language* known = find_language(language);
  auto before = words_of(source), after = words_of(translation);
  if (language != "en" && before.size() >= 6 && before == after) return "it is not translated";
  if (!known) return "";
  if (known->script[0]) {
    int64_t letters = 0;
    double share = script_share(translation, known->script, letters);
    if (letters >= 12 && before.size() >= 3 && share < 0.3)
      return "it is not written in " + std::string(known->script) + " script";
    return "";
  }
  if (after.size() < 12) return "";
  int64_t own = count_of(after, known->common), english = count_of(after, find_language("en")->common);
  if (language != "en" && english > own) return std::string("it reads as English, not ") + known->name;
  return "";
}

std::string translation_defect(std::string_view source, std::string_view translation,
                               const std::string& language) {
  if (trim(source).empty()) return trim(translation).empty() ? "" : "text stands where the source has none";
  if (trim(translation).empty()) return "the translation is empty";
  if (is_refusal(translation) && !is_refusal(source)) return "it is a refusal, not a translation";
  for (const auto& reason :
       {number_defect(source, translation), unit_defect(source, translation, language),
        negation_defect(source, translation, language), language_defect(source, translation, language)})
    if (!reason.empty()) return reason;
  return "";
}

std::string language_name(const std::string& code) {
  const Language* known = find_language(code);
  return known ? known->name : code;
}

}  // namespace bm
