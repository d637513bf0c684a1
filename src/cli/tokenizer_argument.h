// What tokenize and detokenize share: a MODEL argument that need only hold a tokenizer, and JSON lines
// from standard input answered one by one.
#pragma once

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/verb.h"
#include "formats/tokenizer_file.h"

namespace bm {

// Calls answer(request) → Result<Json> for every line; a bad line is answered by {"error"} in its place.
// A request's "id" is repeated in the answer.
template <class Answer>
Result<Outcome> answer_lines(const CommonOptions& common, const Answer& answer) {
  Outcome outcome = Outcome::done;
  std::string line;
  int64_t count = 0;
  while ((common.limit <= 0 || count < common.limit) && std::getline(std::cin, line)) {
    if (trim(line).empty()) continue;
    ++count;
    if (stop_requested()) return interrupted_error("reading standard input");
    Json out = Json::object();
    auto request = parse_json(line);
    if (request && !request->is_object()) request = bad_input("a line must hold one JSON object");
    if (request && request->contains("id")) out.set("id", (*request)["id"]);
    auto reply = request ? answer(*request) : Result<Json>(request.error());
    if (reply) {
      for (const auto& [key, value] : reply->members()) out.set(key, value);
    } else {
      outcome = Outcome::partial;
      out.set("error", std::move(reply.error().in("line " + std::to_string(count))).paragraph());
    }
    print_line(out.dump());
    std::fflush(stdout);  // whoever waits for the answer before asking on gets it
  }
  return outcome;
}

}  // namespace bm
