#include "cli/arguments.h"

#include <algorithm>
#include <cstring>

#include "base/file.h"

namespace bm {
namespace {

std::vector<Verb>& registry() {
  static std::vector<Verb> verbs;
  return verbs;
}

// The verb named by the first one or two words.
const Verb* find_verb(const std::vector<std::string>& words, size_t* used) {
  const Verb* found = nullptr;
  for (const Verb& verb : all_verbs()) {
    size_t space = verb.name.find(' ');
    size_t count = space == std::string::npos ? 1 : 2;
    if (words.size() < count) continue;
    std::string name = words[0];
    if (count == 2) name += " " + words[1];
    if (name == verb.name && (!found || count > *used)) {
      found = &verb;
      *used = count;
    }
  }
  return found;
}

Error unknown_verb(const std::string& word) {
  std::vector<std::string> first_words, longer;
  for (const Verb& verb : all_verbs()) {
    first_words.push_back(verb.name.substr(0, verb.name.find(' ')));
    if (starts_with(verb.name, word + " ")) longer.push_back(verb.name);
  }
  if (!longer.empty()) {
    std::string list;
    for (const std::string& name : longer) list += (list.empty() ? "" : ", ") + name;
    return bad_input("\"" + word + "\" needs a second word", "One of: " + list + ".");
  }
  std::string near = nearest_word(word, first_words);
  return bad_input("unknown command \"" + word + "\"", near.empty()
                                                           ? "`biomistral --help` lists the commands."
                                                           : "Did you mean \"" + near + "\"?");
}

// Takes flags; what is no flag is collected as positional.
class FlagReader {
 public:
  FlagReader(Fields& fields, ParsedCommand& parsed) : fields_(fields), parsed_(parsed) {}

  Status read(const std::vector<std::string>& words, size_t at, std::vector<std::string>& free) {
    bool only_positionals = false;
    for (; at < words.size(); ++at) {
      const std::string& word = words[at];
      if (only_positionals || word.size() < 2 || word[0] != '-') {
        free.push_back(word);
      } else if (word == "--") {
        only_positionals = true;
      } else if (word == "--help" || word == "-h") {
        parsed_.help = true;
      } else {
        BM_CHECK_OK(flag(words, at));
      }
    }
    return {};
  }

 private:
  Status flag(const std::vector<std::string>& words, size_t& at) {
    std::string name = words[at];
    if (name == "-q") name = "--quiet";
    if (name == "-v") name = "--verbose";
    std::string value;
    bool has_value = false;
    if (size_t equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
      has_value = true;
    }
    if (!starts_with(name, "--")) return unknown(name);
    std::string plain = name.substr(2);
    Field* field = fields_.find(plain);
    bool negated = false;
    if (!field && starts_with(plain, "no-")) {
      field = fields_.find(plain.substr(3));
      negated = true;
      if (field && (!field->is_flag() || !field->info.negatable)) field = nullptr;
    }
    if (!field) return unknown(name);
    parsed_.call.set_flags.push_back(field->name);
    if (field->is_flag()) {
      if (negated && has_value) return bad_input("takes no value").in(name);
      return field->set_text(negated ? "false" : has_value ? value : "true");
    }
    if (!has_value) {
      if (at + 1 >= words.size()) return bad_input("needs a value").in(name);
      value = words[++at];
    }
    return field->set_text(value);
  }

  Error unknown(const std::string& name) {
    std::vector<std::string> known;
    for (const Field& field : fields_.all()) known.push_back("--" + field.name);
    std::string near = nearest_word(name, known);
    std::string help = "`biomistral " + parsed_.verb->name + " --help` lists the flags.";
    return bad_input("unknown flag " + name, near.empty() ? help : "Did you mean " + near + "? " + help);
  }

  Fields& fields_;
  ParsedCommand& parsed_;
};

Status place_positionals(const Verb& verb, const std::vector<std::string>& free, Invocation& call) {
  size_t required = 0;
  for (const Positional& positional : verb.positionals) required += positional.required ? 1 : 0;
  auto usage = [&] { return "See `biomistral " + verb.name + " --help`."; };
  if (free.size() < required) {
    size_t missing = free.size(), seen = 0;
    for (const Positional& positional : verb.positionals)
      if (positional.required && seen++ == missing)
        return bad_input(positional.name + " is missing (" + positional.help + ")", usage());
    return bad_input("an argument is missing", usage());
  }
  size_t at = 0;
  for (size_t i = 0; i < verb.positionals.size(); ++i) {
    const Positional& positional = verb.positionals[i];
    size_t after = 0;
    for (size_t k = i + 1; k < verb.positionals.size(); ++k) after += verb.positionals[k].required ? 1 : 0;
    size_t available = free.size() - at > after ? free.size() - at - after : 0;
    size_t take = positional.repeated ? available : std::min<size_t>(available, 1);
    for (size_t k = 0; k < take; ++k) call.arguments[positional.name].push_back(free[at++]);
  }
  if (at < free.size()) return bad_input("unexpected argument \"" + free[at] + "\"", usage());
  return {};
}

std::string wrapped(const std::string& text, size_t indent, size_t width) {
  std::string out;
  size_t column = indent;
  for (const std::string& word : split(text, ' ')) {
    if (column + word.size() + 1 > width && column > indent) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string field_help(const Field& field) {
  constexpr size_t kColumn = 30;
  bool on_by_default = field.is_flag() && field.default_text == "true";
  std::string head = "  --" + std::string(on_by_default && field.info.negatable ? "[no-]" : "") + field.name;
  if (!field.is_flag()) {
    std::string unit = field.info.unit.empty() ? (field.is_list() ? "LIST" : "VALUE") : field.info.unit;
    if (!field.info.choices.empty()) {
      unit.clear();
      for (const std::string& choice : field.info.choices) unit += (unit.empty() ? "" : "|") + choice;
    }
    head += " <" + unit + ">";
  }
  std::string text = field.help;
  if (!field.default_text.empty() && field.default_text != "false")
    text += " (default: " + field.default_text + ")";
  std::string line = head;
  if (line.size() + 2 > kColumn)
    line += "\n" + std::string(kColumn, ' ');
  else
    line.append(kColumn - line.size(), ' ');
  return line + wrapped(text, kColumn, 100) + "\n";
}

std::string usage_line(const Verb& verb) {
  std::string usage = "biomistral " + verb.name;
  for (const Positional& positional : verb.positionals) {
    std::string name = positional.name + (positional.repeated ? "..." : "");
    usage += positional.required ? " " + name : " [" + name + "]";
  }
  return usage + " [flags]";
}

}  // namespace

RegisterVerb::RegisterVerb(Verb verb) { registry().push_back(std::move(verb)); }

const std::vector<Verb>& all_verbs() {
  static const bool sorted = [] {
    std::sort(registry().begin(), registry().end(),
              [](const Verb& a, const Verb& b) { return a.name < b.name; });
    return true;
  }();
  (void)sorted;
  return registry();
}

const std::string& Invocation::argument(const std::string& name) const {
  static const std::string kEmpty;
  auto found = arguments.find(name);
  return found == arguments.end() || found->second.empty() ? kEmpty : found->second[0];
}
const std::vector<std::string>& Invocation::arguments_of(const std::string& name) const {
  static const std::vector<std::string> kNone;
  auto found = arguments.find(name);
  return found == arguments.end() ? kNone : found->second;
}
bool Invocation::given(std::string_view field) const {
  return std::find(set_flags.begin(), set_flags.end(), field) != set_flags.end();
}

Result<ParsedCommand> parse_command(const std::vector<std::string>& words) {
  ParsedCommand parsed;
  size_t used = 0;
  parsed.verb = find_verb(words, &used);
  if (!parsed.verb) return unknown_verb(words[0]);
  Fields fields;
  describe(fields, parsed.call.common);
  if (parsed.verb->describe) parsed.verb->describe(fields);
  std::vector<std::string> free;
  FlagReader reader(fields, parsed);
  BM_CHECK_OK(reader.read(words, used, free));
  if (parsed.help) return parsed;
  BM_CHECK_OK(place_positionals(*parsed.verb, free, parsed.call));
  return parsed;
}

std::string program_help() {
  std::string text =
      "biomistral: medical language models from PubMed Central XML to a scored, merged, quantized model and "
      "a report\n\n"
      "  biomistral VERB [arguments] [--flags]        biomistral VERB --help explains one\n\n";
  for (const Verb& verb : all_verbs()) {
    std::string line = "  " + verb.name;
    line.append(line.size() < 20 ? 20 - line.size() : 1, ' ');
    text += line + wrapped(verb.summary, 20, 100) + "\n";
  }
  text +=
      "\nA model is a Hugging Face folder (safetensors or .bin), one made here, a .gguf file, or an adapter "
      "folder.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage or bad input (nothing written), 3 done but some items "
      "failed\n"
      "(they stand in the ledger), 130 interrupted and resumable.\n";
  return text;
}

std::string verb_help(const Verb& verb) {
  std::string text = usage_line(verb) + "\n\n" + wrapped(verb.summary, 0, 100) + "\n";
  if (!verb.details.empty()) text += "\n" + verb.details + "\n";
  if (!verb.example.empty()) text += "\nExample:\n  " + verb.example + "\n";
  if (!verb.positionals.empty()) {
    text += "\nArguments:\n";
    for (const Positional& positional : verb.positionals) {
      std::string head = "  " + positional.name + (positional.repeated ? "..." : "");
      head.append(head.size() < 30 ? 30 - head.size() : 2, ' ');
      text += head + wrapped(positional.help, 30, 100) + "\n";
    }
  }
  Fields own, common;
  CommonOptions common_options;
  describe(common, common_options);
  if (verb.describe) verb.describe(own);
  if (!own.all().empty()) text += "\nFlags:\n";
  for (const Field& field : own.all()) text += field_help(field);
  text += "\nFlags of every verb:\n";
  for (const Field& field : common.all()) text += field_help(field);
  return text;
}

}  // namespace bm
