#include "tokenizer/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>

#include "tokenizer/unicode.h"

namespace bm::tokenizer {

AlignedText AlignedText::of(std::string_view piece, size_t begin, bool tracked) {
  AlignedText out;
  out.text = std::string(piece);
  out.tracked = tracked;
  out.original_begin = begin;
  if (!tracked) return out;
  out.origin.reserve(piece.size());
  for (size_t i = 0; i < piece.size();) {
    size_t length = unicode::decode_ascii_fast(piece, i).length;
    Span place{static_cast<uint32_t>(begin + i), static_cast<uint32_t>(begin + i + length)};
    out.origin.insert(out.origin.end(), length, place);
    i += length;
  }
  return out;
}

void AlignedText::prepend(std::string_view prefix) {
  if (text.empty()) return;
  text.insert(0, prefix);
  if (tracked) origin.insert(origin.begin(), prefix.size(), origin[0]);
}

namespace {

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(AlignedText& text) const override { text.prepend(prefix_); }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(unicode::Regex pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(AlignedText& text) const override {
    AlignedText out = text.empty_like();
    size_t done = 0;
    for (;;) {
      auto [begin, end] = pattern_.find(text.text, done);
      if (begin == std::string_view::npos) break;
      out.append_from(text, done, begin);
      out.append(content_, text.place(end - 1));
      done = end;
    }
    if (done == 0) return;
    out.append_from(text, done, text.text.size());
    text = std::move(out);
  }

 private:
  unicode::Regex pattern_;
  std::string content_;
};

// The common Replace, one byte by a string (" " → "▁").
class ReplaceByte : public Normalizer {
 public:
  ReplaceByte(char byte, std::string content) : byte_(byte), content_(std::move(content)) {}
  void apply(AlignedText& text) const override {
    AlignedText out = text.empty_like();
    out.text.reserve(text.text.size() + text.text.size() / 2);
    size_t done = 0;
    for (size_t at = text.text.find(byte_); at != std::string::npos; at = text.text.find(byte_, at + 1)) {
      out.append_from(text, done, at);
      out.append(content_, text.place(at));
      done = at + 1;
    }
    if (done == 0) return;
    out.append_from(text, done, text.text.size());
    text = std::move(out);
  }

 private:
  char byte_;
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(AlignedText& text) const override {
    size_t begin = 0, end = text.text.size();
    while (left_ && begin < end) {
      auto c = unicode::decode(text.text, begin);
      if (!unicode::is_white_space(c.value)) break;
      begin += c.length;
    }
    while (right_ && end > begin) {
      size_t before = unicode::previous(text.text, end);
      if (!unicode::is_white_space(unicode::decode(text.text, before).value)) break;
      end = before;
    }
    AlignedText out = text.empty_like();
    out.append_from(text, begin, end);
    text = std::move(out);
  }

 private:
  bool left_, right_;
};

class CollapseSpaces : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    AlignedText out = text.empty_like();
    for (size_t i = 0; i < text.text.size(); ++i) {
      if (text.text[i] == ' ' && (out.text.empty() || out.text.back() == ' ')) continue;
      out.append_from(text, i, i + 1);
    }
    if (!out.text.empty() && out.text.back() == ' ') {
      out.text.pop_back();
      if (out.tracked) out.origin.pop_back();
    }
    text = std::move(out);
  }
};

class Lowercase : public Normalizer {
 public:
  void apply(AlignedText& text) const override {
    AlignedText out = text.empty_like();
    for (size_t i = 0; i < text.text.size();) {
      auto c = unicode::decode_ascii_fast(text.text, i);
      if (c.valid) {
        out.append(unicode::encode(unicode::to_lower(c.value)), text.place(i));
      } else {
        out.append_from(text, i, i + 1);
      }
      i += c.length;
    }
    text = std::move(out);
  }
};

// Unicode normalization forms, run by run: a starter with the marks behind it is mapped as one, and
// its bytes all take the run's place.
class Form : public Normalizer {
 public:
  Form(int options, bool strip_marks) : options_(options), strip_marks_(strip_marks) {}
  void apply(AlignedText& text) const override {
    bool plain = true;
    for (char c : text.text) plain = plain && static_cast<unsigned char>(c) < 0x80;
    if (plain) return;
    AlignedText out = text.empty_like();
    for (size_t i = 0; i < text.text.size();) {
      size_t end = i + unicode::decode_ascii_fast(text.text, i).length;
      while (end < text.text.size() && joins(text.text, end)) end += unicode::decode(text.text, end).length;
      map_run(text, i, end, out);
      i = end;
    }
    text = std::move(out);
  }

 private:
  // Marks, and the vowel and final jamo that compose with the syllable before them.
  static bool joins(const std::string& text, size_t position) {
    uint32_t c = unicode::decode_ascii_fast(text, position).value;
    if (c < 0x300) return false;
    int k = unicode::category(c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME ||
           (c >= 0x1161 && c <= 0x11FF);
  }
  void map_run(const AlignedText& text, size_t begin, size_t end, AlignedText& out) const {
    std::string_view run = std::string_view(text.text).substr(begin, end - begin);
    if ((run.size() == 1 && !strip_marks_) || !unicode::is_valid(run)) {
      out.append_from(text, begin, end);
      return;
    }
    utf8proc_uint8_t* mapped = nullptr;
    utf8proc_ssize_t length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(run.data()),
                                           static_cast<utf8proc_ssize_t>(run.size()), &mapped,
                                           static_cast<utf8proc_option_t>(options_));
    if (length < 0) {
      out.append_from(text, begin, end);
      return;
    }
    Span place{text.place(begin).begin, text.place(end - 1).end};
    std::string_view result(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
    for (size_t i = 0; i < result.size();) {
      auto c = unicode::decode(result, i);
      bool mark = strip_marks_ && unicode::category(c.value) == UTF8PROC_CATEGORY_MN;
      if (!mark) out.append(result.substr(i, c.length), place);
      i += c.length;
    }
    std::free(mapped);
  }

  int options_;
  bool strip_marks_;
};

Status add_normalizer(const Json& json, NormalizerChain& chain, int depth) {
  if (depth > 8) return bad_input("normalizers nested too deep");
  BM_TRY(std::string type, json.get_string("type"));
  if (type == "Sequence") {
    const Json& list = json["normalizers"];
    if (!list.is_array()) return bad_input("normalizer Sequence has no list \"normalizers\"");
    for (const Json& step : list.items()) BM_CHECK_OK(add_normalizer(step, chain, depth + 1));
  } else if (type == "Prepend") {
    BM_TRY(std::string prefix, json.get_string("prepend"));
    chain.push_back(make_prepend(std::move(prefix)));
  } else if (type == "Replace") {
    BM_TRY(std::string content, json.get_string("content"));
    const Json& text = json["pattern"]["String"];
    if (text.is_string() && text.as_string().size() == 1) {
      chain.push_back(std::make_unique<ReplaceByte>(text.as_string()[0], std::move(content)));
    } else {
      BM_TRY(auto pattern, parse_pattern(json["pattern"]));
      chain.push_back(make_replace(std::move(pattern), std::move(content)));
    }
  } else if (type == "Strip") {
    BM_TRY(bool left, json.get_bool("strip_left", true));
    BM_TRY(bool right, json.get_bool("strip_right", true));
    chain.push_back(std::make_unique<Strip>(left, right));
  } else if (type == "Lowercase") {
    chain.push_back(std::make_unique<Lowercase>());
  } else if (type == "NFC") {
    chain.push_back(std::make_unique<Form>(UTF8PROC_STABLE | UTF8PROC_COMPOSE, false));
  } else if (type == "NFD") {
    chain.push_back(std::make_unique<Form>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, false));
  } else if (type == "NFKC") {
    chain.push_back(std::make_unique<Form>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, false));
  } else if (type == "NFKD") {
    chain.push_back(std::make_unique<Form>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, false));
  } else if (type == "StripAccents") {
    chain.push_back(std::make_unique<Form>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, true));
  } else {
    return bad_input(
        "normalizer \"" + type + "\" is not supported",
        "Supported: Prepend, Replace, Strip, Lowercase, NFC, NFD, NFKC, NFKD, StripAccents, Sequence.");
  }
  return {};
}

}  // namespace

std::unique_ptr<const Normalizer> make_prepend(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}
std::unique_ptr<const Normalizer> make_replace(unicode::Regex pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}
std::unique_ptr<const Normalizer> make_collapse_spaces() { return std::make_unique<CollapseSpaces>(); }

Result<NormalizerChain> parse_normalizer(const Json& json) {
  NormalizerChain chain;
  if (!json.is_null()) BM_CHECK_OK(add_normalizer(json, chain, 0));
  return chain;
}

void normalize(const NormalizerChain& chain, AlignedText& text) {
  for (const auto& step : chain) step->apply(text);
}

Result<unicode::Regex> parse_pattern(const Json& json) {
  if (json["String"].is_string()) return unicode::Regex::literal(json["String"].as_string());
  if (json["Regex"].is_string()) return unicode::Regex::compile(json["Regex"].as_string());
  return bad_input("a pattern is neither {\"String\": …} nor {\"Regex\": …}");
}

}  // namespace bm::tokenizer
