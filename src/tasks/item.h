// A benchmark question as every stage sees it: prompts are made of it, predictions refer to it, the
// corpus is decontaminated against it. Importers (importers.h) turn published files into items.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bm {

struct Option {
  std::string letter;  // "A", "B", …
  std::string text;
};

struct Question {
  std::string context;  // "" = none; PubMedQA's abstract sections joined with one space
  std::string question;
  std::vector<Option> options;  // in order of letters
  std::string correct_letter;

  const Option* option(const std::string& letter) const {
    for (const auto& o : options)
      if (o.letter == letter) return &o;
    return nullptr;
  }
  // Index of the right option, -1 when there is none.
  int64_t correct_index() const {
    for (size_t i = 0; i < options.size(); ++i)
      if (options[i].letter == correct_letter) return static_cast<int64_t>(i);
    return -1;
  }
};

struct Item : Question {
  std::string identifier;  // unique within its task
  std::string corpus;      // BioInstructQA's name: "MedQA", "MMLU_anatomy", …
  std::string language = "en";
  std::vector<std::vector<Question>> few_shot_samples;  // [draw][shot], when the file gives them

  std::vector<std::string> context_parts;  // PubMedQA: the abstract's sections one by one
  std::string category;                    // TruthfulQA's category, MedMCQA's subject; "" = unknown
  // TruthfulQA: mc1 = best answer and the wrong ones; mc2 = all true and all wrong ones.
  std::vector<std::string> true_answers, false_answers;
};

// A row that could not become an item: never dropped silently.
struct BrokenRow {
  std::string file;
  std::string place;  // "line 12", "key 21645374", "row 4"
  std::string reason;
};

}  // namespace bm
