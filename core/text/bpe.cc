// Byte-pair encoding (Sennrich et al. 2016): a piece begins as its characters, or its bytes, and
// the neighbours whose merge was learnt first are joined, leftmost first, until none are left.
#include <algorithm>
#include <queue>
#include <utility>

#include "core/base/sort.h"
#include "core/base/utf8.h"
#include "core/text/byte_alphabet.h"
#include "core/text/token_model.h"

namespace sotto {
namespace {

constexpr uint32_t kNoRank = ~0u;

// Pairs of ids to the rank of their merge and the id that it makes. Open addressing, built once.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = kNoRank;
    int32_t id = -1;
  };

  explicit MergeTable(size_t count) : slots_(count + count / 3 + 1) {}
  void Insert(int32_t left, int32_t right, Merge merge) {
    size_t slot = SlotOf(left, right);
    while (slots_[slot].merge.rank != kNoRank && !slots_[slot].Is(left, right)) slot = After(slot);
    slots_[slot] = {left, right, merge};
  }
  Merge Find(int32_t left, int32_t right) const {
    size_t slot = SlotOf(left, right);
    while (slots_[slot].merge.rank != kNoRank) {
      if (slots_[slot].Is(left, right)) return slots_[slot].merge;
      slot = After(slot);
    }
    return {};
  }

 private:
  struct Slot {
    int32_t left = -1, right = -1;
    Merge merge;
    bool Is(int32_t l, int32_t r) const { return left == l && right == r; }
  };
  size_t After(size_t slot) const { return slot + 1 == slots_.size() ? 0 : slot + 1; }
  // A hash's high 32 bits as a fraction of the number of slots.
  size_t SlotOf(int32_t left, int32_t right) const {
    uint64_t key =
        static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    key = (key ^ (key >> 29)) * 0xBF58476D1CE4E5B9ull;
    key = (key ^ (key >> 32)) * 0x9E3779B97F4A7C15ull;
    return static_cast<size_t>(((key >> 32) * slots_.size()) >> 32);
  }
  std::vector<Slot> slots_;
};

struct BpeOptions {
  int32_t unknown = -1;
  std::string prefix, suffix;  // of characters that do not begin, and that end, a piece
  bool fuse_unknown = false, byte_fallback = false, ignore_merges = false, to_bytes = false;
};

class Bpe final : public TokenModel {
 public:
  Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options)
      : TokenModel(std::move(vocabulary)),
        merges_(std::move(merges)),
        options_(std::move(options)),
        byte_tokens_(vocabulary_) {
    for (int b = 0; b < 256; ++b) {
      std::string letter;
      AppendUtf8(letter, kByteLetters[b]);
      letter_ids_[b] = vocabulary_.IdOf(letter);
    }
    FindCuts();
    plain_bytes_ = options_.to_bytes && options_.prefix.empty() && options_.suffix.empty() &&
                   std::all_of(letter_ids_, letter_ids_ + 256, [](int32_t id) { return id >= 0; });
  }

  Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const override {
    if (options_.ignore_merges) {
      const int32_t id = WholePiece(piece);
      if (id >= 0) {
        tokens.push_back({id, 0, static_cast<uint32_t>(piece.size())});
        return OkStatus();
      }
    }
    const size_t before = tokens.size();
    if (plain_bytes_) {
      for (uint32_t i = 0; i < piece.size(); ++i) {
        tokens.push_back({letter_ids_[static_cast<uint8_t>(piece[i])], i, i + 1});
      }
    } else {
      Spell(piece, tokens);
    }
    size_t out = before;
    for (size_t begin = before; begin < tokens.size();) {
      const size_t end = EndOfPart(tokens, begin);
      ModelToken* part = tokens.data() + begin;
      const size_t count = end - begin;
      const size_t left = count <= kShort ? MergeShort(part, count) : MergeLong(part, count);
      std::copy(part, part + left, tokens.data() + out);
      out += left;
      begin = end;
    }
    tokens.resize(out);
    return OkStatus();
  }
  int32_t unknown_id() const override { return options_.unknown; }

 private:
  static constexpr size_t kShort = 48;
  static constexpr std::string_view kBlank = "\xE2\x96\x81";

  // SentencePiece's texts come whole, but hardly any token reaches across the front of a blank:
  // which characters a token has before one is looked up here, and after all others the text may be
  // cut.
  void FindCuts() {
    if (options_.to_bytes || options_.ignore_merges || !options_.prefix.empty() ||
        !options_.suffix.empty()) {
      return;
    }
    blank_ = vocabulary_.IdOf(kBlank);
    for (int32_t id = 0; id < vocabulary_.limit() && blank_ >= 0; ++id) {
      const std::string_view token = vocabulary_.TokenOf(id);
      for (size_t at = token.find(kBlank, 1); at != std::string_view::npos;
           at = token.find(kBlank, at + 1)) {
        before_blank_.push_back(LastChar(token.substr(0, at)));
      }
    }
    before_blank_.push_back(0x2581);
    HeapSort(before_blank_.begin(), before_blank_.end());
    before_blank_.erase(std::unique(before_blank_.begin(), before_blank_.end()),
                        before_blank_.end());
  }
  static char32_t LastChar(std::string_view text) {
    size_t at = text.size() - 1;
    while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
    return DecodeUtf8(text, at).code;
  }
  // Where the tokens that may be joined with the one at `begin` end.
  size_t EndOfPart(const std::vector<ModelToken>& tokens, size_t begin) const {
    if (blank_ < 0) return tokens.size();
    for (size_t i = begin + 1; i < tokens.size(); ++i) {
      if (tokens[i].id != blank_) continue;
      const std::string_view previous = vocabulary_.TokenOf(tokens[i - 1].id);
      if (!previous.empty() &&
          !std::binary_search(before_blank_.begin(), before_blank_.end(), LastChar(previous))) {
        return i;
      }
    }
    return tokens.size();
  }

  int32_t WholePiece(std::string_view piece) const {
    if (!options_.to_bytes) return vocabulary_.IdOf(piece);
    if (piece.size() > vocabulary_.longest()) return -1;
    std::string letters;
    AppendByteLetters(letters, piece);
    return vocabulary_.IdOf(letters);
  }

  // The piece's characters as tokens; what the vocabulary lacks falls back to bytes, or is unknown,
  // or vanishes where the model has no unknown token.
  void Spell(std::string_view piece, std::vector<ModelToken>& tokens) const {
    std::string symbol;
    bool unknown_open = false;
    for (uint32_t i = 0; i < piece.size();) {
      const uint32_t length =
          options_.to_bytes ? 1 : static_cast<uint32_t>(DecodeUtf8(piece, i).length);
      symbol = i > 0 ? options_.prefix : std::string();
      if (options_.to_bytes) {
        AppendByteLetters(symbol, piece.substr(i, 1));
      } else {
        symbol += piece.substr(i, length);
      }
      if (i + length == piece.size()) symbol += options_.suffix;
      const int32_t id = vocabulary_.IdOf(symbol);
      if (id >= 0) {
        tokens.push_back({id, i, i + length});
        unknown_open = false;
      } else if (options_.byte_fallback && byte_tokens_.CanSpell(symbol)) {
        uint32_t at = i;
        for (const char c : symbol) {
          tokens.push_back({byte_tokens_.IdOf(c), at, at + 1});
          ++at;
        }
        unknown_open = false;
      } else if (options_.unknown >= 0) {
        if (unknown_open && options_.fuse_unknown) {
          tokens.back().end = i + length;
        } else {
          tokens.push_back({options_.unknown, i, i + length});
        }
        unknown_open = true;
      }
      i += length;
    }
  }

  // Joins in place and gives the new number of tokens. Few symbols: rescan all ranks at each merge.
  size_t MergeShort(ModelToken* t, size_t count) const {
    if (count < 2) return count;
    MergeTable::Merge next[kShort];  // next[i]: the merge of t[i] and t[i + 1]
    for (size_t i = 0; i + 1 < count; ++i) next[i] = merges_.Find(t[i].id, t[i + 1].id);
    for (;;) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < count; ++i) {
        if (next[i].rank < next[best].rank) best = i;
      }
      if (next[best].rank == kNoRank) return count;
      t[best].id = next[best].id;
      t[best].end = t[best + 1].end;
      std::copy(t + best + 2, t + count, t + best + 1);
      if (best + 2 < count) std::copy(next + best + 2, next + count - 1, next + best + 1);
      --count;
      if (best > 0) next[best - 1] = merges_.Find(t[best - 1].id, t[best].id);
      if (best + 1 < count) {
        next[best] = merges_.Find(t[best].id, t[best + 1].id);
      } else {
        next[best] = {};
      }
      if (count < 2) return count;
    }
  }

  // Many symbols: a linked list, and a heap of (rank, place) in which outdated entries are passed
  // over: O(n log n).
  size_t MergeLong(ModelToken* t, size_t count) const {
    constexpr uint32_t kEnd = ~0u;
    std::vector<MergeTable::Merge> merge(count);
    std::vector<uint32_t> next(count), previous(count);
    std::vector<uint64_t> storage;
    storage.reserve(count);
    std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> heap(std::greater<>(),
                                                                              std::move(storage));
    const auto look = [&](uint32_t i) {
      merge[i] = next[i] == kEnd ? MergeTable::Merge() : merges_.Find(t[i].id, t[next[i]].id);
      if (merge[i].rank != kNoRank) heap.push(static_cast<uint64_t>(merge[i].rank) << 32 | i);
    };
    for (uint32_t i = 0; i < count; ++i) {
      next[i] = i + 1 < count ? i + 1 : kEnd;
      previous[i] = i > 0 ? i - 1 : kEnd;
    }
    for (uint32_t i = 0; i < count; ++i) look(i);
    while (!heap.empty()) {
      const uint64_t top = heap.top();
      heap.pop();
      const auto i = static_cast<uint32_t>(top);
      if (merge[i].rank != top >> 32) continue;
      const uint32_t gone = next[i];
      t[i].id = merge[i].id;
      t[i].end = t[gone].end;
      merge[gone] = {};
      next[i] = next[gone];
      if (next[i] != kEnd) previous[next[i]] = i;
      look(i);
      if (previous[i] != kEnd) look(previous[i]);
    }
    size_t out = 0;
    for (uint32_t i = 0; i != kEnd; i = next[i]) t[out++] = t[i];
    return out;
  }

  MergeTable merges_;
  BpeOptions options_;
  ByteTokens byte_tokens_;
  int32_t blank_ = -1;                  // the token U+2581 where the text may be cut before it
  std::vector<char32_t> before_blank_;  // sorted
  bool plain_bytes_;
  int32_t letter_ids_[256];
};

// One merge is "left right" or, in newer files, ["left", "right"].
Result<std::pair<std::string_view, std::string_view>> ParseMerge(const Json& merge, size_t index) {
  if (merge.is_array() && merge.items().size() == 2 && merge.items()[0].is_string() &&
      merge.items()[1].is_string()) {
    return std::pair<std::string_view, std::string_view>(merge.items()[0].as_string(),
                                                         merge.items()[1].as_string());
  }
  const std::string_view line = merge.as_string();
  const size_t blank = line.find(' ');
  if (!merge.is_string() || blank == std::string_view::npos ||
      line.find(' ', blank + 1) != std::string_view::npos) {
    return InvalidFile(StrCat("merge ", index, " of the BPE model is not a pair of tokens"));
  }
  return std::pair(line.substr(0, blank), line.substr(blank + 1));
}

Result<MergeTable> ParseMerges(const Json& spec, const Vocabulary& vocabulary,
                               std::string_view prefix) {
  if (!spec.is_array()) return InvalidFile("'merges' must be an array");
  MergeTable table(spec.items().size());
  std::string joined;
  for (size_t i = 0; i < spec.items().size(); ++i) {
    const Json& item = spec.items()[i];
    if (item.is_string() && item.as_string().starts_with("#version")) continue;
    SOTTO_ASSIGN_OR_RETURN(const auto pair, ParseMerge(item, i));
    joined = pair.first;
    joined += pair.second.substr(std::min(prefix.size(), pair.second.size()));
    const int32_t left = vocabulary.IdOf(pair.first), right = vocabulary.IdOf(pair.second);
    const int32_t id = vocabulary.IdOf(joined);
    if (left < 0 || right < 0 || id < 0) {
      return InvalidFile(StrCat("merge ", i, " of the BPE model names '",
                                left < 0    ? pair.first
                                : right < 0 ? pair.second
                                            : std::string_view(joined),
                                "', which the vocabulary lacks"));
    }
    table.Insert(left, right, {static_cast<uint32_t>(i), id});
  }
  return table;
}

// SentencePiece's BPE has scores, by id, in the place of merges: every way to make a known token of
// two is a merge, and the best score goes first, whichever way.
Result<MergeTable> MergesByScore(const Json& spec, const Vocabulary& vocabulary) {
  const std::vector<Json>& items = spec.items();
  if (!spec.is_array() || static_cast<int64_t>(items.size()) < vocabulary.limit()) {
    return InvalidFile("'scores' must be an array of one number for each token");
  }
  std::vector<double> scores;
  for (const Json& item : items) {
    if (!item.is_number()) return InvalidFile("'scores' must be an array of numbers");
    scores.push_back(item.as_number());
  }
  std::vector<double> order = scores;
  HeapSort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  struct Found {
    int32_t left, right;
    MergeTable::Merge merge;
  };
  std::vector<Found> found;
  constexpr size_t kMaxBytes = 1024;  // longer tokens are not made by merging
  for (int32_t id = 0; id < vocabulary.limit(); ++id) {
    const std::string_view token = vocabulary.TokenOf(id);
    if (token.size() > kMaxBytes || vocabulary.IdOf(token) != id) continue;
    const auto rank =
        static_cast<uint32_t>(std::lower_bound(order.begin(), order.end(),
                                               scores[static_cast<size_t>(id)], std::greater<>()) -
                              order.begin());
    for (size_t at = 1; at < token.size(); ++at) {
      if ((static_cast<uint8_t>(token[at]) & 0xC0) == 0x80) continue;
      const int32_t left = vocabulary.IdOf(token.substr(0, at));
      const int32_t right = left < 0 ? -1 : vocabulary.IdOf(token.substr(at));
      if (right >= 0) found.push_back({left, right, {rank, id}});
    }
  }
  MergeTable table(found.size());
  for (const Found& f : found) table.Insert(f.left, f.right, f.merge);
  return table;
}

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeBpe(const Json& spec, bool to_bytes) {
  SOTTO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(spec["vocab"]));
  BpeOptions options;
  options.to_bytes = to_bytes;
  SOTTO_ASSIGN_OR_RETURN(const double dropout, spec.NumberOr("dropout", 0));
  if (dropout != 0) return Unsupported("BPE with dropout");
  SOTTO_ASSIGN_OR_RETURN(options.prefix, spec.StringOr("continuing_subword_prefix", ""));
  SOTTO_ASSIGN_OR_RETURN(options.suffix, spec.StringOr("end_of_word_suffix", ""));
  SOTTO_ASSIGN_OR_RETURN(options.fuse_unknown, spec.BoolOr("fuse_unk", false));
  SOTTO_ASSIGN_OR_RETURN(options.byte_fallback, spec.BoolOr("byte_fallback", false));
  SOTTO_ASSIGN_OR_RETURN(options.ignore_merges, spec.BoolOr("ignore_merges", false));
  SOTTO_ASSIGN_OR_RETURN(const std::string unknown, spec.StringOr("unk_token", ""));
  if (!unknown.empty()) {
    options.unknown = vocabulary.IdOf(unknown);
    if (options.unknown < 0) {
      return InvalidFile(StrCat("the vocabulary lacks the unknown token '", unknown, "'"));
    }
  }
  SOTTO_ASSIGN_OR_RETURN(MergeTable merges,
                         spec.has("scores")
                             ? MergesByScore(spec["scores"], vocabulary)
                             : ParseMerges(spec["merges"], vocabulary, options.prefix));
  return std::unique_ptr<TokenModel>(
      std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options)));
}

}  // namespace sotto
