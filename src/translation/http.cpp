#include "translation/http.h"

#include <algorithm>
#include <charconv>
#include <mutex>

#include "base/file.h"
#include "base/stage.h"
#include "base/system.h"

#ifdef BIOMISTRAL_HTTP
#include <curl/curl.h>
#endif

namespace bm {

#ifdef BIOMISTRAL_HTTP

namespace {

constexpr size_t kLargestBody = 16u << 20;

size_t take_body(char* data, size_t size, size_t count, void* target) {
  auto& body = *static_cast<std::string*>(target);
  size_t bytes = size * count;
  if (body.size() + bytes > kLargestBody) return 0;  // libcurl gives up with a write error
  body.append(data, bytes);
  return bytes;
}

size_t take_header(char* data, size_t size, size_t count, void* target) {
  std::string line(data, size * count);
  std::transform(line.begin(), line.end(), line.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (starts_with(line, "retry-after:")) {
    std::string value(trim(std::string_view(line).substr(12)));
    double seconds = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (error == std::errc() && seconds >= 0) *static_cast<double*>(target) = seconds;
  }
  return size * count;
}

}  // namespace

HttpClient::HttpClient() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  handle_ = curl_easy_init();
}

HttpClient::~HttpClient() {
  if (handle_) curl_easy_cleanup(static_cast<CURL*>(handle_));
}

HttpReply HttpClient::post_json(const std::string& url, const std::string& body, const std::string& bearer,
                                double seconds) {
  HttpReply reply;
  auto* curl = static_cast<CURL*>(handle_);
  if (!curl) {
    reply.transport_error = "libcurl cannot be set up";
    return reply;
  }
  curl_easy_reset(curl);
  std::string agent = "biomistral/" + program_version();
  curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
  if (!bearer.empty()) headers = curl_slist_append(headers, ("Authorization: Bearer " + bearer).c_str());
  char reason[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, agent.c_str());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(seconds * 1000));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min(seconds, 15.0) * 1000));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &reply.retry_after);
  double start = now_seconds();
  CURLcode code = curl_easy_perform(curl);
  reply.seconds = now_seconds() - start;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
  curl_slist_free_all(headers);
  if (code != CURLE_OK) {
    reply.status = 0;
    reply.transport_error = reason[0] ? reason : curl_easy_strerror(code);
  }
  return reply;
}

Status http_available() { return {}; }

#else

HttpClient::HttpClient() = default;
HttpClient::~HttpClient() = default;
HttpReply HttpClient::post_json(const std::string&, const std::string&, const std::string&, double) {
  HttpReply reply;
  reply.transport_error = "built without libcurl";
  return reply;
}
Status http_available() {
  return bad_input("this program was built without libcurl, so it cannot reach an endpoint",
                   "install libcurl4-openssl-dev (scripts/setup does) and build again");
}

#endif

}  // namespace bm
