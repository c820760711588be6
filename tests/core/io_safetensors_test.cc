#include "core/io/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/io/tensor_source.h"

namespace sotto {
namespace {

std::string WithLength(uint64_t length, std::string_view rest) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(length >> (8 * i)));
  return out.append(rest);
}

std::string FileOf(std::string_view header, size_t data_bytes) {
  return WithLength(header.size(), header).append(data_bytes, '\0');
}

std::string ErrorOf(std::string_view file) {
  const auto header = SafetensorsHeader::Parse(file, file.size());
  return header.ok() ? "accepted" : header.status().message();
}

Tensor Floats(const Shape& shape, std::vector<float> values) {
  return *Tensor::FromFloats(shape, values);
}

int HexDigit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// The bytes that a line of the table describes.
std::string BytesOfCase(const Json& line) {
  std::string file;
  if (line.has("hex")) {
    const std::string& hex = line["hex"].as_string();
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      file.push_back(static_cast<char>(HexDigit(hex[i]) * 16 + HexDigit(hex[i + 1])));
    }
    return file;
  }
  std::string header = line["header"].as_string();
  std::replace(header.begin(), header.end(), '\'', '"');
  const uint64_t length = line.has("length")
                              ? std::strtoull(line["length"].as_string().c_str(), nullptr, 10)
                              : header.size();
  file = WithLength(length, header).append(static_cast<size_t>(line["data"].as_int()), '\0');
  file.resize(file.size() - static_cast<size_t>(line["cut"].as_int()));
  return file;
}

TEST(Safetensors, RefusesEveryMalformedFileWithItsOwnSentence) {
  const auto table = ReadFile(SOTTO_SOURCE_DIR "/tests/malformed/safetensors.jsonl");
  ASSERT_TRUE(table.ok()) << table.status().message();
  int cases = 0;
  for (size_t at = 0; at < table->size(); ++cases) {
    const size_t end = table->find('\n', at);
    const auto line = Json::Parse(std::string_view(*table).substr(at, end - at));
    ASSERT_TRUE(line.ok()) << line.status().message();
    at = end + 1;
    const std::string file = BytesOfCase(*line);
    // An exact allocation, so that a sanitizer sees a read past the end.
    const auto exact = std::make_unique<char[]>(file.size());
    std::memcpy(exact.get(), file.data(), file.size());
    const std::string_view bytes(exact.get(), file.size());
    EXPECT_EQ(ErrorOf(bytes), (*line)["error"].as_string()) << (*line)["name"].as_string();
    TensorSource source;
    EXPECT_EQ(source.AddSafetensors(bytes, nullptr, "x").message(),
              "x: " + (*line)["error"].as_string());
    EXPECT_TRUE(source.Names().empty());
  }
  EXPECT_GE(cases, 60);
}

TEST(Safetensors, CapsTheNumberOfTensors) {
  const auto header_of = [](size_t count) {
    std::string header = "{";
    for (size_t i = 0; i < count; ++i) {
      header +=
          StrCat(i ? "," : "", "\"", i, R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
    }
    return FileOf(header + "}", 0);
  };
  EXPECT_EQ(ErrorOf(header_of(SafetensorsHeader::kMaxTensors)), "accepted");
  EXPECT_EQ(ErrorOf(header_of(SafetensorsHeader::kMaxTensors + 1)),
            "the header names 131073 tensors; at most 131072 are allowed");
}

TEST(Safetensors, CapsTheLengthOfNames) {
  const std::string description = R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})";
  EXPECT_EQ(ErrorOf(FileOf("{\"" + std::string(4096, 'n') + description, 0)), "accepted");
  EXPECT_EQ(ErrorOf(FileOf("{\"" + std::string(4097, 'n') + description, 0)),
            "a tensor's name has 4097 bytes; at most 4096 are allowed");
}

TEST(Safetensors, RefusesAHeaderNestedAHundredThousandLevelsDeep) {
  EXPECT_EQ(ErrorOf(FileOf("{\"a\":" + std::string(100000, '['), 0)),
            "the safetensors header: not valid JSON at byte 7: the nesting is deeper than 3");
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string file = *WriteSafetensors({{"a", Floats({2, 3}, {1, 2, 3, 4, 5, 6})}});
  EXPECT_EQ(ErrorOf(file), "accepted");
  for (size_t n = 0; n < file.size(); ++n) {
    EXPECT_NE(ErrorOf(std::string_view(file).substr(0, n)), "accepted") << n;
  }
}

TEST(Safetensors, ReadsTheHeaderBeforeTheDataHasArrived) {
  const std::string file = *WriteSafetensors({{"a", Floats({2}, {1, 2})}}, {{"format", "pt"}});
  const auto needed =
      SafetensorsHeader::HeaderBytes(std::string_view(file).substr(0, 8), file.size());
  ASSERT_TRUE(needed.ok());
  const auto header =
      SafetensorsHeader::Parse(std::string_view(file).substr(0, *needed), file.size());
  ASSERT_TRUE(header.ok()) << header.status().message();
  ASSERT_EQ(header->tensors().size(), 1u);
  EXPECT_EQ(header->tensors()[0].begin, *needed);
  EXPECT_EQ(header->tensors()[0].end, file.size());
  EXPECT_EQ(header->metadata(), (Metadata{{"format", "pt"}}));
  const auto early =
      SafetensorsHeader::Parse(std::string_view(file).substr(0, *needed - 1), file.size());
  EXPECT_EQ(early.status().code(), StatusCode::kInvalidArgument);
}

TEST(Safetensors, FindsTensorsByName) {
  const std::string file = *WriteSafetensors({{"b", Floats({}, {1})}, {"a", Floats({0, 3}, {})}});
  const auto header = SafetensorsHeader::Parse(file, file.size());
  ASSERT_TRUE(header.ok());
  ASSERT_NE(header->Find("b"), nullptr);
  EXPECT_EQ(header->Find("b")->shape.rank(), 0);
  EXPECT_EQ(header->Find("a")->shape, Shape({0, 3}));
  EXPECT_EQ(header->Find("c"), nullptr);
}

// What safetensors 0.8.0 writes for the same tensors.
TEST(Safetensors, WritesTheVeryBytesOfHuggingFacesLibrary) {
  const Tensor h = *Tensor::Zeros({0, 3}, DType::kF16);
  const Tensor i = *Tensor::Zeros({3}, DType::kI64);
  const Tensor u = *Tensor::Zeros({}, DType::kU8);
  Tensor flag = *Tensor::Zeros({1}, DType::kBool);
  static_cast<uint8_t*>(flag.data())[0] = 1;
  const auto file = WriteSafetensors({{"b", Floats({2}, {0, 0})},
                                      {"a", Floats({1}, {0})},
                                      {"i", i},
                                      {"u", u},
                                      {"h", h},
                                      {"\xC3\xA9", flag}},
                                     {{"z", "1"}, {"format", "pt"}});
  ASSERT_TRUE(file.ok()) << file.status().message();
  const std::string header =
      R"({"__metadata__":{"format":"pt","z":"1"},)"
      R"("i":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},)"
      R"("a":{"dtype":"F32","shape":[1],"data_offsets":[24,28]},)"
      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[28,36]},)"
      R"("h":{"dtype":"F16","shape":[0,3],"data_offsets":[36,36]},)"
      R"("u":{"dtype":"U8","shape":[],"data_offsets":[36,37]},)"
      "\"\xC3\xA9\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[37,38]}}     ";
  EXPECT_EQ(*file, WithLength(header.size(), header).append(37, '\0').append(1, '\1'));
}

TEST(Safetensors, RefusesToWriteWhatItWouldNotRead) {
  const Tensor x = Floats({1}, {1});
  EXPECT_NE(WriteSafetensors({{"a", x}, {"a", x}}).status().message().find("appears twice"),
            std::string::npos);
  EXPECT_EQ(WriteSafetensors({{"__metadata__", x}}).status().message(),
            "a tensor must not be named __metadata__");
  EXPECT_EQ(WriteSafetensors({{"", x}}).status().message(), "a tensor has an empty name");
  EXPECT_EQ(WriteSafetensors({{"a", Tensor()}}).status().message(), "tensor 'a' is empty");
  EXPECT_EQ(WriteSafetensors({{"a", *Tensor::Zeros({8, 4}, DType::kQ8)}}).status().message(),
            "tensor 'a' is packed for a kernel; store its rows");
}

TEST(Safetensors, WritesTheSameFileInPieces) {
  const NamedTensors tensors = {{"w", Floats({2, 2}, {1, 2, 3, 4})}, {"b", Floats({2}, {5, 6})}};
  const std::string path = testing::TempDir() + "sotto_safetensors_pieces";
  ASSERT_TRUE(WriteSafetensorsFile(path, tensors, {{"k", "v"}}).ok());
  EXPECT_EQ(*ReadFile(path), *WriteSafetensors(tensors, {{"k", "v"}}));
  EXPECT_FALSE(FileExists(path + ".part"));
  ::unlink(path.c_str());
}

TEST(Safetensors, AFileThatCannotBeWrittenLeavesNothingBehind) {
  const std::string path = testing::TempDir() + "sotto_no_such_folder/x";
  EXPECT_FALSE(WriteSafetensorsFile(path, {}).ok());
  EXPECT_FALSE(FileExists(path + ".part"));
}

TEST(ShardIndex, NamesFilesAndTensors) {
  const auto index = ParseShardIndex(
      R"({"metadata":{"total_size":8},"weight_map":{"b":"model-2.safetensors","a":"model-1.safetensors",
          "c":"model-1.safetensors"}})");
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ(index->files, (std::vector<std::string>{"model-1.safetensors", "model-2.safetensors"}));
  EXPECT_EQ(index->file_of.find("c")->second, "model-1.safetensors");
}

TEST(ShardIndex, RefusesNamesThatLeaveTheFolder) {
  for (const char* name : {"../a.safetensors", "/a.safetensors", "a/b.safetensors",
                           "a\\\\b.safetensors", ".safetensors", "c:a.safetensors",
                           "a\\u0000.safetensors", "%2e%2e.safetensors", "a?.safetensors"}) {
    const auto index = ParseShardIndex(StrCat(R"({"weight_map":{"a":")", name, R"("}})"));
    ASSERT_FALSE(index.ok()) << name;
    EXPECT_NE(index.status().message().find("not a plain name in the same folder"),
              std::string::npos);
  }
}

TEST(ShardIndex, RefusesWhatIsNotAnIndex) {
  const auto error = [](std::string_view text) { return ParseShardIndex(text).status().message(); };
  const std::string no_map = "the index of the shards must have a 'weight_map' that names tensors";
  EXPECT_EQ(error("{}"), no_map);
  EXPECT_EQ(error("[]"), no_map);
  EXPECT_EQ(error(R"({"weight_map":{}})"), no_map);
  EXPECT_EQ(error(R"({"weight_map":{"a":1}})"), "the index names no file for tensor 'a'");
  EXPECT_EQ(error(R"({"weight_map":{"a":"pytorch_model.bin"}})"),
            "the index names the file \"pytorch_model.bin\", which is not a .safetensors file");
  EXPECT_EQ(error("{"),
            "the index of the shards: not valid JSON at byte 1: the text ends too early");
  std::string many = "{\"weight_map\":{";
  for (int i = 0; i < 1025; ++i)
    many += StrCat(i ? "," : "", "\"", i, "\":\"", i, ".safetensors\"");
  EXPECT_EQ(error(many + "}}"), "the index names 1025 files; at most 1024 are allowed");
}

}  // namespace
}  // namespace sotto
