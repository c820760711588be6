// What a model keeps of past tokens, layer by layer: the keys and values of attention, which grow
// by doubling up to what is fed; the keys and values of an encoder's output, computed once; and the
// states of recurrent layers, whose size does not depend on the length.
#ifndef SOTTO_CORE_NN_KV_CACHE_H_
#define SOTTO_CORE_NN_KV_CACHE_H_

#include <span>
#include <vector>

#include "core/ops/context.h"

namespace sotto {

class KvCache {
 public:
  KvCache() = default;

  // Tokens that every layer holds.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  // Forgets the tokens from `length` on; their memory stays. A recurrent state cannot go back: with
  // one, only forgetting everything (length 0) is possible, and the result is false otherwise.
  bool Truncate(int64_t length);
  // Row b becomes what row rows[b] was, in every tensor: beams change places. As many rows as are
  // given remain.
  void Reorder(Context& ctx, std::span<const int32_t> rows);

  struct View {
    Tensor keys, values;  // [batch, capacity, width], of which past + new rows are filled
  };
  // Appends k, v [batch, new, width] of one layer and returns all that it holds. The length moves
  // on when the forward pass is done: see Advance.
  View Append(Context& ctx, int layer, const Tensor& k, const Tensor& v);
  void Advance(int64_t tokens) { length_ += tokens; }

  // Keys and values [batch, source, width] of a layer that attends to an encoder: empty until set.
  View& Cross(int layer);
  // A recurrent layer's state, [batch, ...]: empty at the beginning, replaced by the layer at each
  // call. A layer may have several, by slot.
  Tensor& State(int layer, int slot = 0);
  size_t bytes() const;

 private:
  struct Layer {
    Tensor keys, values;  // [batch, capacity, width]
    View cross;
    std::vector<Tensor> states;
  };
  Layer& At(int layer);
  bool Reserve(Context& ctx, Layer& layer, int64_t batch, int64_t tokens, int64_t width);

  std::vector<Layer> layers_;
  int64_t length_ = 0, capacity_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_NN_KV_CACHE_H_
