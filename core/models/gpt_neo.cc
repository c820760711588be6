// GPT-Neo (Black et al. 2021): GPT-2 with layers that see a window between those that see all, and
// scores that are not scaled.
#include "core/models/decoder.h"

namespace sotto {
namespace {

struct GptNeoConfig : DecoderConfig {
  int64_t positions = 0;
  std::vector<int64_t> windows;  // by layer; 0: sees all

  Status Read(const Json& json) {
    SOTTO_ASSIGN_OR_RETURN(vocab, json.IntOr("vocab_size", 50257, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(hidden, json.IntOr("hidden_size", 2048, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(layers, json.IntOr("num_layers", 24, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(heads, json.IntOr("num_heads", 16, 1, kMaxHeads));
    SOTTO_RETURN_IF_ERROR(CheckHeads(hidden, heads));
    SOTTO_ASSIGN_OR_RETURN(intermediate,
                           json.IntOr("intermediate_size", 4 * hidden, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(positions, json.IntOr("max_position_embeddings", 2048, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(const double eps, json.NumberOr("layer_norm_epsilon", 1e-5));
    epsilon = static_cast<float>(eps);
    SOTTO_ASSIGN_OR_RETURN(const std::string name,
                           json.StringOr("activation_function", "gelu_new"));
    SOTTO_ASSIGN_OR_RETURN(activation, ActivationByName(name));
    SOTTO_ASSIGN_OR_RETURN(tied, json.BoolOr("tie_word_embeddings", true));
    SOTTO_ASSIGN_OR_RETURN(const int64_t window, json.IntOr("window_size", 256, 1, kMaxContext));
    SOTTO_RETURN_IF_ERROR(ReadHead(json));
    return ReadLayers(json["attention_types"], window);
  }

  // "attention_types": [[["global", "local"], 12], ...], each list repeated so many times.
  Status ReadLayers(const Json& types, int64_t window) {
    const std::string bad = "config.json: 'attention_types' must name each layer global or local";
    for (int64_t i = 0; types.is_null() && i < layers; ++i) windows.push_back(i % 2 * window);
    for (const Json& group : types.items()) {
      if (group.items().size() != 2) return InvalidFile(bad);
      const int64_t times = group.items()[1].as_int();
      for (int64_t t = 0; t < times && static_cast<int64_t>(windows.size()) < layers; ++t) {
        for (const Json& type : group.items()[0].items()) {
          if (type.as_string() != "global" && type.as_string() != "local") return InvalidFile(bad);
          windows.push_back(type.as_string() == "local" ? window : 0);
        }
      }
    }
    return static_cast<int64_t>(windows.size()) == layers ? OkStatus() : InvalidFile(bad);
  }
};

struct GptNeoLayer {
  nn::LayerNorm ln_1, ln_2;
  nn::RotaryAttention attention;  // whose queries and keys do not turn
  nn::Linear c_fc, c_proj;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const GptNeoConfig& c, int64_t window) {
    const std::string attn = at + "attn.attention.";
    ln_1.epsilon = ln_2.epsilon = c.epsilon;
    ln_1.Declare(list, at + "ln_1", c.hidden);
    attention.q_proj.Declare(list, attn + "q_proj", c.hidden, c.hidden, false);
    attention.k_proj.Declare(list, attn + "k_proj", c.hidden, c.hidden, false);
    attention.v_proj.Declare(list, attn + "v_proj", c.hidden, c.hidden, false);
    attention.o_proj.Declare(list, attn + "out_proj", c.hidden, c.hidden);
    attention.SetHeads(c.heads, c.heads, c.hidden / c.heads);
    attention.spec.scale = 1;
    attention.spec.window = window;
    ln_2.Declare(list, at + "ln_2", c.hidden);
    c_fc.Declare(list, at + "mlp.c_fc", c.intermediate, c.hidden);
    c_proj.Declare(list, at + "mlp.c_proj", c.hidden, c.intermediate);
    activation = c.activation;
  }
};

class GptNeo final : public Decoder {
 public:
  GptNeo(const GptNeoConfig& c, const DecoderFrame& frame, Head head)
      : Decoder(c, frame, head), layers_(static_cast<size_t>(c.layers)) {
    for (size_t i = 0; i < layers_.size(); ++i)
      layers_[i].Declare(parameters_, LayerName(i, "h."), c, c.windows[i]);
  }

  bool Ignores(std::string_view name) const override {
    return Decoder::Ignores(name) || name.ends_with(".attention.bias") ||
           name.ends_with(".attention.masked_bias");
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const GptNeoLayer& l = layers_[static_cast<size_t>(index)];
    const Tensor a = l.attention(ctx, l.ln_1(ctx, x), call.sequence.key_mask, /*turn=*/nullptr,
                                 call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    const Tensor f = l.c_proj(ctx, Activate(ctx, l.c_fc(ctx, l.ln_2(ctx, h)), l.activation));
    return Add(ctx, h, Dropout(ctx, f));
  }

  std::vector<GptNeoLayer> layers_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  GptNeoConfig c;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  DecoderFrame frame;
  frame.prefix = "transformer.";
  frame.embeddings = "wte";
  frame.norm = "ln_f";
  frame.learned_positions = "wpe";
  frame.positions = c.positions;
  frame.layer_norm = true;
  frame.embedding_dropout = true;
  frame.token_classifier = "classifier";
  return std::unique_ptr<Model>(new GptNeo(c, frame, head));
}

}  // namespace

const Architecture kGptNeo{"gpt_neo", "GPTNeo", Create};

}  // namespace sotto
