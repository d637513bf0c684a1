#include "tokenizer/decoder.h"

#include "tokenizer/normalizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace bm::tokenizer {

namespace {

class Replace : public Decoder {
 public:
  Replace(unicode::Regex pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string out;
      size_t done = 0;
      for (;;) {
        auto [begin, end] = pattern_.find(token, done);
        if (begin == std::string_view::npos) break;
        out.append(token, done, begin - done);
        out += content_;
        done = end;
      }
      if (done == 0) continue;
      out.append(token, done);
      token = std::move(out);
    }
  }

 private:
  unicode::Regex pattern_;
  std::string content_;
};

// A run of byte tokens is text when it is valid UTF-8 as a whole; else every byte of it becomes U+FFFD.
class ByteFallback : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string run;
    auto flush = [&] {
      if (run.empty()) return;
      if (unicode::is_valid(run)) {
        out.push_back(run);
      } else {
        for (size_t i = 0; i < run.size(); ++i) out.emplace_back(unicode::replacement);
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      if (auto byte = byte_token_value(token)) {
        run.push_back(static_cast<char>(*byte));
      } else {
        flush();
        out.push_back(std::move(token));
      }
    }
    flush();
    tokens = std::move(out);
  }
};

class Fuse : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

// Up to `start` leading and `stop` trailing `content` characters away from every token.
class Strip : public Decoder {
 public:
  Strip(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      size_t begin = 0, end = token.size(), step = content_.size();
      for (int64_t i = 0; i < start_ && token.compare(begin, step, content_) == 0; ++i) begin += step;
      for (int64_t i = 0; i < stop_ && end >= begin + step && token.compare(end - step, step, content_) == 0;
           ++i) {
        end -= step;
      }
      token = token.substr(begin, end - begin);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class ByteLevel : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      auto mapped = alphabet_to_bytes(token);
      bytes += mapped ? *mapped : token;
    }
    tokens.assign(1, unicode::lossy(bytes));
  }
};

class Metaspace : public Decoder {
 public:
  Metaspace(uint32_t mark, bool prefixed) : mark_(mark), prefixed_(prefixed) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t k = 0; k < tokens.size(); ++k) {
      std::string out;
      for (size_t i = 0; i < tokens[k].size();) {
        auto c = unicode::decode_ascii_fast(tokens[k], i);
        if (c.value != mark_) {
          out.append(tokens[k], i, c.length);
        } else if (k > 0 || !prefixed_) {
          out += ' ';
        }
        i += c.length;
      }
      tokens[k] = std::move(out);
    }
  }

 private:
  uint32_t mark_;
  bool prefixed_;
};

Status add_decoder(const Json& json, DecoderChain& chain, int depth) {
  if (depth > 8) return bad_input("decoders nested too deep");
  BM_TRY(std::string type, json.get_string("type"));
  if (type == "Sequence") {
    const Json& list = json["decoders"];
    if (!list.is_array()) return bad_input("decoder Sequence has no list \"decoders\"");
    for (const Json& step : list.items()) BM_CHECK_OK(add_decoder(step, chain, depth + 1));
  } else if (type == "Replace") {
    BM_TRY(auto pattern, parse_pattern(json["pattern"]));
    BM_TRY(std::string content, json.get_string("content"));
    chain.steps.push_back(std::make_unique<Replace>(std::move(pattern), std::move(content)));
  } else if (type == "ByteFallback") {
    chain.steps.push_back(std::make_unique<ByteFallback>());
  } else if (type == "Fuse") {
    chain.steps.push_back(std::make_unique<Fuse>());
  } else if (type == "Strip") {
    BM_TRY(std::string content, json.get_string("content"));
    BM_TRY(int64_t start, json.get_int("start", 0));
    BM_TRY(int64_t stop, json.get_int("stop", 0));
    if (content.empty()) return bad_input("decoder Strip has an empty \"content\"");
    chain.steps.push_back(std::make_unique<Strip>(std::move(content), start, stop));
  } else if (type == "ByteLevel") {
    chain.steps.push_back(std::make_unique<ByteLevel>());
    chain.byte_level = true;
  } else if (type == "Metaspace") {
    BM_TRY(std::string mark, json.get_string("replacement", "▁"));
    BM_TRY(bool prefix, json.get_bool("add_prefix_space", true));
    BM_TRY(std::string scheme, json.get_string("prepend_scheme", prefix ? "always" : "never"));
    if (mark.empty()) return bad_input("decoder Metaspace has an empty \"replacement\"");
    chain.steps.push_back(std::make_unique<Metaspace>(unicode::decode(mark, 0).value, scheme != "never"));
  } else {
    return bad_input("decoder \"" + type + "\" is not supported",
                     "Supported: Replace, ByteFallback, Fuse, Strip, ByteLevel, Metaspace, Sequence.");
  }
  return {};
}

}  // namespace

std::string DecoderChain::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps) step->apply(tokens);
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (join_with_spaces && i > 0) out += ' ';
    out += tokens[i];
  }
  return out;
}

Result<DecoderChain> parse_decoder(const Json& json) {
  DecoderChain chain;
  if (json.is_null()) {
    chain.join_with_spaces = true;
  } else {
    BM_CHECK_OK(add_decoder(json, chain, 0));
  }
  return chain;
}

DecoderChain sentencepiece_decoder(bool strip_leading_space) {
  DecoderChain chain;
  chain.steps.push_back(std::make_unique<Replace>(unicode::Regex::literal("▁"), " "));
  chain.steps.push_back(std::make_unique<ByteFallback>());
  chain.steps.push_back(std::make_unique<Fuse>());
  if (strip_leading_space) chain.steps.push_back(std::make_unique<Strip>(" ", 1, 0));
  return chain;
}

DecoderChain byte_level_decoder() {
  DecoderChain chain;
  chain.steps.push_back(std::make_unique<ByteLevel>());
  chain.byte_level = true;
  return chain;
}

}  // namespace bm::tokenizer
