#include "core/train/run_recipe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/io/checkpoint.h"
#include "core/io/model_folder.h"
#include "core/text/tokenizer.h"
#include "core/text/tokenizer_files.h"
#include "core/text/train_vocab.h"
#include "core/train/recipe.h"

namespace sotto {
namespace {

constexpr std::string_view kSplitNames[kSplits] = {"train", "validation", "test"};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string Format(const char* format, double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, value);
  return buffer;
}

std::string Duration(double seconds) {
  const int64_t s = static_cast<int64_t>(seconds);
  if (s >= 3600) return StrCat(s / 3600, "h", s % 3600 / 60, "m");
  return s >= 60 ? StrCat(s / 60, "m", s % 60, "s") : StrCat(s, "s");
}

Result<Recipe> ReadRecipe(const std::string& path) {
  SOTTO_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, uint64_t{16} << 20));
  Result<Json> json = Json::Parse(text);
  if (!json.ok()) return json.status().In(path);
  Result<Recipe> recipe = ParseRecipe(*json);
  return recipe.ok() ? std::move(recipe) : recipe.status().In(path);
}

// Held-out sources come first, so that no training text repeats one of theirs.
Result<Corpus> LoadCorpus(const Recipe& recipe, const ProgressCallback& progress) {
  Corpus corpus(recipe.clean, recipe.validation_share, recipe.test_share);
  for (const bool held_out : {true, false}) {
    for (size_t i = 0; i < recipe.data.size(); ++i) {
      const SourceSpec& spec = recipe.data[i];
      if (held_out != (spec.split && *spec.split != DataSplit::kTrain)) continue;
      Result<FileView> file = FileView::Open(spec.path);
      if (!file.ok()) {
        return file.status().In(spec.url.empty() ? "data"
                                                 : StrCat("data (it comes from ", spec.url, ")"));
      }
      Result<std::vector<Document>> documents = ReadDocuments(file->bytes(), spec, recipe.labels);
      if (!documents.ok()) return documents.status().In(spec.path);
      const Corpus::Counts counts =
          corpus.Add(*std::move(documents), static_cast<int32_t>(i), spec.split);
      progress(StrCat("data ", spec.name, ": ", counts.read, " read, ", counts.unclean, " unfit, ",
                      counts.duplicate, " repeated; ", counts.kept[0], " to train, ",
                      counts.kept[1], " to validate, ", counts.kept[2], " to test"));
    }
  }
  return corpus;
}

struct TokenizerTexts {
  std::string tokenizer, config;
};

Result<TokenizerTexts> TrainTokenizer(const Recipe& recipe, const Corpus& corpus) {
  const TokenizerSpec& spec = recipe.tokenizer;
  const auto count = [&](WordCounts words) {
    for (const Document& document : corpus.part(DataSplit::kTrain).documents) {
      words.Add(document.text);
      if (document.target) words.Add(*document.target);
    }
    return words;
  };
  TokenizerTexts files;
  if (spec.type == TokenizerSpec::Type::kBpe) {
    TrainBpeOptions options;
    options.vocab_size = static_cast<int32_t>(spec.vocab_size);
    options.min_frequency = spec.min_frequency;
    const bool continues = recipe.task == TrainTask::kCausalLM;
    if (!continues) {  // as RoBERTa and BART have them
      options.special_tokens = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};
      options.bos_token = "<s>";
      options.eos_token = "</s>";
    }
    if (spec.pattern == "gpt2") {
      options.pattern = PreTokenizerPattern::kGpt2;
    } else if (spec.pattern == "llama3") {
      options.pattern = PreTokenizerPattern::kLlama3;
    } else if (spec.pattern == "qwen2") {
      options.pattern = PreTokenizerPattern::kQwen2;
    } else {
      return InvalidArgument(
          StrCat("tokenizer: 'pattern' is '", spec.pattern, "'; known are gpt2, llama3, qwen2"));
    }
    SOTTO_ASSIGN_OR_RETURN(files.tokenizer, TrainBpe(count(WordCounts::ForBpe(options)), options));
    std::vector<Json::Member> config = {
        {"tokenizer_class", Json::String("PreTrainedTokenizerFast")},
        {"bos_token", Json::String(continues ? "<|endoftext|>" : "<s>")},
        {"eos_token", Json::String(continues ? "<|endoftext|>" : "</s>")},
        {"unk_token", Json::String(continues ? "<|endoftext|>" : "<unk>")}};
    if (!continues) {
      config.emplace_back("cls_token", Json::String("<s>"));
      config.emplace_back("sep_token", Json::String("</s>"));
      config.emplace_back("pad_token", Json::String("<pad>"));
      config.emplace_back("mask_token", Json::String("<mask>"));
    }
    config.emplace_back("clean_up_tokenization_spaces", Json::Bool(false));
    config.emplace_back("model_max_length", Json::Int(recipe.max_tokens));
    files.config = Json::Object(std::move(config)).Dump(2);
    return files;
  }
  TrainWordPieceOptions options;
  options.vocab_size = static_cast<int32_t>(spec.vocab_size);
  options.min_frequency = spec.min_frequency;
  options.lowercase = spec.lowercase;
  const WordCounts words = count(WordCounts::ForWordPiece(options));
  const bool whole = spec.type == TokenizerSpec::Type::kWordLevel;
  SOTTO_ASSIGN_OR_RETURN(files.tokenizer,
                         whole ? TrainWordLevel(words, options) : TrainWordPiece(words, options));
  files.config = Json::Object({{"tokenizer_class",
                                Json::String(whole ? "PreTrainedTokenizerFast" : "BertTokenizer")},
                               {"do_lower_case", Json::Bool(spec.lowercase)},
                               {"pad_token", Json::String("[PAD]")},
                               {"unk_token", Json::String("[UNK]")},
                               {"cls_token", Json::String("[CLS]")},
                               {"sep_token", Json::String("[SEP]")},
                               {"mask_token", Json::String("[MASK]")},
                               {"model_max_length", Json::Int(recipe.max_tokens)}})
                     .Dump(2);
  return files;
}

// tokenizer.json as it is, or what a folder's older files amount to.
Result<TokenizerTexts> TokenizerTextsOf(const ModelFiles& files) {
  TokenizerTexts texts{.config = files.tokenizer_config};
  const Result<Json> config = Json::Parse(files.config);
  const std::string model_type = config.ok() ? (*config)["model_type"].as_string() : "";
  SOTTO_ASSIGN_OR_RETURN(texts.tokenizer,
                         TokenizerJsonOf({.tokenizer = files.tokenizer,
                                          .config = files.tokenizer_config,
                                          .special_tokens_map = files.special_tokens_map,
                                          .added_tokens = files.added_tokens,
                                          .sentencepiece = files.sentencepiece,
                                          .vocab = files.vocab,
                                          .merges = files.merges,
                                          .model_type = model_type}));
  return texts;
}

Result<TokenizerTexts> ReadTokenizerTexts(const std::string& folder) {
  ModelFiles files;
  SOTTO_RETURN_IF_ERROR(ReadModelTexts(folder, files));
  Result<TokenizerTexts> texts = TokenizerTextsOf(files);
  return texts.ok() ? std::move(texts) : texts.status().In(folder);
}

// The tokenizer of the run: the one that an earlier call left in out_dir, or read, or learned.
Result<TokenizerTexts> PrepareTokenizer(const Recipe& recipe, const Corpus& corpus,
                                        const std::string& out_dir,
                                        const ProgressCallback& progress) {
  if (FileExists(out_dir + "/tokenizer.json")) return ReadTokenizerTexts(out_dir);
  TokenizerTexts files;
  if (recipe.tokenizer.type == TokenizerSpec::Type::kFolder) {
    const std::string folder =
        recipe.tokenizer.path.empty() ? recipe.init_from : recipe.tokenizer.path;
    if (folder.empty())
      return InvalidArgument(
          "the recipe names no tokenizer: give its 'path', or a 'type' to learn");
    SOTTO_ASSIGN_OR_RETURN(files, ReadTokenizerTexts(folder));
  } else {
    progress(StrCat("learning a vocabulary of ", recipe.tokenizer.vocab_size, " tokens"));
    SOTTO_ASSIGN_OR_RETURN(files, TrainTokenizer(recipe, corpus));
  }
  SOTTO_RETURN_IF_ERROR(WriteFile(out_dir + "/tokenizer.json", files.tokenizer));
  if (!files.config.empty()) {
    SOTTO_RETURN_IF_ERROR(WriteFile(out_dir + "/tokenizer_config.json", files.config));
  }
  return files;
}

// Turns a split's texts into batches, with a mix by source.
class BatchMaker {
 public:
  // `config` is the model's.
  static Result<BatchMaker> Create(const Recipe& recipe, const Tokenizer& tokenizer,
                                   const Json& config) {
    BatchMaker maker(recipe, tokenizer);
    if (recipe.task == TrainTask::kSeq2SeqLM) {
      SOTTO_ASSIGN_OR_RETURN(maker.special_, SpecialIdsOf(config));
      SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, CreateModel(config));
      maker.copied_unknown_ = model->copied_unknown();
      maker.first_copied_ = static_cast<int32_t>(model->vocab_size());
    } else {
      SOTTO_ASSIGN_OR_RETURN(maker.special_,
                             SpecialIdsOf(tokenizer, recipe.task != TrainTask::kCausalLM));
    }
    return maker;
  }

  Status Tokenize(const Corpus::Part& part) {
    documents_ = {};
    document_begins_ = {0};
    if (recipe_->task == TrainTask::kSeq2SeqLM) {
      SOTTO_ASSIGN_OR_RETURN(
          documents_, TokenizePairs(part, *tokenizer_,
                                    {recipe_->max_tokens, recipe_->max_target_tokens, special_.end,
                                     copied_unknown_, first_copied_}));
      return OkStatus();
    }
    if (recipe_->task != TrainTask::kNextSentence) {
      SOTTO_ASSIGN_OR_RETURN(documents_, TokenizeDocuments(part, *tokenizer_));
      return OkStatus();
    }
    Corpus::Part sentences;
    for (size_t i = 0; i < part.documents.size(); ++i) {
      for (std::string& sentence : SplitSentences(part.documents[i].text)) {
        sentences.documents.push_back({std::move(sentence), -1});
        sentences.sources.push_back(part.sources[i]);
      }
      document_begins_.push_back(static_cast<int64_t>(sentences.documents.size()));
    }
    SOTTO_ASSIGN_OR_RETURN(documents_, TokenizeDocuments(sentences, *tokenizer_));
    return OkStatus();
  }

  Result<std::unique_ptr<BatchSource>> Make(const std::vector<double>& upsample) const {
    const BatchOptions options{recipe_->batch_size, recipe_->max_tokens, recipe_->training.seed,
                               upsample, recipe_->max_target_tokens};
    switch (recipe_->task) {
      case TrainTask::kCausalLM:
        return PackCausal(documents_, special_, options);
      case TrainTask::kMaskedLM:
        return PackMasked(documents_, special_, options, recipe_->mask);
      case TrainTask::kClassification:
        return BucketClasses(documents_, special_, options);
      case TrainTask::kNextSentence:
        return PairSentences(documents_, document_begins_, special_, options,
                             recipe_->masked_tokens ? &recipe_->mask : nullptr);
      case TrainTask::kSeq2SeqLM:
        return BucketPairs(documents_, special_, options);
    }
    return Internal("an unknown task");
  }

  int64_t tokens() const {
    return static_cast<int64_t>(documents_.ids.size() + documents_.target_ids.size());
  }

 private:
  BatchMaker(const Recipe& recipe, const Tokenizer& tokenizer)
      : recipe_(&recipe), tokenizer_(&tokenizer) {}
  const Recipe* recipe_;
  const Tokenizer* tokenizer_;
  SpecialIds special_;
  int32_t copied_unknown_ = -1, first_copied_ = 0;  // of a pointer-generator
  TokenizedDocuments documents_;
  std::vector<int64_t> document_begins_;
};

std::vector<double> MixOf(const Recipe& recipe, const PhaseSpec& phase) {
  std::vector<double> mix;
  for (const SourceSpec& source : recipe.data) {
    double factor = source.upsample;
    for (const auto& [name, value] : phase.upsample) factor = name == source.name ? value : factor;
    mix.push_back(factor);
  }
  return mix;
}

// The phases with their steps; sets the schedule's length and warm-up.
Result<std::vector<TrainPhase>> MakePhases(const Recipe& recipe, const BatchMaker& maker,
                                           TrainOptions& options) {
  std::vector<TrainPhase> phases;
  for (const PhaseSpec& spec : recipe.phases) {
    TrainPhase phase;
    SOTTO_ASSIGN_OR_RETURN(phase.source, maker.Make(MixOf(recipe, spec)));
    const double per_epoch =
        static_cast<double>(phase.source->batches()) / static_cast<double>(options.accumulation);
    const double steps =
        recipe.max_steps > 0 ? static_cast<double>(recipe.max_steps) : recipe.epochs * per_epoch;
    phase.steps = std::llround(spec.share * steps);
    options.schedule.steps = phases.empty() ? phase.steps : options.schedule.steps + phase.steps;
    phases.push_back(std::move(phase));
  }
  if (options.schedule.steps < 1) return InvalidArgument("the recipe asks for less than one step");
  const double warmup = recipe.warmup < 1
                            ? recipe.warmup * static_cast<double>(options.schedule.steps)
                            : recipe.warmup;
  options.schedule.warmup = std::llround(warmup);
  return phases;
}

Head HeadOf(const Recipe& recipe) {
  switch (recipe.task) {
    case TrainTask::kCausalLM:
      return Head::kCausalLM;
    case TrainTask::kMaskedLM:
      return Head::kMaskedLM;
    case TrainTask::kClassification:
      return Head::kSequenceClassification;
    case TrainTask::kNextSentence:
      return recipe.masked_tokens ? Head::kPreTraining : Head::kNextSentence;
    case TrainTask::kSeq2SeqLM:
      return Head::kSeq2SeqLM;
  }
  return Head::kNone;
}

// The special tokens that a config names, where it does not yet.
void AddSpecialIds(const Recipe& recipe, const Tokenizer& tokenizer, const Json& config,
                   std::vector<Json::Member>& decided) {
  const auto add = [&](std::string_view key, std::optional<int32_t> id) {
    if (id && !config.has(key)) decided.emplace_back(key, Json::Int(*id));
  };
  const auto first = [](std::optional<int32_t> a, std::optional<int32_t> b) { return a ? a : b; };
  if (recipe.task == TrainTask::kCausalLM) return;
  add("pad_token_id", tokenizer.pad_id());
  if (recipe.task != TrainTask::kSeq2SeqLM) return;
  const auto end = first(tokenizer.eos_id(), tokenizer.sep_id());
  add("bos_token_id", first(tokenizer.bos_id(), tokenizer.cls_id()));
  add("eos_token_id", end);
  add("unk_token_id", tokenizer.unk_id());
  add("pad_token_id", tokenizer.pad_id() ? std::nullopt : end);
  add("decoder_start_token_id", end);  // as BART
}

// The model's config.json: the start's, the recipe's keys over it, and what task and data decide.
Result<Json> MakeConfig(const Recipe& recipe, const Tokenizer& tokenizer) {
  Json start;
  if (!recipe.init_from.empty()) {
    SOTTO_ASSIGN_OR_RETURN(const ModelFiles files, OpenModelFiles(recipe.init_from));
    SOTTO_ASSIGN_OR_RETURN(start, Json::Parse(files.config));
  }
  const Json config = Overlay(start, recipe.model);
  std::vector<Json::Member> decided;
  if (!recipe.model.has("architectures")) {
    SOTTO_ASSIGN_OR_RETURN(const std::string type, config.StringAt("model_type"));
    SOTTO_ASSIGN_OR_RETURN(std::string name, ClassName(type, HeadOf(recipe)));
    decided.emplace_back("architectures", Json::Array({Json::String(std::move(name))}));
  }
  if (!config.has("vocab_size"))
    decided.emplace_back("vocab_size", Json::Int(tokenizer.vocab_size()));
  AddSpecialIds(recipe, tokenizer, config, decided);
  if (!recipe.labels.empty()) {
    std::vector<Json::Member> id2label, label2id;
    for (size_t i = 0; i < recipe.labels.size(); ++i) {
      id2label.emplace_back(std::to_string(i), Json::String(recipe.labels[i]));
      label2id.emplace_back(recipe.labels[i], Json::Int(static_cast<int64_t>(i)));
    }
    decided.emplace_back("id2label", Json::Object(std::move(id2label)));
    decided.emplace_back("label2id", Json::Object(std::move(label2id)));
    decided.emplace_back("problem_type", Json::String("single_label_classification"));
  }
  return Overlay(config, Json::Object(std::move(decided)));
}

// A model with its first weights: fresh, or those of init_from.
Result<std::unique_ptr<Model>> MakeModel(const Recipe& recipe, const Json& config,
                                         int32_t vocab_size) {
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(config));
  if (model->head() != HeadOf(recipe)) {
    return InvalidArgument(
        StrCat("the class ", config["architectures"].Dump(), " has no head for the recipe's task"));
  }
  if (recipe.init_from.empty()) {
    SOTTO_ASSIGN_OR_RETURN(
        const double deviation,
        config.NumberOr(config.has("init_std") ? "init_std" : "initializer_range", 0.02));
    SOTTO_RETURN_IF_ERROR(
        model->parameters().Initialize(recipe.training.seed, static_cast<float>(deviation)));
  } else {
    SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(recipe.init_from));
    LoadOptions options;
    options.format = WeightFormat::kF32;
    options.fresh_head = true;
    options.writable = true;
    options.seed = recipe.training.seed;
    SOTTO_RETURN_IF_ERROR(LoadWeights(*model, files.tensors, options).In(recipe.init_from));
  }
  if (model->vocab_size() < vocab_size) {
    return InvalidArgument(
        StrCat("the model has ", model->vocab_size(), " tokens and the tokenizer ", vocab_size));
  }
  const int64_t longest = model->is_encoder_decoder()
                              ? std::max(recipe.max_tokens, recipe.max_target_tokens)
                              : recipe.max_tokens;
  if (model->max_positions() > 0 && model->max_positions() < longest) {
    return InvalidArgument(StrCat("'max_tokens' is ", longest, " and the model has only ",
                                  model->max_positions(), " positions"));
  }
  return model;
}

// What must be the same for a checkpoint to be continued: the recipe but for how long and how
// often.
std::string RunIdentity(const Json& recipe) {
  const Json free = Json::Object({{"max_steps", Json()},
                                  {"epochs", Json()},
                                  {"eval_every", Json()},
                                  {"validation_batches", Json()},
                                  {"checkpoint_every", Json()},
                                  {"log_every", Json()}});
  const Json training = Overlay(recipe["training"], free);
  return Overlay(recipe, Json::Object({{"training", training},
                                       {"export", Json()},
                                       {"name", Json()},
                                       {"description", Json()}}))
      .Dump();
}

Status SaveCheckpoint(const std::string& path, const Trainer& trainer, const std::string& identity,
                      uint64_t seed) {
  const TrainState state = trainer.State();
  Checkpoint checkpoint;
  checkpoint.step = state.step;
  checkpoint.seed = seed;
  checkpoint.data_cursor = static_cast<uint64_t>(state.step);
  checkpoint.extra = Json::Object({{"best_step", Json::Int(state.best_step)},
                                   {"best_metric", Json::Number(state.best_metric)},
                                   {"bad_evaluations", Json::Int(state.bad_evaluations)},
                                   {"stopped", Json::Bool(state.stopped)},
                                   {"recipe", Json::String(identity)}});
  for (const auto& [name, tensor] : state.tensors) {
    (name.starts_with("w.") ? checkpoint.parameters : checkpoint.optimizer)
        .emplace_back(name.starts_with("w.") ? name.substr(2) : name, tensor);
  }
  return WriteCheckpoint(path, checkpoint);
}

Status LoadCheckpoint(const std::string& path, Trainer& trainer, const std::string& identity) {
  SOTTO_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadCheckpoint(path));
  if (checkpoint.extra["recipe"].as_string() != identity) {
    return InvalidArgument(
        "the checkpoint was made by another recipe; remove it or choose another folder");
  }
  TrainState state;
  state.step = checkpoint.step;
  state.best_step = checkpoint.extra["best_step"].as_int();
  state.best_metric = checkpoint.extra["best_metric"].as_number();
  state.bad_evaluations = checkpoint.extra["bad_evaluations"].as_int();
  state.stopped = checkpoint.extra["stopped"].as_bool();
  for (auto& [name, tensor] : checkpoint.parameters)
    state.tensors.emplace_back("w." + name, std::move(tensor));
  for (auto& entry : checkpoint.optimizer) state.tensors.push_back(std::move(entry));
  return trainer.Restore(state);
}

// Drops lines of the curve past the step that a run continues from.
Status TrimCurve(const std::string& path, int64_t step) {
  if (!FileExists(path)) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::string kept;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find('\n', pos), text.size());
    const std::string line = text.substr(pos, end - pos);
    const Result<Json> json = Json::Parse(line);
    if (json.ok() && (*json)["step"].as_int() <= step) kept += line + "\n";
    pos = end + 1;
  }
  return WriteFile(path, kept);
}

Status Export(const Model& model, const Recipe& recipe, const std::string& out_dir,
              const Tokenizer& tokenizer) {
  const SaveFormat format = SaveFormatByName(recipe.export_dtype).value_or(SaveFormat::kF32);
  SOTTO_ASSIGN_OR_RETURN(const auto tensors, ExportWeights(model, format));
  SOTTO_RETURN_IF_ERROR(
      WriteSafetensorsFile(out_dir + "/model.safetensors", tensors, {{"format", "pt"}}));
  const std::string stored = format == SaveFormat::kF16 ? "float16" : "float32";
  const Json config =
      Overlay(model.config(), Json::Object({{"torch_dtype", Json::String(stored)}}));
  SOTTO_RETURN_IF_ERROR(WriteFile(out_dir + "/config.json", config.Dump(2) + "\n"));
  std::vector<Json::Member> generation;
  if (recipe.task == TrainTask::kSeq2SeqLM) {
    const std::string started = recipe.init_from + "/generation_config.json";
    if (!recipe.init_from.empty() && FileExists(started)) {
      SOTTO_ASSIGN_OR_RETURN(const std::string text, ReadFile(started));
      return WriteFile(out_dir + "/generation_config.json", text);
    }
    for (const char* key :
         {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"}) {
      if (config.has(key)) generation.emplace_back(key, config[key]);
    }
  } else if (recipe.task != TrainTask::kCausalLM) {
    return OkStatus();
  } else if (const auto eos = tokenizer.eos_id()) {
    generation = {{"bos_token_id", Json::Int(*eos)}, {"eos_token_id", Json::Int(*eos)}};
  }
  return WriteFile(out_dir + "/generation_config.json",
                   Json::Object(std::move(generation)).Dump(2) + "\n");
}

// Averages between two lines of progress.
struct Meter {
  double begin = Now();
  double loss = 0, norm = 0;
  int64_t steps = 0, tokens = 0;

  void Add(const StepReport& report) {
    loss += report.loss, norm += report.grad_norm;
    ++steps, tokens += report.tokens;
  }
  double rate() const { return static_cast<double>(tokens) / std::max(Now() - begin, 1e-9); }
};

class Run {
 public:
  Run(const Recipe& recipe, const std::string& out_dir, std::string identity,
      const Tokenizer& tokenizer, std::unique_ptr<Trainer> trainer,
      std::unique_ptr<BatchSource> validation, const ProgressCallback& progress)
      : recipe_(recipe),
        out_dir_(out_dir),
        checkpoint_(out_dir + "/checkpoint.safetensors"),
        curve_(out_dir + "/curve.jsonl"),
        identity_(std::move(identity)),
        tokenizer_(tokenizer),
        trainer_(std::move(trainer)),
        validation_(std::move(validation)),
        progress_(progress) {}

  Status Go() {
    if (FileExists(checkpoint_)) {
      SOTTO_RETURN_IF_ERROR(LoadCheckpoint(checkpoint_, *trainer_, identity_).In(checkpoint_));
      progress_(StrCat("continuing after step ", trainer_->step()));
    }
    SOTTO_RETURN_IF_ERROR(TrimCurve(curve_, trainer_->step()));
    const int64_t begin = trainer_->step();
    while (!trainer_->finished()) SOTTO_RETURN_IF_ERROR(Step());
    if (trainer_->step() > begin) SOTTO_RETURN_IF_ERROR(Save());
    if (recipe_.training.keep_best) trainer_->RestoreBest();
    SOTTO_RETURN_IF_ERROR(Export(trainer_->model(), recipe_, out_dir_, tokenizer_));
    progress_(StrCat("done after ", trainer_->step(), " steps: ", out_dir_));
    return OkStatus();
  }

 private:
  bool Due(int64_t every) const { return every > 0 && trainer_->step() % every == 0; }
  Status Save() { return SaveCheckpoint(checkpoint_, *trainer_, identity_, recipe_.training.seed); }

  Status Step() {
    SOTTO_ASSIGN_OR_RETURN(const StepReport report, trainer_->Step());
    meter_.Add(report);
    bool go_on = true;
    if (Due(recipe_.log_every) || trainer_->finished()) {
      SOTTO_ASSIGN_OR_RETURN(go_on, Log(report));
    }
    if (validation_ && (Due(recipe_.eval_every) || trainer_->finished()))
      SOTTO_RETURN_IF_ERROR(Validate());
    if (!go_on || Due(recipe_.checkpoint_every)) SOTTO_RETURN_IF_ERROR(Save());
    return go_on ? OkStatus()
                 : Cancelled(StrCat("stopped after step ", trainer_->step(),
                                    "; a second call continues"));
  }

  Result<bool> Log(const StepReport& report) {
    const double steps = static_cast<double>(meter_.steps), loss = meter_.loss / steps;
    const double eta =
        (Now() - meter_.begin) / steps * static_cast<double>(trainer_->steps() - report.step);
    const bool go_on = progress_(StrCat("step ", report.step, "/", trainer_->steps(), "  loss ",
                                        Format("%.4f", loss), "  lr ", Format("%.3g", report.rate),
                                        "  tok/s ", Format("%.0f", meter_.rate()), "  norm ",
                                        Format("%.3f", meter_.norm / steps), "  epoch ",
                                        Format("%.2f", report.epoch), "  eta ", Duration(eta)));
    const Json line =
        Json::Object({{"step", Json::Int(report.step)},
                      {"loss", Json::Number(loss)},
                      {"lr", Json::Number(report.rate)},
                      {"grad_norm", Json::Number(meter_.norm / steps)},
                      {"tokens_per_second", Json::Number(std::round(meter_.rate()))}});
    meter_ = {};
    SOTTO_RETURN_IF_ERROR(AppendFile(curve_, line.Dump() + "\n"));
    return go_on;
  }

  Status Validate() {
    const double begin = Now();
    SOTTO_ASSIGN_OR_RETURN(const EvalReport report,
                           trainer_->Evaluate(*validation_, recipe_.validation_batches));
    SOTTO_RETURN_IF_ERROR(trainer_->Note(report));
    std::string line = StrCat("  validation  loss ", Format("%.4f", report.loss));
    std::vector<Json::Member> members = {{"step", Json::Int(trainer_->step())},
                                         {"validation_loss", Json::Number(report.loss)}};
    for (const char* metric : {"perplexity", "accuracy", "f1", "exact_match"}) {
      const Result<double> value = report.Metric(metric);
      if (!value.ok() || (metric[0] == 'p' && report.token_accuracy < 0)) continue;
      line += StrCat("  ", metric, " ", Format("%.4f", *value));
      members.emplace_back(StrCat("validation_", metric), Json::Number(*value));
    }
    progress_(line);
    meter_.begin += Now() - begin;
    return AppendFile(curve_, Json::Object(std::move(members)).Dump() + "\n");
  }

  const Recipe& recipe_;
  const std::string& out_dir_;
  const std::string checkpoint_, curve_, identity_;
  const Tokenizer& tokenizer_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<BatchSource> validation_;
  const ProgressCallback& progress_;
  Meter meter_;
};

Result<Rouge> MeanRouge(const Corpus::Part& part, int64_t max_new_tokens,
                        const EvalOptions& options) {
  Rouge mean;
  for (const Document& document : part.documents) {
    SOTTO_ASSIGN_OR_RETURN(const std::string text, options.write(document.text, max_new_tokens));
    const Rouge one = RougeOf(text, *document.target);
    mean.rouge1 += one.rouge1, mean.rouge2 += one.rouge2, mean.rouge_l += one.rouge_l;
  }
  const auto count = static_cast<double>(part.documents.size());
  mean.rouge1 /= count, mean.rouge2 /= count, mean.rouge_l /= count;
  return mean;
}

}  // namespace

Status TrainCommand(const std::string& recipe_path, const std::string& out_dir, ThreadPool* pool,
                    const ProgressCallback& progress) {
  SOTTO_ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(recipe_path));
  SOTTO_ASSIGN_OR_RETURN(const std::string recipe_text, ReadFile(recipe_path));
  SOTTO_ASSIGN_OR_RETURN(const Json recipe_json, Json::Parse(recipe_text));
  SOTTO_RETURN_IF_ERROR(MakeFolder(out_dir));
  SOTTO_ASSIGN_OR_RETURN(Corpus corpus, LoadCorpus(recipe, progress));
  SOTTO_ASSIGN_OR_RETURN(const TokenizerTexts files,
                         PrepareTokenizer(recipe, corpus, out_dir, progress));
  SOTTO_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                         Tokenizer::FromJson(files.tokenizer, files.config));
  SOTTO_ASSIGN_OR_RETURN(const Json config, MakeConfig(recipe, tokenizer));
  SOTTO_ASSIGN_OR_RETURN(BatchMaker maker, BatchMaker::Create(recipe, tokenizer, config));

  std::unique_ptr<BatchSource> validation;
  if (!corpus.part(DataSplit::kValidation).documents.empty()) {
    SOTTO_RETURN_IF_ERROR(maker.Tokenize(corpus.part(DataSplit::kValidation)));
    SOTTO_ASSIGN_OR_RETURN(validation, maker.Make({}));
  }
  SOTTO_RETURN_IF_ERROR(maker.Tokenize(corpus.part(DataSplit::kTrain)));
  for (const DataSplit split : {DataSplit::kTrain, DataSplit::kValidation, DataSplit::kTest})
    corpus.part(split) = {};

  TrainOptions options = recipe.training;
  SOTTO_ASSIGN_OR_RETURN(std::vector<TrainPhase> phases, MakePhases(recipe, maker, options));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                         MakeModel(recipe, config, tokenizer.vocab_size()));
  progress(StrCat(model->parameters().elements(), " parameters, ", maker.tokens(),
                  " tokens of text, ", options.schedule.steps, " steps of ",
                  recipe.batch_size * options.accumulation, " x ", recipe.max_tokens, " tokens"));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Trainer> trainer,
                         Trainer::Create(std::move(model), std::move(phases), options, pool));
  maker.Tokenize({}).ok();  // the phases hold copies
  return Run(recipe, out_dir, RunIdentity(recipe_json), tokenizer, std::move(trainer),
             std::move(validation), progress)
      .Go();
}

Result<EvalResult> EvalCommand(const std::string& recipe_path, const std::string& model_dir,
                               const EvalOptions& options, ThreadPool* pool) {
  SOTTO_ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(recipe_path));
  SOTTO_ASSIGN_OR_RETURN(const Corpus corpus,
                         LoadCorpus(recipe, [](const std::string&) { return true; }));
  DataSplit split =
      corpus.part(DataSplit::kTest).documents.empty() ? DataSplit::kValidation : DataSplit::kTest;
  if (!options.split.empty()) {
    const auto named = std::find(std::begin(kSplitNames), std::end(kSplitNames), options.split);
    if (named == std::end(kSplitNames)) {
      return InvalidArgument(
          StrCat("'", options.split, "' is no split; there are train, validation and test"));
    }
    split = static_cast<DataSplit>(named - kSplitNames);
  }
  const std::string split_name(kSplitNames[static_cast<size_t>(split)]);
  const Corpus::Part& part = corpus.part(split);
  if (part.documents.empty())
    return InvalidArgument(StrCat("the recipe's split '", split_name, "' is empty"));
  SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(model_dir));
  SOTTO_ASSIGN_OR_RETURN(const TokenizerTexts texts, TokenizerTextsOf(files));
  SOTTO_ASSIGN_OR_RETURN(const Tokenizer tokenizer,
                         Tokenizer::FromJson(texts.tokenizer, texts.config));
  SOTTO_ASSIGN_OR_RETURN(const Json config, Json::Parse(files.config));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(config));
  LoadOptions load;
  load.format = options.format;
  SOTTO_RETURN_IF_ERROR(LoadWeights(*model, files.tensors, load));
  SOTTO_ASSIGN_OR_RETURN(BatchMaker maker, BatchMaker::Create(recipe, tokenizer, config));
  SOTTO_RETURN_IF_ERROR(maker.Tokenize(part));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<BatchSource> source, maker.Make({}));
  SOTTO_ASSIGN_OR_RETURN(const EvalReport report,
                         EvaluateModel(*model, recipe.task, *source, 0, pool, options.cache_dtype));

  EvalResult result;
  std::vector<Json::Member> members = {
      {"split", Json::String(split_name)},
      {"documents", Json::Int(static_cast<int64_t>(part.documents.size()))}};
  const Json numbers = report.ToJson(recipe.labels);
  members.insert(members.end(), numbers.members().begin(), numbers.members().end());
  std::optional<Rouge> rouge;
  if (recipe.task == TrainTask::kSeq2SeqLM && options.write) {
    SOTTO_ASSIGN_OR_RETURN(rouge, MeanRouge(part, recipe.max_target_tokens, options));
    members.emplace_back("rouge1", Json::Number(rouge->rouge1));
    members.emplace_back("rouge2", Json::Number(rouge->rouge2));
    members.emplace_back("rougeL", Json::Number(rouge->rouge_l));
  }
  result.metrics = Json::Object(std::move(members));
  result.table = StrCat(split_name, ": ", part.documents.size(), " documents, ", report.count,
                        " predictions, loss ", Format("%.4f", report.loss));
  if (report.token_accuracy >= 0) {
    result.table += StrCat(", perplexity ", Format("%.3f", report.perplexity()),
                           ", token accuracy ", Format("%.4f", report.token_accuracy));
  }
  if (report.exact_match >= 0)
    result.table += StrCat(", exact match ", Format("%.4f", report.exact_match));
  if (rouge) {
    result.table +=
        StrCat(", ROUGE-1 ", Format("%.4f", rouge->rouge1), ", ROUGE-2 ",
               Format("%.4f", rouge->rouge2), ", ROUGE-L ", Format("%.4f", rouge->rouge_l));
  }
  result.table += "\n";
  if (report.confusion.classes() > 0)
    result.table += "\n" + report.confusion.ToTable(recipe.labels);
  return result;
}

}  // namespace sotto
