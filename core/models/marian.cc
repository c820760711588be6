// Marian (Junczys-Dowmunt et al. 2018), as the OPUS-MT models have it: BART's layers with
// sinusoidal positions and no norms but theirs. Its decoder begins with the padding.
#include "core/models/bart.h"

namespace sotto {
namespace {

constexpr BartStyle kStyle{
    .positions = BartStyle::Positions::kSinusoidal, .pad = 58100, .start = 58100, .end = 0};

}  // namespace

const Architecture kMarian{
    "marian", "Marian", [](const Json& json, Head head) { return CreateBart(json, head, kStyle); },
    "MTModel"};

}  // namespace sotto
