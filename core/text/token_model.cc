#include "core/text/token_model.h"

#include <algorithm>

namespace sotto {

ByteTokens::ByteTokens(const Vocabulary& vocabulary) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b) {
    const char token[] = {'<', '0', 'x', kHex[b >> 4], kHex[b & 15], '>'};
    ids_[b] = vocabulary.IdOf(std::string_view(token, sizeof(token)));
  }
}

bool ByteTokens::CanSpell(std::string_view text) const {
  return std::all_of(text.begin(), text.end(), [&](char c) { return IdOf(c) >= 0; });
}

Result<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& spec, bool to_bytes) {
  if (!spec.is_object()) return InvalidFile("tokenizer.json lacks its 'model'");
  SOTTO_ASSIGN_OR_RETURN(std::string type, spec.StringOr("type", ""));
  if (type.empty()) {
    // Older files leave the type out; the members tell.
    if (spec.has("merges")) {
      type = "BPE";
    } else if (spec.has("continuing_subword_prefix")) {
      type = "WordPiece";
    } else {
      type = spec["vocab"].is_array() ? "Unigram" : "WordLevel";
    }
  }
  if (type == "BPE") return MakeBpe(spec, to_bytes);
  if (type == "RWKV" && to_bytes) return MakeRwkv(spec);
  if (to_bytes) return Unsupported(StrCat("the pre-tokenizer ByteLevel with the model ", type));
  if (type == "WordPiece") return MakeWordPiece(spec);
  if (type == "Unigram") return MakeUnigram(spec);
  if (type == "WordLevel") return MakeWordLevel(spec);
  return Unsupported(StrCat("the tokenizer model '", type, "'"));
}

}  // namespace sotto
