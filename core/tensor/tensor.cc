#include "core/tensor/tensor.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "core/tensor/blocks.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

constexpr size_t kHeaderBytes = 128;
static_assert(sizeof(Buffer) <= kHeaderBytes && kHeaderBytes % kAlignment == 0);

// Kernels may read a whole vector past the end.
constexpr size_t kSlack = 64;

// Bytes of a tensor, or nothing where they do not fit the address space.
std::optional<size_t> BytesOf(const Shape& shape, DType dtype) {
  uint64_t bytes;
  if (IsPacked(dtype)) {
    if (shape.rank() != 2) return std::nullopt;
    bytes = static_cast<uint64_t>(dtype == DType::kQ8 ? Q8Layout::For(shape[0], shape[1]).bytes()
                                                      : Q4Layout::For(shape[0], shape[1]).bytes());
  } else {
    const BlockLayout block = BlockLayoutOf(dtype);
    if (shape.columns() % block.values != 0) return std::nullopt;
    bytes = static_cast<uint64_t>(shape.elements()) / static_cast<uint64_t>(block.values) *
            static_cast<uint64_t>(block.bytes);
  }
  if (bytes > SIZE_MAX / 2 - 4096) return std::nullopt;
  return static_cast<size_t>(bytes);
}

Status NoMemory(const Shape& shape, DType dtype) {
  return OutOfMemory(StrCat("no memory for a tensor ", shape.ToString(), " of ", DTypeName(dtype)));
}

}  // namespace

// Size classes are powers of two divided in four, so that at most a quarter of a buffer is unused.
struct ArenaState {
  static constexpr int kClasses = 4 * 64;
  Buffer* idle[kClasses] = {};
  size_t held = 0;
  int64_t live = 0;  // buffers in use
  bool closed = false;

  // The class of a size, and the bytes that its buffers have.
  static std::pair<int, size_t> ClassOf(size_t bytes) {
    if (bytes < 256) bytes = 256;
    const int log = std::bit_width(bytes - 1) - 1;  // 2^log < bytes <= 2^(log+1)
    const size_t base = size_t{1} << log, step = base >> 2;
    const size_t quarter = (bytes - base + step - 1) / step;  // 1..4
    return {4 * log + static_cast<int>(quarter) - 1, base + quarter * step};
  }

  void Return(Buffer* buffer);
};

Buffer* Buffer::Allocate(size_t bytes) {
  const size_t total = (kHeaderBytes + bytes + kSlack + kAlignment - 1) / kAlignment * kAlignment;
  if (total < bytes) return nullptr;
  void* memory = std::aligned_alloc(kAlignment, total);
  if (memory == nullptr) return nullptr;
  Buffer* buffer = new (memory) Buffer();
  buffer->data_ = static_cast<char*>(memory) + kHeaderBytes;
  buffer->bytes_ = bytes;
  return buffer;
}

void Buffer::Release() {
  if (--shares_ > 0) return;
  if (home_ != nullptr) {
    home_->Return(this);
  } else {
    this->~Buffer();
    std::free(this);
  }
}

void ArenaState::Return(Buffer* buffer) {
  --live;
  if (closed) {
    std::free(buffer);
    if (live == 0) delete this;
    return;
  }
  Buffer*& head = idle[ClassOf(buffer->bytes()).first];
  buffer->next_ = head;
  head = buffer;
}

Tensor::Tensor(const Tensor& other)
    : buffer_(other.buffer_),
      data_(other.data_),
      shape_(other.shape_),
      dtype_(other.dtype_),
      grad_(other.grad_) {
  if (buffer_ != nullptr) buffer_->Retain();
}

Tensor::Tensor(Tensor&& other) noexcept
    : buffer_(std::exchange(other.buffer_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      shape_(other.shape_),
      dtype_(other.dtype_),
      grad_(std::move(other.grad_)) {}

Tensor& Tensor::operator=(const Tensor& other) { return *this = Tensor(other); }

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  std::swap(buffer_, other.buffer_);
  std::swap(data_, other.data_);
  std::swap(shape_, other.shape_);
  std::swap(dtype_, other.dtype_);
  std::swap(grad_, other.grad_);
  return *this;
}

Tensor::~Tensor() {
  if (buffer_ != nullptr) buffer_->Release();
}

Result<Tensor> Tensor::Allocate(const Shape& shape, DType dtype) {
  const auto bytes = BytesOf(shape, dtype);
  Buffer* buffer = bytes ? Buffer::Allocate(*bytes) : nullptr;
  if (buffer == nullptr) return NoMemory(shape, dtype);
  Tensor tensor;
  tensor.buffer_ = buffer;
  tensor.data_ = buffer->data();
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

Result<Tensor> Tensor::Zeros(const Shape& shape, DType dtype) {
  SOTTO_ASSIGN_OR_RETURN(Tensor tensor, Allocate(shape, dtype));
  std::memset(tensor.data_, 0, tensor.bytes());
  return tensor;
}

Tensor Tensor::Borrow(const void* data, const Shape& shape, DType dtype,
                      std::shared_ptr<const void> owner) {
  Tensor tensor;
  tensor.buffer_ = Buffer::Allocate(0);
  if (tensor.buffer_ == nullptr) return {};
  tensor.buffer_->borrowed_ = std::move(owner);
  tensor.data_ = const_cast<void*>(data);
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

Result<Tensor> Tensor::FromFloats(const Shape& shape, std::span<const float> values) {
  if (shape.elements() != static_cast<int64_t>(values.size())) {
    return InvalidArgument(StrCat(values.size(), " values do not fill ", shape.ToString()));
  }
  SOTTO_ASSIGN_OR_RETURN(Tensor tensor, Allocate(shape, DType::kF32));
  if (!values.empty()) std::memcpy(tensor.data_, values.data(), values.size_bytes());
  return tensor;
}

Result<Tensor> Tensor::FromInts(const Shape& shape, std::span<const int32_t> values) {
  if (shape.elements() != static_cast<int64_t>(values.size())) {
    return InvalidArgument(StrCat(values.size(), " values do not fill ", shape.ToString()));
  }
  SOTTO_ASSIGN_OR_RETURN(Tensor tensor, Allocate(shape, DType::kI32));
  if (!values.empty()) std::memcpy(tensor.data_, values.data(), values.size_bytes());
  return tensor;
}

size_t Tensor::bytes() const { return buffer_ == nullptr ? 0 : *BytesOf(shape_, dtype_); }

Tensor Tensor::Reshaped(const Shape& shape) const {
  if (shape.elements() != shape_.elements()) return {};
  Tensor tensor = *this;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::Slice(int64_t begin, int64_t end) const {
  if (shape_.rank() == 0 || begin < 0 || begin > end || end > shape_[0] || IsPacked(dtype_) ||
      (IsBlocked(dtype_) && shape_.rank() == 1)) {
    return {};
  }
  Tensor tensor = *this;
  tensor.grad_ = nullptr;
  const int64_t inner = shape_[0] == 0 ? 0 : shape_.elements() / shape_[0];
  const BlockLayout block = BlockLayoutOf(dtype_);
  tensor.data_ = static_cast<char*>(data_) + begin * (inner / block.values * block.bytes);
  tensor.shape_.set_dim(0, end - begin);
  return tensor;
}

Arena::Arena() : state_(new ArenaState) {}

Arena::~Arena() {
  Trim();
  state_->closed = true;
  if (state_->live == 0) delete state_;
}

Result<Tensor> Arena::Allocate(const Shape& shape, DType dtype) {
  const auto bytes = BytesOf(shape, dtype);
  if (!bytes) return NoMemory(shape, dtype);
  const auto [size_class, size] = ArenaState::ClassOf(*bytes);
  Buffer*& head = state_->idle[size_class];
  Buffer* buffer = head;
  if (buffer != nullptr) {
    head = buffer->next_;
    buffer->shares_ = 1;
  } else {
    buffer = Buffer::Allocate(size);
    if (buffer == nullptr) {
      Trim();
      buffer = Buffer::Allocate(size);
    }
    if (buffer == nullptr) return NoMemory(shape, dtype);
    buffer->home_ = state_;
    state_->held += size;
  }
  ++state_->live;
  Tensor tensor;
  tensor.buffer_ = buffer;
  tensor.data_ = buffer->data();
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  return tensor;
}

void Arena::Trim() {
  for (Buffer*& head : state_->idle) {
    while (head != nullptr) {
      Buffer* next = head->next_;
      state_->held -= head->bytes();
      std::free(head);
      head = next;
    }
  }
}

size_t Arena::bytes_held() const { return state_->held; }

}  // namespace sotto
