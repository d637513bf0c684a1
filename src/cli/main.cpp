// Flags in, exit code out. Verbs register themselves (cli/verb.h).
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "base/threads.h"
#include "cli/arguments.h"
#include "cli/console.h"
#include "cli/verb.h"
#include "kernels/isa.h"

namespace bm {
namespace {

extern "C" void on_signal(int) { request_stop(); }

int report(const Error& error) {
  std::string text = "biomistral: " + error.paragraph() + "\n";
  std::fputs(text.c_str(), stderr);
  switch (error.code()) {
    case Code::bad_input:
      return 2;
    case Code::interrupted:
      return 130;
    case Code::failed:
      return 1;
  }
  return 1;
}

int show_version() {
  print_line("biomistral " + program_version() + " (" + program_commit() + "), built with " +
             program_compiler());
  std::string names;
  for (const IsaInfo& isa : isa_list()) {
    names += (names.empty() ? "" : ", ") + isa.name;
    names += isa.chosen ? " (in use)" : isa.usable ? "" : " (not on this CPU)";
  }
  print_line("kernels: " + names);
  return 0;
}

int run(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print(program_help());
    return words.empty() ? 2 : 0;
  }
  if (words[0] == "--version") return show_version();
  Result<ParsedCommand> parsed = parse_command(words);
  if (!parsed.ok()) return report(parsed.error());
  if (parsed->help) {
    print(verb_help(*parsed->verb));
    return 0;
  }
  const CommonOptions& common = parsed->call.common;
  Result<Console> console = Console::open(common);
  if (!console.ok()) return report(console.error());
  set_log_sink(console->sink());
  set_thread_count(static_cast<int>(common.threads));
  if (!common.isa.empty()) {
    Status forced = select_isa(common.isa);
    if (!forced.ok()) return report(std::move(forced.error()).in("--isa"));
  }
  Result<Outcome> outcome = parsed->verb->run(parsed->call);
  set_log_sink(nullptr);
  console->close();
  if (!outcome.ok()) return report(outcome.error());
  return static_cast<int>(*outcome);
}

}  // namespace
}  // namespace bm

int main(int argc, char** argv) {
  std::signal(SIGINT, bm::on_signal);
  std::signal(SIGTERM, bm::on_signal);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is then an error like a full disk
  try {
    int code = bm::run(std::vector<std::string>(argv + 1, argv + argc));
    if (std::fflush(stdout) != 0) return 1;
    return code;
  } catch (const std::bad_alloc&) {
    std::fputs("biomistral: out of memory. Close other programs, or lower --memory or the batch.\n", stderr);
    return 1;
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "biomistral: internal error (%s). Please report it with the command line.\n",
                 exception.what());
    return 1;
  }
}
