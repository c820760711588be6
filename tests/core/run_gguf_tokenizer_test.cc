// Tokenizers inside GGUF files: against what Hugging Face and SentencePiece make of the same
// vocabularies (tests/golden), and against llama.cpp's own vocabularies where they lie beside the
// repository.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/io/gguf.h"
#include "core/io/gguf_tokenizer.h"
#include "core/run/pipeline.h"
#include "core/text/sentencepiece.h"
#include "gtest/gtest.h"
#include "tests/core/text_digests.h"

namespace sotto {
namespace {

std::string Golden(const std::string& name) {
  return MustRead(std::string(SOTTO_SOURCE_DIR) + "/tests/golden/" + name);
}

Result<Tokenizer> TokenizerIn(const GgufMetadata& metadata) {
  ModelFiles files;
  SOTTO_ASSIGN_OR_RETURN(files.tokenizer, GgufTokenizerJson(metadata));
  return TokenizerOf(files);
}

GgufMetadata FromSentencePiece(const std::string& file, const std::string& model_name) {
  GgufMetadata metadata;
  const auto model = SentencePieceModel::Parse(Golden("sentencepiece/" + file));
  EXPECT_TRUE(model.ok());
  std::vector<std::string> tokens;
  std::vector<double> scores;
  std::vector<int64_t> types, charsmap;
  for (const SentencePieceModel::Piece& piece : model->pieces) {
    tokens.push_back(piece.text);
    scores.push_back(piece.score);
    types.push_back(static_cast<int64_t>(piece.type));
  }
  for (const char byte : model->charsmap) charsmap.push_back(static_cast<uint8_t>(byte));
  metadata.Set("tokenizer.ggml.model", model_name);
  metadata.Set("tokenizer.ggml.tokens", tokens);
  metadata.Set("tokenizer.ggml.scores", scores);
  metadata.Set("tokenizer.ggml.token_type", types);
  metadata.Set("tokenizer.ggml.precompiled_charsmap", charsmap);
  metadata.Set("tokenizer.ggml.unknown_token_id", int64_t{0});
  metadata.Set("tokenizer.ggml.bos_token_id", int64_t{1});
  metadata.Set("tokenizer.ggml.eos_token_id", int64_t{2});
  return metadata;
}

void ExpectIds(const Tokenizer& tokenizer, const Json& digests, const std::string& what) {
  ExpectBlocks(digests, what, [&](uint64_t i, uint32_t crc, std::string& shown) {
    const Result<Encoding> e =
        tokenizer.Encode(RandomString(i), {.add_special_tokens = false, .parse_special = false});
    EXPECT_TRUE(e.ok());
    shown += Show(*e) + "\n";
    return CrcOf(e->ids, crc);
  });
}

TEST(GgufTokenizer, LlamaAndT5TokenizeAsSentencePieceDoes) {
  const Json expected = MustParse(Golden("sentencepiece/expected.json"))["sentencepiece"];
  const auto llama = TokenizerIn(FromSentencePiece("llama.model", "llama"));
  ASSERT_TRUE(llama.ok()) << llama.status().message();
  ExpectIds(*llama, expected["llama"], "llama");
  EXPECT_EQ(llama->Encode("a")->ids.front(), 1);
  const auto t5 = TokenizerIn(FromSentencePiece("unigram.model", "t5"));
  ASSERT_TRUE(t5.ok()) << t5.status().message();
  ExpectIds(*t5, expected["unigram"], "t5");
  EXPECT_EQ(t5->Encode("a")->ids.back(), 2);
}

// The tokens of a golden tokenizer.json by id.
std::vector<std::string> TokensOf(const Json& vocab) {
  std::vector<std::string> tokens(vocab.members().size());
  for (const Json::Member& member : vocab.members()) {
    tokens[static_cast<size_t>(member.second.as_int())] = member.first;
  }
  return tokens;
}

TEST(GgufTokenizer, Gpt2TokenizesByTheNameOfItsPreTokenizer) {
  for (const auto& [file, pre] :
       {std::pair("bpe_gpt2", "gpt-2"), {"bpe_llama3", "dbrx"}, {"bpe_qwen2", "qwen2"}}) {
    SCOPED_TRACE(file);
    const std::string text = Golden(std::string("tokenizers/") + file + ".json");
    const Json json = MustParse(text);
    std::vector<std::string> merges;
    for (const Json& merge : json["model"]["merges"].items()) {
      merges.push_back(merge.is_string() ? merge.as_string()
                                         : StrCat(merge.items()[0].as_string(), " ",
                                                  merge.items()[1].as_string()));
    }
    const std::vector<std::string> tokens = TokensOf(json["model"]["vocab"]);
    std::vector<int64_t> types(tokens.size(), 1);
    for (const Json& added : json["added_tokens"].items()) {
      types[static_cast<size_t>(added["id"].as_int())] = 3;
    }
    GgufMetadata metadata;
    metadata.Set("tokenizer.ggml.model", std::string("gpt2"));
    metadata.Set("tokenizer.ggml.pre", std::string(pre));
    metadata.Set("tokenizer.ggml.tokens", tokens);
    metadata.Set("tokenizer.ggml.merges", merges);
    metadata.Set("tokenizer.ggml.token_type", types);
    const auto tokenizer = TokenizerIn(metadata);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const auto reference = Tokenizer::FromJson(text);
    ASSERT_TRUE(reference.ok());
    for (uint64_t i = 0; i < 1000; ++i) {
      const EncodeOptions options = {.add_special_tokens = false, .parse_special = i % 2 == 0};
      const auto a = tokenizer->Encode(RandomString(i), options);
      const auto b = reference->Encode(RandomString(i), options);
      ASSERT_EQ(a->ids, b->ids) << i;
      ASSERT_EQ(tokenizer->Decode(a->ids), reference->Decode(b->ids)) << i;
    }
  }
}

TEST(GgufTokenizer, BertUndoesThePhantomBlanks) {
  for (const char* file : {"wordpiece_uncased", "wordpiece_cased"}) {
    SCOPED_TRACE(file);
    const std::string text = Golden(std::string("tokenizers/") + file + ".json");
    std::vector<std::string> tokens = TokensOf(MustParse(text)["model"]["vocab"]);
    std::vector<int64_t> types;
    for (std::string& token : tokens) {
      const bool bracketed = token.size() > 2 && token.front() == '[' && token.back() == ']';
      types.push_back(bracketed ? 3 : 1);
      if (token.starts_with("##")) {
        token.erase(0, 2);
      } else if (!bracketed) {
        token.insert(0, "\xE2\x96\x81");
      }
    }
    GgufMetadata metadata;
    metadata.Set("tokenizer.ggml.model", std::string("bert"));
    metadata.Set("tokenizer.ggml.tokens", tokens);
    metadata.Set("tokenizer.ggml.token_type", types);
    metadata.Set("tokenizer.ggml.unknown_token_id", int64_t{1});
    metadata.Set("tokenizer.ggml.cls_token_id", int64_t{2});
    metadata.Set("tokenizer.ggml.seperator_token_id", int64_t{3});
    const auto tokenizer = TokenizerIn(metadata);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const auto reference = Tokenizer::FromJson(text);
    ASSERT_TRUE(reference.ok());
    for (uint64_t i = 0; i < 1000; ++i) {
      ASSERT_EQ(tokenizer->EncodePair(RandomString(i), RandomString(i + 1))->ids,
                reference->EncodePair(RandomString(i), RandomString(i + 1))->ids)
          << i;
    }
  }
}

TEST(GgufTokenizer, RwkvTakesTheLongestTokenOfBytes) {
  GgufMetadata metadata;
  metadata.Set("tokenizer.ggml.model", std::string("rwkv"));
  metadata.Set("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", "ab", "abcd", "\\n",
                                                                 "\\xc3", "\\xA9", "\\\\", "c"});
  metadata.Set("tokenizer.ggml.unknown_token_id", int64_t{0});
  const auto tokenizer = TokenizerIn(metadata);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const std::string text = "abcabcd\n\xC3\xA9\\z";
  const auto e = tokenizer->Encode(text);
  ASSERT_TRUE(e.ok());
  EXPECT_EQ(e->ids, (std::vector<int32_t>{2, 8, 3, 4, 5, 6, 7, 0}));
  EXPECT_EQ(e->offsets[2], (std::pair<uint32_t, uint32_t>(3, 7)));
  EXPECT_EQ(tokenizer->Decode(std::span(e->ids).first(7)), "abcabcd\n\xC3\xA9\\");
}

TEST(GgufTokenizer, WhatIsMalformedOrUnknownIsAnErrorThatSaysSo) {
  const auto message = [](const GgufMetadata& metadata) {
    const auto tokenizer = TokenizerIn(metadata);
    return tokenizer.ok() ? std::string("loads") : tokenizer.status().message();
  };
  const std::vector<std::string> tokens = {"<unk>", "a"};
  const auto with = [&](const std::string& key, GgufValue value, const char* model = "llama") {
    GgufMetadata metadata;
    metadata.Set("tokenizer.ggml.model", std::string(model));
    metadata.Set("tokenizer.ggml.tokens", tokens);
    metadata.Set("tokenizer.ggml.scores", std::vector<double>{0, -1});
    metadata.Set("tokenizer.ggml." + key, std::move(value));
    return metadata;
  };
  EXPECT_EQ(message(with("unknown_token_id", int64_t{0})), "loads");
  EXPECT_EQ(message(with("bos_token_id", int64_t{2})),
            "'tokenizer.ggml.bos_token_id' must be an integer between 0 and 1; it is 2");
  EXPECT_EQ(message(with("eos_token_id", int64_t{-1})),
            "'tokenizer.ggml.eos_token_id' must be an integer between 0 and 1; it is -1");
  EXPECT_EQ(message(with("scores", std::vector<double>{0})),
            "'tokenizer.ggml.scores' has 1 items for 2 tokens");
  EXPECT_EQ(message(with("token_type", std::vector<int64_t>{1, 7})),
            "'tokenizer.ggml.token_type' has the type 7");
  EXPECT_EQ(message(with("tokens", std::vector<std::string>{"\xFF", "a"})),
            "item 0 of 'tokenizer.ggml.tokens' is not UTF-8");
  EXPECT_EQ(message(with("tokens", std::vector<std::string>{})),
            "'tokenizer.ggml.tokens' has no tokens");
  EXPECT_EQ(message(with("pre", std::string("odd"), "gpt2")), "the GGUF pre-tokenizer 'odd'");
  EXPECT_EQ(message(with("pre", std::string("x"), "plamo2")), "the GGUF tokenizer 'plamo2'");
  GgufMetadata broken = with("x", int64_t{0}, "rwkv");
  broken.Set("tokenizer.ggml.tokens", std::vector<std::string>{"\\x0"});
  broken.Set("tokenizer.ggml.scores", std::vector<double>{0});
  EXPECT_EQ(message(broken), "token 0 of the GGUF tokenizer 'rwkv' has a broken \\x");
}

TEST(GgufTokenizer, AFileWithoutTensorsIsATokenizerAndNoModel) {
  GgufMetadata metadata = FromSentencePiece("llama.model", "llama");
  metadata.Set("general.architecture", std::string("llama"));
  const std::string path = testing::TempDir() + "sotto_words.gguf";
  ASSERT_TRUE(WriteFile(path, *WriteGguf(metadata, {})).ok());
  ModelFiles files;
  const Status read = ReadModelTexts(path, files);
  ASSERT_TRUE(read.ok()) << read.message();
  const auto tokenizer = TokenizerOf(files);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ(tokenizer->Encode("The house", {})->ids,
            TokenizerIn(metadata)->Encode("The house", {})->ids);
  EXPECT_FALSE(OpenModelFiles(path).ok());
  std::remove(path.c_str());
}

// llama.cpp's vocabularies with their texts (.inp) and ids (.out).
TEST(GgufTokenizer, PublishedVocabulariesAgreeWithLlamaCpp) {
  const char* set = std::getenv("SOTTO_TOKENIZERS");
  const std::string folder =
      (set != nullptr ? std::string(set)
                      : std::string(SOTTO_SOURCE_DIR) + "/../shared/fixtures/tokenizers") +
      "/llama.cpp-vocabs/ggml-vocab-";
  int tested = 0;
  for (const char* name : {"bert-bge", "gpt-2", "llama-spm", "phi-3"}) {
    SCOPED_TRACE(name);
    const std::string path = folder + name + ".gguf";
    if (!FileExists(path)) continue;
    const std::string bytes = MustRead(path), inputs = MustRead(path + ".inp"),
                      outputs = MustRead(path + ".out");
    const auto header = GgufHeader::Parse(bytes, bytes.size());
    ASSERT_TRUE(header.ok()) << header.status().message();
    const auto tokenizer = TokenizerIn((*header)->metadata());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    const std::string separator = "\n__ggml_vocab_test__\n";
    size_t in = 0, out = 0;
    while (out < outputs.size()) {
      const size_t in_end = std::min(inputs.find(separator, in), inputs.size());
      const size_t out_end = std::min(outputs.find('\n', out), outputs.size());
      const std::string text = inputs.substr(in, in_end - in);
      std::vector<int32_t> ids;
      for (size_t at = out; at < out_end;) {
        while (at < out_end && outputs[at] == ' ') ++at;
        if (at == out_end) break;
        ids.push_back(std::atoi(outputs.c_str() + at));
        while (at < out_end && outputs[at] != ' ') ++at;
      }
      const auto e = tokenizer->Encode(text, {.add_special_tokens = false});
      ASSERT_TRUE(e.ok());
      EXPECT_EQ(e->ids, ids) << "'" << text << "'";
      in = std::min(in_end + separator.size(), inputs.size());
      out = out_end + 1;
    }
    ++tested;
  }
  if (tested == 0) GTEST_SKIP() << "no vocabularies in " << folder;
}

}  // namespace
}  // namespace sotto
