// Runs a test once on each instruction set that the build compiled and this machine has; as relaxed
// WebAssembly, with both ways of multiplying bytes.
#ifndef SOTTO_TESTS_CORE_KERNELS_TARGETS_H_
#define SOTTO_TESTS_CORE_KERNELS_TARGETS_H_

#include "core/kernels/byte_dots.h"
#include "core/kernels/targets.h"
#include "gtest/gtest.h"
#include "hwy/highway.h"
#include "hwy/targets.h"

namespace sotto {

template <class F>
void ForEachTarget(const F& test) {
#if SOTTO_RELAXED_SIMD
  const bool fastest = DotsInPairs();
  for (const bool in_pairs : {false, true}) {
    SCOPED_TRACE(in_pairs ? "dots in pairs" : "dots of four");
    SetDotsInPairsForTest(in_pairs);
    test();
  }
  SetDotsInPairsForTest(fastest);
#elif defined(HWY_COMPILE_ONLY_STATIC)
  test();
#else
  int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  for (int64_t rest = supported; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    test();
  }
  hwy::SetSupportedTargetsForTest(0);
#endif
}

}  // namespace sotto

#endif  // SOTTO_TESTS_CORE_KERNELS_TARGETS_H_
