// What a model keeps of past tokens, layer by layer: the keys and values of attention, which grow
// by doubling up to what is fed; the keys and values of an encoder's output, computed once; and the
// states of recurrent layers, whose size does not depend on the length.
#ifndef SOTTO_CORE_NN_KV_CACHE_H_
#define SOTTO_CORE_NN_KV_CACHE_H_

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/ops/context.h"
#include "core/ops/ops.h"

namespace sotto {

// How keys and values are kept: "fp32", "fp16", or "q8" (kI8).
std::optional<DType> CacheDTypeByName(std::string_view name);

// Keys and values [batch, rows, heads * dim] of f32 as a cache of `dtype` keeps them.
KeysValues PackKeysValues(Context& ctx, const KeysValues& source, int64_t heads, DType dtype);

class KvCache {
 public:
  // `dtype`: kF32, kF16 or kI8. `most`: no more tokens will be fed, so that there need be no room
  // for them; 0: unknown.
  explicit KvCache(DType dtype = DType::kF32, int64_t most = 0) : dtype_(dtype), most_(most) {}

  // Tokens that every layer holds.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  // Forgets the tokens from `length` on; their memory stays. A recurrent state cannot go back: with
  // one, only forgetting everything (length 0) is possible, and the result is false otherwise.
  bool Truncate(int64_t length);
  // Row b becomes what row rows[b] was, in every tensor: beams change places. As many rows as are
  // given remain.
  void Reorder(Context& ctx, std::span<const int32_t> rows);

  // Appends k, v [batch, new, heads * dim] of one layer and returns all that it holds, [batch,
  // heads, capacity, dim], of which past + new rows are filled. The length moves on when the
  // forward pass is done: see Advance.
  KeysValues Append(Context& ctx, int layer, const Tensor& k, const Tensor& v, int64_t heads);
  void Advance(int64_t tokens) { length_ += tokens; }

  // Keeps the keys and values [batch, source, heads * dim] of a layer that attends to an encoder,
  // and returns them as they are kept: rounded to the cache's dtype unless they are to stay as they
  // are (`plain`). Empty until set.
  const KeysValues& SetCross(Context& ctx, int layer, const KeysValues& source, int64_t heads,
                             bool plain);
  const KeysValues& Cross(int layer) { return At(layer).cross; }
  // A recurrent layer's state, [batch, ...]: empty at the beginning, replaced by the layer at each
  // call. A layer may have several, by slot.
  Tensor& State(int layer, int slot = 0);
  size_t bytes() const;

 private:
  struct Layer {
    KeysValues self, cross;
    std::vector<Tensor> states;
  };
  Layer& At(int layer);
  bool Reserve(Context& ctx, KeysValues& held, int64_t batch, int64_t heads, int64_t tokens,
               int64_t dim);

  DType dtype_;
  int64_t most_;
  std::vector<Layer> layers_;
  int64_t length_ = 0, capacity_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_NN_KV_CACHE_H_
