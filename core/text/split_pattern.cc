#include "core/text/split_pattern.h"

#include <array>
#include <utility>

#include "core/text/aligned_text.h"
#include "core/text/regex.h"
#include "core/text/unicode.h"

namespace sotto {
namespace {

enum Class : uint8_t { kOther, kLetter, kNumber, kSpace };

struct Char {
  char32_t code;
  uint32_t length;
  Class type;
};

constexpr std::array<Class, 128> AsciiClasses() {
  std::array<Class, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool space = c == ' ' || (c >= 9 && c <= 13);
    classes[c] = letter ? kLetter : c >= '0' && c <= '9' ? kNumber : space ? kSpace : kOther;
  }
  return classes;
}
constexpr std::array<Class, 128> kAscii = AsciiClasses();

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool AtEnd(size_t pos) const { return pos >= text_.size(); }
  Char At(size_t pos) const {
    const uint8_t byte = static_cast<uint8_t>(text_[pos]);
    if (byte < 0x80) return {byte, 1, kAscii[byte]};
    const Utf8Char c = DecodeUtf8(text_, pos);
    const uint8_t bits = unicode::PropertiesOf(c.code);
    const Class type = (bits & unicode::kLetter)   ? kLetter
                       : (bits & unicode::kNumber) ? kNumber
                       : (bits & unicode::kSpace)  ? kSpace
                                                   : kOther;
    return {c.code, static_cast<uint32_t>(c.length), type};
  }
  // The end of the run of characters of one class that begins at `pos`, after at most `limit`.
  size_t Run(size_t pos, Class type, size_t limit = ~size_t{0}) const {
    while (pos < text_.size() && limit-- > 0) {
      const uint8_t byte = static_cast<uint8_t>(text_[pos]);
      if (byte < 0x80) {
        if (kAscii[byte] != type) break;
        ++pos;
        continue;
      }
      const Char c = At(pos);
      if (c.type != type) break;
      pos += c.length;
    }
    return pos;
  }
  // \s+(?!\S)|\s+ : white space but for its last character where a word follows.
  size_t Spaces(size_t pos) const {
    size_t end = pos, last = pos;
    while (end < text_.size()) {
      const Char c = At(end);
      if (c.type != kSpace) break;
      last = end;
      end += c.length;
    }
    return end == text_.size() || last == pos ? end : last;
  }

 private:
  std::string_view text_;
};

// 's|'t|'re|'ve|'m|'ll|'d at an apostrophe; 0 where there is none.
size_t ContractionEnd(std::string_view text, size_t pos, bool ignore_case) {
  const auto at = [&](size_t i) -> char {
    if (i >= text.size()) return 0;
    const char c = text[i];
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char a = at(pos + 1), b = at(pos + 2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return pos + 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return pos + 3;
  // U+017F, the long s, folds to s.
  if (ignore_case && a == '\xC5' && b == '\xBF') return pos + 3;
  return 0;
}

// ' ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+' and white space, after the contractions.
class Gpt2Pattern final : public SplitPattern {
 public:
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const override {
    if (pos >= text.size()) return false;
    *begin = pos;
    *end = EndOfMatch(text, pos);
    return true;
  }

 private:
  static size_t EndOfMatch(std::string_view text, size_t pos) {
    if (text[pos] == '\'') {
      if (const size_t end = ContractionEnd(text, pos, false)) return end;
    }
    const Scanner scan(text);
    const size_t word = pos + (text[pos] == ' ' ? 1 : 0);
    if (!scan.AtEnd(word)) {
      const Char c = scan.At(word);
      if (c.type != kSpace) return scan.Run(word + c.length, c.type);
    }
    return scan.Spaces(pos);
  }
};

// Llama-3's pattern, and with one digit a piece Qwen2's.
class Llama3Pattern final : public SplitPattern {
 public:
  explicit Llama3Pattern(size_t digits) : digits_(digits) {}
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const override {
    if (pos >= text.size()) return false;
    *begin = pos;
    *end = EndOfMatch(text, pos);
    return true;
  }

 private:
  size_t EndOfMatch(std::string_view text, size_t pos) const {
    if (text[pos] == '\'') {
      if (const size_t end = ContractionEnd(text, pos, true)) return end;
    }
    const Scanner scan(text);
    const Char c = scan.At(pos);
    if (c.type == kLetter) return scan.Run(pos + c.length, kLetter);
    if (c.type == kNumber) return scan.Run(pos, kNumber, digits_);
    const size_t next = pos + c.length;
    // [^\r\n\p{L}\p{N}]?\p{L}+
    if (c.code != '\r' && c.code != '\n' && !scan.AtEnd(next)) {
      const Char d = scan.At(next);
      if (d.type == kLetter) return scan.Run(next + d.length, kLetter);
      // The blank of ' ?[^\s\p{L}\p{N}]+[\r\n]*'
      if (c.code == ' ' && d.type == kOther) return Others(text, scan, next);
    }
    if (c.type == kOther) return Others(text, scan, pos);
    return Lines(text, scan, pos);
  }
  static size_t Others(std::string_view text, const Scanner& scan, size_t pos) {
    size_t end = scan.Run(pos, kOther);
    while (end < text.size() && (text[end] == '\r' || text[end] == '\n')) ++end;
    return end;
  }
  // \s*[\r\n]+ reaches to the last line end of the white space; without one, as for GPT-2.
  static size_t Lines(std::string_view text, const Scanner& scan, size_t pos) {
    const size_t end = scan.Run(pos, kSpace);
    const size_t line = text.substr(pos, end - pos).find_last_of("\r\n");
    return line == std::string_view::npos ? scan.Spaces(pos) : pos + line + 1;
  }

  size_t digits_;
};

class LiteralPattern final : public SplitPattern {
 public:
  explicit LiteralPattern(std::string literal) : literal_(std::move(literal)) {}
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const override {
    if (literal_.empty()) return false;
    const size_t at = text.find(literal_, pos);
    if (at == std::string_view::npos) return false;
    *begin = at;
    *end = at + literal_.size();
    return true;
  }

 private:
  std::string literal_;
};

// One character that has any of the properties, or a run of them.
class PropertyPattern final : public SplitPattern {
 public:
  PropertyPattern(uint8_t properties, bool run) : properties_(properties), run_(run) {}
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const override {
    const unicode::Properties& table = unicode::PropertyTable();
    while (pos < text.size()) {
      const Utf8Char c = DecodeValid(text, pos);
      if (unicode::PropertiesOf(table, c.code) & properties_) {
        *begin = pos;
        pos += c.length;
        while (run_ && pos < text.size()) {
          const Utf8Char d = DecodeValid(text, pos);
          if (!(unicode::PropertiesOf(table, d.code) & properties_)) break;
          pos += d.length;
        }
        *end = pos;
        return true;
      }
      pos += c.length;
    }
    return false;
  }

 private:
  uint8_t properties_;
  bool run_;
};

class RegexPattern final : public SplitPattern {
 public:
  explicit RegexPattern(Regex regex) : regex_(std::move(regex)) {}
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const override {
    return regex_.Find(text, pos, begin, end);
  }

 private:
  Regex regex_;
};

class WordPattern final : public SplitPattern {
 public:
  bool Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const override {
    while (pos < text.size()) {
      const Utf8Char c = DecodeValid(text, pos);
      const uint8_t kind = Kind(c.code);
      if (kind != unicode::kSpace) {
        *begin = pos;
        pos += c.length;
        while (pos < text.size()) {
          const Utf8Char d = DecodeValid(text, pos);
          if (Kind(d.code) != kind) break;
          pos += d.length;
        }
        *end = pos;
        return true;
      }
      pos += c.length;
    }
    return false;
  }

 private:
  static uint8_t Kind(char32_t c) {
    const uint8_t bits = unicode::PropertiesOf(c);
    if (bits & unicode::kWord) return unicode::kWord;
    return bits & unicode::kSpace;
  }
};

}  // namespace

Result<std::unique_ptr<SplitPattern>> MakeRegexPattern(std::string_view regex) {
  using Made = std::unique_ptr<SplitPattern>;
  if (regex == kGpt2Pattern) return Made(std::make_unique<Gpt2Pattern>());
  if (regex == kLlama3Pattern) return Made(std::make_unique<Llama3Pattern>(3));
  if (regex == kQwen2Pattern) return Made(std::make_unique<Llama3Pattern>(1));
  const struct {
    std::string_view source;
    uint8_t properties;
    bool run;
  } simple[] = {{"\\s", unicode::kSpace, false},
                {"\\s+", unicode::kSpace, true},
                {"\\p{N}", unicode::kNumber, false},
                {"\\p{N}+", unicode::kNumber, true},
                {"\\p{L}+", unicode::kLetter, true}};
  for (const auto& known : simple) {
    if (regex == known.source) {
      return Made(std::make_unique<PropertyPattern>(known.properties, known.run));
    }
  }
  SOTTO_ASSIGN_OR_RETURN(Regex parsed, Regex::Parse(regex));
  return Made(std::make_unique<RegexPattern>(std::move(parsed)));
}

std::unique_ptr<SplitPattern> MakeLiteralPattern(std::string literal) {
  return std::make_unique<LiteralPattern>(std::move(literal));
}

std::unique_ptr<SplitPattern> MakePropertyPattern(uint8_t properties) {
  return std::make_unique<PropertyPattern>(properties, false);
}

std::unique_ptr<SplitPattern> MakeWordPattern() { return std::make_unique<WordPattern>(); }

}  // namespace sotto
