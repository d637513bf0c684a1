#include "tasks/catalog_entries.h"

#include "base/file.h"

namespace bm {
namespace {

ImportLabels labels_of(const CatalogEntry& entry) { return {entry.prefix, entry.corpus, entry.language}; }

template <Result<ImportedFile> (*importer)(const std::string&, const ImportLabels&)>
Result<ImportedFile> read_with(const std::string& path, const CatalogEntry& entry, uint64_t) {
  return importer(path, labels_of(entry));
}

Result<ImportedFile> read_truthfulqa(const std::string& path, const CatalogEntry& entry, uint64_t seed) {
  return import_truthfulqa(path, labels_of(entry), seed);
}

struct Subject {
  const char* name;
  int64_t size;
};
// The six medical subjects of MMLU and the sizes of their official test splits.
const Subject kSubjects[] = {
    {"clinical_knowledge", 265},    {"medical_genetics", 100}, {"anatomy", 135},
    {"professional_medicine", 272}, {"college_biology", 144},  {"college_medicine", 173}};

void add_mmlu(std::vector<CatalogEntry>& entries, const std::string& language, const std::string& folder) {
  for (const auto& subject : kSubjects) {
    std::string name = subject.name;
    auto in = [&](const std::string& split) {
      std::vector<std::string> names = {folder + "/" + split + "/" + name + "_" + split + ".csv"};
      if (language == "en") names.push_back("data/" + split + "/" + name + "_" + split + ".csv");
      return TaskFile{names};
    };
    CatalogEntry entry{"mmlu_" + name, language, "MMLU_" + name, subject.size,      in("test"),
                       in("dev"),      name,     name,           LmEvalStyle::mmlu, read_with<import_mmlu>};
    entries.push_back(std::move(entry));
  }
}

std::vector<CatalogEntry> make_entries() {
  std::vector<CatalogEntry> e;
  add_mmlu(e, "en", "mmlu_med");
  e.push_back({"medqa",
               "en",
               "MedQA",
               1273,
               {{"medqa/us_4options_test.jsonl", "questions/US/4_options/phrases_no_exclude_test.jsonl"}},
               {{"medqa/us_4options_train.jsonl", "questions/US/4_options/phrases_no_exclude_train.jsonl",
                 "medqa/us_4options_train_sample1030.jsonl", "medqa/us_4options_dev.jsonl",
                 "questions/US/4_options/phrases_no_exclude_dev.jsonl"}},
               "medqa",
               "",
               LmEvalStyle::medqa,
               read_with<import_medqa>});
  e.push_back({"medqa_5options",
               "en",
               "MedQA-5_options",
               1273,
               {{"medqa/us_5options_test.jsonl", "questions/US/test.jsonl"}},
               {{"medqa/us_5options_train.jsonl", "questions/US/train.jsonl", "medqa/us_5options_dev.jsonl",
                 "questions/US/dev.jsonl", "medqa/us_5options_dev_mirror.json"}},
               "medqa5",
               "",
               LmEvalStyle::medqa,
               read_with<import_medqa>});
  e.push_back({"pubmedqa",
               "en",
               "PubMedQA",
               500,
               {{"pubmedqa/ori_pqal.json", "data/ori_pqal.json"}},
               {},
               "pubmedqa",
               "",
               LmEvalStyle::pubmedqa,
               read_with<import_pubmedqa>});
  e.push_back({"medmcqa",
               "en",
               "MedMCQA",
               4183,
               {{"medmcqa/dev.json", "data/dev.json"}},
               {{"medmcqa/train.json", "data/train.json"}},
               "medmcqa",
               "",
               LmEvalStyle::medmcqa,
               read_with<import_medmcqa>});
  e.push_back({"truthfulqa",
               "en",
               "TruthfulQA",
               817,
               {{"truthfulqa/TruthfulQA.csv"}},
               {},
               "truthfulqa",
               "",
               LmEvalStyle::truthfulqa_mc1,
               read_truthfulqa});
  add_mmlu(e, "ar", "multilingual/ar_mmlu");
  e.push_back({"frenchmedmcqa",
               "fr",
               "FrenchMedMCQA",
               622,
               {{"multilingual/fr_frenchmedmcqa/test.json"}},
               {{"multilingual/fr_frenchmedmcqa/train.json"}},
               "frenchmedmcqa",
               "",
               std::nullopt,
               read_with<import_frenchmedmcqa>});
  e.push_back({"headqa",
               "es",
               "HEAD-QA",
               2742,
               {{"multilingual/es_headqa/apollo_es_test.json"}},
               {{"multilingual/es_headqa/apollo_es_dev.json"}},
               "headqa",
               "",
               std::nullopt,
               read_with<import_apollo>});
  e.push_back({"mcmle_4options",
               "zh",
               "MCMLE-4_options",
               3426,
               {{"multilingual/zh/medqa_mcmle_4options_test.jsonl"}},
               {},
               "mcmle4",
               "",
               std::nullopt,
               read_with<import_choice_list>});
  e.push_back({"mcmle_5options",
               "zh",
               "MCMLE-5_options",
               3426,
               {{"multilingual/zh/medqa_mcmle_5options_test.jsonl"}},
               {},
               "mcmle5",
               "",
               std::nullopt,
               read_with<import_choice_list>});
  e.push_back({"cmexam",
               "zh",
               "CMExam",
               6811,
               {{"multilingual/zh/cmexam_test.jsonl"}},
               {},
               "cmexam",
               "",
               std::nullopt,
               read_with<import_choice_list>});
  e.push_back({"rumeddanet",
               "ru",
               "RuMedDaNet",
               256,
               {{"multilingual/ru/rumeddanet_dev_v1.jsonl"}},
               {{"multilingual/ru/rumeddanet_train_v1.jsonl"}},
               "rumeddanet",
               "",
               std::nullopt,
               read_with<import_rumeddanet>});
  e.push_back({"worldmedqa",
               "pt",
               "WorldMedQA",
               89,
               {{"multilingual/worldmedqa/brazil_pt.jsonl"}},
               {},
               "worldmedqa",
               "",
               std::nullopt,
               read_with<import_worldmedqa>});
  e.push_back({"worldmedqa",
               "en",
               "WorldMedQA",
               89,
               {{"multilingual/worldmedqa/brazil_pt_to_en.jsonl"}},
               {},
               "worldmedqa",
               "",
               std::nullopt,
               read_with<import_worldmedqa>});
  return e;
}

}  // namespace

const std::vector<CatalogEntry>& catalog_entries() {
  static const std::vector<CatalogEntry> entries = make_entries();
  return entries;
}

const CatalogEntry* find_entry(const std::string& name, const std::string& language) {
  for (const auto& entry : catalog_entries())
    if (entry.name == name && (language.empty() || entry.language == language)) return &entry;
  return nullptr;
}

}  // namespace bm
