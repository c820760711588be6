// Every op's gradient against central differences of a random projection of its output.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "core/base/random.h"
#include "core/ops/ops.h"
#include "core/ops/pointer.h"
#include "core/ops/recurrent.h"
#include "core/ops/relative.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

Tensor Noise(const Shape& shape, uint64_t seed, float scale = 1) {
  Tensor t = *Tensor::Allocate(shape);
  Random random(seed);
  for (float& v : t.floats()) v = scale * random.NextNormal();
  return t;
}

Tensor Ints(const Shape& shape, std::vector<int32_t> values) {
  return *Tensor::FromInts(shape, values);
}

using Op = std::function<Tensor(Context&, const std::vector<Tensor>&)>;

// The loss: the sum of the output times fixed noise, so that every output element counts
// differently.
double Loss(const Op& op, const std::vector<Tensor>& inputs) {
  Arena arena;
  Context ctx(&arena);
  const Tensor y = op(ctx, inputs);
  EXPECT_TRUE(ctx.ok()) << ctx.status().message();
  const Tensor weights = Noise(y.shape(), 99);
  double sum = 0;
  for (int64_t i = 0; i < y.elements(); ++i)
    sum += static_cast<double>(y.f32()[i]) * weights.f32()[i];
  return sum;
}

void ExpectGradients(const Op& op, std::vector<Tensor> inputs, double tolerance = 2e-3) {
  Arena arena;
  Context ctx(&arena);
  Tape tape;
  ctx.set_tape(&tape);
  for (Tensor& input : inputs) input.set_grad_slot(std::make_shared<GradSlot>());
  const Tensor y = op(ctx, inputs);
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  const Tensor weighted = Mul(ctx, y, Noise(y.shape(), 99));
  // A sum by way of a product with ones, so that the whole tape runs.
  const Tensor row = weighted.Reshaped({1, weighted.elements()});
  const Tensor ones = *Tensor::Allocate({1, weighted.elements()});
  std::fill_n(const_cast<float*>(ones.f32()), ones.elements(), 1.0f);
  const Tensor loss = Linear(ctx, row, ones, {});
  ASSERT_TRUE(tape.Run(ctx, loss).ok()) << ctx.status().message();

  for (size_t which = 0; which < inputs.size(); ++which) {
    const Tensor grad = inputs[which].grad_slot()->grad;
    ASSERT_TRUE(grad) << "input " << which << " got no gradient";
    std::vector<Tensor> plain;
    for (const Tensor& input : inputs)
      plain.push_back(*Tensor::FromFloats(input.shape(), input.floats()));
    for (int64_t i = 0; i < grad.elements(); ++i) {
      const float x = plain[which].f32()[i], h = 1e-2f;
      plain[which].f32()[i] = x + h;
      const double up = Loss(op, plain);
      plain[which].f32()[i] = x - h;
      const double down = Loss(op, plain);
      plain[which].f32()[i] = x;
      const double expected = (up - down) / (2 * static_cast<double>(h));
      ASSERT_NEAR(grad.f32()[i], expected, tolerance * (1 + std::fabs(expected)))
          << "input " << which << " element " << i;
    }
  }
}

TEST(OpGradients, LinearFlowsToInputWeightAndBias) {
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) { return Linear(c, in[0], in[1], in[2]); },
      {Noise({2, 3, 5}, 1), Noise({7, 5}, 2), Noise({7}, 3)});
}

TEST(OpGradients, LinearFlowsThroughAFrozenQuantizedWeight) {
  // The forward pass rounds its input, so differences of it say little; the gradient is that of the
  // unpacked weight.
  const Tensor weight = Noise({9, 33}, 2);
  const Tensor packed = *PackQ8(weight);
  Arena arena;
  Context ctx(&arena);
  Tape tape;
  ctx.set_tape(&tape);
  Tensor x = Noise({1, 33}, 1);
  x.set_grad_slot(std::make_shared<GradSlot>());
  const Tensor y = Linear(ctx, x, packed, {});
  const Tensor loss = Linear(ctx, y, *Tensor::FromFloats({1, 9}, std::vector<float>(9, 1.0f)), {});
  ASSERT_TRUE(tape.Run(ctx, loss).ok()) << ctx.status().message();
  std::vector<float> row(33), expected(33);
  for (int64_t r = 0; r < 9; ++r) {
    UnpackRow(packed, r, row.data());
    for (int64_t c = 0; c < 33; ++c) expected[c] += row[c];
  }
  for (int64_t c = 0; c < 33; ++c) EXPECT_NEAR(x.grad_slot()->grad.f32()[c], expected[c], 1e-4);
}

TEST(OpGradients, SumsAndProductsFlowToBothSides) {
  ExpectGradients([](Context& c, const std::vector<Tensor>& in) { return Add(c, in[0], in[1]); },
                  {Noise({3, 5}, 1), Noise({3, 5}, 2)});
  ExpectGradients([](Context& c, const std::vector<Tensor>& in) { return Add(c, in[0], in[1]); },
                  {Noise({3, 5}, 1), Noise({5}, 2)});
  ExpectGradients([](Context& c, const std::vector<Tensor>& in) { return Mul(c, in[0], in[1]); },
                  {Noise({3, 5}, 1), Noise({3, 5}, 2)});
  ExpectGradients([](Context& c, const std::vector<Tensor>& in) { return Scale(c, in[0], -2.5f); },
                  {Noise({3, 5}, 1)});
}

TEST(OpGradients, AValueUsedTwiceGetsBothGradients) {
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) { return Mul(c, in[0], Add(c, in[0], in[0])); },
      {Noise({2, 3}, 1)}, 5e-3);
}

TEST(OpGradients, ActivationsHaveTheirDerivatives) {
  for (const Activation f : {Activation::kGelu, Activation::kGeluTanh, Activation::kSilu,
                             Activation::kTanh, Activation::kSigmoid, Activation::kSoftplus}) {
    ExpectGradients(
        [f](Context& c, const std::vector<Tensor>& in) { return Activate(c, in[0], f); },
        {Noise({4, 9}, 5)});
  }
}

TEST(OpGradients, SoftmaxAndNorms) {
  ExpectGradients([](Context& c, const std::vector<Tensor>& in) { return Softmax(c, in[0]); },
                  {Noise({3, 7}, 1)});
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) {
        return LayerNorm(c, in[0], in[1], in[2], 1e-5f);
      },
      {Noise({3, 11}, 1), Noise({11}, 2), Noise({11}, 3)});
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) { return RmsNorm(c, in[0], in[1], 1e-5f); },
      {Noise({3, 11}, 1), Noise({11}, 2)});
  ExpectGradients(  // by head, with a weight around 1
      [](Context& c, const std::vector<Tensor>& in) { return RmsNorm(c, in[0], in[1], 1e-5f, 1); },
      {Noise({2, 2, 21}, 1), Noise({7}, 2)});
}

TEST(OpGradients, LookupsAddUpRepeatedRows) {
  const Tensor ids = Ints({2, 3}, {1, 4, 1, 0, 1, 4});
  ExpectGradients(
      [ids](Context& c, const std::vector<Tensor>& in) { return Embedding(c, ids, in[0]); },
      {Noise({5, 3}, 1)});
  const Tensor rows = Ints({3}, {5, 0, 5});
  ExpectGradients(
      [rows](Context& c, const std::vector<Tensor>& in) { return SelectRows(c, in[0], rows); },
      {Noise({2, 3, 4}, 1)});
}

TEST(OpGradients, SplitPartsFlowBackToTheirColumns) {
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) {
        const std::vector<Tensor> parts = Split(c, in[0], 3);
        return Mul(c, parts[0], Add(c, parts[1], Scale(c, parts[2], 3)));
      },
      {Noise({2, 9}, 1)});
  const std::vector<int64_t> widths{2, 1, 2};
  ExpectGradients(
      [widths](Context& c, const std::vector<Tensor>& in) {
        const std::vector<Tensor> parts = Split(c, in[0], widths, 3);
        return Mul(c, parts[0], parts[2]);
      },
      {Noise({2, 15}, 1)});
}

TEST(Ops, SplitCutsEachGroupOfColumnsByItself) {
  Arena arena;
  Context ctx(&arena);
  std::vector<float> counted(12);
  std::iota(counted.begin(), counted.end(), 0.0f);
  const std::vector<int64_t> widths{1, 2};
  const std::vector<Tensor> parts = Split(ctx, *Tensor::FromFloats({2, 6}, counted), widths, 2);
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  const auto values = [](const Tensor& t) {
    return std::vector<float>(t.floats().begin(), t.floats().end());
  };
  EXPECT_EQ(parts[0].shape(), Shape({2, 2}));
  EXPECT_EQ(values(parts[0]), (std::vector<float>{0, 3, 6, 9}));
  EXPECT_EQ(values(parts[1]), (std::vector<float>{1, 2, 4, 5, 7, 8, 10, 11}));
}

TEST(OpGradients, RotaryTurnsGradientsBack) {
  Tensor cos = *Tensor::Allocate({4, 2}), sin = *Tensor::Allocate({4, 2});
  for (int i = 0; i < 8; ++i) cos.f32()[i] = std::cos(0.3f * i), sin.f32()[i] = std::sin(0.3f * i);
  ExpectGradients(
      [=](Context& c, const std::vector<Tensor>& in) { return Rotary(c, in[0], cos, sin, 2); },
      {Noise({2, 2, 12}, 1)});
}

TEST(OpGradients, AttentionOfEveryKind) {
  const auto attention = [](AttentionSpec spec) {
    return [spec](Context& c, const std::vector<Tensor>& in) {
      AttentionSpec s = spec;
      if (in.size() > 3) s.bias = in[3];
      return Attention(c, in[0], {in[1], in[2]}, s);
    };
  };
  AttentionSpec plain{.heads = 2, .kv_heads = 2, .scale = 0.7f};
  const std::vector<Tensor> self{Noise({2, 5, 6}, 1), Noise({2, 5, 6}, 2), Noise({2, 5, 6}, 3)};
  ExpectGradients(attention(plain), self);
  AttentionSpec causal = plain;
  causal.causal = true;
  ExpectGradients(attention(causal), self);
  causal.window = 2;
  ExpectGradients(attention(causal), self);
  causal.causal = false;
  ExpectGradients(attention(causal), self);
  AttentionSpec capped = plain;
  capped.softcap = 1.5f;
  ExpectGradients(attention(capped), self);
  AttentionSpec masked = plain;
  masked.key_mask = *Tensor::Allocate({2, 5}, DType::kU8);
  for (int i = 0; i < 10; ++i) static_cast<uint8_t*>(masked.key_mask.data())[i] = i != 3 && i < 8;
  ExpectGradients(attention(masked), self);
  for (const Shape& bias : {Shape({2, 5, 5}), Shape({1, 2, 5, 5}), Shape({2, 2, 5, 5})})
    ExpectGradients(attention(plain), {self[0], self[1], self[2], Noise(bias, 4)});
  AttentionSpec dropping = plain;
  dropping.dropout = 0.4f;
  for (const float of_the_run : {0.1f, 0.0f}) {
    ExpectGradients(
        [=](Context& c, const std::vector<Tensor>& in) {
          c.set_dropout(of_the_run, 11);
          return Attention(c, in[0], {in[1], in[2]}, dropping);
        },
        self);
  }
  AttentionSpec grouped{.heads = 4, .kv_heads = 2, .scale = 0.5f};
  ExpectGradients(attention(grouped),
                  {Noise({1, 3, 12}, 1), Noise({1, 7, 6}, 2), Noise({1, 7, 6}, 3)});
}

TEST(OpGradients, TheMeanOverTokensLeavesOutPadding) {
  const Tensor mask = *Tensor::Zeros({3, 4}, DType::kU8);
  for (const int i : {0, 1, 6, 7}) static_cast<uint8_t*>(const_cast<Tensor&>(mask).data())[i] = 1;
  for (const Tensor& m : {mask, Tensor()}) {
    ExpectGradients(
        [m](Context& c, const std::vector<Tensor>& in) { return MeanTokens(c, in[0], m); },
        {Noise({3, 4, 5}, 1)});
  }
  Arena arena;
  Context ctx(&arena);
  const Tensor x = *Tensor::FromFloats({1, 3, 1}, std::vector<float>{1, 2, 30});
  Tensor two = *Tensor::Zeros({1, 3}, DType::kU8);
  static_cast<uint8_t*>(two.data())[0] = static_cast<uint8_t*>(two.data())[2] = 1;
  EXPECT_EQ(*MeanTokens(ctx, x, two).f32(), 15.5f);
  EXPECT_EQ(*MeanTokens(ctx, x, {}).f32(), 11.0f);
}

TEST(OpGradients, UnfoldGivesNeighboursWithinTheSequence) {
  for (const int64_t taps : {1, 3, 4, 7}) {
    ExpectGradients(
        [taps](Context& c, const std::vector<Tensor>& in) { return Unfold(c, in[0], taps); },
        {Noise({2, 4, 3}, 1)});
  }
  Arena arena;
  Context ctx(&arena);
  const Tensor y = Unfold(ctx, *Tensor::FromFloats({2, 2, 1}, std::vector<float>{1, 2, 3, 4}), 3);
  const std::vector<float> expected{0, 1, 2, 1, 2, 0, 0, 3, 4, 3, 4, 0};
  EXPECT_EQ(std::vector<float>(y.f32(), y.f32() + y.elements()), expected);
}

TEST(OpGradients, DisentangledBiasFlowsToWhatBothSidesSay) {
  const Tensor entry = Ints({7}, {0, 2, 2, 4, 1, 3, 3});
  const Tensor q = Noise({2, 4, 6}, 1), k = Noise({2, 4, 6}, 2), pos_key = Noise({5, 6}, 3),
               pos_query = Noise({5, 6}, 4);
  ExpectGradients(
      [&](Context& c, const std::vector<Tensor>& in) {
        return DisentangledBias(c, in[0], in[1], in[2], in[3], entry, 2, 0.7f);
      },
      {q, k, pos_key, pos_query});
  ExpectGradients(
      [&](Context& c, const std::vector<Tensor>& in) {
        return DisentangledBias(c, in[0], k, in[1], {}, entry, 3, 0.7f);
      },
      {q, pos_key});
  ExpectGradients(
      [&](Context& c, const std::vector<Tensor>& in) {
        return DisentangledBias(c, q, in[0], {}, in[1], entry, 1, 0.7f);
      },
      {k, pos_query});
}

TEST(OpGradients, RelativeBiasFlowsToItsTable) {
  const Tensor entry = *Tensor::FromInts({2, 3}, std::vector<int32_t>{0, 3, 3, 1, 0, 3});
  ExpectGradients(
      [&](Context& c, const std::vector<Tensor>& in) { return RelativeBias(c, in[0], entry); },
      {Noise({4, 5}, 1)});
  Arena arena;
  Context ctx(&arena);
  const Tensor table = *Tensor::FromFloats({2, 2}, std::vector<float>{1, 2, 3, 4});
  const Tensor y =
      RelativeBias(ctx, table, *Tensor::FromInts({1, 3}, std::vector<int32_t>{1, 0, 1}));
  const std::vector<float> expected{3, 1, 3, 4, 2, 4};
  EXPECT_EQ(std::vector<float>(y.f32(), y.f32() + y.elements()), expected);
}

TEST(RelativeBuckets, GrowByTheLogarithmUpToTheFarthest) {
  const auto both = [](int64_t distance) { return RelativeBucket(distance, true, 32, 128); };
  EXPECT_EQ(both(0), 0);
  EXPECT_EQ(both(-7), 7);
  EXPECT_EQ(both(7), 23);
  EXPECT_EQ(both(-8), 8);
  EXPECT_EQ(both(-16), 10);
  EXPECT_EQ(both(-127), 15);
  EXPECT_EQ(both(100000), 31);
  const auto past = [](int64_t distance) { return RelativeBucket(distance, false, 32, 128); };
  EXPECT_EQ(past(5), 0);
  EXPECT_EQ(past(-15), 15);
  EXPECT_EQ(past(-100000), 31);
}

// Noise that is positive, as steps and strengths are.
Tensor Strengths(const Shape& shape, uint64_t seed) {
  Tensor t = Noise(shape, seed);
  for (float& v : t.floats()) v = 0.1f + std::fabs(v);
  return t;
}

TEST(OpGradients, CausalConvolutionsFlowToInputTapsAndBias) {
  const auto op = [](Context& c, const std::vector<Tensor>& in) {
    return CausalConv(c, in[0], in[1], in[2], nullptr);
  };
  ExpectGradients(op, {Noise({2, 6, 5}, 1), Noise({5, 4}, 2), Noise({5}, 3)});
  ExpectGradients(op, {Noise({2, 2, 5}, 1), Noise({5, 4}, 2), Noise({5}, 3)});
  const auto continued = [](Context& c, const std::vector<Tensor>& in) {
    Tensor state = Noise({2, 3, 5}, 4);
    return CausalConv(c, in[0], in[1], {}, &state);
  };
  ExpectGradients(continued, {Noise({2, 3, 5}, 1), Noise({5, 4}, 2)});
}

TEST(OpGradients, TokenMixesFlowToBothTokensAndTheMix) {
  for (const Tensor& before : {Tensor(), Noise({2, 5}, 3)}) {
    ExpectGradients(
        [before](Context& c, const std::vector<Tensor>& in) {
          return TokenMix(c, in[0], before, in[1]);
        },
        {Noise({2, 4, 5}, 1), Noise({1, 1, 5}, 2)});
  }
}

TEST(OpGradients, SelectiveScansFlowToEveryInput) {
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) {
        Tensor state = Noise({2, 3, 5}, 9);
        return SelectiveScan(c, in[0], in[1], in[2], in[3], in[4], in[5], &state);
      },
      {Noise({2, 4, 5}, 1), Strengths({2, 4, 5}, 2), Noise({5, 3}, 3), Noise({2, 4, 3}, 4),
       Noise({2, 4, 3}, 5), Noise({5}, 6)});
}

TEST(OpGradients, WkvFlowsToEveryInput) {
  const std::vector<Tensor> inputs{Noise({2, 5, 3}, 1), Noise({2, 5, 3}, 2), Noise({3}, 3),
                                   Noise({3}, 4)};
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) {
        return Wkv(c, in[0], in[1], in[2], in[3], nullptr);
      },
      inputs);
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) {
        Tensor state = Strengths({2, 3, 3}, 9);
        return Wkv(c, in[0], in[1], in[2], in[3], &state);
      },
      inputs);
}

TEST(OpGradients, GatedDeltaRulesFlowToEveryInput) {
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) {
        Tensor state = Noise({2, 4, 3, 5}, 9, 0.3f);
        return GatedDeltaRule(c, in[0], in[1], in[2], in[3], in[4], 2, &state);
      },
      {Noise({2, 4, 6}, 1, 0.5f), Noise({2, 4, 6}, 2, 0.5f), Noise({2, 4, 20}, 3),
       Noise({2, 4, 4}, 4, 0.3f), Strengths({2, 4, 4}, 5)});
}

TEST(OpGradients, DecaysFlowToStepsAndRates) {
  ExpectGradients(
      [](Context& c, const std::vector<Tensor>& in) { return DecayBy(c, in[0], in[1]); },
      {Noise({2, 3, 4}, 1), Noise({4}, 2, 0.5f)});
}

TEST(OpGradients, MaskedTokensPassNothingBack) {
  Tensor mask = *Tensor::Allocate({2, 5}, DType::kU8);
  for (int i = 0; i < 10; ++i) static_cast<uint8_t*>(mask.data())[i] = i != 3 && i != 9;
  ExpectGradients(
      [mask](Context& c, const std::vector<Tensor>& in) { return MaskTokens(c, in[0], mask); },
      {Noise({2, 4, 3}, 1)});
}

TEST(OpGradients, LossesFlowToLogits) {
  const Tensor targets = Ints({4}, {2, kIgnoreTarget, 0, 4});
  for (const float smoothing : {0.0f, 0.1f}) {
    ExpectGradients(
        [=](Context& c, const std::vector<Tensor>& in) {
          return CrossEntropy(c, in[0], targets, smoothing);
        },
        {Noise({4, 5}, 1)});
  }
  const Tensor hot = *Tensor::FromFloats({2, 3}, std::vector<float>{1, 0, 0, 1, 1, 0});
  ExpectGradients(
      [=](Context& c, const std::vector<Tensor>& in) { return BinaryCrossEntropy(c, in[0], hot); },
      {Noise({2, 3}, 1)});
  ExpectGradients(
      [=](Context& c, const std::vector<Tensor>& in) { return MeanSquaredError(c, in[0], hot); },
      {Noise({2, 3}, 1)});
}

TEST(OpGradients, DropoutScalesTheSameElementsBothWays) {
  const auto op = [](Context& c, const std::vector<Tensor>& in) {
    c.set_dropout(0.4f, 11);
    return Dropout(c, in[0]);
  };
  ExpectGradients(op, {Noise({6, 20}, 1)});
}

TEST(Ops, AttentionDropsProbabilitiesOnlyInARunThatDrops) {
  Arena arena;
  const Tensor x = Noise({1, 9, 6}, 1);
  const auto run = [&](float of_the_run, float of_attention) {
    Context ctx(&arena);
    ctx.set_dropout(of_the_run, 3);
    const Tensor y =
        Attention(ctx, x, {x, x}, {.heads = 2, .kv_heads = 2, .dropout = of_attention});
    return std::vector<float>(y.f32(), y.f32() + y.elements());
  };
  EXPECT_EQ(run(0, 0.5f), run(0, 0));
  EXPECT_EQ(run(0.1f, 0), run(0, 0));
  EXPECT_NE(run(0.1f, 0.5f), run(0, 0));
}

TEST(Ops, RefuseShapesThatDoNotMatch) {
  Arena arena;
  const auto refused = [&](const std::function<void(Context&)>& call) {
    Context ctx(&arena);
    call(ctx);
    return !ctx.ok() && ctx.status().code() == StatusCode::kInvalidArgument;
  };
  const Tensor a = Noise({2, 3}, 1), b = Noise({4, 5}, 2), row = Noise({4}, 3);
  EXPECT_TRUE(refused([&](Context& c) { Linear(c, a, b, {}); }));
  EXPECT_TRUE(refused([&](Context& c) { Linear(c, a, Noise({4, 3}, 1), a); }));
  EXPECT_TRUE(refused([&](Context& c) { Add(c, a, b); }));
  EXPECT_TRUE(refused([&](Context& c) { Mul(c, a, b); }));
  EXPECT_TRUE(refused([&](Context& c) { LayerNorm(c, a, row, {}, 1e-5f); }));
  EXPECT_TRUE(refused([&](Context& c) { RmsNorm(c, a, row, 1e-5f); }));
  EXPECT_TRUE(refused([&](Context& c) { Split(c, a, 2); }));
  EXPECT_TRUE(refused([&](Context& c) { RmsNorm(c, a, Tensor(), 1e-5f); }));
  EXPECT_TRUE(refused([&](Context& c) { Embedding(c, Ints({2}, {0, 4}), b); }));
  EXPECT_TRUE(refused([&](Context& c) { Embedding(c, Ints({2}, {0, -1}), b); }));
  EXPECT_TRUE(refused([&](Context& c) { SelectRows(c, a, Ints({1}, {2})); }));
  const Tensor x = Noise({1, 2, 3}, 1);
  EXPECT_TRUE(refused([&](Context& c) { CausalConv(c, x, Noise({4, 2}, 1), {}, nullptr); }));
  EXPECT_TRUE(refused([&](Context& c) {
    Tensor other = Noise({1, 2, 4}, 1);
    CausalConv(c, x, Noise({3, 3}, 1), {}, &other);
  }));
  EXPECT_TRUE(refused([&](Context& c) { TokenMix(c, x, {}, row); }));
  EXPECT_TRUE(refused([&](Context& c) { Wkv(c, x, x, row, row, nullptr); }));
  EXPECT_TRUE(refused(
      [&](Context& c) { SelectiveScan(c, x, x, Noise({3, 2}, 1), x, x, Noise({3}, 1), nullptr); }));
  EXPECT_TRUE(refused([&](Context& c) { GatedDeltaRule(c, x, x, x, x, x, 2, nullptr); }));
  EXPECT_TRUE(refused([&](Context& c) { MaskTokens(c, x, row); }));
  EXPECT_TRUE(refused([&](Context& c) { CrossEntropy(c, a, Ints({2}, {0, 3})); }));
  EXPECT_TRUE(refused([&](Context& c) { CrossEntropy(c, a, Ints({1}, {0})); }));
  EXPECT_TRUE(refused([&](Context& c) {
    Attention(c, Noise({1, 2, 6}, 1), {Noise({1, 2, 6}, 1), Noise({1, 2, 6}, 1)},
              {.heads = 4, .kv_heads = 4});
  }));
  EXPECT_TRUE(refused([&](Context& c) {
    Attention(c, Noise({1, 3, 6}, 1), {Noise({1, 2, 6}, 1), Noise({1, 2, 6}, 1)},
              {.heads = 2, .kv_heads = 2, .causal = true});
  }));
  EXPECT_TRUE(refused([&](Context& c) {
    const Tensor x = Noise({3, 2, 6}, 1);
    Attention(c, x, {x, x}, {.heads = 2, .kv_heads = 2, .bias = Noise({2, 2, 2, 2}, 1)});
  }));
  EXPECT_TRUE(refused([&](Context& c) {  // an entry outside of the table
    const Tensor x = Noise({1, 2, 6}, 1);
    DisentangledBias(c, x, x, Noise({3, 6}, 1), {}, Ints({3}, {0, 3, 0}), 2, 1);
  }));
  EXPECT_TRUE(refused([&](Context& c) {
    const Tensor x = Noise({1, 2, 6}, 1);
    DisentangledBias(c, x, x, Noise({3, 6}, 1), {}, Ints({2}, {0, 0}), 2, 1);
  }));
  EXPECT_TRUE(refused([&](Context& c) { Unfold(c, a, 3); }));
}

TEST(Ops, AFailedContextMakesLaterOpsDoNothing) {
  Arena arena;
  Context ctx(&arena);
  const Tensor x = Add(ctx, Noise({2, 3}, 1), Noise({4, 5}, 2));
  const std::string first = ctx.status().message();
  EXPECT_FALSE(LayerNorm(ctx, Activate(ctx, x, Activation::kGelu), Noise({3}, 1), {}, 1e-5f));
  EXPECT_EQ(ctx.status().message(), first);
}

TEST(Ops, AnEmptyBatchGivesAnEmptyResult) {
  Arena arena;
  Context ctx(&arena);
  const Tensor y = Linear(ctx, Noise({0, 3}, 1), Noise({4, 3}, 2), {});
  EXPECT_TRUE(ctx.ok());
  EXPECT_EQ(y.shape(), Shape({0, 4}));
}

TEST(OpGradients, TheMeanOverHeadsOfAnAttentionFlowsToQueriesAndKeys) {
  AttentionSpec spec;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.scale = 0.7f;
  spec.key_mask = *Tensor::Zeros({2, 5}, DType::kU8);
  auto* mask = static_cast<uint8_t*>(spec.key_mask.data());
  for (const int seen : {0, 1, 3, 5, 6, 7, 8, 9}) mask[seen] = 1;
  ExpectGradients(
      [&](Context& c, const std::vector<Tensor>& in) {
        return MeanAttention(c, in[0], in[1], spec);
      },
      {Noise({2, 3, 12}, 1), Noise({2, 5, 6}, 2)});
}

TEST(Ops, TheMeanAttentionIsThatOfTheProbabilitiesThatAttentionShows) {
  Arena arena;
  Context ctx(&arena);
  const Tensor q = Noise({2, 3, 12}, 1), k = Noise({2, 5, 12}, 2);
  Tensor probabilities;
  AttentionSpec spec;
  spec.heads = spec.kv_heads = 3;
  spec.scale = 0.5f;
  spec.probabilities = &probabilities;
  Attention(ctx, q, {k, k}, spec);
  const Tensor mean = MeanAttention(ctx, q, k, spec);
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < 15; ++i) {
      float sum = 0;
      for (int64_t h = 0; h < 3; ++h) sum += probabilities.f32()[(b * 3 + h) * 15 + i];
      EXPECT_NEAR(mean.f32()[b * 15 + i], sum / 3, 1e-5);
    }
  }
}

TEST(OpGradients, AMixtureWithCopiesFlowsToItsThreeParts) {
  // Two sources, one id twice in the first, ids 6 and 7 beyond the vocabulary of 6.
  const Tensor ids = Ints({2, 4}, {1, 6, 1, 3, 7, 0, 2, 5}), owners = Ints({3}, {0, 1, 0});
  const auto mixture = [&](Context& c, const std::vector<Tensor>& in) {
    return CopyMixture(c, in[0], Activate(c, in[1], Activation::kSigmoid), Softmax(c, in[2]), ids,
                       owners, 8);
  };
  Arena arena;
  Context ctx(&arena);
  const Tensor y = mixture(ctx, {Noise({3, 6}, 1), Noise({3, 1}, 2), Noise({3, 4}, 3)});
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  for (int64_t r = 0; r < 3; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < 8; ++c) sum += std::exp(static_cast<double>(y.f32()[r * 8 + c]));
    EXPECT_NEAR(sum, 1, 1e-5);
    const int64_t lacking = owners.i32()[r] == 0 ? 7 : 6;
    EXPECT_NEAR(y.f32()[r * 8 + lacking], std::log(kNoProbability), 1e-3);
  }
  ExpectGradients(mixture, {Noise({3, 6}, 1), Noise({3, 1}, 2), Noise({3, 4}, 3)}, 5e-3);
}

TEST(Ops, AMixtureRefusesIdsThatItsColumnsDoNotHold) {
  Arena arena;
  Context ctx(&arena);
  const Tensor gate = Noise({1, 1}, 1), attention = Noise({1, 2}, 2), logits = Noise({1, 4}, 3);
  EXPECT_FALSE(CopyMixture(ctx, logits, gate, attention, Ints({1, 2}, {0, 5}), Ints({1}, {0}), 5));
  ctx.Reset();
  EXPECT_FALSE(CopyMixture(ctx, logits, gate, attention, Ints({1, 2}, {0, 4}), Ints({1}, {1}), 5));
  ctx.Reset();
  EXPECT_FALSE(CopyMixture(ctx, logits, gate, attention, Ints({1, 2}, {0, 4}), Ints({1}, {0}), 3));
  ctx.Reset();
  EXPECT_TRUE(CopyMixture(ctx, logits, gate, attention, Ints({1, 2}, {0, 4}), Ints({1}, {0}), 5));
}

TEST(OpGradients, TheCoverageLossIsOfWhatIsLookedAtAgain) {
  // One source of 3 places, 3 tokens; the second row's last token does not count.
  const std::vector<float> attention = {0.7f, 0.2f, 0.1f, 0.3f, 0.5f, 0.2f, 0.4f, 0.1f, 0.5f,
                                        0.1f, 0.8f, 0.1f, 0.6f, 0.1f, 0.3f, 0.2f, 0.2f, 0.6f};
  const Tensor targets = Ints({2, 3}, {4, 4, 4, 4, 4, kIgnoreTarget});
  Arena arena;
  Context ctx(&arena);
  const Tensor a = *Tensor::FromFloats({2, 3, 3}, attention);
  // min(a, c): 0.3 + 0.2 + 0.1, then 0.4 + 0.1 + 0.3; 0.1 + 0.1 + 0.1.
  EXPECT_NEAR(*CoverageLoss(ctx, a, targets).f32(), (0.6 + 0.8 + 0.3) / 5, 1e-6);
  ExpectGradients(
      [&](Context& c, const std::vector<Tensor>& in) { return CoverageLoss(c, in[0], targets); },
      {a});
}

}  // namespace
}  // namespace sotto
