#include "quantization/awq_stage.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"
#include "formats/tokenizer_file.h"
#include "model/model.h"
#include "quantization/awq_store.h"
#include "quantization/calibration.h"

namespace bm {
namespace {

Json header_of(const QuantizeOptions& o, const AwqSearchOptions& s, const CalibrationBlocks& c) {
  return Json::object({{"dtype", dtype_torch_name(s.precision)},
                       {"group_size", s.group},
                       {"bits", 4},
                       {"zero_point", true},
                       {"n_grid", s.grid},
                       {"duo_scaling", s.duo_scaling},
                       {"apply_clip", s.clip},
                       {"max_calib_seq_len", o.calibration_block},
                       {"epsilon_in_scales", s.switches.epsilon_in_scales},
                       {"identity_on_grid", s.switches.identity_on_grid},
                       {"range_contains_zero", s.switches.widen_to_zero},
                       {"calibration", Json::object({{"source", c.source},
                                                     {"licence", c.licence},
                                                     {"samples", c.samples},
                                                     {"dropped", c.dropped},
                                                     {"blocks", static_cast<int64_t>(c.blocks.size())}})}});
}

DType stored_norm_dtype(const QuantizeSource& source, const std::vector<QuantizeTarget>& targets,
                        int64_t layer) {
  for (const QuantizeTarget& target : targets) {
    LayerModule place = layer_module(target.spec.module);
    if (place.layer != layer || place.module != "input_layernorm") continue;
    auto dtype = source.dtype_of(target.spec);
    if (dtype) return *dtype;
  }
  return DType::f32;
}

class Searcher {
 public:
  Searcher(const QuantizeSource& source, const std::vector<QuantizeTarget>& targets,
           const QuantizeOptions& options, const AwqSearchOptions& search, const std::string& folder)
      : source_(source), targets_(targets), options_(options), search_(search), folder_(folder) {
    for (const QuantizeTarget& t : targets)
      if (t.quantized) packed_.push_back(t.spec.module);
  }

  Result<AwqSearch> run(uint64_t seed) {
    const ModelConfig& config = source_.config();
    BM_TRY(auto calibration,
           read_calibration(options_.calibration, options_.samples, options_.calibration_block, config.vocab,
                            seed, [&] { return open_tokenizer(source_.path()); }));
    log_info("calibration: " + std::to_string(calibration.blocks.size()) + " blocks of " +
             std::to_string(options_.calibration_block) + " tokens from " + calibration.source);
    Json header = header_of(options_, search_, calibration);
    for (const std::vector<int32_t>& block : calibration.blocks)
      lengths_.push_back(static_cast<int64_t>(block.size()));
    BM_TRY(stream_, embed_blocks(source_, calibration.blocks));
    BM_CHECK_OK(make_directories(path_join(folder_, "search")));
    AwqSearch found;
    found.calibration = calibration.source;
    found.calibration_licence = calibration.licence;
    Progress progress("AWQ search", "layers", static_cast<uint64_t>(config.layers));
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      if (stop_requested()) return interrupted_error("the AWQ search");
      BM_TRY(auto result, layer_result(layer, header));
      found.layers.push_back(std::move(result));
      progress.advance();
    }
    BM_CHECK_OK(write_awq_search(path_join(folder_, "awq_search"), found.layers, 0, search_.group,
                                 search_.precision, header));
    found.record = std::move(header);
    return found;
  }

 private:
  // From the file an interrupted run left, or by searching; the residual stream moves on either way.
  Result<AwqLayerSearch> layer_result(int64_t layer, const Json& header) {
    BM_TRY(auto weights, read_layer_weights(source_, layer, search_.precision));
    std::string stem = path_join(folder_, "search/layer-" + std::to_string(layer));
    std::string prefix = "model.layers." + std::to_string(layer) + ".";
    if (exists(stem + ".json")) {  // written last, so the pair is whole
      BM_TRY(auto stored, read_awq_search(stem, layer, 1));
      run_layer(source_.config(), weights, lengths_, stream_.data());
      if (search_.precision == DType::f16)
        for (float& value : stream_) value = round_to_f16_fast(value);
      return std::move(stored.layers[0]);
    }
    AwqLayerInput input{source_.config(), weights,
                        [&](std::string_view module) {
                          return std::find(packed_.begin(), packed_.end(), prefix + std::string(module)) !=
                                 packed_.end();
                        },
                        lengths_, stored_norm_dtype(source_, targets_, layer)};
    BM_TRY(auto result,
           search_layer(input, search_, stream_).in("layer " + std::to_string(layer)).in(source_.path()));
    BM_CHECK_OK(write_awq_search(stem, {&result, 1}, layer, search_.group, search_.precision, header));
    return result;
  }

  const QuantizeSource& source_;
  const std::vector<QuantizeTarget>& targets_;
  const QuantizeOptions& options_;
  const AwqSearchOptions& search_;
  const std::string& folder_;
  std::vector<std::string> packed_;  // modules that will be quantized
  std::vector<int64_t> lengths_;     // tokens per block
  std::vector<float> stream_;        // [tokens, hidden], input of the next layer
};

// Sizes of a stored search against the model's: a search of another model must not be applied.
Status check_stored(const StoredAwqSearch& stored, const std::vector<QuantizeTarget>& targets, int64_t group,
                    const std::string& stem) {
  BM_TRY(int64_t was, stored.json.get_int("group_size"));
  if (was != group)
    return bad_input("this search was made with group " + std::to_string(was),
                     "give --group " + std::to_string(was))
        .in(stem + ".json");
  for (const QuantizeTarget& target : targets) {
    LayerModule place = layer_module(target.spec.module);
    if (place.layer < 0 || target.spec.shape.size() != 2) continue;
    const AwqLayerSearch& layer = stored.layers[static_cast<size_t>(place.layer)];
    auto misfit = [&](const std::string& what) {
      return bad_input(what + " does not fit " + shape_text(target.spec.shape),
                       "is this search of the same model?")
          .in("module " + target.spec.module)
          .in(stem + ".safetensors");
    };
    for (const AwqScaling& s : layer.scalings) {
      auto size = static_cast<int64_t>(s.scales.size());
      if (s.previous == place.module && size != target.rows) return misfit("the scale after it");
      if (std::find(s.scaled.begin(), s.scaled.end(), place.module) != s.scaled.end() &&
          size != target.columns)
        return misfit("the scale before it");
    }
    for (const AwqClip& clip : layer.clips)
      if (clip.module == place.module &&
          (static_cast<int64_t>(clip.clip_max.size()) != target.rows * clip.groups ||
           target.columns % clip.groups != 0 ||
           target.columns / clip.groups != (group == 0 ? target.columns : group)))
        return misfit("the clip");
  }
  return {};
}

Result<AwqSearch> search_again(const QuantizeSource& source, const std::vector<QuantizeTarget>& targets,
                               const QuantizeOptions& options, const AwqSearchOptions& search,
                               const std::string& folder) {
  std::string stem = path_join(options.search_from, "awq_search");
  BM_TRY(auto stored, read_awq_search(stem, 0, source.config().layers));
  BM_CHECK_OK(check_stored(stored, targets, search.group, stem));
  AwqSearch found;
  found.layers = std::move(stored.layers);
  const Json& calibration = stored.json["calibration"];
  BM_TRY(found.calibration, calibration.get_string("source", ""));
  BM_TRY(found.calibration_licence, calibration.get_string("licence", ""));
  found.record = std::move(stored.json);
  BM_CHECK_OK(copy_file(stem + ".safetensors", path_join(folder, "awq_search.safetensors")));
  BM_CHECK_OK(copy_file(stem + ".json", path_join(folder, "awq_search.json")));
  return found;
}

}  // namespace

LayerModule layer_module(std::string_view name) {
  constexpr std::string_view kLayers = "model.layers.";
  LayerModule place;
  if (!name.starts_with(kLayers)) return place;
  int64_t layer = -1;
  const char* begin = name.data() + kLayers.size();
  auto [end, code] = std::from_chars(begin, name.data() + name.size(), layer);
  if (code != std::errc() || end == name.data() + name.size() || *end != '.') return place;
  place.layer = layer;
  place.module = std::string(end + 1, name.data() + name.size());
  return place;
}

Result<LayerWeightsF32> read_layer_weights(const QuantizeSource& source, int64_t layer, DType precision) {
  LayerWeightsF32 weights;
  for (const WeightSpec& spec : expected_weights(source.config())) {
    LayerModule place = layer_module(spec.module);
    if (place.layer != layer) continue;
    BM_TRY(auto values, source.values(spec));
    if (precision == DType::f16)
      for (float& value : values) value = round_to_f16_fast(value);
    if (place.module == "input_layernorm")
      weights.input_layernorm = std::move(values);
    else if (place.module == "post_attention_layernorm")
      weights.post_attention_layernorm = std::move(values);
    else if (LinearF32* linear = weights.find(place.module); linear && spec.shape.size() == 2) {
      linear->rows = spec.shape[0];
      linear->columns = spec.shape[1];
      linear->weight = std::move(values);
    } else if (linear) {
      linear->bias = std::move(values);
    }
  }
  return weights;
}

Result<std::vector<float>> embed_blocks(const QuantizeSource& source,
                                        const std::vector<std::vector<int32_t>>& blocks) {
  BM_TRY(auto rows, source.values(expected_weights(source.config())[0]));  // model.embed_tokens.weight
  auto hidden = static_cast<size_t>(source.config().hidden);
  std::vector<float> stream;
  for (const std::vector<int32_t>& block : blocks)
    for (int32_t token : block) {
      auto first = rows.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(token) * hidden);
      stream.insert(stream.end(), first, first + static_cast<ptrdiff_t>(hidden));
    }
  return stream;
}

Result<AwqSearchOptions> awq_search_options(const QuantizeOptions& options, Mode mode) {
  AwqSearchOptions search;
  search.group = options.group;
  search.grid = options.grid;
  search.duo_scaling = options.duo_scaling;
  search.clip = options.clip;
  search.switches = awq_switches(mode);
  auto dtype = dtype_from_user(options.search_dtype);
  if (!dtype || (*dtype != DType::f32 && *dtype != DType::f16))
    return bad_input("--search-dtype " + options.search_dtype + " is neither f32 nor f16");
  search.precision = *dtype;
  return search;
}

Result<AwqSearch> awq_search(const QuantizeSource& source, const std::vector<QuantizeTarget>& targets,
                             const QuantizeOptions& options, const AwqSearchOptions& search, uint64_t seed,
                             const std::string& folder) {
  if (!options.search_from.empty()) return search_again(source, targets, options, search, folder);
  return Searcher(source, targets, options, search, folder).run(seed);
}

uint64_t awq_memory_need(const ModelConfig& config, const QuantizeOptions& options) {
  auto tokens = static_cast<uint64_t>(options.samples * options.calibration_block);
  auto hidden = static_cast<uint64_t>(config.hidden), wide = static_cast<uint64_t>(config.intermediate);
  uint64_t attention =
      static_cast<uint64_t>(config.q_width()) * 2 + static_cast<uint64_t>(config.kv_width()) * 2;
  uint64_t layer = hidden * (attention + 3 * wide);
  uint64_t embedding = static_cast<uint64_t>(config.vocab) * hidden;
  uint64_t features = tokens * (5 * hidden + 3 * wide);
  return 4 * (std::max(embedding, 3 * layer) + features + wide * std::min(tokens, wide));
}

}  // namespace bm
