// LFM2 (Liquid AI 2025): most layers mix tokens by a short convolution between two gates, some by
// grouped attention with norms of queries and keys.
#include <algorithm>
#include <cmath>

#include "core/models/decoder.h"
#include "core/ops/recurrent.h"

namespace sotto {
namespace {

constexpr int64_t kMaxTaps = 16;

struct Lfm2Config : DecoderConfig {
  int64_t taps;
  bool conv_bias;
  std::vector<bool> attends;  // by layer
  RotaryPositions rotary;

  Status Read(const Json& json) {
    vocab = 65536;
    hidden = 2560;
    heads = 32;
    kv_heads = 8;
    intermediate = 12288;
    tied = true;
    padding = 0;
    SOTTO_RETURN_IF_ERROR(DecoderConfig::Read(json));
    SOTTO_ASSIGN_OR_RETURN(const double eps, json.NumberOr("norm_eps", 1e-5));
    epsilon = static_cast<float>(eps);
    SOTTO_ASSIGN_OR_RETURN(tied, json.BoolOr("tie_embedding", tied));
    SOTTO_ASSIGN_OR_RETURN(taps, json.IntOr("conv_L_cache", 3, 1, kMaxTaps));
    SOTTO_ASSIGN_OR_RETURN(conv_bias, json.BoolOr("conv_bias", false));
    RotaryNames names;
    names.theta = 1000000;
    SOTTO_ASSIGN_OR_RETURN(rotary, RotaryPositions::Read(json, head_dim, names));
    SOTTO_RETURN_IF_ERROR(ReadInnerWidth(json));
    return ReadLayerTypes(json);
  }

  // Two thirds of what is named, times a factor, up to a multiple: as SwiGLU keeps its parameters.
  Status ReadInnerWidth(const Json& json) {
    SOTTO_ASSIGN_OR_RETURN(intermediate,
                           json.IntOr("block_ff_dim", intermediate, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(const bool adjusts, json.BoolOr("block_auto_adjust_ff_dim", true));
    SOTTO_ASSIGN_OR_RETURN(const int64_t multiple,
                           json.IntOr("block_multiple_of", 256, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(const double factor, json.NumberOr("block_ffn_dim_multiplier", 1));
    if (!(factor > 0) || factor > 64)
      return InvalidFile("config.json: 'block_ffn_dim_multiplier' makes no sense");
    // A factor that is null, as against absent, also leaves the multiple out.
    const bool rounds =
        !json.has("block_ffn_dim_multiplier") || !json["block_ffn_dim_multiplier"].is_null();
    if (adjusts) intermediate = 2 * intermediate / 3;
    if (adjusts && rounds) {
      intermediate = static_cast<int64_t>(factor * static_cast<double>(intermediate));
      intermediate = (intermediate + multiple - 1) / multiple * multiple;
    }
    return intermediate > 0 ? OkStatus() : InvalidFile("config.json: 'block_ff_dim' is too small");
  }

  Status ReadLayerTypes(const Json& json) {
    const Json &types = json["layer_types"], &indices = json["full_attn_idxs"];
    attends.assign(static_cast<size_t>(layers), types.is_null() && indices.is_null());
    if (types.is_null()) {
      for (const Json& index : indices.items()) {
        if (!index.is_int() || index.as_int() < 0 || index.as_int() >= layers)
          return InvalidFile(StrCat("config.json: 'full_attn_idxs' must be in 0..", layers - 1));
        attends[static_cast<size_t>(index.as_int())] = true;
      }
      return OkStatus();
    }
    if (static_cast<int64_t>(types.items().size()) != layers)
      return InvalidFile(StrCat("config.json: 'layer_types' must name ", layers, " layers"));
    for (size_t i = 0; i < attends.size(); ++i) {
      const std::string& type = types.items()[i].as_string();
      attends[i] = type == "full_attention";
      if (!attends[i] && type != "conv")
        return Unsupported(StrCat("config.json: the layer type '", type, "' is not implemented"));
    }
    return OkStatus();
  }
};

// The checkpoint's names for what nn::RotaryAttention does.
void DeclareAttention(ParameterList& list, const std::string& at, const Lfm2Config& c,
                      nn::RotaryAttention& attention) {
  attention.q_norm.epsilon = attention.k_norm.epsilon = c.epsilon;
  attention.q_proj.Declare(list, at + "q_proj", c.heads * c.head_dim, c.hidden, false);
  attention.k_proj.Declare(list, at + "k_proj", c.kv_heads * c.head_dim, c.hidden, false);
  attention.v_proj.Declare(list, at + "v_proj", c.kv_heads * c.head_dim, c.hidden, false);
  attention.o_proj.Declare(list, at + "out_proj", c.hidden, c.heads * c.head_dim, false);
  attention.q_norm.Declare(list, at + "q_layernorm", c.head_dim);
  attention.k_norm.Declare(list, at + "k_layernorm", c.head_dim);
  attention.spec.heads = c.heads;
  attention.spec.kv_heads = c.kv_heads;
  attention.spec.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  attention.spec.causal = true;
}

struct ShortConv {
  nn::Linear in_proj, out_proj;
  Tensor weight, bias;

  void Declare(ParameterList& list, const std::string& at, const Lfm2Config& c) {
    list.Convolution(at + "conv.weight", weight, c.hidden, 1, c.taps);
    if (c.conv_bias) list.Bias(at + "conv.bias", bias, c.hidden);
    in_proj.Declare(list, at + "in_proj", 3 * c.hidden, c.hidden, c.conv_bias);
    out_proj.Declare(list, at + "out_proj", c.hidden, c.hidden, c.conv_bias);
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Tensor& mask, KvCache* cache,
                    int layer) const {
    const std::vector<Tensor> bcx = Split(ctx, in_proj(ctx, MaskTokens(ctx, x, mask)), 3);
    Tensor* state = cache != nullptr ? &cache->State(layer) : nullptr;
    const Tensor y = CausalConv(ctx, Mul(ctx, bcx[0], bcx[2]), weight, bias, state);
    return out_proj(ctx, Mul(ctx, bcx[1], y));
  }
};

struct Lfm2Layer {
  nn::RmsNorm operator_norm, ffn_norm;
  bool attends = false;
  nn::RotaryAttention self_attn;  // one of these two
  ShortConv conv;
  nn::GatedFeedForward feed_forward;

  void Declare(ParameterList& list, const std::string& at, const Lfm2Config& c, size_t index) {
    attends = c.attends[index];
    if (attends) {
      DeclareAttention(list, at + "self_attn.", c, self_attn);
    } else {
      conv.Declare(list, at + "conv.", c);
    }
    feed_forward.gate.Declare(list, at + "feed_forward.w1", c.intermediate, c.hidden, false);
    feed_forward.up.Declare(list, at + "feed_forward.w3", c.intermediate, c.hidden, false);
    feed_forward.down.Declare(list, at + "feed_forward.w2", c.hidden, c.intermediate, false);
    operator_norm.epsilon = ffn_norm.epsilon = c.epsilon;
    operator_norm.Declare(list, at + "operator_norm", c.hidden);
    ffn_norm.Declare(list, at + "ffn_norm", c.hidden);
  }
};

class Lfm2 final : public Decoder {
 public:
  Lfm2(const Lfm2Config& c, Head head)
      : Decoder(c, {.norm = "embedding_norm"}, head), layers_(static_cast<size_t>(c.layers)) {
    AddRotary(c.rotary);
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].Declare(parameters_, LayerName(i), c, i);
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const Lfm2Layer& l = layers_[static_cast<size_t>(index)];
    const Tensor n = l.operator_norm(ctx, x);
    const Tensor& mask = call.sequence.key_mask;
    const Tensor y = l.attends ? l.self_attn(ctx, n, mask, call.turns.data(), call.cache, index)
                               : l.conv(ctx, n, mask, call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, y));
    return Add(ctx, h, Dropout(ctx, l.feed_forward(ctx, l.ffn_norm(ctx, h))));
  }

  std::vector<Lfm2Layer> layers_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  Lfm2Config config;
  SOTTO_RETURN_IF_ERROR(config.Read(json));
  return std::unique_ptr<Model>(new Lfm2(config, head));
}

}  // namespace

const Architecture kLfm2{"lfm2", "Lfm2", Create};

}  // namespace sotto
