#include "core/run/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sotto {

Status SamplingOptions::Validate() const {
  if (!(temperature > 0) || !std::isfinite(temperature))
    return InvalidArgument("'temperature' must be greater than 0");
  if (top_k < 0) return InvalidArgument("'top_k' must not be negative");
  if (!(top_p > 0 && top_p <= 1))
    return InvalidArgument("'top_p' must be greater than 0 and at most 1");
  if (!(min_p >= 0 && min_p <= 1)) return InvalidArgument("'min_p' must lie between 0 and 1");
  if (!(repetition_penalty > 0) || !std::isfinite(repetition_penalty)) {
    return InvalidArgument("'repetition_penalty' must be greater than 0");
  }
  return OkStatus();
}

std::vector<float> Sampler::Penalized(std::span<const float> logits,
                                      std::span<const int32_t> seen) const {
  std::vector<float> out(logits.begin(), logits.end());
  for (float& x : out) {
    if (std::isnan(x)) x = -std::numeric_limits<float>::infinity();
  }
  if (options_.repetition_penalty == 1) return out;
  std::vector<bool> done(out.size());
  for (const int32_t id : seen) {
    if (id < 0 || static_cast<size_t>(id) >= out.size() || done[id]) continue;
    done[id] = true;
    out[id] =
        out[id] > 0 ? out[id] / options_.repetition_penalty : out[id] * options_.repetition_penalty;
  }
  return out;
}

std::vector<std::pair<int32_t, float>> Sampler::Distribution(std::span<const float> logits,
                                                             std::span<const int32_t> seen) const {
  const std::vector<float> scores = Penalized(logits, seen);
  std::vector<std::pair<int32_t, float>> kept(scores.size());
  for (size_t i = 0; i < scores.size(); ++i)
    kept[i] = {static_cast<int32_t>(i), scores[i] / options_.temperature};
  const auto likelier = [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < kept.size()) {
    // What ties with the k-th stays, as in Hugging Face's warper.
    const auto kth = kept.begin() + options_.top_k - 1;
    std::nth_element(kept.begin(), kth, kept.end(), likelier);
    const float least = kth->second;
    std::erase_if(kept, [&](const auto& t) { return t.second < least; });
  }
  std::sort(kept.begin(), kept.end(), likelier);
  if (kept.empty() || !std::isfinite(kept[0].second)) return {};

  const auto normalize = [&] {
    const float peak = kept[0].second;
    double sum = 0;
    for (const auto& [id, score] : kept) sum += std::exp(static_cast<double>(score - peak));
    return std::pair(peak, sum);
  };
  const auto [peak, sum] = normalize();
  if (options_.top_p < 1) {
    // The smallest set whose probability reaches top_p: the token that crosses it is kept.
    double reached = 0;
    size_t keep = 0;
    while (keep < kept.size() && reached < options_.top_p)
      reached += std::exp(static_cast<double>(kept[keep++].second - peak)) / sum;
    kept.resize(std::max<size_t>(keep, 1));
  }
  if (options_.min_p > 0) {
    const auto too_rare = [&, top = peak](const auto& t) {
      return std::exp(t.second - top) < options_.min_p;
    };
    kept.erase(std::find_if(kept.begin(), kept.end(), too_rare), kept.end());
  }
  const auto [last_peak, last_sum] = normalize();
  for (auto& [id, score] : kept)
    score = static_cast<float>(std::exp(static_cast<double>(score - last_peak)) / last_sum);
  return kept;
}

int32_t Sampler::Next(std::span<const float> logits, std::span<const int32_t> seen) {
  if (!options_.do_sample) {
    const std::vector<float> scores = Penalized(logits, seen);
    return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  }
  const auto kept = Distribution(logits, seen);
  const float draw = random_.NextFloat();
  float reached = 0;
  for (const auto& [id, probability] : kept) {
    reached += probability;
    if (draw < reached) return id;
  }
  return kept.empty() ? 0 : kept.front().first;  // rounding left a sliver at the end
}

}  // namespace sotto
