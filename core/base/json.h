// Strict JSON (RFC 8259) for files that nobody vouches for: one value, valid UTF-8, no duplicate
// keys, no NaN, bounded depth and size. Parsing is SAX-driven and never recursive; the tree is
// immutable. Not a general document API: there is no editing and no comments dialect.
#ifndef SOTTO_CORE_BASE_JSON_H_
#define SOTTO_CORE_BASE_JSON_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace sotto {

struct JsonLimits {
  int max_depth = 64;
  size_t max_bytes = size_t{256} << 20;
  size_t max_values = size_t{8} << 20;  // of every kind together: what bounds the tree's memory
};

class Json {
 public:
  enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };
  using Member = std::pair<std::string, Json>;

  Json() = default;  // null
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(const Json& other);
  Json& operator=(Json&& other) noexcept;
  ~Json();
  static Json Bool(bool value);
  static Json Number(double value);
  static Json Int(int64_t value);
  static Json String(std::string value);
  static Json Array(std::vector<Json> items);
  static Json Object(
      std::vector<Member> members);  // of members that share a name the first is found

  // Errors name the byte offset. Depth is capped at 1000 and size at 2 GiB whatever the limits say.
  static Result<Json> Parse(std::string_view text, const JsonLimits& limits = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_number() const { return kind_ == Kind::kNumber; }
  // A number written without fraction or exponent that fits an int64.
  bool is_int() const { return kind_ == Kind::kNumber && is_int_; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_array() const { return kind_ == Kind::kArray; }
  bool is_object() const { return kind_ == Kind::kObject; }

  // The value, or a neutral one (false, 0, "", empty) where the kind is another.
  bool as_bool() const;
  double as_number() const;
  int64_t as_int() const;  // a number with fraction is truncated toward zero, and clamped
  const std::string& as_string() const;
  const std::vector<Json>& items() const;
  const std::vector<Member>& members() const;  // in the order of the file

  // The member of that name, or null (a static null value) where there is none. Objects with many
  // members are indexed: O(1).
  const Json& operator[](std::string_view key) const;
  bool has(std::string_view key) const;

  // Typed members with a reason when they are absent or of another kind: "'hidden_size' must be an
  // integer between 1 and 65536".
  Result<int64_t> IntAt(std::string_view key, int64_t min, int64_t max) const;
  Result<double> NumberAt(std::string_view key) const;
  Result<bool> BoolAt(std::string_view key) const;
  Result<std::string> StringAt(std::string_view key) const;
  // The same where an absent or null member means `fallback`.
  Result<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  Result<double> NumberOr(std::string_view key, double fallback) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string_view fallback) const;

  // Compact, or indented by `indent` spaces. Numbers round-trip; non-finite ones are written as
  // null.
  std::string Dump(int indent = 0) const;

 private:
  // Reference-counted and immutable: what a string, array or object of at least one item points to.
  struct Node;
  struct StringNode;
  struct ArrayNode;
  struct ObjectNode;
  friend class JsonReader;
  Json(Kind kind, bool is_int, uint64_t bits) : kind_(kind), is_int_(is_int), bits_(bits) {}
  const Node* node() const {  // null unless a string, array or object that is not empty
    return kind_ < Kind::kString ? nullptr
                                 : reinterpret_cast<const Node*>(static_cast<uintptr_t>(bits_));
  }

  Kind kind_ = Kind::kNull;
  bool is_int_ = false;
  uint64_t bits_ = 0;  // a bool, an int64, the bits of a double, or the address of a node
};

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_JSON_H_
