#include "kernels/isa.h"

#include <atomic>

#include "kernels/kernels.h"
#include "kernels/x86_features.h"

namespace bm {
namespace {

struct Entry {
  Kernels kernels;
  std::string (*missing)();  // what this CPU lacks, "" when it can run
};

std::string missing_avx2() {
#if defined(__x86_64__)
  std::string missing;
  if (!__builtin_cpu_supports("avx2")) missing += " avx2";
  if (!__builtin_cpu_supports("fma")) missing += " fma";
  if (!cpu_has_f16c()) missing += " f16c";
  return missing;
#else
  return " x86-64";
#endif
}

std::string missing_avx512() {
  std::string missing = missing_avx2();
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512f")) missing += " avx512f";
  if (!__builtin_cpu_supports("avx512bw")) missing += " avx512bw";
  if (!__builtin_cpu_supports("avx512vl")) missing += " avx512vl";
  if (!__builtin_cpu_supports("avx512dq")) missing += " avx512dq";
#endif
  return missing;
}

std::string missing_avx512vnni() {
  std::string missing = missing_avx512();
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512vnni")) missing += " avx512vnni";
#endif
  return missing;
}

std::string missing_avx512bf16() {
  std::string missing = missing_avx512vnni();
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bf16")) missing += " avx512bf16";
#endif
  return missing;
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = {
      {{"scalar", &scalar::products, &scalar::rows, &scalar::integer, &scalar::merge, &scalar::pairs},
       [] { return std::string(); }},
      {{"avx2", &avx2::products, &avx2::rows, &avx2::integer, &avx2::merge, &avx2::pairs}, missing_avx2},
      {{"avx512", &avx512::products, &avx512::rows, &avx512::integer, &avx512::merge, &avx512::pairs},
       missing_avx512},
      {{"avx512vnni", &avx512::products, &avx512::rows, &avx512vnni::integer, &avx512::merge, &avx512::pairs},
       missing_avx512vnni},
      {{"avx512bf16", &avx512::products, &avx512::rows, &avx512vnni::integer, &avx512::merge,
        &avx512bf16::pairs},
       missing_avx512bf16},
  };
  return all;
}

const Kernels* best() {
  const Kernels* chosen = nullptr;
  for (const Entry& entry : entries()) {
    if (entry.missing().empty()) chosen = &entry.kernels;
  }
  return chosen;
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> chosen{best()};
  return chosen;
}

}  // namespace

const Kernels& kernels() { return *current().load(std::memory_order_acquire); }

std::string_view isa_name() { return kernels().name; }

std::vector<IsaInfo> isa_list() {
  std::vector<IsaInfo> list;
  for (const Entry& entry : entries()) {
    std::string missing = entry.missing();
    IsaInfo info;
    info.name = entry.kernels.name;
    info.usable = missing.empty();
    info.chosen = &entry.kernels == &kernels();
    if (!missing.empty()) info.note = "this CPU lacks" + missing;
    list.push_back(std::move(info));
  }
  return list;
}

Status select_isa(std::string_view name) {
  if (name.empty() || name == "auto") {
    current().store(best(), std::memory_order_release);
    return {};
  }
  std::string known = "auto";
  for (const Entry& entry : entries()) {
    known += std::string(", ") + entry.kernels.name;
    if (name != entry.kernels.name) continue;
    std::string missing = entry.missing();
    if (!missing.empty()) {
      return bad_input("this CPU cannot run the " + std::string(name) + " kernels: it lacks" + missing,
                       "Use --isa auto.");
    }
    current().store(&entry.kernels, std::memory_order_release);
    return {};
  }
  return bad_input("unknown instruction set \"" + std::string(name) + "\"", "Known: " + known + ".");
}

}  // namespace bm
