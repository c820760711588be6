// What architecture files share: reading config.json with suspicion, positions, masks and the
// output layer. Nothing here knows an architecture by name.
#ifndef SOTTO_CORE_MODELS_ARCHITECTURE_H_
#define SOTTO_CORE_MODELS_ARCHITECTURE_H_

#include <memory>
#include <string>
#include <string_view>

#include "core/models/model.h"
#include "core/nn/layers.h"

namespace sotto {

// Caps on hyper-parameters: far above any model that fits a page, far below what would wrap.
inline constexpr int64_t kMaxVocab = 1 << 22, kMaxWidth = 1 << 16, kMaxLayers = 1 << 10,
                         kMaxHeads = 1 << 10, kMaxContext = 1 << 24, kMaxLabels = 1 << 16;

// The activation that a config names ("gelu", "gelu_new", "relu", "silu", ...).
Result<Activation> ActivationByName(std::string_view name);

// Fails unless the config's key is absent, null, or this value: for settings that are not
// implemented.
Status RequireConfig(const Json& config, std::string_view key, const Json& value);

// A share of values to drop in training, below 1.
Result<float> ReadDropout(const Json& config, std::string_view key, double fallback);

// heads and width / heads, checked to divide.
Status CheckHeads(int64_t width, int64_t heads);

// The names of the classes: "id2label", or LABEL_0.. for "num_labels" (2 by custom).
Result<std::vector<std::string>> ReadLabels(const Json& config);

// The layers' shared view of one call.
struct Sequence {
  int64_t batch = 0, tokens = 0, past = 0;
  int64_t length = 0;   // of the whole sequence, where that is known to be more than what is fed
  Tensor key_mask;      // u8 [batch, past + tokens], or empty
  Tensor position_ids;  // int32 [batch, tokens]
};
// Checks ids and masks against each other and against the model's limits. `counted_positions`:
// positions count real tokens (decoders that may be padded on the left); otherwise they are 0, 1,
// 2, ... after the past.
Sequence ReadSequence(Context& ctx, const ModelInput& input, const KvCache* cache,
                      int64_t max_positions, bool counted_positions);

// hidden [batch, tokens, width] at the asked rows, or whole.
Tensor AtRows(Context& ctx, const Tensor& hidden, const Tensor& rows);

// [batch, tokens, width] -> [batch, width]: the first token of each sequence.
Tensor FirstTokens(Context& ctx, const Tensor& hidden);

// [batch, tokens, width] -> [batch, width]: each sequence's last token that is real and, where
// `padding` is an id, is not that: Hugging Face's rule for the classes of causal models.
Tensor LastTokens(Context& ctx, const Tensor& hidden, const Tensor& ids, const Sequence& s,
                  int64_t padding);

// "pad_token_id", or `fallback`; -1: there is none.
Result<int64_t> ReadPadding(const Json& config, int64_t fallback);

// One line of the registry.
struct Architecture {
  std::string_view model_type;    // config.json's "model_type"
  std::string_view class_prefix;  // of "architectures", before "For..." or "Model"
  Result<std::unique_ptr<Model>> (*create)(const Json& config, Head head);
  // Of the class that writes, where it is not the usual one (ForCausalLM,
  // ForConditionalGeneration).
  std::string_view writer_suffix = "";
};
extern const Architecture kAlbert;
extern const Architecture kBart;
extern const Architecture kBert;
extern const Architecture kCamembert;
extern const Architecture kDeberta;
extern const Architecture kDebertaV2;
extern const Architecture kDistilBert;
extern const Architecture kElectra;
extern const Architecture kGemma2;
extern const Architecture kGemma3;
extern const Architecture kGemma3Text;
extern const Architecture kGpt2;
extern const Architecture kGptNeo;
extern const Architecture kGptNeox;
extern const Architecture kGranite;
extern const Architecture kLfm2;
extern const Architecture kLlama;
extern const Architecture kM2M100;
extern const Architecture kMamba;
extern const Architecture kMarian;
extern const Architecture kMBart;
extern const Architecture kMistral;
extern const Architecture kModernBert;
extern const Architecture kModernBertDecoder;
extern const Architecture kMPNet;
extern const Architecture kMT5;
extern const Architecture kNomicBert;
extern const Architecture kOlmo2;
extern const Architecture kPegasus;
extern const Architecture kPhi3;
extern const Architecture kQwen2;
extern const Architecture kQwen35;
extern const Architecture kQwen35Text;
extern const Architecture kQwen3;
extern const Architecture kRoberta;
extern const Architecture kRwkv;
extern const Architecture kSmolLM3;
extern const Architecture kT5;
extern const Architecture kUMT5;
extern const Architecture kXlmRoberta;

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_ARCHITECTURE_H_
