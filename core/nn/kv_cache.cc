#include "core/nn/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace sotto {
namespace {

std::array<Tensor*, 4> TensorsOf(KeysValues& kv) {
  return {&kv.keys, &kv.values, &kv.key_scales, &kv.value_scales};
}

// Memory that goes back to the system when it is outgrown, as an arena's does not.
Tensor New(Context& ctx, const Shape& shape, DType dtype) {
  if (!ctx.ok()) return {};
  Result<Tensor> tensor = Tensor::Allocate(shape, dtype);
  return tensor.ok() ? *std::move(tensor) : ctx.Fail(tensor.status());
}

// [batch, heads, rows, dim], or as much more as the dtype asks for.
KeysValues NewPair(Context& ctx, Shape shape, DType dtype) {
  shape.set_dim(2, PackedRowsFor(dtype, shape[2]));
  shape.set_dim(3, PackedWidthFor(dtype, shape[3]));
  KeysValues out{New(ctx, shape, dtype), New(ctx, shape, dtype)};
  if (dtype == DType::kI8) {
    const Shape rows({shape[0], shape[1], shape[2]});
    out.key_scales = New(ctx, rows, DType::kF32);
    out.value_scales = New(ctx, rows, DType::kF32);
  }
  return out;
}

// Writes keys or values x [batch, fresh, heads * dim] to rows [at, at + fresh) of `to` [batch,
// heads, rows, width].
void Write(Context& ctx, const Tensor& x, int64_t at, bool values, Tensor& to, Tensor& scales) {
  const int64_t heads = to.dim(1), rows = to.dim(2), width = to.dim(3), fresh = x.dim(1),
                dim = x.dim(2) / heads;
  const auto write = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* from = x.f32() + (i / heads * fresh * heads + i % heads) * dim;
      const int64_t head = i * rows * width, row = head + at * width;
      if (to.dtype() == DType::kF32) {
        for (int64_t t = 0; t < fresh; ++t)
          std::copy_n(from + t * heads * dim, dim, to.f32() + row + t * dim);
      } else if (to.dtype() == DType::kF16) {
        PackRowsF16(from, heads * dim, fresh, dim, static_cast<uint16_t*>(to.data()) + row);
      } else {
        PackRowsI8(from, heads * dim, at, fresh, dim, values,
                   static_cast<int8_t*>(to.data()) + head, scales.f32() + i * rows);
      }
    }
  };
  // A thread for so many values at least.
  constexpr int64_t kGrain = 16384;
  ParallelFor(ctx.pool(), to.dim(0) * heads, kGrain / std::max<int64_t>(fresh * dim, 1) + 1, write);
}

// The first `filled` rows of every head of `from` [batch, heads, rows, ...], to the same heads of
// batch row `b_to`; whole blocks of kPackedRows where there are.
void CopyRows(const Tensor& from, int64_t b_from, Tensor& to, int64_t b_to, int64_t filled) {
  const int64_t heads = from.dim(1), rows_from = from.dim(2), rows_to = to.dim(2);
  filled = std::min(PackedRowsFor(DType::kI8, filled), rows_from);
  const size_t row = from.bytes() / static_cast<size_t>(from.dim(0) * heads * rows_from);
  for (int64_t h = 0; h < heads; ++h) {
    std::memcpy(
        static_cast<char*>(to.data()) + static_cast<size_t>((b_to * heads + h) * rows_to) * row,
        static_cast<const char*>(from.data()) +
            static_cast<size_t>((b_from * heads + h) * rows_from) * row,
        static_cast<size_t>(filled) * row);
  }
}

// Whether these are keys and values of so many heads, [batch, tokens, heads * dim]; fails the
// context where not.
bool AreKeysValues(Context& ctx, const Tensor& k, const Tensor& v, int64_t heads) {
  if (!ctx.ok()) return false;
  if (k.rank() == 3 && k.shape() == v.shape() && heads > 0 && k.dim(2) % heads == 0) return true;
  ctx.Fail(InvalidArgument(StrCat("the cache cannot take keys ", k.shape().ToString(),
                                  " and values ", v.shape().ToString(), " of ", heads, " heads")));
  return false;
}

}  // namespace

KeysValues PackKeysValues(Context& ctx, const KeysValues& source, int64_t heads, DType dtype) {
  const Tensor& k = source.keys;
  if (!AreKeysValues(ctx, k, source.values, heads)) return {};
  KeysValues packed = NewPair(ctx, {k.dim(0), heads, k.dim(1), k.dim(2) / heads}, dtype);
  if (!ctx.ok()) return {};
  Write(ctx, source.keys, 0, false, packed.keys, packed.key_scales);
  Write(ctx, source.values, 0, true, packed.values, packed.value_scales);
  packed.filled = k.dim(1);
  return packed;
}

std::optional<DType> CacheDTypeByName(std::string_view name) {
  if (name == "fp32") return DType::kF32;
  if (name == "fp16") return DType::kF16;
  if (name == "q8") return DType::kI8;
  return std::nullopt;
}

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

const KeysValues& KvCache::SetCross(Context& ctx, int layer, const KeysValues& source,
                                    int64_t heads, bool plain) {
  KeysValues& cross = At(layer).cross;
  cross = plain || dtype_ == DType::kF32 ? source : PackKeysValues(ctx, source, heads, dtype_);
  return cross;
}

Tensor& KvCache::State(int layer, int slot) {
  std::vector<Tensor>& states = At(layer).states;
  if (static_cast<int>(states.size()) <= slot) states.resize(slot + 1);
  return states[slot];
}

void KvCache::Reorder(Context& ctx, std::span<const int32_t> rows) {
  const auto reorder = [&](Tensor& held, const auto& copy) {
    if (!held || !ctx.ok()) return;
    Shape shape = held.shape();
    shape.set_dim(0, static_cast<int64_t>(rows.size()));
    Tensor next = New(ctx, shape, held.dtype());
    if (!next) return;
    for (size_t b = 0; b < rows.size(); ++b) copy(held, rows[b], next, static_cast<int64_t>(b));
    held = std::move(next);
  };
  const auto filled = [&](const Tensor& from, int64_t b, Tensor& to, int64_t b_to) {
    CopyRows(from, b, to, b_to, length_);
  };
  const auto whole = [](const Tensor& from, int64_t b, Tensor& to, int64_t b_to) {
    const size_t row = from.bytes() / static_cast<size_t>(from.dim(0));
    std::memcpy(static_cast<char*>(to.data()) + static_cast<size_t>(b_to) * row,
                static_cast<const char*>(from.data()) + static_cast<size_t>(b) * row, row);
  };
  for (Layer& layer : layers_) {
    for (Tensor* held : TensorsOf(layer.self)) reorder(*held, filled);
    for (Tensor* held : TensorsOf(layer.cross)) reorder(*held, whole);
    for (Tensor& state : layer.states) reorder(state, whole);
  }
}

bool KvCache::Reserve(Context& ctx, KeysValues& held, int64_t batch, int64_t heads, int64_t tokens,
                      int64_t dim) {
  const Tensor& keys = held.keys;
  if (keys && (keys.dim(0) != batch || keys.dim(1) != heads ||
               keys.dim(3) != PackedWidthFor(dtype_, dim))) {
    ctx.Fail(InvalidArgument(StrCat("the cache holds ", keys.shape().ToString(),
                                    "; it cannot take a batch of ", batch)));
    return false;
  }
  if (keys && keys.dim(2) >= tokens) return true;
  int64_t capacity = std::max<int64_t>(keys ? 2 * keys.dim(2) : 0, 64);
  if (most_ > 0) capacity = std::min(capacity, most_);
  capacity = std::max(capacity, tokens);
  KeysValues grown = NewPair(ctx, {batch, heads, capacity, dim}, dtype_);
  if (!ctx.ok()) return false;
  const auto from = TensorsOf(held), to = TensorsOf(grown);
  for (size_t i = 0; keys && i < from.size(); ++i) {
    for (int64_t b = 0; *from[i] && b < batch; ++b) CopyRows(*from[i], b, *to[i], b, length_);
  }
  held = std::move(grown);
  capacity_ = std::max(capacity_, capacity);
  return true;
}

KeysValues KvCache::Append(Context& ctx, int layer, const Tensor& k, const Tensor& v,
                           int64_t heads) {
  if (!AreKeysValues(ctx, k, v, heads)) return {};
  KeysValues& held = At(layer).self;
  if (!Reserve(ctx, held, k.dim(0), heads, length_ + k.dim(1), k.dim(2) / heads)) return {};
  Write(ctx, k, length_, false, held.keys, held.key_scales);
  Write(ctx, v, length_, true, held.values, held.value_scales);
  held.filled = length_ + k.dim(1);
  return held;
}

size_t KvCache::bytes() const {
  size_t sum = 0;
  for (const Layer& layer : layers_) {
    for (const KeysValues* kv : {&layer.self, &layer.cross}) {
      sum +=
          kv->keys.bytes() + kv->values.bytes() + kv->key_scales.bytes() + kv->value_scales.bytes();
    }
    for (const Tensor& state : layer.states) sum += state.bytes();
  }
  return sum;
}

}  // namespace sotto
