// Where a pre-tokenizer cuts: literals, and regular expressions, of which the most common ones are
// matched by hand.
#ifndef SOTTO_CORE_TEXT_SPLIT_PATTERN_H_
#define SOTTO_CORE_TEXT_SPLIT_PATTERN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace sotto {

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

class SplitPattern {
 public:
  virtual ~SplitPattern() = default;
  // The first match at or after `pos` in valid UTF-8: [*begin, *end), never empty. False for none.
  virtual bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const = 0;
};

Result<std::unique_ptr<SplitPattern>> MakeRegexPattern(std::string_view regex);
std::unique_ptr<SplitPattern> MakeLiteralPattern(std::string literal);
// One character with any of these properties (core/text/unicode.h).
std::unique_ptr<SplitPattern> MakePropertyPattern(uint8_t properties);
// \w+|[^\w\s]+
std::unique_ptr<SplitPattern> MakeWordPattern();

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_SPLIT_PATTERN_H_
