// Every block type against ggml's own decoder, bit for bit, on random bytes: see
// tests/golden/README.md.
#include "core/tensor/blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/tensor/quant.h"

namespace sotto {
namespace {

constexpr DType kBlocked[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,   DType::kQ5_1,
                              DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,   DType::kQ4_K,
                              DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kMXFP4};

TEST(Blocks, AreMeasuredInWholeRows) {
  for (const DType dtype : kBlocked) {
    const BlockLayout block = BlockLayoutOf(dtype);
    const Tensor matrix = *Tensor::Zeros({3, 2 * block.values}, dtype);
    EXPECT_EQ(matrix.bytes(), static_cast<size_t>(6 * block.bytes)) << DTypeName(dtype);
    EXPECT_EQ(static_cast<const char*>(matrix.Slice(1, 2).data()) -
                  static_cast<const char*>(matrix.data()),
              2 * block.bytes);
    EXPECT_FALSE(Tensor::Allocate({3, block.values + 1}, dtype).ok());
    EXPECT_TRUE(IsFloating(dtype));
  }
  EXPECT_FALSE(IsBlocked(DType::kF16));
  EXPECT_FALSE(IsFloating(DType::kI8));
}

TEST(Blocks, DecodePlainTypesAtAnyAlignment) {
  const uint16_t halves[] = {0x3C00, 0xC000, 0x0001};
  char bytes[16];
  std::memcpy(bytes + 1, halves, sizeof halves);
  float out[3];
  DecodeRow(DType::kF16, bytes + 1, 3, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 0x1p-24f);
  DecodeRow(DType::kBF16, bytes + 1, 1, out);
  EXPECT_EQ(out[0], 0x1p-7f);
}

TEST(Q8Packer, TakesRowsInAnyOrderAsPackQ8DoesInTheirs) {
  const int64_t n = 11, k = 37;
  std::vector<float> values(static_cast<size_t>(n * k));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i * i));
  const Tensor whole = *PackQ8(*Tensor::FromFloats({n, k}, values));
  Q8Packer packer = *Q8Packer::Create(n, k);
  for (int64_t r = n; r-- > 0;) packer.SetRow(r, values.data() + r * k);
  ASSERT_EQ(packer.packed().bytes(), whole.bytes());
  EXPECT_EQ(std::memcmp(packer.packed().data(), whole.data(), whole.bytes()), 0);
}

}  // namespace
}  // namespace sotto
