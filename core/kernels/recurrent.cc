#include "core/kernels/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/base/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/recurrent.cc"
#include "core/kernels/targets.h"

#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "core/kernels/math-inl.h"

// What the targets share, and what the scalar twins at the end use too.
#ifndef SOTTO_CORE_KERNELS_RECURRENT_ONCE_
#define SOTTO_CORE_KERNELS_RECURRENT_ONCE_
namespace sotto {
namespace {

constexpr int64_t kGrain = 8192;      // elements a thread takes at least
constexpr int64_t kColumnBlock = 64;  // columns that one task of a sum over tokens takes

// Items a thread takes at least when each costs `cost` elements.
int64_t GrainOf(int64_t cost) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, cost)); }

int64_t Blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }

// The input of `ago` tokens before token t of a sequence, or null where there is none.
const float* InputBefore(const CausalConvArgs& a, int64_t sequence, int64_t t, int64_t ago) {
  if (t >= ago) return a.x + (sequence * a.tokens + t - ago) * a.channels;
  if (a.before == nullptr) return nullptr;
  return a.before + (sequence * (a.taps - 1) + a.taps - 1 + t - ago) * a.channels;
}

const float* TokenBefore(const TokenMixArgs& a, int64_t sequence, int64_t t) {
  if (t > 0) return a.x + (sequence * a.tokens + t - 1) * a.channels;
  return a.before == nullptr ? nullptr : a.before + sequence * a.channels;
}

}  // namespace
}  // namespace sotto
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr size_t kLanes = hn::MaxLanes(D());
static_assert(kLanes <= kRecurrentStrip);

// Calls f(i, lanes) over [begin, end) by vectors; the last may have fewer lanes than a vector has.
template <class F>
HWY_INLINE void ForVectors(int64_t begin, int64_t end, const F& f) {
  const int64_t n = static_cast<int64_t>(hn::Lanes(D()));
  int64_t i = begin;
  for (; i + n <= end; i += n) f(i, static_cast<size_t>(n));
  if (i < end) f(i, static_cast<size_t>(end - i));
}

HWY_INLINE V Load(const float* p, size_t lanes) {
  const D d;
  return HWY_LIKELY(lanes == hn::Lanes(d)) ? hn::LoadU(d, p) : hn::LoadN(d, p, lanes);
}

HWY_INLINE void Store(V v, float* p, size_t lanes) {
  const D d;
  if (HWY_LIKELY(lanes == hn::Lanes(d))) {
    hn::StoreU(v, d, p);
  } else {
    hn::StoreN(v, d, p, lanes);
  }
}

HWY_INLINE void AddTo(float* p, V v, size_t lanes) { Store(hn::Add(Load(p, lanes), v), p, lanes); }

// Runs task(i, slot) for i in [0, tasks); tasks that share a slot run one after another.
template <class F>
HWY_INLINE void ForTasks(int64_t tasks, int64_t slots, ThreadPool* pool, const F& task) {
  ParallelFor(pool, slots, 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t slot = begin; slot < end; ++slot) {
      for (int64_t i = slot; i < tasks; i += slots) task(i, slot);
    }
  });
}

void CausalConv(const CausalConvArgs& args, const float* bias, float* y, ThreadPool* pool) {
  const CausalConvArgs a = args;
  ParallelFor(
      pool, a.batch * a.tokens, GrainOf(a.channels * a.taps),
      [=](int64_t begin, int64_t end) HWY_ATTR {
        const D d;
        for (int64_t r = begin; r < end; ++r) {
          float* out = y + r * a.channels;
          for (int64_t j = 0; j < a.taps; ++j) {
            const float* x = InputBefore(a, r / a.tokens, r % a.tokens, a.taps - 1 - j);
            const float* w = a.weight + j * a.channels;
            ForVectors(0, a.channels, [&](int64_t c, size_t lanes) HWY_ATTR {
              const V sum = j > 0             ? Load(out + c, lanes)
                            : bias != nullptr ? Load(bias + c, lanes)
                                              : hn::Zero(d);
              Store(x == nullptr ? sum : hn::MulAdd(Load(w + c, lanes), Load(x + c, lanes), sum),
                    out + c, lanes);
            });
          }
        }
      });
}

// dx[t] = sum_j weight[j] dy[t + taps - 1 - j]
void CausalConvInputGradient(const CausalConvArgs& args, const float* dy, float* dx,
                             ThreadPool* pool) {
  const CausalConvArgs a = args;
  ParallelFor(pool, a.batch * a.tokens, GrainOf(a.channels * a.taps),
              [=](int64_t begin, int64_t end) HWY_ATTR {
                for (int64_t r = begin; r < end; ++r) {
                  const int64_t later = a.tokens - 1 - r % a.tokens;
                  for (int64_t j = std::max<int64_t>(0, a.taps - 1 - later); j < a.taps; ++j) {
                    const float* g = dy + (r + a.taps - 1 - j) * a.channels;
                    const float* w = a.weight + j * a.channels;
                    ForVectors(0, a.channels, [&](int64_t c, size_t lanes) HWY_ATTR {
                      AddTo(dx + r * a.channels + c,
                            hn::Mul(Load(w + c, lanes), Load(g + c, lanes)), lanes);
                    });
                  }
                }
              });
}

void CausalConvBackward(const CausalConvArgs& args, const float* dy, float* dx, float* dweight,
                        ThreadPool* pool) {
  const CausalConvArgs a = args;
  if (dx != nullptr) CausalConvInputGradient(a, dy, dx, pool);
  if (dweight == nullptr) return;
  // Threads split the channels, so that each sum is made by one of them in the order of the tokens.
  ParallelFor(pool, Blocks(a.channels, kColumnBlock), 1, [=](int64_t first, int64_t last) HWY_ATTR {
    ForVectors(first * kColumnBlock, std::min(a.channels, last * kColumnBlock),
               [&](int64_t c, size_t lanes) HWY_ATTR {
                 for (int64_t j = 0; j < a.taps; ++j) {
                   V sum = hn::Zero(D());
                   for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
                     const float* x = InputBefore(a, r / a.tokens, r % a.tokens, a.taps - 1 - j);
                     if (x == nullptr) continue;
                     sum =
                         hn::MulAdd(Load(dy + r * a.channels + c, lanes), Load(x + c, lanes), sum);
                   }
                   AddTo(dweight + j * a.channels + c, sum, lanes);
                 }
               });
  });
}

void TokenMix(const TokenMixArgs& args, float* y, ThreadPool* pool) {
  const TokenMixArgs a = args;
  ParallelFor(
      pool, a.batch * a.tokens, GrainOf(a.channels), [=](int64_t begin, int64_t end) HWY_ATTR {
        for (int64_t r = begin; r < end; ++r) {
          const float* x = a.x + r * a.channels;
          const float* last = TokenBefore(a, r / a.tokens, r % a.tokens);
          ForVectors(0, a.channels, [&](int64_t c, size_t lanes) HWY_ATTR {
            const V old = last != nullptr ? Load(last + c, lanes) : hn::Zero(D());
            const V step = hn::Sub(Load(x + c, lanes), old);
            Store(hn::MulAdd(step, Load(a.mix + c, lanes), old), y + r * a.channels + c, lanes);
          });
        }
      });
}

void TokenMixBackward(const TokenMixArgs& args, const float* dy, float* dx, float* dmix,
                      ThreadPool* pool) {
  const TokenMixArgs a = args;
  if (dx != nullptr) {
    ParallelFor(pool, a.batch * a.tokens, GrainOf(a.channels),
                [=](int64_t begin, int64_t end) HWY_ATTR {
                  for (int64_t r = begin; r < end; ++r) {
                    const float* now = dy + r * a.channels;
                    const float* next = r % a.tokens + 1 < a.tokens ? now + a.channels : nullptr;
                    ForVectors(0, a.channels, [&](int64_t c, size_t lanes) HWY_ATTR {
                      const V mix = Load(a.mix + c, lanes);
                      V g = hn::Mul(mix, Load(now + c, lanes));
                      if (next != nullptr) {
                        const V after = Load(next + c, lanes);
                        g = hn::Add(g, hn::NegMulAdd(mix, after, after));
                      }
                      AddTo(dx + r * a.channels + c, g, lanes);
                    });
                  }
                });
  }
  if (dmix == nullptr) return;
  ParallelFor(pool, Blocks(a.channels, kColumnBlock), 1, [=](int64_t first, int64_t last) HWY_ATTR {
    ForVectors(first * kColumnBlock, std::min(a.channels, last * kColumnBlock),
               [&](int64_t c, size_t lanes) HWY_ATTR {
                 V sum = hn::Zero(D());
                 for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
                   const float* before = TokenBefore(a, r / a.tokens, r % a.tokens);
                   V step = Load(a.x + r * a.channels + c, lanes);
                   if (before != nullptr) step = hn::Sub(step, Load(before + c, lanes));
                   sum = hn::MulAdd(Load(dy + r * a.channels + c, lanes), step, sum);
                 }
                 AddTo(dmix + c, sum, lanes);
               });
  });
}

// A = -exp(a_log) of the channels from c on, [states][kLanes]. Lanes past the last channel are -1.
HWY_INLINE void LoadDecays(const SelectiveScanArgs& a, int64_t c, size_t lanes, float* decays) {
  const D d;
  for (int64_t n = 0; n < a.states; ++n) hn::StoreU(hn::Zero(d), d, decays + n * kLanes);
  for (size_t i = 0; i < lanes; ++i) {
    const float* row = a.a_log + (c + static_cast<int64_t>(i)) * a.states;
    for (int64_t n = 0; n < a.states; ++n) decays[n * kLanes + i] = row[n];
  }
  for (int64_t n = 0; n < a.states; ++n) {
    float* at = decays + n * kLanes;
    hn::StoreU(hn::Neg(Exp(d, hn::LoadU(d, at))), d, at);
  }
}

void SelectiveScan(const SelectiveScanArgs& args, float* h, float* y, ThreadPool* pool) {
  const SelectiveScanArgs a = args;
  const int64_t strip = static_cast<int64_t>(hn::Lanes(D())), strips = Blocks(a.channels, strip);
  ParallelFor(pool, a.batch * strips, GrainOf(4 * a.tokens * a.states * strip),
              [=](int64_t begin, int64_t end) HWY_ATTR {
                const D d;
                HWY_ALIGN float decays[kMaxScanStates * kLanes];
                HWY_ALIGN float held[kMaxScanStates * kLanes];
                for (int64_t task = begin; task < end; ++task) {
                  const int64_t sequence = task / strips, c = task % strips * strip;
                  const size_t lanes = static_cast<size_t>(std::min(strip, a.channels - c));
                  LoadDecays(a, c, lanes, decays);
                  float* state = h + sequence * a.states * a.channels + c;
                  for (int64_t n = 0; n < a.states; ++n) {
                    hn::StoreU(Load(state + n * a.channels, lanes), d, held + n * kLanes);
                  }
                  const V skip = Load(a.d + c, lanes);
                  for (int64_t t = 0; t < a.tokens; ++t) {
                    const int64_t row = sequence * a.tokens + t;
                    const V x = Load(a.x + row * a.channels + c, lanes);
                    const V dt = Load(a.dt + row * a.channels + c, lanes);
                    const V dx = hn::Mul(dt, x);
                    V sum = hn::Mul(skip, x);
                    for (int64_t n = 0; n < a.states; ++n) {
                      const V kept =
                          ExpOfNegative(d, hn::Mul(dt, hn::LoadU(d, decays + n * kLanes)));
                      const V input = hn::Mul(dx, hn::Set(d, a.b[row * a.states + n]));
                      const V next = hn::MulAdd(kept, hn::LoadU(d, held + n * kLanes), input);
                      hn::StoreU(next, d, held + n * kLanes);
                      sum = hn::MulAdd(next, hn::Set(d, a.c[row * a.states + n]), sum);
                    }
                    Store(sum, y + row * a.channels + c, lanes);
                  }
                  for (int64_t n = 0; n < a.states; ++n) {
                    Store(hn::LoadU(d, held + n * kLanes), state + n * a.channels, lanes);
                  }
                }
              });
}

// One strip of channels of one sequence. history [tokens + 1][states][kLanes].
void ScanStripBackward(const SelectiveScanArgs& a, const float* h, const float* dy,
                       const SelectiveScanGradients& g, int64_t sequence, int64_t c, size_t lanes,
                       float* history) {
  const D d;
  HWY_ALIGN float decays[kMaxScanStates * kLanes];
  HWY_ALIGN float flow[kMaxScanStates * kLanes];    // the gradient of h, from the tokens after
  HWY_ALIGN float slopes[kMaxScanStates * kLanes];  // the gradient of A
  LoadDecays(a, c, lanes, decays);
  const int64_t width = a.states * static_cast<int64_t>(kLanes);
  for (int64_t n = 0; n < a.states; ++n) {
    hn::StoreU(Load(h + (sequence * a.states + n) * a.channels + c, lanes), d,
               history + n * kLanes);
    hn::StoreU(hn::Zero(d), d, flow + n * kLanes);
    hn::StoreU(hn::Zero(d), d, slopes + n * kLanes);
  }
  const auto kept = [&](V dt, int64_t n) HWY_ATTR {
    return ExpOfNegative(d, hn::Mul(dt, hn::LoadU(d, decays + n * kLanes)));
  };
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t row = sequence * a.tokens + t;
    const V dt = Load(a.dt + row * a.channels + c, lanes);
    const V dx = hn::Mul(dt, Load(a.x + row * a.channels + c, lanes));
    const float* from = history + t * width;
    for (int64_t n = 0; n < a.states; ++n) {
      const V input = hn::Mul(dx, hn::Set(d, a.b[row * a.states + n]));
      hn::StoreU(hn::MulAdd(kept(dt, n), hn::LoadU(d, from + n * kLanes), input), d,
                 history + (t + 1) * width + n * kLanes);
    }
  }
  const V skip = Load(a.d + c, lanes);
  V skip_slope = hn::Zero(d);
  for (int64_t t = a.tokens - 1; t >= 0; --t) {
    const int64_t row = sequence * a.tokens + t, at = row * a.channels + c;
    const V x = Load(a.x + at, lanes), dt = Load(a.dt + at, lanes), up = Load(dy + at, lanes);
    const V dt_x = hn::Mul(dt, x);
    V to_input = hn::Zero(d), to_exponent = hn::Zero(d);  // sum of flow B, of flow A e^(dt A) h
    for (int64_t n = 0; n < a.states; ++n) {
      const V old = hn::LoadU(d, history + t * width + n * kLanes);
      const V now = hn::LoadU(d, history + (t + 1) * width + n * kLanes);
      const V decay = hn::LoadU(d, decays + n * kLanes);
      const V e = kept(dt, n);
      const V in =
          hn::MulAdd(up, hn::Set(d, a.c[row * a.states + n]), hn::LoadU(d, flow + n * kLanes));
      g.c[row * a.states + n] += hn::ReduceSum(d, hn::Mul(up, now));
      g.b[row * a.states + n] += hn::ReduceSum(d, hn::Mul(in, dt_x));
      to_input = hn::MulAdd(in, hn::Set(d, a.b[row * a.states + n]), to_input);
      const V faded = hn::Mul(in, e);
      const V turned = hn::Mul(faded, old);
      to_exponent = hn::MulAdd(turned, decay, to_exponent);
      hn::StoreU(hn::MulAdd(turned, dt, hn::LoadU(d, slopes + n * kLanes)), d, slopes + n * kLanes);
      hn::StoreU(faded, d, flow + n * kLanes);
    }
    AddTo(g.x + at, hn::MulAdd(dt, to_input, hn::Mul(skip, up)), lanes);
    AddTo(g.dt + at, hn::MulAdd(x, to_input, to_exponent), lanes);
    skip_slope = hn::MulAdd(up, x, skip_slope);
  }
  Store(skip_slope, g.d + sequence * a.channels + c, lanes);
  for (int64_t n = 0; n < a.states; ++n) {  // dA / da_log = A
    for (size_t i = 0; i < lanes; ++i) {
      g.a_log[(sequence * a.channels + c + static_cast<int64_t>(i)) * a.states + n] =
          slopes[n * kLanes + i] * decays[n * kLanes + i];
    }
  }
}

// Sequences are the tasks: the gradients of B and C are sums over the channels of one.
void SelectiveScanBackward(const SelectiveScanArgs& args, const float* h, const float* dy,
                           const SelectiveScanGradients& grads, float* scratch, int64_t slots,
                           ThreadPool* pool) {
  ForTasks(args.batch, slots, pool, [&](int64_t sequence, int64_t slot) HWY_ATTR {
    float* history = scratch + slot * RecurrentScratch(args.tokens, args.states);
    ForVectors(0, args.channels, [&](int64_t c, size_t lanes) HWY_ATTR {
      ScanStripBackward(args, h, dy, grads, sequence, c, lanes, history);
    });
  });
}

// The sums over the past: numerator and denominator, both times e^-exponent.
struct WkvState {
  V numerator, denominator, exponent;
};

HWY_INLINE WkvState LoadWkv(const float* state, int64_t stride, size_t lanes) {
  return {Load(state, lanes), Load(state + stride, lanes), Load(state + 2 * stride, lanes)};
}
HWY_INLINE void StoreWkv(const WkvState& s, float* state, int64_t stride, size_t lanes) {
  Store(s.numerator, state, lanes);
  Store(s.denominator, state + stride, lanes);
  Store(s.exponent, state + 2 * stride, lanes);
}

// What is left of the past, and the weight of a token, once both are scaled by a common exponent.
struct WkvShares {
  V past, token, exponent;
};
HWY_INLINE WkvShares ShareWkv(V past, V token) {
  const D d;
  const V most = hn::Max(past, token);
  return {ExpOfNegative(d, hn::Sub(past, most)), ExpOfNegative(d, hn::Sub(token, most)), most};
}

HWY_INLINE WkvState NextWkv(const WkvState& s, V key, V value, V decay) {
  const WkvShares share = ShareWkv(hn::Sub(s.exponent, decay), key);
  return {hn::MulAdd(share.past, s.numerator, hn::Mul(share.token, value)),
          hn::MulAdd(share.past, s.denominator, share.token), share.exponent};
}

void Wkv(const WkvArgs& args, float* state, float* y, ThreadPool* pool) {
  const WkvArgs a = args;
  const int64_t strip = static_cast<int64_t>(hn::Lanes(D())), strips = Blocks(a.channels, strip);
  ParallelFor(pool, a.batch * strips, GrainOf(16 * a.tokens * strip),
              [=](int64_t begin, int64_t end) HWY_ATTR {
                const D d;
                for (int64_t task = begin; task < end; ++task) {
                  const int64_t sequence = task / strips, c = task % strips * strip;
                  const size_t lanes = static_cast<size_t>(std::min(strip, a.channels - c));
                  const V decay = Exp(d, Load(a.decay + c, lanes)),
                          first = Load(a.first + c, lanes);
                  float* at = state + sequence * 3 * a.channels + c;
                  WkvState s = LoadWkv(at, a.channels, lanes);
                  for (int64_t t = 0; t < a.tokens; ++t) {
                    const int64_t i = (sequence * a.tokens + t) * a.channels + c;
                    const V key = Load(a.key + i, lanes), value = Load(a.value + i, lanes);
                    const WkvShares share = ShareWkv(s.exponent, hn::Add(key, first));
                    const V over = hn::MulAdd(share.past, s.numerator, hn::Mul(share.token, value));
                    const V under = hn::MulAdd(share.past, s.denominator, share.token);
                    Store(hn::Div(over, under), y + i, lanes);
                    s = NextWkv(s, key, value, decay);
                  }
                  StoreWkv(s, at, a.channels, lanes);
                }
              });
}

// One strip of channels of one sequence; history [tokens][3][kLanes]. The gradients of the sums are
// kept times e^exponent, as the sums are kept times e^-exponent, so that neither overflows.
void WkvStripBackward(const WkvArgs& a, const float* state, const float* dy, const WkvGradients& g,
                      int64_t sequence, int64_t c, size_t lanes, float* history) {
  const D d;
  const int64_t width = 3 * static_cast<int64_t>(kLanes);
  const V decay = Exp(d, Load(a.decay + c, lanes)), first = Load(a.first + c, lanes);
  WkvState s = LoadWkv(state + sequence * 3 * a.channels + c, a.channels, lanes);
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t i = (sequence * a.tokens + t) * a.channels + c;
    StoreWkv(s, history + t * width, kLanes, kLanes);
    s = NextWkv(s, Load(a.key + i, lanes), Load(a.value + i, lanes), decay);
  }
  V to_over = hn::Zero(d), to_under = hn::Zero(d), to_decay = hn::Zero(d), to_first = hn::Zero(d);
  for (int64_t t = a.tokens - 1; t >= 0; --t) {
    const int64_t i = (sequence * a.tokens + t) * a.channels + c;
    const V key = Load(a.key + i, lanes), value = Load(a.value + i, lanes);
    s = LoadWkv(history + t * width, kLanes, kLanes);
    // Through what the token left behind.
    const WkvShares left = ShareWkv(hn::Sub(s.exponent, decay), key);
    const V carried = hn::MulAdd(to_over, value, to_under);
    V to_key = hn::Mul(left.token, carried), to_value = hn::Mul(left.token, to_over);
    const V sums = hn::MulAdd(to_over, s.numerator, hn::Mul(to_under, s.denominator));
    to_decay = hn::NegMulAdd(hn::Mul(left.past, sums), decay, to_decay);
    to_over = hn::Mul(left.past, to_over);
    to_under = hn::Mul(left.past, to_under);
    // Through its own output.
    const WkvShares share = ShareWkv(s.exponent, hn::Add(key, first));
    const V under = hn::MulAdd(share.past, s.denominator, share.token);
    const V y = hn::Div(hn::MulAdd(share.past, s.numerator, hn::Mul(share.token, value)), under);
    const V up = hn::Div(Load(dy + i, lanes), under);
    const V to_token = hn::Mul(hn::Mul(up, share.token), hn::Sub(value, y));
    to_key = hn::Add(to_key, to_token);
    to_first = hn::Add(to_first, to_token);
    to_value = hn::MulAdd(up, share.token, to_value);
    const V to_past = hn::Mul(up, share.past);
    to_over = hn::Add(to_over, to_past);
    to_under = hn::NegMulAdd(to_past, y, to_under);
    AddTo(g.key + i, to_key, lanes);
    AddTo(g.value + i, to_value, lanes);
  }
  AddTo(g.decay + c, to_decay, lanes);
  AddTo(g.first + c, to_first, lanes);
}

void WkvBackward(const WkvArgs& args, const float* state, const float* dy,
                 const WkvGradients& grads, float* scratch, int64_t slots, ThreadPool* pool) {
  const int64_t strip = static_cast<int64_t>(hn::Lanes(D()));
  ForTasks(Blocks(args.channels, strip), slots, pool, [&](int64_t task, int64_t slot) HWY_ATTR {
    const int64_t c = task * strip;
    const size_t lanes = static_cast<size_t>(std::min(strip, args.channels - c));
    for (int64_t sequence = 0; sequence < args.batch; ++sequence) {
      WkvStripBackward(args, state, dy, grads, sequence, c, lanes,
                       scratch + slot * RecurrentScratch(args.tokens, 3));
    }
  });
}

// `kVectors` vectors of value columns, from column j on, of one head; all its tokens.
template <int kVectors>
HWY_INLINE void DeltaColumns(const DeltaRuleArgs& a, int64_t sequence, int64_t head, int64_t j,
                             size_t lanes, float* state, float* y) {
  const D d;
  const size_t n = hn::Lanes(d);
  const int64_t key_width = a.key_heads * a.key_dim, value_width = a.value_heads * a.value_dim;
  const int64_t key_head = head / (a.value_heads / a.key_heads);
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t row = sequence * a.tokens + t;
    const float* q = a.q + row * key_width + key_head * a.key_dim;
    const float* k = a.k + row * key_width + key_head * a.key_dim;
    const int64_t at = row * value_width + head * a.value_dim + j;
    const V kept = hn::Set(d, std::exp(a.g[row * a.value_heads + head]));
    const V beta = hn::Set(d, a.beta[row * a.value_heads + head]);
    V recalled[kVectors], delta[kVectors], out[kVectors];
    for (int v = 0; v < kVectors; ++v) recalled[v] = out[v] = hn::Zero(d);
    for (int64_t i = 0; i < a.key_dim; ++i) {
      const V key = hn::Set(d, k[i]);
      for (int v = 0; v < kVectors; ++v) {
        recalled[v] =
            hn::MulAdd(Load(state + i * a.value_dim + j + v * n, lanes), key, recalled[v]);
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      delta[v] = hn::Mul(beta, hn::NegMulAdd(kept, recalled[v], Load(a.v + at + v * n, lanes)));
    }
    for (int64_t i = 0; i < a.key_dim; ++i) {
      const V key = hn::Set(d, k[i]), query = hn::Set(d, q[i]);
      float* row_state = state + i * a.value_dim + j;
      for (int v = 0; v < kVectors; ++v) {
        const V next = hn::MulAdd(key, delta[v], hn::Mul(kept, Load(row_state + v * n, lanes)));
        Store(next, row_state + v * n, lanes);
        out[v] = hn::MulAdd(next, query, out[v]);
      }
    }
    for (int v = 0; v < kVectors; ++v) Store(out[v], y + at + v * n, lanes);
  }
}

void DeltaRule(const DeltaRuleArgs& args, float* state, float* y, ThreadPool* pool) {
  const DeltaRuleArgs a = args;
  const int64_t strip = static_cast<int64_t>(4 * hn::Lanes(D()));
  const int64_t strips = Blocks(a.value_dim, strip);
  ParallelFor(pool, a.batch * a.value_heads * strips, GrainOf(a.tokens * a.key_dim * strip),
              [=](int64_t begin, int64_t end) HWY_ATTR {
                for (int64_t task = begin; task < end; ++task) {
                  const int64_t head = task / strips % a.value_heads,
                                sequence = task / strips / a.value_heads;
                  const int64_t first = task % strips * strip,
                                last = std::min(a.value_dim, first + strip);
                  float* held = state + (sequence * a.value_heads + head) * a.key_dim * a.value_dim;
                  if (last - first == strip) {
                    DeltaColumns<4>(a, sequence, head, first, hn::Lanes(D()), held, y);
                  } else {
                    ForVectors(first, last, [&](int64_t j, size_t lanes) HWY_ATTR {
                      DeltaColumns<1>(a, sequence, head, j, lanes, held, y);
                    });
                  }
                }
              });
}

// One vector of value columns of one head. history [tokens + 1][key_dim][kLanes], and beside it the
// gradient of the state from the tokens after, [key_dim][kLanes].
void DeltaStripBackward(const DeltaRuleArgs& a, const float* state, const float* dy,
                        const DeltaRuleGradients& g, int64_t sequence, int64_t head, int64_t j,
                        size_t lanes, float* history, float* flow) {
  const D d;
  const int64_t key_width = a.key_heads * a.key_dim, value_width = a.value_heads * a.value_dim;
  const int64_t key_head = head / (a.value_heads / a.key_heads);
  const int64_t width = a.key_dim * static_cast<int64_t>(kLanes);
  // k^T S of the state before a token, over the strip's columns.
  const auto recall = [&](const float* from, const float* k) HWY_ATTR {
    V sum = hn::Zero(d);
    for (int64_t i = 0; i < a.key_dim; ++i) {
      sum = hn::MulAdd(hn::LoadU(d, from + i * kLanes), hn::Set(d, k[i]), sum);
    }
    return sum;
  };
  for (int64_t i = 0; i < a.key_dim; ++i) {
    const int64_t row = (sequence * a.value_heads + head) * a.key_dim + i;
    hn::StoreU(Load(state + row * a.value_dim + j, lanes), d, history + i * kLanes);
    hn::StoreU(hn::Zero(d), d, flow + i * kLanes);
  }
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t row = sequence * a.tokens + t;
    const float* k = a.k + row * key_width + key_head * a.key_dim;
    const V kept = hn::Set(d, std::exp(a.g[row * a.value_heads + head]));
    const V beta = hn::Set(d, a.beta[row * a.value_heads + head]);
    const float* from = history + t * width;
    const V value = Load(a.v + row * value_width + head * a.value_dim + j, lanes);
    const V delta = hn::Mul(beta, hn::NegMulAdd(kept, recall(from, k), value));
    for (int64_t i = 0; i < a.key_dim; ++i) {
      hn::StoreU(
          hn::MulAdd(hn::Set(d, k[i]), delta, hn::Mul(kept, hn::LoadU(d, from + i * kLanes))), d,
          history + (t + 1) * width + i * kLanes);
    }
  }
  for (int64_t t = a.tokens - 1; t >= 0; --t) {
    const int64_t row = sequence * a.tokens + t, gate = row * a.value_heads + head;
    const int64_t key_at = row * key_width + key_head * a.key_dim;
    const int64_t value_at = row * value_width + head * a.value_dim + j;
    const float *q = a.q + key_at, *k = a.k + key_at;
    const float* old = history + t * width;
    const float* now = history + (t + 1) * width;
    const V kept = hn::Set(d, std::exp(a.g[gate])), beta = hn::Set(d, a.beta[gate]);
    const V up = Load(dy + value_at, lanes);
    // Padding lanes: `up` and the values are 0 there, so that they add nothing below.
    const V error = hn::NegMulAdd(kept, recall(old, k), Load(a.v + value_at, lanes));
    const V delta = hn::Mul(beta, error);
    V to_delta = hn::Zero(d);
    for (int64_t i = 0; i < a.key_dim; ++i) {
      g.q[key_at + i] += hn::ReduceSum(d, hn::Mul(hn::LoadU(d, now + i * kLanes), up));
      const V in = hn::MulAdd(hn::Set(d, q[i]), up, hn::LoadU(d, flow + i * kLanes));
      hn::StoreU(in, d, flow + i * kLanes);
      to_delta = hn::MulAdd(in, hn::Set(d, k[i]), to_delta);
    }
    const V to_value = hn::Mul(beta, to_delta);  // and minus this to what was recalled
    V to_kept = hn::Zero(d);
    for (int64_t i = 0; i < a.key_dim; ++i) {
      const V in = hn::LoadU(d, flow + i * kLanes), before = hn::LoadU(d, old + i * kLanes);
      const V to_key = hn::NegMulAdd(hn::Mul(kept, before), to_value, hn::Mul(in, delta));
      g.k[key_at + i] += hn::ReduceSum(d, to_key);
      const V to_faded = hn::NegMulAdd(hn::Set(d, k[i]), to_value, in);
      to_kept = hn::MulAdd(to_faded, before, to_kept);
      hn::StoreU(hn::Mul(kept, to_faded), d, flow + i * kLanes);
    }
    AddTo(g.v + value_at, to_value, lanes);
    g.beta[gate] += hn::ReduceSum(d, hn::Mul(to_delta, error));
    g.g[gate] += hn::ReduceSum(d, hn::Mul(to_kept, kept));
  }
}

// Key heads of sequences are the tasks: the gradients of q and k are sums over the value heads and
// columns that read one.
void DeltaRuleBackward(const DeltaRuleArgs& args, const float* state, const float* dy,
                       const DeltaRuleGradients& grads, float* scratch, int64_t slots,
                       ThreadPool* pool) {
  const int64_t shared = args.value_heads / args.key_heads;
  ForTasks(args.batch * args.key_heads, slots, pool, [&](int64_t task, int64_t slot) HWY_ATTR {
    float* history = scratch + slot * RecurrentScratch(args.tokens + 1, args.key_dim);
    float* flow = history + RecurrentScratch(args.tokens, args.key_dim);
    const int64_t sequence = task / args.key_heads, key_head = task % args.key_heads;
    for (int64_t head = key_head * shared; head < (key_head + 1) * shared; ++head) {
      ForVectors(0, args.value_dim, [&](int64_t j, size_t lanes) HWY_ATTR {
        DeltaStripBackward(args, state, dy, grads, sequence, head, j, lanes, history, flow);
      });
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {

HWY_EXPORT(CausalConv);
HWY_EXPORT(CausalConvBackward);
HWY_EXPORT(TokenMix);
HWY_EXPORT(TokenMixBackward);
HWY_EXPORT(SelectiveScan);
HWY_EXPORT(SelectiveScanBackward);
HWY_EXPORT(Wkv);
HWY_EXPORT(WkvBackward);
HWY_EXPORT(DeltaRule);
HWY_EXPORT(DeltaRuleBackward);

void CausalConv(const CausalConvArgs& args, const float* bias, float* y, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(CausalConv)(args, bias, y, pool);
}
void CausalConvBackward(const CausalConvArgs& args, const float* dy, float* dx, float* dweight,
                        ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(CausalConvBackward)(args, dy, dx, dweight, pool);
}
void TokenMix(const TokenMixArgs& args, float* y, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(TokenMix)(args, y, pool);
}
void TokenMixBackward(const TokenMixArgs& args, const float* dy, float* dx, float* dmix,
                      ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(TokenMixBackward)(args, dy, dx, dmix, pool);
}
void SelectiveScan(const SelectiveScanArgs& args, float* h, float* y, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(SelectiveScan)(args, h, y, pool);
}
void SelectiveScanBackward(const SelectiveScanArgs& args, const float* h, const float* dy,
                           const SelectiveScanGradients& grads, float* scratch, int64_t slots,
                           ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(SelectiveScanBackward)(args, h, dy, grads, scratch, slots, pool);
}
void Wkv(const WkvArgs& args, float* state, float* y, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Wkv)(args, state, y, pool);
}
void WkvBackward(const WkvArgs& args, const float* state, const float* dy,
                 const WkvGradients& grads, float* scratch, int64_t slots, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(WkvBackward)(args, state, dy, grads, scratch, slots, pool);
}
void DeltaRule(const DeltaRuleArgs& args, float* state, float* y, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(DeltaRule)(args, state, y, pool);
}
void DeltaRuleBackward(const DeltaRuleArgs& args, const float* state, const float* dy,
                       const DeltaRuleGradients& grads, float* scratch, int64_t slots,
                       ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(DeltaRuleBackward)(args, state, dy, grads, scratch, slots, pool);
}

void CausalConvState(const CausalConvArgs& a, float* after) {
  // Forwards: a row of `before` that is still to be read lies behind the one that is written.
  const size_t bytes = static_cast<size_t>(a.channels) * sizeof(float);
  for (int64_t sequence = 0; sequence < a.batch; ++sequence) {
    for (int64_t i = 0; i < a.taps - 1; ++i) {
      const float* from = InputBefore(a, sequence, a.tokens - 1, a.taps - 2 - i);
      float* to = after + (sequence * (a.taps - 1) + i) * a.channels;
      if (from == nullptr) {
        std::memset(to, 0, bytes);
      } else {
        std::memmove(to, from, bytes);
      }
    }
  }
}

namespace scalar {

void CausalConv(const CausalConvArgs& a, const float* bias, float* y) {
  for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
    for (int64_t c = 0; c < a.channels; ++c) {
      double sum = bias != nullptr ? bias[c] : 0;
      for (int64_t j = 0; j < a.taps; ++j) {
        const float* x = InputBefore(a, r / a.tokens, r % a.tokens, a.taps - 1 - j);
        if (x != nullptr) sum += static_cast<double>(a.weight[j * a.channels + c]) * x[c];
      }
      y[r * a.channels + c] = static_cast<float>(sum);
    }
  }
}

void TokenMix(const TokenMixArgs& a, float* y) {
  for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
    const float* last = TokenBefore(a, r / a.tokens, r % a.tokens);
    for (int64_t c = 0; c < a.channels; ++c) {
      const double mix = a.mix[c], old = last != nullptr ? last[c] : 0;
      y[r * a.channels + c] = static_cast<float>(a.x[r * a.channels + c] * mix + old * (1 - mix));
    }
  }
}

void SelectiveScan(const SelectiveScanArgs& a, float* h, float* y) {
  for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
    for (int64_t c = 0; c < a.channels; ++c) {
      const double x = a.x[r * a.channels + c], dt = a.dt[r * a.channels + c];
      double sum = a.d[c] * x;
      for (int64_t n = 0; n < a.states; ++n) {
        float& state = h[(r / a.tokens * a.states + n) * a.channels + c];
        const double decay = -std::exp(static_cast<double>(a.a_log[c * a.states + n]));
        const double next = std::exp(dt * decay) * state + dt * a.b[r * a.states + n] * x;
        state = static_cast<float>(next);
        sum += next * a.c[r * a.states + n];
      }
      y[r * a.channels + c] = static_cast<float>(sum);
    }
  }
}

void Wkv(const WkvArgs& a, float* state, float* y) {
  for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
    for (int64_t c = 0; c < a.channels; ++c) {
      float* s = state + r / a.tokens * 3 * a.channels + c;
      float &over = s[0], &under = s[a.channels], &exponent = s[2 * a.channels];
      const double key = a.key[r * a.channels + c], value = a.value[r * a.channels + c];
      const auto join = [&](double past, double token, double& sum, double& weight) {
        const double most = std::max(past, token);
        const double p = std::exp(past - most), q = std::exp(token - most);
        sum = p * over + q * value;
        weight = p * under + q;
        return most;
      };
      double sum = 0, weight = 0;
      join(exponent, key + a.first[c], sum, weight);
      y[r * a.channels + c] = static_cast<float>(sum / weight);
      const double most =
          join(exponent - std::exp(static_cast<double>(a.decay[c])), key, sum, weight);
      over = static_cast<float>(sum);
      under = static_cast<float>(weight);
      exponent = static_cast<float>(most);
    }
  }
}

void DeltaRule(const DeltaRuleArgs& a, float* state, float* y) {
  const int64_t key_width = a.key_heads * a.key_dim, value_width = a.value_heads * a.value_dim;
  for (int64_t r = 0; r < a.batch * a.tokens; ++r) {
    for (int64_t head = 0; head < a.value_heads; ++head) {
      const int64_t key_at = r * key_width + head * a.key_heads / a.value_heads * a.key_dim;
      const double kept = std::exp(static_cast<double>(a.g[r * a.value_heads + head]));
      for (int64_t j = 0; j < a.value_dim; ++j) {
        float* s = state + (r / a.tokens * a.value_heads + head) * a.key_dim * a.value_dim + j;
        const int64_t at = r * value_width + head * a.value_dim + j;
        double recalled = 0, out = 0;
        for (int64_t i = 0; i < a.key_dim; ++i)
          recalled += kept * s[i * a.value_dim] * a.k[key_at + i];
        const double delta = a.beta[r * a.value_heads + head] * (a.v[at] - recalled);
        for (int64_t i = 0; i < a.key_dim; ++i) {
          const double next = kept * s[i * a.value_dim] + a.k[key_at + i] * delta;
          s[i * a.value_dim] = static_cast<float>(next);
          out += next * a.q[key_at + i];
        }
        y[at] = static_cast<float>(out);
      }
    }
  }
}

}  // namespace scalar

}  // namespace sotto
#endif  // HWY_ONCE
