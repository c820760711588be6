// What an op runs in: where its memory comes from, the threads, the tape (or none), and the first
// thing that went wrong. An op that fails records why and returns an empty tensor; ops given a
// failed context do nothing; so a forward pass reads like its paper and its caller checks once at
// the end.
#ifndef SOTTO_CORE_OPS_CONTEXT_H_
#define SOTTO_CORE_OPS_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/base/status.h"
#include "core/tensor/tensor.h"

namespace sotto {

class Tape;
class Probe;

class Context {
 public:
  explicit Context(Arena* arena, ThreadPool* pool = nullptr) : arena_(arena), pool_(pool) {}

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  // Records the first failure; returns the empty tensor that the failing op returns.
  Tensor Fail(Status status);
  // Forgets a failure, so that the context can serve the next call.
  void Reset() { status_ = {}; }

  // Uninitialized, or zeroed, memory; empty (and a recorded failure) when there is none.
  Tensor New(const Shape& shape, DType dtype = DType::kF32);
  Tensor NewZeros(const Shape& shape, DType dtype = DType::kF32);

  ThreadPool* pool() const { return pool_; }

  // Null: nothing is recorded and inputs are not kept.
  Tape* tape() const { return tape_; }
  void set_tape(Tape* tape) { tape_ = tape; }
  Probe* probe() const { return probe_; }
  void set_probe(Probe* probe) { probe_ = probe; }

  // Dropout probability of this run (0: none) and its randomness. Each dropout op draws one seed.
  float dropout() const { return dropout_; }
  void set_dropout(float probability, uint64_t seed) {
    dropout_ = probability;
    random_ = Random(seed);
  }
  uint64_t NextSeed() { return random_.Next(); }

 private:
  Arena* arena_;
  ThreadPool* pool_;
  Tape* tape_ = nullptr;
  Probe* probe_ = nullptr;
  float dropout_ = 0;
  Random random_{0};
  Status status_;
};

// The record of one forward pass: for each op that a gradient must flow through, how it flows back.
class Tape {
 public:
  using Backward = std::function<void(Context&, const Tensor& dy)>;

  // Makes `out` a value with a gradient, whose backward step is `backward`. The step adds to the
  // gradients of the op's inputs; it keeps alive what it captures until it has run.
  void Record(Tensor& out, Backward backward);

  // Runs the steps in reverse from a scalar loss (d loss / d loss = `seed`), freeing each as it is
  // done. The tape is empty afterwards.
  Status Run(Context& ctx, const Tensor& loss, float seed = 1);
  void Clear() { steps_.clear(); }

 private:
  struct Step {
    std::shared_ptr<GradSlot> out;
    Backward backward;
  };
  std::vector<Step> steps_;
};

// Whether an op over these inputs must be recorded.
template <class... Tensors>
bool Taped(const Context& ctx, const Tensors&... inputs) {
  return ctx.tape() != nullptr && (inputs.requires_grad() || ...);
}

// The gradient buffer of a value that wants one, zeroed when nothing has flowed yet. Null when the
// value wants none, or memory is out (recorded in ctx).
float* GradOf(Context& ctx, const Tensor& value);
// Adds `dy`, of as many elements, to the gradient of a value that wants one.
void AddGrad(Context& ctx, const Tensor& value, const Tensor& dy);

}  // namespace sotto

#endif  // SOTTO_CORE_OPS_CONTEXT_H_
