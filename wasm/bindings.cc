// The engine as JavaScript sees it: thin wrappers that turn values into Embind's and a Status into
// {code, message}. No logic lives here. Texts are UTF-8 without lone surrogates: the caller sees to
// that. Every object is freed by delete(), and may be freed in any order.
#include <emscripten/bind.h>
#include <emscripten/val.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/base/parallel.h"
#include "core/base/status.h"
#include "core/io/model_folder.h"
#include "core/models/model_stream.h"
#include "core/run/generation.h"
#include "core/run/model_tokenizer.h"
#include "core/run/pipeline.h"
#include "core/text/tokenizer.h"
#include "wasm/tokenizer_bindings.h"

namespace sotto::wasm {
namespace {

using emscripten::val;

EMSCRIPTEN_DECLARE_VAL_TYPE(Float32Array);
EMSCRIPTEN_DECLARE_VAL_TYPE(Strings);
EMSCRIPTEN_DECLARE_VAL_TYPE(Tensors);

// Where a file's bytes arrive and stay. The engine may read a little past their end.
uintptr_t Reserve(double bytes) {
  if (!(bytes >= 0 && bytes < static_cast<double>(SIZE_MAX - 2 * sotto::kAlignment))) return 0;
  const size_t padded =
      (static_cast<size_t>(bytes) + 2 * sotto::kAlignment - 1) & ~(sotto::kAlignment - 1);
  return reinterpret_cast<uintptr_t>(std::aligned_alloc(sotto::kAlignment, padded));
}
void Release(uintptr_t pointer) { std::free(reinterpret_cast<void*>(pointer)); }

// One pool serves every model: there is one caller.
std::shared_ptr<sotto::ThreadPool>& Pool() {
  static auto* pool = new std::shared_ptr<sotto::ThreadPool>();
  return *pool;
}
int StartThreads(int threads) {
  Pool() = std::make_shared<sotto::ThreadPool>(threads);
  return Pool()->threads();
}

struct HeaderStep {
  std::string code, message;
  bool whole = false;
};

// A model on its way in: see ModelStream. Bytes are passed where Reserve has given room.
class Weights {
 public:
  // `dtype`: auto, fp32, q8 or q4.
  explicit Weights(const std::string& dtype)
      : format_(sotto::WeightFormatByName(dtype).value_or(sotto::WeightFormat::kAsStored)),
        stream_({.format = format_}) {}

  bool SetText(const std::string& name, std::string text) {
    return stream_.files().SetText(name, std::move(text));
  }
  // The weights of a sentence's module, by their path.
  Failure AddModule(const std::string& path, const std::string& bytes) {
    const auto owner = std::make_shared<const std::string>(bytes);
    sotto::TensorSource& tensors = stream_.files().sentence_tensors[path.substr(0, path.find('/'))];
    return FailureOf(tensors.AddSafetensors(*owner, owner, path));
  }
  // Makes the tokenizer of the texts so far, which may be while weights arrive. Pipeline.load tells
  // what is wrong with them.
  void ReadTokenizer() { tokenizer_ = sotto::TakeTokenizer(stream_.files()); }
  Failure Begin(const std::string& name, double bytes) {
    return FailureOf(stream_.Begin(name, static_cast<uint64_t>(bytes)));
  }
  Failure Append(uintptr_t pointer, size_t bytes) {
    return FailureOf(stream_.Append({reinterpret_cast<const char*>(pointer), bytes}));
  }
  Failure End() { return FailureOf(stream_.End()); }
  std::string WantedHeader() const { return stream_.wanted_header(); }
  HeaderStep AddHeader(uintptr_t pointer, size_t bytes, double file_bytes) {
    const sotto::Result<bool> whole = stream_.AddHeader(
        {reinterpret_cast<const char*>(pointer), bytes}, static_cast<uint64_t>(file_bytes));
    const auto [code, message] = FailureOf(whole.status());
    return {code, message, whole.ok() && *whole};
  }
  Strings Parts() const { return Strings(val::array(stream_.parts())); }

  sotto::WeightFormat format() const { return format_; }
  sotto::ModelStream& stream() { return stream_; }
  // Once.
  sotto::Result<sotto::Tokenizer> TakeTokenizer() {
    return tokenizer_ ? *std::move(tokenizer_) : sotto::TakeTokenizer(stream_.files());
  }

 private:
  sotto::WeightFormat format_;
  sotto::ModelStream stream_;
  std::optional<sotto::Result<sotto::Tokenizer>> tokenizer_;
};

struct Step {
  std::string code, message;
  int token = -1;
  std::string text;
  std::string score;  // JSON, where log-probabilities were asked for
  bool done = false;
  std::string finish_reason;
};

class BoundGeneration {
 public:
  BoundGeneration(std::shared_ptr<sotto::Pipeline> pipeline,
                  std::unique_ptr<sotto::Generation> generation)
      : pipeline_(std::move(pipeline)), generation_(std::move(generation)) {}

  Step Next() {
    sotto::Result<sotto::Generation::Step> step = generation_->Next();
    if (!step.ok()) {
      const auto [code, message] = FailureOf(step.status());
      return {code, message};
    }
    const bool scored = step->score.has_value();
    return {
        .token = step->token,
        .text = std::move(step->text),
        .score = scored ? sotto::Pipeline::TokenJson(*generation_, step->token, *step->score).Dump()
                        : "",
        .done = step->done,
        .finish_reason = std::move(step->finish_reason)};
  }
  // What a finished one made, as JSON.
  std::string Texts() const { return pipeline_->GeneratedJson(*generation_, "").Dump(); }
  double PromptTokens() const { return static_cast<double>(generation_->prompt_tokens()); }

 private:
  std::shared_ptr<sotto::Pipeline> pipeline_;  // outlives the generation
  std::unique_ptr<sotto::Generation> generation_;
};

struct Started {
  std::string code, message;
  std::shared_ptr<BoundGeneration> generation;
};

struct Output {
  std::string code, message;
  std::string json;
};

struct Extracted {
  std::string code, message;
  Int32Array dims = Int32Array(val::undefined());
  Float32Array data = Float32Array(val::undefined());
};

struct Shown {
  std::string code, message;
  Tensors tensors = Tensors(val::undefined());
};

class BoundPipeline;
struct Loaded {
  std::string code, message;
  std::shared_ptr<BoundPipeline> pipeline;
};

class BoundPipeline {
 public:
  explicit BoundPipeline(std::unique_ptr<sotto::Pipeline> pipeline)
      : pipeline_(std::move(pipeline)) {}

  // `index`: model.safetensors.index.json, or nothing.
  static Loaded Load(const std::string& task, Weights& weights, const std::string& index) {
    sotto::Result<std::unique_ptr<sotto::Pipeline>> loaded = FromStream(task, weights, index);
    const auto [code, message] = FailureOf(loaded.status());
    if (!loaded.ok()) return {code, message, nullptr};
    return {"", "", std::make_shared<BoundPipeline>(*std::move(loaded))};
  }

  Output Run(const std::string& input, const std::string& options) {
    sotto::Result<sotto::Json> result = RunJson(input, options);
    const auto [code, message] = FailureOf(result.status());
    return {code, message, result.ok() ? result->Dump() : ""};
  }

  Extracted Extract(const std::string& text, const std::string& options) {
    sotto::Result<sotto::Features> features = ExtractFeatures(text, options);
    Extracted out;
    const auto failure = FailureOf(features.status());
    out.code = failure.code;
    out.message = failure.message;
    if (!features.ok()) return out;
    out.dims = Ints(std::vector<int32_t>(features->dims.begin(), features->dims.end()));
    out.data = CopyOut<Float32Array>("Float32Array", features->data);
    return out;
  }

  Shown Insides(const std::string& input, const std::string& options) {
    sotto::Result<sotto::TextInsides> insides = RunInsides(input, options);
    Shown out;
    const auto failure = FailureOf(insides.status());
    out.code = failure.code;
    out.message = failure.message;
    if (!insides.ok()) return out;
    val tensors = val::array();
    for (const auto& [name, tensor] : insides->outputs) {
      val shown = val::object();
      shown.set("name", name);
      val dims = val::array();
      for (int axis = 0; axis < tensor.rank(); ++axis)
        dims.set(axis, static_cast<double>(tensor.dim(axis)));
      shown.set("dims", dims);
      const val view(emscripten::typed_memory_view(tensor.floats().size(), tensor.f32()));
      shown.set("data", val::global("Float32Array").new_(view));
      tensors.call<void>("push", shown);
    }
    out.tensors = Tensors(tensors);
    return out;
  }

  Started Generate(const std::string& prompt, const std::string& options) {
    return StartedOf(Start(prompt, options));
  }
  // See Pipeline::GenerateAfterTemplate.
  Started GenerateAfterTemplate(const Strings& pieces, const std::string& options) {
    return StartedOf(StartAfterTemplate(emscripten::vecFromJSArray<std::string>(pieces), options));
  }

  std::shared_ptr<BoundTokenizer> Words() const {
    return std::make_shared<BoundTokenizer>(
        std::shared_ptr<const sotto::Tokenizer>(pipeline_, &pipeline_->tokenizer()));
  }
  std::string Task() const { return std::string(pipeline_->task()); }
  // config.json, or what a GGUF file amounts to.
  std::string Config() const { return pipeline_->model().config().Dump(); }

 private:
  static sotto::Result<std::unique_ptr<sotto::Pipeline>> FromStream(const std::string& task,
                                                                    Weights& weights,
                                                                    const std::string& index) {
    SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<sotto::Model> model, weights.stream().Finish(index));
    SOTTO_ASSIGN_OR_RETURN(sotto::Tokenizer tokenizer, weights.TakeTokenizer());
    sotto::Pipeline::Options options;
    options.pool = Pool();
    options.format = weights.format();
    return sotto::Pipeline::Load(task, weights.stream().files(), std::move(model),
                                 std::move(tokenizer), options);
  }
  Started StartedOf(sotto::Result<std::unique_ptr<sotto::Generation>> generation) const {
    const auto [code, message] = FailureOf(generation.status());
    if (!generation.ok()) return {code, message, nullptr};
    return {"", "", std::make_shared<BoundGeneration>(pipeline_, *std::move(generation))};
  }
  sotto::Result<sotto::TextInsides> RunInsides(std::string_view input, std::string_view options) {
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed_input, sotto::Json::Parse(input));
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed_options, sotto::Json::Parse(options));
    return pipeline_->Insides(parsed_input, parsed_options);
  }
  sotto::Result<std::unique_ptr<sotto::Generation>> StartAfterTemplate(
      const std::vector<std::string>& pieces, std::string_view options) {
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed, sotto::Json::Parse(options));
    return pipeline_->GenerateAfterTemplate(pieces, parsed);
  }
  sotto::Result<sotto::Json> RunJson(std::string_view input, std::string_view options) {
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed_input, sotto::Json::Parse(input));
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed_options, sotto::Json::Parse(options));
    return pipeline_->Run(parsed_input, parsed_options);
  }
  sotto::Result<sotto::Features> ExtractFeatures(std::string_view text, std::string_view options) {
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed, sotto::Json::Parse(options));
    return pipeline_->Extract(text, parsed);
  }
  sotto::Result<std::unique_ptr<sotto::Generation>> Start(std::string_view prompt,
                                                          std::string_view options) {
    SOTTO_ASSIGN_OR_RETURN(const sotto::Json parsed, sotto::Json::Parse(options));
    return pipeline_->Generate(prompt, parsed);
  }

  std::shared_ptr<sotto::Pipeline> pipeline_;
};

}  // namespace

EMSCRIPTEN_BINDINGS(sotto) {
  using namespace emscripten;  // NOLINT: the names of the binding language

  register_type<Float32Array>("Float32Array<ArrayBuffer>");
  register_type<Strings>("string[]");
  register_type<Tensors>("{ name: string; dims: number[]; data: Float32Array<ArrayBuffer> }[]");

  function("reserve", &Reserve);
  function("release", &Release);
  function("startThreads", &StartThreads);

  value_object<HeaderStep>("HeaderStep")
      .field("code", &HeaderStep::code)
      .field("message", &HeaderStep::message)
      .field("whole", &HeaderStep::whole);
  class_<Weights>("Weights")
      .constructor<const std::string&>()
      .function("setText", &Weights::SetText)
      .function("addModule", &Weights::AddModule)
      .function("readTokenizer", &Weights::ReadTokenizer)
      .function("begin", &Weights::Begin)
      .function("append", &Weights::Append)
      .function("end", &Weights::End)
      .function("wantedHeader", &Weights::WantedHeader)
      .function("addHeader", &Weights::AddHeader)
      .function("parts", &Weights::Parts);

  value_object<Step>("Step")
      .field("code", &Step::code)
      .field("message", &Step::message)
      .field("token", &Step::token)
      .field("text", &Step::text)
      .field("score", &Step::score)
      .field("done", &Step::done)
      .field("finishReason", &Step::finish_reason);
  class_<BoundGeneration>("Generation")
      .smart_ptr<std::shared_ptr<BoundGeneration>>("SharedGeneration")
      .function("next", &BoundGeneration::Next)
      .function("promptTokens", &BoundGeneration::PromptTokens)
      .function("texts", &BoundGeneration::Texts);
  value_object<Started>("Started")
      .field("code", &Started::code)
      .field("message", &Started::message)
      .field("generation", &Started::generation);

  value_object<Output>("Output")
      .field("code", &Output::code)
      .field("message", &Output::message)
      .field("json", &Output::json);
  value_object<Extracted>("Extracted")
      .field("code", &Extracted::code)
      .field("message", &Extracted::message)
      .field("dims", &Extracted::dims)
      .field("data", &Extracted::data);
  class_<BoundPipeline>("Pipeline")
      .smart_ptr<std::shared_ptr<BoundPipeline>>("SharedPipeline")
      .class_function("load", &BoundPipeline::Load)
      .function("run", &BoundPipeline::Run)
      .function("extract", &BoundPipeline::Extract)
      .function("insides", &BoundPipeline::Insides)
      .function("generate", &BoundPipeline::Generate)
      .function("generateAfterTemplate", &BoundPipeline::GenerateAfterTemplate)
      .function("tokenizer", &BoundPipeline::Words)
      .function("task", &BoundPipeline::Task)
      .function("config", &BoundPipeline::Config);
  value_object<Shown>("Shown")
      .field("code", &Shown::code)
      .field("message", &Shown::message)
      .field("tensors", &Shown::tensors);
  value_object<Loaded>("Loaded")
      .field("code", &Loaded::code)
      .field("message", &Loaded::message)
      .field("pipeline", &Loaded::pipeline);
}

}  // namespace sotto::wasm
