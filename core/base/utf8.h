// UTF-8 read with suspicion: any bytes give code points, and what is not UTF-8 gives U+FFFD, one
// for each maximal ill-formed subpart (Unicode 15, section 3.9, "substitution of maximal
// subparts").
#ifndef SOTTO_CORE_BASE_UTF8_H_
#define SOTTO_CORE_BASE_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sotto {

inline constexpr char32_t kReplacement = 0xFFFD;

struct Utf8Char {
  char32_t code;  // U+FFFD where the bytes are ill-formed
  int length;     // bytes taken, 1..4
  bool valid;
};

// The same as DecodeUtf8, where the character is not ASCII.
Utf8Char DecodeLongUtf8(std::string_view text, size_t pos);
// Decodes the character at `pos`, which must be < text.size().
inline Utf8Char DecodeUtf8(std::string_view text, size_t pos) {
  const auto byte = static_cast<uint8_t>(text[pos]);
  return byte < 0x80 ? Utf8Char{byte, 1, true} : DecodeLongUtf8(text, pos);
}
// Appends the UTF-8 form of a code point; surrogates and values past U+10FFFF become U+FFFD.
void AppendUtf8(std::string& out, char32_t code);
bool IsValidUtf8(std::string_view text);
// The text with every ill-formed part replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);
// The length of the longest prefix that does not end inside a character that more bytes could
// finish.
size_t CompleteUtf8Prefix(std::string_view text);

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_UTF8_H_
