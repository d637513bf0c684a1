#include "base/stage.h"

#include <algorithm>

#include "base/file.h"
#include "base/hash.h"
#include "base/leftovers.h"
#include "base/log.h"
#include "base/system.h"
#include "base/version.h"

namespace bm {

std::string_view mode_name(Mode mode) {
  switch (mode) {
    case Mode::corrected:
      return "corrected";
    case Mode::peer:
      return "peer";
    case Mode::as_published:
      return "as-published";
  }
  return "corrected";
}

Result<Mode> parse_mode(std::string_view text) {
  if (text == "corrected") return Mode::corrected;
  if (text == "peer") return Mode::peer;
  if (text == "as-published" || text == "as_published") return Mode::as_published;
  return bad_input("unknown mode \"" + std::string(text) + "\"",
                   "Modes are corrected, peer and as-published.");
}

void describe(Fields& f, CommonOptions& o) {
  f.add("threads", o.threads, "threads; 0 = all physical cores of the process' affinity",
        {.unit = "threads", .result_neutral = true});
  f.add("seed", o.seed, "seed of everything random");
  f.add("mode", o.mode, "which behaviour where tools disagree",
        {.choices = {"corrected", "peer", "as-published"}});
  f.add("limit", o.limit,
        "stop after N of what the verb reads (articles, items, tensors, steps); 0 = no limit");
  f.add("overwrite", o.overwrite, "replace a finished output", {.result_neutral = true, .negatable = false});
  f.add("dry-run", o.dry_run, "say what would be done, its memory and disk need; write nothing",
        {.result_neutral = true, .negatable = false});
  f.add("quiet", o.quiet, "only errors on standard error", {.result_neutral = true, .negatable = false});
  f.add("verbose", o.verbose, "more on standard error", {.result_neutral = true, .negatable = false});
  f.add("log", o.log, "also write messages and progress as JSON lines to this file",
        {.unit = "file", .result_neutral = true});
  f.add("no-progress", o.no_progress, "no progress line", {.result_neutral = true, .negatable = false});
  f.add("json", o.json, "the machine's form of what is printed as a table",
        {.result_neutral = true, .negatable = false});
  f.add("isa", o.isa, "force an instruction set (see `biomistral doctor`)",
        {.unit = "name", .result_neutral = true});
  f.add("memory", o.memory, "ceiling of what the verb may hold",
        {.unit = "size, e.g. 4G", .result_neutral = true});
  f.add("shard", o.shard, "do the i-th of n parts, where a verb can be split", {.unit = "i/n"});
}

Result<StageInput> stage_input(std::string role, const std::string& path) {
  BM_TRY(std::string hash, sha256_path(path));
  return StageInput{std::move(role), path, std::move(hash)};
}

Result<StageInput> stage_input_hashed_later(std::string role, const std::string& path) {
  constexpr size_t kSamples = 16, kSample = 4096;
  BM_TRY(std::vector<std::string> files, list_files(path));
  Sha256 all;
  for (const std::string& file : files) {
    BM_TRY(MappedFile mapped, MappedFile::open(file));
    std::error_code code;
    auto changed = fs::last_write_time(file, code).time_since_epoch().count();
    all.update(file.substr(path.size()) + "\t" + std::to_string(mapped.size()) + "\t" +
               std::to_string(changed) + "\n");
    for (size_t i = 0; i < kSamples && mapped.size() > 0; ++i) {
      size_t at = mapped.size() > kSample ? (mapped.size() - kSample) / kSamples * i : 0;
      all.update(mapped.bytes().subspan(at, std::min(kSample, mapped.size() - at)));
    }
  }
  return StageInput{std::move(role), path, "", all.hex()};
}

namespace {

constexpr const char* kManifest = "manifest.json";

Json inputs_json(const std::vector<StageInput>& list) {
  Json inputs = Json::array();
  for (const StageInput& input : list) {
    inputs.push_back(Json::object({{"role", input.role}, {"path", input.path}, {"sha256", input.sha256}}));
    if (!input.fingerprint.empty()) inputs.items().back().set("fingerprint", input.fingerprint);
  }
  return inputs;
}

// The fingerprints agree, or what lies there has the hash noted before.
bool same_input(const Json& before, const Json& now) {
  if (!(before["role"] == now["role"])) return false;
  if (!now["fingerprint"].is_string()) return before["sha256"] == now["sha256"];
  if (before["fingerprint"] == now["fingerprint"]) return true;
  if (!before["sha256"].is_string() || before["sha256"].as_string().empty()) return false;
  auto hash = sha256_path(now["path"].as_string());
  return hash.ok() && *hash == before["sha256"].as_string();
}

Json identity_json(const StageIdentity& identity) {
  Json inputs = inputs_json(identity.inputs);
  return Json::object({{"verb", identity.verb},
                       {"mode", identity.mode},
                       {"seed", identity.seed},
                       {"options", identity.options},
                       {"inputs", inputs}});
}

std::string shown(const Json& value) { return value.is_null() ? "nothing" : value.dump(); }

// The first difference between two runs, in words; "" when they are the same run. Paths of inputs may
// differ, what they hold may not.
std::string first_difference(const Json& before, const Json& now) {
  for (const char* key : {"verb", "mode", "seed"})
    if (!(before[key] == now[key]))
      return std::string(key) + " was " + shown(before[key]) + ", now " + shown(now[key]);
  for (const Json::Member& member : now["options"].members()) {
    const Json& old = before["options"][member.first];
    if (!(old == member.second))
      return "--" + member.first + " was " + shown(old) + ", now " + shown(member.second);
  }
  for (const Json::Member& member : before["options"].members())
    if (!now["options"].contains(member.first)) return "--" + member.first + " was " + shown(member.second);
  const Json &old_inputs = before["inputs"], &new_inputs = now["inputs"];
  if (old_inputs.size() != new_inputs.size())
    return "it had " + std::to_string(old_inputs.size()) + " inputs, now there are " +
           std::to_string(new_inputs.size());
  for (size_t i = 0; i < new_inputs.size(); ++i)
    if (!same_input(old_inputs[i], new_inputs[i]))
      return "the input \"" + new_inputs[i]["role"].as_string() + "\" (" + new_inputs[i]["path"].as_string() +
             ") has other content than the one it was started with";
  return {};
}

// Nothing there but, perhaps, a first manifest that a killed run was about to rename.
bool folder_is_unused(const std::string& path) {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(path, code)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with("manifest.json") || !is_abandoned(name)) return false;
  }
  return !code;
}

}  // namespace

std::string StageFolder::file(std::string_view name) const { return path_join(path_, name); }

Result<StageFolder> StageFolder::open(const std::string& path, const StageIdentity& identity, bool overwrite,
                                      bool shared) {
  StageFolder folder;
  folder.path_ = path;
  folder.started_ = now_seconds();
  Json wanted = identity_json(identity);
  if (exists(path) && !is_directory(path))
    return bad_input("is a file, a folder to write is wanted").in(path);
  std::string manifest_path = path_join(path, kManifest);
  bool has_manifest = exists(manifest_path);
  if (exists(path) && !has_manifest && !folder_is_unused(path))
    return bad_input("the folder is not empty and holds no manifest.json of an earlier run",
                     "Choose another output folder; nothing was changed.")
        .in(path);
  if (has_manifest && overwrite) {
    BM_CHECK_OK(remove_all(path));
    has_manifest = false;
  }
  if (has_manifest) {
    BM_TRY(Json before, read_json_file(manifest_path));
    std::string difference = first_difference(before, wanted);
    if (!difference.empty())
      return bad_input("the folder holds a run made differently: " + difference,
                       "Use --overwrite to replace it, or choose another output folder.")
          .in(path);
    folder.manifest_ = std::move(before);
    folder.state_ = folder.manifest_["status"] == Json("complete") ? State::complete : State::resumed;
    if (folder.state_ == State::complete)
      log_info(path + ": already complete");
    else
      log_info(path + ": resuming an unfinished run");
    if (folder.state_ == State::resumed && !shared) remove_abandoned(path);
    return folder;
  }
  BM_CHECK_OK(make_directories(path));
  if (!shared) remove_abandoned(path);
  Json manifest = Json::object({{"program", "biomistral"},
                                {"version", program_version()},
                                {"commit", program_commit()},
                                {"compiler", program_compiler()},
                                {"status", "running"},
                                {"started", utc_timestamp()}});
  for (const Json::Member& member : wanted.members()) manifest.set(member.first, member.second);
  BM_CHECK_OK(write_file_atomic(manifest_path, manifest.dump_pretty() + "\n"));
  folder.manifest_ = std::move(manifest);
  return folder;
}

void StageFolder::set_inputs(const std::vector<StageInput>& inputs) {
  manifest_.set("inputs", inputs_json(inputs));
}

Status StageFolder::finish(const Json& results, const Json& timings) {
  Json times = timings;
  times.set("last_run_seconds", now_seconds() - started_);
  manifest_.set("status", "complete");
  manifest_.set("finished", utc_timestamp());
  manifest_.set("results", results);
  manifest_.set("timings", times);
  manifest_.set("peak_memory_bytes", peak_resident_memory());
  return write_file_atomic(file(kManifest), manifest_.dump_pretty() + "\n");
}

Result<Json> read_manifest(const std::string& folder) {
  std::string path = path_join(folder, kManifest);
  if (!exists(path)) return bad_input("holds no manifest.json: it is no output of biomistral").in(folder);
  BM_TRY(Json manifest, read_json_file(path));
  if (!(manifest["status"] == Json("complete")))
    return bad_input("the run in this folder did not finish", "Run its command again: it resumes.")
        .in(folder);
  return manifest;
}

std::string program_version() { return kVersion; }
std::string program_commit() { return kCommit; }
std::string program_compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

}  // namespace bm
