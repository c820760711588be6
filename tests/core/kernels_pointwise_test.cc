#include "core/kernels/pointwise.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "gtest/gtest.h"
#include "tests/core/kernels_targets.h"

namespace sotto {
namespace {

constexpr Activation kActivations[] = {
    Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,    Activation::kSilu,
    Activation::kTanh, Activation::kSigmoid,  Activation::kSoftplus};

// From -100 to 100, densest near zero, and the extremes.
std::vector<float> Sweep() {
  std::vector<float> x;
  for (int i = -20000; i <= 20000; ++i) {
    const double t = i / 20000.0;
    x.push_back(static_cast<float>(100 * t * t * t));
  }
  for (const float v :
       {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -1e30f, 3e38f, -3e38f, 88.7f, -88.7f, 90.0f, -90.0f}) {
    x.push_back(v);
  }
  return x;
}

TEST(PointwiseKernels, ActivationsStayWithinTheirBoundOfTheScalarTwin) {
  ForEachTarget([] {
    const std::vector<float> x = Sweep();
    std::vector<float> y(x.size());
    for (const Activation f : kActivations) {
      Activate(f, x.data(), y.data(), static_cast<int64_t>(x.size()), nullptr);
      for (size_t i = 0; i < x.size(); ++i) {
        const float want = scalar::Activate(f, x[i]);
        const bool fitted = f == Activation::kGelu || f == Activation::kGeluTanh;
        ASSERT_LE(std::abs(y[i] - want), std::max(1e-6f * std::abs(want), fitted ? 8e-7f : 1.5e-7f))
            << "activation " << static_cast<int>(f) << " at " << x[i] << ": " << y[i] << ", not "
            << want;
      }
    }
  });
}

TEST(PointwiseKernels, TanhIsAccurateRelativelyNearZero) {
  ForEachTarget([] {
    for (float x = 1e-20f; x < 1; x *= 1.01f) {
      float y = 0;
      Activate(Activation::kTanh, &x, &y, 1, nullptr);
      ASSERT_NEAR(y / std::tanh(static_cast<double>(x)), 1, 5e-7) << x;
    }
  });
}

// exp reaches the outside through the sigmoid: 1 / s(x) - 1 = e^-x, well conditioned for x < 0.
TEST(PointwiseKernels, TheExponentialKeepsItsRelativeBound) {
  ForEachTarget([] {
    for (float x = -86; x < -17; x += 0.0137f) {
      float y = 0;
      Activate(Activation::kSigmoid, &x, &y, 1, nullptr);
      ASSERT_NEAR(y / std::exp(static_cast<double>(x)), 1, 3.5e-7) << x;  // 2e-7 and a division
    }
  });
}

TEST(PointwiseKernels, ActivationsOfInfinityAreTheirLimits) {
  ForEachTarget([] {
    const float inf = std::numeric_limits<float>::infinity();
    const float x[2] = {inf, -inf};
    float y[2];
    Activate(Activation::kTanh, x, y, 2, nullptr);
    EXPECT_EQ(y[0], 1);
    EXPECT_EQ(y[1], -1);
    Activate(Activation::kSigmoid, x, y, 2, nullptr);
    EXPECT_EQ(y[0], 1);
    EXPECT_EQ(y[1], 0);
    Activate(Activation::kGelu, x, y, 1, nullptr);
    EXPECT_EQ(y[0], inf);
  });
}

TEST(PointwiseKernels, ActivationsPassNaNOn) {
  ForEachTarget([] {
    const float x = std::numeric_limits<float>::quiet_NaN();
    for (const Activation f : kActivations) {
      float y = 0;
      Activate(f, &x, &y, 1, nullptr);
      EXPECT_TRUE(std::isnan(y)) << static_cast<int>(f);
    }
  });
}

TEST(PointwiseKernels, DerivativesMatchTheScalarTwinAndAccumulate) {
  ForEachTarget([] {
    const std::vector<float> x = Sweep();
    const int64_t n = static_cast<int64_t>(x.size());
    std::vector<float> dy(x.size(), 2.0f), dx(x.size());
    for (const Activation f : kActivations) {
      std::fill(dx.begin(), dx.end(), 0.25f);
      ActivateBackward(f, x.data(), dy.data(), dx.data(), n, nullptr);
      for (size_t i = 0; i < x.size(); ++i) {
        const float want = 0.25f + 2 * scalar::ActivateDerivative(f, x[i]);
        ASSERT_NEAR(dx[i], want, 3e-6f) << "activation " << static_cast<int>(f) << " at " << x[i];
      }
    }
  });
}

TEST(PointwiseKernels, ScalarDerivativesAreSlopesOfTheScalarValues) {
  const double h = 1e-3;
  for (const Activation f : kActivations) {
    for (float x = -6.05f; x < 6; x += 0.1f) {
      const float up = x + static_cast<float>(h), down = x - static_cast<float>(h);
      const double slope =
          (static_cast<double>(scalar::Activate(f, up)) - scalar::Activate(f, down)) / (up - down);
      EXPECT_NEAR(scalar::ActivateDerivative(f, x), slope, 3e-4)
          << static_cast<int>(f) << " at " << x;
    }
  }
}

TEST(PointwiseKernels, EveryLengthAndOffsetIsHandledWithoutTouchingTheNeighbours) {
  ForEachTarget([] {
    Random random(1);
    for (int64_t n = 0; n <= 70; ++n) {
      for (const int64_t offset : {0, 1, 3}) {
        std::vector<float> a(n + 8), b(n + 8), y(n + 8);
        for (float& v : a) v = random.NextNormal();
        for (float& v : b) v = random.NextNormal();
        const float *pa = a.data() + offset, *pb = b.data() + offset;
        float* py = y.data() + offset;
        const auto check = [&](const char* what, auto run, auto want) {
          std::vector<float> before(n + 8);
          for (float& v : before) v = random.NextNormal();
          y = before;
          run();
          for (int64_t i = 0; i < n + 8; ++i) {
            const bool inside = i >= offset && i < offset + n;
            const float expected = inside ? want(i - offset, before[i]) : before[i];
            ASSERT_NEAR(y[i], expected, inside ? 1e-5f : 0.0f)
                << what << " of " << n << " at " << i - offset;
          }
        };
        check(
            "Add", [&] { Add(pa, pb, py, n, nullptr); },
            [&](int64_t i, float) { return pa[i] + pb[i]; });
        check(
            "Mul", [&] { Mul(pa, pb, py, n, nullptr); },
            [&](int64_t i, float) { return pa[i] * pb[i]; });
        check(
            "Scale", [&] { Scale(pa, 3, py, n, nullptr); },
            [&](int64_t i, float) { return 3 * pa[i]; });
        check(
            "Axpy", [&] { Axpy(pa, 3, py, n, nullptr); },
            [&](int64_t i, float old) { return old + 3 * pa[i]; });
        check(
            "MulAdd", [&] { MulAdd(pa, pb, py, n, nullptr); },
            [&](int64_t i, float old) { return old + pa[i] * pb[i]; });
        check(
            "AddRow", [&] { AddRow(pa, pb, py, 1, n, nullptr); },
            [&](int64_t i, float) { return pa[i] + pb[i]; });
        check(
            "Activate", [&] { Activate(Activation::kGelu, pa, py, n, nullptr); },
            [&](int64_t i, float) { return scalar::Activate(Activation::kGelu, pa[i]); });
        check(
            "ActivateBackward",
            [&] { ActivateBackward(Activation::kSilu, pa, pb, py, n, nullptr); },
            [&](int64_t i, float old) {
              return old + pb[i] * scalar::ActivateDerivative(Activation::kSilu, pa[i]);
            });
        check(
            "SumRows", [&] { SumRows(pa, py, 1, n, nullptr); },
            [&](int64_t i, float old) { return old + pa[i]; });
        std::vector<float> kept(n);
        scalar::Dropout(pa, 0.3f, 99, kept.data(), n);
        check(
            "Dropout", [&] { Dropout(pa, 0.3f, 99, py, n, nullptr); },
            [&](int64_t i, float) { return kept[i]; });
        check(
            "DropoutBackward", [&] { DropoutBackward(pa, 0.3f, 99, py, n, nullptr); },
            [&](int64_t i, float old) { return old + kept[i]; });
      }
    }
  });
}

TEST(PointwiseKernels, ResultsMayReplaceTheirInputs) {
  ForEachTarget([] {
    std::vector<float> x(37, 2.0f), b(37, 5.0f);
    Add(x.data(), b.data(), x.data(), 37, nullptr);
    Add(b.data(), x.data(), x.data(), 37, nullptr);
    EXPECT_EQ(x, std::vector<float>(37, 12.0f));
    Activate(Activation::kRelu, x.data(), x.data(), 37, nullptr);
    EXPECT_EQ(x, std::vector<float>(37, 12.0f));
  });
}

TEST(PointwiseKernels, RowsSumToTheirColumnsForEveryShape) {
  ForEachTarget([] {
    Random random(2);
    for (const int64_t rows : {1, 2, 127, 128, 129, 1000}) {
      for (int64_t columns = 1; columns <= 70; ++columns) {
        std::vector<float> x(rows * columns), sum(columns, 1.0f), want(columns, 1.0f);
        for (float& v : x) v = random.NextNormal();
        SumRows(x.data(), sum.data(), rows, columns, nullptr);
        scalar::SumRows(x.data(), want.data(), rows, columns);
        for (int64_t c = 0; c < columns; ++c)
          ASSERT_NEAR(sum[c], want[c], 2e-5f * std::sqrt(rows)) << rows << "x" << columns;
      }
    }
  });
}

TEST(PointwiseKernels, AMillionEqualTermsSumToFourDigits) {
  ForEachTarget([] {
    std::vector<float> x(1 << 20, 1.1f);
    float sum = 0;
    SumRows(x.data(), &sum, 1 << 20, 1, nullptr);
    EXPECT_NEAR(sum / (1.1f * (1 << 20)), 1, 1e-4);
  });
}

TEST(PointwiseKernels, SquaresSumInDouble) {
  ForEachTarget([] {
    for (const int64_t n : {0, 1, 5, 64, 4095, 4096, 4097, 100001}) {
      std::vector<float> x(n);
      Random random(3);
      double want = 0;
      for (float& v : x) v = random.NextNormal() * 1e20f, want += static_cast<double>(v) * v;
      EXPECT_NEAR(SumSquares(x.data(), n, nullptr), want, 1e-12 * want);
    }
  });
}

TEST(PointwiseKernels, DropoutKeepsTheShareItPromisesAndItsSum) {
  ForEachTarget([] {
    const int64_t n = 200000;
    std::vector<float> x(n, 1.0f), y(n);
    Dropout(x.data(), 0.2f, 7, y.data(), n, nullptr);
    int64_t kept = 0;
    for (const float v : y) {
      ASSERT_TRUE(v == 0 || v == 1.0f / 0.8f) << v;
      kept += v != 0;
    }
    EXPECT_NEAR(kept / static_cast<double>(n), 0.8, 0.005);
  });
}

TEST(PointwiseKernels, DropoutOfAllAndOfNothing) {
  ForEachTarget([] {
    std::vector<float> x(33, std::numeric_limits<float>::infinity()), y(33, 1.0f);
    Dropout(x.data(), 1.0f, 7, y.data(), 33, nullptr);
    EXPECT_EQ(y, std::vector<float>(33, 0.0f));
    Dropout(x.data(), 0.0f, 7, y.data(), 33, nullptr);
    EXPECT_EQ(y, x);
  });
}

TEST(PointwiseKernels, ThreadsDoNotChangeABit) {
  const int64_t rows = 777, columns = 131, n = rows * columns;
  Random random(4);
  std::vector<float> x(n), dy(n);
  for (float& v : x) v = random.NextNormal();
  for (float& v : dy) v = random.NextNormal();
  ForEachTarget([&] {
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      std::vector<float> y(4 * n + columns);
      Activate(Activation::kGelu, x.data(), y.data(), n, &pool);
      ActivateBackward(Activation::kGelu, x.data(), dy.data(), y.data() + n, n, &pool);
      Dropout(x.data(), 0.1f, 5, y.data() + 2 * n, n, &pool);
      AddRow(x.data(), dy.data(), y.data() + 3 * n, rows, columns, &pool);
      SumRows(x.data(), y.data() + 4 * n, rows, columns, &pool);
      const double squares = SumSquares(x.data(), n, &pool);
      float bits[2];
      std::memcpy(bits, &squares, 8);
      y.push_back(bits[0]), y.push_back(bits[1]);
      results.push_back(y);
    }
    for (const auto& r : results)
      EXPECT_EQ(std::memcmp(r.data(), results[0].data(), r.size() * 4), 0);
  });
}

}  // namespace
}  // namespace sotto
