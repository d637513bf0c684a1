#include "training/blocks.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "formats/jsonl.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

constexpr int64_t default_length = 2048;
constexpr int32_t no_target = -100;

Error too_short(uint64_t tokens, int64_t length) {
  return bad_input(
      "holds " + std::to_string(tokens) + " tokens, fewer than one block of " + std::to_string(length),
      "Give more data or a smaller --sequence-length");
}

// Integers of a tensor as int32; values that do not fit become an impossible token.
Result<std::vector<int32_t>> integers(const TensorView& view) {
  std::vector<int32_t> values(static_cast<size_t>(view.count()));
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t value;
    if (view.dtype == DType::i64) {
      value = view.as<int64_t>()[i];
    } else if (view.dtype == DType::i32) {
      value = view.as<int32_t>()[i];
    } else {
      return bad_input("is " + std::string(dtype_name(view.dtype)) + ", I64 or I32 are wanted");
    }
    bool fits = value >= no_target && value <= std::numeric_limits<int32_t>::max();
    values[i] = fits ? static_cast<int32_t>(value) : std::numeric_limits<int32_t>::min();
  }
  return values;
}

}  // namespace

Status Blocks::check_vocabulary(const std::string& path, int64_t vocab) const {
  auto check = [&](const std::vector<int32_t>& values, bool label, const char* what) -> Status {
    for (size_t i = 0; i < values.size(); ++i) {
      if ((values[i] >= 0 && values[i] < vocab) || (label && values[i] == no_target)) continue;
      size_t length = static_cast<size_t>(length_);
      return bad_input(std::string(what) + " " + std::to_string(values[i]) + " at position " +
                           std::to_string(i % length) + " is outside the model's vocabulary of " +
                           std::to_string(vocab),
                       "The data were made with another tokenizer; build the corpus with this model's")
          .in("block " + std::to_string(i / length))
          .in(path);
    }
    return {};
  };
  BM_CHECK_OK(check(tokens_, false, "token"));
  BM_CHECK_OK(check(tail_, false, "token"));
  return check(labels_, true, "label");
}

Result<Blocks> Blocks::from_megatron(const std::string& path, int64_t length, int64_t vocab) {
  BM_TRY(MegatronReader reader, MegatronReader::open(path));
  Blocks blocks;
  blocks.length_ = length;
  if (length == 0) {
    bool equal = reader.sequences() > 0;
    for (uint64_t i = 1; i < reader.sequences(); ++i) equal = equal && reader.length(i) == reader.length(0);
    blocks.length_ = equal && reader.length(0) > 1 ? reader.length(0) : default_length;
  }
  std::vector<int32_t> all(reader.tokens());
  uint64_t at = 0;
  for (uint64_t i = 0; i < reader.sequences(); ++i) {
    reader.read(i, all.data() + at);
    at += static_cast<uint64_t>(reader.length(i));
  }
  auto size = static_cast<uint64_t>(blocks.length_);
  blocks.count_ = all.size() / size;
  if (blocks.count_ == 0) return too_short(all.size(), blocks.length_).in(reader.path());
  blocks.tail_.assign(all.begin() + static_cast<std::ptrdiff_t>(blocks.count_ * size), all.end());
  blocks.unused_ = blocks.tail_.size();
  all.resize(blocks.count_ * size);
  blocks.tokens_ = std::move(all);
  BM_CHECK_OK(blocks.check_vocabulary(reader.path(), vocab));
  return blocks;
}

Result<Blocks> Blocks::from_safetensors(const std::string& path, int64_t length, int64_t vocab) {
  BM_TRY(SafetensorsFile file, SafetensorsFile::open(path));
  BM_TRY(TensorView ids, file.get("input_ids"));
  if (ids.shape.size() != 2 || ids.shape[0] == 0 || ids.shape[1] < 2)
    return bad_input("shape " + shape_text(ids.shape) +
                     ", [blocks, length] with a length of 2 or more is wanted")
        .in("input_ids")
        .in(path);
  if (length != 0 && length != ids.shape[1])
    return bad_input("its blocks have " + std::to_string(ids.shape[1]) +
                         " tokens, --sequence-length asks for " + std::to_string(length),
                     "Leave --sequence-length out")
        .in(path);
  Blocks blocks;
  blocks.count_ = static_cast<uint64_t>(ids.shape[0]);
  blocks.length_ = ids.shape[1];
  BM_TRY(blocks.tokens_, integers(ids).in("input_ids").in(path));
  if (file.find("labels")) {
    BM_TRY(TensorView labels, file.get("labels"));
    if (labels.shape != ids.shape)
      return bad_input("shape " + shape_text(labels.shape) + " differs from input_ids' " +
                       shape_text(ids.shape))
          .in("labels")
          .in(path);
    BM_TRY(blocks.labels_, integers(labels).in("labels").in(path));
  }
  BM_CHECK_OK(blocks.check_vocabulary(path, vocab));
  return blocks;
}

namespace {

// The block length a corpus folder was packed for, as its stats.json says; 0 when it says nothing.
Result<int64_t> packed_length(const std::string& folder) {
  std::string path = path_join(folder, "stats.json");
  if (!exists(path)) return int64_t{0};
  BM_TRY(Json stats, read_json_file(path));
  return stats["packing"].get_int("sequence_length", 0).in(path);
}

}  // namespace

Result<Blocks> Blocks::open(const std::string& path, int64_t length, int64_t vocab) {
  if (path.empty())
    return bad_input("no data given", "Give --data a corpus folder, a Megatron pair or a safetensors file");
  if (length != 0 && length < 2)
    return bad_input("--sequence-length " + std::to_string(length) + " leaves no target", "Use 2 or more");
  if (ends_with(path, ".safetensors")) return from_safetensors(path, length, vocab);
  if (!is_directory(path)) return from_megatron(path, length, vocab);
  if (exists(path_join(path, "tokens.idx"))) {
    BM_TRY(int64_t packed, packed_length(path));
    return from_megatron(path_join(path, "tokens"), length ? length : packed, vocab);
  }
  return bad_input("holds no tokens.idx, so it is no corpus folder (or its build did not finish)",
                   "Run `biomistral corpus build` first")
      .in(path);
}

Result<Blocks> Blocks::from_text(const std::string& path, const Tokenizer& tokenizer, int64_t length,
                                 int64_t vocab) {
  Blocks blocks;
  blocks.length_ = length;
  auto eos = tokenizer.eos_id();
  std::vector<int32_t> all;
  BM_CHECK_OK(for_each_jsonl(path, [&](const Json& line, uint64_t) -> Status {
    BM_TRY(std::string text, line.get_string("text"));
    for (int32_t id : tokenizer.encode(text)) all.push_back(id);
    if (eos && (all.empty() || all.back() != *eos)) all.push_back(*eos);
    return {};
  }));
  if (all.size() < 2) return bad_input("holds no text").in(path);
  blocks.count_ = all.size() / static_cast<uint64_t>(length);
  auto cut = all.begin() + static_cast<std::ptrdiff_t>(blocks.count_ * static_cast<uint64_t>(length));
  blocks.tail_.assign(cut, all.end());
  blocks.tokens_.assign(all.begin(), cut);
  BM_CHECK_OK(blocks.check_vocabulary(path, vocab));
  return blocks;
}

void Blocks::read(uint64_t block, int32_t* tokens, int32_t* labels) const {
  auto length = static_cast<size_t>(length_);
  const int32_t* from = tokens_.data() + block * length;
  std::copy(from, from + length, tokens);
  const int32_t* label = labels_.empty() ? from : labels_.data() + block * length;
  std::copy(label, label + length, labels);
}

int64_t Blocks::targets(uint64_t block) const {
  if (labels_.empty()) return length_ - 1;
  const int32_t* label = labels_.data() + block * static_cast<uint64_t>(length_);
  return static_cast<int64_t>(
      std::count_if(label + 1, label + length_, [](int32_t l) { return l != no_target; }));
}

}  // namespace bm
