// libFuzzer: a tokenizer.json and a text, split at the first NUL. Loading may fail; what loads must
// encode any bytes with offsets inside them, and stream to what it decodes to.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/tokenizer.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckOffsets(const sotto::Encoding& e, size_t first, size_t second) {
  for (size_t i = 0; i < e.size(); ++i) {
    const auto [begin, end] = e.offsets[i];
    Require(begin <= end && end <= (e.sequence_ids[i] == 1 ? second : first));
  }
  Require(e.type_ids.size() == e.size() && e.word_ids.size() == e.size() &&
          e.attention_mask.size() == e.size() && e.special_tokens_mask.size() == e.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');
  const std::string_view json = input.substr(0, cut);
  const std::string_view text =
      cut == std::string_view::npos ? "aB \xC3\xA9 1!" : input.substr(cut + 1);
  sotto::Result<sotto::Tokenizer> tokenizer =
      sotto::Tokenizer::FromJson(json, "{\"clean_up_tokenization_spaces\":true}");
  if (!tokenizer.ok()) {
    Require(!tokenizer.status().message().empty());
    return 0;
  }
  for (const bool parse_special : {false, true}) {
    sotto::EncodeOptions options;
    options.parse_special = parse_special;
    const sotto::Result<sotto::Encoding> e = tokenizer->Encode(text, options);
    if (!e.ok()) continue;
    CheckOffsets(*e, text.size(), 0);
    sotto::StreamDecoder stream(*tokenizer, parse_special);
    std::string streamed;
    for (const int32_t id : e->ids) streamed += stream.Push(id);
    streamed += stream.Finish();
    Require(streamed == tokenizer->Decode(e->ids, parse_special));
    options.max_length = 9;
    options.stride = 1;
    options.return_overflow = true;
    options.truncate_left = !parse_special;
    const sotto::Result<sotto::Encoding> pair =
        tokenizer->EncodePair(text, text.substr(text.size() / 2), options);
    if (pair.ok()) {
      Require(pair->size() <= 9);
      CheckOffsets(*pair, text.size(), text.size() - text.size() / 2);
    }
  }
  return 0;
}
