#include "core/io/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <sstream>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/io/tensor_source.h"
#include "core/tensor/blocks.h"

namespace sotto {
namespace {

void AppendNumber(std::string& out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

int HexDigit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// The bytes that a line of the table describes: see tests/malformed/README.md.
std::string BytesOf(const std::string& description) {
  std::string out;
  std::istringstream words(description);
  for (std::string word; words >> word;) {
    const std::string kind = word.substr(0, word.find(':'));
    const std::string value = kind.size() < word.size() ? word.substr(kind.size() + 1) : "";
    const uint64_t number = std::strtoull(value.c_str(), nullptr, 10);
    if (kind == "GGUF") {
      out += "GGUF";
    } else if (kind == "u8") {
      AppendNumber(out, number, 1);
    } else if (kind == "u32") {
      AppendNumber(out, number, 4);
    } else if (kind == "u64") {
      AppendNumber(out, number, 8);
    } else if (kind == "str") {
      AppendNumber(out, value.size(), 8);
      out += value;
    } else if (kind == "raw") {
      out += value;
    } else if (kind == "hex") {
      for (size_t i = 0; i + 1 < value.size(); i += 2) {
        out.push_back(static_cast<char>(HexDigit(value[i]) * 16 + HexDigit(value[i + 1])));
      }
    } else if (kind == "zeros") {
      out.append(number, '\0');
    } else if (kind == "pad") {
      out.resize((out.size() + number - 1) / number * number);
    } else {
      ADD_FAILURE() << "unknown word: " << word;
    }
  }
  return out;
}

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
    const std::string file = BytesOf((*line)["file"].as_string());
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
