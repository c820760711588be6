// The operations of recurrent layers, over [batch, tokens, ...]. Where an op takes a `state`, null
// stands for none; an empty one is filled, a full one continued and updated in place: its size does
// not depend on the tokens. Gradients do not flow into what a state held before.
#ifndef SOTTO_CORE_OPS_RECURRENT_H_
#define SOTTO_CORE_OPS_RECURRENT_H_

#include "core/ops/context.h"

namespace sotto {

// x [batch, tokens, channels] through each channel's own taps, looking back only; weight [channels,
// taps], the oldest token's first, bias [channels] or empty. The state is [batch, taps - 1,
// channels].
Tensor CausalConv(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  Tensor* state);

// x mix + (the token before) (1 - mix), by channel; `before` [batch, channels] comes before the
// first token, empty: zeros. `mix` has as many elements as x has columns.
Tensor TokenMix(Context& ctx, const Tensor& x, const Tensor& before, const Tensor& mix);
// Keeps the last token of x [batch, tokens, channels] as the state [batch, channels].
void KeepLastToken(Context& ctx, const Tensor& x, Tensor* state);

// Mamba's scan: x, dt [batch, tokens, channels], a_log [channels, states], b, c [batch, tokens,
// states], skip [channels]. The state is [batch, states, channels].
Tensor SelectiveScan(Context& ctx, const Tensor& x, const Tensor& dt, const Tensor& a_log,
                     const Tensor& b, const Tensor& c, const Tensor& skip, Tensor* state);

// RWKV-4's attention: key, value [batch, tokens, channels], decay and first [channels]. The state
// is [batch, 3, channels].
Tensor Wkv(Context& ctx, const Tensor& key, const Tensor& value, const Tensor& decay,
           const Tensor& first, Tensor* state);

// The gated delta rule: q, k [batch, tokens, key_heads * key_dim], v [batch, tokens, value_heads *
// value_dim], g (the logarithm of what is kept) and beta [batch, tokens, value_heads]. The state is
// [batch, value_heads, key_dim, value_dim].
Tensor GatedDeltaRule(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                      const Tensor& g, const Tensor& beta, int64_t key_heads, Tensor* state);
// -exp(a_log[column]) x, the logarithm of what is kept after steps x.
Tensor DecayBy(Context& ctx, const Tensor& x, const Tensor& a_log);

// x [batch, tokens, channels] with zeros where the mask u8 [batch, past + tokens] has one; an empty
// mask changes nothing.
Tensor MaskTokens(Context& ctx, const Tensor& x, const Tensor& mask);

}  // namespace sotto

#endif  // SOTTO_CORE_OPS_RECURRENT_H_
