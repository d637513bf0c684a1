// A chat endpoint on 127.0.0.1 that does what a test tells it to, call by call: answers, is slow, refuses,
// breaks its JSON, closes the connection.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"

namespace bm::testing {

struct ServerReply {
  int status = 200;
  std::string body = {};
  std::string headers = {};    // more lines, each with \r\n
  double delay = 0;       // seconds before the answer
  size_t cut = SIZE_MAX;  // bytes of the body that are sent before the connection is closed
  bool hang_up = false;   // closes without a word
};

// An OpenAI-style reply with this text.
inline ServerReply say(const std::string& content, int64_t in = 100, int64_t out = 50) {
  Json message = Json::object({{"role", "assistant"}, {"content", content}});
  Json choice = Json::object({{"index", 0}, {"message", message}, {"finish_reason", "stop"}});
  Json usage = Json::object({{"prompt_tokens", in}, {"completion_tokens", out}});
  return {200,  Json::object({{"choices", Json::array({choice})}, {"usage", usage}}).dump(), "", 0, SIZE_MAX,
          false};
}

class ChatServer {
 public:
  // call: 0-based number of the request; body: what was posted.
  using Handler = std::function<ServerReply(int call, const Json& body)>;
  explicit ChatServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_, 64);
    socklen_t length = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~ChatServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    ::close(listener_);
    acceptor_.join();
    for (auto& thread : workers_) thread.join();
  }
  ChatServer(const ChatServer&) = delete;
  ChatServer& operator=(const ChatServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }
  int calls() const { return calls_; }
  int most_at_once() const { return most_; }
  std::vector<std::string> heads() {
    std::lock_guard lock(mutex_);
    return heads_;
  }

 private:
  void accept_all() {
    while (!stopping_) {
      int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      timeval limit{5, 0};
      ::setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      workers_.emplace_back([this, client] { serve(client); });
    }
  }

  // One request a connection ("Connection: close" keeps the test simple).
  void serve(int client) {
    std::string text;
    size_t head = std::string::npos, wanted = 0;
    char buffer[65536];
    while (head == std::string::npos || text.size() < head + 4 + wanted) {
      ssize_t count = ::recv(client, buffer, sizeof buffer, 0);
      if (count <= 0) break;
      text.append(buffer, static_cast<size_t>(count));
      if (head == std::string::npos && (head = text.find("\r\n\r\n")) != std::string::npos) {
        size_t at = text.find("Content-Length: ");
        wanted = at == std::string::npos ? 0 : std::stoul(text.substr(at + 16));
        if (text.find("Expect: 100-continue") < head) send_all(client, "HTTP/1.1 100 Continue\r\n\r\n");
      }
    }
    if (head == std::string::npos) {
      ::close(client);
      return;
    }
    int call = calls_++, now = ++open_;
    for (int most = most_; now > most && !most_.compare_exchange_weak(most, now);) {
    }
    {
      std::lock_guard lock(mutex_);
      heads_.push_back(text.substr(0, head));
    }
    auto body = parse_json(text.substr(head + 4));
    ServerReply reply = handler_(call, body.ok() ? *body : Json());
    for (double waited = 0; waited < reply.delay && !stopping_; waited += 0.01)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    --open_;
    if (!reply.hang_up) {
      send_all(client, "HTTP/1.1 " + std::to_string(reply.status) +
                           " X\r\nContent-Length: " + std::to_string(reply.body.size()) +
                           "\r\nConnection: close\r\n" + reply.headers + "\r\n");
      send_all(client, reply.body.substr(0, reply.cut));
    }
    ::close(client);
  }

  static void send_all(int client, const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      ssize_t count = ::send(client, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (count <= 0) return;
      done += static_cast<size_t>(count);
    }
  }

  Handler handler_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> calls_{0}, open_{0}, most_{0};
  std::mutex mutex_;
  std::vector<std::string> heads_;
  std::thread acceptor_;
  std::vector<std::thread> workers_;
};

}  // namespace bm::testing
