// Text generation, one step at a time: the caller decides after each token whether to go on. Makes
// text of what a TokenSearch finds, and ends it where a stop text comes.
#ifndef SOTTO_CORE_RUN_GENERATION_H_
#define SOTTO_CORE_RUN_GENERATION_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/models/model.h"
#include "core/run/generation_options.h"
#include "core/run/token_search.h"
#include "core/text/tokenizer.h"

namespace sotto {

class Generation {
 public:
  struct Step {
    int32_t token = -1;  // -1 while the prompt is still being read, and where several texts are
                         // under way (beams, num_return_sequences)
    std::string text;    // what this step adds; may be empty while characters are incomplete
    std::optional<TokenScore> score;  // of the token, where output_logprobs asks for it
    bool done = false;
    std::string finish_reason;  // when done, of the best text: "eos", "stop" (a stop text) or
                                // "length"
  };
  struct Output {
    std::string text;
    std::vector<int32_t> ids;
    std::string finish_reason;
    float score = 0;                 // of beams
    std::vector<TokenScore> scores;  // one a token, where output_logprobs asks for them
  };

  // The model and the tokenizer outlive the generation. `ids`: the prompt, or what an encoder
  // reads. An empty prompt starts from the tokenizer's beginning-of-text (or end-of-text) token.
  // `copied`: words of the source that have the ids from the model's vocab_size() on.
  static Result<std::unique_ptr<Generation>> Start(const Model& model, const Tokenizer& tokenizer,
                                                   ThreadPool* pool, std::vector<int32_t> ids,
                                                   GenerationOptions options,
                                                   std::vector<std::string> copied = {});

  // Reads a piece of the prompt or makes one token. After `done`, or an error, it is over.
  Result<Step> Next();

  int64_t prompt_tokens() const { return prompt_tokens_; }
  // Once done: what was made, best first.
  const std::vector<Output>& outputs() const { return outputs_; }
  // As the tokenizer's file, or the source, spells it.
  std::string_view Spelled(int32_t token) const;
  bool done() const { return done_; }

 private:
  Generation(const Tokenizer& tokenizer, std::unique_ptr<TokenSearch> search,
             std::vector<std::string> stops, int64_t prompt_tokens, std::vector<std::string> copied,
             int32_t first_copied);
  bool IsCopied(int32_t token) const {
    return token >= first_copied_ && static_cast<size_t>(token - first_copied_) < copied_.size();
  }
  // The text that a token adds.
  std::string Push(StreamDecoder& decoder, int32_t token) const;
  // Appends to what is held back; gives out what no stop text can begin in, and whether one was
  // met.
  bool Release(std::string_view text, bool last, std::string* out);

  const Tokenizer& tokenizer_;
  std::unique_ptr<TokenSearch> search_;
  std::vector<std::string> stops_;
  std::vector<std::string> copied_;
  int32_t first_copied_;
  StreamDecoder decoder_;
  std::vector<Output> outputs_;
  Output streamed_;  // of a single text
  int64_t prompt_tokens_ = 0;
  std::string held_;
  bool done_ = false;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_GENERATION_H_
