// Chooses the next token from logits: the best one, or a random one, after Hugging Face's
// processors. The same seed draws the same tokens on every machine.
#ifndef SOTTO_CORE_RUN_SAMPLER_H_
#define SOTTO_CORE_RUN_SAMPLER_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "core/run/logits_processors.h"

namespace sotto {

class Sampler {
 public:
  // Samplers of one seed draw independently on different streams.
  explicit Sampler(LogitsProcessors processors, uint64_t seed = 0, uint64_t stream = 0)
      : processors_(std::move(processors)), random_(seed, stream) {}

  // `logits` of the whole vocabulary; `ids` are those so far, prompt included. A logit that is not
  // a number counts as impossible.
  int32_t Next(std::span<const float> logits, std::span<const int32_t> ids);

  // The distribution that Next draws from: (id, probability), likeliest first; only what is kept,
  // and may be without tokens that all together are less likely than `negligible`.
  std::vector<LogitsProcessors::Candidate> Distribution(std::span<const float> logits,
                                                        std::span<const int32_t> ids,
                                                        double negligible = 0);

 private:
  std::span<float> Processed(std::span<const float> logits, std::span<const int32_t> ids);

  LogitsProcessors processors_;
  Random random_;
  std::vector<float> scores_;  // of the vocabulary, for one token after the other
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_SAMPLER_H_
