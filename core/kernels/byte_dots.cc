#include "core/kernels/byte_dots.h"

#if SOTTO_RELAXED_SIMD
#include <cstdint>

#include "core/kernels/relaxed_simd.h"
#include "hwy/highway.h"

namespace sotto {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Bytes outside of 0..127 tell: -128 * 255 twice, as an int16, is the least there is where pairs
// are summed first; one instruction for four has no such step.
bool Detect() {
  const hn::Full128<int8_t> d;
  const volatile int8_t least = -128;
  const volatile uint8_t most = 255;
  const auto bytes = hn::Set(d, least);
  const auto seven = hn::Set(hn::Full128<uint8_t>(), most);
  const auto sums = HWY_NAMESPACE::DotI8I7(bytes, seven, hn::Zero(hn::Full128<int32_t>()));
  return hn::GetLane(sums) == 2 * INT16_MIN;
}

bool in_pairs = Detect();

}  // namespace

bool DotsInPairs() { return in_pairs; }
void SetDotsInPairsForTest(bool value) { in_pairs = value; }

}  // namespace sotto
#endif
