// The extents of a tensor, outermost first. At most six axes; each product was checked on entry.
#ifndef SOTTO_CORE_TENSOR_SHAPE_H_
#define SOTTO_CORE_TENSOR_SHAPE_H_

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "core/base/status.h"

namespace sotto {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;  // rank 0: a scalar
  // Trusted extents; for those of a file use Checked.
  Shape(std::initializer_list<int64_t> dims);
  // Refuses a rank above kMaxRank, a negative extent, and a product past 2^40.
  static Result<Shape> Checked(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  // Negative axes count from the end: dim(-1) is the innermost extent.
  int64_t dim(int axis) const { return dims_[axis < 0 ? rank_ + axis : axis]; }
  int64_t operator[](int axis) const { return dim(axis); }
  void set_dim(int axis, int64_t extent) { dims_[axis < 0 ? rank_ + axis : axis] = extent; }
  int64_t elements() const;
  // The product of all extents but the innermost: the rows of the matrix that the tensor is.
  int64_t rows() const;
  int64_t columns() const { return rank_ == 0 ? 1 : dim(-1); }
  // This shape with another innermost extent.
  Shape WithLast(int64_t extent) const;

  bool operator==(const Shape& other) const;
  std::string ToString() const;  // "[2, 128, 768]"

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TENSOR_SHAPE_H_
