// Tokens by id and ids by token.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace bm::tokenizer {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <class T>
using TextMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

inline constexpr int64_t largest_token_id = 16'777'215;

class Vocabulary {
 public:
  // bad_input when the id is negative or absurd, or when id or text stand for something else already.
  Status add(std::string_view text, int64_t id);
  std::optional<int32_t> id(std::string_view text) const {
    auto found = ids_.find(text);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }
  bool contains(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < present_.size() && present_[static_cast<size_t>(id)]; }
  const std::string& text(int32_t id) const {
    static const std::string none;
    return contains(id) ? texts_[static_cast<size_t>(id)] : none;
  }
  int32_t size() const { return static_cast<int32_t>(texts_.size()); }  // largest id + 1

 private:
  std::vector<std::string> texts_;
  std::vector<bool> present_;
  TextMap<int32_t> ids_;
};

// The printable characters that stand for bytes in byte-level vocabularies (GPT-2's bytes_to_unicode).
uint32_t byte_to_alphabet(uint8_t byte);
std::optional<uint8_t> alphabet_to_byte(uint32_t code_point);
std::string bytes_to_alphabet(std::string_view bytes);
// nullopt when a character is not of the alphabet.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

// "<0x41>" → 0x41.
std::optional<uint8_t> byte_token_value(std::string_view token);
std::string byte_token(uint8_t byte);

}  // namespace bm::tokenizer
