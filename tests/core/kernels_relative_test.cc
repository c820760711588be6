#include "core/kernels/relative.h"

#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "gtest/gtest.h"
#include "tests/core/kernels_targets.h"

namespace sotto {
namespace {

using Floats = std::vector<float>;

Floats Normal(int64_t count, uint64_t seed) {
  Random random(seed);
  Floats x(count);
  for (float& v : x) v = random.NextNormal();
  return x;
}

// The sources and the table of one call; nothing is aligned.
struct Problem {
  int64_t tokens, entries;
  Floats by_query, by_key, d_out;
  std::vector<int32_t> entry;

  Problem(int64_t tokens, int64_t entries)
      : tokens(tokens),
        entries(entries),
        by_query(Normal(tokens * entries, 1)),
        by_key(Normal(tokens * entries, 2)),
        d_out(Normal(tokens * tokens, 3)) {
    Random random(4);
    for (int64_t i = 0; i < 2 * tokens - 1; ++i)
      entry.push_back(static_cast<int32_t>(random.NextBelow(static_cast<uint64_t>(entries))));
  }
};

TEST(RelativeKernels, GatherMatchesItsTwinForEveryRemainder) {
  for (int64_t tokens = 1; tokens <= 70; ++tokens) {
    const Problem p(tokens, 1 + tokens % 13);
    for (const int which : {1, 2, 3}) {
      const float* by_query = (which & 1) != 0 ? p.by_query.data() : nullptr;
      const float* by_key = (which & 2) != 0 ? p.by_key.data() : nullptr;
      Floats want(tokens * tokens);
      scalar::GatherRelative(by_query, by_key, p.entry.data(), 0.5f, want.data(), tokens,
                             p.entries);
      ForEachTarget([&] {
        Floats got(tokens * tokens + 1, 77.0f);
        GatherRelative(by_query, by_key, p.entry.data(), 0.5f, got.data(), tokens, p.entries,
                       nullptr);
        EXPECT_EQ(got.back(), 77.0f);
        got.pop_back();
        EXPECT_EQ(got, want) << tokens;
      });
    }
  }
}

TEST(RelativeKernels, ScatterAddsEachGradientWhereGatherRead) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const Problem p(45, 7);
    Floats d_by_query(p.by_query.size(), 1.0f), d_by_key(p.by_key.size(), 1.0f);
    ScatterRelative(p.d_out.data(), p.entry.data(), 0.5f, d_by_query.data(), d_by_key.data(),
                    p.tokens, p.entries, &pool);
    std::vector<double> want_query(p.by_query.size(), 1.0), want_key(p.by_key.size(), 1.0);
    for (int64_t i = 0; i < p.tokens; ++i) {
      for (int64_t j = 0; j < p.tokens; ++j) {
        const int64_t e = p.entry[j - i + p.tokens - 1];
        want_query[i * p.entries + e] += 0.5 * static_cast<double>(p.d_out[i * p.tokens + j]);
        want_key[e * p.tokens + j] += 0.5 * static_cast<double>(p.d_out[i * p.tokens + j]);
      }
    }
    for (size_t i = 0; i < want_query.size(); ++i) {
      ASSERT_NEAR(d_by_query[i], want_query[i], 1e-5);
      ASSERT_NEAR(d_by_key[i], want_key[i], 1e-5);
    }
  }
}

}  // namespace
}  // namespace sotto
