// The plain twins of the matrix products: what they compute, in the fewest words. Those of the
// quantized ones also run where memory for rounded rows cannot be had: they need none.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/kernels/matmul.h"
#include "core/tensor/quant.h"

namespace sotto::scalar {
namespace {

// See RowScale in matmul_q8.cc: 0 for a row of (nearly) zeros, NaN for one that is not finite.
float RowScale(const float* x, int64_t k, float* inverse) {
  float peak = 0;
  bool finite = true;
  for (int64_t i = 0; i < k; ++i) {
    finite = finite && std::isfinite(x[i]);
    if (std::fabs(x[i]) > peak) peak = std::fabs(x[i]);
  }
  *inverse = 0;
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  if (peak < 1e-30f) return 0;
  *inverse = 127 / peak;
  return peak / 127;
}

int32_t Round(float x, float inverse) {
  return inverse == 0 ? 0 : static_cast<int32_t>(std::nearbyint(x * inverse));
}

}  // namespace

void Gemm(const GemmArgs& g) {
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < g.k; ++k) {
        const float a = g.trans_a ? g.a[k * g.lda + i] : g.a[i * g.lda + k];
        const float b = g.trans_b ? g.b[j * g.ldb + k] : g.b[k * g.ldb + j];
        sum += static_cast<double>(a) * b;
      }
      float& c = g.c[i * g.ldc + j];
      if (g.beta != 0) sum += c;
      if (g.bias != nullptr) sum += g.bias[j];
      c = static_cast<float>(sum);
    }
  }
}

void QuantizeRow(const float* x, int64_t k, int8_t* q, float* scale, int32_t* sum) {
  float inverse;
  *scale = RowScale(x, k, &inverse);
  *sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    q[i] = static_cast<int8_t>(Round(x[i], inverse));
    *sum += q[i];
  }
}

void MatMulQ8(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y) {
  const Q8Layout layout = Q8Layout::For(n, k);
  const uint8_t* bytes = static_cast<const uint8_t*>(packed);
  for (int64_t i = 0; i < m; ++i) {
    const float* row = x + i * k;
    float inverse;
    const float row_scale = RowScale(row, k, &inverse);
    for (int64_t j = 0; j < n; ++j) {
      uint32_t sum = 0;  // modulo 2^32, as vectors add
      for (int64_t c = 0; c < k; ++c) {
        const int32_t weight = static_cast<int32_t>(bytes[layout.Offset(j, c)]) - kQ8Offset;
        sum += static_cast<uint32_t>(Round(row[c], inverse) * weight);
      }
      float scale;
      std::memcpy(&scale, bytes + layout.scales_offset() + j * 4, 4);
      const float product = (row_scale * scale) * static_cast<float>(static_cast<int32_t>(sum));
      y[i * n + j] = bias == nullptr ? product : product + bias[j];
    }
  }
}

void MatMulQ4(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y) {
  const Q4Layout layout = Q4Layout::For(n, k);
  const uint8_t* bytes = static_cast<const uint8_t*>(packed);
  for (int64_t i = 0; i < m; ++i) {
    const float* row = x + i * k;
    float inverse;
    const float row_scale = RowScale(row, k, &inverse);
    for (int64_t j = 0; j < n; ++j) {
      float total = 0;
      for (int64_t g = 0; g < layout.groups(); ++g) {
        int32_t sum = 0;
        for (int64_t c = g * kQ4Group; c < std::min(k, (g + 1) * kQ4Group); ++c) {
          const int value = bytes[layout.Offset(j, c)] >> (Q4Layout::High(c) ? 4 : 0) & 15;
          sum += Round(row[c], inverse) * (value - kQ4Offset);
        }
        uint16_t scale;
        std::memcpy(&scale, bytes + layout.ScaleOffset(j, g), 2);
        const float product = BF16ToF32(scale) * static_cast<float>(sum);
        total = total + product;
      }
      const float product = row_scale * total;
      y[i * n + j] = bias == nullptr ? product : product + bias[j];
    }
  }
}

}  // namespace sotto::scalar
