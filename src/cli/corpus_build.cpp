#include "base/log.h"
#include "cli/corpus_input.h"
#include "cli/verb.h"
#include "corpus/build.h"

namespace bm {
namespace {

CorpusOptions options;

Result<Outcome> run(const Invocation& call) {
  options.inputs = call.arguments_of("INPUT");
  BM_TRY(CorpusReport report, build_corpus(options, call.common));
  if (report.dry_run) {
    if (call.common.json) {
      print_line(report.stats.dump());
      return Outcome::done;
    }
    print_table({"would be read", ""},
                {{"parts", report.stats["parts"].dump()},
                 {"bytes of input", format_bytes(report.stats["input_bytes"].as_uint())},
                 {"disk, about", format_bytes(report.stats["disk_bytes_about"].as_uint())},
                 {"memory, about", format_bytes(report.stats["memory_bytes_about"].as_uint())}});
    return Outcome::done;
  }
  if (report.shard_parts >= 0) {
    print_line("shard " + call.common.shard + ": " + std::to_string(report.shard_parts) +
               " parts are there; when all shards are through, run the same without --shard");
    return Outcome::done;
  }
  if (call.common.json) {
    print_line(report.stats.dump());
  } else if (report.already_complete) {
    print_line(options.out + ": already complete");
  } else {
    auto row = [](const std::string& name, int64_t count) {
      return std::vector<std::string>{name, format_count(static_cast<uint64_t>(count))};
    };
    print_table(
        {"articles", options.out},
        {row("read", report.articles), row("kept", report.kept), row("held out", report.held_out),
         row("rejected", report.rejected), row("broken", report.broken), row("duplicates", report.duplicates),
         row("contaminated", report.contaminated), row("tokens", static_cast<int64_t>(report.tokens)),
         row("blocks", static_cast<int64_t>(report.blocks)),
         row("tokens left over", static_cast<int64_t>(report.dropped_tokens))});
  }
  return report.broken > 0 && !report.already_complete ? Outcome::partial : Outcome::done;
}

const RegisterVerb verb{{
    .name = "corpus build",
    .summary = "PubMed Central's XML → clean, licensed, deduplicated, packed text",
    .details =
        "Reads JATS and NLM articles, keeps those whose licence allows it (the evidence stands in each "
        "record),\n"
        "drops duplicates and, if asked, what holds benchmark questions, cuts the rest in pieces, tokenizes\n"
        "and writes articles-*.jsonl.zst, tokens.bin/.idx (Megatron), ledger.jsonl (one line an input: kept, "
        "rejected,\n"
        "broken, duplicate, contaminated, and why), stats.json, README.md (a data card) and "
        "ATTRIBUTION.txt.\n"
        "For a job array give each job --shard i/n and the same --out; a last run without --shard finishes.",
    .example = "biomistral corpus build oa_comm_xml.PMC000xxxxxx.tar.gz --out corpus --tokenizer mistral/",
    .positionals = {corpus_input()},
    .describe =
        [](Fields& fields) {
          fields.add("out", options.out, "folder to write", {.unit = "path", .result_neutral = true});
          describe(fields, options);
        },
    .run = run,
}};

}  // namespace
}  // namespace bm
