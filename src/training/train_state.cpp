#include "training/train_state.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "formats/safetensors.h"

namespace bm {
namespace {

constexpr const char* weights_name = "state.safetensors";
constexpr const char* counters_name = "state.json";

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

// Read in pieces: a mapped file would count as memory held.
Result<std::string> hash_in_pieces(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return failed("cannot be read").in(path);
  Sha256 hash;
  std::vector<char> piece(size_t{4} << 20);
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.update(std::string_view(piece.data(), static_cast<size_t>(file.gcount())));
  }
  if (file.bad()) return failed("cannot be read").in(path);
  return hash.hex();
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
                       {"best_held_out", optional_json(c.best_held_out)},
                       {"best_step", c.best_step},
                       {"stale", c.stale},
                       {"stopped_early", c.stopped_early},
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
  if (json["best_held_out"].is_number()) c.best_held_out = json["best_held_out"].as_double();
  BM_TRY(c.best_step, json.get_int("best_step", 0).in(path));
  BM_TRY(c.stale, json.get_int("stale", 0).in(path));
  BM_TRY(c.stopped_early, json.get_bool("stopped_early", false).in(path));
  BM_TRY(std::string expected, json.get_string("sha256").in(path));
  BM_TRY(std::string found, hash_in_pieces(path_join(folder, weights_name)));
  if (found != expected)
    return bad_input("has other content than when it was written").in(path_join(folder, weights_name));
  return c;
}

// Shards of all ranks, as communicators want them.
std::vector<size_t> shard_starts(size_t count, int ranks) {
  std::vector<size_t> starts = {0};
  for (int r = 0; r < ranks; ++r) starts.push_back(shard_of(count, r, ranks).end);
  return starts;
}

std::vector<TensorSpec> specs_of(const std::vector<Parameter>& parameters) {
  std::vector<TensorSpec> specs;
  for (const Parameter& parameter : parameters)
    for (const char* prefix : {"parameter.", "exp_avg.", "exp_avg_sq."})
      specs.push_back({prefix + parameter.name, DType::f32, parameter.shape});
  return specs;
}

// This rank's part made whole by all ranks; the part itself when there is one rank.
Result<const float*> whole(const std::vector<float>& part, ElementRange range, size_t count,
                           std::vector<float>& scratch, Communicator& ranks) {
  if (ranks.size() == 1 || part.size() == count) return part.data();
  scratch.resize(count);
  std::copy(part.begin(), part.end(), scratch.begin() + static_cast<std::ptrdiff_t>(range.begin));
  BM_CHECK_OK(ranks.all_gather(scratch.data(), shard_starts(count, ranks.size())));
  return scratch.data();
}

// Every rank sends its parts, the first one writes; a failed write ends no other rank.
Status write_state(const std::string& path, const std::vector<Parameter>& parameters, AdamW& optimizer,
                   Communicator& ranks) {
  std::optional<SafetensorsWriter> writer;
  Status written;
  if (ranks.rank() == 0) {
    auto created = SafetensorsWriter::create(path, specs_of(parameters));
    if (created.ok()) {
      writer.emplace(std::move(*created));
    } else {
      written = std::move(created).error();
    }
  }
  std::vector<float> scratch;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const size_t count = parameters[i].value.size();
    const std::vector<float>* parts[] = {&optimizer.value_part(i), &optimizer.exp_avg(i),
                                         &optimizer.exp_avg_sq(i)};
    for (size_t k = 0; k < 3; ++k) {
      BM_TRY(const float* values, whole(*parts[k], optimizer.range(i), count, scratch, ranks));
      if (writer && written.ok())
        written =
            writer->write(3 * i + k, {reinterpret_cast<const std::byte*>(values), count * sizeof(float)});
    }
  }
  if (writer && written.ok()) written = writer->commit();
  return written;
}

}  // namespace

std::string checkpoint_name(int64_t step) { return "step-" + std::to_string(step); }

Status save_checkpoint(const std::string& folder, const std::string& name, const TrainCounters& counters,
                       const std::vector<Parameter>& parameters, AdamW& optimizer, Communicator& ranks) {
  std::string place = path_join(folder, name), partial = path_join(folder, "partial");
  std::string weights = path_join(partial, weights_name);
  if (ranks.rank() != 0) return write_state(weights, parameters, optimizer, ranks);
  auto write = [&]() -> Status {
    BM_CHECK_OK(remove_all(partial));
    BM_CHECK_OK(make_directories(partial));
    return {};
  };
  Status status = write();
  if (const Status sent = write_state(weights, parameters, optimizer, ranks); status.ok()) status = sent;
  auto finish = [&]() -> Status {
    BM_TRY(std::string hash, hash_in_pieces(weights));
    BM_CHECK_OK(write_file_atomic(path_join(partial, counters_name),
                                  counters_json(counters, hash).dump_pretty() + "\n"));
    BM_CHECK_OK(remove_all(place));
    return rename_path(partial, place);
  };
  if (status.ok()) status = finish();
  if (!status.ok()) (void)remove_all(partial);
  return status;
}

Status remove_old_checkpoints(const std::string& folder, const KeepRule& keep) {
  std::vector<int64_t> steps = saved_steps(folder);
  for (size_t i = static_cast<size_t>(std::max<int64_t>(1, keep.newest)); i < steps.size(); ++i)
    if (keep.every == 0 || steps[i] % keep.every != 0)
      BM_CHECK_OK(remove_all(path_join(folder, checkpoint_name(steps[i]))));
  return {};
}

Result<TrainCounters> load_checkpoint(const std::string& folder, std::vector<Parameter>& parameters,
                                      AdamW& optimizer) {
  BM_TRY(TrainCounters counters, read_counters(folder));
  BM_TRY(SafetensorsFile file, SafetensorsFile::open(path_join(folder, weights_name)));
  // All is checked before anything is copied: a checkpoint that does not fit must leave no trace.
  for (const TensorSpec& spec : specs_of(parameters)) {
    BM_TRY(TensorView view, file.get(spec.name));
    if (view.dtype != DType::f32 || view.shape != spec.shape)
      return bad_input("is of another model").in(spec.name).in(file.path());
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    auto load = [&](const char* prefix, std::vector<float>& out) -> Status {
      BM_TRY(TensorView view, file.get(prefix + parameters[i].name));
      const size_t from = out.size() == parameters[i].value.size() ? 0 : optimizer.range(i).begin;
      if (!out.empty()) std::memcpy(out.data(), view.as<float>() + from, out.size() * sizeof(float));
      return {};
    };
    if (optimizer.has_masters()) BM_CHECK_OK(load("parameter.", parameters[i].value));
    BM_CHECK_OK(load("parameter.", optimizer.value_part(i)));
    BM_CHECK_OK(load("exp_avg.", optimizer.exp_avg(i)));
    BM_CHECK_OK(load("exp_avg_sq.", optimizer.exp_avg_sq(i)));
  }
  optimizer.refresh();
  return counters;
}

Result<TrainCounters> load_newest_checkpoint(const std::string& folder, std::vector<Parameter>& parameters,
                                             AdamW& optimizer) {
  for (int64_t step : saved_steps(folder)) {
    std::string place = path_join(folder, checkpoint_name(step));
    auto counters = load_checkpoint(place, parameters, optimizer);
    if (counters.ok() && counters->step == step) return counters;
    std::string why = counters.ok() ? "its counters are of step " + std::to_string(counters->step)
                                    : counters.error().paragraph();
    log_warning("checkpoint " + place + " is broken and passed over: " + why);
  }
  return TrainCounters{};
}

}  // namespace bm
