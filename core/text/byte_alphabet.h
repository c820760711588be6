// GPT-2's spelling of bytes as printable characters, so that a vocabulary of byte strings is valid
// JSON: visible Latin-1 stands for itself, the other 68 bytes are U+0100 and up in order.
#ifndef SOTTO_CORE_TEXT_BYTE_ALPHABET_H_
#define SOTTO_CORE_TEXT_BYTE_ALPHABET_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/utf8.h"

namespace sotto {

constexpr std::array<uint16_t, 256> MakeByteAlphabet() {
  std::array<uint16_t, 256> letters{};
  uint16_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool visible = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    letters[b] = visible ? static_cast<uint16_t>(b) : next++;
  }
  return letters;
}
inline constexpr std::array<uint16_t, 256> kByteLetters = MakeByteAlphabet();

inline void AppendByteLetters(std::string& out, std::string_view bytes) {
  for (const char c : bytes) AppendUtf8(out, kByteLetters[static_cast<uint8_t>(c)]);
}

// The byte that a letter stands for, or -1.
inline int ByteOfLetter(char32_t letter) {
  if (letter < 0x100) return kByteLetters[letter] == letter ? static_cast<int>(letter) : -1;
  if (letter >= 0x144) return -1;
  const int n = static_cast<int>(letter) - 0x100;  // the n-th of those that are not visible
  if (n < 0x21) return n;
  return n < 0x43 ? 0x7F + (n - 0x21) : 0xAD;
}

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_BYTE_ALPHABET_H_
