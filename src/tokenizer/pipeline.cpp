#include "tokenizer/pipeline.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace bm::tokenizer {

PipelineTokenizer::PipelineTokenizer(Parts parts) : parts_(std::move(parts)) {
  special_.resize(static_cast<size_t>(parts_.vocabulary.size()), false);
  for (const AddedToken& token : parts_.added) {
    if (token.special) special_[static_cast<size_t>(token.id)] = true;
    if (!token.normalized) {
      raw_matcher_.add(token.content, token);
      continue;
    }
    AlignedText pattern = AlignedText::of(token.content, 0, false);
    normalize(parts_.normalizer, pattern);
    normalized_matcher_.add(pattern.text, token);
  }
}

bool PipelineTokenizer::is_special(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < special_.size() && special_[static_cast<size_t>(id)];
}

// One run of plain text: pre-tokenizer, then the model piece by piece.
void PipelineTokenizer::encode_plain(AlignedText text, Encoding& out, std::vector<Span>* places) const {
  SplitText split;
  split.pieces.push_back({0, text.text.size()});
  split.text = std::move(text);
  for (const auto& step : parts_.pre_tokenizer.steps) step->apply(split);
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < split.pieces.size(); ++i) {
    if (!places) {
      parts_.model->encode(split.piece(i), out.ids);
      continue;
    }
    parts_.model->encode_symbols(split.piece(i), symbols);
    size_t at = split.pieces[i].begin;
    for (const Symbol& symbol : symbols) {
      size_t last = at + std::max<uint32_t>(symbol.length, 1) - 1;
      out.ids.push_back(symbol.id);
      places->push_back({split.text.place(at).begin, split.text.place(last).end});
      at += symbol.length;
    }
  }
}

void PipelineTokenizer::encode_stretch(AlignedText text, const EncodeOptions& options, Encoding& out,
                                       std::vector<Span>* places) const {
  normalize(parts_.normalizer, text);
  if (normalized_matcher_.empty()) return encode_plain(std::move(text), out, places);
  for (const Stretch& stretch : normalized_matcher_.split(text.text, options.parse_special)) {
    if (stretch.id >= 0) {
      out.ids.push_back(stretch.id);
      if (places) places->push_back({text.place(stretch.begin).begin, text.place(stretch.end - 1).end});
      continue;
    }
    AlignedText part = text.empty_like();
    part.original_begin += stretch.begin;
    part.append_from(text, stretch.begin, stretch.end);
    encode_plain(std::move(part), out, places);
  }
}

// ByteLevel's trim_offsets: spaces at a token's ends are outside its span.
void PipelineTokenizer::trim_place(int32_t id, Span& place, std::string_view text) const {
  if (!parts_.post_processor.trim_offsets || is_special(id)) return;
  while (place.begin < place.end && text[place.begin] == ' ') ++place.begin;
  while (place.end > place.begin && text[place.end - 1] == ' ') --place.end;
}

Encoding PipelineTokenizer::encode_text(std::string_view text, const EncodeOptions& options,
                                        bool offsets) const {
  Encoding out;
  std::vector<Span> places;
  std::vector<Span>* tracked = offsets ? &places : nullptr;
  if (!offsets) out.ids.reserve(text.size() / 3 + 4);
  for (const Stretch& stretch : raw_matcher_.split(text, options.parse_special)) {
    std::string_view part = text.substr(stretch.begin, stretch.end - stretch.begin);
    if (stretch.id >= 0) {
      out.ids.push_back(stretch.id);
      if (tracked)
        places.push_back({static_cast<uint32_t>(stretch.begin), static_cast<uint32_t>(stretch.end)});
    } else {
      encode_stretch(AlignedText::of(part, stretch.begin, offsets), options, out, tracked);
    }
  }
  if (!offsets) return out;
  std::vector<int64_t> index(text.size() + 1);  // byte → code point
  int64_t points = 0;
  for (size_t i = 0; i < text.size();) {
    size_t length = unicode::decode_ascii_fast(text, i).length;
    for (size_t k = 0; k < length; ++k) index[i + k] = points;
    i += length;
    ++points;
  }
  index[text.size()] = points;
  for (size_t i = 0; i < places.size(); ++i) {
    trim_place(out.ids[i], places[i], text);
    out.offsets.emplace_back(index[places[i].begin], index[places[i].end]);
  }
  return out;
}

Encoding PipelineTokenizer::assemble(const std::vector<TemplatePart>& parts, const Encoding& first,
                                     const Encoding& second, bool add_special, bool offsets) const {
  Encoding out;
  for (const TemplatePart& part : parts) {
    if (part.kind == TemplatePart::Kind::ids) {
      if (!add_special) continue;
      out.ids.insert(out.ids.end(), part.ids.begin(), part.ids.end());
      if (offsets) out.offsets.insert(out.offsets.end(), part.ids.size(), {0, 0});
    } else {
      const Encoding& text = part.kind == TemplatePart::Kind::first ? first : second;
      out.ids.insert(out.ids.end(), text.ids.begin(), text.ids.end());
      if (offsets) out.offsets.insert(out.offsets.end(), text.offsets.begin(), text.offsets.end());
    }
    out.type_ids.resize(out.ids.size(), part.type_id);
  }
  return out;
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  Encoding plain = encode_text(text, options, false);
  if (!options.add_special) return std::move(plain.ids);
  return assemble(parts_.post_processor.single, plain, {}, true, false).ids;
}

Encoding PipelineTokenizer::encode_with_offsets(std::string_view text, const EncodeOptions& options) const {
  Encoding plain = encode_text(text, options, true);
  return assemble(parts_.post_processor.single, plain, {}, options.add_special, true);
}

Encoding PipelineTokenizer::encode_pair(std::string_view text, std::string_view pair,
                                        const EncodeOptions& options) const {
  Encoding first = encode_text(text, options, true), second = encode_text(pair, options, true);
  return assemble(parts_.post_processor.pair, first, second, options.add_special, true);
}

std::string PipelineTokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (int32_t id : ids) {
    if (!parts_.vocabulary.contains(id) || (skip_special && is_special(id))) continue;
    tokens.push_back(parts_.vocabulary.text(id));
  }
  return parts_.decoder.decode(std::move(tokens));
}

}  // namespace bm::tokenizer
