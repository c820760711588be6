#include "core/models/rotary.h"

#include <cmath>
#include <numbers>

namespace sotto {
namespace {

// Llama 3.1: long waves slow down by the factor, short ones stay, those between are interpolated.
Status StretchAsLlama3(const Json& scaling, double factor, std::vector<float>& frequencies) {
  SOTTO_ASSIGN_OR_RETURN(const double low, scaling.NumberAt("low_freq_factor"));
  SOTTO_ASSIGN_OR_RETURN(const double high, scaling.NumberAt("high_freq_factor"));
  SOTTO_ASSIGN_OR_RETURN(const double context,
                         scaling.NumberAt("original_max_position_embeddings"));
  if (!(low > 0) || !(high > low) || !(context > 0))
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

}  // namespace

Result<RotaryPositions> RotaryPositions::Read(const Json& config, int64_t dim, double theta) {
  const Json& v5 = config["rope_parameters"];
  const Json& scaling = v5.is_object() ? v5 : config["rope_scaling"];
  const Json& where = v5.is_object() && v5.has("rope_theta") ? v5 : config;
  SOTTO_ASSIGN_OR_RETURN(theta, where.NumberOr("rope_theta", theta));
  if (!(theta > 0)) return InvalidFile("config.json: 'rope_theta' must be positive");
  RotaryPositions out;
  out.frequencies_.resize(dim / 2);
  for (int64_t i = 0; i < dim / 2; ++i) {
    out.frequencies_[i] = static_cast<float>(
        1 / std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(dim)));
  }
  if (!scaling.is_object()) return out;
  SOTTO_ASSIGN_OR_RETURN(const std::string old_type, scaling.StringOr("type", "default"));
  SOTTO_ASSIGN_OR_RETURN(const std::string type, scaling.StringOr("rope_type", old_type));
  if (type == "default") return out;
  SOTTO_ASSIGN_OR_RETURN(const double factor, scaling.NumberAt("factor"));
  if (!(factor >= 1)) return InvalidFile("config.json: the rotary 'factor' must be at least 1");
  if (type == "linear") {
    for (float& f : out.frequencies_) f = static_cast<float>(f / factor);
    return out;
  }
  if (type != "llama3")
    return Unsupported(StrCat("config.json: the rotary scaling '", type, "' is not implemented"));
  SOTTO_RETURN_IF_ERROR(StretchAsLlama3(scaling, factor, out.frequencies_));
  return out;
}

nn::RotaryTables RotaryPositions::Tables(Context& ctx, const Sequence& s) const {
  return nn::RotaryAngles(ctx, s.position_ids, frequencies_);
}

}  // namespace sotto
