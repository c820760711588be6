// The relaxed SIMD of WebAssembly, which Highway does not emit: the one file of intrinsics. Both
// operations exist on every target; where the build has no relaxed SIMD they are Highway's.
// Not a place for anything that Highway can express.
//
// Included once a target by files that Highway includes again: hence the guard by toggle.
#if defined(SOTTO_CORE_KERNELS_RELAXED_SIMD_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_RELAXED_SIMD_H_
#undef SOTTO_CORE_KERNELS_RELAXED_SIMD_H_
#else
#define SOTTO_CORE_KERNELS_RELAXED_SIMD_H_
#endif

#include "hwy/highway.h"
#if SOTTO_RELAXED_SIMD
#include <wasm_simd128.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {

// a * b + c, with one rounding or two as the machine does it fastest.
template <class V>
HWY_INLINE V FastMulAdd(V a, V b, V c) {
#if SOTTO_RELAXED_SIMD
  return V{wasm_f32x4_relaxed_madd(a.raw, b.raw, c.raw)};
#else
  return hwy::HWY_NAMESPACE::MulAdd(a, b, c);
#endif
}

// c - a * b, likewise.
template <class V>
HWY_INLINE V FastNegMulAdd(V a, V b, V c) {
#if SOTTO_RELAXED_SIMD
  return V{wasm_f32x4_relaxed_nmadd(a.raw, b.raw, c.raw)};
#else
  return hwy::HWY_NAMESPACE::NegMulAdd(a, b, c);
#endif
}

#if SOTTO_RELAXED_SIMD
// sums[i] += sum of bytes[4i..4i+3] * seven[4i..4i+3]; exact where every byte of `seven` is in
// 0..127.
template <class VI8, class VU8, class VI32>
HWY_INLINE VI32 DotI8I7(VI8 bytes, VU8 seven, VI32 sums) {
  return VI32{wasm_i32x4_relaxed_dot_i8x16_i7x16_add(bytes.raw, seven.raw, sums.raw)};
}

// bytes[2i] * seven[2i] + bytes[2i+1] * seven[2i+1] as int16; exact under the same condition.
template <class DI16, class VI8, class VU8>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DI16> PairsI8I7(DI16, VI8 bytes, VU8 seven) {
  return {wasm_i16x8_relaxed_dot_i8x16_i7x16(bytes.raw, seven.raw)};
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
