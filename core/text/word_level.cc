// WordLevel: each piece is a token of its own, or unknown.
#include <utility>

#include "core/text/token_model.h"

namespace sotto {
namespace {

class WordLevel final : public TokenModel {
 public:
  WordLevel(Vocabulary vocabulary, int32_t unknown)
      : TokenModel(std::move(vocabulary)), unknown_(unknown) {}

  Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const override {
    const int32_t known = vocabulary_.IdOf(piece);
    const int32_t id = known >= 0 ? known : unknown_;
    if (id < 0) return InvalidFile("the vocabulary lacks the unknown token that the text needs");
    tokens.push_back({id, 0, static_cast<uint32_t>(piece.size())});
    return OkStatus();
  }
  int32_t unknown_id() const override { return unknown_; }

 private:
  int32_t unknown_;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeWordLevel(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(spec["vocab"]));
  SOTTO_ASSIGN_OR_RETURN(const std::string unknown, spec.StringOr("unk_token", "<unk>"));
  const int32_t id = vocabulary.IdOf(unknown);
  return std::unique_ptr<TokenModel>(std::make_unique<WordLevel>(std::move(vocabulary), id));
}

}  // namespace sotto
