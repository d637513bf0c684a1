#include "ops/machine.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "base/system.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "kernels/x86_features.h"
#include "ops/linear.h"
#include "parallel/communicator.h"

namespace bm {
namespace {

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  auto add = [&](const char* name, bool has) {
    if (has) found.emplace_back(name);
  };
  add("avx", __builtin_cpu_supports("avx"));
  add("avx2", __builtin_cpu_supports("avx2"));
  add("fma", __builtin_cpu_supports("fma"));
  add("f16c", cpu_has_f16c());
  add("avx512f", __builtin_cpu_supports("avx512f"));
  add("avx512bw", __builtin_cpu_supports("avx512bw"));
  add("avx512vl", __builtin_cpu_supports("avx512vl"));
  add("avx512dq", __builtin_cpu_supports("avx512dq"));
  add("avx512vnni", __builtin_cpu_supports("avx512vnni"));
  add("avx512bf16", __builtin_cpu_supports("avx512bf16"));
#endif
  return found;
}

// Best of five, in seconds.
double shortest(const std::function<void()>& work) {
  double best = 1e300;
  for (int i = 0; i < 5; ++i) {
    const double begin = now_seconds();
    work();
    best = std::min(best, now_seconds() - begin);
  }
  return std::max(best, 1e-9);
}

MachineRate with_threads(const std::function<double()>& rate) {
  MachineRate out;
  const int before = thread_count();
  set_thread_count(1);
  out.one_thread = rate();
  set_thread_count(before);
  out.all_threads = before > 1 ? rate() : out.one_thread;
  return out;
}

MachineRate measure_reading() {
  const uint64_t bytes = std::min<uint64_t>(256u << 20, physical_memory() / 8);
  const int64_t count = static_cast<int64_t>(bytes / sizeof(float));
  const std::vector<float> values(static_cast<size_t>(count), 1.0f);
  constexpr size_t kPiece = 1u << 18;
  std::vector<float> sums(values.size() / kPiece + 1);
  return with_threads([&] {
    return static_cast<double>(bytes) / shortest([&] {
             parallel_chunks(values.size(), kPiece, [&](size_t begin, size_t end) {
               sums[begin / kPiece] =
                   kernels().rows->maximum(static_cast<int64_t>(end - begin), values.data() + begin);
             });
           });
  });
}

MachineRate measure_products() {
  const int64_t m = 768, n = 1024;
  const bool slow = isa_name() == "scalar";
  const int64_t k = slow ? 16 : 1024;
  const std::vector<float> x(static_cast<size_t>(m * k), 0.5f), w(static_cast<size_t>(n * k), 0.25f);
  std::vector<float> y(static_cast<size_t>(m * n));
  auto packed =
      PackedWeights::pack({DType::f32, {n, k}, reinterpret_cast<const std::byte*>(w.data()), nullptr});
  return with_threads([&] {
    return static_cast<double>(2 * m * n * k) / shortest([&] { linear(x.data(), m, *packed, y.data()); });
  });
}

std::string first_line(const char* path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::string in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::string all = path ? path : "";
  for (size_t begin = 0; begin <= all.size();) {
    const size_t end = std::min(all.find(':', begin), all.size());
    const std::string file = all.substr(begin, end - begin) + "/" + program;
    if (end > begin && access(file.c_str(), X_OK) == 0) return file;
    begin = end + 1;
  }
  return {};
}

std::vector<MachinePart> examine_parts(const Machine& machine) {
  std::vector<MachinePart> parts;
  const bool avx2 = std::any_of(machine.isas.begin(), machine.isas.end(),
                                [](const IsaInfo& isa) { return isa.name == "avx2" && isa.usable; });
  parts.push_back(
      {"vector instructions", avx2, avx2 ? "AVX2 or better" : "only scalar kernels run on this CPU",
       avx2 ? "" : "Results are the same bits, but some 50 times slower: use a machine with AVX2."});
  std::error_code ignored;
  const std::string driver = first_line("/proc/driver/nvidia/version");
  const bool gpu = !driver.empty() || std::filesystem::exists("/dev/nvidia0", ignored);
  parts.push_back({"GPU", gpu, gpu ? (driver.empty() ? "NVIDIA device" : driver) : "no NVIDIA driver",
                   gpu ? "This build computes on the CPU; the GPU is not used." : ""});
  const std::string mpi = in_path("mpirun");
  const std::string launcher = mpi.empty() ? "no mpirun in PATH" : mpi;
  const bool ranks = built_with_mpi();
  parts.push_back({"MPI", ranks && !mpi.empty(),
                   launcher + (ranks ? "" : ", and this build has no MPI in it"),
                   ranks && !mpi.empty() ? ""
                                         : "Only needed to train on several machines: apt-get install "
                                           "openmpi-bin libopenmpi-dev, then build again."});
  constexpr uint64_t kGib = 1u << 30;
  const bool enough = machine.memory >= 4 * kGib;
  parts.push_back({"memory", enough, enough ? "enough for the demonstrations" : "less than 4 GiB",
                   enough ? "" : "Use smaller models, or cap what a verb holds with --memory."});
  return parts;
}

}  // namespace

Machine examine_machine(bool measure) {
  Machine machine;
  machine.cpu = cpu_model();
  machine.features = cpu_features();
  machine.threads = thread_count();
  machine.logical_cpus = static_cast<int>(std::thread::hardware_concurrency());
  machine.memory = physical_memory();
  machine.isas = isa_list();
  const std::string isa(isa_name());
  machine.kernels = {
      {"float32 × float32, bfloat16, float16 products", isa},
      {"bfloat16 arithmetic", kernels().pairs->native ? isa + " (vdpbf16ps)" : isa + " (reproduced, slow)"},
      {"attention, softmax, norms, activations", isa}};
  if (measure) {
    machine.read_bandwidth = measure_reading();
    machine.float_rate = measure_products();
  }
  machine.parts = examine_parts(machine);
  return machine;
}

}  // namespace bm
