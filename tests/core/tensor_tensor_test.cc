#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/random.h"
#include "core/tensor/quant.h"
#include "core/tensor/tensor.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// An allocation that cannot be had returns null under the sanitizer, too.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
#endif
#endif

namespace sotto {
namespace {

TEST(Shape, RefusesRanksExtentsAndProductsOutOfBounds) {
  EXPECT_TRUE(Shape::Checked(std::vector<int64_t>{2, 3, 4}).ok());
  EXPECT_FALSE(Shape::Checked(std::vector<int64_t>{1, 1, 1, 1, 1, 1, 1}).ok());
  EXPECT_FALSE(Shape::Checked(std::vector<int64_t>{-1}).ok());
  EXPECT_FALSE(Shape::Checked(std::vector<int64_t>{int64_t{1} << 21, int64_t{1} << 20}).ok());
  EXPECT_FALSE(Shape::Checked(std::vector<int64_t>{int64_t{1} << 62, 4}).ok());
}

TEST(Shape, CountsRowsAndColumns) {
  const Shape shape({2, 3, 4});
  EXPECT_EQ(shape.elements(), 24);
  EXPECT_EQ(shape.rows(), 6);
  EXPECT_EQ(shape.columns(), 4);
  EXPECT_EQ(shape.dim(-2), 3);
  EXPECT_EQ(shape.ToString(), "[2, 3, 4]");
  EXPECT_EQ(shape.WithLast(9), Shape({2, 3, 9}));
  EXPECT_EQ(Shape({}).elements(), 1);
  EXPECT_EQ(Shape({0, 4}).elements(), 0);
}

TEST(Tensor, CopiesShareAndSlicesLookIntoTheSameMemory) {
  Tensor a = *Tensor::FromFloats({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const Tensor b = a;
  a.f32()[2] = 30;
  EXPECT_EQ(b.f32()[2], 30);
  const Tensor middle = a.Slice(1, 2);
  EXPECT_EQ(middle.shape(), Shape({1, 2}));
  EXPECT_EQ(middle.f32()[0], 30);
  a = {};
  EXPECT_EQ(middle.f32()[1], 4);
  EXPECT_FALSE(b.Slice(2, 4));
  EXPECT_FALSE(b.Slice(-1, 1));
  EXPECT_FALSE(b.Reshaped({5}));
  EXPECT_EQ(b.Reshaped({6}).shape(), Shape({6}));
}

TEST(Tensor, IsAlignedForVectors) {
  for (const int64_t n : {1, 3, 17, 1000}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(Tensor::Allocate({n})->data()) % kAlignment, 0u);
  }
}

TEST(Tensor, AnImpossibleSizeIsAnErrorAndNoAbort) {
  EXPECT_EQ(Tensor::Allocate({int64_t{1} << 40, int64_t{1} << 20}).status().code(),
            StatusCode::kOutOfMemory);
  EXPECT_EQ(Tensor::Allocate({int64_t{1} << 39}).status().code(), StatusCode::kOutOfMemory);
  EXPECT_FALSE(Tensor::FromFloats({3}, std::vector<float>{1, 2}).ok());
}

TEST(Tensor, BorrowedMemoryKeepsItsOwnerAlive) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  std::weak_ptr<std::vector<float>> watch = owner;
  Tensor view = Tensor::Borrow(owner->data(), {3}, DType::kF32, owner);
  owner = nullptr;
  Tensor part = view.Slice(1, 2);
  view = {};
  ASSERT_FALSE(watch.expired());
  EXPECT_EQ(part.f32()[0], 2);
  part = {};
  EXPECT_TRUE(watch.expired());
}

TEST(Arena, ReusesMemoryOfTensorsThatAreGone) {
  Arena arena;
  const void* first = arena.Allocate({100})->data();
  EXPECT_EQ(arena.Allocate({100})->data(), first);
  const size_t held = arena.bytes_held();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(arena.Allocate({100}).ok());
  EXPECT_EQ(arena.bytes_held(), held);
  arena.Trim();
  EXPECT_EQ(arena.bytes_held(), 0u);
}

TEST(Arena, GivesEverySizeRoomEnough) {
  Arena arena;
  for (int64_t n = 1; n < 5000; n += 7) {
    Tensor tensor = *arena.Allocate({n});
    std::memset(tensor.data(), 1, tensor.bytes());
    Tensor again = *arena.Allocate({n + 1});
    EXPECT_NE(again.data(), tensor.data());
  }
}

TEST(Arena, MayDieBeforeItsTensors) {
  Tensor tensor;
  {
    Arena arena;
    tensor = *arena.Allocate({64});
  }
  tensor.f32()[63] = 1;
  EXPECT_EQ(tensor.f32()[63], 1);
}

TEST(DType, HalvesRoundTripAndRoundToNearestEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t h = static_cast<uint16_t>(bits);
    const float f = F16ToF32(h), b = BF16ToF32(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(F16ToF32(F32ToF16(f))));
    } else {
      ASSERT_EQ(F32ToF16(f), h) << bits;
    }
    if (std::isnan(b)) {
      EXPECT_TRUE(std::isnan(BF16ToF32(F32ToBF16(b))));
    } else {
      ASSERT_EQ(F32ToBF16(b), h) << bits;
    }
  }
  // Between two neighbours: the nearer one, and of equally near ones the even one.
  for (uint32_t h = 0; h + 1 < 0x7C00; ++h) {
    const float low = F16ToF32(static_cast<uint16_t>(h)),
                high = F16ToF32(static_cast<uint16_t>(h + 1));
    const float middle = low + (high - low) / 2;
    ASSERT_EQ(F32ToF16(middle), h % 2 == 0 ? h : h + 1) << h;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, low)), h);
    ASSERT_EQ(F32ToF16(std::nextafter(middle, high)), h + 1);
  }
  EXPECT_EQ(F32ToF16(65520.0f), 0x7C00);
  EXPECT_EQ(F32ToF16(65519.0f), 0x7BFF);
}

TEST(Q8, PackedRowsUnpackToTheNearestOfSevenBits) {
  Random random(3);
  for (const auto& [n, k] :
       {std::pair<int64_t, int64_t>{1, 1}, {7, 5}, {8, 4}, {9, 13}, {17, 64}}) {
    Tensor matrix = *Tensor::Allocate({n, k});
    for (float& v : matrix.floats()) v = random.NextNormal();
    const Tensor packed = *PackQ8(matrix);
    std::vector<float> row(k);
    for (int64_t r = 0; r < n; ++r) {
      float peak = 0;
      for (int64_t c = 0; c < k; ++c) peak = std::max(peak, std::fabs(matrix.f32()[r * k + c]));
      UnpackRow(packed, r, row.data());
      for (int64_t c = 0; c < k; ++c)
        EXPECT_NEAR(row[c], matrix.f32()[r * k + c], peak / kQ8Max * 0.5001);
    }
  }
}

TEST(Q8, BytesStayInTheSevenBitOperand) {
  Tensor matrix = *Tensor::Allocate({5, 6});
  Random random(4);
  for (float& v : matrix.floats()) v = 100 * random.NextNormal();
  const Tensor packed = *PackQ8(matrix);
  const Q8Layout layout = Q8Layout::For(5, 6);
  const uint8_t* bytes = static_cast<const uint8_t*>(packed.data());
  for (int64_t i = 0; i < layout.scales_offset(); ++i)
    EXPECT_TRUE(bytes[i] >= 1 && bytes[i] <= 127);
}

TEST(Q8, RefusesValuesAndScalesThatDoNotFit) {
  Q8Rows rows = *QuantizeRows(*Tensor::Zeros({2, 3}));
  EXPECT_TRUE(PackQ8(rows).ok());
  static_cast<int8_t*>(rows.values.data())[4] = 64;
  EXPECT_EQ(PackQ8(rows).status().code(), StatusCode::kInvalidFile);
  rows = *QuantizeRows(*Tensor::Zeros({2, 3}));
  rows.scales = *Tensor::Zeros({3});
  EXPECT_FALSE(PackQ8(rows).ok());
}

TEST(Q8, TakesEveryValueInRangeAndNoOtherWhereverItStands) {
  Random random(5);
  constexpr int64_t k = 11;  // two whole groups and a part
  int8_t values[k];
  for (int64_t place = 0; place < k; ++place) {
    for (int value = -128; value <= 127; ++value) {
      for (int8_t& v : values)
        v = static_cast<int8_t>(static_cast<int>(random.NextBelow(127)) - kQ8Max);
      values[place] = static_cast<int8_t>(value);
      Q8Packer packer = *Q8Packer::Create(3, k);
      const Status status = packer.SetRounded(1, values);
      if (std::abs(value) > kQ8Max) {
        ASSERT_EQ(status.code(), StatusCode::kInvalidFile);
        EXPECT_NE(status.message().find(StrCat(" ", value, ";")), std::string::npos);
        continue;
      }
      ASSERT_TRUE(status.ok());
      packer.SetScale(1, 1);
      float row[k];
      UnpackRow(packer.packed(), 1, row);
      for (int64_t c = 0; c < k; ++c) ASSERT_EQ(row[c], values[c]);
    }
  }
}

TEST(Q8, RowsOfZerosOrInfinitiesGiveZeros) {
  Tensor matrix = *Tensor::Zeros({2, 2});
  matrix.f32()[2] = INFINITY;
  const Tensor packed = *PackQ8(matrix);
  float row[2];
  for (int r = 0; r < 2; ++r) {
    UnpackRow(packed, r, row);
    EXPECT_EQ(row[0], 0);
    EXPECT_EQ(row[1], 0);
  }
}

}  // namespace
}  // namespace sotto
