#include "corpus/words.h"

#include <utf8proc.h>

#include <array>
#include <bit>
#include <cstring>
#include <memory>

#include "tokenizer/unicode.h"

namespace bm {

namespace {

// What a character becomes: nothing but a border, a digit, or a few bytes of plain text.
constexpr size_t kMostGrowth = 3;  // bytes a fold may take for one of the character's (Hangul: three letters)
enum class Kind : uint8_t { text, separator, digit, ideograph };
struct Fold {
  Kind kind = Kind::text;
  uint8_t length = 0;
  std::array<char, 14> bytes{};
};

// datatrove's PUNCTUATION beyond ASCII.
constexpr std::u32string_view kPunctuation = U"—”％１〈、━【「」，】；“《„’∶´．（–？！：～«〉》）。…►»";

bool is_separator(uint32_t c) {
  if (c < 0x80) return !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
  return (c >= 0x80 && c < 0xA0) ||
         kPunctuation.find(static_cast<char32_t>(c)) != std::u32string_view::npos ||
         unicode::is_white_space(c);
}

// Chinese and Japanese are written without spaces: each character counts as a word.
bool is_ideograph(uint32_t c) {
  return (c >= 0x3041 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF);
}

Fold fold_of(uint32_t c) {
  Fold fold;
  if (unicode::category(c) == UTF8PROC_CATEGORY_ND) {
    fold.kind = Kind::digit;
    return fold;
  }
  if (is_separator(c)) {
    fold.kind = Kind::separator;
    return fold;
  }
  if (is_ideograph(c)) fold.kind = Kind::ideograph;
  std::array<utf8proc_int32_t, 18> parts{};
  int boundary = 0;
  utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(unicode::to_lower(c)), parts.data(),
                              static_cast<utf8proc_ssize_t>(parts.size()), UTF8PROC_DECOMPOSE, &boundary);
  std::string text;
  for (utf8proc_ssize_t i = 0; i < count && i < static_cast<utf8proc_ssize_t>(parts.size()); ++i) {
    auto part = static_cast<uint32_t>(parts[static_cast<size_t>(i)]);
    if (unicode::category(part) != UTF8PROC_CATEGORY_MN) unicode::append(text, part);
  }
  std::string own = unicode::encode(c);
  if (text.size() > fold.bytes.size() || text.size() > kMostGrowth * own.size()) text = std::move(own);
  std::memcpy(fold.bytes.data(), text.data(), text.size());
  fold.length = static_cast<uint8_t>(text.size());
  return fold;
}

// Folds of the basic plane, made when the first text needs one: 1 MB.
const Fold& folded(uint32_t c) {
  static const std::unique_ptr<std::array<Fold, 0x10000>> table = [] {
    auto all = std::make_unique<std::array<Fold, 0x10000>>();
    for (uint32_t i = 0; i < 0x10000; ++i)
      if (i < 0xD800 || i > 0xDFFF) (*all)[i] = fold_of(i);
    return all;
  }();
  return (*table)[c];
}

enum : uint8_t { kLetter, kBorder, kDigit, kWide };
constexpr std::array<uint8_t, 256> make_classes() {
  std::array<uint8_t, 256> classes{};
  for (size_t c = 0; c < 256; ++c) {
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    classes[c] = c >= 0x80 ? kWide : c >= '0' && c <= '9' ? kDigit : letter ? kLetter : kBorder;
  }
  return classes;
}
constexpr std::array<uint8_t, 256> kClasses = make_classes();

class Splitter {
 public:
  Splitter(std::string_view text, PlainWords& out) : text_(text), out_(out) {}

  void run() {
    out_.starts.clear();
    out_.text.resize(text_.size() * kMostGrowth + 16);
    char* place = out_.text.data();
    size_t i = 0;
    while (i < text_.size()) {
      auto c = static_cast<unsigned char>(text_[i]);
      switch (kClasses[c]) {
        case kLetter:
          place = open(place);
          do {
            *place++ = static_cast<char>(c | 0x20);
            if (++i == text_.size()) break;
            c = static_cast<unsigned char>(text_[i]);
          } while (kClasses[c] == kLetter);
          break;
        case kBorder:
          inside_ = false;
          ++i;
          break;
        case kDigit:
          place = open(place);
          *place++ = '0';
          i = after_number(i);
          break;
        default:
          place = wide(place, i);
      }
    }
    out_.text.resize(static_cast<size_t>(place - out_.text.data()));
  }

 private:
  char* open(char* place) {
    if (inside_) return place;
    inside_ = true;
    if (!out_.starts.empty()) *place++ = ' ';
    out_.starts.push_back(static_cast<uint32_t>(place - out_.text.data()));
    return place;
  }

  bool digit_at(size_t i, size_t& length) const {
    if (i >= text_.size()) return false;
    auto c = unicode::decode_ascii_fast(text_, i);
    length = c.length;
    if (c.value < 0x80) return c.value >= '0' && c.value <= '9';
    return c.value < 0x10000 && folded(c.value).kind == Kind::digit;
  }

  // Behind digits, with one decimal separator and further digits if they follow.
  size_t after_number(size_t i) const {
    size_t length = 1;
    while (digit_at(i, length)) i += length;
    if (i >= text_.size()) return i;
    auto separator = unicode::decode_ascii_fast(text_, i);
    constexpr std::u32string_view kDecimal = U".,\u060C\u066B\u2396\u2397\u2398";
    if (kDecimal.find(static_cast<char32_t>(separator.value)) == std::u32string_view::npos) return i;
    size_t next = i + separator.length;
    if (!digit_at(next, length)) return i;
    while (digit_at(next, length)) next += length;
    return next;
  }

  char* wide(char* place, size_t& i) {
    auto c = unicode::decode(text_, i);
    if (c.value >= 0x10000 || !c.valid) {
      place = open(place);
      std::memcpy(place, text_.data() + i, c.length);
      i += c.length;
      return place + c.length;
    }
    const Fold& fold = folded(c.value);
    if (fold.kind == Kind::digit) {
      place = open(place);
      *place++ = '0';
      i = after_number(i);
      return place;
    }
    i += c.length;
    if (fold.kind == Kind::separator) {
      inside_ = false;
      return place;
    }
    if (fold.length == 0) return place;
    bool alone = fold.kind == Kind::ideograph;
    if (alone) inside_ = false;
    place = open(place);
    std::memcpy(place, fold.bytes.data(), fold.length);
    if (alone) inside_ = false;
    return place + fold.length;
  }

  std::string_view text_;
  PlainWords& out_;
  bool inside_ = false;
};

// ---- XXH64 ----

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87ull, kPrime2 = 0xC2B2AE3D27D4EB4Full,
                   kPrime3 = 0x165667B19E3779F9ull, kPrime4 = 0x85EBCA77C2B2AE63ull,
                   kPrime5 = 0x27D4EB2F165667C5ull;

uint64_t load64(const char* at) {
  uint64_t value;
  std::memcpy(&value, at, 8);
  return value;
}
uint64_t xxh_round(uint64_t lane, uint64_t input) { return std::rotl(lane + input * kPrime2, 31) * kPrime1; }

}  // namespace

void plain_words(std::string_view text, PlainWords& out) { Splitter(text, out).run(); }

uint64_t xxh64(std::string_view bytes) {
  const char* at = bytes.data();
  const char* end = at + bytes.size();
  uint64_t hash = kPrime5;
  if (bytes.size() >= 32) {
    std::array<uint64_t, 4> lanes = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    for (; end - at >= 32; at += 32)
      for (size_t k = 0; k < 4; ++k) lanes[k] = xxh_round(lanes[k], load64(at + 8 * k));
    hash =
        std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) + std::rotl(lanes[3], 18);
    for (uint64_t lane : lanes) hash = (hash ^ xxh_round(0, lane)) * kPrime1 + kPrime4;
  }
  hash += bytes.size();
  for (; end - at >= 8; at += 8) hash = std::rotl(hash ^ xxh_round(0, load64(at)), 27) * kPrime1 + kPrime4;
  if (end - at >= 4) {
    uint32_t word;
    std::memcpy(&word, at, 4);
    hash = std::rotl(hash ^ (word * kPrime1), 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < end; ++at) hash = std::rotl(hash ^ (static_cast<unsigned char>(*at) * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

}  // namespace bm
