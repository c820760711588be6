// Where a text may be cut between what a reader takes for characters: extended grapheme clusters
// (Unicode Standard Annex 29), of Unicode 17 as in Hugging Face's tokenizers, without rule GB9c
// (Indic conjuncts).
#ifndef SOTTO_CORE_TEXT_GRAPHEMES_H_
#define SOTTO_CORE_TEXT_GRAPHEMES_H_

#include <cstdint>

namespace sotto::unicode {

// Finds the clusters of a text from its code points, one after another.
class GraphemeBreaks {
 public:
  // Whether a cluster begins at `code`, which follows those of the earlier calls.
  bool Before(char32_t code);

 private:
  uint8_t previous_ = 0;
  bool first_ = true;
  bool joins_pictographs_ = false;  // what came last is a pictograph, Extend*, ZWJ
  bool after_pictograph_ = false;   // what came last is a pictograph, Extend*
  bool odd_indicators_ = false;     // an odd number of regional indicators came last
};

}  // namespace sotto::unicode

#endif  // SOTTO_CORE_TEXT_GRAPHEMES_H_
