// SentencePiece models and the older tokenizer files against Hugging Face's conversions and
// SentencePiece itself, which made the digests in tests/golden/sentencepiece
// (make_sentencepiece_golden.py).
#include "core/text/sentencepiece.h"

#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/text/tokenizer_files.h"
#include "gtest/gtest.h"
#include "tests/core/text_digests.h"

namespace sotto {
namespace {

std::string SpmPath(const std::string& name) {
  return std::string(SOTTO_SOURCE_DIR) + "/tests/golden/sentencepiece/" + name;
}
Json Expected() { return MustParse(MustRead(SpmPath("expected.json"))); }

TEST(TextSentencePiece, EveryClassAgreesWithHuggingFacesConversion) {
  const Json expected = Expected();
  ASSERT_GE(expected["classes"].items().size(), 17u);
  for (const Json& spec : expected["classes"].items()) {
    const std::string& name = spec["class"].as_string();
    std::vector<Json::Member> config = spec["config"].members();
    const std::string what = StrCat(name, " ", spec["config"].Dump());
    SCOPED_TRACE(what);
    config.push_back({"tokenizer_class", Json::String(name)});
    const std::string config_json = Json::Object(std::move(config)).Dump();
    const std::string model = MustRead(SpmPath(spec["model"].as_string() + ".model"));
    const Result<Tokenizer> tokenizer =
        OpenTokenizer({.config = config_json, .sentencepiece = model});
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    ExpectAsGolden(*tokenizer, spec["expected"], what);
  }
}

void ExpectIds(const Tokenizer& tokenizer, const Json& digests, const std::string& what) {
  ExpectBlocks(digests, what, [&](uint64_t i, uint32_t crc, std::string& shown) {
    const Result<Encoding> e = tokenizer.Encode(RandomString(i), {.parse_special = false});
    EXPECT_TRUE(e.ok());
    shown += Show(*e) + "\n";
    return CrcOf(e->ids, crc);
  });
}

TEST(TextSentencePiece, AModelByItselfTokenizesAsSentencePieceDoes) {
  const Json expected = Expected();
  for (const Json::Member& member : expected["sentencepiece"].members()) {
    SCOPED_TRACE(member.first);
    const auto model = SentencePieceModel::Parse(MustRead(SpmPath(member.first + ".model")));
    ASSERT_TRUE(model.ok()) << model.status().message();
    const Result<Json> json = SentencePieceTokenizer(*model);
    ASSERT_TRUE(json.ok()) << json.status().message();
    const Result<Tokenizer> tokenizer = Tokenizer::FromJson(json->Dump());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    ExpectIds(*tokenizer, member.second, member.first);
  }
}

TEST(TextSentencePiece, MarianAndM2M100TakeTheIdsOfTheirVocabulary) {
  const Json expected = Expected();
  for (const auto& [name, key, file, config] :
       {std::tuple("MarianTokenizer", "marian", "unigram.model", R"({})"),
        {"M2M100Tokenizer", "m2m100", "bpe.model", R"({"src_lang":"ca"})"}}) {
    SCOPED_TRACE(name);
    const std::string vocab = expected[key]["vocab"].Dump(), model = MustRead(SpmPath(file));
    const std::string config_json =
        StrCat(R"({"tokenizer_class":")", name, "\"", config[1] == '}' ? "" : ",", config + 1);
    const Result<Tokenizer> tokenizer =
        OpenTokenizer({.config = config_json, .sentencepiece = model, .vocab = vocab});
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    ExpectIds(*tokenizer, expected[key]["blocks"], name);
    for (const Json& text : expected[key]["texts"].items()) {
      const Result<Encoding> e = tokenizer->Encode(text["text"].as_string());
      ASSERT_TRUE(e.ok());
      std::vector<int32_t> ids;
      for (const Json& id : text["ids"].items()) ids.push_back(static_cast<int32_t>(id.as_int()));
      EXPECT_EQ(e->ids, ids) << text["text"].as_string();
    }
  }
}

TEST(TextSentencePiece, OffsetsReachTheBytesThatWereNormalized) {
  const auto model = SentencePieceModel::Parse(MustRead(SpmPath("unigram.model")));
  ASSERT_TRUE(model.ok());
  const Result<Tokenizer> tokenizer = Tokenizer::FromJson(SentencePieceTokenizer(*model)->Dump());
  ASSERT_TRUE(tokenizer.ok());
  // A blank, U+FF54 U+FF48 U+FF45 (the), two blanks, U+00BD (1, U+2044, 2).
  const std::string text = " \xEF\xBD\x94\xEF\xBD\x88\xEF\xBD\x85  \xC2\xBD";
  const Result<Encoding> e = tokenizer->Encode(text);
  ASSERT_TRUE(e.ok());
  ASSERT_GE(e->size(), 2u);
  EXPECT_EQ(tokenizer->IdToToken(e->ids[0]), "\xE2\x96\x81the");
  EXPECT_EQ(e->offsets[0], (std::pair<uint32_t, uint32_t>(1, 10)));
  EXPECT_EQ(e->offsets.back(), (std::pair<uint32_t, uint32_t>(12, 14)));
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(TextSentencePiece, EveryMalformedModelIsRefusedWithItsReason) {
  const std::string table = MustRead(SOTTO_SOURCE_DIR "/tests/malformed/sentencepiece.jsonl");
  int lines = 0;
  for (size_t at = 0; at < table.size();) {
    const size_t end = table.find('\n', at);
    const Json line = MustParse(table.substr(at, end - at));
    at = end + 1;
    ++lines;
    const auto model = SentencePieceModel::Parse(FromHex(line["hex"].as_string()));
    EXPECT_FALSE(model.ok()) << line["name"].as_string();
    EXPECT_EQ(model.status().message(), line["error"].as_string()) << line["name"].as_string();
  }
  EXPECT_EQ(lines, 19);
}

TEST(TextSentencePiece, AModelCutAnywhereIsRefusedOrShorter) {
  const std::string whole = MustRead(SpmPath("unigram.model"));
  const auto full = SentencePieceModel::Parse(whole);
  ASSERT_TRUE(full.ok());
  for (size_t size = 0; size < whole.size(); size += 7) {
    const auto model = SentencePieceModel::Parse(whole.substr(0, size));
    if (model.ok()) EXPECT_LE(model->pieces.size(), full->pieces.size());
  }
}

TEST(TextSentencePiece, AFolderOfAnUnknownClassIsAnErrorThatNamesIt) {
  const std::string model = MustRead(SpmPath("unigram.model"));
  const auto message = [&](const TokenizerFiles& files) {
    const Result<Tokenizer> tokenizer = OpenTokenizer(files);
    return tokenizer.ok() ? std::string("loads") : tokenizer.status().message();
  };
  EXPECT_EQ(message({.config = R"({"tokenizer_class":"OddTokenizer"})", .sentencepiece = model}),
            "the tokenizer class 'OddTokenizer' without tokenizer.json");
  EXPECT_EQ(
      message({.sentencepiece = model, .model_type = "odd"}),
      "a folder without tokenizer.json whose tokenizer_config.json names no class (model type "
      "odd)");
  EXPECT_EQ(message({.sentencepiece = model, .model_type = "bert"}),
            "a SentencePiece model as BertTokenizer");
  EXPECT_EQ(message({.sentencepiece = model, .model_type = "marian"}),
            "MarianTokenizer needs vocab.json");
  EXPECT_EQ(message({.sentencepiece = model, .model_type = "xlm-roberta"}), "loads");
  EXPECT_NE(message({}).find("there is no tokenizer"), std::string::npos);
}

TEST(TextTokenizerFiles, VocabTxtMakesBert) {
  const std::string vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nw\n##or\n##ld\n!\n";
  const auto tokenizer = OpenTokenizer({.vocab = vocab, .model_type = "bert"});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ(tokenizer->Encode("Hello World!")->ids, (std::vector<int32_t>{2, 5, 6, 7, 8, 9, 3}));
  const auto mpnet =
      OpenTokenizer({.vocab = "<s>\n<pad>\n</s>\n[UNK]\nhello\n<mask>\n", .model_type = "mpnet"});
  ASSERT_TRUE(mpnet.ok()) << mpnet.status().message();
  EXPECT_EQ(mpnet->EncodePair("hello", "hello <mask>")->ids,
            (std::vector<int32_t>{0, 4, 2, 2, 4, 5, 2}));
}

TEST(TextTokenizerFiles, VocabJsonAndMergesMakeGpt2AndRoberta) {
  const std::string merges = "#version: 0.2\nh e\nhe y\n";
  const std::string letters =
      R"("h":4,"e":5,"y":6,"he":7,"hey":8,"\u0120":9,"<mask>":10,"<|endoftext|>":11})";
  const std::string vocab = R"({"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,)" + letters;
  const auto gpt2 = OpenTokenizer({.vocab = vocab, .merges = merges, .model_type = "gpt2"});
  ASSERT_TRUE(gpt2.ok()) << gpt2.status().message();
  EXPECT_EQ(gpt2->Encode("hey he<|endoftext|>")->ids, (std::vector<int32_t>{8, 9, 7, 11}));
  const auto roberta = OpenTokenizer({.vocab = vocab, .merges = merges, .model_type = "roberta"});
  ASSERT_TRUE(roberta.ok()) << roberta.status().message();
  EXPECT_EQ(roberta->Encode("hey <mask>")->ids, (std::vector<int32_t>{0, 8, 10, 2}));
  EXPECT_EQ(roberta->EncodePair("he", "y")->ids, (std::vector<int32_t>{0, 7, 2, 2, 6, 2}));
}

}  // namespace
}  // namespace sotto
