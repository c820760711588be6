// Text generation, one step at a time: the caller decides after each token whether to go on.
#ifndef SOTTO_CORE_RUN_GENERATION_H_
#define SOTTO_CORE_RUN_GENERATION_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/models/model.h"
#include "core/run/sampler.h"
#include "core/text/tokenizer.h"

namespace sotto {

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_new_tokens = 256;
  std::vector<std::string> stop;       // text that ends the generation, and is not part of it
  std::vector<int32_t> eos_token_ids;  // tokens that do

  // Hugging Face's names: the keys of `options` over those of generation_config.json, whose own
  // fields that generation does not read are passed over; an unknown key of `options` is an error.
  static Result<GenerationOptions> Read(const Json& options, const Json& generation_config);
};

class Generation {
 public:
  struct Step {
    int32_t token = -1;  // -1 while the prompt is still being read
    std::string text;    // what this step adds; may be empty while characters are incomplete
    bool done = false;
    std::string finish_reason;  // when done: "eos", "stop" (a stop text) or "length"
  };

  // The model and the tokenizer outlive the generation. An empty prompt starts from the tokenizer's
  // beginning-of-text (or end-of-text) token.
  static Result<std::unique_ptr<Generation>> Start(const Model& model, const Tokenizer& tokenizer,
                                                   ThreadPool* pool, std::vector<int32_t> prompt,
                                                   GenerationOptions options);

  // Reads a piece of the prompt or makes one token. After `done`, or an error, it is over.
  Result<Step> Next();

  int64_t prompt_tokens() const { return prompt_tokens_; }
  const std::vector<int32_t>& ids() const { return ids_; }  // prompt and what was made
  bool done() const { return done_; }

 private:
  Generation(const Model& model, const Tokenizer& tokenizer, ThreadPool* pool,
             std::vector<int32_t> prompt, GenerationOptions options);
  // Appends to what is held back; gives out what no stop text can begin in, and whether one was
  // met.
  bool Release(std::string_view text, bool last, std::string* out);

  const Model& model_;
  GenerationOptions options_;
  Sampler sampler_;
  Arena arena_;
  ThreadPool* pool_;
  KvCache cache_;
  StreamDecoder decoder_;
  std::vector<int32_t> ids_;
  int64_t prompt_tokens_ = 0;
  int64_t length_ = 0;  // of the sequence when the cache was last fed
  std::string held_;
  bool done_ = false;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_GENERATION_H_
