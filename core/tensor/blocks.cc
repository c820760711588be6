#include "core/tensor/blocks.h"

#include <cstring>

namespace sotto {
namespace {

template <float (*convert)(uint16_t)>
void DecodeHalves(const void* row, int64_t columns, float* out) {
  const auto* from = static_cast<const uint8_t*>(row);
  for (int64_t i = 0; i < columns; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    out[i] = convert(half);
  }
}

}  // namespace

void DecodeRow(DType dtype, const void* row, int64_t columns, float* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, row, static_cast<size_t>(columns) * sizeof(float));
      return;
    case DType::kF16:
      return DecodeHalves<F16ToF32>(row, columns, out);
    case DType::kBF16:
      return DecodeHalves<BF16ToF32>(row, columns, out);
    default:
      if (IsBlocked(dtype)) DecodeGgmlRow(dtype, row, columns, out);
  }
}

}  // namespace sotto
