// The decoder of Llama and of those that changed its numbers only: layers of
//   h = x + attention(norm(x)),  y = h + feed_forward(norm(h))
// with the tensor names of Llama. An architecture's file says by its config what it adds: biases,
// norms of queries and keys, windows, layers without positions, multipliers.
#ifndef SOTTO_CORE_MODELS_PRE_NORM_DECODER_H_
#define SOTTO_CORE_MODELS_PRE_NORM_DECODER_H_

#include <memory>
#include <vector>

#include "core/models/decoder.h"

namespace sotto {

struct PreNormConfig : DecoderConfig {
  bool qkv_bias = false, out_bias = false, mlp_bias = false;
  bool query_key_norms = false;         // by head
  float attention_scale = 0;            // 0: 1 / sqrt(head_dim)
  float residual_scale = 1;             // of what attention and feed-forward add
  std::vector<int64_t> windows;         // by layer; empty: none sees a window only
  std::vector<bool> without_positions;  // by layer; empty: none
  RotaryPositions rotary;
};

class PreNormDecoder final : public Decoder {
 public:
  // Declares `config`'s decoder with the head, which must be one that decoders have.
  static Result<std::unique_ptr<Model>> Create(const PreNormConfig& config,
                                               const DecoderFrame& frame, Head head);

 private:
  struct OneLayer {
    nn::RmsNorm input_layernorm, post_attention_layernorm;
    nn::RotaryAttention self_attn;
    nn::GatedFeedForward mlp;
    bool turns = true;

    void Declare(ParameterList& list, const std::string& at, const PreNormConfig& c, size_t index);
  };

  PreNormDecoder(const PreNormConfig& config, const DecoderFrame& frame, Head head);
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override;
  Tensor AddScaled(Context& ctx, const Tensor& x, const Tensor& more) const;

  std::vector<OneLayer> layers_;
  float residual_scale_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_PRE_NORM_DECODER_H_
