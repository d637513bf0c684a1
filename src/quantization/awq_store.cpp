#include "quantization/awq_store.h"

#include <cmath>
#include <limits>

#include "base/file.h"
#include "formats/safetensors.h"
#include "quantization/awq_stage.h"
#include "tensor/tensor.h"

namespace bm {
namespace {

std::string layer_name(int64_t layer, std::string_view module) {
  return "model.layers." + std::to_string(layer) + "." + std::string(module);
}

Result<NamedTensor> named(std::string name, const std::vector<float>& values, Shape shape, DType dtype) {
  TensorView view{DType::f32, std::move(shape), reinterpret_cast<const std::byte*>(values.data()), nullptr};
  BM_TRY(auto tensor, convert(view, dtype));
  return NamedTensor{std::move(name), tensor.view()};
}

Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (double value : values) list.push_back(std::isfinite(value) ? Json(value) : Json());
  return list;
}

Json scaling_json(const AwqScaling& s, int64_t layer) {
  Json scaled = Json::array();
  for (const std::string& module : s.scaled) scaled.push_back(layer_name(layer, module));
  auto optional = [](const std::optional<double>& v) { return v && std::isfinite(*v) ? Json(*v) : Json(); };
  return Json::object({{"previous", layer_name(layer, s.previous)},
                       {"scaled", scaled},
                       {"loss_measured_on", s.measured_on},
                       {"ratio", optional(s.ratio)},
                       {"losses", numbers(s.losses)},
                       {"identity_loss", optional(s.identity_loss)},
                       {"output_mean_square", s.output_mean_square},
                       {"unscaled", s.unscaled.empty() ? Json() : Json(s.unscaled)}});
}

Result<AwqScaling> scaling_from(const Json& json, const SafetensorsFile& file) {
  AwqScaling s;
  BM_TRY(std::string previous, json.get_string("previous"));
  s.previous = layer_module(previous).module;
  for (const Json& name : json["scaled"].items()) {
    if (!name.is_string()) return bad_input("\"scaled\" holds something that is no name").in(previous);
    s.scaled.push_back(layer_module(name.as_string()).module);
  }
  BM_TRY(s.measured_on, json.get_string("loss_measured_on"));
  if (json["ratio"].is_number()) s.ratio = json["ratio"].as_double();
  if (json["identity_loss"].is_number()) s.identity_loss = json["identity_loss"].as_double();
  for (const Json& loss : json["losses"].items())
    s.losses.push_back(loss.is_number() ? loss.as_double() : std::numeric_limits<double>::infinity());
  BM_TRY(s.output_mean_square, json.get_double("output_mean_square", 0.0));
  BM_TRY(s.unscaled, json.get_string("unscaled", ""));
  for (const auto& [part, target] : {std::pair<std::string_view, std::vector<float>*>{".scales", &s.scales},
                                     {".x_mean", &s.x_mean},
                                     {".w_mean", &s.w_mean}}) {
    BM_TRY(auto view, file.get(previous + std::string(part)));
    BM_TRY(*target, to_f32(view));
  }
  for (float scale : s.scales)
    if (!(scale > 0) || !std::isfinite(scale))
      return bad_input("a scale is not positive").in("tensor " + previous + ".scales");
  return s;
}

}  // namespace

Status write_awq_search(const std::string& stem, std::span<const AwqLayerSearch> layers, int64_t first_layer,
                        int64_t group, DType precision, const Json& header) {
  std::vector<NamedTensor> tensors;
  Json scaling = Json::array();
  auto add = [&](std::string name, const std::vector<float>& values, Shape shape) -> Status {
    BM_TRY(auto tensor, named(std::move(name), values, std::move(shape), precision));
    tensors.push_back(std::move(tensor));
    return {};
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    int64_t layer = first_layer + static_cast<int64_t>(i);
    for (const AwqScaling& s : layers[i].scalings) {
      std::string name = layer_name(layer, s.previous);
      auto size = static_cast<int64_t>(s.scales.size());
      BM_CHECK_OK(add(name + ".scales", s.scales, {size}));
      BM_CHECK_OK(add(name + ".x_mean", s.x_mean, {size}));
      BM_CHECK_OK(add(name + ".w_mean", s.w_mean, {size}));
      scaling.push_back(scaling_json(s, layer));
    }
    for (const AwqClip& clip : layers[i].clips) {
      std::string name = layer_name(layer, clip.module);
      auto size = static_cast<int64_t>(clip.clip_max.size());
      Shape shape = {size / clip.groups, clip.groups, 1};
      BM_CHECK_OK(add(name + ".clip_max", clip.clip_max, shape));
      BM_CHECK_OK(add(name + ".group_abs_max", clip.group_abs_max, shape));
    }
  }
  BM_CHECK_OK(write_safetensors(stem + ".safetensors", tensors,
                                {{"format", "pt"}, {"group_size", std::to_string(group)}}));
  Json json = header;
  json.set("scaling", std::move(scaling));
  return write_file_atomic(stem + ".json", json.dump_pretty(1) + "\n");
}

Result<StoredAwqSearch> read_awq_search(const std::string& stem, int64_t first_layer, int64_t layers) {
  StoredAwqSearch stored;
  BM_TRY(auto file, SafetensorsFile::open(stem + ".safetensors"));
  BM_TRY(stored.json, read_json_file(stem + ".json"));
  if (!stored.json["scaling"].is_array()) return bad_input("\"scaling\" is no array").in(stem + ".json");
  stored.layers.resize(static_cast<size_t>(layers));
  auto place_of = [&](std::string_view name) -> Result<LayerModule> {
    LayerModule place = layer_module(name);
    if (place.layer < first_layer || place.layer >= first_layer + layers)
      return bad_input("\"" + std::string(name) + "\" is in no layer of this model",
                       "is this search of the same model?")
          .in(stem + ".safetensors");
    return place;
  };
  for (const Json& json : stored.json["scaling"].items()) {
    BM_TRY(auto scaling, scaling_from(json, file).in(stem + ".json"));
    BM_TRY(auto place, place_of(json["previous"].as_string()));
    stored.layers[static_cast<size_t>(place.layer - first_layer)].scalings.push_back(std::move(scaling));
  }
  // Clips in the order of the layer's linears, whatever the order of the file.
  for (int64_t i = 0; i < layers; ++i)
    for (std::string_view module : kLayerLinears) {
      std::string name = layer_name(first_layer + i, module);
      const SafetensorsEntry* entry = file.find(name + ".clip_max");
      if (!entry) continue;
      if (entry->shape.size() != 3 || entry->shape[1] <= 0)
        return bad_input("its shape is " + shape_text(entry->shape) + ", expected [rows, groups, 1]")
            .in("tensor " + name + ".clip_max")
            .in(stem + ".safetensors");
      AwqClip clip;
      clip.module = module;
      clip.groups = entry->shape[1];
      BM_TRY(clip.clip_max, to_f32(file.view(*entry)));
      BM_TRY(auto before, file.get(name + ".group_abs_max"));
      BM_TRY(clip.group_abs_max, to_f32(before));
      stored.layers[static_cast<size_t>(i)].clips.push_back(std::move(clip));
    }
  return stored;
}

}  // namespace bm
