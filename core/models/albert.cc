// ALBERT (Lan et al. 2020): BERT with narrower embeddings and layers that share their weights: the
// layers fall into groups, and all of a group are the same few inner layers, one after another.
#include "core/models/encoder.h"

namespace sotto {
namespace {

constexpr EncoderLayerNames kLayer{.query = "attention.query",
                                   .key = "attention.key",
                                   .value = "attention.value",
                                   .attention_output = "attention.dense",
                                   .attention_norm = "attention.LayerNorm",
                                   .intermediate = "ffn",
                                   .output = "ffn_output",
                                   .output_norm = "full_layer_layer_norm"};

class Albert final : public Encoder {
 public:
  static Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
    EncoderConfig config{.vocab = 30000,
                         .hidden = 4096,
                         .heads = 64,
                         .intermediate = 16384,
                         .embedding = 128,
                         .activation = Activation::kGeluTanh};
    config.attention_dropout = 0;
    SOTTO_RETURN_IF_ERROR(config.Read(json));
    SOTTO_ASSIGN_OR_RETURN(const int64_t groups,
                           json.IntOr("num_hidden_groups", 1, 1, config.layers));
    SOTTO_ASSIGN_OR_RETURN(const int64_t inner, json.IntOr("inner_group_num", 1, 1, kMaxLayers));
    EncoderFrame frame{.prefix = "albert.",
                       .layers = "",
                       .transform_activation = config.activation,
                       .projection = "encoder.embedding_hidden_mapping_in"};
    SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
    const auto classes = static_cast<int64_t>(labels.size());
    frame.heads.pooler = "pooler";
    frame.heads.transform = "predictions.dense";
    frame.heads.transform_norm = "predictions.LayerNorm";
    frame.heads.decoder = "predictions.decoder";
    frame.heads.decoder_bias = "predictions.bias";
    frame.heads.next_sentence = "sop_classifier.classifier";
    frame.heads.next_sentences = classes;
    frame.heads.leftovers = {"predictions.", "sop_classifier."};
    SOTTO_RETURN_IF_ERROR(CheckEncoderFrame(json, config, frame, head));
    return std::unique_ptr<Model>(new Albert(config, frame, head, classes, groups, inner));
  }

 private:
  Albert(const EncoderConfig& c, const EncoderFrame& frame, Head head, int64_t labels,
         int64_t groups, int64_t inner)
      : Encoder(c, frame, head, labels), layers_of_all_(c.layers), groups_(groups), inner_(inner) {
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    layers_.resize(static_cast<size_t>(groups * inner));
    for (int64_t i = 0; i < groups * inner; ++i) {
      layers_[static_cast<size_t>(i)].Declare(
          parameters_,
          StrCat(at, "encoder.albert_layer_groups.", i / inner, ".albert_layers.", i % inner, "."),
          c, kLayer);
    }
  }

  Tensor Layers(Context& ctx, Tensor x, const Sequence& s) const override {
    for (int64_t i = 0; i < layers_of_all_ * inner_ && ctx.ok(); ++i) {
      const int64_t group = i / inner_ * groups_ / layers_of_all_;
      x = layers_[static_cast<size_t>(group * inner_ + i % inner_)](ctx, x, s, static_cast<int>(i));
      nn::Observe(ctx, x);
    }
    return x;
  }

  int64_t layers_of_all_, groups_, inner_;
};

}  // namespace

const Architecture kAlbert{"albert", "Albert", Albert::Create};

}  // namespace sotto
