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
};

}  // namespace sotto

#endif  // SOTTO_CORE_NN_PROBE_H_
