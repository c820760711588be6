#include "core/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "core/base/sort.h"
#include "core/text/unicode.h"

namespace sotto {
namespace {

constexpr size_t kMaxAddedTokens = 32768;

// The last character that ends before `pos`.
char32_t CharBefore(std::string_view text, size_t pos, size_t* begin) {
  *begin = pos - 1;
  while (*begin > 0 && pos - *begin < 4 && (static_cast<uint8_t>(text[*begin]) & 0xC0) == 0x80) {
    --*begin;
  }
  return DecodeUtf8(text, *begin).code;
}

bool TouchesWord(std::string_view text, size_t begin, size_t end) {
  size_t at;
  if (begin > 0 && unicode::Has(CharBefore(text, begin, &at), unicode::kWord)) return true;
  return end < text.size() && unicode::Has(DecodeUtf8(text, end).code, unicode::kWord);
}

size_t StripLeft(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit) {
    size_t at;
    if (!unicode::Has(CharBefore(text, begin, &at), unicode::kSpace)) break;
    begin = at;
  }
  return std::max(begin, limit);
}

size_t StripRight(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Utf8Char c = DecodeUtf8(text, end);
    if (!unicode::Has(c.code, unicode::kSpace)) break;
    end += static_cast<size_t>(c.length);
  }
  return end;
}

std::string Normalized(const std::string& content, const Normalizer* normalizer) {
  if (normalizer == nullptr) return content;
  AlignedText source, out;
  source.Borrow(content);
  out.Own();
  normalizer->Append(source, 0, static_cast<uint32_t>(content.size()), out);
  return std::string(out.text());
}

}  // namespace

void AddedTokens::Matcher::Build() {
  HeapSort(patterns.begin(), patterns.end(), [](const Pattern& a, const Pattern& b) {
    const auto x = static_cast<uint8_t>(a.text[0]), y = static_cast<uint8_t>(b.text[0]);
    if (x != y) return x < y;
    return a.text.size() != b.text.size() ? a.text.size() > b.text.size() : a.token < b.token;
  });
  size_t i = 0;
  for (int byte = 0; byte < 256; ++byte) {
    begin[byte] = static_cast<uint16_t>(i);
    while (i < patterns.size() && static_cast<uint8_t>(patterns[i].text[0]) == byte) ++i;
  }
  begin[256] = static_cast<uint16_t>(i);
}

const AddedTokens::Pattern* AddedTokens::Matcher::Find(std::string_view text, size_t pos,
                                                       size_t* at) const {
  if (patterns.empty()) return nullptr;
  for (; pos < text.size(); ++pos) {
    const auto byte = static_cast<uint8_t>(text[pos]);
    for (size_t i = begin[byte]; i < begin[byte + 1]; ++i) {
      if (text.substr(pos, patterns[i].text.size()) == patterns[i].text) {
        *at = pos;
        return &patterns[i];
      }
    }
  }
  return nullptr;
}

Result<AddedTokens> AddedTokens::FromJson(const Json& list, const Vocabulary& vocabulary,
                                          const Normalizer* normalizer) {
  AddedTokens added;
  added.limit_ = 0;
  if (list.is_null()) return added;
  if (!list.is_array()) return InvalidFile("'added_tokens' must be an array");
  if (list.items().size() > kMaxAddedTokens) {
    return Unsupported(
        StrCat(list.items().size(), " added tokens (at most ", kMaxAddedTokens, ")"));
  }
  for (const Json& item : list.items()) {
    AddedToken token;
    SOTTO_ASSIGN_OR_RETURN(const int64_t id, item.IntAt("id", 0, 1 << 23));
    SOTTO_ASSIGN_OR_RETURN(token.content, item.StringAt("content"));
    SOTTO_ASSIGN_OR_RETURN(token.special, item.BoolOr("special", false));
    SOTTO_ASSIGN_OR_RETURN(token.single_word, item.BoolOr("single_word", false));
    SOTTO_ASSIGN_OR_RETURN(token.lstrip, item.BoolOr("lstrip", false));
    SOTTO_ASSIGN_OR_RETURN(token.rstrip, item.BoolOr("rstrip", false));
    SOTTO_ASSIGN_OR_RETURN(token.normalized, item.BoolOr("normalized", !token.special));
    if (token.content.empty() || added.contents_.Find(token.content) >= 0) continue;
    const int32_t known = vocabulary.IdOf(token.content);
    token.id = known >= 0 ? known : static_cast<int32_t>(id);
    added.contents_.Intern(token.content);
    added.limit_ = std::max(added.limit_, token.id + 1);
    added.tokens_.push_back(std::move(token));
  }
  for (uint32_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    Matcher& matcher = token.normalized ? added.normalized_ : added.raw_;
    std::string text = token.normalized ? Normalized(token.content, normalizer) : token.content;
    if (!text.empty()) matcher.patterns.push_back({std::move(text), i});
    added.order_by_id_.push_back(i);
  }
  added.raw_.Build();
  added.normalized_.Build();
  HeapSort(added.order_by_id_.begin(), added.order_by_id_.end(), [&](uint32_t a, uint32_t b) {
    const int32_t x = added.tokens_[a].id, y = added.tokens_[b].id;
    return x != y ? x < y : a < b;
  });
  return added;
}

const AddedToken* AddedTokens::ById(int32_t id) const {
  const auto it =
      std::lower_bound(order_by_id_.begin(), order_by_id_.end(), id,
                       [&](uint32_t place, int32_t x) { return tokens_[place].id < x; });
  return it != order_by_id_.end() && tokens_[*it].id == id ? &tokens_[*it] : nullptr;
}

const AddedToken* AddedTokens::ByContent(std::string_view content) const {
  const int32_t place = contents_.Find(content);
  return place < 0 ? nullptr : &tokens_[static_cast<size_t>(place)];
}

void AddedTokens::Split(std::string_view text, const Piece& piece, bool normalized,
                        bool parse_special, std::vector<Piece>& out) const {
  const Matcher& matcher = normalized ? normalized_ : raw_;
  const std::string_view part = text.substr(piece.begin, piece.end - piece.begin);
  const auto push = [&](size_t begin, size_t end, int32_t token) {
    if (begin < end) {
      out.push_back({static_cast<uint32_t>(piece.begin + begin),
                     static_cast<uint32_t>(piece.begin + end), token});
    }
  };
  size_t done = 0, pos = 0, at;
  while (const Pattern* match = matcher.Find(part, pos, &at)) {
    const AddedToken& token = tokens_[match->token];
    size_t begin = at, end = at + match->text.size();
    pos = end;
    if (token.special && !parse_special) continue;
    if (token.single_word && TouchesWord(part, begin, end)) continue;
    if (token.lstrip) begin = StripLeft(part, begin, done);
    if (token.rstrip) end = StripRight(part, end);
    push(done, begin, -1);
    push(begin, end, token.id);
    done = std::max(end, done);
  }
  push(done, part.size(), -1);
}

}  // namespace sotto
