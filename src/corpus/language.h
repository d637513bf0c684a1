// Which language a text is in (CLD2, Google's compact language detector: 83 languages, naive Bayes over
// quadgrams). Long texts are judged by three passages of 2 KB.
#pragma once

#include <string>
#include <string_view>

namespace bm {

struct DetectedLanguage {
  std::string code;  // ISO 639-1 (else 639-3), "" when the detector is not sure
  double share = 0;  // of the text looked at, 0..1
  bool sure() const { return !code.empty(); }
};
DetectedLanguage detect_language(std::string_view text);

// What an article is filed under: what it declares, unless the text is surely something else; "en", the DTD's
// default, where neither says anything.
std::string settle_language(const std::string& declared, const DetectedLanguage& detected);

}  // namespace bm
