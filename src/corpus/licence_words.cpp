// Reading one licence statement: an address, or words.
#include <algorithm>
#include <array>

#include "base/file.h"
#include "corpus/licence.h"

namespace bm {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Lower case; dashes of every kind, underscores and white space as one space; quotes gone.
std::string plain_words(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    bool dash = c == '-' || c == '_' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
    size_t length = 1;
    if (c == 0xE2 && i + 2 < text.size() && static_cast<unsigned char>(text[i + 1]) == 0x80) {
      auto third = static_cast<unsigned char>(text[i + 2]);
      length = 3;
      if (third >= 0x80 && third <= 0x95)
        dash = true;  // spaces and dashes
      else if (third >= 0x98 && third <= 0x9F) {
        i += 2;
        continue;
      }  // quotes
      else if (third == 0xAF)
        dash = true;
      else
        length = 1;
    } else if (c == 0xC2 && i + 1 < text.size() &&
               (static_cast<unsigned char>(text[i + 1]) == 0xA0 ||
                static_cast<unsigned char>(text[i + 1]) == 0xAD)) {
      length = 2;
      dash = true;
    }
    if (dash) {
      if (!out.empty() && out.back() != ' ') out += ' ';
      i += length - 1;
    } else {
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : static_cast<char>(c);
    }
  }
  return out;
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

template <size_t N>
bool has_any(std::string_view text, const std::array<std::string_view, N>& parts) {
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) { return has(text, part); });
}

// "4.0" right after `at`, as in "/4.0/" or " 4.0"; "" when there is none.
std::string version_at(std::string_view text, size_t at) {
  if (at + 2 < text.size() && is_digit(text[at]) && text[at + 1] == '.' && is_digit(text[at + 2]))
    return std::string(text.substr(at, 3));
  return {};
}

LicenceKind kind_of(bool non_commercial, bool share_alike, bool no_derivatives) {
  if (non_commercial)
    return no_derivatives ? LicenceKind::by_nc_nd : share_alike ? LicenceKind::by_nc_sa : LicenceKind::by_nc;
  return no_derivatives ? LicenceKind::by_nd : share_alike ? LicenceKind::by_sa : LicenceKind::by;
}

// "by-nc-nd", "cc by nc", "by-ncnd", "cc-by": the parts of a Creative Commons code; unknown when one is no
// part (an address with "by-n" names no licence, and guessing would be wrong in one direction or the other).
LicenceKind kind_of_code(std::string_view code) {
  bool by = false, nc = false, sa = false, nd = false;
  std::string part;
  auto take = [&](const std::string& word) {
    if (word.empty() || word == "cc") return true;
    if (word == "by") return by = true;
    if (word == "nc") return nc = true;
    if (word == "sa") return sa = true;
    if (word == "nd") return nd = true;
    if (word == "ncnd") return nc = nd = true;
    if (word == "ncsa") return nc = sa = true;
    return false;
  };
  for (size_t i = 0; i <= code.size(); ++i) {
    if (i == code.size() || code[i] == '-' || code[i] == ' ' || code[i] == '_') {
      if (!take(part)) return LicenceKind::unknown;
      part.clear();
    } else {
      part += code[i];
    }
  }
  return by ? kind_of(nc, sa, nd) : LicenceKind::unknown;
}

// "/4.0/igo", "/2.0/uk/": version and jurisdiction from the rest of an address.
std::string address_version(std::string_view rest) {
  if (rest.empty() || rest[0] != '/') return {};
  std::string version = version_at(rest, 1);
  if (version.empty()) return {};
  size_t at = 1 + version.size();
  if (at < rest.size() && rest[at] == '/') {
    size_t end = at + 1;
    while (end < rest.size() && rest[end] >= 'a' && rest[end] <= 'z') ++end;
    std::string place(rest.substr(at + 1, end - at - 1));
    if (place == "igo" || place.size() == 2) {
      for (char& c : place) c = static_cast<char>(c - 'a' + 'A');
      version += " " + place;
    }
  }
  return version;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 3, "%20") == 0) {
      out += ' ';
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool says_non_commercial(std::string text) {
  // "commercial and non-commercial" allows both: it is no restriction.
  for (std::string_view both :
       {"commercial and non commercial", "commercial and noncommercial", "commercial or non commercial",
        "commercial or noncommercial", "commercial or otherwise", "non commercial and commercial",
        "noncommercial and commercial", "non commercial or commercial"})
    for (size_t at; (at = text.find(both)) != std::string::npos;) text.erase(at, both.size());
  static constexpr std::array<std::string_view, 15> kSigns = {"non commercial",
                                                              "noncommercial",
                                                              "not for commercial",
                                                              "not used for commercial",
                                                              "not be used for commercial",
                                                              "no commercial use",
                                                              "for commercial re use, please contact",
                                                              "for commercial use, please contact",
                                                              "by nc",
                                                              "não comercial",
                                                              "nao comercial",
                                                              "no comercial",
                                                              "sin fines comerciales",
                                                              "pas d'utilisation commerciale",
                                                              "non à des fins commerciales"};
  return has_any(text, kSigns);
}

constexpr std::array<std::string_view, 12> kNoDerivatives = {"no deriv",
                                                             "noderiv",
                                                             "no modifications or adaptations",
                                                             "by nd",
                                                             "nc nd",
                                                             "ncnd",
                                                             "sem derivações",
                                                             "sem derivados",
                                                             "sin obra derivada",
                                                             "sin derivad",
                                                             "pas de modification",
                                                             "work is unaltered"};
constexpr std::array<std::string_view, 8> kShareAlike = {
    "share alike",     "sharealike",        "by sa",           "nc sa",
    "identical terms", "compartilha igual", "compartir igual", "partage dans les mêmes"};
constexpr std::array<std::string_view, 16> kAttribution = {"creative commons attribution",
                                                           "creative common attribution",
                                                           "creative commons by",
                                                           "creativecommonsby",
                                                           "cc by",
                                                           "ccby",
                                                           "attribution license",
                                                           "attribution licence",
                                                           "commons license (attribution",
                                                           "commons licence (attribution",
                                                           "atribuição",
                                                           "atribuicao",
                                                           "atribución",
                                                           "atribucion",
                                                           "creative commons : attribution",
                                                           "attribution 4.0"};

// Version after "attribution", "by", "international" or the like: the first d.d that a known version has.
std::string words_version(std::string_view text) {
  for (size_t at = 0; at + 2 < text.size(); ++at) {
    bool start = at == 0 || !(is_digit(text[at - 1]) || text[at - 1] == '.');
    std::string version = start ? version_at(text, at) : std::string();
    bool ends =
        at + 3 >= text.size() ||
        !(is_digit(text[at + 3]) || (text[at + 3] == '.' && at + 4 < text.size() && is_digit(text[at + 4])));
    if (!version.empty() && ends &&
        (version == "1.0" || version == "2.0" || version == "2.1" || version == "2.5" || version == "3.0" ||
         version == "4.0")) {
      if (has(text.substr(at, 12), "igo")) version += " IGO";
      return version;
    }
  }
  return {};
}

// The sentences of a licence that speak of the article, not of its data.
std::string without_data_waiver(std::string text) {
  for (size_t at = text.find("public domain dedication waiver"); at != std::string::npos;
       at = text.find("public domain dedication waiver")) {
    size_t begin = text.rfind('.', at), end = text.find("data", at);
    if (end == std::string::npos) break;
    begin = begin == std::string::npos ? 0 : begin + 1;
    // Do not cut at the dots of an address: the sentence starts with "the creative commons".
    size_t sentence = text.rfind("the creative commons public domain", at);
    if (sentence != std::string::npos && sentence > begin) begin = sentence;
    size_t stop = text.find('.', end);
    text.erase(begin, (stop == std::string::npos ? text.size() : stop + 1) - begin);
  }
  return text;
}

}  // namespace

LicenceEvidence read_licence_address(std::string_view address) {
  LicenceEvidence evidence;
  std::string lower = percent_decoded(trim(address));
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (size_t at = lower.find("creativecommons.org/licenses/"); at != std::string::npos) {
    std::string_view rest = std::string_view(lower).substr(at + 29);
    size_t end = rest.find('/');
    evidence.kind = kind_of_code(rest.substr(0, end));
    if (end != std::string_view::npos && evidence.kind != LicenceKind::unknown)
      evidence.version = address_version(rest.substr(end));
    return evidence;
  }
  if (size_t at = lower.find("creativecommons.org/publicdomain/zero"); at != std::string::npos) {
    evidence.kind = LicenceKind::cc0;
    evidence.version = address_version(std::string_view(lower).substr(at + 37));
    return evidence;
  }
  if (has(lower, "creativecommons.org/publicdomain/mark") ||
      has(lower, "creativecommons.org/licenses/publicdomain"))
    evidence.kind = LicenceKind::public_domain;
  // The American Chemical Society's pages of the same two licences.
  if (has(lower, "authorchoice_ccby_termsofuse")) evidence.kind = LicenceKind::by;
  if (has(lower, "authorchoice_ccbyncnd_termsofuse")) evidence.kind = LicenceKind::by_nc_nd;
  if (has(lower, "authorchoice_termsofuse")) evidence.kind = LicenceKind::custom;
  return evidence;
}

LicenceEvidence read_licence_words(std::string_view words) {
  LicenceEvidence evidence;
  std::string text = without_data_waiver(plain_words(words));
  bool attribution =
      has_any(text, kAttribution) || (has(text, "creative commons") && has(text, "attribution"));
  bool non_commercial = says_non_commercial(text);
  if (attribution || (has(text, "creative commons") && non_commercial)) {
    evidence.kind = kind_of(non_commercial, has_any(text, kShareAlike), has_any(text, kNoDerivatives));
    evidence.version = words_version(text);
    return evidence;
  }
  if (has(text, "cc0") || has(text, "cc zero") || has(text, "public domain dedication")) {
    evidence.kind = LicenceKind::cc0;
    if (has(text, "1.0")) evidence.version = "1.0";
    return evidence;
  }
  if (has(text, "public domain") || text == "us gov" || has(text, "work of the us government") ||
      has(text, "work of the u.s. government") || has(text, "us government employees")) {
    evidence.kind = LicenceKind::public_domain;
    return evidence;
  }
  // PLoS's name for CC BY in 2003; its text is that of the Attribution License.
  if (has(text, "public library of science open access license")) {
    evidence.kind = LicenceKind::by;
    return evidence;
  }
  // Terms of a publisher's own: somebody may read them, this program does not judge them.
  static constexpr std::array<std::string_view, 9> kTerms = {
      "unrestricted use",    "redistribution", "verbatim copying", "permitted",     "permits",
      "all rights reserved", "licensed under", "terms of use",     "non commercial"};
  if (has_any(text, kTerms)) evidence.kind = LicenceKind::custom;
  return evidence;
}

}  // namespace bm
