#include "merging/extract_lora.h"

#include <cmath>
#include <regex>

#include "base/file.h"
#include "base/log.h"
#include "formats/safetensors.h"
#include "merging/architecture.h"
#include "merging/models.h"
#include "merging/svd.h"

namespace bm {
namespace {

constexpr std::string_view kEnding = ".weight";

class Extraction {
 public:
  Extraction(LoadedModel model, LoadedModel base, const ExtractLoraOptions& options, DType dtype)
      : model_(std::move(model)), base_(std::move(base)), options_(options), dtype_(dtype) {}

  // Regular expressions and shapes.
  Status prepare() {
    BM_CHECK_OK(compile(options_.include_regex, "--include-regex", include_));
    BM_CHECK_OK(compile(options_.exclude_regex, "--exclude-regex", exclude_));
    if (options_.rank < 1) return bad_input("--rank is " + std::to_string(options_.rank), "At least 1.");
    if (model_.layers != base_.layers)
      return bad_input("the models have " + std::to_string(model_.layers) + " and " +
                       std::to_string(base_.layers) + " layers");
    for (const auto& list : {weights_before_layers(), layers(), weights_after_layers()})
      for (const WeightName& weight : list) BM_CHECK_OK(add(weight));
    return {};
  }

  Status run(int64_t limit) {
    Progress progress("extracting", "tensors", names_.size());
    for (const std::string& name : names_) {
      if (limit > 0 && handled_++ >= limit) break;
      if (stop_requested()) return interrupted_error("merge extract-lora");
      progress.note(name);
      BM_CHECK_OK(tensor(name).in("tensor " + name));
      progress.advance();
    }
    return {};
  }

  Status write(const std::string& out, const std::string& base) const {
    BM_CHECK_OK(write_file_atomic(path_join(out, "adapter_config.json"), config(base).dump_pretty() + "\n"));
    std::vector<NamedTensor> views;
    for (const auto& [name, values] : tensors_) views.push_back({name, values.view()});
    BM_CHECK_OK(write_safetensors(path_join(out, "adapter_model.safetensors"), views));
    std::string card = "---\nlibrary_name: peft\ntags:\n- lora\n- biomistral\n---\n# " + path_name(out) +
                       "\n\nA LoRA adapter of rank " + std::to_string(options_.rank) + ", extracted from `" +
                       model_.reference.text + "` and its base `" + base + "` by biomistral.\n";
    return write_file_atomic(path_join(out, "README.md"), card);
  }

  Json results() const {
    double lost = norm_ > 0 ? std::sqrt(std::max(0.0, lost_ / norm_)) : 0;
    return Json::object(
        {{"rank", options_.rank}, {"relative_error", lost}, {"modules", modules_}, {"whole", whole_}});
  }
  size_t count() const { return names_.size(); }

 private:
  static Status compile(const std::string& text, const char* option, std::optional<std::regex>& out) {
    if (text.empty()) return {};
    try {
      out.emplace(text);
    } catch (const std::regex_error& error) {
      return bad_input(std::string(option) + " \"" + text + "\" is no regular expression: " + error.what());
    }
    return {};
  }

  std::vector<WeightName> layers() const {
    std::vector<WeightName> out;
    for (int64_t i = 0; i < base_.layers; ++i)
      for (WeightName& weight : weights_of_layer(i)) out.push_back(std::move(weight));
    return out;
  }

  Status add(const WeightName& weight) {
    std::string module = weight.name.substr(0, weight.name.rfind('.'));
    if ((include_ && !std::regex_search(module, *include_)) ||
        (exclude_ && std::regex_search(module, *exclude_)))
      return {};
    bool here = model_.contains(weight.name), there = base_.contains(weight.name);
    if (!here && !there && weight.optional) return {};
    if (!here || !there)
      return bad_input(std::string("the ") + (here ? "base" : "model") + " has no " + weight.name,
                       "An adapter needs both to have it.");
    BM_TRY(WeightInfo a, model_.info(weight.name));
    BM_TRY(WeightInfo b, base_.info(weight.name));
    if (a.quantized || b.quantized)
      return bad_input("is quantized", "Convert the models to float first.").in("tensor " + weight.name);
    if (a.shape != b.shape)
      return bad_input("shapes differ: " + shape_text(a.shape) + " and " + shape_text(b.shape))
          .in("tensor " + weight.name);
    bool linear =
        a.shape.size() == 2 && weight.name != "model.embed_tokens.weight" && ends_with(weight.name, kEnding);
    if (linear || !options_.skip_undecomposable) names_.push_back(weight.name);
    return {};
  }

  Status tensor(const std::string& name) {
    BM_TRY(Source tuned, model_.source(name, Rounding::none, false));
    BM_TRY(Source base, base_.source(name, Rounding::none, false));
    const Shape shape = base.view().shape;
    const int64_t count = element_count(shape);
    std::vector<float> x(static_cast<size_t>(count)), b(x.size());
    tuned.read(0, count, x.data());
    base.read(0, count, b.data());
    tuned.drop();
    base.drop();
    std::vector<float> delta(x.size());
    bool same = true;
    for (size_t i = 0; i < x.size(); ++i) {
      delta[i] = x[i] - b[i];
      same = same && delta[i] == 0;
      if (!std::isfinite(delta[i]))
        return bad_input("element " + std::to_string(i) + " of the difference is NaN or infinite");
    }
    if (same) return {};
    std::string module = name.substr(0, name.rfind('.'));
    if (shape.size() == 2 && name != "model.embed_tokens.weight") return matrix(module, shape, delta);
    whole_.push_back(name);
    whole_modules_.push_back(module);
    return keep("base_model.model." + name, shape, x);
  }

  Status matrix(const std::string& module, const Shape& shape, const std::vector<float>& delta) {
    const int64_t rows = shape[0], columns = shape[1];
    TruncatedSvd svd = truncated_svd(delta.data(), rows, columns, options_.rank);
    const auto rank = static_cast<int64_t>(svd.values.size());
    std::vector<float> a(static_cast<size_t>(rank * columns)), b(static_cast<size_t>(rows * rank));
    double kept = 0;
    for (int64_t r = 0; r < rank; ++r) {
      const double value = svd.values[static_cast<size_t>(r)];
      const double in_a = options_.distribute_scale ? std::sqrt(value) : 1, in_b = value / in_a;
      kept += value * value;
      for (int64_t c = 0; c < columns; ++c)
        a[static_cast<size_t>(r * columns + c)] =
            static_cast<float>(in_a * static_cast<double>(svd.right[static_cast<size_t>(r * columns + c)]));
      for (int64_t o = 0; o < rows; ++o)
        b[static_cast<size_t>(o * rank + r)] =
            static_cast<float>(in_b * static_cast<double>(svd.left[static_cast<size_t>(r * rows + o)]));
    }
    const double lost = std::max(0.0, svd.total - kept);
    lost_ += lost;
    norm_ += svd.total;
    targets_.push_back(module);
    modules_.push_back(
        Json::object({{"module", module}, {"rank", rank}, {"relative_error", std::sqrt(lost / svd.total)}}));
    if (rank != options_.rank) ranks_.set(module, rank);
    BM_CHECK_OK(keep("base_model.model." + module + ".lora_A.weight", {rank, columns}, a));
    return keep("base_model.model." + module + ".lora_B.weight", {rows, rank}, b);
  }

  Status keep(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    Tensor wide = Tensor::copy_of({DType::f32, shape, reinterpret_cast<const std::byte*>(values.data()), {}});
    BM_TRY(Tensor stored, convert(wide.view(), dtype_));
    tensors_.emplace_back(name, std::move(stored));
    return {};
  }

  // alpha = rank everywhere, so that the scale is 1.
  Json config(const std::string& base) const {
    auto list = [](const std::vector<std::string>& names) {
      Json out = Json::array();
      for (const std::string& name : names) out.push_back(name);
      return out;
    };
    return Json::object({{"peft_type", "LORA"},
                         {"task_type", "CAUSAL_LM"},
                         {"base_model_name_or_path", base},
                         {"inference_mode", true},
                         {"r", options_.rank},
                         {"lora_alpha", options_.rank},
                         {"rank_pattern", ranks_},
                         {"alpha_pattern", ranks_},
                         {"lora_dropout", 0.0},
                         {"bias", "none"},
                         {"fan_in_fan_out", false},
                         {"use_rslora", false},
                         {"use_dora", false},
                         {"target_modules", list(targets_)},
                         {"modules_to_save", whole_modules_.empty() ? Json() : list(whole_modules_)}});
  }

  LoadedModel model_, base_;
  const ExtractLoraOptions& options_;
  DType dtype_;
  std::optional<std::regex> include_, exclude_;
  std::vector<std::string> names_, targets_, whole_modules_;
  std::vector<std::pair<std::string, Tensor>> tensors_;
  Json modules_ = Json::array(), whole_ = Json::array(), ranks_ = Json::object();
  double lost_ = 0, norm_ = 0;
  int64_t handled_ = 0;
};

}  // namespace

void describe(Fields& f, ExtractLoraOptions& o) {
  f.add("rank", o.rank, "largest rank of a module's difference");
  f.add("distribute-scale", o.distribute_scale, "singular values in equal parts to A and B (else all in B)");
  f.add("skip-undecomposable", o.skip_undecomposable,
        "leave out norms, biases and embeddings, which are stored whole otherwise");
  f.add("include-regex", o.include_regex, "only modules whose name this finds");
  f.add("exclude-regex", o.exclude_regex, "no modules whose name this finds");
  f.add("dtype", o.dtype, "of the adapter",
        {.choices = {"float32", "float16", "bfloat16", "f32", "f16", "bf16"}});
}

Result<Json> extract_lora(const std::string& model, const std::string& base, const std::string& out,
                          const ExtractLoraOptions& options, const CommonOptions& common) {
  std::optional<DType> dtype = dtype_from_user(options.dtype);
  if (!dtype) return bad_input("--dtype " + options.dtype + " is not one of float32, float16, bfloat16");
  BM_TRY(ModelReference tuned_reference, ModelReference::parse(Json(model)));
  BM_TRY(ModelReference base_reference, ModelReference::parse(Json(base)));
  BM_TRY(LoadedModel tuned, LoadedModel::open(tuned_reference, {}, {}));
  BM_TRY(LoadedModel parent, LoadedModel::open(base_reference, {}, {}));
  StageIdentity identity{.verb = "merge extract-lora",
                         .options = {},
                         .inputs = {},
                         .seed = common.seed_or(0),
                         .mode = common.mode};
  ExtractLoraOptions copy = options;
  Fields fields;
  describe(fields, copy);
  identity.options = fields.dump_identity();
  identity.options.set("limit", common.limit);
  std::vector<std::pair<std::string, std::string>> inputs;
  for (const std::string& folder : tuned.folders()) inputs.emplace_back("model", folder);
  for (const std::string& folder : parent.folders()) inputs.emplace_back("base", folder);
  Extraction extraction(std::move(tuned), std::move(parent), options, *dtype);
  BM_CHECK_OK(extraction.prepare());
  if (common.dry_run)
    return Json::object({{"tensors", static_cast<uint64_t>(extraction.count())}, {"rank", options.rank}});
  for (const auto& [role, folder] : inputs) {
    BM_TRY(StageInput input, stage_input(role, folder));
    identity.inputs.push_back(std::move(input));
  }
  BM_TRY(StageFolder folder, StageFolder::open(out, identity, common.overwrite));
  if (folder.state() == StageFolder::State::complete) return folder.manifest()["results"];
  BM_CHECK_OK(extraction.run(common.limit));
  BM_CHECK_OK(extraction.write(out, base));
  BM_CHECK_OK(folder.finish(extraction.results()));
  return extraction.results();
}

}  // namespace bm
