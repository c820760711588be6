#include "core/run/sampler.h"

#include <algorithm>
#include <cmath>

namespace sotto {

// A draw has so many bits.
constexpr double kUndrawn = 0x1p-25;

std::span<float> Sampler::Processed(std::span<const float> logits, std::span<const int32_t> ids) {
  scores_.assign(logits.begin(), logits.end());
  processors_.Process(scores_, ids);
  return scores_;
}

std::vector<LogitsProcessors::Candidate> Sampler::Distribution(std::span<const float> logits,
                                                               std::span<const int32_t> ids,
                                                               double negligible) {
  std::vector<LogitsProcessors::Candidate> kept =
      processors_.Warp(Processed(logits, ids), negligible);
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
    const std::span<const float> scores = Processed(logits, ids);
    return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  }
  const auto kept = Distribution(logits, ids, kUndrawn);
  const float draw = random_.NextFloat();
  float reached = 0;
  for (const auto& [id, probability] : kept) {
    reached += probability;
    if (draw < reached) return id;
  }
  return kept.empty() ? 0 : kept.front().first;  // rounding left a sliver at the end
}

}  // namespace sotto
