#include "core/run/inspect.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "core/models/model.h"
#include "core/run/generation_options.h"
#include "core/run/pipeline.h"

namespace sotto {
namespace {

constexpr size_t kMostTensorsNamed = 20;

std::string_view HeadName(Head head) {
  switch (head) {
    case Head::kNone:
      return "none";
    case Head::kEncoder:
      return "none, the encoder alone";
    case Head::kCausalLM:
      return "causal language model";
    case Head::kMaskedLM:
      return "masked language model";
    case Head::kPreTraining:
      return "masked language model and next sentence";
    case Head::kNextSentence:
      return "next sentence";
    case Head::kSequenceClassification:
      return "sequence classification";
    case Head::kTokenClassification:
      return "token classification";
    case Head::kQuestionAnswering:
      return "question answering";
    case Head::kMultipleChoice:
      return "multiple choice";
    case Head::kSeq2SeqLM:
      return "sequence-to-sequence language model";
  }
  return "unknown";
}

bool HasLabels(Head head) {
  return head == Head::kSequenceClassification || head == Head::kTokenClassification;
}

Json OrNull(const std::string& text) { return text.empty() ? Json() : Json::String(text); }

// What only the file's header tells.
struct Weights {
  std::vector<Json> tensors;
  std::map<std::string, int64_t> by_dtype;
  int64_t bytes = 0, elements = 0;

  explicit Weights(const TensorSource& source) {
    for (const std::string& name : source.Names()) {
      const TensorInfo& info = *source.Find(name);
      const auto size = static_cast<int64_t>(info.end - info.begin);
      const std::string dtype(DTypeName(info.dtype));
      std::vector<Json> shape;
      for (int axis = 0; axis < info.shape.rank(); ++axis)
        shape.push_back(Json::Int(info.shape.dim(axis)));
      tensors.push_back(Json::Object({{"name", Json::String(name)},
                                      {"dtype", Json::String(dtype)},
                                      {"shape", Json::Array(std::move(shape))},
                                      {"bytes", Json::Int(size)}}));
      by_dtype[dtype] += size;
      bytes += size;
      elements += info.shape.elements();
    }
  }
};

class Inspection {
 public:
  explicit Inspection(const ModelFiles& files) : files_(files) {}

  Json Run() {
    const Json config = Parse(files_.config, "config.json");
    const Json generation = Parse(files_.generation_config, "generation_config.json");
    const std::vector<Json>& classes = config["architectures"].items();
    Weights weights(files_.tensors);
    Add("architecture", OrNull(config["model_type"].as_string()));
    Add("class", classes.empty() ? Json() : classes.front());
    AddModel(config, weights);
    if (config.is_object()) Note(GenerationOptions::Read({}, generation, config, 1).status());
    AddTokenizer();
    AddSentenceModules();
    Add("bytes", Json::Int(weights.bytes));
    std::vector<Json::Member> by_dtype;
    for (const auto& [dtype, bytes] : weights.by_dtype)
      by_dtype.emplace_back(dtype, Json::Int(bytes));
    Add("bytes_by_dtype", Json::Object(std::move(by_dtype)));
    Add("tensors", Json::Array(std::move(weights.tensors)));
    Add("unsupported", Json::Array(std::move(unsupported_)));
    return Json::Object(std::move(members_));
  }

 private:
  void Add(std::string name, Json value) {
    members_.emplace_back(std::move(name), std::move(value));
  }
  void Note(const Status& status) {
    if (!status.ok()) unsupported_.push_back(Json::String(status.message()));
  }
  Json Parse(const std::string& text, std::string_view name) {
    if (text.empty()) return {};
    Result<Json> json = Json::Parse(text);
    if (json.ok()) return *std::move(json);
    Note(json.status().In(name));
    return {};
  }

  void AddModel(const Json& config, const Weights& weights) {
    Result<std::unique_ptr<Model>> created = CreateModel(config);
    if (!created.ok()) {
      Note(created.status());
      for (const char* name : {"head", "vocabulary", "hidden_size", "context_length", "labels"})
        Add(name, {});
      Add("parameters", Json::Int(weights.elements));
      return;
    }
    const Model& model = **created;
    const std::vector<Status> wrong = CheckWeights(model, files_.tensors);
    for (size_t i = 0; i < std::min(wrong.size(), kMostTensorsNamed); ++i) Note(wrong[i]);
    if (wrong.size() > kMostTensorsNamed)
      unsupported_.push_back(Json::String(
          StrCat("and ", wrong.size() - kMostTensorsNamed, " more tensors that do not fit")));
    Add("head", Json::String(std::string(HeadName(model.head()))));
    Add("vocabulary", Json::Int(model.vocab_size()));
    hidden_size_ = model.hidden_size();
    Add("hidden_size", Json::Int(hidden_size_));
    Add("context_length", model.max_positions() > 0 ? Json::Int(model.max_positions()) : Json());
    std::vector<Json> labels;
    for (const std::string& label : model.id2label()) labels.push_back(Json::String(label));
    Add("labels", HasLabels(model.head()) ? Json::Array(std::move(labels)) : Json());
    int64_t parameters = 0;
    for (const Parameter& p : model.parameters().all()) {
      if (!p.optional || files_.tensors.Has(p.name)) parameters += p.shape.elements();
    }
    Add("parameters", Json::Int(parameters));
  }

  void AddTokenizer() {
    bool template_present = false;
    Json tokenizer;
    const Result<Tokenizer> read = TokenizerOf(files_);
    if (read.ok()) {
      // What a tokenizer.json says; the older files say it by their presence.
      const Result<Json> json = Json::Parse(files_.tokenizer);
      tokenizer =
          Json::Object({{"kind", json.ok() ? OrNull((*json)["model"]["type"].as_string()) : Json()},
                        {"vocabulary", Json::Int(read->vocab_size())}});
      template_present = !read->chat_template().empty();
    } else if (!files_.tokenizer.empty() || !files_.sentencepiece.empty() ||
               !files_.vocab.empty()) {
      Note(read.status());
    }
    Add("tokenizer", std::move(tokenizer));
    Add("chat_template", Json::Bool(template_present));
  }

  // What sentence-transformers puts behind the model.
  void AddSentenceModules() {
    const auto listed = files_.sentence_texts.find("modules.json");
    if (listed == files_.sentence_texts.end()) return;
    const Result<std::vector<SentenceModule>> modules = ParseModules(listed->second);
    std::vector<Json> types;
    for (const SentenceModule& module : modules.ok() ? *modules : std::vector<SentenceModule>())
      types.push_back(Json::String(module.type));
    Add("sentence_modules", Json::Array(std::move(types)));
    ModelFiles copy;  // whose tensors may be taken
    copy.sentence_texts = files_.sentence_texts;
    copy.sentence_tensors = files_.sentence_tensors;
    if (hidden_size_ > 0) Note(SentenceModules::Read(copy, hidden_size_).status());
  }

  const ModelFiles& files_;
  int64_t hidden_size_ = 0;
  std::vector<Json::Member> members_;
  std::vector<Json> unsupported_;
};

// 12,345,678
std::string Grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

std::string Shown(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_int()) return Grouped(value.as_int());
  return value.is_string() ? value.as_string() : value.Dump();
}

}  // namespace

Json InspectModel(const ModelFiles& files) { return Inspection(files).Run(); }

std::string InspectTable(const Json& inspected) {
  std::string out;
  const auto line = [&](std::string_view name, const std::string& value) {
    out += name;
    out.append(16 - std::min<size_t>(name.size(), 15), ' ');
    out += value + "\n";
  };
  line("architecture",
       StrCat(Shown(inspected["architecture"]), " (", Shown(inspected["class"]), ")"));
  for (const char* name : {"head", "parameters", "vocabulary", "hidden_size", "context_length"})
    line(name, Shown(inspected[name]));
  if (!inspected["labels"].is_null()) line("labels", inspected["labels"].Dump());
  const Json& tokenizer = inspected["tokenizer"];
  line("tokenizer", tokenizer.is_null() ? "none"
                                        : StrCat(Shown(tokenizer["kind"]), ", ",
                                                 Shown(tokenizer["vocabulary"]), " tokens"));
  line("chat_template", inspected["chat_template"].as_bool() ? "yes" : "no");
  for (const Json& module : inspected["sentence_modules"].items())
    line("sentence_module", module.as_string());
  line("bytes", Shown(inspected["bytes"]));
  for (const auto& [dtype, bytes] : inspected["bytes_by_dtype"].members())
    line(StrCat("  ", dtype), Shown(bytes));
  size_t widest = 0;
  for (const Json& tensor : inspected["tensors"].items())
    widest = std::max(widest, tensor["name"].as_string().size());
  out += "\n";
  for (const Json& tensor : inspected["tensors"].items()) {
    const std::string& name = tensor["name"].as_string();
    out += name + std::string(widest - name.size() + 2, ' ') +
           StrCat(tensor["dtype"].as_string(), "  ", tensor["shape"].Dump(), "  ",
                  Shown(tensor["bytes"]), "\n");
  }
  out += inspected["unsupported"].items().empty() ? "\nSotto can run this model.\n"
                                                  : "\nSotto cannot run this model:\n";
  for (const Json& why : inspected["unsupported"].items()) out += "  " + why.as_string() + "\n";
  return out;
}

}  // namespace sotto
