#include "quantization/quantize.h"

#include "base/log.h"
#include "cli/verb.h"

namespace bm {
namespace {

QuantizeOptions options;

Result<Outcome> run(const Invocation& call) {
  options.model = call.argument("MODEL");
  options.out = call.argument("OUT");
  BM_TRY(auto report, quantize(options, call.common));
  if (call.common.json) {
    print_line(report.json().dump());
    return Outcome::done;
  }
  if (report.already_complete) {
    print_line(options.out + ": already complete");
    return Outcome::done;
  }
  std::vector<std::vector<std::string>> rows = {
      {"linears quantized", std::to_string(report.quantized)},
      {"linears left as they are", std::to_string(report.skipped.size())},
      {"weights before", format_bytes(report.bytes_before)},
      {report.dry_run ? "weights after, on disk" : "weights after", format_bytes(report.bytes_after)}};
  if (report.dry_run) rows.push_back({"memory needed, about", format_bytes(report.memory_need)});
  print_table({report.dry_run ? "would be done" : "done", options.method}, rows);
  return Outcome::done;
}

const RegisterVerb verb{{
    .name = "quantize",
    .summary = "write a model in a quantized format (AWQ, NF4, FP4, int8, GGUF)",
    .details = "Embeddings and output head stay as they are. A linear whose sizes the format cannot hold "
               "does too; it is\n"
               "listed in config.json and said aloud. AWQ searches its scales on --calibration text and "
               "leaves what it\n"
               "found beside the weights (awq_search.safetensors, awq_search.json), for --search-from.",
    .example = "biomistral quantize model/ model-awq/ --method awq-gemm --group 64 --calibration corpus/",
    .positionals = {{"MODEL", "Hugging Face folder or .gguf file"},
                    {"OUT", "folder to write; for the GGUF formats a .gguf file"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
