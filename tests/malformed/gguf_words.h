// The bytes of the GGUF files that the table of malformed ones and the fuzz target's seeds describe
// by words: see README.md.
#ifndef SOTTO_TESTS_MALFORMED_GGUF_WORDS_H_
#define SOTTO_TESTS_MALFORMED_GGUF_WORDS_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>

namespace sotto {

// False: there is a word that is not known, or one that asks for more than `max_bytes` in all.
inline bool GgufOfWords(const std::string& description, size_t max_bytes, std::string& out) {
  size_t counts_at = 0;  // where the numbers of tensors and keys are to be filled in
  uint64_t tensors = 0, keys = 0;
  const auto number = [&](uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  };
  const auto string = [&](std::string_view text) {
    number(text.size(), 8);
    out += text;
  };
  const auto items = [&](uint32_t type, const std::string& list, auto&& add) {
    number(9, 4);
    number(type, 4);
    number(static_cast<uint64_t>(std::count(list.begin(), list.end(), ',')) + 1, 8);
    std::istringstream parts(list + ",");
    for (std::string part; std::getline(parts, part, ',');) add(part);
  };
  const auto float_bits = [](const std::string& text) {
    return std::bit_cast<uint32_t>(std::strtof(text.c_str(), nullptr));
  };
  const auto hex_digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  out.clear();
  std::istringstream words(description);
  for (std::string word; words >> word;) {
    const std::string kind = word.substr(0, word.find(':'));
    const std::string value = kind.size() < word.size() ? word.substr(kind.size() + 1) : "";
    const uint64_t n = std::strtoull(value.c_str(), nullptr, 10);
    if (kind == "GGUF") {
      out += "GGUF";
    } else if (kind == "u8") {
      number(n, 1);
    } else if (kind == "u32") {
      number(n, 4);
    } else if (kind == "u64") {
      number(n, 8);
    } else if (kind == "f32") {
      number(float_bits(value), 4);
    } else if (kind == "str") {
      string(value);
    } else if (kind == "raw") {
      out += value;
    } else if (kind == "hex") {
      for (size_t i = 0; i + 1 < value.size(); i += 2) {
        out.push_back(static_cast<char>(hex_digit(value[i]) * 16 + hex_digit(value[i + 1])));
      }
    } else if (kind == "zeros" || kind == "bytes") {
      if (n > max_bytes - std::min(max_bytes, out.size())) return false;
      for (uint64_t i = 0; i < n; ++i) out.push_back(static_cast<char>(kind == "zeros" ? 0 : 60));
    } else if (kind == "pad") {
      if (n == 0 || n > max_bytes) return false;
      out.resize((out.size() + n - 1) / n * n);
    } else if (kind == "counts") {
      counts_at = out.size();
      out.append(16, '\0');
    } else if (kind == "tensor" || kind == "key") {
      string(value);
      ++(kind == "key" ? keys : tensors);
    } else if (kind == "strs") {
      items(8, value, string);
    } else if (kind == "ints") {
      items(5, value, [&](const std::string& item) {
        number(static_cast<uint64_t>(std::strtoll(item.c_str(), nullptr, 10)), 4);
      });
    } else if (kind == "floats") {
      items(6, value, [&](const std::string& item) { number(float_bits(item), 4); });
    } else {
      return false;
    }
    if (out.size() > max_bytes) return false;
  }
  for (int i = 0; counts_at > 0 && i < 8; ++i) {
    out[counts_at + static_cast<size_t>(i)] = static_cast<char>(tensors >> (8 * i));
    out[counts_at + 8 + static_cast<size_t>(i)] = static_cast<char>(keys >> (8 * i));
  }
  return true;
}

}  // namespace sotto

#endif  // SOTTO_TESTS_MALFORMED_GGUF_WORDS_H_
