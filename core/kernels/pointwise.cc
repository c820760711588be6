#include "core/kernels/pointwise.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/base/parallel.h"
#include "core/base/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/pointwise.cc"
#include "core/kernels/targets.h"

#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "core/kernels/dropout-inl.h"
#include "core/kernels/math-inl.h"
#include "core/kernels/relaxed_simd.h"

// What the targets share, and what the scalar twins at the end use too.
#ifndef SOTTO_CORE_KERNELS_POINTWISE_ONCE_
#define SOTTO_CORE_KERNELS_POINTWISE_ONCE_
namespace sotto {
namespace {

constexpr int64_t kGrain = 16384;         // elements a thread takes at least: some microseconds
constexpr int64_t kFunctionGrain = 4096;  // the same where an element costs an exponential
constexpr int64_t kColumnBlock = 64;      // columns that one task of SumRows takes
constexpr int64_t kRowBlock = 128;        // rows summed before their sum joins the total
constexpr int64_t kMaxPartials = 256;

}  // namespace

// x (1/2 + x P(x^2) / Q(x^2)), P and Q of degree 5 with coefficients that lie in the table one
// after the other: what GELU and its approximation by tanh are, up to 2e-8 |x|, for |x| <= limit.
// Below it is 0, above the fraction stays. Variables, for the reason that constant.h gives.
struct GeluFit {
  float limit, p[6], q[5];  // Q begins with 1
};
inline GeluFit kGeluFit = {
    5.6f,
    {0.398942221776f, 0.0343749777262f, 0.0047071775607f, 0.00017383693003f, 6.35623042293e-6f,
     2.21450110756e-8f},
    {0.252831006927f, 0.0289394072073f, 0.00191290348885f, 7.5096335198e-5f, 1.18018014045e-6f}};
inline GeluFit kGeluTanhFit = {
    5.2f,
    {0.398942322832f, 0.0302975669186f, 0.00363107171495f, 0.000132880098605f, 7.06952913345e-6f,
     2.42761861034e-8f},
    {0.243437114693f, 0.0243022264791f, 0.00129591111655f, 7.56656918807e-5f, 1.32364937799e-6f}};

}  // namespace sotto
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// y[i] = f(i, x[i]...) by vectors; the rest comes through partial loads, which pad with zeros.
template <class F>
HWY_INLINE void Map1(const float* x, float* y, int64_t begin, int64_t end, const F& f) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = begin;
  for (; i + n <= end; i += n) hn::StoreU(f(hn::LoadU(d, x + i)), d, y + i);
  if (i < end) {
    const size_t rest = static_cast<size_t>(end - i);
    hn::StoreN(f(hn::LoadN(d, x + i, rest)), d, y + i, rest);
  }
}

template <class F>
HWY_INLINE void Map2(const float* a, const float* b, float* y, int64_t begin, int64_t end,
                     const F& f) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = begin;
  for (; i + n <= end; i += n) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  if (i < end) {
    const size_t rest = static_cast<size_t>(end - i);
    hn::StoreN(f(hn::LoadN(d, a + i, rest), hn::LoadN(d, b + i, rest)), d, y + i, rest);
  }
}

template <class F>
HWY_INLINE void Map3(const float* a, const float* b, float* y, int64_t begin, int64_t end,
                     const F& f) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = begin;
  for (; i + n <= end; i += n) {
    hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i), hn::LoadU(d, y + i)), d, y + i);
  }
  if (i < end) {
    const size_t rest = static_cast<size_t>(end - i);
    const V v = f(hn::LoadN(d, a + i, rest), hn::LoadN(d, b + i, rest), hn::LoadN(d, y + i, rest));
    hn::StoreN(v, d, y + i, rest);
  }
}

// gelu_tanh(x) = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3), since (1 + tanh u) / 2 is a
// sigmoid.
HWY_INLINE V TwoU(D d, V x) {
  const V cubic = hn::MulAdd(hn::Mul(x, x), Constant<0.044715f>(d), Constant<1.0f>(d));
  return hn::Mul(hn::Mul(x, Constant<1.595769122f>(d)), cubic);
}

HWY_INLINE V FittedGelu(D d, V x, const GeluFit& fit) {
  const V limit = hn::Set(d, fit.limit), low = hn::Neg(limit);
  const V c = hn::Min(hn::Max(x, low), limit), t = hn::Mul(c, c);
  V p = hn::Set(d, fit.p[5]), q = hn::Set(d, fit.q[4]);
  for (int i = 4; i >= 0; --i) p = FastMulAdd(p, t, hn::Set(d, fit.p[i]));
  for (int i = 3; i >= 0; --i) q = FastMulAdd(q, t, hn::Set(d, fit.q[i]));
  q = FastMulAdd(q, t, Constant<1.0f>(d));
  const V share = hn::Add(hn::Div(hn::Mul(c, p), q), Constant<0.5f>(d));
  return hn::IfThenZeroElse(hn::Lt(x, low), hn::Mul(x, share));  // NaN stays
}

struct Gelu {
  static HWY_INLINE V Value(D d, V x) { return FittedGelu(d, x, kGeluFit); }
  // Phi(x) + x phi(x)
  static HWY_INLINE V Slope(D d, V x) {
    V e;
    const V cdf = NormalCdf(d, x, e);
    return hn::MulAdd(hn::Mul(x, Constant<0.398942280f>(d)), e, cdf);
  }
};

struct GeluTanh {
  static HWY_INLINE V Value(D d, V x) { return FittedGelu(d, x, kGeluTanhFit); }
  // s + x s (1 - s) (2 u)'; past |x| = 20 it is 0 or 1, and the clamp keeps x^2 finite.
  static HWY_INLINE V Slope(D d, V x0) {
    const V limit = Constant<20.0f>(d), one = Constant<1.0f>(d);
    const V x = hn::IfThenElse(hn::Gt(hn::Abs(x0), limit), hn::CopySign(limit, x0), x0);
    // With e = exp(-|2u|): s = 1 / (1 + e) or e / (1 + e), and s (1 - s) = e / (1 + e)^2,
    // uncancelled.
    const V z = TwoU(d, x);
    const V e = ExpOfNegative(d, hn::Neg(hn::Abs(z)));
    const V r = hn::Div(one, hn::Add(one, e));
    const V s = hn::IfThenElse(hn::Lt(z, hn::Zero(d)), hn::Mul(e, r), r);
    const V du = hn::Mul(Constant<1.595769122f>(d),
                         hn::MulAdd(hn::Mul(x, x), Constant<3 * 0.044715f>(d), one));
    return hn::MulAdd(hn::Mul(hn::Mul(x, e), hn::Mul(r, r)), du, s);
  }
};

struct Relu {
  static HWY_INLINE V Value(D d, V x) { return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x); }
  static HWY_INLINE V Slope(D d, V x) {
    return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), Constant<1.0f>(d));
  }
};

struct Silu {
  static HWY_INLINE V Value(D d, V x) { return hn::Mul(x, Sigmoid(d, x)); }
  // s (1 + x (1 - s))
  static HWY_INLINE V Slope(D d, V x) {
    const V one = Constant<1.0f>(d), s = Sigmoid(d, x);
    return hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one));
  }
};

// e / (1 + e)^2 with e = exp(-|x|): the sigmoid's slope, without cancellation.
HWY_INLINE V Bell(D d, V x) {
  const V e = ExpOfNegative(d, hn::Neg(hn::Abs(x)));
  const V sum = hn::Add(e, Constant<1.0f>(d));
  return hn::Div(e, hn::Mul(sum, sum));
}

struct TanhFunction {
  static HWY_INLINE V Value(D d, V x) { return Tanh(d, x); }
  static HWY_INLINE V Slope(D d, V x) { return hn::Mul(Constant<4.0f>(d), Bell(d, hn::Add(x, x))); }
};

struct SigmoidFunction {
  static HWY_INLINE V Value(D d, V x) { return Sigmoid(d, x); }
  static HWY_INLINE V Slope(D d, V x) { return Bell(d, x); }
};

struct SoftplusFunction {
  static HWY_INLINE V Value(D d, V x) { return Softplus(d, x); }
  static HWY_INLINE V Slope(D d, V x) { return Sigmoid(d, x); }
};

template <class F>
void ActivateWith(const float* x, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kFunctionGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    Map1(x, y, begin, end, [&](V v) HWY_ATTR { return F::Value(d, v); });
  });
}

template <class F>
void ActivateBackwardWith(const float* x, const float* dy, float* dx, int64_t count,
                          ThreadPool* pool) {
  ParallelFor(pool, count, kFunctionGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    Map3(x, dy, dx, begin, end,
         [&](V v, V g, V sum) HWY_ATTR { return hn::MulAdd(g, F::Slope(d, v), sum); });
  });
}

void Activate(Activation f, const float* x, float* y, int64_t count, ThreadPool* pool) {
  switch (f) {
    case Activation::kGelu:
      return ActivateWith<Gelu>(x, y, count, pool);
    case Activation::kGeluTanh:
      return ActivateWith<GeluTanh>(x, y, count, pool);
    case Activation::kRelu:
      return ActivateWith<Relu>(x, y, count, pool);
    case Activation::kSilu:
      return ActivateWith<Silu>(x, y, count, pool);
    case Activation::kTanh:
      return ActivateWith<TanhFunction>(x, y, count, pool);
    case Activation::kSigmoid:
      return ActivateWith<SigmoidFunction>(x, y, count, pool);
    case Activation::kSoftplus:
      return ActivateWith<SoftplusFunction>(x, y, count, pool);
  }
}

void ActivateBackward(Activation f, const float* x, const float* dy, float* dx, int64_t count,
                      ThreadPool* pool) {
  switch (f) {
    case Activation::kGelu:
      return ActivateBackwardWith<Gelu>(x, dy, dx, count, pool);
    case Activation::kGeluTanh:
      return ActivateBackwardWith<GeluTanh>(x, dy, dx, count, pool);
    case Activation::kRelu:
      return ActivateBackwardWith<Relu>(x, dy, dx, count, pool);
    case Activation::kSilu:
      return ActivateBackwardWith<Silu>(x, dy, dx, count, pool);
    case Activation::kTanh:
      return ActivateBackwardWith<TanhFunction>(x, dy, dx, count, pool);
    case Activation::kSigmoid:
      return ActivateBackwardWith<SigmoidFunction>(x, dy, dx, count, pool);
    case Activation::kSoftplus:
      return ActivateBackwardWith<SoftplusFunction>(x, dy, dx, count, pool);
  }
}

void Add(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    Map2(a, b, y, begin, end, [](V u, V v) HWY_ATTR { return hn::Add(u, v); });
  });
}

void Mul(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    Map2(a, b, y, begin, end, [](V u, V v) HWY_ATTR { return hn::Mul(u, v); });
  });
}

void Scale(const float* x, float factor, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const V f = hn::Set(D(), factor);
    Map1(x, y, begin, end, [&](V v) HWY_ATTR { return hn::Mul(v, f); });
  });
}

void Axpy(const float* x, float factor, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const V f = hn::Set(D(), factor);
    Map2(x, y, y, begin, end, [&](V u, V v) HWY_ATTR { return hn::MulAdd(u, f, v); });
  });
}

void MulAdd(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    Map3(a, b, y, begin, end, [](V u, V v, V w) HWY_ATTR { return hn::MulAdd(u, v, w); });
  });
}

void AddRow(const float* x, const float* row, float* y, int64_t rows, int64_t columns,
            ThreadPool* pool) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, columns));
  ParallelFor(pool, rows, grain, [=](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t r = begin; r < end; ++r) {
      Map2(x + r * columns, row, y + r * columns, 0, columns,
           [](V u, V v) HWY_ATTR { return hn::Add(u, v); });
    }
  });
}

// Adds the sums of `vectors` x Lanes columns. Each block of rows is summed before it joins the
// total, so that the error grows with the square root of the rows at worst.
template <int kVectors>
HWY_INLINE void SumColumns(const float* x, float* sum, int64_t rows, int64_t columns) {
  const D d;
  const size_t n = hn::Lanes(d);
  V total[kVectors];
  for (int j = 0; j < kVectors; ++j) total[j] = hn::Zero(d);
  for (int64_t begin = 0; begin < rows; begin += kRowBlock) {
    const int64_t end = std::min(rows, begin + kRowBlock);
    V part[kVectors];
    for (int j = 0; j < kVectors; ++j) part[j] = hn::Zero(d);
    for (int64_t r = begin; r < end; ++r) {
      const float* row = x + r * columns;
      for (int j = 0; j < kVectors; ++j) part[j] = hn::Add(part[j], hn::LoadU(d, row + j * n));
    }
    for (int j = 0; j < kVectors; ++j) total[j] = hn::Add(total[j], part[j]);
  }
  for (int j = 0; j < kVectors; ++j)
    hn::StoreU(hn::Add(total[j], hn::LoadU(d, sum + j * n)), d, sum + j * n);
}

void SumFewColumns(const float* x, float* sum, int64_t rows, int64_t columns, size_t count) {
  const D d;
  V total = hn::Zero(d);
  for (int64_t begin = 0; begin < rows; begin += kRowBlock) {
    const int64_t end = std::min(rows, begin + kRowBlock);
    V part = hn::Zero(d);
    for (int64_t r = begin; r < end; ++r)
      part = hn::Add(part, hn::LoadN(d, x + r * columns, count));
    total = hn::Add(total, part);
  }
  hn::StoreN(hn::Add(total, hn::LoadN(d, sum, count)), d, sum, count);
}

void SumRows(const float* x, float* sum, int64_t rows, int64_t columns, ThreadPool* pool) {
  if (rows <= 0 || columns <= 0) return;
  const int64_t blocks = (columns + kColumnBlock - 1) / kColumnBlock;
  const int64_t grain = std::max<int64_t>(1, kGrain / (rows * kColumnBlock));
  ParallelFor(pool, blocks, grain, [=](int64_t first, int64_t last) HWY_ATTR {
    const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
    const int64_t end = std::min(columns, last * kColumnBlock);
    int64_t c = first * kColumnBlock;
    for (; c + 4 * n <= end; c += 4 * n) SumColumns<4>(x + c, sum + c, rows, columns);
    for (; c + n <= end; c += n) SumColumns<1>(x + c, sum + c, rows, columns);
    if (c < end) SumFewColumns(x + c, sum + c, rows, columns, static_cast<size_t>(end - c));
  });
}

double SumSquares(const float* x, int64_t count, ThreadPool* pool) {
  if (count <= 0) return 0;
  double partial[kMaxPartials];
  const int64_t chunk = std::max<int64_t>(4096, (count + kMaxPartials - 1) / kMaxPartials);
  const int64_t chunks = (count + chunk - 1) / chunk;
  double* out = partial;
  ParallelFor(pool, chunks, std::max<int64_t>(1, kGrain / chunk),
              [=](int64_t first, int64_t last) HWY_ATTR {
                const D d;
                const hn::Repartition<double, D> dd;
                const int64_t n = static_cast<int64_t>(hn::Lanes(d));
                for (int64_t c = first; c < last; ++c) {
                  auto low = hn::Zero(dd), high = hn::Zero(dd);
                  const int64_t end = std::min(count, (c + 1) * chunk);
                  for (int64_t i = c * chunk; i < end; i += n) {
                    const V v = i + n <= end ? hn::LoadU(d, x + i)
                                             : hn::LoadN(d, x + i, static_cast<size_t>(end - i));
                    const auto a = hn::PromoteLowerTo(dd, v), b = hn::PromoteUpperTo(dd, v);
                    low = hn::MulAdd(a, a, low);
                    high = hn::MulAdd(b, b, high);
                  }
                  out[c] = hn::ReduceSum(dd, hn::Add(low, high));
                }
              });
  double sum = 0;
  for (int64_t c = 0; c < chunks; ++c) sum += partial[c];
  return sum;
}

void Dropout(const float* x, float p, uint64_t seed, float* y, int64_t count, ThreadPool* pool) {
  ParallelFor(pool, count, kFunctionGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    WithKept(p, seed, begin, end, [&](int64_t i, int64_t m, V kept) HWY_ATTR {
      const auto mask = hn::Gt(kept, hn::Zero(d));  // so that a dropped infinity is 0
      if (m == n) {
        hn::StoreU(hn::IfThenElseZero(mask, hn::Mul(hn::LoadU(d, x + i), kept)), d, y + i);
      } else {
        const size_t rest = static_cast<size_t>(m);
        hn::StoreN(hn::IfThenElseZero(mask, hn::Mul(hn::LoadN(d, x + i, rest), kept)), d, y + i,
                   rest);
      }
    });
  });
}

void DropoutBackward(const float* dy, float p, uint64_t seed, float* dx, int64_t count,
                     ThreadPool* pool) {
  ParallelFor(pool, count, kFunctionGrain, [=](int64_t begin, int64_t end) HWY_ATTR {
    const D d;
    const int64_t n = static_cast<int64_t>(hn::Lanes(d));
    WithKept(p, seed, begin, end, [&](int64_t i, int64_t m, V kept) HWY_ATTR {
      const auto mask = hn::Gt(kept, hn::Zero(d));
      if (m == n) {
        const V g = hn::IfThenElseZero(mask, hn::LoadU(d, dy + i));
        hn::StoreU(hn::MulAdd(g, kept, hn::LoadU(d, dx + i)), d, dx + i);
      } else {
        const size_t rest = static_cast<size_t>(m);
        const V g = hn::IfThenElseZero(mask, hn::LoadN(d, dy + i, rest));
        hn::StoreN(hn::MulAdd(g, kept, hn::LoadN(d, dx + i, rest)), d, dx + i, rest);
      }
    });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {

HWY_EXPORT(Activate);
HWY_EXPORT(ActivateBackward);
HWY_EXPORT(Add);
HWY_EXPORT(Mul);
HWY_EXPORT(Scale);
HWY_EXPORT(Axpy);
HWY_EXPORT(MulAdd);
HWY_EXPORT(AddRow);
HWY_EXPORT(SumRows);
HWY_EXPORT(SumSquares);
HWY_EXPORT(Dropout);
HWY_EXPORT(DropoutBackward);

void Activate(Activation f, const float* x, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Activate)(f, x, y, count, pool);
}
void ActivateBackward(Activation f, const float* x, const float* dy, float* dx, int64_t count,
                      ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(ActivateBackward)(f, x, dy, dx, count, pool);
}
void Add(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Add)(a, b, y, count, pool);
}
void Mul(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Mul)(a, b, y, count, pool);
}
void Scale(const float* x, float factor, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, factor, y, count, pool);
}
void Axpy(const float* x, float factor, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Axpy)(x, factor, y, count, pool);
}
void MulAdd(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(MulAdd)(a, b, y, count, pool);
}
void AddRow(const float* x, const float* row, float* y, int64_t rows, int64_t columns,
            ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(AddRow)(x, row, y, rows, columns, pool);
}
void SumRows(const float* x, float* sum, int64_t rows, int64_t columns, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(SumRows)(x, sum, rows, columns, pool);
}
double SumSquares(const float* x, int64_t count, ThreadPool* pool) {
  return HWY_DYNAMIC_DISPATCH(SumSquares)(x, count, pool);
}
void Dropout(const float* x, float p, uint64_t seed, float* y, int64_t count, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Dropout)(x, p, seed, y, count, pool);
}
void DropoutBackward(const float* dy, float p, uint64_t seed, float* dx, int64_t count,
                     ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(DropoutBackward)(dy, p, seed, dx, count, pool);
}

namespace scalar {

namespace {

constexpr double kInvSqrt2 = 0.7071067811865476;
constexpr double kInvSqrt2Pi = 0.3989422804014327;
constexpr double kSqrt2OverPi = 0.7978845608028654;

double SigmoidOf(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

float Activate(Activation f, float x0) {
  const double x = x0;
  switch (f) {
    case Activation::kGelu:
      return static_cast<float>(x * 0.5 * std::erfc(-x * kInvSqrt2));
    case Activation::kGeluTanh:
      return static_cast<float>(x * SigmoidOf(2 * kSqrt2OverPi * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return x0 > 0 ? x0 : 0;
    case Activation::kSilu:
      return static_cast<float>(x * SigmoidOf(x));
    case Activation::kTanh:
      return static_cast<float>(std::tanh(x));
    case Activation::kSigmoid:
      return static_cast<float>(SigmoidOf(x));
    case Activation::kSoftplus:
      return static_cast<float>(std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x))));
  }
  return 0;
}

float ActivateDerivative(Activation f, float x0) {
  const double x = x0;
  switch (f) {
    case Activation::kGelu:
      return static_cast<float>(0.5 * std::erfc(-x * kInvSqrt2) +
                                x * kInvSqrt2Pi * std::exp(-x * x / 2));
    case Activation::kGeluTanh: {
      const double s = SigmoidOf(2 * kSqrt2OverPi * (x + 0.044715 * x * x * x));
      return static_cast<float>(s +
                                x * s * (1 - s) * 2 * kSqrt2OverPi * (1 + 3 * 0.044715 * x * x));
    }
    case Activation::kRelu:
      return x0 > 0 ? 1 : 0;
    case Activation::kSilu: {
      const double s = SigmoidOf(x);
      return static_cast<float>(s * (1 + x * (1 - s)));
    }
    case Activation::kTanh: {
      const double t = std::tanh(x);
      return static_cast<float>(1 - t * t);
    }
    case Activation::kSigmoid: {
      const double s = SigmoidOf(x);
      return static_cast<float>(s * (1 - s));
    }
    case Activation::kSoftplus:
      return static_cast<float>(SigmoidOf(x));
  }
  return 0;
}

void SumRows(const float* x, float* sum, int64_t rows, int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    double total = 0;
    for (int64_t r = 0; r < rows; ++r) total += x[r * columns + c];
    sum[c] = static_cast<float>(sum[c] + total);
  }
}

void Dropout(const float* x, float p, uint64_t seed, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float factor = KeptFactor(p, seed, i);
    y[i] = factor > 0 ? x[i] * factor : 0;
  }
}

}  // namespace scalar

}  // namespace sotto
#endif  // HWY_ONCE
