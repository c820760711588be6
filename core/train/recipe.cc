#include "core/train/recipe.h"

#include <algorithm>
#include <cmath>

namespace sotto {
namespace {

// Reads the members of one object, each once, and refuses those that nobody asked for. The first
// thing that is wrong is kept, so that readers need no check at every line.
class Members {
 public:
  Members(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object() && !object.is_null()) Fail(InvalidArgument("this must be an object"));
  }

  const Json& Get(std::string_view key) {
    asked_.emplace_back(key);
    return object_[key];
  }
  void Int(std::string_view key, int64_t& value, int64_t min, int64_t max) {
    Get(key);
    Take(object_.IntOr(key, value, min, max), value);
  }
  void Number(std::string_view key, double& value, double min, double max) {
    Get(key);
    Take(object_.NumberOr(key, value), value);
    if (!(value >= min && value <= max)) {
      Fail(InvalidArgument(StrCat("'", key, "' must be between ", Json::Number(min).Dump(), " and ",
                                  Json::Number(max).Dump())));
    }
  }
  void Float(std::string_view key, float& value, double min, double max) {
    double wide = value;
    Number(key, wide, min, max);
    value = static_cast<float>(wide);
  }
  void Bool(std::string_view key, bool& value) {
    Get(key);
    Take(object_.BoolOr(key, value), value);
  }
  void String(std::string_view key, std::string& value) {
    Get(key);
    Take(object_.StringOr(key, value), value);
  }
  void Strings(std::string_view key, std::vector<std::string>& values) {
    const Json& list = Get(key);
    if (list.is_null()) return;
    if (!list.is_array())
      return Fail(InvalidArgument(StrCat("'", key, "' must be a list of strings")));
    for (const Json& item : list.items()) {
      if (!item.is_string())
        return Fail(InvalidArgument(StrCat("'", key, "' must be a list of strings")));
      values.push_back(item.as_string());
    }
  }
  // One of the names; absent: the first.
  size_t Choice(std::string_view key, std::initializer_list<std::string_view> names) {
    std::string name(*names.begin());
    String(key, name);
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
    std::string known;
    for (const std::string_view n : names) known += StrCat(known.empty() ? "" : ", ", n);
    Fail(InvalidArgument(StrCat("'", key, "' is '", name, "'; known are ", known)));
    return 0;
  }
  void Fail(Status status) {
    if (status_.ok()) status_ = where_.empty() ? std::move(status) : status.In(where_);
  }

  Status Finish() {
    for (const auto& [key, value] : object_.members()) {
      if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
        Fail(InvalidArgument(StrCat("a recipe has no key '", key, "' here")));
      }
    }
    return status_;
  }

 private:
  template <class T>
  void Take(Result<T> result, T& value) {
    if (result.ok()) {
      value = *std::move(result);
    } else {
      Fail(result.status());
    }
  }

  const Json& object_;
  std::string where_;
  std::vector<std::string> asked_;
  Status status_;
};

constexpr int64_t kMany = int64_t{1} << 40;

Result<RecordFilter> ReadFilter(const std::string& field, const Json& json) {
  RecordFilter filter;
  filter.field = field;
  Members m(json, StrCat("filter '", field, "'"));
  if (const Json& min = m.Get("min"); min.is_number()) filter.min = min.as_number();
  if (const Json& max = m.Get("max"); max.is_number()) filter.max = max.as_number();
  if (const Json& equals = m.Get("equals"); equals.is_string()) filter.equals = equals.as_string();
  SOTTO_RETURN_IF_ERROR(m.Finish());
  if (!filter.min && !filter.max && !filter.equals) {
    return InvalidArgument(StrCat("the filter '", field, "' needs 'min', 'max' or 'equals'"));
  }
  return filter;
}

Result<SourceSpec> ReadSource(const Json& json, size_t index) {
  SourceSpec source;
  Members m(json, StrCat("data[", index, "]"));
  m.String("path", source.path);
  source.name = source.path;
  m.String("name", source.name);
  m.String("url", source.url);
  m.String("licence", source.licence);
  source.format =
      static_cast<DataFormat>(m.Choice("format", {"text", "lines", "jsonl", "csv", "tsv"}));
  m.String("separator", source.separator);
  m.Strings("columns", source.columns);
  m.String("field", source.field);
  m.String("template", source.text_template);
  m.Strings("speakers", source.speakers);
  m.String("label", source.label);
  m.String("target", source.target);
  m.Number("upsample", source.upsample, 0, 1000);
  m.Int("max_documents", source.max_documents, 0, kMany);
  const size_t split = m.Choice("split", {"auto", "train", "validation", "test"});
  if (split > 0) source.split = static_cast<DataSplit>(split - 1);
  const Json& filters = m.Get("filter");
  if (!filters.is_null() && !filters.is_object())
    m.Fail(InvalidArgument("'filter' must be an object"));
  for (const auto& [field, rule] : filters.members()) {
    Result<RecordFilter> filter = ReadFilter(field, rule);
    if (filter.ok()) {
      source.filters.push_back(*std::move(filter));
    } else {
      m.Fail(filter.status());
    }
  }
  if (source.path.empty()) m.Fail(InvalidArgument("'path' is missing"));
  SOTTO_RETURN_IF_ERROR(m.Finish());
  return source;
}

Status ReadClean(const Json& json, CleanSpec& clean) {
  Members m(json, "clean");
  m.Bool("trim", clean.trim);
  m.Bool("collapse", clean.collapse);
  m.Bool("straight_quotes", clean.straight_quotes);
  m.Bool("deduplicate", clean.deduplicate);
  m.Int("min_chars", clean.min_chars, 0, kMany);
  m.Int("max_chars", clean.max_chars, 0, kMany);
  m.Strings("drop_containing", clean.drop_containing);
  return m.Finish();
}

Status ReadTokenizer(const Json& json, TokenizerSpec& tokenizer) {
  Members m(json, "tokenizer");
  tokenizer.type = static_cast<TokenizerSpec::Type>(
      m.Choice("type", {"folder", "bpe", "wordpiece", "wordlevel"}));
  m.String("path", tokenizer.path);
  m.Int("vocab_size", tokenizer.vocab_size, 1, 1 << 22);
  m.Int("min_frequency", tokenizer.min_frequency, 1, kMany);
  m.Bool("lowercase", tokenizer.lowercase);
  m.String("pattern", tokenizer.pattern);
  return m.Finish();
}

Status ReadOptimizer(const Json& json, OptimizerOptions& optimizer, double& rate) {
  Members m(json, "training.optimizer");
  optimizer.kind = static_cast<OptimizerOptions::Kind>(m.Choice("type", {"adamw", "sgd"}));
  m.Number("lr", rate, 0, 1000);
  m.Number("epsilon", optimizer.epsilon, 0, 1);
  m.Number("weight_decay", optimizer.weight_decay, 0, 1000);
  m.Number("momentum", optimizer.momentum, 0, 1);
  if (const Json& betas = m.Get("betas"); betas.is_array() && betas.items().size() == 2) {
    optimizer.beta1 = betas.items()[0].as_number();
    optimizer.beta2 = betas.items()[1].as_number();
  } else if (!betas.is_null()) {
    m.Fail(InvalidArgument("'betas' must be a list of two numbers"));
  }
  if (!(optimizer.beta1 >= 0 && optimizer.beta1 < 1 && optimizer.beta2 >= 0 &&
        optimizer.beta2 < 1)) {
    m.Fail(InvalidArgument("'betas' must lie in [0, 1)"));
  }
  return m.Finish();
}

Status ReadSchedule(const Json& json, Recipe& recipe) {
  Members m(json, "training.schedule");
  Schedule& schedule = recipe.training.schedule;
  schedule.kind = static_cast<ScheduleKind>(m.Choice("type", {"constant", "linear", "cosine"}));
  m.Number("floor", schedule.floor, 0, 1);
  m.Number("warmup", recipe.warmup, 0, 1e12);
  return m.Finish();
}

Status ReadEarlyStopping(const Json& json, EarlyStopping& rule) {
  Members m(json, "training.early_stopping");
  m.Int("patience", rule.patience, 0, kMany);
  const std::vector<std::string> metrics = {"loss", "perplexity", "accuracy", "f1", "exact_match"};
  rule.metric =
      metrics[m.Choice("metric", {"loss", "perplexity", "accuracy", "f1", "exact_match"})];
  m.Number("min_delta", rule.min_delta, 0, 1e12);
  return m.Finish();
}

Status ReadMasking(const Json& json, MaskOptions& mask) {
  Members m(json, "training.masking");
  mask.is_static = m.Choice("type", {"dynamic", "static"}) == 1;
  m.Number("share", mask.share, 0, 1);
  m.Number("replaced_by_mask", mask.replaced_by_mask, 0, 1);
  m.Number("replaced_by_random", mask.replaced_by_random, 0, 1);
  return m.Finish();
}

Result<PhaseSpec> ReadPhase(const Json& json, const std::vector<SourceSpec>& data, size_t index) {
  PhaseSpec phase;
  Members m(json, StrCat("training.phases[", index, "]"));
  m.Number("share", phase.share, 0, 1);
  const Json& upsample = m.Get("upsample");
  for (const auto& [name, factor] : upsample.members()) {
    const bool known =
        std::any_of(data.begin(), data.end(), [&](const SourceSpec& s) { return s.name == name; });
    if (!known) m.Fail(InvalidArgument(StrCat("there is no data named '", name, "'")));
    if (!factor.is_number() || factor.as_number() < 0 || factor.as_number() > 1000) {
      m.Fail(InvalidArgument(StrCat("'", name, "' must be a number between 0 and 1000")));
    }
    phase.upsample.emplace_back(name, factor.as_number());
  }
  SOTTO_RETURN_IF_ERROR(m.Finish());
  return phase;
}

Status ReadPhases(const Json& json, Recipe& recipe) {
  double sum = 0;
  for (size_t i = 0; i < json.items().size(); ++i) {
    SOTTO_ASSIGN_OR_RETURN(PhaseSpec phase, ReadPhase(json.items()[i], recipe.data, i));
    sum += phase.share;
    recipe.phases.push_back(std::move(phase));
  }
  if (!recipe.phases.empty() && std::abs(sum - 1) > 1e-6) {
    return InvalidArgument("the shares of the phases do not add up to 1");
  }
  if (recipe.phases.empty()) recipe.phases.emplace_back();
  return OkStatus();
}

Status ReadTraining(const Json& json, Recipe& recipe) {
  TrainOptions& training = recipe.training;
  Members m(json, "training");
  m.Int("max_tokens", recipe.max_tokens, 4, 1 << 20);
  m.Int("max_target_tokens", recipe.max_target_tokens, 0, 1 << 20);
  m.Int("batch_size", recipe.batch_size, 1, 1 << 20);
  m.Int("accumulation", training.accumulation, 1, 1 << 20);
  m.Number("epochs", recipe.epochs, 0, 1e6);
  m.Int("max_steps", recipe.max_steps, 0, kMany);
  m.Number("clip", training.clip, 0, 1e9);
  m.Float("dropout", training.dropout, 0, 0.99);
  m.Float("label_smoothing", training.label_smoothing, 0, 0.99);
  m.Float("coverage", training.coverage, 0, 1000);
  m.Bool("keep_best", training.keep_best);
  int64_t seed = 0;
  m.Int("seed", seed, 0, int64_t{1} << 53);
  training.seed = static_cast<uint64_t>(seed);
  m.Int("eval_every", recipe.eval_every, 0, kMany);
  m.Int("validation_batches", recipe.validation_batches, 0, kMany);
  m.Int("checkpoint_every", recipe.checkpoint_every, 0, kMany);
  m.Int("log_every", recipe.log_every, 1, kMany);
  m.Bool("masked_tokens", recipe.masked_tokens);
  SOTTO_RETURN_IF_ERROR(
      ReadOptimizer(m.Get("optimizer"), training.optimizer, training.schedule.peak));
  SOTTO_RETURN_IF_ERROR(ReadSchedule(m.Get("schedule"), recipe));
  SOTTO_RETURN_IF_ERROR(ReadEarlyStopping(m.Get("early_stopping"), training.early_stopping));
  SOTTO_RETURN_IF_ERROR(ReadMasking(m.Get("masking"), recipe.mask));
  SOTTO_RETURN_IF_ERROR(ReadPhases(m.Get("phases"), recipe));
  if ((recipe.epochs > 0) == (recipe.max_steps > 0)) {
    m.Fail(InvalidArgument("give either 'epochs' or 'max_steps'"));
  }
  return m.Finish();
}

}  // namespace

Result<Recipe> ParseRecipe(const Json& json) {
  Recipe recipe;
  if (!json.is_object()) return InvalidArgument("a recipe is a JSON object");
  Members m(json, "");
  m.Get("name"), m.Get("description");  // for people
  recipe.task = static_cast<TrainTask>(m.Choice(
      "task", {"causal-lm", "masked-lm", "next-sentence", "text-classification", "seq2seq-lm"}));
  recipe.training.task = recipe.task;
  const Json& data = m.Get("data");
  for (size_t i = 0; i < data.items().size(); ++i) {
    SOTTO_ASSIGN_OR_RETURN(SourceSpec source, ReadSource(data.items()[i], i));
    recipe.data.push_back(std::move(source));
  }
  if (recipe.data.empty()) m.Fail(InvalidArgument("'data' must list at least one source"));
  SOTTO_RETURN_IF_ERROR(ReadClean(m.Get("clean"), recipe.clean));
  const Json& split_json = m.Get("split");
  Members split(split_json, "split");
  split.Number("validation", recipe.validation_share, 0, 0.9);
  split.Number("test", recipe.test_share, 0, 0.9);
  SOTTO_RETURN_IF_ERROR(split.Finish());
  m.Strings("labels", recipe.labels);
  SOTTO_RETURN_IF_ERROR(ReadTokenizer(m.Get("tokenizer"), recipe.tokenizer));
  recipe.model = m.Get("model");
  m.String("init_from", recipe.init_from);
  SOTTO_RETURN_IF_ERROR(ReadTraining(m.Get("training"), recipe));
  const Json& export_json = m.Get("export");
  Members exported(export_json, "export");
  const std::vector<std::string> dtypes = {"f32", "f16", "q8", "q4"};
  recipe.export_dtype = dtypes[exported.Choice("dtype", {"f32", "f16", "q8", "q4"})];
  SOTTO_RETURN_IF_ERROR(exported.Finish());
  if (recipe.task == TrainTask::kClassification && recipe.labels.size() < 2) {
    m.Fail(InvalidArgument("classification needs 'labels' with at least two names"));
  }
  if (recipe.max_target_tokens == 0) recipe.max_target_tokens = recipe.max_tokens;
  if (recipe.max_target_tokens < 4)
    m.Fail(InvalidArgument("'max_target_tokens' must be at least 4"));
  for (const SourceSpec& source : recipe.data) {
    const bool records = source.format != DataFormat::kText && source.format != DataFormat::kLines;
    if (recipe.task != TrainTask::kSeq2SeqLM && !source.target.empty()) {
      m.Fail(InvalidArgument(StrCat("'target' of '", source.name, "' is for the task seq2seq-lm")));
    } else if (recipe.task == TrainTask::kSeq2SeqLM && (source.target.empty() || !records)) {
      m.Fail(InvalidArgument(StrCat("'", source.name, "' must be jsonl, csv or tsv and name in ",
                                    "'target' the field with what a text is to become")));
    }
  }
  SOTTO_RETURN_IF_ERROR(m.Finish());
  return recipe;
}

Json Overlay(const Json& base, const Json& changes) {
  std::vector<Json::Member> members;
  for (const Json::Member& member : base.members()) {
    if (!changes.has(member.first)) members.push_back(member);
  }
  for (const Json::Member& member : changes.members()) {
    if (!member.second.is_null()) members.push_back(member);
  }
  return Json::Object(std::move(members));
}

}  // namespace sotto
