#include "core/text/regex.h"
#include "core/text/tokenizer.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/base/file.h"
#include "core/base/random.h"
#include "core/base/utf8.h"
#include "gtest/gtest.h"
#include "tests/core/text_random_strings.h"

namespace sotto {
namespace {

using Spans = std::vector<std::pair<uint32_t, uint32_t>>;

std::string Golden(const std::string& name) {
  Result<std::string> text =
      ReadFile(std::string(SOTTO_SOURCE_DIR) + "/tests/golden/tokenizers/" + name + ".json");
  EXPECT_TRUE(text.ok()) << text.status().message();
  return text.ok() ? *text : std::string();
}

Tokenizer Load(const std::string& name, std::string_view config = {},
               std::string_view special = {}) {
  Result<Tokenizer> tokenizer = Tokenizer::FromJson(Golden(name), config, special);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return std::move(*tokenizer);
}

const char* const kTiny[] = {"wordpiece_uncased", "wordpiece_cased", "bpe_gpt2",
                             "bpe_roberta",       "bpe_llama3",      "bpe_qwen2"};

// A tokenizer.json with one member replaced.
std::string Document(const std::string& member, const std::string& value) {
  std::string out = R"({"added_tokens":[],"model":{"type":"WordPiece","unk_token":"[UNK]",)"
                    R"("vocab":{"[UNK]":0,"a":1,"##b":2}})";
  for (const char* name : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    out += StrCat(",\"", name, "\":", member == name ? value : "null");
  }
  return out + "}";
}

void ExpectError(const std::string& json, StatusCode code, const std::string& says) {
  const Result<Tokenizer> tokenizer = Tokenizer::FromJson(json);
  ASSERT_FALSE(tokenizer.ok()) << json;
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status().message();
  EXPECT_NE(tokenizer.status().message().find(says), std::string::npos)
      << tokenizer.status().message() << " should mention " << says;
}

TEST(TextTokenizer, AnUnknownPartIsAnErrorThatNamesIt) {
  ExpectError(Document("normalizer", R"({"type":"Mystery"})"), StatusCode::kUnsupported,
              "normalizer 'Mystery'");
  ExpectError(Document("normalizer", R"({"type":"Sequence","normalizers":[{"type":"Oops"}]})"),
              StatusCode::kUnsupported, "'Oops'");
  ExpectError(Document("pre_tokenizer", R"({"type":"UnicodeScripts"})"), StatusCode::kUnsupported,
              "pre-tokenizer 'UnicodeScripts'");
  ExpectError(Document("pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"(a|b)*"},)"
                                        R"("behavior":"Isolated","invert":false})"),
              StatusCode::kUnsupported, "(a|b)*");
  ExpectError(Document("post_processor", R"({"type":"Mystery"})"), StatusCode::kUnsupported,
              "post-processor 'Mystery'");
  ExpectError(Document("decoder", R"({"type":"Oops"})"), StatusCode::kUnsupported,
              "decoder 'Oops'");
  ExpectError(R"({"model":{"type":"Bigram","vocab":[]}})", StatusCode::kUnsupported, "'Bigram'");
  ExpectError(R"({"model":{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}})",
              StatusCode::kUnsupported, "dropout");
}

TEST(TextTokenizer, ARegularExpressionBeyondTheKnownIsAnErrorThatShowsIt) {
  for (const char* regex :
       {"(ab)*",  "a+?", "(?<=a)b", "(?<!a)b", "(a)\\\\1", "[a&&b]", "[a[b]]", "\\\\p{Greek}",
        "a**",    "^a",  "a$",      "(a",      "a)",       "[a",     "[]",     "a{2",
        "a{3,2}", "*a",  "\\\\q",   "(?x)a",   "(?=a)*",   "\\\\"}) {
    ExpectError(Document("pre_tokenizer", StrCat(R"({"type":"Split","pattern":{"Regex":")", regex,
                                                 R"("},"behavior":"Isolated","invert":false})")),
                StatusCode::kUnsupported, "regular expression");
  }
}

TEST(TextTokenizer, AnExpressionMadeToBeSlowEnds) {
  const auto regex = Regex::Parse("a*a*a*a*a*b");
  ASSERT_TRUE(regex.ok());
  size_t begin, end;
  EXPECT_FALSE(regex->Find(std::string(300, 'a'), 0, &begin, &end));
}

TEST(TextTokenizer, LlamasConfigSaysWhatIsPutAroundAText) {
  const auto ids = [](const std::string& config) {
    const auto tokenizer = Tokenizer::FromJson(
        R"({"model":{"type":"BPE","vocab":{"<s>":0,"</s>":1,"a":2,"b":3},"merges":[]}})", config);
    EXPECT_TRUE(tokenizer.ok());
    return tokenizer->EncodePair("a", "b")->ids;
  };
  using Ids = std::vector<int32_t>;
  const std::string head = R"({"tokenizer_class":"LlamaTokenizerFast")";
  EXPECT_EQ(ids(head + "}"), (Ids{2, 3}));
  EXPECT_EQ(ids(head + R"(,"add_bos_token":true})"), (Ids{0, 2, 0, 3}));
  EXPECT_EQ(ids(head + R"(,"add_bos_token":false,"add_eos_token":true})"), (Ids{2, 1, 3, 1}));
  EXPECT_EQ(ids(R"({"tokenizer_class":"BertTokenizer","add_bos_token":true})"), (Ids{2, 3}));
}

TEST(TextTokenizer, AMalformedFileIsAnErrorThatSaysWhere) {
  ExpectError(R"({"model":{"type":"Unigram","vocab":{}}})", StatusCode::kInvalidFile, "'vocab'");
  ExpectError(R"({"model":{"type":"Unigram","vocab":[["a",0],["b"]]}})", StatusCode::kInvalidFile,
              "entry 1");
  ExpectError(R"({"model":{"type":"Unigram","vocab":[["a",0]],"unk_id":1}})",
              StatusCode::kInvalidFile, "'unk_id'");
  ExpectError(Document("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"AA"})"),
              StatusCode::kInvalidFile, "base64");
  ExpectError(Document("normalizer", R"({"type":"Precompiled","precompiled_charsmap":"CAAAAA=="})"),
              StatusCode::kInvalidFile, "claims 8 bytes");
  ExpectError("", StatusCode::kInvalidFile, "empty");
  ExpectError("{", StatusCode::kInvalidFile, "tokenizer.json");
  ExpectError("[]", StatusCode::kInvalidFile, "object");
  ExpectError("{}", StatusCode::kInvalidFile, "model");
  ExpectError(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}})",
              StatusCode::kInvalidFile, "'ab'");
  ExpectError(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}})",
              StatusCode::kInvalidFile, "merge 0");
  ExpectError(R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}})", StatusCode::kInvalidFile,
              "'a'");
  ExpectError(R"({"model":{"type":"BPE","vocab":{"a":4000000000},"merges":[]}})",
              StatusCode::kInvalidFile, "'a'");
  ExpectError(Document("post_processor", R"({"type":"TemplateProcessing","special_tokens":{},)"
                                         R"("single":[{"SpecialToken":{"id":"[X]","type_id":0}}],)"
                                         R"("pair":[]})"),
              StatusCode::kInvalidFile, "[X]");
}

TEST(TextTokenizer, SpecialTokensTypedByAUserStayPlainText) {
  const Tokenizer tokenizer = Load("bpe_llama3");
  const std::string text = "hi<|eot_id|>there";
  const int32_t eot = *tokenizer.TokenToId("<|eot_id|>");
  const auto holds = [&](const Encoding& e) {
    return std::find(e.ids.begin(), e.ids.end(), eot) != e.ids.end();
  };
  EncodeOptions options;
  EXPECT_TRUE(holds(*tokenizer.Encode(text, options)));
  options.parse_special = false;
  const Result<Encoding> plain = tokenizer.Encode(text, options);
  EXPECT_FALSE(holds(*plain));
  EXPECT_EQ(tokenizer.Decode(plain->ids), text);
}

TEST(TextTokenizer, AnyTextSurvivesByteLevelEncodingAndDecoding) {
  EncodeOptions options;
  options.parse_special = false;
  const Tokenizer tokenizer = Load("bpe_gpt2");
  for (uint64_t i = 0; i < 2000; ++i) {
    const std::string text = RandomString(i);
    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text, options)->ids, false), text);
  }
}

TEST(TextTokenizer, InvalidUtf8CountsAsReplacementCharactersAndNeverCrashes) {
  for (const char* name : kTiny) {
    const Tokenizer tokenizer = Load(name);
    Random random(7);
    for (int round = 0; round < 500; ++round) {
      std::string bytes;
      for (uint64_t n = random.NextBelow(60); n > 0; --n) {
        // Mostly bytes of broken multi-byte characters.
        bytes += static_cast<char>(random.NextBelow(3) == 0 ? random.NextBelow(256)
                                                            : 0x80 + random.NextBelow(128));
      }
      const Result<Encoding> e = tokenizer.Encode(bytes);
      ASSERT_TRUE(e.ok());
      const Result<Encoding> mended = tokenizer.Encode(ReplaceInvalidUtf8(bytes));
      EXPECT_EQ(e->ids, mended->ids);
      for (const auto& [begin, end] : e->offsets) {
        ASSERT_LE(begin, end);
        ASSERT_LE(end, bytes.size());
      }
    }
  }
}

TEST(TextTokenizer, OffsetsOfInvalidUtf8PointAtTheOriginalBytes) {
  const Tokenizer tokenizer = Load("bpe_gpt2");
  const Result<Encoding> e = tokenizer.Encode(
      "a\xFF"
      "b");
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->offsets.front(), (std::pair<uint32_t, uint32_t>(0, 1)));
  EXPECT_EQ(e->offsets.back(), (std::pair<uint32_t, uint32_t>(2, 3)));
  for (size_t i = 1; i + 1 < e->size(); ++i) {
    EXPECT_EQ(e->offsets[i], (std::pair<uint32_t, uint32_t>(1, 2)));
  }
}

TEST(TextTokenizer, OffsetsReachThroughNormalizationToTheOriginal) {
  const Tokenizer tokenizer = Load("wordpiece_uncased");
  //                          0    1 5     6
  const std::string text =
      "\x07\xC3\x89"
      "a\xCC\x81!";
  const Result<Encoding> e = tokenizer.Encode(text, {.add_special_tokens = false});
  ASSERT_TRUE(e.ok());
  ASSERT_FALSE(e->offsets.empty());
  EXPECT_EQ(e->offsets.front().first, 1u);  // the control character is gone
  EXPECT_EQ(e->offsets.back(), (std::pair<uint32_t, uint32_t>(6, 7)));
}

TEST(TextTokenizer, LongRunsTakeTimeInProportionToTheirLength) {
  for (const char* name : kTiny) {
    const Tokenizer tokenizer = Load(name);
    for (const char* unit : {"a", "ab", "\xE4\xB8\xAD", " ", "\n", "<", "\xCC\x81", "1", "'"}) {
      std::string text;
      while (text.size() < 200000) text += unit;
      const auto start = std::chrono::steady_clock::now();
      ASSERT_TRUE(tokenizer.Encode(text).ok());
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      EXPECT_LT(took.count(), 10.0) << name << " on a run of " << unit;
    }
  }
}

TEST(TextTokenizer, StreamedPiecesAreWholeCharactersAndAddUpToTheText) {
  const Tokenizer tokenizer = Load("bpe_gpt2");
  const std::string text = "caf\xC3\xA9 \xF0\x9F\x98\x80\xE4\xB8\xAD!";
  const std::vector<int32_t> ids = tokenizer.Encode(text)->ids;
  StreamDecoder stream(tokenizer);
  std::string all;
  for (const int32_t id : ids) {
    const std::string piece = stream.Push(id);
    EXPECT_TRUE(IsValidUtf8(piece));
    all += piece;
  }
  EXPECT_EQ(all + stream.Finish(), text);
}

TEST(TextTokenizer, AStreamThatEndsInsideACharacterFinishesAsTheWholeDecodeDoes) {
  const Tokenizer tokenizer = Load("bpe_gpt2");
  std::vector<int32_t> ids = tokenizer.Encode("x\xF0\x9F\x98\x80")->ids;
  ids.pop_back();
  StreamDecoder stream(tokenizer);
  std::string all;
  for (const int32_t id : ids) all += stream.Push(id);
  EXPECT_EQ(all, "x");
  all += stream.Finish();
  EXPECT_EQ(all, tokenizer.Decode(ids));
  EXPECT_EQ(all, "x\xEF\xBF\xBD");
}

TEST(TextTokenizer, RandomIdsStreamToTheSameTextAsTheyDecodeTo) {
  for (const char* name : kTiny) {
    for (const char* config : {"", R"({"clean_up_tokenization_spaces":true})"}) {
      const Tokenizer tokenizer = Load(name, config);
      for (uint64_t seed = 0; seed < 200; ++seed) {
        Random random(seed);
        std::vector<int32_t> ids;
        for (int i = 0; i < 40; ++i) {
          ids.push_back(static_cast<int32_t>(
              random.NextBelow(static_cast<uint64_t>(tokenizer.vocab_size()) + 3)));
        }
        StreamDecoder stream(tokenizer, seed % 2 == 0);
        std::string all;
        for (const int32_t id : ids) all += stream.Push(id);
        EXPECT_EQ(all + stream.Finish(), tokenizer.Decode(ids, seed % 2 == 0));
      }
    }
  }
}

TEST(TextTokenizer, CleanUpRemovesBlanksBeforePunctuationAlsoWhenStreamed) {
  const std::string json =
      R"({"pre_tokenizer":{"type":"WhitespaceSplit"},"model":{"type":"WordPiece","vocab":)"
      R"({"[UNK]":0,"it":1,"'s":2,".":3,"n't":4,"'":5}}})";
  Result<Tokenizer> plain = Tokenizer::FromJson(json);
  Result<Tokenizer> clean = Tokenizer::FromJson(json, R"({"clean_up_tokenization_spaces":true})");
  ASSERT_TRUE(plain.ok() && clean.ok());
  const std::vector<int32_t> ids = {1, 2, 5, 1, 5, 4, 3};
  EXPECT_EQ(plain->Decode(ids), "it 's ' it ' n't .");
  EXPECT_EQ(clean->Decode(ids), "it's'it'n't.");
  StreamDecoder stream(*clean);
  std::string all;
  for (const int32_t id : ids) all += stream.Push(id);
  EXPECT_EQ(all + stream.Finish(), "it's'it'n't.");
}

TEST(TextTokenizer, ConfigNamesTheRolesTheLimitAndTheChatTemplate) {
  const Tokenizer tokenizer = Load(
      "bpe_llama3",
      R"({"bos_token":{"content":"<|begin_of_text|>"},"eos_token":null,"model_max_length":4096,)"
      R"("chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})",
      R"({"pad_token":"<|end_of_text|>"})");
  EXPECT_EQ(tokenizer.bos_id(), tokenizer.TokenToId("<|begin_of_text|>"));
  EXPECT_FALSE(tokenizer.eos_id().has_value());
  EXPECT_EQ(tokenizer.pad_id(), tokenizer.TokenToId("<|end_of_text|>"));
  EXPECT_EQ(tokenizer.model_max_length(), 4096);
  EXPECT_EQ(tokenizer.chat_template(), "D");
  EXPECT_EQ(Load("bpe_gpt2", R"({"model_max_length":1e30})").model_max_length(), 0);
}

TEST(TextTokenizer, AFileAloneFindsItsRolesUnderTheirUsualNames) {
  const Tokenizer bert = Load("wordpiece_uncased");
  EXPECT_EQ(bert.cls_id(), 2);
  EXPECT_EQ(bert.sep_id(), 3);
  EXPECT_EQ(bert.pad_id(), 0);
  EXPECT_EQ(bert.unk_id(), 1);
  EXPECT_EQ(bert.mask_id(), 4);
  EXPECT_FALSE(bert.bos_id().has_value());
  EXPECT_EQ(bert.special_tokens_to_add(false), 2);
  EXPECT_EQ(bert.special_tokens_to_add(true), 3);
}

TEST(TextTokenizer, IdsAndTokensNameEachOther) {
  for (const char* name : kTiny) {
    const Tokenizer tokenizer = Load(name);
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      const std::string_view token = tokenizer.IdToToken(id);
      ASSERT_FALSE(token.empty());
      EXPECT_EQ(tokenizer.TokenToId(token), id);
    }
    EXPECT_EQ(tokenizer.IdToToken(-1), "");
    EXPECT_EQ(tokenizer.IdToToken(tokenizer.vocab_size()), "");
    EXPECT_FALSE(tokenizer.TokenToId("no such token").has_value());
    EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{-5, 1 << 30}), "");
  }
}

TEST(TextTokenizer, OverflowHoldsAllThatWasCutOffInOverlappingWindows) {
  const Tokenizer bert = Load("wordpiece_uncased");
  for (uint64_t i = 0; i < 100; ++i) {
    const std::string text = RandomString(i);
    const std::vector<int32_t> all = bert.Encode(text, {.add_special_tokens = false})->ids;
    for (const bool left : {false, true}) {
      const Result<Encoding> e = bert.Encode(
          text, {.max_length = 10, .truncate_left = left, .stride = 3, .return_overflow = true});
      ASSERT_TRUE(e.ok());
      std::vector<const Encoding*> windows = {&*e};
      for (const Encoding& window : e->overflow) windows.push_back(&window);
      if (left) std::reverse(windows.begin(), windows.end());
      std::vector<int32_t> joined;
      for (const Encoding* window : windows) {
        ASSERT_GE(window->size(), 2u);
        EXPECT_EQ(window->ids.front(), 2);
        EXPECT_EQ(window->ids.back(), 3);
        std::vector<int32_t> ids(window->ids.begin() + 1, window->ids.end() - 1);
        if (!joined.empty()) {
          // From the left the first window may be shorter than the overlap.
          const size_t overlap = std::min<size_t>(3, joined.size());
          ASSERT_TRUE(std::equal(ids.begin(), ids.begin() + overlap, joined.end() - overlap));
          ids.erase(ids.begin(), ids.begin() + overlap);
        }
        joined.insert(joined.end(), ids.begin(), ids.end());
      }
      EXPECT_EQ(joined, all);
    }
  }
}

TEST(TextTokenizer, RefusesLengthsThatCannotBeMet) {
  const Tokenizer bert = Load("wordpiece_uncased");
  EXPECT_FALSE(bert.Encode("a b c", {.max_length = 1}).ok());
  EXPECT_TRUE(bert.Encode("a b c", {.max_length = 2}).ok());
  EXPECT_EQ(bert.Encode("a b c", {.max_length = 2})->size(), 2u);
  EXPECT_FALSE(bert.Encode("a b c", {.max_length = 4, .truncation = Truncation::kOnlySecond}).ok());
  EXPECT_FALSE(bert.Encode("a b c d e f", {.max_length = 5, .stride = 3}).ok());
  EXPECT_FALSE(bert.Encode("a b c d e f", {.max_length = 5, .stride = -1}).ok());
  EXPECT_FALSE(Load("bpe_gpt2", R"({"pad_token":null})").Encode("a", {.pad_to = 8}).ok());
}

TEST(TextTokenizer, EncodeIdsGivesTheIdsOfEncodeWithoutSpecialTokens) {
  for (const char* name : kTiny) {
    const Tokenizer tokenizer = Load(name);
    for (uint64_t i = 0; i < 300; ++i) {
      std::vector<int32_t> ids;
      ASSERT_TRUE(tokenizer.EncodeIds(RandomString(i), true, ids).ok());
      EXPECT_EQ(ids, tokenizer.Encode(RandomString(i), {.add_special_tokens = false})->ids);
    }
  }
}

#if SOTTO_THREADS
TEST(TextTokenizer, ThreadsShareOneTokenizer) {
  const Tokenizer tokenizer = Load("bpe_qwen2");
  std::vector<std::vector<int32_t>> expected;
  for (uint64_t i = 0; i < 200; ++i) expected.push_back(tokenizer.Encode(RandomString(i))->ids);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 200; ++i) {
        wrong[t] += tokenizer.Encode(RandomString(i))->ids != expected[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}
#endif

TEST(TextOffsets, Utf16OffsetsCountAsJavaScriptDoes) {
  // a, e with acute (2 bytes), an ideograph (3), an emoji (4 bytes, 2 units), b
  const std::string text =
      "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80"
      "b";
  const std::vector<uint32_t> bytes = {11, 0, 1, 3, 6, 10, 12, 99, 2, 8};
  EXPECT_EQ(Utf16Offsets(text, bytes), (std::vector<uint32_t>{6, 0, 1, 2, 3, 5, 6, 6, 1, 3}));
}

TEST(TextOffsets, IllFormedPartsAreOneUnitEach) {
  // Two bytes of a cut character are one part; a stray continuation byte is another.
  const std::vector<uint32_t> bytes = {0, 2, 3, 4};
  EXPECT_EQ(Utf16Offsets("\xE4\xB8\x80\x80", bytes), (std::vector<uint32_t>{0, 0, 1, 2}));
  EXPECT_EQ(Utf16Offsets("\xE4\xB8"
                         "a\xFF",
                         bytes),
            (std::vector<uint32_t>{0, 1, 2, 3}));
}

TEST(NumberUnknownWords, GivesEachWordOfTheSourceOneIdThatTheTargetUses) {
  const Result<Tokenizer> tokenizer = Tokenizer::FromJson(
      R"({"pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "unk_token": "?",
          "vocab": {"?": 0, "met": 1}}})");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const std::string source = "Zo\xC3\xAB met Bo met Zo\xC3\xAB", target = "Bo Al Zo\xC3\xAB met";
  Encoding a = *tokenizer->Encode(source), b = *tokenizer->Encode(target);
  std::vector<std::string> words;
  NumberUnknownWords(source, 0, 50, true, words, a);
  NumberUnknownWords(target, 0, 50, false, words, b);
  EXPECT_EQ(words, (std::vector<std::string>{"Zo\xC3\xAB", "Bo"}));
  EXPECT_EQ(a.ids, (std::vector<int32_t>{50, 1, 51, 1, 50}));
  EXPECT_EQ(b.ids, (std::vector<int32_t>{51, 0, 50, 1}));
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.PushToken("Zo\xC3\xAB") + decoder.Push(1) + decoder.PushToken("Bo") +
                decoder.Finish(),
            "Zo\xC3\xAB met Bo");
}

}  // namespace
}  // namespace sotto
