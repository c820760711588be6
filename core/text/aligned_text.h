// A text under way from the user's bytes to tokens: its characters may be replaced, dropped or
// added, and each still knows the bytes of the original that it stands for.
#ifndef SOTTO_CORE_TEXT_ALIGNED_TEXT_H_
#define SOTTO_CORE_TEXT_ALIGNED_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/utf8.h"

namespace sotto {

// DecodeUtf8 for text that is known to be valid.
inline Utf8Char DecodeValid(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[i])); };
  const char32_t b = byte(pos);
  if (b < 0x80) return {b, 1, true};
  const char32_t b1 = byte(pos + 1) & 0x3F;
  if (b < 0xE0) return {(b & 0x1F) << 6 | b1, 2, true};
  const char32_t b2 = byte(pos + 2) & 0x3F;
  if (b < 0xF0) return {(b & 0x0F) << 12 | b1 << 6 | b2, 3, true};
  return {(b & 0x07) << 18 | b1 << 12 | b2 << 6 | (byte(pos + 3) & 0x3F), 4, true};
}

// Original bytes [begin, end).
struct Span {
  uint32_t begin, end;
};

struct AlignedChar {
  char32_t code;
  Span span;
};

// Valid UTF-8 with the span of each of its bytes; all bytes of a character have that character's.
// Where nothing was changed the spans are left out: byte i then stands for byte i of the original.
class AlignedText {
 public:
  // The text itself, borrowed.
  void Borrow(std::string_view text) {
    view_ = text;
    identity_ = true;
  }
  // Starts an owned text; appending follows.
  void Own() {
    own_.clear();
    spans_.clear();
    identity_ = false;
  }
  void Append(char32_t code, Span span) {
    const size_t before = own_.size();
    AppendUtf8(own_, code);
    spans_.resize(spans_.size() + (own_.size() - before), span);
  }
  void AppendAscii(char c, Span span) {
    own_.push_back(c);
    spans_.push_back(span);
  }

  bool identity() const { return identity_; }
  std::string_view text() const { return identity_ ? view_ : std::string_view(own_); }
  // What the bytes [begin, end), begin < end, of this text stand for. Parts of characters count as
  // the whole character.
  Span SpanOf(uint32_t begin, uint32_t end) const {
    if (!identity_) return {spans_[begin].begin, spans_[end - 1].end};
    while (begin > 0 && IsContinuation(view_[begin])) --begin;
    while (end < view_.size() && IsContinuation(view_[end])) ++end;
    return {begin, end};
  }

 private:
  static bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

  std::string_view view_;
  std::string own_;
  std::vector<Span> spans_;
  bool identity_ = true;
};

// The characters of a text's part [begin, end), which is at character boundaries.
inline void AppendChars(const AlignedText& text, uint32_t begin, uint32_t end,
                        std::vector<AlignedChar>& out) {
  const std::string_view bytes = text.text();
  for (uint32_t i = begin; i < end;) {
    const Utf8Char c = DecodeValid(bytes, i);
    out.push_back({c.code, text.SpanOf(i, i + c.length)});
    i += c.length;
  }
}

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_ALIGNED_TEXT_H_
