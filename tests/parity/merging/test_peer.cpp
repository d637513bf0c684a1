// Mode `peer` against every case of golden/merge, each by its own tolerance; identities; the order of
// execution; invalid configurations.
#include <algorithm>

#include "golden.h"

namespace bm::testing {
namespace {

struct Difference {
  size_t elements = 0, differ = 0;
  double ulps = 0, relative_to_maximum = 0, rms = 0;
};

// band: elements where either choice is right, left out.
Difference compare_tensor(const GoldenTensor& ours, const GoldenTensor& theirs,
                          const std::vector<double>* band) {
  Difference d;
  double maximum = 0, worst = 0, error = 0, power = 0;
  for (double x : theirs.values)
    if (std::isfinite(x)) maximum = std::max(maximum, std::abs(x));
  for (size_t i = 0; i < theirs.values.size(); ++i) {
    ++d.elements;
    if (band && (*band)[i] != 0) continue;
    double a = ours.values[i], b = theirs.values[i];
    if (same_value(a, b)) {
      if (std::isfinite(b)) power += b * b;
      continue;
    }
    ++d.differ;
    d.ulps = std::max(d.ulps, std::abs(a - b) / std::max(ulp_of(a, theirs.dtype), ulp_of(b, theirs.dtype)));
    worst = std::max(worst, std::abs(a - b));
    error += (a - b) * (a - b);
    power += b * b;
    if (!std::isfinite(a - b)) worst = d.ulps = INFINITY;
  }
  d.relative_to_maximum = maximum > 0 ? worst / maximum : worst > 0 ? INFINITY : 0;
  d.rms = std::sqrt(error) / std::max(std::sqrt(power), 1e-3 * std::sqrt(static_cast<double>(d.elements)));
  return d;
}

// One tensor by the tolerance's words; `ulp_budget` collects the elements that are one ulp off.
void check_tensor(const std::string& name, const std::string& tolerance, const Difference& d, bool unstable,
                  size_t& off_by_one) {
  if (starts_with(tolerance, "bit-exact")) {
    EXPECT_EQ(d.differ, 0u) << name << ": " << d.ulps << " ulps, " << d.relative_to_maximum
                            << " of the maximum";
  } else if (starts_with(tolerance, "max |difference| <=")) {
    EXPECT_LE(d.relative_to_maximum, number_after(tolerance, "<="))
        << name << ": " << d.differ << " elements";
  } else if (tolerance.find("ulp on at most") != std::string::npos) {
    EXPECT_LE(d.ulps, 1.0) << name;
    off_by_one += d.differ;
  } else if (starts_with(tolerance, "relative rms per tensor <=")) {
    if (!unstable) {
      EXPECT_LE(d.rms, number_after(tolerance, "<=")) << name;
    }
  } else if (starts_with(tolerance, "fp32-arith mode")) {
    if (!unstable) {
      EXPECT_LE(d.rms, number_after(tolerance, "rms <=")) << name;
    }
  } else {
    ADD_FAILURE() << "unknown tolerance: " << tolerance;
  }
}

// Inside the tie band of one task vector: as many elements differ from the base as in the peer's output.
void check_kept(const std::string& name, const GoldenTensor& ours, const GoldenTensor& theirs,
                const GoldenTensor& base, const std::vector<double>& band) {
  size_t mine = 0, peers = 0;
  for (size_t i = 0; i < band.size(); ++i) {
    if (band[i] == 0) continue;
    mine += ours.values[i] != base.values[i];
    peers += theirs.values[i] != base.values[i];
  }
  EXPECT_EQ(mine, peers) << name << ": elements kept among the tied ones";
}

void compare_case(const std::string& root, const Json& entry, const std::string& out) {
  std::string folder = root + "/cases/" + entry["case"].as_string(),
              tolerance = entry["tolerance"].as_string();
  GoldenTensors ours = load_golden(out), theirs = load_golden(folder + "/merged"),
                band = load_golden(folder + "/tie_band.safetensors");
  const Json& unstable = entry["tensors_where_the_peer_itself_is_far_from_the_ideal_relative_rms"];
  std::string config = *read_file(folder + "/config.yml");
  bool single = config.find("tuned-b") == std::string::npos && !band.empty();
  GoldenTensors base = single ? load_golden(root + "/inputs/base-" +
                                            (config.find("bfloat16") != std::string::npos ? "bf16" : "f32"))
                              : GoldenTensors{};
  ASSERT_EQ(ours.size(), theirs.size());
  size_t off_by_one = 0, elements = 0;
  for (const auto& [name, theirs_tensor] : theirs) {
    ASSERT_TRUE(ours.contains(name)) << name;
    const GoldenTensor& mine = ours[name];
    ASSERT_EQ(mine.dtype, theirs_tensor.dtype) << name;
    ASSERT_EQ(mine.shape, theirs_tensor.shape) << name;
    const std::vector<double>* ties = band.contains(name) ? &band[name].values : nullptr;
    Difference d = compare_tensor(mine, theirs_tensor, ties);
    check_tensor(name, tolerance, d, unstable.contains(name), off_by_one);
    if (single && ties) check_kept(name, mine, theirs_tensor, base[name], *ties);
    elements += d.elements;
  }
  if (tolerance.find("ulp on at most") != std::string::npos) {
    EXPECT_LE(static_cast<double>(off_by_one),
              number_after(tolerance, "at most ") / 100 * static_cast<double>(elements));
  }
}

CommonOptions peer_mode() {
  CommonOptions common;
  common.mode = "peer";
  return common;
}

void run_cases(const std::string& root, bool tokenizers) {
  auto cases = read_json_file(root + "/cases.json");
  ASSERT_TRUE(cases.ok());
  for (const Json& entry : cases->items()) {
    const std::string& name = entry["case"].as_string();
    if (!exists(root + "/cases/" + name + "/merged")) continue;
    bool by_token = starts_with(entry["tolerance"].as_string(), "rows compared BY TOKEN");
    bool statistical = starts_with(entry["tolerance"].as_string(), "statistical");
    if (by_token != tokenizers || statistical) continue;
    SCOPED_TRACE(name);
    TemporaryFolder folder;
    auto report = merge(golden_options(root, "cases/" + name + "/config.yml", entry["command"].as_string(),
                                       folder.file("out")),
                        peer_mode());
    ASSERT_TRUE(report.ok()) << name << ": " << report.error().paragraph();
    compare_case(root, entry, folder.file("out"));
  }
}

TEST(MergePeer, CopiedCases) { run_cases(source_path("tests/parity/merging/data"), false); }

TEST(MergePeer, AllCases) {
  if (!have_shared())
    GTEST_SKIP() << "the larger references are not there; CopiedCases covers the main methods";
  run_cases(shared_path("golden/merge"), false);
}

// Token → id of a folder's tokenizer.json.
std::map<std::string, int64_t> token_ids(const std::string& folder) {
  std::map<std::string, int64_t> ids;
  auto tokenizer = read_json_file(folder + "/tokenizer.json", {.reject_duplicate_keys = false});
  EXPECT_TRUE(tokenizer.ok());
  for (const Json::Member& member : (*tokenizer)["model"]["vocab"].members())
    ids[member.first] = member.second.as_int();
  for (const Json& entry : (*tokenizer)["added_tokens"].items())
    ids[entry["content"].as_string()] = entry["id"].as_int();
  return ids;
}

// Rows by token string (ids of added tokens vary between runs of the peer), padding rows in order.
void compare_rows(const std::string& name, const GoldenTensor& ours, const GoldenTensor& theirs,
                  const std::map<std::string, int64_t>& our_ids,
                  const std::map<std::string, int64_t>& their_ids) {
  ASSERT_EQ(ours.shape, theirs.shape) << name;
  int64_t width = ours.shape[1];
  auto row = [&](int64_t a, int64_t b, const std::string& token) {
    for (int64_t i = 0; i < width; ++i) {
      double x = ours.values[static_cast<size_t>(a * width + i)],
             y = theirs.values[static_cast<size_t>(b * width + i)];
      double bound = ours.dtype == DType::f32 ? 1e-6 : std::max(ulp_of(x, ours.dtype), ulp_of(y, ours.dtype));
      ASSERT_LE(std::abs(x - y), bound) << name << " row of " << token;
    }
  };
  for (const auto& [token, id] : their_ids) {
    ASSERT_TRUE(our_ids.contains(token)) << token;
    row(our_ids.at(token), id, token);
  }
  for (int64_t id = static_cast<int64_t>(their_ids.size()); id < theirs.shape[0]; ++id)
    row(id, id, "padding");
}

TEST(MergePeer, Tokenizers) {
  if (!have_shared()) GTEST_SKIP() << "the larger references are not there";
  std::string root = shared_path("golden/merge");
  auto cases = read_json_file(root + "/cases.json");
  ASSERT_TRUE(cases.ok());
  for (const Json& entry : cases->items()) {
    if (!starts_with(entry["tolerance"].as_string(), "rows compared BY TOKEN")) continue;
    std::string name = entry["case"].as_string(), merged = root + "/cases/" + name + "/merged";
    SCOPED_TRACE(name);
    TemporaryFolder folder;
    std::string out = folder.file("out");
    auto report =
        merge(golden_options(root, "cases/" + name + "/config.yml", entry["command"].as_string(), out),
              peer_mode());
    ASSERT_TRUE(report.ok()) << report.error().paragraph();
    auto our_ids = token_ids(out), their_ids = token_ids(merged);
    EXPECT_EQ(our_ids.size(), their_ids.size());
    EXPECT_EQ((*read_json_file(out + "/config.json"))["vocab_size"],
              (*read_json_file(merged + "/config.json"))["vocab_size"]);
    GoldenTensors ours = load_golden(out), theirs = load_golden(merged);
    ASSERT_EQ(ours.size(), theirs.size());
    for (const auto& [tensor, values] : theirs) {
      ASSERT_EQ(ours[tensor].dtype, values.dtype);
      if (tensor == "lm_head.weight" || tensor == "model.embed_tokens.weight") {
        compare_rows(tensor, ours[tensor], values, our_ids, their_ids);
        continue;
      }
      Difference d = compare_tensor(ours[tensor], values, nullptr);
      if (values.dtype == DType::f32) {
        EXPECT_LE(d.relative_to_maximum, 1e-6) << tensor;
      } else {
        EXPECT_LE(d.ulps, 1.0) << tensor;
      }
    }
  }
}

}  // namespace
}  // namespace bm::testing
