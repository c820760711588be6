// What changes the scores of the next token before one is chosen: Hugging Face's logits processors
// and warpers, by its names and in its order. Chooses nothing itself: the Sampler and the beam
// search do.
#ifndef SOTTO_CORE_RUN_LOGITS_PROCESSORS_H_
#define SOTTO_CORE_RUN_LOGITS_PROCESSORS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace sotto {

// The settings, in the order in which they work.
struct LogitsOptions {
  std::vector<std::pair<std::vector<int32_t>, float>> sequence_bias;  // added to the last token's
  float encoder_repetition_penalty = 1;      // above 1 favours tokens of the source
  float repetition_penalty = 1;              // above 1 discourages tokens seen (Keskar et al. 2019)
  int64_t no_repeat_ngram_size = 0;          // no n-gram comes twice; 0: any may
  int64_t encoder_no_repeat_ngram_size = 0;  // no n-gram of the source comes
  std::vector<std::vector<int32_t>> bad_words_ids;
  int64_t min_length = 0;                      // no end before so many tokens, prompt included
  int64_t min_new_tokens = 0;                  // the same without the prompt
  std::optional<int32_t> forced_bos_token_id;  // the second token of all
  std::vector<int32_t> forced_eos_token_id;    // the last token before max_length
  bool remove_invalid_values = false;
  // From `first` new tokens on, the end's score grows by |score| (second^n - 1).
  std::optional<std::pair<int64_t, double>> exponential_decay_length_penalty;
  std::vector<int32_t> suppress_tokens;
  std::vector<int32_t> begin_suppress_tokens;  // not as the first new token
  // Only where tokens are drawn (do_sample):
  bool do_sample = false;
  float temperature = 1;     // > 0
  int64_t top_k = 0;         // keep the k likeliest; 0: all
  float top_p = 1;           // keep the likeliest that together reach p (Holtzman et al. 2020)
  float min_p = 0;           // keep those at least min_p times as likely as the likeliest
  float typical_p = 1;       // keep the most typical that together reach p (Meister et al. 2022)
  float epsilon_cutoff = 0;  // keep those at least so likely (Hewitt et al. 2022); 0: all
  float eta_cutoff = 0;      // the same, less strict where the entropy is high; 0: all
  // Last of all:
  bool renormalize_logits = false;

  Status Validate() const;
};

// log of the sum of exp(score): what makes scores log-probabilities. -infinity where nothing is
// finite.
double LogSumExp(std::span<const float> scores);

class LogitsProcessors {
 public:
  // What is fixed before the first token.
  struct Call {
    int64_t prompt_tokens = 0;
    int64_t max_length = 0;           // prompt included
    int64_t num_beams = 1;            // warpers keep enough tokens for beams to go on
    std::vector<int32_t> eos_tokens;  // ids that end a text
    std::vector<int32_t> source;      // the encoder's ids; the prompt where there is no encoder
  };
  // A token and its score, or its probability.
  using Candidate = std::pair<int32_t, float>;

  LogitsProcessors(LogitsOptions options, Call call);

  const LogitsOptions& options() const { return options_; }

  // `scores` of the whole vocabulary for the token after `ids` (prompt included): logits, or for
  // beams their log-softmax. What may not come gets -infinity, and so does what is not a number.
  void Process(std::span<float> scores, std::span<const int32_t> ids) const;
  // The tokens to draw from after Process, likeliest first, with their scores. None where nothing
  // has a finite score. `scores` are divided by the temperature. Tokens that all together are less
  // likely than `negligible` may be missing: what cannot be drawn need not be sorted.
  std::vector<Candidate> Warp(std::span<float> scores, double negligible = 0) const;

 private:
  void Penalize(std::span<float> scores, std::span<const int32_t> ids, float penalty) const;
  void Bias(std::span<float> scores, std::span<const int32_t> ids) const;
  void BanNgrams(std::span<float> scores, std::span<const int32_t> text,
                 std::span<const int32_t> ids, int64_t size) const;
  void BanWords(std::span<float> scores, std::span<const int32_t> ids) const;

  LogitsOptions options_;
  Call call_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_LOGITS_PROCESSORS_H_
