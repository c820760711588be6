#include "core/ops/pointer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "core/base/parallel.h"
#include "core/kernels/matmul.h"
#include "core/kernels/rows.h"

namespace sotto {
namespace {

Tensor Mismatch(Context& ctx, std::string_view op, const Tensor& a, const Tensor& b) {
  return ctx.Fail(InvalidArgument(StrCat(op, ": shapes ", a.shape().ToString(), " and ",
                                         b.shape().ToString(), " do not match")));
}

// The queries, or keys, of one head in one sequence: rows of `dim` columns, `stride` apart.
struct HeadRows {
  int64_t offset, stride;
};
HeadRows RowsOf(const Tensor& t, int64_t b, int64_t head, int64_t dim) {
  return {b * t.dim(1) * t.dim(2) + head * dim, t.dim(2)};
}

}  // namespace

Tensor MeanAttention(Context& ctx, const Tensor& q, const Tensor& k, const AttentionSpec& spec) {
  if (!ctx.ok()) return {};
  const int64_t heads = spec.heads, group = spec.kv_heads > 0 ? heads / spec.kv_heads : 0;
  if (q.rank() != 3 || k.rank() != 3 || q.dim(0) != k.dim(0) || heads <= 0 || group <= 0 ||
      q.dim(2) % heads != 0 || k.dim(2) * group != q.dim(2) || group * spec.kv_heads != heads) {
    return Mismatch(ctx, "mean attention", q, k);
  }
  const int64_t batch = q.dim(0), queries = q.dim(1), keys = k.dim(1), dim = q.dim(2) / heads;
  const Tensor mask = spec.key_mask;
  if (mask && (mask.dtype() != DType::kU8 || mask.shape() != Shape({batch, keys})))
    return Mismatch(ctx, "mean attention's mask", k, mask);
  const bool taped = Taped(ctx, q, k);
  const float scale = spec.scale, share = 1 / static_cast<float>(heads);
  // One head at a time where nothing need be kept.
  Tensor probabilities = ctx.New({taped ? batch * heads : 1, queries, keys});
  Tensor y = ctx.NewZeros({batch, queries, keys});
  if (!ctx.ok()) return {};
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      const HeadRows from = RowsOf(q, b, h, dim), to = RowsOf(k, b, h / group, dim);
      float* p = probabilities.f32() + (taped ? b * heads + h : 0) * queries * keys;
      Gemm({.trans_b = true,
            .m = queries,
            .n = keys,
            .k = dim,
            .a = q.f32() + from.offset,
            .lda = from.stride,
            .b = k.f32() + to.offset,
            .ldb = to.stride,
            .c = p,
            .ldc = keys},
           ctx.pool());
      for (int64_t i = 0; i < queries * keys; ++i) {
        const bool hidden =
            mask && static_cast<const uint8_t*>(mask.data())[b * keys + i % keys] == 0;
        p[i] = hidden ? -std::numeric_limits<float>::infinity() : p[i] * scale;
      }
      Softmax(p, p, queries, keys, ctx.pool());
      Axpy(p, share, y.f32() + b * queries * keys, queries * keys, ctx.pool());
    }
  }
  if (!taped) return y;
  ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
    float* dq = GradOf(c, q);
    float* dk = GradOf(c, k);
    Tensor dp = c.New({queries, keys}), ds = c.New({queries, keys});
    if (!c.ok()) return;
    for (int64_t b = 0; b < batch; ++b) {
      const float* row = dy.f32() + b * queries * keys;
      std::transform(row, row + queries * keys, dp.f32(),
                     [&](float d) { return d * share * scale; });
      for (int64_t h = 0; h < heads; ++h) {
        std::fill_n(ds.f32(), queries * keys, 0.0f);
        SoftmaxBackward(probabilities.f32() + (b * heads + h) * queries * keys, dp.f32(), ds.f32(),
                        queries, keys, c.pool());
        const HeadRows from = RowsOf(q, b, h, dim), to = RowsOf(k, b, h / group, dim);
        if (dq != nullptr) {
          Gemm({.m = queries,
                .n = dim,
                .k = keys,
                .a = ds.f32(),
                .lda = keys,
                .b = k.f32() + to.offset,
                .ldb = to.stride,
                .c = dq + from.offset,
                .ldc = from.stride,
                .beta = 1},
               c.pool());
        }
        if (dk != nullptr) {
          Gemm({.trans_a = true,
                .m = keys,
                .n = dim,
                .k = queries,
                .a = ds.f32(),
                .lda = keys,
                .b = q.f32() + from.offset,
                .ldb = from.stride,
                .c = dk + to.offset,
                .ldc = to.stride,
                .beta = 1},
               c.pool());
        }
      }
    }
  });
  return y;
}

Tensor CopyMixture(Context& ctx, const Tensor& logits, const Tensor& gate, const Tensor& attention,
                   const Tensor& source_ids, const Tensor& owners, int64_t columns) {
  if (!ctx.ok()) return {};
  const int64_t rows = logits.shape().rows(), vocab = logits.shape().columns();
  if (gate.elements() != rows || attention.shape().rows() != rows || columns < vocab)
    return Mismatch(ctx, "copy mixture", logits, attention);
  const int64_t source = attention.shape().columns();
  if (source_ids.rank() != 2 || source_ids.dtype() != DType::kI32 || source_ids.dim(1) != source ||
      owners.elements() != rows || owners.dtype() != DType::kI32) {
    return Mismatch(ctx, "copy mixture's source", attention, source_ids);
  }
  const auto in_range = [](const Tensor& ids, int64_t limit) {
    return std::all_of(ids.i32(), ids.i32() + ids.elements(),
                       [&](int32_t id) { return id >= 0 && id < limit; });
  };
  if (!in_range(source_ids, columns) || !in_range(owners, source_ids.dim(0)))
    return ctx.Fail(InvalidArgument("copy mixture: an id of the source is out of range"));
  Tensor generated = ctx.New(logits.shape()), p = ctx.NewZeros(logits.shape().WithLast(columns));
  if (!ctx.ok()) return {};
  Softmax(logits.f32(), generated.f32(), rows, vocab, ctx.pool());
  const auto places = [=](int64_t r) { return source_ids.i32() + owners.i32()[r] * source; };
  Tensor y = ctx.New(p.shape());
  if (!y) return {};
  ParallelFor(ctx.pool(), rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float g = gate.f32()[r];
      float* to = p.f32() + r * columns;
      Axpy(generated.f32() + r * vocab, g, to, vocab, nullptr);
      for (int64_t i = 0; i < source; ++i)
        to[places(r)[i]] += (1 - g) * attention.f32()[r * source + i];
      for (int64_t c = 0; c < columns; ++c)
        y.f32()[r * columns + c] = std::log(to[c] + kNoProbability);
    }
  });
  if (!Taped(ctx, logits, gate, attention)) return y;
  ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
    float* dlogits = GradOf(c, logits);
    float* dgate = GradOf(c, gate);
    float* dattention = GradOf(c, attention);
    Tensor dp = c.New(p.shape()), weighted = c.New(logits.shape());
    if (!c.ok()) return;
    for (int64_t i = 0; i < p.elements(); ++i)
      dp.f32()[i] = dy.f32()[i] / (p.f32()[i] + kNoProbability);
    for (int64_t r = 0; r < rows; ++r) {
      const float g = gate.f32()[r];
      const float* d = dp.f32() + r * columns;
      double to_gate = 0;
      for (int64_t w = 0; w < vocab; ++w) {
        weighted.f32()[r * vocab + w] = g * d[w];
        to_gate += static_cast<double>(d[w]) * generated.f32()[r * vocab + w];
      }
      for (int64_t i = 0; i < source; ++i) {
        const float at = d[places(r)[i]];
        to_gate -= static_cast<double>(at) * attention.f32()[r * source + i];
        if (dattention != nullptr) dattention[r * source + i] += (1 - g) * at;
      }
      if (dgate != nullptr) dgate[r] += static_cast<float>(to_gate);
    }
    if (dlogits != nullptr)
      SoftmaxBackward(generated.f32(), weighted.f32(), dlogits, rows, vocab, c.pool());
  });
  return y;
}

Tensor CoverageLoss(Context& ctx, const Tensor& attention, const Tensor& targets) {
  if (!ctx.ok()) return {};
  if (attention.rank() != 3 || targets.dtype() != DType::kI32 ||
      targets.shape() != Shape({attention.dim(0), attention.dim(1)})) {
    return Mismatch(ctx, "coverage loss", attention, targets);
  }
  const int64_t batch = attention.dim(0), tokens = attention.dim(1), source = attention.dim(2);
  const int64_t counted = std::count_if(targets.i32(), targets.i32() + batch * tokens,
                                        [](int32_t target) { return target != kIgnoreTarget; });
  const float factor = counted > 0 ? 1 / static_cast<float>(counted) : 0;
  Tensor loss = ctx.New({}), coverage = ctx.NewZeros({source}), d = ctx.NewZeros(attention.shape());
  if (!ctx.ok()) return {};
  double sum = 0;
  for (int64_t b = 0; b < batch; ++b) {
    float* c = coverage.f32();
    std::fill_n(c, source, 0.0f);
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t at = (b * tokens + t) * source;
      const bool counts = targets.i32()[b * tokens + t] != kIgnoreTarget;
      for (int64_t i = 0; i < source; ++i) {
        const float a = attention.f32()[at + i];
        // Where the coverage is less, its gradient is that of all attention before: -1 marks it.
        if (counts) {
          sum += static_cast<double>(std::min(a, c[i]));
          d.f32()[at + i] = a < c[i] ? 1.0f : -1.0f;
        }
        c[i] += a;
      }
    }
    // From the last token on: c gathers how often a place counts as covered later.
    std::fill_n(c, source, 0.0f);
    for (int64_t t = tokens; t-- > 0;) {
      float* row = d.f32() + (b * tokens + t) * source;
      for (int64_t i = 0; i < source; ++i) {
        const float later = c[i];
        if (row[i] < 0) c[i] += 1;
        row[i] = factor * (std::max(row[i], 0.0f) + later);
      }
    }
  }
  *loss.f32() = static_cast<float>(sum) * factor;
  if (Taped(ctx, attention)) {
    ctx.tape()->Record(loss, [=](Context& c, const Tensor& dy) {
      if (float* out = GradOf(c, attention)) Axpy(d.f32(), *dy.f32(), out, d.elements(), c.pool());
    });
  }
  return loss;
}

}  // namespace sotto
