#include "core/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/kernels/rows.h"
#include "core/ops/ops.h"
#include "core/ops/pointer.h"

namespace sotto {
namespace {

// The scalar that is minimized. Masked and next-sentence losses are added, as BERT does.
Tensor LossOf(Context& ctx, const ModelOutput& output, const Batch& batch,
              const TrainOptions& options) {
  const float smoothing = options.label_smoothing;
  if (options.task != TrainTask::kNextSentence) {
    Tensor loss = CrossEntropy(ctx, output.logits, batch.targets, smoothing);
    if (options.coverage <= 0) return loss;
    const Tensor covered = CoverageLoss(ctx, output.copy_attention, batch.targets);
    return Add(ctx, loss, Scale(ctx, covered, options.coverage));
  }
  if (!output.next_sentence)
    return CrossEntropy(ctx, output.logits, batch.next_sentence, smoothing);
  const Tensor pairs = CrossEntropy(ctx, output.next_sentence, batch.next_sentence, smoothing);
  return Add(ctx, CrossEntropy(ctx, output.logits, batch.targets, smoothing), pairs);
}

int64_t ArgMax(const float* row, int64_t columns) {
  return std::max_element(row, row + columns) - row;
}

// Sums of an evaluation as batches come in.
struct Tally {
  double loss = 0, pair_loss = 0;
  int64_t count = 0, right = 0, pairs = 0, texts = 0, exact = 0;

  // targets [..., tokens]: each row of them is a text.
  void AddRows(const Tensor& logits, const Tensor& targets, ThreadPool* pool) {
    const int64_t rows = logits.shape().rows(), columns = logits.shape().columns(),
                  tokens = targets.shape().columns();
    int64_t counted = 0;
    loss += sotto::CrossEntropy(logits.f32(), targets.i32(), kIgnoreTarget, 0, 0, nullptr, rows,
                                columns, &counted, pool);
    count += counted;
    bool whole = true;
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t target = targets.i32()[r];
      const bool hit = target == ArgMax(logits.f32() + r * columns, columns);
      right += hit ? 1 : 0;
      whole = whole && (hit || target == kIgnoreTarget);
      if ((r + 1) % tokens != 0) continue;
      ++texts;
      exact += whole ? 1 : 0;
      whole = true;
    }
  }

  void AddPairs(const Tensor& logits, const Tensor& targets, Confusion& confusion,
                ThreadPool* pool) {
    const int64_t rows = logits.shape().rows(), columns = logits.shape().columns();
    int64_t counted = 0;
    pair_loss += sotto::CrossEntropy(logits.f32(), targets.i32(), kIgnoreTarget, 0, 0, nullptr,
                                     rows, columns, &counted, pool);
    pairs += counted;
    for (int64_t r = 0; r < rows; ++r) {
      confusion.Add(targets.i32()[r], ArgMax(logits.f32() + r * columns, columns));
    }
  }
};

Status CopyInto(Tensor& tensor, const std::vector<std::pair<std::string, Tensor>>& state,
                const std::string& name) {
  const auto found = std::find_if(state.begin(), state.end(),
                                  [&](const auto& entry) { return entry.first == name; });
  if (found == state.end()) return InvalidFile(StrCat("the checkpoint lacks '", name, "'"));
  if (!(found->second.shape() == tensor.shape()) || found->second.dtype() != DType::kF32) {
    return InvalidFile(StrCat("the checkpoint's '", name, "' is ", found->second.shape().ToString(),
                              " and not ", tensor.shape().ToString()));
  }
  std::memcpy(tensor.data(), found->second.data(), tensor.bytes());
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<Trainer>> Trainer::Create(std::unique_ptr<Model> model,
                                                 std::vector<TrainPhase> phases,
                                                 const TrainOptions& options, ThreadPool* pool) {
  int64_t steps = 0;
  for (const TrainPhase& phase : phases) {
    if (phase.steps > 0 && (phase.source == nullptr || phase.source->batches() == 0)) {
      return InvalidArgument("a phase has steps and no data");
    }
    steps += phase.steps;
  }
  if (steps != options.schedule.steps)
    return InvalidArgument("the phases' steps are not the schedule's");
  if (options.coverage > 0 && !model->copies())
    return InvalidArgument("'coverage' is for a model that copies, a pointer-generator");
  if (options.accumulation < 1) return InvalidArgument("a step needs at least one batch");
  model->parameters().RequireGrad(true);
  SOTTO_ASSIGN_OR_RETURN(Optimizer optimizer,
                         Optimizer::Create(options.optimizer, model->parameters()));
  return std::unique_ptr<Trainer>(
      new Trainer(std::move(model), std::move(phases), options, pool, std::move(optimizer)));
}

std::pair<int, int64_t> Trainer::PhaseOf(int64_t step) const {
  int64_t first = 0;
  for (size_t i = 0; i < phases_.size(); ++i) {
    if (step < first + phases_[i].steps) return {static_cast<int>(i), first};
    first += phases_[i].steps;
  }
  return {static_cast<int>(phases_.size()) - 1, first};
}

void Trainer::DropGradients() {
  for (const Parameter& parameter : model_->parameters().all()) {
    if (parameter.tensor->requires_grad()) parameter.tensor->grad_slot()->grad = {};
  }
}

Result<StepReport> Trainer::Step() {
  if (finished()) return InvalidArgument("the training is over");
  const auto [phase, first] = PhaseOf(step_);
  BatchSource& source = *phases_[static_cast<size_t>(phase)].source;
  StepReport report;
  std::vector<Batch> batches;
  int64_t targets = 0;
  for (int64_t i = 0; i < options_.accumulation; ++i) {
    const int64_t index = (step_ - first) * options_.accumulation + i;
    SOTTO_ASSIGN_OR_RETURN(Batch batch,
                           source.Get(index / source.batches(), index % source.batches()));
    targets += batch.target_count;
    report.tokens += batch.tokens;
    batches.push_back(std::move(batch));
  }
  // Each batch weighs as many targets as it has, so that the step is that of one large batch.
  for (size_t i = 0; i < batches.size(); ++i) {
    const double weight = static_cast<double>(batches[i].target_count) /
                          static_cast<double>(std::max<int64_t>(targets, 1));
    const uint64_t draw = static_cast<uint64_t>(step_ * options_.accumulation) + i;
    if (Status status = Micro(batches[i], Mix64(Mix64(options_.seed) ^ draw), weight, report.loss);
        !status.ok()) {
      DropGradients();
      return status;
    }
  }
  report.grad_norm = optimizer_.GradientNorm(pool_);
  if (!std::isfinite(report.grad_norm) || !std::isfinite(report.loss)) {
    DropGradients();
    return InvalidArgument(StrCat("the loss or its gradient is no longer finite at step ",
                                  step_ + 1, "; a lower learning rate may help"));
  }
  report.rate = LearningRate(options_.schedule, step_);
  optimizer_.Step(report.rate, ClipFactor(report.grad_norm, options_.clip), pool_);
  ++step_;
  report.step = step_;
  report.phase = phase;
  report.epoch = static_cast<double>((step_ - first) * options_.accumulation) /
                 static_cast<double>(source.batches());
  return report;
}

Status Trainer::Micro(const Batch& batch, uint64_t dropout_seed, double weight, double& loss_sum) {
  Context ctx(&arena_, pool_);
  Tape tape;
  ctx.set_tape(&tape);
  ctx.set_dropout(options_.dropout, dropout_seed);
  Tensor loss;
  {
    const ModelOutput output = model_->Forward(ctx, batch.input);
    if (ctx.ok()) loss = LossOf(ctx, output, batch, options_);
  }
  SOTTO_RETURN_IF_ERROR(ctx.status());
  loss_sum += weight * static_cast<double>(*loss.f32());
  return tape.Run(ctx, loss, static_cast<float>(weight));
}

Result<EvalReport> Trainer::Evaluate(BatchSource& source, int64_t max_batches) {
  return EvaluateModel(*model_, options_.task, source, max_batches, pool_);
}

Status Trainer::Note(const EvalReport& report) {
  const EarlyStopping& rule = options_.early_stopping;
  SOTTO_ASSIGN_OR_RETURN(const double value, report.Metric(rule.metric));
  const double gain =
      EvalReport::HigherIsBetter(rule.metric) ? value - best_metric_ : best_metric_ - value;
  if (best_step_ >= 0 && !(gain > rule.min_delta)) {
    ++bad_evaluations_;
    stopped_ = rule.patience > 0 && bad_evaluations_ >= rule.patience;
    return OkStatus();
  }
  best_step_ = step_;
  best_metric_ = value;
  bad_evaluations_ = 0;
  if (!options_.keep_best) return OkStatus();
  const auto& parameters = model_->parameters().all();
  best_.resize(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!best_[i]) {
      SOTTO_ASSIGN_OR_RETURN(best_[i], Tensor::Allocate(parameters[i].shape));
    }
    std::memcpy(best_[i].data(), parameters[i].tensor->data(), best_[i].bytes());
  }
  return OkStatus();
}

void Trainer::RestoreBest() {
  const auto& parameters = model_->parameters().all();
  for (size_t i = 0; i < best_.size(); ++i) {
    std::memcpy(parameters[i].tensor->data(), best_[i].data(), best_[i].bytes());
  }
}

TrainState Trainer::State() const {
  TrainState state{step_, best_step_, bad_evaluations_, best_metric_, stopped_, {}};
  const auto& parameters = model_->parameters().all();
  for (size_t i = 0; i < parameters.size(); ++i) {
    state.tensors.emplace_back("w." + parameters[i].name, *parameters[i].tensor);
    if (!best_.empty()) state.tensors.emplace_back("best." + parameters[i].name, best_[i]);
  }
  for (auto& entry : optimizer_.State()) state.tensors.push_back(std::move(entry));
  return state;
}

Status Trainer::Restore(const TrainState& state) {
  const auto& parameters = model_->parameters().all();
  for (const Parameter& parameter : parameters) {
    SOTTO_RETURN_IF_ERROR(CopyInto(*parameter.tensor, state.tensors, "w." + parameter.name));
  }
  SOTTO_RETURN_IF_ERROR(optimizer_.Restore(state.step, state.tensors));
  best_.clear();
  if (options_.keep_best && state.best_step >= 0) {
    for (const Parameter& parameter : parameters) {
      SOTTO_ASSIGN_OR_RETURN(Tensor best, Tensor::Allocate(parameter.shape));
      SOTTO_RETURN_IF_ERROR(CopyInto(best, state.tensors, "best." + parameter.name));
      best_.push_back(std::move(best));
    }
  }
  step_ = state.step;
  best_step_ = state.best_step;
  bad_evaluations_ = state.bad_evaluations;
  best_metric_ = state.best_metric;
  stopped_ = state.stopped;
  return OkStatus();
}

Result<EvalReport> EvaluateModel(const Model& model, TrainTask task, BatchSource& source,
                                 int64_t max_batches, ThreadPool* pool,
                                 std::optional<DType> cache_dtype) {
  Arena arena;
  Tally tally;
  EvalReport report;
  const bool classes = task == TrainTask::kClassification || task == TrainTask::kNextSentence;
  const int64_t batches =
      max_batches > 0 ? std::min(max_batches, source.batches()) : source.batches();
  for (int64_t i = 0; i < batches; ++i) {
    SOTTO_ASSIGN_OR_RETURN(const Batch batch, source.Get(-1, i));
    Context ctx(&arena, pool);
    KvCache cache(cache_dtype.value_or(DType::kF32));
    const ModelOutput output = model.Forward(ctx, batch.input, cache_dtype ? &cache : nullptr);
    SOTTO_RETURN_IF_ERROR(ctx.status());
    const Tensor& pairs = output.next_sentence ? output.next_sentence : output.logits;
    if (classes && report.confusion.classes() == 0)
      report.confusion = Confusion(pairs.shape().columns());
    if (task == TrainTask::kNextSentence) {
      tally.AddPairs(pairs, batch.next_sentence, report.confusion, pool);
      if (output.next_sentence) tally.AddRows(output.logits, batch.targets, pool);
    } else if (task == TrainTask::kClassification) {
      tally.AddPairs(output.logits, batch.targets, report.confusion, pool);
    } else {
      tally.AddRows(output.logits, batch.targets, pool);
    }
  }
  const double pair_loss = tally.pair_loss / static_cast<double>(std::max<int64_t>(tally.pairs, 1));
  if (tally.count > 0) {
    report.loss = tally.loss / static_cast<double>(tally.count);
    report.count = tally.count;
    report.token_accuracy = static_cast<double>(tally.right) / static_cast<double>(tally.count);
    report.next_sentence_loss = pair_loss;
    if (task == TrainTask::kSeq2SeqLM)
      report.exact_match = static_cast<double>(tally.exact) / static_cast<double>(tally.texts);
  } else {
    report.loss = pair_loss;
    report.count = tally.pairs;
  }
  return report;
}

}  // namespace sotto
