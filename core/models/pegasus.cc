// Pegasus (Zhang et al. 2020): BART's layers with norms before them and sinusoidal positions.
#include "core/models/bart.h"

namespace sotto {
namespace {

constexpr BartStyle kStyle{.positions = BartStyle::Positions::kSinusoidal,
                           .pre_norm = true,
                           .last_norm = true,
                           .pad = 0,
                           .start = 0,
                           .end = 1};

}  // namespace

const Architecture kPegasus{"pegasus", "Pegasus", [](const Json& json, Head head) {
                              return CreateBart(json, head, kStyle);
                            }};

}  // namespace sotto
