// The tokenizer.json that the tokenizer inside a GGUF file amounts to (core/io/gguf_tokenizer.h):
// llama.cpp's models "llama" (SentencePiece BPE by scores), "gpt2" (byte-level BPE), "bert"
// (WordPiece), "t5" (Unigram) and "rwkv" (the longest token). Another one, or a pre-tokenizer that
// is not known, is an error that names it.
#ifndef SOTTO_CORE_TEXT_GGML_TOKENIZER_H_
#define SOTTO_CORE_TEXT_GGML_TOKENIZER_H_

#include <string_view>

#include "core/base/json.h"
#include "core/base/status.h"

namespace sotto {

// Whether a tokenizer is what core/io/gguf_tokenizer.h writes.
inline bool IsGgmlTokenizer(std::string_view tokenizer) {
  return tokenizer.starts_with("{\"ggml\":");
}

// `ggml` is the member of that name.
Result<Json> GgmlTokenizer(const Json& ggml);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_GGML_TOKENIZER_H_
