// BERT (Devlin et al. 2019): a bidirectional encoder with learned positions, segments and post-norm
// layers, and the heads that Hugging Face gives it. Tensor names are those of its checkpoints.
#include "core/models/encoder.h"

namespace sotto {
namespace {

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  EncoderConfig config;
  SOTTO_RETURN_IF_ERROR(config.Read(json));
  EncoderFrame frame{.prefix = "bert.", .transform_activation = config.activation};
  frame.heads.next_sentence = "cls.seq_relationship";
  return CreateEncoder(json, config, frame, head);
}

}  // namespace

const Architecture kBert{"bert", "Bert", Create};

}  // namespace sotto
