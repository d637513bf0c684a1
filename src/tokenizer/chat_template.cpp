// Chat templates as transformers applies them (utils/chat_template_utils.py).
#include "base/file.h"
#include "tokenizer/jinja_render.h"
#include "tokenizer/tokenizer.h"

namespace bm {

Result<std::string> render_chat_template(std::string_view source, const Json& context) {
  BM_TRY(jinja::Body body, jinja::parse(source));
  jinja::Renderer renderer;
  jinja::add_builtin_globals(renderer);
  for (const char* name : {"tools", "documents"}) renderer.set_global(name, jinja::Value::none());
  if (context.is_object()) {
    for (const auto& [name, value] : context.members())
      renderer.set_global(name, jinja::Value::from_json(value));
  }
  return renderer.render(body);
}

// continue_final_message: a mark goes behind the last message's text, and the rendered text ends
// where the mark came out (with its spaces trimmed where the template trims).
static constexpr std::string_view continuation_mark = "CONTINUE_FINAL_MESSAGE_TAG ";

static Result<Json> with_mark(const Json& messages) {
  std::vector<Json> list = messages.items();
  const Json& content = list.back()["content"];
  if (!content.is_string()) return bad_input("the last message has no text to continue");
  list.back().set("content", content.as_string() + std::string(continuation_mark));
  return Json::array(std::move(list));
}

static Result<std::string> cut_at_mark(std::string text) {
  std::string_view bare = continuation_mark.substr(0, continuation_mark.size() - 1);
  size_t at = text.rfind(bare);
  if (at == std::string::npos) {
    return bad_input("the chat template does not show the last message, so it cannot be continued");
  }
  bool keeps_spaces = text.compare(at, continuation_mark.size(), continuation_mark) == 0;
  text.resize(at);
  if (keeps_spaces) return text;
  return render_chat_template("{{ text.rstrip() }}", Json::object({{"text", text}}));
}

Result<std::string> Tokenizer::render_chat(const Json& messages, const ChatOptions& options,
                                           std::string_view source) const {
  if (source.empty()) source = chat_template();
  if (source.empty()) {
    return bad_input("the model has no chat template",
                     "Give one with --template FILE, or use plain prompts.");
  }
  if (!messages.is_array()) return bad_input("messages must be a list of {\"role\", \"content\"}");
  if (messages.size() == 0) {
    return bad_input("Cannot apply chat template to an empty conversation. Provide at least one message.");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!messages[i].is_object()) return bad_input("message " + std::to_string(i) + " is no object");
  }
  if (options.add_generation_prompt && options.continue_final_message) {
    return bad_input("add_generation_prompt and continue_final_message exclude each other");
  }
  Json context = chat_names();
  if (options.continue_final_message) {
    BM_TRY(Json marked, with_mark(messages));
    context.set("messages", std::move(marked));
  } else {
    context.set("messages", messages);
  }
  context.set("add_generation_prompt", options.add_generation_prompt);
  BM_TRY(std::string text, render_chat_template(source, context));
  if (!options.continue_final_message) return text;
  return cut_at_mark(std::move(text));
}

Result<std::string> Tokenizer::render_chat(const std::vector<ChatMessage>& messages,
                                           bool add_generation_prompt) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    list.push_back(Json::object({{"role", message.role}, {"content", message.content}}));
  }
  return render_chat(list, {.add_generation_prompt = add_generation_prompt});
}

Json Tokenizer::chat_names() const {
  Json names = Json::object();
  names.set("bos_token", bos_id() ? token_text(*bos_id()) : "");
  names.set("eos_token", eos_id() ? token_text(*eos_id()) : "");
  return names;
}

}  // namespace bm
