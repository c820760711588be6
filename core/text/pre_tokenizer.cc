#include "core/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/text/split_pattern.h"
#include "core/text/unicode.h"

namespace sotto {
namespace {

// What becomes of the matches of a pattern, and of the text between them.
enum class Behavior : uint8_t {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous,
};

Result<Behavior> ParseBehavior(const std::string& name) {
  if (name == "Removed" || name == "removed") return Behavior::kRemoved;
  if (name == "Isolated" || name == "isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious" || name == "merged_with_previous") {
    return Behavior::kMergedWithPrevious;
  }
  if (name == "MergedWithNext" || name == "merged_with_next") return Behavior::kMergedWithNext;
  if (name == "Contiguous" || name == "contiguous") return Behavior::kContiguous;
  return Unsupported(StrCat("the split behavior '", name, "'"));
}

// A stretch of one piece, and whether the pattern matched it.
struct Stretch {
  uint32_t begin, end;
  bool match;
};

class Splitter {
 public:
  Splitter(std::unique_ptr<SplitPattern> pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void Apply(PreTokenized& work) const {
    const std::string_view text = work.text.text();
    std::vector<Piece>& out = work.next;
    out.clear();
    std::vector<Stretch> stretches;
    for (const Piece& piece : work.pieces) {
      if (piece.token >= 0) {
        out.push_back(piece);
      } else if (behavior_ == Behavior::kIsolated) {
        Isolate(text, piece, out);
      } else {
        Cut(text, piece, stretches);
        Emit(stretches, out);
      }
    }
    std::swap(work.pieces, out);
  }

 private:
  void Isolate(std::string_view text, const Piece& piece, std::vector<Piece>& out) const {
    const std::string_view part = text.substr(piece.begin, piece.end - piece.begin);
    size_t pos = 0, begin, end;
    while (pattern_->Find(part, pos, &begin, &end)) {
      if (begin > pos) Push(piece.begin + pos, piece.begin + begin, out);
      Push(piece.begin + begin, piece.begin + end, out);
      pos = end;
    }
    if (pos < part.size()) Push(piece.begin + pos, piece.end, out);
  }

  void Cut(std::string_view text, const Piece& piece, std::vector<Stretch>& out) const {
    const std::string_view part = text.substr(piece.begin, piece.end - piece.begin);
    out.clear();
    size_t pos = 0, begin, end;
    const auto push = [&](size_t b, size_t e, bool match) {
      out.push_back({static_cast<uint32_t>(piece.begin + b), static_cast<uint32_t>(piece.begin + e),
                     match != invert_});
    };
    while (pattern_->Find(part, pos, &begin, &end)) {
      if (begin > pos) push(pos, begin, false);
      push(begin, end, true);
      pos = end;
    }
    if (pos < part.size()) push(pos, part.size(), false);
  }

  void Emit(const std::vector<Stretch>& stretches, std::vector<Piece>& out) const {
    const size_t first = out.size();
    bool previous = false;
    switch (behavior_) {
      case Behavior::kRemoved:
      case Behavior::kIsolated:
        for (const Stretch& s : stretches) {
          if (!s.match) Push(s.begin, s.end, out);
        }
        return;
      case Behavior::kContiguous:
        for (const Stretch& s : stretches) {
          if (out.size() > first && s.match == previous) {
            out.back().end = s.end;
          } else {
            Push(s.begin, s.end, out);
          }
          previous = s.match;
        }
        return;
      case Behavior::kMergedWithPrevious:
        for (const Stretch& s : stretches) {
          if (out.size() > first && s.match && !previous) {
            out.back().end = s.end;
          } else {
            Push(s.begin, s.end, out);
          }
          previous = s.match;
        }
        return;
      case Behavior::kMergedWithNext:
        for (size_t i = stretches.size(); i-- > 0;) {
          const Stretch& s = stretches[i];
          if (out.size() > first && s.match && !previous) {
            out.back().begin = s.begin;
          } else {
            Push(s.begin, s.end, out);
          }
          previous = s.match;
        }
        std::reverse(out.begin() + static_cast<ptrdiff_t>(first), out.end());
        return;
    }
  }

  static void Push(size_t begin, size_t end, std::vector<Piece>& out) {
    out.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end), -1});
  }

  std::unique_ptr<SplitPattern> pattern_;
  Behavior behavior_;
  bool invert_;
};

// Writes the text anew, piece by piece; bytes between the pieces go.
template <class Write>
void Rewrite(PreTokenized& work, const Write& write) {
  AlignedText out;
  out.Own();
  std::vector<AlignedChar> chars;
  for (Piece& piece : work.pieces) {
    const auto begin = static_cast<uint32_t>(out.text().size());
    chars.clear();
    AppendChars(work.text, piece.begin, piece.end, chars);
    write(piece, chars, out);
    piece.begin = begin;
    piece.end = static_cast<uint32_t>(out.text().size());
  }
  work.text = std::move(out);
}

class PatternPreTokenizer final : public PreTokenizer {
 public:
  explicit PatternPreTokenizer(Splitter splitter) : splitter_(std::move(splitter)) {}
  void Apply(PreTokenized& work) const override { splitter_.Apply(work); }

 private:
  Splitter splitter_;
};

// White space goes, each punctuation character is a piece. One pass, ASCII by table.
class BertPreTokenizer final : public PreTokenizer {
 public:
  BertPreTokenizer() {
    for (char32_t c = 0; c < 128; ++c) ascii_[c] = unicode::PropertiesOf(c) & kCut;
  }
  void Apply(PreTokenized& work) const override {
    const unicode::Properties& table = unicode::PropertyTable();
    const std::string_view text = work.text.text();
    std::vector<Piece>& out = work.next;
    out.clear();
    for (const Piece& piece : work.pieces) {
      if (piece.token >= 0) {
        out.push_back(piece);
        continue;
      }
      uint32_t word = piece.begin;
      for (uint32_t i = piece.begin; i < piece.end;) {
        uint8_t bits;
        uint32_t length = 1;
        if (const auto byte = static_cast<uint8_t>(text[i]); byte < 0x80) {
          bits = ascii_[byte];
        } else {
          const Utf8Char c = DecodeValid(text, i);
          bits = unicode::PropertiesOf(table, c.code) & kCut;
          length = static_cast<uint32_t>(c.length);
        }
        if (bits != 0) {
          if (word < i) out.push_back({word, i, -1});
          if (!(bits & unicode::kSpace)) out.push_back({i, i + length, -1});
          word = i + length;
        }
        i += length;
      }
      if (word < piece.end) out.push_back({word, piece.end, -1});
    }
    std::swap(work.pieces, out);
  }

 private:
  static constexpr uint8_t kCut = unicode::kSpace | unicode::kPunctuation;
  uint8_t ascii_[128];
};

class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, std::unique_ptr<SplitPattern> pattern)
      : add_prefix_space_(add_prefix_space) {
    if (pattern != nullptr) {
      splitter_ = std::make_unique<Splitter>(std::move(pattern), Behavior::kIsolated, false);
    }
  }
  void Apply(PreTokenized& work) const override {
    if (add_prefix_space_) AddPrefixSpace(work);
    if (splitter_ != nullptr) splitter_->Apply(work);
  }
  bool to_bytes() const override { return true; }

 private:
  static void AddPrefixSpace(PreTokenized& work) {
    const std::string_view text = work.text.text();
    const auto lacks = [&](const Piece& p) { return p.token < 0 && text[p.begin] != ' '; };
    if (std::none_of(work.pieces.begin(), work.pieces.end(), lacks)) return;
    Rewrite(work, [](const Piece& piece, const std::vector<AlignedChar>& chars, AlignedText& out) {
      if (piece.token < 0 && chars[0].code != ' ') out.Append(' ', chars[0].span);
      for (const AlignedChar& c : chars) out.Append(c.code, c.span);
    });
  }

  bool add_prefix_space_;
  std::unique_ptr<Splitter> splitter_;
};

// SentencePiece's visible blank: blanks become `replacement`, one may be put in front, and the text
// is cut before each.
class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  enum class Prepend : uint8_t { kNever, kFirst, kAlways };
  MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split)
      : code_(DecodeUtf8(replacement, 0).code),
        prepend_(prepend),
        split_(split),
        splitter_(MakeLiteralPattern(std::move(replacement)), Behavior::kMergedWithNext, false) {}

  void Apply(PreTokenized& work) const override {
    Rewrite(work, [&](const Piece& piece, const std::vector<AlignedChar>& chars, AlignedText& out) {
      if (piece.token < 0 && chars[0].code != ' ' && chars[0].code != code_ &&
          (prepend_ == Prepend::kAlways ||
           (prepend_ == Prepend::kFirst && chars[0].span.begin == 0))) {
        out.Append(code_, chars[0].span);
      }
      for (const AlignedChar& c : chars) {
        out.Append(piece.token < 0 && c.code == ' ' ? code_ : c.code, c.span);
      }
    });
    if (split_) splitter_.Apply(work);
  }

 private:
  char32_t code_;
  Prepend prepend_;
  bool split_;
  Splitter splitter_;
};

// Pieces of so many characters; the last one has what is left.
class FixedLengthPreTokenizer final : public PreTokenizer {
 public:
  explicit FixedLengthPreTokenizer(int64_t length) : length_(length) {}
  void Apply(PreTokenized& work) const override {
    const std::string_view text = work.text.text();
    work.next.clear();
    for (const Piece& piece : work.pieces) {
      if (piece.token >= 0) {
        work.next.push_back(piece);
        continue;
      }
      for (uint32_t begin = piece.begin; begin < piece.end;) {
        uint32_t end = begin;
        for (int64_t i = 0; i < length_ && end < piece.end; ++i) {
          end += static_cast<uint32_t>(DecodeValid(text, end).length);
        }
        work.next.push_back({begin, end, -1});
        begin = end;
      }
    }
    std::swap(work.pieces, work.next);
  }

 private:
  int64_t length_;
};

class SequencePreTokenizer final : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> parts)
      : parts_(std::move(parts)) {}
  void Apply(PreTokenized& work) const override {
    for (const auto& part : parts_) part->Apply(work);
  }
  bool to_bytes() const override { return !parts_.empty() && parts_.back()->to_bytes(); }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

using Made = std::unique_ptr<PreTokenizer>;

Made Pattern(std::unique_ptr<SplitPattern> pattern, Behavior behavior, bool invert = false) {
  return std::make_unique<PatternPreTokenizer>(Splitter(std::move(pattern), behavior, invert));
}

Result<Made> MakeSequence(const Json& spec) {
  if (!spec["pretokenizers"].is_array()) {
    return InvalidFile("a pre-tokenizer Sequence lacks its 'pretokenizers'");
  }
  std::vector<Made> parts;
  for (const Json& part : spec["pretokenizers"].items()) {
    SOTTO_ASSIGN_OR_RETURN(Made made, MakePreTokenizer(part));
    if (made == nullptr) continue;
    // ByteLevel turns text into letters that stand for bytes; nothing here looks at those.
    if (!parts.empty() && parts.back()->to_bytes()) {
      return Unsupported(StrCat("the pre-tokenizer '", part["type"].as_string(),
                                "' after ByteLevel in a Sequence"));
    }
    parts.push_back(std::move(made));
  }
  return Made(std::make_unique<SequencePreTokenizer>(std::move(parts)));
}

Result<Made> MakeSplit(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(const std::string name, spec.StringAt("behavior"));
  SOTTO_ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(name));
  SOTTO_ASSIGN_OR_RETURN(const bool invert, spec.BoolOr("invert", false));
  const Json& pattern = spec["pattern"];
  if (pattern["String"].is_string()) {
    return Pattern(MakeLiteralPattern(pattern["String"].as_string()), behavior, invert);
  }
  SOTTO_ASSIGN_OR_RETURN(const std::string regex, pattern.StringAt("Regex"));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<SplitPattern> made, MakeRegexPattern(regex));
  return Pattern(std::move(made), behavior, invert);
}

Result<Made> MakeByteLevel(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(const bool prefix, spec.BoolOr("add_prefix_space", true));
  SOTTO_ASSIGN_OR_RETURN(const bool use_regex, spec.BoolOr("use_regex", true));
  std::unique_ptr<SplitPattern> pattern;
  if (use_regex) {
    SOTTO_ASSIGN_OR_RETURN(pattern, MakeRegexPattern(kGpt2Pattern));
  }
  return Made(std::make_unique<ByteLevelPreTokenizer>(prefix, std::move(pattern)));
}

Result<Made> MakeMetaspace(const Json& spec) {
  using Prepend = MetaspacePreTokenizer::Prepend;
  SOTTO_ASSIGN_OR_RETURN(std::string replacement, spec.StringOr("replacement", "\xE2\x96\x81"));
  if (replacement.empty() ||
      DecodeUtf8(replacement, 0).length != static_cast<int>(replacement.size())) {
    return InvalidFile("Metaspace's 'replacement' must be one character");
  }
  SOTTO_ASSIGN_OR_RETURN(const bool add_prefix, spec.BoolOr("add_prefix_space", true));
  SOTTO_ASSIGN_OR_RETURN(const std::string scheme,
                         spec.StringOr("prepend_scheme", add_prefix ? "always" : "never"));
  SOTTO_ASSIGN_OR_RETURN(const bool split, spec.BoolOr("split", true));
  Prepend prepend = Prepend::kNever;
  if (scheme == "always") {
    prepend = Prepend::kAlways;
  } else if (scheme == "first") {
    prepend = Prepend::kFirst;
  } else if (scheme != "never") {
    return Unsupported(StrCat("the prepend_scheme '", scheme, "' of Metaspace"));
  }
  return Made(std::make_unique<MetaspacePreTokenizer>(std::move(replacement), prepend, split));
}

}  // namespace

Result<std::unique_ptr<PreTokenizer>> MakePreTokenizer(const Json& spec) {
  if (spec.is_null()) return Made();
  SOTTO_ASSIGN_OR_RETURN(const std::string type, spec.StringAt("type"));
  if (type == "Sequence") return MakeSequence(spec);
  if (type == "BertPreTokenizer") return Made(std::make_unique<BertPreTokenizer>());
  if (type == "ByteLevel") return MakeByteLevel(spec);
  if (type == "Split") return MakeSplit(spec);
  if (type == "Metaspace") return MakeMetaspace(spec);
  if (type == "Whitespace") return Pattern(MakeWordPattern(), Behavior::kRemoved, true);
  if (type == "WhitespaceSplit") {
    return Pattern(MakePropertyPattern(unicode::kSpace), Behavior::kRemoved);
  }
  if (type == "Digits") {
    SOTTO_ASSIGN_OR_RETURN(const bool individual, spec.BoolOr("individual_digits", false));
    return Pattern(MakePropertyPattern(unicode::kNumber),
                   individual ? Behavior::kIsolated : Behavior::kContiguous);
  }
  if (type == "Punctuation") {
    SOTTO_ASSIGN_OR_RETURN(const std::string name, spec.StringOr("behavior", "Isolated"));
    SOTTO_ASSIGN_OR_RETURN(const Behavior behavior, ParseBehavior(name));
    return Pattern(MakePropertyPattern(unicode::kPunctuation), behavior);
  }
  if (type == "CharDelimiterSplit") {
    SOTTO_ASSIGN_OR_RETURN(std::string delimiter, spec.StringAt("delimiter"));
    return Pattern(MakeLiteralPattern(std::move(delimiter)), Behavior::kRemoved);
  }
  if (type == "FixedLength") {
    SOTTO_ASSIGN_OR_RETURN(const int64_t length, spec.IntOr("length", 5, 1, 1 << 20));
    return Made(std::make_unique<FixedLengthPreTokenizer>(length));
  }
  return Unsupported(StrCat("the pre-tokenizer '", type, "'"));
}

}  // namespace sotto
