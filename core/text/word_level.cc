// WordLevel: each piece is a token of its own, or unknown. Besides Hugging Face's members there is
// one of our own, "fuse_unk", for SentencePiece's word models: the piece is a whole text, cut
// before each U+2581, and unknown neighbours are one.
#include <algorithm>
#include <utility>

#include "core/text/token_model.h"

namespace sotto {
namespace {

class WordLevel final : public TokenModel {
 public:
  WordLevel(Vocabulary vocabulary, int32_t unknown, bool words)
      : TokenModel(std::move(vocabulary)), unknown_(unknown), words_(words) {}

  Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const override {
    if (words_) return TokenizeWords(piece, tokens);
    const int32_t known = vocabulary_.IdOf(piece);
    const int32_t id = known >= 0 ? known : unknown_;
    if (id < 0) return InvalidFile("the vocabulary lacks the unknown token that the text needs");
    tokens.push_back({id, 0, static_cast<uint32_t>(piece.size())});
    return OkStatus();
  }
  int32_t unknown_id() const override { return unknown_; }

 private:
  Status TokenizeWords(std::string_view piece, std::vector<ModelToken>& tokens) const {
    const size_t before = tokens.size();
    for (size_t begin = 0; begin < piece.size();) {
      const size_t end = std::min(piece.find("\xE2\x96\x81", begin + 1), piece.size());
      const int32_t id = vocabulary_.IdOf(piece.substr(begin, end - begin));
      if (id < 0 && unknown_ < 0) {
        return InvalidFile("the vocabulary lacks the unknown token that the text needs");
      }
      if (id < 0 && tokens.size() > before && tokens.back().id == unknown_) {
        tokens.back().end = static_cast<uint32_t>(end);
      } else {
        tokens.push_back(
            {id < 0 ? unknown_ : id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      }
      begin = end;
    }
    return OkStatus();
  }

  int32_t unknown_;
  bool words_;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeWordLevel(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(spec["vocab"]));
  SOTTO_ASSIGN_OR_RETURN(const std::string unknown, spec.StringOr("unk_token", "<unk>"));
  SOTTO_ASSIGN_OR_RETURN(const bool words, spec.BoolOr("fuse_unk", false));
  const int32_t id = vocabulary.IdOf(unknown);
  return std::unique_ptr<TokenModel>(std::make_unique<WordLevel>(std::move(vocabulary), id, words));
}

}  // namespace sotto
