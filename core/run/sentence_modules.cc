#include "core/run/sentence_modules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/utf8.h"
#include "core/models/architecture.h"
#include "core/text/unicode.h"

namespace sotto {
namespace {

constexpr std::string_view kModesByName[] = {
    "cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken",
};  // by Pooling, which is also the order in which several are joined

constexpr std::pair<std::string_view, Pooling> kModeKeys[] = {
    {"pooling_mode_cls_token", Pooling::kCls},
    {"pooling_mode_max_tokens", Pooling::kMax},
    {"pooling_mode_mean_tokens", Pooling::kMean},
    {"pooling_mode_mean_sqrt_len_tokens", Pooling::kMeanSqrtLen},
    {"pooling_mode_weightedmean_tokens", Pooling::kWeightedMean},
    {"pooling_mode_lasttoken", Pooling::kLastToken},
};

// Fails where a member is none of those known.
Status CheckKeys(const Json& config, std::initializer_list<std::string_view> known) {
  if (!config.is_object()) return InvalidFile("an object was expected");
  for (const auto& [key, value] : config.members()) {
    if (std::find(known.begin(), known.end(), key) == known.end())
      return Unsupported(StrCat("'", key, "' is not implemented"));
  }
  return OkStatus();
}

Result<Json> ParseFile(const ModelFiles& files, std::string_view path) {
  const auto at = files.sentence_texts.find(path);
  if (at == files.sentence_texts.end()) return Json();
  Result<Json> json = Json::Parse(at->second);
  return json.ok() ? std::move(json) : json.status().In(path);
}

// PyTorch's class of an activation function, "torch.nn.modules.activation.Tanh". False: identity.
Result<bool> ReadActivation(const std::string& name, Activation& activation) {
  const std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  for (const auto& [known, meant] :
       {std::pair<std::string_view, Activation>{"Tanh", Activation::kTanh},
        {"ReLU", Activation::kRelu},
        {"GELU", Activation::kGelu},
        {"SiLU", Activation::kSilu},
        {"Sigmoid", Activation::kSigmoid}}) {
    if (last != known) continue;
    activation = meant;
    return true;
  }
  if (last == "Identity") return false;
  return Unsupported(StrCat("the activation function '", name, "' is not implemented"));
}

Result<Tensor> TakeTensor(TensorSource& tensors, std::string_view name, const Shape& shape) {
  if (!tensors.Has(name)) {
    return NotFound(StrCat("there is no tensor '", name,
                           "' in its model.safetensors (a pytorch_model.bin is never read, since "
                           "it can run code: save the model with safe_serialization=True)"));
  }
  return tensors.TakeF32(name, shape);
}

}  // namespace

std::optional<Pooling> PoolingByName(std::string_view name) {
  for (size_t i = 0; i < std::size(kModesByName); ++i) {
    if (kModesByName[i] == name) return static_cast<Pooling>(i);
  }
  return std::nullopt;
}

void AppendPooled(Pooling mode, const Tensor& tokens, int64_t skipped, std::vector<float>& out) {
  const int64_t n = tokens.shape().rows(), columns = tokens.shape().columns();
  const float* x = tokens.f32();
  if (mode == Pooling::kCls || mode == Pooling::kLastToken) {
    const float* row = mode == Pooling::kCls ? x : x + (n - 1) * columns;
    out.insert(out.end(), row, row + columns);
    return;
  }
  skipped = std::min(skipped, n);
  const auto of_weights = [&](const auto& weight) {
    double sum = 0;
    for (int64_t t = skipped; t < n; ++t) sum += weight(t);
    return sum;
  };
  for (int64_t c = 0; c < columns; ++c) {
    double sum = 0, most = -1e9;  // sentence-transformers' value where there is no token
    for (int64_t t = skipped; t < n; ++t) {
      const double value = x[t * columns + c];
      most = std::max(most, value);
      sum += mode == Pooling::kWeightedMean ? static_cast<double>(t + 1) * value : value;
    }
    const auto count = static_cast<double>(n - skipped);
    switch (mode) {
      case Pooling::kMax:
        sum = most;
        break;
      case Pooling::kMean:
        sum /= std::max(count, 1e-9);
        break;
      case Pooling::kMeanSqrtLen:
        sum /= std::sqrt(std::max(count, 1e-9));
        break;
      default:
        sum /= std::max(of_weights([](int64_t t) { return static_cast<double>(t + 1); }), 1e-9);
        break;
    }
    out.push_back(static_cast<float>(sum));
  }
}

void ScaleToLength1(std::span<float> vector) {
  double sum = 0;
  for (const float v : vector) sum += static_cast<double>(v) * v;
  const double length = std::max(std::sqrt(sum), 1e-12);
  for (float& v : vector) v = static_cast<float>(v / length);
}

Result<SentenceModules> SentenceModules::Read(ModelFiles& files, int64_t width) {
  const auto listed = files.sentence_texts.find("modules.json");
  if (listed == files.sentence_texts.end()) {
    return NotFound(
        "this model has no modules.json that says how its token vectors become a sentence's: "
        "choose a 'pooling'");
  }
  SOTTO_ASSIGN_OR_RETURN(const std::vector<SentenceModule> list, ParseModules(listed->second));
  SentenceModules out;
  SOTTO_RETURN_IF_ERROR(out.ReadSettings(files));
  for (size_t i = 0; i < list.size(); ++i) {
    const auto& [type, path] = list[i];
    const std::string_view kind = std::string_view(type).substr(type.rfind('.') + 1);
    const bool known = type.starts_with("sentence_transformers.");
    if (i == 0) {
      if (known && kind == "Transformer") continue;
      return Unsupported(
          StrCat("modules.json: the module '", type, "' is not implemented in the first place"));
    }
    const std::string file = StrCat(path, "/config.json");
    SOTTO_ASSIGN_OR_RETURN(const Json config, ParseFile(files, file));
    Status status =
        Unsupported(StrCat("the module '", type, "' is not implemented")).In("modules.json");
    if (known && kind == "Pooling" && out.pooling_.empty()) {
      status = out.ReadPooling(config, width).In(file);
    } else if (known && !out.pooling_.empty()) {
      TensorSource& tensors = files.sentence_tensors[path];
      if (kind == "Dense") status = out.ReadDense(config, tensors, width).In(path);
      if (kind == "LayerNorm") status = out.ReadLayerNorm(config, tensors, width).In(path);
      if (kind == "Dropout") status = OkStatus();  // of the training
      if (kind == "Normalize") {
        out.modules_.push_back({.kind = Module::kNormalize});
        status = OkStatus();
      }
    }
    SOTTO_RETURN_IF_ERROR(status);
  }
  if (out.pooling_.empty())
    return Unsupported("modules.json: a model without a 'Pooling' module is not implemented");
  return out;
}

Status SentenceModules::ReadSettings(const ModelFiles& files) {
  for (const auto& [path, text] : files.sentence_texts) {
    if (!path.starts_with("sentence_")) continue;
    SOTTO_ASSIGN_OR_RETURN(const Json json, ParseFile(files, path));
    SOTTO_RETURN_IF_ERROR(CheckKeys(json, {"max_seq_length", "do_lower_case"}).In(path));
    SOTTO_ASSIGN_OR_RETURN(max_seq_length_, json.IntOr("max_seq_length", 0, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(lower_case_, json.BoolOr("do_lower_case", false));
  }
  constexpr std::string_view kSettings = "config_sentence_transformers.json";
  SOTTO_ASSIGN_OR_RETURN(const Json json, ParseFile(files, kSettings));
  SOTTO_ASSIGN_OR_RETURN(const std::string kind,
                         json.StringOr("model_type", "SentenceTransformer"));
  if (kind != "SentenceTransformer")
    return Unsupported(StrCat(kSettings, ": a '", kind, "' is not implemented"));
  for (const auto& [name, prompt] : json["prompts"].members())
    prompts_.emplace_back(name, prompt.as_string());
  SOTTO_ASSIGN_OR_RETURN(default_prompt_, json.StringOr("default_prompt_name", ""));
  if (!default_prompt_.empty() && !json["prompts"][default_prompt_].is_string())
    return InvalidFile(StrCat(kSettings, ": there is no prompt '", default_prompt_, "'"));
  return OkStatus();
}

Status SentenceModules::ReadPooling(const Json& config, int64_t& width) {
  SOTTO_RETURN_IF_ERROR(CheckKeys(
      config, {"word_embedding_dimension", "embedding_dimension", "pooling_mode_cls_token",
               "pooling_mode_max_tokens", "pooling_mode_mean_tokens",
               "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens",
               "pooling_mode_lasttoken", "pooling_mode", "include_prompt"}));
  for (const char* key : {"word_embedding_dimension", "embedding_dimension"}) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t named, config.IntOr(key, width, 1, kMaxWidth));
    if (named != width)
      return InvalidFile(StrCat("'", key, "' is ", named, ", but the model gives ", width));
  }
  // Either one name, or a switch for each.
  SOTTO_ASSIGN_OR_RETURN(const std::string name, config.StringOr("pooling_mode", ""));
  if (!name.empty()) {
    const std::optional<Pooling> mode = PoolingByName(name);
    if (!mode) return Unsupported(StrCat("'pooling_mode' ", name, " is not implemented"));
    pooling_.push_back(*mode);
  }
  for (const auto& [key, mode] : kModeKeys) {
    SOTTO_ASSIGN_OR_RETURN(const bool on, config.BoolOr(key, mode == Pooling::kMean));
    if (on && name.empty()) pooling_.push_back(mode);
  }
  if (pooling_.empty()) return InvalidFile("no 'pooling_mode' is on");
  SOTTO_ASSIGN_OR_RETURN(include_prompt_, config.BoolOr("include_prompt", true));
  width *= static_cast<int64_t>(pooling_.size());
  return OkStatus();
}

Status SentenceModules::ReadDense(const Json& config, TensorSource& tensors, int64_t& width) {
  SOTTO_RETURN_IF_ERROR(
      CheckKeys(config, {"in_features", "out_features", "bias", "activation_function",
                         "module_input_name", "module_output_name"}));
  for (const char* key : {"module_input_name", "module_output_name"})
    SOTTO_RETURN_IF_ERROR(RequireConfig(config, key, Json::String("sentence_embedding")));
  SOTTO_ASSIGN_OR_RETURN(const int64_t in, config.IntAt("in_features", 1, 8 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(const int64_t out, config.IntAt("out_features", 1, 8 * kMaxWidth));
  if (in != width) return InvalidFile(StrCat("'in_features' is ", in, "; ", width, " come"));
  SOTTO_ASSIGN_OR_RETURN(const bool bias, config.BoolOr("bias", true));
  SOTTO_ASSIGN_OR_RETURN(
      const std::string function,
      config.StringOr("activation_function", "torch.nn.modules.activation.Tanh"));
  Module module{.kind = Module::kDense};
  SOTTO_ASSIGN_OR_RETURN(module.activates, ReadActivation(function, module.activation));
  SOTTO_ASSIGN_OR_RETURN(module.weight, TakeTensor(tensors, "linear.weight", {out, in}));
  if (bias) {
    SOTTO_ASSIGN_OR_RETURN(module.bias, TakeTensor(tensors, "linear.bias", {out}));
  }
  for (const std::string& name : tensors.Unused())
    return InvalidFile(StrCat("the tensor '", name, "' is of no use"));
  modules_.push_back(std::move(module));
  width = out;
  return OkStatus();
}

Status SentenceModules::ReadLayerNorm(const Json& config, TensorSource& tensors, int64_t width) {
  SOTTO_RETURN_IF_ERROR(CheckKeys(config, {"dimension"}));
  SOTTO_RETURN_IF_ERROR(RequireConfig(config, "dimension", Json::Int(width)));
  Module module{.kind = Module::kLayerNorm};
  SOTTO_ASSIGN_OR_RETURN(module.weight, TakeTensor(tensors, "norm.weight", {width}));
  SOTTO_ASSIGN_OR_RETURN(module.bias, TakeTensor(tensors, "norm.bias", {width}));
  modules_.push_back(std::move(module));
  return OkStatus();
}

std::string SentenceModules::Prepared(std::string_view prompt, std::string_view text) const {
  const std::string whole = StrCat(prompt, text);
  std::string out;
  size_t kept = 0;  // without the blanks at the end
  for (size_t at = 0; at < whole.size();) {
    const Utf8Char c = DecodeUtf8(whole, at);
    at += static_cast<size_t>(c.length);
    // Python's str.strip counts the separators of information, too.
    const bool blank = unicode::Has(c.code, unicode::kSpace) || (c.code >= 0x1C && c.code <= 0x1F);
    if (blank && out.empty()) continue;
    AppendUtf8(out, lower_case_ ? unicode::ToLower(c.code) : c.code);
    if (lower_case_ && c.code == 0x130) AppendUtf8(out, 0x307);
    if (!blank) kept = out.size();
  }
  out.resize(kept);
  return out;
}

Result<std::string> SentenceModules::Prompt(const Json& name) const {
  if (!name.is_null() && !name.is_string())
    return InvalidArgument("'prompt_name' is the name of one of the model's prompts");
  const std::string& wanted = name.is_null() ? default_prompt_ : name.as_string();
  if (wanted.empty() && name.is_null()) return std::string();
  std::string known;
  for (const auto& [key, prompt] : prompts_) {
    if (key == wanted) return prompt;
    known += StrCat(known.empty() ? "" : ", ", key);
  }
  return InvalidArgument(StrCat("the model has no prompt '", wanted, "'; ",
                                known.empty() ? "it has none" : StrCat("known are ", known)));
}

Result<std::vector<float>> SentenceModules::Embed(Context& ctx, const Tensor& tokens,
                                                  int64_t prompt_tokens) const {
  std::vector<float> pooled;
  for (const Pooling mode : pooling_)
    AppendPooled(mode, tokens, include_prompt_ ? 0 : prompt_tokens, pooled);
  SOTTO_ASSIGN_OR_RETURN(Tensor x,
                         Tensor::FromFloats({1, static_cast<int64_t>(pooled.size())}, pooled));
  for (const Module& module : modules_) {
    switch (module.kind) {
      case Module::kDense:
        x = Linear(ctx, x, module.weight, module.bias);
        if (module.activates) x = Activate(ctx, x, module.activation);
        break;
      case Module::kLayerNorm:
        x = LayerNorm(ctx, x, module.weight, module.bias, 1e-5f);
        break;
      case Module::kNormalize:
        ScaleToLength1(x.floats());
        break;
    }
    if (!ctx.ok()) return ctx.status();
  }
  return std::vector<float>(x.floats().begin(), x.floats().end());
}

}  // namespace sotto
