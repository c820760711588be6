#include "core/text/post_processor.h"

#include <utility>

namespace sotto {
namespace {

using Part = PostProcessor::Part;
constexpr int64_t kMaxId = 1 << 23;

Result<std::vector<int32_t>> IdsOf(const Json& list) {
  if (!list.is_array()) return InvalidFile("a special token of a template lacks its 'ids'");
  std::vector<int32_t> ids;
  for (const Json& id : list.items()) {
    if (!id.is_int() || id.as_int() < 0 || id.as_int() > kMaxId) {
      return InvalidFile(
          "the ids of a template's special tokens must be integers of the vocabulary");
    }
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return ids;
}

Result<std::vector<Part>> ParseTemplate(const Json& list, const Json& special_tokens) {
  if (!list.is_array()) return InvalidFile("TemplateProcessing lacks 'single' or 'pair'");
  std::vector<Part> parts;
  for (const Json& item : list.items()) {
    Part part;
    const bool is_text = item.has("Sequence");
    const Json& body = is_text ? item["Sequence"] : item["SpecialToken"];
    SOTTO_ASSIGN_OR_RETURN(const std::string id, body.StringAt("id"));
    SOTTO_ASSIGN_OR_RETURN(const int64_t type_id, body.IntOr("type_id", 0, 0, 1 << 20));
    part.type_id = static_cast<int32_t>(type_id);
    if (is_text) {
      if (id != "A" && id != "B")
        return InvalidFile(StrCat("a template names the text '", id, "'"));
      part.sequence = id == "A" ? 0 : 1;
    } else {
      if (!special_tokens.has(id)) {
        return InvalidFile(StrCat("a template uses '", id, "' without listing its ids"));
      }
      SOTTO_ASSIGN_OR_RETURN(part.ids, IdsOf(special_tokens[id]["ids"]));
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

// ["[SEP]", 102]
Result<int32_t> NamedId(const Json& spec, std::string_view name) {
  const Json& pair = spec[name];
  if (!pair.is_array() || pair.items().size() != 2 || !pair.items()[1].is_int() ||
      pair.items()[1].as_int() < 0 || pair.items()[1].as_int() > kMaxId) {
    return InvalidFile(StrCat("the post-processor's '", name, "' must be a token and its id"));
  }
  return static_cast<int32_t>(pair.items()[1].as_int());
}

class Builder {
 public:
  Status Add(const Json& spec) {
    SOTTO_ASSIGN_OR_RETURN(const std::string type, spec.StringAt("type"));
    if (type == "Sequence") {
      if (!spec["processors"].is_array()) {
        return InvalidFile("a post-processor Sequence lacks its 'processors'");
      }
      for (const Json& part : spec["processors"].items()) SOTTO_RETURN_IF_ERROR(Add(part));
      return OkStatus();
    }
    if (type == "ByteLevel") return AddTrim(spec);
    if (has_template_) return Unsupported("two templates in one post-processor");
    if (type == "TemplateProcessing") return SetTemplate(spec);
    if (type == "BertProcessing") return SetBert(spec);
    if (type == "RobertaProcessing") return SetRoberta(spec);
    return Unsupported(StrCat("the post-processor '", type, "'"));
  }
  PostProcessor Take() { return std::move(made_); }

 private:
  Status AddTrim(const Json& spec) {
    SOTTO_ASSIGN_OR_RETURN(const bool trim, spec.BoolOr("trim_offsets", true));
    SOTTO_ASSIGN_OR_RETURN(const bool prefix, spec.BoolOr("add_prefix_space", true));
    if (trim) made_.trims.push_back({prefix});
    return OkStatus();
  }
  Status SetTemplate(const Json& spec) {
    has_template_ = true;
    const Json& special = spec["special_tokens"];
    SOTTO_ASSIGN_OR_RETURN(made_.single, ParseTemplate(spec["single"], special));
    SOTTO_ASSIGN_OR_RETURN(made_.pair, ParseTemplate(spec["pair"], special));
    return OkStatus();
  }
  Status SetBert(const Json& spec) {
    has_template_ = true;
    SOTTO_ASSIGN_OR_RETURN(const int32_t cls, NamedId(spec, "cls"));
    SOTTO_ASSIGN_OR_RETURN(const int32_t sep, NamedId(spec, "sep"));
    made_.single = {{-1, 0, {cls}}, {0, 0, {}}, {-1, 0, {sep}}};
    made_.pair = made_.single;
    made_.pair.push_back({1, 1, {}});
    made_.pair.push_back({-1, 1, {sep}});
    return OkStatus();
  }
  Status SetRoberta(const Json& spec) {
    has_template_ = true;
    SOTTO_RETURN_IF_ERROR(AddTrim(spec));
    SOTTO_ASSIGN_OR_RETURN(const int32_t cls, NamedId(spec, "cls"));
    SOTTO_ASSIGN_OR_RETURN(const int32_t sep, NamedId(spec, "sep"));
    made_.single = {{-1, 0, {cls}}, {0, 0, {}}, {-1, 0, {sep}}};
    made_.pair = {{-1, 0, {cls}}, {0, 0, {}}, {-1, 0, {sep, sep}}, {1, 0, {}}, {-1, 0, {sep}}};
    return OkStatus();
  }

  PostProcessor made_;
  bool has_template_ = false;
};

}  // namespace

int PostProcessor::AddedTo(bool is_pair) const {
  size_t added = 0;
  for (const Part& part : For(is_pair)) added += part.ids.size();
  return static_cast<int>(added);
}

Result<PostProcessor> MakePostProcessor(const Json& spec) {
  Builder builder;
  if (!spec.is_null()) SOTTO_RETURN_IF_ERROR(builder.Add(spec));
  return builder.Take();
}

}  // namespace sotto
