// What a file or folder is, for people: kind, tensors, sizes, configuration, licence, problems.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tensor/tensor.h"

namespace bm {

struct InspectedTensor {
  std::string name, type;  // "BF16", "Q4_1"
  Shape shape;
  uint64_t bytes = 0;
  std::string file;  // its name, without folder
};

struct Inspection {
  std::string path, kind;  // "Hugging Face folder", "GGUF file", …
  std::vector<std::string> files;
  std::vector<InspectedTensor> tensors;
  Json config;                // of models
  Json facts;                 // ordered: name → value, for everything else worth saying
  std::string chat_template;  // "" = none
  std::string licence, licence_from;
  std::vector<std::string> problems;  // what makes the thing unusable or doubtful
  Json json() const;
};

struct InspectOptions {
  bool values = false;  // read every tensor and report NaN and infinity
};

// Errors are those of opening a malformed file; problems of a file that can be opened are listed.
Result<Inspection> inspect(const std::string& path, const InspectOptions& options = {});

}  // namespace bm
