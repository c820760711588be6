// Ids, offsets, masks and decoded text against Hugging Face's tokenizers, which made the digests in
// tests/golden/tokenizers (tests/golden/make_tokenizer_golden.py).
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/text/tokenizer.h"
#include "gtest/gtest.h"
#include "tests/core/text_digests.h"

namespace sotto {
namespace {

std::string GoldenPath(const std::string& name) {
  return std::string(SOTTO_SOURCE_DIR) + "/tests/golden/tokenizers/" + name;
}

class TinyTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(TinyTokenizer, AgreesWithHuggingFaceOnTenThousandRandomStrings) {
  const Json expected = MustParse(MustRead(GoldenPath("expected.json")));
  const std::string name = GetParam();
  Result<Tokenizer> tokenizer = Tokenizer::FromJson(MustRead(GoldenPath(name + ".json")));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  ASSERT_EQ(expected[name]["encode"].items().size(), 10000 / kBlock);
  ExpectAsGolden(*tokenizer, expected[name], name);
}

INSTANTIATE_TEST_SUITE_P(All, TinyTokenizer,
                         testing::Values("wordpiece_uncased", "wordpiece_cased", "bpe_gpt2",
                                         "bpe_roberta", "bpe_llama3", "bpe_qwen2", "unigram_t5",
                                         "unigram_xlmr"));

TEST(TextGolden, EveryKindOfPartAgreesWithHuggingFace) {
  const Json parts = MustParse(MustRead(GoldenPath("parts.json")));
  ASSERT_GT(parts["cases"].items().size(), 20u);
  for (const Json& part : parts["cases"].items()) {
    const std::string& name = part["name"].as_string();
    SCOPED_TRACE(name);
    std::vector<Json::Member> members;
    for (const Json::Member& member : parts["base"].members()) {
      const Json& change = part["change"][member.first];
      Json value = part["change"].has(member.first) ? change : member.second;
      if (member.first == "model" && change.is_string()) {
        value = MustParse(MustRead(GoldenPath(change.as_string() + ".json")))["model"];
      }
      members.push_back({member.first, value});
    }
    Result<Tokenizer> tokenizer = Tokenizer::FromJson(Json::Object(std::move(members)).Dump());
    ASSERT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.status().message();
    ExpectAsGolden(*tokenizer, part["expected"], name);
  }
}

TEST(TextGolden, TruncationAndPaddingAgreeWithHuggingFace) {
  const Json expected = MustParse(MustRead(GoldenPath("expected.json")));
  Result<Tokenizer> tokenizer = Tokenizer::FromJson(MustRead(GoldenPath("wordpiece_uncased.json")));
  ASSERT_TRUE(tokenizer.ok());
  const Json& cases = expected["wordpiece_uncased"]["truncation"];
  ASSERT_EQ(cases.items().size(), 36u);
  for (const Json& spec : cases.items()) {
    EncodeOptions options;
    options.max_length = static_cast<int>(spec["max_length"].as_int());
    options.stride = static_cast<int>(spec["stride"].as_int());
    options.pad_to = static_cast<int>(spec["pad_to"].as_int());
    options.truncate_left = options.pad_left = spec["direction"].as_string() == "left";
    const std::string& strategy = spec["strategy"].as_string();
    options.truncation = strategy == "longest_first" ? Truncation::kLongestFirst
                         : strategy == "only_first"  ? Truncation::kOnlyFirst
                                                     : Truncation::kOnlySecond;
    const bool is_pair = spec["pair"].as_bool();
    const std::string what = StrCat(strategy, is_pair ? " pair " : " single ", options.max_length,
                                    " ", spec["direction"].as_string());
    ExpectBlocks(spec["blocks"], what, [&](uint64_t i, uint32_t crc, std::string& shown) {
      const Result<Encoding> e =
          is_pair ? tokenizer->EncodePair(RandomString(i), RandomString(i + 1), options)
                  : tokenizer->Encode(RandomString(i), options);
      if (!e.ok()) {
        shown += "error: " + e.status().message() + "\n";
        return Crc(crc, "error");
      }
      shown += Show(*e) + "\n";
      return CrcOf(*e, crc, false);
    });
  }
}

// GPT-2's own two files as a tokenizer.json.
std::string Gpt2Json(const std::string& folder) {
  std::vector<Json> merges;
  const std::string lines = MustRead(folder + "/merges.txt");
  for (size_t at = lines.find('\n') + 1; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    if (end > at) merges.push_back(Json::String(lines.substr(at, end - at)));
    at = end + 1;
  }
  const Json bytes =
      MustParse(R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false})");
  return Json::Object(
             {{"added_tokens", MustParse(R"([{"id":50256,"content":"<|endoftext|>","special":true,
                              "single_word":false,"lstrip":false,"rstrip":false,
                              "normalized":false}])")},
              {"pre_tokenizer", bytes},
              {"post_processor", bytes},
              {"decoder", bytes},
              {"model", Json::Object({{"type", Json::String("BPE")},
                                      {"vocab", MustParse(MustRead(folder + "/vocab.json"))},
                                      {"merges", Json::Array(std::move(merges))}})}})
      .Dump();
}

// The published tokenizers lie beside the repository, or where SOTTO_TOKENIZERS says.
TEST(TextGolden, PublishedTokenizersAgreeWithHuggingFace) {
  const char* set = std::getenv("SOTTO_TOKENIZERS");
  const std::string folder =
      set != nullptr ? set : std::string(SOTTO_SOURCE_DIR) + "/../shared/fixtures/tokenizers";
  const Json golden = MustParse(MustRead(GoldenPath("fixtures.json")));
  int tested = 0;
  for (const Json::Member& file : golden["files"].members()) {
    const std::string path = folder + "/" + file.second.as_string();
    const bool is_folder = FileExists(path + "/vocab.json");
    if (!is_folder && !FileExists(path)) continue;
    SCOPED_TRACE(path);
    Result<Tokenizer> tokenizer = Tokenizer::FromJson(is_folder ? Gpt2Json(path) : MustRead(path));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    ExpectAsGolden(*tokenizer, golden["expected"][file.first], file.first);
    ++tested;
  }
  if (tested == 0) GTEST_SKIP() << "no published tokenizer.json files in " << folder;
}

}  // namespace
}  // namespace sotto
