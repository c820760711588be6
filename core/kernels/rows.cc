#include "core/kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/base/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/rows.cc"
#include "core/kernels/targets.h"

#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "core/kernels/math-inl.h"

// What the targets share.
#ifndef SOTTO_CORE_KERNELS_ROWS_ONCE_
#define SOTTO_CORE_KERNELS_ROWS_ONCE_
namespace sotto {
namespace {

constexpr int64_t kGrain = 8192;      // elements a thread takes at least
constexpr int64_t kColumnBlock = 64;  // columns that one task of a reduction over rows takes
constexpr int64_t kRowBlock = 128;    // rows summed before their sum joins the total
constexpr int64_t kMaxPartials = 256;

// Rows a thread takes at least.
int64_t RowGrain(int64_t columns) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns));
}

// CrossEntropy's part of the sum for one fixed chunk of rows.
struct LossPart {
  double loss = 0;
  int64_t counted = 0;
};

}  // namespace
}  // namespace sotto
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Calls f(i, lanes) over [0, count): whole vectors first, then the rest with fewer lanes than a
// vector has.
template <class F>
HWY_INLINE void ForVectors(int64_t count, const F& f) {
  const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
  int64_t i = 0;
  for (; i + n <= count; i += n) f(i, static_cast<size_t>(n));
  if (i < count) f(i, static_cast<size_t>(count - i));
}

HWY_INLINE V Load(const float* p, size_t lanes) {
  const D d;
  return HWY_LIKELY(lanes == hn::Lanes(d)) ? hn::LoadU(d, p) : hn::LoadN(d, p, lanes);
}

HWY_INLINE void Store(V v, float* p, size_t lanes) {
  const D d;
  if (HWY_LIKELY(lanes == hn::Lanes(d))) {
    hn::StoreU(v, d, p);
  } else {
    hn::StoreN(v, d, p, lanes);
  }
}

// sum_i f(i, lanes), whose lanes past `lanes` must be 0, in four accumulators that hide the latency
// of an addition and lose less to rounding than one would.
template <class F>
HWY_INLINE float Sum(int64_t count, const F& f) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const int64_t n = static_cast<int64_t>(lanes);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * n <= count; i += 4 * n) {
    s0 = hn::Add(s0, f(i, lanes));
    s1 = hn::Add(s1, f(i + n, lanes));
    s2 = hn::Add(s2, f(i + 2 * n, lanes));
    s3 = hn::Add(s3, f(i + 3 * n, lanes));
  }
  for (; i + n <= count; i += n) s0 = hn::Add(s0, f(i, lanes));
  if (i < count) s1 = hn::Add(s1, f(i, static_cast<size_t>(count - i)));
  return hn::ReduceSum(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

HWY_INLINE float RowMax(const float* x, int64_t count) {
  const D d;
  const V low = hn::Set(d, -std::numeric_limits<float>::infinity());
  const size_t lanes = hn::Lanes(d);
  const int64_t n = static_cast<int64_t>(lanes);
  V m0 = low, m1 = low;
  int64_t i = 0;
  for (; i + 2 * n <= count; i += 2 * n) {
    m0 = hn::Max(m0, hn::LoadU(d, x + i));
    m1 = hn::Max(m1, hn::LoadU(d, x + i + n));
  }
  for (; i < count; i += n) {
    const size_t rest = static_cast<size_t>(std::min(n, count - i));
    m0 = hn::Max(m0, rest == lanes ? hn::LoadU(d, x + i) : hn::LoadNOr(low, d, x + i, rest));
  }
  return hn::ReduceMax(d, hn::Max(m0, m1));
}

// y = exp(x - max); returns the sum.
HWY_INLINE float ExpRow(const float* x, float max, float* y, int64_t count) {
  const D d;
  const V m = hn::Set(d, max);
  return Sum(count, [&](int64_t i, size_t lanes) HWY_ATTR {
    V e = ExpOfNegative(d, hn::Sub(Load(x + i, lanes), m));
    if (HWY_UNLIKELY(lanes != hn::Lanes(d))) e = hn::IfThenElseZero(hn::FirstN(d, lanes), e);
    Store(e, y + i, lanes);
    return e;
  });
}

// The same sum without keeping the exponentials.
HWY_INLINE float SumExpRow(const float* x, float max, int64_t count) {
  const D d;
  const V m = hn::Set(d, max);
  return Sum(count, [&](int64_t i, size_t lanes) HWY_ATTR {
    const V e = ExpOfNegative(d, hn::Sub(Load(x + i, lanes), m));
    return HWY_UNLIKELY(lanes != hn::Lanes(d)) ? hn::IfThenElseZero(hn::FirstN(d, lanes), e) : e;
  });
}

void SoftmaxRow(const float* x, float* y, int64_t columns) {
  const D d;
  const float max = RowMax(x, columns);
  if (max == -std::numeric_limits<float>::infinity()) {
    for (int64_t c = 0; c < columns; ++c)
      y[c] = x[c] == max ? 0.0f : x[c];  // all -inf, but for NaN
    return;
  }
  const V inverse = hn::Set(d, 1.0f / ExpRow(x, max, y, columns));
  ForVectors(columns, [&](int64_t i, size_t lanes)
                          HWY_ATTR { Store(hn::Mul(Load(y + i, lanes), inverse), y + i, lanes); });
}

void Softmax(const float* x, float* y, int64_t rows, int64_t columns, ThreadPool* pool) {
  ParallelFor(pool, rows, RowGrain(columns), [=](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) SoftmaxRow(x + r * columns, y + r * columns, columns);
  });
}

void SoftmaxBackward(const float* y, const float* dy, float* dx, int64_t rows, int64_t columns,
                     ThreadPool* pool) {
  ParallelFor(pool, rows, RowGrain(columns), [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    for (int64_t r = begin; r < end; ++r) {
      const float* yr = y + r * columns;
      const float* gr = dy + r * columns;
      float* out = dx + r * columns;
      const V dot = hn::Set(d, Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
                              return hn::Mul(Load(yr + i, lanes), Load(gr + i, lanes));
                            }));
      ForVectors(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
        const V g = hn::Sub(Load(gr + i, lanes), dot);
        Store(hn::MulAdd(Load(yr + i, lanes), g, Load(out + i, lanes)), out + i, lanes);
      });
    }
  });
}

HWY_INLINE float Mean(const float* x, int64_t columns) {
  const float sum =
      Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR { return Load(x + i, lanes); });
  return sum / static_cast<float>(columns);
}

void LayerNorm(const float* x, const float* weight, const float* bias, float epsilon, float* y,
               float* mean, float* rstd, int64_t rows, int64_t columns, ThreadPool* pool) {
  ParallelFor(pool, rows, RowGrain(columns), [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    for (int64_t r = begin; r < end; ++r) {
      const float* xr = x + r * columns;
      float* yr = y + r * columns;
      const float mu = Mean(xr, columns);
      const V m = hn::Set(d, mu);
      const float squares = Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
        V c = hn::Sub(Load(xr + i, lanes), m);
        if (HWY_UNLIKELY(lanes != hn::Lanes(d))) c = hn::IfThenElseZero(hn::FirstN(d, lanes), c);
        return hn::Mul(c, c);
      });
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(columns) + epsilon);
      const V s = hn::Set(d, scale);
      ForVectors(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
        const V normal = hn::Mul(hn::Sub(Load(xr + i, lanes), m), s);
        const V w = Load(weight + i, lanes);
        Store(bias != nullptr ? hn::MulAdd(normal, w, Load(bias + i, lanes)) : hn::Mul(normal, w),
              yr + i, lanes);
      });
      if (mean != nullptr) mean[r] = mu;
      if (rstd != nullptr) rstd[r] = scale;
    }
  });
}

void RmsNorm(const float* x, const float* weight, float epsilon, float* y, float* rstd,
             int64_t rows, int64_t columns, ThreadPool* pool, float offset) {
  ParallelFor(pool, rows, RowGrain(columns), [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    for (int64_t r = begin; r < end; ++r) {
      const float* xr = x + r * columns;
      float* yr = y + r * columns;
      const float squares = Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
        const V v = Load(xr + i, lanes);
        return hn::Mul(v, v);
      });
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(columns) + epsilon);
      const V s = hn::Set(d, scale), o = hn::Set(d, offset);
      ForVectors(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
        const V w = hn::Add(Load(weight + i, lanes), o);
        Store(hn::Mul(hn::Mul(Load(xr + i, lanes), s), w), yr + i, lanes);
      });
      if (rstd != nullptr) rstd[r] = scale;
    }
  });
}

// Both norms' gradient by row. With n = (x - mean) rstd and g = dy (w + offset):
//   dx += rstd (g - [mean(g)] - n mean(g n)), where the bracket and the mean of x are the layer
//   norm's.
void NormInputGradient(const float* x, const float* weight, float offset, const float* mean,
                       const float* rstd, const float* dy, float* dx, int64_t rows, int64_t columns,
                       ThreadPool* pool) {
  ParallelFor(pool, rows, RowGrain(columns), [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    const V o = hn::Set(d, offset);
    const float inverse = 1.0f / static_cast<float>(columns);
    for (int64_t r = begin; r < end; ++r) {
      const float* xr = x + r * columns;
      const float* gr = dy + r * columns;
      float* out = dx + r * columns;
      const auto gradient = [&](int64_t i, size_t lanes) HWY_ATTR {
        return hn::Mul(Load(gr + i, lanes), hn::Add(Load(weight + i, lanes), o));
      };
      const V m = hn::Set(d, mean != nullptr ? mean[r] : 0.0f), s = hn::Set(d, rstd[r]);
      const V dot = hn::Set(d, inverse * Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
                                 const V g = gradient(i, lanes);
                                 return hn::Mul(g, hn::Mul(hn::Sub(Load(xr + i, lanes), m), s));
                               }));
      const V flat = mean == nullptr
                         ? hn::Zero(d)
                         : hn::Set(d, inverse * Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
                                        return gradient(i, lanes);
                                      }));
      ForVectors(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
        const V g = gradient(i, lanes);
        const V normal = hn::Mul(hn::Sub(Load(xr + i, lanes), m), s);
        const V rest = hn::NegMulAdd(normal, dot, hn::Sub(g, flat));
        Store(hn::MulAdd(s, rest, Load(out + i, lanes)), out + i, lanes);
      });
    }
  });
}

// dweight += sum_r dy n and dbias += sum_r dy over `kVectors` vectors of columns, in blocks of
// rows.
template <int kVectors>
HWY_INLINE void NormColumns(const float* x, const float* mean, const float* rstd, const float* dy,
                            float* dweight, float* dbias, int64_t rows, int64_t columns,
                            size_t lanes) {
  const D d;
  const size_t n = hn::Lanes(d);
  V w_total[kVectors], b_total[kVectors];
  for (int j = 0; j < kVectors; ++j) w_total[j] = b_total[j] = hn::Zero(d);
  for (int64_t begin = 0; begin < rows; begin += kRowBlock) {
    const int64_t end = std::min(rows, begin + kRowBlock);
    V w[kVectors], b[kVectors];
    for (int j = 0; j < kVectors; ++j) w[j] = b[j] = hn::Zero(d);
    for (int64_t r = begin; r < end; ++r) {
      const V m = hn::Set(d, mean != nullptr ? mean[r] : 0.0f), s = hn::Set(d, rstd[r]);
      for (int j = 0; j < kVectors; ++j) {
        const V g = Load(dy + r * columns + j * n, lanes);
        const V normal = hn::Mul(hn::Sub(Load(x + r * columns + j * n, lanes), m), s);
        w[j] = hn::MulAdd(g, normal, w[j]);
        b[j] = hn::Add(b[j], g);
      }
    }
    for (int j = 0; j < kVectors; ++j) {
      w_total[j] = hn::Add(w_total[j], w[j]);
      b_total[j] = hn::Add(b_total[j], b[j]);
    }
  }
  for (int j = 0; j < kVectors; ++j) {
    if (dweight != nullptr)
      Store(hn::Add(Load(dweight + j * n, lanes), w_total[j]), dweight + j * n, lanes);
    if (dbias != nullptr)
      Store(hn::Add(Load(dbias + j * n, lanes), b_total[j]), dbias + j * n, lanes);
  }
}

// Threads split the columns, so that each sum is made by one of them in the order of the rows.
void NormParameterGradients(const float* x, const float* mean, const float* rstd, const float* dy,
                            float* dweight, float* dbias, int64_t rows, int64_t columns,
                            ThreadPool* pool) {
  if (rows <= 0) return;
  const int64_t blocks = (columns + kColumnBlock - 1) / kColumnBlock;
  const int64_t grain = std::max<int64_t>(1, kGrain / (rows * kColumnBlock));
  ParallelFor(pool, blocks, grain, [=](int64_t first, int64_t last) HWY_ATTR {
    const size_t lanes = hn::Lanes(D());
    const int64_t n = static_cast<int64_t>(lanes);
    const int64_t end = std::min(columns, last * kColumnBlock);
    const auto at = [](float* p, int64_t c) { return p == nullptr ? nullptr : p + c; };
    int64_t c = first * kColumnBlock;
    for (; c + 4 * n <= end; c += 4 * n) {
      NormColumns<4>(x + c, mean, rstd, dy + c, at(dweight, c), at(dbias, c), rows, columns, lanes);
    }
    for (; c < end; c += n) {
      const size_t rest = static_cast<size_t>(std::min(n, end - c));
      NormColumns<1>(x + c, mean, rstd, dy + c, at(dweight, c), at(dbias, c), rows, columns, rest);
    }
  });
}

void LayerNormBackward(const float* x, const float* weight, const float* mean, const float* rstd,
                       const float* dy, float* dx, float* dweight, float* dbias, int64_t rows,
                       int64_t columns, ThreadPool* pool) {
  if (dx != nullptr) NormInputGradient(x, weight, 0, mean, rstd, dy, dx, rows, columns, pool);
  if (dweight != nullptr || dbias != nullptr) {
    NormParameterGradients(x, mean, rstd, dy, dweight, dbias, rows, columns, pool);
  }
}

void RmsNormBackward(const float* x, const float* weight, const float* rstd, const float* dy,
                     float* dx, float* dweight, int64_t rows, int64_t columns, ThreadPool* pool,
                     float offset) {
  if (dx != nullptr)
    NormInputGradient(x, weight, offset, nullptr, rstd, dy, dx, rows, columns, pool);
  if (dweight != nullptr)
    NormParameterGradients(x, nullptr, rstd, dy, dweight, nullptr, rows, columns, pool);
}

// The loss of one row; dx, when not null, becomes factor (softmax(x) - s / columns - (1 - s) [c =
// target]).
double CrossEntropyRow(const float* x, int32_t target, float smoothing, float factor, float* dx,
                       int64_t columns) {
  const D d;
  const float max = RowMax(x, columns);
  const float picked = x[target];
  double mean = 0;
  if (smoothing > 0) {
    // Relative to the maximum, so that a common offset of the logits costs no digits.
    const V m = hn::Set(d, max);
    mean = static_cast<double>(max) + Sum(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
                                        const V v = hn::Sub(Load(x + i, lanes), m);
                                        return HWY_UNLIKELY(lanes != hn::Lanes(d))
                                                   ? hn::IfThenElseZero(hn::FirstN(d, lanes), v)
                                                   : v;
                                      }) / static_cast<double>(columns);
  }
  const float sum = dx != nullptr ? ExpRow(x, max, dx, columns) : SumExpRow(x, max, columns);
  const double lse = static_cast<double>(max) + std::log(static_cast<double>(sum));
  if (dx != nullptr) {
    const V scale = hn::Set(d, factor / sum);
    const V floor = hn::Set(d, factor * smoothing / static_cast<float>(columns));
    ForVectors(columns, [&](int64_t i, size_t lanes) HWY_ATTR {
      Store(hn::MulSub(Load(dx + i, lanes), scale, floor), dx + i, lanes);
    });
    dx[target] -= factor * (1.0f - smoothing);
  }
  double loss = 0;
  if (smoothing < 1) loss += (1.0 - smoothing) * (lse - picked);
  if (smoothing > 0) loss += smoothing * (lse - mean);
  return loss;
}

double CrossEntropy(const float* x, const int32_t* targets, int32_t ignore, float smoothing,
                    float factor, float* dx, int64_t rows, int64_t columns, int64_t* counted,
                    ThreadPool* pool) {
  // Fixed chunks of rows, whose sums are added in order.
  LossPart parts[kMaxPartials];
  LossPart* const part = parts;
  const int64_t chunk = std::max<int64_t>(1, (rows + kMaxPartials - 1) / kMaxPartials);
  const int64_t chunks = (rows + chunk - 1) / chunk;
  const int64_t grain = std::max<int64_t>(1, RowGrain(columns) / chunk);
  ParallelFor(pool, chunks, grain, [=](int64_t first, int64_t last) HWY_ATTR {
    for (int64_t r = first * chunk; r < std::min(rows, last * chunk); ++r) {
      float* out = dx == nullptr ? nullptr : dx + r * columns;
      if (targets[r] == ignore) {
        if (out != nullptr) std::memset(out, 0, static_cast<size_t>(columns) * sizeof(float));
        continue;
      }
      LossPart& p = part[r / chunk];
      p.loss += CrossEntropyRow(x + r * columns, targets[r], smoothing, factor, out, columns);
      p.counted += 1;
    }
  });
  double loss = 0;
  int64_t total = 0;
  for (int64_t c = 0; c < chunks; ++c) loss += parts[c].loss, total += parts[c].counted;
  if (counted != nullptr) *counted = total;
  return loss;
}

// Threads split the columns: rows that share an id add in order.
void ScatterAdd(const int32_t* ids, const float* dy, float* dtable, int64_t rows, int64_t columns,
                ThreadPool* pool) {
  if (rows <= 0) return;
  const int64_t blocks = (columns + kColumnBlock - 1) / kColumnBlock;
  const int64_t grain = std::max<int64_t>(1, kGrain / (rows * kColumnBlock));
  ParallelFor(pool, blocks, grain, [=](int64_t first, int64_t last) HWY_ATTR {
    const int64_t begin = first * kColumnBlock, end = std::min(columns, last * kColumnBlock);
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = dy + r * columns + begin;
      float* to = dtable + static_cast<int64_t>(ids[r]) * columns + begin;
      ForVectors(end - begin, [&](int64_t i, size_t lanes) HWY_ATTR {
        Store(hn::Add(Load(to + i, lanes), Load(from + i, lanes)), to + i, lanes);
      });
    }
  });
}

void Rotary(const float* x, const float* cos, const float* sin, bool inverse, float* y,
            int64_t tokens, int64_t heads, int64_t dim, int64_t rotary, ThreadPool* pool) {
  ParallelFor(pool, tokens, RowGrain(heads * dim), [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    const V sign = hn::Set(d, inverse ? -1.0f : 1.0f);
    const int64_t half = rotary / 2;
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const float* from = x + (t * heads + h) * dim;
        float* to = y + (t * heads + h) * dim;
        ForVectors(half, [&](int64_t i, size_t lanes) HWY_ATTR {
          const V a = Load(from + i, lanes), b = Load(from + half + i, lanes);
          const V c = Load(cos + t * half + i, lanes),
                  s = hn::Mul(Load(sin + t * half + i, lanes), sign);
          Store(hn::NegMulAdd(b, s, hn::Mul(a, c)), to + i, lanes);
          Store(hn::MulAdd(a, s, hn::Mul(b, c)), to + half + i, lanes);
        });
        if (to != from && 2 * half < dim) {
          std::memcpy(to + 2 * half, from + 2 * half,
                      static_cast<size_t>(dim - 2 * half) * sizeof(float));
        }
      }
    }
  });
}

void AdamW(const AdamWArgs& args, const float* grad, float* m, float* v, float* w, int64_t count,
           ThreadPool* pool) {
  const AdamWArgs a = args;
  ParallelFor(pool, count, kGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    const V beta1 = hn::Set(d, a.beta1), beta2 = hn::Set(d, a.beta2), clip = hn::Set(d, a.clip);
    const V rest1 = hn::Set(d, 1.0f - a.beta1), rest2 = hn::Set(d, 1.0f - a.beta2);
    const V c1 = hn::Set(d, 1.0f / a.c1), c2 = hn::Set(d, 1.0f / a.c2),
            epsilon = hn::Set(d, a.epsilon);
    const V rate = hn::Set(d, a.lr), shrink = hn::Set(d, a.lr * a.decay);
    ForVectors(end - begin, [&](int64_t j, size_t lanes) HWY_ATTR {
      const int64_t i = begin + j;
      const V g = hn::Mul(clip, Load(grad + i, lanes)), old = Load(w + i, lanes);
      const V mi = hn::MulAdd(beta1, Load(m + i, lanes), hn::Mul(rest1, g));
      const V vi = hn::MulAdd(beta2, Load(v + i, lanes), hn::Mul(rest2, hn::Mul(g, g)));
      const V step = hn::Div(hn::Mul(mi, c1), hn::Add(hn::Sqrt(hn::Mul(vi, c2)), epsilon));
      Store(mi, m + i, lanes);
      Store(vi, v + i, lanes);
      Store(hn::NegMulAdd(rate, step, hn::NegMulAdd(shrink, old, old)), w + i, lanes);
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {

HWY_EXPORT(Softmax);
HWY_EXPORT(SoftmaxBackward);
HWY_EXPORT(LayerNorm);
HWY_EXPORT(LayerNormBackward);
HWY_EXPORT(RmsNorm);
HWY_EXPORT(RmsNormBackward);
HWY_EXPORT(CrossEntropy);
HWY_EXPORT(ScatterAdd);
HWY_EXPORT(Rotary);
HWY_EXPORT(AdamW);

void Softmax(const float* x, float* y, int64_t rows, int64_t columns, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Softmax)(x, y, rows, columns, pool);
}
void SoftmaxBackward(const float* y, const float* dy, float* dx, int64_t rows, int64_t columns,
                     ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(SoftmaxBackward)(y, dy, dx, rows, columns, pool);
}
void LayerNorm(const float* x, const float* weight, const float* bias, float epsilon, float* y,
               float* mean, float* rstd, int64_t rows, int64_t columns, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(LayerNorm)(x, weight, bias, epsilon, y, mean, rstd, rows, columns, pool);
}
void LayerNormBackward(const float* x, const float* weight, const float* mean, const float* rstd,
                       const float* dy, float* dx, float* dweight, float* dbias, int64_t rows,
                       int64_t columns, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(LayerNormBackward)(x, weight, mean, rstd, dy, dx, dweight, dbias, rows,
                                          columns, pool);
}
void RmsNorm(const float* x, const float* weight, float epsilon, float* y, float* rstd,
             int64_t rows, int64_t columns, ThreadPool* pool, float offset) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, epsilon, y, rstd, rows, columns, pool, offset);
}
void RmsNormBackward(const float* x, const float* weight, const float* rstd, const float* dy,
                     float* dx, float* dweight, int64_t rows, int64_t columns, ThreadPool* pool,
                     float offset) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackward)
  (x, weight, rstd, dy, dx, dweight, rows, columns, pool, offset);
}
double CrossEntropy(const float* x, const int32_t* targets, int32_t ignore, float smoothing,
                    float factor, float* dx, int64_t rows, int64_t columns, int64_t* counted,
                    ThreadPool* pool) {
  return HWY_DYNAMIC_DISPATCH(CrossEntropy)(x, targets, ignore, smoothing, factor, dx, rows,
                                            columns, counted, pool);
}
void ScatterAdd(const int32_t* ids, const float* dy, float* dtable, int64_t rows, int64_t columns,
                ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(ScatterAdd)(ids, dy, dtable, rows, columns, pool);
}
void Rotary(const float* x, const float* cos, const float* sin, bool inverse, float* y,
            int64_t tokens, int64_t heads, int64_t dim, int64_t rotary, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Rotary)(x, cos, sin, inverse, y, tokens, heads, dim, rotary, pool);
}
void AdamW(const AdamWArgs& args, const float* grad, float* m, float* v, float* w, int64_t count,
           ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(AdamW)(args, grad, m, v, w, count, pool);
}

void Gather(const float* table, const int32_t* ids, float* y, int64_t rows, int64_t columns,
            ThreadPool* pool) {
  ParallelFor(pool, rows, RowGrain(columns), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(y + r * columns, table + static_cast<int64_t>(ids[r]) * columns,
                  static_cast<size_t>(columns) * sizeof(float));
    }
  });
}

namespace scalar {

void Softmax(const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
    const float max = columns > 0 ? *std::max_element(x, x + columns) : 0;
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) sum += std::exp(static_cast<double>(x[c]) - max);
    for (int64_t c = 0; c < columns; ++c) {
      y[c] = std::isinf(max) && max < 0
                 ? 0
                 : static_cast<float>(std::exp(static_cast<double>(x[c]) - max) / sum);
    }
  }
}

void LayerNorm(const float* x, const float* weight, const float* bias, float epsilon, float* y,
               int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < columns; ++c) mean += x[c] / static_cast<double>(columns);
    for (int64_t c = 0; c < columns; ++c)
      variance += (x[c] - mean) * (x[c] - mean) / static_cast<double>(columns);
    const double rstd = 1 / std::sqrt(variance + epsilon);
    for (int64_t c = 0; c < columns; ++c) {
      y[c] = static_cast<float>((x[c] - mean) * rstd * weight[c] + (bias != nullptr ? bias[c] : 0));
    }
  }
}

void RmsNorm(const float* x, const float* weight, float epsilon, float* y, int64_t rows,
             int64_t columns, float offset) {
  for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
    double square = 0;
    for (int64_t c = 0; c < columns; ++c)
      square += static_cast<double>(x[c]) * x[c] / static_cast<double>(columns);
    const double rstd = 1 / std::sqrt(square + epsilon);
    for (int64_t c = 0; c < columns; ++c)
      y[c] = static_cast<float>(x[c] * rstd * (static_cast<double>(weight[c]) + offset));
  }
}

double CrossEntropy(const float* x, const int32_t* targets, int32_t ignore, float smoothing,
                    float factor, float* dx, int64_t rows, int64_t columns, int64_t* counted) {
  double loss = 0;
  *counted = 0;
  for (int64_t r = 0; r < rows; ++r, x += columns) {
    float* out = dx == nullptr ? nullptr : dx + r * columns;
    if (targets[r] == ignore) {
      if (out != nullptr) std::fill(out, out + columns, 0.0f);
      continue;
    }
    const double max = *std::max_element(x, x + columns), picked = x[targets[r]];
    double sum = 0, mean = 0;
    for (int64_t c = 0; c < columns; ++c) {
      sum += std::exp(x[c] - max);
      mean += x[c] / static_cast<double>(columns);
    }
    const double lse = max + std::log(sum);
    loss += smoothing < 1 ? (1.0 - smoothing) * (lse - picked) : 0;
    loss += smoothing > 0 ? smoothing * (lse - mean) : 0;
    *counted += 1;
    for (int64_t c = 0; out != nullptr && c < columns; ++c) {
      const double hit = c == targets[r] ? 1.0 - smoothing : 0.0;
      out[c] = static_cast<float>(
          factor * (std::exp(x[c] - lse) - smoothing / static_cast<double>(columns) - hit));
    }
  }
  return loss;
}

void Rotary(const float* x, const float* cos, const float* sin, bool inverse, float* y,
            int64_t tokens, int64_t heads, int64_t dim, int64_t rotary) {
  const int64_t half = rotary / 2;
  for (int64_t row = 0; row < tokens * heads; ++row) {
    const float* from = x + row * dim;
    float* to = y + row * dim;
    for (int64_t i = 0; i < half; ++i) {
      const float a = from[i], b = from[i + half], c = cos[row / heads * half + i];
      const float s = sin[row / heads * half + i] * (inverse ? -1.0f : 1.0f);
      to[i] = a * c - b * s;
      to[i + half] = b * c + a * s;
    }
    for (int64_t i = 2 * half; i < dim; ++i) to[i] = from[i];
  }
}

void AdamW(const AdamWArgs& args, const float* grad, float* m, float* v, float* w, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double g = static_cast<double>(args.clip) * grad[i];
    const double mi = args.beta1 * m[i] + (1.0 - args.beta1) * g,
                 vi = args.beta2 * v[i] + (1.0 - args.beta2) * g * g;
    m[i] = static_cast<float>(mi);
    v[i] = static_cast<float>(vi);
    w[i] = static_cast<float>(
        w[i] -
        args.lr * (mi / args.c1 / (std::sqrt(vi / args.c2) + args.epsilon) + args.decay * w[i]));
  }
}

}  // namespace scalar

}  // namespace sotto
#endif  // HWY_ONCE
