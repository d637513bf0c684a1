// What is asked of the endpoint for one field of an item, and how its reply is read and checked.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tasks/item.h"

namespace bm {

inline constexpr const char* kTranslationPrompt = "3";  // version of the wording: part of the cache's key

struct FieldRequest {
  std::string field;     // "question", "options", "context"
  Json source;           // {"text": …}, or {"A": …, "B": …}
  std::string language;  // two letters: of the translation
  bool back = false;     // from `language` back into English

  std::string system() const;
  std::string user() const;
  // Of everything that decides the reply.
  std::string key(const std::string& model) const;
  // The translated object out of the reply's text: the same keys, each a text that passes the checks,
  // options still distinct. The error's text tells the model what to mend.
  Result<Json> read(const std::string& content) const;
};

// The fields of an item that hold text, in the order question, options, context.
std::vector<FieldRequest> field_requests(const Item& item, const std::string& language);

}  // namespace bm
