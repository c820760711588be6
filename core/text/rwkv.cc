// RWKV's: again and again the longest token that the rest of the piece begins with, byte by byte.
// Tokens are spelled in letters for bytes, so the pre-tokenizer is ByteLevel. Not one of Hugging
// Face's models; {"type": "RWKV", "vocab": {"token": id, ...}, "unk_id": id}.
#include <utility>

#include "core/text/byte_alphabet.h"
#include "core/text/token_model.h"
#include "core/text/trie.h"

namespace sotto {
namespace {

class Rwkv final : public TokenModel {
 public:
  Rwkv(Vocabulary vocabulary, Trie trie, int32_t unknown)
      : TokenModel(std::move(vocabulary)), trie_(std::move(trie)), unknown_(unknown) {}

  Status Tokenize(std::string_view piece, std::vector<ModelToken>& tokens) const override {
    for (size_t begin = 0; begin < piece.size();) {
      int32_t id = -1;
      size_t end = begin;
      uint32_t node = Trie::kRoot;
      for (size_t i = begin; i < piece.size();) {
        node = trie_.Step(node, piece[i++]);
        if (node == Trie::kRoot) break;
        if (trie_.ValueAt(node) < 0) continue;
        id = trie_.ValueAt(node);
        end = i;
      }
      if (id < 0) {
        if (unknown_ < 0) {
          return InvalidFile("the vocabulary lacks the unknown token that the text needs");
        }
        id = unknown_;
        end = begin + 1;
      }
      tokens.push_back({id, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
      begin = end;
    }
    return OkStatus();
  }
  int32_t unknown_id() const override { return unknown_; }

 private:
  Trie trie_;
  int32_t unknown_;
};

}  // namespace

Result<std::unique_ptr<TokenModel>> MakeRwkv(const Json& spec) {
  const Json& vocab = spec["vocab"];
  SOTTO_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::FromJson(vocab));
  std::vector<std::string> bytes;
  bytes.reserve(vocab.members().size());
  for (const Json::Member& member : vocab.members()) {
    std::string& out = bytes.emplace_back();
    for (size_t i = 0; i < member.first.size();) {
      const Utf8Char c = DecodeUtf8(member.first, i);
      const int byte = ByteOfLetter(c.code);
      if (byte < 0) return InvalidFile(StrCat("the RWKV token '", member.first, "' is not bytes"));
      out.push_back(static_cast<char>(byte));
      i += static_cast<size_t>(c.length);
    }
  }
  std::vector<Trie::Entry> entries;
  entries.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    entries.push_back({bytes[i], static_cast<int32_t>(vocab.members()[i].second.as_int())});
  }
  int32_t unknown = -1;
  if (!spec["unk_id"].is_null()) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t id, spec.IntAt("unk_id", 0, vocabulary.limit() - 1));
    unknown = static_cast<int32_t>(id);
  }
  SOTTO_ASSIGN_OR_RETURN(Trie trie, Trie::Build(std::move(entries)));
  return std::unique_ptr<TokenModel>(
      std::make_unique<Rwkv>(std::move(vocabulary), std::move(trie), unknown));
}

}  // namespace sotto
