#include "tokenizer/sentencepiece.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece_parts.h"
#include "tokenizer/unicode.h"

namespace bm::tokenizer {

namespace {

// One field after another of a message. Lengths are checked against the message's end.
class WireReader {
 public:
  WireReader(std::string_view bytes, size_t offset) : bytes_(bytes), offset_(offset) {}
  struct FieldValue {
    uint32_t number = 0;
    uint32_t wire = 0;
    uint64_t value = 0;      // wires 0, 1, 5
    std::string_view bytes;  // wire 2
    size_t offset = 0;       // of `bytes` in the file
  };
  bool done() const { return at_ >= bytes_.size(); }

  Result<FieldValue> next() {
    FieldValue field;
    BM_TRY(uint64_t key, varint());
    field.number = static_cast<uint32_t>(std::min<uint64_t>(key >> 3, 0xFFFFFFFFu));
    field.wire = static_cast<uint32_t>(key & 7);
    if (field.number == 0) return error("field number 0");
    if (field.wire == 0) {
      BM_TRY(field.value, varint());
    } else if (field.wire == 1 || field.wire == 5) {
      size_t size = field.wire == 1 ? 8 : 4;
      if (bytes_.size() - at_ < size) return error("the file ends inside a number");
      std::memcpy(&field.value, bytes_.data() + at_, size);
      at_ += size;
    } else if (field.wire == 2) {
      BM_TRY(uint64_t length, varint());
      if (length > bytes_.size() - at_) return error("a field is longer than what is left of the file");
      field.offset = offset_ + at_;
      field.bytes = bytes_.substr(at_, length);
      at_ += length;
    } else {
      return error("wire type " + std::to_string(field.wire) + " is not used by this format");
    }
    return field;
  }

 private:
  Error error(std::string what) const {
    return bad_input("not a SentencePiece model: " + std::move(what),
                     "The file may be cut off; fetch it again.")
        .in("offset " + std::to_string(offset_ + at_));
  }
  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ >= bytes_.size()) return error("the file ends inside a number");
      auto byte = static_cast<uint8_t>(bytes_[at_++]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return error("a number is longer than 64 bits");
  }
  std::string_view bytes_;
  size_t at_ = 0, offset_;
};

int64_t as_int32(uint64_t value) { return static_cast<int32_t>(static_cast<uint32_t>(value)); }

Status read_piece(const WireReader::FieldValue& message, SentencePieceModel& model) {
  WireReader reader(message.bytes, message.offset);
  SentencePiece piece;
  while (!reader.done()) {
    BM_TRY(auto field, reader.next());
    if (field.number == 1 && field.wire == 2) piece.text = std::string(field.bytes);
    if (field.number == 2 && field.wire == 5) {
      auto bits = static_cast<uint32_t>(field.value);
      std::memcpy(&piece.score, &bits, 4);
    }
    if (field.number == 3 && field.wire == 0) {
      if (field.value < 1 || field.value > 6) {
        return bad_input("piece " + std::to_string(model.pieces.size()) + " has the unknown type " +
                         std::to_string(field.value));
      }
      piece.type = static_cast<PieceType>(field.value);
    }
  }
  if (model.pieces.size() > static_cast<size_t>(largest_token_id)) return bad_input("too many pieces");
  model.pieces.push_back(std::move(piece));
  return {};
}

Status read_trainer(const WireReader::FieldValue& message, SentencePieceModel& model) {
  WireReader reader(message.bytes, message.offset);
  while (!reader.done()) {
    BM_TRY(auto field, reader.next());
    if (field.wire != 0) continue;
    switch (field.number) {
      case 3:
        model.model_type = as_int32(field.value);
        break;
      case 24:
        model.space_as_suffix = field.value != 0;
        break;
      case 40:
        model.unknown_id = as_int32(field.value);
        break;
      case 41:
        model.bos_id = as_int32(field.value);
        break;
      case 42:
        model.eos_id = as_int32(field.value);
        break;
      case 43:
        model.pad_id = as_int32(field.value);
        break;
      default:
        break;
    }
  }
  return {};
}

Status read_normalizer(const WireReader::FieldValue& message, SentencePieceModel& model) {
  WireReader reader(message.bytes, message.offset);
  while (!reader.done()) {
    BM_TRY(auto field, reader.next());
    if (field.number == 1 && field.wire == 2) model.normalizer_name = std::string(field.bytes);
    if (field.number == 2 && field.wire == 2) model.has_character_map = !field.bytes.empty();
    if (field.wire != 0) continue;
    if (field.number == 3) model.add_dummy_prefix = field.value != 0;
    if (field.number == 4) model.remove_extra_spaces = field.value != 0;
    if (field.number == 5) model.escape_spaces = field.value != 0;
  }
  return {};
}

// Every way to put a piece together from two others, ranked by its score (SentencePiece merges the
// pair whose piece scores highest, leftmost among equals).
std::vector<Merge> derive_merges(const std::vector<SentencePiece>& pieces, const Vocabulary& vocabulary) {
  std::map<float, uint32_t, std::greater<>> ranks;
  for (const SentencePiece& piece : pieces) {
    if (piece.type == PieceType::normal) ranks.emplace(piece.score, 0);
  }
  uint32_t rank = 0;
  for (auto& [score, value] : ranks) value = rank++;
  auto mergeable = [&](std::string_view text) -> int32_t {
    auto id = vocabulary.id(text);
    return id && pieces[static_cast<size_t>(*id)].type == PieceType::normal ? *id : -1;
  };
  std::vector<Merge> merges;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const SentencePiece& piece = pieces[id];
    if (piece.type != PieceType::normal || piece.text.size() > 4096) continue;
    std::string_view text = piece.text;
    for (size_t cut = 0; cut < text.size();) {
      cut += unicode::decode_ascii_fast(text, cut).length;
      if (cut >= text.size()) break;
      int32_t left = mergeable(text.substr(0, cut)), right = mergeable(text.substr(cut));
      if (left >= 0 && right >= 0)
        merges.push_back({left, right, static_cast<int32_t>(id), ranks[piece.score]});
    }
  }
  return merges;
}

Status check_supported(const SentencePieceModel& model) {
  if (model.model_type != 2) {
    static constexpr const char* names[] = {"?", "unigram", "BPE", "word", "char"};
    const char* name = model.model_type >= 1 && model.model_type <= 4 ? names[model.model_type] : "?";
    return bad_input(
        std::string("SentencePiece models of type ") + name + " are not supported",
        "Mistral's and Llama's are of type BPE; a tokenizer.json beside the file would be used first.");
  }
  if (model.has_character_map) {
    return bad_input("this SentencePiece model normalizes text by a character map (\"" +
                         model.normalizer_name + "\"), which is not supported",
                     "Only the normalization \"identity\" is, as in Mistral's and Llama's models.");
  }
  if (model.space_as_suffix) return bad_input("treat_whitespace_as_suffix is not supported");
  return {};
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece(std::string_view bytes) {
  SentencePieceModel model;
  WireReader reader(bytes, 0);
  while (!reader.done()) {
    BM_TRY(auto field, reader.next());
    if (field.wire != 2) continue;
    if (field.number == 1) BM_CHECK_OK(read_piece(field, model));
    if (field.number == 2) BM_CHECK_OK(read_trainer(field, model));
    if (field.number == 3) BM_CHECK_OK(read_normalizer(field, model));
  }
  if (model.pieces.empty()) {
    return bad_input("not a SentencePiece model: it holds no pieces", "Is this really a tokenizer.model?");
  }
  return model;
}

Result<Parts> parts_from_pieces(const SentencePieceModel& model) {
  Parts parts;
  BpeOptions options{.byte_fallback = true, .fuse_unknown = true};
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePiece& piece = model.pieces[id];
    if (piece.type == PieceType::unused) {
      return bad_input("piece " + std::to_string(id) + " (\"" + piece.text +
                       "\") is marked unused: such models are not supported");
    }
    BM_CHECK_OK(parts.vocabulary.add(piece.text, static_cast<int64_t>(id)));
    AddedToken token{.content = piece.text, .id = static_cast<int32_t>(id), .special = true};
    if (piece.type == PieceType::unknown) options.unknown = token.id;
    if (piece.type == PieceType::user_defined) {
      token.special = false;
      token.normalized = true;
    } else if (piece.type != PieceType::unknown && piece.type != PieceType::control) {
      continue;
    }
    parts.added.push_back(std::move(token));
  }
  if (model.remove_extra_spaces) parts.normalizer.push_back(make_collapse_spaces());
  const std::string space = model.escape_spaces ? "▁" : " ";
  if (model.add_dummy_prefix) parts.normalizer.push_back(make_prepend(space));
  if (model.escape_spaces) parts.normalizer.push_back(make_replace(unicode::Regex::literal(" "), "▁"));
  BM_TRY(parts.model, Bpe::make(parts.vocabulary, derive_merges(model.pieces, parts.vocabulary), options));
  parts.decoder = sentencepiece_decoder(model.add_dummy_prefix);
  auto id_or_none = [&](int64_t id) -> std::optional<int32_t> {
    if (id < 0 || id >= static_cast<int64_t>(model.pieces.size())) return std::nullopt;
    return static_cast<int32_t>(id);
  };
  parts.bos = id_or_none(model.bos_id);
  parts.eos = id_or_none(model.eos_id);
  return parts;
}

Result<Parts> parts_from_sentencepiece(std::string_view bytes, const Json& names) {
  BM_TRY(SentencePieceModel model, parse_sentencepiece(bytes));
  BM_CHECK_OK(check_supported(model));
  BM_TRY(Parts parts, parts_from_pieces(model));
  BM_TRY(bool add_bos, names.get_bool("add_bos_token", true));
  BM_TRY(bool add_eos, names.get_bool("add_eos_token", false));
  parts.post_processor =
      bos_eos_processor(add_bos ? parts.bos.value_or(-1) : -1, add_eos ? parts.eos.value_or(-1) : -1);
  return parts;
}

}  // namespace bm::tokenizer
