// The operations of a pointer-generator (See, Liu, Manning 2017): what the heads of an attention
// see on average, and the mixture of what a vocabulary and what a source offer.
#ifndef SOTTO_CORE_OPS_POINTER_H_
#define SOTTO_CORE_OPS_POINTER_H_

#include "core/ops/ops.h"

namespace sotto {

// The mean over heads of softmax(scale q k^T), with a gradient, which the probabilities that
// Attention shows have not. q [batch, queries, heads * dim], k [batch, keys, kv_heads * dim]; of
// `spec` heads, scale and key_mask. -> [batch, queries, keys]; zeros where all keys are masked.
Tensor MeanAttention(Context& ctx, const Tensor& q, const Tensor& k, const AttentionSpec& spec);

// log P over `columns` ids, of which those from `vocab` on stand for words of one source that the
// vocabulary lacks (equations 8 to 10):
//   P(w) = g softmax(logits)[w] + (1 - g) sum of attention[i] over the places i whose source_ids is
//   w
// logits [rows..., vocab]; gate g in (0, 1) [rows..., 1]; attention [rows..., source];
// source_ids int32 [batch, source], below `columns`; owners int32 [rows]: the source of each row.
// -> [rows..., columns]. What has no probability gets log kNoProbability.
inline constexpr float kNoProbability = 1e-12f;
Tensor CopyMixture(Context& ctx, const Tensor& logits, const Tensor& gate, const Tensor& attention,
                   const Tensor& source_ids, const Tensor& owners, int64_t columns);

// The coverage loss (equations 11 and 12), a scalar: the mean over the targets that count of the
// sum over i of min(a[t, i], c[t, i]), where c[t] is the sum of the attention a [batch, tokens,
// source] of the tokens before t. It is what is looked at again and again. targets int32 [batch,
// tokens].
Tensor CoverageLoss(Context& ctx, const Tensor& attention, const Tensor& targets);

}  // namespace sotto

#endif  // SOTTO_CORE_OPS_POINTER_H_
