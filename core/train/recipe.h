// A recipe: the one JSON file that says how a model is made, from data to export. Here it is only
// read and checked: every key is known or refused by name. Nothing is opened or trained here.
#ifndef SOTTO_CORE_TRAIN_RECIPE_H_
#define SOTTO_CORE_TRAIN_RECIPE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/train/data.h"
#include "core/train/trainer.h"

namespace sotto {

// How a vocabulary is learned, or where a finished tokenizer lies.
struct TokenizerSpec {
  enum class Type : uint8_t { kFolder, kBpe, kWordPiece, kWordLevel };
  Type type = Type::kFolder;
  std::string path;  // of a folder with tokenizer.json; empty: that of init_from
  int64_t vocab_size = 8192;
  int64_t min_frequency = 2;
  bool lowercase = true;         // WordPiece and whole words
  std::string pattern = "gpt2";  // BPE: "gpt2", "llama3", "qwen2"
};

// A part of the run with a mix of its own.
struct PhaseSpec {
  double share = 1;                                      // of the steps
  std::vector<std::pair<std::string, double>> upsample;  // by name of a source; others keep theirs
};

struct Recipe {
  TrainTask task = TrainTask::kCausalLM;
  std::vector<SourceSpec> data;
  CleanSpec clean;
  double validation_share = 0.01, test_share = 0;
  std::vector<std::string> labels;  // of classification, in the order of their ids
  TokenizerSpec tokenizer;
  Json model;             // keys of config.json; with init_from they replace that folder's
  std::string init_from;  // a model folder to start from; empty: fresh weights

  int64_t max_tokens = 128;       // of a block, or a text's longest length
  int64_t max_target_tokens = 0;  // of sequence to sequence; 0: as of its source
  int64_t batch_size = 16;
  double epochs = 0;
  int64_t max_steps = 0;  // one of the two is given
  double warmup = 0;      // steps, or below 1 a share of them
  TrainOptions training;
  MaskOptions mask;
  bool masked_tokens = true;       // next-sentence: also predict masked tokens (ForPreTraining)
  int64_t validation_batches = 0;  // at most; 0: all
  int64_t eval_every = 0, checkpoint_every = 0, log_every = 20;
  std::vector<PhaseSpec> phases;
  std::string export_dtype = "f32";  // "f32", "f16", "q8", "q4"
};

Result<Recipe> ParseRecipe(const Json& json);

// `base` with the members of `changes` put over it; a null removes.
Json Overlay(const Json& base, const Json& changes);

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_RECIPE_H_
