// The regular expressions that tokenizer files cut and replace by: alternatives, classes with
// Unicode properties, greedy and possessive repetition of classes, optional groups, lookahead.
// Leftmost and first alternative, as Oniguruma matches. What is beyond that (repeated groups,
// lookbehind, back references, lazy repetition, set operations) is an error that names the
// expression.
#ifndef SOTTO_CORE_TEXT_REGEX_H_
#define SOTTO_CORE_TEXT_REGEX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace sotto {

class Regex {
 public:
  static Result<Regex> Parse(std::string_view source);

  // The first match at or after `pos` in valid UTF-8 that is not empty: [*begin, *end). A match
  // that takes over a million steps, which only an expression made for it needs, counts as none.
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const;

 private:
  friend class RegexParser;
  friend class RegexMatcher;

  // A set of characters.
  struct Set {
    struct Part {
      bool negated = false;
      uint32_t categories = 0;  // unicode::Category
      uint8_t properties = 0;   // unicode::Property
      char32_t first = 1, last = 0;
      bool Has(char32_t c) const;
    };
    std::vector<Part> parts;
    bool negated = false;
    uint64_t ascii[2] = {0, 0};
    bool Has(char32_t c) const {
      return c < 128 ? (ascii[c >> 6] >> (c & 63) & 1) != 0 : HasSlowly(c);
    }
    bool HasSlowly(char32_t c) const;
    void Finish();
  };
  struct Item;
  using Sequence = std::vector<Item>;
  enum class Kind : uint8_t { kSet, kGroup, kLookahead };
  struct Item {
    Kind kind = Kind::kSet;
    bool negative = false;    // of a lookahead
    bool possessive = false;  // what it has taken it keeps
    uint32_t set = 0;
    uint32_t min = 1, max = 1;
    std::vector<Sequence> alternatives;  // of a group or lookahead
  };

  std::vector<Set> sets_;
  std::vector<Sequence> alternatives_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_REGEX_H_
