#include "core/train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/train/recipe.h"

namespace sotto {
namespace {

constexpr int32_t kVocab = 40;

SpecialIds Special() {
  SpecialIds special;
  special.separator = 0;
  special.cls = 1, special.sep = 2, special.mask = 3, special.pad = 4;
  special.vocab_size = kVocab;
  special.is_special.assign(kVocab, false);
  std::fill_n(special.is_special.begin(), 5, true);
  return special;
}

// Documents that count upwards: easy to learn. The label tells where they begin.
TokenizedDocuments Documents() {
  TokenizedDocuments documents;
  for (int32_t d = 0; d < 60; ++d) {
    const int32_t start = 5 + (d % 2) * 17, length = 6 + d % 9;
    for (int32_t i = 0; i < length; ++i) documents.ids.push_back(start + i);
    documents.begins.push_back(static_cast<int64_t>(documents.ids.size()));
    documents.labels.push_back(d % 2);
    documents.sources.push_back(0);
  }
  return documents;
}

Json Config(TrainTask task) {
  const char* gpt =
      R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 40, "n_embd": 16, "n_layer": 2,
          "n_head": 2, "n_positions": 32})";
  const std::string bert = StrCat(
      R"({"model_type": "bert", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 32, "max_position_embeddings": 32, "architectures": ["Bert)",
      task == TrainTask::kMaskedLM         ? "ForMaskedLM"
      : task == TrainTask::kClassification ? "ForSequenceClassification"
                                           : "ForPreTraining",
      "\"]}");
  return *Json::Parse(task == TrainTask::kCausalLM ? gpt : bert.c_str());
}

std::unique_ptr<BatchSource> Source(TrainTask task) {
  BatchOptions options;
  options.batch_size = 4;
  options.max_tokens = 16;
  options.seed = 3;
  const TokenizedDocuments documents = Documents();
  const MaskOptions mask;
  if (task == TrainTask::kCausalLM) return *PackCausal(documents, Special(), options);
  if (task == TrainTask::kMaskedLM) return *PackMasked(documents, Special(), options, mask);
  if (task == TrainTask::kClassification) return *BucketClasses(documents, Special(), options);
  return *PairSentences(documents, {0, 10, 20, 30, 40, 50, 60}, Special(), options, &mask);
}

TrainOptions Options(TrainTask task, int64_t steps) {
  TrainOptions options;
  options.task = task;
  options.schedule = {ScheduleKind::kCosine, 5e-3, 0.1, 3, steps};
  options.dropout = 0.1f;
  options.seed = 11;
  options.accumulation = 2;
  return options;
}

std::unique_ptr<Trainer> MakeTrainer(const TrainOptions& options, ThreadPool* pool = nullptr) {
  auto model = CreateModel(Config(options.task));
  EXPECT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->parameters().Initialize(5, 0.05f).ok());
  std::vector<TrainPhase> phases(2);
  phases[0] = {options.schedule.steps / 2, Source(options.task)};
  phases[1] = {options.schedule.steps - options.schedule.steps / 2, Source(options.task)};
  auto trainer = Trainer::Create(*std::move(model), std::move(phases), options, pool);
  EXPECT_TRUE(trainer.ok()) << trainer.status().message();
  return *std::move(trainer);
}

double StepOnce(Trainer& trainer) {
  const auto report = trainer.Step();
  EXPECT_TRUE(report.ok()) << report.status().message();
  return report.ok() ? report->loss : 0;
}

// A deep copy, as a checkpoint file would hold.
TrainState Frozen(const Trainer& trainer) {
  TrainState state = trainer.State();
  for (auto& [name, tensor] : state.tensors)
    tensor = *Tensor::FromFloats(tensor.shape(), tensor.floats());
  return state;
}

void ExpectSameWeights(Trainer& a, Trainer& b) {
  const auto& pa = a.model().parameters().all();
  const auto& pb = b.model().parameters().all();
  for (size_t i = 0; i < pa.size(); ++i) {
    EXPECT_EQ(0, std::memcmp(pa[i].tensor->data(), pb[i].tensor->data(), pa[i].tensor->bytes()))
        << pa[i].name;
  }
}

class TrainerOf : public testing::TestWithParam<TrainTask> {};
INSTANTIATE_TEST_SUITE_P(Tasks, TrainerOf,
                         testing::Values(TrainTask::kCausalLM, TrainTask::kMaskedLM,
                                         TrainTask::kNextSentence, TrainTask::kClassification));

TEST_P(TrainerOf, LearnsWhatCanBeLearned) {
  // What is hidden is learned from few tokens a step: that takes longer.
  TrainOptions options = Options(GetParam(), GetParam() == TrainTask::kMaskedLM ? 400 : 80);
  options.dropout = 0;
  auto trainer = MakeTrainer(options);
  auto held_out = Source(GetParam());
  const double before = trainer->Evaluate(*held_out)->loss;
  while (!trainer->finished()) StepOnce(*trainer);
  const auto after = trainer->Evaluate(*held_out);
  EXPECT_LT(after->loss, 0.8 * before);
  if (GetParam() == TrainTask::kClassification) {
    EXPECT_EQ(after->confusion.accuracy(), 1);
    EXPECT_EQ(after->confusion.total(), 60);
  }
}

TEST_P(TrainerOf, AResumedRunIsTheUnbrokenRunBitForBit) {
  const TrainOptions options = Options(GetParam(), 10);
  auto whole = MakeTrainer(options), begun = MakeTrainer(options), resumed = MakeTrainer(options);
  std::vector<double> losses;
  while (!whole->finished()) losses.push_back(StepOnce(*whole));
  for (int i = 0; i < 4; ++i) StepOnce(*begun);
  ASSERT_TRUE(resumed->Restore(Frozen(*begun)).ok());
  for (int i = 4; i < 10; ++i) EXPECT_EQ(StepOnce(*resumed), losses[static_cast<size_t>(i)]) << i;
  EXPECT_TRUE(resumed->finished());
  ExpectSameWeights(*whole, *resumed);
}

TEST_P(TrainerOf, GivesTheSameWeightsOnAnyNumberOfThreads) {
  const TrainOptions options = Options(GetParam(), 6);
  ThreadPool two(2), three(3);
  auto a = MakeTrainer(options), b = MakeTrainer(options, &two), c = MakeTrainer(options, &three);
  while (!a->finished()) {
    const double loss = StepOnce(*a);
    EXPECT_EQ(loss, StepOnce(*b));
    EXPECT_EQ(loss, StepOnce(*c));
  }
  ExpectSameWeights(*a, *b);
  ExpectSameWeights(*a, *c);
}

TEST(Trainer, AnotherSeedIsAnotherRun) {
  TrainOptions options = Options(TrainTask::kCausalLM, 4);
  auto a = MakeTrainer(options);
  options.seed = 12;
  auto b = MakeTrainer(options);
  StepOnce(*a), StepOnce(*b);
  EXPECT_NE(StepOnce(*a), StepOnce(*b));  // dropout draws differ
}

TEST(Trainer, ReportsEpochPhaseAndRate) {
  const TrainOptions options =
      Options(TrainTask::kClassification, 20);  // 15 batches an epoch, 2 a step
  auto trainer = MakeTrainer(options);
  StepReport report;
  for (int i = 0; i < 10; ++i) report = *trainer->Step();
  EXPECT_EQ(report.phase, 0);
  EXPECT_NEAR(report.epoch, 20.0 / 15, 1e-12);
  EXPECT_EQ(report.rate, LearningRate(options.schedule, 9));
  report = *trainer->Step();
  EXPECT_EQ(report.phase, 1);
  EXPECT_NEAR(report.epoch, 2.0 / 15, 1e-12);
}

EvalReport WithLoss(double loss) {
  EvalReport report;
  report.loss = loss;
  return report;
}

TEST(Trainer, StopsAfterPatienceAndKeepsTheBestWeights) {
  TrainOptions options = Options(TrainTask::kCausalLM, 100);
  options.early_stopping.patience = 2;
  options.keep_best = true;
  auto trainer = MakeTrainer(options);
  StepOnce(*trainer);
  ASSERT_TRUE(trainer->Note(WithLoss(2)).ok());
  const TrainState best = Frozen(*trainer);
  StepOnce(*trainer);
  ASSERT_TRUE(trainer->Note(WithLoss(3)).ok());
  EXPECT_FALSE(trainer->finished());

  // What was kept travels in the state.
  auto resumed = MakeTrainer(options);
  ASSERT_TRUE(resumed->Restore(Frozen(*trainer)).ok());
  StepOnce(*resumed);
  ASSERT_TRUE(resumed->Note(WithLoss(2)).ok());
  EXPECT_TRUE(resumed->finished());
  EXPECT_FALSE(resumed->Step().ok());
  resumed->RestoreBest();
  for (const auto& [name, tensor] : best.tensors) {
    if (!name.starts_with("w.")) continue;
    const Parameter* p = resumed->model().parameters().Find(name.substr(2));
    EXPECT_EQ(0, std::memcmp(tensor.data(), p->tensor->data(), tensor.bytes())) << name;
  }
}

TEST(Trainer, RefusesAStateOfAnotherModel) {
  auto a = MakeTrainer(Options(TrainTask::kCausalLM, 4)),
       b = MakeTrainer(Options(TrainTask::kMaskedLM, 4));
  EXPECT_FALSE(a->Restore(Frozen(*b)).ok());
  TrainState torn = Frozen(*a);
  torn.tensors.pop_back();
  EXPECT_FALSE(a->Restore(torn).ok());
}

TEST(Trainer, ALossThatIsNotFiniteIsAnErrorAndNoStep) {
  auto trainer = MakeTrainer(Options(TrainTask::kCausalLM, 4));
  trainer->model().parameters().all()[0].tensor->f32()[0] = NAN;
  for (float& w : trainer->model().parameters().all()[0].tensor->floats()) w = NAN;
  EXPECT_FALSE(trainer->Step().ok());
  EXPECT_EQ(trainer->step(), 0);
}

TEST(Schedule, RisesThenFallsAsItsKindSays) {
  Schedule schedule{ScheduleKind::kCosine, 1.0, 0.1, 10, 110};
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 0), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 9), 1.0);
  EXPECT_NEAR(LearningRate(schedule, 59), 0.55, 1e-12);  // half way: the mean of peak and floor
  EXPECT_NEAR(LearningRate(schedule, 109), 0.1, 1e-12);
  schedule.kind = ScheduleKind::kLinear;
  EXPECT_NEAR(LearningRate(schedule, 34), 0.775, 1e-12);
  EXPECT_NEAR(LearningRate(schedule, 109), 0.1, 1e-12);
  schedule.kind = ScheduleKind::kConstant;
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 109), 1.0);
}

TEST(ClipFactor, ShrinksOnlyWhatIsTooLong) {
  EXPECT_EQ(ClipFactor(0.5, 1), 1);
  EXPECT_NEAR(ClipFactor(4, 1), 0.25, 1e-6);
  EXPECT_EQ(ClipFactor(4, 0), 1);
}

}  // namespace
}  // namespace sotto
