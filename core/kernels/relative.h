// Scores by relative position: rows of a table looked up along the diagonals of a matrix, as
// DeBERTa's disentangled attention does (He et al. 2021).
#ifndef SOTTO_CORE_KERNELS_RELATIVE_H_
#define SOTTO_CORE_KERNELS_RELATIVE_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace sotto {

// out[i, j] = factor (by_query[i, e] + by_key[e, j]), where e = entry[j - i + tokens - 1].
// out [tokens, tokens], by_query [tokens, entries], by_key [entries, tokens], entry [2 tokens - 1]
// with values in 0..entries-1; by_query or by_key may be null. entries * tokens fits 31 bits.
void GatherRelative(const float* by_query, const float* by_key, const int32_t* entry, float factor,
                    float* out, int64_t tokens, int64_t entries, ThreadPool* pool);

// The gradient: d_by_query[i, e] and d_by_key[e, j] += factor d_out[i, j]; either may be null. The
// same result for any number of threads.
void ScatterRelative(const float* d_out, const int32_t* entry, float factor, float* d_by_query,
                     float* d_by_key, int64_t tokens, int64_t entries, ThreadPool* pool);

namespace scalar {
void GatherRelative(const float* by_query, const float* by_key, const int32_t* entry, float factor,
                    float* out, int64_t tokens, int64_t entries);
}

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_RELATIVE_H_
