// doctor
#include <fmt/format.h>

#include "base/log.h"
#include "cli/verb.h"
#include "ops/machine.h"

namespace bm {
namespace {

struct DoctorOptions {
  bool measure = true;
} options;

Json machine_json(const Machine& machine) {
  Json features = Json::array(), kernels = Json::object(), isas = Json::array(), parts = Json::array();
  for (const std::string& name : machine.features) features.push_back(name);
  for (const auto& [family, used] : machine.kernels) kernels.set(family, used);
  for (const IsaInfo& isa : machine.isas) {
    isas.push_back(Json::object(
        {{"name", isa.name}, {"usable", isa.usable}, {"chosen", isa.chosen}, {"note", isa.note}}));
  }
  for (const MachinePart& part : machine.parts) {
    parts.push_back(Json::object(
        {{"name", part.name}, {"found", part.found}, {"detail", part.detail}, {"cure", part.cure}}));
  }
  auto rate = [](const MachineRate& r) {
    if (r.one_thread == 0) return Json();  // not measured
    return Json::object({{"one_thread", r.one_thread}, {"all_threads", r.all_threads}});
  };
  return Json::object({{"cpu", machine.cpu},
                       {"features", std::move(features)},
                       {"logical_cpus", int64_t{machine.logical_cpus}},
                       {"threads", int64_t{machine.threads}},
                       {"memory", machine.memory},
                       {"instruction_sets", std::move(isas)},
                       {"kernels", std::move(kernels)},
                       {"read_bytes_per_second", rate(machine.read_bandwidth)},
                       {"float32_operations_per_second", rate(machine.float_rate)},
                       {"parts", std::move(parts)}});
}

void print_machine(const Machine& machine) {
  std::string features;
  for (const std::string& name : machine.features) features += (features.empty() ? "" : " ") + name;
  std::vector<std::vector<std::string>> rows = {
      {"CPU", machine.cpu},
      {"instruction sets", features},
      {"threads", fmt::format("{} of {} logical CPUs", machine.threads, machine.logical_cpus)},
      {"memory", fmt::format("{:.1f} GiB", static_cast<double>(machine.memory) / (1u << 30))},
  };
  for (const IsaInfo& isa : machine.isas) {
    rows.push_back({"kernels " + isa.name, isa.chosen   ? "in use"
                                           : isa.usable ? "can run (--isa)"
                                                        : isa.note});
  }
  for (const auto& [family, used] : machine.kernels) rows.push_back({family, used});
  auto rates = [&](const char* name, const MachineRate& r, const char* unit) {
    if (r.one_thread == 0) return;
    rows.push_back({name, fmt::format("{:.1f} {} with 1 thread, {:.1f} with {}", r.one_thread * 1e-9, unit,
                                      r.all_threads * 1e-9, machine.threads)});
  };
  rates("memory, read in order", machine.read_bandwidth, "GB/s");
  rates("float32 linear layers", machine.float_rate, "GFLOP/s");
  for (const MachinePart& part : machine.parts) {
    rows.push_back({part.name, (part.found ? "yes: " : "no: ") + part.detail +
                                   (part.cure.empty() ? "" : ". ") + part.cure});
  }
  print_table({"what", "found"}, rows);
}

Result<Outcome> run(const Invocation& call) {
  const Machine machine = examine_machine(options.measure && !call.common.dry_run);
  if (call.common.json) {
    print_line(machine_json(machine).dump());
  } else {
    print_machine(machine);
  }
  return Outcome::done;
}

const RegisterVerb registration{{
    .name = "doctor",
    .summary =
        "CPU, instruction sets, kernels chosen, memory bandwidth, GPU, MPI, missing parts and their cure",
    .details = "Measures for about half a second. All kernels give the same bits, so the choice of one only "
               "changes the speed; --isa NAME forces one.",
    .example = "biomistral doctor --json",
    .positionals = {},
    .describe =
        [](Fields& fields) {
          fields.add("measure", options.measure, "measure memory and arithmetic for a moment");
        },
    .run = run,
}};

}  // namespace
}  // namespace bm
