// exp, tanh, sigmoid, erf and the normal tail for Highway vectors of f32: branchless, free of
// tables, and finite where the true value is. Bounds are those that kernels_pointwise_test.cc holds
// them to. Included once per Highway target, from inside foreach_target's loop.
#if defined(SOTTO_CORE_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_MATH_INL_H_
#undef SOTTO_CORE_KERNELS_MATH_INL_H_
#else
#define SOTTO_CORE_KERNELS_MATH_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "hwy/highway.h"

#include "core/kernels/constant.h"
#include "core/kernels/relaxed_simd.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A number of the code in every lane.
template <auto kValue, class D>
HWY_INLINE hn::Vec<D> Constant(D d) {
#if HWY_ARCH_WASM
  return hn::Set(d, kConstant<kValue>);
#else
  return hn::Set(d, kValue);
#endif
}

// x = n ln2 + r with n an integer and |r| <= ln2 / 2. `bits` holds n in its low bits (above them
// lie those of 1.5 * 2^23, which a shift by 23 drops). ln2 is split so that n * 355/512 is exact.
template <class D, class V = hn::Vec<D>, class VI = hn::Vec<hn::RebindToSigned<D>>>
HWY_INLINE void ReduceExp(D d, V x, V& r, VI& bits) {
  const V magic = Constant<12582912.0f>(d);
  const V shifted = FastMulAdd(x, Constant<1.442695041f>(d), magic);
  const V n = hn::Sub(shifted, magic);
  r = FastNegMulAdd(n, Constant<0.693359375f>(d), x);
  r = FastNegMulAdd(n, Constant<-2.12194440e-4f>(d), r);
  bits = hn::BitCast(hn::RebindToSigned<D>(), shifted);
}

// e^r - 1 for |r| <= ln2 / 2: r + r^2 P(r), P minimax of degree 4 (relative error 3e-9).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpPolynomial(D d, V r) {
  V p = Constant<0.001381455804221332f>(d);
  p = FastMulAdd(p, r, Constant<0.008368736132979393f>(d));
  p = FastMulAdd(p, r, Constant<0.04166838899254799f>(d));
  p = FastMulAdd(p, r, Constant<0.1666652113199234f>(d));
  p = FastMulAdd(p, r, Constant<0.4999999403953552f>(d));
  return FastMulAdd(hn::Mul(r, r), p, r);
}

// 2^(n + bias - 127), n in the low bits.
template <class D, class VI>
HWY_INLINE hn::Vec<D> PowerOfTwo(D d, VI bits, int bias) {
  const hn::RebindToSigned<D> di;
  return hn::BitCast(d, hn::Add(hn::ShiftLeft<23>(bits), hn::Set(di, bias << 23)));
}

// Relative error below 2e-7. exp(x) = 0 for x < -86.6 (where it is below 2.5e-38), infinite
// past 88.72.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  V r;
  hn::Vec<hn::RebindToSigned<D>> bits;
  ReduceExp(d, x, r, bits);
  const V one = Constant<1.0f>(d);
  const V p = hn::Add(ExpPolynomial(d, r), one);
  // 2 p 2^(n - 1): n reaches 128, which an exponent field does not.
  V y = hn::Mul(hn::Add(p, p), PowerOfTwo(d, bits, 126));
  y = hn::IfThenZeroElse(hn::Lt(x, Constant<-86.6f>(d)), y);
  return hn::IfThenElse(hn::Gt(x, Constant<88.7228f>(d)),
                        Constant<std::numeric_limits<float>::infinity()>(d), y);
}

// exp for arguments that are at most 0 or so, as softmax has them: no test for overflow.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfNegative(D d, V x) {
  V r;
  hn::Vec<hn::RebindToSigned<D>> bits;
  ReduceExp(d, x, r, bits);
  const V p = hn::Add(ExpPolynomial(d, r), Constant<1.0f>(d));
  const V y = hn::Mul(p, PowerOfTwo(d, bits, 127));
  return hn::IfThenZeroElse(hn::Lt(x, Constant<-86.6f>(d)), y);
}

// Relative error below 5e-7, absolute below 2e-7. tanh |x| = m / (m + 2), m = e^(2 |x|) - 1
// computed without cancellation as 2^n (e^r - 1) + (2^n - 1). Past |x| = 9.1 the value rounds to 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V ax = hn::Abs(x);
  const V limit = Constant<9.1f>(d);
  const V a = hn::IfThenElse(hn::Gt(ax, limit), limit, ax);  // keeps NaN
  V r;
  hn::Vec<hn::RebindToSigned<D>> bits;
  ReduceExp(d, hn::Add(a, a), r, bits);
  const V s = PowerOfTwo(d, bits, 127);
  const V m = FastMulAdd(s, ExpPolynomial(d, r), hn::Sub(s, Constant<1.0f>(d)));
  return hn::CopySign(hn::Div(m, hn::Add(m, Constant<2.0f>(d))), x);
}

// 1 / (1 + e^-x). Relative error below 5e-7 for x > -86.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = Constant<1.0f>(d);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

// log(1 + e^x) = max(x, 0) + log(1 + z), z = e^-|x|, and log(1 + z) = 2 artanh(s), s = z / (2 + z)
// <= 1/3, as s P(s^2), P a Chebyshev fit of degree 4 (relative error 4e-9). Relative error below
// 5e-7 for x > -86.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Softplus(D d, V x) {
  const V z = ExpOfNegative(d, hn::Neg(hn::Abs(x)));
  const V s = hn::Div(z, hn::Add(z, hn::Set(d, 2.0f)));
  const V u = hn::Mul(s, s);
  V p = hn::Set(d, 0.2815777837f);
  p = FastMulAdd(p, u, hn::Set(d, 0.2796515774f));
  p = FastMulAdd(p, u, hn::Set(d, 0.4002459523f));
  p = FastMulAdd(p, u, hn::Set(d, 0.6666632164f));
  p = FastMulAdd(p, u, hn::Set(d, 2.0f));
  // The comparison is false of NaN, which stays.
  return FastMulAdd(s, p, hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x));
}

// The normal distribution's upper tail Q(a) = erfc(a / sqrt 2) / 2 for a >= 0, and e = exp(-a^2 /
// 2): Q = e R(t), t = 1 / (1 + 0.35 a), R a fit of degree 7 to the scaled Mills ratio over [0, 14]
// that weighs relative errors by exp(-a^2 / 4). Absolute error below 8e-8.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V NormalTail(D d, V a, V& e) {
  const V one = Constant<1.0f>(d);
  e = ExpOfNegative(d, hn::Mul(hn::Mul(a, a), Constant<-0.5f>(d)));
  const V t = hn::Div(one, FastMulAdd(a, Constant<0.35f>(d), one));
  V p = Constant<0.028709834441542625f>(d);
  p = FastMulAdd(p, t, Constant<-0.1053205281496048f>(d));
  p = FastMulAdd(p, t, Constant<0.045293211936950684f>(d));
  p = FastMulAdd(p, t, Constant<0.19844385981559753f>(d));
  p = FastMulAdd(p, t, Constant<0.015715664252638817f>(d));
  p = FastMulAdd(p, t, Constant<0.1872178316116333f>(d));
  p = FastMulAdd(p, t, Constant<0.12896746397018433f>(d));
  p = FastMulAdd(p, t, Constant<0.0009726800490170717f>(d));
  return hn::Mul(e, p);
}

// The normal distribution function Phi(x), and e = exp(-x^2 / 2). Absolute error below 8e-8.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V NormalCdf(D d, V x, V& e) {
  const V q = NormalTail(d, hn::Abs(x), e);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), q, hn::Sub(Constant<1.0f>(d), q));
}

// erf x = 1 - 2 Q(sqrt(2) |x|) with the sign of x. Absolute error below 2e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Erf(D d, V x) {
  V e;
  const V q = NormalTail(d, hn::Mul(hn::Abs(x), Constant<1.41421356f>(d)), e);
  return hn::CopySign(FastNegMulAdd(Constant<2.0f>(d), q, Constant<1.0f>(d)), x);
}

}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // SOTTO_CORE_KERNELS_MATH_INL_H_
