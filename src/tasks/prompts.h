// Prompts. The BioMistral form is byte-equal to the original's getPrompt (BioMistral/BioMistral 4d1fa85,
// Data/Evaluation/BioInstructQA.py); the lm-eval forms follow its task files (0.4.13). Text is
// concatenated, never substituted, so a question that contains "{{…}}" stays as it is.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tasks/item.h"

namespace bm {

inline constexpr const char* kBioMistralInstruction =
    "The following are multiple choice questions (with answers) about medical knowledge. \n ";

// One block: [context \n ]**Question:** … \n (A) … \n **Answer:**( and, with_answer, the letter.
std::string biomistral_block(const Question& question, bool with_answer);
// Instruction, shots with their answers, the question without (or with) its own.
std::string biomistral_prompt(const Question& question, std::span<const Question> shots,
                              bool with_answer = false,
                              const std::string& instruction = kBioMistralInstruction);

// How lm-eval words a task.
enum class LmEvalStyle {
  medqa,     // "Question: …\nA. …\nAnswer:" → " A"
  medmcqa,   // "Question: …\nChoices:\nA. …\nAnswer:" → " A"
  mmlu,      // description; "…\nA. …\nAnswer:" → " A"
  pubmedqa,  // "Abstract: …\nQuestion: …\nAnswer:" → " yes"
  truthfulqa_mc1,
  truthfulqa_mc2,  // six fixed questions, "Q: …\nA:" → whole answers
};

struct LmEvalPrompt {
  std::string context;
  std::vector<std::string> continuations;  // with the delimiter " " in front
  std::vector<std::string> choices;        // without; acc_norm and acc_bytes divide by their lengths
  int64_t gold = 0;                        // index of the right choice (mc2: of the first true one)
  std::vector<bool> is_true;               // mc2: which choices are true
};

// shots: in the order they appear. description: "" or MMLU's "The following are … about anatomy.\n\n".
LmEvalPrompt lm_eval_prompt(LmEvalStyle style, const Item& item, std::span<const Item> shots,
                            const std::string& description);
// MMLU's description of a subject ("college_biology" → "… about college biology.\n\n").
std::string mmlu_description(const std::string& subject);

}  // namespace bm
