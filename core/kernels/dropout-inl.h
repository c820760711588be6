// KeptFactor of dropout.h by vectors. Included once per Highway target, from inside
// foreach_target's loop.
#if defined(SOTTO_CORE_KERNELS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_DROPOUT_INL_H_
#undef SOTTO_CORE_KERNELS_DROPOUT_INL_H_
#else
#define SOTTO_CORE_KERNELS_DROPOUT_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "core/kernels/dropout.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The 24 bits that decide on the elements [i, i + lanes). Narrow vectors have no product of 64 bits
// worth its name; there the scalar one is faster.
template <class D32>
HWY_INLINE hn::Vec<D32> DropBits(D32 d32, uint64_t seed, int64_t i) {
  const uint64_t base = seed + static_cast<uint64_t>(i) * kDropStep;
#if HWY_MAX_BYTES <= 16
  HWY_ALIGN uint32_t bits[hn::MaxLanes(d32)];
  for (uint64_t j = 0; j < hn::Lanes(d32); ++j)
    bits[j] = static_cast<uint32_t>(Mix64(base + j * kDropStep) >> 40);
  return hn::Load(d32, bits);
#else
  const hn::RepartitionToWide<D32> d64;
  const auto steps =
      hn::Mul(hn::Iota(d64, 1), hn::Set(d64, kDropStep));  // Mix64 begins by adding one more
  const auto mix = [&](uint64_t from) HWY_ATTR {
    auto x = hn::Add(hn::Set(d64, from), steps);
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<30>(x)), hn::Set(d64, 0xBF58476D1CE4E5B9ull));
    x = hn::Mul(hn::Xor(x, hn::ShiftRight<27>(x)), hn::Set(d64, 0x94D049BB133111EBull));
    return hn::ShiftRight<40>(hn::Xor(x, hn::ShiftRight<31>(x)));
  };
  return hn::OrderedTruncate2To(d32, mix(base), mix(base + hn::Lanes(d64) * kDropStep));
#endif
}

// Visits [begin, end) with the vector of keep ? scale : 0 of each group of lanes.
template <class F>
HWY_INLINE void WithKept(float p, uint64_t seed, int64_t begin, int64_t end, const F& f) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> d32;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto threshold = hn::Set(d32, DropThreshold(p));
  const auto scale = hn::Set(d, KeptScale(p));
  for (int64_t i = begin; i < end; i += n) {
    const auto keep = hn::Ge(DropBits(d32, seed, i), threshold);
    f(i, std::min(n, end - i), hn::IfThenElseZero(hn::RebindMask(d, keep), scale));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // SOTTO_CORE_KERNELS_DROPOUT_INL_H_
