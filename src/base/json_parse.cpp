// The only place that sees nlohmann-json: its SAX reader builds our values.
#include <nlohmann/json.hpp>

#include "base/json.h"

namespace bm {
namespace {

class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(const JsonParseOptions& options) : options_(options) {}

  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(Json(value)); }
  bool number_integer(number_integer_t value) override { return put(Json(static_cast<int64_t>(value))); }
  bool number_unsigned(number_unsigned_t value) override { return put(Json(static_cast<uint64_t>(value))); }
  bool number_float(number_float_t value, const string_t&) override {
    return put(Json(static_cast<double>(value)));
  }
  bool string(string_t& value) override { return put(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (options_.reject_duplicate_keys && stack_.back().contains(value)) {
      message_ = "duplicate key \"" + value + "\"";
      return false;
    }
    keys_.back() = std::move(value);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    message_ = "not valid JSON at byte " + std::to_string(position);
    std::string text =
        error.what();  // "[json.exception.parse_error.101] parse error at …: syntax error while …"
    size_t at = text.find("syntax error");
    if (at == std::string::npos) at = text.find("invalid");
    if (at != std::string::npos) message_ += " (" + text.substr(at, 160) + ")";
    return false;
  }

  Json take() { return std::move(result_); }
  const std::string& message() const { return message_; }

 private:
  bool put(Json value) {
    if (stack_.empty()) {
      result_ = std::move(value);
    } else if (stack_.back().is_array()) {
      stack_.back().push_back(std::move(value));
    } else {
      stack_.back().set(keys_.back(), std::move(value));
    }
    return true;
  }
  bool open(Json container) {
    if (stack_.size() >= options_.max_depth) {
      message_ = "nested deeper than " + std::to_string(options_.max_depth) + " levels";
      return false;
    }
    stack_.push_back(std::move(container));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    Json value = std::move(stack_.back());
    stack_.pop_back();
    keys_.pop_back();
    return put(std::move(value));
  }

  const JsonParseOptions& options_;
  std::vector<Json> stack_;
  std::vector<std::string> keys_;
  Json result_;
  std::string message_ = "not valid JSON";
};

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonParseOptions& options) {
  Builder builder(options);
  try {
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder, nlohmann::json::input_format_t::json,
                                   true, options.allow_comments))
      return bad_input(builder.message());
  } catch (const std::exception&) {
    return bad_input(builder.message());
  }
  return builder.take();
}

}  // namespace bm
