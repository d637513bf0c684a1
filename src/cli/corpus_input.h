// What `corpus build`, `corpus extract` and `corpus audit` read.
#pragma once

#include "cli/verb.h"

namespace bm {

inline Positional corpus_input() {
  return {.name = "INPUT",
          .help = "folder, .xml, .nxml, .xml.gz, .tar, .tar.gz, .tar.zst or .zip",
          .required = true,
          .repeated = true};
}

}  // namespace bm
