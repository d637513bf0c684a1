// A conversation through the model's chat template.
#pragma once

#include <string>

#include "base/json.h"
#include "serving/generate.h"

namespace bm {

class Conversation {
 public:
  // source: a chat template instead of the model's own, or "". bad_input: no tokenizer, no template.
  static Result<Conversation> start(const Model& model, std::string system_prompt, std::string source);
  // Adds what the user says, generates the answer, adds it too. On error the conversation is as before.
  Result<Generation> say(const std::string& text, const GenerateOptions& options, const TextSink& sink = {});
  const Json& messages() const { return messages_; }
  void clear();  // keeps the system prompt

 private:
  Conversation(const Model& model, std::string system_prompt, std::string source);
  const Model* model_;
  std::string system_prompt_, source_;
  Json messages_;
  GenerationSession session_;
};

}  // namespace bm
