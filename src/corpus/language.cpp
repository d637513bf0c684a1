#include "corpus/language.h"

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

#include <algorithm>
#include <array>

#include "base/file.h"

namespace bm {

namespace {

constexpr size_t kPassage = 2048;  // bytes

// The passage around the middle of the i-th third, cut where characters begin.
std::string_view passage(std::string_view text, size_t i) {
  size_t begin = text.size() * (2 * i + 1) / 6 - kPassage / 2, end = begin + kPassage;
  auto inside = [&](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
  while (begin > 0 && inside(begin)) --begin;
  while (end > begin && inside(end)) --end;
  return text.substr(begin, end - begin);
}

std::string sample(std::string_view text) {
  if (text.size() <= 4 * kPassage) return std::string(text);
  std::string out;
  for (size_t i = 0; i < 3; ++i) {
    out += passage(text, i);
    out += '\n';
  }
  return out;
}

}  // namespace

DetectedLanguage detect_language(std::string_view text) {
  std::string looked_at = sample(text);
  CLD2::CLDHints hints = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
  std::array<CLD2::Language, 3> languages{};
  std::array<int, 3> percents{};
  std::array<double, 3> scores{};
  int bytes = 0, valid = 0;
  bool reliable = false;
  CLD2::ExtDetectLanguageSummaryCheckUTF8(looked_at.data(), static_cast<int>(looked_at.size()), true, &hints,
                                          0, languages.data(), percents.data(), scores.data(), nullptr,
                                          &bytes, &reliable, &valid);
  DetectedLanguage found;
  if (!reliable || bytes < 100 || languages[0] == CLD2::UNKNOWN_LANGUAGE) return found;
  found.code = CLD2::LanguageCode(languages[0]);
  found.share = percents[0] / 100.0;
  if (found.code == "iw") found.code = "he";
  if (starts_with(found.code, "zh")) found.code = "zh";
  if (found.code.size() > 3 || found.code == "un") found.code.clear();
  return found;
}

std::string settle_language(const std::string& declared, const DetectedLanguage& detected) {
  constexpr double kCertain = 0.8;
  if (detected.sure() && detected.share >= kCertain) return detected.code;
  return declared.empty() ? "en" : declared;
}

}  // namespace bm
