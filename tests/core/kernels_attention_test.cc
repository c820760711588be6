#include "core/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/kernels/dropout.h"
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

struct Case {
  int64_t batch = 1, heads = 1, kv_heads = 1, queries = 1, keys = 1, dim = 1;
  bool causal = false, masked = false, biased = false, own_bias = false, heads_first = false;
  int64_t window = 0;
  float softcap = 0, spread = 1, dropout = 0;

  std::string Name() const {
    return "b" + std::to_string(batch) + " h" + std::to_string(heads) + "/" +
           std::to_string(kv_heads) + " q" + std::to_string(queries) + " k" + std::to_string(keys) +
           " d" + std::to_string(dim) + (causal ? " causal" : "") + (masked ? " masked" : "") +
           (biased ? " biased" : "") + (own_bias ? " each" : "") + " w" + std::to_string(window) +
           " cap" + std::to_string(softcap);
  }
};

// Everything that one call reads and writes. The arrays start off one element, so that no vector is
// aligned, and rows have a gap of one element after them that nobody may touch.
struct Problem {
  Case c;
  Floats q, k, v, d_out, bias;
  std::vector<uint8_t> mask;
  Floats out, lse, probabilities, dq, dk, dv, d_bias;

  explicit Problem(const Case& c) : c(c) {
    q = Normal(Size(c.queries, c.heads), 1, c.spread);
    k = Normal(Size(c.keys, c.kv_heads), 2, c.spread);
    v = Normal(Size(c.keys, c.kv_heads), 3);
    d_out = Normal(Size(c.queries, c.heads), 4);
    if (c.biased) bias = Normal(BiasSize(), 5);
    if (c.masked) {
      Random random(6);
      mask.resize(c.batch * c.keys);
      for (uint8_t& m : mask) m = random.NextBelow(4) != 0;
      std::fill_n(mask.end() - c.keys, (c.keys + 1) / 2,
                  uint8_t{0});  // the last batch sees nothing early on
    }
    out.assign(q.size(), 77.0f);
    lse.assign(c.batch * c.heads * c.queries, 77.0f);
    probabilities.assign(c.batch * c.heads * c.queries * c.keys, 77.0f);
    dq.assign(q.size(), 1.0f), dk.assign(k.size(), 1.0f), dv.assign(v.size(), 1.0f);
    d_bias.assign(BiasSize(), 1.0f);
  }

  int64_t Size(int64_t tokens, int64_t heads) const {
    return 1 + c.batch * tokens * heads * (c.dim + 1);
  }
  int64_t BiasSize() const { return (c.own_bias ? c.batch : 1) * c.heads * c.queries * c.keys; }
  HeadsView View(Floats& data, int64_t tokens, int64_t heads) const {
    const int64_t row = c.dim + 1;
    if (c.heads_first) return {data.data() + 1, heads * tokens * row, row, tokens * row};
    return {data.data() + 1, tokens * heads * row, heads * row, row};
  }
  AttentionArgs Args(bool probe = false) {
    AttentionArgs a;
    a.batch = c.batch, a.heads = c.heads, a.kv_heads = c.kv_heads;
    a.queries = c.queries, a.keys = c.keys, a.dim = c.dim;
    a.q = View(q, c.queries, c.heads), a.out = View(out, c.queries, c.heads);
    a.k = View(k, c.keys, c.kv_heads), a.v = View(v, c.keys, c.kv_heads);
    a.scale = 1.0f / std::sqrt(static_cast<float>(c.dim));
    a.causal = c.causal, a.window = c.window, a.softcap = c.softcap;
    a.key_mask = c.masked ? mask.data() : nullptr;
    a.bias = c.biased ? bias.data() : nullptr;
    a.bias_batch_stride = c.own_bias ? c.heads * c.queries * c.keys : 0;
    a.dropout = c.dropout, a.dropout_seed = 12345;
    a.lse = lse.data();
    a.probabilities = probe ? probabilities.data() : nullptr;
    return a;
  }
  AttentionBackwardArgs BackwardArgs() {
    AttentionBackwardArgs g;
    g.forward = Args();
    g.d_out = View(d_out, c.queries, c.heads), g.dq = View(dq, c.queries, c.heads);
    g.dk = View(dk, c.keys, c.kv_heads), g.dv = View(dv, c.keys, c.kv_heads);
    g.d_bias = c.biased ? d_bias.data() : nullptr;
    return g;
  }
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (int64_t n = 1; n <= 70; ++n)
    cases.push_back({.queries = n, .keys = 71 - n, .dim = 1 + n % 9});
  for (int64_t dim = 1; dim <= 70; ++dim) cases.push_back({.queries = 17, .keys = 19, .dim = dim});
  for (const int64_t queries : {1, 2, 5, 33, 64, 70}) {
    for (const bool masked : {false, true}) {
      for (const bool biased : {false, true}) {
        for (const float cap : {0.0f, 2.0f}) {
          cases.push_back({.batch = 2,
                           .heads = 4,
                           .kv_heads = 2,
                           .queries = queries,
                           .keys = 70,
                           .dim = 16,
                           .causal = true,
                           .masked = masked,
                           .biased = biased,
                           .heads_first = masked,
                           .softcap = cap});
        }
      }
    }
    cases.push_back({.heads = 3,
                     .kv_heads = 1,
                     .queries = queries,
                     .keys = 150,
                     .dim = 8,
                     .causal = true,
                     .window = 9});
    cases.push_back({.queries = queries, .keys = 150, .dim = 24, .causal = true, .window = 1});
    for (const int64_t window : {1, 9, 64, 100}) {  // to both sides
      cases.push_back({.heads = 2,
                       .kv_heads = 2,
                       .queries = queries,
                       .keys = queries + (window == 9 ? 80 : 0),
                       .dim = 8,
                       .masked = window == 64,
                       .window = window});
    }
    cases.push_back({.batch = 3,
                     .heads = 2,
                     .kv_heads = 1,
                     .queries = queries,
                     .keys = 67,
                     .dim = 8,
                     .masked = true,
                     .biased = true,
                     .own_bias = true,
                     .window = 30,
                     .softcap = 2});
    cases.push_back({.queries = queries, .keys = queries, .dim = 64, .causal = true});
    cases.push_back({.queries = queries + 3,
                     .keys = queries,
                     .dim = 4,
                     .causal = true});  // the first see nothing
    cases.push_back({.queries = queries, .keys = 200, .dim = 32, .spread = 30});
    for (const bool causal : {false, true}) {
      cases.push_back({.batch = 2,
                       .heads = 4,
                       .kv_heads = 2,
                       .queries = queries,
                       .keys = 101,
                       .dim = 12,
                       .causal = causal,
                       .masked = causal,
                       .biased = causal,
                       .dropout = causal ? 0.3f : 0.9f});
    }
  }
  return cases;
}

void ExpectNear(const Floats& got, const Floats& want, float tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;  // infinities too
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0f, std::abs(want[i])))
        << what << " at " << i << " of " << got.size();
  }
}

TEST(AttentionKernels, MatchTheirTwinInEveryArrangement) {
  for (const Case& c : Cases()) {
    Problem want(c);
    scalar::Attention(want.Args(true));
    ForEachTarget([&] {
      SCOPED_TRACE(c.Name());
      const float tolerance =
          c.spread > 1 ? 2e-3f : 1e-5f;  // scores near 1000 keep four digits after the point
      Problem got(c);
      Attention(got.Args(true), nullptr);
      ExpectNear(got.out, want.out, tolerance, "out");
      ExpectNear(got.lse, want.lse, tolerance, "lse");
      ExpectNear(got.probabilities, want.probabilities, tolerance, "probabilities");
      const Floats out = got.out;
      Attention(got.Args(false), nullptr);
      EXPECT_EQ(out, got.out) << "a probe changed the result";
    });
  }
}

// Keys or values of a problem as a cache holds them, with room for rows that are not filled yet.
struct Packed {
  std::vector<char> data;
  Floats scales;
  PackedHeads view;

  Packed(const Problem& p, const HeadsView& from, DType dtype, bool values) {
    const Case& c = p.c;
    const int64_t rows = PackedRowsFor(dtype, c.keys + 4), heads = c.batch * c.kv_heads,
                  width = PackedWidthFor(dtype, c.dim), row = width * DTypeBytes(dtype);
    data.assign(heads * rows * row + 64, 0x55);  // read, but not used, past what is filled
    scales.assign(heads * rows, kInf);
    for (int64_t h = 0; h < heads; ++h) {
      const float* head =
          from.data + h / c.kv_heads * from.batch_stride + h % c.kv_heads * from.head_stride;
      char* to = data.data() + h * rows * row;
      if (dtype == DType::kI8) {
        scalar::PackRowsI8(head, from.token_stride, 0, c.keys, c.dim, values,
                           reinterpret_cast<int8_t*>(to), scales.data() + h * rows);
      } else {
        scalar::PackRowsF16(head, from.token_stride, c.keys, c.dim,
                            reinterpret_cast<uint16_t*>(to));
      }
    }
    view = {dtype, data.data(), scales.data(), rows, width};
  }
};

TEST(AttentionKernels, RowsArePackedAsTheirTwinPacksThem) {
  for (const int64_t dim : {1, 3, 16, 31, 33, 64, 100}) {
    Floats rows = Normal(5 * (dim + 2) + 1, 7);
    std::fill_n(rows.begin() + 1, dim, 0.0f);  // a row of zeros
    std::transform(rows.begin() + 1 + (dim + 2), rows.begin() + 1 + 2 * (dim + 2),
                   rows.begin() + 1 + (dim + 2), [](float x) { return x * 1e5f; });
    for (int64_t x = 0; x < dim; ++x) rows[1 + 2 * (dim + 2) + x] *= 1e-6f;  // subnormal in f16
    rows[1 + 3 * (dim + 2)] = kInf;
    SCOPED_TRACE("dim " + std::to_string(dim));
    std::vector<uint16_t> want(5 * dim);
    scalar::PackRowsF16(rows.data() + 1, dim + 2, 5, dim, want.data());
    ForEachTarget([&] {
      std::vector<uint16_t> got(5 * dim);
      PackRowsF16(rows.data() + 1, dim + 2, 5, dim, got.data());
      EXPECT_EQ(got, want);
    });
    // The five rows of int8 around the end of a block, and nothing else.
    for (const bool values : {false, true}) {
      SCOPED_TRACE(values ? "values" : "keys");
      const size_t all = 2 * kPackedRows, bytes = all * PackedWidthFor(DType::kI8, dim);
      std::vector<int8_t> want(bytes, 0x55);
      Floats want_scales(all, 77.0f);
      scalar::PackRowsI8(rows.data() + 1, dim + 2, kPackedRows - 2, 5, dim, values, want.data(),
                         want_scales.data());
      EXPECT_EQ(std::count(want.begin(), want.end(), 0x55), bytes - 5 * dim);
      ForEachTarget([&] {
        std::vector<int8_t> got(bytes, 0x55);
        Floats scales(all, 77.0f);
        PackRowsI8(rows.data() + 1, dim + 2, kPackedRows - 2, 5, dim, values, got.data(),
                   scales.data());
        EXPECT_EQ(got, want);
        EXPECT_EQ(std::memcmp(scales.data(), want_scales.data(), sizeof(float) * all), 0);
      });
    }
  }
}

TEST(AttentionKernels, ManyRowsArePackedAtOnceAsTheirTwinPacksThem) {
  constexpr int64_t kCount = 15, kFirst = kPackedRows - 6;
  for (const int64_t dim : {4, 16, 30, 64, 272}) {
    Floats rows = Normal(kCount * dim, 9);
    std::fill_n(rows.begin() + 7 * dim, dim, 0.0f);
    rows[12 * dim] = kInf;
    for (const bool values : {false, true}) {
      SCOPED_TRACE((values ? "values of dim " : "keys of dim ") + std::to_string(dim));
      const auto pack = [&](auto pack_rows) {
        std::vector<int8_t> bytes(2 * kPackedRows * PackedWidthFor(DType::kI8, dim), 0x55);
        Floats scales(2 * kPackedRows, 77.0f);
        pack_rows(rows.data(), dim, kFirst, kCount, dim, values, bytes.data(), scales.data());
        EXPECT_TRUE(std::isnan(scales[kFirst + 12]));
        scales[kFirst + 12] = 0;
        return std::pair(bytes, scales);
      };
      const auto want = pack(scalar::PackRowsI8);
      ForEachTarget([&] { EXPECT_EQ(pack(PackRowsI8), want); });
    }
  }
}

TEST(AttentionKernels, TilesHoldEveryRowAndDimOnceWhereTheyAreSaidTo) {
  constexpr int64_t kWidth = 48, kRows = 2 * kPackedRows;
  for (const bool values : {false, true}) {
    std::vector<int> seen(kRows * kWidth);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t x = 0; x < kWidth; ++x) ++seen[PackedIndex(values, kWidth, r, x)];
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), kRows * kWidth);
  }
  // [lanes / 16, depth / 4, 16, 4]: row 37 is lane 5 of the third tile of keys, of 12 fours.
  EXPECT_EQ(PackedIndex(false, kWidth, 37, 9), ((2 * 12 + 2) * 16 + 5) * 4 + 1);
  EXPECT_EQ(PackedIndex(false, kWidth, 64 + 37, 9), 64 * kWidth + ((2 * 12 + 2) * 16 + 5) * 4 + 1);
  // Dim 37 is lane 5 of the third tile of values, of 16 fours.
  EXPECT_EQ(PackedIndex(true, kWidth, 9, 37), ((2 * 16 + 2) * 16 + 5) * 4 + 1);
  EXPECT_EQ(PackedIndex(true, kWidth, 64 + 9, 37), 64 * kWidth + ((2 * 16 + 2) * 16 + 5) * 4 + 1);
}

TEST(AttentionKernels, PackedKeysAndValuesGiveWhatTheirTwinGives) {
  ThreadPool pool(3);
  std::vector<Case> cases = Cases();
  for (const int64_t dim : {200, 256, 300, 600})
    cases.push_back({.heads = 2, .kv_heads = 1, .queries = dim % 7 + 1, .keys = 90, .dim = dim});
  for (const DType dtype : {DType::kF16, DType::kI8}) {
    for (const Case& c : cases) {
      if (c.dropout > 0) continue;
      Problem want(c);
      AttentionArgs args = want.Args(true);
      const Packed k(want, args.k, dtype, false), v(want, args.v, dtype, true);
      args.packed_k = k.view, args.packed_v = v.view;
      args.k = args.v = {};
      scalar::Attention(args);
      ForEachTarget([&] {
        SCOPED_TRACE(c.Name() + (dtype == DType::kF16 ? " f16" : " int8"));
        // Probabilities are rounded to 14 bits for the products with int8.
        const float tolerance = c.spread > 1 ? 2e-2f : dtype == DType::kI8 ? 1e-3f : 1e-5f;
        Problem got(c);
        AttentionArgs a = got.Args(true);
        a.packed_k = k.view, a.packed_v = v.view;
        a.k = a.v = {};
        Attention(a, nullptr);
        ExpectNear(got.out, want.out, tolerance, "out");
        ExpectNear(got.lse, want.lse, tolerance, "lse");
        ExpectNear(got.probabilities, want.probabilities, tolerance, "probabilities");
        const Floats alone = got.out;
        got.out.assign(got.out.size(), 77.0f);
        Attention(a, &pool);
        EXPECT_EQ(alone, got.out) << "threads change bits";
      });
    }
  }
}

// The gradient by the definition, in double, from the twin's probabilities:
//   dS = P (dP - sum P dP), through the softcap's slope where there is one.
void ReferenceBackward(Problem& p) {
  const Case& c = p.c;
  const AttentionArgs a = p.Args(true);
  scalar::Attention(a);
  const AttentionBackwardArgs g = p.BackwardArgs();
  const auto at = [](const HeadsView& v, int64_t b, int64_t h, int64_t t) {
    return v.data + b * v.batch_stride + h * v.head_stride + t * v.token_stride;
  };
  std::vector<double> dq(p.dq.begin(), p.dq.end()), dk(p.dk.begin(), p.dk.end()),
      dv(p.dv.begin(), p.dv.end());
  std::vector<double> d_bias(p.d_bias.begin(), p.d_bias.end());
  const auto in = [](std::vector<double>& sum, const Floats& base, const float* where) {
    return &sum[where - base.data()];
  };
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t kv = h / (c.heads / c.kv_heads);
      for (int64_t i = 0; i < c.queries; ++i) {
        const float* row = &p.probabilities[((b * c.heads + h) * c.queries + i) * c.keys];
        const float *q = at(a.q, b, h, i), *d_out = at(g.d_out, b, h, i);
        std::vector<double> dp(c.keys);
        const int64_t first = ((b * c.heads + h) * c.queries + i) * c.keys;
        const auto kept = [&](int64_t j) -> double {
          return c.dropout > 0 ? KeptFactor(c.dropout, a.dropout_seed, first + j) : 1;
        };
        double mean = 0;
        for (int64_t j = 0; j < c.keys; ++j) {
          for (int64_t x = 0; x < c.dim; ++x) dp[j] += kept(j) * d_out[x] * at(a.v, b, kv, j)[x];
          mean += row[j] * dp[j];
        }
        for (int64_t j = 0; j < c.keys; ++j) {
          const float* k = at(a.k, b, kv, j);
          double ds = row[j] * (dp[j] - mean), score = 0;
          if (c.biased)
            d_bias[((c.own_bias ? b : 0) * c.heads + h) * c.queries * c.keys + i * c.keys + j] +=
                ds;
          for (int64_t x = 0; x < c.dim; ++x) score += static_cast<double>(q[x]) * k[x] * a.scale;
          if (c.softcap > 0) ds *= 1 - std::pow(std::tanh(score / c.softcap), 2);
          for (int64_t x = 0; x < c.dim; ++x) {
            in(dv, p.dv, at(g.dv, b, kv, j))[x] += kept(j) * row[j] * d_out[x];
            in(dk, p.dk, at(g.dk, b, kv, j))[x] += ds * a.scale * q[x];
            in(dq, p.dq, at(g.dq, b, h, i))[x] += ds * a.scale * k[x];
          }
        }
      }
    }
  }
  p.dq.assign(dq.begin(), dq.end()), p.dk.assign(dk.begin(), dk.end()),
      p.dv.assign(dv.begin(), dv.end());
  p.d_bias.assign(d_bias.begin(), d_bias.end());
}

TEST(AttentionKernels, GradientsMatchTheDefinitionInEveryArrangement) {
  for (const Case& c : Cases()) {
    Problem want(c);
    ReferenceBackward(want);
    ForEachTarget([&] {
      SCOPED_TRACE(c.Name());
      const float tolerance = c.spread > 1 ? 3e-2f : 2e-5f;
      Problem got(c);
      Attention(got.Args(), nullptr);
      AttentionBackward(got.BackwardArgs(), nullptr);
      ExpectNear(got.dv, want.dv, tolerance, "dv");
      ExpectNear(got.dk, want.dk, tolerance, "dk");
      ExpectNear(got.dq, want.dq, tolerance, "dq");
      ExpectNear(got.d_bias, want.d_bias, tolerance, "d_bias");
    });
  }
}

// The twin's slope by central differences: what the definition above is held to.
TEST(AttentionKernels, TheDefinitionOfTheGradientIsTheSlope) {
  const Case c{.batch = 2,
               .heads = 2,
               .kv_heads = 1,
               .queries = 3,
               .keys = 4,
               .dim = 3,
               .causal = true,
               .masked = true,
               .biased = true,
               .softcap = 1.5f,
               .dropout = 0.25f};
  Problem p(c);
  const auto loss = [&] {
    scalar::Attention(p.Args());
    double sum = 0;
    const HeadsView out = p.View(p.out, c.queries, c.heads),
                    d_out = p.View(p.d_out, c.queries, c.heads);
    for (int64_t b = 0; b < c.batch; ++b) {
      for (int64_t t = 0; t < c.queries; ++t) {
        for (int64_t h = 0; h < c.heads; ++h) {
          for (int64_t x = 0; x < c.dim; ++x) {
            const int64_t at =
                b * out.batch_stride + t * out.token_stride + h * out.head_stride + x;
            sum += static_cast<double>(out.data[at]) * d_out.data[at];
          }
        }
      }
    }
    return sum;
  };
  Problem want(c);
  ReferenceBackward(want);
  const auto check = [&](Floats& x, const Floats& slopes, const char* what) {
    for (size_t i = 0; i < x.size(); ++i) {
      const float old = x[i];
      x[i] = old + 1e-2f;
      const double up = loss(), high = x[i];
      x[i] = old - 1e-2f;
      const double slope = (up - loss()) / (high - x[i]);
      x[i] = old;
      EXPECT_NEAR(slopes[i] - 1, slope, 3e-4) << what << " at " << i;
    }
  };
  check(p.q, want.dq, "dq");
  check(p.k, want.dk, "dk");
  check(p.v, want.dv, "dv");
  check(p.bias, want.d_bias, "d_bias");
}

TEST(AttentionKernels, AQueryThatSeesNothingGivesZeroAndMovesNothing) {
  ForEachTarget([] {
    for (const int64_t queries : {1, 40}) {
      Problem p({.queries = queries, .keys = 70, .dim = 5, .masked = true});
      std::fill(p.mask.begin(), p.mask.end(), uint8_t{0});
      Attention(p.Args(true), nullptr);
      const HeadsView out = p.View(p.out, queries, 1);
      for (int64_t i = 0; i < queries; ++i) {
        for (int64_t x = 0; x < 5; ++x) EXPECT_EQ(out.data[i * out.token_stride + x], 0);
        EXPECT_EQ(p.lse[i], -kInf);
      }
      EXPECT_EQ(p.probabilities, Floats(p.probabilities.size(), 0.0f));
      AttentionBackward(p.BackwardArgs(), nullptr);
      EXPECT_EQ(p.dq, Floats(p.dq.size(), 1.0f));
      EXPECT_EQ(p.dk, Floats(p.dk.size(), 1.0f));
      EXPECT_EQ(p.dv, Floats(p.dv.size(), 1.0f));
    }
  });
}

TEST(AttentionKernels, ABiasOfMinusInfinityMasks) {
  ForEachTarget([] {
    for (const int64_t queries : {1, 40}) {
      Problem p({.queries = queries, .keys = 70, .dim = 5, .biased = true});
      for (size_t i = 0; i < p.bias.size(); ++i) p.bias[i] = i % 70 == 69 ? 0 : -kInf;
      std::fill_n(p.bias.begin(), 70, -kInf);  // the first query sees nothing at all
      Attention(p.Args(), nullptr);
      AttentionBackward(p.BackwardArgs(), nullptr);
      const HeadsView out = p.View(p.out, queries, 1), v = p.View(p.v, 70, 1);
      for (int64_t i = 0; i < queries; ++i) {
        for (int64_t x = 0; x < 5; ++x) {
          EXPECT_FLOAT_EQ(out.data[i * out.token_stride + x],
                          i == 0 ? 0.0f : v.data[69 * v.token_stride + x]);
        }
      }
      for (const float g : p.dq) EXPECT_NEAR(g, 1, 1e-4);
    }
  });
}

TEST(AttentionKernels, AWindowIsWhatABiasOfMinusInfinityOutsideItIs) {
  ForEachTarget([] {
    for (const bool causal : {false, true}) {
      Problem windowed({.heads = 2,
                        .kv_heads = 2,
                        .queries = 80,
                        .keys = 90,
                        .dim = 6,
                        .causal = causal,
                        .window = 5});
      Problem biased(
          {.heads = 2, .kv_heads = 2, .queries = 80, .keys = 90, .dim = 6, .biased = true});
      for (int64_t i = 0; i < 160; ++i) {
        for (int64_t j = 0; j < 90; ++j) {
          const int64_t ahead = j - (i % 80 + 10);
          biased.bias[i * 90 + j] = ahead > -5 && ahead < (causal ? 1 : 5) ? 0 : -kInf;
        }
      }
      Attention(windowed.Args(true), nullptr);
      Attention(biased.Args(true), nullptr);
      ExpectNear(windowed.out, biased.out, 1e-5f, "out");
      ExpectNear(windowed.probabilities, biased.probabilities, 1e-5f, "probabilities");
    }
  });
}

TEST(AttentionKernels, DropoutKeepsTheMeanAndDropsItsShare) {
  ForEachTarget([] {
    // Values of 1 at one key each: the output is the dropped probabilities themselves.
    Problem p({.heads = 8, .kv_heads = 8, .queries = 64, .keys = 64, .dim = 64, .dropout = 0.25f});
    const HeadsView v = p.View(p.v, 64, 8), out = p.View(p.out, 64, 8);
    for (int64_t h = 0; h < 8; ++h) {
      for (int64_t j = 0; j < 64; ++j) {
        for (int64_t x = 0; x < 64; ++x)
          v.data[j * v.token_stride + h * v.head_stride + x] = j == x ? 1 : 0;
      }
    }
    Attention(p.Args(true), nullptr);
    double sum = 0;
    int64_t dropped = 0;
    for (int64_t h = 0; h < 8; ++h) {
      for (int64_t i = 0; i < 64; ++i) {
        for (int64_t j = 0; j < 64; ++j) {
          const float got = out.data[i * out.token_stride + h * out.head_stride + j];
          const float whole = p.probabilities[(h * 64 + i) * 64 + j];
          dropped += got == 0;
          sum += got;
          if (got != 0) EXPECT_NEAR(got, whole / 0.75f, 1e-5f);
        }
      }
    }
    EXPECT_NEAR(static_cast<double>(dropped) / (8 * 64 * 64), 0.25, 0.01);
    EXPECT_NEAR(sum / (8 * 64), 1, 0.02);
  });
}

TEST(AttentionKernels, HugeScoresStayFinite) {
  ForEachTarget([] {
    for (const int64_t queries : {1, 40}) {
      Problem p({.queries = queries, .keys = 90, .dim = 16, .causal = true, .spread = 1e6f});
      Attention(p.Args(true), nullptr);
      AttentionBackward(p.BackwardArgs(), nullptr);
      for (const Floats* x : {&p.out, &p.lse, &p.probabilities, &p.dq, &p.dk, &p.dv}) {
        for (const float f : *x) ASSERT_TRUE(std::isfinite(f));
      }
    }
  });
}

TEST(AttentionKernels, GapsBetweenRowsStayUntouched) {
  ForEachTarget([] {
    for (const int64_t queries : {1, 3, 40}) {
      for (const int64_t dim : {3, 16, 21}) {
        Problem p(
            {.batch = 2, .heads = 2, .kv_heads = 2, .queries = queries, .keys = 50, .dim = dim});
        Attention(p.Args(), nullptr);
        AttentionBackward(p.BackwardArgs(), nullptr);
        for (size_t i = 0; i < p.out.size(); i += dim + 1) {
          EXPECT_EQ(p.out[i], 77);
          EXPECT_EQ(p.dq[i], 1);
        }
        for (size_t i = 0; i < p.dk.size(); i += dim + 1) {
          EXPECT_EQ(p.dk[i], 1);
          EXPECT_EQ(p.dv[i], 1);
        }
      }
    }
  });
}

TEST(AttentionKernels, ThreadsDoNotChangeABit) {
  for (const int bias : {0, 1, 2}) {
    const Case c{.batch = 3,
                 .heads = 4,
                 .kv_heads = 2,
                 .queries = 67,
                 .keys = 130,
                 .dim = 20,
                 .causal = true,
                 .biased = bias > 0,
                 .own_bias = bias > 1,
                 .dropout = bias > 1 ? 0.1f : 0};
    ForEachTarget([&] {
      Floats first;
      for (const int threads : {1, 2, 3}) {
        ThreadPool pool(threads);
        Problem p(c);
        Attention(p.Args(true), &pool);
        AttentionBackward(p.BackwardArgs(), &pool);
        Floats all;
        for (const Floats* x : {&p.out, &p.lse, &p.probabilities, &p.dq, &p.dk, &p.dv, &p.d_bias}) {
          all.insert(all.end(), x->begin(), x->end());
        }
        if (threads == 1) first = all;
        EXPECT_EQ(std::memcmp(all.data(), first.data(), all.size() * sizeof(float)), 0) << threads;
      }
    });
  }
}

}  // namespace
}  // namespace sotto
