#include "core/nn/kv_cache.h"

#include <algorithm>
#include <cstring>

namespace sotto {

bool KvCache::Truncate(int64_t length) {
  length = std::clamp<int64_t>(length, 0, length_);
  if (length == length_) return true;
  for (Layer& layer : layers_) {
    if (layer.states.empty()) continue;
    if (length > 0) return false;
    layer.states.clear();
  }
  length_ = length;
  return true;
}

KvCache::Layer& KvCache::At(int layer) {
  if (static_cast<int>(layers_.size()) <= layer) layers_.resize(layer + 1);
  return layers_[layer];
}

KvCache::View& KvCache::Cross(int layer) { return At(layer).cross; }

Tensor& KvCache::State(int layer, int slot) {
  std::vector<Tensor>& states = At(layer).states;
  if (static_cast<int>(states.size()) <= slot) states.resize(slot + 1);
  return states[slot];
}

void KvCache::Reorder(Context& ctx, std::span<const int32_t> rows) {
  // Of each row only the first `filled` of `of` parts hold anything.
  const auto reorder = [&](Tensor& held, int64_t filled, int64_t of) {
    if (!held || !ctx.ok()) return;
    Shape shape = held.shape();
    shape.set_dim(0, static_cast<int64_t>(rows.size()));
    Tensor next = ctx.New(shape, held.dtype());
    if (!next) return;
    const size_t row = held.bytes() / static_cast<size_t>(held.dim(0));
    for (size_t b = 0; b < rows.size(); ++b) {
      std::memcpy(static_cast<char*>(next.data()) + b * row,
                  static_cast<const char*>(held.data()) + static_cast<size_t>(rows[b]) * row,
                  row / static_cast<size_t>(of) * static_cast<size_t>(filled));
    }
    held = std::move(next);
  };
  for (Layer& layer : layers_) {
    for (Tensor* held : {&layer.keys, &layer.values})
      reorder(*held, length_, *held ? held->dim(1) : 1);
    for (Tensor* held : {&layer.cross.keys, &layer.cross.values}) reorder(*held, 1, 1);
    for (Tensor& state : layer.states) reorder(state, 1, 1);
  }
}

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
  Layer& held = At(layer);
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
  for (const Layer& layer : layers_) {
    sum += layer.keys.bytes() + layer.values.bytes() + layer.cross.keys.bytes() +
           layer.cross.values.bytes();
    for (const Tensor& state : layer.states) sum += state.bytes();
  }
  return sum;
}

}  // namespace sotto
