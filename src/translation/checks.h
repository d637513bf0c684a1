// Is a translated text still the same question? Checks that need no second model: numbers, units,
// negations, the language's script and common words, refusals, options that became equal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bm {

// "" when the translation passes, else what is wrong in words the translating model can act on.
// source is English; language a two-letter code. Languages that are not known by their code get the
// checks that need no knowledge of them.
std::string translation_defect(std::string_view source, std::string_view translation,
                               const std::string& language);

// The parts, each "" or a reason.
std::string number_defect(std::string_view source, std::string_view translation);
std::string unit_defect(std::string_view source, std::string_view translation, const std::string& language);
std::string negation_defect(std::string_view source, std::string_view translation,
                            const std::string& language);
std::string language_defect(std::string_view source, std::string_view translation,
                            const std::string& language);

// Runs of decimal digits as ASCII, those of other scripts converted, thousands joined ("1,250" and
// "1 250" → "1250"), sorted.
std::vector<std::string> numbers_of(std::string_view text);

// "French" for "fr"; the code itself when it is not known.
std::string language_name(const std::string& code);

}  // namespace bm
