#include <algorithm>

#include "base/log.h"
#include "corpus/statistics.h"

namespace bm {

namespace {

std::string number(const Json& value) {
  return value.is_integer() ? format_count(static_cast<uint64_t>(value.as_int())) : "0";
}

std::string table(const Json& tallies, const std::string& what, size_t most) {
  std::string out = "| " + what + " | articles | words | tokens |\n|---|---:|---:|---:|\n";
  size_t rows = 0;
  for (const Json::Member& row : tallies.members()) {
    if (rows++ == most) {
      out += "| … " + std::to_string(tallies.size() - most) + " more | | | |\n";
      break;
    }
    std::string name = row.first;
    for (size_t at = 0; (at = name.find('|', at)) != std::string::npos; at += 2) name.insert(at, 1, '\\');
    out += "| " + name + " | " + number(row.second["articles"]) + " | " + number(row.second["words"]) +
           " | " + number(row.second["tokens"]) + " |\n";
  }
  return out + "\n";
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string how_it_was_made(const CorpusOptions& options, const CommonOptions& common) {
  std::string out = "## How it was made\n\n`biomistral " + program_version() + " corpus build` (" +
                    program_commit() + "), mode " + common.mode +
                    "; manifest.json holds every option and the hashes of the inputs.\n\n";
  CorpusSwitches switches;
  if (auto resolved = resolve_switches(options, common); resolved.ok()) switches = *resolved;
  out += "* Licences kept: " + joined(options.licenses) +
         ". What is not recognized is rejected; each record names the words its licence was read from.\n";
  out += "* Languages: " + (options.languages.empty() ? std::string("all") : joined(options.languages)) +
         "; filters: " + (options.filters.empty() ? std::string("none") : joined(options.filters)) + ".\n";
  out += "* Duplicates: " +
         std::string(!switches.drop_exact ? "kept"
                     : switches.drop_near
                         ? "the same text or id, and near-duplicates (MinHash, 14 bands of 8 hashes "
                           "over runs of 5 words), dropped"
                         : "the same text or id, dropped") +
         ".\n";
  if (options.decontaminate.empty())
    out += "* Benchmarks were not looked for.\n";
  else
    out += "* Benchmarks looked for: " + joined(options.decontaminate) + ", by " +
           std::to_string(options.decontamination_words) + " words in a row; articles that hold items are " +
           (switches.drop_contaminated ? "dropped" : "kept") + " and listed in contamination.jsonl.\n";
  return out + "* Packing: " + options.packing + ", blocks of " + std::to_string(options.sequence_length) +
         " tokens.\n\n";
}

std::string benchmarks_table(const Json& benchmarks) {
  if (benchmarks.is_null() || benchmarks.size() == 0) return "";
  std::string out =
      "## Benchmarks met\n\n| benchmark | items | long enough to be found | met | articles |\n"
      "|---|---:|---:|---:|---:|\n";
  for (const Json::Member& row : benchmarks.members())
    out += "| " + row.first + " | " + number(row.second["items"]) + " | " +
           number(row.second["long_enough_to_be_found"]) + " | " + number(row.second["items_met"]) + " | " +
           number(row.second["articles"]) + " |\n";
  return out + "\n";
}

}  // namespace

std::string data_card(const Json& stats, const CorpusOptions& options, const CommonOptions& common) {
  const Json& articles = stats["articles"];
  std::string out = "# Corpus of open-access articles\n\n" + number(articles["kept"]) + " articles, " +
                    number(stats["words"]) + " words, " + number(stats["tokens"]) + " tokens (" +
                    number(stats["packing"]["blocks"]) + " blocks of " +
                    number(stats["packing"]["sequence_length"]) + ").\n\n";
  out += "| articles | |\n|---|---:|\n";
  for (const Json::Member& row : articles.members())
    out += "| " + row.first + " | " + number(row.second) + " |\n";
  out += "\n" + how_it_was_made(options, common);
  out +=
      "## Licences\n\nATTRIBUTION.txt names authors, title, journal, address and licence of every article. "
      "Whoever "
      "passes the texts on passes it on too; share-alike and no-derivatives licences bind what is made of "
      "them. "
      "In " +
      number(stats["license_conflicts"]) +
      " of the articles read, statements about the licence contradict each other; the narrower one was "
      "taken, and "
      "the ledger names both.\n\n";
  out += table(stats["licenses"], "licence", 20) + "## Languages\n\n" +
         table(stats["languages"], "language", 20) + "## Sections\n\n" +
         table(stats["sections"], "section", 12) + benchmarks_table(stats["benchmarks"]) +
         "## Years and journals\n\n" + table(stats["years"], "year", 40) +
         table(stats["journals"], "journal", 25);
  out +=
      "## Before it is used\n\n"
      "* Articles are as their authors wrote them: errors, retracted findings and outdated practice are "
      "among "
      "them (the ledger notes retractions where a file list was given).\n"
      "* Case reports describe patients. They were published with consent and are open; they should still "
      "not be "
      "quoted out of context.\n"
      "* Figures, cells of tables and lists of literature are left out unless the options say otherwise.\n"
      "* A model trained on it is not fit for clinical use without its own validation.\n";
  return out;
}

}  // namespace bm
