#include "core/nn/kv_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "core/tensor/dtype.h"

namespace sotto {
namespace {

Tensor Counting(const Shape& shape, float from) {
  std::vector<float> values(shape.elements());
  std::iota(values.begin(), values.end(), from);
  return *Tensor::FromFloats(shape, values);
}

Tensor Noise(const Shape& shape, uint64_t seed) {
  std::vector<float> values(shape.elements());
  Random random(seed);
  for (float& v : values) v = random.NextNormal();
  return *Tensor::FromFloats(shape, values);
}

// Value x of token t of a head, as keys or values are kept.
float At(const Tensor& held, const Tensor& scales, bool values, int64_t b, int64_t h, int64_t t,
         int64_t x) {
  const int64_t width = held.dim(3), head = (b * held.dim(1) + h) * held.dim(2), row = head + t;
  if (held.dtype() == DType::kF16)
    return F16ToF32(static_cast<const uint16_t*>(held.data())[row * width + x]);
  if (held.dtype() != DType::kI8) return held.f32()[row * width + x];
  const auto* bytes = static_cast<const int8_t*>(held.data()) + head * width;
  return scales.f32()[row] * static_cast<float>(bytes[PackedIndex(values, width, t, x)]);
}
float KeyAt(const KeysValues& held, int64_t b, int64_t h, int64_t t, int64_t x) {
  return At(held.keys, held.key_scales, false, b, h, t, x);
}
float ValueAt(const KeysValues& held, int64_t b, int64_t h, int64_t t, int64_t x) {
  return At(held.values, held.value_scales, true, b, h, t, x);
}

class KvCacheOf : public testing::TestWithParam<const char*> {
 protected:
  DType dtype() const { return *CacheDTypeByName(GetParam()); }
  // How far what is kept may be from values of a few units.
  float tolerance() const {
    return dtype() == DType::kF32 ? 0 : dtype() == DType::kF16 ? 2e-3f : 2e-2f;
  }
};

TEST_P(KvCacheOf, HoldsWhatWasAppendedWhateverThePiecesAndHoweverItGrew) {
  constexpr int64_t kBatch = 2, kHeads = 3, kDim = 5, kTokens = 150;
  Arena arena;
  Context ctx(&arena);
  const Tensor k = Noise({kBatch, kTokens, kHeads * kDim}, 1),
               v = Noise({kBatch, kTokens, kHeads * kDim}, 2);
  const auto piece = [&](const Tensor& from, int64_t begin, int64_t end) {
    std::vector<float> values;
    for (int64_t b = 0; b < kBatch; ++b) {
      const float* row = from.f32() + (b * kTokens + begin) * kHeads * kDim;
      values.insert(values.end(), row, row + (end - begin) * kHeads * kDim);
    }
    return *Tensor::FromFloats({kBatch, end - begin, kHeads * kDim}, values);
  };
  KvCache cache(dtype());
  KeysValues held;
  int64_t begin = 0;
  for (const int64_t end : {1, 2, 60, 64, 65, 149, 150}) {
    held = cache.Append(ctx, 0, piece(k, begin, end), piece(v, begin, end), kHeads);
    ASSERT_TRUE(ctx.ok()) << ctx.status().message();
    cache.Advance(end - begin);
    begin = end;
  }
  EXPECT_EQ(held.keys.dtype(), dtype());
  EXPECT_EQ(cache.length(), kTokens);
  for (int64_t b = 0; b < kBatch; ++b) {
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t c = 0; c < kHeads * kDim; ++c) {
        const int64_t at = (b * kTokens + t) * kHeads * kDim + c, h = c / kDim, x = c % kDim;
        ASSERT_NEAR(KeyAt(held, b, h, t, x), k.f32()[at], tolerance());
        ASSERT_NEAR(ValueAt(held, b, h, t, x), v.f32()[at], tolerance());
      }
    }
  }
  // What is forgotten is written over.
  EXPECT_TRUE(cache.Truncate(10));
  held = cache.Append(ctx, 0, piece(k, 70, 71), piece(v, 70, 71), kHeads);
  EXPECT_NEAR(KeyAt(held, 1, 2, 10, 4), k.f32()[(kTokens + 70) * kHeads * kDim + 14], tolerance());
  EXPECT_NEAR(ValueAt(held, 1, 2, 9, 4), v.f32()[(kTokens + 9) * kHeads * kDim + 14], tolerance());
}

TEST_P(KvCacheOf, ReorderMovesEveryRowOfEveryTensor) {
  Arena arena;
  Context ctx(&arena);
  KvCache cache(dtype());
  const Tensor k = Noise({3, 2, 4}, 3), v = Noise({3, 2, 4}, 4), cross = Noise({3, 5, 2}, 5);
  cache.Append(ctx, 0, k, v, 2);
  cache.SetCross(ctx, 1, {cross, cross}, 1, false);
  cache.Advance(2);
  cache.State(2, 1) = Counting({3, 7}, 0);
  cache.Reorder(ctx, std::vector<int32_t>{2, 2, 0, 1});
  ASSERT_TRUE(ctx.ok());
  const Tensor more = Noise({4, 1, 4}, 6);
  const KeysValues held = cache.Append(ctx, 0, more, more, 2);
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  const KeysValues& kept = cache.Cross(1);
  for (const auto& [row, was] : std::vector<std::pair<int, int>>{{0, 2}, {1, 2}, {2, 0}, {3, 1}}) {
    for (int i = 0; i < 8; ++i) {
      const int h = i % 4 / 2, t = i / 4, x = i % 2;
      EXPECT_NEAR(KeyAt(held, row, h, t, x), k.f32()[was * 8 + i], tolerance());
      EXPECT_NEAR(ValueAt(held, row, h, t, x), v.f32()[was * 8 + i], tolerance());
    }
    EXPECT_NEAR(KeyAt(held, row, 1, 2, 1), more.f32()[row * 4 + 3], tolerance());
    if (dtype() == DType::kF32) {
      EXPECT_EQ(kept.keys.f32()[row * 10], cross.f32()[was * 10]);
    } else {
      EXPECT_EQ(kept.filled, 5);
      EXPECT_NEAR(KeyAt(kept, row, 0, 4, 1), cross.f32()[was * 10 + 9], tolerance());
      EXPECT_NEAR(ValueAt(kept, row, 0, 4, 1), cross.f32()[was * 10 + 9], tolerance());
    }
    EXPECT_EQ(cache.State(2, 1).f32()[row * 7], static_cast<float>(was) * 7);
  }
}

INSTANTIATE_TEST_SUITE_P(All, KvCacheOf, testing::Values("fp32", "fp16", "q8"));

TEST(KvCache, TakesNoMoreRoomThanIsNeededAndLeavesNoneBehind) {
  Arena arena;
  Context ctx(&arena);
  struct Room {
    DType dtype;
    int rows, row;  // those of int8 lie in blocks
  };
  for (const Room& room : {Room{DType::kF32, 100, 2 * 4 * 32}, Room{DType::kF16, 100, 2 * 2 * 32},
                           Room{DType::kI8, 128, 2 * (32 + 4 * 2)}}) {
    KvCache cache(room.dtype, 100);
    for (int t = 0; t < 100; ++t) {
      cache.Append(ctx, 0, Noise({1, 1, 32}, t), Noise({1, 1, 32}, t), 2);
      cache.Advance(1);
    }
    EXPECT_EQ(cache.capacity(), 100);
    EXPECT_EQ(cache.bytes(), static_cast<size_t>(room.rows * room.row));
  }
  EXPECT_EQ(arena.bytes_held(), 0u);
}

TEST(KvCache, KeysThatDoNotFitAreRefused) {
  Arena arena;
  Context ctx(&arena);
  KvCache cache;
  cache.Append(ctx, 0, Noise({2, 1, 8}, 1), Noise({2, 1, 8}, 2), 2);
  cache.Advance(1);
  cache.Append(ctx, 0, Noise({3, 1, 8}, 1), Noise({3, 1, 8}, 2), 2);
  EXPECT_FALSE(ctx.ok());
  ctx.Reset();
  cache.Append(ctx, 0, Noise({2, 1, 8}, 1), Noise({2, 1, 8}, 2), 3);
  EXPECT_FALSE(ctx.ok());
  ctx.Reset();
  PackKeysValues(ctx, {Noise({2, 1, 8}, 1), Noise({2, 1, 4}, 2)}, 2, DType::kI8);
  EXPECT_FALSE(ctx.ok());
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
