// Rotary positions (Su et al. 2021) as a config.json describes them: in the manner of transformers
// 4
// ("rope_theta", "rope_scaling") or 5 ("rope_parameters", for all layers or by layer type), and how
// they stretch over contexts longer than those of the training. Refuses kinds of scaling and
// parameters that it does not know.
#ifndef SOTTO_CORE_MODELS_ROTARY_H_
#define SOTTO_CORE_MODELS_ROTARY_H_

#include <string_view>
#include <vector>

#include "core/models/architecture.h"

namespace sotto {

// Where an architecture's config keeps what stands outside of "rope_parameters", and what holds
// where the config is silent.
struct RotaryNames {
  // The member of "rope_parameters" that is meant where layers differ ("full_attention").
  std::string_view layer_type;
  double theta = 10000;
  std::string_view theta_key = "rope_theta";
  // The share of a head's columns that turn. Without a key, heads turn whole.
  double fraction = 1;
  std::string_view fraction_key;
  std::string_view scaling_key = "rope_scaling";  // empty: these layers are never stretched
};

class RotaryPositions {
 public:
  static Result<RotaryPositions> Read(const Json& config, int64_t head_dim,
                                      const RotaryNames& names = {});

  // The columns of a head that turn: the first ones, an even number.
  int64_t dim() const { return 2 * static_cast<int64_t>(frequencies_.size()); }

  // The angles of the tokens of one call. Where the stretching depends on the length, that is the
  // highest position of the call and one, or the sequence's length where that is known to be more;
  // keys that a cache holds stay as they were turned.
  nn::RotaryTables Tables(Context& ctx, const Sequence& s) const;

  // > 0: whoever feeds a cache in pieces and passes this length should start anew, since the angles
  // of all positions change there (LongRoPE).
  int64_t restart_length() const { return long_frequencies_.empty() ? 0 : context_; }

 private:
  Status Stretch(const Json& config, const Json& parameters, std::string_view type, double theta,
                 int64_t head_dim);
  Status StretchAsYarn(const Json& parameters, double theta, double factor, double context);
  Status ReadLongRope(const Json& parameters, double factor, double context);

  std::vector<float> frequencies_;  // [dim / 2]: radians a token
  float magnitude_ = 1;             // of cosines and sines
  // What replaces the frequencies beyond `context_` tokens: others (LongRoPE), or those of a base
  // that grows with the length (dynamic NTK).
  int64_t context_ = 0;  // 0: the length does not matter
  std::vector<float> long_frequencies_;
  double theta_ = 0, factor_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_ROTARY_H_
