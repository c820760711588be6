#include "core/io/gguf_tokenizer.h"

#include <cmath>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/base/utf8.h"

namespace sotto {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";

Result<Json> Strings(const GgufMetadata& metadata, std::string_view name) {
  const std::string key = StrCat(kPrefix, name);
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string>* list, metadata.StringsOrNull(key));
  if (list == nullptr) return Json();
  std::vector<Json> items;
  items.reserve(list->size());
  for (const std::string& text : *list) {
    if (!IsValidUtf8(text)) {
      return InvalidFile(StrCat("item ", items.size(), " of '", key, "' is not UTF-8"));
    }
    items.push_back(Json::String(text));
  }
  return Json::Array(std::move(items));
}

}  // namespace

Result<std::string> GgufTokenizerJson(const GgufMetadata& metadata) {
  const auto key = [](std::string_view name) { return StrCat(kPrefix, name); };
  SOTTO_ASSIGN_OR_RETURN(const std::string model, metadata.StringOr(key("model"), ""));
  if (model.empty() || model == "none" || model == "no_vocab") return std::string();
  SOTTO_ASSIGN_OR_RETURN(const std::string pre, metadata.StringOr(key("pre"), ""));
  if (!IsValidUtf8(model) || !IsValidUtf8(pre)) {
    return InvalidFile("the name of the tokenizer is not UTF-8");
  }
  std::vector<Json::Member> out = {{"model", Json::String(model)}, {"pre", Json::String(pre)}};
  SOTTO_ASSIGN_OR_RETURN(const Json tokens, Strings(metadata, "tokens"));
  const auto count = static_cast<int64_t>(tokens.items().size());
  if (count == 0) return InvalidFile("'tokenizer.ggml.tokens' has no tokens");
  SOTTO_ASSIGN_OR_RETURN(const Json merges, Strings(metadata, "merges"));

  SOTTO_ASSIGN_OR_RETURN(const std::vector<double>* scores, metadata.NumbersOrNull(key("scores")));
  std::vector<Json> score_items;
  if (scores != nullptr && !scores->empty()) {
    if (static_cast<int64_t>(scores->size()) != count) {
      return InvalidFile(
          StrCat("'tokenizer.ggml.scores' has ", scores->size(), " items for ", count, " tokens"));
    }
    for (const double score : *scores) {
      if (!(std::abs(score) < 1e30)) {
        return InvalidFile(
            StrCat("item ", score_items.size(), " of 'tokenizer.ggml.scores' is no score"));
      }
      score_items.push_back(Json::Number(score));
    }
  }
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int64_t>* types, metadata.IntsOrNull(key("token_type")));
  std::vector<Json> type_items;
  if (types != nullptr && !types->empty()) {
    if (static_cast<int64_t>(types->size()) != count) {
      return InvalidFile(StrCat("'tokenizer.ggml.token_type' has ", types->size(), " items for ",
                                count, " tokens"));
    }
    for (const int64_t type : *types) {
      if (type < 0 || type > 6) {
        return InvalidFile(StrCat("'tokenizer.ggml.token_type' has the type ", type));
      }
      type_items.push_back(Json::Int(type));
    }
  }
  SOTTO_ASSIGN_OR_RETURN(const std::vector<int64_t>* charsmap,
                         metadata.IntsOrNull(key("precompiled_charsmap")));
  std::vector<Json> bytes;
  if (charsmap != nullptr) {
    for (const int64_t byte : *charsmap) {
      if (byte < -128 || byte > 255) {
        return InvalidFile(StrCat("'tokenizer.ggml.precompiled_charsmap' has the byte ", byte));
      }
      bytes.push_back(Json::Int(byte & 255));
    }
  }
  out.push_back({"tokens", tokens});
  out.push_back({"scores", Json::Array(std::move(score_items))});
  out.push_back({"types", Json::Array(std::move(type_items))});
  out.push_back({"merges", merges});
  out.push_back({"charsmap", Json::Array(std::move(bytes))});
  constexpr struct {
    std::string_view key, name;
  } kIds[] = {{"bos_token_id", "bos"},     {"eos_token_id", "eos"},
              {"unknown_token_id", "unk"}, {"seperator_token_id", "sep"},
              {"padding_token_id", "pad"}, {"cls_token_id", "cls"},
              {"mask_token_id", "mask"}};
  for (const auto& id : kIds) {
    if (!metadata.Has(key(id.key))) continue;
    SOTTO_ASSIGN_OR_RETURN(const int64_t value, metadata.IntAt(key(id.key), 0, count - 1));
    out.push_back({std::string(id.name), Json::Int(value)});
  }
  for (const std::string_view flag :
       {"add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"}) {
    if (!metadata.Has(key(flag))) continue;
    SOTTO_ASSIGN_OR_RETURN(const bool value, metadata.BoolOr(key(flag), false));
    out.push_back({std::string(flag), Json::Bool(value)});
  }
  return Json::Object({{"ggml", Json::Object(std::move(out))}}).Dump();
}

}  // namespace sotto
