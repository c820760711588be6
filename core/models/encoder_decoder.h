// What encoder-decoders share: which half runs when, what the cache and the probe get of each, and
// the output. An architecture brings its encoder, its decoder and its output layer. Nothing here
// knows one by name.
#ifndef SOTTO_CORE_MODELS_ENCODER_DECODER_H_
#define SOTTO_CORE_MODELS_ENCODER_DECODER_H_

#include <optional>

#include "core/models/architecture.h"
#include "core/models/pointer_generator.h"
#include "core/nn/multi_head_attention.h"

namespace sotto {

class EncoderDecoder : public Model {
 public:
  // Runs the encoder unless its states are given or the cache holds a past, then the decoder over
  // `decoder_ids`.
  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const final;

 protected:
  EncoderDecoder() { is_encoder_decoder_ = true; }

  // The encoder's ids -> [batch, source, width].
  virtual Tensor Encode(Context& ctx, const ModelInput& input) const = 0;
  // The decoder's ids -> [batch, tokens, width]. Takes nothing from `input` but those and their
  // mask, and leaves advancing the cache to the caller.
  virtual Tensor Decode(Context& ctx, const ModelInput& input, const nn::Source& source,
                        KvCache* cache) const = 0;
  // The embeddings of the decoder's ids alone -> [batch, tokens, width], for a pointer-generator.
  virtual Tensor DecoderEmbeddings(Context& ctx, const Tensor& ids) const;
  // Fills what the head gives from the decoder's last hidden state.
  virtual void RunHead(Context& ctx, const ModelInput& input, ModelOutput& out) const = 0;
  // The decoder's ids where none are given: by default that is an error.
  virtual Tensor DefaultDecoderIds(Context& ctx, const ModelInput& input) const;

  // The view of one call that the layers of a half share.
  Sequence EncoderSequence(Context& ctx, const ModelInput& input) const;
  Sequence DecoderSequence(Context& ctx, const ModelInput& input, const KvCache* cache) const;

  // Puts a pointer-generator over the head where the config names a class with one. For
  // architectures that have DecoderEmbeddings; after vocab_size_ and hidden_size_ are known.
  Status DeclarePointer(const Json& config);

 private:
  Tensor SourceIds(Context& ctx, const ModelInput& input, KvCache* cache) const;

  std::optional<PointerGenerator> pointer_;
};

// x [batch, tokens, width] of a decoder that was fed its source -> [batch, width]: where each
// source has its last `end`, whose state stands for the whole.
Tensor AtLastEnds(Context& ctx, const Tensor& x, const ModelInput& input, int32_t end);

// ids [batch, tokens], one to the right, behind `first`: what a decoder is fed to predict the ids.
// kIgnoreTarget becomes `pad`.
Tensor ShiftedRight(Context& ctx, const Tensor& ids, int32_t first, int32_t pad);

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_ENCODER_DECODER_H_
