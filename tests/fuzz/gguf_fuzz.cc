// GGUF: the bytes of a file, or the words that describe one (tests/malformed/README.md; they begin
// with "GGUF " or "GGUF\n"). What is accepted must lie inside the file, arrive in pieces as it is
// read whole, be decoded to the last value and be written and read back; what can be described as a
// model must load in every format and run, and its tokenizer encode any text, with offsets inside
// it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/io/gguf.h"
#include "core/io/gguf_model.h"
#include "core/models/model.h"
#include "core/models/model_stream.h"
#include "core/run/pipeline.h"
#include "core/tensor/blocks.h"
#include "tests/malformed/gguf_words.h"

namespace {

using sotto::DType;
using sotto::GgufHeader;
using sotto::Result;
using sotto::Status;
using sotto::TensorInfo;

constexpr size_t kMaxFileBytes = size_t{1} << 20;
constexpr int64_t kMaxParameters = 1 << 20;  // of a model that is run
constexpr int64_t kMaxLayers = 8;

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

void RequireReason(const Status& status) { Require(status.ok() || !status.message().empty()); }

// Of what is there of a file of `size` bytes.
Result<std::optional<GgufHeader>> ParseFirst(std::string_view file, size_t count) {
  const auto exact = std::make_unique<char[]>(count);
  file.substr(0, count).copy(exact.get(), count);
  return GgufHeader::Parse({exact.get(), count}, file.size());
}

void DecodeEverything(std::string_view file, const TensorInfo& info) {
  Require(info.begin <= info.end && info.end <= file.size());
  if (!sotto::IsFloating(info.dtype)) return;
  const int64_t columns = info.shape.columns();
  const auto row_bytes = static_cast<size_t>(sotto::BytesOfRow(info.dtype, columns));
  const auto row = std::make_unique<char[]>(row_bytes);
  std::vector<float> values(static_cast<size_t>(columns));
  for (uint64_t at = info.begin; at < info.end; at += row_bytes) {
    file.substr(static_cast<size_t>(at), row_bytes).copy(row.get(), row_bytes);
    sotto::DecodeRow(info.dtype, row.get(), columns, values.data());
  }
}

void WriteAgain(std::string_view file, const GgufHeader& header) {
  sotto::TensorSource source;
  std::vector<TensorInfo> infos(header.tensors().begin(), header.tensors().end());
  Require(source.AddTensors(infos, file, 0, nullptr, "").ok());
  sotto::NamedTensors tensors;
  for (const TensorInfo& info : infos) {
    const Result<sotto::Tensor> tensor = source.Take(info.name, info.shape);
    Require(tensor.ok());
    tensors.emplace_back(info.name, *tensor);
  }
  const Result<std::string> written = sotto::WriteGguf(header.metadata(), tensors);
  Require(written.ok());
  const auto again = GgufHeader::Parse(*written, written->size());
  Require(again.ok() && again->has_value());
  Require((*again)->metadata().values().size() == header.metadata().values().size());
  Require((*again)->tensors().size() == infos.size());
  for (size_t i = 0; i < infos.size(); ++i) {
    const TensorInfo &a = infos[i], &b = (*again)->tensors()[i];
    Require(a.name == b.name && a.dtype == b.dtype && a.shape == b.shape);
    Require(file.substr(a.begin, a.end - a.begin) ==
            std::string_view(*written).substr(b.begin, b.end - b.begin));
  }
}

void Tokenize(const sotto::ModelFiles& files) {
  const Result<sotto::Tokenizer> tokenizer = sotto::TokenizerOf(files);
  RequireReason(tokenizer.status());
  if (!tokenizer.ok()) return;
  for (const std::string_view text : {" aB<s>\n\xC3\xA9 1!\xFF  [CLS] \xE2\x96\x81", ""}) {
    for (const bool special : {false, true}) {
      const auto e = tokenizer->Encode(text, {.parse_special = special});
      if (!e.ok()) continue;
      for (size_t i = 0; i < e->size(); ++i) {
        const auto [begin, end] = e->offsets[i];
        Require(begin <= end && end <= text.size());
        Require(e->ids[i] >= 0 && e->ids[i] < tokenizer->vocab_size());
      }
      (void)tokenizer->Decode(e->ids, special);
    }
  }
}

// Forward of two tokens; values may be anything.
void Run(const sotto::Model& model) {
  if (model.vocab_size() < 1) return;
  const auto last = static_cast<int32_t>(model.vocab_size() - 1);
  const sotto::Tensor ids = *sotto::Tensor::FromInts({1, 2}, std::vector<int32_t>{0, last});
  sotto::Arena arena;
  sotto::Context ctx(&arena);
  sotto::ModelInput input{.ids = ids};
  if (model.is_encoder_decoder()) input.decoder_ids = ids;
  (void)model.Forward(ctx, input);
  RequireReason(ctx.status());
}

// The same file as it arrives from a network.
Status Stream(std::string_view file, sotto::WeightFormat format) {
  sotto::ModelStream stream({.format = format});
  const size_t piece = 1 + static_cast<uint8_t>(file.back()) * size_t{16};
  SOTTO_RETURN_IF_ERROR(stream.Begin("m.gguf", file.size()));
  for (size_t at = 0; at < file.size(); at += piece)
    SOTTO_RETURN_IF_ERROR(stream.Append(file.substr(at, piece)));
  SOTTO_RETURN_IF_ERROR(stream.End());
  return stream.Finish().status();
}

void LoadAndRun(const sotto::ModelFiles& files, std::string_view file,
                const std::vector<TensorInfo>& tensors, bool alone) {
  const Result<sotto::Json> config = sotto::Json::Parse(files.config);
  Require(config.ok());
  const auto wide = [&](const char* key) {
    return (*config)[key].is_int() && (*config)[key].as_int() > kMaxLayers;
  };
  if (wide("num_hidden_layers") || wide("n_layer") || wide("num_layers") ||
      wide("num_decoder_layers"))
    return;
  for (const sotto::WeightFormat format :
       {sotto::WeightFormat::kAsStored, sotto::WeightFormat::kF32, sotto::WeightFormat::kQ8,
        sotto::WeightFormat::kQ4}) {
    Result<std::unique_ptr<sotto::Model>> model = sotto::CreateModel(*config);
    RequireReason(model.status());
    if (!model.ok() || (*model)->parameters().elements() > kMaxParameters) return;
    sotto::TensorSource source;
    RequireReason(source.AddTensors(tensors, file, 0, nullptr, ""));
    const bool fits = sotto::CheckWeights(**model, source).empty();
    const Status loaded = sotto::LoadWeights(**model, source, {.format = format});
    RequireReason(loaded);
    Require(fits || !loaded.ok());
    const Status streamed = Stream(file, format);
    RequireReason(streamed);
    if (alone) Require(streamed.ok() == loaded.ok());
    if (!loaded.ok()) return;
    Run(**model);
  }
}

void ReadEverything(std::string_view file) {
  const auto parsed = GgufHeader::Parse(file, file.size());
  RequireReason(parsed.status());
  Require(!parsed.ok() || parsed->has_value());  // a whole file needs no more
  // A prefix gives the same answer, or none yet.
  const size_t some = file.empty() ? 0 : static_cast<uint8_t>(file.back()) * file.size() / 256;
  const auto first = ParseFirst(file, some);
  if (first.ok() != parsed.ok()) Require(first.ok() && !first->has_value());
  if (!first.ok()) Require(first.status().message() == parsed.status().message());
  if (!parsed.ok()) return;
  const GgufHeader& header = **parsed;
  for (const TensorInfo& info : header.tensors()) DecodeEverything(file, info);
  WriteAgain(file, header);
  const auto split = sotto::ReadGgufSplit(header.metadata());
  RequireReason(split.status());
  if (split.ok()) {
    RequireReason(sotto::GgufSplitNames("a-00001-of-00002.gguf", split->count).status());
  }
  std::vector<TensorInfo> tensors(header.tensors().begin(), header.tensors().end());
  sotto::ModelFiles files;
  const auto described = sotto::DescribeGguf(
      header.metadata(), tensors,
      [&](const TensorInfo& t) { return file.substr(t.begin, t.end - t.begin); }, files);
  RequireReason(described.status());
  if (!described.ok()) return;
  Require(*described);
  Tokenize(files);
  LoadAndRun(files, file, tensors, split.ok() && split->count == 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (!input.starts_with("GGUF ") && !input.starts_with("GGUF\n")) {
    ReadEverything(input);
    return 0;
  }
  std::string file;
  if (!sotto::GgufOfWords(std::string(input), kMaxFileBytes, file)) return 0;
  // An exact allocation, so that a sanitizer sees a read past the end.
  const auto exact = std::make_unique<char[]>(file.size());
  file.copy(exact.get(), file.size());
  ReadEverything({exact.get(), file.size()});
  return 0;
}
