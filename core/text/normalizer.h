// Normalizers: what tokenizer.json does to the characters of a text before it is split. Each
// changes a sequence of characters that carry the original bytes they stand for, as Hugging Face
// aligns them.
#ifndef SOTTO_CORE_TEXT_NORMALIZER_H_
#define SOTTO_CORE_TEXT_NORMALIZER_H_

#include <memory>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/text/aligned_text.h"
#include "core/text/unicode.h"

namespace sotto {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // A quick test: true only if the text would come out as it is.
  virtual bool Keeps(std::string_view text) const { return false; }
  virtual void Apply(std::vector<AlignedChar>& text) const = 0;
  // Appends the normalized part [begin, end) of a text.
  virtual void Append(const AlignedText& text, uint32_t begin, uint32_t end,
                      AlignedText& out) const;
};

// From the "normalizer" member of tokenizer.json; null gives a null pointer.
Result<std::unique_ptr<Normalizer>> MakeNormalizer(const Json& spec);
// Precompiled, and SentencePiece's own.
Result<std::unique_ptr<Normalizer>> MakePrecompiled(const Json& spec);

// Puts changed characters in the place of a text's own, each with the span of what it stands for.
void Realign(const std::vector<unicode::NormalizedChar>& changed, std::vector<AlignedChar>& text);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_NORMALIZER_H_
