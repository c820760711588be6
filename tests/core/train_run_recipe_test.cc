#include "core/train/run_recipe.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "core/base/file.h"

namespace sotto {
namespace {

// A fresh folder with data for tiny runs.
class RunRecipe : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = StrCat(testing::TempDir(), "sotto-run-",
                     testing::UnitTest::GetInstance()->current_test_info()->name());
    std::error_code none;  // of an earlier run, perhaps with other recipes
    std::filesystem::remove_all(folder_, none);
    ASSERT_TRUE(MakeFolder(folder_).ok());
    std::string texts, classes = "text\tlabel\n";
    for (int i = 0; i < 150; ++i) {
      const bool good = i % 2 == 0;
      const std::string text =
          StrCat("the ", i % 7 < 3 ? "old" : "new", " film number ", i, " is ",
                 good ? "good and happy" : "bad and sad", " for the ", i % 5, " people");
      texts += text + "\n";
      classes += StrCat(text, "\t", good ? "good" : "bad", "\n");
    }
    ASSERT_TRUE(WriteFile(folder_ + "/texts.txt", texts).ok());
    ASSERT_TRUE(WriteFile(folder_ + "/classes.tsv", classes).ok());
  }

  std::string Recipe(const std::string& name, const std::string& text) {
    std::string filled = text;
    for (size_t at = filled.find('@'); at != std::string::npos; at = filled.find('@'))
      filled.replace(at, 1, folder_);
    const std::string path = StrCat(folder_, "/", name, ".json");
    EXPECT_TRUE(WriteFile(path, filled).ok());
    return path;
  }

  std::string GptRecipe() {
    return Recipe("gpt", R"({"task": "causal-lm",
      "data": [{"path": "@/texts.txt", "format": "lines"}], "split": {"validation": 0.1, "test": 0.1},
      "tokenizer": {"type": "bpe", "vocab_size": 300},
      "model": {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 16},
      "training": {"max_tokens": 16, "batch_size": 4, "max_steps": 24, "dropout": 0.1, "log_every": 4, "eval_every": 8,
                   "checkpoint_every": 8, "optimizer": {"lr": 0.01}}})");
  }

  std::string BertRecipe(const std::string& task, const std::string& more) {
    return Recipe("bert-" + task, StrCat(R"({"task": ")", task, R"(",
      "data": [{"path": "@/classes.tsv", "format": "tsv", "label": "label"}], "split": {"validation": 0.1, "test": 0.3},
      "training": {"max_tokens": 32, "batch_size": 8, "epochs": 15, "clip": 1,
                   "optimizer": {"lr": 0.003}, "schedule": {"type": "linear", "warmup": 0.1}}, )",
                                         more, "}"));
  }

  std::string folder_;
  std::vector<std::string> lines_;
  ProgressCallback progress_ = [this](const std::string& line) {
    lines_.push_back(line);
    return true;
  };
};

constexpr const char* kBertParts =
    R"("labels": ["bad", "good"], "tokenizer": {"type": "wordpiece", "vocab_size": 200},
  "model": {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 64, "max_position_embeddings": 32})";

TEST_F(RunRecipe, WritesAModelFolderAndACurve) {
  const std::string out = folder_ + "/a";
  const Status status = TrainCommand(GptRecipe(), out, nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "generation_config.json", "curve.jsonl", "checkpoint.safetensors"}) {
    EXPECT_TRUE(FileExists(StrCat(out, "/", file))) << file;
  }
  const std::string curve = *ReadFile(out + "/curve.jsonl");
  EXPECT_NE(curve.find("validation_perplexity"), std::string::npos);
  EXPECT_NE(curve.find("\"step\":24"), std::string::npos);
  const auto result = EvalCommand(GptRecipe(), out, {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->metrics["split"].as_string(), "test");
  EXPECT_GT(result->metrics["perplexity"].as_number(), 1);
  EXPECT_LT(result->metrics["perplexity"].as_number(), 200);
}

TEST_F(RunRecipe, ARunThatWasInterruptedEndsAsOneThatWasNot) {
  const std::string recipe = GptRecipe();
  ASSERT_TRUE(TrainCommand(recipe, folder_ + "/a", nullptr, progress_).ok());
  int steps = 0;
  const Status stopped =
      TrainCommand(recipe, folder_ + "/b", nullptr, [&](const std::string& line) {
        return !line.starts_with("step ") || ++steps < 3;  // at step 12, between two checkpoints
      });
  EXPECT_EQ(stopped.code(), StatusCode::kCancelled);
  ASSERT_TRUE(TrainCommand(recipe, folder_ + "/b", nullptr, progress_).ok());
  EXPECT_EQ(*ReadFile(folder_ + "/a/model.safetensors"),
            *ReadFile(folder_ + "/b/model.safetensors"));
  EXPECT_EQ(*ReadFile(folder_ + "/a/checkpoint.safetensors"),
            *ReadFile(folder_ + "/b/checkpoint.safetensors"));
}

TEST_F(RunRecipe, ACheckpointOfAnotherRecipeIsRefused) {
  ASSERT_TRUE(TrainCommand(GptRecipe(), folder_ + "/a", nullptr, progress_).ok());
  const std::string changed = *ReadFile(GptRecipe());
  const std::string path = folder_ + "/changed.json";
  const size_t at = changed.find("0.01");
  ASSERT_TRUE(WriteFile(path, changed.substr(0, at) + "0.02" + changed.substr(at + 4)).ok());
  const Status status = TrainCommand(path, folder_ + "/a", nullptr, progress_);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("another recipe"), std::string::npos);
}

TEST_F(RunRecipe, PreTrainingThenFineTuningLearnsToClassify) {
  Status status =
      TrainCommand(BertRecipe("masked-lm", kBertParts), folder_ + "/a", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  const std::string tune =
      BertRecipe("text-classification",
                 R"("labels": ["bad", "good"], "init_from": "@/a", "export": {"dtype": "q8"})");
  status = TrainCommand(tune, folder_ + "/tuned", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  const Json config = *Json::Parse(*ReadFile(folder_ + "/tuned/config.json"));
  EXPECT_EQ(config["architectures"].items()[0].as_string(), "BertForSequenceClassification");
  EXPECT_EQ(config["id2label"]["1"].as_string(), "good");
  const auto result = EvalCommand(tune, folder_ + "/tuned", {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_GT(result->metrics["accuracy"].as_number(), 0.9);
  EXPECT_NE(result->table.find("confusion matrix"), std::string::npos);
}

TEST_F(RunRecipe, TrainsSentencePairs) {
  std::string texts;
  for (int d = 0; d < 30; ++d)
    texts += StrCat("Cat ", d, " ran. Cat ", d, " sat. Cat ", d, " slept. The end of ", d, ".\n");
  ASSERT_TRUE(WriteFile(folder_ + "/texts.txt", texts).ok());
  const std::string recipe = Recipe("pairs", StrCat(R"({"task": "next-sentence",
    "data": [{"path": "@/texts.txt", "format": "lines"}], "split": {"validation": 0.2},
    "training": {"max_tokens": 32, "batch_size": 8, "max_steps": 6, "optimizer": {"lr": 0.001}}, )",
                                                    kBertParts, "}"));
  const Status status = TrainCommand(recipe, folder_ + "/a", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(
      (*Json::Parse(*ReadFile(folder_ + "/a/config.json")))["architectures"].items()[0].as_string(),
      "BertForPreTraining");
}

TEST_F(RunRecipe, RobertaIsPreTrainedWithMasksThatChange) {
  const std::string recipe = Recipe("roberta", R"({"task": "masked-lm",
      "data": [{"path": "@/texts.txt", "format": "lines"}], "split": {"validation": 0.1, "test": 0.1},
      "tokenizer": {"type": "bpe", "vocab_size": 300},
      "model": {"model_type": "roberta", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 64, "max_position_embeddings": 34, "type_vocab_size": 1},
      "training": {"max_tokens": 32, "batch_size": 8, "max_steps": 80, "optimizer": {"lr": 0.005},
                   "masking": {"type": "dynamic"}}})");
  const Status status = TrainCommand(recipe, folder_ + "/a", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  const Json config = *Json::Parse(*ReadFile(folder_ + "/a/config.json"));
  EXPECT_EQ(config["architectures"].items()[0].as_string(), "RobertaForMaskedLM");
  EXPECT_EQ(config["pad_token_id"].as_int(), 1);
  const auto result = EvalCommand(recipe, folder_ + "/a", {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_LT(result->metrics["perplexity"].as_number(), 50);  // of 300 at the beginning
}

// Pairs whose colour and numbers change places and languages, as JSON lines.
std::string ColoursAndNumbers() {
  const char* colours[][2] = {{"red", "rot"}, {"green", "gr\u00fcn"}, {"blue", "blau"}};
  const char* numbers[][2] = {{"one", "eins"}, {"two", "zwei"}, {"four", "vier"}, {"nine", "neun"}};
  std::string pairs;
  for (int i = 0; i < 144; ++i) {
    const auto& [a, b] = colours[i % 3];
    const auto& [c, d] = numbers[i / 3 % 4];
    const auto& [e, f] = numbers[i / 12 % 4];
    pairs += StrCat(R"({"en": ")", a, " ", c, " ", e, R"(", "de": ")", f, " ", d, " ", b, "\"}\n");
  }
  return pairs;
}

TEST_F(RunRecipe, AT5LearnsToTurnTextsIntoTextsWithAnyTokenizersFiles) {
  ASSERT_TRUE(WriteFile(folder_ + "/pairs.jsonl", ColoursAndNumbers()).ok());
  const auto recipe = [&](const std::string& name, const std::string& tokenizer,
                          const std::string& length) {
    return Recipe(name, StrCat(R"({"task": "seq2seq-lm",
      "data": [{"path": "@/pairs.jsonl", "format": "jsonl", "field": "en", "target": "de"}],
      "clean": {"deduplicate": false}, "split": {"validation": 0, "test": 0.25}, "tokenizer": )",
                               tokenizer, R"(,
      "model": {"model_type": "t5", "d_model": 32, "d_kv": 12, "d_ff": 64, "num_layers": 1, "num_heads": 3},
      "training": {"max_tokens": 32, "max_target_tokens": 24, "batch_size": 12, "optimizer": {"lr": 0.003},
                   "schedule": {"type": "linear", "warmup": 0.1}, )",
                               length, "}}"));
  };
  const std::string whole =
      recipe("t5", R"({"type": "bpe", "vocab_size": 300})", R"("epochs": 40)");
  Status status = TrainCommand(whole, folder_ + "/t5", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  const Json config = *Json::Parse(*ReadFile(folder_ + "/t5/config.json"));
  EXPECT_EQ(config["architectures"].items()[0].as_string(), "T5ForConditionalGeneration");
  const auto result = EvalCommand(whole, folder_ + "/t5", {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_GT(result->metrics["exact_match"].as_number(), 0.9) << result->table;

  const std::string folder = SOTTO_SOURCE_DIR "/tests/golden/pipelines/translation-marian";
  const std::string short_one =
      recipe("t5-spm", StrCat(R"({"path": ")", folder, "\"}"), R"("max_steps": 1)");
  status = TrainCommand(short_one, folder_ + "/spm", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_NE(ReadFile(folder_ + "/spm/tokenizer.json")->find("\"Unigram\""), std::string::npos);
  EXPECT_TRUE(EvalCommand(short_one, folder_ + "/spm", {}, nullptr).ok());
}

TEST_F(RunRecipe, AnEncoderDecoderLearnsToTurnTextsIntoTexts) {
  ASSERT_TRUE(WriteFile(folder_ + "/pairs.jsonl", ColoursAndNumbers()).ok());
  const std::string recipe = Recipe("bart", R"({"task": "seq2seq-lm",
      "data": [{"path": "@/pairs.jsonl", "format": "jsonl", "field": "en", "target": "de"}],
      "clean": {"deduplicate": false}, "split": {"validation": 0.1, "test": 0.25},
      "tokenizer": {"type": "bpe", "vocab_size": 300},
      "model": {"model_type": "bart", "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
                "decoder_ffn_dim": 64, "max_position_embeddings": 32, "init_std": 0.1},
      "training": {"max_tokens": 32, "max_target_tokens": 24, "batch_size": 12, "epochs": 25, "label_smoothing": 0.05,
                   "keep_best": true, "early_stopping": {"metric": "exact_match"}, "eval_every": 20,
                   "optimizer": {"lr": 0.01}, "schedule": {"type": "linear", "warmup": 0.1}}})");
  const std::string out = folder_ + "/a";
  Status status = TrainCommand(recipe, out, nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_NE(ReadFile(out + "/curve.jsonl")->find("validation_exact_match"), std::string::npos);
  const Json config = *Json::Parse(*ReadFile(out + "/config.json")),
             generation = *Json::Parse(*ReadFile(out + "/generation_config.json"));
  EXPECT_EQ(config["architectures"].items()[0].as_string(), "BartForConditionalGeneration");
  EXPECT_EQ(generation["decoder_start_token_id"].as_int(), 2);
  EXPECT_EQ(generation["eos_token_id"].as_int(), 2);
  const auto result = EvalCommand(recipe, out, {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_GT(result->metrics["exact_match"].as_number(), 0.9) << result->table;
  EXPECT_GT(result->metrics["token_accuracy"].as_number(), 0.95);

  // Fine-tuning begins where that ended.
  const std::string tune = Recipe("bart-tuned", R"({"task": "seq2seq-lm",
      "data": [{"path": "@/pairs.jsonl", "format": "jsonl", "field": "en", "target": "de"}],
      "clean": {"deduplicate": false}, "split": {"validation": 0.1, "test": 0.25}, "init_from": "@/a",
      "training": {"max_tokens": 32, "max_target_tokens": 24, "max_steps": 1, "optimizer": {"lr": 1e-6}}})");
  status = TrainCommand(tune, folder_ + "/tuned", nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_GT(EvalCommand(tune, folder_ + "/tuned", {}, nullptr)->metrics["exact_match"].as_number(),
            0.9);
}

TEST_F(RunRecipe, APointerGeneratorLearnsToCopyWordsThatItHasNeverSeen) {
  // Every name comes once in all the data, so that none is in the vocabulary.
  const auto name = [](int number) {
    std::string word;
    for (; number > 0; number /= 20) word += "bcdfghjklmnpqrstvwxz"[number % 20];
    return word;
  };
  std::string pairs;
  for (int i = 0; i < 400; ++i) {
    const std::string a = name(1000 + 3 * i), b = name(5000 + 7 * i);
    const char* verb = i % 2 == 0 ? "calls" : "meets";
    pairs += StrCat(i % 3 == 0 ? "today " : "", a, " ", verb, " ", b, "\t", b, " ",
                    i % 2 == 0 ? "called" : "met", " by ", a, "\n");
  }
  ASSERT_TRUE(WriteFile(folder_ + "/pairs.tsv", pairs).ok());
  const std::string recipe = Recipe("pointer", R"({"task": "seq2seq-lm",
      "data": [{"path": "@/pairs.tsv", "format": "tsv", "columns": ["active", "passive"], "field": "active",
                "target": "passive"}],
      "split": {"validation": 0.1, "test": 0.25},
      "tokenizer": {"type": "wordlevel", "vocab_size": 100, "min_frequency": 3},
      "model": {"model_type": "bart", "architectures": ["BartForPointerGeneration"], "d_model": 32,
                "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 16, "init_std": 0.1},
      "training": {"max_tokens": 16, "batch_size": 16, "epochs": 12,
                   "optimizer": {"lr": 0.01}, "schedule": {"type": "linear", "warmup": 0.1}}})");
  const std::string out = folder_ + "/a";
  const Status status = TrainCommand(recipe, out, nullptr, progress_);
  ASSERT_TRUE(status.ok()) << status.message();
  const Json config = *Json::Parse(*ReadFile(out + "/config.json"));
  EXPECT_EQ(config["unk_token_id"].as_int(), 1);
  EXPECT_LT(config["vocab_size"].as_int(), 20);
  const auto result = EvalCommand(recipe, out, {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_GT(result->metrics["exact_match"].as_number(), 0.95) << result->table;
}

TEST_F(RunRecipe, AClassThatDoesNotFitTheTaskIsRefused) {
  const std::string recipe = Recipe("misfit", R"({"task": "seq2seq-lm",
      "data": [{"path": "@/classes.tsv", "format": "tsv", "target": "label"}],
      "tokenizer": {"type": "bpe", "vocab_size": 300},
      "model": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "training": {"max_steps": 1}})");
  const Status status = TrainCommand(recipe, folder_ + "/a", nullptr, progress_);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("GPT2LMHeadModel"), std::string::npos) << status.message();
}

TEST_F(RunRecipe, RecurrentLanguageModelsLearn) {
  for (
      const std::string model :
      {R"("model_type": "mamba", "architectures": ["MambaForCausalLM"], "hidden_size": 24, "num_hidden_layers": 2, "state_size": 4)",
       R"("model_type": "rwkv", "architectures": ["RwkvForCausalLM"], "hidden_size": 24, "num_hidden_layers": 2)"}) {
    SCOPED_TRACE(model);
    const std::string recipe = Recipe("recurrent", StrCat(R"({"task": "causal-lm",
      "data": [{"path": "@/texts.txt", "format": "lines"}], "split": {"validation": 0.1, "test": 0.1},
      "tokenizer": {"type": "bpe", "vocab_size": 300}, "model": {)",
                                                          model, R"(},
      "training": {"max_tokens": 16, "batch_size": 4, "max_steps": 60, "log_every": 10,
                   "optimizer": {"lr": 0.01}}})"));
    for (const char* file : {"checkpoint.safetensors", "curve.jsonl"})
      std::remove(StrCat(folder_, "/a/", file).c_str());
    const Status status = TrainCommand(recipe, folder_ + "/a", nullptr, progress_);
    ASSERT_TRUE(status.ok()) << status.message();
    const auto result = EvalCommand(recipe, folder_ + "/a", {}, nullptr);
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_LT(result->metrics["perplexity"].as_number(), 15);  // of 300 at the beginning
  }
}

TEST_F(RunRecipe, SaysWhichFileIsMissingAndWhereItComesFrom) {
  const std::string recipe = Recipe("gone", R"({"task": "causal-lm",
    "data": [{"path": "@/gone.txt", "url": "https://example.org/gone"}], "training": {"max_steps": 1}})");
  const Status status = TrainCommand(recipe, folder_ + "/a", nullptr, progress_);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("gone.txt"), std::string::npos);
  EXPECT_NE(status.message().find("https://example.org/gone"), std::string::npos);
}

}  // namespace
}  // namespace sotto
