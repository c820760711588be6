// Gradients and ten optimizer steps against PyTorch, from the files that tests/golden/README.md
// describes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/io/model_folder.h"
#include "core/models/model.h"
#include "core/ops/ops.h"
#include "core/train/optimizer.h"

namespace sotto {
namespace {

constexpr const char* kModels[] = {"bert-masked-lm", "gpt2", "llama", "bart"};

std::string Golden(const std::string& path) {
  return std::string(SOTTO_SOURCE_DIR) + "/tests/golden/" + path;
}

TensorSource OpenTensors(const std::string& path) {
  TensorSource source;
  auto view = FileView::Open(Golden(path));
  EXPECT_TRUE(view.ok()) << path;
  auto file = std::make_shared<FileView>(*std::move(view));
  const std::string_view bytes = file->bytes();
  EXPECT_TRUE(source.AddSafetensors(bytes, file).ok());
  return source;
}

std::unique_ptr<Model> LoadModel(const std::string& name) {
  auto files = OpenModelFolder(Golden("models/" + name));
  EXPECT_TRUE(files.ok()) << files.status().message();
  auto model = CreateModel(*Json::Parse(files->config));
  EXPECT_TRUE(model.ok()) << model.status().message();
  LoadOptions options;
  options.format = WeightFormat::kF32;
  options.writable = true;
  const Status status = LoadWeights(**model, files->tensors, options);
  EXPECT_TRUE(status.ok()) << status.message();
  (*model)->parameters().RequireGrad(true);
  return *std::move(model);
}

struct Example {
  ModelInput input;
  Tensor targets;
  int64_t counted = 0;
};

// Labels at the position of their ids become targets at the position that predicts them.
// `take` gives what the golden file holds, empty where it holds nothing.
Example MakeExample(const std::function<Tensor(const std::string&)>& take, Head head) {
  Example example;
  example.input.ids = take("input_ids");
  example.input.attention_mask = take("attention_mask");
  example.input.token_type_ids = take("token_type_ids");
  example.input.decoder_ids = take("decoder_input_ids");
  const Tensor labels = take("labels");
  example.targets = *Tensor::Allocate(labels.shape(), DType::kI32);
  const int64_t tokens = labels.dim(1);
  for (int64_t i = 0; i < labels.elements(); ++i) {
    const bool last = i % tokens == tokens - 1;
    const int32_t target = head != Head::kCausalLM ? labels.i32()[i]
                           : last                  ? kIgnoreTarget
                                                   : labels.i32()[i + 1];
    example.targets.i32()[i] = target;
    example.counted += target != kIgnoreTarget ? 1 : 0;
  }
  return example;
}

std::vector<Example> Batches(const std::string& name, Head head) {
  TensorSource source = OpenTensors("training/" + name + ".safetensors");
  std::vector<Example> batches;
  const int64_t count = source.Take("labels")->dim(0);
  for (int64_t i = 0; i < count; ++i) {
    const auto take = [&](const std::string& key) {
      if (!source.Has(key)) return Tensor();
      const Tensor all = *source.Take(key);
      return all.Slice(i, i + 1).Reshaped({all.dim(1), all.dim(2)});
    };
    batches.push_back(MakeExample(take, head));
  }
  return batches;
}

double Backward(Arena& arena, const Model& model, const Example& example, float smoothing,
                double weight) {
  Context ctx(&arena);
  Tape tape;
  ctx.set_tape(&tape);
  const ModelOutput output = model.Forward(ctx, example.input);
  const Tensor loss = CrossEntropy(ctx, output.logits, example.targets, smoothing);
  EXPECT_TRUE(ctx.ok()) << ctx.status().message();
  const Status status = tape.Run(ctx, loss, static_cast<float>(weight));
  EXPECT_TRUE(status.ok()) << status.message();
  return *loss.f32();
}

class TrainGolden : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, TrainGolden, testing::ValuesIn(kModels));

TEST_P(TrainGolden, EveryParametersGradientIsPyTorchs) {
  const std::string name = GetParam();
  auto model = LoadModel(name);
  TensorSource golden = OpenTensors("models/" + name + "/gradients.safetensors");
  const Example example = MakeExample(
      [&](const std::string& key) { return golden.Has(key) ? *golden.Take(key) : Tensor(); },
      model->head());
  Arena arena;
  const double loss = Backward(arena, *model, example, 0, 1);
  EXPECT_NEAR(loss, golden.TakeF32("loss")->f32()[0], 1e-4);
  for (const Parameter& p : model->parameters().all()) {
    if (p.kind == Parameter::Kind::kConstant) continue;
    Result<Tensor> expected = golden.TakeF32("gradient." + p.name);
    ASSERT_TRUE(expected.ok()) << p.name;
    if (p.stored_transposed) expected = Transposed(*expected);
    const Tensor& grad = p.tensor->grad_slot()->grad;
    ASSERT_TRUE(static_cast<bool>(grad)) << p.name;
    ASSERT_EQ(grad.elements(), expected->elements()) << p.name;
    double worst = 0;
    for (int64_t i = 0; i < grad.elements(); ++i) {
      worst = std::max(worst, static_cast<double>(std::abs(grad.f32()[i] - expected->f32()[i])));
    }
    EXPECT_LT(worst, 1e-4) << p.name;
  }
  const Result<Optimizer> optimizer = Optimizer::Create({}, model->parameters());
  EXPECT_NEAR(optimizer->GradientNorm(nullptr), golden.TakeF32("gradient_norm")->f32()[0], 1e-3);
}

TEST_P(TrainGolden, TenStepsOfEachOptimizerGiveItsLossesAndWeights) {
  const std::string name = GetParam();
  const Json golden = *Json::Parse(*ReadFile(Golden("training/" + name + ".json")));
  const std::vector<Example> batches = Batches(name, LoadModel(name)->head());
  for (const char* kind : {"adamw", "sgd"}) {
    SCOPED_TRACE(kind);
    const Json& expected = golden[kind];
    OptimizerOptions options;
    options.weight_decay = expected["weight_decay"].as_number();
    if (kind[0] == 'a') {
      options.beta1 = expected["betas"].items()[0].as_number();
      options.beta2 = expected["betas"].items()[1].as_number();
      options.epsilon = expected["epsilon"].as_number();
    } else {
      options.kind = OptimizerOptions::Kind::kSgd;
      options.momentum = expected["momentum"].as_number();
    }
    auto model = LoadModel(name);
    Result<Optimizer> optimizer = Optimizer::Create(options, model->parameters());
    ASSERT_TRUE(optimizer.ok());
    Arena arena;
    for (size_t i = 0; i < batches.size(); ++i) {
      EXPECT_NEAR(Backward(arena, *model, batches[i], 0, 1),
                  expected["losses"].items()[i].as_number(), 1e-3)
          << i;
      const double norm = optimizer->GradientNorm(nullptr);
      EXPECT_NEAR(norm, expected["gradient_norms"].items()[i].as_number(), 3e-3) << i;
      optimizer->Step(expected["learning_rates"].items()[i].as_number(),
                      ClipFactor(norm, expected["max_gradient_norm"].as_number()), nullptr);
    }
    for (const auto& [parameter, moments] : expected["final_mean_and_std"].members()) {
      const Parameter* p = model->parameters().Find(parameter);
      ASSERT_NE(p, nullptr) << parameter;
      double sum = 0, squares = 0;
      const double n = static_cast<double>(p->tensor->elements());
      for (const float w : p->tensor->floats()) sum += w;
      for (const float w : p->tensor->floats()) squares += (w - sum / n) * (w - sum / n);
      EXPECT_NEAR(sum / n, moments.items()[0].as_number(), 2e-4) << parameter;
      EXPECT_NEAR(std::sqrt(squares / n), moments.items()[1].as_number(), 2e-4) << parameter;
    }
  }
}

TEST_P(TrainGolden, LabelSmoothingAndAccumulationOverAllLabelsAgree) {
  const std::string name = GetParam();
  const Json golden = *Json::Parse(*ReadFile(Golden("training/" + name + ".json")));
  auto model = LoadModel(name);
  const std::vector<Example> batches = Batches(name, model->head());
  Arena arena;
  const Json& smoothed = golden["label_smoothing"];
  EXPECT_NEAR(
      Backward(arena, *model, batches[0], static_cast<float>(smoothed["smoothing"].as_number()), 1),
      smoothed["loss_of_batch_0"].as_number(), 1e-4);
  for (const Parameter& p : model->parameters().all()) {
    if (p.tensor->requires_grad()) p.tensor->grad_slot()->grad = {};
  }

  const Json& accumulation = golden["accumulation"];
  const int64_t count = accumulation["batches"].as_int();
  double labels = 0, loss = 0;
  for (int64_t i = 0; i < count; ++i) labels += static_cast<double>(batches[i].counted);
  for (int64_t i = 0; i < count; ++i) {
    const double weight = static_cast<double>(batches[i].counted) / labels;
    loss += weight * Backward(arena, *model, batches[i], 0, weight);
  }
  EXPECT_NEAR(loss, accumulation["over_all_labels"]["loss"].as_number(), 1e-4);
  EXPECT_NEAR(Optimizer::Create({}, model->parameters())->GradientNorm(nullptr),
              accumulation["over_all_labels"]["gradient_norm"].as_number(), 1e-3);
}

}  // namespace
}  // namespace sotto
