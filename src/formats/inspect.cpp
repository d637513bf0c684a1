#include "formats/inspect.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/log.h"
#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "formats/megatron.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

// "license: …" of a model card's front matter, or the first line of a licence file.
void find_licence(const std::string& folder, Inspection& inspection) {
  for (const char* name : {"README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "COPYING"}) {
    auto text = read_file(path_join(folder, name));
    if (!text.ok()) continue;
    bool card = std::string_view(name) == "README.md";
    if (card && !starts_with(*text, "---")) continue;
    size_t lines = 0;
    for (const std::string& line : split(*text, '\n')) {
      if (card && lines++ > 0 && starts_with(line, "---")) break;
      std::string_view value = trim(line);
      if (card && !starts_with(value, "license:")) continue;
      if (card) value = trim(value.substr(8));
      if (value.empty()) continue;
      inspection.licence = value;
      inspection.licence_from = name;
      return;
    }
  }
}

void find_template(const std::string& folder, Inspection& inspection) {
  auto text = read_file(path_join(folder, "chat_template.jinja"));
  if (text.ok()) {
    inspection.chat_template = *text;
    return;
  }
  auto config = read_json_file(path_join(folder, "tokenizer_config.json"));
  if (!config.ok()) return;
  const Json& chat = (*config)["chat_template"];
  if (chat.is_string()) inspection.chat_template = chat.as_string();
  if (chat.is_array() && chat.size() > 0 && chat[0]["template"].is_string())
    inspection.chat_template = chat[0]["template"].as_string();
}

int64_t rows_of(const Inspection& inspection, std::string_view name) {
  for (const auto& tensor : inspection.tensors)
    if (tensor.name == name && !tensor.shape.empty()) return tensor.shape[0];
  return -1;
}

// Disagreements between configuration and tensors that loading would trip over.
void compare_config(Inspection& inspection) {
  const Json& config = inspection.config;
  if (!config.is_object()) return;
  auto problem = [&](const std::string& text) { inspection.problems.push_back(text); };
  for (const char* key :
       {"model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"})
    if (!config.contains(key)) problem(std::string("config.json: \"") + key + "\" is missing");
  int64_t rows = rows_of(inspection, "model.embed_tokens.weight");
  const Json& vocab = config["vocab_size"];
  if (rows >= 0 && vocab.is_integer() && vocab.as_int() > rows)
    problem("vocab_size " + vocab.dump() + " is larger than the embedding's " + std::to_string(rows) +
            " rows");
  const Json& layers = config["num_hidden_layers"];
  std::string last = layers.is_integer() ? "model.layers." + std::to_string(layers.as_int() - 1) + "." : "";
  bool adapter = rows < 0;
  auto begins = [&](const InspectedTensor& tensor) { return starts_with(tensor.name, last); };
  if (!adapter && !last.empty() && std::none_of(inspection.tensors.begin(), inspection.tensors.end(), begins))
    problem("num_hidden_layers is " + layers.dump() + ", but no tensor begins with " + last);
}

void check_values(const Checkpoint& checkpoint, Inspection& inspection) {
  Progress progress("reading values", "tensors", checkpoint.names().size());
  for (const std::string& name : checkpoint.names()) {
    auto values = checkpoint.get(name);
    progress.advance();
    if (!values.ok()) {
      inspection.problems.push_back(values.error().paragraph());
      continue;
    }
    int64_t first = 0;
    bool bad = false;
    if (values->blocks) {
      auto decoded = checkpoint.get_f32(name);
      if (!decoded.ok()) continue;
      Shape shape{static_cast<int64_t>(decoded->size())};
      bad = has_non_finite({DType::f32, shape, reinterpret_cast<const std::byte*>(decoded->data()), {}},
                           &first);
    } else {
      bad = has_non_finite(values->view, &first);
    }
    if (bad)
      inspection.problems.push_back("tensor " + name + ": NaN or infinity at element " +
                                    std::to_string(first));
  }
}

Result<Inspection> inspect_checkpoint(const std::string& path, const InspectOptions& options) {
  BM_TRY(Checkpoint checkpoint, Checkpoint::open(path));
  Inspection inspection;
  inspection.kind = is_directory(path)                                 ? "Hugging Face folder"
                    : checkpoint.is_gguf()                             ? "GGUF file"
                    : ends_with(checkpoint.files()[0], ".safetensors") ? "safetensors file"
                                                                       : "PyTorch file";
  for (const std::string& file : checkpoint.files()) inspection.files.push_back(path_name(file));
  for (const std::string& name : checkpoint.names()) {
    BM_TRY(StoredTensor tensor, checkpoint.get(name));
    inspection.tensors.push_back(
        {name, std::string(tensor.blocks ? block_name(*tensor.blocks) : dtype_name(tensor.view.dtype)),
         tensor.shape, tensor.view.bytes(), path_name(tensor.file)});
  }
  inspection.config = checkpoint.config();
  inspection.facts = Json::object();
  if (inspection.config["quantization_config"]["quant_method"].is_string())
    inspection.facts.set("quantization", inspection.config["quantization_config"]["quant_method"]);
  if (checkpoint.is_gguf()) {
    const Json& metadata = checkpoint.gguf_metadata();
    if (metadata["tokenizer.chat_template"].is_string())
      inspection.chat_template = metadata["tokenizer.chat_template"].as_string();
    if (metadata["general.license"].is_string()) {
      inspection.licence = metadata["general.license"].as_string();
      inspection.licence_from = "general.license";
    }
    if (metadata["general.name"].is_string()) inspection.facts.set("name", metadata["general.name"]);
    if (metadata["tokenizer.ggml.model"].is_string())
      inspection.facts.set("tokenizer", metadata["tokenizer.ggml.model"]);
  } else if (is_directory(path)) {
    if (inspection.config.is_null()) inspection.problems.emplace_back("config.json is missing");
    find_licence(path, inspection);
    find_template(path, inspection);
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json"})
      if (exists(path_join(path, name)) && !inspection.facts.contains("tokenizer"))
        inspection.facts.set("tokenizer", name);
  }
  compare_config(inspection);
  if (options.values) check_values(checkpoint, inspection);
  return inspection;
}

// A sound GGUF of an architecture that is not run here is still worth listing.
Result<Inspection> inspect_gguf(const std::string& path, const InspectOptions& options) {
  auto whole = inspect_checkpoint(path, options);
  if (whole.ok()) return whole;
  BM_TRY(GgufFile file, GgufFile::open(path));
  Inspection inspection;
  inspection.kind = "GGUF file";
  inspection.files = {path_name(path)};
  inspection.facts = Json::object({{"not usable here", whole.error().what()}});
  for (const GgufTensor& tensor : file.tensors())
    inspection.tensors.push_back(
        {tensor.name, ggml_type_name(tensor.type), tensor.shape, tensor.bytes, path_name(path)});
  return inspection;
}

Result<Inspection> inspect_corpus(const std::string& prefix) {
  BM_TRY(MegatronReader reader, MegatronReader::open(prefix));
  Inspection inspection;
  inspection.kind = "Megatron corpus";
  inspection.files = {path_name(reader.path())};
  inspection.facts = Json::object({{"sequences", Json(reader.sequences())},
                                   {"documents", Json(reader.documents())},
                                   {"tokens", Json(reader.tokens())},
                                   {"stored as", dtype_name(reader.dtype())}});
  return inspection;
}

// adapter_config.json beside adapter_model.safetensors.
Result<Inspection> inspect_adapter(const std::string& path) {
  std::string weights =
      path_join(path, exists(path_join(path, "adapter_model.safetensors")) ? "adapter_model.safetensors"
                                                                           : "adapter_model.bin");
  BM_TRY(Inspection inspection, inspect_checkpoint(weights, {}));
  BM_TRY(Json config, read_json_file(path_join(path, "adapter_config.json")));
  inspection.kind = "PEFT adapter";
  inspection.config = Json();
  inspection.problems.clear();
  for (const char* key : {"peft_type", "base_model_name_or_path", "r", "lora_alpha", "use_dora"})
    if (config.contains(key)) inspection.facts.set(key, config[key]);
  find_licence(path, inspection);
  return inspection;
}

}  // namespace

Json Inspection::json() const {
  Json list = Json::array(), file_list = Json::array(), problem_list = Json::array();
  uint64_t parameters = 0, bytes = 0;
  for (const auto& tensor : tensors) {
    Json shape = Json::array();
    for (int64_t d : tensor.shape) shape.push_back(d);
    list.push_back(Json::object({{"name", tensor.name},
                                 {"dtype", tensor.type},
                                 {"shape", shape},
                                 {"bytes", Json(tensor.bytes)},
                                 {"file", tensor.file}}));
    parameters += static_cast<uint64_t>(element_count(tensor.shape));
    bytes += tensor.bytes;
  }
  for (const auto& file : files) file_list.push_back(file);
  for (const auto& problem : problems) problem_list.push_back(problem);
  return Json::object({{"path", path},
                       {"kind", kind},
                       {"files", file_list},
                       {"parameters", Json(parameters)},
                       {"bytes", Json(bytes)},
                       {"facts", facts},
                       {"license", licence.empty() ? Json() : Json(licence)},
                       {"chat_template", chat_template.empty() ? Json() : Json(chat_template)},
                       {"config", config},
                       {"problems", problem_list},
                       {"tensors", list}});
}

Result<Inspection> inspect(const std::string& path, const InspectOptions& options) {
  auto choose = [&]() -> Result<Inspection> {
    if (is_directory(path)) {
      if (exists(path_join(path, "adapter_config.json"))) return inspect_adapter(path);
      if (exists(path_join(path, "tokens.idx"))) return inspect_corpus(path_join(path, "tokens"));
      return inspect_checkpoint(path, options);
    }
    if (ends_with(path, ".idx") ||
        (ends_with(path, ".bin") && exists(path.substr(0, path.size() - 4) + ".idx")))
      return inspect_corpus(path);
    if (ends_with(path, ".gguf")) return inspect_gguf(path, options);
    return inspect_checkpoint(path, options);
  };
  BM_TRY(Inspection inspection, choose());
  inspection.path = path;
  return inspection;
}

}  // namespace bm
