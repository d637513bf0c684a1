// Per-item answers of other systems as they were published, read as predictions so that the same rules
// score them (docs/evaluation.md lists the layouts):
//   {"predictions": [{question, prediction, ground_truth, all_probs {A: p}}]}           (JSON)
//   {query_id, answer, response_answer} a line, answers as letters                     (AceGPT, JSON lines)
//   dataset,model,realidx,gold,pred                                                    (medagents, CSV)
//   gold text, model text, predicted, gold, True|False without a header                (MultiMedEval, CSV)
#pragma once

#include <string_view>

#include "evaluation/predictions.h"

namespace bm {

// Each adds what it recognizes and passes over what it does not.
Status read_foreign_json(PredictionsFolder& folder, PredictionsFile file, const Json& root);
Status read_foreign_jsonl(PredictionsFolder& folder, PredictionsFile file, std::string_view text);
Status read_foreign_csv(PredictionsFolder& folder, PredictionsFile file);

}  // namespace bm
