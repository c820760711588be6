#include "core/base/random.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace sotto {
namespace {

// The first outputs of SplitMix64 from state 0, as its authors' reference code prints them.
TEST(Random, TheMixIsSplitMix64) {
  EXPECT_EQ(Mix64(0), 0xE220A8397B1DCDAFull);
  EXPECT_EQ(Mix64(0x9E3779B97F4A7C15ull), 0x6E789E6AA1B965F4ull);
  EXPECT_EQ(Mix64(0x9E3779B97F4A7C15ull * 2), 0x06C45D188009454Full);
}

TEST(Random, TheSameSeedGivesTheSameNumbersFromAnyPosition) {
  Random first(42, 3);
  std::vector<uint64_t> values;
  for (int i = 0; i < 100; ++i) values.push_back(first.Next());
  Random second(42, 3);
  second.Seek(60);
  for (int i = 60; i < 100; ++i) EXPECT_EQ(second.Next(), values[static_cast<size_t>(i)]);
  EXPECT_EQ(second.position(), 100u);
  EXPECT_EQ(second.At(0), values[0]);
}

TEST(Random, SeedsAndStreamsDoNotShareNumbers) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t stream = 0; stream < 20; ++stream) {
      Random random(seed, stream);
      for (int i = 0; i < 50; ++i) seen.insert(random.Next());
    }
  }
  EXPECT_EQ(seen.size(), 20u * 20u * 50u);
}

TEST(Random, FloatsFillTheUnitIntervalEvenly) {
  Random random(1);
  constexpr int kDraws = 200000, kBins = 20;
  std::vector<int> bins(kBins);
  for (int i = 0; i < kDraws; ++i) {
    const float f = random.NextFloat();
    ASSERT_GE(f, 0.0f);
    ASSERT_LT(f, 1.0f);
    ++bins[static_cast<size_t>(f * kBins)];
  }
  // Standard deviation of a bin: sqrt(200000 / 20 * 0.95) = 97.
  for (const int count : bins) EXPECT_NEAR(count, kDraws / kBins, 5 * 97);
}

TEST(Random, WholeNumbersStayBelowTheBoundAndReachEveryValue) {
  Random random(2);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts.at(random.NextBelow(7));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 5 * 93);
  EXPECT_EQ(random.NextBelow(1), 0u);
}

TEST(Random, NormalsHaveMeanZeroAndVarianceOne) {
  Random random(3);
  constexpr int kDraws = 200000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.NextNormal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0, 5 * std::sqrt(2.0 / kDraws));
}

}  // namespace
}  // namespace sotto
