#include "core/ops/relative.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/kernels/matmul.h"
#include "core/kernels/relative.h"
#include "core/ops/ops.h"

namespace sotto {
namespace {

// Sizes of one call, and where a head's columns begin.
struct Heads {
  int64_t batch, tokens, heads, dim, entries, width;

  const float* Tokens(const Tensor& x, int64_t b, int64_t h) const {
    return x.f32() + b * tokens * width + h * dim;
  }
  float* Tokens(float* x, int64_t b, int64_t h) const { return x + b * tokens * width + h * dim; }
};

// One head's gradients: d_scores [tokens, entries] into q and pos_key, or its transpose into k and
// pos_query. `turned`: d_scores is [entries, tokens].
void ScoresBackward(const Heads& s, const float* d_scores, bool turned, const float* x,
                    const float* table, float* dx, float* d_table, ThreadPool* pool) {
  const int64_t lda = turned ? s.tokens : s.entries;
  if (dx != nullptr) {
    Gemm({.trans_a = turned,
          .m = s.tokens,
          .n = s.dim,
          .k = s.entries,
          .a = d_scores,
          .lda = lda,
          .b = table,
          .ldb = s.width,
          .c = dx,
          .ldc = s.width,
          .beta = 1},
         pool);
  }
  if (d_table != nullptr) {
    Gemm({.trans_a = !turned,
          .m = s.entries,
          .n = s.dim,
          .k = s.tokens,
          .a = d_scores,
          .lda = lda,
          .b = x,
          .ldb = s.width,
          .c = d_table,
          .ldc = s.width,
          .beta = 1},
         pool);
  }
}

}  // namespace

Tensor DisentangledBias(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& pos_key,
                        const Tensor& pos_query, const Tensor& entry, int64_t heads, float scale) {
  if (!ctx.ok()) return {};
  const Tensor& table = pos_key ? pos_key : pos_query;
  if (q.rank() != 3 || q.shape() != k.shape() || heads <= 0 || q.dim(2) % heads != 0 || !table ||
      table.rank() != 2 || table.dim(1) != q.dim(2) ||
      (pos_key && pos_query && pos_key.shape() != pos_query.shape()) ||
      entry.dtype() != DType::kI32 || entry.shape() != Shape({2 * q.dim(1) - 1})) {
    return ctx.Fail(InvalidArgument(StrCat(
        "disentangled bias: shapes do not match (q ", q.shape().ToString(), ", k ",
        k.shape().ToString(), ", table ", table.shape().ToString(), ", heads ", heads, ")")));
  }
  const Heads s{q.dim(0), q.dim(1), heads, q.dim(2) / heads, table.dim(0), q.dim(2)};
  if (s.entries * s.tokens > std::numeric_limits<int32_t>::max())
    return ctx.Fail(InvalidArgument("disentangled bias: the sequence is too long"));
  for (int64_t i = 0; i < entry.elements(); ++i) {
    if (entry.i32()[i] < 0 || entry.i32()[i] >= s.entries)
      return ctx.Fail(InvalidArgument("disentangled bias: an entry is outside of the table"));
  }
  Tensor y = ctx.New({s.batch, heads, s.tokens, s.tokens});
  const Tensor by_query = pos_key ? ctx.New({s.tokens, s.entries}) : Tensor();
  const Tensor by_key = pos_query ? ctx.New({s.entries, s.tokens}) : Tensor();
  if (!ctx.ok()) return {};
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      if (by_query) {
        Gemm({.trans_b = true,
              .m = s.tokens,
              .n = s.entries,
              .k = s.dim,
              .a = s.Tokens(q, b, h),
              .lda = s.width,
              .b = pos_key.f32() + h * s.dim,
              .ldb = s.width,
              .c = const_cast<float*>(by_query.f32()),
              .ldc = s.entries},
             ctx.pool());
      }
      if (by_key) {
        Gemm({.trans_b = true,
              .m = s.entries,
              .n = s.tokens,
              .k = s.dim,
              .a = pos_query.f32() + h * s.dim,
              .lda = s.width,
              .b = s.Tokens(k, b, h),
              .ldb = s.width,
              .c = const_cast<float*>(by_key.f32()),
              .ldc = s.tokens},
             ctx.pool());
      }
      GatherRelative(by_query ? by_query.f32() : nullptr, by_key ? by_key.f32() : nullptr,
                     entry.i32(), scale, y.f32() + (b * heads + h) * s.tokens * s.tokens, s.tokens,
                     s.entries, ctx.pool());
    }
  }
  if (!Taped(ctx, q, k, pos_key, pos_query)) return y;
  ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
    Tensor d_by_query = pos_key ? c.New({s.tokens, s.entries}) : Tensor();
    Tensor d_by_key = pos_query ? c.New({s.entries, s.tokens}) : Tensor();
    float* dq = pos_key ? GradOf(c, q) : nullptr;
    float* dk = pos_query ? GradOf(c, k) : nullptr;
    float* d_pos_key = pos_key ? GradOf(c, pos_key) : nullptr;
    float* d_pos_query = pos_query ? GradOf(c, pos_query) : nullptr;
    if (!c.ok()) return;
    for (int64_t b = 0; b < s.batch; ++b) {
      for (int64_t h = 0; h < s.heads; ++h) {
        const auto shifted = [&](float* x) { return x != nullptr ? x + h * s.dim : nullptr; };
        const auto tokens_of = [&](float* x) { return x != nullptr ? s.Tokens(x, b, h) : nullptr; };
        for (Tensor* d : {&d_by_query, &d_by_key}) {
          if (*d) std::memset(d->data(), 0, d->bytes());
        }
        ScatterRelative(dy.f32() + (b * s.heads + h) * s.tokens * s.tokens, entry.i32(), scale,
                        d_by_query ? d_by_query.f32() : nullptr,
                        d_by_key ? d_by_key.f32() : nullptr, s.tokens, s.entries, c.pool());
        if (pos_key) {
          ScoresBackward(s, d_by_query.f32(), false, s.Tokens(q, b, h), pos_key.f32() + h * s.dim,
                         tokens_of(dq), shifted(d_pos_key), c.pool());
        }
        if (pos_query) {
          ScoresBackward(s, d_by_key.f32(), true, s.Tokens(k, b, h), pos_query.f32() + h * s.dim,
                         tokens_of(dk), shifted(d_pos_query), c.pool());
        }
      }
    }
  });
  return y;
}

int32_t RelativeBucket(int64_t key_minus_query, bool both_sides, int64_t buckets,
                       int64_t farthest) {
  int64_t first = 0, distance = std::max<int64_t>(-key_minus_query, 0);
  if (both_sides) {
    buckets /= 2;
    if (key_minus_query > 0) first = buckets;
    distance = std::abs(key_minus_query);
  }
  const int64_t exact = buckets / 2;
  if (distance < exact) return static_cast<int32_t>(first + distance);
  // In f32, as Hugging Face computes it.
  const float range =
      static_cast<float>(std::log(static_cast<double>(farthest) / static_cast<double>(exact)));
  const float part = std::log(static_cast<float>(distance) / static_cast<float>(exact)) / range;
  const auto steps = static_cast<int64_t>(part * static_cast<float>(buckets - exact));
  return static_cast<int32_t>(first + std::min(exact + steps, buckets - 1));
}

Tensor RelativeBias(Context& ctx, const Tensor& table, const Tensor& entry) {
  if (!ctx.ok()) return {};
  if (table.rank() != 2 || entry.rank() != 2 || entry.dtype() != DType::kI32)
    return ctx.Fail(InvalidArgument("relative bias: shapes do not match"));
  const int64_t entries = table.dim(0), heads = table.dim(1), pairs = entry.elements();
  for (int64_t p = 0; p < pairs; ++p) {
    if (entry.i32()[p] < 0 || entry.i32()[p] >= entries)
      return ctx.Fail(InvalidArgument("relative bias: an entry is outside of the table"));
  }
  // The whole table in f32, and with a gradient.
  Tensor all = ctx.New({entries}, DType::kI32);
  if (!all) return all;
  std::iota(all.i32(), all.i32() + entries, 0);
  const Tensor rows = Embedding(ctx, all, table);  // [entries, heads]
  Tensor y = ctx.New({heads, entry.dim(0), entry.dim(1)});
  if (!ctx.ok()) return {};
  for (int64_t h = 0; h < heads; ++h) {
    float* out = y.f32() + h * pairs;
    for (int64_t p = 0; p < pairs; ++p) out[p] = rows.f32()[entry.i32()[p] * heads + h];
  }
  if (Taped(ctx, rows)) {
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      float* d = GradOf(c, rows);
      for (int64_t h = 0; d != nullptr && h < heads; ++h) {
        const float* from = dy.f32() + h * pairs;
        for (int64_t p = 0; p < pairs; ++p) d[entry.i32()[p] * heads + h] += from[p];
      }
    });
  }
  return y;
}

}  // namespace sotto
