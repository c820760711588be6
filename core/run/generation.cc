#include "core/run/generation.h"

#include <algorithm>
#include <utility>

namespace sotto {
namespace {

// Prompt tokens that one step reads: long enough for full speed, short enough to stop promptly.
constexpr int64_t kPromptPiece = 128;
constexpr size_t kMaxStops = 64;

Status ReadStops(const Json& value, std::vector<std::string>& stops) {
  if (value.is_null()) return OkStatus();
  const std::vector<Json> one{value};
  for (const Json& stop : value.is_array() ? value.items() : one) {
    if (!stop.is_string() || stop.as_string().empty())
      return InvalidArgument("'stop' must be a text or a list of texts, none empty");
    stops.push_back(stop.as_string());
  }
  if (stops.size() > kMaxStops)
    return InvalidArgument(StrCat("'stop' takes at most ", kMaxStops, " texts"));
  return OkStatus();
}

Status ReadIds(const Json& value, std::vector<int32_t>& ids) {
  if (value.is_null()) return OkStatus();
  const std::vector<Json> one{value};
  for (const Json& id : value.is_array() ? value.items() : one) {
    if (!id.is_int() || id.as_int() < 0 || id.as_int() > INT32_MAX)
      return InvalidArgument("'eos_token_id' must be a token id or a list of them");
    ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  return OkStatus();
}

// How many bytes at the end of `text` are a beginning of `stop`.
size_t OverlapWith(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

Result<GenerationOptions> GenerationOptions::Read(const Json& options,
                                                  const Json& generation_config) {
  static constexpr std::string_view kKnown[] = {
      "do_sample",          "temperature", "top_k",          "top_p", "min_p",
      "repetition_penalty", "seed",        "max_new_tokens", "stop",  "eos_token_id",
      "return_full_text"};
  for (const auto& [key, value] : options.members()) {
    if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) {
      return InvalidArgument(StrCat("'", key, "' is not an option of text-generation"));
    }
  }
  const auto pick = [&](std::string_view key) -> const Json& {
    return options[key].is_null() ? generation_config : options;
  };
  GenerationOptions out;
  SamplingOptions& s = out.sampling;
  SOTTO_ASSIGN_OR_RETURN(s.do_sample, pick("do_sample").BoolOr("do_sample", false));
  const auto number = [&](std::string_view key, float& field) -> Status {
    SOTTO_ASSIGN_OR_RETURN(const double value, pick(key).NumberOr(key, field));
    field = static_cast<float>(value);
    return OkStatus();
  };
  SOTTO_RETURN_IF_ERROR(number("temperature", s.temperature));
  SOTTO_RETURN_IF_ERROR(number("top_p", s.top_p));
  SOTTO_RETURN_IF_ERROR(number("min_p", s.min_p));
  SOTTO_RETURN_IF_ERROR(number("repetition_penalty", s.repetition_penalty));
  SOTTO_ASSIGN_OR_RETURN(s.top_k, pick("top_k").IntOr("top_k", 50, 0, INT32_MAX));
  SOTTO_ASSIGN_OR_RETURN(const int64_t seed, options.IntOr("seed", 0, 0, INT64_MAX));
  s.seed = static_cast<uint64_t>(seed);
  SOTTO_ASSIGN_OR_RETURN(out.max_new_tokens,
                         pick("max_new_tokens").IntOr("max_new_tokens", 256, 1, 1 << 20));
  SOTTO_RETURN_IF_ERROR(ReadStops(options["stop"], out.stop));
  SOTTO_RETURN_IF_ERROR(ReadIds(pick("eos_token_id")["eos_token_id"], out.eos_token_ids));
  SOTTO_RETURN_IF_ERROR(s.Validate());
  return out;
}

Generation::Generation(const Model& model, const Tokenizer& tokenizer, ThreadPool* pool,
                       std::vector<int32_t> prompt, GenerationOptions options)
    : model_(model),
      options_(std::move(options)),
      sampler_(options_.sampling),
      pool_(pool),
      decoder_(tokenizer),
      ids_(std::move(prompt)),
      prompt_tokens_(static_cast<int64_t>(ids_.size())) {}

Result<std::unique_ptr<Generation>> Generation::Start(const Model& model,
                                                      const Tokenizer& tokenizer, ThreadPool* pool,
                                                      std::vector<int32_t> prompt,
                                                      GenerationOptions options) {
  if (model.head() != Head::kCausalLM)
    return InvalidArgument("text generation needs a causal language model");
  if (prompt.empty()) {
    const auto start = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
    if (!start)
      return InvalidArgument(
          "the prompt is empty, and the tokenizer has no token that begins a text");
    prompt.push_back(*start);
  }
  const int64_t limit = model.max_positions();
  if (limit > 0 && static_cast<int64_t>(prompt.size()) >= limit) {
    return InvalidArgument(StrCat("the prompt has ", prompt.size(),
                                  " tokens; the model reads at most ", limit - 1,
                                  " and needs room to write"));
  }
  if (options.eos_token_ids.empty() && tokenizer.eos_id())
    options.eos_token_ids.push_back(*tokenizer.eos_id());
  return std::unique_ptr<Generation>(
      new Generation(model, tokenizer, pool, std::move(prompt), std::move(options)));
}

Result<Generation::Step> Generation::Next() {
  if (done_) return InvalidArgument("the generation is over");
  // Everything but a finished step ends the generation.
  done_ = true;
  const auto total = static_cast<int64_t>(ids_.size());
  if (model_.MustRestart(length_, total)) cache_.Truncate(0);
  length_ = total;
  const int64_t past = cache_.length(), left = total - past;
  const int64_t take = std::min(left, kPromptPiece);
  Context ctx(&arena_, pool_);
  ModelInput input;
  input.ids = ctx.New({1, take}, DType::kI32);
  input.rows = ctx.New({1}, DType::kI32);
  input.length = total;
  if (!ctx.ok()) return ctx.status();
  std::copy_n(ids_.begin() + past, take, input.ids.i32());
  input.rows.i32()[0] = static_cast<int32_t>(take - 1);
  const ModelOutput output = model_.Forward(ctx, input, &cache_);
  if (!ctx.ok()) return ctx.status();
  Step step;
  if (take < left) {
    done_ = false;
    return step;
  }
  step.token = sampler_.Next(output.logits.floats(), ids_);
  ids_.push_back(step.token);
  const int64_t made = static_cast<int64_t>(ids_.size()) - prompt_tokens_;
  const auto& eos = options_.eos_token_ids;
  std::string text;
  if (std::find(eos.begin(), eos.end(), step.token) != eos.end()) {
    step.finish_reason = "eos";
  } else {
    text = decoder_.Push(step.token);
    const int64_t limit = model_.max_positions();
    if (made >= options_.max_new_tokens ||
        (limit > 0 && static_cast<int64_t>(ids_.size()) >= limit))
      step.finish_reason = "length";
  }
  if (!step.finish_reason.empty()) text += decoder_.Finish();
  if (Release(text, !step.finish_reason.empty(), &step.text)) step.finish_reason = "stop";
  step.done = done_ = !step.finish_reason.empty();
  return step;
}

bool Generation::Release(std::string_view text, bool last, std::string* out) {
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : options_.stop) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    *out = held_.substr(0, first);
    held_.clear();
    return true;
  }
  size_t keep = 0;
  for (const std::string& stop : options_.stop)
    keep = std::max(keep, last ? 0 : OverlapWith(held_, stop));
  *out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

}  // namespace sotto
