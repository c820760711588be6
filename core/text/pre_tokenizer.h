// Pre-tokenizers: where a normalized text is cut into the pieces that the model sees one by one.
#ifndef SOTTO_CORE_TEXT_PRE_TOKENIZER_H_
#define SOTTO_CORE_TEXT_PRE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/text/aligned_text.h"

namespace sotto {

// Bytes [begin, end) of the text, never empty. `token` is the id of an added token, or -1 for text.
struct Piece {
  uint32_t begin, end;
  int32_t token;
};

struct PreTokenized {
  AlignedText text;
  std::vector<Piece> pieces;
  std::vector<Piece> next;  // where a step gathers the pieces to come
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Cuts the pieces that are text into finer ones. May replace the text (and place the pieces
  // anew).
  virtual void Apply(PreTokenized& work) const = 0;
  // Whether the model is to see each piece's bytes instead of its characters (ByteLevel).
  virtual bool to_bytes() const { return false; }
};

// From the "pre_tokenizer" member of tokenizer.json; null gives a null pointer.
Result<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json& spec);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_PRE_TOKENIZER_H_
