#include "evaluation/score_io.h"

#include <cmath>

namespace bm {

namespace {

Result<std::vector<int32_t>> read_ids(const Json& list, const std::string& key) {
  if (!list.is_array()) return bad_input("\"" + key + "\" must be a list of ids");
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& id : list.items()) {
    bool fits = id.type() == Json::Type::integer && id.as_int() >= INT32_MIN && id.as_int() <= INT32_MAX;
    if (!fits) return bad_input("\"" + key + "\" holds " + id.dump() + ", which is no id");
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return ids;
}

Status read_request(const Json& json, ScoreRequest& request) {
  for (const auto& [key, value] : json.members()) {
    if (key == "id") continue;
    if (key == "prompt") {
      BM_TRY(request.prompt, json.get_string("prompt"));
    } else if (key == "prompt_ids") {
      BM_TRY(request.prompt_ids, read_ids(value, key));
    } else if (key == "next") {
      BM_TRY(request.next, json.get_int("next"));
    } else if (key == "token_logprobs") {
      BM_TRY(request.token_logprobs, json.get_bool("token_logprobs"));
    } else if (key == "continuations" || key == "continuation_ids") {
      if (!value.is_array()) return bad_input("\"" + key + "\" must be a list");
      for (const Json& item : value.items()) {
        if (key == "continuations") {
          if (!item.is_string()) return bad_input("\"continuations\" must hold texts");
          request.continuations.push_back(item.as_string());
        } else {
          BM_TRY(auto ids, read_ids(item, key));
          request.continuation_ids.push_back(std::move(ids));
        }
      }
    } else {
      return bad_input(
          "the key \"" + key + "\" is not known",
          "Known: id, prompt, continuations, prompt_ids, continuation_ids, next, token_logprobs.");
    }
  }
  return {};
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

ScoreRequest parse_score_request(std::string_view line) {
  ScoreRequest request;
  auto json = parse_json(line);
  if (!json) {
    request.error = json.error().paragraph();
    return request;
  }
  if (!json->is_object()) {
    request.error = "a line must hold one JSON object";
    return request;
  }
  request.id = (*json)["id"];
  auto status = read_request(*json, request);
  if (!status.ok()) request.error = status.error().paragraph();
  return request;
}

Json score_answer_json(const ScoreRequest& request, const ScoreAnswer& answer, const Tokenizer* tokenizer) {
  Json out = Json::object();
  if (!request.id.is_null()) out.set("id", request.id);
  if (!answer.error.empty()) {
    out.set("error", answer.error);
    return out;
  }
  out.set("prompt_tokens", answer.prompt_tokens);
  if (answer.dropped_tokens > 0) out.set("dropped_tokens", answer.dropped_tokens);
  bool with_continuations = !request.continuations.empty() || !request.continuation_ids.empty();
  if (with_continuations) {
    Json list = Json::array();
    for (const ContinuationScore& score : answer.continuations) {
      list.push_back(Json::object(
          {{"tokens", score.tokens}, {"logprob", number(score.logprob)}, {"greedy", score.greedy}}));
    }
    out.set("continuations", std::move(list));
  }
  if (request.next > 0) {
    Json list = Json::array();
    for (const NextToken& token : answer.next) {
      Json entry = Json::object({{"id", token.id}});
      if (tokenizer && request.prompt) entry.set("text", tokenizer->decode(std::span(&token.id, 1)));
      entry.set("logprob", number(token.logprob));
      list.push_back(std::move(entry));
    }
    out.set("next", std::move(list));
  }
  if (request.token_logprobs) {
    Json list = Json::array({Json(nullptr)});
    for (double logprob : answer.token_logprobs) list.push_back(number(logprob));
    out.set("token_logprobs", std::move(list));
  }
  return out;
}

}  // namespace bm
