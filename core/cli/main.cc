// The sotto command: the library from a shell. Results are JSON on stdout, errors one sentence on
// stderr with exit status 1, or 2 where the command itself was wrong.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/base/file.h"
#include "core/cli/bench.h"
#include "core/io/model_folder.h"
#include "core/run/insides.h"
#include "core/run/inspect.h"
#include "core/run/pipeline.h"
#include "core/run/token_search.h"
#include "core/train/run_recipe.h"

namespace sotto {
namespace {

constexpr std::string_view kUsage =
    R"(usage: sotto COMMAND [options]

  sotto tokenize --model DIR [--no-special] [--lines]   text on stdin -> {"ids", "offsets", "tokens"}; offsets are UTF-8
                                                        bytes; --lines: one JSON for each line of input
  sotto logits   --model DIR --ids 101,7592,102         -> {"shape", "data"}, and where asked the model's insides
                 [--decoder-ids 2,31] [--mask 1,1,0]    by Hugging Face's names, each {"shape", "data"}:
                 [--hidden] [--attentions] [--logprobs] "hidden_states", "attentions", "logprobs" of the ids
  sotto generate --model DIR --ids 464,1468             -> {"ids": [[...]]}: what Hugging Face's generate gives for the
                 [--decoder-ids 2,31]                   same settings (num_beams=4, do_sample=true, ...);
                 [--set key=value]...                   output_logprobs=true adds "logprobs", beams "sequences_scores"
  sotto inspect  --model DIR                            -> what the model is, its tensors, and what is unsupported; a
                                                        table on stderr
  sotto run TASK --model DIR [--set key=value]...       a text or JSON on stdin -> the task's JSON
                                                        TASK: text-classification, fill-mask, feature-extraction,
                                                        text-generation, text2text-generation
  sotto train RECIPE.json --out DIR                     trains, or resumes what is in DIR
  sotto eval  RECIPE.json --model DIR [--split test] [--dtype auto|fp32|q8|q4] [--cache-dtype fp32|fp16|q8]
                                                        -> metrics as JSON, a table on stderr
  sotto quantize --model DIR --to q8|q4|f16|f32 --out DIR
  sotto bench [names]                                   -> JSON lines

  --threads N    threads to use (default: all)
)";

// New tokens that Hugging Face's generate gives where nobody says how many.
constexpr int64_t kGenerateNewTokens = 20;

// Set by Ctrl+C: training then saves where it is and ends.
volatile std::sig_atomic_t interrupted = 0;

// The command line behind the command. What is wrong with it is remembered as misuse, as against a
// command that failed.
class Arguments {
 public:
  std::vector<std::pair<std::string, std::string>> set;  // --set key=value

  Status Parse(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string word = argv[i];
      if (!word.starts_with("--")) {
        words_.push_back(word);
        continue;
      }
      const std::string name = word.substr(2);
      static constexpr std::string_view kFlags[] = {"attentions", "hidden", "lines", "logprobs",
                                                    "no-special"};
      if (std::find(std::begin(kFlags), std::end(kFlags), name) != std::end(kFlags)) {
        named_[name] = "";
        continue;
      }
      static constexpr std::string_view kNamed[] = {"cache-dtype", "decoder-ids", "dtype", "ids",
                                                    "mask",        "model",       "out",   "set",
                                                    "split",       "threads",     "to"};
      if (std::find(std::begin(kNamed), std::end(kNamed), name) == std::end(kNamed))
        return Misuse(StrCat("unknown option ", word));
      if (++i == argc) return Misuse(StrCat(word, " needs a value"));
      const std::string value = argv[i];
      const size_t equals = value.find('=');
      if (name != "set") {
        named_[name] = value;
      } else if (equals == std::string::npos) {
        return Misuse(StrCat("--set takes key=value, not '", value, "'"));
      } else {
        set.emplace_back(value.substr(0, equals), value.substr(equals + 1));
      }
    }
    return OkStatus();
  }

  Status Misuse(std::string message) const {
    misused_ = true;
    return InvalidArgument(std::move(message));
  }
  bool misused() const { return misused_; }

  const std::vector<std::string>& words() const { return words_; }
  bool Has(std::string_view name) const { return named_.find(name) != named_.end(); }
  Result<std::string> Need(std::string_view name) const {
    const auto found = named_.find(name);
    if (found == named_.end()) return Misuse(StrCat("--", name, " is missing"));
    return found->second;
  }
  std::string Or(std::string_view name, std::string_view fallback) const {
    const auto found = named_.find(name);
    return std::string(found == named_.end() ? fallback : std::string_view(found->second));
  }
  Result<std::string> Word(std::string_view what) const {
    if (words_.size() != 1) return Misuse(StrCat("expected one ", what));
    return words_.front();
  }
  int Threads() const {
    const auto found = named_.find("threads");
    if (found != named_.end()) return std::atoi(found->second.c_str());
    return static_cast<int>(std::thread::hardware_concurrency());
  }

 private:
  std::vector<std::string> words_;                         // what is no option
  std::map<std::string, std::string, std::less<>> named_;  // --name value, or "" for a flag
  mutable bool misused_ = false;
};

std::string ReadStdin() {
  std::string text;
  char piece[1 << 16];
  while (const size_t n = std::fread(piece, 1, sizeof(piece), stdin)) text.append(piece, n);
  return text;
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
}

Json IntArray(std::span<const int32_t> values) {
  std::vector<Json> out;
  for (const int32_t v : values) out.push_back(Json::Int(v));
  return Json::Array(std::move(out));
}

Status Tokenize(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  ModelFiles files;
  SOTTO_RETURN_IF_ERROR(ReadModelTexts(folder, files));
  SOTTO_ASSIGN_OR_RETURN(const Tokenizer tokenizer, TokenizerOf(files));
  const auto show = [&](std::string_view text) -> Status {
    SOTTO_ASSIGN_OR_RETURN(const Encoding encoding,
                           tokenizer.Encode(text, {.add_special_tokens = !args.Has("no-special")}));
    std::vector<Json> offsets, tokens;
    for (size_t i = 0; i < encoding.size(); ++i) {
      offsets.push_back(Json::Array(
          {Json::Int(encoding.offsets[i].first), Json::Int(encoding.offsets[i].second)}));
      tokens.push_back(Json::String(std::string(tokenizer.IdToToken(encoding.ids[i]))));
    }
    Print(Json::Object({{"ids", IntArray(encoding.ids)},
                        {"offsets", Json::Array(offsets)},
                        {"tokens", Json::Array(tokens)}})
              .Dump());
    return OkStatus();
  };
  const std::string text = ReadStdin();
  if (!args.Has("lines")) return show(text);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    SOTTO_RETURN_IF_ERROR(show(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
  return OkStatus();
}

// A list of integers, empty where the option is not given.
Result<std::vector<int32_t>> ParseInts(const Arguments& args, std::string_view name) {
  if (!args.Has(name)) return std::vector<int32_t>();
  Result<Json> list = Json::Parse(StrCat("[", args.Or(name, ""), "]"));
  if (!list.ok() || list->items().empty())
    return args.Misuse(StrCat("--", name, " takes integers with commas between them"));
  std::vector<int32_t> ids;
  for (const Json& id : list->items()) {
    if (!id.is_int() || id.as_int() < 0 || id.as_int() > INT32_MAX)
      return args.Misuse(StrCat("--", name, ": '", id.Dump(), "' is no token id"));
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return ids;
}

Result<std::vector<int32_t>> NeedIds(const Arguments& args) {
  if (const auto given = args.Need("ids"); !given.ok()) return given.status();
  return ParseInts(args, "ids");
}

Result<std::unique_ptr<Model>> LoadModel(ModelFiles& files, const LoadOptions& options) {
  Result<Json> config = Json::Parse(files.config);
  if (!config.ok()) return config.status().In("config.json");
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(*config));
  SOTTO_RETURN_IF_ERROR(LoadWeights(*model, files.tensors, options));
  return model;
}

// The model of a folder without its tokenizer.
Result<std::unique_ptr<Model>> OpenModel(const std::string& folder, const LoadOptions& options) {
  SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(folder));
  return LoadModel(files, options);
}

Json TensorJson(const Tensor& tensor) {
  std::vector<Json> shape, data;
  for (int axis = 0; axis < tensor.rank(); ++axis) shape.push_back(Json::Int(tensor.dim(axis)));
  for (const float value : tensor.floats()) data.push_back(Json::Number(value));
  return Json::Object(
      {{"shape", Json::Array(std::move(shape))}, {"data", Json::Array(std::move(data))}});
}

Status Logits(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, NeedIds(args));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int32_t> decoder_ids, ParseInts(args, "decoder-ids"));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int32_t> mask, ParseInts(args, "mask"));
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, OpenModel(folder, {}));
  ThreadPool pool(args.Threads());
  SOTTO_ASSIGN_OR_RETURN(const ModelInput input, SequenceInput(ids, decoder_ids, mask));
  SOTTO_ASSIGN_OR_RETURN(const NamedTensors outputs,
                         RunInsides(*model, &pool, input,
                                    {.output_attentions = args.Has("attentions"),
                                     .output_hidden_states = args.Has("hidden"),
                                     .output_logprobs = args.Has("logprobs")}));
  // The first is what the head gives. Of the others "name.0", "name.1", ... are a list.
  std::vector<Json::Member> shown = TensorJson(outputs.front().second).members();
  std::vector<std::pair<std::string, std::vector<Json>>> lists;
  for (const auto& [name, tensor] : outputs) {
    const size_t dot = name.find('.');
    if (name == "logprobs") shown.emplace_back(name, TensorJson(tensor));
    if (dot == std::string::npos) continue;
    const std::string list = name.substr(0, dot);
    if (lists.empty() || lists.back().first != list) lists.emplace_back(list, std::vector<Json>());
    lists.back().second.push_back(TensorJson(tensor));
  }
  for (auto& [name, list] : lists) shown.emplace_back(name, Json::Array(std::move(list)));
  Print(Json::Object(std::move(shown)).Dump());
  return OkStatus();
}

// A value as JSON where it is JSON, else as a text.
Json LooseJson(const std::string& text) {
  Result<Json> value = Json::Parse(text);
  return value.ok() ? *std::move(value) : Json::String(text);
}

Json Options(const Arguments& args) {
  std::vector<Json::Member> options;
  for (const auto& [key, value] : args.set) options.emplace_back(key, LooseJson(value));
  return Json::Object(std::move(options));
}

Status Generate(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, NeedIds(args));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int32_t> decoder_ids, ParseInts(args, "decoder-ids"));
  SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(folder));
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(files, {}));
  Json defaults;
  if (!files.generation_config.empty()) {
    Result<Json> parsed = Json::Parse(files.generation_config);
    if (!parsed.ok()) return parsed.status().In("generation_config.json");
    defaults = *std::move(parsed);
  }
  SOTTO_ASSIGN_OR_RETURN(
      const GenerationOptions options,
      GenerationOptions::Read(Options(args), defaults, model->config(), kGenerateNewTokens));
  ThreadPool pool(args.Threads());
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<TokenSearch> search,
                         TokenSearch::Start(*model, &pool, ids, decoder_ids, options));
  for (bool done = false; !done;) {
    SOTTO_ASSIGN_OR_RETURN(const TokenSearch::Step step, search->Next());
    done = step.done;
  }
  std::vector<Json> rows, logprobs, scores;
  for (const std::vector<int32_t>& row : search->Matrix()) rows.push_back(IntArray(row));
  for (const TokenSearch::Sequence& sequence : search->sequences()) {
    std::vector<Json> row;
    for (const TokenScore& score : sequence.scores) row.push_back(Json::Number(score.logprob));
    logprobs.push_back(Json::Array(std::move(row)));
    scores.push_back(Json::Number(sequence.score));
  }
  std::vector<Json::Member> shown{{"ids", Json::Array(std::move(rows))}};
  if (options.num_beams > 1) shown.emplace_back("sequences_scores", Json::Array(std::move(scores)));
  if (options.output_logprobs) shown.emplace_back("logprobs", Json::Array(std::move(logprobs)));
  Print(Json::Object(std::move(shown)).Dump());
  return OkStatus();
}

Status Inspect(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  SOTTO_ASSIGN_OR_RETURN(const ModelFiles files, OpenModelFiles(folder));
  const Json inspected = InspectModel(files);
  Print(inspected.Dump());
  std::fputs(InspectTable(inspected).c_str(), stderr);
  return OkStatus();
}

Status RunTask(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string task, args.Word("task"));
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(folder));
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Pipeline> pipeline,
                         Pipeline::Load(task, std::move(files), {.threads = args.Threads()}));
  std::string text = ReadStdin();
  // JSON where it is a list, an object or a quoted text; else the text itself, less the line's end.
  Result<Json> parsed = Json::Parse(text);
  if (text.ends_with('\n')) text.pop_back();
  const bool json =
      parsed.ok() && (parsed->is_array() || parsed->is_object() || parsed->is_string());
  SOTTO_ASSIGN_OR_RETURN(const Json result,
                         pipeline->Run(json ? *parsed : Json::String(text), Options(args)));
  Print(result.Dump());
  return OkStatus();
}

Status Quantize(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  SOTTO_ASSIGN_OR_RETURN(const std::string to, args.Need("to"));
  SOTTO_ASSIGN_OR_RETURN(const std::string out, args.Need("out"));
  const std::optional<SaveFormat> format = SaveFormatByName(to);
  if (!format) return args.Misuse(StrCat("--to takes q8, q4, f16 or f32, not '", to, "'"));
  SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(folder));
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         LoadModel(files, {.format = WeightFormat::kF32}));
  SOTTO_ASSIGN_OR_RETURN(const NamedTensors weights, ExportWeights(*model, *format));
  SOTTO_RETURN_IF_ERROR(MakeFolder(out));
  SOTTO_RETURN_IF_ERROR(
      WriteSafetensorsFile(out + "/model.safetensors", weights, {{"format", "pt"}}));
  if (folder.ends_with(".gguf")) {  // whose texts are within
    for (const auto& [name, text] : {std::pair{"config.json", &files.config},
                                     {"generation_config.json", &files.generation_config},
                                     {"tokenizer.json", &files.tokenizer},
                                     {"tokenizer_config.json", &files.tokenizer_config}}) {
      if (!text->empty()) SOTTO_RETURN_IF_ERROR(WriteFile(StrCat(out, "/", name), *text));
    }
  }
  const auto copy = [&](const std::string& name) -> Status {
    const std::string from = StrCat(folder, "/", name);
    if (!FileExists(from)) return OkStatus();
    SOTTO_ASSIGN_OR_RETURN(const std::string text, ReadFile(from));
    if (const size_t slash = name.find('/'); slash != name.npos)
      SOTTO_RETURN_IF_ERROR(MakeFolder(StrCat(out, "/", name.substr(0, slash))));
    return WriteFile(StrCat(out, "/", name), text);
  };
  for (const std::string& name : ModelTextNames(files)) SOTTO_RETURN_IF_ERROR(copy(name));
  for (const auto& [module, tensors] : files.sentence_tensors)
    SOTTO_RETURN_IF_ERROR(copy(module + "/model.safetensors"));
  return OkStatus();
}

Status Train(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string recipe, args.Word("recipe"));
  SOTTO_ASSIGN_OR_RETURN(const std::string out, args.Need("out"));
  ThreadPool pool(args.Threads());
  std::signal(SIGINT, [](int) { interrupted = 1; });
  std::signal(SIGTERM, [](int) { interrupted = 1; });
  return TrainCommand(recipe, out, &pool, [](const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return interrupted == 0;
  });
}

Status Eval(const Arguments& args) {
  SOTTO_ASSIGN_OR_RETURN(const std::string recipe, args.Word("recipe"));
  SOTTO_ASSIGN_OR_RETURN(const std::string folder, args.Need("model"));
  ThreadPool pool(args.Threads());
  const std::string dtype = args.Or("dtype", "auto");
  const std::optional<WeightFormat> format = WeightFormatByName(dtype);
  if (!format) return args.Misuse(StrCat("--dtype takes auto, fp32, q8 or q4, not '", dtype, "'"));
  const std::string cache = args.Or("cache-dtype", "");
  const std::optional<DType> cache_dtype = CacheDTypeByName(cache);
  if (args.Has("cache-dtype") && !cache_dtype)
    return args.Misuse(StrCat("--cache-dtype takes fp32, fp16 or q8, not '", cache, "'"));
  std::unique_ptr<Pipeline> writer;  // opened where a recipe's texts are to be written
  const auto write = [&](const std::string& text, int64_t max_new_tokens) -> Result<std::string> {
    if (writer == nullptr) {
      SOTTO_ASSIGN_OR_RETURN(ModelFiles files, OpenModelFiles(folder));
      SOTTO_ASSIGN_OR_RETURN(writer,
                             Pipeline::Load("text2text-generation", std::move(files),
                                            {.format = *format, .threads = args.Threads()}));
    }
    const Json options = Json::Object(
        {{"max_new_tokens", Json::Int(max_new_tokens)}, {"truncation", Json::Bool(true)}});
    SOTTO_ASSIGN_OR_RETURN(const Json made, writer->Run(Json::String(text), options));
    return made.items().front()["generated_text"].as_string();
  };
  SOTTO_ASSIGN_OR_RETURN(const EvalResult result, EvalCommand(recipe, folder,
                                                              {.split = args.Or("split", ""),
                                                               .format = *format,
                                                               .cache_dtype = cache_dtype,
                                                               .write = write},
                                                              &pool));
  Print(result.metrics.Dump());
  std::fputs(result.table.c_str(), stderr);
  return OkStatus();
}

Status Dispatch(std::string_view command, const Arguments& args) {
  if (command == "tokenize") return Tokenize(args);
  if (command == "logits") return Logits(args);
  if (command == "generate") return Generate(args);
  if (command == "inspect") return Inspect(args);
  if (command == "run") return RunTask(args);
  if (command == "train") return Train(args);
  if (command == "eval") return Eval(args);
  if (command == "quantize") return Quantize(args);
  if (command == "bench") return Bench(args.words(), args.Threads());
  return args.Misuse(command.empty() ? "no command given"
                                     : StrCat("unknown command '", command, "'"));
}

}  // namespace
}  // namespace sotto

int main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "--help" || command == "-h" || command == "help") {
    std::fwrite(sotto::kUsage.data(), 1, sotto::kUsage.size(), stdout);
    return 0;
  }
  sotto::Arguments args;
  sotto::Status status = args.Parse(argc, argv);
  if (status.ok()) status = sotto::Dispatch(command, args);
  if (status.ok()) return 0;
  std::fprintf(stderr, "sotto: %s\n", status.message().c_str());
  if (!args.misused()) return 1;
  std::fputs("Try 'sotto --help'.\n", stderr);
  return 2;
}
