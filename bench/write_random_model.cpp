// Models with random weights of known shapes, for benchmarks: nothing is downloaded, and a 7B model in 4 bits
// is written without ever holding its float weights. Codes are uniform, scales give every matrix a deviation
// of about 1/√inputs.
//   bench_write_random_model PATH --shape 135m|1.1b|7b --format hf-bf16|hf-f32|awq|q4_0|q8_0|gguf-bf16
// awq and hf-* write a Hugging Face folder, the others a GGUF file that llama.cpp loads too.
#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/threads.h"
#include "formats/hf_folder.h"
#include "measure.h"
#include "model/random_model.h"
#include "model/weight_source.h"

using namespace bm;

namespace {

struct NamedShape {
  RandomModelShape shape;
  double rope_theta = 10000;
};

const std::map<std::string, NamedShape> kShapes = {
    {"135m",
     {{"llama", 49152, 576, 1536, 30, 9, 3, 64, 0, 8192, true, false, false}, 100000}},     // SmolLM2-135M
    {"1.1b", {{"llama", 32000, 2048, 5632, 22, 32, 4, 64, 0, 4096, false, false, false}}},  // TinyLlama-1.1B
    {"7b", {{"mistral", 32000, 4096, 14336, 32, 32, 8, 128, 0, 32768, false, false, false}}}  // Mistral-7B
};

constexpr size_t kChunk = size_t{1} << 20;  // bytes of random codes a task

// Bytes that depend on the seed and their place alone.
void random_bytes(uint64_t seed, std::byte* out, size_t count) {
  parallel_chunks(count, kChunk, [&](size_t begin, size_t end) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + begin;
    for (size_t i = begin; i < end; i += 8) {
      uint64_t z = state += 0x9e3779b97f4a7c15ull;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      z ^= z >> 31;
      std::memcpy(out + i, &z, std::min<size_t>(8, end - i));
    }
  });
}

// ---- GGUF --------------------------------------------------------------------------------------------

struct GgufType {
  uint32_t id, file_type;
  int64_t block, block_bytes;
};
const std::map<std::string, GgufType> kGgufTypes = {
    {"q4_0", {2, 2, 32, 18}}, {"q8_0", {8, 7, 32, 34}}, {"gguf-bf16", {30, 32, 1, 2}}};

class GgufHeader {
 public:
  template <class T>
  void number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void string(std::string_view s) {
    number<uint64_t>(s.size());
    text_ += s;
  }
  void key(std::string_view name, uint32_t type) {
    ++keys_;
    string(name);
    number(type);
  }
  void set(std::string_view name, uint32_t value) { key(name, 4), number(value); }
  void set(std::string_view name, float value) { key(name, 6), number(value); }
  void set(std::string_view name, std::string_view value) { key(name, 8), string(value); }
  void array(std::string_view name, uint32_t element, uint64_t count) {
    key(name, 9);
    number(element);
    number(count);
  }
  uint64_t keys() const { return keys_; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  uint64_t keys_ = 0;
};

// A vocabulary that llama.cpp's loader accepts: control tokens, bytes, then words that do not occur.
void add_tokenizer(GgufHeader& header, int64_t vocab) {
  header.set("tokenizer.ggml.model", "llama");
  header.array("tokenizer.ggml.tokens", 8, static_cast<uint64_t>(vocab));
  for (int64_t i = 0; i < vocab; ++i) {
    char byte[8];
    std::snprintf(byte, sizeof byte, "<0x%02X>", static_cast<unsigned>((i - 3) & 255));
    header.string(i == 0    ? "<unk>"
                  : i == 1  ? "<s>"
                  : i == 2  ? "</s>"
                  : i < 259 ? std::string(byte)
                            : "w" + std::to_string(i));
  }
  header.array("tokenizer.ggml.scores", 6, static_cast<uint64_t>(vocab));
  for (int64_t i = 0; i < vocab; ++i) header.number(static_cast<float>(-i));
  header.array("tokenizer.ggml.token_type", 5, static_cast<uint64_t>(vocab));
  for (int64_t i = 0; i < vocab; ++i) header.number<int32_t>(i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
  header.set("tokenizer.ggml.bos_token_id", 1u);
  header.set("tokenizer.ggml.eos_token_id", 2u);
}

GgufHeader model_keys(const NamedShape& named, uint32_t file_type) {
  const RandomModelShape& s = named.shape;
  const auto u32 = [](int64_t n) { return static_cast<uint32_t>(n); };
  GgufHeader header;
  header.set("general.architecture", "llama");
  header.set("general.name", "random weights");
  header.set("general.file_type", file_type);
  header.set("llama.context_length", u32(s.max_positions));
  header.set("llama.embedding_length", u32(s.hidden));
  header.set("llama.block_count", u32(s.layers));
  header.set("llama.feed_forward_length", u32(s.intermediate));
  header.set("llama.attention.head_count", u32(s.heads));
  header.set("llama.attention.head_count_kv", u32(s.kv_heads));
  header.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  header.set("llama.rope.dimension_count", u32(s.head_dim));
  header.set("llama.rope.freq_base", static_cast<float>(named.rope_theta));
  header.set("llama.vocab_size", u32(s.vocab));
  add_tokenizer(header, s.vocab);
  return header;
}

struct GgufOutput {
  std::string name;
  std::vector<int64_t> shape;  // slowest first
  uint64_t bytes = 0;
};

std::vector<GgufOutput> gguf_tensors(const RandomModelShape& s, const GgufType& type) {
  std::vector<GgufOutput> out;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    out.push_back(
        {name, {rows, columns}, static_cast<uint64_t>(rows * columns / type.block * type.block_bytes)});
  };
  const auto vector = [&](const std::string& name) {
    out.push_back({name, {s.hidden}, static_cast<uint64_t>(4 * s.hidden)});
  };
  matrix("token_embd.weight", s.vocab, s.hidden);
  for (int64_t n = 0; n < s.layers; ++n) {
    const std::string p = "blk." + std::to_string(n) + ".";
    vector(p + "attn_norm.weight");
    matrix(p + "attn_q.weight", s.heads * s.head_dim, s.hidden);
    matrix(p + "attn_k.weight", s.kv_heads * s.head_dim, s.hidden);
    matrix(p + "attn_v.weight", s.kv_heads * s.head_dim, s.hidden);
    matrix(p + "attn_output.weight", s.hidden, s.heads * s.head_dim);
    vector(p + "ffn_norm.weight");
    matrix(p + "ffn_gate.weight", s.intermediate, s.hidden);
    matrix(p + "ffn_up.weight", s.intermediate, s.hidden);
    matrix(p + "ffn_down.weight", s.hidden, s.intermediate);
  }
  vector("output_norm.weight");
  if (!s.tied_embeddings) matrix("output.weight", s.vocab, s.hidden);
  return out;
}

// Random codes with one fixed scale a matrix.
std::vector<std::byte> gguf_data(const GgufOutput& tensor, const GgufType& type) {
  std::vector<std::byte> data((tensor.bytes + 31) / 32 * 32);
  if (tensor.shape.size() == 1) {
    const std::vector<float> ones(static_cast<size_t>(tensor.shape[0]), 1.0f);
    std::memcpy(data.data(), ones.data(), tensor.bytes);
    return data;
  }
  random_bytes(hash64(tensor.name), data.data(), tensor.bytes);
  const double wanted = 1 / std::sqrt(static_cast<double>(tensor.shape[1]));
  if (type.block == 1) {  // bf16: a sign, and one of 128 mantissas below the wanted deviation
    auto* words = reinterpret_cast<uint16_t*>(data.data());
    const auto base = static_cast<uint16_t>(f32_to_bf16(static_cast<float>(wanted)) & 0xff80u);
    parallel_chunks(tensor.bytes / 2, kChunk, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) words[i] = static_cast<uint16_t>((words[i] & 0x807fu) | base);
    });
    return data;
  }
  const double deviation = type.block_bytes == 18 ? 4.61 : 73.9;  // of uniform codes
  const uint16_t scale = f32_to_f16(static_cast<float>(wanted / deviation));
  const auto blocks = static_cast<size_t>(tensor.bytes) / static_cast<size_t>(type.block_bytes);
  parallel_chunks(blocks, kChunk / 16, [&](size_t begin, size_t end) {
    for (size_t b = begin; b < end; ++b)
      std::memcpy(data.data() + b * static_cast<size_t>(type.block_bytes), &scale, sizeof scale);
  });
  return data;
}

Status write_gguf(const std::string& path, const NamedShape& named, const GgufType& type) {
  const GgufHeader keys = model_keys(named, type.file_type);
  const auto tensors = gguf_tensors(named.shape, type);
  GgufHeader head;
  head.number(uint32_t{0x46554747});
  head.number(uint32_t{3});
  head.number<uint64_t>(tensors.size());
  head.number(keys.keys());
  GgufHeader table;
  uint64_t offset = 0;
  for (const GgufOutput& tensor : tensors) {
    table.string(tensor.name);
    table.number(static_cast<uint32_t>(tensor.shape.size()));
    for (auto n = tensor.shape.rbegin(); n != tensor.shape.rend(); ++n)
      table.number(static_cast<uint64_t>(*n));
    table.number(tensor.shape.size() == 1 ? uint32_t{0} : type.id);
    table.number(offset);
    offset += (tensor.bytes + 31) / 32 * 32;
  }
  std::string header = head.text() + keys.text() + table.text();
  header.resize((header.size() + 31) / 32 * 32, '\0');
  BM_TRY(AtomicFile file, AtomicFile::create(path));
  BM_CHECK_OK(file.append(header));
  for (const GgufOutput& tensor : tensors) BM_CHECK_OK(file.append(gguf_data(tensor, type)));
  return file.commit();
}

// ---- AutoAWQ -----------------------------------------------------------------------------------------

OutputTensor filled(const std::string& name, DType dtype, Shape shape, std::function<void(Tensor&)> fill) {
  return {{name, dtype, shape}, [=]() -> Result<TensorView> {
            Tensor tensor(dtype, shape);
            fill(tensor);
            return tensor.view();
          }};
}

// One linear [outputs, inputs] in AutoAWQ's GEMM layout.
void add_awq_linear(std::vector<OutputTensor>& out, const std::string& module, int64_t outputs,
                    int64_t inputs, int64_t group) {
  const auto codes = [](uint64_t seed) {
    return [seed](Tensor& t) { random_bytes(seed, t.data(), t.bytes()); };
  };
  const uint64_t seed = hash64(module);
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(inputs)) / 4.61);
  out.push_back(filled(module + ".qweight", DType::i32, {inputs, outputs / 8}, codes(seed)));
  out.push_back(filled(module + ".qzeros", DType::i32, {inputs / group, outputs / 8}, [](Tensor& t) {
    std::memset(t.data(), 0x77, t.bytes());  // 7 and 8 are the middle of the codes
  }));
  out.push_back(filled(module + ".scales", DType::f16, {inputs / group, outputs},
                       [scale](Tensor& t) { std::fill_n(t.as<uint16_t>(), t.count(), f32_to_f16(scale)); }));
}

Status write_awq(const std::string& folder, const NamedShape& named, int64_t group) {
  const RandomModelShape& s = named.shape;
  const auto ones = [](Tensor& t) { std::fill_n(t.as<uint16_t>(), t.count(), f32_to_f16(1.0f)); };
  // A sign, and one of 64 mantissas: of the order of 1/√hidden.
  const auto base = static_cast<uint16_t>(
      f32_to_f16(static_cast<float>(1 / std::sqrt(static_cast<double>(s.hidden)))) & 0x7c00u);
  const auto dense = [base](const std::string& name) {
    return [base, seed = hash64(name)](Tensor& t) {
      random_bytes(seed, t.data(), t.bytes());
      auto* words = t.as<uint16_t>();
      parallel_chunks(static_cast<size_t>(t.count()), kChunk, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) words[i] = static_cast<uint16_t>((words[i] & 0x83f0u) | base);
      });
    };
  };
  std::vector<OutputTensor> out;
  out.push_back(filled("model.embed_tokens.weight", DType::f16, {s.vocab, s.hidden}, dense("embed")));
  for (int64_t n = 0; n < s.layers; ++n) {
    const std::string p = "model.layers." + std::to_string(n) + ".";
    const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    out.push_back(filled(p + "input_layernorm.weight", DType::f16, {s.hidden}, ones));
    add_awq_linear(out, p + "self_attn.q_proj", q, s.hidden, group);
    add_awq_linear(out, p + "self_attn.k_proj", kv, s.hidden, group);
    add_awq_linear(out, p + "self_attn.v_proj", kv, s.hidden, group);
    add_awq_linear(out, p + "self_attn.o_proj", s.hidden, q, group);
    out.push_back(filled(p + "post_attention_layernorm.weight", DType::f16, {s.hidden}, ones));
    add_awq_linear(out, p + "mlp.gate_proj", s.intermediate, s.hidden, group);
    add_awq_linear(out, p + "mlp.up_proj", s.intermediate, s.hidden, group);
    add_awq_linear(out, p + "mlp.down_proj", s.hidden, s.intermediate, group);
  }
  out.push_back(filled("model.norm.weight", DType::f16, {s.hidden}, ones));
  out.push_back(filled("lm_head.weight", DType::f16, {s.vocab, s.hidden}, dense("head")));
  Json config = random_model_config(s, DType::f16);
  config.set("rope_theta", named.rope_theta);
  config.set("quantization_config", Json::object({{"quant_method", "awq"},
                                                  {"bits", 4},
                                                  {"group_size", group},
                                                  {"version", "gemm"},
                                                  {"zero_point", true}}));
  HfFolderOptions options;
  options.resume = false;
  return write_hf_folder(folder, config, out, options);
}

Status write(const std::string& path, const std::string& shape, const std::string& format) {
  const auto named = kShapes.find(shape);
  if (named == kShapes.end()) return bad_input("--shape is 135m, 1.1b or 7b, not " + shape);
  if (auto type = kGgufTypes.find(format); type != kGgufTypes.end())
    return write_gguf(path, named->second, type->second);
  BM_CHECK_OK(make_directories(path));
  if (format == "awq") return write_awq(path, named->second, 128);
  if (format == "hf-bf16") return write_random_model(path, named->second.shape, DType::bf16, 1);
  if (format == "hf-f32") return write_random_model(path, named->second.shape, DType::f32, 1);
  return bad_input("--format is hf-bf16, hf-f32, awq, q4_0, q8_0 or gguf-bf16, not " + format);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr, "bench_write_random_model PATH [--shape=1.1b] [--format=q4_0]\n");
    return 2;
  }
  const Status status = write(argv[1], bench::text_argument(argc, argv, "shape", "1.1b"),
                              bench::text_argument(argc, argv, "format", "q4_0"));
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.error().paragraph().c_str());
  return 1;
}
