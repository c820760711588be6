#include "core/ops/context.h"

#include <cstring>
#include <utility>

#include "core/kernels/pointwise.h"

namespace sotto {

Tensor Context::Fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
  return {};
}

Tensor Context::New(const Shape& shape, DType dtype) {
  if (!ok()) return {};
  Result<Tensor> tensor = arena_->Allocate(shape, dtype);
  return tensor.ok() ? *std::move(tensor) : Fail(tensor.status());
}

Tensor Context::NewZeros(const Shape& shape, DType dtype) {
  Tensor tensor = New(shape, dtype);
  if (tensor) std::memset(tensor.data(), 0, tensor.bytes());
  return tensor;
}

void Tape::Record(Tensor& out, Backward backward) {
  out.set_grad_slot(std::make_shared<GradSlot>());
  steps_.push_back({out.grad_slot(), std::move(backward)});
}

Status Tape::Run(Context& ctx, const Tensor& loss, float seed) {
  if (loss.elements() != 1 || !loss.requires_grad()) {
    Clear();
    return InvalidArgument("gradients start at a scalar loss that depends on a trained parameter");
  }
  Tensor start = ctx.New(loss.shape());
  if (start) {
    *start.f32() = seed;
    loss.grad_slot()->grad = start;
  }
  while (!steps_.empty() && ctx.ok()) {
    const Step step = std::move(steps_.back());
    steps_.pop_back();
    // A value that nothing downstream used has no gradient to pass on.
    if (step.out->grad) step.backward(ctx, step.out->grad);
    step.out->grad = {};
  }
  Clear();
  return ctx.status();
}

float* GradOf(Context& ctx, const Tensor& value) {
  if (!value.requires_grad() || !ctx.ok()) return nullptr;
  Tensor& grad = value.grad_slot()->grad;
  if (!grad) grad = ctx.NewZeros(value.shape());
  return grad.f32();
}

void AddGrad(Context& ctx, const Tensor& value, const Tensor& dy) {
  if (!value.requires_grad() || !ctx.ok()) return;
  Tensor& grad = value.grad_slot()->grad;
  if (grad) {
    Axpy(dy.f32(), 1, grad.f32(), grad.elements(), ctx.pool());
  } else if (grad = ctx.New(value.shape()); grad) {
    std::memcpy(grad.data(), dy.data(), grad.bytes());
  }
}

}  // namespace sotto
