#include "core/tensor/quant.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace sotto {
namespace {

float RowScale(const float* row, int64_t k) {
  float peak = 0;
  for (int64_t i = 0; i < k; ++i) peak = std::max(peak, std::fabs(row[i]));
  return std::isfinite(peak) ? peak / kQ8Max : 0;
}

int QuantizeValue(float value, float inverse) {
  if (inverse == 0) return 0;  // a row of zeros, or one that is not finite
  return std::clamp(static_cast<int>(std::nearbyint(value * inverse)), -kQ8Max, kQ8Max);
}

Status CheckMatrix(const Tensor& m, DType dtype) {
  if (m.rank() != 2 || m.dtype() != dtype) {
    return InvalidArgument(StrCat("expected a matrix of ", DTypeName(dtype), ", got ",
                                  m.shape().ToString(), " of ", DTypeName(m.dtype())));
  }
  return OkStatus();
}

}  // namespace

Result<Q8Rows> QuantizeRows(const Tensor& matrix) {
  SOTTO_RETURN_IF_ERROR(CheckMatrix(matrix, DType::kF32));
  const int64_t n = matrix.dim(0), k = matrix.dim(1);
  Q8Rows rows;
  SOTTO_ASSIGN_OR_RETURN(rows.values, Tensor::Allocate({n, k}, DType::kI8));
  SOTTO_ASSIGN_OR_RETURN(rows.scales, Tensor::Allocate({n}, DType::kF32));
  for (int64_t r = 0; r < n; ++r) {
    const float* row = matrix.f32() + r * k;
    const float scale = RowScale(row, k), inverse = scale > 0 ? 1 / scale : 0;
    rows.scales.f32()[r] = scale;
    int8_t* out = static_cast<int8_t*>(rows.values.data()) + r * k;
    for (int64_t c = 0; c < k; ++c) out[c] = static_cast<int8_t>(QuantizeValue(row[c], inverse));
  }
  return rows;
}

Result<Q8Packer> Q8Packer::Create(int64_t n, int64_t k) {
  const Q8Layout layout = Q8Layout::For(n, k);
  SOTTO_ASSIGN_OR_RETURN(Tensor packed, Tensor::Allocate({n, k}, DType::kQ8));
  std::memset(packed.data(), kQ8Offset, static_cast<size_t>(layout.scales_offset()));
  std::memset(static_cast<char*>(packed.data()) + layout.scales_offset(), 0,
              static_cast<size_t>(layout.n_padded * 4));
  return Q8Packer(std::move(packed));
}

void Q8Packer::SetRow(int64_t row, const float* values) {
  const Q8Layout layout = Q8Layout::For(packed_.dim(0), packed_.dim(1));
  const float scale = RowScale(values, layout.k), inverse = scale > 0 ? 1 / scale : 0;
  uint8_t* bytes = static_cast<uint8_t*>(packed_.data());
  for (int64_t c = 0; c < layout.k; ++c) {
    bytes[layout.Offset(row, c)] =
        static_cast<uint8_t>(QuantizeValue(values[c], inverse) + kQ8Offset);
  }
  SetScale(row, scale);
}

Status Q8Packer::SetRounded(int64_t row, const int8_t* values) {
  const Q8Layout layout = Q8Layout::For(packed_.dim(0), packed_.dim(1));
  uint8_t* bytes = static_cast<uint8_t*>(packed_.data());
  // A group at a time, in one word: v + 128 - 64 keeps to its byte where it lies in 1..127, and the
  // lowest byte that does not shows in its highest bit, or, being 0, in that of one less.
  constexpr uint32_t kEach = 0x01010101;
  const int64_t whole = layout.k / kQ8Group * kQ8Group;
  uint8_t* out = bytes + layout.Offset(row, 0);
  uint32_t wrong = 0;
  for (int64_t c = 0; c < whole; c += kQ8Group, out += kQ8PanelRows * kQ8Group) {
    uint32_t group;
    std::memcpy(&group, values + c, kQ8Group);
    group = (group ^ 128 * kEach) - kQ8Offset * kEach;
    wrong |= group | (group - kEach);
    std::memcpy(out, &group, kQ8Group);
  }
  const bool all_right = (wrong & 128 * kEach) == 0;
  for (int64_t c = all_right ? whole : 0; c < layout.k; ++c) {
    const int value = static_cast<int>(values[c]);
    if (value < -kQ8Max || value > kQ8Max) {
      return InvalidFile(StrCat("an 8-bit weight is ", value, "; values lie in -63..63"));
    }
    bytes[layout.Offset(row, c)] = static_cast<uint8_t>(value + kQ8Offset);
  }
  return OkStatus();
}

void Q8Packer::SetScale(int64_t row, float scale) {
  const Q8Layout layout = Q8Layout::For(packed_.dim(0), packed_.dim(1));
  char* scales = static_cast<char*>(packed_.data()) + layout.scales_offset();
  std::memcpy(scales + row * 4, &scale, 4);
}

Result<Tensor> PackQ8(const Q8Rows& rows) {
  SOTTO_RETURN_IF_ERROR(CheckMatrix(rows.values, DType::kI8));
  const int64_t n = rows.values.dim(0), k = rows.values.dim(1);
  if (rows.scales.dtype() != DType::kF32 || rows.scales.shape() != Shape({n})) {
    return InvalidArgument(StrCat("the scales of an 8-bit matrix ", rows.values.shape().ToString(),
                                  " must be F32 [", n, "]"));
  }
  SOTTO_ASSIGN_OR_RETURN(Q8Packer packer, Q8Packer::Create(n, k));
  const int8_t* values = static_cast<const int8_t*>(rows.values.data());
  for (int64_t r = 0; r < n; ++r) {
    SOTTO_RETURN_IF_ERROR(packer.SetRounded(r, values + r * k));
    packer.SetScale(r, rows.scales.f32()[r]);
  }
  return packer.packed();
}

Result<Tensor> PackQ8(const Tensor& matrix) {
  SOTTO_RETURN_IF_ERROR(CheckMatrix(matrix, DType::kF32));
  const int64_t n = matrix.dim(0), k = matrix.dim(1);
  SOTTO_ASSIGN_OR_RETURN(Q8Packer packer, Q8Packer::Create(n, k));
  for (int64_t r = 0; r < n; ++r) packer.SetRow(r, matrix.f32() + r * k);
  return packer.packed();
}

namespace {

// Of the scales peak / -n, n = 7, 7.5, .. 9, the one that rounds with the least squared error, and
// fitted to what it rounds to: with s = (x . q) / (q . q) the error is x . x - (x . q)^2 / (q . q).
float BestScale(const float* values, int64_t count, float peak) {
  float best = peak / -kQ4Offset, most = 0;
  if (std::fabs(peak) < 1e-18f) return best;  // squares would vanish
  for (int half = 14; half <= 18; ++half) {
    const float inverse = -0.5f * static_cast<float>(half) / peak;
    float dot = 0, norm = 0;
    for (int64_t i = 0; i < count; ++i) {
      constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: its neighbours are integers
      const float q = std::clamp((values[i] * inverse + kRound) - kRound, -8.0f, 7.0f);
      dot += values[i] * q;
      norm += q * q;
    }
    if (dot * dot > most * norm) {
      most = dot * dot / norm;
      best = dot / norm;
    }
  }
  return best;
}

// Rounds 32 values (fewer at a row's end) to q in -8..7; returns their scale.
uint16_t RoundGroup(const float* values, int64_t count, int8_t* q) {
  float peak = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(values[i]);
    if (std::fabs(values[i]) > std::fabs(peak)) peak = values[i];
  }
  const uint16_t scale = finite ? F32ToBF16(BestScale(values, count, peak)) : 0;
  const float step = BF16ToF32(scale);
  // A scale that is not a normal number has no inverse to rely on.
  const bool usable = std::isfinite(step) && std::fabs(step) >= 1e-30f;
  const float inverse = usable ? 1 / step : 0;
  for (int64_t i = 0; i < count; ++i) {
    q[i] = inverse == 0 ? int8_t{0}
                        : static_cast<int8_t>(std::clamp(
                              static_cast<int>(std::nearbyint(values[i] * inverse)), -8, 7));
  }
  return usable ? scale : uint16_t{0};
}

}  // namespace

Result<Q4Packer> Q4Packer::Create(int64_t n, int64_t k) {
  const Q4Layout layout = Q4Layout::For(n, k);
  SOTTO_ASSIGN_OR_RETURN(Tensor packed, Tensor::Allocate({n, k}, DType::kQ4));
  char* group = static_cast<char*>(packed.data());
  for (int64_t g = 0; g < layout.n_padded / 8 * layout.groups(); ++g, group += kQ4GroupBytes) {
    std::memset(group, kQ4Offset * 17, 128);
    std::memset(group + 128, 0, 16);
  }
  return Q4Packer(std::move(packed));
}

void Q4Packer::SetRow(int64_t row, const float* values) {
  const Q4Layout layout = Q4Layout::For(packed_.dim(0), packed_.dim(1));
  uint8_t* bytes = static_cast<uint8_t*>(packed_.data());
  for (int64_t g = 0; g < layout.groups(); ++g) {
    const int64_t first = g * kQ4Group, count = std::min(kQ4Group, layout.k - first);
    int8_t q[kQ4Group] = {};
    const uint16_t scale = RoundGroup(values + first, count, q);
    for (int64_t c = 0; c < kQ4Group; c += 8) {
      for (int64_t i = 0; i < 4; ++i) {
        bytes[layout.Offset(row, first + c + i)] =
            static_cast<uint8_t>((q[c + i] + kQ4Offset) | (q[c + 4 + i] + kQ4Offset) << 4);
      }
    }
    std::memcpy(bytes + layout.ScaleOffset(row, g), &scale, 2);
  }
}

void Q4Packer::SetRounded(int64_t row, const uint8_t* values) {
  const Q4Layout layout = Q4Layout::For(packed_.dim(0), packed_.dim(1));
  uint8_t* bytes = static_cast<uint8_t*>(packed_.data());
  const auto value = [&](int64_t col) { return values[col / 2] >> (col % 2 * 4) & 15; };
  for (int64_t c = 0; c < layout.k; c += 8) {
    for (int64_t i = 0; i < 4; ++i) {
      bytes[layout.Offset(row, c + i)] = static_cast<uint8_t>(value(c + i) | value(c + 4 + i) << 4);
    }
  }
}

void Q4Packer::SetScales(int64_t row, std::string_view bf16) {
  const Q4Layout layout = Q4Layout::For(packed_.dim(0), packed_.dim(1));
  char* bytes = static_cast<char*>(packed_.data());
  for (int64_t g = 0; g < layout.groups(); ++g) {
    std::memcpy(bytes + layout.ScaleOffset(row, g), bf16.data() + g * 2, 2);
  }
}

Result<Q4Rows> QuantizeRowsQ4(const Tensor& matrix) {
  SOTTO_RETURN_IF_ERROR(CheckMatrix(matrix, DType::kF32));
  const int64_t n = matrix.dim(0), k = matrix.dim(1), groups = k / kQ4Group;
  if (k % kQ4Group != 0) {
    return InvalidArgument(StrCat("rows of ", k, " values are no whole groups of ", kQ4Group));
  }
  Q4Rows rows;
  SOTTO_ASSIGN_OR_RETURN(rows.values, Tensor::Allocate({n, k / 2}, DType::kU8));
  SOTTO_ASSIGN_OR_RETURN(rows.scales, Tensor::Allocate({n, groups}, DType::kBF16));
  auto* bytes = static_cast<uint8_t*>(rows.values.data());
  auto* scales = static_cast<uint16_t*>(rows.scales.data());
  for (int64_t g = 0; g < n * groups; ++g) {
    int8_t q[kQ4Group];
    scales[g] = RoundGroup(matrix.f32() + g * kQ4Group, kQ4Group, q);
    for (int64_t i = 0; i < kQ4Group; i += 2) {
      *bytes++ = static_cast<uint8_t>((q[i] + kQ4Offset) | (q[i + 1] + kQ4Offset) << 4);
    }
  }
  return rows;
}

Result<Tensor> PackQ4(const Tensor& matrix) {
  SOTTO_RETURN_IF_ERROR(CheckMatrix(matrix, DType::kF32));
  const int64_t n = matrix.dim(0), k = matrix.dim(1);
  SOTTO_ASSIGN_OR_RETURN(Q4Packer packer, Q4Packer::Create(n, k));
  for (int64_t r = 0; r < n; ++r) packer.SetRow(r, matrix.f32() + r * k);
  return packer.packed();
}

void UnpackRow(const Tensor& packed, int64_t row, float* out) {
  const uint8_t* bytes = static_cast<const uint8_t*>(packed.data());
  if (packed.dtype() == DType::kQ8) {
    const Q8Layout layout = Q8Layout::For(packed.dim(0), packed.dim(1));
    const float scale = reinterpret_cast<const float*>(bytes + layout.scales_offset())[row];
    for (int64_t c = 0; c < layout.k; ++c) {
      out[c] = scale * static_cast<float>(bytes[layout.Offset(row, c)] - kQ8Offset);
    }
    return;
  }
  const Q4Layout layout = Q4Layout::For(packed.dim(0), packed.dim(1));
  for (int64_t c = 0; c < layout.k; ++c) {
    uint16_t scale;
    std::memcpy(&scale, bytes + layout.ScaleOffset(row, c / kQ4Group), 2);
    const int value = bytes[layout.Offset(row, c)] >> (Q4Layout::High(c) ? 4 : 0) & 15;
    out[c] = BF16ToF32(scale) * static_cast<float>(value - kQ4Offset);
  }
}

}  // namespace sotto
