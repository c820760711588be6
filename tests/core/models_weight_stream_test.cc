// Weights that arrive in pieces end up as those that are read from a file at hand.
#include "core/models/weight_stream.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>

#include "core/base/file.h"
#include "core/io/model_folder.h"

namespace sotto {
namespace {

std::string Folder(const std::string& name) {
  return std::string(SOTTO_SOURCE_DIR "/tests/golden/models/") + name;
}

std::unique_ptr<Model> NewModel(const std::string& name) {
  return *CreateModel(*Json::Parse(*ReadFile(Folder(name) + "/config.json")));
}

std::vector<TensorInfo> TensorsOf(std::string_view file) {
  const SafetensorsHeader header = *SafetensorsHeader::Parse(file, file.size());
  return {header.tensors().begin(), header.tensors().end()};
}

Status Stream(WeightStream& stream, std::string_view file, size_t piece) {
  SOTTO_RETURN_IF_ERROR(stream.Begin(TensorsOf(file)));
  for (size_t at = 0; at < file.size(); at += piece) {
    SOTTO_RETURN_IF_ERROR(stream.Append(file.substr(at, piece)));
  }
  return stream.End();
}

void ExpectSame(const Model& a, const Model& b) {
  for (const Parameter& p : a.parameters().all()) {
    const Tensor& x = *p.tensor;
    const Tensor& y = *b.parameters().Find(p.name)->tensor;
    ASSERT_EQ(x.dtype(), y.dtype()) << p.name;
    ASSERT_EQ(x.shape(), y.shape()) << p.name;
    ASSERT_EQ(std::memcmp(x.data(), y.data(), x.bytes()), 0) << p.name;
  }
}

TEST(WeightStream, GivesWhatLoadWeightsGivesWhateverThePieces) {
  int models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Folder(""))) {
    const std::string name = entry.path().filename().string();
    const Result<std::string> file = ReadFile(Folder(name) + "/model.safetensors");
    if (!file.ok()) continue;  // in shards
    ++models;
    for (const WeightFormat format : {WeightFormat::kAsStored, WeightFormat::kQ8}) {
      const LoadOptions options{.format = format};
      ModelFiles files = *OpenModelFolder(Folder(name));
      const std::unique_ptr<Model> expected = NewModel(name);
      ASSERT_TRUE(LoadWeights(*expected, files.tensors, options).ok()) << name;
      for (const size_t piece : {size_t{7}, size_t{4096}, file->size()}) {
        const std::unique_ptr<Model> model = NewModel(name);
        WeightStream stream(model.get(), options);
        const Status status = Stream(stream, *file, piece);
        ASSERT_TRUE(status.ok()) << name << ": " << status.message();
        ASSERT_TRUE(stream.Finish().ok());
        ExpectSame(*model, *expected);
      }
    }
  }
  EXPECT_GE(models, 10);
}

TEST(WeightStream, TakesShardsAndFilesThatBeginAnew) {
  ModelFiles files = *OpenModelFolder(Folder("gpt2-scaled"));
  const std::unique_ptr<Model> expected = NewModel("gpt2-scaled"), model = NewModel("gpt2-scaled");
  ASSERT_TRUE(LoadWeights(*expected, files.tensors).ok());
  const ShardIndex index =
      *ParseShardIndex(*ReadFile(Folder("gpt2-scaled") + "/model.safetensors.index.json"));
  WeightStream stream(model.get(), {});
  for (const std::string& name : index.files) {
    EXPECT_FALSE(stream.Finish().ok());
    const std::string file = *ReadFile(Folder("gpt2-scaled") + "/" + name);
    ASSERT_TRUE(stream.Begin(TensorsOf(file)).ok());
    ASSERT_TRUE(stream.Append(std::string_view(file).substr(0, file.size() / 2)).ok());
    ASSERT_TRUE(Stream(stream, file, 1000).ok());
  }
  ASSERT_TRUE(stream.Finish().ok());
  ExpectSame(*model, *expected);
  const std::string first = *ReadFile(Folder("gpt2-scaled") + "/" + index.files[0]);
  EXPECT_NE(stream.Begin(TensorsOf(first)).message().find("there twice"), std::string::npos);
}

TEST(WeightStream, TakesRoundedValuesWithScalesOnEitherSide) {
  ModelFiles files = *OpenModelFolder(Folder("gpt2"));
  const std::unique_ptr<Model> plain = NewModel("gpt2");
  ASSERT_TRUE(LoadWeights(*plain, files.tensors).ok());
  const NamedTensors tensors = *ExportWeights(*plain, SaveFormat::kQ8);
  for (const WeightFormat format : {WeightFormat::kAsStored, WeightFormat::kF32}) {
    TensorSource source;
    for (const auto& [name, tensor] : tensors) ASSERT_TRUE(source.Add(name, tensor).ok());
    const std::unique_ptr<Model> expected = NewModel("gpt2");
    ASSERT_TRUE(LoadWeights(*expected, source, {.format = format}).ok());
    for (const bool scales_last : {false, true}) {
      // The tensors one after the other, as a file without header would have them.
      std::string bytes;
      std::vector<TensorInfo> infos;
      for (const bool scales : {!scales_last, scales_last}) {
        for (const auto& [name, tensor] : tensors) {
          if (name.ends_with(".scale") != scales) continue;
          infos.push_back({name,
                           tensor.dtype(),
                           tensor.shape(),
                           bytes.size(),
                           bytes.size() + tensor.bytes(),
                           {}});
          bytes.append(static_cast<const char*>(tensor.data()), tensor.bytes());
        }
      }
      const std::unique_ptr<Model> model = NewModel("gpt2");
      WeightStream stream(model.get(), {.format = format});
      ASSERT_TRUE(stream.Begin(infos).ok());
      for (size_t at = 0; at < bytes.size(); at += 501) {
        const Status status = stream.Append(std::string_view(bytes).substr(at, 501));
        ASSERT_TRUE(status.ok()) << status.message();
      }
      ASSERT_TRUE(stream.End().ok());
      ASSERT_TRUE(stream.Finish().ok());
      ExpectSame(*model, *expected);
    }
  }
}

TEST(WeightStream, NamesWhatIsWrong) {
  const std::string file = *ReadFile(Folder("llama") + "/model.safetensors");
  const std::unique_ptr<Model> model = NewModel("llama");
  const std::vector<TensorInfo> tensors = TensorsOf(file);
  const auto begin = [&](const std::function<void(std::vector<TensorInfo>&)>& change) {
    std::vector<TensorInfo> changed = tensors;
    change(changed);
    return WeightStream(model.get(), {}).Begin(changed).message();
  };
  EXPECT_EQ(begin([](auto&) {}), "");
  EXPECT_EQ(begin([](auto& t) { t[0].name = "stranger"; }),
            "the checkpoint has a tensor that the model does not use: 'stranger'");
  EXPECT_NE(begin([](auto& t) { t[0].shape = Shape({1, 2}); }).find("has the shape [1, 2]"),
            std::string::npos);
  EXPECT_NE(begin([](auto& t) { t[0].dtype = DType::kI64; }).find("cannot become F32"),
            std::string::npos);
  WeightStream stream(model.get(), {});
  ASSERT_TRUE(stream.Begin({tensors.begin() + 1, tensors.end()}).ok());
  ASSERT_TRUE(stream.Append(std::string_view(file).substr(0, file.size() - 1)).ok());
  EXPECT_EQ(stream.End().message(),
            StrCat("the file ends before tensor '", tensors.back().name, "' is whole"));
  ASSERT_TRUE(stream.Append(std::string_view(file).substr(file.size() - 1)).ok());
  ASSERT_TRUE(stream.End().ok());
  EXPECT_EQ(stream.Finish().message(), StrCat("the checkpoint has no tensor '", tensors[0].name,
                                              "' ", tensors[0].shape.ToString()));
}

}  // namespace
}  // namespace sotto
