// An OpenAI-style chat endpoint that may misbehave: retries with back-off, a rate limit, a budget, and a
// ledger line for every call. All of it is safe to use from several threads.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "translation/http.h"

namespace bm {

// A JSON-lines file that survives kill −9: a torn last line is cut off when it is opened again.
class LineFile {
 public:
  LineFile() = default;
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  // Returns the lines that are there.
  Result<std::vector<Json>> open(const std::string& path);
  Status append(const Json& line);

 private:
  std::mutex mutex_;
  int descriptor_ = -1;
  std::string path_;
};

struct EndpointOptions {
  std::string url;  // "http://host/v1", or the whole ".../chat/completions"
  std::string model;
  std::string key;                     // bearer token, "" = none
  int64_t retries = 5;                 // further attempts after the first
  double retry_wait = 1;               // seconds before the first retry; doubles each time, at most a minute
  double timeout = 120;                // seconds a request may take
  double requests_per_minute = 0;      // 0 = no limit
  double price_in = 0, price_out = 0;  // per million tokens
  double budget = 0;                   // in the unit of the prices; 0 = no ceiling
  int64_t seed = 0;
};

struct Usage {
  int64_t calls = 0, failed_calls = 0, prompt_tokens = 0, completion_tokens = 0;
  double cost = 0;
  void add(const Usage& other);
};

// Where a call belongs, for the ledger.
struct CallLabels {
  std::string task, identifier, language, field;
};

struct Answer {
  bool ok = false;
  Json value;          // what the check made of the reply
  std::string reason;  // why not ok
};

class Endpoint {
 public:
  // spent: by earlier runs into the same folder, counts against the budget.
  Endpoint(EndpointOptions options, LineFile& ledger, double spent);

  // Asks until check() accepts the reply's text: it returns the value, or an error whose text is told to
  // the model in the next attempt. Never throws the run over: what cannot be had has a reason.
  using Check = std::function<Result<Json>(const std::string& content)>;
  Answer ask(HttpClient& client, const std::string& system, const std::string& user, const CallLabels& labels,
             const Check& check);

  // Why nothing more is asked: the key is refused, the budget is spent, nobody answers. "" = go on.
  std::string closed() const;
  Usage usage() const;

 private:
  enum class Verdict { accepted, retry_later, retry_now, give_up };
  struct Attempt;
  std::optional<Verdict> call(HttpClient& client, const Json& messages, size_t user_bytes,
                              const CallLabels& labels, int64_t number, const Check& check, Attempt& attempt);
  Verdict judge(const HttpReply& reply, const Check& check, Attempt& attempt);
  bool reserve(double estimate);
  bool settle(double estimate, const Usage& used, bool answered);
  void wait_for_turn();
  void close(const std::string& reason);
  bool pause(double seconds) const;  // false: a stop was asked

  EndpointOptions options_;
  LineFile& ledger_;
  mutable std::mutex mutex_;
  Usage usage_;
  double reserved_ = 0, next_turn_ = 0;
  int64_t silent_ = 0;  // calls in a row without any HTTP answer
  std::string closed_;
};

}  // namespace bm
