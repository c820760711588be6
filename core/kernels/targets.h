// Which instruction sets the native build compiles. Include it before any header of Highway.
// A compiled set serves every newer processor up to the next one in the list: SSE2 (the baseline of
// x86-64), SSE4, AVX2 with FMA, AVX-512 with VNNI; NEON on Arm. Vectors have a fixed size on each,
// so that kernels may keep arrays of them: scalable sets stay off.
#ifndef SOTTO_CORE_KERNELS_TARGETS_H_
#define SOTTO_CORE_KERNELS_TARGETS_H_

#define HWY_DISABLED_TARGETS                                                                \
  (HWY_SSSE3 | HWY_AVX3 | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2 | HWY_SVE | HWY_SVE2 | \
   HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#endif  // SOTTO_CORE_KERNELS_TARGETS_H_
