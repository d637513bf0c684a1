// What lies beside the weights of a merged model.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/stage.h"
#include "merging/plan.h"

namespace bm {

struct SideFileRequest {
  std::string folder;
  bool copy_tokenizer = true;
  bool model_card = true;
  uint64_t seed = 0;
  Mode mode = Mode::corrected;
  std::vector<StageInput> inputs;  // hashes, for the card
  Json statistics;                 // layer_statistics(), null when they were not asked for
};

// config.json of the result: the donor's, with the layer count, types and vocabulary of what was written.
Json merged_config(const MergeConfiguration& configuration, const MergePlan& plan);
// The template's text: "auto", a built-in name or the template itself. bad_input for anything else.
Result<std::string> resolve_chat_template(const std::string& name, const MergePlan& plan);
std::string model_card(const MergeConfiguration& configuration, const MergePlan& plan,
                       const SideFileRequest& request);
// config.json, tokenizer and generation files, mergekit_config.yml, README.md.
Status write_side_files(const MergeConfiguration& configuration, const MergePlan& plan,
                        const SideFileRequest& request);

}  // namespace bm
