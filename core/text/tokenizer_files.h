// The files that make a tokenizer, as they lie in a model folder: tokenizer.json, or where that is
// missing the older ones by class, turned into the tokenizer.json that they amount to: a
// SentencePiece model (T5, XLM-RoBERTa, Llama, ...), one with its own ids (Marian, M2M100),
// vocab.json and merges.txt (GPT-2, RoBERTa, ...), vocab.txt (BERT, ...).
#ifndef SOTTO_CORE_TEXT_TOKENIZER_FILES_H_
#define SOTTO_CORE_TEXT_TOKENIZER_FILES_H_

#include <string>
#include <string_view>

#include "core/base/status.h"
#include "core/text/tokenizer.h"

namespace sotto {

// Each is empty where there is no such file.
struct TokenizerFiles {
  std::string_view tokenizer;  // tokenizer.json, or a GGUF file's (core/io/gguf_tokenizer.h)
  std::string_view config;     // tokenizer_config.json
  std::string_view special_tokens_map;  // special_tokens_map.json
  std::string_view added_tokens;        // added_tokens.json
  std::string_view sentencepiece;       // spiece.model, sentencepiece.bpe.model, source.spm, ...
  std::string_view vocab;               // vocab.json or vocab.txt
  std::string_view merges;              // merges.txt
  std::string_view chat_template;       // chat_template.jinja
  std::string_view model_type;          // of config.json: says the class where no file does
};

// Whether a folder may ask for the class without a tokenizer.json.
bool IsTokenizerClass(std::string_view name);
// The class that goes with a model type; empty where none is known.
std::string_view TokenizerClassOf(std::string_view model_type);

// The text of tokenizer.json, made of older files where it is missing. A class that Sotto does not
// know is an error that names it.
Result<std::string> TokenizerJsonOf(const TokenizerFiles& files);

Result<Tokenizer> OpenTokenizer(const TokenizerFiles& files);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_TOKENIZER_FILES_H_
