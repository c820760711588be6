// SentencePiece's .model file: the pieces of a unigram, BPE, character or word model with the rules
// of its normalization, read with suspicion; and the tokenizer.json that it amounts to, by the
// conventions of Hugging Face's tokenizer classes. Nothing is tokenized here.
#ifndef SOTTO_CORE_TEXT_SENTENCEPIECE_H_
#define SOTTO_CORE_TEXT_SENTENCEPIECE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"

namespace sotto {

struct SentencePieceModel {
  enum class Type : uint8_t { kUnigram = 1, kBpe, kWord, kChar };
  enum class PieceType : uint8_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };
  std::vector<Piece> pieces;  // by id
  Type type = Type::kUnigram;
  int32_t unknown_id = 0;
  bool byte_fallback = false;
  std::string charsmap;  // see core/text/precompiled.cc; empty for none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  // Errors name the byte offset.
  static Result<SentencePieceModel> Parse(std::string_view bytes);
};

// The tokenizer.json of a model that is tokenized as SentencePiece itself does it, with control and
// user-defined pieces as added tokens and nothing around a text. `ids` says which id each token
// has,
// {"token": id}, where that is not its place in the model: a piece that it lacks is unknown (in a
// BPE model: is never made).
Result<Json> SentencePieceTokenizer(const SentencePieceModel& model, const Json& ids = Json());

// The merges of a BPE model whose pieces have scores: all ways to make a piece of two, best score
// first. Pieces that are not to be made or joined have their place in `skipped`.
std::vector<Json> MergesOfPieces(const std::vector<std::pair<std::string, double>>& pieces,
                                 const std::vector<bool>& skipped = {});

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_SENTENCEPIECE_H_
