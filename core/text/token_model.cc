#include "core/text/token_model.h"

namespace sotto {

Result<std::unique_ptr<TokenModel>> MakeTokenModel(const Json& spec, bool to_bytes) {
  if (!spec.is_object()) return InvalidFile("tokenizer.json lacks its 'model'");
  SOTTO_ASSIGN_OR_RETURN(std::string type, spec.StringOr("type", ""));
  if (type.empty()) {
    // Older files leave the type out; the members tell.
    if (spec.has("merges")) {
      type = "BPE";
    } else if (spec.has("continuing_subword_prefix")) {
      type = "WordPiece";
    }
  }
  if (type == "BPE") return MakeBpe(spec, to_bytes);
  if (type == "WordPiece") {
    if (to_bytes) return Unsupported("the pre-tokenizer ByteLevel with the model WordPiece");
    return MakeWordPiece(spec);
  }
  return Unsupported(StrCat("the tokenizer model '", type, "'"));
}

}  // namespace sotto
