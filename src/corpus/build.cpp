#include "corpus/build.h"

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/system.h"
#include "base/threads.h"
#include "corpus/assemble.h"
#include "corpus/part.h"
#include "formats/tokenizer_file.h"

namespace bm {

namespace {

uint64_t total_bytes(const std::vector<InputPart>& parts) {
  uint64_t bytes = 0;
  for (const InputPart& part : parts) bytes += part.bytes;
  return bytes;
}

Result<StageIdentity> identity_of(const CorpusOptions& options, const CommonOptions& common,
                                  const BenchmarkIndex& benchmarks, uint64_t seed) {
  StageIdentity identity;
  identity.verb = "corpus build";
  identity.mode = common.mode;
  identity.seed = seed;
  CorpusOptions copy = options;
  Fields fields;
  describe(fields, copy);
  identity.options = fields.dump_identity();
  identity.options.set("limit", common.limit);
  for (const std::string& input : options.inputs) {
    BM_TRY(StageInput one, stage_input("articles", input));
    identity.inputs.push_back(std::move(one));
  }
  for (const std::string& list : options.file_lists) {
    BM_TRY(StageInput one, stage_input("file list", list));
    identity.inputs.push_back(std::move(one));
  }
  for (const std::string& file : benchmarks.files()) {
    BM_TRY(StageInput one, stage_input("benchmark", file));
    identity.inputs.push_back(std::move(one));
  }
  BM_TRY(StageInput tokenizer, tokenizer_input(options.tokenizer));
  identity.inputs.push_back(std::move(tokenizer));
  return identity;
}

// Unfinished files of a part whose process was killed. Other parts may be in other processes' hands.
void remove_leftovers(const PartFiles& files) {
  std::error_code code;
  std::string stem = path_name(files.tokens);
  stem.resize(stem.rfind('.') + 1);
  for (fs::directory_iterator it(path_parent(files.tokens), code), end; !code && it != end;
       it.increment(code)) {
    std::string name = it->path().filename().string();
    if (!starts_with(name, stem) || name.find(".tmp-") == std::string::npos) continue;
    std::error_code ignored;
    fs::remove(it->path(), ignored);
  }
}

// Free space is looked at before hours of work: text and tokens take about as much as the packed XML again.
Status check_space(const std::string& folder, uint64_t input_bytes) {
  BM_TRY(uint64_t free, free_space(folder));
  uint64_t wanted = input_bytes + input_bytes / 2;
  if (free < wanted)
    return failed("about " + format_bytes(wanted) + " are wanted and " + format_bytes(free) + " are free",
                  "Free some space, or write elsewhere.")
        .in(folder);
  return {};
}

struct Shard {
  size_t index = 1, count = 1;
  bool owns(size_t part) const { return part % count == index - 1; }
};

Result<Shard> parse_shard(const CommonOptions& common) {
  Shard shard;
  if (common.shard.empty()) return shard;
  std::vector<std::string> parts = split(common.shard, '/');
  auto number = [](const std::string& s) {
    return !s.empty() && s.size() < 7 && s.find_first_not_of("0123456789") == std::string::npos;
  };
  bool sound = parts.size() == 2 && number(parts[0]) && number(parts[1]);
  if (sound) shard = {std::stoul(parts[0]), std::stoul(parts[1])};
  if (!sound || shard.index < 1 || shard.index > shard.count)
    return bad_input("--shard \"" + common.shard + "\" is not i/n with 1 ≤ i ≤ n", "for example --shard 2/4");
  if (common.limit > 0)
    return bad_input("--limit counts articles in order, which a shard does not see", "Leave --limit out.");
  if (common.overwrite)
    return bad_input("--overwrite would remove what other shards have made",
                     "Remove the output folder before the first shard starts.");
  return shard;
}

Result<std::vector<PartFiles>> make_parts(const std::vector<InputPart>& inputs, const std::string& folder,
                                          PartWork work, const Shard& shard) {
  BM_CHECK_OK(make_directories(folder));
  std::vector<PartFiles> parts;
  Progress progress("corpus", "bytes", total_bytes(inputs) / shard.count);
  uint64_t bytes_before = 0;
  int64_t articles = 0, limit = work.limit;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!shard.owns(i)) continue;
    if (limit >= 0 && articles >= limit) break;
    work.limit = limit >= 0 ? limit - articles : -1;
    PartFiles files = part_files(folder, i);
    if (files.complete()) {
      BM_TRY(int64_t before, count_part(files));
      articles += before;
    } else {
      remove_leftovers(files);
      BM_TRY(int64_t now, make_part(inputs[i], files, work, progress, bytes_before));
      articles += now;
    }
    bytes_before += inputs[i].bytes;
    progress.set_done(bytes_before);
    progress.note(format_count(static_cast<uint64_t>(articles)) + " articles");
    parts.push_back(std::move(files));
    if (stop_requested()) return interrupted_error("corpus build");
  }
  return parts;
}

CorpusReport report_from_stats(const Json& stats) {
  CorpusReport report;
  const Json& articles = stats["articles"];
  auto number = [](const Json& value) { return value.is_integer() ? value.as_int() : 0; };
  report.articles = number(articles["read"]);
  report.kept = number(articles["kept"]);
  report.held_out = number(articles["held_out"]);
  report.rejected = number(articles["rejected"]);
  report.broken = number(articles["broken"]);
  report.duplicates = number(articles["duplicate"]);
  report.contaminated = number(articles["contaminated"]);
  report.other_files = number(articles["other_files"]);
  report.tokens = static_cast<uint64_t>(number(stats["tokens"]));
  report.blocks = static_cast<uint64_t>(number(stats["packing"]["blocks"]));
  report.dropped_tokens = static_cast<uint64_t>(number(stats["packing"]["dropped_tokens"]));
  report.stats = stats;
  return report;
}

}  // namespace

Result<StageInput> tokenizer_input(const std::string& path) {
  // Of a model folder only the tokenizer's files matter, not gigabytes of weights.
  if (is_directory(path))
    for (const char* name : {"tokenizer.json", "tokenizer.model"})
      if (exists(path_join(path, name))) return stage_input("tokenizer", path_join(path, name));
  return stage_input("tokenizer", path);
}

namespace {

CorpusReport plan_of(const std::vector<InputPart>& inputs) {
  CorpusReport report;
  report.dry_run = true;
  uint64_t bytes = total_bytes(inputs);
  report.stats = Json::object({{"parts", static_cast<int64_t>(inputs.size())},
                               {"input_bytes", bytes},
                               {"disk_bytes_about", bytes + bytes / 2},
                               {"memory_bytes_about", uint64_t{512} << 20}});
  return report;
}

Result<CorpusReport> finish(StageFolder& folder, const std::vector<PartFiles>& parts,
                            const AssembleWork& work, double started, double middle) {
  BM_TRY(CorpusReport report, assemble(parts, work));
  if (report.kept + report.held_out == 0)
    return failed("not one of " + std::to_string(report.articles) + " articles was kept",
                  "ledger.jsonl there says why, article by article.")
        .in(work.options.out);
  BM_CHECK_OK(folder.finish(report.stats, Json::object({{"reading_seconds", middle - started},
                                                        {"assembling_seconds", now_seconds() - middle}})));
  BM_CHECK_OK(remove_all(folder.file("parts")));
  return report;
}

}  // namespace

Result<CorpusReport> build_corpus(const CorpusOptions& options, const CommonOptions& common) {
  BM_CHECK_OK(check_options(options));
  BM_TRY(CorpusSwitches switches, resolve_switches(options, common));
  BM_TRY(Shard shard, parse_shard(common));
  BM_TRY(std::vector<InputPart> inputs, plan_inputs(options.inputs));
  if (options.tokenizer.empty())
    return bad_input("no tokenizer given",
                     "Give --tokenizer a model folder, a tokenizer.json, a tokenizer.model or a .gguf file.");
  BM_TRY(std::shared_ptr<const Tokenizer> tokenizer, open_tokenizer(options.tokenizer));
  LicenceLists lists;
  for (const std::string& path : options.file_lists) BM_CHECK_OK(lists.add(path));
  BM_TRY(BenchmarkIndex benchmarks, BenchmarkIndex::load(options));
  if (common.dry_run) return plan_of(inputs);
  uint64_t seed = common.seed_or(0);
  BM_TRY(StageIdentity identity, identity_of(options, common, benchmarks, seed));
  if (options.out.empty()) return bad_input("no output folder given", "Give --out DIR.");
  BM_TRY(StageFolder folder, StageFolder::open(options.out, identity, common.overwrite, shard.count > 1));
  if (folder.state() == StageFolder::State::complete) {
    BM_CHECK_OK(remove_all(folder.file("parts")));  // there only after a kill just before the end
    BM_TRY(Json stats, read_json_file(folder.file("stats.json")));
    CorpusReport report = report_from_stats(stats);
    report.already_complete = true;
    return report;
  }
  BM_CHECK_OK(check_space(options.out, total_bytes(inputs) / shard.count));
  PartWork work;
  work.policy = make_policy(options, lists.size() ? &lists : nullptr, switches, &benchmarks);
  work.policy.seed = seed;
  work.switches = switches;
  work.piece_words = piece_words_of(options);
  work.tokenizer = tokenizer.get();
  work.limit = common.limit > 0 ? common.limit : -1;
  double start = now_seconds();
  BM_TRY(std::vector<PartFiles> parts, make_parts(inputs, folder.file("parts"), work, shard));
  if (shard.count > 1) {
    CorpusReport report;
    report.shard_parts = static_cast<int64_t>(parts.size());
    return report;
  }
  int32_t filler = tokenizer->eos_id().value_or(tokenizer->bos_id().value_or(0));
  AssembleWork last{options, common, switches, benchmarks, tokenizer->vocabulary_size(), filler};
  return finish(folder, parts, last, start, now_seconds());
}

}  // namespace bm
