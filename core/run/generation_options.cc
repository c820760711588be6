#include "core/run/generation_options.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/nn/kv_cache.h"

namespace sotto {
namespace {

constexpr size_t kMaxStops = 64, kMaxSequences = size_t{1} << 16;
constexpr int64_t kMaxTokens = int64_t{1} << 24, kMaxBeams = 256, kMaxTopLogprobs = 1000;

constexpr std::string_view kKnown[] = {"begin_suppress_tokens",
                                       "bad_words_ids",
                                       "bos_token_id",
                                       "cache_dtype",
                                       "decoder_start_token_id",
                                       "do_sample",
                                       "early_stopping",
                                       "encoder_no_repeat_ngram_size",
                                       "encoder_repetition_penalty",
                                       "eos_token_id",
                                       "epsilon_cutoff",
                                       "eta_cutoff",
                                       "exponential_decay_length_penalty",
                                       "forced_bos_token_id",
                                       "forced_eos_token_id",
                                       "length_penalty",
                                       "max_length",
                                       "max_new_tokens",
                                       "min_length",
                                       "min_new_tokens",
                                       "min_p",
                                       "no_repeat_ngram_size",
                                       "num_beams",
                                       "num_return_sequences",
                                       "output_logprobs",
                                       "pad_token_id",
                                       "remove_invalid_values",
                                       "renormalize_logits",
                                       "repetition_penalty",
                                       "seed",
                                       "sequence_bias",
                                       "stop",
                                       "suppress_tokens",
                                       "temperature",
                                       "top_k",
                                       "top_logprobs",
                                       "top_p",
                                       "typical_p"};

// What Hugging Face knows and Sotto does not do, with the value that changes nothing beside null.
struct Missing {
  std::string_view key;
  std::string_view neutral;
  std::string_view hint = {};
};
constexpr Missing kMissing[] = {
    {"assistant_early_exit", "null"},
    {"constraints", "null"},
    {"diversity_penalty", "0"},
    {"dola_layers", "null"},
    {"force_words_ids", "null"},
    {"guidance_scale", "1"},
    {"max_time", "null", "; a caller may stop after any token"},
    {"num_beam_groups", "1"},
    {"penalty_alpha", "0"},
    {"prompt_lookup_num_tokens", "null"},
    {"stop_strings", "null", "; 'stop' ends a text and is not part of it"},
    {"token_healing", "false"},
    {"top_h", "null"},
    {"watermarking_config", "null"},
};
// The same, where it is about speed or the form of the output: a model's file may say what it
// likes.
constexpr Missing kMissingInOptions[] = {
    {"cache_implementation", "null"},
    {"low_memory", "false"},
    {"output_attentions", "false", "; the insides of a model are run for by themselves"},
    {"output_hidden_states", "false", "; the insides of a model are run for by themselves"},
    {"output_logits", "false", "; 'output_logprobs' gives log-probabilities"},
    {"output_scores", "false", "; 'output_logprobs' gives log-probabilities"},
    {"prefill_chunk_size", "null"},
    {"return_dict_in_generate", "false"},
    {"use_cache", "true"},
};

bool IsNeutral(const Json& value, const Missing& missing) {
  if (value.is_null()) return true;
  const Json neutral = *Json::Parse(missing.neutral);
  return value.is_number() && neutral.is_number() ? value.as_number() == neutral.as_number()
                                                  : value.Dump() == neutral.Dump();
}

Status CheckImplemented(const Json& settings, std::span<const Missing> missing,
                        std::string_view where) {
  for (const Missing& m : missing) {
    const Json& value = settings[m.key];
    if (!IsNeutral(value, m))
      return Unsupported(StrCat(where, "'", m.key, "' is not implemented", m.hint));
  }
  return OkStatus();
}

Status CheckKnown(const Json& options) {
  if (!options.is_null() && !options.is_object())
    return InvalidArgument("options must be an object");
  const auto has = [](auto& table, std::string_view key) {
    return std::any_of(std::begin(table), std::end(table),
                       [&](const Missing& m) { return m.key == key; });
  };
  for (const auto& [key, value] : options.members()) {
    if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown) &&
        !has(kMissing, key) && !has(kMissingInOptions, key))
      return InvalidArgument(StrCat("'", key, "' is not an option of generation"));
  }
  SOTTO_RETURN_IF_ERROR(CheckImplemented(options, kMissing, ""));
  return CheckImplemented(options, kMissingInOptions, "");
}

// A call's options over a model's settings.
class Settings {
 public:
  Settings(const Json& options, const Json& generation_config, const Json& config)
      : options_(options),
        model_(generation_config.is_null() ? config : generation_config),
        where_(generation_config.is_null() ? "config.json" : "generation_config.json") {
    if (!generation_config.is_null()) return;
    for (const std::string_view part : {"decoder", "generator", "text_config"}) {
      if (config[part].is_object()) {
        inner_ = config[part];
        break;
      }
    }
  }

  // What is set: an option, which may be null, or what the model says.
  const Json& operator[](std::string_view key) const {
    if (options_.has(key)) return options_[key];
    return model_[key].is_null() ? inner_[key] : model_[key];
  }
  bool Given(std::string_view key) const { return !(*this)[key].is_null(); }
  bool ByCaller(std::string_view key) const { return options_.has(key); }
  // An error about a key, from where it stands.
  Status Located(std::string_view key, const Status& status) const {
    return status.ok() || ByCaller(key) ? status : status.In(where_);
  }
  Status Wrong(std::string_view key, std::string_view rule) const {
    return Located(key, InvalidArgument(StrCat("'", key, "' must be ", rule)));
  }

  Status Read(std::string_view key, bool& field) const {
    if (!Given(key)) return OkStatus();
    if (!(*this)[key].is_bool()) return Wrong(key, "true or false");
    field = (*this)[key].as_bool();
    return OkStatus();
  }
  Status Read(std::string_view key, double& field) const {
    if (!Given(key)) return OkStatus();
    if (!(*this)[key].is_number()) return Wrong(key, "a number");
    field = (*this)[key].as_number();
    return OkStatus();
  }
  Status Read(std::string_view key, float& field) const {
    double wide = field;
    SOTTO_RETURN_IF_ERROR(Read(key, wide));
    field = static_cast<float>(wide);
    return OkStatus();
  }
  Status Read(std::string_view key, int64_t& field, int64_t min, int64_t max) const {
    if (!Given(key)) return OkStatus();
    const Json& value = (*this)[key];
    if (!value.is_int() || value.as_int() < min || value.as_int() > max)
      return Wrong(key, StrCat("an integer between ", min, " and ", max));
    field = value.as_int();
    return OkStatus();
  }
  // A model's file may name a token that there is not as -1.
  Status Read(std::string_view key, std::vector<int32_t>& ids) const {
    if (!Given(key)) return OkStatus();
    const std::vector<Json> one{(*this)[key]};
    for (const Json& id : one.front().is_array() ? one.front().items() : one) {
      if (!id.is_int() || id.as_int() > INT32_MAX || (id.as_int() < 0 && ByCaller(key)))
        return Wrong(key, "a token id or a list of them");
      if (id.as_int() >= 0) ids.push_back(static_cast<int32_t>(id.as_int()));
    }
    return OkStatus();
  }
  Status Read(std::string_view key, std::optional<int32_t>& id) const {
    if ((*this)[key].is_array()) return Wrong(key, "a token id");
    std::vector<int32_t> ids;
    SOTTO_RETURN_IF_ERROR(Read(key, ids));
    if (!ids.empty()) id = ids.front();
    return OkStatus();
  }
  Status ReadSequence(std::string_view key, const Json& value, std::vector<int32_t>& ids) const {
    for (const Json& id : value.items()) {
      if (!id.is_int() || id.as_int() < 0 || id.as_int() > INT32_MAX) {
        ids.clear();
        break;
      }
      ids.push_back(static_cast<int32_t>(id.as_int()));
    }
    return ids.empty() ? Wrong(key, "made of lists of token ids, none empty") : OkStatus();
  }

 private:
  const Json& options_;
  const Json& model_;
  Json inner_;  // of a config.json that describes a decoder apart
  std::string_view where_;
};

Status ReadBadWords(const Settings& s, std::vector<std::vector<int32_t>>& words) {
  constexpr std::string_view kKey = "bad_words_ids";
  if (!s.Given(kKey)) return OkStatus();
  if (!s[kKey].is_array() || s[kKey].items().size() > kMaxSequences)
    return s.Wrong(kKey, "a list of lists of token ids");
  for (const Json& word : s[kKey].items())
    SOTTO_RETURN_IF_ERROR(s.ReadSequence(kKey, word, words.emplace_back()));
  return OkStatus();
}

Status ReadBias(const Settings& s, std::vector<std::pair<std::vector<int32_t>, float>>& biases) {
  constexpr std::string_view kKey = "sequence_bias", kRule = "a list of [token ids, bias]";
  if (!s.Given(kKey)) return OkStatus();
  if (!s[kKey].is_array() || s[kKey].items().size() > kMaxSequences) return s.Wrong(kKey, kRule);
  for (const Json& pair : s[kKey].items()) {
    if (pair.items().size() != 2 || !pair.items()[1].is_number()) return s.Wrong(kKey, kRule);
    std::vector<int32_t> ids;
    SOTTO_RETURN_IF_ERROR(s.ReadSequence(kKey, pair.items()[0], ids));
    const auto bias = static_cast<float>(pair.items()[1].as_number());
    // Of two for the same sequence the later one counts.
    const auto same = std::find_if(biases.begin(), biases.end(),
                                   [&](const auto& held) { return held.first == ids; });
    if (same != biases.end())
      same->second = bias;
    else
      biases.emplace_back(std::move(ids), bias);
  }
  return OkStatus();
}

Status ReadDecay(const Settings& s, std::optional<std::pair<int64_t, double>>& decay) {
  constexpr std::string_view kKey = "exponential_decay_length_penalty";
  if (!s.Given(kKey)) return OkStatus();
  const std::vector<Json>& pair = s[kKey].items();
  if (pair.size() != 2 || !pair[0].is_int() || pair[0].as_int() < 0 ||
      pair[0].as_int() > kMaxTokens || !pair[1].is_number())
    return s.Wrong(kKey, "[first token, factor]");
  decay = {pair[0].as_int(), pair[1].as_number()};
  return OkStatus();
}

Status ReadEarlyStopping(const Settings& s, EarlyStopping& early) {
  constexpr std::string_view kKey = "early_stopping";
  if (!s.Given(kKey)) return OkStatus();
  const Json& value = s[kKey];
  if (value.is_bool())
    early = value.as_bool() ? EarlyStopping::kTrue : EarlyStopping::kFalse;
  else if (value.as_string() == "never")
    early = EarlyStopping::kNever;
  else
    return s.Wrong(kKey, "true, false or \"never\"");
  return OkStatus();
}

Status ReadCacheDType(const Settings& s, std::optional<DType>& dtype) {
  constexpr std::string_view kKey = "cache_dtype";
  if (!s.Given(kKey)) return OkStatus();
  dtype = CacheDTypeByName(s[kKey].as_string());
  if (!dtype) return s.Wrong(kKey, "\"fp32\", \"fp16\" or \"q8\"");
  return OkStatus();
}

Status ReadStops(const Json& value, std::vector<std::string>& stops) {
  if (value.is_null()) return OkStatus();
  const std::vector<Json> one{value};
  for (const Json& stop : value.is_array() ? value.items() : one) {
    if (!stop.is_string() || stop.as_string().empty())
      return InvalidArgument("'stop' must be a text or a list of texts, none empty");
    stops.push_back(stop.as_string());
  }
  if (stops.size() > kMaxStops)
    return InvalidArgument(StrCat("'stop' takes at most ", kMaxStops, " texts"));
  return OkStatus();
}

Status ReadLogits(const Settings& s, LogitsOptions& l) {
  SOTTO_RETURN_IF_ERROR(ReadBias(s, l.sequence_bias));
  SOTTO_RETURN_IF_ERROR(s.Read("encoder_repetition_penalty", l.encoder_repetition_penalty));
  SOTTO_RETURN_IF_ERROR(s.Read("repetition_penalty", l.repetition_penalty));
  SOTTO_RETURN_IF_ERROR(s.Read("no_repeat_ngram_size", l.no_repeat_ngram_size, 0, kMaxTokens));
  SOTTO_RETURN_IF_ERROR(
      s.Read("encoder_no_repeat_ngram_size", l.encoder_no_repeat_ngram_size, 0, kMaxTokens));
  SOTTO_RETURN_IF_ERROR(ReadBadWords(s, l.bad_words_ids));
  SOTTO_RETURN_IF_ERROR(s.Read("min_length", l.min_length, 0, kMaxTokens));
  SOTTO_RETURN_IF_ERROR(s.Read("min_new_tokens", l.min_new_tokens, 0, kMaxTokens));
  SOTTO_RETURN_IF_ERROR(s.Read("forced_bos_token_id", l.forced_bos_token_id));
  SOTTO_RETURN_IF_ERROR(s.Read("forced_eos_token_id", l.forced_eos_token_id));
  SOTTO_RETURN_IF_ERROR(s.Read("remove_invalid_values", l.remove_invalid_values));
  SOTTO_RETURN_IF_ERROR(ReadDecay(s, l.exponential_decay_length_penalty));
  SOTTO_RETURN_IF_ERROR(s.Read("suppress_tokens", l.suppress_tokens));
  SOTTO_RETURN_IF_ERROR(s.Read("begin_suppress_tokens", l.begin_suppress_tokens));
  SOTTO_RETURN_IF_ERROR(s.Read("do_sample", l.do_sample));
  SOTTO_RETURN_IF_ERROR(s.Read("temperature", l.temperature));
  l.top_k = s.ByCaller("top_k") ? 0 : 50;  // the default, which a null takes away
  SOTTO_RETURN_IF_ERROR(s.Read("top_k", l.top_k, 0, INT32_MAX));
  SOTTO_RETURN_IF_ERROR(s.Read("top_p", l.top_p));
  SOTTO_RETURN_IF_ERROR(s.Read("min_p", l.min_p));
  SOTTO_RETURN_IF_ERROR(s.Read("typical_p", l.typical_p));
  SOTTO_RETURN_IF_ERROR(s.Read("epsilon_cutoff", l.epsilon_cutoff));
  SOTTO_RETURN_IF_ERROR(s.Read("eta_cutoff", l.eta_cutoff));
  return s.Read("renormalize_logits", l.renormalize_logits);
}

}  // namespace

Result<GenerationOptions> GenerationOptions::Read(const Json& options,
                                                  const Json& generation_config, const Json& config,
                                                  int64_t default_new_tokens) {
  SOTTO_RETURN_IF_ERROR(CheckKnown(options));
  const bool apart = !generation_config.is_null();
  SOTTO_RETURN_IF_ERROR(CheckImplemented(apart ? generation_config : config, kMissing,
                                         apart ? "generation_config.json: " : "config.json: "));
  const Settings s(options, generation_config, config);
  GenerationOptions out;
  out.default_new_tokens = default_new_tokens;
  SOTTO_RETURN_IF_ERROR(ReadLogits(s, out.logits));
  int64_t seed = 0;
  if (s.ByCaller("seed")) SOTTO_RETURN_IF_ERROR(s.Read("seed", seed, 0, INT64_MAX));
  out.seed = static_cast<uint64_t>(seed);
  SOTTO_RETURN_IF_ERROR(s.Read("max_new_tokens", out.max_new_tokens, 1, kMaxTokens));
  SOTTO_RETURN_IF_ERROR(s.Read("max_length", out.max_length, 1, kMaxTokens));
  SOTTO_RETURN_IF_ERROR(s.Read("num_beams", out.num_beams, 1, kMaxBeams));
  SOTTO_RETURN_IF_ERROR(s.Read("num_return_sequences", out.num_return_sequences, 1, kMaxBeams));
  SOTTO_RETURN_IF_ERROR(s.Read("length_penalty", out.length_penalty));
  SOTTO_RETURN_IF_ERROR(ReadEarlyStopping(s, out.early_stopping));
  SOTTO_RETURN_IF_ERROR(s.Read("eos_token_id", out.eos_token_ids));
  SOTTO_RETURN_IF_ERROR(s.Read("pad_token_id", out.pad_token_id));
  SOTTO_RETURN_IF_ERROR(s.Read("bos_token_id", out.bos_token_id));
  SOTTO_RETURN_IF_ERROR(s.Read("decoder_start_token_id", out.decoder_start_token_id));
  // Of the oldest BARTs.
  if (!apart && config["force_bos_token_to_be_generated"].as_bool() &&
      !s.ByCaller("forced_bos_token_id"))
    out.logits.forced_bos_token_id = out.bos_token_id;
  SOTTO_RETURN_IF_ERROR(ReadStops(options["stop"], out.stop));
  SOTTO_RETURN_IF_ERROR(ReadCacheDType(s, out.cache_dtype));
  SOTTO_RETURN_IF_ERROR(s.Read("output_logprobs", out.output_logprobs));
  SOTTO_RETURN_IF_ERROR(s.Read("top_logprobs", out.top_logprobs, 0, kMaxTopLogprobs));
  SOTTO_RETURN_IF_ERROR(out.Validate());
  return out;
}

Status GenerationOptions::Validate() const {
  SOTTO_RETURN_IF_ERROR(logits.Validate());
  if (!std::isfinite(length_penalty)) return InvalidArgument("'length_penalty' must be finite");
  if (top_logprobs > 0 && !output_logprobs)
    return InvalidArgument("'top_logprobs' needs 'output_logprobs'");
  if (top_logprobs > 0 && num_beams > 1)
    return Unsupported("'top_logprobs' is not implemented for beams");
  if (num_return_sequences > 1 && num_beams == 1 && !logits.do_sample)
    return InvalidArgument(
        "'num_return_sequences' needs 'do_sample' or 'num_beams': one greedy text is like another");
  if (num_beams > 1 && num_return_sequences > num_beams)
    return InvalidArgument("'num_return_sequences' must not be greater than 'num_beams'");
  if (!stop.empty() && (num_beams > 1 || num_return_sequences > 1))
    return Unsupported("'stop' is implemented for one text without beams");
  return OkStatus();
}

}  // namespace sotto
