#include "translation/endpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "base/system.h"

namespace bm {
namespace {

// So many calls in a row without an answer, and the endpoint counts as gone.
constexpr int64_t kSilentCalls = 12;
constexpr double kLongestWait = 60;

std::string chat_url(const std::string& url) {
  std::string base = url;
  while (base.size() > 1 && base.back() == '/') base.pop_back();
  return ends_with(base, "/chat/completions") ? base : base + "/chat/completions";
}

Json message(const char* role, const std::string& content) {
  return Json::object({{"role", role}, {"content", content}});
}

// About four characters of English a token, about two of other scripts; only for the budget's estimate.
double tokens_of(size_t bytes) { return static_cast<double>(bytes) / 3 + 8; }

std::string server_message(const std::string& body) {
  auto json = parse_json(body);
  if (json.ok() && (*json)["error"]["message"].is_string()) return (*json)["error"]["message"].as_string();
  std::string text = to_utf8_safe(body.substr(0, 200));
  return text.empty() ? "no message" : text;
}

}  // namespace

LineFile::~LineFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::vector<Json>> LineFile::open(const std::string& path) {
  std::vector<Json> lines;
  size_t good = 0;
  path_ = path;
  if (exists(path)) {
    BM_TRY(std::string text, read_file(path));
    for (size_t start = 0; start < text.size();) {
      size_t end = text.find('\n', start);
      if (end == std::string::npos) break;
      auto line = parse_json(std::string_view(text).substr(start, end - start));
      if (!line.ok()) break;
      lines.push_back(std::move(*line));
      start = good = end + 1;
    }
  }
  descriptor_ = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  if (descriptor_ < 0 || ::ftruncate(descriptor_, static_cast<off_t>(good)) != 0 ||
      ::lseek(descriptor_, 0, SEEK_END) < 0)
    return failed(std::string("cannot be written: ") + std::strerror(errno),
                  "check permissions and free space")
        .in(path);
  return lines;
}

Status LineFile::append(const Json& line) {
  std::string text = line.dump_spaced() + "\n";
  std::lock_guard lock(mutex_);
  for (size_t done = 0; done < text.size();) {
    ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      return failed(std::string("cannot be written: ") + std::strerror(errno), "check free space").in(path_);
    done += static_cast<size_t>(count);
  }
  return {};
}

void Usage::add(const Usage& other) {
  calls += other.calls;
  failed_calls += other.failed_calls;
  prompt_tokens += other.prompt_tokens;
  completion_tokens += other.completion_tokens;
  cost += other.cost;
}

struct Endpoint::Attempt {
  Json value;
  std::string reason, content;
  Usage used;
  bool complain = false;  // tell the model what was wrong with its reply
  double wait = -1;       // seconds the server asks for
};

Endpoint::Endpoint(EndpointOptions options, LineFile& ledger, double spent)
    : options_(std::move(options)), ledger_(ledger) {
  options_.url = chat_url(options_.url);
  usage_.cost = spent;
}

std::string Endpoint::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

Usage Endpoint::usage() const {
  std::lock_guard lock(mutex_);
  return usage_;
}

void Endpoint::close(const std::string& reason) {
  std::lock_guard lock(mutex_);
  if (!closed_.empty()) return;
  closed_ = reason;
  log_warning("translation stops asking: " + reason);
}

bool Endpoint::pause(double seconds) const {
  for (double end = now_seconds() + seconds; now_seconds() < end;) {
    if (stop_requested()) return false;
    std::this_thread::sleep_for(
        std::chrono::duration<double>(std::min(0.1, std::max(0.001, end - now_seconds()))));
  }
  return !stop_requested();
}

// Requests start at even distances, whichever thread they come from.
void Endpoint::wait_for_turn() {
  if (options_.requests_per_minute <= 0) return;
  double wait = 0;
  {
    std::lock_guard lock(mutex_);
    double now = now_seconds();
    next_turn_ = std::max(next_turn_, now);
    wait = next_turn_ - now;
    next_turn_ += 60 / options_.requests_per_minute;
  }
  pause(wait);
}

bool Endpoint::reserve(double estimate) {
  std::lock_guard lock(mutex_);
  if (options_.budget > 0 && usage_.cost + reserved_ + estimate > options_.budget) return false;
  reserved_ += estimate;
  return true;
}

// Books what a call used; false when nobody has answered for too long.
bool Endpoint::settle(double estimate, const Usage& used, bool answered) {
  std::lock_guard lock(mutex_);
  reserved_ -= estimate;
  usage_.add(used);
  silent_ = answered ? 0 : silent_ + 1;
  return silent_ < kSilentCalls;
}

Endpoint::Verdict Endpoint::judge(const HttpReply& reply, const Check& check, Attempt& attempt) {
  attempt.wait = reply.retry_after;
  if (reply.status == 0) {
    attempt.reason = "no answer: " + reply.transport_error;
    return Verdict::retry_later;
  }
  if (reply.status == 408 || reply.status == 409 || reply.status == 429 || reply.status >= 500) {
    attempt.reason = "HTTP " + std::to_string(reply.status) + ": " + server_message(reply.body);
    return Verdict::retry_later;
  }
  if (reply.status < 200 || reply.status >= 300) {
    attempt.reason = "HTTP " + std::to_string(reply.status) + ": " + server_message(reply.body);
    if (reply.status == 401 || reply.status == 403 || reply.status == 404) close(attempt.reason);
    return Verdict::give_up;
  }
  auto json = parse_json(reply.body);
  if (!json.ok()) {
    attempt.reason = "the reply is no JSON: " + json.error().what();
    return Verdict::retry_later;
  }
  const Json& usage = (*json)["usage"];
  if (usage["prompt_tokens"].is_integer()) attempt.used.prompt_tokens = usage["prompt_tokens"].as_int();
  if (usage["completion_tokens"].is_integer())
    attempt.used.completion_tokens = usage["completion_tokens"].as_int();
  const Json& choice = (*json)["choices"][0];
  if (!choice["message"]["content"].is_string()) {
    attempt.reason = "the reply holds no choices[0].message.content";
    return Verdict::retry_later;
  }
  attempt.content = choice["message"]["content"].as_string();
  if (choice["finish_reason"].is_string() && choice["finish_reason"].as_string() == "length") {
    attempt.reason = "the reply was cut off at the server's limit of tokens";
    return Verdict::retry_now;
  }
  auto value = check(attempt.content);
  if (!value.ok()) {
    attempt.reason = value.error().what();
    attempt.complain = true;
    return Verdict::retry_now;
  }
  attempt.value = std::move(*value);
  return Verdict::accepted;
}

// One call: sent, judged, booked, written to the ledger. Unset when the budget does not allow it.
std::optional<Endpoint::Verdict> Endpoint::call(HttpClient& client, const Json& messages, size_t user_bytes,
                                                const CallLabels& labels, int64_t number, const Check& check,
                                                Attempt& attempt) {
  Json body = Json::object({{"model", options_.model},
                            {"messages", messages},
                            {"temperature", 0},
                            {"seed", options_.seed},
                            {"response_format", Json::object({{"type", "json_object"}})}});
  std::string text = body.dump();
  double estimate =
      (tokens_of(text.size()) * options_.price_in + 2 * tokens_of(user_bytes) * options_.price_out) / 1e6;
  if (!reserve(estimate)) {
    attempt.reason = "the budget is spent";
    close(attempt.reason);
    return std::nullopt;
  }
  HttpReply reply = client.post_json(options_.url, text, options_.key, options_.timeout);
  Verdict verdict = judge(reply, check, attempt);
  attempt.used.calls = 1;
  attempt.used.failed_calls = verdict != Verdict::accepted;
  attempt.used.cost = (static_cast<double>(attempt.used.prompt_tokens) * options_.price_in +
                       static_cast<double>(attempt.used.completion_tokens) * options_.price_out) /
                      1e6;
  if (!settle(estimate, attempt.used, reply.status != 0)) close(attempt.reason);
  auto written =
      ledger_.append(Json::object({{"time", utc_timestamp()},
                                   {"task", labels.task},
                                   {"identifier", labels.identifier},
                                   {"language", labels.language},
                                   {"field", labels.field},
                                   {"attempt", number},
                                   {"status", verdict == Verdict::accepted ? "ok" : "retry"},
                                   {"http", static_cast<int64_t>(reply.status)},
                                   {"reason", attempt.reason.empty() ? Json() : Json(attempt.reason)},
                                   {"prompt_tokens", attempt.used.prompt_tokens},
                                   {"completion_tokens", attempt.used.completion_tokens},
                                   {"cost", attempt.used.cost},
                                   {"seconds", reply.seconds}}));
  if (!written.ok()) close(written.error().paragraph());
  return verdict;
}

Answer Endpoint::ask(HttpClient& client, const std::string& system, const std::string& user,
                     const CallLabels& labels, const Check& check) {
  Answer answer;
  Json messages = Json::array({message("system", system), message("user", user)});
  double wait = options_.retry_wait;
  for (int64_t number = 1; number <= options_.retries + 1; ++number) {
    answer.reason = closed();
    if (!answer.reason.empty()) return answer;
    wait_for_turn();
    if (stop_requested()) {
      answer.reason = "interrupted";
      return answer;
    }
    Attempt attempt;
    auto verdict = call(client, messages, user.size(), labels, number, check, attempt);
    answer.reason = attempt.reason;
    if (verdict == Verdict::accepted) {
      answer.ok = true;
      answer.value = std::move(attempt.value);
      return answer;
    }
    if (!verdict || verdict == Verdict::give_up) return answer;
    if (attempt.complain)
      messages = Json::array({message("system", system), message("user", user),
                              message("assistant", attempt.content),
                              message("user", "This reply cannot be used: " + attempt.reason +
                                                  ". Give the corrected JSON object only.")});
    if (verdict == Verdict::retry_later && number <= options_.retries) {
      pause(std::min(kLongestWait, std::max(wait, attempt.wait)));
      wait = std::min(kLongestWait, wait * 2);
    }
  }
  return answer;
}

}  // namespace bm
