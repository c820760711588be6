// The operations that models are made of. Each checks shapes, allocates its output and calls a
// kernel; with a tape it also records its gradient. Shapes that do not match fail the context.
// Values are f32 unless said; the last axis is the feature axis.
#ifndef SOTTO_CORE_OPS_OPS_H_
#define SOTTO_CORE_OPS_OPS_H_

#include <span>
#include <vector>

#include "core/kernels/attention.h"
#include "core/kernels/pointwise.h"
#include "core/ops/context.h"

namespace sotto {

// y = x W^T + b. x [..., in]; weight [out, in], f32 or packed Q8; bias [out] or empty. -> [...,
// out]
Tensor Linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias);

// Same shapes, or b is one row [columns] added to each row of a.
Tensor Add(Context& ctx, const Tensor& a, const Tensor& b);
Tensor Mul(Context& ctx, const Tensor& a, const Tensor& b);  // same shapes
Tensor Scale(Context& ctx, const Tensor& x, float factor);
Tensor Activate(Context& ctx, Tensor x, Activation f);
// Identity unless ctx.dropout() > 0.
Tensor Dropout(Context& ctx, const Tensor& x);

Tensor Softmax(Context& ctx, const Tensor& x);
// bias may be empty.
Tensor LayerNorm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 float epsilon);
// weight [columns], or [columns / n]: then each n-th part of a row (a head) is normalized by
// itself. `offset` is added to the weight.
Tensor RmsNorm(Context& ctx, const Tensor& x, const Tensor& weight, float epsilon,
               float offset = 0);

// ids int32 of any shape; table [entries, columns], f32 or packed Q8. -> [ids..., columns]
Tensor Embedding(Context& ctx, const Tensor& ids, const Tensor& table);
// Rows of x (seen as [rows, columns]) by index int32 [n] -> [n, columns]
Tensor SelectRows(Context& ctx, const Tensor& x, const Tensor& rows);
// x [batch, tokens, c] -> [batch, c]: the mean over the tokens whose mask (u8 [batch, tokens],
// empty: all) is nonzero; 0 where none is.
Tensor MeanTokens(Context& ctx, const Tensor& x, const Tensor& mask);
// x [..., n * c] -> n tensors [..., c]
std::vector<Tensor> Split(Context& ctx, const Tensor& x, int parts);
// x [..., groups * (w_0 + w_1 + ...)] -> tensors [..., groups * w_i]: each group of columns (a
// head) is cut by itself.
std::vector<Tensor> Split(Context& ctx, const Tensor& x, std::span<const int64_t> widths,
                          int64_t groups = 1);

// The rows around each token, for a convolution over tokens by Linear: x [batch, tokens, c] ->
// [batch, tokens, c * taps], whose column i * taps + k is x[t + k - (taps - 1) / 2, i], 0 outside.
Tensor Unfold(Context& ctx, const Tensor& x, int64_t taps);

// Turns x [batch, tokens, heads * dim] by the angles of each token: cos, sin f32 [batch * tokens,
// rotary / 2].
Tensor Rotary(Context& ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, int64_t heads);

// What attention reads: keys and values [batch, rows, kv_heads * dim] of f32, or as a cache keeps
// them, [batch, kv_heads, rows, width] of kF32, kF16 or kI8, of which the last have a scale a row
// ([batch, kv_heads, rows], f32) and lie in tiles (see PackedHeads).
struct KeysValues {
  Tensor keys, values;
  Tensor key_scales, value_scales;
  int64_t filled = 0;  // > 0: only so many rows hold anything
};

struct AttentionSpec {
  int64_t heads = 1, kv_heads = 1;
  float scale = 1;
  bool causal = false;
  int64_t window = 0;  // > 0: only keys nearer than this, on both sides unless causal
  float softcap = 0;
  float dropout =
      0;  // of probabilities, where the context drops at all (its own is of hidden states)
  Tensor key_mask;  // kU8 [batch, keys], nonzero where a key may be seen; empty: all
  Tensor bias;  // f32 [heads, queries, keys], or [1 or batch, heads, queries, keys]; empty: none
  // Whether many keys and values that no cache holds may be rounded to int8: where weights are.
  bool rounds = false;
  Tensor* probabilities = nullptr;  // receives [batch, heads, queries, keys] when not null
};
// q [batch, queries, heads * dim] -> [batch, queries, heads * dim]. Only keys and values of f32
// have gradients, and know dropout.
Tensor Attention(Context& ctx, const Tensor& q, const KeysValues& kv, const AttentionSpec& spec);

// The mean over rows whose target is not kIgnoreTarget; a scalar. logits [..., classes], targets
// int32 [...].
inline constexpr int32_t kIgnoreTarget = -100;
Tensor CrossEntropy(Context& ctx, const Tensor& logits, const Tensor& targets,
                    float label_smoothing = 0);
// The mean over elements of the binary cross-entropy of sigmoid(logits); targets f32 of the same
// shape.
Tensor BinaryCrossEntropy(Context& ctx, const Tensor& logits, const Tensor& targets);
// The mean squared difference; a scalar.
Tensor MeanSquaredError(Context& ctx, const Tensor& predictions, const Tensor& targets);

}  // namespace sotto

#endif  // SOTTO_CORE_OPS_OPS_H_
