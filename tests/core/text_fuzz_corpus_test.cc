// Replays the inputs that the fuzz target starts from.
#include "tests/fuzz/replay.h"

#define LLVMFuzzerTestOneInput FuzzTokenizer
#include "tests/fuzz/tokenizer_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput FuzzSentencePiece
#include "tests/fuzz/sentencepiece_fuzz.cc"
#undef LLVMFuzzerTestOneInput

namespace sotto {
namespace {

TEST(FuzzCorpus, TokenizerHoldsItsPromises) {
  EXPECT_GE(ReplayCorpus("tokenizer", FuzzTokenizer), 9);
}

TEST(FuzzCorpus, SentencePieceHoldsItsPromises) {
  EXPECT_GE(ReplayCorpus("sentencepiece", FuzzSentencePiece), 7);
}

TEST(FuzzCorpus, SentencePieceSeedsLoad) {
  for (const char* name : {"unigram", "t5", "albert", "llama", "gemma", "char", "word"}) {
    const auto seed = ReadFile(StrCat(SOTTO_SOURCE_DIR "/tests/fuzz/corpus/sentencepiece/", name));
    ASSERT_TRUE(seed.ok()) << seed.status().message();
    const auto model = SentencePieceModel::Parse(seed->substr(0, seed->rfind('\xFF')));
    EXPECT_TRUE(model.ok()) << name << ": " << model.status().message();
  }
}

// A seed that does not load would fuzz nothing but the refusal.
TEST(FuzzCorpus, TokenizerSeedsLoad) {
  for (const char* name : {"wordpiece", "bytelevel", "llama3", "bytefallback", "parts-0", "parts-1",
                           "parts-2", "parts-3", "parts-4"}) {
    const auto seed = ReadFile(StrCat(SOTTO_SOURCE_DIR "/tests/fuzz/corpus/tokenizer/", name));
    ASSERT_TRUE(seed.ok()) << seed.status().message();
    const auto tokenizer = Tokenizer::FromJson(seed->substr(0, seed->find('\0')));
    EXPECT_TRUE(tokenizer.ok()) << name << ": " << tokenizer.status().message();
  }
}

}  // namespace
}  // namespace sotto
