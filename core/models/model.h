// What every architecture offers: built from its config.json, filled with the checkpoint's tensors,
// run by one Forward for inference and training alike.
#ifndef SOTTO_CORE_MODELS_MODEL_H_
#define SOTTO_CORE_MODELS_MODEL_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/io/tensor_source.h"
#include "core/nn/kv_cache.h"
#include "core/nn/parameters.h"
#include "core/nn/probe.h"
#include "core/ops/context.h"

namespace sotto {

// What a model computes from its hidden states: the suffix of Hugging Face's class name.
enum class Head : uint8_t {
  kNone,                    // BertModel: last_hidden_state (and pooler_output)
  kEncoder,                 // EncoderModel: the same of an encoder-decoder's encoder alone
  kCausalLM,                // ForCausalLM, LMHeadModel: logits [batch, tokens, vocabulary]
  kMaskedLM,                // ForMaskedLM: the same
  kPreTraining,             // ForPreTraining: masked LM and next sentence; of ELECTRA whether each
                            // token was replaced, logits [batch, tokens]
  kNextSentence,            // ForNextSentencePrediction: logits [batch, 2]
  kSequenceClassification,  // logits [batch, labels]
  kTokenClassification,     // logits [batch, tokens, labels]
  kQuestionAnswering,       // logits [batch, tokens, 2]: start and end
  kMultipleChoice,          // logits [batch]: one a choice, which has a row of ids to itself (where
                            // Hugging Face's ids are [questions, choices, tokens], the rows are
                            // [questions * choices, tokens])
  kSeq2SeqLM,               // ForConditionalGeneration, MTModel: logits [batch, tokens, vocabulary]
                            // of the decoder; ForPointerGeneration: log-probabilities, of words of
                            // the source too
};

struct ModelInput {
  Tensor ids;             // int32 [batch, tokens]
  Tensor attention_mask;  // u8 [batch, past + tokens], nonzero for real tokens; empty: all are real
  Tensor token_type_ids;  // int32 [batch, tokens]; empty: zeros
  Tensor position_ids;  // int32 [batch, tokens]; empty: counted from the past on, over real tokens
                        // only where masked
  int64_t length = 0;   // tokens of the sequence that `ids` are a piece of, as far as it is known:
                        // rotary positions that stretch with the length go by it; 0: those fed
  Tensor rows;  // int32 indices into [batch * tokens]: where a language-model head computes logits,
                // which then are [rows, vocabulary]; empty: everywhere
  // Encoder-decoders: `ids` and `attention_mask` [batch, source] are the encoder's.
  Tensor decoder_ids;             // int32 [batch, tokens]
  Tensor decoder_attention_mask;  // u8 [batch, past + tokens]; empty: all are real
  Tensor encoder_states;  // [batch, source, hidden]: what the encoder gave, in place of `ids`. With
                          // a cache that holds a past neither is read.
};

struct ModelOutput {
  Tensor last_hidden_state;          // [batch, tokens, hidden]
  Tensor pooler_output;              // [batch, hidden] where the architecture has a pooler
  Tensor logits;                     // as the head says
  Tensor next_sentence;              // [batch, 2] of kPreTraining
  Tensor encoder_last_hidden_state;  // [batch, source, hidden] of encoder-decoders, when it was run
  // Of pointer-generators, in rows as the logits: the share that is not copied [..., 1], and what
  // the rest is copied from [..., source].
  Tensor p_gen, copy_attention;
};

class Model {
 public:
  virtual ~Model() = default;

  // Runs the model; errors are in ctx. With a cache, ids continue what it holds, and it advances.
  virtual ModelOutput Forward(Context& ctx, const ModelInput& input,
                              KvCache* cache = nullptr) const = 0;

  ParameterList& parameters() { return parameters_; }
  const ParameterList& parameters() const { return parameters_; }
  const Json& config() const { return config_; }
  Head head() const { return head_; }
  int64_t vocab_size() const { return vocab_size_; }
  int64_t hidden_size() const { return hidden_size_; }
  int64_t max_positions() const { return max_positions_; }  // 0: no limit
  // Whether a cache that was fed for a sequence of `before` tokens must be fed anew for one of
  // `after`, because the angles of all positions change between (LongRoPE).
  bool MustRestart(int64_t before, int64_t after) const {
    return restart_length_ > 0 && before <= restart_length_ && after > restart_length_;
  }
  // Whether it may copy tokens of its source: a pointer-generator.
  bool copies() const { return copies_; }
  // What it then reads in place of words that its vocabulary lacks, which have ids from
  // vocab_size() on (see pointer_generator.h); -1: it takes none.
  int32_t copied_unknown() const { return copied_unknown_; }
  // Whether Forward reads `decoder_ids`.
  bool is_encoder_decoder() const { return is_encoder_decoder_; }
  int64_t labels() const { return static_cast<int64_t>(id2label_.size()); }
  const std::vector<std::string>& id2label() const { return id2label_; }
  // The prefix of the backbone's tensor names, which a checkpoint of the bare model leaves out
  // ("bert.").
  const std::string& base_prefix() const { return base_prefix_; }
  // What older checkpoints have in its place; empty: the same.
  const std::string& older_prefix() const { return older_prefix_; }
  // Whether a parameter is of the bare model, not of what the head adds.
  virtual bool IsInBackbone(std::string_view name) const {
    return head_ == Head::kNone || name.starts_with(base_prefix_);
  }
  // Tensors that checkpoints carry and the forward pass does not need ("*.attn.bias",
  // "position_ids").
  virtual bool Ignores(std::string_view /*tensor_name*/) const { return false; }

 protected:
  Json config_;
  Head head_ = Head::kNone;
  bool is_encoder_decoder_ = false;
  bool copies_ = false;
  int32_t copied_unknown_ = -1;
  int64_t vocab_size_ = 0, hidden_size_ = 0, max_positions_ = 0, restart_length_ = 0;
  std::vector<std::string> id2label_;
  std::string base_prefix_, older_prefix_;
  ParameterList parameters_;
  friend Result<std::unique_ptr<Model>> CreateModel(const Json& config);
};

// The name of an architecture's class with a head, as "architectures" has it ("BertForMaskedLM").
Result<std::string> ClassName(std::string_view model_type, Head head);

// Builds the architecture that config.json names (without weights).
Result<std::unique_ptr<Model>> CreateModel(const Json& config);

enum class WeightFormat : uint8_t {
  kAsStored,  // f32 for stored floats; what is stored in 4 or 8 bits stays so
  kF32,
  kQ8,  // matrices packed to 8 bits at load
  kQ4,  // and to 4
};
std::optional<WeightFormat> WeightFormatByName(
    std::string_view name);  // "auto", "fp32", "q8", "q4"
// Fills every parameter from the checkpoint. A missing, extra or mis-shaped tensor is an error that
// names it.
struct LoadOptions {
  WeightFormat format = WeightFormat::kAsStored;
  bool writable =
      false;  // to train: f32 weights of their own, where otherwise they may be views of the file
  bool fresh_head = false;  // to fine-tune: a head that the checkpoint lacks is initialized, one
                            // that it has too many is left
  uint64_t seed = 0;
};
Status LoadWeights(Model& model, TensorSource& source, const LoadOptions& options = {});

// The same judged by names, shapes and dtypes alone, without reading a weight: everything that
// LoadWeights would refuse, not only the first.
std::vector<Status> CheckWeights(const Model& model, const TensorSource& source);

enum class SaveFormat : uint8_t { kF32, kF16, kQ8, kQ4 };
std::optional<SaveFormat> SaveFormatByName(std::string_view name);  // "f32", "f16", "q8", "q4"
// The named tensors of the checkpoint, as LoadWeights reads them. Matrices [out, in] are stored by
// kQ8 as kI8 with "<name>.scale" F32 [out] beside, and by kQ4 as kU8 [out, in / 2] with
// "<name>.scale" BF16 [out, in / 32] (see Q4Rows); where `in` is no multiple of 32, as by kQ8.
Result<NamedTensors> ExportWeights(const Model& model, SaveFormat format);

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_MODEL_H_
