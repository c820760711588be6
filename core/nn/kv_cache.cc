#include "core/nn/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace sotto {

void KvCache::Truncate(int64_t length) { length_ = std::clamp<int64_t>(length, 0, length_); }

bool KvCache::Reserve(Context& ctx, Layer& layer, int64_t batch, int64_t tokens, int64_t width) {
  if (layer.keys && (layer.keys.dim(0) != batch || layer.keys.dim(2) != width)) {
    ctx.Fail(InvalidArgument(StrCat("the cache holds ", layer.keys.shape().ToString(),
                                    "; it cannot take a batch of ", batch)));
    return false;
  }
  if (layer.keys && layer.keys.dim(1) >= tokens) return true;
  const int64_t held = layer.keys ? layer.keys.dim(1) : 0;
  const int64_t capacity = std::max<int64_t>({tokens, 2 * held, 64});
  for (Tensor* half : {&layer.keys, &layer.values}) {
    Tensor grown = ctx.New({batch, capacity, width});
    if (!grown) return false;
    for (int64_t b = 0; b < batch && length_ > 0; ++b) {
      std::memcpy(grown.f32() + b * capacity * width, half->f32() + b * held * width,
                  static_cast<size_t>(length_ * width) * sizeof(float));
    }
    *half = std::move(grown);
  }
  capacity_ = std::max(capacity_, capacity);
  return true;
}

KvCache::View KvCache::Append(Context& ctx, int layer, const Tensor& k, const Tensor& v) {
  if (!ctx.ok()) return {};
  if (static_cast<int>(layers_.size()) <= layer) layers_.resize(layer + 1);
  Layer& held = layers_[layer];
  const int64_t batch = k.dim(0), fresh = k.dim(1), width = k.dim(2), total = length_ + fresh;
  if (!Reserve(ctx, held, batch, total, width)) return {};
  const int64_t capacity = held.keys.dim(1);
  const auto copy = [&](const Tensor& from, Tensor& to) {
    for (int64_t b = 0; b < batch; ++b) {
      std::memcpy(to.f32() + (b * capacity + length_) * width, from.f32() + b * fresh * width,
                  static_cast<size_t>(fresh * width) * sizeof(float));
    }
  };
  copy(k, held.keys);
  copy(v, held.values);
  return {held.keys, held.values};
}

size_t KvCache::bytes() const {
  size_t sum = 0;
  for (const Layer& layer : layers_) sum += layer.keys.bytes() + layer.values.bytes();
  return sum;
}

}  // namespace sotto
