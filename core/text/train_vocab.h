// Trainers of vocabularies: WordPiece, byte-level BPE and whole words. Words are counted once, then
// pairs are merged with incremental counts, or the most frequent words taken as they are. The
// result is the text of a complete tokenizer.json that this library and Hugging Face's both read.
// It is a learner of vocabularies only: texts come from the caller, who cleans them.
#ifndef SOTTO_CORE_TEXT_TRAIN_VOCAB_H_
#define SOTTO_CORE_TEXT_TRAIN_VOCAB_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"

namespace sotto {

enum class PreTokenizerPattern : uint8_t { kGpt2, kLlama3, kQwen2 };

struct TrainBpeOptions {
  int32_t vocab_size = 8000;  // with the special tokens and the 256 bytes
  int64_t min_frequency = 2;
  // Get the first ids, in this order.
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  PreTokenizerPattern pattern = PreTokenizerPattern::kGpt2;
  bool add_prefix_space = false;
  // Put around every text by the post-processor; empty for none. Must be among the special tokens.
  std::string bos_token;
  std::string eos_token;
  int max_token_length = 0;  // in bytes; 0: no limit
};

struct TrainWordPieceOptions {
  int32_t vocab_size = 8000;
  int64_t min_frequency = 2;
  // [PAD], [UNK], [CLS], [SEP], [MASK] must be among them.
  std::vector<std::string> special_tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  bool lowercase = true;  // and strip accents
  int32_t limit_alphabet = 1000;
};

// How often each pre-token occurs, gathered from any number of texts.
class WordCounts {
 public:
  // Which words there are depends on the normalizer and pre-tokenizer of the tokenizer to be.
  static WordCounts ForBpe(const TrainBpeOptions& options);
  static WordCounts ForWordPiece(const TrainWordPieceOptions& options);
  WordCounts(WordCounts&&) noexcept;
  WordCounts& operator=(WordCounts&&) noexcept;
  ~WordCounts();

  void Add(std::string_view text);
  int64_t total() const;     // words
  int64_t distinct() const;  // different words

 private:
  friend class VocabTrainer;
  friend Result<std::string> TrainWordLevel(const WordCounts& words,
                                            const TrainWordPieceOptions& options);
  struct Impl;
  explicit WordCounts(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

Result<std::string> TrainBpe(const WordCounts& words, const TrainBpeOptions& options);
Result<std::string> TrainWordPiece(const WordCounts& words, const TrainWordPieceOptions& options);
// The most frequent words, counted as for WordPiece; all others are [UNK].
Result<std::string> TrainWordLevel(const WordCounts& words, const TrainWordPieceOptions& options);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_TRAIN_VOCAB_H_
