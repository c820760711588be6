#include "core/nn/kv_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace sotto {
namespace {

Tensor Counting(const Shape& shape, float from) {
  std::vector<float> values(shape.elements());
  std::iota(values.begin(), values.end(), from);
  return *Tensor::FromFloats(shape, values);
}

TEST(KvCache, ReorderMovesEveryRowOfEveryTensor) {
  Arena arena;
  Context ctx(&arena);
  KvCache cache;
  const Tensor k = Counting({3, 2, 4}, 0), v = Counting({3, 2, 4}, 100);
  cache.Append(ctx, 0, k, v);
  cache.Advance(2);
  cache.Cross(1).keys = Counting({3, 5, 2}, 0);
  cache.State(2, 1) = Counting({3, 7}, 0);
  cache.Reorder(ctx, std::vector<int32_t>{2, 2, 0, 1});
  ASSERT_TRUE(ctx.ok());
  const KvCache::View view =
      cache.Append(ctx, 0, Counting({4, 1, 4}, 900), Counting({4, 1, 4}, 950));
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  const int64_t capacity = view.keys.dim(1);
  for (const auto& [row, was] : std::vector<std::pair<int, int>>{{0, 2}, {1, 2}, {2, 0}, {3, 1}}) {
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(view.keys.f32()[row * capacity * 4 + i], k.f32()[was * 8 + i]);
      EXPECT_EQ(view.values.f32()[row * capacity * 4 + i], v.f32()[was * 8 + i]);
    }
    EXPECT_EQ(view.keys.f32()[(row * capacity + 2) * 4], 900 + static_cast<float>(row) * 4);
    EXPECT_EQ(cache.Cross(1).keys.f32()[row * 10], static_cast<float>(was) * 10);
    EXPECT_EQ(cache.State(2, 1).f32()[row * 7], static_cast<float>(was) * 7);
  }
}

TEST(KvCache, ARecurrentStateCanBeForgottenButNotCutBack) {
  KvCache cache;
  cache.State(0) = Counting({1, 4}, 0);
  cache.Advance(9);
  EXPECT_TRUE(cache.Truncate(9));
  EXPECT_FALSE(cache.Truncate(5));
  EXPECT_EQ(cache.length(), 9);
  EXPECT_TRUE(cache.Truncate(0));
  EXPECT_EQ(cache.length(), 0);
  EXPECT_FALSE(cache.State(0));
}

}  // namespace
}  // namespace sotto
