// Every code point against what Hugging Face's tokenizers make of it (tests/golden/tokenizers/
// unicode.json, written by tests/golden/make_unicode_golden.py), and Unicode's own conditions.
#include "core/text/unicode.h"

#include <functional>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/utf8.h"
#include "gtest/gtest.h"

namespace sotto {
namespace {

using unicode::Form;

// zlib's crc32.
uint32_t Crc(uint32_t crc, std::string_view bytes) {
  static const std::vector<uint32_t> table = [] {
    std::vector<uint32_t> t(256);
    for (uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ (t[i] & 1 ? 0xEDB88320u : 0);
    }
    return t;
  }();
  crc = ~crc;
  for (const char c : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

std::string Normalized(Form form, const std::vector<char32_t>& text) {
  std::vector<unicode::NormalizedChar> chars;
  unicode::Normalize(form, text, chars);
  std::string out;
  for (const unicode::NormalizedChar& c : chars) AppendUtf8(out, c.code);
  return out;
}

using Describe = std::function<std::string(char32_t)>;

Describe Bit(uint8_t property) {
  return [=](char32_t c) { return std::string(1, unicode::Has(c, property) ? '\1' : '\0'); };
}
Describe InForm(Form form) {
  return [=](char32_t c) { return Normalized(form, {c}) + '\0'; };
}
Describe AmongMarks(Form form) {
  return [=](char32_t c) { return Normalized(form, {'e', 0x301, c, 0x323, 0x1161, 'a'}) + '\0'; };
}

TEST(TextUnicode, EveryCodePointIsAsHuggingFaceHasIt) {
  const std::string path = std::string(SOTTO_SOURCE_DIR) + "/tests/golden/tokenizers/unicode.json";
  const Result<std::string> text = ReadFile(path);
  ASSERT_TRUE(text.ok()) << path;
  const Result<Json> golden = Json::Parse(*text);
  ASSERT_TRUE(golden.ok());
  const std::pair<const char*, Describe> properties[] = {
      {"letter", Bit(unicode::kLetter)},
      {"number", Bit(unicode::kNumber)},
      {"punctuation", Bit(unicode::kPunctuation)},
      {"space", Bit(unicode::kSpace)},
      {"control",
       [](char32_t c) {
         return std::string(1, c != 0 && unicode::Has(c, unicode::kControl) ? '\1' : '\0');
       }},
      {"nonspacing", Bit(unicode::kNonspacing)},
      {"mark", Bit(unicode::kMark)},
      {"word", Bit(unicode::kWord)},
      {"ideograph",
       [](char32_t c) { return std::string(1, unicode::IsBertIdeograph(c) ? '\1' : '\0'); }},
      {"lower",
       [](char32_t c) {
         std::string s;
         AppendUtf8(s, unicode::ToLower(c));
         if (c == 0x130) AppendUtf8(s, 0x307);
         return s + '\0';
       }},
      {"nfd", InForm(Form::kNfd)},
      {"nfc", InForm(Form::kNfc)},
      {"nfkd", InForm(Form::kNfkd)},
      {"nfkc", InForm(Form::kNfkc)},
      {"nfd_marks", AmongMarks(Form::kNfd)},
      {"nfc_marks", AmongMarks(Form::kNfc)},
      {"nfkc_marks", AmongMarks(Form::kNfkc)},
  };
  ASSERT_EQ(golden->members().size(), std::size(properties));
  for (const auto& [name, describe] : properties) {
    char32_t code = 0;
    for (const Json& run : (*golden)[name].items()) {
      for (int64_t i = 0; i < run.items()[1].as_int(); ++i) {
        const char32_t begin = code;
        uint32_t crc = 0;
        for (; code < begin + 0x1000; ++code) {
          if (code < 0xD800 || code >= 0xE000) crc = Crc(crc, describe(code));
        }
        char hex[9];
        snprintf(hex, sizeof(hex), "%08x", crc);
        ASSERT_EQ(run.items()[0].as_string(), hex)
            << name << " somewhere in the 4,096 code points from U+" << std::hex
            << static_cast<uint32_t>(begin);
      }
    }
    EXPECT_EQ(code, 0x110000u) << name;
  }
}

TEST(TextUnicode, NormalFormsAreIdempotentAndTheQuickCheckIsRight) {
  for (char32_t c = 0; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const std::string nfc = Normalized(Form::kNfc, {c});
    std::string self;
    AppendUtf8(self, c);
    if (unicode::KeepsInNfc(c)) {
      ASSERT_EQ(nfc, self) << static_cast<uint32_t>(c);
      std::string pair = "e";
      ASSERT_EQ(Normalized(Form::kNfc, {'e', c}), pair + self) << static_cast<uint32_t>(c);
    }
    for (const Form form : {Form::kNfd, Form::kNfc, Form::kNfkd, Form::kNfkc}) {
      std::vector<unicode::NormalizedChar> once;
      unicode::Normalize(form, {c}, once);
      std::vector<char32_t> again;
      for (const unicode::NormalizedChar& n : once) again.push_back(n.code);
      ASSERT_EQ(Normalized(form, again), Normalized(form, {c})) << static_cast<uint32_t>(c);
    }
  }
}

TEST(TextUnicode, ChangesOfANormalFormAccountForEverySourceCharacter) {
  const std::vector<char32_t> text = {0xE9, 0x323, 'x', 'a', 0x307, 0x323, 0xFB01, 0xAC01, 0x212B};
  for (const Form form : {Form::kNfd, Form::kNfc, Form::kNfkd, Form::kNfkc}) {
    std::vector<unicode::NormalizedChar> out;
    unicode::Normalize(form, text, out);
    size_t source = 0;
    for (const unicode::NormalizedChar& c : out) {
      if (c.change <= 0) source += static_cast<size_t>(1 - c.change);
    }
    EXPECT_EQ(source, text.size());
  }
}

TEST(TextUnicode, CodePointsPastTheEndHaveNoProperties) {
  EXPECT_EQ(unicode::PropertiesOf(0x110000), 0);
  EXPECT_EQ(unicode::PropertiesOf(0xFFFFFFFF), 0);
  EXPECT_EQ(unicode::ToLower(0x110000), 0x110000u);
  EXPECT_TRUE(unicode::KeepsInNfc(0x110000));
}

TEST(TextUnicode, OneMillionMarksInWrongOrderAreSortedQuickly) {
  std::vector<char32_t> text = {'a'};
  for (int i = 0; i < 1000000; ++i) text.push_back(i % 2 == 0 ? 0x301 : 0x323);
  std::vector<unicode::NormalizedChar> out;
  unicode::Normalize(Form::kNfd, text, out);
  ASSERT_EQ(out.size(), text.size());
  EXPECT_EQ(out[1].code, 0x323u);
  EXPECT_EQ(out.back().code, 0x301u);
}

}  // namespace
}  // namespace sotto
