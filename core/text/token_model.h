// A token model turns one piece of text into tokens. Each kind is one file that makes it from the
// "model" member of tokenizer.json.
#ifndef SOTTO_CORE_TEXT_TOKEN_MODEL_H_
#define SOTTO_CORE_TEXT_TOKEN_MODEL_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/text/vocabulary.h"

namespace sotto {

// Bytes [begin, end) of the piece.
struct ModelToken {
  int32_t id;
  uint32_t begin, end;
};

// The tokens <0x00> to <0xFF> that stand for single bytes of what a vocabulary cannot spell.
class ByteTokens {
 public:
  explicit ByteTokens(const Vocabulary& vocabulary);
  // The token of a byte, or -1.
  int32_t IdOf(char byte) const { return ids_[static_cast<uint8_t>(byte)]; }
  bool CanSpell(std::string_view text) const;

 private:
  int32_t ids_[256];
};

class TokenModel {
 public:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~TokenModel() = default;
  TokenModel(const TokenModel&) = delete;
  TokenModel& operator=(const TokenModel&) = delete;

  // Appends the tokens of a piece, which is valid UTF-8 and not empty.
  virtual Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const = 0;
  // The id of what it cannot spell, or -1.
  virtual int32_t unknown_id() const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

// `to_bytes`: the pre-tokenizer is ByteLevel, so the model's letters stand for bytes.
Result<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& spec, bool to_bytes);
Result<std::unique_ptr<TokenModel>> MakeWordPiece(const Json& spec);
Result<std::unique_ptr<TokenModel>> MakeBpe(const Json& spec, bool to_bytes);
Result<std::unique_ptr<TokenModel>> MakeUnigram(const Json& spec);
Result<std::unique_ptr<TokenModel>> MakeWordLevel(const Json& spec);
Result<std::unique_ptr<TokenModel>> MakeRwkv(const Json& spec);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_TOKEN_MODEL_H_
