#include "core/tensor/shape.h"

#include "core/base/checked.h"

namespace sotto {

Shape::Shape(std::initializer_list<int64_t> dims) {
  for (const int64_t dim : dims) {
    if (rank_ < kMaxRank) dims_[rank_++] = dim;
  }
}

Result<Shape> Shape::Checked(std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank) {
    return InvalidArgument(
        StrCat("a tensor of rank ", dims.size(), "; at most ", kMaxRank, " axes are supported"));
  }
  Shape shape;
  uint64_t product = 1;
  for (const int64_t dim : dims) {
    if (dim < 0) return InvalidArgument(StrCat("a tensor extent of ", dim, " is negative"));
    const auto next = CheckedMul(product, static_cast<uint64_t>(dim));
    if (!next || *next > uint64_t{1} << 40) {
      return InvalidArgument("the product of a tensor's extents exceeds 2^40 elements");
    }
    product = *next;
    shape.dims_[shape.rank_++] = dim;
  }
  return shape;
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int i = 0; i < rank_; ++i) product *= dims_[i];
  return product;
}

int64_t Shape::rows() const {
  int64_t product = 1;
  for (int i = 0; i + 1 < rank_; ++i) product *= dims_[i];
  return product;
}

Shape Shape::WithLast(int64_t extent) const {
  Shape shape = *this;
  if (rank_ == 0) return Shape({extent});
  shape.dims_[rank_ - 1] = extent;
  return shape;
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i) {
    if (dims_[i] != other.dims_[i]) return false;
  }
  return true;
}

std::string Shape::ToString() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(dims_[i]);
  }
  return out + "]";
}

}  // namespace sotto
