// How much memory loading takes at its peak: the weights as they are kept, and at most 64 MB.
#include <gtest/gtest.h>

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "core/base/file.h"
#include "core/io/gguf.h"
#include "core/models/model_stream.h"

namespace sotto {
namespace {

constexpr double kMegabyte = 1e6, kUnknown = -1e18, kFailed = -2e18;
constexpr char kConfig[] =
    R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32000,
        "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8,
        "intermediate_size": 2048})";

std::unique_ptr<Model> NewModel() { return *CreateModel(*Json::Parse(kConfig)); }

// A safetensors file of zeros in f16 that has every tensor of the model, cut in two.
struct Header {
  std::string bytes;
  uint64_t file_bytes = 0;
};
Header HeaderOf(const Model& model, size_t begin, size_t end) {
  std::string json = "{";
  uint64_t at = 0;
  for (size_t i = begin; i < end; ++i) {
    const Parameter& p = model.parameters().all()[i];
    const uint64_t next = at + 2 * static_cast<uint64_t>(p.shape.elements());
    json += StrCat(i > begin ? "," : "", "\"", p.name, R"(":{"dtype":"F16","shape":)",
                   p.shape.ToString(), R"(,"data_offsets":[)", at, ",", next, "]}");
    at = next;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  Header header;
  for (int shift = 0; shift < 64; shift += 8)
    header.bytes.push_back(static_cast<char>(json.size() >> shift));
  header.bytes += json;
  header.file_bytes = header.bytes.size() + at;
  return header;
}

// "VmHWM:   12345 kB" of this process, in bytes.
double StatusBytes(const char* key) {
  std::string text;
  std::FILE* file = std::fopen("/proc/self/status", "r");
  char line[256];
  double kilobytes = -1;
  while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
    if (std::string_view(line).starts_with(key))
      kilobytes = std::atof(line + std::string_view(key).size() + 1);
  }
  if (file != nullptr) std::fclose(file);
  return kilobytes * 1024;
}

// The most that `load` adds to the memory of a process of its own, beyond what its model keeps;
// pages of mapped files count. A little below 0 where memory that was free before served.
template <class Load>
double PeakBeyondWeights(const Load& load) {
  int ends[2];
  if (::pipe(ends) != 0) return kUnknown;
  const pid_t child = ::fork();
  if (child == 0) {
    double beyond = kUnknown;
    const int reset = ::open("/proc/self/clear_refs", O_WRONLY);
    if (reset >= 0 && ::write(reset, "5", 1) == 1) {  // the peak counts from here
      const double before = StatusBytes("VmRSS");
      const std::unique_ptr<Model> model = load();
      const double peak = StatusBytes("VmHWM");
      double kept = 0;
      for (const Parameter& p : model->parameters().all())
        kept += static_cast<double>(p.tensor->bytes());
      beyond = peak - before - kept;
      if (kept < 60 * kMegabyte || peak < kept) beyond = kFailed;
    }
    if (::write(ends[1], &beyond, sizeof beyond) < 0) ::_exit(1);
    ::_exit(0);
  }
  double beyond = kFailed;
  ::close(ends[1]);
  if (::read(ends[0], &beyond, sizeof beyond) != sizeof beyond) beyond = kFailed;
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return beyond;
}

void ExpectLittle(double beyond, const std::string& what) {
  if (beyond == kUnknown) GTEST_SKIP() << "the system does not tell";
  EXPECT_GT(beyond, -64 * kMegabyte) << what;
  EXPECT_LT(beyond, 64 * kMegabyte) << what;
  testing::Test::RecordProperty(what, std::to_string(beyond / kMegabyte));
  std::printf("%s: %.1f MB beyond the weights\n", what.c_str(), beyond / kMegabyte);
}

class PeakMemory : public testing::TestWithParam<WeightFormat> {};

TEST_P(PeakMemory, OfMappedShardsStaysUnderTheWeightsAnd64Megabytes) {
  const std::string folder = testing::TempDir() + "sotto_memory/";
  ASSERT_TRUE(MakeFolder(folder).ok());
  ASSERT_TRUE(WriteFile(folder + "config.json", kConfig).ok());
  const std::unique_ptr<Model> model = NewModel();
  const std::vector<Parameter>& all = model->parameters().all();
  std::string map;
  for (const size_t half : {0, 1}) {
    const size_t begin = half * all.size() / 2, end = (half + 1) * all.size() / 2;
    const std::string name = StrCat("model-", half, ".safetensors");
    const Header header = HeaderOf(*model, begin, end);
    ASSERT_TRUE(WriteFile(folder + name, header.bytes).ok());
    ASSERT_EQ(::truncate((folder + name).c_str(), static_cast<off_t>(header.file_bytes)), 0);
    for (size_t i = begin; i < end; ++i)
      map += StrCat(map.empty() ? "" : ",", "\"", all[i].name, "\":\"", name, "\"");
  }
  ASSERT_TRUE(
      WriteFile(folder + "model.safetensors.index.json", StrCat(R"({"weight_map":{)", map, "}}"))
          .ok());
  const double beyond = PeakBeyondWeights([&] {
    ModelFiles files = *OpenModelFolder(folder);
    std::unique_ptr<Model> loaded = NewModel();
    if (!LoadWeights(*loaded, files.tensors, {.format = GetParam()}).ok()) ::_exit(1);
    return loaded;
  });
  ExpectLittle(beyond, "mapped shards");
}

TEST_P(PeakMemory, OfAFileThatArrivesStaysUnderTheWeightsAnd64Megabytes) {
  const std::unique_ptr<Model> model = NewModel();
  const Header header = HeaderOf(*model, 0, model->parameters().all().size());
  const double beyond = PeakBeyondWeights([&] {
    ModelStream stream({.format = GetParam()});
    stream.files().config = kConfig;
    const std::string zeros(1 << 20, '\0');
    bool ok = stream.Begin("model.safetensors", header.file_bytes).ok() &&
              stream.Append(header.bytes).ok();
    for (uint64_t left = header.file_bytes - header.bytes.size(); ok && left > 0;) {
      const uint64_t n = std::min<uint64_t>(left, zeros.size());
      ok = stream.Append(std::string_view(zeros).substr(0, n)).ok();
      left -= n;
    }
    if (!ok || !stream.End().ok()) ::_exit(1);
    return *stream.Finish();
  });
  ExpectLittle(beyond, "a file that arrives");
}

// Blocks of 4 bits, and a vocabulary of 150,000 tokens in the header.
TEST(PeakMemoryOfGguf, OfAFileThatArrivesStaysUnderTheWeightsAnd64Megabytes) {
  constexpr int64_t kVocab = 150000, kWidth = 512;
  GgufMetadata metadata;
  metadata.Set("general.architecture", std::string("llama"));
  for (const auto& [key, value] :
       {std::pair<const char*, int64_t>{"llama.embedding_length", kWidth},
        {"llama.block_count", 1},
        {"llama.attention.head_count", 8},
        {"llama.feed_forward_length", 2048},
        {"llama.context_length", 512}}) {
    metadata.Set(key, value);
  }
  metadata.Set("llama.attention.layer_norm_rms_epsilon", 1e-5);
  metadata.Set("tokenizer.ggml.model", std::string("gpt2"));
  metadata.Set("tokenizer.ggml.pre", std::string("gpt-2"));
  std::vector<std::string> tokens, merges;
  for (int64_t i = 0; i < kVocab; ++i) tokens.push_back(StrCat("token", i));
  for (int64_t i = 0; i < kVocab; ++i) merges.push_back(StrCat("tok en", i));
  metadata.Set("tokenizer.ggml.tokens", tokens);
  metadata.Set("tokenizer.ggml.merges", merges);
  const auto zeros = [](int64_t rows, int64_t columns) {
    return *Tensor::Zeros({rows, columns}, DType::kQ4_0);
  };
  NamedTensors tensors = {{"token_embd.weight", zeros(kVocab, kWidth)},
                          {"output_norm.weight", *Tensor::Zeros({kWidth})},
                          {"blk.0.attn_norm.weight", *Tensor::Zeros({kWidth})},
                          {"blk.0.ffn_norm.weight", *Tensor::Zeros({kWidth})}};
  for (const char* name : {"q", "k", "v", "output"})
    tensors.emplace_back(StrCat("blk.0.attn_", name, ".weight"), zeros(kWidth, kWidth));
  tensors.emplace_back("blk.0.ffn_gate.weight", zeros(2048, kWidth));
  tensors.emplace_back("blk.0.ffn_up.weight", zeros(2048, kWidth));
  tensors.emplace_back("blk.0.ffn_down.weight", zeros(kWidth, 2048));
  const std::string file = *WriteGguf(metadata, tensors);
  const double beyond = PeakBeyondWeights([&] {
    ModelStream stream({});
    bool ok = stream.Begin("m.gguf", file.size()).ok();
    for (size_t at = 0; ok && at < file.size(); at += 1 << 20)
      ok = stream.Append(std::string_view(file).substr(at, 1 << 20)).ok();
    if (!ok || !stream.End().ok()) ::_exit(1);
    return *stream.Finish();
  });
  ExpectLittle(beyond, "a GGUF file that arrives");
}

INSTANTIATE_TEST_SUITE_P(Formats, PeakMemory,
                         testing::Values(WeightFormat::kAsStored, WeightFormat::kQ8),
                         [](const auto& info) {
                           return info.param == WeightFormat::kQ8 ? "q8" : "f32";
                         });

}  // namespace
}  // namespace sotto

#endif
