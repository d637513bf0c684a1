#include "serving/chat.h"

namespace bm {

Conversation::Conversation(const Model& model, std::string system_prompt, std::string source)
    : model_(&model), system_prompt_(std::move(system_prompt)), source_(std::move(source)), session_(model) {
  clear();
}

Result<Conversation> Conversation::start(const Model& model, std::string system_prompt, std::string source) {
  if (!model.tokenizer())
    return bad_input("the model has no tokenizer",
                     "Put its tokenizer.json or tokenizer.model into the folder.");
  if (source.empty() && model.tokenizer()->chat_template().empty()) {
    return bad_input("the model has no chat template",
                     "Give one with --template FILE, or use generate with a plain prompt.");
  }
  return Conversation(model, std::move(system_prompt), std::move(source));
}

void Conversation::clear() {
  messages_ = Json::array();
  if (!system_prompt_.empty())
    messages_.push_back(Json::object({{"role", "system"}, {"content", system_prompt_}}));
}

Result<Generation> Conversation::say(const std::string& text, const GenerateOptions& options,
                                     const TextSink& sink) {
  Json messages = messages_;
  messages.push_back(Json::object({{"role", "user"}, {"content", text}}));
  BM_TRY(std::string prompt,
         model_->tokenizer()->render_chat(messages, ChatOptions{.add_generation_prompt = true}, source_));
  auto ids = model_->tokenizer()->encode(prompt, {.add_special = false, .parse_special = true});
  BM_TRY(Generation answer, session_.generate(ids, options, sink));
  messages.push_back(Json::object({{"role", "assistant"}, {"content", answer.text}}));
  messages_ = std::move(messages);
  return answer;
}

}  // namespace bm
