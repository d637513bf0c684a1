// Runs the built program as a user would.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "paths.h"

namespace bm::testing {

struct ProgramRun {
  int code = -1;
  std::string out, err;
};

inline std::string program() { return BIOMISTRAL_BINARY; }

// `arguments` is shell text; input goes to standard input.
inline ProgramRun run_program(const std::string& arguments, const std::string& input = "") {
  TemporaryFolder folder;
  (void)write_file_atomic(folder.file("in"), input).ok();
  std::string command = "'" + program() + "' " + arguments + " <'" + folder.file("in") + "' >'" +
                        folder.file("out") + "' 2>'" + folder.file("err") + "'";
  int status = std::system(command.c_str());
  ProgramRun run;
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.out = *read_file(folder.file("out"));
  run.err = *read_file(folder.file("err"));
  return run;
}

}  // namespace bm::testing
