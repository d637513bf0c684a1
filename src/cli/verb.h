// One command of the program. Each lives in its own small file, which registers it:
//
//   static MergeOptions options;
//   static const RegisterVerb merge{{
//       .name = "merge", .summary = "merge models as mergekit's YAML says",
//       .example = "biomistral merge slerp.yaml out/",
//       .positionals = {{"CONFIG", "mergekit configuration"}, {"OUT", "folder to write"}},
//       .describe = [](Fields& f) { describe(f, options); },
//       .run = [](const Invocation& call) -> Result<Outcome> { ... },
//   }};
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"
#include "base/result.h"
#include "base/stage.h"

namespace bm {

enum class Outcome {
  done = 0,
  partial = 3,  // done, but some items failed and stand in the ledger
};

struct Positional {
  std::string name = {};  // upper case, as --help shows it
  std::string help = {};
  bool required = true;
  bool repeated = false;  // takes all that follow; only for the last, or before exactly one more
};

struct Invocation {
  CommonOptions common;
  std::map<std::string, std::vector<std::string>> arguments;
  std::vector<std::string> set_flags;  // names of the fields given on the command line

  // The single value of a positional, "" when an optional one is absent.
  const std::string& argument(const std::string& name) const;
  const std::vector<std::string>& arguments_of(const std::string& name) const;
  bool given(std::string_view field) const;
};

struct Verb {
  std::string name = {};  // one or two words: "merge", "merge plan"
  std::string summary = {};
  std::string details = {};  // paragraphs of --help
  std::string example = {};
  std::vector<Positional> positionals = {};
  std::function<void(Fields&)> describe = {};  // fields besides the common ones; may be empty
  std::function<Result<Outcome>(const Invocation&)> run = {};
};

struct RegisterVerb {
  explicit RegisterVerb(Verb verb);
};
const std::vector<Verb>& all_verbs();

// The only writers to standard output. A failed write (closed pipe, full disk) ends the program with 1.
void print(std::string_view text);
void print_line(std::string_view text);
// A table with a header row, columns padded; numbers right-aligned.
void print_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

}  // namespace bm
