// convert MODEL OUT
#include "base/log.h"
#include "cli/verb.h"
#include "quantization/gguf_export.h"

namespace bm {
namespace {

ConvertOptions options;

Result<Outcome> run(const Invocation& call) {
  ConvertOptions chosen = options;
  chosen.model = call.argument("MODEL");
  chosen.out = call.argument("OUT");
  BM_TRY(ConvertReport report, convert_any(chosen, call.common));
  std::string size = format_count(report.tensors) + " tensors, " + format_bytes(report.bytes);
  print_line(chosen.out + ": " +
             (call.common.dry_run       ? "would hold " + size
              : report.already_complete ? "already complete"
                                        : size));
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "convert",
    .summary = "change a model's container and dtype",
    .details =
        "Reads any model (safetensors, PyTorch .bin, GGUF with its tokenizer; quantized folders too) and "
        "writes a\n"
        "Hugging Face folder of safetensors, or with --to gguf a file that llama.cpp runs.",
    .example = "biomistral convert SmolLM2-135M-Instruct.Q4_1.gguf smollm2/ --to safetensors --dtype bf16",
    .positionals = {{"MODEL", "folder or file to read"}, {"OUT", "folder or .gguf file to write"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace
}  // namespace bm
