#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/base/random.h"
#include "core/nn/layers.h"

namespace sotto::nn {
namespace {

Tensor Noise(int64_t tokens, int64_t width, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(tokens * width));
  Random random(seed);
  for (float& v : values) v = random.NextNormal();
  return *Tensor::FromFloats({1, tokens, width}, values);
}

// How far attention that may round is from attention that may not, as a share of the root mean
// square of the latter.
double Rounded(Context& ctx, int64_t tokens) {
  constexpr int64_t kWidth = 32;
  const Tensor q = Noise(tokens, kWidth, 1), k = Noise(tokens, kWidth, 2),
               v = Noise(tokens, kWidth, 3);
  AttentionSpec spec{.heads = 2, .kv_heads = 2, .scale = 0.25f};
  const Tensor exact = Attend(ctx, q, k, v, spec, nullptr, 0);
  spec.rounds = true;
  const Tensor rounded = Attend(ctx, q, k, v, spec, nullptr, 0);
  EXPECT_TRUE(ctx.ok()) << ctx.status().message();
  double apart = 0, all = 0;
  for (int64_t i = 0; i < exact.elements(); ++i) {
    apart += std::pow(exact.f32()[i] - rounded.f32()[i], 2);
    all += std::pow(exact.f32()[i], 2);
  }
  return std::sqrt(apart / all);
}

TEST(Attend, RoundsManyKeysWhereItMay) {
  Arena arena;
  Context ctx(&arena);
  EXPECT_GT(Rounded(ctx, 64), 1e-4);
  EXPECT_LT(Rounded(ctx, 64), 1e-2);
  EXPECT_LT(Rounded(ctx, 333), 1e-2);
  EXPECT_EQ(Rounded(ctx, 20), 0);
}

TEST(Attend, RoundsNothingThatGradientsNeed) {
  Arena arena;
  Tape tape;
  Context ctx(&arena);
  ctx.set_tape(&tape);
  EXPECT_EQ(Rounded(ctx, 64), 0);
}

}  // namespace
}  // namespace sotto::nn
