// Added tokens: strings that are found in a text before anything else and become one id each.
#ifndef SOTTO_CORE_TEXT_ADDED_TOKENS_H_
#define SOTTO_CORE_TEXT_ADDED_TOKENS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/text/normalizer.h"
#include "core/text/pre_tokenizer.h"
#include "core/text/string_table.h"
#include "core/text/vocabulary.h"

namespace sotto {

struct AddedToken {
  int32_t id;
  std::string content;
  bool special;
  bool single_word;     // only where no word character touches it
  bool lstrip, rstrip;  // takes the white space before, after it
  bool normalized;      // is looked for in the normalized text, in its own normalized form
};

class AddedTokens {
 public:
  // From the "added_tokens" member. A token that the model knows keeps the model's id.
  static Result<AddedTokens> FromJson(const Json& list, const Vocabulary& vocabulary,
                                      const Normalizer* normalizer);

  const std::vector<AddedToken>& all() const { return tokens_; }
  const AddedToken* ById(int32_t id) const;
  const AddedToken* ByContent(std::string_view content) const;
  int32_t limit() const { return limit_; }  // one more than the largest id

  // Cuts a piece of text into stretches with and without added tokens (those that are looked for in
  // raw, or in normalized text). Special ones count as text unless `parse_special`.
  void Split(std::string_view text, const Piece& piece, bool normalized, bool parse_special,
             std::vector<Piece>& out) const;

 private:
  // Leftmost-longest search: candidates by first byte, longest first.
  struct Pattern {
    std::string text;
    uint32_t token;
  };
  struct Matcher {
    std::vector<Pattern> patterns;  // by first byte, then length descending
    uint16_t begin[257] = {};
    void Build();
    // The first match at or after `pos`: its pattern, or null.
    const Pattern* Find(std::string_view text, size_t pos, size_t* at) const;
  };

  std::vector<AddedToken> tokens_;
  StringTable contents_;               // of tokens_, in order
  std::vector<uint32_t> order_by_id_;  // places in tokens_
  int32_t limit_ = 0;
  Matcher raw_, normalized_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_ADDED_TOKENS_H_
