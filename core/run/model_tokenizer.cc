#include "core/run/model_tokenizer.h"

#include <string>

#include "core/base/json.h"
#include "core/text/tokenizer_files.h"

namespace sotto {

Result<Tokenizer> TokenizerOf(const ModelFiles& files) {
  const Result<Json> config = Json::Parse(files.config);
  const std::string model_type = config.ok() ? (*config)["model_type"].as_string() : "";
  return OpenTokenizer({.tokenizer = files.tokenizer,
                        .config = files.tokenizer_config,
                        .special_tokens_map = files.special_tokens_map,
                        .added_tokens = files.added_tokens,
                        .sentencepiece = files.sentencepiece,
                        .vocab = files.vocab,
                        .merges = files.merges,
                        .chat_template = files.chat_template,
                        .model_type = model_type});
}

Result<Tokenizer> TakeTokenizer(ModelFiles& files) {
  Result<Tokenizer> tokenizer = TokenizerOf(files);
  for (std::string* text : {&files.tokenizer, &files.vocab, &files.merges, &files.sentencepiece}) {
    std::string().swap(*text);
  }
  return tokenizer;
}

}  // namespace sotto
