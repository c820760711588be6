#include "core/text/normalizer.h"

#include <algorithm>
#include <utility>

#include "core/text/byte_alphabet.h"
#include "core/text/split_pattern.h"
#include "core/text/unicode.h"

namespace sotto {
namespace {

using unicode::Has;

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<int8_t>(c) >= 0; });
}

std::vector<char32_t> CodesOf(std::string_view utf8) {
  std::vector<char32_t> codes;
  for (size_t i = 0; i < utf8.size();) {
    const Utf8Char c = DecodeUtf8(utf8, i);
    codes.push_back(c.code);
    i += c.length;
  }
  return codes;
}

template <class Drop>
void Filter(std::vector<AlignedChar>& text, const Drop& drop) {
  text.erase(
      std::remove_if(text.begin(), text.end(), [&](const AlignedChar& c) { return drop(c.code); }),
      text.end());
}

void NormalForm(unicode::Form form, std::vector<AlignedChar>& text) {
  std::vector<char32_t> codes;
  codes.reserve(text.size());
  for (const AlignedChar& c : text) codes.push_back(c.code);
  std::vector<unicode::NormalizedChar> normalized;
  unicode::Normalize(form, codes, normalized);
  Realign(normalized, text);
}

void Lowercase(std::vector<AlignedChar>& text) {
  size_t dotted = 0;  // U+0130 becomes two characters
  for (AlignedChar& c : text) dotted += c.code == 0x130;
  if (dotted == 0) {
    for (AlignedChar& c : text) c.code = unicode::ToLower(c.code);
    return;
  }
  std::vector<AlignedChar> out;
  out.reserve(text.size() + dotted);
  for (const AlignedChar& c : text) {
    out.push_back({unicode::ToLower(c.code), c.span});
    if (c.code == 0x130) out.push_back({0x307, c.span});
  }
  text = std::move(out);
}

class FormNormalizer final : public Normalizer {
 public:
  explicit FormNormalizer(unicode::Form form) : form_(form) {}
  bool Keeps(std::string_view text) const override {
    if (form_ != unicode::Form::kNfc) return IsAscii(text);
    return KeptPrefix(text, 0, text.size()) == text.size();
  }
  void Apply(std::vector<AlignedChar>& text) const override { NormalForm(form_, text); }

  // NFC rarely has work to do: what it keeps is copied, the rest goes by stretches that begin with
  // a character which nothing before it can join.
  void Append(const AlignedText& text, uint32_t begin, uint32_t end,
              AlignedText& out) const override {
    if (form_ != unicode::Form::kNfc) return Normalizer::Append(text, begin, end, out);
    const std::string_view bytes = text.text();
    std::vector<AlignedChar> run;
    for (size_t i = begin; i < end;) {
      size_t kept = KeptPrefix(bytes, i, end);
      if (i < kept && kept < end) {  // its last character may be changed by what follows
        do {
          --kept;
        } while (kept > i && (static_cast<uint8_t>(bytes[kept]) & 0xC0) == 0x80);
      }
      while (i < kept) {
        const Utf8Char c = DecodeValid(bytes, i);
        const size_t next = i + static_cast<size_t>(c.length);
        out.Append(c.code, text.SpanOf(static_cast<uint32_t>(i), static_cast<uint32_t>(next)));
        i = next;
      }
      if (i == end) return;
      size_t stop = i + static_cast<size_t>(DecodeValid(bytes, i).length);
      while (stop < end) {
        const Utf8Char c = DecodeValid(bytes, stop);
        if (unicode::KeepsInNfc(c.code)) break;
        stop += static_cast<size_t>(c.length);
      }
      run.clear();
      AppendChars(text, static_cast<uint32_t>(i), static_cast<uint32_t>(stop), run);
      Apply(run);
      for (const AlignedChar& c : run) out.Append(c.code, c.span);
      i = stop;
    }
  }

 private:
  // Where the characters from `pos` on stop to be ones that NFC keeps.
  static size_t KeptPrefix(std::string_view text, size_t pos, size_t end) {
    while (pos < end) {
      const uint8_t byte = static_cast<uint8_t>(text[pos]);
      if (byte < 0xCC) {  // begins or continues a character below U+0300
        ++pos;
        continue;
      }
      const Utf8Char c = DecodeValid(text, pos);
      if (!unicode::KeepsInNfc(c.code)) break;
      pos += static_cast<size_t>(c.length);
    }
    return pos;
  }

  unicode::Form form_;
};

class LowercaseNormalizer final : public Normalizer {
 public:
  void Apply(std::vector<AlignedChar>& text) const override { Lowercase(text); }
};

class StripAccentsNormalizer final : public Normalizer {
 public:
  bool Keeps(std::string_view text) const override { return IsAscii(text); }
  void Apply(std::vector<AlignedChar>& text) const override {
    Filter(text, [](char32_t c) { return Has(c, unicode::kMark); });
  }
};

class StripNormalizer final : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void Apply(std::vector<AlignedChar>& text) const override {
    const auto is_text = [](const AlignedChar& c) { return !Has(c.code, unicode::kSpace); };
    if (right_) {
      text.erase(std::find_if(text.rbegin(), text.rend(), is_text).base(), text.end());
    }
    if (left_) text.erase(text.begin(), std::find_if(text.begin(), text.end(), is_text));
  }

 private:
  bool left_, right_;
};

class PrependNormalizer final : public Normalizer {
 public:
  explicit PrependNormalizer(std::string_view prefix) : prefix_(CodesOf(prefix)) {}
  void Apply(std::vector<AlignedChar>& text) const override {
    if (text.empty()) return;
    std::vector<AlignedChar> out;
    out.reserve(text.size() + prefix_.size());
    for (const char32_t c : prefix_) out.push_back({c, text[0].span});
    out.insert(out.end(), text.begin(), text.end());
    text = std::move(out);
  }

 private:
  std::vector<char32_t> prefix_;
};

// Every match becomes `content`, whose characters stand for the last one that was matched.
class ReplaceNormalizer final : public Normalizer {
 public:
  ReplaceNormalizer(std::unique_ptr<SplitPattern> pattern, std::string_view content)
      : pattern_(std::move(pattern)), content_(CodesOf(content)) {}

  void Apply(std::vector<AlignedChar>& text) const override {
    std::string bytes;
    for (const AlignedChar& c : text) AppendUtf8(bytes, c.code);
    std::vector<AlignedChar> out;
    out.reserve(text.size());
    size_t at = 0, pos = 0, begin, end;  // at: the character that begins at byte pos
    const auto skip = [&](size_t to, bool keep) {
      for (; pos < to; ++at) {
        if (keep) out.push_back(text[at]);
        pos += static_cast<size_t>(DecodeValid(bytes, pos).length);
      }
    };
    while (pattern_->Find(bytes, pos, &begin, &end)) {
      skip(begin, true);
      skip(end, false);
      for (const char32_t c : content_) out.push_back({c, text[at - 1].span});
    }
    skip(bytes.size(), true);
    text = std::move(out);
  }

 private:
  std::unique_ptr<SplitPattern> pattern_;
  std::vector<char32_t> content_;
};

// One character for another, the most common replacement.
class ReplaceCharNormalizer final : public Normalizer {
 public:
  ReplaceCharNormalizer(char32_t from, char32_t to) : from_(from), to_(to) {}
  bool Keeps(std::string_view text) const override {
    return from_ < 0x80 && text.find(static_cast<char>(from_)) == std::string_view::npos;
  }
  void Apply(std::vector<AlignedChar>& text) const override {
    for (AlignedChar& c : text) c.code = c.code == from_ ? to_ : c.code;
  }

 private:
  char32_t from_, to_;
};

// BERT's: drop control characters, blanks for white space, ideographs set apart, accents stripped,
// lowercase. ASCII, which has neither accents nor ideographs, takes a short way.
class BertNormalizer final : public Normalizer {
 public:
  BertNormalizer(bool clean, bool ideographs, bool strip_accents, bool lowercase)
      : clean_(clean),
        ideographs_(ideographs),
        strip_accents_(strip_accents),
        lowercase_(lowercase) {
    for (int c = 0; c < 128; ++c) {
      const bool space = c == '\t' || c == '\n' || c == '\r' || c == ' ';
      const bool control = (c < 0x20 || c == 0x7F) && !space;
      char to = static_cast<char>(c);
      if (clean && space) to = ' ';
      if (lowercase && c >= 'A' && c <= 'Z') to = static_cast<char>(c + 32);
      ascii_[c] = clean && control ? kDropped : to;
    }
  }

  void Apply(std::vector<AlignedChar>& text) const override {
    if (clean_) Clean(text);
    if (ideographs_) SetIdeographsApart(text);
    if (strip_accents_) {
      if (!text.empty()) NormalForm(unicode::Form::kNfd, text);
      Filter(text, [](char32_t c) { return Has(c, unicode::kNonspacing); });
    }
    if (lowercase_) Lowercase(text);
  }

  // Normal forms never reach across an ASCII character, so runs of others are done by themselves.
  void Append(const AlignedText& text, uint32_t begin, uint32_t end,
              AlignedText& out) const override {
    const std::string_view bytes = text.text();
    std::vector<AlignedChar> run;
    for (uint32_t i = begin; i < end;) {
      const int8_t byte = static_cast<int8_t>(bytes[i]);
      if (byte >= 0) {
        const char c = ascii_[static_cast<int>(byte)];
        if (c != kDropped) {
          out.AppendAscii(c, text.identity() ? Span{i, i + 1} : text.SpanOf(i, i + 1));
        }
        ++i;
        continue;
      }
      uint32_t stop = i;
      while (stop < end && static_cast<int8_t>(bytes[stop]) < 0) ++stop;
      run.clear();
      AppendChars(text, i, stop, run);
      Apply(run);
      for (const AlignedChar& c : run) out.Append(c.code, c.span);
      i = stop;
    }
  }

 private:
  static constexpr char kDropped = static_cast<char>(-1);

  static void Clean(std::vector<AlignedChar>& text) {
    Filter(text,
           [](char32_t c) { return c == 0 || c == kReplacement || Has(c, unicode::kControl); });
    for (AlignedChar& c : text) {
      if (Has(c.code, unicode::kSpace)) c.code = ' ';
    }
  }

  static void SetIdeographsApart(std::vector<AlignedChar>& text) {
    std::vector<AlignedChar> out;
    out.reserve(text.size());
    for (const AlignedChar& c : text) {
      const bool apart = unicode::IsBertIdeograph(c.code);
      if (apart) out.push_back({' ', c.span});
      out.push_back(c);
      if (apart) out.push_back({' ', c.span});
    }
    text = std::move(out);
  }

  bool clean_, ideographs_, strip_accents_, lowercase_;
  char ascii_[128];
};

// NMT's: control characters go, other white space and what has no width becomes a blank.
class NmtNormalizer final : public Normalizer {
 public:
  void Apply(std::vector<AlignedChar>& text) const override {
    Filter(text, [](char32_t c) {
      return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
             c == 0x9F;
    });
    for (AlignedChar& c : text) {
      const char32_t code = c.code;
      if (code == 9 || code == 0xA || code == 0xC || code == 0xD || code == 0x1680 ||
          (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
          code == 0x2581 || code == 0xFEFF || code == kReplacement) {
        c.code = ' ';
      }
    }
  }
};

// The text's bytes spelled as letters.
class ByteLevelNormalizer final : public Normalizer {
 public:
  void Apply(std::vector<AlignedChar>& text) const override {
    std::vector<AlignedChar> out;
    out.reserve(text.size());
    std::string bytes;
    for (const AlignedChar& c : text) {
      bytes.clear();
      AppendUtf8(bytes, c.code);
      for (const char byte : bytes)
        out.push_back({kByteLetters[static_cast<uint8_t>(byte)], c.span});
    }
    text = std::move(out);
  }
};

class SequenceNormalizer final : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> parts)
      : parts_(std::move(parts)) {}
  bool Keeps(std::string_view text) const override {
    return std::all_of(parts_.begin(), parts_.end(),
                       [&](const auto& part) { return part->Keeps(text); });
  }
  void Apply(std::vector<AlignedChar>& text) const override {
    for (const auto& part : parts_) part->Apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> parts_;
};

Result<std::unique_ptr<Normalizer>> MakeSequence(const Json& spec) {
  if (!spec["normalizers"].is_array()) {
    return InvalidFile("a normalizer Sequence lacks its 'normalizers'");
  }
  std::vector<std::unique_ptr<Normalizer>> parts;
  for (const Json& part : spec["normalizers"].items()) {
    SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Normalizer> made, MakeNormalizer(part));
    if (made != nullptr) parts.push_back(std::move(made));
  }
  return std::unique_ptr<Normalizer>(std::make_unique<SequenceNormalizer>(std::move(parts)));
}

Result<std::unique_ptr<Normalizer>> MakeReplace(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(const std::string content, spec.StringAt("content"));
  const Json& pattern = spec["pattern"];
  std::unique_ptr<SplitPattern> made;
  if (pattern["String"].is_string()) {
    const std::vector<char32_t> from = CodesOf(pattern["String"].as_string()),
                                to = CodesOf(content);
    if (from.size() == 1 && to.size() == 1) {
      return std::unique_ptr<Normalizer>(std::make_unique<ReplaceCharNormalizer>(from[0], to[0]));
    }
    made = MakeLiteralPattern(pattern["String"].as_string());
  } else {
    SOTTO_ASSIGN_OR_RETURN(const std::string regex, pattern.StringAt("Regex"));
    SOTTO_ASSIGN_OR_RETURN(made, MakeRegexPattern(regex));
  }
  return std::unique_ptr<Normalizer>(std::make_unique<ReplaceNormalizer>(std::move(made), content));
}

}  // namespace

void Realign(const std::vector<unicode::NormalizedChar>& changed, std::vector<AlignedChar>& text) {
  std::vector<AlignedChar> out;
  out.reserve(changed.size());
  size_t next = 0;  // the source character that the next unchanged or replaced one stands for
  for (const unicode::NormalizedChar& c : changed) {
    if (c.change > 0) {
      out.push_back({c.code, next > 0 ? text[next - 1].span : Span{0, 0}});
    } else {
      out.push_back({c.code, text[std::min(next, text.size() - 1)].span});
      next += static_cast<size_t>(1 - c.change);
    }
  }
  text = std::move(out);
}

void Normalizer::Append(const AlignedText& text, uint32_t begin, uint32_t end,
                        AlignedText& out) const {
  std::vector<AlignedChar> chars;
  chars.reserve(end - begin);
  AppendChars(text, begin, end, chars);
  if (!chars.empty()) Apply(chars);
  for (const AlignedChar& c : chars) out.Append(c.code, c.span);
}

Result<std::unique_ptr<Normalizer>> MakeNormalizer(const Json& spec) {
  using Made = std::unique_ptr<Normalizer>;
  if (spec.is_null()) return Made();
  SOTTO_ASSIGN_OR_RETURN(const std::string type, spec.StringAt("type"));
  if (type == "Sequence") return MakeSequence(spec);
  if (type == "BertNormalizer") {
    SOTTO_ASSIGN_OR_RETURN(const bool clean, spec.BoolOr("clean_text", true));
    SOTTO_ASSIGN_OR_RETURN(const bool ideographs, spec.BoolOr("handle_chinese_chars", true));
    SOTTO_ASSIGN_OR_RETURN(const bool lowercase, spec.BoolOr("lowercase", true));
    SOTTO_ASSIGN_OR_RETURN(const bool accents, spec.BoolOr("strip_accents", lowercase));
    return Made(std::make_unique<BertNormalizer>(clean, ideographs, accents, lowercase));
  }
  if (type == "NFC") return Made(std::make_unique<FormNormalizer>(unicode::Form::kNfc));
  if (type == "NFD") return Made(std::make_unique<FormNormalizer>(unicode::Form::kNfd));
  if (type == "NFKC") return Made(std::make_unique<FormNormalizer>(unicode::Form::kNfkc));
  if (type == "NFKD") return Made(std::make_unique<FormNormalizer>(unicode::Form::kNfkd));
  if (type == "Lowercase") return Made(std::make_unique<LowercaseNormalizer>());
  if (type == "StripAccents") return Made(std::make_unique<StripAccentsNormalizer>());
  if (type == "Strip") {
    SOTTO_ASSIGN_OR_RETURN(const bool left, spec.BoolOr("strip_left", true));
    SOTTO_ASSIGN_OR_RETURN(const bool right, spec.BoolOr("strip_right", true));
    return Made(std::make_unique<StripNormalizer>(left, right));
  }
  if (type == "Prepend") {
    SOTTO_ASSIGN_OR_RETURN(const std::string prefix, spec.StringAt("prepend"));
    return Made(std::make_unique<PrependNormalizer>(prefix));
  }
  if (type == "Replace") return MakeReplace(spec);
  if (type == "Precompiled" || type == "SentencePiece") return MakePrecompiled(spec);
  if (type == "Nmt") return Made(std::make_unique<NmtNormalizer>());
  if (type == "ByteLevel") return Made(std::make_unique<ByteLevelNormalizer>());
  return Unsupported(StrCat("the normalizer '", type, "'"));
}

}  // namespace sotto
