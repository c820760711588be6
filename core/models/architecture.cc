#include "core/models/architecture.h"

#include <algorithm>
#include <charconv>

namespace sotto {

Result<Activation> ActivationByName(std::string_view name) {
  if (name == "gelu" || name == "gelu_python") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
    return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "tanh") return Activation::kTanh;
  return Unsupported(StrCat("config.json: the activation '", name, "' is not implemented"));
}

Status RequireConfig(const Json& config, std::string_view key, const Json& value) {
  const Json& given = config[key];
  if (given.is_null() || given.Dump() == value.Dump()) return OkStatus();
  return Unsupported(StrCat("config.json: '", key, "' is ", given.Dump(), "; only ", value.Dump(),
                            " is implemented"));
}

Result<float> ReadDropout(const Json& config, std::string_view key, double fallback) {
  SOTTO_ASSIGN_OR_RETURN(const double share, config.NumberOr(key, fallback));
  if (share >= 0 && share < 1) return static_cast<float>(share);
  return InvalidFile(StrCat("config.json: '", key, "' must be at least 0 and below 1"));
}

Status CheckHeads(int64_t width, int64_t heads) {
  if (width % heads == 0) return OkStatus();
  return InvalidFile(
      StrCat("config.json: a width of ", width, " does not divide among ", heads, " heads"));
}

Result<std::vector<std::string>> ReadLabels(const Json& config) {
  const std::vector<Json::Member>& named = config["id2label"].members();
  if (named.empty()) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t count, config.IntOr("num_labels", 2, 1, kMaxLabels));
    std::vector<std::string> labels;
    for (int64_t i = 0; i < count; ++i) labels.push_back(StrCat("LABEL_", i));
    return labels;
  }
  if (named.size() > kMaxLabels)
    return InvalidFile(StrCat("config.json: 'id2label' has more than ", kMaxLabels, " labels"));
  std::vector<std::string> labels(named.size());
  std::vector<bool> given(named.size());
  for (const auto& [key, name] : named) {
    size_t id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id >= labels.size() ||
        given[id] || !name.is_string()) {
      return InvalidFile(StrCat("config.json: 'id2label' must name 0..", labels.size() - 1, "; '",
                                key, "' is out of place"));
    }
    given[id] = true;
    labels[id] = name.as_string();
  }
  return labels;
}

Sequence ReadSequence(Context& ctx, const ModelInput& input, const KvCache* cache,
                      int64_t max_positions, bool counted_positions) {
  Sequence s;
  const auto fail = [&](std::string message) {
    ctx.Fail(InvalidArgument(std::move(message)));
    return Sequence{};
  };
  if (input.ids.rank() != 2 || input.ids.dtype() != DType::kI32 || input.ids.elements() == 0) {
    return fail("input ids must be int32 [batch, tokens] with at least one token");
  }
  s.batch = input.ids.dim(0);
  s.tokens = input.ids.dim(1);
  s.past = cache != nullptr ? cache->length() : 0;
  s.length = input.length;
  const int64_t total = s.past + s.tokens;
  if (max_positions > 0 && total > max_positions) {
    return fail(
        StrCat("the input has ", total, " tokens; the model takes at most ", max_positions));
  }
  if (input.attention_mask) {
    if (input.attention_mask.dtype() != DType::kU8 ||
        input.attention_mask.shape() != Shape({s.batch, total})) {
      return fail(StrCat("the attention mask must be u8 [", s.batch, ", ", total, "]"));
    }
    s.key_mask = input.attention_mask;
  }
  if (input.position_ids) {
    if (input.position_ids.shape() != input.ids.shape() ||
        input.position_ids.dtype() != DType::kI32) {
      return fail("position ids must be int32 of the shape of the ids");
    }
    s.position_ids = input.position_ids;
    return s;
  }
  s.position_ids = ctx.New(input.ids.shape(), DType::kI32);
  if (!ctx.ok()) return {};
  for (int64_t b = 0; b < s.batch; ++b) {
    int32_t* out = s.position_ids.i32() + b * s.tokens;
    const uint8_t* mask = s.key_mask && counted_positions
                              ? static_cast<const uint8_t*>(s.key_mask.data()) + b * total
                              : nullptr;
    int32_t next = mask != nullptr ? static_cast<int32_t>(std::count_if(
                                         mask, mask + s.past, [](uint8_t m) { return m != 0; }))
                                   : static_cast<int32_t>(s.past);
    for (int64_t t = 0; t < s.tokens; ++t) {
      const bool real = mask == nullptr || mask[s.past + t] != 0;
      out[t] = real ? next++ : std::max(0, next - 1);
    }
  }
  return s;
}

Tensor AtRows(Context& ctx, const Tensor& hidden, const Tensor& rows) {
  return rows ? SelectRows(ctx, hidden, rows) : hidden;
}

Tensor FirstTokens(Context& ctx, const Tensor& hidden) {
  if (!ctx.ok()) return {};
  Tensor rows = ctx.New({hidden.dim(0)}, DType::kI32);
  for (int64_t b = 0; rows && b < hidden.dim(0); ++b)
    rows.i32()[b] = static_cast<int32_t>(b * hidden.dim(1));
  return SelectRows(ctx, hidden, rows);
}

Tensor LastTokens(Context& ctx, const Tensor& hidden, const Tensor& ids, const Sequence& s,
                  int64_t padding) {
  if (!ctx.ok()) return {};
  Tensor rows = ctx.New({s.batch}, DType::kI32);
  const int64_t total = s.past + s.tokens;
  for (int64_t b = 0; rows && b < s.batch; ++b) {
    const uint8_t* mask =
        s.key_mask ? static_cast<const uint8_t*>(s.key_mask.data()) + b * total + s.past : nullptr;
    const int32_t* row = ids.i32() + b * s.tokens;
    int64_t last = s.tokens - 1;
    while (last > 0 && ((mask != nullptr && mask[last] == 0) || row[last] == padding)) --last;
    rows.i32()[b] = static_cast<int32_t>(b * s.tokens + last);
  }
  return SelectRows(ctx, hidden, rows);
}

Result<int64_t> ReadPadding(const Json& config, int64_t fallback) {
  if (config.has("pad_token_id") && config["pad_token_id"].is_null()) return int64_t{-1};
  return config.IntOr("pad_token_id", fallback, -1, kMaxVocab);
}

}  // namespace sotto
