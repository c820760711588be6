// WordPiece (BERT): the longest known prefix, then the longest known continuation, and so on; a
// word that does not come out even is one unknown token.
#include <algorithm>
#include <utility>

#include "core/base/utf8.h"
#include "core/text/token_model.h"

namespace sotto {
namespace {

class WordPiece final : public TokenModel {
 public:
  WordPiece(Vocabulary vocabulary, int32_t unknown, std::string prefix, size_t max_chars)
      : TokenModel(std::move(vocabulary)),
        unknown_(unknown),
        prefix_(std::move(prefix)),
        max_chars_(max_chars),
        prefix_hash_(HashOf(prefix_)) {}

  Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const override {
    const auto size = static_cast<uint32_t>(piece.size());
    const size_t before = tokens.size();
    if (CountChars(piece) > max_chars_ || !Match(piece, tokens)) {
      tokens.resize(before);
      if (unknown_ < 0) {
        return InvalidFile("the vocabulary lacks the unknown token that the text needs");
      }
      tokens.push_back({unknown_, 0, size});
    }
    return OkStatus();
  }
  int32_t unknown_id() const override { return unknown_; }

 private:
  static size_t CountChars(std::string_view text) {
    return static_cast<size_t>(std::count_if(
        text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
  }

  bool Match(std::string_view word, std::vector<ModelToken>& tokens) const {
    // The word after room for the prefix: a continuation that begins at byte s is spelled at
    // spelled[s], its prefix written over what has been matched already.
    std::string spelled = prefix_;
    spelled += word;
    const size_t room = prefix_.size();
    std::vector<std::pair<size_t, uint64_t>> ends;  // where a candidate may end, and its hash
    for (size_t begin = 0; begin < word.size();) {
      const bool continues = begin > 0;
      if (continues) std::copy(prefix_.begin(), prefix_.end(), spelled.begin() + begin);
      const size_t from = continues ? begin : room;
      const size_t longest = vocabulary_.longest();
      uint64_t hash = continues ? prefix_hash_ : kHashStart;
      ends.clear();
      for (size_t i = begin; i < word.size() && room + i + 1 - from <= longest; ++i) {
        hash = HashStep(hash, word[i]);
        const bool boundary =
            i + 1 == word.size() || (static_cast<uint8_t>(word[i + 1]) & 0xC0) != 0x80;
        if (boundary) ends.push_back({i + 1, hash});
      }
      int32_t id = -1;
      while (!ends.empty()) {
        const auto [end, end_hash] = ends.back();
        ends.pop_back();
        id = vocabulary_.IdOf(std::string_view(spelled).substr(from, room + end - from), end_hash);
        if (id >= 0) {
          tokens.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
          begin = end;
          break;
        }
      }
      if (id < 0) return false;
    }
    return true;
  }

  int32_t unknown_;
  std::string prefix_;
  size_t max_chars_;
  uint64_t prefix_hash_;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeWordPiece(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(spec["vocab"]));
  SOTTO_ASSIGN_OR_RETURN(const std::string unknown, spec.StringOr("unk_token", "[UNK]"));
  SOTTO_ASSIGN_OR_RETURN(std::string prefix, spec.StringOr("continuing_subword_prefix", "##"));
  SOTTO_ASSIGN_OR_RETURN(const int64_t max_chars,
                         spec.IntOr("max_input_chars_per_word", 100, 0, 1 << 16));
  const int32_t unknown_id = vocabulary.IdOf(unknown);
  return std::unique_ptr<TokenModel>(std::make_unique<WordPiece>(
      std::move(vocabulary), unknown_id, std::move(prefix), static_cast<size_t>(max_chars)));
}

}  // namespace sotto
