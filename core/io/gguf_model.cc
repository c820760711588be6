#include "core/io/gguf_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "core/base/json.h"
#include "core/base/utf8.h"
#include "core/io/gguf_tokenizer.h"

namespace sotto {
namespace {

// Above any model that fits a page; the architectures check more closely.
constexpr int64_t kMaxWidth = 1 << 18, kMaxLayers = 1 << 10, kMaxHeads = 1 << 10,
                  kMaxContext = 1 << 24, kMaxVocab = 1 << 22;

// What a converter did to a tensor's rows.
enum class Change : uint8_t {
  kNone,
  kQueryHalves,   // the halves of each query head interleaved (Llama's rotary positions)
  kKeyHalves,     // the same by key heads
  kHeadsByPart,   // [heads, 3, size] stored as [3, heads, size]
  kUpright,       // [in, out] stored as [out, in]
  kPlusOne,       // 1 added
  kNegativeExp,   // -exp(x) of it stored
  kSqueezed,      // extents of 1 left out
  kValueRows,     // at its end, the value heads of each key head strewn among those of the others
  kValueColumns,  // the same of the columns
};

// '#' stands for the layer's number; the suffix ".weight" or ".bias" is kept, but for ".bias"
// behind a name that ends with "_bias".
struct NameRule {
  std::string_view stored, name;
  Change change = Change::kNone, also = Change::kNone;
};

// The decimal number of the fewest digits that is this f32: what a config would say.
double Shortest(float value) {
  if (value == 0) return 0;
  const double exact = value, exponent = std::floor(std::log10(std::fabs(exact)));
  for (double digits = 0; digits < 8; ++digits) {
    const double places = digits - exponent, power = std::pow(10.0, std::fabs(places));
    const double rounded =
        places < 0 ? std::nearbyint(exact / power) * power : std::nearbyint(exact * power) / power;
    if (static_cast<float>(rounded) == value) return rounded;
  }
  return exact;
}

// Collects config.json.
class Settings {
 public:
  Settings(const GgufMetadata& metadata, std::string prefix)
      : metadata_(metadata), prefix_(std::move(prefix)) {}

  const GgufMetadata& metadata() const { return metadata_; }
  // The full name of one of the architecture's keys, which counts as read.
  std::string Key(std::string_view name) {
    std::string key = StrCat(prefix_, ".", name);
    read_.insert(key);
    return key;
  }
  bool Has(std::string_view name) { return metadata_.Has(Key(name)); }
  Result<int64_t> Int(std::string_view name, int64_t min, int64_t max) {
    return metadata_.IntAt(Key(name), min, max);
  }
  Result<double> Number(std::string_view name) { return metadata_.NumberAt(Key(name)); }
  Result<double> NumberOr(std::string_view name, double fallback) {
    return metadata_.NumberOr(Key(name), fallback);
  }

  void Put(std::string_view key, Json value) { members_.emplace_back(key, std::move(value)); }
  Status PutInt(std::string_view key, std::string_view name, int64_t min, int64_t max) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t value, Int(name, min, max));
    Put(key, Json::Int(value));
    return OkStatus();
  }
  Status PutNumber(std::string_view key, std::string_view name) {
    SOTTO_ASSIGN_OR_RETURN(const double value, Number(name));
    if (!std::isfinite(value)) return InvalidFile(StrCat("'", Key(name), "' is not finite"));
    Put(key, Json::Number(Shortest(static_cast<float>(value))));
    return OkStatus();
  }
  Status PutNumberIfThere(std::string_view key, std::string_view name) {
    return Has(name) ? PutNumber(key, name) : OkStatus();
  }
  // A setting that must have one value, because another is not implemented.
  Status Require(std::string_view name, const GgufValue& value, std::string_view meaning) {
    const GgufValue* given = metadata_.Find(Key(name));
    if (given == nullptr || *given == value) return OkStatus();
    return Unsupported(StrCat("'", Key(name), "': ", meaning));
  }
  void Ignore(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) Key(name);
  }
  Status CheckAllRead() const {
    for (const auto& [key, value] : metadata_.values()) {
      if (key.starts_with(prefix_ + ".") && !read_.contains(key)) {
        return Unsupported(StrCat("the setting '", key, "' is not supported"));
      }
    }
    return OkStatus();
  }
  Json Config() { return Json::Object(std::move(members_)); }

  // Of a hybrid: which layers do what.
  std::vector<Json> layer_types;
  bool guesses = false;  // and whether there are layers besides
  // What names of tensors say.
  bool has_output = false, has_attention_bias = false, has_mlp_bias = false, has_gate = false;
  int64_t heads = 0, kv_heads = 0, width = 0, head_dim = 0, layers = 0, feed_forward = 0;
  int64_t decoder_start = -1;  // the first token of a decoder; -1: none is said
  int64_t key_heads = 0, value_heads = 0, value_dim = 0;  // of linear attention

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
  std::set<std::string> read_;
  std::vector<Json::Member> members_;
};

// Extents and the like that every architecture has, under the names that most configs use.
Status CommonSizes(Settings& s) {
  SOTTO_ASSIGN_OR_RETURN(s.width, s.Int("embedding_length", 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(s.layers, s.Int("block_count", 1, kMaxLayers));
  if (s.Has("nextn_predict_layers")) {  // which guess further tokens, and come last
    SOTTO_ASSIGN_OR_RETURN(const int64_t guessing, s.Int("nextn_predict_layers", 0, s.layers - 1));
    s.layers -= guessing;
    s.guesses = guessing > 0;
  }
  SOTTO_ASSIGN_OR_RETURN(s.heads, s.Int("attention.head_count", 1, kMaxHeads));
  if (s.kv_heads == 0) s.kv_heads = s.heads;
  if (const GgufValue* by_layer = s.metadata().Find(s.Key("attention.head_count_kv"));
      by_layer != nullptr && !std::holds_alternative<std::vector<int64_t>>(*by_layer)) {
    SOTTO_ASSIGN_OR_RETURN(s.kv_heads, s.Int("attention.head_count_kv", 1, s.heads));
  } else if (by_layer != nullptr && s.layer_types.empty()) {
    const auto& counts = std::get<std::vector<int64_t>>(*by_layer);
    if (counts.empty() || std::count(counts.begin(), counts.end(), counts[0]) !=
                              static_cast<std::ptrdiff_t>(counts.size())) {
      return Unsupported(StrCat("'", s.Key("attention.head_count_kv"),
                                "': layers with different numbers of heads are not supported"));
    }
    if (counts[0] < 1 || counts[0] > s.heads) {
      return InvalidFile(StrCat("'", s.Key("attention.head_count_kv"), "' must be between 1 and ",
                                s.heads, "; it is ", counts[0]));
    }
    s.kv_heads = counts[0];
  }
  s.head_dim = s.width / s.heads;
  if (s.Has("attention.key_length")) {
    SOTTO_ASSIGN_OR_RETURN(s.head_dim, s.Int("attention.key_length", 1, kMaxWidth));
    SOTTO_RETURN_IF_ERROR(s.Require("attention.value_length", s.head_dim,
                                    "values of another size than keys are not supported"));
  } else if (s.width % s.heads != 0) {
    return InvalidFile(
        StrCat("a width of ", s.width, " does not divide among ", s.heads, " heads"));
  }
  if (s.Has("expert_count")) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t experts, s.Int("expert_count", 0, 1 << 16));
    if (experts > 0)
      return Unsupported(StrCat("a mixture of ", experts, " experts is not supported"));
  }
  // Repeated elsewhere, only for a report, or read where the whole is described.
  s.Ignore({"vocab_size", "expert_used_count", "attention.value_length", "rope.scaling.finetuned",
            "tensor_data_layout", "pooling_type"});
  return OkStatus();
}

// The factors of a tensor of rotary frequencies, or null where its bytes have not arrived.
Result<Json> Factors(const TensorInfo& tensor, int64_t count, const GgufPeek& peek) {
  if (tensor.dtype != DType::kF32 || tensor.shape.elements() != count) {
    return InvalidFile(StrCat("tensor '", tensor.name, "' must be F32 [", count, "]"));
  }
  const std::optional<std::string_view> bytes = peek(tensor);
  if (!bytes) return Json();
  std::vector<Json> factors;
  for (int64_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, bytes->data() + i * 4, 4);
    if (!(value > 0) || !std::isfinite(value)) {
      return InvalidFile(StrCat("tensor '", tensor.name, "' has a factor that is not positive"));
    }
    factors.push_back(Json::Number(value));
  }
  return Json::Array(std::move(factors));
}

// Rotary positions. False: the factors have not arrived.
Result<bool> Rotary(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek,
                    int64_t turning) {
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("rope_theta", "rope.freq_base"));
  SOTTO_ASSIGN_OR_RETURN(const std::string type,
                         s.metadata().StringOr(s.Key("rope.scaling.type"), "none"));
  SOTTO_ASSIGN_OR_RETURN(const double magnitude, s.NumberOr("rope.scaling.attn_factor", 1));
  int64_t original = 0;
  if (s.Has("rope.scaling.original_context_length")) {
    SOTTO_ASSIGN_OR_RETURN(original, s.Int("rope.scaling.original_context_length", 1, kMaxContext));
  }
  SOTTO_ASSIGN_OR_RETURN(const int64_t context, s.Int("context_length", 1, kMaxContext));
  Json lists[2];
  const auto take = [&](std::string_view name, Json& list) -> Result<bool> {
    const auto at = std::find_if(tensors.begin(), tensors.end(),
                                 [&](const TensorInfo& t) { return t.name == name; });
    if (at == tensors.end()) return true;
    SOTTO_ASSIGN_OR_RETURN(list, Factors(*at, turning / 2, peek));
    return !list.is_null();
  };
  for (const auto& [name, list] :
       {std::pair<std::string_view, Json*>{"rope_freqs.weight", &lists[0]},
        {"rope_factors_short.weight", &lists[0]},
        {"rope_factors_long.weight", &lists[1]}}) {
    SOTTO_ASSIGN_OR_RETURN(const bool there, take(name, *list));
    if (!there) return false;
  }
  std::erase_if(tensors, [](const TensorInfo& t) {
    return t.name == "rope_freqs.weight" || t.name.starts_with("rope_factors_");
  });
  if (!lists[0].is_null()) {  // the factors are what matters, whatever made them
    if (lists[1].is_null()) lists[1] = lists[0];
    s.Put("rope_scaling", Json::Object({{"rope_type", Json::String("longrope")},
                                        {"short_factor", lists[0]},
                                        {"long_factor", lists[1]},
                                        {"attention_factor", Json::Number(magnitude)},
                                        {"original_max_position_embeddings",
                                         Json::Int(original > 0 ? original : context)}}));
    return true;
  }
  if (type == "none" || type == "longrope") return true;
  if (type != "linear" && type != "yarn") {
    return Unsupported(StrCat("rotary scaling of type '", type, "' is not supported"));
  }
  SOTTO_ASSIGN_OR_RETURN(const double factor, s.Number("rope.scaling.factor"));
  std::vector<Json::Member> scaling{{"rope_type", Json::String(type)},
                                    {"factor", Json::Number(factor)}};
  if (type == "yarn") {
    if (original > 0) {
      scaling.emplace_back("original_max_position_embeddings", Json::Int(original));
    }
    for (const auto& [key, name] :
         {std::pair<std::string_view, std::string_view>{"beta_fast", "rope.scaling.yarn_beta_fast"},
          {"beta_slow", "rope.scaling.yarn_beta_slow"},
          {"attention_factor", "rope.scaling.yarn_attn_factor"}}) {
      if (!s.Has(name)) continue;
      SOTTO_ASSIGN_OR_RETURN(const double value, s.Number(name));
      scaling.emplace_back(key, Json::Number(value));
    }
    SOTTO_RETURN_IF_ERROR(
        s.Require("rope.scaling.yarn_ext_factor", 1.0, "another mix than 1 is not supported"));
  }
  s.Put("rope_scaling", Json::Object(std::move(scaling)));
  return true;
}

// What the configs of Llama and its successors have in common. `share` of a head's columns that
// turn is checked, or written under that key.
Result<bool> LlamaLike(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek,
                       std::string_view share_key = {}) {
  SOTTO_RETURN_IF_ERROR(CommonSizes(s));
  s.Put("hidden_size", Json::Int(s.width));
  s.Put("num_hidden_layers", Json::Int(s.layers));
  s.Put("num_attention_heads", Json::Int(s.heads));
  s.Put("num_key_value_heads", Json::Int(s.kv_heads));
  s.Put("head_dim", Json::Int(s.head_dim));
  SOTTO_RETURN_IF_ERROR(s.PutInt("intermediate_size", "feed_forward_length", 1, 4 * kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("max_position_embeddings", "context_length", 1, kMaxContext));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("rms_norm_eps", "attention.layer_norm_rms_epsilon"));
  s.Put("tie_word_embeddings", Json::Bool(!s.has_output));
  int64_t turning = s.head_dim;
  if (s.Has("rope.dimension_count")) {
    SOTTO_ASSIGN_OR_RETURN(turning, s.Int("rope.dimension_count", 2, s.head_dim));
  }
  if (!share_key.empty()) {
    s.Put(share_key, Json::Number(static_cast<double>(turning) / static_cast<double>(s.head_dim)));
  } else if (turning != s.head_dim) {
    return Unsupported(
        StrCat("heads of ", s.head_dim, " columns of which ", turning, " turn are not supported"));
  }
  return Rotary(s, tensors, peek, turning);
}

Result<bool> Llama(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  s.Put("attention_bias", Json::Bool(s.has_attention_bias));
  s.Put("mlp_bias", Json::Bool(s.has_mlp_bias));
  return LlamaLike(s, tensors, peek);
}

Result<bool> Granite(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("attention_multiplier", "attention.scale"));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("embedding_multiplier", "embedding_scale"));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("residual_multiplier", "residual_scale"));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("logits_scaling", "logit_scale"));
  return Llama(s, tensors, peek);
}

// Without positions in every fourth layer, as the reference has it built in.
Result<bool> SmolLm3(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  s.Put("no_rope_layer_interval", Json::Int(4));
  return Llama(s, tensors, peek);
}

Result<bool> Plain(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  return LlamaLike(s, tensors, peek);
}

// Gemma 2 and 3: windows in all layers but each second or sixth.
Status Gemma(Settings& s, int64_t widest) {
  SOTTO_RETURN_IF_ERROR(s.PutInt("sliding_window", "attention.sliding_window", 1, kMaxContext));
  if (s.Has("attention.sliding_window_pattern")) {
    SOTTO_RETURN_IF_ERROR(
        s.PutInt("sliding_window_pattern", "attention.sliding_window_pattern", 1, kMaxLayers));
  }
  // The largest model alone divides by the width of the hidden states for each head.
  s.Put("query_pre_attn_scalar", Json::Int(s.layers == widest ? s.width / s.heads : s.head_dim));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("final_logit_softcapping", "final_logit_softcapping"));
  s.Put("hidden_activation", Json::String("gelu_pytorch_tanh"));
  return OkStatus();
}

Result<bool> Gemma2(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  SOTTO_ASSIGN_OR_RETURN(const bool there, LlamaLike(s, tensors, peek));
  SOTTO_RETURN_IF_ERROR(
      s.Require("attention.sliding_window_pattern", int64_t{2}, "another than 2 is not supported"));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("attn_logit_softcapping", "attn_logit_softcapping"));
  SOTTO_RETURN_IF_ERROR(Gemma(s, 46));
  return there;
}

// Windowed layers have a base of their own.
Result<bool> Gemma3(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  SOTTO_ASSIGN_OR_RETURN(const bool there, LlamaLike(s, tensors, peek));
  if (s.Has("rope.freq_base_swa")) {
    SOTTO_RETURN_IF_ERROR(s.PutNumber("rope_local_base_freq", "rope.freq_base_swa"));
  } else {
    s.Put("rope_local_base_freq", Json::Number(10000));
  }
  SOTTO_RETURN_IF_ERROR(Gemma(s, 62));
  return there;
}

Result<bool> GemmaEmbedding(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  s.Put("use_bidirectional_attention", Json::Bool(true));
  return Gemma3(s, tensors, peek);
}

Result<bool> Lfm2(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  // A layer without key heads convolves.
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int64_t>* heads,
                         s.metadata().IntsOrNull(s.Key("attention.head_count_kv")));
  SOTTO_ASSIGN_OR_RETURN(const int64_t layers, s.Int("block_count", 1, kMaxLayers));
  if (heads == nullptr || static_cast<int64_t>(heads->size()) != layers) {
    return InvalidFile(
        StrCat("'", s.Key("attention.head_count_kv"), "' must have ", layers, " items"));
  }
  for (const int64_t count : *heads) {
    if (count < 0 || count > kMaxHeads || (count > 0 && s.kv_heads > 0 && count != s.kv_heads)) {
      return Unsupported(StrCat("'", s.Key("attention.head_count_kv"), "': ", count,
                                " heads in one layer are not supported"));
    }
    if (count > 0) s.kv_heads = count;
    s.layer_types.push_back(Json::String(count > 0 ? "full_attention" : "conv"));
  }
  s.Put("layer_types", Json::Array(s.layer_types));
  SOTTO_ASSIGN_OR_RETURN(const bool there, LlamaLike(s, tensors, peek));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("norm_eps", "attention.layer_norm_rms_epsilon"));
  SOTTO_RETURN_IF_ERROR(s.PutInt("conv_L_cache", "shortconv.l_cache", 1, 1 << 10));
  s.Put("block_auto_adjust_ff_dim", Json::Bool(false));
  return there;
}

Result<bool> Qwen35(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  SOTTO_ASSIGN_OR_RETURN(s.key_heads, s.Int("ssm.group_count", 1, kMaxHeads));
  SOTTO_ASSIGN_OR_RETURN(s.value_heads, s.Int("ssm.time_step_rank", 1, kMaxHeads));
  SOTTO_ASSIGN_OR_RETURN(const int64_t inner, s.Int("ssm.inner_size", 1, 4 * kMaxWidth));
  if (inner % s.value_heads != 0 || s.value_heads % s.key_heads != 0) {
    return InvalidFile(StrCat(s.key_heads, " key heads, ", s.value_heads, " value heads and ",
                              inner, " values do not divide"));
  }
  s.value_dim = inner / s.value_heads;
  s.Put("linear_num_key_heads", Json::Int(s.key_heads));
  s.Put("linear_num_value_heads", Json::Int(s.value_heads));
  s.Put("linear_value_head_dim", Json::Int(s.value_dim));
  SOTTO_RETURN_IF_ERROR(s.PutInt("linear_key_head_dim", "ssm.state_size", 1, kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("linear_conv_kernel_dim", "ssm.conv_kernel", 1, 1 << 10));
  SOTTO_ASSIGN_OR_RETURN(const bool there, LlamaLike(s, tensors, peek, "partial_rotary_factor"));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<bool>* linear,
                         s.metadata().BoolsOrNull(s.Key("attention.recurrent_layers")));
  if (linear != nullptr) {
    if (static_cast<int64_t>(linear->size()) < s.layers) {
      return InvalidFile(
          StrCat("'", s.Key("attention.recurrent_layers"), "' must have ", s.layers, " items"));
    }
    for (int64_t i = 0; i < s.layers; ++i) {
      s.layer_types.push_back(
          Json::String((*linear)[static_cast<size_t>(i)] ? "linear_attention" : "full_attention"));
    }
    s.Put("layer_types", Json::Array(s.layer_types));
  } else if (s.Has("full_attention_interval")) {
    SOTTO_RETURN_IF_ERROR(
        s.PutInt("full_attention_interval", "full_attention_interval", 1, kMaxLayers));
  }
  // In a text all parts of a position are the same.
  s.Ignore({"rope.dimension_sections", "full_attention_interval"});
  return there;
}

Result<bool> Phi3(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  int64_t window = 0;
  if (s.Has("attention.sliding_window")) {
    SOTTO_ASSIGN_OR_RETURN(window, s.Int("attention.sliding_window", 0, kMaxContext));
  }
  if (window > 0) s.Put("sliding_window", Json::Int(window));
  return LlamaLike(s, tensors, peek, "partial_rotary_factor");
}

Result<bool> Gpt2(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(CommonSizes(s));
  s.Put("n_embd", Json::Int(s.width));
  s.Put("n_layer", Json::Int(s.layers));
  s.Put("n_head", Json::Int(s.heads));
  s.Put("n_inner", Json::Int(s.feed_forward));  // converters write 4 n_embd, whatever it is
  s.Ignore({"feed_forward_length"});
  SOTTO_RETURN_IF_ERROR(s.PutInt("n_positions", "context_length", 1, kMaxContext));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("layer_norm_epsilon", "attention.layer_norm_epsilon"));
  s.Put("tie_word_embeddings", Json::Bool(!s.has_output));
  s.Put("activation_function", Json::String("gelu_new"));
  return true;
}

Result<bool> GptNeoX(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(CommonSizes(s));
  s.Put("hidden_size", Json::Int(s.width));
  s.Put("num_hidden_layers", Json::Int(s.layers));
  s.Put("num_attention_heads", Json::Int(s.heads));
  SOTTO_RETURN_IF_ERROR(s.PutInt("intermediate_size", "feed_forward_length", 1, 4 * kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("max_position_embeddings", "context_length", 1, kMaxContext));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("layer_norm_eps", "attention.layer_norm_epsilon"));
  SOTTO_ASSIGN_OR_RETURN(const int64_t turning, s.Int("rope.dimension_count", 0, s.head_dim));
  s.Put("rotary_pct", Json::Number(static_cast<double>(turning) / static_cast<double>(s.head_dim)));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("rope_theta", "rope.freq_base"));
  SOTTO_ASSIGN_OR_RETURN(const bool parallel,
                         s.metadata().BoolOr(s.Key("use_parallel_residual"), true));
  s.Put("use_parallel_residual", Json::Bool(parallel));
  s.Put("hidden_act", Json::String("gelu"));
  s.Put("tie_word_embeddings", Json::Bool(!s.has_output));
  return true;
}

Result<bool> Mamba(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(s.PutInt("hidden_size", "embedding_length", 1, kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("num_hidden_layers", "block_count", 1, kMaxLayers));
  SOTTO_RETURN_IF_ERROR(s.PutInt("conv_kernel", "ssm.conv_kernel", 1, 1 << 10));
  SOTTO_RETURN_IF_ERROR(s.PutInt("intermediate_size", "ssm.inner_size", 1, 4 * kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("state_size", "ssm.state_size", 1, 1 << 16));
  SOTTO_RETURN_IF_ERROR(s.PutInt("time_step_rank", "ssm.time_step_rank", 1, kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("layer_norm_epsilon", "attention.layer_norm_rms_epsilon"));
  SOTTO_RETURN_IF_ERROR(
      s.Require("ssm.dt_b_c_rms", false, "norms within the mixer (FalconMamba) are not supported"));
  SOTTO_ASSIGN_OR_RETURN(const int64_t inner, s.Int("ssm.inner_size", 1, 4 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(const int64_t width, s.Int("embedding_length", 1, kMaxWidth));
  s.Put("expand", Json::Number(static_cast<double>(inner) / static_cast<double>(width)));
  s.Put("tie_word_embeddings", Json::Bool(!s.has_output));
  s.Ignore({"context_length", "feed_forward_length", "attention.head_count", "vocab_size"});
  return true;
}

// What encoders' configs have in common.
Status EncoderSizes(Settings& s) {
  SOTTO_RETURN_IF_ERROR(CommonSizes(s));
  s.Put("hidden_size", Json::Int(s.width));
  s.Put("num_hidden_layers", Json::Int(s.layers));
  s.Put("num_attention_heads", Json::Int(s.heads));
  SOTTO_RETURN_IF_ERROR(s.PutInt("intermediate_size", "feed_forward_length", 1, 4 * kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("max_position_embeddings", "context_length", 1, kMaxContext));
  SOTTO_RETURN_IF_ERROR(s.Require("attention.causal", false, "an encoder sees both ways"));
  if (s.head_dim * s.heads != s.width) {
    return Unsupported(StrCat(s.heads, " heads of ", s.head_dim, " columns in a width of ", s.width,
                              " are not supported"));
  }
  return OkStatus();
}

// Also RoBERTa and its like, of which the converter leaves out the first rows of positions: what
// remains is a BERT.
Result<bool> Bert(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(EncoderSizes(s));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("layer_norm_eps", "attention.layer_norm_epsilon"));
  s.Put("hidden_act", Json::String("gelu"));
  s.Put("add_pooling_layer", Json::Bool(false));
  return true;
}

// A BERT without token types.
Result<bool> DistilBert(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(EncoderSizes(s));
  s.Put("dim", Json::Int(s.width));
  s.Put("n_layers", Json::Int(s.layers));
  s.Put("n_heads", Json::Int(s.heads));
  SOTTO_RETURN_IF_ERROR(s.PutInt("hidden_dim", "feed_forward_length", 1, 4 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(const double epsilon, s.Number("attention.layer_norm_epsilon"));
  if (!(epsilon > 0 && epsilon < 2e-12)) {
    return Unsupported(StrCat("'", s.Key("attention.layer_norm_epsilon"),
                              "': another than 1e-12 is not supported without token types"));
  }
  s.Put("activation", Json::String("gelu"));
  return true;
}

Result<bool> NomicBert(Settings& s, std::vector<TensorInfo>& tensors, const GgufPeek& peek) {
  SOTTO_RETURN_IF_ERROR(EncoderSizes(s));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("layer_norm_eps", "attention.layer_norm_epsilon"));
  s.Put("hidden_act", Json::String("silu"));
  return Rotary(s, tensors, peek, s.head_dim);
}

Result<bool> ModernBert(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(EncoderSizes(s));
  const bool rms = s.Has("attention.layer_norm_rms_epsilon");  // the converter writes either
  SOTTO_RETURN_IF_ERROR(s.PutNumber(
      "norm_eps", rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"));
  SOTTO_RETURN_IF_ERROR(s.PutInt("local_attention", "attention.sliding_window", 2, kMaxContext));
  if (s.Has("attention.sliding_window_pattern")) {
    SOTTO_RETURN_IF_ERROR(
        s.PutInt("global_attn_every_n_layers", "attention.sliding_window_pattern", 1, kMaxLayers));
  }
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("global_rope_theta", "rope.freq_base"));
  SOTTO_RETURN_IF_ERROR(s.PutNumberIfThere("local_rope_theta", "rope.freq_base_swa"));
  SOTTO_RETURN_IF_ERROR(
      s.Require("rope.scaling.type", std::string("none"), "scaled positions are not supported"));
  if (s.Has("hidden_activation")) {
    SOTTO_ASSIGN_OR_RETURN(const std::string act,
                           s.metadata().StringAt(s.Key("hidden_activation")));
    s.Put("hidden_activation", Json::String(ReplaceInvalidUtf8(act)));
  }
  // Of the heads for classes, whose tensors are refused.
  s.Ignore({"classifier.pooling_type", "classifier.activation", "attention.layer_norm_epsilon"});
  return true;
}

Result<bool> T5(Settings& s, std::vector<TensorInfo>&, const GgufPeek&) {
  SOTTO_RETURN_IF_ERROR(CommonSizes(s));
  s.Put("d_model", Json::Int(s.width));
  s.Put("num_layers", Json::Int(s.layers));
  if (s.Has("decoder_block_count")) {
    SOTTO_RETURN_IF_ERROR(s.PutInt("num_decoder_layers", "decoder_block_count", 1, kMaxLayers));
  }
  s.Put("num_heads", Json::Int(s.heads));
  s.Put("d_kv", Json::Int(s.head_dim));
  SOTTO_RETURN_IF_ERROR(s.PutInt("d_ff", "feed_forward_length", 1, 4 * kMaxWidth));
  SOTTO_RETURN_IF_ERROR(s.PutInt("n_positions", "context_length", 1, kMaxContext));
  SOTTO_RETURN_IF_ERROR(
      s.PutInt("relative_attention_num_buckets", "attention.relative_buckets_count", 1, 1 << 16));
  SOTTO_RETURN_IF_ERROR(s.PutNumber("layer_norm_epsilon", "attention.layer_norm_rms_epsilon"));
  if (s.Has("decoder_start_token_id")) {
    SOTTO_ASSIGN_OR_RETURN(s.decoder_start, s.Int("decoder_start_token_id", 0, kMaxVocab));
  }
  s.Put("feed_forward_proj", Json::String(s.has_gate ? "gated-gelu" : "relu"));
  s.Put("tie_word_embeddings", Json::Bool(!s.has_output));
  s.Put("is_encoder_decoder", Json::Bool(true));
  s.Ignore({"attention.layer_norm_epsilon"});
  return true;
}

constexpr NameRule kLlamaNames[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm"},
    {"blk.#.attn_q", "model.layers.#.self_attn.q_proj"},
    {"blk.#.attn_k", "model.layers.#.self_attn.k_proj"},
    {"blk.#.attn_v", "model.layers.#.self_attn.v_proj"},
    {"blk.#.attn_qkv", "model.layers.#.self_attn.qkv_proj"},
    {"blk.#.attn_output", "model.layers.#.self_attn.o_proj"},
    {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm"},
    {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm"},
    {"blk.#.ffn_norm", "model.layers.#.post_attention_layernorm"},
    {"blk.#.ffn_gate", "model.layers.#.mlp.gate_proj"},
    {"blk.#.ffn_up", "model.layers.#.mlp.up_proj"},
    {"blk.#.ffn_down", "model.layers.#.mlp.down_proj"},
    // Norms behind the sublayers.
    {"blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm"},
    {"blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm"},
};

// Rules of an architecture's own go before those above.
constexpr NameRule kHalves[] = {
    {"blk.#.attn_q", "model.layers.#.self_attn.q_proj", Change::kQueryHalves},
    {"blk.#.attn_k", "model.layers.#.self_attn.k_proj", Change::kKeyHalves},
};
constexpr NameRule kGemmaNames[] = {
    {"output_norm", "model.norm", Change::kPlusOne},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm", Change::kPlusOne},
    {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm", Change::kPlusOne},
    {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm", Change::kPlusOne},
    {"blk.#.ffn_norm", "model.layers.#.pre_feedforward_layernorm", Change::kPlusOne},
    {"blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm", Change::kPlusOne},
    {"blk.#.post_ffw_norm", "model.layers.#.post_feedforward_layernorm", Change::kPlusOne},
};
constexpr NameRule kPhi3Names[] = {{"blk.#.ffn_up", "model.layers.#.mlp.gate_up_proj"}};
constexpr NameRule kGpt2Names[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.#.attn_norm", "transformer.h.#.ln_1"},
    {"blk.#.attn_qkv", "transformer.h.#.attn.c_attn", Change::kUpright},
    {"blk.#.attn_output", "transformer.h.#.attn.c_proj", Change::kUpright},
    {"blk.#.ffn_norm", "transformer.h.#.ln_2"},
    {"blk.#.ffn_up", "transformer.h.#.mlp.c_fc", Change::kUpright},
    {"blk.#.ffn_down", "transformer.h.#.mlp.c_proj", Change::kUpright},
};
constexpr NameRule kGptNeoXNames[] = {
    {"token_embd", "gpt_neox.embed_in"},
    {"output_norm", "gpt_neox.final_layer_norm"},
    {"output", "embed_out"},
    {"blk.#.attn_norm", "gpt_neox.layers.#.input_layernorm"},
    {"blk.#.attn_qkv", "gpt_neox.layers.#.attention.query_key_value", Change::kHeadsByPart},
    {"blk.#.attn_output", "gpt_neox.layers.#.attention.dense"},
    {"blk.#.ffn_norm", "gpt_neox.layers.#.post_attention_layernorm"},
    {"blk.#.ffn_up", "gpt_neox.layers.#.mlp.dense_h_to_4h"},
    {"blk.#.ffn_down", "gpt_neox.layers.#.mlp.dense_4h_to_h"},
};
constexpr NameRule kMambaNames[] = {
    {"token_embd", "backbone.embeddings"},
    {"output_norm", "backbone.norm_f"},
    {"output", "lm_head"},
    {"blk.#.attn_norm", "backbone.layers.#.norm"},
    {"blk.#.ssm_in", "backbone.layers.#.mixer.in_proj"},
    {"blk.#.ssm_conv1d", "backbone.layers.#.mixer.conv1d", Change::kSqueezed},
    {"blk.#.ssm_x", "backbone.layers.#.mixer.x_proj"},
    {"blk.#.ssm_dt", "backbone.layers.#.mixer.dt_proj"},
    {"blk.#.ssm_a", "backbone.layers.#.mixer.A_log", Change::kNegativeExp},
    {"blk.#.ssm_d", "backbone.layers.#.mixer.D"},
    {"blk.#.ssm_out", "backbone.layers.#.mixer.out_proj"},
};
constexpr NameRule kLfm2Names[] = {
    {"token_embd_norm", "model.embedding_norm"},
    {"output_norm", "model.embedding_norm"},
    {"blk.#.attn_norm", "model.layers.#.operator_norm"},
    {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_layernorm"},
    {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_layernorm"},
    {"blk.#.attn_output", "model.layers.#.self_attn.out_proj"},
    {"blk.#.shortconv.conv", "model.layers.#.conv.conv", Change::kSqueezed},
    {"blk.#.shortconv.in_proj", "model.layers.#.conv.in_proj"},
    {"blk.#.shortconv.out_proj", "model.layers.#.conv.out_proj"},
    {"blk.#.ffn_norm", "model.layers.#.ffn_norm"},
    {"blk.#.ffn_gate", "model.layers.#.feed_forward.w1"},
    {"blk.#.ffn_down", "model.layers.#.feed_forward.w2"},
    {"blk.#.ffn_up", "model.layers.#.feed_forward.w3"},
};
constexpr NameRule kQwen35Names[] = {
    {"output_norm", "model.norm", Change::kPlusOne},
    {"blk.#.attn_norm", "model.layers.#.input_layernorm", Change::kPlusOne},
    {"blk.#.post_attention_norm", "model.layers.#.post_attention_layernorm", Change::kPlusOne},
    {"blk.#.attn_q_norm", "model.layers.#.self_attn.q_norm", Change::kPlusOne},
    {"blk.#.attn_k_norm", "model.layers.#.self_attn.k_norm", Change::kPlusOne},
    {"blk.#.attn_qkv", "model.layers.#.linear_attn.in_proj_qkv", Change::kValueRows},
    {"blk.#.attn_gate", "model.layers.#.linear_attn.in_proj_z", Change::kValueRows},
    {"blk.#.ssm_alpha", "model.layers.#.linear_attn.in_proj_a", Change::kValueRows},
    {"blk.#.ssm_beta", "model.layers.#.linear_attn.in_proj_b", Change::kValueRows},
    {"blk.#.ssm_conv1d", "model.layers.#.linear_attn.conv1d", Change::kSqueezed,
     Change::kValueRows},
    {"blk.#.ssm_a", "model.layers.#.linear_attn.A_log", Change::kNegativeExp, Change::kValueRows},
    {"blk.#.ssm_dt", "model.layers.#.linear_attn.dt_bias", Change::kValueRows},
    {"blk.#.ssm_norm", "model.layers.#.linear_attn.norm"},
    {"blk.#.ssm_out", "model.layers.#.linear_attn.out_proj", Change::kValueColumns},
};
constexpr NameRule kBertNames[] = {
    {"token_embd", "embeddings.word_embeddings"},
    {"position_embd", "embeddings.position_embeddings"},
    {"token_types", "embeddings.token_type_embeddings"},
    {"token_embd_norm", "embeddings.LayerNorm"},
    {"blk.#.attn_q", "encoder.layer.#.attention.self.query"},
    {"blk.#.attn_k", "encoder.layer.#.attention.self.key"},
    {"blk.#.attn_v", "encoder.layer.#.attention.self.value"},
    {"blk.#.attn_output", "encoder.layer.#.attention.output.dense"},
    {"blk.#.attn_output_norm", "encoder.layer.#.attention.output.LayerNorm"},
    {"blk.#.ffn_up", "encoder.layer.#.intermediate.dense"},
    {"blk.#.ffn_down", "encoder.layer.#.output.dense"},
    {"blk.#.layer_output_norm", "encoder.layer.#.output.LayerNorm"},
};
constexpr NameRule kDistilBertNames[] = {
    {"token_embd", "embeddings.word_embeddings"},
    {"position_embd", "embeddings.position_embeddings"},
    {"token_embd_norm", "embeddings.LayerNorm"},
    {"blk.#.attn_q", "transformer.layer.#.attention.q_lin"},
    {"blk.#.attn_k", "transformer.layer.#.attention.k_lin"},
    {"blk.#.attn_v", "transformer.layer.#.attention.v_lin"},
    {"blk.#.attn_output", "transformer.layer.#.attention.out_lin"},
    {"blk.#.attn_output_norm", "transformer.layer.#.sa_layer_norm"},
    {"blk.#.ffn_up", "transformer.layer.#.ffn.lin1"},
    {"blk.#.ffn_down", "transformer.layer.#.ffn.lin2"},
    {"blk.#.layer_output_norm", "transformer.layer.#.output_layer_norm"},
};
constexpr NameRule kNomicBertNames[] = {
    {"token_embd", "embeddings.word_embeddings"},
    {"token_types", "embeddings.token_type_embeddings"},
    {"token_embd_norm", "emb_ln"},
    {"blk.#.attn_qkv", "encoder.layers.#.attn.Wqkv"},
    {"blk.#.attn_output", "encoder.layers.#.attn.out_proj"},
    {"blk.#.attn_output_norm", "encoder.layers.#.norm1"},
    {"blk.#.ffn_up", "encoder.layers.#.mlp.fc11"},
    {"blk.#.ffn_gate", "encoder.layers.#.mlp.fc12"},
    {"blk.#.ffn_down", "encoder.layers.#.mlp.fc2"},
    {"blk.#.layer_output_norm", "encoder.layers.#.norm2"},
};
constexpr NameRule kModernBertNames[] = {
    {"token_embd", "embeddings.tok_embeddings"},
    {"token_embd_norm", "embeddings.norm"},
    {"output_norm", "final_norm"},
    {"blk.#.attn_norm", "layers.#.attn_norm"},
    {"blk.#.attn_qkv", "layers.#.attn.Wqkv"},
    {"blk.#.attn_output", "layers.#.attn.Wo"},
    {"blk.#.ffn_norm", "layers.#.mlp_norm"},
    {"blk.#.ffn_up", "layers.#.mlp.Wi"},
    {"blk.#.ffn_down", "layers.#.mlp.Wo"},
};
constexpr NameRule kT5Names[] = {
    {"token_embd", "shared"},
    {"output", "lm_head"},
    {"enc.output_norm", "encoder.final_layer_norm"},
    {"enc.blk.#.attn_norm", "encoder.block.#.layer.0.layer_norm"},
    {"enc.blk.#.attn_rel_b", "encoder.block.#.layer.0.SelfAttention.relative_attention_bias"},
    {"enc.blk.#.attn_q", "encoder.block.#.layer.0.SelfAttention.q"},
    {"enc.blk.#.attn_k", "encoder.block.#.layer.0.SelfAttention.k"},
    {"enc.blk.#.attn_v", "encoder.block.#.layer.0.SelfAttention.v"},
    {"enc.blk.#.attn_o", "encoder.block.#.layer.0.SelfAttention.o"},
    {"enc.blk.#.ffn_norm", "encoder.block.#.layer.1.layer_norm"},
    {"enc.blk.#.ffn_gate", "encoder.block.#.layer.1.DenseReluDense.wi_0"},
    {"enc.blk.#.ffn_up", "encoder.block.#.layer.1.DenseReluDense.wi"},
    {"enc.blk.#.ffn_down", "encoder.block.#.layer.1.DenseReluDense.wo"},
    {"dec.output_norm", "decoder.final_layer_norm"},
    {"dec.blk.#.attn_norm", "decoder.block.#.layer.0.layer_norm"},
    {"dec.blk.#.attn_rel_b", "decoder.block.#.layer.0.SelfAttention.relative_attention_bias"},
    {"dec.blk.#.attn_q", "decoder.block.#.layer.0.SelfAttention.q"},
    {"dec.blk.#.attn_k", "decoder.block.#.layer.0.SelfAttention.k"},
    {"dec.blk.#.attn_v", "decoder.block.#.layer.0.SelfAttention.v"},
    {"dec.blk.#.attn_o", "decoder.block.#.layer.0.SelfAttention.o"},
    {"dec.blk.#.cross_attn_norm", "decoder.block.#.layer.1.layer_norm"},
    {"dec.blk.#.cross_attn_q", "decoder.block.#.layer.1.EncDecAttention.q"},
    {"dec.blk.#.cross_attn_k", "decoder.block.#.layer.1.EncDecAttention.k"},
    {"dec.blk.#.cross_attn_v", "decoder.block.#.layer.1.EncDecAttention.v"},
    {"dec.blk.#.cross_attn_o", "decoder.block.#.layer.1.EncDecAttention.o"},
    {"dec.blk.#.ffn_norm", "decoder.block.#.layer.2.layer_norm"},
    {"dec.blk.#.ffn_gate", "decoder.block.#.layer.2.DenseReluDense.wi_0"},
    {"dec.blk.#.ffn_up", "decoder.block.#.layer.2.DenseReluDense.wi"},
    {"dec.blk.#.ffn_down", "decoder.block.#.layer.2.DenseReluDense.wo"},
};

using Rules = std::span<const NameRule>;

struct GgufArchitecture {
  std::string_view name, model_type, class_name;
  Result<bool> (*describe)(Settings&, std::vector<TensorInfo>&, const GgufPeek&);
  Rules own = {}, shared = kLlamaNames;
};
const GgufArchitecture kArchitectures[] = {
    {"llama", "llama", "LlamaForCausalLM", Llama, kHalves},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", Plain},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", Plain},
    {"qwen35", "qwen3_5_text", "Qwen3_5ForCausalLM", Qwen35, kQwen35Names},
    {"gemma2", "gemma2", "Gemma2ForCausalLM", Gemma2, kGemmaNames},
    {"gemma3", "gemma3_text", "Gemma3ForCausalLM", Gemma3, kGemmaNames},
    {"gemma-embedding", "gemma3_text", "Gemma3TextModel", GemmaEmbedding, kGemmaNames},
    {"phi3", "phi3", "Phi3ForCausalLM", Phi3, kPhi3Names},
    {"olmo2", "olmo2", "Olmo2ForCausalLM", Plain},
    {"granite", "granite", "GraniteForCausalLM", Granite, kHalves},
    {"smollm3", "smollm3", "SmolLM3ForCausalLM", SmolLm3, kHalves},
    {"lfm2", "lfm2", "Lfm2ForCausalLM", Lfm2, kLfm2Names},
    {"gpt2", "gpt2", "GPT2LMHeadModel", Gpt2, kGpt2Names, {}},
    {"gptneox", "gpt_neox", "GPTNeoXForCausalLM", GptNeoX, kGptNeoXNames, {}},
    {"mamba", "mamba", "MambaForCausalLM", Mamba, kMambaNames, {}},
    {"bert", "bert", "BertModel", Bert, kBertNames, {}},
    {"nomic-bert", "nomic_bert", "NomicBertModel", NomicBert, kNomicBertNames, {}},
    {"modern-bert", "modernbert", "ModernBertModel", ModernBert, kModernBertNames, {}},
    {"t5", "t5", "T5ForConditionalGeneration", T5, kT5Names, {}},
    {"t5encoder", "t5", "T5EncoderModel", T5, kT5Names, {}},
};
constexpr GgufArchitecture kDistilBert = {"bert",     "distilbert",     "DistilBertModel",
                                          DistilBert, kDistilBertNames, {}};
// Whose layers have a table of distances each.
constexpr GgufArchitecture kUmt5 = {"t5", "umt5", "UMT5ForConditionalGeneration", T5, kT5Names, {}};
constexpr GgufArchitecture kUmt5Encoder = {"t5encoder", "umt5",   "UMT5EncoderModel",
                                           T5,          kT5Names, {}};

// "blk.12.attn_q.weight" as its parts: "blk.#.attn_q", "12", ".weight".
struct StoredName {
  std::string stem;
  std::string_view layer, suffix;
};
StoredName PartsOf(std::string_view name) {
  StoredName parts;
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (name.ends_with(suffix)) {
      parts.suffix = name.substr(name.size() - suffix.size());
      name.remove_suffix(suffix.size());
    }
  }
  const size_t block = name.find("blk.");
  if (block == 0 || (block == 4 && name.size() > 4)) {
    const size_t begin = block + 4, end = std::min(name.find('.', begin), name.size());
    parts.layer = name.substr(begin, end - begin);
    parts.stem = StrCat(name.substr(0, begin), "#", name.substr(end));
  } else {
    parts.stem = name;
  }
  return parts;
}

const NameRule* RuleFor(const GgufArchitecture& architecture, std::string_view stem) {
  for (const Rules rules : {architecture.own, architecture.shared}) {
    for (const NameRule& rule : rules) {
      if (rule.stored == stem) return &rule;
    }
  }
  return nullptr;
}

// Row `d h + 2 j + half` was row `d h + d / 2 half + j` of its checkpoint.
std::vector<int32_t> HalvesApart(int64_t rows, int64_t heads) {
  const int64_t size = rows / heads;
  std::vector<int32_t> to_row(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = row % size;
    to_row[static_cast<size_t>(row)] =
        static_cast<int32_t>(row - at + at % 2 * (size / 2) + at / 2);
  }
  return to_row;
}

// Row `part, head, i` was row `head, part, i`.
std::vector<int32_t> PartsByHead(int64_t rows, int64_t heads) {
  const int64_t size = rows / heads / 3;
  std::vector<int32_t> to_row;
  for (int64_t part = 0; part < 3; ++part) {
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t i = 0; i < size; ++i) {
        to_row.push_back(static_cast<int32_t>((head * 3 + part) * size + i));
      }
    }
  }
  return to_row;
}

// The last rows (or columns) are of value heads: of those that share a key head, the first of all
// key heads were put before the second of all.
std::vector<int32_t> ValuesByKey(int64_t rows, int64_t key_heads, int64_t value_heads,
                                 int64_t size) {
  const int64_t first = rows - value_heads * size, group = value_heads / key_heads;
  std::vector<int32_t> to_row(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = (row - first) / size, i = (row - first) % size;
    to_row[static_cast<size_t>(row)] = static_cast<int32_t>(
        row < first ? row : first + (head % key_heads * group + head / key_heads) * size + i);
  }
  return to_row;
}

Status Undo(const Settings& s, Change change, TensorInfo& tensor) {
  const int64_t rows = tensor.shape.rank() == 0 ? 1 : tensor.shape[0];
  const auto divides = [&](int64_t parts) {
    return rows % parts == 0
               ? OkStatus()
               : InvalidFile(StrCat("tensor '", tensor.name, "' ", tensor.shape.ToString(),
                                    " does not divide into ", parts));
  };
  switch (change) {
    case Change::kNone:
      break;
    case Change::kQueryHalves:
    case Change::kKeyHalves: {
      const int64_t heads = change == Change::kQueryHalves ? s.heads : s.kv_heads;
      SOTTO_RETURN_IF_ERROR(divides(2 * heads));
      tensor.form.to_row = HalvesApart(rows, heads);
      break;
    }
    case Change::kHeadsByPart:
      SOTTO_RETURN_IF_ERROR(divides(3 * s.heads));
      tensor.form.to_row = PartsByHead(rows, s.heads);
      break;
    case Change::kUpright:
      tensor.form.upright = true;
      break;
    case Change::kPlusOne:
      tensor.form.undo = [](float value) { return value - 1; };
      break;
    case Change::kNegativeExp:
      tensor.form.undo = [](float value) { return std::log(-value); };
      break;
    case Change::kSqueezed:
      tensor.form.squeezed = true;
      break;
    case Change::kValueRows:
    case Change::kValueColumns: {
      const bool by_rows = change == Change::kValueRows;
      const int64_t extent = by_rows ? rows : tensor.shape.columns();
      const int64_t size = extent == s.value_heads ? 1 : s.value_dim;
      if (extent < s.value_heads * size || extent > kMaxVocab) {
        return InvalidFile(StrCat("tensor '", tensor.name, "' ", tensor.shape.ToString(),
                                  " does not hold ", s.value_heads, " heads of ", size));
      }
      if (s.key_heads == s.value_heads) break;  // each is where it was
      (by_rows ? tensor.form.to_row : tensor.form.to_column) =
          ValuesByKey(extent, s.key_heads, s.value_heads, size);
      break;
    }
  }
  return OkStatus();
}

Status Rename(const GgufArchitecture& architecture, const Settings& s,
              std::vector<TensorInfo>& tensors) {
  for (TensorInfo& tensor : tensors) {
    const StoredName parts = PartsOf(tensor.name);
    int64_t layer = 0;
    std::from_chars(parts.layer.data(), parts.layer.data() + parts.layer.size(), layer);
    if (s.guesses && layer >= s.layers) {
      tensor.name.insert(0, "mtp.");  // as checkpoints have what guesses further tokens
      continue;
    }
    const NameRule* rule = RuleFor(architecture, parts.stem);
    if (rule == nullptr) {
      return Unsupported(
          StrCat("the tensor '", tensor.name, "' of a '", architecture.name, "' is not supported"));
    }
    std::string name(rule->name);
    if (const size_t at = name.find('#'); at != std::string::npos) {
      name.replace(at, 1, parts.layer);
    }
    // A gated feed-forward's second matrix has a number.
    if (s.has_gate && name.ends_with("DenseReluDense.wi")) name += "_1";
    SOTTO_RETURN_IF_ERROR(Undo(s, rule->change, tensor));
    SOTTO_RETURN_IF_ERROR(Undo(s, rule->also, tensor));
    const bool says_bias = parts.suffix == ".bias" && name.ends_with("_bias");
    tensor.name = says_bias ? name : name.append(parts.suffix);
  }
  return OkStatus();
}

// The tokens by which the tokenizer's roles are named, their ids, and the rest of
// tokenizer_config.json.
Status DescribeTokens(const GgufMetadata& metadata, int64_t vocab, std::vector<Json::Member>& ids,
                      ModelFiles& files) {
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string>* tokens,
                         metadata.StringsOrNull("tokenizer.ggml.tokens"));
  if (tokens != nullptr && static_cast<int64_t>(tokens->size()) > vocab) {
    return InvalidFile(
        StrCat("the tokenizer has ", tokens->size(), " tokens, but the model embeds only ", vocab));
  }
  std::vector<Json::Member> config;
  constexpr struct {
    std::string_view key, name;
  } kRoles[] = {{"bos", "bos"},     {"eos", "eos"}, {"unk", "unknown"}, {"sep", "seperator"},
                {"pad", "padding"}, {"cls", "cls"}, {"mask", "mask"}};
  std::vector<Json> ends;
  for (const auto& role : kRoles) {
    const std::string key = StrCat("tokenizer.ggml.", role.name, "_token_id");
    if (!metadata.Has(key)) continue;
    SOTTO_ASSIGN_OR_RETURN(const int64_t id, metadata.IntAt(key, 0, vocab - 1));
    if (role.key == "bos" || role.key == "pad") {
      ids.emplace_back(StrCat(role.key, "_token_id"), Json::Int(id));
    }
    if (role.key == "eos") ends.push_back(Json::Int(id));
    if (tokens != nullptr && id < static_cast<int64_t>(tokens->size())) {
      config.emplace_back(StrCat(role.key, "_token"),
                          Json::String((*tokens)[static_cast<size_t>(id)]));
    }
  }
  // A chat's turn may end with another token than a text.
  for (const std::string_view name : {"eot", "eom"}) {
    const std::string key = StrCat("tokenizer.ggml.", name, "_token_id");
    if (!metadata.Has(key)) continue;
    SOTTO_ASSIGN_OR_RETURN(const int64_t id, metadata.IntAt(key, 0, vocab - 1));
    const Json end = Json::Int(id);
    const bool there = std::any_of(ends.begin(), ends.end(),
                                   [&](const Json& other) { return other.as_int() == id; });
    if (!there) ends.push_back(end);
  }
  if (ends.size() == 1) ids.emplace_back("eos_token_id", ends[0]);
  if (ends.size() > 1) ids.emplace_back("eos_token_id", Json::Array(std::move(ends)));
  for (const std::string_view name : {"add_bos_token", "add_eos_token"}) {
    const std::string key = StrCat("tokenizer.ggml.", name);
    if (!metadata.Has(key)) continue;
    SOTTO_ASSIGN_OR_RETURN(const bool add, metadata.BoolOr(key, false));
    config.emplace_back(name, Json::Bool(add));
  }
  SOTTO_ASSIGN_OR_RETURN(const std::string chat, metadata.StringOr("tokenizer.chat_template", ""));
  if (!IsValidUtf8(chat)) return InvalidFile("'tokenizer.chat_template' is not UTF-8");
  if (!chat.empty()) config.emplace_back("chat_template", Json::String(chat));
  files.tokenizer_config = Json::Object(std::move(config)).Dump();
  SOTTO_ASSIGN_OR_RETURN(files.tokenizer, GgufTokenizerJson(metadata));
  return OkStatus();
}

// How an embedding model pools, as the modules of sentence-transformers that it amounts to.
Status DescribePooling(const GgufMetadata& metadata, const std::string& key, ModelFiles& files) {
  constexpr std::string_view kModes[] = {"", "mean", "cls", "lasttoken", ""};  // none; a ranking
  SOTTO_ASSIGN_OR_RETURN(const int64_t type, metadata.IntOr(key, 0, 0, std::size(kModes) - 1));
  const std::string mode(kModes[type]);
  if (mode.empty()) return OkStatus();
  const auto module = [](std::string_view type, std::string_view path) {
    return Json::Object({{"type", Json::String(StrCat("sentence_transformers.models.", type))},
                         {"path", Json::String(std::string(path))}});
  };
  files.sentence_texts["modules.json"] =
      Json::Array({module("Transformer", ""), module("Pooling", "1_Pooling")}).Dump();
  files.sentence_texts["1_Pooling/config.json"] =
      Json::Object({{"pooling_mode", Json::String(mode)}}).Dump();
  return OkStatus();
}

}  // namespace

Status DescribeGgufTokenizer(const GgufMetadata& metadata, ModelFiles& files) {
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string>* tokens,
                         metadata.StringsOrNull("tokenizer.ggml.tokens"));
  std::vector<Json::Member> ids;
  return DescribeTokens(
      metadata, tokens == nullptr ? kMaxVocab : static_cast<int64_t>(tokens->size()), ids, files);
}

Result<bool> DescribeGguf(const GgufMetadata& metadata, std::vector<TensorInfo>& tensors,
                          const GgufPeek& peek, ModelFiles& files) {
  SOTTO_ASSIGN_OR_RETURN(const std::string name, metadata.StringAt("general.architecture"));
  const auto* architecture =
      std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                   [&](const GgufArchitecture& a) { return a.name == name; });
  if (architecture == std::end(kArchitectures)) {
    std::string known;
    for (const GgufArchitecture& a : kArchitectures) {
      known += StrCat(known.empty() ? "" : ", ", a.name);
    }
    return Unsupported(StrCat("the GGUF architecture ",
                              Json::String(ReplaceInvalidUtf8(name)).Dump(),
                              " is not supported; known are ", known));
  }
  Settings s(metadata, name);
  int64_t vocab = 0, token_types = 0;
  bool has_later_distances = false;
  for (const TensorInfo& tensor : tensors) {
    const std::string stem = PartsOf(tensor.name).stem;
    const bool bias = tensor.name.ends_with(".bias");
    if (stem == "token_embd" && tensor.shape.rank() == 2) vocab = tensor.shape[0];
    if (stem == "token_types" && tensor.shape.rank() == 2) token_types = tensor.shape[0];
    if (stem == "blk.#.ffn_up" && !bias && tensor.shape.rank() == 2)
      s.feed_forward = tensor.shape[0];
    if (tensor.name == "enc.blk.1.attn_rel_b.weight") has_later_distances = true;
    if (stem == "output") s.has_output = true;
    if (stem == "blk.#.attn_output" && bias) s.has_attention_bias = true;
    if (stem == "blk.#.ffn_up" && bias) s.has_mlp_bias = true;
    if (stem.ends_with("ffn_gate")) s.has_gate = true;
  }
  if (vocab == 0) return InvalidFile("there is no tensor 'token_embd.weight' [vocabulary, width]");
  if (name == "bert" && token_types == 0) architecture = &kDistilBert;
  if (has_later_distances && architecture->model_type == "t5")
    architecture = name == "t5" ? &kUmt5 : &kUmt5Encoder;
  s.Put("model_type", Json::String(std::string(architecture->model_type)));
  s.Put("architectures", Json::Array({Json::String(std::string(architecture->class_name))}));
  s.Put("vocab_size", Json::Int(vocab));
  if (token_types > 0) s.Put("type_vocab_size", Json::Int(token_types));
  SOTTO_ASSIGN_OR_RETURN(const bool there, architecture->describe(s, tensors, peek));
  if (!there) return false;
  SOTTO_RETURN_IF_ERROR(s.CheckAllRead());
  SOTTO_RETURN_IF_ERROR(Rename(*architecture, s, tensors));
  std::vector<Json::Member> ids;
  SOTTO_RETURN_IF_ERROR(DescribeTokens(metadata, vocab, ids, files));
  if (s.decoder_start >= 0) ids.emplace_back("decoder_start_token_id", Json::Int(s.decoder_start));
  for (const auto& [key, id] : ids) s.Put(key, id);
  SOTTO_RETURN_IF_ERROR(DescribePooling(metadata, StrCat(name, ".pooling_type"), files));
  files.config = s.Config().Dump();
  files.generation_config = Json::Object(std::move(ids)).Dump();
  return true;
}

}  // namespace sotto
