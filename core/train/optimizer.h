// How weights move: AdamW and SGD over a model's parameters, the learning rate's schedule, and the
// clipping of gradients. It knows nothing of models, batches or losses.
#ifndef SOTTO_CORE_TRAIN_OPTIMIZER_H_
#define SOTTO_CORE_TRAIN_OPTIMIZER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/base/parallel.h"
#include "core/nn/parameters.h"

namespace sotto {

enum class ScheduleKind : uint8_t { kConstant, kLinear, kCosine };

// The rate of step 0, 1, ...: rises in a line over `warmup` steps to `peak`, then stays, or falls
// to `floor` * peak at the last step in a line or along half a cosine (Loshchilov & Hutter 2017).
struct Schedule {
  ScheduleKind kind = ScheduleKind::kConstant;
  double peak = 1e-3;
  double floor = 0;
  int64_t warmup = 0;
  int64_t steps = 1;
};
double LearningRate(const Schedule& schedule, int64_t step);

struct OptimizerOptions {
  enum class Kind : uint8_t { kAdamW, kSgd };
  Kind kind = Kind::kAdamW;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double momentum = 0.9;  // SGD
  double weight_decay =
      0.01;  // AdamW: decoupled; SGD: added to the gradient. Not on biases and norms.
};

class Optimizer {
 public:
  // Trains the f32 parameters that require a gradient; the list outlives the optimizer.
  static Result<Optimizer> Create(const OptimizerOptions& options, const ParameterList& parameters);

  // The norm of all gradients together; parameters that nothing flowed to count as 0.
  double GradientNorm(ThreadPool* pool) const;
  // One update with each gradient times `clip`; then the gradients are taken away.
  void Step(double rate, double clip, ThreadPool* pool);
  int64_t steps() const { return steps_; }

  // The moments, as "m.<name>" and "v.<name>" (SGD: "m.<name>"): what a checkpoint keeps.
  std::vector<std::pair<std::string, Tensor>> State() const;
  Status Restore(int64_t steps, const std::vector<std::pair<std::string, Tensor>>& state);

 private:
  struct Slot {
    const Parameter* parameter;
    Tensor m, v;
  };
  void StepAdamW(Slot& slot, double rate, double clip, ThreadPool* pool);
  void StepSgd(Slot& slot, double rate, double clip, ThreadPool* pool);

  OptimizerOptions options_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

// What gradients are multiplied with so that their norm is at most `max_norm`; 1 where that is 0.
double ClipFactor(double norm, double max_norm);

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_OPTIMIZER_H_
