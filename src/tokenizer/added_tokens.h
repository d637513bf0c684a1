// Tokens that are found in the text itself before any model sees it: control tokens and additions.
// The rules are those of Hugging Face tokenizers' AddedVocabulary: leftmost, longest match; lstrip and
// rstrip swallow white space; single_word asks for borders; "normalized" ones are searched after the
// normalizer, the others before.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace bm::tokenizer {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool normalized = false;
  bool single_word = false, lstrip = false, rstrip = false;
};

// A stretch of text: a token (id >= 0) or plain text between tokens.
struct Stretch {
  size_t begin, end;
  int32_t id;
};

class AddedTokenMatcher {
 public:
  // `pattern` is what is searched for (the content, normalized where it must be).
  void add(std::string_view pattern, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  bool only_special() const { return only_special_; }
  // Cuts text into stretches; special tokens are left as text unless parse_special.
  std::vector<Stretch> split(std::string_view text, bool parse_special) const;

 private:
  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> next;
    int32_t token = -1;
  };
  std::vector<Node> nodes_{1};
  bool first_bytes_[256] = {};
  std::vector<AddedToken> tokens_;
  bool only_special_ = true;
};

}  // namespace bm::tokenizer
