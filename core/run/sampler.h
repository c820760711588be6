// Chooses the next token from logits, with Hugging Face's processors in Hugging Face's order:
// repetition penalty, temperature, top-k, top-p, min-p; then the best token, or a random one.
#ifndef SOTTO_CORE_RUN_SAMPLER_H_
#define SOTTO_CORE_RUN_SAMPLER_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "core/base/status.h"

namespace sotto {

struct SamplingOptions {
  bool do_sample = false;
  float temperature = 1;  // > 0
  int64_t top_k = 0;      // keep the k likeliest; 0: all
  float top_p = 1;        // keep the likeliest that together reach p (Holtzman et al. 2020)
  float min_p = 0;        // keep those at least min_p times as likely as the likeliest
  float repetition_penalty =
      1;  // divides (or, below zero, multiplies) logits of tokens seen (Keskar et al. 2019)
  uint64_t seed = 0;

  Status Validate() const;
};

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {}

  // `logits` of the whole vocabulary; `seen` are the ids so far, prompt included. A logit that is
  // not a number counts as impossible.
  int32_t Next(std::span<const float> logits, std::span<const int32_t> seen);

  // The distribution that Next draws from: (id, probability), likeliest first; only what is kept.
  std::vector<std::pair<int32_t, float>> Distribution(std::span<const float> logits,
                                                      std::span<const int32_t> seen) const;

 private:
  std::vector<float> Penalized(std::span<const float> logits, std::span<const int32_t> seen) const;

  SamplingOptions options_;
  Random random_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_SAMPLER_H_
