#include "core/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/kernels/pointwise.h"
#include "core/kernels/rows.h"

namespace sotto {

double LearningRate(const Schedule& schedule, int64_t step) {
  if (step < schedule.warmup) {
    return schedule.peak * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup);
  }
  if (schedule.kind == ScheduleKind::kConstant) return schedule.peak;
  const double span = static_cast<double>(std::max<int64_t>(schedule.steps - schedule.warmup, 1));
  const double done = std::clamp(static_cast<double>(step + 1 - schedule.warmup) / span, 0.0, 1.0);
  const double left = schedule.kind == ScheduleKind::kLinear
                          ? 1 - done
                          : 0.5 * (1 + std::cos(3.14159265358979323846 * done));
  return schedule.peak * (schedule.floor + (1 - schedule.floor) * left);
}

double ClipFactor(double norm, double max_norm) {
  if (max_norm <= 0 || !(norm > max_norm)) return 1;
  return max_norm / (norm + 1e-6);
}

Result<Optimizer> Optimizer::Create(const OptimizerOptions& options,
                                    const ParameterList& parameters) {
  Optimizer optimizer;
  optimizer.options_ = options;
  for (const Parameter& parameter : parameters.all()) {
    if (!parameter.tensor->requires_grad()) continue;
    if (parameter.tensor->dtype() != DType::kF32) {
      return InvalidArgument(StrCat("'", parameter.name, "' is stored as ",
                                    DTypeName(parameter.tensor->dtype()),
                                    "; only f32 weights are trained"));
    }
    Slot slot{&parameter, {}, {}};
    SOTTO_ASSIGN_OR_RETURN(slot.m, Tensor::Zeros(parameter.shape));
    if (options.kind == OptimizerOptions::Kind::kAdamW) {
      SOTTO_ASSIGN_OR_RETURN(slot.v, Tensor::Zeros(parameter.shape));
    }
    optimizer.slots_.push_back(std::move(slot));
  }
  if (optimizer.slots_.empty()) return InvalidArgument("the model has no parameter to train");
  return optimizer;
}

double Optimizer::GradientNorm(ThreadPool* pool) const {
  double sum = 0;
  for (const Slot& slot : slots_) {
    const Tensor& grad = slot.parameter->tensor->grad_slot()->grad;
    if (grad) sum += SumSquares(grad.f32(), grad.elements(), pool);
  }
  return std::sqrt(sum);
}

void Optimizer::Step(double rate, double clip, ThreadPool* pool) {
  ++steps_;
  for (Slot& slot : slots_) {
    Tensor& grad = slot.parameter->tensor->grad_slot()->grad;
    if (!grad) continue;
    if (options_.kind == OptimizerOptions::Kind::kAdamW) {
      StepAdamW(slot, rate, clip, pool);
    } else {
      StepSgd(slot, rate, clip, pool);
    }
    grad = {};
  }
}

void Optimizer::StepAdamW(Slot& slot, double rate, double clip, ThreadPool* pool) {
  Tensor& weight = *slot.parameter->tensor;
  const double t = static_cast<double>(steps_);
  AdamWArgs args;
  args.lr = static_cast<float>(rate);
  args.beta1 = static_cast<float>(options_.beta1);
  args.beta2 = static_cast<float>(options_.beta2);
  args.epsilon = static_cast<float>(options_.epsilon);
  args.decay = slot.parameter->decays() ? static_cast<float>(options_.weight_decay) : 0.0f;
  args.clip = static_cast<float>(clip);
  args.c1 = static_cast<float>(1 - std::pow(options_.beta1, t));
  args.c2 = static_cast<float>(1 - std::pow(options_.beta2, t));
  AdamW(args, weight.grad_slot()->grad.f32(), slot.m.f32(), slot.v.f32(), weight.f32(),
        weight.elements(), pool);
}

// m = momentum m + (g + decay w); w -= rate m. (Sutskever et al. 2013, in PyTorch's form)
void Optimizer::StepSgd(Slot& slot, double rate, double clip, ThreadPool* pool) {
  Tensor& weight = *slot.parameter->tensor;
  const int64_t count = weight.elements();
  float* m = slot.m.f32();
  Scale(m, static_cast<float>(options_.momentum), m, count, pool);
  Axpy(weight.grad_slot()->grad.f32(), static_cast<float>(clip), m, count, pool);
  if (slot.parameter->decays())
    Axpy(weight.f32(), static_cast<float>(options_.weight_decay), m, count, pool);
  Axpy(m, static_cast<float>(-rate), weight.f32(), count, pool);
}

std::vector<std::pair<std::string, Tensor>> Optimizer::State() const {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Slot& slot : slots_) {
    state.emplace_back("m." + slot.parameter->name, slot.m);
    if (slot.v) state.emplace_back("v." + slot.parameter->name, slot.v);
  }
  return state;
}

Status Optimizer::Restore(int64_t steps, const std::vector<std::pair<std::string, Tensor>>& state) {
  for (auto& [name, tensor] : State()) {
    const auto found = std::find_if(state.begin(), state.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (found == state.end()) return InvalidFile(StrCat("the checkpoint lacks '", name, "'"));
    if (!(found->second.shape() == tensor.shape()) || found->second.dtype() != DType::kF32) {
      return InvalidFile(StrCat("the checkpoint's '", name, "' is ",
                                found->second.shape().ToString(), " and not ",
                                tensor.shape().ToString()));
    }
    std::memcpy(tensor.data(), found->second.data(), tensor.bytes());
  }
  steps_ = steps;
  return OkStatus();
}

}  // namespace sotto
