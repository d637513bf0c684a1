// Command lines to invocations, and the help pages, both from a verb's declaration.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/verb.h"

namespace bm {

struct ParsedCommand {
  const Verb* verb = nullptr;
  Invocation call;
  bool help = false;
};

// words: the command line without the program's name. bad_input names the word and the nearest known one.
Result<ParsedCommand> parse_command(const std::vector<std::string>& words);

std::string program_help();
std::string verb_help(const Verb& verb);

}  // namespace bm
