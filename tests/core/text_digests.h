// Digests of encodings and decoded texts, as make_tokenizer_golden.py makes them.
#ifndef SOTTO_TESTS_CORE_TEXT_DIGESTS_H_
#define SOTTO_TESTS_CORE_TEXT_DIGESTS_H_

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/text/tokenizer.h"
#include "gtest/gtest.h"
#include "tests/core/text_random_strings.h"

namespace sotto {

inline constexpr uint64_t kBlock = 25;

inline std::string MustRead(const std::string& path) {
  Result<std::string> text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << path << ": " << text.status().message();
  return text.ok() ? *text : std::string();
}

inline Json MustParse(const std::string& text) {
  Result<Json> json = Json::Parse(text);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? *json : Json();
}

// zlib's crc32.
inline uint32_t Crc(uint32_t crc, std::string_view bytes) {
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

inline uint32_t CrcOf(const std::vector<int32_t>& row, uint32_t crc) {
  std::string bytes;
  for (const int32_t v : row) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(v >> shift);
  }
  return Crc(crc, bytes);
}

inline uint32_t CrcOf(const Encoding& e, uint32_t crc, bool with_words = true) {
  std::vector<int32_t> spans;
  for (const auto& [begin, end] : e.offsets) {
    spans.push_back(static_cast<int32_t>(begin));
    spans.push_back(static_cast<int32_t>(end));
  }
  for (const auto* row : {&e.ids, static_cast<const std::vector<int32_t>*>(&spans), &e.sequence_ids,
                          &e.type_ids, &e.special_tokens_mask, &e.attention_mask}) {
    crc = CrcOf(*row, crc);
  }
  if (with_words) crc = CrcOf(e.word_ids, crc);
  return crc;
}

inline std::string Show(const Encoding& e) {
  std::string out;
  for (size_t i = 0; i < e.size(); ++i) {
    out += StrCat(e.ids[i], "[", e.offsets[i].first, ",", e.offsets[i].second, ") ");
  }
  return out;
}

// Compares blocks of strings with their digests and names the first block that differs.
template <class Digest>
void ExpectBlocks(const Json& expected, const std::string& what, const Digest& digest) {
  ASSERT_TRUE(expected.is_array()) << what;
  for (size_t block = 0; block < expected.items().size(); ++block) {
    uint32_t crc = 0;
    std::string shown;
    for (uint64_t i = block * kBlock; i < (block + 1) * kBlock; ++i) crc = digest(i, crc, shown);
    char hex[9];
    snprintf(hex, sizeof(hex), "%08x", crc);
    ASSERT_EQ(expected.items()[block].as_string(), hex)
        << what << ", strings " << block * kBlock << " and on:\n"
        << shown.substr(0, 1000);
  }
}

inline void ExpectAsGolden(const Tokenizer& tokenizer, const Json& expected,
                           const std::string& name) {
  EncodeOptions all;
  all.parse_special = true;
  ExpectBlocks(expected["encode"], name + " encode",
               [&](uint64_t i, uint32_t crc, std::string& shown) {
                 const Result<Encoding> e = tokenizer.Encode(RandomString(i), all);
                 EXPECT_TRUE(e.ok());
                 shown += Show(*e) + "\n";
                 return CrcOf(*e, crc);
               });
  ExpectBlocks(expected["decode"], name + " decode",
               [&](uint64_t i, uint32_t crc, std::string& shown) {
                 const Result<Encoding> e = tokenizer.Encode(RandomString(i), all);
                 for (const bool skip : {false, true}) {
                   std::string text = tokenizer.Decode(e->ids, skip);
                   StreamDecoder stream(tokenizer, skip);
                   std::string streamed;
                   for (const int32_t id : e->ids) streamed += stream.Push(id);
                   EXPECT_EQ(streamed + stream.Finish(), text);
                   text.push_back('\0');
                   shown += text;
                   crc = Crc(crc, text);
                 }
                 return crc;
               });
  ExpectBlocks(expected["pair"], name + " pair", [&](uint64_t i, uint32_t crc, std::string& shown) {
    const Result<Encoding> e = tokenizer.EncodePair(RandomString(i), RandomString(i + 1), all);
    shown += Show(*e) + "\n";
    return CrcOf(*e, crc);
  });
  EncodeOptions plain;
  plain.parse_special = false;
  ExpectBlocks(expected["plain"], name + " plain",
               [&](uint64_t i, uint32_t crc, std::string& shown) {
                 const Result<Encoding> e = tokenizer.Encode(RandomString(i), plain);
                 shown += Show(*e) + "\n";
                 return CrcOf(*e, crc);
               });
}

}  // namespace sotto

#endif  // SOTTO_TESTS_CORE_TEXT_DIGESTS_H_
