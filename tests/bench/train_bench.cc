// Training speed of a small GPT-2: the model, batch, clipping and optimizer of train_pytorch.py, on
// random tokens. One line of JSON; the first step is not counted.
//   train_bench [threads] [steps]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/models/model.h"
#include "core/train/trainer.h"

namespace sotto {
namespace {

constexpr int64_t kBatch = 16, kTokens = 256, kVocabulary = 4096;
constexpr const char* kConfig =
    R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 4096, "n_embd": 192,
        "n_layer": 6, "n_head": 6, "n_positions": 256})";

class RandomTokens : public BatchSource {
 public:
  int64_t batches() const override { return 1; }

  Result<Batch> Get(int64_t epoch, int64_t) override {
    Random random(1, static_cast<uint64_t>(epoch));
    std::vector<int32_t> ids, targets;
    for (int64_t row = 0; row < kBatch; ++row) {
      int32_t id = static_cast<int32_t>(random.NextBelow(kVocabulary));
      for (int64_t i = 0; i < kTokens; ++i) {
        ids.push_back(id);
        id = static_cast<int32_t>(random.NextBelow(kVocabulary));
        targets.push_back(id);
      }
    }
    Batch batch;
    batch.tokens = batch.target_count = kBatch * kTokens;
    SOTTO_ASSIGN_OR_RETURN(batch.input.ids, Tensor::FromInts({kBatch, kTokens}, ids));
    SOTTO_ASSIGN_OR_RETURN(batch.targets, Tensor::FromInts({kBatch, kTokens}, targets));
    return batch;
  }
};

Status Run(int threads, int64_t steps) {
  SOTTO_ASSIGN_OR_RETURN(const Json config, Json::Parse(kConfig));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(config));
  SOTTO_RETURN_IF_ERROR(model->parameters().Initialize(1, 0.02f));
  TrainOptions options;
  options.optimizer.beta2 = 0.95;
  options.optimizer.weight_decay = 0.1;
  options.schedule.steps = steps + 1;
  std::vector<TrainPhase> phases(1);
  phases[0].steps = steps + 1;
  phases[0].source = std::make_unique<RandomTokens>();
  ThreadPool pool(threads);
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                         Trainer::Create(std::move(model), std::move(phases), options, &pool));
  std::vector<double> times;
  StepReport report;
  while (!trainer->finished()) {
    const auto start = std::chrono::steady_clock::now();
    SOTTO_ASSIGN_OR_RETURN(report, trainer->Step());
    times.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  times.erase(times.begin());
  std::sort(times.begin(), times.end());
  constexpr double kStepTokens = kBatch * kTokens;
  std::printf(
      "{\"name\": \"train_gpt2\", \"engine\": \"sotto\", \"threads\": %d, \"steps\": %d, "
      "\"tokens_per_second\": %.1f, \"tokens_per_second_best\": %.1f, \"loss\": %.4f}\n",
      threads, static_cast<int>(steps), kStepTokens / times[times.size() / 2],
      kStepTokens / times[0], report.loss);
  return OkStatus();
}

}  // namespace
}  // namespace sotto

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const int steps = argc > 2 ? std::max(1, std::atoi(argv[2])) : 6;
  const sotto::Status status = sotto::Run(threads, steps);
  if (!status.ok()) std::fprintf(stderr, "train_bench: %s\n", status.message().c_str());
  return status.ok() ? 0 : 1;
}
