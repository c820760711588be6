// M2M100 (Fan et al. 2020) and NLLB (NLLB team 2022): BART's layers with norms before them, and
// sinusoidal positions of real tokens.
#include "core/models/bart.h"

namespace sotto {
namespace {

constexpr BartStyle kStyle{.positions = BartStyle::Positions::kCounted,
                           .pre_norm = true,
                           .last_norm = true,
                           .logits_bias = false,
                           .activation = Activation::kRelu,
                           .scale_embedding = true};

}  // namespace

const Architecture kM2M100{"m2m_100", "M2M100", [](const Json& json, Head head) {
                             return CreateBart(json, head, kStyle);
                           }};

}  // namespace sotto
