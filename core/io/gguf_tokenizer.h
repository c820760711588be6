// The tokenizer inside a GGUF file, as JSON: what the keys "tokenizer.ggml.*" say, checked. What
// that means for a text is known in core/text/ggml_tokenizer.h, not here.
#ifndef SOTTO_CORE_IO_GGUF_TOKENIZER_H_
#define SOTTO_CORE_IO_GGUF_TOKENIZER_H_

#include <string>

#include "core/base/status.h"
#include "core/io/gguf.h"

namespace sotto {

// {"ggml": {"model": "llama", "pre": ..., "tokens": [...], ...}}, or nothing where the file has no
// tokenizer. An id beyond the vocabulary is an error.
Result<std::string> GgufTokenizerJson(const GgufMetadata& metadata);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_GGUF_TOKENIZER_H_
