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
  for (int64_t c = 0; c < layout.k; ++c) {
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

void UnpackQ8Row(const Tensor& packed, int64_t row, float* out) {
  const Q8Layout layout = Q8Layout::For(packed.dim(0), packed.dim(1));
  const uint8_t* bytes = static_cast<const uint8_t*>(packed.data());
  const float scale = reinterpret_cast<const float*>(bytes + layout.scales_offset())[row];
  for (int64_t c = 0; c < layout.k; ++c) {
    out[c] = scale * static_cast<float>(static_cast<int>(bytes[layout.Offset(row, c)]) - kQ8Offset);
  }
}

}  // namespace sotto
