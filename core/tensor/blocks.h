// The layouts of stored weights: plain floats, and the blocks of quantized values that GGUF files
// hold. A row is a whole number of blocks; block types have no alignment. Storage only: for
// products rows are decoded once and packed (see quant.h).
#ifndef SOTTO_CORE_TENSOR_BLOCKS_H_
#define SOTTO_CORE_TENSOR_BLOCKS_H_

#include <cstdint>

#include "core/tensor/tensor.h"

namespace sotto {

struct BlockLayout {
  int values;  // in one block
  int bytes;   // of one block
};

// {1, DTypeBytes} for plain types, and {0, 0} for packed ones, which have no rows of their own.
constexpr BlockLayout BlockLayoutOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return {1, 4};
    case DType::kF16:
    case DType::kBF16:
      return {1, 2};
    case DType::kI64:
      return {1, 8};
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return {1, 1};
    case DType::kQ8:
    case DType::kQ4:
      return {0, 0};
    case DType::kQ4_0:
    case DType::kIQ4_NL:
      return {32, 2 + 16};
    case DType::kQ4_1:
      return {32, 4 + 16};
    case DType::kQ5_0:
      return {32, 2 + 4 + 16};
    case DType::kQ5_1:
      return {32, 4 + 4 + 16};
    case DType::kQ8_0:
      return {32, 2 + 32};
    case DType::kMXFP4:
      return {32, 1 + 16};
    case DType::kQ2_K:
      return {256, 16 + 64 + 4};
    case DType::kQ3_K:
      return {256, 32 + 64 + 12 + 2};
    case DType::kQ4_K:
      return {256, 4 + 12 + 128};
    case DType::kQ5_K:
      return {256, 4 + 12 + 32 + 128};
    case DType::kQ6_K:
      return {256, 128 + 64 + 16 + 2};
  }
  return {0, 0};
}

// Whether a tensor of this type is rows of blocks of more than one value.
constexpr bool IsBlocked(DType dtype) { return BlockLayoutOf(dtype).values > 1; }

// The bytes of `columns` values, a whole number of blocks.
constexpr int64_t BytesOfRow(DType dtype, int64_t columns) {
  const BlockLayout block = BlockLayoutOf(dtype);
  return columns / block.values * block.bytes;
}

// Whether the values are floating-point numbers, plain or quantized.
constexpr bool IsFloating(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || IsBlocked(dtype);
}

// The next `columns` values as f32, bit for bit as ggml defines them; a whole number of blocks of a
// floating type, at any alignment.
void DecodeRow(DType dtype, const void* row, int64_t columns, float* out);

// The same for the blocks of more than one value alone; of other types, nothing.
void DecodeGgmlRow(DType dtype, const void* row, int64_t columns, float* out);

}  // namespace sotto

#endif  // SOTTO_CORE_TENSOR_BLOCKS_H_
