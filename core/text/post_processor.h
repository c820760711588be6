// Post-processors: the special tokens around a text or a pair, the type ids, and offsets without
// the blanks at a token's rim. All kinds come down to two templates and a list of trims.
#ifndef SOTTO_CORE_TEXT_POST_PROCESSOR_H_
#define SOTTO_CORE_TEXT_POST_PROCESSOR_H_

#include <cstdint>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"

namespace sotto {

struct PostProcessor {
  struct Part {
    int8_t sequence = -1;  // 0 or 1: the first or the second text; -1: special tokens
    int32_t type_id = 0;
    std::vector<int32_t> ids;
  };
  // Takes the blanks that a token begins or ends with out of its offsets.
  struct Trim {
    bool add_prefix_space;  // then a single blank before the first token is not the text's own
  };

  std::vector<Part> single = {{0, 0, {}}};
  std::vector<Part> pair = {{0, 0, {}}, {1, 1, {}}};
  std::vector<Trim> trims;

  const std::vector<Part>& For(bool is_pair) const { return is_pair ? pair : single; }
  int AddedTo(bool is_pair) const;
};

// From the "post_processor" member of tokenizer.json; null adds nothing.
Result<PostProcessor> MakePostProcessor(const Json& spec);

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_POST_PROCESSOR_H_
