#include "core/ops/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "core/kernels/pointwise.h"
#include "core/kernels/recurrent.h"

namespace sotto {
namespace {

Tensor Refuse(Context& ctx, std::string_view op, std::initializer_list<const Tensor*> tensors) {
  std::string shapes;
  for (const Tensor* t : tensors)
    shapes += StrCat(shapes.empty() ? "" : ", ", t->shape().ToString());
  return ctx.Fail(InvalidArgument(StrCat(op, ": the shapes do not match: ", shapes)));
}

bool IsSequence(const Tensor& t) { return t && t.rank() == 3 && t.dtype() == DType::kF32; }

// The state that an op updates, and where a gradient wants it, a copy of what it was.
struct Carried {
  Tensor state, before;
};

Carried Continue(Context& ctx, std::string_view op, Tensor* state, const Shape& shape, bool taped) {
  Carried carried;
  if (state != nullptr && *state) {
    if (state->shape() != shape) {
      Refuse(ctx, StrCat(op, " of another state"), {state});
      return carried;
    }
    carried.state = *state;
  } else {
    carried.state = ctx.NewZeros(shape);
  }
  if (taped) carried.before = ctx.New(shape);
  return carried;
}

void Remember(Carried& carried) {
  if (carried.before) {
    std::memcpy(carried.before.data(), carried.state.data(), carried.state.bytes());
  }
}

// The gradient of an input, or a place to write to where it wants none.
float* GradOrScratch(Context& ctx, const Tensor& input, Tensor& scratch) {
  if (float* grad = GradOf(ctx, input)) return grad;
  scratch = ctx.NewZeros(input.shape());
  return scratch.f32();
}

int64_t SlotsFor(const Context& ctx, int64_t tasks) {
  return std::clamp<int64_t>(tasks, 1, ctx.pool() != nullptr ? ctx.pool()->threads() : 1);
}

// [channels, taps] -> [taps, channels]
Tensor TapsFirst(Context& ctx, const Tensor& weight) {
  const int64_t channels = weight.dim(0), taps = weight.dim(1);
  Tensor out = ctx.New({taps, channels});
  if (!out) return out;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t j = 0; j < taps; ++j) out.f32()[j * channels + c] = weight.f32()[c * taps + j];
  }
  return out;
}

}  // namespace

Tensor CausalConv(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  Tensor* state) {
  if (!ctx.ok()) return {};
  if (!IsSequence(x) || weight.rank() != 2 || weight.dim(0) != x.dim(2) ||
      (bias && bias.elements() != x.dim(2))) {
    return Refuse(ctx, "causal convolution", {&x, &weight, &bias});
  }
  const int64_t batch = x.dim(0), channels = x.dim(2), taps = weight.dim(1);
  const bool taped = Taped(ctx, x, weight, bias);
  const bool continued = state != nullptr && *state;
  Carried carried;
  if (state != nullptr) {
    carried =
        Continue(ctx, "causal convolution", state, {batch, taps - 1, channels}, taped && continued);
  }
  Tensor y = ctx.New(x.shape());
  const Tensor by_tap = TapsFirst(ctx, weight);
  if (!ctx.ok()) return {};
  Remember(carried);
  CausalConvArgs args{.batch = batch,
                      .tokens = x.dim(1),
                      .channels = channels,
                      .taps = taps,
                      .x = x.f32(),
                      .weight = by_tap.f32(),
                      .before = continued ? carried.state.f32() : nullptr};
  CausalConv(args, bias ? bias.f32() : nullptr, y.f32(), ctx.pool());
  if (state != nullptr) {
    CausalConvState(args, carried.state.f32());
    *state = carried.state;
  }
  if (taped) {
    const Tensor before = carried.before;
    args.before = before ? before.f32() : nullptr;
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      (void)before, (void)by_tap;  // kept alive: `args` points into them
      Tensor dtaps;
      if (weight.requires_grad()) dtaps = c.NewZeros({taps, channels});
      float* dx = GradOf(c, x);
      float* dw = GradOf(c, weight);
      float* db = bias ? GradOf(c, bias) : nullptr;
      if (!c.ok()) return;
      CausalConvBackward(args, dy.f32(), dx, dtaps ? dtaps.f32() : nullptr, c.pool());
      for (int64_t i = 0; dw != nullptr && i < taps * channels; ++i) {
        dw[i] += dtaps.f32()[i % taps * channels + i / taps];
      }
      if (db != nullptr) SumRows(dy.f32(), db, dy.shape().rows(), channels, c.pool());
    });
  }
  return y;
}

Tensor TokenMix(Context& ctx, const Tensor& x, const Tensor& before, const Tensor& mix) {
  if (!ctx.ok()) return {};
  if (!IsSequence(x) || mix.elements() != x.dim(2) ||
      (before && before.shape() != Shape({x.dim(0), x.dim(2)}))) {
    return Refuse(ctx, "token mix", {&x, &before, &mix});
  }
  Tensor y = ctx.New(x.shape());
  if (!y) return y;
  const bool taped = Taped(ctx, x, mix);
  Tensor kept;
  if (taped && before) {
    kept = ctx.New(before.shape());
    if (!kept) return {};
    std::memcpy(kept.data(), before.data(), before.bytes());
  }
  TokenMixArgs args{.batch = x.dim(0),
                    .tokens = x.dim(1),
                    .channels = x.dim(2),
                    .x = x.f32(),
                    .before = before ? before.f32() : nullptr,
                    .mix = mix.f32()};
  TokenMix(args, y.f32(), ctx.pool());
  if (taped) {
    args.before = kept ? kept.f32() : nullptr;
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      (void)kept;  // kept alive: `args` points into it
      float* dx = GradOf(c, x);
      float* dmix = GradOf(c, mix);
      if (c.ok()) TokenMixBackward(args, dy.f32(), dx, dmix, c.pool());
    });
  }
  return y;
}

void KeepLastToken(Context& ctx, const Tensor& x, Tensor* state) {
  if (!ctx.ok() || state == nullptr) return;
  const int64_t batch = x.dim(0), tokens = x.dim(1), channels = x.dim(2);
  if (!*state) *state = ctx.New({batch, channels});
  if (!ctx.ok()) return;
  for (int64_t b = 0; b < batch; ++b) {
    std::memcpy(state->f32() + b * channels, x.f32() + ((b + 1) * tokens - 1) * channels,
                static_cast<size_t>(channels) * sizeof(float));
  }
}

Tensor SelectiveScan(Context& ctx, const Tensor& x, const Tensor& dt, const Tensor& a_log,
                     const Tensor& b, const Tensor& c, const Tensor& skip, Tensor* state) {
  if (!ctx.ok()) return {};
  const auto refuse = [&] {
    return Refuse(ctx, "selective scan", {&x, &dt, &a_log, &b, &c, &skip});
  };
  if (!IsSequence(x) || dt.shape() != x.shape() || a_log.rank() != 2 || a_log.dim(0) != x.dim(2))
    return refuse();
  const int64_t batch = x.dim(0), tokens = x.dim(1), channels = x.dim(2), states = a_log.dim(1);
  if (b.shape() != Shape({batch, tokens, states}) || c.shape() != b.shape() ||
      skip.elements() != channels) {
    return refuse();
  }
  if (states > kMaxScanStates) {
    return ctx.Fail(
        Unsupported(StrCat("a selective scan of more than ", kMaxScanStates, " states a channel")));
  }
  const bool taped = Taped(ctx, x, dt, a_log, b, c, skip);
  Carried carried = Continue(ctx, "selective scan", state, {batch, states, channels}, taped);
  Tensor y = ctx.New(x.shape());
  if (!ctx.ok()) return {};
  Remember(carried);
  const SelectiveScanArgs args{.batch = batch,
                               .tokens = tokens,
                               .channels = channels,
                               .states = states,
                               .x = x.f32(),
                               .dt = dt.f32(),
                               .a_log = a_log.f32(),
                               .b = b.f32(),
                               .c = c.f32(),
                               .d = skip.f32()};
  SelectiveScan(args, carried.state.f32(), y.f32(), ctx.pool());
  if (state != nullptr) *state = carried.state;
  if (taped) {
    const Tensor before = carried.before;
    ctx.tape()->Record(y, [=](Context& cx, const Tensor& dy) {
      Tensor sx, sdt, sb, sc;
      const int64_t slots = SlotsFor(cx, batch);
      Tensor da = cx.New({batch, channels * states}), dd = cx.New({batch, channels});
      Tensor scratch = cx.New({slots, RecurrentScratch(tokens, states)});
      const SelectiveScanGradients grads{
          .x = GradOrScratch(cx, x, sx),
          .dt = GradOrScratch(cx, dt, sdt),
          .b = GradOrScratch(cx, b, sb),
          .c = GradOrScratch(cx, c, sc),
          .a_log = da.f32(),
          .d = dd.f32(),
      };
      float* to_a = GradOf(cx, a_log);
      float* to_skip = GradOf(cx, skip);
      if (!cx.ok()) return;
      SelectiveScanBackward(args, before.f32(), dy.f32(), grads, scratch.f32(), slots, cx.pool());
      if (to_a != nullptr) SumRows(da.f32(), to_a, batch, channels * states, cx.pool());
      if (to_skip != nullptr) SumRows(dd.f32(), to_skip, batch, channels, cx.pool());
    });
  }
  return y;
}

Tensor Wkv(Context& ctx, const Tensor& key, const Tensor& value, const Tensor& decay,
           const Tensor& first, Tensor* state) {
  if (!ctx.ok()) return {};
  if (!IsSequence(key) || value.shape() != key.shape() || decay.elements() != key.dim(2) ||
      first.elements() != key.dim(2)) {
    return Refuse(ctx, "wkv", {&key, &value, &decay, &first});
  }
  const int64_t batch = key.dim(0), tokens = key.dim(1), channels = key.dim(2);
  const bool taped = Taped(ctx, key, value, decay, first);
  const bool continued = state != nullptr && *state;
  Carried carried = Continue(ctx, "wkv", state, {batch, 3, channels}, taped);
  Tensor y = ctx.New(key.shape());
  if (!ctx.ok()) return {};
  for (int64_t b = 0; b < batch && !continued; ++b) {
    std::fill_n(carried.state.f32() + (3 * b + 2) * channels, channels, kWkvNothing);
  }
  Remember(carried);
  const WkvArgs args{.batch = batch,
                     .tokens = tokens,
                     .channels = channels,
                     .key = key.f32(),
                     .value = value.f32(),
                     .decay = decay.f32(),
                     .first = first.f32()};
  Wkv(args, carried.state.f32(), y.f32(), ctx.pool());
  if (state != nullptr) *state = carried.state;
  if (taped) {
    const Tensor before = carried.before;
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      Tensor sk, sv, sd, sf;
      const int64_t slots = SlotsFor(c, channels / kRecurrentStrip);
      Tensor scratch = c.New({slots, RecurrentScratch(tokens, 3)});
      const WkvGradients grads{.key = GradOrScratch(c, key, sk),
                               .value = GradOrScratch(c, value, sv),
                               .decay = GradOrScratch(c, decay, sd),
                               .first = GradOrScratch(c, first, sf)};
      if (!c.ok()) return;
      WkvBackward(args, before.f32(), dy.f32(), grads, scratch.f32(), slots, c.pool());
    });
  }
  return y;
}

Tensor GatedDeltaRule(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                      const Tensor& g, const Tensor& beta, int64_t key_heads, Tensor* state) {
  if (!ctx.ok()) return {};
  const auto refuse = [&] { return Refuse(ctx, "gated delta rule", {&q, &k, &v, &g, &beta}); };
  if (!IsSequence(q) || k.shape() != q.shape() || !IsSequence(v) || !IsSequence(g) ||
      beta.shape() != g.shape() || v.dim(0) != q.dim(0) || g.dim(0) != q.dim(0) ||
      v.dim(1) != q.dim(1) || g.dim(1) != q.dim(1)) {
    return refuse();
  }
  const int64_t batch = q.dim(0), tokens = q.dim(1), value_heads = g.dim(2);
  if (key_heads <= 0 || value_heads <= 0 || value_heads % key_heads != 0 ||
      q.dim(2) % key_heads != 0 || v.dim(2) % value_heads != 0) {
    return refuse();
  }
  const int64_t key_dim = q.dim(2) / key_heads, value_dim = v.dim(2) / value_heads;
  const bool taped = Taped(ctx, q, k, v, g, beta);
  Carried carried =
      Continue(ctx, "gated delta rule", state, {batch, value_heads, key_dim, value_dim}, taped);
  Tensor y = ctx.New(v.shape());
  if (!ctx.ok()) return {};
  Remember(carried);
  const DeltaRuleArgs args{.batch = batch,
                           .tokens = tokens,
                           .key_heads = key_heads,
                           .value_heads = value_heads,
                           .key_dim = key_dim,
                           .value_dim = value_dim,
                           .q = q.f32(),
                           .k = k.f32(),
                           .v = v.f32(),
                           .g = g.f32(),
                           .beta = beta.f32()};
  DeltaRule(args, carried.state.f32(), y.f32(), ctx.pool());
  if (state != nullptr) *state = carried.state;
  if (taped) {
    const Tensor before = carried.before;
    ctx.tape()->Record(y, [=](Context& c, const Tensor& dy) {
      Tensor sq, sk, sv, sg, sb;
      const int64_t slots = SlotsFor(c, batch * key_heads);
      Tensor scratch = c.New({slots, RecurrentScratch(tokens + 1, key_dim)});
      const DeltaRuleGradients grads{.q = GradOrScratch(c, q, sq),
                                     .k = GradOrScratch(c, k, sk),
                                     .v = GradOrScratch(c, v, sv),
                                     .g = GradOrScratch(c, g, sg),
                                     .beta = GradOrScratch(c, beta, sb)};
      if (!c.ok()) return;
      DeltaRuleBackward(args, before.f32(), dy.f32(), grads, scratch.f32(), slots, c.pool());
    });
  }
  return y;
}

Tensor DecayBy(Context& ctx, const Tensor& x, const Tensor& a_log) {
  if (!ctx.ok()) return {};
  const int64_t rows = x.shape().rows(), columns = x.shape().columns();
  if (a_log.elements() != columns) return Refuse(ctx, "decay", {&x, &a_log});
  Tensor y = ctx.New(x.shape());
  Tensor rates = ctx.New({columns});
  if (!ctx.ok()) return {};
  for (int64_t c = 0; c < columns; ++c) rates.f32()[c] = -std::exp(a_log.f32()[c]);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      y.f32()[r * columns + c] = x.f32()[r * columns + c] * rates.f32()[c];
    }
  }
  if (Taped(ctx, x, a_log)) {
    ctx.tape()->Record(y, [=](Context& cx, const Tensor& dy) {
      float* dx = GradOf(cx, x);
      float* da = GradOf(cx, a_log);
      if (!cx.ok()) return;
      for (int64_t i = 0; i < rows * columns; ++i) {
        const float up = dy.f32()[i] * rates.f32()[i % columns];
        if (dx != nullptr) dx[i] += up;
        if (da != nullptr) da[i % columns] += up * x.f32()[i];
      }
    });
  }
  return y;
}

namespace {

// to (+)= from, where the mask is not zero; rows [batch, tokens, columns].
void CopyReal(const Tensor& mask, const Tensor& from, float* to, bool add) {
  const int64_t batch = from.dim(0), tokens = from.dim(1), columns = from.dim(2),
                past = mask.dim(1) - tokens;
  const uint8_t* real = static_cast<const uint8_t*>(mask.data());
  for (int64_t r = 0; r < batch * tokens; ++r) {
    if (real[r / tokens * (past + tokens) + past + r % tokens] == 0) continue;
    if (add) {
      Axpy(from.f32() + r * columns, 1, to + r * columns, columns, nullptr);
    } else {
      std::memcpy(to + r * columns, from.f32() + r * columns,
                  static_cast<size_t>(columns) * sizeof(float));
    }
  }
}

}  // namespace

Tensor MaskTokens(Context& ctx, const Tensor& x, const Tensor& mask) {
  if (!ctx.ok() || !mask) return x;
  if (!IsSequence(x) || mask.rank() != 2 || mask.dtype() != DType::kU8 || mask.dim(0) != x.dim(0) ||
      mask.dim(1) < x.dim(1)) {
    return Refuse(ctx, "token mask", {&x, &mask});
  }
  Tensor y = ctx.NewZeros(x.shape());
  if (!y) return y;
  CopyReal(mask, x, y.f32(), /*add=*/false);
  if (Taped(ctx, x)) {
    ctx.tape()->Record(y, [x, mask](Context& c, const Tensor& dy) {
      if (float* dx = GradOf(c, x)) CopyReal(mask, dy, dx, /*add=*/true);
    });
  }
  return y;
}

}  // namespace sotto
