// A 4 x 4 block of f32 turned: what packing for products and attention is made of. Included once a
// target.
#if defined(SOTTO_CORE_KERNELS_TURN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_TURN_INL_H_
#undef SOTTO_CORE_KERNELS_TURN_INL_H_
#else
#define SOTTO_CORE_KERNELS_TURN_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four rows of four turned: out[k * width + i] = in[i * stride + k].
HWY_INLINE void Turn4x4(const float* HWY_RESTRICT in, int64_t stride, float* HWY_RESTRICT out,
                        int64_t width) {
  const hn::CappedTag<float, 4> d;
  const hn::Repartition<double, decltype(d)> d2;
  const auto r0 = hn::LoadU(d, in), r1 = hn::LoadU(d, in + stride);
  const auto r2 = hn::LoadU(d, in + 2 * stride), r3 = hn::LoadU(d, in + 3 * stride);
  const auto a = hn::BitCast(d2, hn::InterleaveLower(d, r0, r1));  // 00 10 01 11
  const auto b = hn::BitCast(d2, hn::InterleaveLower(d, r2, r3));  // 20 30 21 31
  const auto e = hn::BitCast(d2, hn::InterleaveUpper(d, r0, r1));
  const auto f = hn::BitCast(d2, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, a, b)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, a, b)), d, out + width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d2, e, f)), d, out + 2 * width);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d2, e, f)), d, out + 3 * width);
}

}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
