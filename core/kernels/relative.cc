#include "core/kernels/relative.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/base/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/relative.cc"
#include "core/kernels/targets.h"

#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Row i of the result; at[j] is the entry of its column j.
void GatherRow(const float* by_query, const float* by_key, const int32_t* at, float factor,
               float* out, int64_t tokens) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const auto f = hn::Set(d, factor);
  const auto stride = hn::Set(di, static_cast<int32_t>(tokens));
  for (int64_t j = 0; j < tokens; j += n) {
    const size_t lanes = static_cast<size_t>(std::min(n, tokens - j));
    const auto e = hn::LoadN(di, at + j, lanes);  // lanes past the end read entry 0
    auto sum = hn::Zero(d);
    if (by_query != nullptr) sum = hn::GatherIndex(d, by_query, e);
    if (by_key != nullptr) {
      const auto where = hn::Add(hn::Mul(e, stride), hn::Iota(di, 0));
      const auto inside = hn::IfThenElseZero(hn::FirstN(di, lanes), where);
      sum = hn::Add(sum, hn::GatherIndex(d, by_key + j, inside));
    }
    hn::StoreN(hn::Mul(sum, f), d, out + j, lanes);
  }
}

void GatherRelative(const float* by_query, const float* by_key, const int32_t* entry, float factor,
                    float* out, int64_t tokens, int64_t entries, ThreadPool* pool) {
  ParallelFor(pool, tokens, 16, [=](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      GatherRow(by_query != nullptr ? by_query + i * entries : nullptr, by_key,
                entry + tokens - 1 - i, factor, out + i * tokens, tokens);
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {

HWY_EXPORT(GatherRelative);

void GatherRelative(const float* by_query, const float* by_key, const int32_t* entry, float factor,
                    float* out, int64_t tokens, int64_t entries, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(GatherRelative)
  (by_query, by_key, entry, factor, out, tokens, entries, pool);
}

// Entries repeat within a row, so that its lanes would collide: this stays one element at a time.
void ScatterRelative(const float* d_out, const int32_t* entry, float factor, float* d_by_query,
                     float* d_by_key, int64_t tokens, int64_t entries, ThreadPool* pool) {
  if (d_by_query != nullptr) {
    ParallelFor(pool, tokens, 16, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int32_t* at = entry + tokens - 1 - i;
        for (int64_t j = 0; j < tokens; ++j)
          d_by_query[i * entries + at[j]] += factor * d_out[i * tokens + j];
      }
    });
  }
  if (d_by_key != nullptr) {
    ParallelFor(pool, tokens, 16, [=](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < tokens; ++i) {
        const int32_t* at = entry + tokens - 1 - i;
        for (int64_t j = begin; j < end; ++j)
          d_by_key[at[j] * tokens + j] += factor * d_out[i * tokens + j];
      }
    });
  }
}

namespace scalar {

void GatherRelative(const float* by_query, const float* by_key, const int32_t* entry, float factor,
                    float* out, int64_t tokens, int64_t entries) {
  for (int64_t i = 0; i < tokens; ++i) {
    for (int64_t j = 0; j < tokens; ++j) {
      const int64_t e = entry[j - i + tokens - 1];
      float sum = 0;
      if (by_query != nullptr) sum += by_query[i * entries + e];
      if (by_key != nullptr) sum += by_key[e * tokens + j];
      out[i * tokens + j] = factor * sum;
    }
  }
}

}  // namespace scalar

}  // namespace sotto
#endif  // HWY_ONCE
