// The pointer-generator of See, Liu and Manning (2017) as a head on an encoder-decoder: at each
// step it writes a word of its vocabulary, or copies one of the source, in a proportion that it
// learns. A class whose name ends with ForPointerGeneration ("BartForPointerGeneration") has it
// over its output layer. Ids from `vocab_size` on are words that the vocabulary lacks, numbered by
// the caller for each source (see NumberUnknownWords); the model reads them as config.json's
// "unk_token_id", and can copy them all the same.
//   p_gen = sigmoid(w_h h* + w_s s + w_x x + b)
// where s is the decoder's last state, x the embedding of the token that it was fed, and h* what
// the cross-attention of its last layer gives. What that attends to, on average over its heads, is
// what is copied. The logits are log-probabilities of the mixture.
#ifndef SOTTO_CORE_MODELS_POINTER_GENERATOR_H_
#define SOTTO_CORE_MODELS_POINTER_GENERATOR_H_

#include "core/models/model.h"
#include "core/nn/multi_head_attention.h"

namespace sotto {

// The end of the names of such classes.
inline constexpr std::string_view kPointerGeneration = "ForPointerGeneration";

class PointerGenerator {
 public:
  static Result<PointerGenerator> Create(const Json& config, int64_t vocab);
  void Declare(ParameterList& list, int64_t width);

  // What unknown words are read as; -1: they are not taken.
  int32_t unknown() const { return unknown_; }
  // ids int32, those of unknown words replaced.
  Tensor Read(Context& ctx, const Tensor& ids) const;

  // Turns the logits into those of the mixture and sets p_gen. `source_ids` [batch, source] as the
  // caller gave them; at `rows` only, where they are given; `x` [batch, tokens, width].
  void operator()(Context& ctx, const nn::Looked& looked, const Tensor& x, const Tensor& source_ids,
                  const Tensor& rows, ModelOutput& out) const;

 private:
  nn::Linear w_h_, w_s_, w_x_;
  int64_t vocab_ = 0;
  int32_t unknown_ = -1;
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_POINTER_GENERATOR_H_
