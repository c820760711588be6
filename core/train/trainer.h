// The training step: batch, forward with tape, loss, backward, optimizer at the scheduled rate. One
// call, one step, so that a page can train between two frames. It opens no files and prints
// nothing. The same seed gives the same weights bit for bit, on any number of threads, resumed or
// not.
#ifndef SOTTO_CORE_TRAIN_TRAINER_H_
#define SOTTO_CORE_TRAIN_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/models/model.h"
#include "core/train/batches.h"
#include "core/train/metrics.h"
#include "core/train/optimizer.h"

namespace sotto {

enum class TrainTask : uint8_t { kCausalLM, kMaskedLM, kNextSentence, kClassification, kSeq2SeqLM };

struct EarlyStopping {
  int64_t patience = 0;         // evaluations without improvement before the end; 0: never
  std::string metric = "loss";  // of EvalReport::Metric
  double min_delta = 0;
};

struct TrainOptions {
  TrainTask task = TrainTask::kCausalLM;
  int64_t accumulation = 1;  // batches a step
  OptimizerOptions optimizer;
  Schedule schedule;  // its `steps` are the run's
  double clip = 1;    // of the global gradient norm; 0: none
  float dropout = 0;
  float label_smoothing = 0;
  float coverage = 0;  // the weight of a pointer-generator's coverage loss
  EarlyStopping early_stopping;
  bool keep_best = false;  // end with the weights of the best evaluation
  uint64_t seed = 0;
};

// A part of the run over one mix of data.
struct TrainPhase {
  int64_t steps = 0;
  std::unique_ptr<BatchSource> source;
};

struct StepReport {
  int64_t step = 0;  // that was done, from 1
  int phase = 0;
  double epoch = 0;  // of the phase's data, with a fraction
  double loss = 0;
  double rate = 0;
  double grad_norm = 0;
  int64_t tokens = 0;
};

// All that a run needs to go on, besides its recipe.
struct TrainState {
  int64_t step = 0;
  int64_t best_step = -1, bad_evaluations = 0;
  double best_metric = 0;
  bool stopped = false;
  std::vector<std::pair<std::string, Tensor>>
      tensors;  // "w.", "m.", "v." and "best." before each name
};

class Trainer {
 public:
  // The model's weights are loaded or initialized. The pool may be null.
  static Result<std::unique_ptr<Trainer>> Create(std::unique_ptr<Model> model,
                                                 std::vector<TrainPhase> phases,
                                                 const TrainOptions& options, ThreadPool* pool);

  int64_t step() const { return step_; }
  int64_t steps() const { return options_.schedule.steps; }
  bool finished() const { return stopped_ || step_ >= steps(); }

  // After an error the trainer is as it was before the step, but for dropped gradients.
  Result<StepReport> Step();

  // The whole source, or its first `max_batches` batches (0: all).
  Result<EvalReport> Evaluate(BatchSource& source, int64_t max_batches = 0);
  // Takes note of a validation: keeps the best weights and decides on early stopping.
  Status Note(const EvalReport& report);
  // Puts the best weights back, where they were kept.
  void RestoreBest();

  // Handles to the live tensors: write them before the next step.
  TrainState State() const;
  Status Restore(const TrainState& state);

  Model& model() { return *model_; }

 private:
  Trainer(std::unique_ptr<Model> model, std::vector<TrainPhase> phases, const TrainOptions& options,
          ThreadPool* pool, Optimizer optimizer)
      : model_(std::move(model)),
        phases_(std::move(phases)),
        options_(options),
        pool_(pool),
        optimizer_(std::move(optimizer)) {}

  std::pair<int, int64_t> PhaseOf(int64_t step) const;  // which phase, and its first step
  Status Micro(const Batch& batch, uint64_t dropout_seed, double weight, double& loss_sum);
  void DropGradients();

  Arena arena_;
  std::unique_ptr<Model> model_;
  std::vector<TrainPhase> phases_;
  TrainOptions options_;
  ThreadPool* pool_;
  Optimizer optimizer_;
  int64_t step_ = 0;
  int64_t best_step_ = -1, bad_evaluations_ = 0;
  double best_metric_ = 0;
  bool stopped_ = false;
  std::vector<Tensor> best_;  // by parameter
};

// Runs the model over a source without training it. With a `cache_dtype` keys and values are read
// from a cache of it, as generation reads them.
Result<EvalReport> EvaluateModel(const Model& model, TrainTask task, BatchSource& source,
                                 int64_t max_batches, ThreadPool* pool,
                                 std::optional<DType> cache_dtype = {});

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_TRAINER_H_
