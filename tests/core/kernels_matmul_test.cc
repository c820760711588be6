#include "core/kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/tensor/quant.h"
#include "tests/core/kernels_targets.h"

namespace sotto {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> Normals(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = random.NextNormal();
  return out;
}

// A product whose matrices begin `shift` elements into their memory and whose rows are `pad` longer
// than their columns.
struct Case {
  bool trans_a, trans_b;
  int64_t m, n, k, shift, pad;
  float beta;
  bool bias;
};

struct Product {
  std::vector<float> a, b, c, bias;
  GemmArgs args;

  explicit Product(const Case& t) {
    args.trans_a = t.trans_a;
    args.trans_b = t.trans_b;
    args.m = t.m;
    args.n = t.n;
    args.k = t.k;
    args.beta = t.beta;
    args.lda = (t.trans_a ? t.m : t.k) + t.pad;
    args.ldb = (t.trans_b ? t.k : t.n) + t.pad;
    args.ldc = t.n + t.pad;
    a = Normals((t.trans_a ? t.k : t.m) * args.lda + t.shift, 1);
    b = Normals((t.trans_b ? t.n : t.k) * args.ldb + t.shift, 2);
    c = Normals(t.m * args.ldc + t.shift, 3);
    bias = Normals(t.n + t.shift, 4);
    if (t.beta == 0) {  // what is not read may be anything, but what lies between rows is kept
      for (int64_t i = 0; i < t.m; ++i) {
        for (int64_t j = 0; j < t.n; ++j) c[static_cast<size_t>(t.shift + i * args.ldc + j)] = kNaN;
      }
    }
    args.a = a.data() + t.shift;
    args.b = b.data() + t.shift;
    args.c = c.data() + t.shift;
    if (t.bias) args.bias = bias.data() + t.shift;
  }
};

void ExpectMatchesTwin(const Case& t) {
  Product expected(t), actual(t);
  scalar::Gemm(expected.args);
  Gemm(actual.args, nullptr);
  const float tolerance = 1e-6f * (8 + static_cast<float>(t.k));
  for (size_t i = 0; i < expected.c.size(); ++i) {
    ASSERT_NEAR(actual.c[i], expected.c[i], tolerance)
        << "at " << i << " of " << t.m << "x" << t.n << "x" << t.k << " trans " << t.trans_a
        << t.trans_b << " pad " << t.pad << " beta " << t.beta << " bias " << t.bias;
  }
}

// Every combination of transposes, of beta and of bias.
void ExpectAllFormsMatch(int64_t m, int64_t n, int64_t k, int64_t shift, int64_t pad) {
  for (int form = 0; form < 16; ++form) {
    ExpectMatchesTwin({(form & 1) != 0, (form & 2) != 0, m, n, k, shift, pad,
                       (form & 4) != 0 ? 1.0f : 0.0f, (form & 8) != 0});
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(GemmTest, AgreesWithTheTwinForAllRemaindersOfRows) {
  ForEachTarget([] {
    for (int64_t m = 1; m <= 31; ++m) ExpectAllFormsMatch(m, 19, 7, 0, 0);
    for (int64_t m : {55, 56, 57, 58, 71}) ExpectAllFormsMatch(m, 33, 5, 0, 3);
  });
}

TEST(GemmTest, AgreesWithTheTwinForAllRemaindersOfColumns) {
  ForEachTarget([] {
    for (int64_t n = 1; n <= 67; ++n) {
      ExpectAllFormsMatch(7, n, 6, 0, 0);
      ExpectAllFormsMatch(1 + n % 5, n, 9, 0, 1);
    }
    ExpectAllFormsMatch(60, 1030, 3, 0, 0);
  });
}

TEST(GemmTest, AgreesWithTheTwinForAllRemaindersOfDepth) {
  ForEachTarget([] {
    for (int64_t k = 0; k <= 35; ++k) {
      ExpectAllFormsMatch(16, 17, k, 0, 0);
      ExpectAllFormsMatch(3, 5, k, 0, 2);
    }
    for (int64_t k : {255, 256, 257, 513}) {
      ExpectAllFormsMatch(15, 9, k, 0, 0);
      ExpectAllFormsMatch(61, 35, k, 0, 0);
      ExpectAllFormsMatch(2, 9, k, 0, 0);
    }
  });
}

TEST(GemmTest, ReadsMatricesThatAreMisalignedAndWiderThanTheirColumns) {
  ForEachTarget([] {
    for (int64_t shift : {1, 2, 3}) {
      ExpectAllFormsMatch(15, 37, 21, shift, 5);
      ExpectAllFormsMatch(64, 37, 21, shift, 1);
      ExpectAllFormsMatch(1, 37, 21, shift, 7);
      ExpectAllFormsMatch(4, 37, 21, shift, 7);
    }
  });
}

TEST(GemmTest, LeavesAnEmptyProductAloneAndFillsAnEmptySum) {
  ForEachTarget([] {
    float c[2] = {kNaN, kNaN};
    const float bias[2] = {3, 4};
    GemmArgs args;
    args.m = 1;
    args.c = c;
    args.ldc = 2;
    Gemm(args, nullptr);
    EXPECT_TRUE(std::isnan(c[0]));
    args.n = 2;
    Gemm(args, nullptr);
    EXPECT_EQ(c[0], 0);
    args.bias = bias;
    args.beta = 1;
    Gemm(args, nullptr);
    EXPECT_EQ(c[1], 4);
  });
}

TEST(GemmTest, KeepsNaNAndInfinityToTheRowsAndColumnsThatHoldThem) {
  ForEachTarget([] {
    for (int64_t m : {3, 20, 70}) {
      Product p({false, true, m, 21, 10, 0, 0, 0, false});
      p.a[10 + 9] = kNaN;        // row 1
      p.b[20 * 10] = kInfinity;  // column 20
      Gemm(p.args, nullptr);
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < 21; ++j) {
          EXPECT_EQ(std::isfinite(p.c[static_cast<size_t>(i * 21 + j)]), i != 1 && j != 20);
        }
      }
    }
  });
}

TEST(GemmTest, GivesTheSameBitsForAnyNumberOfThreads) {
  ThreadPool two(2), three(3);
  ForEachTarget([&] {
    for (int form = 0; form < 4; ++form) {
      for (int64_t m : {1, 5, 8, 14, 50, 130}) {
        const Case t{(form & 1) != 0, (form & 2) != 0, m, 301, 300, 0, 0, 0, true};
        Product one(t), other(t), third(t);
        Gemm(one.args, nullptr);
        Gemm(other.args, &two);
        Gemm(third.args, &three);
        EXPECT_EQ(std::memcmp(one.c.data(), other.c.data(), one.c.size() * 4), 0);
        EXPECT_EQ(std::memcmp(one.c.data(), third.c.data(), one.c.size() * 4), 0);
      }
    }
  });
}

TEST(QuantizeRowTest, AgreesWithTheTwinForAnyLengthAndAlignment) {
  ForEachTarget([] {
    for (int64_t k = 0; k <= 67; ++k) {
      const std::vector<float> x = Normals(k + 1, static_cast<uint64_t>(k));
      std::vector<int8_t> q(static_cast<size_t>(k + 2), 99), expected(q);
      float scale, expected_scale;
      int32_t sum, expected_sum;
      QuantizeRow(x.data() + 1, k, q.data() + 1, &scale, &sum);
      scalar::QuantizeRow(x.data() + 1, k, expected.data() + 1, &expected_scale, &expected_sum);
      EXPECT_EQ(q, expected);
      EXPECT_EQ(scale, expected_scale);
      EXPECT_EQ(sum, expected_sum);
    }
  });
}

TEST(QuantizeRowTest, RoundsHalvesToEvenAndKeepsTheLargestAt127) {
  ForEachTarget([] {
    const float x[6] = {127, 0.5f, 1.5f, -2.5f, -127, 0.4f};
    int8_t q[6];
    float scale;
    int32_t sum;
    QuantizeRow(x, 6, q, &scale, &sum);
    EXPECT_EQ(scale, 1);
    const int8_t expected[6] = {127, 0, 2, -2, -127, 0};
    EXPECT_EQ(std::memcmp(q, expected, 6), 0);
    EXPECT_EQ(sum, 0);
  });
}

TEST(QuantizeRowTest, AnswersNaNAndInfinityWithAScaleOfNaNAndTinyRowsWithZero) {
  ForEachTarget([] {
    for (float odd : {kNaN, -kNaN, kInfinity, -kInfinity}) {
      for (size_t at : {0u, 5u, 18u}) {
        std::vector<float> x(19, 1.0f);
        x[at] = odd;
        int8_t q[19];
        float scale;
        int32_t sum;
        QuantizeRow(x.data(), 19, q, &scale, &sum);
        EXPECT_TRUE(std::isnan(scale));
        EXPECT_EQ(sum, 0);
        EXPECT_EQ(q[3], 0);
      }
    }
    for (float tiny : {0.0f, 1e-40f, -1e-31f}) {
      const std::vector<float> x(19, tiny);
      int8_t q[19];
      float scale;
      int32_t sum;
      QuantizeRow(x.data(), 19, q, &scale, &sum);
      EXPECT_EQ(scale, 0);
      EXPECT_EQ(sum, 0);
      EXPECT_EQ(q[18], 0);
    }
  });
}

Tensor Packed(int64_t n, int64_t k, uint64_t seed) {
  const std::vector<float> w = Normals(n * k, seed);
  return std::move(PackQ8(*Tensor::FromFloats({n, k}, w))).value();
}

void ExpectQ8MatchesTwin(int64_t m, int64_t n, int64_t k, bool with_bias, ThreadPool* pool) {
  const Tensor packed = Packed(n, k, 5);
  const std::vector<float> x = Normals(m * k + 1, 6), bias = Normals(n, 7);
  std::vector<float> y(static_cast<size_t>(m * n + 1), -77), expected(y);
  const float* b = with_bias ? bias.data() : nullptr;
  MatMulQ8(x.data() + 1, m, k, packed.data(), n, b, y.data(), pool);
  scalar::MatMulQ8(x.data() + 1, m, k, packed.data(), n, b, expected.data());
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_EQ(y[i], expected[i]) << "at " << i << " of " << m << "x" << n << "x" << k;
  }
}

TEST(MatMulQ8Test, EqualsTheTwinBitForBitForAllRemainders) {
  ForEachTarget([] {
    for (int64_t m = 1; m <= 30; ++m) ExpectQ8MatchesTwin(m, 21, 13, m % 2 == 0, nullptr);
    for (int64_t n = 1; n <= 70; ++n) ExpectQ8MatchesTwin(1 + n % 7, n, 9, n % 2 == 0, nullptr);
    for (int64_t k = 1; k <= 40; ++k) ExpectQ8MatchesTwin(1 + k % 5, 18, k, k % 2 == 0, nullptr);
    for (int64_t k : {255, 256, 257, 261, 1000}) ExpectQ8MatchesTwin(3, 40, k, true, nullptr);
  });
}

TEST(MatMulQ8Test, EqualsTheTwinWhereRowsOutgrowTheScratchMemory) {
  ForEachTarget([] {
    ExpectQ8MatchesTwin(33, 9, 20003, true, nullptr);
    ExpectQ8MatchesTwin(700, 17, 501, false, nullptr);
  });
}

TEST(MatMulQ8Test, GivesTheSameBitsForAnyNumberOfThreads) {
  ThreadPool two(2), three(3);
  ForEachTarget([&] {
    for (int64_t m : {1, 2, 37}) {
      ExpectQ8MatchesTwin(m, 1003, 200, true, &two);
      ExpectQ8MatchesTwin(m, 1003, 200, true, &three);
    }
  });
}

TEST(MatMulQ8Test, IsExactAtTheExtremesOfBothOperands) {
  ForEachTarget([] {
    for (float sign :
         {1.0f, -1.0f}) {  // every product is 127 * 63 in magnitude, every byte 127 or 1
      const int64_t n = 9, k = 4096;
      const std::vector<float> w(static_cast<size_t>(n * k), sign),
          x(static_cast<size_t>(2 * k), 127);
      const Tensor packed = std::move(PackQ8(*Tensor::FromFloats({n, k}, w))).value();
      std::vector<float> y(static_cast<size_t>(2 * n)), expected(y);
      MatMulQ8(x.data(), 2, k, packed.data(), n, nullptr, y.data(), nullptr);
      scalar::MatMulQ8(x.data(), 2, k, packed.data(), n, nullptr, expected.data());
      EXPECT_EQ(y, expected);
      EXPECT_NEAR(y[0], sign * 127 * k, 1);
    }
  });
}

TEST(MatMulQ8Test, StaysNearTheProductInFullPrecision) {
  const int64_t m = 4, n = 64, k = 512;
  const std::vector<float> w = Normals(n * k, 8), x = Normals(m * k, 9);
  const Tensor packed = std::move(PackQ8(*Tensor::FromFloats({n, k}, w))).value();
  std::vector<float> y(static_cast<size_t>(m * n));
  MatMulQ8(x.data(), m, k, packed.data(), n, nullptr, y.data(), nullptr);
  double error = 0, power = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double exact = 0;
      for (int64_t c = 0; c < k; ++c)
        exact += x[static_cast<size_t>(i * k + c)] * w[static_cast<size_t>(j * k + c)];
      error += std::pow(exact - y[static_cast<size_t>(i * n + j)], 2);
      power += exact * exact;
    }
  }
  EXPECT_LT(std::sqrt(error / power), 0.02);
  EXPECT_GT(std::sqrt(error / power), 0.001);  // it was rounded, indeed
}

TEST(MatMulQ8Test, ANaNSpoilsItsOwnRowOnly) {
  ForEachTarget([] {
    const int64_t m = 3, n = 10, k = 20;
    const Tensor packed = Packed(n, k, 10);
    std::vector<float> x = Normals(m * k, 11), y(static_cast<size_t>(m * n));
    x[static_cast<size_t>(k + 3)] = kInfinity;
    MatMulQ8(x.data(), m, k, packed.data(), n, nullptr, y.data(), nullptr);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        EXPECT_EQ(std::isnan(y[static_cast<size_t>(i * n + j)]), i == 1);
      }
    }
  });
}

TEST(MatMulQ8Test, AnEmptyDepthGivesTheBias) {
  const float scales[8] = {1, 1, 1, 1, 1, 1, 1, 1}, bias[2] = {5, 6};
  float y[2] = {kNaN, kNaN};
  MatMulQ8(nullptr, 1, 0, scales, 2, bias, y, nullptr);
  EXPECT_EQ(y[0], 5);
  EXPECT_EQ(y[1], 6);
}

void ExpectQ4MatchesTwin(int64_t m, int64_t n, int64_t k, bool with_bias, ThreadPool* pool) {
  const Tensor packed = *PackQ4(*Tensor::FromFloats({n, k}, Normals(n * k, 5)));
  const std::vector<float> x = Normals(m * k + 1, 6), bias = Normals(n, 7);
  std::vector<float> y(static_cast<size_t>(m * n + 1), -77), expected(y);
  const float* b = with_bias ? bias.data() : nullptr;
  MatMulQ4(x.data() + 1, m, k, packed.data(), n, b, y.data(), pool);
  scalar::MatMulQ4(x.data() + 1, m, k, packed.data(), n, b, expected.data());
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_EQ(y[i], expected[i]) << "at " << i << " of " << m << "x" << n << "x" << k;
  }
}

TEST(MatMulQ4Test, EqualsTheTwinBitForBitForAllRemainders) {
  ForEachTarget([] {
    for (int64_t m = 1; m <= 20; ++m) ExpectQ4MatchesTwin(m, 21, 45, m % 2 == 0, nullptr);
    for (int64_t n = 1; n <= 70; ++n) ExpectQ4MatchesTwin(1 + n % 7, n, 40, n % 2 == 0, nullptr);
    for (int64_t k = 1; k <= 100; ++k) ExpectQ4MatchesTwin(1 + k % 7, 18, k, k % 2 == 0, nullptr);
    ExpectQ4MatchesTwin(33, 9, 20003, true, nullptr);  // rows outgrow the scratch memory
  });
}

TEST(MatMulQ4Test, GivesTheSameBitsForAnyNumberOfThreads) {
  ThreadPool two(2), three(3);
  ForEachTarget([&] {
    for (int64_t m : {1, 2, 37}) {
      ExpectQ4MatchesTwin(m, 1003, 200, true, &two);
      ExpectQ4MatchesTwin(m, 1003, 200, true, &three);
    }
  });
}

TEST(MatMulQ4Test, MultipliesByTheRowsThatUnpackGives) {
  const int64_t m = 4, n = 64, k = 512;
  const Tensor packed = *PackQ4(*Tensor::FromFloats({n, k}, Normals(n * k, 8)));
  const std::vector<float> x = Normals(m * k, 9);
  std::vector<float> y(static_cast<size_t>(m * n)), row(static_cast<size_t>(k));
  MatMulQ4(x.data(), m, k, packed.data(), n, nullptr, y.data(), nullptr);
  double error = 0, power = 0;
  for (int64_t j = 0; j < n; ++j) {
    UnpackRow(packed, j, row.data());
    for (int64_t i = 0; i < m; ++i) {
      double exact = 0;
      for (int64_t c = 0; c < k; ++c)
        exact += x[static_cast<size_t>(i * k + c)] * row[static_cast<size_t>(c)];
      error += std::pow(exact - y[static_cast<size_t>(i * n + j)], 2);
      power += exact * exact;
    }
  }
  EXPECT_LT(std::sqrt(error / power), 0.01);  // what rounding x to 8 bits costs
}

TEST(MatMulQ4Test, ANaNSpoilsItsOwnRowOnlyAndAnEmptyDepthGivesTheBias) {
  ForEachTarget([] {
    const int64_t m = 3, n = 10, k = 40;
    const Tensor packed = *PackQ4(*Tensor::FromFloats({n, k}, Normals(n * k, 10)));
    std::vector<float> x = Normals(m * k, 11), y(static_cast<size_t>(m * n));
    x[static_cast<size_t>(k + 3)] = kInfinity;
    MatMulQ4(x.data(), m, k, packed.data(), n, nullptr, y.data(), nullptr);
    for (int64_t i = 0; i < m * n; ++i) {
      EXPECT_EQ(std::isnan(y[static_cast<size_t>(i)]), i / n == 1);
    }
  });
  const float bias[2] = {5, 6};
  float y[2] = {kNaN, kNaN};
  MatMulQ4(nullptr, 1, 0, bias, 2, bias, y, nullptr);
  EXPECT_EQ(y[0], 5);
  EXPECT_EQ(y[1], 6);
}

}  // namespace
}  // namespace sotto
