// The encoder-decoders that fairseq and Marian gave: one layer, one set of tensor names, and
// differences in norms, positions and embeddings, which each architecture's file says.
#ifndef SOTTO_CORE_MODELS_BART_H_
#define SOTTO_CORE_MODELS_BART_H_

#include <memory>

#include "core/models/encoder_decoder.h"

namespace sotto {

struct BartStyle {
  enum class Positions : uint8_t {
    kLearned,     // a table, `position_offset` rows before the first
    kSinusoidal,  // a table [sin | cos] that is not trained (Vaswani et al. 2017, section 3.5)
    kCounted,  // the same over real tokens, which counts on from the padding's id and ends nowhere
  };
  Positions positions = Positions::kLearned;
  int64_t position_offset = 0;
  bool pre_norm = false;        // each part is normalized before it instead of its sum after it
  bool embedding_norm = false;  // "layernorm_embedding"
  bool norm_before_positions = false;  // in the decoder, where it comes before positions are added
  bool last_norm = false;              // "layer_norm" after the last layer
  bool logits_bias = true;             // "final_logits_bias"
  bool wraps_last = false;  // the decoder begins with the source's last token by default, not with
                            // "decoder_start_token_id"
  Activation activation = Activation::kGelu;  // what the config says by default
  bool scale_embedding = false;
  int64_t pad = 1, start = 2, end = 2;
};

Result<std::unique_ptr<Model>> CreateBart(const Json& config, Head head, const BartStyle& style);

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_BART_H_
