#include "core/text/graphemes.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "core/base/sort.h"

namespace sotto::unicode {
namespace {

struct Range {
  uint32_t first, last;
};
#include "core/text/grapheme_data.inc"

enum Kind : uint8_t {
  kOther,
  kCr,
  kLf,
  kControlKind,
  kExtendKind,
  kZwj,
  kSpacingMarkKind,
  kPrependKind,
  kPictograph,
  kIndicator,
  kL,
  kV,
  kT,
  kLv,
  kLvt,
};

struct KindRange {
  uint32_t first, last;
  Kind kind;
};

const std::vector<KindRange>& Kinds() {
  static const std::vector<KindRange> kinds = [] {
    std::vector<KindRange> all;
    const auto add = [&](const auto& ranges, Kind kind) {
      for (const Range& r : ranges) all.push_back({r.first, r.last, kind});
    };
    add(kControl, kControlKind);
    add(kExtend, kExtendKind);
    add(kSpacingMark, kSpacingMarkKind);
    add(kPrepend, kPrependKind);
    add(kPictographic, kPictograph);
    HeapSort(all.begin(), all.end(),
             [](const KindRange& a, const KindRange& b) { return a.first < b.first; });
    return all;
  }();
  return kinds;
}

Kind KindOf(char32_t c) {
  if (c == '\r') return kCr;
  if (c == '\n') return kLf;
  if (c >= 0x20 && c < 0x7F) return kOther;
  if (c == 0x200D) return kZwj;
  if (c >= 0x1100 && c < 0x1200) return c < 0x1160 ? kL : c < 0x11A8 ? kV : kT;
  if (c >= 0xA960 && c <= 0xA97C) return kL;
  if (c >= 0xAC00 && c < 0xD7A4) return (c - 0xAC00) % 28 == 0 ? kLv : kLvt;
  if (c >= 0xD7B0 && c <= 0xD7C6) return kV;
  if (c >= 0xD7CB && c <= 0xD7FB) return kT;
  if (c >= 0x1F1E6 && c <= 0x1F1FF) return kIndicator;
  const std::vector<KindRange>& kinds = Kinds();
  const auto it = std::upper_bound(kinds.begin(), kinds.end(), c,
                                   [](char32_t x, const KindRange& r) { return x < r.first; });
  return it != kinds.begin() && c <= std::prev(it)->last ? std::prev(it)->kind : kOther;
}

// The rules GB3 to GB9b; GB11 to GB13 need more than two characters.
bool Joins(Kind a, Kind b) {
  if (a == kCr && b == kLf) return true;
  const auto breaks = [](Kind k) { return k == kCr || k == kLf || k == kControlKind; };
  if (breaks(a) || breaks(b)) return false;
  if (a == kL && (b == kL || b == kV || b == kLv || b == kLvt)) return true;
  if ((a == kLv || a == kV) && (b == kV || b == kT)) return true;
  if ((a == kLvt || a == kT) && b == kT) return true;
  return b == kExtendKind || b == kZwj || b == kSpacingMarkKind || a == kPrependKind;
}

}  // namespace

bool GraphemeBreaks::Before(char32_t code) {
  const Kind kind = KindOf(code);
  const bool joins = !first_ && (Joins(static_cast<Kind>(previous_), kind) ||
                                 (joins_pictographs_ && kind == kPictograph) ||
                                 (odd_indicators_ && kind == kIndicator));
  joins_pictographs_ = after_pictograph_ && kind == kZwj;
  after_pictograph_ = kind == kPictograph || (after_pictograph_ && kind == kExtendKind);
  odd_indicators_ = kind == kIndicator && !odd_indicators_;
  previous_ = kind;
  first_ = false;
  return !joins;
}

}  // namespace sotto::unicode
