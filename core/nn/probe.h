// Looks into a forward pass: what is asked for is kept, what is not costs nothing.
#ifndef SOTTO_CORE_NN_PROBE_H_
#define SOTTO_CORE_NN_PROBE_H_

#include <vector>

#include "core/tensor/tensor.h"

namespace sotto {

class Probe {
 public:
  bool want_attentions = false;
  bool want_hidden_states = false;

  std::vector<Tensor> attentions;     // one a layer: [batch, heads, queries, keys]
  std::vector<Tensor> hidden_states;  // the embeddings, then one a layer: [batch, tokens, hidden]

  // The same of an encoder-decoder, which leaves those above empty. The encoder's come with the
  // calls that run it; cross_attentions have a key for each token of the source.
  std::vector<Tensor> encoder_attentions, decoder_attentions, cross_attentions;
  std::vector<Tensor> encoder_hidden_states, decoder_hidden_states;
};

}  // namespace sotto

#endif  // SOTTO_CORE_NN_PROBE_H_
