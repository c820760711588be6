// Tokenizer: Hugging Face's tokenizer.json as an object. Text goes in, ids and the bytes they came
// from come out: normalizer, pre-tokenizer, model, post-processor; and back through the decoder.
// It is immutable once built and may be shared by threads. It refuses what it does not implement by
// name, and never guesses: a file with an unknown part does not load. It renders no chat templates
// and ignores the file's own truncation and padding (they belong to a call: EncodeOptions).
#ifndef SOTTO_CORE_TEXT_TOKENIZER_H_
#define SOTTO_CORE_TEXT_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace sotto {

// One row for each token; all vectors have the same length.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
  std::vector<int32_t> attention_mask;       // 0 on padding
  std::vector<int32_t> special_tokens_mask;  // 1 on what the post-processor or padding added
  // UTF-8 bytes [begin, end) of the original first or second text (see sequence_ids); (0, 0) for
  // tokens that stand for no text. A token that is part of a character covers that character.
  std::vector<std::pair<uint32_t, uint32_t>> offsets;
  std::vector<int32_t> word_ids;      // the pre-tokenizer's piece, counted per text; -1 for none
  std::vector<int32_t> sequence_ids;  // 0 first text, 1 second, -1 neither
  // What truncation cut off, in windows that overlap by `stride` tokens, each complete with special
  // tokens. Only filled with EncodeOptions::return_overflow.
  std::vector<Encoding> overflow;

  size_t size() const { return ids.size(); }
};

enum class Truncation : uint8_t {
  kLongestFirst,  // shortens the longer text first
  kOnlyFirst,
  kOnlySecond,
};

struct EncodeOptions {
  bool add_special_tokens = true;
  // Whether special tokens written out in the text ("</s>", "<|im_end|>") become their ids, as
  // Hugging Face does. Text of a user is encoded with false, as plain text: nobody can forge a turn
  // of a conversation. Added tokens that are not special are recognized either way.
  bool parse_special = true;
  int max_length = 0;  // counts special tokens; 0: no limit
  Truncation truncation = Truncation::kLongestFirst;
  bool truncate_left = false;  // keep the end of the text
  int stride = 0;
  bool return_overflow = false;
  // Of translators: the id of the code of the text's language (Tokenizer::LanguageId), in place of
  // the one that tokenizer_config.json says; -1: that one.
  int32_t language = -1;
  int pad_to = 0;  // pads up to this length; 0: no padding
  bool pad_left = false;
};

class StreamDecoder;

class Tokenizer {
 public:
  // The other files are optional: they name the special tokens, the chat template and the limits.
  // chat_template.jinja wins over what tokenizer_config.json says. `class_name`: where that names
  // none.
  static Result<Tokenizer> FromJson(std::string_view tokenizer_json,
                                    std::string_view tokenizer_config_json = {},
                                    std::string_view special_tokens_map_json = {},
                                    std::string_view chat_template_jinja = {},
                                    std::string_view class_name = {});
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Any bytes are a text: what is not UTF-8 counts as U+FFFD, one for each ill-formed part.
  Result<Encoding> Encode(std::string_view text, const EncodeOptions& options = {}) const;
  Result<Encoding> EncodePair(std::string_view first, std::string_view second,
                              const EncodeOptions& options = {}) const;
  // Only the ids of a text, without special tokens: the fast path for training data. Appends.
  Status EncodeIds(std::string_view text, bool parse_special, std::vector<int32_t>& ids) const;

  // Unknown ids are passed over.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = true) const;

  int32_t vocab_size() const;  // one more than the largest id, with added tokens
  std::optional<int32_t> TokenToId(std::string_view token) const;
  // As it is spelled in the file; "" for an unknown id. Valid as long as the tokenizer.
  std::string_view IdToToken(int32_t id) const;
  bool IsSpecial(int32_t id) const;

  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> unk_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> cls_id() const;
  std::optional<int32_t> sep_id() const;
  std::optional<int32_t> mask_id() const;
  // The tokens with a role, by Hugging Face's names ("bos_token"), as chat templates ask for them.
  std::vector<std::pair<std::string_view, std::string>> named_tokens() const;
  std::vector<std::string> special_tokens() const;  // as they are spelled

  // The id of the code of a language ("fr_XX", "fra_Latn", "fr"), which is also the token that a
  // translation into it begins with. An error names some that the tokenizer knows.
  Result<int32_t> LanguageId(std::string_view name) const;

  // How many tokens the post-processor adds to one text, or to a pair.
  int special_tokens_to_add(bool pair) const;
  int64_t model_max_length() const;          // 0 where the config names none, or a meaningless one
  const std::string& chat_template() const;  // Jinja source; empty where there is none

 private:
  friend class StreamDecoder;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// Decodes token by token. The pieces concatenate to exactly what Decode gives for all ids at once;
// text that a later token could still change (half a character, a space before a full stop) is held
// back. Keeps the tokenizer's data alive by itself.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;
  ~StreamDecoder();

  std::string Push(int32_t id);
  std::string PushToken(std::string_view token);  // one that the tokenizer does not know
  std::string Finish();  // what was held back; afterwards the decoder starts anew

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// For models that copy words which their vocabulary lacks: in `encoding`, of `text`, each token
// `unknown` becomes the id first + i of its word in `words`. A word that is not there yet is added
// where `learn` (the source), and stays unknown otherwise (the target).
void NumberUnknownWords(std::string_view text, int32_t unknown, int32_t first, bool learn,
                        std::vector<std::string>& words, Encoding& encoding);

// Converts byte offsets into a UTF-8 text, in any order, to offsets in UTF-16 code units as
// JavaScript counts them. Ill-formed parts count as one U+FFFD each, as TextDecoder writes them; an
// offset inside a character counts as that character's begin, one past the end as the end.
std::vector<uint32_t> Utf16Offsets(std::string_view text, std::span<const uint32_t> byte_offsets);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_TOKENIZER_H_
