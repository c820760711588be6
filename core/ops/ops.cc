#include "core/ops/ops.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>

#include "core/kernels/matmul.h"
#include "core/kernels/rows.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

Tensor Mismatch(Context& ctx, std::string_view op, const Tensor& a, const Tensor& b) {
  return ctx.Fail(InvalidArgument(StrCat(op, ": shapes ", a.shape().ToString(), " and ",
                                         b.shape().ToString(), " do not match")));
}

bool IsRow(const Tensor& t, int64_t columns) { return t.rank() == 1 && t.dim(0) == columns; }

bool IsF32(const Tensor& t) { return t && t.dtype() == DType::kF32; }

// False, with the failure recorded, unless every id is in 0..entries-1.
bool CheckIds(Context& ctx, std::string_view op, const Tensor& ids, int64_t entries) {
  if (ids.dtype() != DType::kI32) {
    ctx.Fail(InvalidArgument(StrCat(op, ": ids must be int32")));
    return false;
  }
  for (int64_t i = 0; i < ids.elements(); ++i) {
    if (ids.i32()[i] < 0 || ids.i32()[i] >= entries) {
      ctx.Fail(InvalidArgument(
          StrCat(op, ": id ", ids.i32()[i], " at position ", i, " is not in 0..", entries - 1)));
      return false;
    }
  }
  return true;
}

// The f32 matrix of a packed one, for the gradient that flows through a frozen quantized weight.
Tensor Unpacked(Context& ctx, const Tensor& packed) {
  Tensor m = ctx.New(packed.shape());
  for (int64_t r = 0; m && r < m.dim(0); ++r) UnpackRow(packed, r, m.f32() + r * m.dim(1));
  return m;
}

// d x = d y W, and into d W = d y^T x, d b = column sums of d y.
void LinearBackward(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    const Tensor& dy) {
  const int64_t rows = x.shape().rows(), in = weight.dim(1), out = weight.dim(0);
  if (x.requires_grad()) {
    Tensor& dx = x.grad_slot()->grad;
    const bool first = !dx;
    if (first) dx = ctx.New(x.shape());
    const Tensor w = IsPacked(weight.dtype()) ? Unpacked(ctx, weight) : weight;
    if (!ctx.ok()) return;
    Gemm({.m = rows,
          .n = in,
          .k = out,
          .a = dy.f32(),
          .lda = out,
          .b = w.f32(),
          .ldb = in,
          .c = dx.f32(),
          .ldc = in,
          .beta = first ? 0.0f : 1.0f},
         ctx.pool());
  }
  if (float* dw = GradOf(ctx, weight)) {
    Gemm({.trans_a = true,
          .m = out,
          .n = in,
          .k = rows,
          .a = dy.f32(),
          .lda = out,
          .b = x.f32(),
          .ldb = in,
          .c = dw,
          .ldc = in,
          .beta = 1},
         ctx.pool());
  }
  if (bias) {
    if (float* db = GradOf(ctx, bias)) SumRows(dy.f32(), db, rows, out, ctx.pool());
  }
}

}  // namespace

Tensor Linear(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!ctx.ok()) return {};
  if (!IsF32(x) || weight.rank() != 2 || x.rank() < 1 || x.dim(-1) != weight.dim(1))
    return Mismatch(ctx, "linear", x, weight);
  if (bias && !IsRow(bias, weight.dim(0))) return Mismatch(ctx, "linear bias", bias, weight);
  const int64_t rows = x.shape().rows(), in = weight.dim(1), out = weight.dim(0);
  Tensor y = ctx.New(x.shape().WithLast(out));
  if (!y) return y;
  const float* b = bias ? bias.f32() : nullptr;
  if (weight.dtype() == DType::kQ8) {
    MatMulQ8(x.f32(), rows, in, weight.data(), out, b, y.f32(), ctx.pool());
  } else if (weight.dtype() == DType::kQ4) {
    MatMulQ4(x.f32(), rows, in, weight.data(), out, b, y.f32(), ctx.pool());
  } else if (weight.dtype() == DType::kF32) {
    Gemm({.trans_b = true,
          .m = rows,
          .n = out,
          .k = in,
          .a = x.f32(),
          .lda = in,
          .b = weight.f32(),
          .ldb = in,
          .c = y.f32(),
          .ldc = out,
          .bias = b},
         ctx.pool());
  } else {
    return ctx.Fail(Unsupported(StrCat("linear: weights of ", DTypeName(weight.dtype()))));
  }
  if (Taped(ctx, x, weight, bias)) {
    ctx.tape()->Record(y, [x, weight, bias](Context& c, const Tensor& dy) {
      LinearBackward(c, x, weight, bias, dy);
    });
  }
  return y;
}

Tensor Add(Context& ctx, const Tensor& a, const Tensor& b) {
  if (!ctx.ok()) return {};
  const bool row = a.shape() != b.shape();
  if (row && !IsRow(b, a.shape().columns())) return Mismatch(ctx, "add", a, b);
  Tensor y = ctx.New(a.shape());
  if (!y) return y;
  if (row) {
    AddRow(a.f32(), b.f32(), y.f32(), a.shape().rows(), a.shape().columns(), ctx.pool());
  } else {
    Add(a.f32(), b.f32(), y.f32(), a.elements(), ctx.pool());
  }
  if (Taped(ctx, a, b)) {
    ctx.tape()->Record(y, [a, b, row](Context& c, const Tensor& dy) {
      AddGrad(c, a, dy);
      if (!row) return AddGrad(c, b, dy);
      if (float* db = GradOf(c, b))
        SumRows(dy.f32(), db, a.shape().rows(), a.shape().columns(), c.pool());
    });
  }
  return y;
}

Tensor Mul(Context& ctx, const Tensor& a, const Tensor& b) {
  if (!ctx.ok()) return {};
  if (a.shape() != b.shape()) return Mismatch(ctx, "multiply", a, b);
  Tensor y = ctx.New(a.shape());
  if (!y) return y;
  Mul(a.f32(), b.f32(), y.f32(), y.elements(), ctx.pool());
  if (Taped(ctx, a, b)) {
    ctx.tape()->Record(y, [a, b](Context& c, const Tensor& dy) {
      if (float* da = GradOf(c, a)) MulAdd(dy.f32(), b.f32(), da, a.elements(), c.pool());
      if (float* db = GradOf(c, b)) MulAdd(dy.f32(), a.f32(), db, b.elements(), c.pool());
    });
  }
  return y;
}

Tensor Scale(Context& ctx, const Tensor& x, float factor) {
  Tensor y = ctx.New(x.shape());
  if (!y) return y;
  Scale(x.f32(), factor, y.f32(), y.elements(), ctx.pool());
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [x, factor](Context& c, const Tensor& dy) {
      if (float* dx = GradOf(c, x)) Axpy(dy.f32(), factor, dx, dy.elements(), c.pool());
    });
  }
  return y;
}

Tensor Activate(Context& ctx, Tensor x, Activation f) {
  if (x.sole() && !Taped(ctx, x)) {
    Activate(f, x.f32(), x.f32(), x.elements(), ctx.pool());
    return x;
  }
  Tensor y = ctx.New(x.shape());
  if (!y) return y;
  Activate(f, x.f32(), y.f32(), y.elements(), ctx.pool());
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [x, f](Context& c, const Tensor& dy) {
      if (float* dx = GradOf(c, x))
        ActivateBackward(f, x.f32(), dy.f32(), dx, dy.elements(), c.pool());
    });
  }
  return y;
}

Tensor Dropout(Context& ctx, const Tensor& x) {
  const float p = ctx.dropout();
  if (p <= 0 || !ctx.ok()) return x;
  const uint64_t seed = ctx.NextSeed();
  Tensor y = ctx.New(x.shape());
  if (!y) return y;
  Dropout(x.f32(), p, seed, y.f32(), y.elements(), ctx.pool());
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [x, p, seed](Context& c, const Tensor& dy) {
      if (float* dx = GradOf(c, x)) DropoutBackward(dy.f32(), p, seed, dx, dy.elements(), c.pool());
    });
  }
  return y;
}

Tensor Softmax(Context& ctx, const Tensor& x) {
  Tensor y = ctx.New(x.shape());
  if (!y) return y;
  Softmax(x.f32(), y.f32(), x.shape().rows(), x.shape().columns(), ctx.pool());
  if (Taped(ctx, x)) {
    const Tensor kept = y;
    ctx.tape()->Record(y, [x, kept](Context& c, const Tensor& dy) {
      if (float* dx = GradOf(c, x)) {
        SoftmaxBackward(kept.f32(), dy.f32(), dx, x.shape().rows(), x.shape().columns(), c.pool());
      }
    });
  }
  return y;
}

Tensor LayerNorm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 float epsilon) {
  if (!ctx.ok()) return {};
  const int64_t rows = x.shape().rows(), columns = x.shape().columns();
  if (!IsRow(weight, columns) || (bias && !IsRow(bias, columns)))
    return Mismatch(ctx, "layer norm", x, weight);
  const bool taped = Taped(ctx, x, weight, bias);
  Tensor y = ctx.New(x.shape());
  Tensor mean, rstd;
  if (taped) mean = ctx.New({rows}), rstd = ctx.New({rows});
  if (!ctx.ok()) return {};
  LayerNorm(x.f32(), weight.f32(), bias ? bias.f32() : nullptr, epsilon, y.f32(),
            taped ? mean.f32() : nullptr, taped ? rstd.f32() : nullptr, rows, columns, ctx.pool());
  if (taped) {
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      float* dx = GradOf(c, x);
      float* dw = GradOf(c, weight);
      float* db = bias ? GradOf(c, bias) : nullptr;
      if (!c.ok()) return;
      LayerNormBackward(x.f32(), weight.f32(), mean.f32(), rstd.f32(), dy.f32(), dx, dw, db, rows,
                        columns, c.pool());
    });
  }
  return y;
}

Tensor RmsNorm(Context& ctx, const Tensor& x, const Tensor& weight, float epsilon, float offset) {
  if (!ctx.ok()) return {};
  const int64_t columns = weight.elements();
  if (weight.rank() != 1 || columns <= 0 || x.shape().columns() % columns != 0)
    return Mismatch(ctx, "RMS norm", x, weight);
  const int64_t rows = x.elements() / columns;
  const bool taped = Taped(ctx, x, weight);
  Tensor y = ctx.New(x.shape());
  Tensor rstd;
  if (taped) rstd = ctx.New({rows});
  if (!ctx.ok()) return {};
  RmsNorm(x.f32(), weight.f32(), epsilon, y.f32(), taped ? rstd.f32() : nullptr, rows, columns,
          ctx.pool(), offset);
  if (taped) {
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      float* dx = GradOf(c, x);
      float* dw = GradOf(c, weight);
      if (!c.ok()) return;
      RmsNormBackward(x.f32(), weight.f32(), rstd.f32(), dy.f32(), dx, dw, rows, columns, c.pool(),
                      offset);
    });
  }
  return y;
}

namespace {

// Rows of a matrix [entries, columns] by checked ids; the output has `shape`.
Tensor GatherRows(Context& ctx, const Tensor& table, const Tensor& ids, const Shape& shape,
                  int64_t columns) {
  Tensor y = ctx.New(shape);
  if (!y) return y;
  if (IsPacked(table.dtype())) {
    for (int64_t i = 0; i < ids.elements(); ++i)
      UnpackRow(table, ids.i32()[i], y.f32() + i * columns);
  } else {
    Gather(table.f32(), ids.i32(), y.f32(), ids.elements(), columns, ctx.pool());
  }
  if (Taped(ctx, table)) {
    ctx.tape()->Record(y, [table, ids, columns](Context& c, const Tensor& dy) {
      if (float* d = GradOf(c, table))
        ScatterAdd(ids.i32(), dy.f32(), d, ids.elements(), columns, c.pool());
    });
  }
  return y;
}

}  // namespace

Tensor Embedding(Context& ctx, const Tensor& ids, const Tensor& table) {
  if (!ctx.ok()) return {};
  if (table.rank() != 2 || ids.rank() >= Shape::kMaxRank)
    return Mismatch(ctx, "embedding", ids, table);
  if (!CheckIds(ctx, "embedding", ids, table.dim(0))) return {};
  Shape shape({1, 1, 1, 1, 1, 1});
  switch (ids.rank()) {
    case 1:
      shape = {ids.dim(0), table.dim(1)};
      break;
    case 2:
      shape = {ids.dim(0), ids.dim(1), table.dim(1)};
      break;
    default:
      return Mismatch(ctx, "embedding", ids, table);
  }
  return GatherRows(ctx, table, ids, shape, table.dim(1));
}

Tensor SelectRows(Context& ctx, const Tensor& x, const Tensor& rows) {
  if (!ctx.ok()) return {};
  if (!IsF32(x) || rows.rank() != 1) return Mismatch(ctx, "select rows", x, rows);
  if (!CheckIds(ctx, "select rows", rows, x.shape().rows())) return {};
  const int64_t columns = x.shape().columns();
  return GatherRows(ctx, x, rows, {rows.dim(0), columns}, columns);
}

Tensor MeanTokens(Context& ctx, const Tensor& x, const Tensor& mask) {
  if (!ctx.ok()) return {};
  if (x.rank() != 3 ||
      (mask && (mask.dtype() != DType::kU8 || mask.shape() != Shape({x.dim(0), x.dim(1)})))) {
    return Mismatch(ctx, "mean over tokens", x, mask);
  }
  const int64_t batch = x.dim(0), tokens = x.dim(1), columns = x.dim(2);
  Tensor y = ctx.NewZeros({batch, columns}), weights = ctx.New({batch, tokens});
  if (!ctx.ok()) return {};
  for (int64_t b = 0; b < batch; ++b) {
    int64_t count = 0;
    const auto counts = [&](int64_t t) {
      return !mask || static_cast<const uint8_t*>(mask.data())[b * tokens + t] != 0;
    };
    for (int64_t t = 0; t < tokens; ++t) count += counts(t) ? 1 : 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const float weight = counts(t) ? 1.0f / static_cast<float>(count) : 0.0f;
      weights.f32()[b * tokens + t] = weight;
      if (weight > 0) {
        Axpy(x.f32() + (b * tokens + t) * columns, weight, y.f32() + b * columns, columns, nullptr);
      }
    }
  }
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      float* dx = GradOf(c, x);
      for (int64_t r = 0; dx != nullptr && r < batch * tokens; ++r) {
        Axpy(dy.f32() + r / tokens * columns, weights.f32()[r], dx + r * columns, columns, nullptr);
      }
    });
  }
  return y;
}

std::vector<Tensor> Split(Context& ctx, const Tensor& x, int parts) {
  const std::vector<int64_t> widths(static_cast<size_t>(parts), x.shape().columns() / parts);
  return Split(ctx, x, widths);
}

std::vector<Tensor> Split(Context& ctx, const Tensor& x, std::span<const int64_t> widths,
                          int64_t groups) {
  std::vector<Tensor> out(widths.size());
  if (!ctx.ok()) return out;
  const int64_t all = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  if (groups <= 0 || all <= 0 || x.shape().columns() != all * groups) {
    ctx.Fail(InvalidArgument(StrCat("split: ", x.shape().ToString(), " is not ", groups, " times ",
                                    widths.size(), " parts of ", all, " columns")));
    return out;
  }
  const int64_t rows = x.elements() / all;
  for (size_t p = 0; p < widths.size(); ++p) {
    out[p] = ctx.New(x.shape().WithLast(widths[p] * groups));
    if (!ctx.ok()) return out;
  }
  // A thread for so many values at least.
  constexpr int64_t kGrain = 16384;
  ParallelFor(ctx.pool(), rows, kGrain / all + 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = x.f32() + r * all;
      for (size_t p = 0; p < widths.size(); from += widths[p++])
        std::copy_n(from, widths[p], out[p].f32() + r * widths[p]);
    }
  });
  int64_t at = 0;
  for (size_t p = 0; p < widths.size() && Taped(ctx, x); ++p) {
    ctx.tape()->Record(out[p], [=, columns = widths[p]](Context& c, const Tensor& dy) {
      float* dx = GradOf(c, x);
      for (int64_t r = 0; dx != nullptr && r < rows; ++r) {
        Axpy(dy.f32() + r * columns, 1, dx + r * all + at, columns, nullptr);
      }
    });
    at += widths[p];
  }
  return out;
}

Tensor Unfold(Context& ctx, const Tensor& x, int64_t taps) {
  if (!ctx.ok()) return {};
  if (x.rank() != 3 || taps <= 0) return Mismatch(ctx, "unfold", x, x);
  const int64_t rows = x.shape().rows(), tokens = x.dim(1), columns = x.dim(2);
  // Calls f(row of y, tap, row of x) where the tap is inside of the sequence.
  const auto for_taps = [=](const auto& f) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < taps; ++k) {
        const int64_t offset = k - (taps - 1) / 2, t = r % tokens + offset;
        if (t >= 0 && t < tokens) f(r, k, r + offset);
      }
    }
  };
  Tensor y = ctx.NewZeros(x.shape().WithLast(columns * taps));
  if (!y) return y;
  for_taps([&](int64_t r, int64_t k, int64_t from) {
    float* to = y.f32() + r * columns * taps + k;
    for (int64_t i = 0; i < columns; ++i) to[i * taps] = x.f32()[from * columns + i];
  });
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      float* dx = GradOf(c, x);
      if (dx == nullptr) return;
      for_taps([&](int64_t r, int64_t k, int64_t to) {
        const float* from = dy.f32() + r * columns * taps + k;
        for (int64_t i = 0; i < columns; ++i) dx[to * columns + i] += from[i * taps];
      });
    });
  }
  return y;
}

Tensor Rotary(Context& ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, int64_t heads) {
  if (!ctx.ok()) return {};
  const int64_t tokens = x.shape().rows(), dim = heads > 0 ? x.shape().columns() / heads : 0;
  if (heads <= 0 || dim * heads != x.shape().columns() || cos.shape() != sin.shape() ||
      cos.rank() != 2 || cos.dim(0) != tokens || 2 * cos.dim(1) > dim) {
    return Mismatch(ctx, "rotary", x, cos);
  }
  const int64_t rotary = 2 * cos.dim(1);
  Tensor y = ctx.New(x.shape());
  if (!y) return y;
  Rotary(x.f32(), cos.f32(), sin.f32(), false, y.f32(), tokens, heads, dim, rotary, ctx.pool());
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      Tensor back = c.New(x.shape());
      if (!back) return;
      Rotary(dy.f32(), cos.f32(), sin.f32(), true, back.f32(), tokens, heads, dim, rotary,
             c.pool());
      AddGrad(c, x, back);
    });
  }
  return y;
}

namespace {

HeadsView ViewOf(const Tensor& t, int64_t heads, int64_t rows_per_batch) {
  const int64_t columns = t.shape().columns();
  return {const_cast<float*>(t.f32()), rows_per_batch * columns, columns, columns / heads};
}

// Of keys or values as a cache keeps them.
bool IsCached(const Tensor& t) { return t.rank() == 4; }
HeadsView CachedView(const Tensor& t) {
  const int64_t head = t.dim(2) * t.dim(3);
  return {const_cast<float*>(t.f32()), t.dim(1) * head, t.dim(3), head};
}
PackedHeads PackedOf(const Tensor& t, const Tensor& scales) {
  return {t.dtype(), t.data(), scales ? scales.f32() : nullptr, t.dim(2), t.dim(3)};
}

HeadsView GradView(Context& ctx, const Tensor& t, Tensor& scratch, int64_t heads) {
  float* grad = GradOf(ctx, t);
  if (grad == nullptr) {  // an input that wants no gradient still needs a place to write to
    scratch = ctx.NewZeros(t.shape());
    grad = scratch.f32();
  }
  HeadsView view = ViewOf(t, heads, t.dim(1));
  view.data = grad;
  return view;
}

}  // namespace

Tensor Attention(Context& ctx, const Tensor& q, const KeysValues& kv, const AttentionSpec& spec) {
  if (!ctx.ok()) return {};
  const Tensor &k = kv.keys, &v = kv.values;
  const auto fail = [&](std::string_view what) {
    return ctx.Fail(InvalidArgument(
        StrCat("attention: ", what, " (q ", q.shape().ToString(), ", k ", k.shape().ToString(),
               ", v ", v.shape().ToString(), ", heads ", spec.heads, "/", spec.kv_heads, ")")));
  };
  const bool cached = IsCached(k), packed = k.dtype() != DType::kF32;
  if (q.rank() != 3 || (k.rank() != 3 && !cached) || k.shape() != v.shape() ||
      k.dtype() != v.dtype() || k.dim(0) != q.dim(0))
    return fail("shapes do not match");
  if (spec.heads <= 0 || spec.kv_heads <= 0 || spec.heads % spec.kv_heads != 0 ||
      q.dim(2) % spec.heads != 0 || (cached && k.dim(1) != spec.kv_heads) ||
      (cached ? k.dim(3) != PackedWidthFor(k.dtype(), q.dim(2) / spec.heads)
              : k.dim(2) * spec.heads != q.dim(2) * spec.kv_heads)) {
    return fail("the heads do not divide the width");
  }
  if (packed) {
    const bool bytes = k.dtype() == DType::kI8;
    const Shape scales({k.dim(0), k.dim(1), cached ? k.dim(2) : 0});
    if (!cached || (!bytes && k.dtype() != DType::kF16) ||
        (bytes && (k.dim(2) % kPackedRows != 0 || kv.key_scales.shape() != scales ||
                   kv.value_scales.shape() != scales)))
      return fail("keys and values are kept in no known way");
    if (Taped(ctx, q) || (spec.dropout > 0 && ctx.dropout() > 0))
      return fail("packed keys have no gradients");
  }
  const int64_t batch = q.dim(0), queries = q.dim(1), rows = k.dim(cached ? 2 : 1),
                keys = kv.filled > 0 ? kv.filled : rows;
  if (rows < keys) return fail("the cache is shorter than its keys");
  if (spec.causal && queries > keys) return fail("a causal query has no key of its own");
  if (spec.key_mask &&
      (spec.key_mask.dtype() != DType::kU8 || spec.key_mask.shape() != Shape({batch, keys}))) {
    return fail(StrCat("the key mask is ", spec.key_mask.shape().ToString()));
  }
  const Tensor& bias = spec.bias;
  const bool own_bias =
      bias && batch > 1 && bias.shape() == Shape({batch, spec.heads, queries, keys});
  if (bias && !own_bias && bias.shape() != Shape({1, spec.heads, queries, keys}) &&
      bias.shape() != Shape({spec.heads, queries, keys})) {
    return fail(StrCat("the bias is ", bias.shape().ToString()));
  }

  Tensor y = ctx.New(q.shape());
  if (!y) return y;
  const bool taped = Taped(ctx, q, k, v, bias);
  if (taped && cached) return fail("a cache has no gradients");
  Tensor lse;
  if (taped) lse = ctx.New({batch, spec.heads, queries});
  if (spec.probabilities != nullptr)
    *spec.probabilities = ctx.New({batch, spec.heads, queries, keys});
  if (!ctx.ok()) return {};
  const bool drops = spec.dropout > 0 && ctx.dropout() > 0;
  AttentionArgs args{
      .batch = batch,
      .heads = spec.heads,
      .kv_heads = spec.kv_heads,
      .queries = queries,
      .keys = keys,
      .dim = q.dim(2) / spec.heads,
      .q = ViewOf(q, spec.heads, queries),
      .k = cached ? CachedView(k) : ViewOf(k, spec.kv_heads, rows),
      .v = cached ? CachedView(v) : ViewOf(v, spec.kv_heads, rows),
      .out = ViewOf(y, spec.heads, queries),
      .packed_k = packed ? PackedOf(k, kv.key_scales) : PackedHeads(),
      .packed_v = packed ? PackedOf(v, kv.value_scales) : PackedHeads(),
      .scale = spec.scale,
      .causal = spec.causal,
      .window = spec.window,
      .key_mask = spec.key_mask ? static_cast<const uint8_t*>(spec.key_mask.data()) : nullptr,
      .bias = bias ? bias.f32() : nullptr,
      .bias_batch_stride = own_bias ? spec.heads * queries * keys : 0,
      .dropout = drops ? spec.dropout : 0,
      .dropout_seed = drops ? ctx.NextSeed() : 0,
      .softcap = spec.softcap,
      .lse = taped ? lse.f32() : nullptr,
      .probabilities = spec.probabilities != nullptr ? spec.probabilities->f32() : nullptr};
  Attention(args, ctx.pool());
  if (taped) {
    args.probabilities = nullptr;
    const Tensor out = y, mask = spec.key_mask, added = bias;
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      Tensor sq, sk, sv;
      AttentionBackwardArgs back{.forward = args,
                                 .d_out = ViewOf(dy, args.heads, args.queries),
                                 .dq = GradView(c, q, sq, args.heads),
                                 .dk = GradView(c, k, sk, args.kv_heads),
                                 .dv = GradView(c, v, sv, args.kv_heads)};
      (void)lse, (void)out, (void)mask;  // kept alive: `args` points into them
      if (added) back.d_bias = GradOf(c, added);
      if (c.ok()) AttentionBackward(back, c.pool());
    });
  }
  return y;
}

namespace {

// A scalar whose gradient with respect to x was computed in the forward pass, for d loss = 1.
Tensor ScalarLoss(Context& ctx, double loss, const Tensor& x, const Tensor& dx) {
  Tensor y = ctx.New({});
  if (!y) return y;
  *y.f32() = static_cast<float>(loss);
  if (dx) {
    ctx.tape()->Record(y, [x, dx](Context& c, const Tensor& dy) {
      if (float* out = GradOf(c, x)) Axpy(dx.f32(), *dy.f32(), out, dx.elements(), c.pool());
    });
  }
  return y;
}

}  // namespace

Tensor CrossEntropy(Context& ctx, const Tensor& logits, const Tensor& targets,
                    float label_smoothing) {
  if (!ctx.ok()) return {};
  const int64_t rows = logits.shape().rows(), classes = logits.shape().columns();
  if (targets.elements() != rows || targets.dtype() != DType::kI32)
    return Mismatch(ctx, "cross-entropy", logits, targets);
  int64_t counted = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t t = targets.i32()[r];
    if (t == kIgnoreTarget) continue;
    if (t < 0 || t >= classes)
      return ctx.Fail(
          InvalidArgument(StrCat("cross-entropy: target ", t, " is not in 0..", classes - 1)));
    ++counted;
  }
  Tensor dx;
  if (Taped(ctx, logits)) dx = ctx.New(logits.shape());
  if (!ctx.ok()) return {};
  const float factor = counted > 0 ? 1.0f / static_cast<float>(counted) : 0.0f;
  const double sum =
      CrossEntropy(logits.f32(), targets.i32(), kIgnoreTarget, label_smoothing, factor,
                   dx ? dx.f32() : nullptr, rows, classes, &counted, ctx.pool());
  return ScalarLoss(ctx, counted > 0 ? sum / static_cast<double>(counted) : 0.0, logits, dx);
}

Tensor BinaryCrossEntropy(Context& ctx, const Tensor& logits, const Tensor& targets) {
  if (!ctx.ok()) return {};
  if (logits.shape() != targets.shape() || !IsF32(targets))
    return Mismatch(ctx, "binary cross-entropy", logits, targets);
  Tensor dx;
  if (Taped(ctx, logits)) dx = ctx.New(logits.shape());
  if (!ctx.ok()) return {};
  double sum = 0;
  const int64_t count = logits.elements();
  for (int64_t i = 0; i < count; ++i) {
    const double x = logits.f32()[i], t = targets.f32()[i];
    sum += std::fmax(x, 0.0) - x * t + std::log1p(std::exp(-std::fabs(x)));
    if (dx)
      dx.f32()[i] = static_cast<float>((1 / (1 + std::exp(-x)) - t) / static_cast<double>(count));
  }
  return ScalarLoss(ctx, count > 0 ? sum / static_cast<double>(count) : 0.0, logits, dx);
}

Tensor MeanSquaredError(Context& ctx, const Tensor& predictions, const Tensor& targets) {
  if (!ctx.ok()) return {};
  if (predictions.elements() != targets.elements() || !IsF32(targets))
    return Mismatch(ctx, "mean squared error", predictions, targets);
  Tensor dx;
  if (Taped(ctx, predictions)) dx = ctx.New(predictions.shape());
  if (!ctx.ok()) return {};
  double sum = 0;
  const int64_t count = predictions.elements();
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(predictions.f32()[i]) - targets.f32()[i];
    sum += d * d;
    if (dx) dx.f32()[i] = static_cast<float>(2 * d / static_cast<double>(count));
  }
  return ScalarLoss(ctx, count > 0 ? sum / static_cast<double>(count) : 0.0, predictions, dx);
}

}  // namespace sotto
