// Precompiled: SentencePiece's table of replacements ("precompiled_charsmap"), as Hugging Face
// applies it: to each grapheme cluster of less than six bytes as a whole, else to each character,
// and what counts is the shortest entry that the cluster or character begins with.
//
// The table is a little-endian size, a double array of that many bytes in darts-clone's layout, and
// the replacements, each ended by a NUL. Nothing of it is trusted: a step out of the array finds
// nothing.
#include <algorithm>
#include <string>
#include <utility>

#include "core/text/graphemes.h"
#include "core/text/normalizer.h"

namespace sotto {
namespace {

class Charsmap {
 public:
  static Result<Charsmap> Parse(std::string_view blob) {
    const auto word = [&](size_t at) {
      uint32_t value = 0;
      for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<uint8_t>(blob[at + i]);
      return value;
    };
    if (blob.size() < 4) return InvalidFile("the precompiled_charsmap is cut short");
    const size_t size = word(0);
    if (size % 4 != 0 || size > blob.size() - 4) {
      return InvalidFile(StrCat("the precompiled_charsmap claims ", size,
                                " bytes for its double array; it has ", blob.size() - 4,
                                " after the size"));
    }
    Charsmap map;
    map.units_.reserve(size / 4);
    for (size_t at = 4; at < 4 + size; at += 4) map.units_.push_back(word(at));
    map.replacements_ = blob.substr(4 + size);
    if (!IsValidUtf8(map.replacements_)) {
      return InvalidFile("the replacements of the precompiled_charsmap are not UTF-8");
    }
    return map;
  }

  // Whether a prefix of the text has an entry; the shortest one's replacement.
  bool Find(std::string_view text, std::string_view* replacement) const {
    if (units_.empty()) return false;
    size_t at = Offset(units_[0]);
    for (const char c : text) {
      if (c == 0) return false;
      at ^= static_cast<uint8_t>(c);
      if (at >= units_.size()) return false;
      const uint32_t unit = units_[at];
      if ((unit & 0x800000FFu) != static_cast<uint8_t>(c)) return false;
      at ^= Offset(unit);
      if ((unit >> 8 & 1) == 0) continue;
      return at < units_.size() && ReplacementAt(units_[at] & 0x7FFFFFFFu, replacement);
    }
    return false;
  }

 private:
  static size_t Offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & 0x200u) >> 6); }
  bool ReplacementAt(size_t begin, std::string_view* replacement) const {
    const std::string_view all = replacements_;
    if (begin > all.size()) return false;
    *replacement = all.substr(begin, all.find('\0', begin) - begin);
    return replacement->empty() || (static_cast<uint8_t>(replacement->front()) & 0xC0) != 0x80;
  }

  std::vector<uint32_t> units_;
  std::string replacements_;
};

class PrecompiledNormalizer final : public Normalizer {
 public:
  explicit PrecompiledNormalizer(Charsmap map) : map_(std::move(map)) {
    std::string_view replacement;
    for (int i = 0; i < 128; ++i) {
      const char c = static_cast<char>(i);
      changes_ascii_[i] = map_.Find(std::string_view(&c, 1), &replacement);
    }
  }

  bool Keeps(std::string_view text) const override {
    return std::all_of(text.begin(), text.end(), [&](char c) {
      return static_cast<int8_t>(c) >= 0 && c != '\r' && !changes_ascii_[static_cast<int>(c)];
    });
  }

  void Apply(std::vector<AlignedChar>& text) const override {
    std::vector<unicode::NormalizedChar> out;
    out.reserve(text.size());
    bool modified = false;
    for (size_t begin = 0; begin < text.size();) {
      const char32_t code = text[begin].code;
      // Between two characters of ASCII there is always a break, but for CR and LF.
      if (code < 0x80 && code != '\r' && !changes_ascii_[code] &&
          (begin + 1 == text.size() || text[begin + 1].code < 0x80)) {
        out.push_back({code, 0});
        ++begin;
        continue;
      }
      const size_t end = EndOfCluster(text, begin);
      if (Replace(text, begin, end, out)) {
        modified = true;
      } else {
        for (size_t i = begin; i < end; ++i) {
          const bool replaced = end - begin > 1 && Replace(text, i, i + 1, out);
          if (!replaced) out.push_back({text[i].code, 0});
          modified = modified || replaced;
        }
      }
      begin = end;
    }
    if (modified) Realign(out, text);
  }

 private:
  static size_t EndOfCluster(const std::vector<AlignedChar>& text, size_t begin) {
    unicode::GraphemeBreaks breaks;
    size_t end = begin;
    do {
      if (breaks.Before(text[end].code) && end > begin) break;
    } while (++end < text.size());
    return end;
  }

  // Replaces a cluster or a character where the table says so.
  bool Replace(const std::vector<AlignedChar>& text, size_t begin, size_t end,
               std::vector<unicode::NormalizedChar>& out) const {
    constexpr size_t kMaxClusterBytes = 5;
    std::string cluster;
    for (size_t i = begin; i < end; ++i) {
      AppendUtf8(cluster, text[i].code);
      if (cluster.size() > kMaxClusterBytes) return false;
    }
    std::string_view replacement;
    if (!map_.Find(cluster, &replacement)) return false;
    // Characters beyond those replaced are added ones, and with fewer the last swallows the rest.
    size_t left = end - begin;
    for (size_t i = 0; i < replacement.size();) {
      const Utf8Char c = DecodeValid(replacement, i);
      i += static_cast<size_t>(c.length);
      out.push_back({c.code, left > 0 ? 0 : 1});
      left -= left > 0 ? 1 : 0;
    }
    if (left > 0 && !out.empty()) out.back().change -= static_cast<int32_t>(left);
    return true;
  }

 private:
  Charsmap map_;
  bool changes_ascii_[128];
};

// RFC 4648 with padding.
Result<std::string> DecodeBase64(std::string_view text) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  size_t digits = 0;
  const size_t end = text.find_last_not_of('=') + 1;
  for (const char c : text.substr(0, end)) {
    uint32_t digit;
    if (c >= 'A' && c <= 'Z') {
      digit = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      digit = static_cast<uint32_t>(c - 'a') + 26;
    } else if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0') + 52;
    } else if (c == '+' || c == '/') {
      digit = c == '+' ? 62 : 63;
    } else {
      return InvalidFile("the precompiled_charsmap is not base64");
    }
    bits = bits << 6 | digit;
    if (++digits % 4 == 0) {
      for (int shift = 16; shift >= 0; shift -= 8) out.push_back(static_cast<char>(bits >> shift));
    }
  }
  if (text.size() % 4 != 0 || text.size() - end > 2) {
    return InvalidFile("the precompiled_charsmap is not base64");
  }
  if (digits % 4 == 2) out.push_back(static_cast<char>(bits >> 4));
  if (digits % 4 == 3) {
    out.push_back(static_cast<char>(bits >> 10));
    out.push_back(static_cast<char>(bits >> 2));
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<Normalizer>> MakePrecompiled(const Json& spec) {
  // A model without normalization has no table.
  if (spec["precompiled_charsmap"].is_null()) return std::unique_ptr<Normalizer>();
  SOTTO_ASSIGN_OR_RETURN(const std::string base64, spec.StringAt("precompiled_charsmap"));
  if (base64.empty()) return std::unique_ptr<Normalizer>();
  SOTTO_ASSIGN_OR_RETURN(const std::string blob, DecodeBase64(base64));
  SOTTO_ASSIGN_OR_RETURN(Charsmap map, Charsmap::Parse(blob));
  return std::unique_ptr<Normalizer>(std::make_unique<PrecompiledNormalizer>(std::move(map)));
}

}  // namespace sotto
