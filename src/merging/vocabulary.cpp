#include "merging/vocabulary.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/file.h"

namespace bm {
namespace {

using Ids = std::unordered_map<std::string, int64_t>;

struct LoadedTokenizer {
  Json json;
  Ids ids;                               // every token, added ones included
  std::map<int64_t, std::string> plain;  // by id
  std::map<int64_t, Json> added;         // entries of added_tokens by id
};

Result<LoadedTokenizer> load(const VocabularyModel& model) {
  LoadedTokenizer out;
  std::string path = path_join(model.folder, "tokenizer.json");
  if (!exists(path))
    return bad_input("\"" + model.reference->text + "\" has no tokenizer.json",
                     "tokenizer_source needs one in every model.")
        .in(model.folder);
  BM_TRY(out.json, read_json_file(path, {.reject_duplicate_keys = false}).in(model.folder));
  const Json& vocabulary = out.json["model"]["vocab"];
  if (!vocabulary.is_object() || !(out.json["model"]["type"] == Json("BPE")))
    return bad_input("is no BPE tokenizer", "Only BPE vocabularies can be aligned.").in(path);
  for (const Json::Member& member : vocabulary.members()) {
    if (!member.second.is_integer())
      return bad_input("token " + member.first + " has no whole number").in(path);
    out.ids[member.first] = member.second.as_int();
    out.plain[member.second.as_int()] = member.first;
  }
  for (const Json& entry : out.json["added_tokens"].items()) {
    BM_TRY(std::string content, entry.get_string("content").in("added_tokens").in(path));
    BM_TRY(int64_t id, entry.get_int("id").in("added_tokens").in(path));
    out.ids[content] = id;
    out.plain.erase(id);
    out.added[id] = entry;
  }
  return out;
}

// Without the tokens from `limit` on.
void strip(LoadedTokenizer& tokenizer, int64_t limit) {
  std::erase_if(tokenizer.ids, [&](const auto& entry) { return entry.second >= limit; });
  tokenizer.plain.erase(tokenizer.plain.lower_bound(limit), tokenizer.plain.end());
  tokenizer.added.erase(tokenizer.added.lower_bound(limit), tokenizer.added.end());
  Json model = tokenizer.json["model"], vocabulary = Json::object(), merges = Json::array(),
       added = Json::array();
  bool changed = false;
  for (const Json::Member& member : model["vocab"].members()) {
    if (member.second.as_int() < limit)
      vocabulary.set(member.first, member.second);
    else
      changed = true;
  }
  for (const Json& entry : tokenizer.json["added_tokens"].items())
    if (entry["id"].as_int() < limit) added.push_back(entry);
  if (added.size() != tokenizer.json["added_tokens"].size()) tokenizer.json.set("added_tokens", added);
  if (!changed) return;
  for (const Json& merge : model["merges"].items()) {
    std::vector<std::string> parts;
    if (merge.is_string())
      parts = split(merge.as_string(), ' ');
    else
      for (const Json& part : merge.items()) parts.push_back(part.is_string() ? part.as_string() : "");
    if (std::all_of(parts.begin(), parts.end(),
                    [&](const std::string& part) { return vocabulary.contains(part); }))
      merges.push_back(merge);
  }
  model.set("vocab", vocabulary);
  model.set("merges", merges);
  tokenizer.json.set("model", model);
}

class Builder {
 public:
  Builder(const TokenizerConfig& config, const std::vector<VocabularyModel>& models, size_t base)
      : config_(config), models_(models), base_(base) {}

  Result<Vocabulary> run() {
    for (const VocabularyModel& model : models_) {
      BM_TRY(LoadedTokenizer tokenizer, load(model));
      loaded_.push_back(std::move(tokenizer));
    }
    out_.donor = config_.model ? index_of(*config_.model) : base_;
    result_ = loaded_[out_.donor];
    if (!config_.model) strip(result_, models_[base_].vocabulary);
    for (const auto& [content, id] : result_.ids) next_ = std::max(next_, id + 1);
    if (config_.source == "union") unite();
    for (const auto& [token, source] : config_.tokens) add_plain(token);
    finish_tokenizer();
    permutations();
    BM_CHECK_OK(fills());
    return std::move(out_);
  }

 private:
  size_t index_of(const ModelReference& reference) const {
    for (size_t i = 0; i < models_.size(); ++i)
      if (*models_[i].reference == reference) return i;
    return models_.size();
  }

  void add(const std::string& content, Json entry) {
    entry.set("id", next_);
    result_.ids[content] = next_++;
    out_.added.push_back(std::move(entry));
  }
  void add_plain(const std::string& token) {
    if (result_.ids.contains(token)) return;
    add(token, Json::object({{"id", 0},
                             {"content", token},
                             {"single_word", false},
                             {"lstrip", false},
                             {"rstrip", false},
                             {"normalized", true},
                             {"special", false}}));
  }

  // A token that is an added one anywhere is added with those settings.
  void unite() {
    std::unordered_map<std::string, bool> added_somewhere;
    for (size_t m = 0; m < loaded_.size(); ++m)
      for (const auto& [id, entry] : loaded_[m].added)
        if (id < models_[m].vocabulary) added_somewhere[entry["content"].as_string()] = true;
    for (size_t m = 0; m < loaded_.size(); ++m)
      for (const auto& [id, token] : loaded_[m].plain) {
        if (id >= models_[m].vocabulary) {
          out_.warnings.push_back("token \"" + token + "\" of \"" + models_[m].reference->text +
                                  "\" has id " + std::to_string(id) + ", past its vocabulary: left out");
        } else if (!added_somewhere.contains(token)) {
          add_plain(token);
        }
      }
    for (size_t m = 0; m < loaded_.size(); ++m)
      for (const auto& [id, entry] : loaded_[m].added) {
        const std::string& content = entry["content"].as_string();
        if (id >= models_[m].vocabulary)
          out_.warnings.push_back("token \"" + content + "\" of \"" + models_[m].reference->text +
                                  "\" has id " + std::to_string(id) + ", past its vocabulary: left out");
        else if (!result_.ids.contains(content))
          add(content, entry);
      }
  }

  void finish_tokenizer() {
    Json list = result_.json["added_tokens"].is_array() ? result_.json["added_tokens"] : Json::array();
    for (const Json& entry : out_.added) list.push_back(entry);
    result_.json.set("added_tokens", list);
    out_.tokenizer = result_.json;
    out_.tokens = out_.rows = next_;
    int64_t multiple = config_.pad_to_multiple_of;
    if (multiple > 0) out_.rows = (out_.tokens + multiple - 1) / multiple * multiple;
  }

  void permutations() {
    for (size_t m = 0; m < loaded_.size(); ++m) {
      std::vector<int64_t> rows(static_cast<size_t>(out_.tokens), -1);
      for (const auto& [content, id] : result_.ids) {
        auto found = loaded_[m].ids.find(content);
        if (found != loaded_[m].ids.end() && found->second < models_[m].vocabulary)
          rows[static_cast<size_t>(id)] = found->second;
      }
      out_.row_of.push_back(std::move(rows));
    }
  }

  Status fills() {
    out_.fills.resize(static_cast<size_t>(out_.tokens));
    std::unordered_map<std::string, const TokenSource*> given;
    for (const auto& [token, source] : config_.tokens) given[token] = &source;
    for (const auto& [content, id] : result_.ids) {
      TokenFill& fill = out_.fills[static_cast<size_t>(id)];
      auto found = given.find(content);
      if (found != given.end()) {
        fill.force = found->second->force;
        if (found->second->present) {
          BM_CHECK_OK(given_fill(content, id, *found->second, fill).in("tokenizer.tokens." + content));
          continue;
        }
      }
      usual_fill(content, id, fill);
    }
    return {};
  }

  void usual_fill(const std::string& content, int64_t id, TokenFill& fill) {
    std::vector<size_t> have;
    for (size_t m = 0; m < models_.size(); ++m)
      if (out_.row_of[m][static_cast<size_t>(id)] >= 0) have.push_back(m);
    bool base = std::find(have.begin(), have.end(), base_) != have.end();
    if (have.empty()) {
      out_.warnings.push_back("token \"" + content + "\" is in no model: its row is zero");
      fill.kind = TokenFill::Kind::zero;
    } else if (have.size() == 1 || base) {
      fill.kind = TokenFill::Kind::model;
      fill.model = base ? base_ : have[0];
      fill.row = out_.row_of[fill.model][static_cast<size_t>(id)];
    } else {
      fill.kind = TokenFill::Kind::average;
    }
  }

  Status given_fill(const std::string& content, int64_t id, const TokenSource& source, TokenFill& fill) {
    if (source.kind == TokenSource::Kind::zero) {
      fill.kind = TokenFill::Kind::zero;
      return {};
    }
    fill.kind = TokenFill::Kind::model;
    fill.model = index_of(*source.model);
    if (fill.model == models_.size())
      return bad_input("\"" + source.model->text + "\" is no model of this merge");
    if (source.kind == TokenSource::Kind::model) {
      fill.row = out_.row_of[fill.model][static_cast<size_t>(id)];
      if (fill.row < 0) return bad_input("\"" + source.model->text + "\" has no token \"" + content + "\"");
      return {};
    }
    fill.row = source.token_id;
    if (source.token_id < 0) {
      auto found = loaded_[fill.model].ids.find(source.token);
      if (found == loaded_[fill.model].ids.end())
        return bad_input("\"" + source.model->text + "\" has no token \"" + source.token + "\"");
      fill.row = found->second;
    }
    if (fill.row >= models_[fill.model].vocabulary)
      return bad_input("token id " + std::to_string(fill.row) + " is past the vocabulary of \"" +
                       source.model->text + "\"");
    return {};
  }

  const TokenizerConfig& config_;
  const std::vector<VocabularyModel>& models_;
  size_t base_;
  std::vector<LoadedTokenizer> loaded_;
  LoadedTokenizer result_;
  int64_t next_ = 0;
  Vocabulary out_;
};

}  // namespace

Result<Vocabulary> build_vocabulary(const TokenizerConfig& config, const std::vector<VocabularyModel>& models,
                                    size_t base) {
  Builder builder(config, models, base);
  return builder.run();
}

Result<std::vector<Tensor>> align_embeddings(const Vocabulary& v, const std::vector<size_t>& which,
                                             const std::vector<Tensor>& embeddings) {
  int64_t hidden = embeddings[0].shape()[1];
  auto row = [&](size_t input, int64_t index) { return embeddings[input].as<float>() + index * hidden; };
  auto input_of = [&](size_t model) {
    return static_cast<size_t>(std::find(which.begin(), which.end(), model) - which.begin());
  };
  // The row for models that lack a token (or must take it).
  auto fill_row = [&](size_t id, float* out) -> Status {
    const TokenFill& fill = v.fills[id];
    std::fill(out, out + hidden, 0.0f);
    if (fill.kind == TokenFill::Kind::model) {
      size_t input = input_of(fill.model);
      if (input == which.size()) return bad_input("a token's source takes no part in this tensor");
      std::copy(row(input, fill.row), row(input, fill.row) + hidden, out);
    } else if (fill.kind == TokenFill::Kind::average) {
      float count = 0;
      for (size_t input = 0; input < which.size(); ++input) {
        int64_t index = v.row_of[which[input]][id];
        if (index < 0) continue;
        count += 1;
        for (int64_t i = 0; i < hidden; ++i) out[i] += row(input, index)[i];
      }
      for (int64_t i = 0; i < hidden && count > 0; ++i) out[i] /= count;
    }
    return {};
  };
  for (size_t input = 0; input < which.size(); ++input)
    for (int64_t index : v.row_of[which[input]])
      if (index >= embeddings[input].shape()[0])
        return bad_input("the tokenizer has id " + std::to_string(index) + ", the tensor " +
                         std::to_string(embeddings[input].shape()[0]) + " rows");
  std::vector<Tensor> out;
  for (size_t input = 0; input < which.size(); ++input) {
    Tensor result = Tensor::zeroed(DType::f32, {v.rows, hidden});
    for (size_t id = 0; id < static_cast<size_t>(v.tokens); ++id) {
      float* to = result.as<float>() + static_cast<int64_t>(id) * hidden;
      int64_t index = v.row_of[which[input]][id];
      if (index >= 0 && !v.fills[id].force)
        std::copy(row(input, index), row(input, index) + hidden, to);
      else
        BM_CHECK_OK(fill_row(id, to));
    }
    for (int64_t i = 0; v.rows > v.tokens && i < hidden; ++i) {
      double sum = 0;
      for (int64_t id = 0; id < v.tokens; ++id)
        sum += static_cast<double>(result.as<float>()[id * hidden + i]);
      for (int64_t id = v.tokens; id < v.rows; ++id)
        result.as<float>()[id * hidden + i] = static_cast<float>(sum / static_cast<double>(v.tokens));
    }
    out.push_back(std::move(result));
  }
  return out;
}

}  // namespace bm
