#include <algorithm>
#include <mutex>
#include <numeric>
#include <unordered_set>

#include "base/json.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

// Rank of a dtype in the reference's order of writing, the most strictly aligned first.
int write_rank(DType type) {
  constexpr DType order[] = {
      DType::u64,         DType::i64,     DType::f64,     DType::c64,     DType::f32, DType::u32,
      DType::i32,         DType::bf16,    DType::f16,     DType::u16,     DType::i16, DType::f8_e5m2fnuz,
      DType::f8_e4m3fnuz, DType::f8_e8m0, DType::f8_e4m3, DType::f8_e5m2, DType::i8,  DType::u8,
      DType::f6_e3m2,     DType::f6_e2m3, DType::f4,      DType::boolean};
  return static_cast<int>(std::find(std::begin(order), std::end(order), type) - std::begin(order));
}

std::string quoted_metadata(const SafetensorsMetadata& metadata) {
  std::string text = "\"__metadata__\":{";
  for (size_t i = 0; i < metadata.size(); ++i) {
    if (i) text += ',';
    text += json_quote(metadata[i].first) + ":" + json_quote(metadata[i].second);
  }
  return text + "}";
}

Status check_specs(const std::vector<TensorSpec>& tensors) {
  std::unordered_set<std::string_view> seen;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.name == "__metadata__") return bad_input("a tensor cannot be named __metadata__");
    if (!seen.insert(tensor.name).second) return bad_input("tensor " + tensor.name + " appears twice");
    if (static_cast<uint64_t>(element_count(tensor.shape)) * dtype_bits(tensor.dtype) % 8 != 0)
      return bad_input("shape " + shape_text(tensor.shape) + " of " + std::string(dtype_name(tensor.dtype)) +
                       " is no whole number of bytes (MisalignedSlice)")
          .in("tensor " + tensor.name);
  }
  return {};
}

}  // namespace

Result<SafetensorsLayout> plan_safetensors(const std::vector<TensorSpec>& tensors,
                                           const SafetensorsMetadata& metadata) {
  BM_CHECK_OK(check_specs(tensors));
  SafetensorsLayout layout;
  layout.order.resize(tensors.size());
  std::iota(layout.order.begin(), layout.order.end(), size_t{0});
  std::sort(layout.order.begin(), layout.order.end(), [&](size_t a, size_t b) {
    int rank_a = write_rank(tensors[a].dtype), rank_b = write_rank(tensors[b].dtype);
    return rank_a != rank_b ? rank_a < rank_b : tensors[a].name < tensors[b].name;
  });
  std::string json = "{";
  if (!metadata.empty()) json += quoted_metadata(metadata);
  layout.offsets.resize(tensors.size());
  uint64_t position = 0;
  for (size_t i : layout.order) {
    const TensorSpec& tensor = tensors[i];
    layout.offsets[i] = position;
    uint64_t end = position + tensor.bytes();
    if (json.size() > 1) json += ',';
    json +=
        json_quote(tensor.name) + ":{\"dtype\":\"" + std::string(dtype_name(tensor.dtype)) + "\",\"shape\":[";
    for (size_t d = 0; d < tensor.shape.size(); ++d) json += (d ? "," : "") + std::to_string(tensor.shape[d]);
    json += "],\"data_offsets\":[" + std::to_string(position) + "," + std::to_string(end) + "]}";
    position = end;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > max_safetensors_header)
    return bad_input("the header would have " + std::to_string(json.size()) +
                         " bytes, above the format's limit of " + std::to_string(max_safetensors_header) +
                         " (HeaderTooLarge)",
                     "Write more shards");
  for (int shift = 0; shift < 64; shift += 8)
    layout.header += static_cast<char>(static_cast<uint64_t>(json.size()) >> shift & 0xff);
  layout.header += json;
  for (uint64_t& offset : layout.offsets) offset += layout.header.size();
  layout.file_size = layout.header.size() + position;
  return layout;
}

struct SafetensorsWriter::State {
  AtomicFile file;
  std::string path;
  std::vector<TensorSpec> tensors;
  SafetensorsLayout layout;
  std::mutex mutex;
  std::vector<bool> written;

  State(AtomicFile f, std::string p, std::vector<TensorSpec> t, SafetensorsLayout l)
      : file(std::move(f)),
        path(std::move(p)),
        tensors(std::move(t)),
        layout(std::move(l)),
        written(tensors.size()) {}
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter& SafetensorsWriter::operator=(SafetensorsWriter&&) noexcept = default;
SafetensorsWriter::~SafetensorsWriter() = default;

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path, std::vector<TensorSpec> tensors,
                                                    const SafetensorsMetadata& metadata) {
  BM_TRY(SafetensorsLayout layout, plan_safetensors(tensors, metadata).in(path));
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  BM_CHECK_OK(file.reserve(layout.file_size));
  BM_CHECK_OK(file.write_at(0, std::as_bytes(std::span(layout.header))));
  return SafetensorsWriter(
      std::make_unique<State>(std::move(file), path, std::move(tensors), std::move(layout)));
}

const std::vector<size_t>& SafetensorsWriter::order() const { return state_->layout.order; }

Status SafetensorsWriter::write(size_t index, std::span<const std::byte> bytes) {
  const TensorSpec& tensor = state_->tensors[index];
  if (bytes.size() != tensor.bytes())
    return failed("got " + std::to_string(bytes.size()) + " bytes where shape " + shape_text(tensor.shape) +
                  " of " + std::string(dtype_name(tensor.dtype)) + " has " + std::to_string(tensor.bytes()))
        .in("tensor " + tensor.name)
        .in(state_->path);
  BM_CHECK_OK(state_->file.write_at(state_->layout.offsets[index], bytes));
  std::lock_guard lock(state_->mutex);
  state_->written[index] = true;
  return {};
}

Status SafetensorsWriter::commit() {
  for (size_t i = 0; i < state_->tensors.size(); ++i)
    if (!state_->written[i])
      return failed("was never written").in("tensor " + state_->tensors[i].name).in(state_->path);
  return state_->file.commit();
}

Status write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                         const SafetensorsMetadata& metadata) {
  std::vector<TensorSpec> specs;
  for (const NamedTensor& tensor : tensors)
    specs.push_back({tensor.name, tensor.view.dtype, tensor.view.shape});
  BM_TRY(SafetensorsWriter writer, SafetensorsWriter::create(path, std::move(specs), metadata));
  for (size_t i : writer.order()) BM_CHECK_OK(writer.write(i, tensors[i].view.span()));
  return writer.commit();
}

}  // namespace bm
