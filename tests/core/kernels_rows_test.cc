#include "core/kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "gtest/gtest.h"
#include "tests/core/kernels_targets.h"

namespace sotto {
namespace {

using Floats = std::vector<float>;
constexpr float kInf = std::numeric_limits<float>::infinity();

Floats Normal(int64_t count, uint64_t seed, float scale = 1) {
  Random random(seed);
  Floats x(count);
  for (float& v : x) v = scale * random.NextNormal();
  return x;
}

void ExpectNear(const Floats& got, const Floats& want, float tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0f, std::abs(want[i])))
        << what << " at " << i << " of " << got.size();
  }
}

// The slope of a double function of one float array, by central differences.
Floats Slopes(Floats x, const std::function<double(const Floats&)>& f, float h = 1e-2f) {
  Floats slopes(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const float old = x[i];
    x[i] = old + h;
    const double up = f(x), high = x[i];
    x[i] = old - h;
    slopes[i] = static_cast<float>((up - f(x)) / (high - x[i]));
    x[i] = old;
  }
  return slopes;
}

double Dot(const Floats& a, const Floats& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

TEST(RowKernels, SoftmaxMatchesItsTwinForEveryWidthAndOffset) {
  ForEachTarget([] {
    for (int64_t columns = 1; columns <= 70; ++columns) {
      for (const int64_t offset : {0, 1, 3}) {
        const Floats x = Normal(3 * columns + offset, columns, 5);
        Floats y(3 * columns + offset + 1, -7.0f), want(3 * columns);
        Softmax(x.data() + offset, y.data() + offset, 3, columns, nullptr);
        EXPECT_EQ(y.back(), -7.0f);
        scalar::Softmax(x.data() + offset, want.data(), 3, columns);
        ExpectNear(Floats(y.begin() + offset, y.end() - 1), want, 5e-7f, "softmax");
      }
    }
  });
}

TEST(RowKernels, SoftmaxOfExtremesStaysFinite) {
  ForEachTarget([] {
    Floats x(21, -kInf), y(21, 5.0f);
    Softmax(x.data(), y.data(), 1, 21, nullptr);
    EXPECT_EQ(y, Floats(21, 0.0f));
    x[20] = -3e38f;
    Softmax(x.data(), y.data(), 1, 21, nullptr);
    EXPECT_EQ(y[20], 1);
    EXPECT_EQ(y[0], 0);
    x.assign(21, 3e38f);
    x[3] = -3e38f;
    Softmax(x.data(), x.data(), 1, 21, nullptr);
    EXPECT_EQ(x[3], 0);
    EXPECT_FLOAT_EQ(x[4], 0.05f);
    x.assign(21, 1e-40f);
    Softmax(x.data(), x.data(), 1, 21, nullptr);
    EXPECT_FLOAT_EQ(x[7], 1.0f / 21);
    x[1] = std::numeric_limits<float>::quiet_NaN();
    Softmax(x.data(), x.data(), 1, 21, nullptr);
    EXPECT_TRUE(std::isnan(x[0]));
  });
}

TEST(RowKernels, SoftmaxOfManyColumnsSumsToOne) {
  ForEachTarget([] {
    const Floats x = Normal(50257, 8, 3);
    Floats y(x.size());
    Softmax(x.data(), y.data(), 1, 50257, nullptr);
    double sum = 0;
    for (const float v : y) sum += v;
    EXPECT_NEAR(sum, 1, 2e-6);
  });
}

TEST(RowKernels, SoftmaxBackwardIsItsSlope) {
  ForEachTarget([] {
    for (const int64_t columns : {1, 5, 16, 33}) {
      const Floats x = Normal(2 * columns, 1), dy = Normal(2 * columns, 2);
      Floats y(2 * columns), dx(2 * columns, 0.5f);
      Softmax(x.data(), y.data(), 2, columns, nullptr);
      SoftmaxBackward(y.data(), dy.data(), dx.data(), 2, columns, nullptr);
      Floats want = Slopes(x, [&](const Floats& v) {
        Floats out(v.size());
        scalar::Softmax(v.data(), out.data(), 2, columns);
        return Dot(out, dy);
      });
      for (float& v : want) v += 0.5f;
      ExpectNear(dx, want, 1e-4f, "softmax slope");
    }
  });
}

TEST(RowKernels, NormsMatchTheirTwinsForEveryWidth) {
  ForEachTarget([] {
    for (int64_t columns = 1; columns <= 70; ++columns) {
      Floats x = Normal(3 * columns + 1, columns, 3), w = Normal(columns, 5),
             b = Normal(columns, 6);
      for (float& v : x) v += 10;
      Floats y(3 * columns), want(3 * columns), mean(3), rstd(3);
      LayerNorm(x.data() + 1, w.data(), b.data(), 1e-5f, y.data(), mean.data(), rstd.data(), 3,
                columns, nullptr);
      scalar::LayerNorm(x.data() + 1, w.data(), b.data(), 1e-5f, want.data(), 3, columns);
      ExpectNear(y, want, columns == 1 ? 1e-3f : 2e-5f, "layer norm");
      LayerNorm(x.data() + 1, w.data(), nullptr, 1e-5f, y.data(), nullptr, nullptr, 3, columns,
                nullptr);
      scalar::LayerNorm(x.data() + 1, w.data(), nullptr, 1e-5f, want.data(), 3, columns);
      ExpectNear(y, want, columns == 1 ? 1e-3f : 2e-5f, "layer norm without bias");
      RmsNorm(x.data() + 1, w.data(), 1e-6f, y.data(), rstd.data(), 3, columns, nullptr);
      scalar::RmsNorm(x.data() + 1, w.data(), 1e-6f, want.data(), 3, columns);
      ExpectNear(y, want, 2e-6f, "RMS norm");
      RmsNorm(x.data() + 1, w.data(), 1e-6f, y.data(), rstd.data(), 3, columns, nullptr, 1);
      scalar::RmsNorm(x.data() + 1, w.data(), 1e-6f, want.data(), 3, columns, 1);
      ExpectNear(y, want, 4e-6f, "RMS norm of weights around 1");
    }
  });
}

TEST(RowKernels, ConstantRowsNormalizeToTheBias) {
  ForEachTarget([] {
    const Floats x(37, 1000.0f), w(37, 2.0f), b(37, 0.25f);
    Floats y(37);
    LayerNorm(x.data(), w.data(), b.data(), 1e-5f, y.data(), nullptr, nullptr, 1, 37, nullptr);
    ExpectNear(y, b, 0.05f, "constant");
    const Floats zeros(37, 0.0f);
    RmsNorm(zeros.data(), w.data(), 1e-6f, y.data(), nullptr, 1, 37, nullptr);
    EXPECT_EQ(y, zeros);
  });
}

TEST(RowKernels, LayerNormBackwardIsItsSlope) {
  ForEachTarget([] {
    for (const int64_t columns : {2, 7, 16, 70}) {
      const int64_t rows = 3;
      const Floats x = Normal(rows * columns, 1), w = Normal(columns, 2), b = Normal(columns, 3),
                   dy = Normal(rows * columns, 4);
      Floats y(x.size()), mean(rows), rstd(rows), dx(x.size(), 1.0f), dw(columns, 1.0f),
          db(columns, 1.0f);
      LayerNorm(x.data(), w.data(), b.data(), 0.1f, y.data(), mean.data(), rstd.data(), rows,
                columns, nullptr);
      LayerNormBackward(x.data(), w.data(), mean.data(), rstd.data(), dy.data(), dx.data(),
                        dw.data(), db.data(), rows, columns, nullptr);
      const auto loss = [&](const Floats& x, const Floats& w, const Floats& b) {
        Floats out(x.size());
        scalar::LayerNorm(x.data(), w.data(), b.data(), 0.1f, out.data(), rows, columns);
        return Dot(out, dy);
      };
      const auto plus_one = [](Floats v) {
        for (float& f : v) f += 1;
        return v;
      };
      ExpectNear(dx, plus_one(Slopes(x, [&](const Floats& v) { return loss(v, w, b); })), 2e-3f,
                 "dx");
      ExpectNear(dw, plus_one(Slopes(w, [&](const Floats& v) { return loss(x, v, b); })), 2e-4f,
                 "dweight");
      ExpectNear(db, plus_one(Slopes(b, [&](const Floats& v) { return loss(x, w, v); })), 2e-4f,
                 "dbias");
      // Each output may be absent without changing the others.
      Floats dw2(columns, 1.0f);
      LayerNormBackward(x.data(), w.data(), mean.data(), rstd.data(), dy.data(), nullptr,
                        dw2.data(), nullptr, rows, columns, nullptr);
      EXPECT_EQ(dw, dw2);
    }
  });
}

TEST(RowKernels, RmsNormBackwardIsItsSlope) {
  ForEachTarget([] {
    for (const int64_t columns : {1, 7, 16, 70}) {
      const int64_t rows = 3;
      const Floats x = Normal(rows * columns, 1), w = Normal(columns, 2),
                   dy = Normal(rows * columns, 4);
      Floats y(x.size()), rstd(rows), dx(x.size(), 1.0f), dw(columns, 1.0f);
      RmsNorm(x.data(), w.data(), 0.1f, y.data(), rstd.data(), rows, columns, nullptr);
      RmsNormBackward(x.data(), w.data(), rstd.data(), dy.data(), dx.data(), dw.data(), rows,
                      columns, nullptr);
      const auto loss = [&](const Floats& x, const Floats& w) {
        Floats out(x.size());
        scalar::RmsNorm(x.data(), w.data(), 0.1f, out.data(), rows, columns);
        return Dot(out, dy);
      };
      Floats want_x = Slopes(x, [&](const Floats& v) { return loss(v, w); });
      Floats want_w = Slopes(w, [&](const Floats& v) { return loss(x, v); });
      for (float& v : want_x) v += 1;
      for (float& v : want_w) v += 1;
      ExpectNear(dx, want_x, 2e-3f, "dx");
      ExpectNear(dw, want_w, 2e-4f, "dweight");
    }
  });
}

// In double, from the definition, over rows enough for several blocks.
TEST(RowKernels, NormParametersGradientsSumOverManyRows) {
  ForEachTarget([] {
    const int64_t rows = 300;
    for (const int64_t columns : {1, 63, 64, 65, 130}) {
      const Floats x = Normal(rows * columns, 1), w(columns, 1.0f), dy = Normal(rows * columns, 4);
      const Floats mean = Normal(rows, 5), rstd = Normal(rows, 6);
      Floats dw(columns), db(columns), want_w(columns), want_b(columns);
      LayerNormBackward(x.data(), w.data(), mean.data(), rstd.data(), dy.data(), nullptr, dw.data(),
                        db.data(), rows, columns, nullptr);
      for (int64_t c = 0; c < columns; ++c) {
        double sw = 0, sb = 0;
        for (int64_t r = 0; r < rows; ++r) {
          const double g = dy[r * columns + c];
          sb += g;
          sw += g * (static_cast<double>(x[r * columns + c]) - mean[r]) * rstd[r];
        }
        want_w[c] = static_cast<float>(sw);
        want_b[c] = static_cast<float>(sb);
      }
      ExpectNear(dw, want_w, 3e-5f, "dweight");
      ExpectNear(db, want_b, 3e-5f, "dbias");
    }
  });
}

TEST(RowKernels, CrossEntropyMatchesItsTwinForEveryWidth) {
  ForEachTarget([] {
    for (const float smoothing : {0.0f, 0.1f, 1.0f}) {
      for (int64_t columns = 1; columns <= 70; ++columns) {
        const int64_t rows = 4;
        const Floats x = Normal(rows * columns, columns, 4);
        const std::vector<int32_t> targets = {static_cast<int32_t>(columns - 1), -100, 0,
                                              static_cast<int32_t>(columns / 2)};
        Floats dx(x.size(), 9.0f), want(x.size(), 9.0f);
        int64_t counted = 0, want_counted = 0;
        const double loss = CrossEntropy(x.data(), targets.data(), -100, smoothing, 0.25f,
                                         dx.data(), rows, columns, &counted, nullptr);
        const double want_loss =
            scalar::CrossEntropy(x.data(), targets.data(), -100, smoothing, 0.25f, want.data(),
                                 rows, columns, &want_counted);
        EXPECT_EQ(counted, want_counted);
        EXPECT_NEAR(loss, want_loss, 1e-5 * std::max(1.0, want_loss));
        ExpectNear(dx, want, 1e-6f, "dx");
        EXPECT_NEAR(CrossEntropy(x.data(), targets.data(), -100, smoothing, 0.25f, nullptr, rows,
                                 columns, &counted, nullptr),
                    loss, 1e-5 * std::max(1.0, want_loss));
        Floats in_place = x;
        CrossEntropy(in_place.data(), targets.data(), -100, smoothing, 0.25f, in_place.data(), rows,
                     columns, &counted, nullptr);
        EXPECT_EQ(in_place, dx);
      }
    }
  });
}

TEST(RowKernels, CrossEntropyGradientIsTheSlopeOfItsLoss) {
  const Floats x = Normal(2 * 9, 3);
  const std::vector<int32_t> targets = {4, 8};
  int64_t counted = 0;
  Floats dx(x.size());
  CrossEntropy(x.data(), targets.data(), -1, 0.2f, 1, dx.data(), 2, 9, &counted, nullptr);
  ExpectNear(dx,
             Slopes(x,
                    [&](const Floats& v) {
                      return scalar::CrossEntropy(v.data(), targets.data(), -1, 0.2f, 1, nullptr, 2,
                                                  9, &counted);
                    }),
             1e-4f, "slope");
}

TEST(RowKernels, CrossEntropyOfExtremeLogitsIsRight) {
  ForEachTarget([] {
    Floats x(40, -kInf), dx(40);
    x[3] = 1e30f;
    int64_t counted = 0;
    const int32_t hit = 3, miss = 4;
    EXPECT_EQ(CrossEntropy(x.data(), &hit, -1, 0, 1, dx.data(), 1, 40, &counted, nullptr), 0);
    EXPECT_EQ(dx, Floats(40, 0.0f));
    EXPECT_EQ(CrossEntropy(x.data(), &miss, -1, 0, 1, dx.data(), 1, 40, &counted, nullptr), kInf);
    EXPECT_EQ(dx[3], 1);
    EXPECT_EQ(dx[4], -1);
    EXPECT_EQ(CrossEntropy(x.data(), &hit, 3, 0, 1, dx.data(), 1, 40, &counted, nullptr), 0);
    EXPECT_EQ(counted, 0);
    EXPECT_EQ(dx, Floats(40, 0.0f));
  });
}

TEST(RowKernels, GatherThenScatterCountsEachUse) {
  ForEachTarget([] {
    for (int64_t columns = 1; columns <= 70; ++columns) {
      const Floats table = Normal(5 * columns, 1);
      const std::vector<int32_t> ids = {4, 0, 4, 4, 2};
      Floats y(5 * columns), dtable(5 * columns, 1.0f);
      Gather(table.data(), ids.data(), y.data(), 5, columns, nullptr);
      for (int64_t r = 0; r < 5; ++r) {
        EXPECT_EQ(std::memcmp(&y[r * columns], &table[ids[r] * columns], columns * 4), 0);
      }
      ScatterAdd(ids.data(), y.data(), dtable.data(), 5, columns, nullptr);
      const float uses[5] = {1, 0, 1, 0, 3};
      for (int64_t i = 0; i < 5 * columns; ++i)
        ASSERT_NEAR(dtable[i], 1 + uses[i / columns] * table[i], 2e-6);
    }
  });
}

TEST(RowKernels, RotaryMatchesItsTwinAndTurnsBack) {
  ForEachTarget([] {
    for (int64_t half = 0; half <= 35; ++half) {
      for (const int64_t rest : {0, 1, 5}) {
        const int64_t tokens = 3, heads = 2, dim = 2 * half + rest;
        if (dim == 0) continue;
        const Floats x = Normal(tokens * heads * dim, 1), angles = Normal(tokens * half, 2, 3);
        Floats cos(angles.size()), sin(angles.size()), y(x.size()), want(x.size());
        for (size_t i = 0; i < angles.size(); ++i)
          cos[i] = std::cos(angles[i]), sin[i] = std::sin(angles[i]);
        Rotary(x.data(), cos.data(), sin.data(), false, y.data(), tokens, heads, dim, 2 * half,
               nullptr);
        scalar::Rotary(x.data(), cos.data(), sin.data(), false, want.data(), tokens, heads, dim,
                       2 * half);
        ExpectNear(y, want, 1e-6f, "rotary");
        Rotary(y.data(), cos.data(), sin.data(), true, y.data(), tokens, heads, dim, 2 * half,
               nullptr);
        ExpectNear(y, x, 2e-6f, "turned back");
      }
    }
  });
}

TEST(RowKernels, AdamWMatchesItsTwinForEveryLength) {
  ForEachTarget([] {
    for (int64_t n = 1; n <= 70; ++n) {
      Floats w = Normal(n, 1), m(n), v(n), w2 = w, m2 = m, v2 = v;
      for (int step = 1; step <= 5; ++step) {
        Floats g = Normal(n, 10 + step);
        g[0] = step == 3 ? 0 : 1e-20f;
        const AdamWArgs args{1e-2f,
                             0.9f,
                             0.99f,
                             1e-8f,
                             0.1f,
                             0.5f,
                             1 - std::pow(0.9f, static_cast<float>(step)),
                             1 - std::pow(0.99f, static_cast<float>(step))};
        AdamW(args, g.data(), m.data(), v.data(), w.data(), n, nullptr);
        scalar::AdamW(args, g.data(), m2.data(), v2.data(), w2.data(), n);
      }
      ExpectNear(m, m2, 1e-6f, "m");
      ExpectNear(v, v2, 1e-6f, "v");
      ExpectNear(w, w2, 2e-6f, "w");
    }
  });
}

TEST(RowKernels, ThreadsDoNotChangeABit) {
  const int64_t rows = 611, columns = 197, n = rows * columns;
  const Floats x = Normal(n, 1), dy = Normal(n, 2), w = Normal(columns, 3), b = Normal(columns, 4);
  std::vector<int32_t> ids(rows);
  Random random(5);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.NextBelow(50));
  ForEachTarget([&] {
    Floats first;
    double first_loss = 0;
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      Floats all;
      const auto keep = [&](const Floats& v) { all.insert(all.end(), v.begin(), v.end()); };
      Floats y(n), mean(rows), rstd(rows), dx(n), dw(columns), db(columns), table(50 * columns);
      Softmax(x.data(), y.data(), rows, columns, &pool), keep(y);
      SoftmaxBackward(y.data(), dy.data(), dx.data(), rows, columns, &pool), keep(dx);
      LayerNorm(x.data(), w.data(), b.data(), 1e-5f, y.data(), mean.data(), rstd.data(), rows,
                columns, &pool),
          keep(y);
      LayerNormBackward(x.data(), w.data(), mean.data(), rstd.data(), dy.data(), dx.data(),
                        dw.data(), db.data(), rows, columns, &pool);
      keep(dx), keep(dw), keep(db);
      RmsNorm(x.data(), w.data(), 1e-5f, y.data(), rstd.data(), rows, columns, &pool), keep(y);
      RmsNormBackward(x.data(), w.data(), rstd.data(), dy.data(), dx.data(), dw.data(), rows,
                      columns, &pool);
      keep(dx), keep(dw);
      ScatterAdd(ids.data(), dy.data(), table.data(), rows, columns, &pool), keep(table);
      int64_t counted = 0;
      const double loss =
          CrossEntropy(x.data(), ids.data(), 7, 0.1f, 1, dx.data(), rows, columns, &counted, &pool);
      keep(dx);
      if (threads == 1) first = all, first_loss = loss;
      EXPECT_EQ(loss, first_loss);
      EXPECT_EQ(std::memcmp(all.data(), first.data(), all.size() * 4), 0) << threads;
    }
  });
}

}  // namespace
}  // namespace sotto
