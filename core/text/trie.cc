#include "core/text/trie.h"

#include <algorithm>

namespace sotto {
namespace {

constexpr size_t kMaxTries = 256;
constexpr size_t kMaxUnits = size_t{1} << 26;

// A node whose children are to be placed: entries [begin, end) share its first `depth` bytes.
struct Pending {
  uint32_t node, begin, end, depth;
};

}  // namespace

Result<Trie> Trie::Build(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.first < b.first; });
  Trie trie;
  std::vector<Unit>& units = trie.units_;
  units.resize(1);
  units[0].parent = 0;
  // Free units form a list from `first_free` on: taken ones are skipped, and passed for good once
  // most of a stretch is taken.
  size_t first_free = 1, used = 1;
  std::vector<Pending> queue = {{kRoot, 0, static_cast<uint32_t>(entries.size()), 0}};
  std::vector<std::pair<uint8_t, uint32_t>> children;  // label, first entry
  for (size_t next = 0; next < queue.size(); ++next) {
    const Pending p = queue[next];
    if (next >= 4096 && next * 2 > queue.size()) {  // what is done need not be kept
      queue.erase(queue.begin(), queue.begin() + static_cast<ptrdiff_t>(next));
      next = 0;
    }
    uint32_t i = p.begin;
    for (; i < p.end && entries[i].first.size() == p.depth; ++i) {
      if (p.depth > 0) units[p.node].value = entries[i].second;
    }
    children.clear();
    for (; i < p.end; ++i) {
      const auto label = static_cast<uint8_t>(entries[i].first[p.depth]);
      if (children.empty() || children.back().first != label) children.push_back({label, i});
    }
    if (children.empty()) continue;
    const auto is_free = [&](size_t at) { return at >= units.size() || units[at].parent == kFree; };
    size_t at = std::max<size_t>(first_free, children[0].first + size_t{1});
    size_t base = 0, seen = 0, taken = 0;
    const size_t began = at;
    for (;; ++at) {
      // Holes that are too tight are left to nodes of one child.
      if (++seen == kMaxTries) at = std::max(at, used);
      if (!is_free(at)) {
        ++taken;
        continue;
      }
      base = at - children[0].first;
      if (std::all_of(children.begin(), children.end(),
                      [&](const auto& c) { return is_free(base + c.first); })) {
        break;
      }
    }
    if (began == first_free && taken * 20 >= seen * 19) first_free = at;
    while (first_free < units.size() && units[first_free].parent != kFree) ++first_free;
    const size_t needed = base + children.back().first + 1;
    used = std::max(used, needed);
    if (needed > kMaxUnits) return Unsupported("a vocabulary whose trie has over 67108864 nodes");
    if (needed > units.size()) units.resize(std::max(needed, units.size() + units.size() / 8));
    units[p.node].base = static_cast<uint32_t>(base);
    for (size_t c = 0; c < children.size(); ++c) {
      const auto child = static_cast<uint32_t>(base + children[c].first);
      units[child].parent = p.node;
      queue.push_back({child, children[c].second,
                       c + 1 < children.size() ? children[c + 1].second : p.end, p.depth + 1});
    }
  }
  while (units.size() > 1 && units.back().parent == kFree) units.pop_back();
  units.shrink_to_fit();
  return trie;
}

}  // namespace sotto
