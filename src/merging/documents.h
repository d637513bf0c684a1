// A configuration file with one document, or with several of which later ones use the results of earlier
// ones by `name` (mergekit-multi's form).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "merging/config.h"

namespace bm {

struct MergeDocument {
  MergeConfiguration configuration;
  std::string name;                // "" = the result
  std::vector<std::string> needs;  // names of other documents among its models
};

// In an order in which each comes after those it needs; the result, the document without `name` or the last
// one, is the last. bad_input: two results, two of one name, a circle, everything parse_merge_configuration
// refuses.
Result<std::vector<MergeDocument>> read_merge_documents(const std::string& file);

}  // namespace bm
