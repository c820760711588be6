// From token ids to batches: packed blocks for language models, padded rows of like length for
// classification, sentence pairs and texts with targets, and the masking of tokens to be guessed. A
// batch is a pure function of (seed, epoch, index): a resumed run sees what an unbroken one would
// have seen.
#ifndef SOTTO_CORE_TRAIN_BATCHES_H_
#define SOTTO_CORE_TRAIN_BATCHES_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/models/model.h"
#include "core/train/data.h"

namespace sotto {

struct Batch {
  ModelInput input;
  Tensor targets;  // int32: [batch, tokens] next tokens (kIgnoreTarget at padding), [rows] masked
                   // tokens, or [batch] classes
  int64_t target_count = 0;  // targets that count
  Tensor next_sentence;      // int32 [batch]: 0 follows, 1 does not; empty where there are no pairs
  int64_t tokens = 0;        // real tokens in the input
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual int64_t batches() const = 0;  // in an epoch
  // A negative epoch is for evaluation: in the order of the data, with the same masks every time.
  virtual Result<Batch> Get(int64_t epoch, int64_t index) = 0;
};

// Which tokens are hidden from a masked language model. (Devlin et al. 2019: of the chosen tokens
// 80 % become [MASK], 10 % another token, 10 % stay.) As BERT's own code does, round(share *
// tokens) of each sequence are chosen.
struct MaskOptions {
  double share = 0.15;
  double replaced_by_mask = 0.8, replaced_by_random = 0.1;
  bool is_static =
      false;  // BERT: an example's mask is fixed; else new in each epoch (RoBERTa, Liu et al. 2019)
};

// The ids that batches need to know.
struct SpecialIds {
  int32_t separator = -1;  // between documents of a causal model
  int32_t cls = -1, sep = -1, mask = -1, pad = 0;
  int32_t start = -1, end = -1;  // of what a decoder writes
  int32_t vocab_size = 0;
  std::vector<bool> is_special;  // by id: never masked, never drawn at random
};
Result<SpecialIds> SpecialIdsOf(const Tokenizer& tokenizer, bool bidirectional);
// Those of an encoder-decoder, as its config.json names them.
Result<SpecialIds> SpecialIdsOf(const Json& config);

struct BatchOptions {
  int64_t batch_size = 16;
  int64_t max_tokens = 128;
  uint64_t seed = 0;
  std::vector<double> upsample;  // by source; empty: 1 each
  int64_t max_target_tokens = 128;
};

// Documents joined by the separator and cut into blocks of max_tokens. Targets are the next tokens.
Result<std::unique_ptr<BatchSource>> PackCausal(const TokenizedDocuments& documents,
                                                const SpecialIds& special,
                                                const BatchOptions& options);
// Documents joined by [SEP], cut into blocks of max_tokens - 2, each between [CLS] and [SEP].
Result<std::unique_ptr<BatchSource>> PackMasked(const TokenizedDocuments& documents,
                                                const SpecialIds& special,
                                                const BatchOptions& options,
                                                const MaskOptions& mask);
// One document a row, cut to max_tokens and padded to the longest of its batch; rows of like length
// meet.
Result<std::unique_ptr<BatchSource>> BucketClasses(const TokenizedDocuments& documents,
                                                   const SpecialIds& special,
                                                   const BatchOptions& options);
// [CLS] A [SEP] B [SEP]: B follows A, or in half of the pairs comes from another document. With
// `mask` also tokens to guess. Each document is one list of sentences, whose ids `sentences` holds
// in order: document i is sentences [document_begins[i], document_begins[i + 1]).
Result<std::unique_ptr<BatchSource>> PairSentences(const TokenizedDocuments& sentences,
                                                   const std::vector<int64_t>& document_begins,
                                                   const SpecialIds& special,
                                                   const BatchOptions& options,
                                                   const MaskOptions* mask);

// A pair a row: the text padded for the encoder, its target for the decoder, which is fed the
// target one to the right behind the start.
Result<std::unique_ptr<BatchSource>> BucketPairs(const TokenizedDocuments& pairs,
                                                 const SpecialIds& special,
                                                 const BatchOptions& options);

// The sentences of a text: cut after . ! ? and at line breaks.
std::vector<std::string> SplitSentences(const std::string& text);

// 0..count-1 in an order that depends on (seed, epoch) only. (Fisher-Yates)
std::vector<int64_t> Shuffled(int64_t count, uint64_t seed, int64_t epoch);

// Chooses tokens of one sequence, writes what hides them, and appends their places (plus
// `first_row`) and true ids. `key` decides the draw.
void MaskTokens(std::span<int32_t> ids, const SpecialIds& special, const MaskOptions& options,
                uint64_t key, int32_t first_row, std::vector<int32_t>& rows,
                std::vector<int32_t>& targets);

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_BATCHES_H_
