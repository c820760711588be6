// Gemma 2 (Gemma Team 2024) and 3 (2025), text only: norms before and after attention and
// feed-forward, GeGLU, layers that see a window between those that see all, soft caps of scores and
// logits (2), norms of queries and keys (3). EmbeddingGemma sees both ways.
#include <cmath>

#include "core/models/decoder.h"

namespace sotto {
namespace {

struct GemmaConfig : DecoderConfig {
  bool attention_bias = false, query_key_norms = false, bidirectional = false;
  float attention_scale = 1, attention_cap = 0, logits_cap = 0;
  std::vector<int64_t> windows;  // by layer; 0: sees all
  RotaryPositions global, local;

  // `pattern`: one layer in so many sees all.
  Status Read(const Json& json, int64_t pattern) {
    SOTTO_RETURN_IF_ERROR(DecoderConfig::Read(json, "hidden_activation"));
    SOTTO_ASSIGN_OR_RETURN(attention_bias, json.BoolOr("attention_bias", false));
    SOTTO_ASSIGN_OR_RETURN(bidirectional, json.BoolOr("use_bidirectional_attention", false));
    SOTTO_ASSIGN_OR_RETURN(const double width, json.NumberOr("query_pre_attn_scalar", 256));
    if (!(width > 0)) return InvalidFile("config.json: 'query_pre_attn_scalar' must be positive");
    attention_scale = static_cast<float>(1 / std::sqrt(width));
    SOTTO_RETURN_IF_ERROR(ReadCap(json, "attn_logit_softcapping", attention_cap));
    SOTTO_RETURN_IF_ERROR(ReadCap(json, "final_logit_softcapping", logits_cap));
    SOTTO_ASSIGN_OR_RETURN(const int64_t window, ReadWindow(json, 4096));
    SOTTO_ASSIGN_OR_RETURN(windows, ReadWindows(json, layers, window,
                                                [&](int64_t i) { return (i + 1) % pattern != 0; }));
    return OkStatus();
  }

  // A soft cap; null: none. Where the key is absent `cap` stays.
  static Status ReadCap(const Json& json, std::string_view key, float& cap) {
    if (!json.has(key)) return OkStatus();
    SOTTO_ASSIGN_OR_RETURN(const double given, json.NumberOr(key, 0));
    if (!(given >= 0)) return InvalidFile(StrCat("config.json: '", key, "' must be positive"));
    cap = static_cast<float>(given);
    return OkStatus();
  }
};

struct GemmaLayer {
  nn::RmsNorm input_layernorm, post_attention_layernorm, pre_feedforward_layernorm,
      post_feedforward_layernorm;
  nn::RotaryAttention self_attn;
  nn::GatedFeedForward mlp;

  void Declare(ParameterList& list, const std::string& at, const GemmaConfig& c, int64_t window) {
    const auto norm = [&](nn::RmsNorm& n, std::string_view name, int64_t size) {
      n.epsilon = c.epsilon;
      n.offset = 1;
      n.Declare(list, StrCat(at, name), size);
    };
    norm(input_layernorm, "input_layernorm", c.hidden);
    self_attn.Declare(list, at + "self_attn.", c.hidden, c.heads, c.kv_heads, c.head_dim,
                      c.attention_bias, c.attention_bias);
    if (c.query_key_norms) {
      norm(self_attn.q_norm, "self_attn.q_norm", c.head_dim);
      norm(self_attn.k_norm, "self_attn.k_norm", c.head_dim);
    }
    self_attn.spec.causal = !c.bidirectional;
    self_attn.spec.scale = c.attention_scale;
    self_attn.spec.softcap = c.attention_cap;
    self_attn.spec.window = window;
    norm(post_attention_layernorm, "post_attention_layernorm", c.hidden);
    norm(pre_feedforward_layernorm, "pre_feedforward_layernorm", c.hidden);
    mlp.activation = c.activation;
    mlp.Declare(list, at + "mlp.", c.hidden, c.intermediate);
    norm(post_feedforward_layernorm, "post_feedforward_layernorm", c.hidden);
  }
};

class Gemma final : public Decoder {
 public:
  Gemma(const GemmaConfig& c, const DecoderFrame& frame, Head head)
      : Decoder(c, frame, head), layers_(static_cast<size_t>(c.layers)) {
    AddRotary(c.global);
    AddRotary(c.local);
    for (size_t i = 0; i < layers_.size(); ++i)
      layers_[i].Declare(parameters_, LayerName(i), c, c.windows[i]);
  }

  bool Ignores(std::string_view name) const override {
    // What a model of images and text has besides the text model.
    return Decoder::Ignores(name) || name.find("vision_tower.") != name.npos ||
           name.find("multi_modal_projector.") != name.npos;
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const GemmaLayer& l = layers_[static_cast<size_t>(index)];
    const nn::RotaryTables& turn = call.turns[l.self_attn.spec.window > 0 ? 1 : 0];
    const Tensor a = l.self_attn(ctx, l.input_layernorm(ctx, x), call.sequence.key_mask, &turn,
                                 call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, l.post_attention_layernorm(ctx, a)));
    const Tensor f = l.mlp(ctx, l.pre_feedforward_layernorm(ctx, h));
    return Add(ctx, h, Dropout(ctx, l.post_feedforward_layernorm(ctx, f)));
  }

  std::vector<GemmaLayer> layers_;
};

Result<std::unique_ptr<Model>> Create(const GemmaConfig& c, DecoderFrame frame, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  if (c.bidirectional && head != Head::kNone)
    return Unsupported("config.json: a head needs 'use_bidirectional_attention' to be false");
  frame.norm_offset = 1;
  frame.embedding_scale = std::sqrt(static_cast<float>(c.hidden));
  frame.logits_cap = c.logits_cap;
  frame.cached = !c.bidirectional;
  return std::unique_ptr<Model>(new Gemma(c, frame, head));
}

GemmaConfig Defaults() {
  GemmaConfig c;
  c.hidden = 2304;
  c.layers = 26;
  c.heads = 8;
  c.kv_heads = 4;
  c.head_dim = 256;
  c.intermediate = 9216;
  c.activation = Activation::kGeluTanh;
  c.tied = true;
  c.padding = 0;
  return c;
}

Result<std::unique_ptr<Model>> CreateGemma2(const Json& json, Head head) {
  GemmaConfig c = Defaults();
  c.vocab = 256000;
  c.attention_cap = 50;
  c.logits_cap = 30;
  SOTTO_RETURN_IF_ERROR(c.Read(json, 2));
  if (c.bidirectional)
    return Unsupported(
        "config.json: Gemma 2 with 'use_bidirectional_attention' is not implemented");
  SOTTO_ASSIGN_OR_RETURN(c.global, RotaryPositions::Read(json, c.head_dim));
  c.local = c.global;
  return Create(c, {}, head);
}

Result<GemmaConfig> ReadGemma3(const Json& json) {
  GemmaConfig c = Defaults();
  c.vocab = 262208;
  c.query_key_norms = true;
  SOTTO_ASSIGN_OR_RETURN(const int64_t pattern,
                         json.IntOr("sliding_window_pattern", 6, 1, kMaxLayers));
  SOTTO_RETURN_IF_ERROR(c.Read(json, pattern));
  // Seeing both ways, a layer reaches half of the window to each side, and itself.
  for (int64_t& window : c.windows) {
    if (c.bidirectional && window > 0) window = window / 2 + 1;
  }
  SOTTO_ASSIGN_OR_RETURN(
      c.global,
      RotaryPositions::Read(json, c.head_dim, {.layer_type = "full_attention", .theta = 1e6}));
  SOTTO_ASSIGN_OR_RETURN(c.local, RotaryPositions::Read(json, c.head_dim,
                                                        {.layer_type = "sliding_attention",
                                                         .theta_key = "rope_local_base_freq",
                                                         .scaling_key = ""}));
  return c;
}

Result<std::unique_ptr<Model>> CreateGemma3Text(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const GemmaConfig c, ReadGemma3(json));
  return Create(c, {}, head);
}

// The text model inside of one for images and text.
Result<std::unique_ptr<Model>> CreateGemma3(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(GemmaConfig c, ReadGemma3(json["text_config"]));
  SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", c.tied));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  c.labels = static_cast<int64_t>(labels.size());
  DecoderFrame frame;
  frame.prefix = "model.language_model.";
  frame.older_prefix = "language_model.model.";
  return Create(c, frame, head == Head::kSeq2SeqLM ? Head::kCausalLM : head);
}

}  // namespace

const Architecture kGemma2{"gemma2", "Gemma2", CreateGemma2};
const Architecture kGemma3Text{"gemma3_text", "Gemma3", CreateGemma3Text};
const Architecture kGemma3{"gemma3", "Gemma3", CreateGemma3};

}  // namespace sotto
