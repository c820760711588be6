// What a tokenizer asks of Unicode: properties of a code point, lowercase, the four normal forms.
// The tables follow the versions that Hugging Face's tokenizers stand on (tools/make_unicode.py
// says which), so that ids agree; this is not a general Unicode library.
#ifndef SOTTO_CORE_TEXT_UNICODE_H_
#define SOTTO_CORE_TEXT_UNICODE_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace sotto::unicode {

enum Property : uint8_t {
  kLetter = 1,       // general category L*
  kNumber = 2,       // N*
  kPunctuation = 4,  // BERT's: P* and ASCII symbols
  kControl = 8,      // Cc, Cf, Co but tab and line ends
  kNonspacing = 16,  // Mn
  kMark = 32,        // M*
  kSpace = 64,       // White_Space
  kWord = 128,       // \w: letters, marks, digits, connectors
};

// Two-stage table: pages of 256 code points, equal pages stored once. Built at first use.
struct Properties {
  uint16_t page[0x1100];
  std::vector<uint8_t> bits;
};
const Properties& PropertyTable();

// The bits of a code point; 0 past U+10FFFF.
inline uint8_t PropertiesOf(const Properties& table, char32_t c) {
  return c < 0x110000 ? table.bits[(static_cast<uint32_t>(table.page[c >> 8]) << 8) | (c & 0xFF)]
                      : 0;
}
inline uint8_t PropertiesOf(char32_t c) { return PropertiesOf(PropertyTable(), c); }
inline bool Has(char32_t c, uint8_t properties) { return (PropertiesOf(c) & properties) != 0; }

// The ideographs that BERT sets apart by spaces.
bool IsBertIdeograph(char32_t c);

// Lowercase of one code point. U+0130 alone gives two: 'i' and U+0307, of which this is the first.
char32_t ToLower(char32_t c);

enum class Form : uint8_t { kNfd, kNfc, kNfkd, kNfkc };

// A character of a normal form, and how it came about: 0 when it stands for the next source
// character, n < 0 when it also swallows the -n source characters after that one, 1 when it is one
// more for the same source character.
struct NormalizedChar {
  char32_t code;
  int32_t change;
};
void Normalize(Form form, const std::vector<char32_t>& text, std::vector<NormalizedChar>& out);

// Whether NFC leaves the character as it is and apart from the one before it, so that a text of
// such characters is in NFC (the quick check of Unicode Standard Annex 15, section 9).
bool KeepsInNfc(char32_t c);

uint8_t CombiningClass(char32_t c);

}  // namespace sotto::unicode

#endif  // SOTTO_CORE_TEXT_UNICODE_H_
