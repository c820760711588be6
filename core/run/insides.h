// Runs a model once and gives what happens inside, under Hugging Face's names. The command line and
// the bindings read a model through it; what the numbers mean is theirs to show.
#ifndef SOTTO_CORE_RUN_INSIDES_H_
#define SOTTO_CORE_RUN_INSIDES_H_

#include <span>

#include "core/base/json.h"
#include "core/io/safetensors.h"
#include "core/models/model.h"

namespace sotto {

struct InsidesOptions {
  bool output_attentions = false;
  bool output_hidden_states = false;
  bool output_logprobs = false;  // of the tokens given, by a language model

  // The keys above; an unknown one is an error.
  static Result<InsidesOptions> Read(const Json& options);
};

// One sequence, and for encoder-decoders what the decoder reads. `mask` is 0 where a token is
// padding; empty: nowhere.
Result<ModelInput> SequenceInput(std::span<const int32_t> ids,
                                 std::span<const int32_t> decoder_ids = {},
                                 std::span<const int32_t> mask = {});

// What the model gives: "logits", "last_hidden_state", "pooler_output", "p_gen", ..., and where
// asked
//   hidden_states.N    [batch, tokens, hidden]: the embeddings, then one after each layer
//   attentions.N       [batch, heads, queries, keys]
//   logprobs           of each token given, after what comes before it ([batch, tokens - 1]), or by
//                      a masked language model at its own place ([batch, tokens])
// Encoder-decoders have encoder_hidden_states, decoder_hidden_states, encoder_attentions,
// decoder_attentions and cross_attentions in their place.
Result<NamedTensors> RunInsides(const Model& model, ThreadPool* pool, const ModelInput& input,
                                const InsidesOptions& options);

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_INSIDES_H_
