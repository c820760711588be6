// Errors as values. A Status carries a code and one sentence that a stranger can act on; a Result
// carries a value or the Status that explains its absence. Nothing in Sotto's core throws or
// aborts.
#ifndef SOTTO_CORE_BASE_STATUS_H_
#define SOTTO_CORE_BASE_STATUS_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sotto {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // the caller asked for something that makes no sense
  kInvalidFile,      // a file's bytes are not what its format promises
  kUnsupported,      // well-formed, but Sotto does not implement it
  kNotFound,         // a file, tensor or name is absent
  kOutOfMemory,      // an allocation failed
  kIo,               // reading or writing failed
  kCancelled,        // the caller asked to stop
  kInternal,         // a promise between Sotto's own parts was broken
};

// The name that JavaScript sees as SottoError.code, for example "invalid-file".
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same error seen from further out: "<where>: <message>".
  Status In(std::string_view where) const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() { return {}; }
Status InvalidArgument(std::string message);
Status InvalidFile(std::string message);
Status Unsupported(std::string message);
Status NotFound(std::string message);
Status OutOfMemory(std::string message);
Status IoError(std::string message);
Status Cancelled(std::string message);
Status Internal(std::string message);

// Joins strings and integers into a message.
namespace internal {
inline void Append(std::string& out, std::string_view s) { out.append(s); }
inline void Append(std::string& out, char c) { out.push_back(c); }
template <class T>
  requires std::is_arithmetic_v<T>
void Append(std::string& out, T v) {
  out.append(std::to_string(v));
}
}  // namespace internal
template <class... Parts>
std::string StrCat(const Parts&... parts) {
  std::string out;
  (internal::Append(out, parts), ...);
  return out;
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit by intent
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit by intent

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

#define SOTTO_CONCAT_INNER(a, b) a##b
#define SOTTO_CONCAT(a, b) SOTTO_CONCAT_INNER(a, b)
#define SOTTO_RETURN_IF_ERROR(expr)                                \
  if (::sotto::Status sotto_status = (expr); !sotto_status.ok()) { \
    return sotto_status;                                           \
  }
#define SOTTO_ASSIGN_OR_RETURN(lhs, expr) \
  SOTTO_ASSIGN_OR_RETURN_IMPL(SOTTO_CONCAT(sotto_result_, __LINE__), lhs, expr)
#define SOTTO_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.status();               \
  lhs = std::move(tmp).value()

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_STATUS_H_
