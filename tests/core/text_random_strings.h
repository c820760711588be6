// The strings on which tokenizers are compared: mixed scripts, accents, emoji, controls, white
// space, long runs, special tokens written out. tests/golden/make_tokenizer_golden.py draws the
// very same.
#ifndef SOTTO_TESTS_CORE_TEXT_RANDOM_STRINGS_H_
#define SOTTO_TESTS_CORE_TEXT_RANDOM_STRINGS_H_

#include <cstdint>
#include <iterator>
#include <string>

#include "core/base/random.h"
#include "core/base/utf8.h"

namespace sotto {

inline std::string RandomString(uint64_t index) {
  static constexpr char32_t kSpaces[] = {' ',    '\t',   '\n', '\r',   0xA0,
                                         0x3000, 0x2003, 0x0B, 0x0085, 0x2028};
  static constexpr const char* kContractions[] = {"'s",  "'T",        "'re", "'VE",
                                                  "'ll", "'\xC5\xBF", "'x",  "\xE2\x80\x99s"};
  static constexpr char32_t kScripts[][2] = {
      {0x370, 0x3FF},   {0x400, 0x4FF},   {0x590, 0x5FF},   {0x600, 0x6FF},     {0x900, 0x97F},
      {0xE00, 0xE7F},   {0x1100, 0x11FF}, {0xAC00, 0xD7A3}, {0x3040, 0x30FF},   {0x4E00, 0x9FFF},
      {0x3400, 0x4DBF}, {0xF900, 0xFAFF}, {0xFB00, 0xFB4F}, {0xFF00, 0xFFEF},   {0x10A0, 0x10FF},
      {0x1E00, 0x1EFF}, {0xF00, 0xFFF},   {0x980, 0x9FF},   {0x20000, 0x2A6DF}, {0x2150, 0x218F}};
  static constexpr char32_t kControls[] = {0x00,   0x07,   0x1B,   0x7F,   0x85,   0x9F, 0x200B,
                                           0x200D, 0x200F, 0xFEFF, 0xFFFD, 0xE000, 0xAD, 0x2060};
  static constexpr const char* kSpecials[] = {
      "[CLS]",         "[SEP]",        "[MASK]", "<s>",        "</s>",     "<mask>",
      "<|endoftext|>", "<|im_start|>", "[UNK]",  "<|eot_id|>", " <mask> ", "<pad>"};

  Random random(20261123, index);
  const auto below = [&](uint64_t n) { return random.NextBelow(n); };
  std::string s;
  if (index % 97 == 0) {
    const char letter = static_cast<char>("aA1 .\n"[below(6)]);
    s.append(200 + below(800), letter);
  }
  const uint64_t parts = 1 + below(12);
  for (uint64_t part = 0; part < parts; ++part) {
    const uint64_t kind = below(16);
    if (kind < 4) {
      if (below(4) > 0) s += ' ';
      const bool capital = below(5) == 0;
      const uint64_t length = 1 + below(9);
      for (uint64_t i = 0; i < length; ++i) {
        const char letter = static_cast<char>('a' + below(26));
        s += capital && i == 0 ? static_cast<char>(letter - 32) : letter;
      }
    } else if (kind == 4) {
      for (uint64_t i = 1 + below(7); i > 0; --i) s += static_cast<char>('0' + below(10));
    } else if (kind == 5) {
      for (uint64_t i = 1 + below(4); i > 0; --i) AppendUtf8(s, kSpaces[below(std::size(kSpaces))]);
    } else if (kind == 6) {
      for (uint64_t i = 1 + below(4); i > 0; --i) s += static_cast<char>('!' + below(15));
    } else if (kind == 7) {
      s += kContractions[below(std::size(kContractions))];
    } else if (kind == 8) {
      for (uint64_t i = 1 + below(6); i > 0; --i) AppendUtf8(s, 0xC0 + below(0x190));
    } else if (kind == 9) {
      s += static_cast<char>('a' + below(26));
      for (uint64_t i = 1 + below(3); i > 0; --i) AppendUtf8(s, 0x300 + below(0x70));
    } else if (kind == 10) {
      const auto& script = kScripts[below(std::size(kScripts))];
      for (uint64_t i = 1 + below(8); i > 0; --i) {
        AppendUtf8(s, script[0] + below(script[1] - script[0] + 1));
      }
    } else if (kind == 11) {
      for (uint64_t i = 1 + below(3); i > 0; --i) {
        AppendUtf8(s, 0x1F300 + below(0x800));
        const uint64_t joiner = below(4);
        if (joiner == 0) AppendUtf8(s, 0x200D);
        if (joiner == 1) AppendUtf8(s, 0xFE0F);
      }
    } else if (kind == 12) {
      for (uint64_t i = 1 + below(2); i > 0; --i) {
        AppendUtf8(s, kControls[below(std::size(kControls))]);
      }
    } else if (kind == 13) {
      for (uint64_t i = 1 + below(3); i > 0; --i) {
        const uint64_t code = below(0x110000 - 0x800);
        AppendUtf8(s, static_cast<char32_t>(code < 0xD800 ? code : code + 0x800));
      }
    } else if (kind == 14) {
      s += kSpecials[below(std::size(kSpecials))];
    } else {
      s.append(2 + below(20), static_cast<char>('a' + below(26)));
    }
  }
  return s;
}

}  // namespace sotto

#endif  // SOTTO_TESTS_CORE_TEXT_RANDOM_STRINGS_H_
