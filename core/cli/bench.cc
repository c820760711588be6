#include "core/cli/bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "core/base/json.h"
#include "core/base/random.h"
#include "core/kernels/matmul.h"
#include "core/models/model.h"
#include "core/ops/ops.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The median time of a call, over at least nine calls and a fifth of a second.
double Median(FunctionRef<void()> call) {
  call();
  std::vector<double> times;
  const double start = Seconds();
  while (times.size() < 9 || (Seconds() - start < 0.2 && times.size() < 1000)) {
    const double t = Seconds();
    call();
    times.push_back(Seconds() - t);
  }
  std::nth_element(times.begin(), times.begin() + static_cast<ptrdiff_t>(times.size() / 2),
                   times.end());
  return times[times.size() / 2];
}

class Bencher {
 public:
  Bencher(const std::vector<std::string>& names, int threads) : names_(names), pool_(threads) {}

  bool Wanted(std::string_view name) const {
    return names_.empty() || std::any_of(names_.begin(), names_.end(),
                                         [&](const std::string& n) { return name.starts_with(n); });
  }

  void Report(std::string_view name, double seconds, double work, std::string_view unit) {
    const Json line = Json::Object({{"name", Json::String(std::string(name))},
                                    {"target", Json::String(KernelTarget())},
                                    {"threads", Json::Int(pool_.threads())},
                                    {"ms", Json::Number(seconds * 1e3)},
                                    {std::string(unit), Json::Number(work / seconds)}});
    std::printf("%s\n", line.Dump().c_str());
    std::fflush(stdout);
  }

  Status MatMuls() {
    for (const auto& [m, n, k] : std::initializer_list<std::array<int64_t, 3>>{
             {1, 3072, 768}, {128, 3072, 768}, {4096, 768, 192}}) {
      const double giga = 2e-9 * static_cast<double>(m * n * k);
      const std::string shape = StrCat(m, "x", k, "x", n);
      SOTTO_ASSIGN_OR_RETURN(const Tensor x, Noise({m, k}));
      SOTTO_ASSIGN_OR_RETURN(const Tensor w, Noise({n, k}));
      SOTTO_ASSIGN_OR_RETURN(const Tensor packed, PackQ8(w));
      for (const auto& [kind, weight] : {std::pair("f32", &w), std::pair("q8", &packed)}) {
        const std::string name = StrCat("matmul/", kind, "/", shape);
        if (!Wanted(name)) continue;
        const double seconds = Median([&] {
          Context ctx(&arena_, &pool_);
          Linear(ctx, x, *weight, {});
        });
        Report(name, seconds, giga, "gops");
      }
    }
    return OkStatus();
  }

  // A forward pass over `tokens` tokens of a model with random weights.
  Status Forward(std::string_view name, const char* config, int64_t tokens) {
    for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kQ8}) {
      const std::string full =
          StrCat("forward/", name, format == WeightFormat::kQ8 ? "/q8/" : "/f32/", tokens);
      if (!Wanted(full)) continue;
      SOTTO_ASSIGN_OR_RETURN(const Json json, Json::Parse(config));
      SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, CreateModel(json));
      SOTTO_RETURN_IF_ERROR(model->parameters().Initialize(1, 0.02f));
      if (format == WeightFormat::kQ8) {
        for (const Parameter& p : model->parameters().all()) {
          if (!p.decays()) continue;
          SOTTO_ASSIGN_OR_RETURN(*p.tensor, PackQ8(*p.tensor));
        }
      }
      SOTTO_ASSIGN_OR_RETURN(const Tensor ids, Tensor::Zeros({1, tokens}, DType::kI32));
      Status status;
      const double seconds = Median([&] {
        Context ctx(&arena_, &pool_);
        model->Forward(ctx, {.ids = ids});
        status = ctx.status();
      });
      SOTTO_RETURN_IF_ERROR(status);
      Report(full, seconds, static_cast<double>(tokens), "tokens_per_s");
    }
    return OkStatus();
  }

 private:
  static Result<Tensor> Noise(const Shape& shape) {
    SOTTO_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Allocate(shape));
    Random random(7);
    for (float& v : tensor.floats()) v = random.NextNormal();
    return tensor;
  }

  const std::vector<std::string>& names_;
  ThreadPool pool_;
  Arena arena_;
};

}  // namespace

Status Bench(const std::vector<std::string>& names, int threads) {
  Bencher bencher(names, threads);
  SOTTO_RETURN_IF_ERROR(bencher.MatMuls());
  constexpr const char* kMiniLm =
      R"({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 384, "num_hidden_layers": 6,
          "num_attention_heads": 12, "intermediate_size": 1536})";
  for (const int64_t tokens : {16, 128})
    SOTTO_RETURN_IF_ERROR(bencher.Forward("minilm", kMiniLm, tokens));
  constexpr const char* kGpt2 = R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})";
  return bencher.Forward("gpt2", kGpt2, 128);
}

}  // namespace sotto
