#include "training/train_state.h"

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

constexpr const char* weights_name = "state.safetensors";
constexpr const char* counters_name = "state.json";

std::string step_name(int64_t step) { return "step-" + std::to_string(step); }

// Steps that have a folder, newest first.
std::vector<int64_t> saved_steps(const std::string& folder) {
  std::vector<int64_t> steps;
  std::error_code code;
  for (fs::directory_iterator at(folder, code), end; !code && at != end; at.increment(code)) {
    std::string name = at->path().filename().string();
    std::string digits = starts_with(name, "step-") ? name.substr(5) : "";
    if (!digits.empty() && digits.size() < 18 && digits.find_first_not_of("0123456789") == std::string::npos)
      steps.push_back(std::stoll(digits));
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

TensorView view_of(const std::vector<float>& values, const Shape& shape) {
  return {DType::f32, shape, reinterpret_cast<const std::byte*>(values.data()), {}};
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json counters_json(const TrainCounters& c, const std::string& hash) {
  return Json::object({{"step", c.step},
                       {"tokens", Json(c.tokens)},
                       {"seconds", c.seconds},
                       {"first_loss", c.first_loss},
                       {"last_loss", c.last_loss},
                       {"first_held_out", optional_json(c.first_held_out)},
                       {"last_held_out", optional_json(c.last_held_out)},
                       {"sha256", hash}});
}

Result<TrainCounters> read_counters(const std::string& folder) {
  std::string path = path_join(folder, counters_name);
  BM_TRY(Json json, read_json_file(path));
  TrainCounters c;
  BM_TRY(c.step, json.get_int("step").in(path));
  BM_TRY(int64_t tokens, json.get_int("tokens").in(path));
  c.tokens = static_cast<uint64_t>(tokens);
  BM_TRY(c.seconds, json.get_double("seconds").in(path));
  BM_TRY(c.first_loss, json.get_double("first_loss").in(path));
  BM_TRY(c.last_loss, json.get_double("last_loss").in(path));
  if (json["first_held_out"].is_number()) c.first_held_out = json["first_held_out"].as_double();
  if (json["last_held_out"].is_number()) c.last_held_out = json["last_held_out"].as_double();
  BM_TRY(std::string expected, json.get_string("sha256").in(path));
  BM_TRY(std::string found, sha256_file(path_join(folder, weights_name)));
  if (found != expected)
    return bad_input("has other content than when it was written").in(path_join(folder, weights_name));
  return c;
}

Result<TrainCounters> load_checkpoint(const std::string& folder, const std::vector<Parameter>& parameters,
                                      AdamW& optimizer) {
  BM_TRY(TrainCounters counters, read_counters(folder));
  BM_TRY(SafetensorsFile file, SafetensorsFile::open(path_join(folder, weights_name)));
  // All is checked before anything is copied: a checkpoint that does not fit must leave no trace.
  for (const Parameter& parameter : parameters)
    for (const char* prefix : {"parameter.", "exp_avg.", "exp_avg_sq."}) {
      BM_TRY(TensorView view, file.get(prefix + parameter.name));
      if (view.dtype != DType::f32 || view.shape != parameter.shape)
        return bad_input("is of another model").in(prefix + parameter.name).in(file.path());
    }
  for (size_t i = 0; i < parameters.size(); ++i) {
    auto load = [&](const char* prefix, std::vector<float>& out) -> Status {
      BM_TRY(TensorView view, file.get(prefix + parameters[i].name));
      if (!out.empty()) std::memcpy(out.data(), view.data, out.size() * sizeof(float));
      return {};
    };
    BM_CHECK_OK(load("parameter.", optimizer.values(i)));
    BM_CHECK_OK(load("exp_avg.", optimizer.exp_avg(i)));
    BM_CHECK_OK(load("exp_avg_sq.", optimizer.exp_avg_sq(i)));
  }
  optimizer.refresh();
  return counters;
}

}  // namespace

Status save_checkpoint(const std::string& folder, const TrainCounters& counters,
                       const std::vector<Parameter>& parameters, AdamW& optimizer, int64_t keep) {
  std::string place = path_join(folder, step_name(counters.step));
  std::string partial = path_join(folder, "partial");
  BM_CHECK_OK(remove_all(partial));
  BM_CHECK_OK(make_directories(partial));
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    tensors.push_back({"parameter." + parameter.name, view_of(optimizer.values(i), parameter.shape)});
    tensors.push_back({"exp_avg." + parameter.name, view_of(optimizer.exp_avg(i), parameter.shape)});
    tensors.push_back({"exp_avg_sq." + parameter.name, view_of(optimizer.exp_avg_sq(i), parameter.shape)});
  }
  std::string weights = path_join(partial, weights_name);
  BM_CHECK_OK(write_safetensors(weights, tensors));
  BM_TRY(std::string hash, sha256_file(weights));
  BM_CHECK_OK(write_file_atomic(path_join(partial, counters_name),
                                counters_json(counters, hash).dump_pretty() + "\n"));
  BM_CHECK_OK(remove_all(place));
  BM_CHECK_OK(rename_path(partial, place));
  std::vector<int64_t> steps = saved_steps(folder);
  for (size_t i = static_cast<size_t>(std::max<int64_t>(1, keep)); i < steps.size(); ++i)
    BM_CHECK_OK(remove_all(path_join(folder, step_name(steps[i]))));
  return {};
}

Result<TrainCounters> load_newest_checkpoint(const std::string& folder,
                                             const std::vector<Parameter>& parameters, AdamW& optimizer) {
  for (int64_t step : saved_steps(folder)) {
    std::string place = path_join(folder, step_name(step));
    auto counters = load_checkpoint(place, parameters, optimizer);
    if (counters.ok() && counters->step == step) return counters;
    std::string why = counters.ok() ? "its counters are of step " + std::to_string(counters->step)
                                    : counters.error().paragraph();
    log_warning("checkpoint " + place + " is broken and passed over: " + why);
  }
  return TrainCounters{};
}

}  // namespace bm
