// What decoder-only language models share: the hyper-parameters that Llama's config.json and those
// after it name alike, and the frame around their layers (embeddings, last norm, output). An
// architecture brings its defaults and its layer. Nothing here knows one by name.
#ifndef SOTTO_CORE_MODELS_DECODER_H_
#define SOTTO_CORE_MODELS_DECODER_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/models/architecture.h"
#include "core/models/rotary.h"

namespace sotto {

struct DecoderConfig {
  int64_t vocab = 32000, hidden = 4096, layers = 32, heads = 32;
  int64_t kv_heads = 0;  // by default as many as heads
  int64_t head_dim = 0;  // by default hidden / heads
  int64_t intermediate = 11008;
  Activation activation = Activation::kSilu;
  float epsilon = 1e-6f;
  bool tied = false;
  int64_t labels = 2;    // of the heads that classify
  int64_t padding = -1;  // the id after a text that is not read for its class; -1: there is none

  // Replaces the defaults by what the config says.
  Status Read(const Json& json, std::string_view activation_key = "hidden_act");
  // What the heads that classify want of it.
  Status ReadHead(const Json& json);
};

// "sliding_window": how far back a layer sees; 0 where it is null.
Result<int64_t> ReadWindow(const Json& json, int64_t fallback);
// How far back each layer sees, 0: all the way; `window` in those that "layer_types" calls
// "sliding_attention" or, where it is silent, in those that `slides` picks.
Result<std::vector<int64_t>> ReadWindows(const Json& json, int64_t layers, int64_t window,
                                         const std::function<bool(int64_t)>& slides);

// How the checkpoint calls the parts around the layers, and what happens between them.
struct DecoderFrame {
  std::string_view prefix = "model.", embeddings = "embed_tokens", norm = "norm",
                   output = "lm_head.weight";
  std::string_view token_classifier = "score";  // the layer on each token
  std::string_view answer_prefix;      // in place of `prefix` where questions are answered; empty:
                                       // the same
  std::string_view older_prefix;       // of the same tensors in older checkpoints; empty: none
  std::string_view learned_positions;  // empty: none
  int64_t positions = 0;               // how many of those there are
  bool layer_norm = false;             // instead of the RMS norm
  float norm_offset = 0;               // of the RMS norm
  bool embedding_dropout = false;
  float embedding_scale = 1, logits_scale = 1;
  float logits_cap = 0;  // soft; 0: none
  bool cached = true;    // false: sees both ways, so that there is no past to keep
};

class Decoder : public Model {
 public:
  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override;
  bool Ignores(std::string_view name) const override;

 protected:
  // What the layers of one call share.
  struct Call {
    Sequence sequence;
    std::vector<nn::RotaryTables> turns;  // by kind of layer
    KvCache* cache = nullptr;
  };

  Decoder(const DecoderConfig& c, const DecoderFrame& frame, Head head);
  // "model.layers.3."
  std::string LayerName(size_t index, std::string_view list = "layers.") const;
  // One for each kind of layer, as Call::turns then holds them.
  void AddRotary(RotaryPositions rotary);

  virtual Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const = 0;

 private:
  Tensor Embed(Context& ctx, const Tensor& ids, const Sequence& s) const;
  Tensor Logits(Context& ctx, const Tensor& x) const;
  void DeclareHead(const DecoderConfig& c);

  DecoderFrame frame_;
  int64_t layers_, padding_;
  bool tied_;
  nn::Embedding embeddings_, positions_;
  nn::RmsNorm norm_;
  nn::LayerNorm layer_norm_;
  Tensor output_;       // of the language model
  nn::Linear classes_;  // of the other heads
  std::vector<RotaryPositions> rotary_;
};

// Fails unless the head is one that decoders have: of a language model, of the classes of sequences
// or tokens, or of answers.
Status CheckDecoderHead(Head head);

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_DECODER_H_
