// Continues a prompt token by token: greedily, at random, or (see beam_search.h) by beams. It knows
// ids only; text is Generation's. Decoder-only models and encoder-decoders alike.
#ifndef SOTTO_CORE_RUN_TOKEN_SEARCH_H_
#define SOTTO_CORE_RUN_TOKEN_SEARCH_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/models/model.h"
#include "core/run/generation_options.h"
#include "core/run/sampler.h"

namespace sotto {

// The log-probability of a token as the model gives it, before any processor, and the likeliest
// tokens with theirs.
struct TokenScore {
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // likeliest first
};
// From the logits of the whole vocabulary.
TokenScore ScoreToken(std::span<const float> logits, int32_t token, int64_t top);

class TokenSearch {
 public:
  struct Step {
    int32_t token = -1;  // -1 while the prompt is being read, and where several texts are under way
    std::optional<TokenScore> score;  // where output_logprobs asks for it
    bool done = false;
  };
  struct Sequence {
    std::vector<int32_t> ids;        // what was made, with the token that ended it
    std::string_view finish_reason;  // "eos" or "length"
    float score = 0;                 // of beams: the summed log-probability over length^penalty
    std::vector<TokenScore> scores;  // one a token, where output_logprobs asks for them
  };

  // `ids`: the prompt, or what an encoder reads, whose decoder then begins with
  // decoder_start_token_id and `decoder_ids`. The model outlives the search.
  static Result<std::unique_ptr<TokenSearch>> Start(const Model& model, ThreadPool* pool,
                                                    std::vector<int32_t> ids,
                                                    std::vector<int32_t> decoder_ids,
                                                    const GenerationOptions& options);
  virtual ~TokenSearch() = default;

  // Reads a piece of the prompt, or makes one token of every text. After `done`, or an error, it
  // is over.
  virtual Result<Step> Next() = 0;

  const std::vector<int32_t>& prompt() const { return prompt_; }  // of the decoder
  // Once done: the texts, best first.
  const std::vector<Sequence>& sequences() const { return sequences_; }
  // Each with its prompt, filled up to the length of the longest: what Hugging Face's generate
  // returns.
  std::vector<std::vector<int32_t>> Matrix() const;

 protected:
  TokenSearch(const Model& model, ThreadPool* pool, std::vector<int32_t> source,
              std::vector<int32_t> prompt, const GenerationOptions& options);

  // Reads the next piece of the prompt. Its logits [vocabulary] when all is read, else empty.
  Result<Tensor> ReadPrompt();
  // Row i continues what row rows[i] was by the last token of TextOf(i). -> logits [rows, vocab]
  Result<Tensor> Read(std::span<const int32_t> rows);
  // What row i holds when it is read: the prompt and what was made. Valid until the next call.
  virtual std::span<const int32_t> TextOf(size_t row) = 0;
  bool Ends(int32_t token) const;

  GenerationOptions options_;
  std::vector<int32_t> prompt_;
  int64_t max_length_ = 0;  // prompt included
  LogitsProcessors processors_;
  std::vector<Sequence> sequences_;
  int32_t fill_ = -1;  // the rest of a shorter text

 private:
  Result<Tensor> Forward(Context& ctx, const ModelInput& input);

  const Model& model_;
  Arena arena_;
  ThreadPool* pool_;
  KvCache cache_;
  std::vector<int32_t> source_;  // of an encoder; empty otherwise
  int64_t rows_ = 1;             // that the cache holds
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_TOKEN_SEARCH_H_
