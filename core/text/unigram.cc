// Unigram (Kudo 2018): of all ways to spell a piece with tokens the one whose scores, log
// probabilities, add up to the most. Viterbi over a trie of the vocabulary.
//
// Besides Hugging Face's form of "vocab", [["token", score], ...] by id, there is our own for
// models whose ids are not those of their pieces (Marian): "vocab" is {"token": id, ...} and
// "pieces" has the scores.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/utf8.h"
#include "core/text/token_model.h"
#include "core/text/trie.h"

namespace sotto {
namespace {

// What an unknown character costs more than the least likely token.
constexpr double kUnknownPenalty = 10;

class Unigram final : public TokenModel {
 public:
  Unigram(Vocabulary vocabulary, Trie trie, std::vector<double> scores, std::vector<int32_t> ids,
          int32_t unknown, bool byte_fallback)
      : TokenModel(std::move(vocabulary)),
        trie_(std::move(trie)),
        scores_(std::move(scores)),
        ids_(std::move(ids)),
        unknown_(unknown),
        bytes_(vocabulary_),
        byte_fallback_(byte_fallback) {
    const auto least = std::min_element(scores_.begin(), scores_.end());
    unknown_score_ = (least == scores_.end() ? 0 : *least) - kUnknownPenalty;
  }

  Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const override {
    constexpr size_t kSmall = 64;
    Node small[kSmall];
    std::vector<Node> large;
    Node* nodes = small;
    if (piece.size() >= kSmall) {
      large.resize(piece.size() + 1);
      nodes = large.data();
    } else {
      std::fill_n(small, piece.size() + 1, Node());
    }
    if (!Search(piece, nodes)) {
      return InvalidFile("the vocabulary lacks the unknown token that the text needs");
    }
    const size_t before = tokens.size();
    for (auto end = static_cast<uint32_t>(piece.size()); end > 0;) {
      uint32_t begin = end - nodes[end].length;
      const int32_t id = nodes[end].id;
      if (IsUnknown(id)) {  // unknown neighbours are one
        while (begin > 0 && IsUnknown(nodes[begin].id)) begin -= nodes[begin].length;
        PushUnknown(piece, begin, end, tokens);
      } else {
        tokens.push_back({id, begin, end});
      }
      end = begin;
    }
    std::reverse(tokens.begin() + static_cast<ptrdiff_t>(before), tokens.end());
    return OkStatus();
  }
  int32_t unknown_id() const override { return unknown_; }

 private:
  // The best way to spell what ends here: its last token.
  struct Node {
    double score = 0;
    uint32_t length = 0;  // 0: not reached
    int32_t id = -1;      // -1: an unknown character
  };

  // With ids of its own a piece that has none stays by itself.
  bool IsUnknown(int32_t id) const { return id < 0 || (id == unknown_ && ids_.empty()); }

  bool Search(std::string_view piece, Node* nodes) const {
    const auto size = static_cast<uint32_t>(piece.size());
    for (uint32_t begin = 0; begin < size;) {
      const auto length = static_cast<uint32_t>(DecodeUtf8(piece, begin).length);
      const double score = nodes[begin].score;
      bool whole_character = false;
      uint32_t node = Trie::kRoot;
      for (uint32_t end = begin; end < size;) {
        node = trie_.Step(node, piece[end++]);
        if (node == Trie::kRoot) break;
        const int32_t piece_number = trie_.ValueAt(node);
        if (piece_number < 0) continue;
        const auto at = static_cast<size_t>(piece_number);
        Reach(nodes[end], score + scores_[at], end - begin, ids_.empty() ? piece_number : ids_[at]);
        whole_character = whole_character || end - begin == length;
      }
      if (!whole_character) {
        if (unknown_ < 0) return false;
        Reach(nodes[begin + length], score + unknown_score_, length, -1);
      }
      begin += length;
    }
    return true;
  }

  static void Reach(Node& node, double score, uint32_t length, int32_t id) {
    if (node.length == 0 || score > node.score) node = {score, length, id};
  }

  // The tokens [begin, end) of unknown text, last one first.
  void PushUnknown(std::string_view piece, uint32_t begin, uint32_t end,
                   std::vector<ModelToken>& tokens) const {
    const std::string_view text = piece.substr(begin, end - begin);
    const int32_t id = vocabulary_.IdOf(text);  // unknown pieces may make a known token together
    if (id < 0 && byte_fallback_ && bytes_.CanSpell(text)) {
      for (size_t i = text.size(); i-- > 0;) tokens.push_back({bytes_.IdOf(text[i]), begin, end});
    } else {
      tokens.push_back({id >= 0 ? id : unknown_, begin, end});
    }
  }

  Trie trie_;
  std::vector<double> scores_;
  std::vector<int32_t> ids_;  // of pieces; empty where these are their places
  int32_t unknown_;
  ByteTokens bytes_;
  bool byte_fallback_;
  double unknown_score_;
};

// Entries [["token", score], ...].
Status ReadScores(const Json& list, std::vector<std::string_view>& tokens,
                  std::vector<double>& scores) {
  for (const Json& item : list.items()) {
    const std::vector<Json>& pair = item.items();
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number() ||
        !(std::abs(pair[1].as_number()) < 1e30)) {
      return InvalidFile(StrCat("entry ", tokens.size(),
                                " of the Unigram vocabulary is not a token and its score"));
    }
    tokens.push_back(pair[0].as_string());
    scores.push_back(pair[1].as_number());
  }
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeUnigram(const Json& spec) {
  const Json& vocab = spec["vocab"];
  const bool has_ids = vocab.is_object() && spec["pieces"].is_array();
  if (!vocab.is_array() && !has_ids) {
    return InvalidFile("'vocab' must be an array of tokens with their scores");
  }
  std::vector<std::string_view> tokens;
  std::vector<double> scores;
  SOTTO_RETURN_IF_ERROR(ReadScores(has_ids ? spec["pieces"] : vocab, tokens, scores));
  SOTTO_ASSIGN_OR_RETURN(Vocabulary vocabulary,
                         has_ids ? Vocabulary::FromJson(vocab) : Vocabulary::FromList(tokens));
  int32_t unknown = -1;
  if (!spec["unk_id"].is_null()) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t id, spec.IntAt("unk_id", 0, vocabulary.limit() - 1));
    unknown = static_cast<int32_t>(id);
  }
  SOTTO_ASSIGN_OR_RETURN(const bool byte_fallback, spec.BoolOr("byte_fallback", false));
  std::vector<Trie::Entry> entries;
  entries.reserve(tokens.size());
  std::vector<int32_t> ids;
  for (size_t i = 0; i < tokens.size(); ++i) {
    entries.push_back({tokens[i], static_cast<int32_t>(i)});
    if (has_ids) {
      const int32_t id = vocabulary.IdOf(tokens[i]);
      ids.push_back(id >= 0 ? id : unknown);
    }
  }
  if (has_ids && unknown < 0 && std::find(ids.begin(), ids.end(), -1) != ids.end()) {
    return InvalidFile("a piece is not in the Unigram vocabulary, which has no unknown token");
  }
  SOTTO_ASSIGN_OR_RETURN(Trie trie, Trie::Build(std::move(entries)));
  return std::unique_ptr<TokenModel>(
      std::make_unique<Unigram>(std::move(vocabulary), std::move(trie), std::move(scores),
                                std::move(ids), unknown, byte_fallback));
}

}  // namespace sotto
