// One HTTP request at a time, through libcurl. An object serves one thread and keeps its connection.
#pragma once

#include <string>

#include "base/result.h"

namespace bm {

struct HttpReply {
  long status = 0;              // 0: no whole answer came
  std::string body;             // at most 16 MB
  std::string transport_error;  // why no whole answer came
  double retry_after = -1;      // seconds the server asks to wait; −1 = it does not say
  double seconds = 0;
};

class HttpClient {
 public:
  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  // POSTs JSON. bearer: sent as "Authorization: Bearer …" unless empty; it is never part of an error text.
  // seconds: after which the request is given up. Redirections are not followed.
  HttpReply post_json(const std::string& url, const std::string& body, const std::string& bearer,
                      double seconds);

 private:
  void* handle_ = nullptr;
};

// bad_input when the program was built without libcurl.
Status http_available();

}  // namespace bm
