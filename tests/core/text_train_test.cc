#include "core/text/train_vocab.h"

#include <set>
#include <string>

#include "core/base/json.h"
#include "core/text/tokenizer.h"
#include "gtest/gtest.h"
#include "tests/core/text_random_strings.h"

namespace sotto {
namespace {

WordCounts Fed(WordCounts words) {
  for (int i = 0; i < 20; ++i) {
    words.Add("Low lower lowest, newer newest wider; the lowest newest low.\n");
  }
  for (uint64_t i = 0; i < 500; ++i) words.Add(RandomString(i));
  return words;
}

TEST(TextTrain, ABpeVocabularyHasItsSizeAndSpellsEveryText) {
  TrainBpeOptions options;
  options.vocab_size = 400;
  options.special_tokens = {"<|a|>", "<|b|>"};
  options.bos_token = "<|a|>";
  for (const auto pattern :
       {PreTokenizerPattern::kGpt2, PreTokenizerPattern::kLlama3, PreTokenizerPattern::kQwen2}) {
    options.pattern = pattern;
    const Result<std::string> json = TrainBpe(Fed(WordCounts::ForBpe(options)), options);
    ASSERT_TRUE(json.ok()) << json.status().message();
    const Result<Tokenizer> tokenizer = Tokenizer::FromJson(*json);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    EXPECT_EQ(tokenizer->vocab_size(), 400);
    EXPECT_EQ(tokenizer->TokenToId("<|b|>"), 1);
    const Result<Encoding> e = tokenizer->Encode("the lowest \xF0\x9F\x98\x80 newest");
    EXPECT_EQ(e->ids.front(), 0);
    EXPECT_EQ(tokenizer->Decode(e->ids), "the lowest \xF0\x9F\x98\x80 newest");
    EXPECT_LT(e->size(), 12u);  // words that were seen often are few tokens
  }
}

TEST(TextTrain, TheFirstMergeIsTheMostFrequentPairAndTiesGoToSmallerIds) {
  TrainBpeOptions options;
  options.vocab_size = 256 + 1 + 3;
  options.min_frequency = 1;
  WordCounts words = WordCounts::ForBpe(options);
  words.Add("ab ab ab cd cd");
  const Result<std::string> json = TrainBpe(words, options);
  const Json merges = (*Json::Parse(*json))["model"]["merges"];
  ASSERT_EQ(merges.items().size(), 3u);
  EXPECT_EQ(merges.items()[0].as_string(), "a b");
  // "Gab" twice and "cd" twice, "Gcd" twice (G: the blank): the pair with the smaller left id.
  EXPECT_EQ(merges.items()[1].as_string(), "c d");
}

TEST(TextTrain, AWordPieceVocabularyCoversItsAlphabetAndContinuesWords) {
  TrainWordPieceOptions options;
  options.vocab_size = 1200;
  options.limit_alphabet = 300;
  const Result<std::string> json = TrainWordPiece(Fed(WordCounts::ForWordPiece(options)), options);
  ASSERT_TRUE(json.ok()) << json.status().message();
  const Result<Tokenizer> tokenizer = Tokenizer::FromJson(*json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_LE(tokenizer->vocab_size(), 1200);
  EXPECT_EQ(tokenizer->pad_id(), 0);
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode("The LOWEST w\xC3\xADnter")->ids),
            "the lowest winter");
  EXPECT_TRUE(tokenizer->TokenToId("lowest").has_value());
}

TEST(TextTrain, CountsDoNotDependOnHowTheTextIsCut) {
  TrainBpeOptions options;
  options.vocab_size = 500;
  WordCounts once = WordCounts::ForBpe(options), twice = WordCounts::ForBpe(options);
  std::string text;
  for (uint64_t i = 0; i < 300; ++i) {
    text += RandomString(i) + "\nA";
    twice.Add(RandomString(i) + "\nA");
  }
  once.Add(text);
  EXPECT_GT(once.total(), 1000);
  EXPECT_GT(once.distinct(), 300);
  EXPECT_NEAR(static_cast<double>(once.total()), static_cast<double>(twice.total()), 600);
}

TEST(TextTrain, AVocabularyTooSmallForItsAlphabetIsAnError) {
  TrainBpeOptions options;
  options.vocab_size = 100;
  const Result<std::string> json = TrainBpe(Fed(WordCounts::ForBpe(options)), options);
  ASSERT_FALSE(json.ok());
  EXPECT_EQ(json.status().code(), StatusCode::kInvalidArgument);
  options.vocab_size = 300;
  options.special_tokens = {"<s>", "<s>"};
  EXPECT_FALSE(TrainBpe(WordCounts::ForBpe(options), options).ok());
  options.special_tokens = {"<s>"};
  options.eos_token = "</s>";
  EXPECT_FALSE(TrainBpe(WordCounts::ForBpe(options), options).ok());
  TrainWordPieceOptions piece;
  piece.special_tokens = {"[UNK]"};
  EXPECT_FALSE(TrainWordPiece(WordCounts::ForWordPiece(piece), piece).ok());
}

TEST(TextTrain, TokensMayBeKeptShort) {
  TrainBpeOptions options;
  options.vocab_size = 400;
  options.max_token_length = 3;
  const Result<std::string> json = TrainBpe(Fed(WordCounts::ForBpe(options)), options);
  ASSERT_TRUE(json.ok());
  const Json vocab = (*Json::Parse(*json))["model"]["vocab"];
  for (const Json::Member& token : vocab.members()) {
    if (token.first != "<|endoftext|>") EXPECT_LE(token.first.size(), 3u) << token.first;
  }
}

TEST(TextTrain, AVocabularyOfWholeWordsHasTheMostFrequentOnes) {
  TrainWordPieceOptions options;
  options.vocab_size = 8;
  options.min_frequency = 2;
  WordCounts words = WordCounts::ForWordPiece(options);
  words.Add("The cat, the dog, the cow: a cat, a dog. Once");
  const Result<std::string> json = TrainWordLevel(words, options);
  ASSERT_TRUE(json.ok()) << json.status().message();
  const Result<Tokenizer> tokenizer = Tokenizer::FromJson(*json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const Result<Encoding> e = tokenizer->Encode("the a , Cow");
  EXPECT_EQ(e->ids,
            (std::vector<int32_t>{2, 6, 7, 5, 1, 3}));  // after five special tokens: , the a
  EXPECT_EQ(tokenizer->Decode(e->ids), "the a,");
}

}  // namespace
}  // namespace sotto
