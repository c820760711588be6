// Two normalizers that replace by SentencePiece's table, and their table.
//
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

  // The length of the shortest or longest prefix of the text that has an entry, and its
  // replacement; 0 where there is none.
  enum class Which : uint8_t { kShortest, kLongest };
  size_t Find(std::string_view text, Which which, std::string_view* replacement) const {
    size_t found = 0;
    if (units_.empty()) return found;
    size_t at = Offset(units_[0]);
    for (size_t i = 0; i < text.size() && text[i] != 0; ++i) {
      at ^= static_cast<uint8_t>(text[i]);
      if (at >= units_.size()) return found;
      const uint32_t unit = units_[at];
      if ((unit & 0x800000FFu) != static_cast<uint8_t>(text[i])) return found;
      at ^= Offset(unit);
      if ((unit >> 8 & 1) == 0) continue;
      if (at < units_.size() && ReplacementAt(units_[at] & 0x7FFFFFFFu, replacement)) found = i + 1;
      if (which == Which::kShortest) return found;
    }
    return found;
  }

 private:
  static size_t Offset(uint32_t unit) { return size_t{unit >> 10} << ((unit & 0x200u) >> 6); }
  // False where there is none, or it begins inside a character.
  bool ReplacementAt(size_t begin, std::string_view* replacement) const {
    const std::string_view all = replacements_;
    if (begin > all.size()) return false;
    if (begin < all.size() && (static_cast<uint8_t>(all[begin]) & 0xC0) == 0x80) return false;
    *replacement = all.substr(begin, all.find('\0', begin) - begin);
    return true;
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
      changes_ascii_[i] =
          map_.Find(std::string_view(&c, 1), Charsmap::Which::kShortest, &replacement) > 0;
    }
  }

  bool Keeps(std::string_view text) const override {
    return std::all_of(text.begin(), text.end(), [&](char c) {
      return static_cast<int8_t>(c) >= 0 && c != '\r' && !changes_ascii_[static_cast<uint8_t>(c)];
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
    if (map_.Find(cluster, Charsmap::Which::kShortest, &replacement) == 0) return false;
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

class SentencePieceNormalizer final : public Normalizer {
 public:
  SentencePieceNormalizer(Charsmap map, bool collapse, bool prefix, bool escape)
      : map_(std::move(map)),
        collapse_(collapse),
        prefix_(prefix),
        blank_(escape ? char32_t{0x2581} : U' ') {}

  void Apply(std::vector<AlignedChar>& text) const override {
    std::string bytes;
    for (const AlignedChar& c : text) AppendUtf8(bytes, c.code);
    std::vector<AlignedChar> out;
    out.reserve(text.size() + 1);
    bool after_blank = collapse_, at_start = true;
    for (size_t i = 0, pos = 0; i < text.size();) {
      std::string_view chunk;  // what the characters [i, end) become
      size_t length =
          map_.Find(std::string_view(bytes).substr(pos), Charsmap::Which::kLongest, &chunk);
      if (length == 0 || SplitsCharacter(bytes, pos + length)) {
        length = static_cast<size_t>(DecodeValid(bytes, pos).length);
        chunk = std::string_view(bytes).substr(pos, length);
      }
      Span span = text[i].span;
      for (const size_t stop = pos + length; pos < stop; ++i) {
        span.end = text[i].span.end;
        pos += static_cast<size_t>(DecodeValid(bytes, pos).length);
      }
      if (at_start && collapse_ && chunk == " ") continue;
      if (at_start && prefix_) out.push_back({blank_, span});
      at_start = false;
      while (after_blank && chunk.starts_with(' ')) chunk.remove_prefix(1);
      if (!chunk.empty()) after_blank = collapse_ && chunk.ends_with(' ');
      for (size_t at = 0; at < chunk.size();) {
        const Utf8Char c = DecodeValid(chunk, at);
        at += static_cast<size_t>(c.length);
        out.push_back({c.code == ' ' ? blank_ : c.code, span});
      }
    }
    while (collapse_ && !out.empty() && out.back().code == blank_) out.pop_back();
    text = std::move(out);
  }

 private:
  static bool SplitsCharacter(std::string_view bytes, size_t at) {
    return at < bytes.size() && (static_cast<uint8_t>(bytes[at]) & 0xC0) == 0x80;
  }

  Charsmap map_;
  bool collapse_, prefix_;
  char32_t blank_;
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
  SOTTO_ASSIGN_OR_RETURN(const std::string type, spec.StringAt("type"));
  SOTTO_ASSIGN_OR_RETURN(const std::string base64, spec.StringOr("precompiled_charsmap", ""));
  Charsmap map;
  if (!base64.empty()) {
    SOTTO_ASSIGN_OR_RETURN(const std::string blob, DecodeBase64(base64));
    SOTTO_ASSIGN_OR_RETURN(map, Charsmap::Parse(blob));
  }
  if (type == "SentencePiece") {
    SOTTO_ASSIGN_OR_RETURN(const bool collapse, spec.BoolOr("remove_extra_whitespaces", true));
    SOTTO_ASSIGN_OR_RETURN(const bool prefix, spec.BoolOr("add_dummy_prefix", true));
    SOTTO_ASSIGN_OR_RETURN(const bool escape, spec.BoolOr("escape_whitespaces", true));
    return std::unique_ptr<Normalizer>(
        std::make_unique<SentencePieceNormalizer>(std::move(map), collapse, prefix, escape));
  }
  // A model without replacements has no table.
  if (base64.empty()) return std::unique_ptr<Normalizer>();
  return std::unique_ptr<Normalizer>(std::make_unique<PrecompiledNormalizer>(std::move(map)));
}

}  // namespace sotto
