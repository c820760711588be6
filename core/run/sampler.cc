#include "core/run/sampler.h"

#include <algorithm>
#include <cmath>

namespace sotto {

std::vector<float> Sampler::Processed(std::span<const float> logits,
                                      std::span<const int32_t> ids) const {
  std::vector<float> scores(logits.begin(), logits.end());
  processors_.Process(scores, ids);
  return scores;
}

std::vector<LogitsProcessors::Candidate> Sampler::Distribution(std::span<const float> logits,
                                                               std::span<const int32_t> ids) const {
  std::vector<LogitsProcessors::Candidate> kept = processors_.Warp(Processed(logits, ids));
  double sum = 0;
  for (const auto& [id, score] : kept)
    sum += std::exp(static_cast<double>(score) - kept.front().second);
  const float peak = kept.empty() ? 0 : kept.front().second;
  for (auto& [id, score] : kept)
    score = static_cast<float>(std::exp(static_cast<double>(score) - peak) / sum);
  return kept;
}

int32_t Sampler::Next(std::span<const float> logits, std::span<const int32_t> ids) {
  if (!processors_.options().do_sample) {
    const std::vector<float> scores = Processed(logits, ids);
    return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  }
  const auto kept = Distribution(logits, ids);
  const float draw = random_.NextFloat();
  float reached = 0;
  for (const auto& [id, probability] : kept) {
    reached += probability;
    if (draw < reached) return id;
  }
  return kept.empty() ? 0 : kept.front().first;  // rounding left a sliver at the end
}

}  // namespace sotto
