#include "merging/side_files.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/log.h"
#include "merging/statistics.h"

namespace bm {
namespace {

// ChatML as its authors describe it: every turn between <|im_start|>role and <|im_end|>.
constexpr const char* kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const std::vector<std::string> kTokenizerFiles = {"tokenizer_config.json",
                                                  "special_tokens_map.json",
                                                  "tokenizer.json",
                                                  "tokenizer.model",
                                                  "added_tokens.json",
                                                  "merges.txt",
                                                  "vocab.json",
                                                  "chat_template.jinja",
                                                  "chat_template.json",
                                                  "generation_config.json"};

std::string template_of(const std::string& folder) {
  if (auto text = read_file(path_join(folder, "chat_template.jinja")); text.ok())
    return std::string(trim(*text));
  auto config = read_json_file(path_join(folder, "tokenizer_config.json"), {.reject_duplicate_keys = false});
  if (config.ok() && (*config)["chat_template"].is_string())
    return std::string(trim((*config)["chat_template"].as_string()));
  return {};
}

Status copy_tokenizer(const std::string& from, const std::string& to, const std::string& chat_template) {
  for (const std::string& name : kTokenizerFiles) {
    std::string source = path_join(from, name);
    if (!exists(source)) continue;
    if (!chat_template.empty() && (name == "chat_template.jinja" || name == "chat_template.json")) continue;
    BM_CHECK_OK(copy_file(source, path_join(to, name)));
  }
  if (chat_template.empty()) return {};
  BM_CHECK_OK(write_file_atomic(path_join(to, "chat_template.jinja"), chat_template));
  std::string path = path_join(to, "tokenizer_config.json");
  if (!exists(path)) return {};
  BM_TRY(Json config, read_json_file(path, {.reject_duplicate_keys = false}));
  if (!config.contains("chat_template")) return {};
  config.set("chat_template", chat_template);
  return write_file_atomic(path, config.dump_pretty() + "\n");
}

// The new tokenizer.json with the donor's other files; those that spell the old vocabulary out stay behind.
Status write_vocabulary(const Vocabulary& vocabulary, const std::string& from, const std::string& to,
                        const std::string& chat_template) {
  BM_CHECK_OK(copy_tokenizer(from, to, chat_template));
  for (const char* name : {"tokenizer.model", "added_tokens.json", "merges.txt", "vocab.json"})
    if (exists(path_join(to, name))) BM_CHECK_OK(remove_all(path_join(to, name)));
  std::string path = path_join(to, "tokenizer_config.json");
  if (exists(path)) {
    BM_TRY(Json config, read_json_file(path, {.reject_duplicate_keys = false}));
    if (Json decoder = config["added_tokens_decoder"]; decoder.is_object()) {
      for (Json entry : vocabulary.added) {
        std::string id = std::to_string(entry["id"].as_int());
        entry.erase("id");
        decoder.set(id, entry);
      }
      config.set("added_tokens_decoder", decoder);
      BM_CHECK_OK(write_file_atomic(path, config.dump_pretty() + "\n"));
    }
  }
  return write_file_atomic(path_join(to, "tokenizer.json"), vocabulary.tokenizer.dump_pretty() + "\n");
}

}  // namespace

Json merged_config(const MergeConfiguration& configuration, const MergePlan& plan) {
  Json config = plan.models[plan.donor].config();
  config.set("num_hidden_layers", plan.layers);
  DType dtype = plan.tensors.empty() ? DType::f32 : plan.tensors[0].written;
  if (configuration.dtype) dtype = *configuration.dtype;
  if (configuration.out_dtype) dtype = *configuration.out_dtype;
  bool recent = config.contains("dtype");
  config.set(recent ? "dtype" : "torch_dtype", dtype_torch_name(dtype));
  if (recent) config.erase("torch_dtype");
  bool head = false;
  for (const PlannedTensor& tensor : plan.tensors) {
    head = head || tensor.name == "lm_head.weight";
    if (tensor.name == "model.embed_tokens.weight" && !tensor.shape.empty())
      config.set("vocab_size", tensor.shape[0]);
  }
  if (head && plan.switches.untie_written_head && config["tie_word_embeddings"] == Json(true))
    config.set("tie_word_embeddings", false);
  return config;
}

std::shared_ptr<const PlannedModel> planned_result(const MergeConfiguration& configuration,
                                                   const MergePlan& plan) {
  auto out = std::make_shared<PlannedModel>();
  out->config = merged_config(configuration, plan);
  for (const PlannedTensor& tensor : plan.tensors)
    out->weights[tensor.name] = {tensor.shape, tensor.written, false, std::string(dtype_name(tensor.written)),
                                 tensor.bytes()};
  return out;
}

Result<std::string> resolve_chat_template(const std::string& name, const MergePlan& plan) {
  if (name.empty()) return std::string();
  if (name == "chatml") return std::string(kChatMl);
  if (name == "auto") {  // the template most of the models have; among equals the first listed
    std::vector<std::pair<std::string, int>> counts;
    for (const LoadedModel& model : plan.models) {
      std::string text = template_of(model.path);
      if (text.empty()) continue;
      auto found =
          std::find_if(counts.begin(), counts.end(), [&](const auto& entry) { return entry.first == text; });
      if (found == counts.end())
        counts.emplace_back(text, 1);
      else
        ++found->second;
    }
    if (counts.empty())
      return bad_input("chat_template: auto, but none of the models has a template",
                       "Name one, or give its text.");
    return std::max_element(counts.begin(), counts.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  }
  if (name.find('{') != std::string::npos) return name;
  return bad_input("unknown chat_template \"" + name + "\"",
                   "Use auto, chatml, or the text of a Jinja template.");
}

std::string model_card(const MergeConfiguration& configuration, const MergePlan& plan,
                       const SideFileRequest& request) {
  std::string base = configuration.base_model ? configuration.base_model->text : "";
  std::string text = "---\nlibrary_name: transformers\ntags:\n- merge\n- biomistral\n---\n# " +
                     path_name(request.folder) + "\n\n";
  text += "A merge of pre-trained language models made with biomistral " + program_version() +
          ".\n\n## Method\n\n" + plan.method->title;
  if (!plan.method->reference.empty()) text += " (" + plan.method->reference + ")";
  if (!base.empty()) text += ", base `" + base + "`";
  text += ".\nMode: " + std::string(mode_name(request.mode)) + ", seed: " + std::to_string(request.seed) +
          ", arithmetic: " +
          (plan.switches.arithmetic.round_every_operation ? "every operation rounded to the working type"
                                                          : "float32, one rounding at the end") +
          ".\n\n## Models\n\n| model | SHA-256 of the folder |\n|---|---|\n";
  for (const StageInput& input : request.inputs)
    if (input.role != "config") text += "| `" + input.role + "` | `" + input.sha256 + "` |\n";
  if (!plan.lints.empty()) {
    text += "\n## Warnings\n\n";
    for (const Lint& lint : plan.lints)
      text += "* " + lint.text + (lint.cure.empty() ? "" : " " + lint.cure) + "\n";
  }
  if (request.statistics.is_array())
    text += "\n## Differences from the base\n\n" + statistics_table(request.statistics);
  text += "\n## Configuration\n\n```yaml\n" + configuration.source;
  if (!ends_with(configuration.source, "\n")) text += "\n";
  return text + "```\n";
}

Status write_side_files(const MergeConfiguration& configuration, const MergePlan& plan,
                        const SideFileRequest& request) {
  auto write = [&](const char* name, const std::string& text) {
    return write_file_atomic(path_join(request.folder, name), text);
  };
  BM_CHECK_OK(write("config.json", merged_config(configuration, plan).dump_pretty() + "\n"));
  BM_TRY(std::string chat_template, resolve_chat_template(configuration.chat_template, plan));
  if (plan.vocabulary)
    BM_CHECK_OK(write_vocabulary(*plan.vocabulary, plan.models[plan.vocabulary->donor].path, request.folder,
                                 chat_template));
  else if (request.copy_tokenizer)
    BM_CHECK_OK(copy_tokenizer(plan.models[plan.donor].path, request.folder, chat_template));
  if (!request.model_card) return {};
  BM_CHECK_OK(write("mergekit_config.yml", configuration.source));
  return write("README.md", model_card(configuration, plan, request));
}

}  // namespace bm
