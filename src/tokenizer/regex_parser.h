// Pattern → program of regex.h. Only regex.cpp includes it.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/regex.h"

namespace bm::unicode::detail {

struct CompiledRegex {
  std::vector<Regex::Set> sets;
  std::vector<Regex::Instruction> program;
};
Result<CompiledRegex> compile_regex(std::string_view pattern);

}  // namespace bm::unicode::detail
