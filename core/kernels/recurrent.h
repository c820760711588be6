// The loops of recurrent layers over [batch, tokens, ...], token after token. Each continues a
// state whose size does not depend on the tokens, and leaves it as it is after the last one. The
// results are the same however a sequence is cut into calls, and for any number of threads.
// Backward loops run the forward one again rather than having kept its states; they add to the
// gradients, and what came before the first token is a constant to them.
#ifndef SOTTO_CORE_KERNELS_RECURRENT_H_
#define SOTTO_CORE_KERNELS_RECURRENT_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace sotto {

// Each channel's convolution with its own taps, looking back only:
//   y[t] = bias + sum_j weight[j] x[t - (taps - 1) + j]
struct CausalConvArgs {
  int64_t batch, tokens, channels, taps;
  const float* x;       // [batch, tokens, channels]
  const float* weight;  // [taps, channels], the oldest input's first
  const float* before;  // [batch, taps - 1, channels]: the inputs before the first; null: zeros
};
// bias [channels] may be null; y [batch, tokens, channels] is not x.
void CausalConv(const CausalConvArgs& args, const float* bias, float* y, ThreadPool* pool);
// dx and dweight may be null.
void CausalConvBackward(const CausalConvArgs& args, const float* dy, float* dx, float* dweight,
                        ThreadPool* pool);
// after [batch, taps - 1, channels]: the last inputs, for the next call; may be `before`.
void CausalConvState(const CausalConvArgs& args, float* after);

// A mix of each token with the one before it: y[t] = x[t] mix + x[t - 1] (1 - mix).
struct TokenMixArgs {
  int64_t batch, tokens, channels;
  const float* x;       // [batch, tokens, channels]
  const float* before;  // [batch, channels]: the token before the first; null: zeros
  const float* mix;     // [channels]
};
void TokenMix(const TokenMixArgs& args, float* y, ThreadPool* pool);
// dx and dmix may be null.
void TokenMixBackward(const TokenMixArgs& args, const float* dy, float* dx, float* dmix,
                      ThreadPool* pool);

// How many floats of scratch each slot of a backward loop below needs. As many tasks run at a time
// as there are slots.
inline constexpr int64_t kRecurrentStrip = 16;  // the lanes of the widest vector
inline constexpr int64_t RecurrentScratch(int64_t tokens, int64_t state_rows) {
  return (tokens + 1) * state_rows * kRecurrentStrip;
}

// Mamba's selective state space (Gu & Dao 2023, algorithm 2), A = -exp(a_log):
//   h[t] = exp(dt[t] A) h[t - 1] + dt[t] B[t] x[t],   y[t] = C[t] h[t] + D x[t]
inline constexpr int64_t kMaxScanStates = 256;
struct SelectiveScanArgs {
  int64_t batch, tokens, channels, states;
  const float *x, *dt;  // [batch, tokens, channels]
  const float* a_log;   // [channels, states]
  const float *b, *c;   // [batch, tokens, states]
  const float* d;       // [channels]
};
// h [batch, states, channels] is updated in place.
void SelectiveScan(const SelectiveScanArgs& args, float* h, float* y, ThreadPool* pool);
struct SelectiveScanGradients {
  float *x, *dt, *b, *c;  // as the inputs
  float* a_log;           // [batch, channels, states], assigned: their sum over the batch is wanted
  float* d;               // [batch, channels], assigned
};
// h: as it was before the first token. scratch: `slots` times RecurrentScratch(tokens, states).
void SelectiveScanBackward(const SelectiveScanArgs& args, const float* h, const float* dy,
                           const SelectiveScanGradients& grads, float* scratch, int64_t slots,
                           ThreadPool* pool);

// RWKV-4's attention (Peng et al. 2023, section 3.1) with w = exp(decay), a bonus `first` for the
// token itself, and sums that carry the largest exponent so far beside them:
//   y[t] = (sum_{i<t} e^{k[i] - (t-1-i) w} v[i] + e^{first + k[t]} v[t]) / (the same without the v)
struct WkvArgs {
  int64_t batch, tokens, channels;
  const float *key, *value;    // [batch, tokens, channels]
  const float *decay, *first;  // [channels]
};
inline constexpr float kWkvNothing = -1e30f;  // the exponent at the beginning
// state [batch, 3, channels]: numerator, denominator, exponent; updated in place.
void Wkv(const WkvArgs& args, float* state, float* y, ThreadPool* pool);
struct WkvGradients {
  float *key, *value, *decay, *first;  // as the inputs
};
// state: as it was before the first token. scratch: `slots` times RecurrentScratch(tokens, 3).
void WkvBackward(const WkvArgs& args, const float* state, const float* dy,
                 const WkvGradients& grads, float* scratch, int64_t slots, ThreadPool* pool);

// The gated delta rule (Yang et al. 2024, "Gated Delta Networks"), by value head; several of them
// may share a key head:
//   S' = e^g[t] S[t-1],   S[t] = S' + k[t] (beta[t] (v[t] - S'^T k[t]))^T,   y[t] = S[t]^T q[t]
struct DeltaRuleArgs {
  int64_t batch, tokens, key_heads, value_heads, key_dim, value_dim;
  const float *q, *k;     // [batch, tokens, key_heads * key_dim]
  const float* v;         // [batch, tokens, value_heads * value_dim]
  const float *g, *beta;  // [batch, tokens, value_heads]
};
// state [batch, value_heads, key_dim, value_dim] is updated in place.
void DeltaRule(const DeltaRuleArgs& args, float* state, float* y, ThreadPool* pool);
struct DeltaRuleGradients {
  float *q, *k, *v, *g, *beta;  // as the inputs
};
// state: as it was before the first token. scratch: `slots` times RecurrentScratch(tokens + 1,
// key_dim).
void DeltaRuleBackward(const DeltaRuleArgs& args, const float* state, const float* dy,
                       const DeltaRuleGradients& grads, float* scratch, int64_t slots,
                       ThreadPool* pool);

namespace scalar {
void CausalConv(const CausalConvArgs& args, const float* bias, float* y);
void TokenMix(const TokenMixArgs& args, float* y);
void SelectiveScan(const SelectiveScanArgs& args, float* h, float* y);
void Wkv(const WkvArgs& args, float* state, float* y);
void DeltaRule(const DeltaRuleArgs& args, float* state, float* y);
}  // namespace scalar

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_RECURRENT_H_
