#include "formats/gguf_write.h"

#include <cstring>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "formats/gguf.h"

namespace bm {
namespace {

constexpr uint64_t kAlignment = 32;
enum ValueType : uint32_t {
  u32_type = 4,
  i32_type = 5,
  f32_type = 6,
  bool_type = 7,
  text_type = 8,
  array_type = 9
};

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void put_text(std::string& out, std::string_view value) {
  put(out, static_cast<uint64_t>(value.size()));
  out += value;
}

uint64_t padded(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::string header_of(const GgufKeys& keys, const std::vector<GgufOutputTensor>& tensors) {
  std::string out = "GGUF";
  put(out, uint32_t{3});
  put(out, static_cast<uint64_t>(tensors.size()));
  put(out, keys.count());
  out += keys.bytes();
  uint64_t offset = 0;
  for (const GgufOutputTensor& tensor : tensors) {
    put_text(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t d = tensor.shape.size(); d-- > 0;) put(out, static_cast<uint64_t>(tensor.shape[d]));
    put(out, tensor.type.code());
    put(out, offset);
    offset += padded(tensor.bytes());
  }
  out.resize(padded(out.size()), '\0');
  return out;
}

}  // namespace

void GgufKeys::key(std::string_view name, uint32_t type) {
  put_text(bytes_, name);
  put(bytes_, type);
  ++count_;
}
void GgufKeys::text(std::string_view name, std::string_view value) {
  key(name, text_type);
  put_text(bytes_, value);
}
void GgufKeys::u32(std::string_view name, uint32_t value) {
  key(name, u32_type);
  put(bytes_, value);
}
void GgufKeys::f32(std::string_view name, float value) {
  key(name, f32_type);
  put(bytes_, value);
}
void GgufKeys::boolean(std::string_view name, bool value) {
  key(name, bool_type);
  put(bytes_, static_cast<uint8_t>(value ? 1 : 0));
}
void GgufKeys::texts(std::string_view name, std::span<const std::string> values) {
  key(name, array_type);
  put(bytes_, uint32_t{text_type});
  put(bytes_, static_cast<uint64_t>(values.size()));
  for (const std::string& value : values) put_text(bytes_, value);
}
void GgufKeys::i32s(std::string_view name, std::span<const int32_t> values) {
  key(name, array_type);
  put(bytes_, uint32_t{i32_type});
  put(bytes_, static_cast<uint64_t>(values.size()));
  for (int32_t value : values) put(bytes_, value);
}
void GgufKeys::f32s(std::string_view name, std::span<const float> values) {
  key(name, array_type);
  put(bytes_, uint32_t{f32_type});
  put(bytes_, static_cast<uint64_t>(values.size()));
  for (float value : values) put(bytes_, value);
}

Status GgufKeys::json(std::string_view name, const Json& value) {
  auto refused = [&] {
    return bad_input("GGUF: the value of " + std::string(name) + " is of a kind that is not written");
  };
  if (value.is_bool()) {
    boolean(name, value.as_bool());
  } else if (value.is_string()) {
    text(name, value.as_string());
  } else if (value.is_integer()) {
    if (value.type() == Json::Type::unsigned_integer || value.as_int() > 0xffffffff || value.as_int() < 0)
      return refused();
    u32(name, static_cast<uint32_t>(value.as_int()));
  } else if (value.is_number()) {
    f32(name, static_cast<float>(value.as_double()));
  } else if (value.is_array() && value.size() > 0 && value[0].is_string()) {
    std::vector<std::string> items;
    for (const Json& item : value.items()) {
      if (!item.is_string()) return refused();
      items.push_back(item.as_string());
    }
    texts(name, items);
  } else if (value.is_array() && value.size() > 0 && value[0].is_integer()) {
    std::vector<int32_t> items;
    for (const Json& item : value.items()) {
      if (!item.is_integer() || item.as_int() != static_cast<int32_t>(item.as_int())) return refused();
      items.push_back(static_cast<int32_t>(item.as_int()));
    }
    i32s(name, items);
  } else if (value.is_array() && value.size() > 0 && value[0].is_number()) {
    std::vector<float> items;
    for (const Json& item : value.items()) {
      if (!item.is_number()) return refused();
      items.push_back(static_cast<float>(item.as_double()));
    }
    f32s(name, items);
  } else {
    return refused();
  }
  return {};
}

uint32_t GgufType::code() const { return blocks ? ggml_type_of(*blocks) : ggml_type_of(*dtype); }

std::string GgufType::name() const { return ggml_type_name(code()); }

uint64_t GgufType::bytes(int64_t elements) const {
  auto count = static_cast<uint64_t>(elements);
  if (dtype) return count * dtype_bits(*dtype) / 8;
  return count / static_cast<uint64_t>(block_elements(*blocks)) * static_cast<uint64_t>(block_bytes(*blocks));
}

Status write_gguf(const std::string& path, const GgufKeys& keys, const std::vector<GgufOutputTensor>& tensors,
                  const std::string& progress_label) {
  std::string header = header_of(keys, tensors);
  uint64_t total = header.size();
  for (const GgufOutputTensor& tensor : tensors) total += padded(tensor.bytes());
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  BM_CHECK_OK(file.reserve(total));
  BM_CHECK_OK(file.append(header));
  Progress progress(progress_label, "tensors", tensors.size());
  const std::string zeros(kAlignment, '\0');
  for (const GgufOutputTensor& tensor : tensors) {
    if (stop_requested()) return interrupted_error(progress_label);
    BM_TRY(TensorView view, tensor.produce());
    uint64_t bytes = tensor.bytes();
    if (view.bytes() != bytes)
      return failed("has " + std::to_string(view.bytes()) + " bytes, expected " + std::to_string(bytes))
          .in("tensor " + tensor.name);
    BM_CHECK_OK(file.append(view.span()));
    BM_CHECK_OK(file.append(std::string_view(zeros).substr(0, padded(bytes) - bytes)));
    progress.advance();
  }
  return file.commit();
}

}  // namespace bm
