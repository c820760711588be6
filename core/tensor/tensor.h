// A dense row-major array: dtype, shape, and a share in the buffer that holds it. Copying a Tensor
// copies the handle. No arithmetic and no strides live here: a view is a contiguous part.
#ifndef SOTTO_CORE_TENSOR_TENSOR_H_
#define SOTTO_CORE_TENSOR_TENSOR_H_

#include <cstdint>
#include <memory>
#include <span>

#include "core/base/status.h"
#include "core/tensor/dtype.h"
#include "core/tensor/shape.h"

namespace sotto {

// Every buffer starts on a cache line and may be read (not written) this far past its end.
inline constexpr size_t kAlignment = 64;

class Arena;
class Tensor;
struct ArenaState;

// Memory with a count of the tensors that share it. Counts are not atomic: tensors are copied only
// on the thread that runs the engine; loops over threads see raw pointers.
class Buffer {
 public:
  // Null when the memory cannot be had. Never aborts.
  static Buffer* Allocate(size_t bytes);
  void* data() { return data_; }
  size_t bytes() const { return bytes_; }
  void Retain() { ++shares_; }
  void Release();

 private:
  friend class Arena;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  int64_t shares_ = 1;
  Buffer* next_ = nullptr;                // in an arena's free list
  ArenaState* home_ = nullptr;            // the arena to return to; null: free at once
  std::shared_ptr<const void> borrowed_;  // keeps foreign memory alive
  friend class Tensor;
  friend struct ArenaState;
};

class Tensor;

// Where a gradient of one value accumulates. Shared by every handle to the value.
struct GradSlot;

class Tensor {
 public:
  Tensor() = default;  // empty: no data, not even of zero elements
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(const Tensor& other);
  Tensor& operator=(Tensor&& other) noexcept;
  ~Tensor();

  // Uninitialized memory of its own.
  static Result<Tensor> Allocate(const Shape& shape, DType dtype = DType::kF32);
  // Zeroed memory of its own.
  static Result<Tensor> Zeros(const Shape& shape, DType dtype = DType::kF32);
  // Reads memory that somebody else owns; `owner` lives as long as the tensor and its views.
  static Tensor Borrow(const void* data, const Shape& shape, DType dtype,
                       std::shared_ptr<const void> owner);
  static Result<Tensor> FromFloats(const Shape& shape, std::span<const float> values);
  static Result<Tensor> FromInts(const Shape& shape, std::span<const int32_t> values);

  explicit operator bool() const { return buffer_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int axis) const { return shape_.dim(axis); }
  int rank() const { return shape_.rank(); }
  DType dtype() const { return dtype_; }
  int64_t elements() const { return shape_.elements(); }
  size_t bytes() const;

  // Whether this handle is the only one to its memory, which may be written: an op that is handed
  // such a tensor can put its result there.
  bool sole() const {
    return buffer_ != nullptr && buffer_->shares_ == 1 && buffer_->borrowed_ == nullptr;
  }

  void* data() { return data_; }
  const void* data() const { return data_; }
  float* f32() { return static_cast<float*>(data_); }
  const float* f32() const { return static_cast<const float*>(data_); }
  int32_t* i32() { return static_cast<int32_t*>(data_); }
  const int32_t* i32() const { return static_cast<const int32_t*>(data_); }
  std::span<float> floats() { return {f32(), static_cast<size_t>(elements())}; }
  std::span<const float> floats() const { return {f32(), static_cast<size_t>(elements())}; }

  // The same elements under another shape of as many elements.
  Tensor Reshaped(const Shape& shape) const;
  // Entries begin..end of the outermost axis. Carries no gradient.
  Tensor Slice(int64_t begin, int64_t end) const;

  // Whether gradients are wanted for this value, and where they go (see ops/tape.h).
  const std::shared_ptr<GradSlot>& grad_slot() const { return grad_; }
  void set_grad_slot(std::shared_ptr<GradSlot> slot) { grad_ = std::move(slot); }
  bool requires_grad() const { return grad_ != nullptr; }

 private:
  friend class Arena;
  Buffer* buffer_ = nullptr;
  void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kF32;
  std::shared_ptr<GradSlot> grad_;
};

struct GradSlot {
  Tensor grad;  // empty until something has flowed
};

// Recycles buffers by size: a tensor's memory returns here when its last handle goes, so that a
// second step over the same shapes allocates nothing. May die before its tensors.
class Arena {
 public:
  Arena();
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Result<Tensor> Allocate(const Shape& shape, DType dtype = DType::kF32);
  // Gives idle buffers back to the system.
  void Trim();
  size_t bytes_held() const;  // in use and idle

 private:
  ArenaState* state_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TENSOR_TENSOR_H_
