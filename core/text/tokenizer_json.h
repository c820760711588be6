// The parts of a tokenizer.json, for what is turned into one.
#ifndef SOTTO_CORE_TEXT_TOKENIZER_JSON_H_
#define SOTTO_CORE_TEXT_TOKENIZER_JSON_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"

namespace sotto::tokenizer_json {

inline constexpr std::string_view kBlank = "\xE2\x96\x81";  // U+2581

// {"type": type, ...}
Json Part(std::string_view type, std::vector<Json::Member> members = {});
// {"type": "Sequence", "normalizers": [...]} and kin.
Json Sequence(std::string_view key, std::vector<Json> parts);
Json ReplaceString(std::string_view from, std::string_view to);
Json ReplaceRegex(std::string_view regex, std::string_view to);
Json Split(std::string_view regex, std::string_view behavior);
Json Metaspace(std::string_view prepend_scheme, bool split = true);
Json ByteLevel(bool add_prefix_space, bool trim_offsets, bool use_regex);
Json Precompiled(std::string_view charsmap);
// Llama's: U+2581 to blanks, bytes to text, one leading blank dropped.
Json BlankDecoder(bool byte_fallback, bool strip_first);

struct Flags {
  bool special = true, lstrip = false, normalized = false;
};
Json AddedToken(int64_t id, std::string_view content, Flags flags = {});

// A TemplateProcessing from texts like "<s> $A </s> $B:1".
Json Template(std::string_view single, std::string_view pair,
              const std::vector<std::pair<std::string, int64_t>>& special_tokens);

struct Members {
  Json model, normalizer, pre_tokenizer, post_processor, decoder;
  std::vector<Json> added_tokens;
};
Json Document(Members members);

}  // namespace sotto::tokenizer_json

#endif  // SOTTO_CORE_TEXT_TOKENIZER_JSON_H_
