// GGUF files that llama.cpp's own converter made of tiny models: they must give what Hugging Face's
// code gives with the same weights. See tests/golden/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/io/gguf_model.h"
#include "core/io/model_folder.h"
#include "core/models/model.h"
#include "core/models/weight_stream.h"

namespace sotto {
namespace {

std::string Golden(const std::string& name) {
  return std::string(SOTTO_SOURCE_DIR "/tests/golden/") + name;
}

std::vector<std::string> Converted() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Golden("gguf"))) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".gguf") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::unique_ptr<Model> Create(const ModelFiles& files) {
  Result<std::unique_ptr<Model>> model = CreateModel(*Json::Parse(files.config));
  EXPECT_TRUE(model.ok()) << model.status().message() << " of " << files.config;
  return *std::move(model);
}

class ConvertedGguf : public testing::TestWithParam<std::string> {};

TEST_P(ConvertedGguf, GivesWhatHuggingFacesCodeGives) {
  Result<ModelFiles> files = OpenModelFiles(Golden("gguf/" + GetParam() + ".gguf"));
  ASSERT_TRUE(files.ok()) << files.status().message();
  const std::unique_ptr<Model> model = Create(*files);
  ASSERT_TRUE(model);
  const Status loaded = LoadWeights(*model, files->tensors);
  ASSERT_TRUE(loaded.ok()) << loaded.message();
  const std::string bytes = *ReadFile(Golden("gguf/models.safetensors"));
  TensorSource golden;
  ASSERT_TRUE(golden.AddSafetensors(bytes, nullptr).ok());
  Arena arena;
  Context ctx(&arena);
  ModelInput input{.ids = *golden.Take(GetParam() + ".input_ids")};
  const std::string decoder_ids = GetParam() + ".decoder_input_ids";
  if (golden.Has(decoder_ids)) input.decoder_ids = *golden.Take(decoder_ids);
  const ModelOutput out = model->Forward(ctx, input);
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  const bool has_logits = golden.Has(GetParam() + ".logits");
  const Tensor expected =
      *golden.TakeF32(GetParam() + (has_logits ? ".logits" : ".last_hidden_state"));
  const Tensor& actual = has_logits ? out.logits : out.last_hidden_state;
  ASSERT_EQ(actual.shape(), expected.shape());
  for (int64_t i = 0; i < actual.elements(); ++i) {
    ASSERT_NEAR(actual.f32()[i], expected.f32()[i], 1e-4 * (1 + std::fabs(expected.f32()[i])))
        << "element " << i;
  }
}

TEST_P(ConvertedGguf, ArrivesInPiecesAsItIsReadWhole) {
  const std::string path = Golden("gguf/" + GetParam() + ".gguf");
  ModelFiles files = *OpenModelFiles(path);
  const std::string bytes = *ReadFile(path);
  for (const WeightFormat format : {WeightFormat::kAsStored, WeightFormat::kQ8}) {
    const std::unique_ptr<Model> expected = Create(files), model = Create(files);
    files.tensors.Rewind();
    ASSERT_TRUE(LoadWeights(*expected, files.tensors, {.format = format}).ok());
    std::optional<GgufHeader> header = *GgufHeader::Parse(bytes, bytes.size());
    std::vector<TensorInfo> tensors(header->tensors().begin(), header->tensors().end());
    ModelFiles texts;
    const GgufPeek peek = [&](const TensorInfo& t) {
      return std::string_view(bytes).substr(t.begin, t.end - t.begin);
    };
    ASSERT_TRUE(*DescribeGguf(header->metadata(), tensors, peek, texts));
    EXPECT_EQ(texts.config, files.config);
    WeightStream stream(model.get(), {.format = format});
    const Status begun = stream.Begin(tensors);
    ASSERT_TRUE(begun.ok()) << begun.message();
    for (size_t at = 0; at < bytes.size(); at += 1000) {
      ASSERT_TRUE(stream.Append(std::string_view(bytes).substr(at, 1000)).ok());
    }
    ASSERT_TRUE(stream.End().ok());
    ASSERT_TRUE(stream.Finish().ok());
    for (const Parameter& p : expected->parameters().all()) {
      const Tensor& other = *model->parameters().Find(p.name)->tensor;
      ASSERT_EQ(p.tensor->dtype(), other.dtype()) << p.name;
      ASSERT_EQ(std::memcmp(p.tensor->data(), other.data(), other.bytes()), 0) << p.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ConvertedGguf, testing::ValuesIn(Converted()), TestName);

TEST(Gguf, HowAnEmbeddingModelPoolsBecomesASentencesModules) {
  const std::string bytes = *ReadFile(Golden("gguf/bert.gguf"));
  GgufHeader header = **GgufHeader::Parse(bytes, bytes.size());
  const auto describe = [&](int64_t pooling) {
    header.metadata().Set("bert.pooling_type", pooling);
    std::vector<TensorInfo> tensors(header.tensors().begin(), header.tensors().end());
    ModelFiles files;
    const auto described = DescribeGguf(
        header.metadata(), tensors, [](const TensorInfo&) { return std::nullopt; }, files);
    EXPECT_EQ(described.ok(), pooling <= 4) << pooling;
    return files.sentence_texts;
  };
  EXPECT_TRUE(describe(0).empty());
  EXPECT_EQ(describe(1)["1_Pooling/config.json"], R"({"pooling_mode":"mean"})");
  EXPECT_EQ(describe(2)["1_Pooling/config.json"], R"({"pooling_mode":"cls"})");
  EXPECT_EQ(describe(3)["1_Pooling/config.json"], R"({"pooling_mode":"lasttoken"})");
  EXPECT_TRUE(describe(4).empty());  // a ranking has another head
  EXPECT_EQ(ParseModules(describe(1)["modules.json"])->size(), 2u);
  describe(5);
}

}  // namespace
}  // namespace sotto
