// Rotary positions (Su et al. 2021) as a config.json describes them: in the manner of transformers
// 4
// ("rope_theta", "rope_scaling") or 5 ("rope_parameters"), and how they stretch over contexts
// longer than those of the training.
#ifndef SOTTO_CORE_MODELS_ROTARY_H_
#define SOTTO_CORE_MODELS_ROTARY_H_

#include <vector>

#include "core/models/architecture.h"

namespace sotto {

class RotaryPositions {
 public:
  // `dim`: the columns of a head that turn, an even number. `theta`: the base where the config
  // names none. A kind of scaling that is not implemented is an error that names it.
  static Result<RotaryPositions> Read(const Json& config, int64_t dim, double theta = 10000);

  // The angles of the tokens of one call.
  nn::RotaryTables Tables(Context& ctx, const Sequence& s) const;

 private:
  std::vector<float> frequencies_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_ROTARY_H_
