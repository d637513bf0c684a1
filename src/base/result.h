// Errors as values (architecture rule 1). Every door where users' data enters returns Result<T> or
// Status: a code, what went wrong, where (outermost place first: file, tensor, offset), what to do.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace bm {

enum class Code {
  bad_input,    // usage or data is wrong; nothing was written: exit code 2
  failed,       // the machine or a step failed (disk full, out of memory): exit code 1
  interrupted,  // stopped by a signal, can be resumed: exit code 130
};

class Error {
 public:
  Error(Code code, std::string what, std::string cure = {})
      : code_(code), what_(std::move(what)), cure_(std::move(cure)) {}

  Code code() const { return code_; }
  const std::string& what() const { return what_; }
  const std::string& cure() const { return cure_; }
  // Places, outermost first, e.g. {"model.safetensors", "tensor lm_head.weight", "offset 128"}.
  const std::vector<std::string>& where() const { return where_; }

  // Adds a place around the ones known so far: the callee knows the offset, the caller the file.
  Error& in(std::string place) & {
    where_.insert(where_.begin(), std::move(place));
    return *this;
  }
  Error&& in(std::string place) && {
    where_.insert(where_.begin(), std::move(place));
    return std::move(*this);
  }

  // One paragraph: "a.safetensors → tensor x: what. cure".
  std::string paragraph() const;

 private:
  Code code_;
  std::string what_;
  std::string cure_;
  std::vector<std::string> where_;
};

inline Error bad_input(std::string what, std::string cure = {}) {
  return {Code::bad_input, std::move(what), std::move(cure)};
}
inline Error failed(std::string what, std::string cure = {}) {
  return {Code::failed, std::move(what), std::move(cure)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & { return *std::get_if<1>(&state_); }
  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }

  // Wraps a place around the error, if there is one.
  Result&& in(std::string place) && {
    if (!ok()) error().in(std::move(place));
    return std::move(*this);
  }

 private:
  std::variant<T, Error> state_;
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }
  Status&& in(std::string place) && {
    if (error_) error_->in(std::move(place));
    return std::move(*this);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace bm

#define BM_CONCAT_INNER(a, b) a##b
#define BM_CONCAT(a, b) BM_CONCAT_INNER(a, b)

// BM_TRY(auto file, MappedFile::open(path)): declares `file`, or returns the error.
#define BM_TRY(declaration, expression)                          \
  auto BM_CONCAT(bm_try_, __LINE__) = (expression);              \
  if (!BM_CONCAT(bm_try_, __LINE__).ok())                        \
    return std::move(BM_CONCAT(bm_try_, __LINE__)).error();      \
  declaration = std::move(BM_CONCAT(bm_try_, __LINE__)).value()

// BM_CHECK_OK(status expression): returns the error, if any.
#define BM_CHECK_OK(expression)                                                  \
  do {                                                                           \
    auto bm_status = (expression);                                               \
    if (!bm_status.ok()) return std::move(bm_status).error();                    \
  } while (false)
