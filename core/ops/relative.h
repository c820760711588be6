// Scores that depend on what tokens say and on how far apart they are, as a bias of Attention.
#ifndef SOTTO_CORE_OPS_RELATIVE_H_
#define SOTTO_CORE_OPS_RELATIVE_H_

#include "core/ops/context.h"

namespace sotto {

// The content-to-position and position-to-content terms of DeBERTa (He et al. 2021):
//   out[b, h, i, j] = scale (q[b, i, h] . pos_key[e, h] + k[b, j, h] . pos_query[e, h]),
// e = entry[j - i + tokens - 1]. q, k [batch, tokens, heads * dim]; pos_key, pos_query [entries,
// heads * dim], of which one may be empty; entry int32 [2 tokens - 1]. -> [batch, heads, tokens,
// tokens]
Tensor DisentangledBias(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& pos_key,
                        const Tensor& pos_query, const Tensor& entry, int64_t heads, float scale);

// The bucket of a distance in T5's table (Raffel et al. 2020): where both sides are seen, half of
// the buckets are for keys after the query. Of a side's buckets the first half are distances as
// they are, the others grow by the logarithm up to `farthest`.
int32_t RelativeBucket(int64_t key_minus_query, bool both_sides, int64_t buckets, int64_t farthest);

// out[h, i, j] = table[entry[i, j], h]: a bias of scores that does not depend on the text. table
// [entries, heads], f32 or packed; entry int32 [queries, keys]. -> [heads, queries, keys]
Tensor RelativeBias(Context& ctx, const Tensor& table, const Tensor& entry);

}  // namespace sotto

#endif  // SOTTO_CORE_OPS_RELATIVE_H_
