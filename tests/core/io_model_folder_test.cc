#include "core/io/model_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "core/base/file.h"
#include "core/io/checkpoint.h"

namespace sotto {
namespace {

Tensor Floats(const Shape& shape, std::vector<float> values) {
  return *Tensor::FromFloats(shape, values);
}

Tensor Iota(const Shape& shape) {
  Tensor tensor = *Tensor::Allocate(shape);
  for (int64_t i = 0; i < tensor.elements(); ++i) tensor.f32()[i] = static_cast<float>(i);
  return tensor;
}

std::shared_ptr<const std::string> Shared(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

TEST(TensorSource, GivesViewsThatKeepTheFileAlive) {
  Tensor view;
  std::weak_ptr<const std::string> watch;
  {
    auto file = Shared(*WriteSafetensors({{"a", Iota({4, 8})}, {"z", Iota({64})}}));
    watch = file;
    TensorSource source;
    ASSERT_TRUE(source.AddSafetensors(*file, file).ok());
    view = *source.Take("a", Shape({4, 8}));
    EXPECT_GE(static_cast<const char*>(view.data()), file->data());
    EXPECT_LT(static_cast<const char*>(view.data()), file->data() + file->size());
  }
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(view.f32()[31], 31.0f);
  view = {};
  EXPECT_TRUE(watch.expired());
}

TEST(TensorSource, CopiesWhatEndsTooCloseToTheEndOfTheFile) {
  const auto file = Shared(*WriteSafetensors({{"a", Iota({4})}}));
  TensorSource source;
  ASSERT_TRUE(source.AddSafetensors(*file, file).ok());
  const Tensor copy = *source.Take("a");
  const char* data = static_cast<const char*>(copy.data());
  EXPECT_TRUE(data < file->data() || data >= file->data() + file->size());
  EXPECT_EQ(copy.f32()[3], 3.0f);
  TensorSource padded;
  ASSERT_TRUE(padded.AddArriving(*file, file->size(), kAlignment, file).ok());
  EXPECT_EQ(static_cast<const char*>(padded.Take("a")->data()), file->data() + file->size() - 16);
}

TEST(TensorSource, ReadsMisalignedTensorsByCopy) {
  std::string bytes = *WriteSafetensors({{"a", Iota({32})}, {"b", Iota({64})}});
  // The same file with a header one byte longer.
  bytes.insert(8 + static_cast<unsigned char>(bytes[0]), " ");
  ++bytes[0];
  const auto file = Shared(bytes);
  TensorSource source;
  ASSERT_TRUE(source.AddSafetensors(*file, file).ok());
  const Tensor a = *source.Take("a");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 4, 0u);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(a.f32()[i], static_cast<float>(i));
}

TEST(TensorSource, NamesWhatWasNotTaken) {
  const auto file = Shared(
      *WriteSafetensors({{"a", Iota({1})}, {"b", Iota({2})}, {"c", Iota({3})}, {"d", Iota({4})}}));
  TensorSource source;
  ASSERT_TRUE(source.AddSafetensors(*file, file).ok());
  EXPECT_TRUE(source.Take("b").ok());
  source.Skip("c");
  EXPECT_EQ(source.Names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(source.Unused(), (std::vector<std::string>{"a", "d"}));
  source.Rewind();
  EXPECT_EQ(source.Unused().size(), 4u);
}

TEST(TensorSource, ExplainsMissingAndMisshapenTensors) {
  TensorSource source;
  ASSERT_TRUE(source.Add("w", Iota({2, 3})).ok());
  ASSERT_TRUE(source.Add("ids", *Tensor::FromInts({2}, std::vector<int32_t>{1, 2})).ok());
  EXPECT_EQ(source.Take("v").status().message(), "the model's files have no tensor 'v'");
  EXPECT_EQ(source.Take("v").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(source.Take("w", Shape({3, 2})).status().message(),
            "tensor 'w' has the shape [2, 3], but the model needs [3, 2]");
  EXPECT_EQ(source.TakeF32("ids").status().message(),
            "tensor 'ids': values of I32 cannot become F32");
  EXPECT_EQ(source.Unused(), (std::vector<std::string>{"w"}));
  EXPECT_EQ(source.Add("w", Iota({1})).message(), "tensor 'w' is there twice");
}

TEST(TensorSource, ConvertsEveryHalfAndBrainFloatExactly) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    Tensor all = *Tensor::Allocate({65536}, dtype);
    auto* bits = static_cast<uint16_t*>(all.data());
    for (int i = 0; i < 65536; ++i) bits[i] = static_cast<uint16_t>(i);
    TensorSource source;
    ASSERT_TRUE(source.Add("a", all).ok());
    const Tensor floats = *source.TakeF32("a");
    const Tensor back = *ConvertFloats(floats, dtype);
    const auto* back_bits = static_cast<const uint16_t*>(back.data());
    for (int i = 0; i < 65536; ++i) {
      if (std::isnan(floats.f32()[i])) continue;
      ASSERT_EQ(back_bits[i], i) << DTypeName(dtype);
    }
  }
}

TEST(TensorSource, RoundsToNearestEven) {
  // 1 + 2^-11 lies between the halves 1 and 1 + 2^-10; 1 + 3 * 2^-11 between 1 + 2^-10 and 1 +
  // 2^-9.
  const Tensor ties = Floats({4}, {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 65520.0f, 0x1p-25f});
  const Tensor halves = *ConvertFloats(ties, DType::kF16);
  const auto* bits = static_cast<const uint16_t*>(halves.data());
  EXPECT_EQ(bits[0], 0x3C00);
  EXPECT_EQ(bits[1], 0x3C02);
  EXPECT_EQ(bits[2], 0x7C00);  // infinity
  EXPECT_EQ(bits[3], 0);
}

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "sotto_folder_" +
            testing::UnitTest::GetInstance()->current_test_info()->name() + "/";
    ASSERT_TRUE(MakeFolder(path_).ok());
  }
  void TearDown() override {
    for (const std::string& name : written_) ::unlink((path_ + name).c_str());
    ::rmdir(path_.c_str());
  }
  void Write(const std::string& name, std::string_view bytes) {
    written_.push_back(name);
    ASSERT_TRUE(WriteFile(path_ + name, bytes).ok());
  }
  std::string path_;
  std::vector<std::string> written_;
};

TEST_F(Folder, OpensOneFileWithItsTexts) {
  Write("config.json", "{\"model_type\":\"bert\"}");
  Write("tokenizer.json", "{}");
  Write("model.safetensors", *WriteSafetensors({{"w", Iota({2, 2})}}));
  auto files = OpenModelFolder(path_.substr(0, path_.size() - 1));
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->config, "{\"model_type\":\"bert\"}");
  EXPECT_EQ(files->tokenizer, "{}");
  EXPECT_EQ(files->generation_config, "");
  EXPECT_EQ(files->tensors.Take("w", Shape({2, 2}))->f32()[3], 3.0f);
}

TEST_F(Folder, OpensShards) {
  Write("config.json", "{}");
  Write("model-1.safetensors", *WriteSafetensors({{"a", Iota({1})}}, {{"format", "pt"}}));
  Write("model-2.safetensors", *WriteSafetensors({{"b", Iota({2})}}, {{"format", "pt"}}));
  Write("model.safetensors.index.json",
        R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  auto files = OpenModelFolder(path_);
  ASSERT_TRUE(files.ok()) << files.status().message();
  EXPECT_EQ(files->tensors.Take("b")->f32()[1], 1.0f);
  EXPECT_EQ(files->tensors.metadata(), (Metadata{{"format", "pt"}}));
}

TEST_F(Folder, RefusesShardsThatDifferFromTheirIndex) {
  Write("config.json", "{}");
  Write("model-1.safetensors", *WriteSafetensors({{"a", Iota({1})}}));
  Write("model-2.safetensors", *WriteSafetensors({{"b", Iota({2})}}));
  const auto error = [&](std::string_view map) {
    Write("model.safetensors.index.json", StrCat(R"({"weight_map":)", map, "}"));
    return OpenModelFolder(path_).status().message();
  };
  EXPECT_EQ(error(R"({"a":"model-2.safetensors","b":"model-1.safetensors"})"),
            "the index says that tensor 'a' is in model-2.safetensors, but it is in "
            "model-1.safetensors");
  EXPECT_EQ(error(R"({"a":"model-1.safetensors","c":"model-2.safetensors"})"),
            "the index says that tensor 'c' is in model-2.safetensors, but it is not there");
  Write("model-2.safetensors", *WriteSafetensors({{"b", Iota({2})}, {"x", Iota({2})}}));
  EXPECT_EQ(error(R"({"a":"model-1.safetensors","b":"model-2.safetensors"})"),
            "tensor 'x' of model-2.safetensors is not in the index");
  Write("model-2.safetensors", *WriteSafetensors({{"a", Iota({2})}}));
  EXPECT_EQ(error(R"({"a":"model-1.safetensors","b":"model-2.safetensors"})"),
            "model-2.safetensors: tensor 'a' is there twice, first in model-1.safetensors");
  EXPECT_NE(error(R"({"a":"model-3.safetensors"})").find("model-3.safetensors: No such file"),
            std::string::npos);
}

TEST_F(Folder, RefusesAPickleAndSaysWhatToDo) {
  Write("config.json", "{}");
  Write("pytorch_model.bin", "PK\x03\x04");
  const Status status = OpenModelFolder(path_).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("can run code"), std::string::npos);
  EXPECT_NE(status.message().find("save_pretrained"), std::string::npos);
}

TEST_F(Folder, SaysWhatIsMissing) {
  EXPECT_NE(OpenModelFolder(path_).status().message().find("has no config.json"),
            std::string::npos);
  Write("config.json", "{}");
  EXPECT_NE(OpenModelFolder(path_).status().message().find("has neither model.safetensors nor"),
            std::string::npos);
  EXPECT_NE(OpenModelFolder(path_ + "config.json").status().message().find("is a file"),
            std::string::npos);
  EXPECT_NE(OpenModelFolder(path_ + "x").status().message().find("there is no folder"),
            std::string::npos);
}

TEST_F(Folder, NamesTheDamagedFile) {
  Write("config.json", "{}");
  Write("model.safetensors", "<!DOCTYPE html>");
  EXPECT_EQ(OpenModelFolder(path_).status().message(),
            "model.safetensors: this is not a safetensors file: it is an HTML page; the download "
            "reached a web page instead of the file");
}

TEST_F(Folder, CheckpointsComeBackWhole) {
  Checkpoint saved;
  saved.step = 1234;
  saved.seed = std::numeric_limits<uint64_t>::max();
  saved.random_position = uint64_t{1} << 63;
  saved.data_cursor = 99;
  saved.extra = Json::Object({{"best_loss", Json::Number(0.1)}, {"note", Json::String("\"x\"")}});
  saved.parameters = {{"b", Iota({3})}, {"w", Iota({2, 2})}};
  saved.optimizer = {{"m.w", Floats({2, 2}, {-1, 0, 1e-38f, 5})}, {"v.w", Iota({2, 2})}};
  written_.push_back("run.safetensors");
  ASSERT_TRUE(WriteCheckpoint(path_ + "run.safetensors", saved).ok());
  const auto read = ReadCheckpoint(path_ + "run.safetensors");
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->step, 1234);
  EXPECT_EQ(read->seed, saved.seed);
  EXPECT_EQ(read->random_position, saved.random_position);
  EXPECT_EQ(read->data_cursor, 99u);
  EXPECT_EQ(read->extra.Dump(), saved.extra.Dump());
  ASSERT_EQ(read->parameters.size(), 2u);
  EXPECT_EQ(read->parameters[1].first, "w");
  ASSERT_EQ(read->optimizer.size(), 2u);
  EXPECT_EQ(read->optimizer[0].first, "m.w");
  EXPECT_EQ(std::memcmp(read->optimizer[0].second.data(), saved.optimizer[0].second.data(), 16), 0);
}

TEST(ModelFiles, ReadsTextsAsBrowsersDo) {
  ModelFiles files;
  EXPECT_TRUE(files.SetText("config.json", "\xEF\xBB\xBF{\"a\": \"\xFF\xE4\xB8\"}"));
  EXPECT_EQ(files.config, "{\"a\": \"\xEF\xBF\xBD\xEF\xBF\xBD\"}");
  const std::string bytes = "\xEF\xBB\xBF\xFF";
  EXPECT_TRUE(files.SetText("spiece.model", bytes));
  EXPECT_EQ(files.sentencepiece, bytes);
  EXPECT_FALSE(files.SetText("model.safetensors.index.json", "{}"));
}

TEST_F(Folder, RefusesCheckpointsThatAreNone) {
  const auto error = [](const NamedTensors& tensors, const Metadata& metadata) {
    return ParseCheckpoint(*WriteSafetensors(tensors, metadata)).status().message();
  };
  EXPECT_EQ(error({{"w", Iota({1})}}, {}),
            "checkpoint: this safetensors file is not a training checkpoint");
  EXPECT_EQ(error({}, {{"sotto_checkpoint", "{\"version\":2}"}}),
            "checkpoint: the checkpoint has version 2; this program reads up to 1");
  EXPECT_EQ(error({}, {{"sotto_checkpoint", "{\"version\":1,\"step\":-1}"}}),
            "checkpoint: 'step' must be an integer between 0 and 9223372036854775807, not -1");
  EXPECT_EQ(error({}, {{"sotto_checkpoint", R"({"version":1,"step":1,"seed":"1e3"})"}}),
            "checkpoint: 'seed' must be a decimal number in quotes, not \"1e3\"");
  EXPECT_EQ(error({{"w", Iota({1})}},
                  {{"sotto_checkpoint", R"({"version":1,"step":1,"seed":"1","random_position":"2",)"
                                        R"("data_cursor":"3"})"}}),
            "checkpoint: tensor 'w' belongs neither to the parameters nor to the optimizer");
}

}  // namespace
}  // namespace sotto
