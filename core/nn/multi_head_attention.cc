#include "core/nn/multi_head_attention.h"

#include <cmath>
#include <utility>

namespace sotto::nn {

void MultiHeadAttention::Declare(ParameterList& list, const std::string& at, int64_t width,
                                 int64_t heads, int64_t head_dim, bool with_bias,
                                 const Names& names) {
  q.Declare(list, StrCat(at, ".", names.q), heads * head_dim, width, with_bias);
  k.Declare(list, StrCat(at, ".", names.k), heads * head_dim, width, with_bias);
  v.Declare(list, StrCat(at, ".", names.v), heads * head_dim, width, with_bias);
  out.Declare(list, StrCat(at, ".", names.out), width, heads * head_dim, with_bias);
  spec.heads = spec.kv_heads = heads;
  spec.scale = 1 / std::sqrt(static_cast<float>(head_dim));
}

Tensor MultiHeadAttention::operator()(Context& ctx, const Tensor& x, const Tensor& key_mask,
                                      KvCache* cache, int layer, const Tensor& bias) const {
  AttentionSpec call = spec;
  call.key_mask = key_mask;
  call.bias = bias;
  return out(ctx, Attend(ctx, q(ctx, x), k(ctx, x), v(ctx, x), call, cache, layer));
}

Tensor MultiHeadAttention::operator()(Context& ctx, const Tensor& x, const Source& source,
                                      KvCache* cache, int layer) const {
  KeysValues over;
  if (source.states) {
    over = {k(ctx, source.states), v(ctx, source.states)};
    // Whoever is told what was looked at reads the keys as they are.
    if (cache != nullptr && ctx.ok())
      over = cache->SetCross(ctx, layer, over, spec.kv_heads, source.looked != nullptr);
  } else if (cache != nullptr) {
    over = cache->Cross(layer);
  }
  if (!over.keys && ctx.ok())
    return ctx.Fail(InvalidArgument("there is nothing of an encoder to attend to"));
  AttentionSpec call = spec;
  call.causal = false;
  call.key_mask = source.mask;
  Probe* probe = ctx.probe();
  Tensor probabilities;
  if (probe != nullptr && probe->want_attentions) call.probabilities = &probabilities;
  const Tensor queries = q(ctx, x);
  const Tensor y = out(ctx, Attention(ctx, queries, over, call));
  if (probabilities) probe->cross_attentions.push_back(std::move(probabilities));
  call.probabilities = nullptr;
  if (source.looked != nullptr) *source.looked = {queries, over.keys, std::move(call), y};
  return y;
}

}  // namespace sotto::nn
