// How long whole models take, without tokenizer or page: random weights in the shapes of
// models.mjs, one line of JSON a case, the median once warm.
//   forward_bench [threads] [milliseconds a case] [case ...]
// A case is named as in cases.mjs: "minilm-l6 q8 encode 128", "bert-base f32 encode 64 batch 8",
// "gpt2 q4 prompt 512", "llama-15m q8 decode 1000" (milliseconds a token), "gpt2 q8 decode 1000
// cache q8". Without names, the main ones run.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/kernels/matmul.h"
#include "core/models/model.h"
#include "core/models/parameter_sink.h"
#include "core/nn/kv_cache.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

struct NamedConfig {
  std::string_view name;
  const char* json;
};

constexpr NamedConfig kConfigs[] = {
    {"minilm-l6", R"({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522,
      "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
      "intermediate_size": 1536, "max_position_embeddings": 512})"},
    {"bert-base", R"({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522,
      "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
      "intermediate_size": 3072, "max_position_embeddings": 512})"},
    {"gpt2", R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257,
      "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024})"},
    {"llama-15m", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
      "vocab_size": 32000, "hidden_size": 288, "num_hidden_layers": 6, "num_attention_heads": 6,
      "intermediate_size": 768, "max_position_embeddings": 2048, "tie_word_embeddings": true})"},
};

constexpr const char* kMain[] = {
    "minilm-l6 q8 encode 16",  "minilm-l6 q8 encode 128",  "minilm-l6 f32 encode 128",
    "bert-base q8 encode 128", "bert-base f32 encode 128", "bert-base q4 encode 128",
    "gpt2 q8 prompt 128",      "gpt2 q8 prompt 512",       "gpt2 q8 decode 128",
    "gpt2 q8 decode 1000",     "gpt2 q4 prompt 128",       "gpt2 q4 decode 128",
    "llama-15m q8 prompt 128", "llama-15m q8 decode 128",  "llama-15m q8 decode 1000",
};

constexpr int64_t kSteps = 32;  // tokens that a round of decoding makes

struct Case {
  std::string name;
  std::string model, precision, work;
  int64_t tokens = 0, batch = 1;
  DType cache = DType::kF32;
};

Result<Case> ParseCase(std::string_view name) {
  Case c{std::string(name)};
  char model[32], precision[8], work[16], cache[8] = "fp32";
  int tokens = 0, batch = 1, end = 0;
  const int read =
      std::sscanf(c.name.c_str(), "%31s %7s %15s %d%n", model, precision, work, &tokens, &end);
  const char* rest = c.name.c_str() + end;
  const bool more =
      std::sscanf(rest, " batch %d", &batch) == 1 || std::sscanf(rest, " cache %7s", cache) == 1;
  const std::optional<DType> cached = CacheDTypeByName(cache);
  if (read < 4 || tokens < 1 || batch < 1 || !cached || more != (*rest != '\0')) {
    return InvalidArgument(
        StrCat("'", name, "' is not MODEL PRECISION WORK TOKENS [batch N | cache DTYPE]"));
  }
  c.model = model;
  c.precision = precision;
  c.work = work;
  c.tokens = tokens;
  c.batch = batch;
  c.cache = *cached;
  if (c.work != "encode" && c.work != "prompt" && c.work != "decode")
    return InvalidArgument(StrCat("'", c.work, "' is none of encode, prompt, decode"));
  return c;
}

double Milliseconds() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A matrix of small random values, packed as `format` says.
Result<Tensor> RandomMatrix(const Shape& shape, WeightFormat format, Random& random) {
  const int64_t n = shape.dim(0), k = shape.dim(1);
  std::vector<float> row(static_cast<size_t>(k));
  const auto fill = [&](auto set) {
    for (int64_t r = 0; r < n; ++r) {
      for (float& x : row) x = 0.04f * (random.NextFloat() - 0.5f);
      set(r);
    }
  };
  if (format == WeightFormat::kQ8) {
    SOTTO_ASSIGN_OR_RETURN(Q8Packer packer, Q8Packer::Create(n, k));
    fill([&](int64_t r) { packer.SetRow(r, row.data()); });
    return packer.packed();
  }
  if (format == WeightFormat::kQ4) {
    SOTTO_ASSIGN_OR_RETURN(Q4Packer packer, Q4Packer::Create(n, k));
    fill([&](int64_t r) { packer.SetRow(r, row.data()); });
    return packer.packed();
  }
  SOTTO_ASSIGN_OR_RETURN(Tensor plain, Tensor::Allocate(shape));
  fill([&](int64_t r) { std::copy(row.begin(), row.end(), plain.f32() + r * k); });
  return plain;
}

Result<std::unique_ptr<Model>> RandomModel(const Case& c) {
  const auto* config =
      std::find_if(std::begin(kConfigs), std::end(kConfigs),
                   [&](const NamedConfig& known) { return known.name == c.model; });
  if (config == std::end(kConfigs)) return InvalidArgument(StrCat("no model '", c.model, "'"));
  const auto format = c.precision == "f32" ? WeightFormat::kF32 : WeightFormatByName(c.precision);
  if (!format) return InvalidArgument(StrCat("no precision '", c.precision, "'"));
  SOTTO_ASSIGN_OR_RETURN(const Json json, Json::Parse(config->json));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(json));
  Random random(1);
  for (const Parameter& p : model->parameters().all()) {
    if (p.decays()) {
      SOTTO_ASSIGN_OR_RETURN(
          *p.tensor, RandomMatrix(p.shape, MayPack(p) ? *format : WeightFormat::kF32, random));
    } else {
      SOTTO_ASSIGN_OR_RETURN(*p.tensor, Tensor::Zeros(p.shape));
      if (p.kind == Parameter::Kind::kNorm)
        std::fill_n(p.tensor->f32(), p.tensor->elements(), 1.0f);
    }
  }
  return model;
}

class Runner {
 public:
  Runner(const Case& c, Model& model, ThreadPool& pool)
      : case_(c), model_(model), ctx_(&arena_, &pool) {}

  // Milliseconds of one text, one prompt or one token.
  Result<double> Once() {
    if (case_.work == "encode") {
      SOTTO_ASSIGN_OR_RETURN(const Tensor ids, Ids(case_.batch, case_.tokens));
      return Timed(ids, nullptr);
    }
    const bool decodes = case_.work == "decode";
    const int64_t room = model_.max_positions() > 0 ? model_.max_positions() : int64_t{1} << 30;
    const int64_t tokens = decodes ? std::min(case_.tokens, room - kSteps - 2) : case_.tokens;
    KvCache cache(case_.cache, tokens + kSteps);
    SOTTO_ASSIGN_OR_RETURN(const Tensor prompt, Ids(case_.batch, tokens));
    SOTTO_ASSIGN_OR_RETURN(const double prefill, Timed(prompt, &cache));
    if (!decodes) return prefill;
    SOTTO_ASSIGN_OR_RETURN(const Tensor next, Ids(case_.batch, 1));
    double sum = 0;
    for (int64_t i = 0; i < kSteps; ++i) {
      SOTTO_ASSIGN_OR_RETURN(const double step, Timed(next, &cache));
      sum += step;
    }
    return sum / kSteps;
  }

 private:
  Result<Tensor> Ids(int64_t batch, int64_t tokens) {
    std::vector<int32_t> ids(static_cast<size_t>(batch * tokens));
    for (int32_t& id : ids)
      id = static_cast<int32_t>(random_.NextBelow(static_cast<uint32_t>(model_.vocab_size())));
    return Tensor::FromInts({batch, tokens}, ids);
  }

  Result<double> Timed(const Tensor& ids, KvCache* cache) {
    ModelInput input;
    input.ids = ids;
    if (cache != nullptr) {
      std::vector<int32_t> last;
      for (int64_t b = 1; b <= ids.dim(0); ++b)
        last.push_back(static_cast<int32_t>(b * ids.dim(1) - 1));
      SOTTO_ASSIGN_OR_RETURN(input.rows, Tensor::FromInts({ids.dim(0)}, last));
    }
    const double begin = Milliseconds();
    const ModelOutput out = model_.Forward(ctx_, input, cache);
    if (!ctx_.ok()) return ctx_.status();
    return Milliseconds() - begin;
  }

  const Case& case_;
  Model& model_;
  Arena arena_;
  Context ctx_;
  Random random_{2};
};

Status Measure(std::string_view name, ThreadPool& pool, double budget) {
  SOTTO_ASSIGN_OR_RETURN(const Case c, ParseCase(name));
  SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, RandomModel(c));
  Runner runner(c, *model, pool);
  SOTTO_ASSIGN_OR_RETURN(const double first, runner.Once());
  std::vector<double> times;
  const double begin = Milliseconds();
  while (times.size() < 3 || Milliseconds() - begin < budget) {
    const bool warm = Milliseconds() - begin > budget / 3;
    SOTTO_ASSIGN_OR_RETURN(const double took, runner.Once());
    if (warm || times.size() < 3) times.push_back(took);
  }
  std::sort(times.begin(), times.end());
  std::printf(
      "{\"case\":\"%s\",\"target\":\"%s\",\"threads\":%d,\"first_ms\":%.4f,\"ms\":%.4f,"
      "\"best_ms\":%.4f}\n",
      c.name.c_str(), KernelTarget(), pool.threads(), first, times[times.size() / 2], times[0]);
  std::fflush(stdout);
  return OkStatus();
}

}  // namespace
}  // namespace sotto

int main(int argc, char** argv) {
  sotto::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 1);
  const double budget = argc > 2 ? std::atof(argv[2]) : 1000;
  std::vector<const char*> names(argv + std::min(argc, 3), argv + argc);
  if (names.empty()) names.assign(std::begin(sotto::kMain), std::end(sotto::kMain));
  for (const char* name : names) {
    const sotto::Status status = sotto::Measure(name, pool, budget);
    if (status.ok()) continue;
    std::fprintf(stderr, "%s: %s\n", name, status.message().c_str());
    return 1;
  }
}
