// The keys and values of past tokens, layer by layer. Grows by doubling up to what is fed.
#ifndef SOTTO_CORE_NN_KV_CACHE_H_
#define SOTTO_CORE_NN_KV_CACHE_H_

#include <vector>

#include "core/ops/context.h"

namespace sotto {

class KvCache {
 public:
  KvCache() = default;

  // Tokens that every layer holds.
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  // Forgets the tokens from `length` on; their memory stays.
  void Truncate(int64_t length);

  struct View {
    Tensor keys, values;  // [batch, capacity, width], of which past + new rows are filled
  };
  // Appends k, v [batch, new, width] of one layer and returns all that it holds. The length moves
  // on when the forward pass is done: see Advance.
  View Append(Context& ctx, int layer, const Tensor& k, const Tensor& v);
  void Advance(int64_t tokens) { length_ += tokens; }
  size_t bytes() const;

 private:
  struct Layer {
    Tensor keys, values;  // [batch, capacity, width]
  };
  bool Reserve(Context& ctx, Layer& layer, int64_t batch, int64_t tokens, int64_t width);

  std::vector<Layer> layers_;
  int64_t length_ = 0, capacity_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_NN_KV_CACHE_H_
