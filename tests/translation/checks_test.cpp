#include "translation/checks.h"

#include <gtest/gtest.h>

#include "tasks/item.h"
#include "translation/chrf.h"
#include "translation/fields.h"

namespace bm {
namespace {

TEST(Chrf, EqualsSacrebleu) {  // sacrebleu 2: CHRF().sentence_score
  EXPECT_NEAR(chrf("The cat sat on the mat.", "The cat is on a mat."), 42.3245103380211, 1e-9);
  EXPECT_NEAR(chrf("Which drug is not used?", "Which medication is not used in adults?"), 33.51264747550926,
              1e-9);
  EXPECT_NEAR(chrf("naïve café", "naive cafe"), 39.411375661375665, 1e-9);
  EXPECT_NEAR(chrf("ab", "abcd"), 47.169811320754704, 1e-9);
  EXPECT_NEAR(chrf("abc", "abc"), 100, 1e-9);
  EXPECT_EQ(chrf("", "abc"), 0);
  EXPECT_EQ(chrf("xyz", "abc"), 0);
}

TEST(Checks, Numbers) {
  EXPECT_EQ(number_defect("A dose of 1,250 mg", "Une dose de 1 250 mg"), "");
  EXPECT_EQ(number_defect("2.5 mg twice", "2,5 mg deux fois"), "");
  EXPECT_EQ(number_defect("aged 45", "عمره ٤٥"), "");
  EXPECT_NE(number_defect("aged 45", "âgé de 54 ans"), "");
  EXPECT_NE(number_defect("aged 45", "âgé"), "");
  EXPECT_NE(number_defect("aged", "âgé de 4 ans"), "");
  EXPECT_EQ(numbers_of("10 000 and 2.5, 7"), (std::vector<std::string>{"10000", "2", "5", "7"}));
}

TEST(Checks, UnitsAndPercents) {
  EXPECT_EQ(unit_defect("5 mg", "5 mg", "fr"), "");
  EXPECT_NE(unit_defect("5 mg", "5 g", "fr"), "");
  EXPECT_EQ(unit_defect("5 mg", "5 мг", "ru"), "");
  EXPECT_NE(unit_defect("5 %", "5", "ru"), "");
}

TEST(Checks, Negations) {
  EXPECT_NE(negation_defect("Which is NOT true?", "Lequel est vrai ?", "fr"), "");
  EXPECT_EQ(negation_defect("Which is NOT true?", "Lequel n'est pas vrai ?", "fr"), "");
  EXPECT_EQ(negation_defect("All of these EXCEPT", "Все, кроме", "ru"), "");
  EXPECT_NE(negation_defect("All of these EXCEPT", "Все эти", "ru"), "");
  EXPECT_EQ(negation_defect("It doesn't", "它不", "zh"), "");
  EXPECT_NE(negation_defect("It doesn't", "它是", "zh"), "");
  EXPECT_EQ(negation_defect("Which is true?", "Lequel est vrai ?", "fr"), "");
  EXPECT_EQ(negation_defect("Which is not true?", "???", "xx"), "") << "an unknown language has no list";
}

TEST(Checks, Language) {
  std::string source = "Which of the following is the most likely cause of the pain in this man?";
  EXPECT_NE(language_defect(source, source, "fr"), "");
  EXPECT_NE(
      language_defect(source, "Which of these is the likely cause of the pain in this old man now?", "fr"),
      "");
  EXPECT_EQ(
      language_defect(
          source, "Laquelle est la cause la plus probable de la douleur chez cet homme dans ce cas ?", "fr"),
      "");
  EXPECT_NE(language_defect(source, "Quelle est la cause de la douleur ?", "ru"), "");
  EXPECT_EQ(language_defect(source, "Какова наиболее вероятная причина боли у этого мужчины?", "ru"), "");
  EXPECT_EQ(language_defect("Aspirin", "Aspirin", "ru"), "") << "names may stay";
}

TEST(Checks, RefusalsAndEmptyTexts) {
  EXPECT_NE(translation_defect("What is it?", "I'm sorry, but I cannot help.", "fr"), "");
  EXPECT_NE(translation_defect("What is it?", "  ", "fr"), "");
  EXPECT_NE(translation_defect("", "Quoi ?", "fr"), "");
  EXPECT_EQ(translation_defect("", "", "fr"), "");
}

FieldRequest options_request() {
  return {"options", Json::object({{"A", "Liver"}, {"B", "Kidney"}}), "fr", false};
}

TEST(Fields, ReadsWhatModelsWrapRoundJson) {
  auto reply = options_request().read("Here it is:\n```json\n{\"B\": \"Rein\", \"A\": \"Foie\"}\n```");
  ASSERT_TRUE(reply.ok()) << reply.error().paragraph();
  EXPECT_EQ(reply->dump(), R"({"A":"Foie","B":"Rein"})") << "in the source's order";
}

TEST(Fields, RefusesOtherLettersAndCollapsedOptions) {
  for (const char* bad :
       {R"({"A":"Foie"})", R"({"A":"Foie","C":"Rein"})", R"({"A":"Foie","B":"Rein","C":"x"})",
        R"({"A":"Foie","B":7})", R"(["Foie","Rein"])", "Foie", R"({"A":"Foie","B":"Foie"})"})
    EXPECT_FALSE(options_request().read(bad).ok()) << bad;
}

TEST(Fields, KeyNamesEverythingThatDecides) {
  FieldRequest a = options_request(), other = a;
  other.language = "de";
  EXPECT_NE(a.key("m"), other.key("m"));
  EXPECT_NE(a.key("m"), a.key("n"));
  other = a;
  other.back = true;
  EXPECT_NE(a.key("m"), other.key("m"));
  EXPECT_EQ(a.key("m"), options_request().key("m"));
}

}  // namespace
}  // namespace bm
