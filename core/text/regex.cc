#include "core/text/regex.h"

#include <algorithm>
#include <string>

#include "core/text/aligned_text.h"
#include "core/text/unicode.h"

namespace sotto {
namespace {

constexpr uint32_t kUnbounded = ~0u;
constexpr size_t kMaxSource = 1024;
constexpr int kMaxDepth = 16;
constexpr int64_t kMaxSteps = 1000000;
constexpr size_t kNoMatch = ~size_t{0};

}  // namespace

bool Regex::Set::Part::Has(char32_t c) const {
  // Unlike Rust's \w, Oniguruma's does not take the two joiners.
  const bool is_joiner = c == 0x200C || c == 0x200D;
  const bool has = (c >= first && c <= last) ||
                   (categories != 0 && (unicode::CategoryOf(c) & categories) != 0) ||
                   (properties != 0 && !is_joiner && unicode::Has(c, properties));
  return has != negated;
}

bool Regex::Set::HasSlowly(char32_t c) const {
  return std::any_of(parts.begin(), parts.end(), [&](const Part& p) { return p.Has(c); }) !=
         negated;
}

void Regex::Set::Finish() {
  for (char32_t c = 0; c < 128; ++c) {
    if (HasSlowly(c)) ascii[c >> 6] |= uint64_t{1} << (c & 63);
  }
}

class RegexParser {
 public:
  RegexParser(std::string_view source, Regex& regex) : source_(source), regex_(regex) {}

  Status Parse() {
    SOTTO_RETURN_IF_ERROR(ParseAlternatives(regex_.alternatives_, false, 0));
    return AtEnd() ? OkStatus() : Refuse();
  }

 private:
  using Set = Regex::Set;
  using Item = Regex::Item;

  Status Refuse() const {
    return Unsupported(StrCat("the regular expression ", source_, " (from byte ", at_, " on)"));
  }
  bool AtEnd() const { return at_ >= source_.size(); }
  bool Eat(std::string_view token) {
    if (!source_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  char32_t Next() {
    const Utf8Char c = DecodeUtf8(source_, at_);
    at_ += static_cast<size_t>(c.length);
    return c.code;
  }

  // Up to the end, or the parenthesis that closes the group.
  Status ParseAlternatives(std::vector<Regex::Sequence>& out, bool ignore_case, int depth) {
    if (depth > kMaxDepth) return Refuse();
    do {
      out.emplace_back();
      if (Eat("(?i)")) ignore_case = true;
      while (!AtEnd() && source_[at_] != '|' && source_[at_] != ')') {
        Item item;
        SOTTO_RETURN_IF_ERROR(ParseItem(item, ignore_case, depth));
        out.back().push_back(std::move(item));
      }
    } while (Eat("|"));
    return OkStatus();
  }

  Status ParseItem(Item& item, bool ignore_case, int depth) {
    if (Eat("(")) {
      item.kind = Regex::Kind::kGroup;
      bool inner = ignore_case;
      if (Eat("?")) {
        if (Eat("i:")) {
          inner = true;
        } else if (Eat("!")) {
          item.kind = Regex::Kind::kLookahead;
          item.negative = true;
        } else if (Eat("=")) {
          item.kind = Regex::Kind::kLookahead;
        } else if (Eat(">")) {
          item.possessive = true;
        } else if (!Eat(":")) {
          return Refuse();
        }
      }
      SOTTO_RETURN_IF_ERROR(ParseAlternatives(item.alternatives, inner, depth + 1));
      if (!Eat(")")) return Refuse();
    } else {
      Set set;
      if (Eat("[")) {
        SOTTO_RETURN_IF_ERROR(ParseClass(set));
      } else {
        SOTTO_RETURN_IF_ERROR(ParseOne(set, false));
      }
      if (ignore_case) SOTTO_RETURN_IF_ERROR(FoldCase(set));
      set.Finish();
      item.set = static_cast<uint32_t>(regex_.sets_.size());
      regex_.sets_.push_back(std::move(set));
    }
    return ParseRepetition(item);
  }

  Status ParseRepetition(Item& item) {
    bool braces = false;
    if (Eat("?")) {
      item.min = 0;
    } else if (Eat("*")) {
      item.min = 0;
      item.max = kUnbounded;
    } else if (Eat("+")) {
      item.max = kUnbounded;
    } else if (Eat("{")) {
      braces = true;
      if (!ParseCount(item.min)) return Refuse();
      item.max = item.min;
      if (Eat(",") && !ParseCount(item.max)) item.max = kUnbounded;
      if (!Eat("}") || item.max < item.min || item.max == 0) return Refuse();
    } else {
      return OkStatus();
    }
    if (Eat("+")) {
      if (braces) return Refuse();
      item.possessive = true;
    }
    if (!AtEnd() && (source_[at_] == '?' || source_[at_] == '*' || source_[at_] == '{')) {
      return Refuse();
    }
    const bool once = item.max == 1;
    return item.kind == Regex::Kind::kSet || (item.kind == Regex::Kind::kGroup && once) ? OkStatus()
                                                                                        : Refuse();
  }

  bool ParseCount(uint32_t& count) {
    const size_t begin = at_;
    uint32_t value = 0;
    while (!AtEnd() && source_[at_] >= '0' && source_[at_] <= '9' && at_ - begin < 4) {
      value = value * 10 + static_cast<uint32_t>(source_[at_++] - '0');
    }
    if (at_ > begin) count = value;
    return at_ > begin;
  }

  // After the opening bracket.
  Status ParseClass(Set& set) {
    set.negated = Eat("^");
    for (bool first = true; first || !Eat("]"); first = false) {
      if (AtEnd() || source_[at_] == '[' || source_.substr(at_).starts_with("&&") ||
          (first && source_[at_] == ']')) {
        return Refuse();
      }
      SOTTO_RETURN_IF_ERROR(ParseOne(set, true));
      Set::Part& part = set.parts.back();
      const std::string_view rest = source_.substr(at_);
      if (part.first != part.last || rest.size() < 2 || rest[0] != '-' || rest[1] == ']') continue;
      ++at_;
      Set end;
      if (source_[at_] == '[') return Refuse();
      SOTTO_RETURN_IF_ERROR(ParseOne(end, true));
      part.last = end.parts[0].first;
      if (end.parts[0].first != end.parts[0].last || part.last < part.first) return Refuse();
    }
    return OkStatus();
  }

  // One character or escape.
  Status ParseOne(Set& set, bool in_class) {
    Set::Part part;
    const char32_t c = Next();
    if (c == '\\') {
      if (AtEnd()) return Refuse();
      SOTTO_RETURN_IF_ERROR(ParseEscape(part));
    } else if (!in_class && c == '.') {
      part.first = part.last = '\n';
      part.negated = true;
    } else if (!in_class && c < 128 &&
               std::string_view("^$*+?{}[]()|").find(static_cast<char>(c)) !=
                   std::string_view::npos) {
      return Refuse();
    } else {
      part.first = part.last = c;
    }
    set.parts.push_back(part);
    return OkStatus();
  }

  Status ParseEscape(Set::Part& part) {
    const char32_t c = Next();
    const auto one = [&](char32_t code) { part.first = part.last = code; };
    switch (c) {
      case 'r':
        one('\r');
        return OkStatus();
      case 'n':
        one('\n');
        return OkStatus();
      case 't':
        one('\t');
        return OkStatus();
      case 'f':
        one('\f');
        return OkStatus();
      case 'v':
        one('\v');
        return OkStatus();
      case 's':
      case 'S':
        part.properties = unicode::kSpace;
        part.negated = c == 'S';
        return OkStatus();
      case 'w':
      case 'W':
        part.properties = unicode::kWord;
        part.negated = c == 'W';
        return OkStatus();
      case 'd':
      case 'D':
        part.categories = unicode::kNd;
        part.negated = c == 'D';
        return OkStatus();
      case 'p':
      case 'P': {
        const size_t end = source_.find('}', at_);
        if (!Eat("{") || end == std::string_view::npos) return Refuse();
        part.negated = (c == 'P') != Eat("^");
        part.categories = unicode::CategoriesNamed(source_.substr(at_, end - at_));
        at_ = end;
        return Eat("}") && part.categories != 0 ? OkStatus() : Refuse();
      }
      case 'x':
      case 'u':
        return ParseHex(c == 'x', part);
      default:
        // An escaped sign is itself; letters and digits that are not above mean something else.
        if (c >= 128 || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z')) {
          return Refuse();
        }
        one(c);
        return OkStatus();
    }
  }

  // \xHH, \x{H...} or \uHHHH.
  Status ParseHex(bool is_x, Set::Part& part) {
    const bool braces = is_x && Eat("{");
    const size_t digits = braces ? source_.find('}', at_) - at_ : is_x ? 2 : 4;
    uint32_t value = 0;
    if (digits > 6 || digits == 0 || at_ + digits > source_.size()) return Refuse();
    for (size_t i = 0; i < digits; ++i) {
      const char c = source_[at_++];
      const char lower = static_cast<char>(c | 32);
      const bool digit = c >= '0' && c <= '9';
      if (!digit && (lower < 'a' || lower > 'f')) return Refuse();
      value = value * 16 + static_cast<uint32_t>(digit ? c - '0' : lower - 'a' + 10);
    }
    part.first = part.last = value;
    return !braces || Eat("}") ? OkStatus() : Refuse();
  }

  // Adds the other case of ASCII letters, and the two other characters that fold to one.
  Status FoldCase(Set& set) const {
    const size_t count = set.parts.size();
    for (size_t i = 0; i < count; ++i) {
      const Set::Part part = set.parts[i];
      if (part.first > part.last) continue;
      if (part.last >= 128 || part.negated) return Refuse();
      for (char32_t c = part.first; c <= part.last; ++c) {
        const char32_t lower = c | 32;
        if (lower < 'a' || lower > 'z') continue;
        const auto add = [&](char32_t x) {
          Set::Part other;
          other.first = other.last = x;
          set.parts.push_back(other);
        };
        add(c ^ 32);
        if (lower == 's') add(0x17F);
        if (lower == 'k') add(0x212A);
      }
    }
    return OkStatus();
  }

  std::string_view source_;
  Regex& regex_;
  size_t at_ = 0;
};

// Backtracking. Only groups nest, so the depth of recursion is that of the expression.
class RegexMatcher {
 public:
  RegexMatcher(const Regex& regex, std::string_view text) : regex_(regex), text_(text) {}

  // Where a match that begins at `pos` ends, or kNoMatch.
  size_t Match(size_t pos) {
    steps_ = kMaxSteps;
    return MatchAny(regex_.alternatives_, nullptr, pos);
  }

 private:
  // The items of a sequence from `index` on, then those of `next`.
  struct Rest {
    const Regex::Sequence* sequence;
    size_t index;
    const Rest* next;
  };

  size_t MatchAny(const std::vector<Regex::Sequence>& alternatives, const Rest* next, size_t pos) {
    for (const Regex::Sequence& sequence : alternatives) {
      const size_t end = MatchRest({&sequence, 0, next}, pos);
      if (end != kNoMatch) return end;
    }
    return kNoMatch;
  }

  size_t MatchRest(const Rest& rest, size_t pos) {
    if (--steps_ < 0) return kNoMatch;
    if (rest.index == rest.sequence->size()) {
      return rest.next == nullptr ? pos : MatchRest(*rest.next, pos);
    }
    const Regex::Item& item = (*rest.sequence)[rest.index];
    const Rest after = {rest.sequence, rest.index + 1, rest.next};
    if (item.kind == Regex::Kind::kSet) return MatchRun(item, after, pos);
    if (item.kind == Regex::Kind::kLookahead) {
      const bool found = MatchAny(item.alternatives, nullptr, pos) != kNoMatch;
      return found == item.negative ? kNoMatch : MatchRest(after, pos);
    }
    size_t end = kNoMatch;
    if (item.possessive) {
      end = MatchAny(item.alternatives, nullptr, pos);
      if (end != kNoMatch) return MatchRest(after, end);
    } else {
      end = MatchAny(item.alternatives, &after, pos);
    }
    return end == kNoMatch && item.min == 0 ? MatchRest(after, pos) : end;
  }

  // As many characters of the set as there are, then fewer.
  size_t MatchRun(const Regex::Item& item, const Rest& after, size_t pos) {
    const Regex::Set& set = regex_.sets_[item.set];
    uint32_t count = 0;
    size_t end = pos;
    while (count < item.max && end < text_.size()) {
      const auto byte = static_cast<uint8_t>(text_[end]);
      if (byte < 0x80) {
        if (!set.Has(byte)) break;
        ++end;
      } else {
        const Utf8Char c = DecodeValid(text_, end);
        if (!set.Has(c.code)) break;
        end += static_cast<size_t>(c.length);
      }
      ++count;
    }
    for (;; --count) {
      if (count < item.min) return kNoMatch;
      const size_t match = MatchRest(after, end);
      if (match != kNoMatch || count == item.min || item.possessive || steps_ < 0) return match;
      do {
        --end;
      } while ((static_cast<uint8_t>(text_[end]) & 0xC0) == 0x80);
    }
  }

  const Regex& regex_;
  std::string_view text_;
  int64_t steps_ = 0;
};

Result<Regex> Regex::Parse(std::string_view source) {
  if (source.size() > kMaxSource) return Unsupported("a regular expression of over 1024 bytes");
  if (!IsValidUtf8(source)) return InvalidFile("a regular expression is not UTF-8");
  Regex regex;
  RegexParser parser(source, regex);
  SOTTO_RETURN_IF_ERROR(parser.Parse());
  return regex;
}

bool Regex::Find(std::string_view text, size_t pos, size_t* begin, size_t* end) const {
  RegexMatcher matcher(*this, text);
  while (pos < text.size()) {
    const size_t stop = matcher.Match(pos);
    if (stop != kNoMatch && stop > pos) {
      *begin = pos;
      *end = stop;
      return true;
    }
    pos += static_cast<size_t>(DecodeValid(text, pos).length);
  }
  return false;
}

}  // namespace sotto
