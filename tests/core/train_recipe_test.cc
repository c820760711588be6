#include "core/train/recipe.h"

#include <gtest/gtest.h>

#include <string>

#include "core/base/file.h"

namespace sotto {
namespace {

Result<Recipe> Parse(const std::string& text) {
  Result<Json> json = Json::Parse(text);
  if (!json.ok()) return json.status();
  return ParseRecipe(*json);
}

std::string With(const std::string& members) {
  return R"({"task": "masked-lm", "data": [{"path": "a.txt"}], "training": {"max_steps": 10)" +
         members + "}}";
}

TEST(ParseRecipe, FillsWhatIsNotSaidWithDefaults) {
  const auto recipe = Parse(With(""));
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->task, TrainTask::kMaskedLM);
  EXPECT_EQ(recipe->training.task, TrainTask::kMaskedLM);
  EXPECT_EQ(recipe->data[0].name, "a.txt");
  EXPECT_EQ(recipe->phases.size(), 1u);
  EXPECT_EQ(recipe->training.optimizer.kind, OptimizerOptions::Kind::kAdamW);
}

TEST(ParseRecipe, ReadsEverythingThatARecipeCanSay) {
  const auto recipe =
      Parse(With(R"(, "accumulation": 4, "seed": 9, "dropout": 0.1, "label_smoothing": 0.05,
      "optimizer": {"type": "sgd", "lr": 0.5, "momentum": 0.8, "weight_decay": 0},
      "schedule": {"type": "cosine", "warmup": 0.1, "floor": 0.2},
      "masking": {"type": "static", "share": 0.2}, "keep_best": true,
      "early_stopping": {"patience": 3, "metric": "accuracy"},
      "phases": [{"share": 0.75}, {"share": 0.25, "upsample": {"a.txt": 2.5}}])"));
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->training.accumulation, 4);
  EXPECT_EQ(recipe->training.seed, 9u);
  EXPECT_EQ(recipe->training.optimizer.kind, OptimizerOptions::Kind::kSgd);
  EXPECT_EQ(recipe->training.schedule.peak, 0.5);
  EXPECT_EQ(recipe->training.schedule.kind, ScheduleKind::kCosine);
  EXPECT_EQ(recipe->warmup, 0.1);
  EXPECT_TRUE(recipe->mask.is_static);
  EXPECT_EQ(recipe->training.early_stopping.metric, "accuracy");
  EXPECT_EQ(recipe->phases[1].upsample[0].second, 2.5);
}

TEST(ParseRecipe, NamesTheKeyThatItDoesNotKnow) {
  const std::pair<std::string, std::string> cases[] = {
      {With(R"(, "learning_rate": 1)"), "learning_rate"},
      {With(R"(, "optimizer": {"rate": 1})"), "rate"},
      {With(R"(, "schedule": {"kind": "cosine"})"), "kind"},
      {With(R"(, "phases": [{"share": 1, "steps": 3}])"), "steps"},
      {With(R"(, "phases": [{"share": 1, "upsample": {"b.txt": 3}}])"), "b.txt"},
      {R"({"task": "masked-lm", "data": [{"path": "a", "weight": 2}], "training": {"max_steps": 1}})",
       "weight"},
      {R"({"task": "masked-lm", "data": [{"path": "a"}], "training": {"max_steps": 1}, "extra": 1})",
       "extra"},
      {R"({"task": "masked-lm", "data": [{"path": "a"}], "training": {"max_steps": 1}, "clean": {"case": 1}})",
       "case"},
  };
  for (const auto& [text, key] : cases) {
    const auto recipe = Parse(text);
    ASSERT_FALSE(recipe.ok()) << text;
    EXPECT_NE(recipe.status().message().find("'" + key + "'"), std::string::npos)
        << recipe.status().message();
  }
}

TEST(ParseRecipe, RefusesValuesThatMakeNoSense) {
  for (const char* members :
       {R"(, "batch_size": 0)", R"(, "dropout": 1.5)", R"(, "optimizer": {"type": "adam"})",
        R"(, "optimizer": {"betas": [0.9]})", R"(, "optimizer": {"betas": [0.9, 1]})",
        R"(, "epochs": 2)", R"(, "phases": [{"share": 0.5}])", R"(, "schedule": {"type": "step"})",
        R"(, "max_tokens": "many")", R"(, "keep_best": 1)", R"(, "optimizer": 3)"}) {
    EXPECT_FALSE(Parse(With(members)).ok()) << members;
  }
  EXPECT_FALSE(Parse(R"({"task": "masked-lm", "data": [], "training": {"max_steps": 1}})").ok());
  EXPECT_FALSE(
      Parse(
          R"({"task": "text-classification", "data": [{"path": "a"}], "training": {"max_steps": 1}})")
          .ok());
  EXPECT_FALSE(Parse("[]").ok());
}

TEST(ParseRecipe, SequenceToSequenceNeedsRecordsWithATarget) {
  const auto with = [](const std::string& source) {
    return Parse(StrCat(R"({"task": "seq2seq-lm", "data": [{"path": "a", )", source,
                        R"(}], "training": {"max_steps": 1, "max_tokens": 40}})"));
  };
  const auto recipe = with(R"("format": "jsonl", "field": "en", "target": "de")");
  ASSERT_TRUE(recipe.ok()) << recipe.status().message();
  EXPECT_EQ(recipe->data[0].target, "de");
  EXPECT_EQ(recipe->max_target_tokens, 40);
  EXPECT_NE(with(R"("format": "jsonl")").status().message().find("'target'"), std::string::npos);
  EXPECT_FALSE(with(R"("format": "lines", "target": "de")").ok());
  const auto other = Parse(
      R"({"task": "causal-lm", "data": [{"path": "a", "format": "tsv", "target": "b"}], "training": {"max_steps": 1}})");
  EXPECT_NE(other.status().message().find("seq2seq-lm"), std::string::npos);
}

TEST(ParseRecipe, ReadsTheRecipesThatShip) {
  for (const char* path :
       {"/models/sotto-write/recipe.json", "/models/sotto-sentiment/recipe-pretrain.json",
        "/models/sotto-sentiment/recipe.json"}) {
    const auto text = ReadFile(std::string(SOTTO_SOURCE_DIR) + path);
    ASSERT_TRUE(text.ok()) << path;
    const auto recipe = Parse(*text);
    EXPECT_TRUE(recipe.ok()) << path << ": " << recipe.status().message();
  }
}

TEST(Overlay, ReplacesAddsAndRemoves) {
  const Json base = *Json::Parse(R"({"a": 1, "b": 2, "c": 3})"),
             changes = *Json::Parse(R"({"b": 5, "c": null, "d": 6})");
  EXPECT_EQ(Overlay(base, changes).Dump(), R"({"a":1,"b":5,"d":6})");
}

}  // namespace
}  // namespace sotto
