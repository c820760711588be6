// MPNet (Song et al. 2020): BERT's encoder without segments, whose scores get a bias by relative
// position that all layers share.
#include "core/models/encoder.h"
#include "core/ops/relative.h"

namespace sotto {
namespace {

// However many entries the config gives to the table, Hugging Face's code asks for these.
constexpr int64_t kBuckets = 32, kMaxDistance = 128;
constexpr int64_t kPadding = 1;  // whatever the config says

class MPNet final : public Encoder {
 public:
  static Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
    EncoderConfig config{.vocab = 30527, .types = 0};
    SOTTO_RETURN_IF_ERROR(config.Read(json));
    SOTTO_ASSIGN_OR_RETURN(const int64_t buckets,
                           json.IntOr("relative_attention_num_buckets", kBuckets, kBuckets, 1024));
    EncoderFrame frame{.prefix = "mpnet.",
                       .layer = {.query = "attention.attn.q",
                                 .key = "attention.attn.k",
                                 .value = "attention.attn.v",
                                 .attention_output = "attention.attn.o",
                                 .attention_norm = "attention.LayerNorm"},
                       .padding = kPadding};
    frame.heads.sequence = {.dense = "classifier.dense", .output = "classifier.out_proj"};
    frame.heads.transform = "lm_head.dense";
    frame.heads.transform_norm = "lm_head.layer_norm";
    frame.heads.decoder = "lm_head.decoder";
    frame.heads.decoder_bias = "lm_head.bias";
    frame.heads.leftovers = {"lm_head."};
    SOTTO_RETURN_IF_ERROR(CheckEncoderFrame(json, config, frame, head));
    SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
    return std::unique_ptr<Model>(
        new MPNet(config, frame, head, static_cast<int64_t>(labels.size()), buckets));
  }

 private:
  MPNet(const EncoderConfig& c, const EncoderFrame& frame, Head head, int64_t labels,
        int64_t buckets)
      : Encoder(c, frame, head, labels) {
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    relative_attention_bias_.Declare(parameters_, at + "encoder.relative_attention_bias", buckets,
                                     c.heads);
  }

  Tensor Layers(Context& ctx, Tensor x, const Sequence& s) const override {
    Tensor entry = ctx.New({s.tokens, s.tokens}, DType::kI32);
    for (int64_t i = 0; entry && i < entry.elements(); ++i) {
      const int64_t query = i / s.tokens, key = i % s.tokens;
      entry.i32()[i] = RelativeBucket(key - query, true, kBuckets, kMaxDistance);
    }
    const Tensor bias = RelativeBias(ctx, relative_attention_bias_.weight, entry);
    for (size_t i = 0; i < layers_.size() && ctx.ok(); ++i) {
      x = layers_[i](ctx, x, s, static_cast<int>(i), bias);
      nn::Observe(ctx, x);
    }
    return x;
  }

  nn::Embedding relative_attention_bias_;
};

}  // namespace

const Architecture kMPNet{"mpnet", "MPNet", MPNet::Create};

}  // namespace sotto
