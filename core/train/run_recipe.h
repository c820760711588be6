// What `sotto train` and `sotto eval` do: the files around the training step. Data and folders in,
// progress, curve, checkpoints and a Hugging Face folder out. Learning itself is in trainer.h.
#ifndef SOTTO_CORE_TRAIN_RUN_RECIPE_H_
#define SOTTO_CORE_TRAIN_RUN_RECIPE_H_

#include <functional>
#include <optional>
#include <string>

#include "core/base/json.h"
#include "core/base/parallel.h"
#include "core/models/model.h"
#include "core/train/metrics.h"

namespace sotto {

// Receives lines for people, and says whether to go on: false saves a checkpoint and ends the run.
using ProgressCallback = std::function<bool(const std::string& line)>;

// Trains by the recipe into `out_dir`: checkpoint.safetensors and curve.jsonl while it runs, from
// which a second call continues; then config.json, model.safetensors, tokenizer.json,
// tokenizer_config.json and generation_config.json. Paths in the recipe are relative to the current
// folder. A run that is done already is an ordinary success. Cancelled: the callback ended it.
Status TrainCommand(const std::string& recipe_path, const std::string& out_dir, ThreadPool* pool,
                    const ProgressCallback& progress);

struct EvalOptions {
  std::string
      split;  // "train", "validation", "test"; empty: test, or validation where there is no test
  WeightFormat format = WeightFormat::kAsStored;  // how the weights compute
  std::optional<DType> cache_dtype;  // past keys and values are read from a cache of it (causal LM)
  // What the model makes of a text, in at most so many tokens: where it is given, sequence to
  // sequence is measured by ROUGE, too.
  std::function<Result<std::string>(const std::string& text, int64_t max_new_tokens)> write;
};
struct EvalResult {
  Json metrics;
  std::string table;  // for reading
};
Result<EvalResult> EvalCommand(const std::string& recipe_path, const std::string& model_dir,
                               const EvalOptions& options, ThreadPool* pool);

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_RUN_RECIPE_H_
