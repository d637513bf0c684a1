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
    bool fits = value >= kNoTarget && value <= std::numeric_limits<int32_t>::max();
    values[i] = fits ? static_cast<int32_t>(value) : std::numeric_limits<int32_t>::min();
  }
  return values;
}

}  // namespace

Status Blocks::check_vocabulary(const std::string& path, int64_t vocab) const {
  auto check = [&](const std::vector<int32_t>& values, bool label, const char* what) -> Status {
    for (size_t i = 0; i < values.size(); ++i) {
      if ((values[i] >= 0 && values[i] < vocab) || (label && values[i] == kNoTarget)) continue;
      const auto block = std::upper_bound(starts_.begin(), starts_.end(), i) - starts_.begin() - 1;
      return bad_input(std::string(what) + " " + std::to_string(values[i]) + " at position " +
                           std::to_string(i - starts_[static_cast<size_t>(block)]) +
                           " is outside the model's vocabulary of " + std::to_string(vocab),
                       "The data were made with another tokenizer; build the corpus with this model's")
          .in("block " + std::to_string(block))
          .in(path);
    }
    return {};
  };
  BM_CHECK_OK(check(tokens_, false, "token"));
  return check(labels_, true, "label");
}

// Blocks of `length` over the first `tokens` tokens; the rest is a shorter block, or unused.
void Blocks::cut(uint64_t tokens, int64_t length, bool keep_rest) {
  const auto size = static_cast<uint64_t>(length);
  length_ = length;
  starts_ = {0};
  for (uint64_t at = size; at <= tokens; at += size) starts_.push_back(at);
  const uint64_t rest = tokens - starts_.back();
  if (keep_rest && rest > 1) {
    starts_.push_back(tokens);
  } else {
    unused_ = rest;
    tokens_.resize(starts_.back());
    if (!labels_.empty()) labels_.resize(starts_.back());
  }
  if (count() == 1) length_ = this->length(uint64_t{0});
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
  blocks.tokens_.resize(reader.tokens());
  std::vector<uint64_t> sequence_starts;
  uint64_t at = 0;
  for (uint64_t i = 0; i < reader.sequences(); ++i) {
    sequence_starts.push_back(at);
    reader.read(i, blocks.tokens_.data() + at);
    at += static_cast<uint64_t>(reader.length(i));
  }
  for (uint64_t d = 0; d < reader.documents(); ++d) {
    const auto first = static_cast<uint64_t>(reader.document_starts()[d]);
    if (first < sequence_starts.size()) blocks.documents_.push_back(sequence_starts[first]);
  }
  const int64_t wanted = blocks.length_;
  blocks.cut(at, wanted, false);
  if (blocks.count() == 0) return too_short(at, wanted).in(reader.path());
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
  BM_TRY(blocks.tokens_, integers(ids).in("input_ids").in(path));
  blocks.cut(blocks.tokens_.size(), ids.shape[1], false);
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
  auto eos = tokenizer.eos_id();
  std::vector<int32_t>& all = blocks.tokens_;
  BM_CHECK_OK(for_each_jsonl(path, [&](const Json& line, uint64_t) -> Status {
    BM_TRY(std::string text, line.get_string("text"));
    blocks.documents_.push_back(all.size());
    for (int32_t id : tokenizer.encode(text)) all.push_back(id);
    if (eos && (all.empty() || all.back() != *eos)) all.push_back(*eos);
    return {};
  }));
  if (all.size() < 2) return bad_input("holds no text").in(path);
  blocks.cut(all.size(), length, true);
  BM_CHECK_OK(blocks.check_vocabulary(path, vocab));
  return blocks;
}

Result<Blocks> Blocks::from_examples(const std::string& source, const std::vector<Example>& examples,
                                     int64_t vocab) {
  Blocks blocks;
  for (const Example& example : examples) {
    blocks.tokens_.insert(blocks.tokens_.end(), example.tokens.begin(), example.tokens.end());
    blocks.labels_.insert(blocks.labels_.end(), example.labels.begin(), example.labels.end());
    blocks.starts_.push_back(blocks.tokens_.size());
    blocks.length_ = std::max(blocks.length_, static_cast<int64_t>(example.tokens.size()));
  }
  BM_CHECK_OK(blocks.check_vocabulary(source, vocab));
  return blocks;
}

Result<Blocks> Blocks::packed(const std::string& source, const std::vector<Example>& examples, int64_t length,
                              int64_t vocab) {
  BM_TRY(Blocks blocks, from_examples(source, examples, vocab));
  blocks.documents_.assign(blocks.starts_.begin(), blocks.starts_.end() - 1);
  const uint64_t tokens = blocks.tokens_.size();
  blocks.cut(tokens, length, true);
  return blocks;
}

uint64_t Blocks::bytes() const {
  return (tokens_.size() + labels_.size()) * sizeof(int32_t) +
         (starts_.size() + documents_.size()) * sizeof(uint64_t);
}

void Blocks::read(uint64_t block, int32_t* tokens, int32_t* labels) const {
  const auto begin = static_cast<std::ptrdiff_t>(starts_[block]),
             end = static_cast<std::ptrdiff_t>(starts_[block + 1]);
  std::copy(tokens_.begin() + begin, tokens_.begin() + end, tokens);
  const std::vector<int32_t>& from = labels_.empty() ? tokens_ : labels_;
  std::copy(from.begin() + begin, from.begin() + end, labels);
}

// use(first) for the first token of every piece of the block.
template <class Use>
void Blocks::for_borders(uint64_t block, Use use) const {
  use(starts_[block]);
  if (!masked_) return;
  auto at = std::upper_bound(documents_.begin(), documents_.end(), starts_[block]);
  for (; at != documents_.end() && *at < starts_[block + 1]; ++at) use(*at);
}

int64_t Blocks::targets(uint64_t block) const {
  int64_t found = length(block);
  if (!labels_.empty())
    found =
        static_cast<int64_t>(std::count_if(labels_.begin() + static_cast<std::ptrdiff_t>(starts_[block]),
                                           labels_.begin() + static_cast<std::ptrdiff_t>(starts_[block + 1]),
                                           [](int32_t label) { return label != kNoTarget; }));
  for_borders(block,
              [&](uint64_t first) { found -= labels_.empty() || labels_[first] != kNoTarget ? 1 : 0; });
  return found;
}

void Blocks::pieces(uint64_t block, std::vector<int64_t>& out) const {
  uint64_t before = starts_[block];
  for_borders(block, [&](uint64_t first) {
    if (first > before) out.push_back(static_cast<int64_t>(first - before));
    before = first;
  });
  out.push_back(static_cast<int64_t>(starts_[block + 1] - before));
}

Status Blocks::mask_documents(const std::string& path, std::span<const int64_t> ends) {
  masked_ = true;
  if (documents_.size() > 1) return {};
  documents_.clear();
  for (size_t i = 0; i + 1 < tokens_.size(); ++i)
    if (std::find(ends.begin(), ends.end(), tokens_[i]) != ends.end()) documents_.push_back(i + 1);
  if (documents_.empty())
    return bad_input("--document-mask: the data name no documents and hold no end-of-sequence token",
                     "Build the corpus with `biomistral corpus build`, or leave --document-mask out")
        .in(path);
  return {};
}

void Blocks::append(const Blocks& other) {
  const uint64_t offset = tokens_.size();
  if (!other.labels_.empty() || !labels_.empty()) {
    if (labels_.empty()) labels_ = tokens_;
    const std::vector<int32_t>& from = other.labels_.empty() ? other.tokens_ : other.labels_;
    labels_.insert(labels_.end(), from.begin(), from.end());
  }
  tokens_.insert(tokens_.end(), other.tokens_.begin(), other.tokens_.end());
  for (size_t i = 1; i < other.starts_.size(); ++i) starts_.push_back(offset + other.starts_[i]);
  for (uint64_t first : other.documents_) documents_.push_back(offset + first);
  length_ = std::max(length_, other.length_);
  masked_ = masked_ || other.masked_;
}

}  // namespace bm
