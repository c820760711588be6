// A model whose files come in pieces ends up as one whose files are at hand: folders, shards, GGUF
// files, and those in several parts.
#include "core/models/model_stream.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "core/base/file.h"

namespace sotto {
namespace {

std::string Golden(const std::string& path) { return SOTTO_SOURCE_DIR "/tests/golden/" + path; }

std::unique_ptr<Model> AtHand(const std::string& path, const LoadOptions& options = {}) {
  Result<ModelFiles> files = OpenModelFiles(path);
  EXPECT_TRUE(files.ok()) << files.status().message();
  std::unique_ptr<Model> model = *CreateModel(*Json::Parse(files->config));
  const Status loaded = LoadWeights(*model, files->tensors, options);
  EXPECT_TRUE(loaded.ok()) << loaded.message();
  return model;
}

void ExpectSame(const Model& a, const Model& b) {
  EXPECT_EQ(a.config().Dump(), b.config().Dump());
  for (const Parameter& p : a.parameters().all()) {
    const Tensor& x = *p.tensor;
    const Tensor& y = *b.parameters().Find(p.name)->tensor;
    ASSERT_EQ(static_cast<bool>(x), static_cast<bool>(y)) << p.name;
    if (!x) continue;
    ASSERT_EQ(x.dtype(), y.dtype()) << p.name;
    ASSERT_EQ(x.shape(), y.shape()) << p.name;
    ASSERT_EQ(std::memcmp(x.data(), y.data(), x.bytes()), 0) << p.name;
  }
}

Status Stream(ModelStream& stream, const std::string& name, std::string_view file, size_t piece) {
  SOTTO_RETURN_IF_ERROR(stream.Begin(name, file.size()));
  for (size_t at = 0; at < file.size(); at += piece)
    SOTTO_RETURN_IF_ERROR(stream.Append(file.substr(at, piece)));
  return stream.End();
}

TEST(ModelStream, GivesWhatFilesAtHandGiveOfEveryGoldenFolder) {
  int sharded = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Golden("models"))) {
    const std::string folder = entry.path().string();
    for (const WeightFormat format : {WeightFormat::kAsStored, WeightFormat::kQ4}) {
      const std::unique_ptr<Model> expected = AtHand(folder, {.format = format});
      ModelStream stream({.format = format});
      stream.files().config = *ReadFile(folder + "/config.json");
      std::string index;
      std::vector<std::string> names = {"model.safetensors"};
      if (FileExists(folder + "/model.safetensors.index.json")) {
        index = *ReadFile(folder + "/model.safetensors.index.json");
        names = ParseShardIndex(index)->files;
        ++sharded;
      }
      for (const std::string& name : names) {
        const Status status = Stream(stream, name, *ReadFile(folder + "/" + name), 5000);
        ASSERT_TRUE(status.ok()) << folder << ": " << status.message();
      }
      Result<std::unique_ptr<Model>> model = stream.Finish(index);
      ASSERT_TRUE(model.ok()) << folder << ": " << model.status().message();
      ExpectSame(**model, *expected);
    }
  }
  EXPECT_GT(sharded, 0);
}

TEST(ModelStream, GivesWhatFilesAtHandGiveOfEveryGoldenGgufFile) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Golden("gguf"))) {
    if (entry.path().extension() != ".gguf") continue;
    ++files;
    const std::unique_ptr<Model> expected = AtHand(entry.path().string());
    const std::string file = *ReadFile(entry.path().string());
    for (const size_t piece : {size_t{97}, file.size()}) {
      ModelStream stream({});
      const Status status = Stream(stream, "model.gguf", file, piece);
      ASSERT_TRUE(status.ok()) << entry.path() << ": " << status.message();
      EXPECT_FALSE(stream.files().config.empty());
      EXPECT_TRUE(stream.parts().empty());
      ExpectSame(**stream.Finish(), *expected);
    }
  }
  EXPECT_GT(files, 10);
}

// The golden file of that name, cut into parts as llama.cpp's gguf-split cuts them: the metadata in
// the first.
std::vector<std::pair<std::string, std::string>> Parts(const std::string& name, int count) {
  const std::string file = *ReadFile(Golden("gguf/" + name));
  GgufHeader header = **GgufHeader::Parse(file, file.size());
  TensorSource source;
  EXPECT_TRUE(
      source.AddTensors({header.tensors().begin(), header.tensors().end()}, file, 0, nullptr, name)
          .ok());
  const std::vector<std::string> names =
      *GgufSplitNames("m-00001-of-0000" + std::to_string(count) + ".gguf", count);
  std::vector<std::pair<std::string, std::string>> parts;
  const size_t total = header.tensors().size();
  for (int i = 0; i < count; ++i) {
    GgufMetadata metadata = i == 0 ? header.metadata() : GgufMetadata();
    metadata.Set("split.no", int64_t{i});
    metadata.Set("split.count", int64_t{count});
    metadata.Set("split.tensors.count", static_cast<int64_t>(total));
    NamedTensors tensors;
    for (size_t t = total * i / count; t < total * (i + 1) / count; ++t) {
      const std::string& tensor = header.tensors()[t].name;
      tensors.emplace_back(tensor, *source.Take(tensor));
    }
    parts.emplace_back(names[i], *WriteGguf(metadata, tensors));
  }
  return parts;
}

Status StreamParts(ModelStream& stream,
                   const std::vector<std::pair<std::string, std::string>>& parts, size_t piece) {
  SOTTO_RETURN_IF_ERROR(stream.Begin(parts[0].first, parts[0].second.size()));
  const std::string_view first = parts[0].second;
  for (size_t at = 0; at < first.size(); at += piece) {
    SOTTO_RETURN_IF_ERROR(stream.Append(first.substr(at, piece)));
    while (!stream.wanted_header().empty()) {
      const auto& part = *std::find_if(parts.begin(), parts.end(), [&](const auto& p) {
        return p.first == stream.wanted_header();
      });
      bool whole = false;
      for (size_t from = 0; !whole; from += piece) {
        SOTTO_ASSIGN_OR_RETURN(whole,
                               stream.AddHeader(std::string_view(part.second).substr(from, piece),
                                                part.second.size()));
      }
    }
  }
  SOTTO_RETURN_IF_ERROR(stream.End());
  for (size_t i = 1; i < parts.size(); ++i)
    SOTTO_RETURN_IF_ERROR(Stream(stream, parts[i].first, parts[i].second, piece));
  return OkStatus();
}

TEST(ModelStream, TakesAGgufModelInSeveralFiles) {
  for (const std::string name : {"llama.gguf", "phi3.gguf", "qwen35.gguf"}) {
    const std::unique_ptr<Model> expected = AtHand(Golden("gguf/" + name));
    const auto parts = Parts(name, 3);
    for (const size_t piece : {size_t{333}, size_t{1} << 20}) {
      ModelStream stream({});
      const Status status = StreamParts(stream, parts, piece);
      ASSERT_TRUE(status.ok()) << name << ": " << status.message();
      EXPECT_EQ(stream.parts().size(), 3u);
      ExpectSame(**stream.Finish(), *expected);
    }
    // The same from disk, by the name of any part.
    const std::string folder = testing::TempDir();
    for (const auto& [part, bytes] : parts) ASSERT_TRUE(WriteFile(folder + part, bytes).ok());
    ExpectSame(*AtHand(folder + parts[1].first), *expected);
    for (const auto& [part, bytes] : parts) ::unlink((folder + part).c_str());
  }
}

TEST(ModelStream, NamesWhatIsWrongWithPartsOfAModel) {
  const auto parts = Parts("llama.gguf", 2);
  const auto error = [&](const auto& change) {
    auto changed = parts;
    change(changed);
    ModelStream stream({});
    Status status = StreamParts(stream, changed, 1000);
    if (status.ok()) status = stream.Finish().status();
    return status.message();
  };
  EXPECT_EQ(error([](auto&) {}), "");
  EXPECT_NE(error([&](auto& p) {
              p[1].second = parts[0].second;
            }).find("says that it is part 1 of 2, not 2 of 2"),
            std::string::npos);
  EXPECT_NE(error([](auto& p) {
              p.pop_back();
              p[0].first = "other.gguf";
            }).find("other.gguf"),
            std::string::npos);
  {
    ModelStream stream({});
    ASSERT_TRUE(stream.Begin(parts[1].first, parts[1].second.size()).ok());
    EXPECT_FALSE(stream.Append(parts[1].second).ok());
  }
  {  // a part that is another one when it comes than it was when its header was read
    ModelStream stream({});
    ASSERT_TRUE(stream.Begin(parts[0].first, parts[0].second.size()).ok());
    ASSERT_TRUE(stream.Append(parts[0].second).ok());
    EXPECT_NE(stream.End().message().find(parts[1].first), std::string::npos);
    ASSERT_TRUE(*stream.AddHeader(parts[1].second, parts[1].second.size()));
    ASSERT_TRUE(stream.End().ok());
    std::string other = parts[1].second;
    other[30] ^= 1;
    EXPECT_NE(Stream(stream, parts[1].first, other, 5000).message().find("has changed"),
              std::string::npos);
    ASSERT_TRUE(Stream(stream, parts[1].first, parts[1].second, 5000).ok());
    EXPECT_TRUE(stream.Finish().ok());
  }
}

TEST(ModelStream, BeginsAFileAnewThatWasWrong) {
  const std::string folder = Golden("models/llama");
  const std::unique_ptr<Model> expected = AtHand(folder);
  const std::string file = *ReadFile(folder + "/model.safetensors");
  ModelStream stream({});
  stream.files().config = *ReadFile(folder + "/config.json");
  ASSERT_TRUE(stream.Begin("model.safetensors", file.size()).ok());
  ASSERT_TRUE(stream.Append(std::string_view(file).substr(0, file.size() / 2)).ok());
  EXPECT_NE(stream.End().message().find("bytes came"), std::string::npos);
  ASSERT_TRUE(Stream(stream, "model.safetensors", file, 1234).ok());
  ExpectSame(**stream.Finish(), *expected);

  const std::unique_ptr<Model> of_gguf = AtHand(Golden("gguf/gpt2.gguf"));
  const std::string gguf = *ReadFile(Golden("gguf/gpt2.gguf"));
  ModelStream second({});
  const std::string other = *ReadFile(Golden("gguf/llama.gguf"));
  EXPECT_FALSE(Stream(second, "m.gguf", other.substr(0, other.size() - 100), 100000).ok());
  ASSERT_TRUE(Stream(second, "m.gguf", gguf, 1234).ok());
  ExpectSame(**second.Finish(), *of_gguf);
}

TEST(ModelStream, NamesWhatIsWrongWithAFile) {
  const std::string folder = Golden("models/llama");
  const std::string file = *ReadFile(folder + "/model.safetensors");
  const auto error = [&](const std::string& config, const std::string& name,
                         const std::string& bytes) {
    ModelStream stream({});
    stream.files().config = config;
    Status status = Stream(stream, name, bytes, 777);
    if (status.ok()) status = stream.Finish().status();
    return status.message();
  };
  const std::string config = *ReadFile(folder + "/config.json");
  const std::string weights = "model.safetensors";
  EXPECT_EQ(error(config, weights, file), "");
  EXPECT_NE(error("", weights, file).find("no config.json"), std::string::npos);
  EXPECT_NE(error("{", weights, file).find("config.json: "), std::string::npos);
  EXPECT_NE(error(R"({"model_type": "jamba"})", weights, file).find("jamba"), std::string::npos);
  EXPECT_NE(error(config, weights, "<!DOCTYPE html>").find("an HTML page"), std::string::npos);
  EXPECT_NE(error(config, weights, "").find("ends within its header"), std::string::npos);
  EXPECT_NE(error(config, "m.gguf", file).find("m.gguf: "), std::string::npos);
  EXPECT_NE(error(config, "m.gguf", file.substr(0, 2)).find("m.gguf: "), std::string::npos);
  const std::string gguf = *ReadFile(Golden("gguf/llama.gguf"));
  EXPECT_EQ(error("", "m.gguf", gguf), "");
  EXPECT_NE(error("", "m.gguf", gguf.substr(0, gguf.size() - 40)).find("m.gguf: "),
            std::string::npos);
}

}  // namespace
}  // namespace sotto
