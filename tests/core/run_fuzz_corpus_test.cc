// Replays the inputs that the fuzz target of GGUF files starts from.
#include "tests/fuzz/replay.h"

#define LLVMFuzzerTestOneInput FuzzGguf
#include "tests/fuzz/gguf_fuzz.cc"
#undef LLVMFuzzerTestOneInput

namespace sotto {
namespace {

TEST(FuzzCorpus, GgufHoldsItsPromises) { EXPECT_GE(ReplayCorpus("gguf", FuzzGguf), 41); }

// A seed that is no model would fuzz nothing but the refusal.
TEST(FuzzCorpus, GgufSeedsAreModels) {
  for (const char* name : {"llama3",
                           "qwen2",
                           "qwen3",
                           "qwen35",
                           "gemma2",
                           "gemma3",
                           "gemma-embedding",
                           "phi3",
                           "olmo2",
                           "granite",
                           "smollm3",
                           "lfm2",
                           "gpt2",
                           "gpt-neox",
                           "mamba",
                           "bert",
                           "distilbert",
                           "nomic-bert",
                           "modernbert",
                           "quantized-32",
                           "quantized-256",
                           "tokenizer-llama",
                           "tokenizer-gpt2",
                           "tokenizer-pre",
                           "tokenizer-bert",
                           "tokenizer-t5",
                           "tokenizer-rwkv",
                           "t5",
                           "t5-gated",
                           "t5-encoder",
                           "umt5"}) {
    SCOPED_TRACE(name);
    const auto seed = ReadFile(StrCat(SOTTO_SOURCE_DIR "/tests/fuzz/corpus/gguf/", name));
    ASSERT_TRUE(seed.ok()) << seed.status().message();
    std::string file;
    ASSERT_TRUE(GgufOfWords(*seed, kMaxFileBytes, file));
    const auto header = GgufHeader::Parse(file, file.size());
    ASSERT_TRUE(header.ok()) << header.status().message();
    std::vector<TensorInfo> tensors((*header)->tensors().begin(), (*header)->tensors().end());
    ModelFiles files;
    const auto described =
        DescribeGguf((*header)->metadata(), tensors,
                     [&](const TensorInfo& t) {
                       return std::string_view(file).substr(t.begin, t.end - t.begin);
                     },
                     files);
    ASSERT_TRUE(described.ok()) << described.status().message();
    if (!files.tokenizer.empty()) {
      const auto tokenizer = TokenizerOf(files);
      EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    }
    const auto model = CreateModel(*Json::Parse(files.config));
    ASSERT_TRUE(model.ok()) << model.status().message();
    TensorSource source;
    ASSERT_TRUE(source.AddTensors(tensors, file, 0, nullptr, "").ok());
    const Status loaded = LoadWeights(**model, source);
    EXPECT_TRUE(loaded.ok()) << loaded.message();
  }
}

}  // namespace
}  // namespace sotto
