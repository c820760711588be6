// A static trie over byte strings, for finding every token that begins at a place of a text: a
// double array (Aoe 1989), in which a step is one look at one unit.
#ifndef SOTTO_CORE_TEXT_TRIE_H_
#define SOTTO_CORE_TEXT_TRIE_H_

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"

namespace sotto {

class Trie {
 public:
  using Entry = std::pair<std::string_view, int32_t>;

  // Of equal strings the last one counts; values must not be negative. Empty strings are left out.
  static Result<Trie> Build(std::vector<Entry> entries);

  static constexpr uint32_t kRoot = 0;
  // The node that `byte` leads to, or kRoot where there is none.
  uint32_t Step(uint32_t node, char byte) const {
    const size_t at = size_t{units_[node].base} + static_cast<uint8_t>(byte);
    return at < units_.size() && units_[at].parent == node ? static_cast<uint32_t>(at) : kRoot;
  }
  // The value of the string that ends at a node, or -1.
  int32_t ValueAt(uint32_t node) const { return units_[node].value; }

 private:
  static constexpr uint32_t kFree = ~0u;
  struct Unit {
    uint32_t base = 0, parent = kFree;
    int32_t value = -1;
  };
  std::vector<Unit> units_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_TRIE_H_
