// libFuzzer: a SentencePiece model and a text, split at the last 0xFF byte. Reading may fail; what
// reads must make a tokenizer.json that loads or is refused, and encode any bytes with offsets
// inside them.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/text/sentencepiece.h"
#include "core/text/tokenizer_files.h"

namespace {

void RequireThat(bool holds) {
  if (!holds) std::abort();
}

void Exercise(const sotto::Tokenizer& tokenizer, std::string_view text) {
  const sotto::Result<sotto::Encoding> e = tokenizer.Encode(text);
  if (!e.ok()) return;
  for (const auto& [begin, end] : e->offsets) RequireThat(begin <= end && end <= text.size());
  sotto::StreamDecoder stream(tokenizer, false);
  std::string streamed;
  for (const int32_t id : e->ids) streamed += stream.Push(id);
  streamed += stream.Finish();
  RequireThat(streamed == tokenizer.Decode(e->ids, false));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.rfind('\xFF');
  const std::string_view bytes = input.substr(0, cut);
  const std::string_view text =
      cut == std::string_view::npos ? " aB  \xC3\xA9 1!" : input.substr(cut + 1);
  const auto model = sotto::SentencePieceModel::Parse(bytes);
  if (!model.ok()) {
    RequireThat(!model.status().message().empty());
    return 0;
  }
  if (const auto json = sotto::SentencePieceTokenizer(*model); json.ok()) {
    const auto tokenizer = sotto::Tokenizer::FromJson(json->Dump());
    if (tokenizer.ok()) Exercise(*tokenizer, text);
  }
  for (const std::string_view type : {"t5", "llama", "xlm-roberta", "pegasus", "albert", "gemma"}) {
    const auto tokenizer = sotto::OpenTokenizer({.sentencepiece = bytes, .model_type = type});
    if (tokenizer.ok()) Exercise(*tokenizer, text);
  }
  return 0;
}
