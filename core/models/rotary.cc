#include "core/models/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

namespace sotto {
namespace {

// All parameters of all kinds. The multimodal sections share out the axes of images: the positions
// of text are the same on each.
constexpr std::string_view kKnown[] = {"attention_factor",
                                       "beta_fast",
                                       "beta_slow",
                                       "factor",
                                       "high_freq_factor",
                                       "long_factor",
                                       "low_freq_factor",
                                       "mrope_interleaved",
                                       "mrope_section",
                                       "mscale",
                                       "mscale_all_dim",
                                       "original_max_position_embeddings",
                                       "partial_rotary_factor",
                                       "rope_theta",
                                       "rope_type",
                                       "short_factor",
                                       "truncate",
                                       "type"};

// The parameters, or null where nothing is said.
const Json& ParametersIn(const Json& config, const RotaryNames& names) {
  const Json& v5 = config["rope_parameters"];
  if (!v5.is_object()) return config[names.scaling_key];
  const bool by_type = v5.has("full_attention") || v5.has("sliding_attention");
  return by_type && !names.layer_type.empty() ? v5[names.layer_type] : v5;
}

// theta^(-2i / dim), in f32 as Hugging Face takes it, so that long positions agree.
std::vector<float> Frequencies(double theta, int64_t dim, size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    out[i] = 1 / std::pow(static_cast<float>(theta), exponent);
  }
  return out;
}

// How many columns of a head turn.
Result<int64_t> TurningColumns(const Json& config, const Json& parameters, int64_t head_dim,
                               const RotaryNames& names) {
  double fraction = names.fraction;
  if (!names.fraction_key.empty()) {
    SOTTO_ASSIGN_OR_RETURN(fraction, config.NumberOr(names.fraction_key, fraction));
  }
  SOTTO_ASSIGN_OR_RETURN(fraction, parameters.NumberOr("partial_rotary_factor", fraction));
  if (!(fraction >= 0) || fraction > 1)
    return InvalidFile("config.json: the share of a head that turns must be between 0 and 1");
  if (names.fraction_key.empty() && fraction != names.fraction)
    return Unsupported("config.json: 'partial_rotary_factor' is not implemented here");
  const auto dim = static_cast<int64_t>(static_cast<double>(head_dim) * fraction);
  if (dim % 2 == 0) return dim;
  return InvalidFile(StrCat("config.json: rotary positions turn pairs, not ", dim, " columns"));
}

// Llama 3.1: long waves slow down by the factor, short ones stay, those between are interpolated.
Status StretchAsLlama3(const Json& parameters, double factor, double context,
                       std::vector<float>& frequencies) {
  SOTTO_ASSIGN_OR_RETURN(const double low, parameters.NumberAt("low_freq_factor"));
  SOTTO_ASSIGN_OR_RETURN(const double high, parameters.NumberAt("high_freq_factor"));
  if (!(low > 0) || !(high > low))
    return InvalidFile("config.json: the llama3 rotary factors make no sense");
  for (float& f : frequencies) {
    const double wave = 2 * std::numbers::pi / f;
    if (wave < context / high) continue;
    const double slowed = f / factor;
    if (wave > context / low) {
      f = static_cast<float>(slowed);
    } else {
      const double smooth = (context / wave - low) / (high - low);
      f = static_cast<float>((1 - smooth) * slowed + smooth * f);
    }
  }
  return OkStatus();
}

// A list of one positive number for each frequency.
Status ReadFactors(const Json& parameters, std::string_view key, std::vector<float>& frequencies) {
  const std::vector<Json>& factors = parameters[key].items();
  if (factors.size() != frequencies.size())
    return InvalidFile(StrCat("config.json: '", key, "' must be a list of ", frequencies.size()));
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(factors[i].as_number() > 0))
      return InvalidFile(StrCat("config.json: '", key, "' must hold positive numbers"));
    frequencies[i] /= static_cast<float>(factors[i].as_number());
  }
  return OkStatus();
}

// Peng et al. 2024, section 3.4: how much larger the logits become.
double YarnScale(double factor, double weight) {
  return factor > 1 ? 0.1 * weight * std::log(factor) + 1 : 1;
}

}  // namespace

Result<RotaryPositions> RotaryPositions::Read(const Json& config, int64_t head_dim,
                                              const RotaryNames& names) {
  const Json& parameters = ParametersIn(config, names);
  for (const auto& [key, value] : parameters.members()) {
    if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown))
      return Unsupported(
          StrCat("config.json: the rotary parameter '", key, "' is not implemented"));
  }
  SOTTO_ASSIGN_OR_RETURN(double theta, config.NumberOr(names.theta_key, names.theta));
  SOTTO_ASSIGN_OR_RETURN(theta, parameters.NumberOr("rope_theta", theta));
  if (!(theta > 0)) return InvalidFile("config.json: 'rope_theta' must be positive");
  SOTTO_ASSIGN_OR_RETURN(const std::string old_type, parameters.StringOr("type", "default"));
  SOTTO_ASSIGN_OR_RETURN(std::string type, parameters.StringOr("rope_type", old_type));
  // Names that Phi-3 had for it.
  if (type == "su" || (type == "yarn" && parameters.has("short_factor"))) type = "longrope";

  RotaryPositions out;
  if (type != "proportional") {  // which reads its share itself
    SOTTO_ASSIGN_OR_RETURN(const int64_t dim, TurningColumns(config, parameters, head_dim, names));
    out.frequencies_ = Frequencies(theta, dim, static_cast<size_t>(dim / 2));
  }
  if (type != "default" && type != "mrope")
    SOTTO_RETURN_IF_ERROR(out.Stretch(config, parameters, type, theta, head_dim));
  return out;
}

// Replaces the plain frequencies, or prepares what will replace them.
Status RotaryPositions::Stretch(const Json& config, const Json& parameters, std::string_view type,
                                double theta, int64_t head_dim) {
  const auto positive = [](const Json& from, std::string_view key) -> Result<double> {
    SOTTO_ASSIGN_OR_RETURN(const double value, from.NumberAt(key));
    if (value > 0) return value;
    return InvalidFile(StrCat("config.json: '", key, "' must be positive"));
  };
  const bool has_factor = !parameters["factor"].is_null();
  double factor = 1;
  if (has_factor) {
    SOTTO_ASSIGN_OR_RETURN(factor, positive(parameters, "factor"));
    if (factor < 1) return InvalidFile("config.json: the rotary 'factor' must be at least 1");
  } else if (type == "linear" || type == "dynamic" || type == "llama3") {
    return InvalidFile(StrCat("config.json: rotary scaling of type '", type, "' has no 'factor'"));
  }
  if (type == "linear") {
    for (float& f : frequencies_) f = static_cast<float>(f / factor);
    return OkStatus();
  }
  if (type == "proportional") {  // all columns turn, but those beyond the share by angle 0
    SOTTO_ASSIGN_OR_RETURN(const double share, parameters.NumberOr("partial_rotary_factor", 1));
    if (!(share >= 0) || share > 1 || head_dim % 2 != 0)
      return InvalidFile("config.json: the share of a head that turns must be between 0 and 1");
    const auto turning = static_cast<size_t>(share * static_cast<double>(head_dim) / 2);
    frequencies_ = Frequencies(theta, head_dim, turning);
    for (float& f : frequencies_) f = static_cast<float>(f / factor);
    frequencies_.resize(static_cast<size_t>(head_dim / 2), 0.0f);
    return OkStatus();
  }
  if (type == "dynamic") {
    if (dim() <= 2) return InvalidFile("config.json: 'dynamic' rotary scaling needs wider heads");
    SOTTO_ASSIGN_OR_RETURN(context_, config.IntAt("max_position_embeddings", 1, kMaxContext));
    theta_ = theta;
    factor_ = factor;
    return OkStatus();
  }
  if (type != "llama3" && type != "yarn" && type != "longrope")
    return Unsupported(StrCat("config.json: the rotary scaling '", type, "' is not implemented"));

  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  const Json& where = config.has(kOriginal) ? config : parameters;
  const bool named = !where[kOriginal].is_null();
  double longest = 0;
  if (!named || !has_factor) {
    SOTTO_ASSIGN_OR_RETURN(longest, positive(config, "max_position_embeddings"));
  }
  double context = longest;
  if (named) {
    SOTTO_ASSIGN_OR_RETURN(context, positive(where, kOriginal));
  }
  if (context > kMaxContext)
    return InvalidFile(StrCat("config.json: '", kOriginal, "' is too large"));
  if (!has_factor) factor = longest / context;
  if (type == "llama3") return StretchAsLlama3(parameters, factor, context, frequencies_);
  if (type == "yarn") return StretchAsYarn(parameters, theta, factor, context);
  return ReadLongRope(parameters, factor, context);
}

// YaRN (Peng et al. 2024): waves that turn often within the old context stay, those that hardly
// turn slow down by the factor, with a ramp over the columns between.
Status RotaryPositions::StretchAsYarn(const Json& parameters, double theta, double factor,
                                      double context) {
  SOTTO_ASSIGN_OR_RETURN(const double fast, parameters.NumberOr("beta_fast", 32));
  SOTTO_ASSIGN_OR_RETURN(const double slow, parameters.NumberOr("beta_slow", 1));
  SOTTO_ASSIGN_OR_RETURN(const bool truncate, parameters.BoolOr("truncate", true));
  SOTTO_ASSIGN_OR_RETURN(const double mscale, parameters.NumberOr("mscale", 0));
  SOTTO_ASSIGN_OR_RETURN(const double mscale_all, parameters.NumberOr("mscale_all_dim", 0));
  const bool weighted = mscale != 0 && mscale_all != 0;
  SOTTO_ASSIGN_OR_RETURN(
      const double magnitude,
      parameters.NumberOr("attention_factor",
                          weighted ? YarnScale(factor, mscale) / YarnScale(factor, mscale_all)
                                   : YarnScale(factor, 1)));
  if (!(theta > 1) || !(fast > 0) || !(slow > 0) || !(magnitude > 0))
    return InvalidFile("config.json: the yarn rotary parameters make no sense");
  magnitude_ = static_cast<float>(magnitude);
  const auto columns = static_cast<double>(dim());
  // The column whose wave turns so often within the old context.
  const auto column = [&](double turns) {
    return columns * std::log(context / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double first = truncate ? std::floor(column(fast)) : column(fast),
               last = truncate ? std::ceil(column(slow)) : column(slow);
  const double low = std::max(first, 0.0);
  double high = std::min(last, columns - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies_[i] =
        static_cast<float>(frequencies_[i] / factor * ramp + frequencies_[i] * (1 - ramp));
  }
  return OkStatus();
}

// LongRoPE (Ding et al. 2024): searched factors by column, some for lengths within the old context
// and some beyond.
Status RotaryPositions::ReadLongRope(const Json& parameters, double factor, double context) {
  long_frequencies_ = frequencies_;
  SOTTO_RETURN_IF_ERROR(ReadFactors(parameters, "short_factor", frequencies_));
  SOTTO_RETURN_IF_ERROR(ReadFactors(parameters, "long_factor", long_frequencies_));
  const double scale =
      factor > 1 && context > 1 ? std::sqrt(1 + std::log(factor) / std::log(context)) : 1;
  SOTTO_ASSIGN_OR_RETURN(const double magnitude, parameters.NumberOr("attention_factor", scale));
  if (!(magnitude > 0)) return InvalidFile("config.json: 'attention_factor' must be positive");
  magnitude_ = static_cast<float>(magnitude);
  context_ = static_cast<int64_t>(context);
  return OkStatus();
}

nn::RotaryTables RotaryPositions::Tables(Context& ctx, const Sequence& s) const {
  if (!ctx.ok()) return {};
  int64_t length = 0;
  if (context_ > 0) {
    const int32_t* positions = s.position_ids.i32();
    length = int64_t{*std::max_element(positions, positions + s.position_ids.elements())} + 1;
    length = std::max(length, s.length);
  }
  if (length <= context_) return nn::RotaryAngles(ctx, s.position_ids, frequencies_, magnitude_);
  if (!long_frequencies_.empty())
    return nn::RotaryAngles(ctx, s.position_ids, long_frequencies_, magnitude_);
  // Dynamic NTK: the base grows so that the slowest wave slows down as the length has grown.
  const auto columns = static_cast<double>(dim());
  const double grown =
      factor_ * static_cast<double>(length) / static_cast<double>(context_) - (factor_ - 1);
  const double base = theta_ * std::pow(grown, columns / (columns - 2));
  return nn::RotaryAngles(ctx, s.position_ids, Frequencies(base, dim(), frequencies_.size()),
                          magnitude_);
}

}  // namespace sotto
