#include "core/kernels/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "gtest/gtest.h"
#include "tests/core/kernels_targets.h"

namespace sotto {
namespace {

using Floats = std::vector<float>;

Floats Normal(int64_t count, uint64_t seed, float scale = 1) {
  Random random(seed);
  Floats x(count);
  for (float& v : x) v = scale * random.NextNormal();
  return x;
}

Floats Positive(int64_t count, uint64_t seed) {
  Floats x = Normal(count, seed);
  for (float& v : x) v = std::abs(v);
  return x;
}

void ExpectNear(const Floats& got, const Floats& want, float tolerance, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0f, std::abs(want[i])))
        << what << " at " << i << " of " << got.size();
  }
}

// Both ways of a recurrent kernel: y and the state after.
struct Outcome {
  Floats y, state;
};

// A layer of each kind on random inputs, cut into calls of `piece` tokens.
struct Scan {
  int64_t batch, tokens, channels, states;
  Floats x, dt, a_log, b, c, d, before;
  Scan(int64_t batch, int64_t tokens, int64_t channels, int64_t states)
      : batch(batch),
        tokens(tokens),
        channels(channels),
        states(states),
        x(Normal(batch * tokens * channels, 1)),
        dt(Positive(batch * tokens * channels, 2)),
        a_log(Normal(channels * states, 3)),
        b(Normal(batch * tokens * states, 4)),
        c(Normal(batch * tokens * states, 5)),
        d(Normal(channels, 6)),
        before(Normal(batch * states * channels, 7)) {}
  SelectiveScanArgs Args(int64_t from, int64_t count) const {
    return {batch,
            count,
            channels,
            states,
            x.data() + from * channels,
            dt.data() + from * channels,
            a_log.data(),
            b.data() + from * states,
            c.data() + from * states,
            d.data()};
  }
};

TEST(RecurrentKernels, CausalConvolutionsMatchTheirTwinForEveryWidthAndLength) {
  ForEachTarget([] {
    for (int64_t channels = 1; channels <= 40; ++channels) {
      for (const int64_t taps : {1, 2, 3, 4, 7}) {
        for (const int64_t tokens : {1, 2, 5, 9}) {
          const int64_t batch = 2, n = batch * tokens * channels;
          const Floats x = Normal(n, 1), w = Normal(taps * channels, 2), bias = Normal(channels, 3),
                       before = Normal(batch * (taps - 1) * channels, 4);
          for (const bool continued : {false, true}) {
            const CausalConvArgs args{batch,
                                      tokens,
                                      channels,
                                      taps,
                                      x.data(),
                                      w.data(),
                                      continued ? before.data() : nullptr};
            Floats y(n + 1, -7.0f), want(n);
            CausalConv(args, continued ? bias.data() : nullptr, y.data(), nullptr);
            EXPECT_EQ(y.back(), -7.0f);
            y.pop_back();
            scalar::CausalConv(args, continued ? bias.data() : nullptr, want.data());
            ExpectNear(y, want, 2e-6f, "convolution");
          }
        }
      }
    }
  });
}

TEST(RecurrentKernels, AConvolutionContinuesWhereItsStateWasLeft) {
  const int64_t channels = 5, taps = 4, tokens = 11;
  const Floats x = Normal(tokens * channels, 1), w = Normal(taps * channels, 2);
  Floats whole(x.size());
  CausalConv({1, tokens, channels, taps, x.data(), w.data(), nullptr}, nullptr, whole.data(),
             nullptr);
  for (const int64_t piece : {1, 2, 3, 4, 6}) {
    Floats y(x.size()), state((taps - 1) * channels);
    for (int64_t at = 0; at < tokens; at += piece) {
      const CausalConvArgs args{
          1,        std::min(piece, tokens - at),   channels, taps, x.data() + at * channels,
          w.data(), at > 0 ? state.data() : nullptr};
      CausalConv(args, nullptr, y.data() + at * channels, nullptr);
      CausalConvState(args, state.data());
    }
    EXPECT_EQ(y, whole) << piece;
  }
}

TEST(RecurrentKernels, TokenMixesMatchTheirTwinForEveryWidth) {
  ForEachTarget([] {
    for (int64_t channels = 1; channels <= 40; ++channels) {
      const int64_t batch = 2, tokens = 3, n = batch * tokens * channels;
      const Floats x = Normal(n, 1), before = Normal(batch * channels, 2),
                   mix = Normal(channels, 3);
      for (const float* last : {static_cast<const float*>(nullptr), before.data()}) {
        const TokenMixArgs args{batch, tokens, channels, x.data(), last, mix.data()};
        Floats y(n), want(n);
        TokenMix(args, y.data(), nullptr);
        scalar::TokenMix(args, want.data());
        ExpectNear(y, want, 1e-6f, "mix");
      }
    }
  });
}

TEST(RecurrentKernels, SelectiveScansMatchTheirTwinForEveryWidth) {
  ForEachTarget([] {
    for (int64_t channels = 1; channels <= 40; ++channels) {
      for (const int64_t states : {1, 5, 16}) {
        const Scan s(2, 7, channels, states);
        Outcome got{Floats(s.x.size()), s.before}, want = got;
        SelectiveScan(s.Args(0, 7), got.state.data(), got.y.data(), nullptr);
        scalar::SelectiveScan(s.Args(0, 7), want.state.data(), want.y.data());
        ExpectNear(got.y, want.y, 5e-6f, "scan");
        ExpectNear(got.state, want.state, 5e-6f, "state of the scan");
      }
    }
  });
}

TEST(RecurrentKernels, WkvMatchesItsTwinForEveryWidth) {
  ForEachTarget([] {
    for (int64_t channels = 1; channels <= 40; ++channels) {
      for (const float scale : {1.0f, 60.0f}) {  // e^60 squared would overflow
        const int64_t batch = 2, tokens = 9, n = batch * tokens * channels;
        const Floats key = Normal(n, 1, scale), value = Normal(n, 2), decay = Normal(channels, 3),
                     first = Normal(channels, 4);
        const WkvArgs args{batch,        tokens,       channels,    key.data(),
                           value.data(), decay.data(), first.data()};
        Outcome got{Floats(n), Floats(batch * 3 * channels)};
        for (int64_t i = 0; i < batch; ++i) {
          std::fill_n(got.state.begin() + (3 * i + 2) * channels, channels, kWkvNothing);
        }
        Outcome want = got;
        Wkv(args, got.state.data(), got.y.data(), nullptr);
        scalar::Wkv(args, want.state.data(), want.y.data());
        ExpectNear(got.y, want.y, 3e-5f, "wkv");
        ExpectNear(got.state, want.state, 3e-5f, "state of wkv");
      }
    }
  });
}

TEST(RecurrentKernels, DeltaRulesMatchTheirTwinForEveryWidth) {
  ForEachTarget([] {
    for (const int64_t value_dim : {1, 3, 4, 8, 15, 16, 17, 31, 33, 64, 71}) {
      for (const int64_t key_dim : {1, 6}) {
        const int64_t batch = 2, tokens = 5, key_heads = 2, heads = 4;
        const Floats q = Normal(batch * tokens * key_heads * key_dim, 1, 0.5f),
                     k = Normal(batch * tokens * key_heads * key_dim, 2, 0.5f),
                     v = Normal(batch * tokens * heads * value_dim, 3),
                     beta = Positive(batch * tokens * heads, 5);
        Floats g = Positive(batch * tokens * heads, 4);
        for (float& x : g) x = -x;
        const DeltaRuleArgs args{batch,    tokens,   key_heads, heads,    key_dim,    value_dim,
                                 q.data(), k.data(), v.data(),  g.data(), beta.data()};
        Outcome got{Floats(v.size()), Normal(batch * heads * key_dim * value_dim, 6)}, want = got;
        DeltaRule(args, got.state.data(), got.y.data(), nullptr);
        scalar::DeltaRule(args, want.state.data(), want.y.data());
        ExpectNear(got.y, want.y, 1e-5f, "delta rule");
        ExpectNear(got.state, want.state, 1e-5f, "state of the delta rule");
      }
    }
  });
}

// Gradients are held to differences in ops_gradient_test.cc; here every target gives the same ones,
// for widths that leave a remainder, and threads change nothing.
TEST(RecurrentKernels, GradientsDoNotDependOnTheTargetOrTheThreads) {
  const int64_t batch = 3, tokens = 6, channels = 75, states = 5, n = batch * tokens * channels;
  const Scan s(batch, tokens, channels, states);
  const Floats dy = Normal(n, 20), w = Normal(4 * channels, 21), mix = Normal(channels, 22);
  const Floats wkv_state = Positive(batch * 3 * channels, 23);
  const int64_t heads = 3, dim = 25;
  const Floats q = Normal(batch * tokens * dim, 24, 0.4f), g = Normal(batch * tokens * heads, 25),
               held = Normal(batch * heads * dim * dim, 26);
  const auto gradients = [&](ThreadPool* pool, int64_t slots) {
    Floats all;
    const auto keep = [&](const Floats& v) { all.insert(all.end(), v.begin(), v.end()); };
    Floats dx(n, 0.5f), dw(4 * channels, 0.5f), dmix(channels, 0.5f);
    CausalConvBackward({batch, tokens, channels, 4, s.x.data(), w.data(), nullptr}, dy.data(),
                       dx.data(), dw.data(), pool);
    TokenMixBackward({batch, tokens, channels, s.x.data(), nullptr, mix.data()}, dy.data(),
                     dx.data(), dmix.data(), pool);
    keep(dx), keep(dw), keep(dmix);
    Floats ddt(n), db(s.b.size()), dc(s.c.size()), da(batch * channels * states),
        dd(batch * channels), scratch(slots * RecurrentScratch(tokens + 1, dim));
    SelectiveScanBackward(s.Args(0, tokens), s.before.data(), dy.data(),
                          {dx.data(), ddt.data(), db.data(), dc.data(), da.data(), dd.data()},
                          scratch.data(), slots, pool);
    keep(dx), keep(ddt), keep(db), keep(dc), keep(da), keep(dd);
    Floats ddecay(channels), dfirst(channels);
    WkvBackward({batch, tokens, channels, s.x.data(), s.dt.data(), mix.data(), s.d.data()},
                wkv_state.data(), dy.data(), {dx.data(), ddt.data(), ddecay.data(), dfirst.data()},
                scratch.data(), slots, pool);
    keep(dx), keep(ddt), keep(ddecay), keep(dfirst);
    Floats dq(q.size()), dk(q.size()), dv(n), dg(g.size()), dbeta(g.size());
    DeltaRuleBackward(
        {batch, tokens, 1, heads, dim, dim, q.data(), q.data(), s.x.data(), g.data(), g.data()},
        held.data(), dy.data(), {dq.data(), dk.data(), dv.data(), dg.data(), dbeta.data()},
        scratch.data(), slots, pool);
    keep(dq), keep(dk), keep(dv), keep(dg), keep(dbeta);
    return all;
  };
  const Floats want = gradients(nullptr, 1);
  ForEachTarget([&] {
    const Floats one = gradients(nullptr, 1);
    ExpectNear(one, want, 2e-4f, "gradient");
    ThreadPool pool(3);
    EXPECT_EQ(gradients(&pool, 3), one);
  });
}

TEST(RecurrentKernels, PiecesAndThreadsDoNotChangeABit) {
  ForEachTarget([] {
    const int64_t tokens = 23, channels = 83, states = 9;
    const Scan s(1, tokens, channels, states);
    ThreadPool pool(3);
    const auto run = [&](int64_t piece, ThreadPool* threads) {
      Outcome out{Floats(s.x.size()), s.before};
      for (int64_t at = 0; at < tokens; at += piece) {
        SelectiveScan(s.Args(at, std::min(piece, tokens - at)), out.state.data(),
                      out.y.data() + at * channels, threads);
      }
      Floats wkv = Floats(3 * channels);
      std::fill_n(wkv.begin() + 2 * channels, channels, kWkvNothing);
      Floats y(s.x.size());
      for (int64_t at = 0; at < tokens; at += piece) {
        Wkv({1, std::min(piece, tokens - at), channels, s.x.data() + at * channels,
             s.dt.data() + at * channels, s.d.data(), s.d.data()},
            wkv.data(), y.data() + at * channels, threads);
      }
      out.y.insert(out.y.end(), y.begin(), y.end());
      out.state.insert(out.state.end(), wkv.begin(), wkv.end());
      return out;
    };
    const Outcome whole = run(tokens, nullptr);
    for (const int64_t piece : {int64_t{1}, int64_t{4}, tokens}) {
      const Outcome cut = run(piece, &pool);
      EXPECT_EQ(cut.y, whole.y) << piece;
      EXPECT_EQ(cut.state, whole.state) << piece;
    }
  });
}

}  // namespace
}  // namespace sotto
