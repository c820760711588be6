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

// General categories, as bits that may be combined.
enum Category : uint32_t {
  kLu = 1u << 0,
  kLl = 1u << 1,
  kLt = 1u << 2,
  kLm = 1u << 3,
  kLo = 1u << 4,
  kMn = 1u << 5,
  kMc = 1u << 6,
  kMe = 1u << 7,
  kNd = 1u << 8,
  kNl = 1u << 9,
  kNo = 1u << 10,
  kPc = 1u << 11,
  kPd = 1u << 12,
  kPs = 1u << 13,
  kPe = 1u << 14,
  kPi = 1u << 15,
  kPf = 1u << 16,
  kPo = 1u << 17,
  kSm = 1u << 18,
  kSc = 1u << 19,
  kSk = 1u << 20,
  kSo = 1u << 21,
  kZs = 1u << 22,
  kZl = 1u << 23,
  kZp = 1u << 24,
  kCc = 1u << 25,
  kCf = 1u << 26,
  kCo = 1u << 27,
  kCs = 1u << 28,
  kCn = 1u << 29,
};
// The category of a code point (Unicode 16); kCn past U+10FFFF.
uint32_t CategoryOf(char32_t c);
// The categories of a name as \p{...} takes it ("L", "Lu", "P"); 0 for an unknown one.
uint32_t CategoriesNamed(std::string_view name);

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
