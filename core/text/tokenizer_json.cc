#include "core/text/tokenizer_json.h"

#include <utility>

namespace sotto::tokenizer_json {
namespace {

Json Text(std::string_view text) { return Json::String(std::string(text)); }

std::string EncodeBase64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      out.push_back(i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63] : '=');
    }
  }
  return out;
}

Json ParseTemplate(std::string_view text) {
  std::vector<Json> parts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    std::string_view word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    int64_t type_id = 0;
    if (word.size() > 2 && word[word.size() - 2] == ':' && word.back() >= '0' &&
        word.back() <= '9') {
      type_id = word.back() - '0';
      word.remove_suffix(2);
    }
    const bool is_text = word == "$A" || word == "$B";
    parts.push_back(Json::Object({{is_text ? "Sequence" : "SpecialToken",
                                   Json::Object({{"id", Text(is_text ? word.substr(1) : word)},
                                                 {"type_id", Json::Int(type_id)}})}}));
  }
  return Json::Array(std::move(parts));
}

}  // namespace

Json Part(std::string_view type, std::vector<Json::Member> members) {
  members.insert(members.begin(), {"type", Text(type)});
  return Json::Object(std::move(members));
}

Json Sequence(std::string_view key, std::vector<Json> parts) {
  return Part("Sequence", {{std::string(key), Json::Array(std::move(parts))}});
}

Json ReplaceString(std::string_view from, std::string_view to) {
  return Part("Replace",
              {{"pattern", Json::Object({{"String", Text(from)}})}, {"content", Text(to)}});
}

Json ReplaceRegex(std::string_view regex, std::string_view to) {
  return Part("Replace",
              {{"pattern", Json::Object({{"Regex", Text(regex)}})}, {"content", Text(to)}});
}

Json Split(std::string_view regex, std::string_view behavior) {
  return Part("Split", {{"pattern", Json::Object({{"Regex", Text(regex)}})},
                        {"behavior", Text(behavior)},
                        {"invert", Json::Bool(false)}});
}

Json Metaspace(std::string_view prepend_scheme, bool split) {
  return Part("Metaspace", {{"replacement", Text(kBlank)},
                            {"prepend_scheme", Text(prepend_scheme)},
                            {"split", Json::Bool(split)}});
}

Json ByteLevel(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return Part("ByteLevel", {{"add_prefix_space", Json::Bool(add_prefix_space)},
                            {"trim_offsets", Json::Bool(trim_offsets)},
                            {"use_regex", Json::Bool(use_regex)}});
}

Json Precompiled(std::string_view charsmap) {
  return Part("Precompiled", {{"precompiled_charsmap", Json::String(EncodeBase64(charsmap))}});
}

Json BlankDecoder(bool byte_fallback, bool strip_first) {
  std::vector<Json> parts = {ReplaceString(kBlank, " ")};
  if (byte_fallback) parts.push_back(Part("ByteFallback"));
  parts.push_back(Part("Fuse"));
  if (strip_first) {
    parts.push_back(
        Part("Strip", {{"content", Text(" ")}, {"start", Json::Int(1)}, {"stop", Json::Int(0)}}));
  }
  return Sequence("decoders", std::move(parts));
}

Json AddedToken(int64_t id, std::string_view content, Flags flags) {
  return Json::Object({{"id", Json::Int(id)},
                       {"content", Text(content)},
                       {"single_word", Json::Bool(false)},
                       {"lstrip", Json::Bool(flags.lstrip)},
                       {"rstrip", Json::Bool(false)},
                       {"normalized", Json::Bool(flags.normalized)},
                       {"special", Json::Bool(flags.special)}});
}

Json Template(std::string_view single, std::string_view pair,
              const std::vector<std::pair<std::string, int64_t>>& special_tokens) {
  std::vector<Json::Member> special;
  for (const auto& [token, id] : special_tokens) {
    special.push_back({token, Json::Object({{"id", Json::String(token)},
                                            {"ids", Json::Array({Json::Int(id)})},
                                            {"tokens", Json::Array({Json::String(token)})}})});
  }
  return Part("TemplateProcessing", {{"single", ParseTemplate(single)},
                                     {"pair", ParseTemplate(pair)},
                                     {"special_tokens", Json::Object(std::move(special))}});
}

Json Document(Members members) {
  return Json::Object({{"version", Json::String("1.0")},
                       {"added_tokens", Json::Array(std::move(members.added_tokens))},
                       {"normalizer", std::move(members.normalizer)},
                       {"pre_tokenizer", std::move(members.pre_tokenizer)},
                       {"post_processor", std::move(members.post_processor)},
                       {"decoder", std::move(members.decoder)},
                       {"model", std::move(members.model)}});
}

}  // namespace sotto::tokenizer_json
