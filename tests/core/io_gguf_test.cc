#include "core/io/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/io/gguf_model.h"
#include "core/io/tensor_source.h"
#include "core/tensor/blocks.h"
#include "tests/malformed/gguf_words.h"

namespace sotto {
namespace {

constexpr size_t kMaxFileBytes = size_t{16} << 20;

std::string ErrorOf(std::string_view file) {
  const auto header = GgufHeader::Parse(file, file.size());
  if (!header.ok()) return header.status().message();
  return header->has_value() ? "accepted" : "more bytes needed";
}

TEST(Gguf, RefusesEveryMalformedFileWithItsOwnSentence) {
  const auto table = ReadFile(SOTTO_SOURCE_DIR "/tests/malformed/gguf.jsonl");
  ASSERT_TRUE(table.ok()) << table.status().message();
  int cases = 0;
  for (size_t at = 0; at < table->size(); ++cases) {
    const size_t end = table->find('\n', at);
    const auto line = Json::Parse(std::string_view(*table).substr(at, end - at));
    ASSERT_TRUE(line.ok()) << line.status().message();
    at = end + 1;
    std::string file;
    ASSERT_TRUE(GgufOfWords((*line)["file"].as_string(), kMaxFileBytes, file))
        << (*line)["name"].as_string();
    // An exact allocation, so that a sanitizer sees a read past the end.
    const auto exact = std::make_unique<char[]>(file.size());
    if (!file.empty()) std::memcpy(exact.get(), file.data(), file.size());
    EXPECT_EQ(ErrorOf({exact.get(), file.size()}), (*line)["error"].as_string())
        << (*line)["name"].as_string();
  }
  EXPECT_GE(cases, 60);
}

Tensor Floats(const Shape& shape, std::vector<float> values) {
  return *Tensor::FromFloats(shape, values);
}

GgufMetadata EveryKind() {
  GgufMetadata metadata;
  metadata.Set("architecture", std::string("llama"));
  metadata.Set("int", int64_t{7});
  metadata.Set("negative", int64_t{-7});
  metadata.Set("long", int64_t{1} << 40);
  metadata.Set("float", 0.5);
  metadata.Set("double", 0.1);
  metadata.Set("bool", true);
  metadata.Set("ints", std::vector<int64_t>{1, 2, 3});
  metadata.Set("negatives", std::vector<int64_t>{-1, 2});
  metadata.Set("floats", std::vector<double>{0.5, -1});
  metadata.Set("bools", std::vector<bool>{true, false});
  metadata.Set("strings", std::vector<std::string>{"a", "", std::string("\xFF\0", 2)});
  metadata.Set("nothing", std::vector<std::string>{});
  return metadata;
}

std::string SmallFile() {
  return *WriteGguf(EveryKind(), {{"a", Floats({2, 3}, {1, 2, 3, 4, 5, 6})},
                                  {"b", *Tensor::Zeros({2, 64}, DType::kQ4_0)}});
}

TEST(Gguf, ReadsBackWhatItWrites) {
  const std::string file = SmallFile();
  const auto header = GgufHeader::Parse(file, file.size());
  ASSERT_TRUE(header.ok()) << header.status().message();
  ASSERT_TRUE(header->has_value());
  EXPECT_EQ((*header)->metadata().values(), EveryKind().values());
  const auto tensors = (*header)->tensors();
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].shape, Shape({2, 3}));
  EXPECT_EQ(tensors[0].dtype, DType::kF32);
  EXPECT_EQ(tensors[0].begin % 32, 0u);
  float last;
  std::memcpy(&last, file.data() + tensors[0].end - 4, 4);
  EXPECT_EQ(last, 6.0f);
  EXPECT_EQ(tensors[1].dtype, DType::kQ4_0);
  EXPECT_EQ(tensors[1].shape, Shape({2, 64}));
  EXPECT_EQ(tensors[1].end - tensors[1].begin, 2u * 2 * 18);
}

TEST(Gguf, EveryPrefixOfAFileIsRefusedAndOfOneThatIsArrivingAsksForMore) {
  const std::string file = SmallFile();
  const auto whole = GgufHeader::Parse(file, file.size());
  const size_t data = (*whole)->tensors()[0].begin, end = (*whole)->tensors()[1].end;
  size_t header_bytes = 0;
  for (size_t n = 0; n <= file.size(); ++n) {
    const auto exact = std::make_unique<char[]>(n);
    std::memcpy(exact.get(), file.data(), n);
    if (n < end) {
      EXPECT_NE(ErrorOf({exact.get(), n}), "accepted") << n;
    }
    const auto arriving = GgufHeader::Parse({exact.get(), n}, file.size());
    ASSERT_TRUE(arriving.ok()) << n << arriving.status().message();
    if (!arriving->has_value()) header_bytes = n + 1;
  }
  EXPECT_GT(header_bytes, data - 32);
  EXPECT_LE(header_bytes, data);
}

TEST(Gguf, ReadsVersionTwo) {
  std::string file = SmallFile();
  file[4] = 2;
  EXPECT_EQ(ErrorOf(file), "accepted");
}

TEST(Gguf, RefusesToWriteWhatItWouldNotRead) {
  const Tensor a = Floats({2}, {1, 2});
  EXPECT_NE(WriteGguf({}, {{"a", a}, {"a", a}}).status().message().find("twice"),
            std::string::npos);
  EXPECT_NE(WriteGguf({}, {{"a", *Tensor::Zeros({8, 8}, DType::kQ8)}})
                .status()
                .message()
                .find("no form in a GGUF file"),
            std::string::npos);
  EXPECT_FALSE(WriteGguf({}, {{"a", *Tensor::Zeros({1, 1, 1, 1, 1})}}).ok());
}

TEST(GgufMetadata, GivesTypedValuesOrTheReasonWhyNot) {
  const GgufMetadata m = EveryKind();
  EXPECT_EQ(*m.IntAt("int", 1, 10), 7);
  EXPECT_EQ(m.IntAt("int", 1, 6).status().message(),
            "'int' must be an integer between 1 and 6; it is 7");
  EXPECT_EQ(m.IntAt("float", 1, 6).status().message(),
            "'float' must be an integer between 1 and 6");
  EXPECT_EQ(m.IntAt("none", 1, 6).status().message(),
            "'none' must be an integer between 1 and 6; it is missing");
  EXPECT_EQ(*m.IntOr("none", 3, 1, 6), 3);
  EXPECT_FALSE(m.IntOr("negative", 3, 1, 6).ok());
  EXPECT_EQ(*m.NumberAt("float"), 0.5);
  EXPECT_EQ(*m.NumberAt("int"), 7.0);
  EXPECT_EQ(*m.NumberOr("none", 2.5), 2.5);
  EXPECT_EQ(m.NumberAt("bool").status().message(), "'bool' must be a number");
  EXPECT_TRUE(*m.BoolOr("bool", false));
  EXPECT_TRUE(*m.BoolOr("none", true));
  EXPECT_EQ(m.BoolOr("int", false).status().message(), "'int' must be a bool");
  EXPECT_EQ(*m.StringAt("architecture"), "llama");
  EXPECT_EQ(*m.StringOr("none", "x"), "x");
  EXPECT_EQ(m.StringAt("none").status().message(), "'none' must be a string; it is missing");
  EXPECT_EQ((*m.IntsOrNull("ints"))->size(), 3u);
  EXPECT_EQ(*m.IntsOrNull("none"), nullptr);
  EXPECT_TRUE((*m.IntsOrNull("nothing"))->empty());
  EXPECT_EQ(m.IntsOrNull("architecture").status().message(),
            "'architecture' must be an array of integers");
  EXPECT_EQ((*m.NumbersOrNull("floats"))->at(1), -1.0);
  EXPECT_TRUE((*m.BoolsOrNull("bools"))->at(0));
  EXPECT_EQ((*m.StringsOrNull("strings"))->at(2), std::string("\xFF\0", 2));
}

TEST(GgufSplit, NamesTheOtherParts) {
  GgufMetadata metadata;
  EXPECT_EQ(ReadGgufSplit(metadata)->count, 1);
  metadata.Set("split.count", int64_t{3});
  metadata.Set("split.no", int64_t{2});
  EXPECT_EQ(ReadGgufSplit(metadata)->index, 2);
  metadata.Set("split.no", int64_t{3});
  EXPECT_EQ(ReadGgufSplit(metadata).status().message(),
            "'split.no' must be an integer between 0 and 2; it is 3");
  metadata.Set("split.count", int64_t{1025});
  EXPECT_EQ(ReadGgufSplit(metadata).status().message(),
            "'split.count' must be an integer between 0 and 1024; it is 1025");
  EXPECT_EQ(*GgufSplitNames("m-00002-of-00003.gguf", 3),
            (std::vector<std::string>{"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                      "m-00003-of-00003.gguf"}));
  for (const char* name : {"m.gguf", "m-00001-of-00002.gguf", "m-00004-of-00003.gguf",
                           "-00001-of-00003.gguf", "m-0001-of-00003.gguf", ""}) {
    EXPECT_EQ(GgufSplitNames(name, 3).status().message(),
              StrCat("the file is one of 3 parts, but its name '", name,
                     "' does not end with '-00001-of-00003.gguf' or the like"));
  }
}

GgufMetadata SmallLlama() {
  GgufMetadata m;
  m.Set("general.architecture", std::string("llama"));
  m.Set("llama.embedding_length", int64_t{8});
  m.Set("llama.block_count", int64_t{1});
  m.Set("llama.attention.head_count", int64_t{2});
  m.Set("llama.feed_forward_length", int64_t{16});
  m.Set("llama.context_length", int64_t{32});
  m.Set("llama.attention.layer_norm_rms_epsilon", 1e-5);
  m.Set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c"});
  m.Set("tokenizer.ggml.bos_token_id", int64_t{1});
  m.Set("tokenizer.ggml.eos_token_id", int64_t{2});
  m.Set("tokenizer.ggml.eot_token_id", int64_t{0});
  m.Set("tokenizer.ggml.add_bos_token", true);
  m.Set("tokenizer.chat_template", std::string("{{ messages }}"));
  return m;
}

struct Described {
  Status status;
  ModelFiles files;
  std::vector<TensorInfo> tensors;
};

Described Describe(const GgufMetadata& metadata, std::vector<TensorInfo> more = {}) {
  Described out;
  out.tensors = {{"token_embd.weight", DType::kF32, Shape({3, 8}), 0, 96, {}},
                 {"blk.0.attn_q.weight", DType::kF32, Shape({8, 8}), 96, 352, {}}};
  out.tensors.insert(out.tensors.end(), more.begin(), more.end());
  const GgufPeek peek = [](const TensorInfo&) { return std::nullopt; };
  const Result<bool> described = DescribeGguf(metadata, out.tensors, peek, out.files);
  out.status = described.status();
  if (described.ok() && !*described) out.status = InvalidArgument("more bytes needed");
  return out;
}

TEST(GgufModel, SpeaksInHuggingFacesTerms) {
  const Described d = Describe(SmallLlama());
  ASSERT_TRUE(d.status.ok()) << d.status.message();
  const Json config = *Json::Parse(d.files.config);
  EXPECT_EQ(config["model_type"].as_string(), "llama");
  EXPECT_EQ(config["hidden_size"].as_int(), 8);
  EXPECT_EQ(config["num_key_value_heads"].as_int(), 2);
  EXPECT_EQ(config["rms_norm_eps"].as_number(), 1e-5);
  EXPECT_TRUE(config["tie_word_embeddings"].as_bool());
  EXPECT_EQ(d.files.generation_config, R"({"bos_token_id":1,"eos_token_id":[2,0]})");
  EXPECT_EQ(
      d.files.tokenizer_config,
      R"({"bos_token":"b","eos_token":"c","add_bos_token":true,"chat_template":"{{ messages }}"})");
  EXPECT_EQ(d.tensors[1].name, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(d.tensors[1].form.to_row, (std::vector<int32_t>{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(GgufModel, RefusesSettingsOutOfRangeOrNotUnderstood) {
  const auto error = [](std::string_view key, GgufValue value) {
    GgufMetadata m = SmallLlama();
    m.Set(std::string(key), std::move(value));
    return Describe(m).status.message();
  };
  EXPECT_EQ(error("llama.block_count", int64_t{-1}),
            "'llama.block_count' must be an integer between 1 and 1024; it is -1");
  EXPECT_EQ(error("llama.block_count", int64_t{1} << 40),
            "'llama.block_count' must be an integer between 1 and 1024; it is 1099511627776");
  EXPECT_EQ(error("llama.embedding_length", int64_t{0}),
            "'llama.embedding_length' must be an integer between 1 and 262144; it is 0");
  EXPECT_EQ(error("llama.embedding_length", int64_t{9}),
            "a width of 9 does not divide among 2 heads");
  EXPECT_EQ(error("llama.attention.head_count", std::string("2")),
            "'llama.attention.head_count' must be an integer between 1 and 1024");
  EXPECT_EQ(error("llama.attention.head_count_kv", int64_t{3}),
            "'llama.attention.head_count_kv' must be an integer between 1 and 2; it is 3");
  EXPECT_EQ(error("llama.feed_forward_length", int64_t{-16}),
            "'llama.feed_forward_length' must be an integer between 1 and 1048576; it is -16");
  EXPECT_EQ(error("llama.attention.layer_norm_rms_epsilon", NAN),
            "'llama.attention.layer_norm_rms_epsilon' is not finite");
  EXPECT_EQ(error("llama.expert_count", int64_t{8}), "a mixture of 8 experts is not supported");
  EXPECT_EQ(error("llama.rope.dimension_count", int64_t{2}),
            "heads of 4 columns of which 2 turn are not supported");
  EXPECT_EQ(error("llama.rope.scaling.type", std::string("spiral")),
            "rotary scaling of type 'spiral' is not supported");
  EXPECT_EQ(error("llama.mystery", true), "the setting 'llama.mystery' is not supported");
  EXPECT_EQ(error("tokenizer.ggml.bos_token_id", int64_t{3}),
            "'tokenizer.ggml.bos_token_id' must be an integer between 0 and 2; it is 3");
  EXPECT_EQ(error("tokenizer.ggml.eot_token_id", int64_t{-1}),
            "'tokenizer.ggml.eot_token_id' must be an integer between 0 and 2; it is -1");
  EXPECT_EQ(error("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c", "d"}),
            "the tokenizer has 4 tokens, but the model embeds only 3");
  EXPECT_EQ(error("tokenizer.chat_template", std::string("\xFF")),
            "'tokenizer.chat_template' is not UTF-8");
  EXPECT_NE(error("general.architecture", std::string("hal9000"))
                .find("the GGUF architecture \"hal9000\" is not supported; known are llama, "),
            std::string::npos);
  EXPECT_EQ(Describe({}).status.message(),
            "'general.architecture' must be a string; it is missing");
}

TEST(GgufModel, RefusesTensorsThatItDoesNotUnderstand) {
  const auto error = [](TensorInfo tensor) {
    return Describe(SmallLlama(), {std::move(tensor)}).status.message();
  };
  EXPECT_EQ(error({"blk.0.ffn_gate_exps.weight", DType::kF32, Shape({4}), 352, 368, {}}),
            "the tensor 'blk.0.ffn_gate_exps.weight' of a 'llama' is not supported");
  EXPECT_EQ(error({"blk.0.attn_k.weight", DType::kF32, Shape({6, 8}), 352, 544, {}}),
            "tensor 'blk.0.attn_k.weight' [6, 8] does not divide into 4");
  EXPECT_EQ(error({"rope_freqs.weight", DType::kF32, Shape({3}), 352, 364, {}}),
            "tensor 'rope_freqs.weight' must be F32 [2]");
  EXPECT_EQ(error({"rope_freqs.weight", DType::kF32, Shape({2}), 352, 360, {}}),
            "more bytes needed");
}

// Random bytes against ggml's own decoder: see tests/golden/README.md.
TEST(Gguf, DecodesEveryBlockTypeBitForBitAsGgmlDoes) {
  const auto file = ReadFile(SOTTO_SOURCE_DIR "/tests/golden/gguf/blocks.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  TensorSource golden;
  ASSERT_TRUE(golden.AddSafetensors(*file, nullptr).ok());
  for (const DType dtype :
       {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K,
        DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kMXFP4}) {
    const std::string name(DTypeName(dtype));
    const Tensor blocks = *golden.Take(name + ".blocks"), bits = *golden.Take(name + ".bits");
    const BlockLayout layout = BlockLayoutOf(dtype);
    ASSERT_EQ(blocks.dim(1), layout.bytes) << name;
    const Shape shape({blocks.dim(0), layout.values});
    const Tensor decoded =
        *ConvertFloats(Tensor::Borrow(blocks.data(), shape, dtype, nullptr), DType::kF32);
    ASSERT_EQ(decoded.elements(), bits.elements()) << name;
    int64_t finite = 0;
    for (int64_t i = 0; i < bits.elements(); ++i) {
      const float expected = std::bit_cast<float>(bits.i32()[i]), actual = decoded.f32()[i];
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(actual)) << name << " value " << i;
        continue;
      }
      finite += std::isfinite(expected);
      ASSERT_EQ(std::bit_cast<int32_t>(actual), bits.i32()[i]) << name << " value " << i;
    }
    EXPECT_GT(finite, bits.elements() / 2) << name;
  }
}

}  // namespace
}  // namespace sotto
