// merge plan CONFIG.yaml
#include "base/log.h"
#include "cli/merge_table.h"
#include "cli/verb.h"
#include "merging/merge.h"

namespace bm {
namespace {

MergeOptions options;

std::string parameters_text(const Json& parameters) {
  std::string out;
  for (const Json::Member& member : parameters.members())
    out += (out.empty() ? "" : " ") + member.first + "=" + member.second.dump();
  return out;
}

std::string inputs_text(const Json& inputs, const std::string& output) {
  std::string out;
  for (const Json& input : inputs.items()) {
    Json values = input;
    std::string name = input["model"].as_string();
    if (input["tensor"].as_string() != output) name += ":" + input["tensor"].as_string();
    if (input["base"] == Json(true)) name += " (base)";
    for (const char* key : {"model", "tensor", "base"}) values.erase(key);
    std::string settings = parameters_text(values);
    out += (out.empty() ? "" : " | ") + name + (settings.empty() ? "" : " " + settings);
  }
  return out;
}

Result<Outcome> run(const Invocation& call) {
  MergeOptions chosen = options;
  chosen.config = call.argument("CONFIG");
  BM_TRY(Json plan, merge_plan(chosen, call.common));
  print_merge_plan(plan, call.common.json);
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "merge plan",
    .summary = "what a merge would compute, per tensor, with warnings",
    .details = "Prints each tensor's parameters after gradients and filters, its inputs, type and size; "
               "memory, disk and "
               "time; and what looks unintended. Reads no weights and writes nothing. --json gives the "
               "machine's form.",
    .example = "biomistral merge plan slerp.yaml",
    .positionals = {{"CONFIG", "mergekit configuration (YAML)"}},
    .describe = [](Fields& fields) { describe(fields, options); },
    .run = run,
}};

}  // namespace

void print_merge_plan(const Json& plan, bool json) {
  if (json) return print_line(plan.dump_spaced());
  std::vector<std::vector<std::string>> rows;
  for (const Json& tensor : plan["tensors"].items())
    rows.push_back({tensor["name"].as_string(), parameters_text(tensor["parameters"]),
                    inputs_text(tensor["inputs"], tensor["name"].as_string()), tensor["shape"].dump(),
                    tensor["dtype"].as_string(), format_bytes(tensor["bytes"].as_uint())});
  print_table({"tensor", "parameters", "inputs", "shape", "type", "size"}, rows);
  print_line("");
  print_line(plan["method"].as_string() + ", mode " + plan["mode"].as_string() + ": " +
             format_count(plan["tensors"].size()) + " tensors in " + std::to_string(plan["layers"].as_int()) +
             " layers; reads " + format_bytes(plan["read_bytes"].as_uint()) + ", writes " +
             format_bytes(plan["disk_bytes"].as_uint()) + ", holds at most about " +
             format_bytes(plan["memory_bytes"].as_uint()) + ", takes about " +
             format_duration(plan["seconds_estimate"].as_double()));
  for (const Json& warning : plan["warnings"].items()) print_line("warning: " + warning.as_string());
}

}  // namespace bm
