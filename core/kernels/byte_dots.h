// How the processor behind WebAssembly multiplies bytes. i32x4.relaxed_dot_i8x16_i7x16_add is one
// instruction where there is one for four products and their sum (Arm's SDOT, x86's AVX-VNNI). On
// other x86 processors it is five, of which three do the work: i16x8.relaxed_dot_i8x16_i7x16 for
// the pairs, i32x4.dot_i16x8_s and an addition. There kernels sum in pairs themselves, and sums of
// 4-bit weights stay pairs for a whole group. The results are the same either way.
#ifndef SOTTO_CORE_KERNELS_BYTE_DOTS_H_
#define SOTTO_CORE_KERNELS_BYTE_DOTS_H_

namespace sotto {

#if SOTTO_RELAXED_SIMD
bool DotsInPairs();
void SetDotsInPairsForTest(bool in_pairs);
#endif

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_BYTE_DOTS_H_
