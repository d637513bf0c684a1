#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace bm {
namespace {

struct TypeInfo {
  uint32_t type;
  const char* name;
  uint32_t elements, bytes;  // of a block; dense types have blocks of one element
  int dtype, blocks;         // values of DType and BlockType, -1 when none
};

constexpr int none = -1;
constexpr int of(DType type) { return static_cast<int>(type); }
constexpr int of(BlockType type) { return static_cast<int>(type); }

constexpr TypeInfo types[] = {{0, "F32", 1, 4, of(DType::f32), none},
                              {1, "F16", 1, 2, of(DType::f16), none},
                              {2, "Q4_0", 32, 18, none, of(BlockType::q4_0)},
                              {3, "Q4_1", 32, 20, none, of(BlockType::q4_1)},
                              {6, "Q5_0", 32, 22, none, of(BlockType::q5_0)},
                              {7, "Q5_1", 32, 24, none, of(BlockType::q5_1)},
                              {8, "Q8_0", 32, 34, none, of(BlockType::q8_0)},
                              {9, "Q8_1", 32, 36, none, none},
                              {10, "Q2_K", 256, 84, none, none},
                              {11, "Q3_K", 256, 110, none, none},
                              {12, "Q4_K", 256, 144, none, of(BlockType::q4_k)},
                              {13, "Q5_K", 256, 176, none, of(BlockType::q5_k)},
                              {14, "Q6_K", 256, 210, none, of(BlockType::q6_k)},
                              {15, "Q8_K", 256, 292, none, none},
                              {16, "IQ2_XXS", 256, 66, none, none},
                              {17, "IQ2_XS", 256, 74, none, none},
                              {18, "IQ3_XXS", 256, 98, none, none},
                              {19, "IQ1_S", 256, 50, none, none},
                              {20, "IQ4_NL", 32, 18, none, none},
                              {21, "IQ3_S", 256, 110, none, none},
                              {22, "IQ2_S", 256, 82, none, none},
                              {23, "IQ4_XS", 256, 136, none, none},
                              {24, "I8", 1, 1, of(DType::i8), none},
                              {25, "I16", 1, 2, of(DType::i16), none},
                              {26, "I32", 1, 4, of(DType::i32), none},
                              {27, "I64", 1, 8, of(DType::i64), none},
                              {28, "F64", 1, 8, of(DType::f64), none},
                              {29, "IQ1_M", 256, 56, none, none},
                              {30, "BF16", 1, 2, of(DType::bf16), none},
                              {34, "TQ1_0", 256, 54, none, none},
                              {35, "TQ2_0", 256, 66, none, none},
                              {39, "MXFP4", 32, 17, none, none}};

const TypeInfo* type_info(uint32_t type) {
  for (const TypeInfo& info : types)
    if (info.type == type) return &info;
  return nullptr;
}

constexpr const char* again = "The file is damaged or cut off; download it again";

}  // namespace

std::string ggml_type_name(uint32_t type) {
  const TypeInfo* info = type_info(type);
  return info ? info->name : "type " + std::to_string(type);
}

uint32_t ggml_type_of(BlockType type) {
  for (const TypeInfo& info : types)
    if (info.blocks == of(type)) return info.type;
  return ~uint32_t{0};
}

uint32_t ggml_type_of(DType type) {
  for (const TypeInfo& info : types)
    if (info.dtype == of(type)) return info.type;
  return ~uint32_t{0};
}

// Reads front to back; every read checks what is left.
class GgufParser {
 public:
  explicit GgufParser(std::span<const std::byte> bytes) : bytes_(bytes) {}

  Status parse(GgufFile::State& state) {
    BM_TRY(uint64_t counts_tensors, header(state));
    BM_TRY(uint64_t keys, number<uint64_t>("key count"));
    if (keys > left() / 13) return bad("promises " + std::to_string(keys) + " keys");
    state.metadata = Json::object();
    for (uint64_t i = 0; i < keys; ++i) BM_CHECK_OK(key_value(state.metadata));
    if (counts_tensors > left() / 24) return bad("promises " + std::to_string(counts_tensors) + " tensors");
    BM_TRY(uint64_t alignment, data_alignment(state.metadata));
    for (uint64_t i = 0; i < counts_tensors; ++i) {
      BM_TRY(GgufTensor tensor, tensor_info(alignment));
      state.tensors.push_back(std::move(tensor));
    }
    uint64_t start = (position_ + alignment - 1) / alignment * alignment;
    if (start > bytes_.size() && !state.tensors.empty()) return bad("ends before its data");
    state.data_start = start;
    return check_extents(state);
  }

 private:
  Error bad(const std::string& what) const {
    return bad_input("GGUF offset " + std::to_string(position_) + ": " + what, again);
  }
  uint64_t left() const { return bytes_.size() - position_; }

  template <class T>
  Result<T> number(const char* what) {
    if (left() < sizeof(T)) return bad(std::string(what) + " is cut off");
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }

  Result<std::string> text(const char* what, uint64_t limit = ~uint64_t{0}) {
    BM_TRY(uint64_t length, number<uint64_t>(what));
    if (length > left() || length > limit)
      return bad(std::string(what) + " of " + std::to_string(length) + " bytes");
    std::string value(reinterpret_cast<const char*>(bytes_.data()) + position_, length);
    position_ += length;
    return value;
  }

  Result<uint64_t> header(GgufFile::State& state) {
    if (bytes_.size() < 24) return bad("file is " + std::to_string(bytes_.size()) + " bytes, too short");
    if (std::memcmp(bytes_.data(), "GGUF", 4) != 0) return bad("does not begin with GGUF");
    position_ = 4;
    BM_TRY(state.version, number<uint32_t>("version"));
    if (state.version > 0xffff)
      return bad_input("GGUF: big-endian file", "Only little-endian files are read");
    if (state.version != 2 && state.version != 3)
      return bad_input("GGUF version " + std::to_string(state.version) + " is not supported",
                       "Versions 2 and 3 are; convert the model again with a current llama.cpp");
    return number<uint64_t>("tensor count");
  }

  static uint64_t scalar_size(uint32_t type) {
    constexpr uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < std::size(sizes) ? sizes[type] : 0;
  }

  Result<Json> scalar(uint32_t type) {
    constexpr const char* what = "value";
    switch (type) {
      case 0: {
        BM_TRY(auto v, number<uint8_t>(what));
        return Json(static_cast<int64_t>(v));
      }
      case 1: {
        BM_TRY(auto v, number<int8_t>(what));
        return Json(static_cast<int64_t>(v));
      }
      case 2: {
        BM_TRY(auto v, number<uint16_t>(what));
        return Json(static_cast<int64_t>(v));
      }
      case 3: {
        BM_TRY(auto v, number<int16_t>(what));
        return Json(static_cast<int64_t>(v));
      }
      case 4: {
        BM_TRY(auto v, number<uint32_t>(what));
        return Json(static_cast<int64_t>(v));
      }
      case 5: {
        BM_TRY(auto v, number<int32_t>(what));
        return Json(static_cast<int64_t>(v));
      }
      case 6: {
        BM_TRY(auto v, number<float>(what));
        return Json(static_cast<double>(v));
      }
      case 7: {
        BM_TRY(auto v, number<uint8_t>(what));
        if (v > 1) return bad("a truth value of " + std::to_string(v));
        return Json(v == 1);
      }
      case 8: {
        BM_TRY(std::string v, text("string"));
        return Json(std::move(v));
      }
      case 10: {
        BM_TRY(auto v, number<uint64_t>(what));
        return Json(v);
      }
      case 11: {
        BM_TRY(auto v, number<int64_t>(what));
        return Json(v);
      }
      case 12: {
        BM_TRY(auto v, number<double>(what));
        return Json(v);
      }
      default:
        return bad("value of unknown type " + std::to_string(type));
    }
  }

  Result<Json> array() {
    BM_TRY(uint32_t type, number<uint32_t>("array type"));
    BM_TRY(uint64_t count, number<uint64_t>("array length"));
    if (type == 9) return bad("an array of arrays");
    uint64_t least = type == 8 ? 8 : scalar_size(type);
    if (least == 0) return bad("array of unknown type " + std::to_string(type));
    if (count > left() / least) return bad("array of " + std::to_string(count) + " values");
    std::vector<Json> items;
    items.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      BM_TRY(Json item, scalar(type));
      items.push_back(std::move(item));
    }
    return Json::array(std::move(items));
  }

  Status key_value(Json& metadata) {
    BM_TRY(std::string key, text("key", 65535));
    BM_TRY(uint32_t type, number<uint32_t>("value type"));
    if (metadata.contains(key)) return bad("key " + key + " appears twice");
    BM_TRY(Json value, (type == 9 ? array() : scalar(type)).in("key " + key));
    metadata.set(key, std::move(value));
    return {};
  }

  Result<uint64_t> data_alignment(const Json& metadata) const {
    const Json* value = metadata.find("general.alignment");
    if (!value) return uint64_t{32};
    if (!value->is_integer() || value->as_int() <= 0 || value->as_int() > (1 << 20) ||
        !std::has_single_bit(value->as_uint()))
      return bad("general.alignment " + value->dump() + " is no power of two");
    return value->as_uint();
  }

  Result<GgufTensor> tensor_info(uint64_t alignment) {
    GgufTensor tensor;
    BM_TRY(tensor.name, text("tensor name", 1024));
    BM_TRY(uint32_t rank, number<uint32_t>("rank"));
    if (rank > 4) return bad("tensor " + tensor.name + " has rank " + std::to_string(rank));
    uint64_t count = 1;
    for (uint32_t d = 0; d < rank; ++d) {
      BM_TRY(uint64_t dimension, number<uint64_t>("dimension"));
      if (__builtin_mul_overflow(count, dimension, &count) || count > uint64_t{1} << 62 ||
          dimension > uint64_t{1} << 62)
        return bad("the shape of tensor " + tensor.name + " does not fit 64 bits");
      tensor.shape.push_back(static_cast<int64_t>(dimension));
    }
    BM_TRY(tensor.type, number<uint32_t>("tensor type"));
    BM_TRY(tensor.offset, number<uint64_t>("tensor offset"));
    const TypeInfo* info = type_info(tensor.type);
    if (!info) return bad("tensor " + tensor.name + " has unknown type " + std::to_string(tensor.type));
    uint64_t row = rank ? static_cast<uint64_t>(tensor.shape[0]) : 1;
    if (row % info->elements != 0)
      return bad("tensor " + tensor.name + ": rows of " + std::to_string(row) + " do not divide into " +
                 info->name + " blocks of " + std::to_string(info->elements));
    if (__builtin_mul_overflow(count / info->elements, uint64_t{info->bytes}, &tensor.bytes))
      return bad("the size of tensor " + tensor.name + " does not fit 64 bits");
    if (tensor.offset % alignment != 0)
      return bad("tensor " + tensor.name + " is not aligned to " + std::to_string(alignment) + " bytes");
    if (info->dtype != none) tensor.dtype = static_cast<DType>(info->dtype);
    if (info->blocks != none) tensor.blocks = static_cast<BlockType>(info->blocks);
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    return tensor;
  }

  Status check_extents(GgufFile::State& state) const {
    uint64_t data = state.data_start < bytes_.size() ? bytes_.size() - state.data_start : 0;
    std::vector<const GgufTensor*> by_offset;
    for (size_t i = 0; i < state.tensors.size(); ++i) {
      const GgufTensor& tensor = state.tensors[i];
      if (!state.index.emplace(tensor.name, i).second)
        return bad_input("GGUF: tensor " + tensor.name + " appears twice", again);
      if (tensor.offset > data || tensor.bytes > data - tensor.offset)
        return bad_input("GGUF: file is " + std::to_string(bytes_.size()) + " bytes, tensor " + tensor.name +
                             " ends at " + std::to_string(state.data_start) + " + " +
                             std::to_string(tensor.offset) + " + " + std::to_string(tensor.bytes) +
                             ": truncated",
                         "Download it again");
      by_offset.push_back(&tensor);
    }
    std::sort(by_offset.begin(), by_offset.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < by_offset.size(); ++i)
      if (by_offset[i - 1]->offset + by_offset[i - 1]->bytes > by_offset[i]->offset)
        return bad_input(
            "GGUF: tensors " + by_offset[i - 1]->name + " and " + by_offset[i]->name + " overlap", again);
    return {};
  }

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;

 public:
  static Status check(std::span<const std::byte> bytes) {
    GgufFile::State state;
    return GgufParser(bytes).parse(state);
  }
};

Status check_gguf(std::span<const std::byte> bytes) { return GgufParser::check(bytes); }

Result<GgufFile> GgufFile::open(const std::string& path) {
  auto state = std::make_shared<State>();
  BM_TRY(state->file, MappedFile::open(path));
  BM_CHECK_OK(GgufParser(state->file.bytes()).parse(*state).in(path));
  GgufFile result;
  result.state_ = std::move(state);
  return result;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  auto found = state_->index.find(name);
  return found == state_->index.end() ? nullptr : &state_->tensors[found->second];
}

std::span<const std::byte> GgufFile::data(const GgufTensor& tensor) const {
  return state_->file.bytes().subspan(state_->data_start + tensor.offset, tensor.bytes);
}

void GgufFile::drop_pages() const { state_->file.drop(0, state_->file.size()); }

}  // namespace bm
