// How tokens are chosen, by the names of Hugging Face's GenerationConfig: read from a call's
// options over the model's own settings, and checked. What generation does with them is not here.
#ifndef SOTTO_CORE_RUN_GENERATION_OPTIONS_H_
#define SOTTO_CORE_RUN_GENERATION_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/run/logits_processors.h"
#include "core/tensor/dtype.h"

namespace sotto {

enum class EarlyStopping : uint8_t {
  kFalse,  // beams go on while the best of them could still win at its length
  kTrue,   // until there are num_beams finished ones
  kNever,  // until none can win at any length
};

struct GenerationOptions {
  LogitsOptions logits;
  uint64_t seed = 0;  // of what is drawn

  int64_t max_new_tokens = 0;      // 0: as max_length says
  int64_t max_length = 0;          // prompt included; 0: default_new_tokens more than the prompt
  int64_t default_new_tokens = 0;  // where neither is given, within the model's context

  int64_t num_beams = 1;
  int64_t num_return_sequences = 1;
  double length_penalty = 1;  // a finished beam's score is divided by length^length_penalty
  EarlyStopping early_stopping = EarlyStopping::kFalse;

  std::vector<int32_t> eos_token_ids;  // tokens that end a text
  std::optional<int32_t> pad_token_id, bos_token_id, decoder_start_token_id;
  std::vector<std::string> stop;  // text that ends the generation, and is not part of it

  // Of past keys and values: see KvCache. None: int8 where the model's weights are packed, else
  // f32.
  std::optional<DType> cache_dtype;

  bool output_logprobs = false;  // the log-probability of each token, as the model gives it
  int64_t top_logprobs = 0;      // and of so many of the likeliest

  // The keys of `options` over those of the model's generation_config.json, or where that is null
  // those of its config.json, as older models have them. The model's fields that generation does
  // not know are passed over; an unknown key of `options` is an error, and so is a setting that is
  // not implemented, wherever it stands. An option that is null takes the model's away.
  static Result<GenerationOptions> Read(const Json& options, const Json& generation_config,
                                        const Json& config, int64_t default_new_tokens);
  Status Validate() const;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_GENERATION_OPTIONS_H_
