// What BERT and its kin share: learned positions, post-norm layers, and the heads that Hugging Face
// puts on them. An architecture brings its defaults and the names of its tensors, and what it does
// differently. Nothing here knows one by name.
#ifndef SOTTO_CORE_MODELS_ENCODER_H_
#define SOTTO_CORE_MODELS_ENCODER_H_

#include <string>
#include <string_view>
#include <vector>

#include "core/models/architecture.h"

namespace sotto {

struct EncoderConfig {
  int64_t vocab = 30522, hidden = 768, layers = 12, heads = 12, intermediate = 3072;
  int64_t positions = 512;
  int64_t types = 2;  // 0: the architecture has none
  int64_t embedding =
      0;  // columns of the embeddings, where they have a width of their own; 0: hidden
  Activation activation = Activation::kGelu;
  float epsilon = 1e-12f;
  float attention_dropout = 0.1f;  // of the probabilities, in training
  bool tied = true;                // the masked-LM head's matrix is the word embeddings
  bool pooler = true;              // a bare model has one

  // Replaces the defaults by what the config says in BERT's terms.
  Status Read(const Json& json);
};

// The tensors of a layer, after its prefix. The defaults are BERT's.
struct EncoderLayerNames {
  std::string_view query = "attention.self.query", key = "attention.self.key",
                   value = "attention.self.value", attention_output = "attention.output.dense",
                   attention_norm = "attention.output.LayerNorm",
                   intermediate = "intermediate.dense", output = "output.dense",
                   output_norm = "output.LayerNorm";
};

// Attention, then the feed-forward, each added to what it came from and normalized.
struct EncoderLayer {
  nn::Linear query, key, value, attention_output, intermediate, output;
  nn::LayerNorm attention_norm, output_norm;
  AttentionSpec attention;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const EncoderConfig& c,
               const EncoderLayerNames& names);
  // `bias` of the scores: f32 [heads, tokens, tokens], or empty.
  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, int index,
                    const Tensor& bias = {}) const;
};

// A dense layer on the state of each sequence's first token.
struct SentenceNames {
  std::string_view dense;  // empty: the pooler
  Activation activation = Activation::kTanh;
  std::string_view output = "classifier";
};

// The tensors of the heads. Those of the backbone's own (`pooler`) go without its prefix.
struct EncoderHeadNames {
  std::string_view pooler = "pooler.dense";  // empty: there is none
  SentenceNames sequence, choice;            // of a sequence's class, and of a choice among several
  // The masked-LM head: dense, activation, norm, then a product with the word embeddings.
  std::string_view transform = "cls.predictions.transform.dense",
                   transform_norm = "cls.predictions.transform.LayerNorm",
                   decoder = "cls.predictions.decoder", decoder_bias = "cls.predictions.bias";
  std::string_view next_sentence;  // empty: there is none
  int64_t next_sentences = 2;      // its classes
  SentenceNames detector;          // of replaced tokens, at each token; empty: there is none
  // How tensors begin that a checkpoint of the architecture's other classes may still carry.
  std::vector<std::string_view> leftovers = {"cls."};
};

class EncoderHeads {
 public:
  void Declare(ParameterList& list, const std::string& at, const EncoderConfig& c,
               const EncoderHeadNames& names, Activation transform_activation, Head head,
               int64_t labels);

  // Of the last hidden states [batch, tokens, hidden].
  ModelOutput operator()(Context& ctx, const Tensor& x, const Tensor& rows,
                         const Tensor& word_embeddings) const;

  // Whether a tensor that nobody declared belongs to a head that this model does not have.
  bool Leaves(std::string_view name) const;

 private:
  // The state of each sequence's first token [batch, hidden] through a dense layer.
  Tensor Pooled(Context& ctx, const Tensor& x, const nn::Linear& dense, Activation f) const;
  Tensor Predictions(Context& ctx, const Tensor& x, const Tensor& word_embeddings) const;

  EncoderHeadNames names_;
  Head head_ = Head::kNone;
  bool tied_ = true;
  nn::Linear pooler_, dense_, next_sentence_, output_;
  Activation dense_activation_ = Activation::kTanh;
  nn::LayerNorm norm_;
};

// How the checkpoint calls the parts, and what differs around the layers.
struct EncoderFrame {
  std::string_view prefix;
  std::string_view layers = "encoder.layer.";  // empty: the architecture declares its own
  EncoderLayerNames layer;
  EncoderHeadNames heads;
  Activation transform_activation = Activation::kGelu;  // of the masked-LM head
  std::string_view projection;  // from the embeddings to the layers' width; empty: none
  // Of a model whose positions are counted over ids that are not padding, from padding + 1 on.
  int64_t padding = -1;
};

class Encoder : public Model {
 public:
  Encoder(const EncoderConfig& c, const EncoderFrame& frame, Head head, int64_t labels);

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override;
  bool Ignores(std::string_view name) const override;

 protected:
  // x [batch, tokens, hidden] through all layers, each of which is shown to the probe.
  virtual Tensor Layers(Context& ctx, Tensor x, const Sequence& s) const;

  std::vector<EncoderLayer> layers_;

 private:
  int64_t padding_;
  nn::Embedding word_embeddings_, position_embeddings_, token_type_embeddings_;
  nn::LayerNorm embeddings_norm_;
  nn::Linear projection_;
  EncoderHeads heads_;
};

// Fails unless there is a position for a token, and the head is one that the names have.
Status CheckEncoderFrame(const Json& json, const EncoderConfig& config, const EncoderFrame& frame,
                         Head head);

// An encoder that differs from others by its names alone.
Result<std::unique_ptr<Model>> CreateEncoder(const Json& json, const EncoderConfig& config,
                                             const EncoderFrame& frame, Head head);

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_ENCODER_H_
