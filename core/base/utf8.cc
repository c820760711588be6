#include "core/base/utf8.h"

#include <cstring>

namespace sotto {
namespace {

struct Lead {
  int length;         // of the whole character; 0 for a byte that cannot start one
  uint8_t low, high;  // allowed range of the second byte (Unicode 15, table 3-7)
};

Lead LeadOf(uint8_t b) {
  if (b < 0x80) return {1, 0, 0};
  if (b < 0xC2) return {0, 0, 0};
  if (b < 0xE0) return {2, 0x80, 0xBF};
  if (b == 0xE0) return {3, 0xA0, 0xBF};
  if (b == 0xED) return {3, 0x80, 0x9F};
  if (b < 0xF0) return {3, 0x80, 0xBF};
  if (b == 0xF0) return {4, 0x90, 0xBF};
  if (b < 0xF4) return {4, 0x80, 0xBF};
  if (b == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Char DecodeLongUtf8(std::string_view text, size_t pos) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t b0 = byte(pos);
  const Lead lead = LeadOf(b0);
  if (lead.length == 0) return {kReplacement, 1, false};
  char32_t code = b0 & (0x7F >> lead.length);
  for (int i = 1; i < lead.length; ++i) {
    if (pos + i >= text.size()) return {kReplacement, i, false};
    const uint8_t b = byte(pos + i);
    const uint8_t low = i == 1 ? lead.low : 0x80, high = i == 1 ? lead.high : 0xBF;
    if (b < low || b > high) return {kReplacement, i, false};
    code = (code << 6) | (b & 0x3F);
  }
  return {code, lead.length, true};
}

void AppendUtf8(std::string& out, char32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = kReplacement;
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (code >> 6)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (code >> 12)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (code >> 18)));
    out.push_back(static_cast<char>(0x80 | ((code >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

bool IsValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    uint64_t eight;
    if (i + 8 <= text.size()) {
      std::memcpy(&eight, text.data() + i, 8);
      if ((eight & 0x8080808080808080ull) == 0) {  // eight ASCII characters
        i += 8;
        continue;
      }
    }
    const Utf8Char c = DecodeUtf8(text, i);
    if (!c.valid) return false;
    i += c.length;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  if (IsValidUtf8(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    if (c.valid) {
      out.append(text.substr(i, c.length));
    } else {
      AppendUtf8(out, kReplacement);
    }
    i += c.length;
  }
  return out;
}

size_t CompleteUtf8Prefix(std::string_view text) {
  // Only the last three bytes can begin a character that is cut short.
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t pos = text.size() - back;
    const Lead lead = LeadOf(static_cast<uint8_t>(text[pos]));
    if (lead.length > static_cast<int>(back)) {
      const Utf8Char c = DecodeUtf8(text, pos);
      return !c.valid && c.length == static_cast<int>(back) ? pos : text.size();
    }
    if (lead.length > 0) break;
  }
  return text.size();
}

}  // namespace sotto
