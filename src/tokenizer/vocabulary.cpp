#include "tokenizer/vocabulary.h"

#include <array>

#include "tokenizer/unicode.h"

namespace bm::tokenizer {

Status Vocabulary::add(std::string_view text, int64_t id) {
  if (id < 0 || id > largest_token_id) {
    return bad_input("token \"" + std::string(text.substr(0, 60)) + "\" has the id " + std::to_string(id) +
                     ", which is outside 0…" + std::to_string(largest_token_id));
  }
  auto index = static_cast<size_t>(id);
  if (index >= texts_.size()) {
    texts_.resize(index + 1);
    present_.resize(index + 1, false);
  }
  if (present_[index] && texts_[index] != text) {
    return bad_input("id " + std::to_string(id) + " stands for two tokens, \"" + texts_[index] + "\" and \"" +
                     std::string(text.substr(0, 60)) + "\"");
  }
  auto [entry, inserted] = ids_.try_emplace(std::string(text), static_cast<int32_t>(id));
  if (!inserted && entry->second != static_cast<int32_t>(id)) {
    return bad_input("token \"" + std::string(text.substr(0, 60)) + "\" has two ids, " +
                     std::to_string(entry->second) + " and " + std::to_string(id));
  }
  present_[index] = true;
  texts_[index] = std::string(text);
  return {};
}

namespace {
struct Alphabet {
  std::array<uint32_t, 256> of_byte{};
  std::array<int16_t, 0x144> to_byte{};
  Alphabet() {
    to_byte.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
      of_byte[b] = printable ? b : next++;
      to_byte[of_byte[b]] = static_cast<int16_t>(b);
    }
  }
};
const Alphabet& alphabet() {
  static const Alphabet value;
  return value;
}
}  // namespace

uint32_t byte_to_alphabet(uint8_t byte) { return alphabet().of_byte[byte]; }

std::optional<uint8_t> alphabet_to_byte(uint32_t c) {
  const auto& table = alphabet().to_byte;
  if (c >= table.size() || table[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(table[c]);
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  for (char c : bytes) unicode::append(out, byte_to_alphabet(static_cast<uint8_t>(c)));
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    auto c = unicode::decode_ascii_fast(text, i);
    auto byte = alphabet_to_byte(c.value);
    if (!byte || !c.valid) return std::nullopt;
    out.push_back(static_cast<char>(*byte));
    i += c.length;
  }
  return out;
}

std::optional<uint8_t> byte_token_value(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return std::nullopt;
  auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  int high = digit(token[3]), low = digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

std::string byte_token(uint8_t byte) {
  static constexpr char digits[] = "0123456789ABCDEF";
  return std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">";
}

}  // namespace bm::tokenizer
