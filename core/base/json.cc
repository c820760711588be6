#include "core/base/json.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <limits>

// A broken promise inside the parser must not end the program.
#define RAPIDJSON_ASSERT(x) static_cast<void>(0)
#define RAPIDJSON_NOEXCEPT_ASSERT(x) static_cast<void>(0)
#if defined(__clang__)  // the reader's empty stack adds offsets to a null pointer, which is
                        // harmless
#pragma clang attribute push(__attribute__((no_sanitize("pointer-overflow"))), apply_to = function)
#endif
#include <rapidjson/error/error.h>
#include <rapidjson/internal/dtoa.h>
#include <rapidjson/reader.h>
#if defined(__clang__)
#pragma clang attribute pop
#endif

#include "core/base/sort.h"
#include "core/base/utf8.h"

namespace sotto {
namespace {

constexpr size_t kScannedMembers = 8;  // objects of at most so many members are searched one by one
constexpr size_t kMaxProbes = 256;     // a table that needs more has been attacked
constexpr uint32_t kFreeSlot = 0xFFFFFFFFu;
constexpr size_t kNone = std::numeric_limits<size_t>::max();

// Finds members by name: a hash table with linear probing or, where the keys were chosen to
// collide, their sorted order.
class MemberIndex {
 public:
  // Returns the position of a member whose name an earlier one has, or kNone.
  size_t Build(const std::vector<Json::Member>& members) {
    if (members.size() <= kScannedMembers) return FirstDuplicateByScan(members);
    size_t slots = 2 * kScannedMembers;
    while (slots < 2 * members.size()) slots *= 2;
    slots_.assign(slots, kFreeSlot);
    size_t duplicate = kNone;
    for (size_t i = 0; i < members.size(); ++i) {
      size_t probes = 0;
      size_t slot = Hash(members[i].first);
      for (; slots_[slot] != kFreeSlot; slot = (slot + 1) & (slots_.size() - 1)) {
        if (members[slots_[slot]].first == members[i].first) break;
        if (++probes > kMaxProbes) return Sort(members);
      }
      if (slots_[slot] == kFreeSlot) {
        slots_[slot] = static_cast<uint32_t>(i);
      } else if (duplicate == kNone) {
        duplicate = i;
      }
    }
    return duplicate;
  }

  size_t Find(const std::vector<Json::Member>& members, std::string_view key) const {
    if (slots_.empty()) {
      for (size_t i = 0; i < members.size(); ++i) {
        if (members[i].first == key) return i;
      }
      return kNone;
    }
    if (sorted_) {
      const auto at = std::lower_bound(
          slots_.begin(), slots_.end(), key,
          [&](uint32_t i, std::string_view k) { return std::string_view(members[i].first) < k; });
      return at != slots_.end() && members[*at].first == key ? *at : kNone;
    }
    for (size_t slot = Hash(key); slots_[slot] != kFreeSlot;
         slot = (slot + 1) & (slots_.size() - 1)) {
      if (members[slots_[slot]].first == key) return slots_[slot];
    }
    return kNone;
  }

 private:
  size_t Hash(std::string_view key) const {
    const uint64_t h = std::hash<std::string_view>()(key) * uint64_t{0x9E3779B97F4A7C15};
    return static_cast<size_t>(h >> 32) & (slots_.size() - 1);
  }

  static size_t FirstDuplicateByScan(const std::vector<Json::Member>& members) {
    for (size_t i = 1; i < members.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (members[i].first == members[j].first) return i;
      }
    }
    return kNone;
  }

  size_t Sort(const std::vector<Json::Member>& members) {
    sorted_ = true;
    slots_.resize(members.size());
    for (size_t i = 0; i < slots_.size(); ++i) slots_[i] = static_cast<uint32_t>(i);
    HeapSort(slots_.begin(), slots_.end(), [&](uint32_t a, uint32_t b) {
      const int order = members[a].first.compare(members[b].first);
      return order != 0 ? order < 0 : a < b;
    });
    size_t duplicate = kNone;
    for (size_t i = 1; i < slots_.size(); ++i) {
      if (members[slots_[i]].first == members[slots_[i - 1]].first) {
        duplicate = std::min<size_t>(duplicate, slots_[i]);
      }
    }
    return duplicate;
  }

  std::vector<uint32_t> slots_;
  bool sorted_ = false;
};

// A decimal number as JSON writes it, taken apart: significand * 10^exponent.
struct Decimal {
  bool negative = false;
  bool integral = true;      // neither fraction nor exponent is written
  bool exact = true;         // the significand holds every digit
  uint64_t significand = 0;  // its first 19 digits without leading zeros
  int64_t exponent = 0;
};

Decimal ScanNumber(std::string_view text) {
  Decimal number;
  size_t at = 0;
  if (text[at] == '-') {
    number.negative = true;
    ++at;
  }
  bool fraction = false;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    if (text[at] == '.') {
      fraction = true;
      number.integral = false;
      continue;
    }
    const auto digit = static_cast<uint64_t>(text[at] - '0');
    if (number.significand < uint64_t{1'000'000'000'000'000'000}) {
      number.significand = 10 * number.significand + digit;
      if (fraction) --number.exponent;
    } else {
      if (digit != 0) number.exact = false;
      if (!fraction) ++number.exponent;
    }
  }
  if (at == text.size()) return number;
  number.integral = false;
  ++at;
  const bool negative = text[at] == '-';
  if (negative || text[at] == '+') ++at;
  int64_t exponent = 0;
  for (; at < text.size(); ++at) {
    exponent = std::min<int64_t>(10 * exponent + (text[at] - '0'), int64_t{1} << 40);
  }
  number.exponent += negative ? -exponent : exponent;
  return number;
}

// The nearest double; infinite where there is none. RapidJSON's own conversion reads outside its
// table of powers for some very small numbers, so it is not used.
double ToDouble(std::string_view text, const Decimal& number) {
  constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  double value = static_cast<double>(number.significand);
  if (number.significand == 0 || number.exponent < -400) {
    value = 0;
  } else if (number.exponent > 400) {
    value = std::numeric_limits<double>::infinity();
  } else if (number.exact && number.significand < uint64_t{1} << 53 &&
             std::abs(number.exponent) <= 22) {
    // Both operands are exact, so that one rounding gives the nearest double (Clinger 1990).
    value =
        number.exponent < 0 ? value / kPowers[-number.exponent] : value * kPowers[number.exponent];
  } else {
#if defined(__EMSCRIPTEN__)
    // Small, and musl knows no other decimal point than '.'.
    value = std::strtod(std::string(text).c_str(), nullptr);
#else
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec == std::errc::result_out_of_range) {
      value = number.exponent < 0 ? 0 : std::numeric_limits<double>::infinity();
    }
#endif
    return std::isinf(value) || !number.negative ? value : -std::abs(value);
  }
  return number.negative ? -value : value;
}

template <class T>
const T& Empty() {
  static const T* const empty = new T();
  return *empty;
}

}  // namespace

struct Json::Node {
  mutable std::atomic<uint32_t> references{1};
};
struct Json::StringNode : Node {
  explicit StringNode(std::string v) : value(std::move(v)) {}
  std::string value;
};
struct Json::ArrayNode : Node {
  explicit ArrayNode(std::vector<Json> v) : items(std::move(v)) {}
  std::vector<Json> items;
};
struct Json::ObjectNode : Node {
  explicit ObjectNode(std::vector<Member> v) : members(std::move(v)) {
    duplicate = index.Build(members);
  }
  std::vector<Member> members;
  MemberIndex index;
  size_t duplicate;
};

Json::Json(const Json& other) : kind_(other.kind_), is_int_(other.is_int_), bits_(other.bits_) {
  if (node() != nullptr) node()->references.fetch_add(1, std::memory_order_relaxed);
}

Json::Json(Json&& other) noexcept
    : kind_(std::exchange(other.kind_, Kind::kNull)),
      is_int_(std::exchange(other.is_int_, false)),
      bits_(std::exchange(other.bits_, 0)) {}

Json& Json::operator=(const Json& other) { return *this = Json(other); }

Json& Json::operator=(Json&& other) noexcept {
  std::swap(kind_, other.kind_);
  std::swap(is_int_, other.is_int_);
  std::swap(bits_, other.bits_);
  return *this;
}

Json::~Json() {
  const Node* const last = node();
  if (last == nullptr || last->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  switch (kind_) {
    case Kind::kString:
      delete static_cast<const StringNode*>(last);
      break;
    case Kind::kArray:
      delete static_cast<const ArrayNode*>(last);
      break;
    default:
      delete static_cast<const ObjectNode*>(last);
      break;
  }
}

Json Json::Bool(bool value) { return Json(Kind::kBool, false, value); }
Json Json::Number(double value) {
  return Json(Kind::kNumber, false, std::bit_cast<uint64_t>(value));
}
Json Json::Int(int64_t value) { return Json(Kind::kNumber, true, static_cast<uint64_t>(value)); }

Json Json::String(std::string value) {
  const Node* n = value.empty() ? nullptr : new StringNode(std::move(value));
  return Json(Kind::kString, false, reinterpret_cast<uintptr_t>(n));
}

Json Json::Array(std::vector<Json> items) {
  const Node* n = items.empty() ? nullptr : new ArrayNode(std::move(items));
  return Json(Kind::kArray, false, reinterpret_cast<uintptr_t>(n));
}

Json Json::Object(std::vector<Member> members) {
  const Node* n = members.empty() ? nullptr : new ObjectNode(std::move(members));
  return Json(Kind::kObject, false, reinterpret_cast<uintptr_t>(n));
}

// Receives the reader's events and builds the tree from the bottom up: values and keys wait on two
// stacks until the array or object that holds them ends.
class JsonReader {
 public:
  // A byte stream that ends in NULs, as RapidJSON wants it.
  struct Stream {
    using Ch = char;
    char Peek() const { return at == end ? '\0' : *at; }
    char Take() { return at == end ? '\0' : *at++; }
    size_t Tell() const { return static_cast<size_t>(at - begin); }
    char* PutBegin() { return nullptr; }
    void Put(char) {}
    void Flush() {}
    size_t PutEnd(char*) { return 0; }
    const char* begin;
    const char* at;
    const char* end;
  };

  JsonReader(std::string_view text, const JsonLimits& limits)
      : text_(text),
        stream_{text.data(), text.data(), text.data() + text.size()},
        max_depth_(std::min(limits.max_depth, 1000)),
        max_values_(limits.max_values) {}

  Result<Json> Read() {
    rapidjson::Reader reader;
    constexpr unsigned kFlags = rapidjson::kParseIterativeFlag |
                                rapidjson::kParseValidateEncodingFlag |
                                rapidjson::kParseNumbersAsStringsFlag;
    const rapidjson::ParseResult result = reader.Parse<kFlags>(stream_, *this);
    if (!error_.empty()) return At(error_offset_, error_);
    if (result.IsError()) return At(result.Offset(), Explain(result.Code(), result.Offset()));
    if (stream_.at != stream_.end) return At(stream_.Tell(), "there is more after the value");
    return std::move(values_.back());
  }

  bool Null() { return Add(Json()); }
  bool Bool(bool value) { return Add(Json::Bool(value)); }
  // Numbers come as they are written.
  bool RawNumber(const char* data, unsigned length, bool) {
    const std::string_view text(data, length);
    const Decimal number = ScanNumber(text);
    // The digits of -2^63 are one more than 2^63 - 1 has.
    const uint64_t most = uint64_t{std::numeric_limits<int64_t>::max()} + (number.negative ? 1 : 0);
    if (number.integral && number.exact && number.exponent == 0 && number.significand <= most) {
      const uint64_t bits = number.negative ? 0 - number.significand : number.significand;
      return Add(Json::Int(static_cast<int64_t>(bits)));
    }
    const double value = ToDouble(text, number);
    if (!std::isfinite(value)) return Refuse(stream_.Tell() - length, "the number is too large");
    return Add(Json::Number(value));
  }
  // The reader's interface, not called.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(int64_t) { return false; }
  bool Uint64(uint64_t) { return false; }
  bool Double(double) { return false; }
  bool String(const char* data, unsigned length, bool) {
    if (!IsText(data, length)) return false;
    return Add(Json::String(std::string(data, length)));
  }
  bool Key(const char* data, unsigned length, bool) {
    if (!IsText(data, length)) return false;
    keys_.push_back({std::string(data, length), stream_.Tell()});
    return true;
  }
  bool StartObject() { return Open(); }
  bool StartArray() { return Open(); }

  bool EndObject(unsigned count) {
    --depth_;
    std::vector<Json::Member> members;
    members.reserve(count);
    const size_t first_key = keys_.size() - count;
    const size_t first_value = values_.size() - count;
    for (size_t i = 0; i < count; ++i) {
      members.emplace_back(std::move(keys_[first_key + i].name),
                           std::move(values_[first_value + i]));
    }
    values_.resize(first_value);
    if (count == 0) return Add(Json::Object({}));
    auto* node = new Json::ObjectNode(std::move(members));
    Json object(Json::Kind::kObject, false, reinterpret_cast<uintptr_t>(node));
    if (node->duplicate != kNone) {
      return Refuse(StringStart(keys_[first_key + node->duplicate].end),
                    StrCat("the key \"", node->members[node->duplicate].first, "\" appears twice"));
    }
    keys_.erase(keys_.begin() + static_cast<ptrdiff_t>(first_key), keys_.end());
    return Add(std::move(object));
  }

  bool EndArray(unsigned count) {
    --depth_;
    const auto first = values_.end() - static_cast<ptrdiff_t>(count);
    std::vector<Json> items(std::make_move_iterator(first), std::make_move_iterator(values_.end()));
    values_.resize(values_.size() - count);
    return Add(Json::Array(std::move(items)));
  }

 private:
  struct PendingKey {
    std::string name;
    size_t end;  // the offset just past its closing quote
  };

  bool Open() {
    if (++depth_ <= max_depth_) return true;
    return Refuse(stream_.Tell(), StrCat("the nesting is deeper than ", max_depth_));
  }

  bool Add(Json value) {
    if (++count_ > max_values_) {
      return Refuse(stream_.Tell(), StrCat("there are more than ", max_values_, " values"));
    }
    values_.push_back(std::move(value));
    return true;
  }

  // Escapes can spell half a surrogate pair, which the reader lets pass when it is the low one.
  bool IsText(const char* data, size_t length) {
    if (IsValidUtf8({data, length})) return true;
    return Refuse(stream_.Tell(), "the string has a lone surrogate");
  }

  bool Refuse(size_t offset, std::string why) {
    error_ = std::move(why);
    error_offset_ = offset;
    return false;
  }

  // The offset of the opening quote of the string that ends before `end`.
  size_t StringStart(size_t end) const {
    for (size_t at = end - 1; at-- > 0;) {
      if (text_[at] != '"') continue;
      size_t backslashes = 0;
      while (backslashes < at && text_[at - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) return at;
    }
    return 0;
  }

  static Status At(size_t offset, std::string_view why) {
    return InvalidFile(StrCat("not valid JSON at byte ", offset, ": ", why));
  }

  std::string Explain(rapidjson::ParseErrorCode code, size_t offset) const {
    if (offset >= text_.size()) return "the text ends too early";
    const bool control = static_cast<unsigned char>(text_[offset]) < 0x20;
    switch (code) {
      case rapidjson::kParseErrorDocumentEmpty:
      case rapidjson::kParseErrorValueInvalid:
        return "a value was expected";
      case rapidjson::kParseErrorDocumentRootNotSingular:
        return "there is more after the value";
      case rapidjson::kParseErrorObjectMissName:
        return "a key in double quotes was expected";
      case rapidjson::kParseErrorObjectMissColon:
        return "':' was expected after the key";
      case rapidjson::kParseErrorObjectMissCommaOrCurlyBracket:
        return "',' or '}' was expected";
      case rapidjson::kParseErrorArrayMissCommaOrSquareBracket:
        return "',' or ']' was expected";
      case rapidjson::kParseErrorStringUnicodeEscapeInvalidHex:
        return "\\u must be followed by four hexadecimal digits";
      case rapidjson::kParseErrorStringUnicodeSurrogateInvalid:
        return "the string has a lone surrogate";
      case rapidjson::kParseErrorStringEscapeInvalid:
      case rapidjson::kParseErrorStringInvalidEncoding:
      case rapidjson::kParseErrorStringMissQuotationMark:
        if (control) return "a control character must be escaped";
        return text_[offset] == '\\' ? "the escape after '\\' is unknown"
                                     : "the string is not valid UTF-8";
      case rapidjson::kParseErrorNumberTooBig:
        return "the number is too large";
      case rapidjson::kParseErrorNumberMissFraction:
        return "digits must follow the '.'";
      case rapidjson::kParseErrorNumberMissExponent:
        return "digits must follow the exponent's 'e'";
      default:
        return "the syntax is wrong";
    }
  }

  std::string_view text_;
  Stream stream_;
  int max_depth_;
  size_t max_values_;
  int depth_ = 0;
  size_t count_ = 0;
  std::vector<Json> values_;
  std::vector<PendingKey> keys_;
  std::string error_;
  size_t error_offset_ = 0;
};

Result<Json> Json::Parse(std::string_view text, const JsonLimits& limits) {
  const size_t max_bytes = std::min(limits.max_bytes, size_t{0x7FFFFFFF});
  if (text.size() > max_bytes) {
    return InvalidFile(
        StrCat("the JSON text has ", text.size(), " bytes; at most ", max_bytes, " are read"));
  }
  return JsonReader(text, limits).Read();
}

bool Json::as_bool() const { return is_bool() && bits_ != 0; }

double Json::as_number() const {
  if (!is_number()) return 0;
  return is_int_ ? static_cast<double>(static_cast<int64_t>(bits_)) : std::bit_cast<double>(bits_);
}

int64_t Json::as_int() const {
  if (!is_number()) return 0;
  if (is_int_) return static_cast<int64_t>(bits_);
  const double value = std::bit_cast<double>(bits_);
  if (std::isnan(value)) return 0;
  if (value >= 0x1p63) return std::numeric_limits<int64_t>::max();
  if (value <= -0x1p63) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

const std::string& Json::as_string() const {
  if (!is_string() || node() == nullptr) return Empty<std::string>();
  return static_cast<const StringNode*>(node())->value;
}

const std::vector<Json>& Json::items() const {
  if (!is_array() || node() == nullptr) return Empty<std::vector<Json>>();
  return static_cast<const ArrayNode*>(node())->items;
}

const std::vector<Json::Member>& Json::members() const {
  if (!is_object() || node() == nullptr) return Empty<std::vector<Member>>();
  return static_cast<const ObjectNode*>(node())->members;
}

const Json& Json::operator[](std::string_view key) const {
  if (!is_object() || node() == nullptr) return Empty<Json>();
  const auto* object = static_cast<const ObjectNode*>(node());
  const size_t i = object->index.Find(object->members, key);
  return i == kNone ? Empty<Json>() : object->members[i].second;
}

bool Json::has(std::string_view key) const {
  if (!is_object() || node() == nullptr) return false;
  const auto* object = static_cast<const ObjectNode*>(node());
  return object->index.Find(object->members, key) != kNone;
}

namespace {

// "'hidden_size' must be an integer, not "big"", or "... but is missing".
Status Mismatch(const Json& object, std::string_view key, std::string_view wanted) {
  if (!object.has(key))
    return InvalidFile(StrCat("'", key, "' must be ", wanted, " but is missing"));
  std::string found = object[key].Dump();
  if (found.size() > 60) {
    found.resize(CompleteUtf8Prefix(std::string_view(found).substr(0, 60)));
    found += "...";
  }
  return InvalidFile(StrCat("'", key, "' must be ", wanted, ", not ", found));
}

}  // namespace

Result<int64_t> Json::IntAt(std::string_view key, int64_t min, int64_t max) const {
  const Json& value = (*this)[key];
  if (value.is_int() && value.as_int() >= min && value.as_int() <= max) return value.as_int();
  return Mismatch(*this, key, StrCat("an integer between ", min, " and ", max));
}

Result<double> Json::NumberAt(std::string_view key) const {
  const Json& value = (*this)[key];
  if (value.is_number()) return value.as_number();
  return Mismatch(*this, key, "a number");
}

Result<bool> Json::BoolAt(std::string_view key) const {
  const Json& value = (*this)[key];
  if (value.is_bool()) return value.as_bool();
  return Mismatch(*this, key, "true or false");
}

Result<std::string> Json::StringAt(std::string_view key) const {
  const Json& value = (*this)[key];
  if (value.is_string()) return value.as_string();
  return Mismatch(*this, key, "a string");
}

Result<int64_t> Json::IntOr(std::string_view key, int64_t fallback, int64_t min,
                            int64_t max) const {
  if ((*this)[key].is_null()) return fallback;
  return IntAt(key, min, max);
}

Result<double> Json::NumberOr(std::string_view key, double fallback) const {
  if ((*this)[key].is_null()) return fallback;
  return NumberAt(key);
}

Result<bool> Json::BoolOr(std::string_view key, bool fallback) const {
  if ((*this)[key].is_null()) return fallback;
  return BoolAt(key);
}

Result<std::string> Json::StringOr(std::string_view key, std::string_view fallback) const {
  if ((*this)[key].is_null()) return std::string(fallback);
  return StringAt(key);
}

namespace {

void DumpString(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) {
          out += c;
        } else {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        }
    }
  }
  out += '"';
}

void DumpNumber(const Json& number, std::string& out) {
  char digits[32];
  if (number.is_int()) {
    const auto end = std::to_chars(digits, digits + sizeof(digits), number.as_int());
    out.append(digits, end.ptr);
    return;
  }
  const double value = number.as_number();
  if (!std::isfinite(value)) {
    out += "null";
  } else if (value == 0 && std::signbit(value)) {
    out += "-0.0";  // "-0" would be read as an integer
  } else {
    // Grisu2 (Loitsch 2010): round-trips, and is the shortest but for one in a thousand.
    std::string_view text(digits, rapidjson::internal::dtoa(value, digits) - digits);
    if (text.ends_with(".0")) text.remove_suffix(2);
    out += text;
  }
}

void NewLine(int indent, int depth, std::string& out) {
  if (indent <= 0) return;
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
}

void DumpValue(const Json& value, int indent, int depth, std::string& out) {
  switch (value.kind()) {
    case Json::Kind::kNull:
      out += "null";
      return;
    case Json::Kind::kBool:
      out += value.as_bool() ? "true" : "false";
      return;
    case Json::Kind::kNumber:
      DumpNumber(value, out);
      return;
    case Json::Kind::kString:
      if (IsValidUtf8(value.as_string())) {
        DumpString(value.as_string(), out);
      } else {
        DumpString(ReplaceInvalidUtf8(value.as_string()), out);
      }
      return;
    case Json::Kind::kArray: {
      char separator = '[';
      for (const Json& item : value.items()) {
        out += separator;
        NewLine(indent, depth + 1, out);
        DumpValue(item, indent, depth + 1, out);
        separator = ',';
      }
      if (value.items().empty()) {
        out += "[]";
        return;
      }
      NewLine(indent, depth, out);
      out += ']';
      return;
    }
    case Json::Kind::kObject: {
      char separator = '{';
      for (const auto& [key, item] : value.members()) {
        out += separator;
        NewLine(indent, depth + 1, out);
        DumpString(IsValidUtf8(key) ? key : ReplaceInvalidUtf8(key), out);
        out += indent > 0 ? ": " : ":";
        DumpValue(item, indent, depth + 1, out);
        separator = ',';
      }
      if (value.members().empty()) {
        out += "{}";
        return;
      }
      NewLine(indent, depth, out);
      out += '}';
      return;
    }
  }
}

}  // namespace

std::string Json::Dump(int indent) const {
  std::string out;
  DumpValue(*this, indent, 0, out);
  return out;
}

}  // namespace sotto
