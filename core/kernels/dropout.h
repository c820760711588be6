// Which elements a dropout keeps (Srivastava et al. 2014), and by what they grow: a pure function
// of a seed and the element's index, so that nothing is stored between the passes.
#ifndef SOTTO_CORE_KERNELS_DROPOUT_H_
#define SOTTO_CORE_KERNELS_DROPOUT_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/base/random.h"

namespace sotto {

inline constexpr uint64_t kDropStep =
    0x9E3779B97F4A7C15ull;  // of the hash, from element to element

// keep <=> (hash >> 40) 2^-24 >= p <=> hash >> 40 >= this.
inline uint32_t DropThreshold(float p) {
  return static_cast<uint32_t>(std::ceil(std::clamp(p, 0.0f, 1.0f) * 16777216.0));
}
inline float KeptScale(float p) { return p < 1 ? 1.0f / (1.0f - p) : 0.0f; }

// The factor of one element: 0 or 1 / (1 - p).
inline float KeptFactor(float p, uint64_t seed, int64_t index) {
  const uint64_t hash = Mix64(seed + static_cast<uint64_t>(index) * kDropStep);
  return static_cast<float>(hash >> 40) * 0x1p-24f >= p ? KeptScale(p) : 0;
}

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_DROPOUT_H_
