#include "formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/json.h"
#include "base/options.h"

namespace bm {
namespace {

// The reference's name of an error closes the message, so that users find the same words elsewhere.
Error malformed(const std::string& what, std::string_view kind, std::string cure = {}) {
  return bad_input(what + " (" + std::string(kind) + ")", std::move(cure));
}

constexpr std::string_view download_again = "The file is damaged or no safetensors file; download it again";

bool is_json_space(std::byte b) {
  char c = static_cast<char>(b);
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    auto c = static_cast<unsigned char>(text[i]);
    size_t more = c < 0x80 ? 0 : (c & 0xe0) == 0xc0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : (c & 0xf8) == 0xf0 ? 3 : 4;
    if (more == 4 || i + more >= text.size() + (more == 0 ? 1 : 0)) return false;
    uint32_t point = more == 0 ? c : c & (0x3fu >> more);
    for (size_t k = 1; k <= more; ++k) {
      auto d = static_cast<unsigned char>(text[i + k]);
      if ((d & 0xc0) != 0x80) return false;
      point = point << 6 | (d & 0x3fu);
    }
    constexpr uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
    i += more + 1;
  }
  return true;
}

// Product of the dimensions times the bits of an element, as the reference checks it: in 64 bits.
Result<uint64_t> checked_bits(const SafetensorsEntry& entry) {
  uint64_t bits = 1;
  for (int64_t dimension : entry.shape)
    if (__builtin_mul_overflow(bits, static_cast<uint64_t>(dimension), &bits))
      return malformed("the product of shape " + shape_text(entry.shape) + " does not fit 64 bits",
                       "ValidationOverflow", std::string(download_again));
  if (__builtin_mul_overflow(bits, uint64_t{dtype_bits(entry.dtype)}, &bits))
    return malformed("the size of shape " + shape_text(entry.shape) + " does not fit 64 bits",
                     "ValidationOverflow", std::string(download_again));
  return bits;
}

Result<Shape> parse_shape(const Json& json) {
  if (!json.is_array()) return malformed("\"shape\" is missing or no list", "InvalidHeaderDeserialization");
  Shape shape;
  for (const Json& dimension : json.items()) {
    if (dimension.type() == Json::Type::unsigned_integer)
      return malformed("dimension " + dimension.dump() + " is too large", "ValidationOverflow");
    if (!dimension.is_integer() || dimension.as_int() < 0)
      return malformed("dimension " + dimension.dump() + " is no integer of 0 or more",
                       "InvalidHeaderDeserialization");
    shape.push_back(dimension.as_int());
  }
  return shape;
}

Result<SafetensorsEntry> parse_entry(const std::string& name, const Json& json) {
  SafetensorsEntry entry;
  entry.name = name;
  if (!json.is_object()) return malformed("is no object", "InvalidHeaderDeserialization");
  const Json& dtype = json["dtype"];
  if (!dtype.is_string())
    return malformed("\"dtype\" is missing or no string", "InvalidHeaderDeserialization");
  auto known = dtype_from_safetensors(dtype.as_string());
  if (!known) return malformed("unknown dtype \"" + dtype.as_string() + "\"", "InvalidHeaderDeserialization");
  entry.dtype = *known;
  BM_TRY(entry.shape, parse_shape(json["shape"]));
  const Json& offsets = json["data_offsets"];
  auto is_offset = [](const Json& value) {
    return value.type() == Json::Type::unsigned_integer || (value.is_integer() && value.as_int() >= 0);
  };
  if (!offsets.is_array() || offsets.size() != 2 || !is_offset(offsets[0]) || !is_offset(offsets[1]))
    return malformed("\"data_offsets\" is no pair of integers of 0 or more", "InvalidHeaderDeserialization");
  entry.begin = offsets[0].as_uint();
  entry.end = offsets[1].as_uint();
  return entry;
}

Result<SafetensorsMetadata> parse_metadata(const Json& json) {
  SafetensorsMetadata metadata;
  if (json.is_null()) return metadata;
  if (!json.is_object()) return malformed("is no object", "InvalidHeaderDeserialization");
  for (const auto& [key, value] : json.members()) {
    if (!value.is_string()) return malformed("\"" + key + "\" is no string", "InvalidHeaderDeserialization");
    metadata.emplace_back(key, value.as_string());
  }
  return metadata;
}

// Tensors must tile the data section: no hole, no overlap, each as long as its shape says.
Status check_entries(const std::vector<SafetensorsEntry>& entries) {
  uint64_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    std::string place = "tensor " + entry.name;
    if (entry.begin != position || entry.end < entry.begin)
      return malformed("data_offsets [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) +
                           "] " +
                           (entry.end < entry.begin  ? "run backwards"
                            : entry.begin < position ? "overlap the tensor before"
                                                     : "leave a hole after the tensor before") +
                           ", which ends at " + std::to_string(position),
                       "InvalidOffset", std::string(download_again))
          .in(place);
    BM_TRY(uint64_t bits, checked_bits(entry).in(place));
    if (bits % 8 != 0)
      return malformed("shape " + shape_text(entry.shape) + " of " + std::string(dtype_name(entry.dtype)) +
                           " is no whole number of bytes",
                       "MisalignedSlice")
          .in(place);
    if (bits / 8 != entry.end - entry.begin)
      return malformed("shape " + shape_text(entry.shape) + " of " + std::string(dtype_name(entry.dtype)) +
                           " needs " + std::to_string(bits / 8) + " bytes, its data_offsets hold " +
                           std::to_string(entry.end - entry.begin),
                       "TensorInvalidInfo", std::string(download_again))
          .in(place);
    position = entry.end;
  }
  return {};
}

Result<uint64_t> header_length(std::span<const std::byte> bytes, uint64_t file_size) {
  if (file_size < 8 || bytes.size() < 8)
    return malformed("file is " + std::to_string(file_size) + " bytes, too short for a safetensors header",
                     "HeaderTooSmall", std::string(download_again));
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<uint64_t>(bytes[i]);
  if (length > max_safetensors_header)
    return malformed("header length " + std::to_string(length) + " is above the format's limit of " +
                         std::to_string(max_safetensors_header) + " bytes",
                     "HeaderTooLarge", std::string(download_again));
  if (length > file_size - 8 || length > bytes.size() - 8)
    return malformed("file is " + std::to_string(file_size) + " bytes, header alone promises " +
                         std::to_string(length + 8) + ": truncated",
                     "InvalidHeaderLength", "Download it again");
  return length;
}

}  // namespace

uint64_t TensorSpec::bytes() const {
  return (static_cast<uint64_t>(element_count(shape)) * dtype_bits(dtype) + 7) / 8;
}

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> bytes, uint64_t file_size) {
  BM_TRY(uint64_t length, header_length(bytes, file_size));
  std::span<const std::byte> json_bytes = bytes.subspan(8, static_cast<size_t>(length));
  while (!json_bytes.empty() && is_json_space(json_bytes.front())) json_bytes = json_bytes.subspan(1);
  while (!json_bytes.empty() && is_json_space(json_bytes.back()))
    json_bytes = json_bytes.first(json_bytes.size() - 1);
  std::string_view text(reinterpret_cast<const char*>(json_bytes.data()), json_bytes.size());
  if (!valid_utf8(text))
    return malformed("header is not UTF-8", "InvalidHeader", std::string(download_again));
  JsonParseOptions options;
  options.max_depth = 8;
  auto parsed = parse_json(text, options);
  if (!parsed.ok())
    return malformed("header: " + parsed.error().what(), "InvalidHeaderDeserialization",
                     std::string(download_again));
  if (!parsed->is_object())
    return malformed("header is no JSON object", "InvalidHeaderDeserialization", std::string(download_again));
  SafetensorsHeader header;
  header.data_start = length + 8;
  header.entries.reserve(parsed->size());
  for (const auto& [name, value] : parsed->members()) {
    if (name == "__metadata__") {
      BM_TRY(header.metadata, parse_metadata(value).in("__metadata__"));
    } else {
      BM_TRY(auto entry, parse_entry(name, value).in("tensor " + name));
      header.entries.push_back(std::move(entry));
    }
  }
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  BM_CHECK_OK(check_entries(header.entries));
  uint64_t data = header.entries.empty() ? 0 : header.entries.back().end;
  uint64_t promised = 0;
  if (__builtin_add_overflow(header.data_start, data, &promised) || promised != file_size)
    return malformed(
        "file is " + std::to_string(file_size) + " bytes, header promises " + std::to_string(promised) +
            (file_size < promised ? ": truncated" : ": bytes follow the last tensor"),
        "MetadataIncompleteBuffer", file_size < promised ? "Download it again" : std::string(download_again));
  return header;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  BM_TRY(MappedFile file, MappedFile::open(path));
  BM_TRY(SafetensorsHeader header, parse_safetensors_header(file.bytes(), file.size()).in(path));
  auto state = std::make_shared<State>();
  state->file = std::move(file);
  state->header = std::move(header);
  for (size_t i = 0; i < state->header.entries.size(); ++i)
    state->index.emplace(state->header.entries[i].name, i);
  SafetensorsFile result;
  result.state_ = std::move(state);
  return result;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  auto found = state_->index.find(name);
  return found == state_->index.end() ? nullptr : &state_->header.entries[found->second];
}

TensorView SafetensorsFile::view(const SafetensorsEntry& entry) const {
  const std::byte* data = state_->file.bytes().data() + state_->header.data_start + entry.begin;
  TensorView view{entry.dtype, entry.shape, data, state_};
  // Headers of other writers may leave the data at an odd address; elements are then moved to a good one.
  size_t element = std::max<size_t>(1, dtype_bits(entry.dtype) / 8);
  if (reinterpret_cast<uintptr_t>(data) % element != 0) return Tensor::copy_of(view).view();
  return view;
}

Result<TensorView> SafetensorsFile::get(std::string_view name) const {
  if (const SafetensorsEntry* entry = find(name)) return view(*entry);
  std::vector<std::string> names;
  for (const auto& entry : entries()) names.push_back(entry.name);
  std::string nearest = nearest_word(name, names);
  return bad_input("no tensor " + std::string(name), nearest.empty() ? "" : "The nearest name is " + nearest)
      .in(path());
}

void SafetensorsFile::drop_pages() const { state_->file.drop(0, state_->file.size()); }

}  // namespace bm
