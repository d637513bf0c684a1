// inspect PATH
#include "formats/inspect.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "cli/verb.h"

namespace bm {
namespace {

InspectOptions options;

void print_summary(const Inspection& found) {
  Json json = found.json();
  print_line(found.path + ": " + found.kind);
  std::map<std::string, std::pair<uint64_t, uint64_t>> types;  // tensors, bytes
  for (const auto& tensor : found.tensors) {
    types[tensor.type].first += 1;
    types[tensor.type].second += tensor.bytes;
  }
  if (!found.tensors.empty()) {
    print_line("parameters    " + format_count(json["parameters"].as_uint()) + " in " +
               format_count(found.tensors.size()) + " tensors, " + format_bytes(json["bytes"].as_uint()) +
               ", " + format_count(found.files.size()) + (found.files.size() == 1 ? " file" : " files"));
    for (const auto& [type, sum] : types)
      print_line("              " + type + ": " + format_count(sum.first) + " tensors, " +
                 format_bytes(sum.second));
  }
  auto line = [](std::string label, const std::string& value) {
    label.resize(std::max<size_t>(14, label.size() + 1), ' ');
    print_line(label + value);
  };
  for (const char* key : {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
                          "sliding_window", "tie_word_embeddings"})
    if (found.config.contains(key))
      line(key, found.config[key].is_string() ? found.config[key].as_string() : found.config[key].dump());
  if (found.facts.is_object())
    for (const auto& [name, value] : found.facts.members())
      line(name, value.is_string() ? value.as_string() : value.dump());
  line("license", found.licence.empty() ? "not stated" : found.licence + " (" + found.licence_from + ")");
  if (!found.config.is_null())
    line("chat template",
         found.chat_template.empty()
             ? "none"
             : found.chat_template.substr(0, found.chat_template.find('\n', 1)).substr(0, 100));
}

Result<Outcome> run(const Invocation& call) {
  BM_TRY(Inspection found, inspect(call.argument("PATH"), options));
  if (call.common.json) {
    print_line(found.json().dump());
  } else {
    print_summary(found);
    std::vector<std::vector<std::string>> rows;
    size_t limit = call.common.limit > 0 ? static_cast<size_t>(call.common.limit) : found.tensors.size();
    for (size_t i = 0; i < std::min(limit, found.tensors.size()); ++i) {
      const auto& tensor = found.tensors[i];
      rows.push_back(
          {tensor.name, tensor.type, shape_text(tensor.shape), std::to_string(tensor.bytes), tensor.file});
    }
    if (!rows.empty()) print_table({"tensor", "dtype", "shape", "bytes", "file"}, rows);
    for (const std::string& problem : found.problems) print_line("problem: " + problem);
  }
  if (found.problems.empty()) return Outcome::done;
  return bad_input(found.problems[0] + (found.problems.size() > 1
                                            ? " (and " + std::to_string(found.problems.size() - 1) + " more)"
                                            : ""))
      .in(call.argument("PATH"));
}

const RegisterVerb registration{{
    .name = "inspect",
    .summary = "what a file or folder is, and whether it is sound",
    .details = "Model folders, safetensors, PyTorch .bin and GGUF files, PEFT adapters, Megatron corpora: "
               "tensors, dtypes, shapes, "
               "configuration, chat template, licence, problems. Exit code 2 when it is malformed. --limit N "
               "lists N tensors.",
    .example = "biomistral inspect model/",
    .positionals = {{"PATH", "file or folder"}},
    .describe =
        [](Fields& fields) {
          fields.add("values", options.values, "read all values and report NaN and infinity");
        },
    .run = run,
}};

}  // namespace
}  // namespace bm
