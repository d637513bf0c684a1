// The models of a merge: a folder, a folder with a PEFT adapter on top, or the result of an earlier
// configuration of the same file that has not been made yet (planned, without weights).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "formats/adapter.h"
#include "formats/checkpoint.h"
#include "merging/arithmetic.h"
#include "merging/config.h"

namespace bm {

struct WeightInfo {
  Shape shape;
  DType dtype = DType::f32;
  bool quantized = false;  // no dense floats
  std::string type;        // as stored, for messages
  uint64_t bytes = 0;      // read for it
};

struct PlannedModel {
  Json config;
  std::map<std::string, WeightInfo, std::less<>> weights;
};

class LoadedModel {
 public:
  ModelReference reference;
  std::string path;  // after the mapping of names to folders; of the base where an adapter is applied
  int64_t layers = 0;

  // paths: names in the YAML → folders. planned: results of earlier configurations, by name.
  // bad_input: not there, unknown architecture, an adapter that does not fit.
  static Result<LoadedModel> open(const ModelReference& reference,
                                  const std::map<std::string, std::string>& paths,
                                  const std::map<std::string, std::shared_ptr<const PlannedModel>>& planned);

  const Json& config() const;
  bool contains(std::string_view name) const;
  Result<WeightInfo> info(std::string_view name) const;
  // The values, with the adapter applied in float32 (W + s·B·A); round_adapted: rounded to the stored type,
  // as a model merged and saved beforehand would be.
  Result<Source> source(std::string_view name, Rounding load, bool round_adapted) const;
  // Folders the model is read from.
  std::vector<std::string> folders() const;
  bool is_planned() const { return planned_ != nullptr; }

 private:
  Status open_folder(const std::string& adapter);
  Status check_adapter() const;
  const AdapterModule* change(std::string_view name) const;
  Checkpoint checkpoint_;
  std::shared_ptr<const Adapter> adapter_;
  std::shared_ptr<const PlannedModel> planned_;
};

}  // namespace bm
