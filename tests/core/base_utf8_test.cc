#include "core/base/utf8.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/random.h"
#include "gtest/gtest.h"

namespace sotto {
namespace {

using std::string_literals::operator""s;

constexpr std::string_view kFffd = "\xEF\xBF\xBD";

std::string Repeat(std::string_view piece, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += piece;
  return out;
}

TEST(Utf8, EveryScalarValueIsReadBackAsItWasWritten) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    AppendUtf8(text, code);
    const Utf8Char c = DecodeUtf8(text, 0);
    ASSERT_TRUE(c.valid) << uint32_t{code};
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.length, static_cast<int>(text.size()));
  }
}

TEST(Utf8, SurrogatesAndValuesPastTheLastAreWrittenAsReplacement) {
  for (const char32_t code : {0xD800u, 0xDFFFu, 0x110000u, 0xFFFFFFFFu}) {
    std::string text;
    AppendUtf8(text, code);
    EXPECT_EQ(text, kFffd) << uint32_t{code};
  }
}

// Unicode 15, section 3.9: tables 3-8 to 3-11 show how many U+FFFD each ill-formed sequence gives.
TEST(Utf8, IllFormedSequencesGiveOneReplacementForEachMaximalSubpart) {
  struct Case {
    std::string bytes;
    int replacements;
  };
  const std::vector<Case> cases = {
      {"\xC0\xAF", 2},                  // overlong '/'
      {"\xE0\x80\xBF", 3},              // overlong, three bytes
      {"\xF0\x81\x82", 3},              // overlong, four bytes
      {"\xED\xA0\x80", 3},              // a surrogate
      {"\xF4\x91\x92\x93", 4},          // past U+10FFFF
      {"\xFF", 1},                      // never a UTF-8 byte
      {"\x80", 1},                      // a continuation alone
      {"\xE1\x80", 1},                  // cut short
      {"\xF0\x91\x92", 1},              // cut short
      {"\xE1\x80\xE2\xF0\x91\x92", 3},  // three cut short in a row
  };
  for (const Case& c : cases) {
    EXPECT_FALSE(IsValidUtf8(c.bytes));
    EXPECT_EQ(ReplaceInvalidUtf8("<" + c.bytes + ">"), "<" + Repeat(kFffd, c.replacements) + ">");
  }
}

TEST(Utf8, ValidTextPassesUnchanged) {
  const std::string text = "a\0b \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"s;
  EXPECT_TRUE(IsValidUtf8(text));
  EXPECT_EQ(ReplaceInvalidUtf8(text), text);
  EXPECT_EQ(CompleteUtf8Prefix(text), text.size());
}

TEST(Utf8, AnyBytesAreReadToTheEndAndRepairedToValidText) {
  Random random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random.NextBelow(12), '\0');
    // Mostly lead and continuation bytes: these make the hard sequences.
    for (char& b : bytes)
      b = static_cast<char>(random.NextBelow(4) ? 0x80 + random.NextBelow(128) : 'a');
    size_t pos = 0;
    while (pos < bytes.size()) {
      const Utf8Char c = DecodeUtf8(bytes, pos);
      ASSERT_GE(c.length, 1);
      ASSERT_LE(c.length, 4);
      pos += static_cast<size_t>(c.length);
    }
    ASSERT_EQ(pos, bytes.size());
    ASSERT_TRUE(IsValidUtf8(ReplaceInvalidUtf8(bytes)));
  }
}

TEST(Utf8, ACharacterCutShortIsLeftForTheNextPiece) {
  const std::string text = "x\xF0\x9F\x98\x80";
  for (size_t length = 1; length < 5; ++length) {
    EXPECT_EQ(CompleteUtf8Prefix(text.substr(0, length)), 1u) << length;
  }
  EXPECT_EQ(CompleteUtf8Prefix(text), 5u);
  EXPECT_EQ(CompleteUtf8Prefix(""), 0u);
}

TEST(Utf8, BytesThatNothingCanCompleteAreNotHeldBack) {
  EXPECT_EQ(CompleteUtf8Prefix("x\xFF"), 2u);
  EXPECT_EQ(CompleteUtf8Prefix("x\xE0\x80"), 3u);      // overlong whatever follows
  EXPECT_EQ(CompleteUtf8Prefix("x\x80\x80\x80"), 4u);  // continuations without a lead
}

TEST(Utf8, TextCutAnywhereIsTheSameWhenJoinedFromItsCompletePrefixes) {
  const std::string text = "\xE2\x82\xAC\xF0\x9F\x98\x80z\xC3\xA9\xFF\xE1\x80!";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const size_t whole = CompleteUtf8Prefix(std::string_view(text).substr(0, cut));
    EXPECT_EQ(ReplaceInvalidUtf8(text.substr(0, whole)) + ReplaceInvalidUtf8(text.substr(whole)),
              ReplaceInvalidUtf8(text))
        << cut;
  }
}

}  // namespace
}  // namespace sotto
