#include "quantization/calibration.h"

#include <algorithm>
#include <map>

#include "base/file.h"
#include "base/hash.h"
#include "base/random.h"
#include "formats/jsonl.h"

namespace bm {
namespace {

Result<std::vector<int32_t>> ids_of(const Json& ids, int64_t vocabulary) {
  std::vector<int32_t> tokens;
  if (!ids.is_array()) return bad_input("\"ids\" is no array of token ids");
  for (const Json& id : ids.items()) {
    if (!id.is_integer() || id.as_int() < 0 || id.as_int() >= vocabulary)
      return bad_input("id " + id.dump() + " is outside the vocabulary of " + std::to_string(vocabulary));
    tokens.push_back(static_cast<int32_t>(id.as_int()));
  }
  return tokens;
}

std::string_view python_strip(std::string_view text) { return trim(text); }

// Takes samples until there are enough; longer ones are counted and left.
struct Taker {
  int64_t most, block;
  CalibrationBlocks result;
  std::vector<std::vector<int32_t>> samples;

  bool full() const { return static_cast<int64_t>(samples.size()) >= most; }
  void take(std::vector<int32_t> tokens) {
    if (static_cast<int64_t>(tokens.size()) > block)
      ++result.dropped;
    else if (!tokens.empty())
      samples.push_back(std::move(tokens));
  }
};

using TokenizerSource = std::function<Result<std::shared_ptr<const Tokenizer>>()>;

Status read_lines(const std::string& path, int64_t vocabulary, const TokenizerSource& source, Taker& taker) {
  BM_TRY(auto reader, JsonlReader::open(path));
  std::shared_ptr<const Tokenizer> tokenizer;
  Json value;
  while (!taker.full()) {
    BM_TRY(bool more, reader.next(value));
    if (!more) break;
    auto line = [&](Error error) {
      return std::move(error).in("line " + std::to_string(reader.line())).in(path);
    };
    if (value.contains("ids")) {
      auto ids = ids_of(value["ids"], vocabulary);
      if (!ids) return line(ids.error());
      taker.take(*std::move(ids));
      continue;
    }
    if (!value["text"].is_string()) return line(bad_input("the line has neither \"text\" nor \"ids\""));
    if (!tokenizer) {
      BM_TRY(tokenizer, source());
    }
    taker.take(tokenizer->encode(python_strip(value["text"].as_string())));
  }
  return {};
}

struct Paragraph {
  uint64_t order;  // place in the draw
  std::string text;
};

// Paragraphs of all articles, in an order that the seed and the text alone decide.
Result<std::vector<Paragraph>> corpus_paragraphs(const std::string& folder, uint64_t seed,
                                                 std::string& licence) {
  BM_TRY(auto files, list_files(folder));
  std::vector<Paragraph> paragraphs;
  std::map<std::string, int64_t> licences;
  bool any = false;
  for (const std::string& file : files) {
    std::string name = path_name(file);
    bool articles = starts_with(name, "articles") && name.find(".jsonl") != std::string::npos;
    if (!articles) continue;
    any = true;
    BM_CHECK_OK(for_each_jsonl(file, [&](const Json& article, uint64_t) -> Status {
      BM_TRY(std::string text, article.get_string("text"));
      const Json& stated = article["metadata"]["license"];
      licences[stated.is_string() ? stated.as_string() : "not stated"] += 1;
      uint64_t key = hash64(article["id"].is_string() ? article["id"].as_string() : text, seed);
      size_t begin = 0, number = 0;
      while (begin < text.size()) {
        size_t end = text.find("\n\n", begin);
        if (end == std::string::npos) end = text.size();
        std::string_view part = trim(std::string_view(text).substr(begin, end - begin));
        if (part.size() >= 80) paragraphs.push_back({mix64(key + number), std::string(part)});  // no headings
        ++number;
        begin = end + 2;
      }
      return {};
    }));
  }
  if (!any)
    return bad_input("there are no articles-*.jsonl files in it", "give a corpus folder or a .jsonl file")
        .in(folder);
  for (const auto& [name, count] : licences)
    licence += (licence.empty() ? "" : ", ") + name + " (" + std::to_string(count) + " articles)";
  std::sort(paragraphs.begin(), paragraphs.end(), [](const Paragraph& a, const Paragraph& b) {
    return a.order != b.order ? a.order < b.order : a.text < b.text;
  });
  return paragraphs;
}

Result<CalibrationBlocks> join_and_cut(Taker taker) {
  const int64_t block = taker.block;
  std::vector<int32_t> joined;
  for (const std::vector<int32_t>& sample : taker.samples)
    joined.insert(joined.end(), sample.begin(), sample.end());
  CalibrationBlocks result = std::move(taker.result);
  result.samples = static_cast<int64_t>(taker.samples.size());
  auto length = static_cast<size_t>(block);
  for (size_t begin = 0; begin + length <= joined.size(); begin += length) {
    auto first = joined.begin() + static_cast<ptrdiff_t>(begin);
    result.blocks.emplace_back(first, first + static_cast<ptrdiff_t>(length));
  }
  if (result.blocks.empty())
    return bad_input("the calibration text gives " + std::to_string(joined.size()) + " tokens in " +
                         std::to_string(result.samples) + " samples (" + std::to_string(result.dropped) +
                         " longer than a block were dropped), less than one block of " +
                         std::to_string(block),
                     "give more text, or another --calibration-block");
  return result;
}

}  // namespace

Result<CalibrationBlocks> cut_blocks(const std::vector<std::vector<int32_t>>& samples, int64_t most_samples,
                                     int64_t block) {
  Taker taker{most_samples, block, {}, {}};
  for (const std::vector<int32_t>& sample : samples) {
    if (taker.full()) break;
    taker.take(sample);
  }
  return join_and_cut(std::move(taker));
}

Result<CalibrationBlocks> read_calibration(const std::string& path, int64_t most_samples, int64_t block,
                                           int64_t vocabulary, uint64_t seed, const TokenizerSource& source) {
  Taker taker{most_samples, block, {}, {}};
  std::string licence, name;
  if (is_directory(path)) {
    BM_TRY(auto paragraphs, corpus_paragraphs(path, seed, licence));
    BM_TRY(auto tokenizer, source());
    for (const Paragraph& paragraph : paragraphs) {
      if (taker.full()) break;
      taker.take(tokenizer->encode(paragraph.text));
    }
    name = "paragraphs of the corpus folder " + path_name(path);
  } else {
    BM_CHECK_OK(read_lines(path, vocabulary, source, taker));
    name = path_name(path);
  }
  BM_TRY(auto result, join_and_cut(std::move(taker)).in(path));
  result.source = name;
  result.licence = licence;
  return result;
}

}  // namespace bm
