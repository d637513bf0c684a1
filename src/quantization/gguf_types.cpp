#include "quantization/gguf_types.h"

namespace bm {
namespace {

GgufType block(BlockType type) { return {std::nullopt, type}; }
GgufType dense(DType type) { return {type, std::nullopt}; }

const std::vector<GgufMix>& mixes() {
  static const std::vector<GgufMix> all = {
      {"q4_0", block(BlockType::q4_0), false, 2},   {"q4_1", block(BlockType::q4_1), false, 3},
      {"q5_0", block(BlockType::q5_0), false, 8},   {"q5_1", block(BlockType::q5_1), false, 9},
      {"q8_0", block(BlockType::q8_0), false, 7},   {"q4_k", block(BlockType::q4_k), false, 14},
      {"q5_k", block(BlockType::q5_k), false, 16},  {"q6_k", block(BlockType::q6_k), false, 18},
      {"q4_k_m", block(BlockType::q4_k), true, 15}, {"q5_k_m", block(BlockType::q5_k), true, 17},
      {"f32", dense(DType::f32), false, 0},         {"f16", dense(DType::f16), false, 1},
      {"bf16", dense(DType::bf16), false, 32}};
  return all;
}

// What the mix wants, whatever the row's length.
GgufType wanted(const GgufMix& mix, const GgufTensorPlace& place) {
  if (mix.base.dtype) return mix.base;
  const GgufType six = block(BlockType::q6_k);
  if (place.head) return mix.base == block(BlockType::q8_0) ? mix.base : six;
  bool value = place.name.find("attn_v.") != std::string_view::npos;
  bool down = place.name.find("ffn_down.") != std::string_view::npos;
  if (mix.medium && (value || down) && uses_more_bits(place.layer, place.layers)) return six;
  // Symmetric types suffer from weighted rounding in the first layers.
  bool symmetric = mix.base == block(BlockType::q4_0) || mix.base == block(BlockType::q5_0);
  if (down && symmetric && place.has_importance && place.layer < place.layers / 8)
    return block(mix.base == block(BlockType::q4_0) ? BlockType::q4_1 : BlockType::q5_1);
  return mix.base;
}

GgufType fallback(const GgufType& type) {
  if (type == block(BlockType::q4_k)) return block(BlockType::q5_0);
  if (type == block(BlockType::q5_k)) return block(BlockType::q5_1);
  return block(BlockType::q8_0);
}

}  // namespace

const std::vector<std::string>& gguf_methods() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const GgufMix& mix : mixes())
      if (mix.base.blocks) list.push_back(mix.method);
    return list;
  }();
  return names;
}

std::optional<GgufMix> gguf_mix(std::string_view method) {
  for (const GgufMix& mix : mixes())
    if (mix.method == method) return mix;
  return std::nullopt;
}

bool uses_more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

GgufChoice choose_gguf_type(const GgufMix& mix, const GgufTensorPlace& place) {
  GgufChoice choice{wanted(mix, place), ""};
  auto fits = [&](const GgufType& type) {
    return type.dtype || place.columns % block_elements(*type.blocks) == 0;
  };
  if (fits(choice.type)) return choice;
  std::string rows = "rows of " + std::to_string(place.columns) + " are no multiple of " +
                     std::to_string(block_elements(*choice.type.blocks));
  choice.type = place.head ? block(BlockType::q8_0) : fallback(choice.type);
  if (!fits(choice.type)) choice.type = dense(DType::f16);
  choice.reason = rows + ": " + choice.type.name();
  return choice;
}

}  // namespace bm
