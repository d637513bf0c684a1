#include "tokenizer/pre_tokenizer.h"

#include <functional>

#include "tokenizer/normalizer.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

namespace bm::tokenizer {

const std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

enum class Behaviour : uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// Next match at or after `from` in a piece; begin = npos when there is none.
using Finder = std::function<std::pair<size_t, size_t>(std::string_view, size_t)>;

struct Cut {
  Range range;
  bool match;
};

// Cuts one piece by a finder, as tokenizers' NormalizedString::split does.
void split_piece(std::string_view whole, Range piece, const Finder& find, bool invert, Behaviour behaviour,
                 std::vector<Range>& out) {
  std::string_view text = whole.substr(piece.begin, piece.end - piece.begin);
  std::vector<Cut> cuts;
  auto add = [&](size_t begin, size_t end, bool match) {
    if (begin < end) cuts.push_back({{piece.begin + begin, piece.begin + end}, match != invert});
  };
  size_t done = 0;
  for (;;) {
    auto [begin, end] = find(text, done);
    if (begin == std::string_view::npos) break;
    add(done, begin, false);
    add(begin, end, true);
    done = end;
  }
  add(done, text.size(), false);

  if (behaviour == Behaviour::merged_with_next) {
    // A match joins what follows it, unless that is a match too.
    size_t end = piece.end;
    size_t first = out.size();
    bool previous_match = false;  // of the piece to the right
    for (size_t i = cuts.size(); i-- > 0;) {
      if (cuts[i].match && !previous_match && out.size() > first) {
        out.back().begin = cuts[i].range.begin;
      } else {
        out.push_back({cuts[i].range.begin, end});
      }
      end = cuts[i].range.begin;
      previous_match = cuts[i].match;
    }
    std::reverse(out.begin() + static_cast<ptrdiff_t>(first), out.end());
    return;
  }
  size_t first = out.size();
  bool previous_match = false;
  for (const Cut& cut : cuts) {
    bool join = false;
    switch (behaviour) {
      case Behaviour::removed:
        if (cut.match) continue;
        break;
      case Behaviour::merged_with_previous:
        join = cut.match && !previous_match && out.size() > first;
        break;
      case Behaviour::contiguous:
        join = cut.match == previous_match && out.size() > first;
        break;
      default:
        break;
    }
    previous_match = cut.match;
    if (join) {
      out.back().end = cut.range.end;
    } else {
      out.push_back(cut.range);
    }
  }
}

class Split : public PreTokenizer {
 public:
  Split(Finder find, bool invert, Behaviour behaviour)
      : find_(std::move(find)), invert_(invert), behaviour_(behaviour) {}
  void apply(SplitText& text) const override {
    std::vector<Range> pieces;
    pieces.reserve(text.pieces.size());
    for (Range piece : text.pieces) split_piece(text.text.text, piece, find_, invert_, behaviour_, pieces);
    text.pieces = std::move(pieces);
  }

 private:
  Finder find_;
  bool invert_;
  Behaviour behaviour_;
};

// Matches of an expression that covers nearly everything (GPT-2's): no list of cuts is kept.
class IsolatedRegex : public PreTokenizer {
 public:
  explicit IsolatedRegex(unicode::Regex regex) : regex_(std::move(regex)) {}
  void apply(SplitText& text) const override {
    std::vector<Range> pieces;
    std::string_view whole = text.text.text;
    for (Range piece : text.pieces) {
      std::string_view part = whole.substr(piece.begin, piece.end - piece.begin);
      size_t done = 0;
      while (done < part.size()) {
        auto [begin, end] = regex_.find(part, done);
        if (begin == std::string_view::npos) begin = end = part.size();
        if (begin > done) pieces.push_back({piece.begin + done, piece.begin + begin});
        if (end > begin) pieces.push_back({piece.begin + begin, piece.begin + end});
        done = end;
      }
    }
    text.pieces = std::move(pieces);
  }

 private:
  unicode::Regex regex_;
};

Finder runs_of(bool (*in)(uint32_t), bool single) {
  return [in, single](std::string_view text, size_t from) -> std::pair<size_t, size_t> {
    for (size_t i = from; i < text.size();) {
      auto c = unicode::decode_ascii_fast(text, i);
      if (!in(c.value)) {
        i += c.length;
        continue;
      }
      size_t end = i + c.length;
      while (!single && end < text.size()) {
        auto next = unicode::decode_ascii_fast(text, end);
        if (!in(next.value)) break;
        end += next.length;
      }
      return {i, end};
    }
    return {std::string_view::npos, 0};
  };
}

Finder regex_finder(unicode::Regex regex) {
  auto shared = std::make_shared<const unicode::Regex>(std::move(regex));
  return [shared](std::string_view text, size_t from) { return shared->find(text, from); };
}

// Puts a prefix before every piece that `wants` it; the text is written anew.
class PrefixPieces : public PreTokenizer {
 public:
  void apply(SplitText& text) const override {
    SplitText out;
    out.text = text.text.empty_like();
    for (Range piece : text.pieces) {
      AlignedText part = text.text.empty_like();
      part.append_from(text.text, piece.begin, piece.end);
      size_t begin = out.text.text.size();
      change(part, piece.begin == 0 && text.text.original_begin == 0);
      out.text.append_from(part, 0, part.text.size());
      out.pieces.push_back({begin, out.text.text.size()});
    }
    text = std::move(out);
  }

 protected:
  virtual void change(AlignedText& part, bool first) const = 0;
};

class SpacePrefix : public PrefixPieces {
 protected:
  void change(AlignedText& part, bool) const override {
    if (!part.text.empty() && part.text[0] != ' ') part.prepend(" ");
  }
};

class Metaspace : public PrefixPieces {
 public:
  enum class Scheme : uint8_t { always, first, never };
  Metaspace(std::string mark, Scheme scheme, std::unique_ptr<const Normalizer> spaces)
      : mark_(std::move(mark)), scheme_(scheme), spaces_(std::move(spaces)) {}

 protected:
  void change(AlignedText& part, bool first) const override {
    spaces_->apply(part);
    bool wanted = scheme_ == Scheme::always || (scheme_ == Scheme::first && first);
    if (wanted && part.text.compare(0, mark_.size(), mark_) != 0) part.prepend(mark_);
  }

 private:
  std::string mark_;
  Scheme scheme_;
  std::unique_ptr<const Normalizer> spaces_;
};

Result<Behaviour> parse_behaviour(const std::string& name) {
  if (name == "Removed") return Behaviour::removed;
  if (name == "Isolated") return Behaviour::isolated;
  if (name == "MergedWithPrevious") return Behaviour::merged_with_previous;
  if (name == "MergedWithNext") return Behaviour::merged_with_next;
  if (name == "Contiguous") return Behaviour::contiguous;
  return bad_input("split behaviour \"" + name + "\" is not known");
}

Status add_metaspace(const Json& json, PreTokenizerChain& chain) {
  BM_TRY(std::string mark, json.get_string("replacement", "▁"));
  BM_TRY(bool prefix, json.get_bool("add_prefix_space", true));
  BM_TRY(std::string scheme, json.get_string("prepend_scheme", prefix ? "always" : "never"));
  BM_TRY(bool split, json.get_bool("split", true));
  auto kind = scheme == "always"  ? Metaspace::Scheme::always
              : scheme == "first" ? Metaspace::Scheme::first
                                  : Metaspace::Scheme::never;
  if (kind == Metaspace::Scheme::never && scheme != "never") {
    return bad_input("Metaspace prepend_scheme \"" + scheme + "\" is not known");
  }
  auto spaces = make_replace(unicode::Regex::literal(" "), mark);
  chain.steps.push_back(std::make_unique<Metaspace>(mark, kind, std::move(spaces)));
  if (split) {
    chain.steps.push_back(std::make_unique<Split>(regex_finder(unicode::Regex::literal(mark)), false,
                                                  Behaviour::merged_with_next));
  }
  return {};
}

Status add_split(const Json& json, PreTokenizerChain& chain) {
  BM_TRY(auto pattern, parse_pattern(json["pattern"]));
  BM_TRY(std::string name, json.get_string("behavior", "Isolated"));
  BM_TRY(Behaviour behaviour, parse_behaviour(name));
  BM_TRY(bool invert, json.get_bool("invert", false));
  if (behaviour == Behaviour::isolated) {
    chain.steps.push_back(std::make_unique<IsolatedRegex>(std::move(pattern)));
  } else {
    chain.steps.push_back(std::make_unique<Split>(regex_finder(std::move(pattern)), invert, behaviour));
  }
  return {};
}

Status add_pre_tokenizer(const Json& json, PreTokenizerChain& chain, int depth) {
  if (depth > 8) return bad_input("pre-tokenizers nested too deep");
  BM_TRY(std::string type, json.get_string("type"));
  auto add_finder = [&](Finder finder, Behaviour behaviour) {
    chain.steps.push_back(std::make_unique<Split>(std::move(finder), false, behaviour));
  };
  if (type == "Sequence") {
    const Json& list = json["pretokenizers"];
    if (!list.is_array()) return bad_input("pre-tokenizer Sequence has no list \"pretokenizers\"");
    for (const Json& step : list.items()) BM_CHECK_OK(add_pre_tokenizer(step, chain, depth + 1));
  } else if (type == "Digits") {
    BM_TRY(bool single, json.get_bool("individual_digits", false));
    add_finder(runs_of(unicode::is_number, single), single ? Behaviour::isolated : Behaviour::contiguous);
  } else if (type == "ByteLevel") {
    BM_TRY(bool prefix, json.get_bool("add_prefix_space", true));
    BM_TRY(bool use_regex, json.get_bool("use_regex", true));
    if (prefix) chain.steps.push_back(std::make_unique<SpacePrefix>());
    if (use_regex) {
      BM_TRY(auto split, make_regex_split(gpt2_pattern));
      chain.steps.push_back(std::move(split));
    }
    chain.byte_level = true;
  } else if (type == "Metaspace") {
    BM_CHECK_OK(add_metaspace(json, chain));
  } else if (type == "Split") {
    BM_CHECK_OK(add_split(json, chain));
  } else if (type == "Whitespace") {
    BM_TRY(auto regex, unicode::Regex::compile(R"(\w+|[^\w\s]+)"));
    chain.steps.push_back(std::make_unique<Split>(regex_finder(std::move(regex)), true, Behaviour::removed));
  } else if (type == "WhitespaceSplit") {
    add_finder(runs_of(unicode::is_white_space, false), Behaviour::removed);
  } else if (type == "Punctuation") {
    BM_TRY(std::string name, json.get_string("behavior", "Isolated"));
    BM_TRY(Behaviour behaviour, parse_behaviour(name));
    add_finder(runs_of(
                   [](uint32_t c) {
                     bool ascii = (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
                                  (c >= 123 && c <= 126);
                     return ascii || unicode::is_punctuation(c);
                   },
                   true),
               behaviour);
  } else {
    return bad_input(
        "pre-tokenizer \"" + type + "\" is not supported",
        "Supported: ByteLevel, Digits, Metaspace, Split, Whitespace, WhitespaceSplit, Punctuation, "
        "Sequence.");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<const PreTokenizer>> make_regex_split(std::string_view pattern) {
  BM_TRY(auto regex, unicode::Regex::compile(pattern));
  return std::unique_ptr<const PreTokenizer>(std::make_unique<IsolatedRegex>(std::move(regex)));
}

Result<PreTokenizerChain> parse_pre_tokenizer(const Json& json) {
  PreTokenizerChain chain;
  if (!json.is_null()) BM_CHECK_OK(add_pre_tokenizer(json, chain, 0));
  return chain;
}

}  // namespace bm::tokenizer
