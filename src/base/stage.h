// The protocol every stage follows (architecture rule 3): reads inputs, writes one folder, resumes by
// default, leaves manifest.json, never overwrites what is done unless told to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/result.h"

namespace bm {

// Which of two disagreeing behaviours is wanted (architecture rule 4). Code asks for a named switch
// of its own options, resolved once from the mode, never for the mode itself.
enum class Mode { corrected, peer, as_published };
std::string_view mode_name(Mode mode);
Result<Mode> parse_mode(std::string_view text);

// Flags every verb has.
struct CommonOptions {
  int64_t threads = 0;  // 0 = all physical cores of the process' affinity
  std::optional<int64_t> seed;
  std::string mode = "corrected";
  int64_t limit = 0;  // 0 = no limit; counts what the verb reads
  bool overwrite = false;
  bool dry_run = false;
  bool quiet = false;
  bool verbose = false;
  bool no_progress = false;
  bool json = false;
  std::string log;    // file for JSON lines
  std::string isa;    // force an instruction set
  ByteSize memory;    // 0 = no ceiling
  std::string shard;  // "i/n"

  uint64_t seed_or(uint64_t otherwise) const { return seed ? static_cast<uint64_t>(*seed) : otherwise; }
  Result<Mode> parsed_mode() const { return parse_mode(mode); }
};
void describe(Fields& fields, CommonOptions& options);

struct StageInput {
  std::string role;  // "model", "data", "config"
  std::string path;
  std::string sha256;
  std::string fingerprint = {};  // "" = not taken; else equal ones mean that nothing has changed
};
// Hashes a file or folder (sha256_path).
Result<StageInput> stage_input(std::string role, const std::string& path);
// For large inputs that the stage reads anyway: the fingerprint only (names, sizes, times of change and a few
// samples of every file). The stage hashes while it works and hands the result to set_inputs().
Result<StageInput> stage_input_hashed_later(std::string role, const std::string& path);

// What makes two runs the same run.
struct StageIdentity {
  std::string verb;
  Json options;  // Fields::dump_identity()
  std::vector<StageInput> inputs;
  uint64_t seed = 0;
  std::string mode = "corrected";
};

class StageFolder {
 public:
  enum class State { fresh, resumed, complete };

  // Opens or creates the output folder. complete: leave it alone and say "already complete".
  // Refuses (bad_input) a folder made with other inputs or options, naming the first difference,
  // and a non-empty folder that is no stage's output. With overwrite the old content is removed.
  // shared: other processes may be writing in the folder now (parts of a split run), so nothing that looks
  // abandoned is removed.
  static Result<StageFolder> open(const std::string& path, const StageIdentity& identity, bool overwrite,
                                  bool shared = false);

  State state() const { return state_; }
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const;  // path/name
  // The hashes of inputs that were hashed later; before finish().
  void set_inputs(const std::vector<StageInput>& inputs);
  // Marks the folder complete: writes manifest.json with results and timings. `timings` in seconds.
  Status finish(const Json& results, const Json& timings = Json::object());
  const Json& manifest() const { return manifest_; }

 private:
  StageFolder() = default;
  State state_ = State::fresh;
  std::string path_;
  Json manifest_;
  double started_ = 0;
};

// Reads DIR/manifest.json; bad_input when it is missing or the stage did not finish.
Result<Json> read_manifest(const std::string& folder);

// Version and commit of this program, as stored in manifests.
std::string program_version();
std::string program_commit();
std::string program_compiler();

}  // namespace bm
