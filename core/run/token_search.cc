#include "core/run/token_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/run/beam_search.h"

namespace sotto {
namespace {

// Prompt tokens that one step reads: long enough for full speed, short enough to stop promptly.
constexpr int64_t kPromptPiece = 128;

int64_t MaxLength(const GenerationOptions& options, int64_t prompt, int64_t positions) {
  if (options.max_new_tokens > 0) return prompt + options.max_new_tokens;
  if (options.max_length > 0) return options.max_length;
  const int64_t length = prompt + options.default_new_tokens;
  return positions > 0 ? std::min(length, positions) : length;
}

LogitsOptions LogitsOf(const GenerationOptions& options) {
  LogitsOptions logits = options.logits;
  if (logits.min_new_tokens > 0) logits.min_length = 0;
  return logits;
}

// One text, or several drawn independently: a row each until it ends.
class SampledSearch final : public TokenSearch {
 public:
  SampledSearch(const Model& model, ThreadPool* pool, std::vector<int32_t> source,
                std::vector<int32_t> prompt, const GenerationOptions& options)
      : TokenSearch(model, pool, std::move(source), std::move(prompt), options) {
    sequences_.resize(static_cast<size_t>(options_.num_return_sequences));
    for (size_t i = 0; i < sequences_.size(); ++i) {
      rows_.push_back({i, prompt_, Sampler(processors_, options_.seed, i)});
    }
  }

  Result<Step> Next() override {
    if (over_) return InvalidArgument("the generation is over");
    // Everything but a finished step ends the search.
    over_ = true;
    Step step;
    Tensor logits;
    if (held_.empty()) {
      SOTTO_ASSIGN_OR_RETURN(logits, ReadPrompt());
      over_ = static_cast<bool>(logits);
      if (!logits) return step;
    } else {
      SOTTO_ASSIGN_OR_RETURN(logits, Read(held_));
    }
    const bool first = held_.empty();
    held_.clear();
    std::vector<Row> rows;
    for (size_t r = 0; r < rows_.size(); ++r) {
      const size_t vocab = static_cast<size_t>(logits.dim(-1));
      const std::span<const float> scores(logits.f32() + (first ? 0 : r * vocab), vocab);
      Row& row = rows_[r];
      Sequence& sequence = sequences_[row.sequence];
      const int32_t token = row.sampler.Next(scores, row.ids);
      row.ids.push_back(token);
      sequence.ids.push_back(token);
      if (options_.output_logprobs)
        sequence.scores.push_back(ScoreToken(scores, token, options_.top_logprobs));
      if (sequences_.size() == 1) {
        step.token = token;
        if (options_.output_logprobs) step.score = sequence.scores.back();
      }
      if (Ends(token)) {
        sequence.finish_reason = "eos";
      } else if (static_cast<int64_t>(row.ids.size()) >= max_length_) {
        sequence.finish_reason = "length";
      } else {
        held_.push_back(first ? 0 : static_cast<int32_t>(r));
        rows.push_back(std::move(row));
      }
    }
    rows_ = std::move(rows);
    step.done = over_ = rows_.empty();
    return step;
  }

 private:
  struct Row {
    size_t sequence;           // its place in sequences_
    std::vector<int32_t> ids;  // prompt and what was made
    Sampler sampler;
  };
  std::span<const int32_t> TextOf(size_t row) override { return rows_[row].ids; }

  std::vector<Row> rows_;      // that go on
  std::vector<int32_t> held_;  // the place of each in the cache; empty before the first token
  bool over_ = false;
};

// Rounding costs less than packed weights have cost already, and a long context half the time.
DType UsualCacheDType(const Model& model) {
  const std::vector<Parameter>& all = model.parameters().all();
  const bool packed = std::any_of(all.begin(), all.end(),
                                  [](const Parameter& p) { return IsPacked(p.tensor->dtype()); });
  return packed ? DType::kI8 : DType::kF32;
}

}  // namespace

TokenScore ScoreToken(std::span<const float> logits, int32_t token, int64_t top) {
  const double log_sum = LogSumExp(logits);
  const auto logprob = [&](int32_t id) { return static_cast<float>(logits[id] - log_sum); };
  TokenScore score{.logprob = logprob(token)};
  std::vector<int32_t> order(top > 0 ? logits.size() : 0);
  std::iota(order.begin(), order.end(), 0);
  const size_t count = std::min(order.size(), static_cast<size_t>(top));
  std::partial_sort(
      order.begin(), order.begin() + static_cast<int64_t>(count), order.end(),
      [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < count; ++i) score.top.emplace_back(order[i], logprob(order[i]));
  return score;
}

TokenSearch::TokenSearch(const Model& model, ThreadPool* pool, std::vector<int32_t> source,
                         std::vector<int32_t> prompt, const GenerationOptions& options)
    : options_(options),
      prompt_(std::move(prompt)),
      max_length_(MaxLength(options, static_cast<int64_t>(prompt_.size()), model.max_positions())),
      processors_(LogitsOf(options), {.prompt_tokens = static_cast<int64_t>(prompt_.size()),
                                      .max_length = max_length_,
                                      .num_beams = options.num_beams,
                                      .eos_tokens = options.eos_token_ids,
                                      .source = source.empty() ? prompt_ : source}),
      model_(model),
      pool_(pool),
      source_(std::move(source)) {
  // The context may be full before.
  if (model.max_positions() > 0) max_length_ = std::min(max_length_, model.max_positions());
  cache_ = KvCache(options_.cache_dtype.value_or(UsualCacheDType(model)), max_length_);
  const std::vector<int32_t>& eos = options_.eos_token_ids;
  if (options_.pad_token_id)
    fill_ = *options_.pad_token_id;
  else if (!eos.empty())
    fill_ = eos.front();
}

Result<std::unique_ptr<TokenSearch>> TokenSearch::Start(const Model& model, ThreadPool* pool,
                                                        std::vector<int32_t> ids,
                                                        std::vector<int32_t> decoder_ids,
                                                        const GenerationOptions& options) {
  SOTTO_RETURN_IF_ERROR(options.Validate());
  if (model.head() != Head::kCausalLM && model.head() != Head::kSeq2SeqLM)
    return InvalidArgument("text generation needs a language model");
  if (ids.empty()) return InvalidArgument("there are no ids to begin with");
  std::vector<int32_t> source, prompt;
  if (model.is_encoder_decoder()) {
    const auto start =
        options.decoder_start_token_id ? options.decoder_start_token_id : options.bos_token_id;
    if (!start)
      return InvalidArgument(
          "the model's files name no token that its decoder begins with: give "
          "'decoder_start_token_id'");
    source = std::move(ids);
    prompt = std::move(decoder_ids);
    if (prompt.empty() || prompt.front() != *start) prompt.insert(prompt.begin(), *start);
  } else {
    if (!decoder_ids.empty())
      return InvalidArgument("decoder ids are for encoder-decoders: this model has no encoder");
    prompt = std::move(ids);
  }
  const int64_t vocab = model.vocab_size(), length = static_cast<int64_t>(prompt.size());
  std::vector<int32_t> forced = options.logits.forced_eos_token_id;
  if (options.logits.forced_bos_token_id) forced.push_back(*options.logits.forced_bos_token_id);
  for (const int32_t id : forced) {
    if (id >= vocab)
      return InvalidArgument(
          StrCat("the forced token ", id, " is not in the vocabulary of ", vocab));
  }
  if (model.max_positions() > 0 && length >= model.max_positions()) {
    return InvalidArgument(StrCat("the prompt has ", length, " tokens; the model reads at most ",
                                  model.max_positions() - 1, " and needs room to write"));
  }
  if (length >= MaxLength(options, length, model.max_positions())) {
    return InvalidArgument(StrCat("the prompt has ", length, " tokens, and 'max_length' is ",
                                  options.max_length, ": there is nothing to write"));
  }
  if (options.num_beams > 1)
    return std::unique_ptr<TokenSearch>(
        new BeamSearch(model, pool, std::move(source), std::move(prompt), options));
  return std::unique_ptr<TokenSearch>(
      new SampledSearch(model, pool, std::move(source), std::move(prompt), options));
}

bool TokenSearch::Ends(int32_t token) const {
  const std::vector<int32_t>& eos = options_.eos_token_ids;
  return std::find(eos.begin(), eos.end(), token) != eos.end();
}

std::vector<std::vector<int32_t>> TokenSearch::Matrix() const {
  size_t longest = 0;
  for (const Sequence& s : sequences_) longest = std::max(longest, s.ids.size());
  std::vector<std::vector<int32_t>> rows;
  for (const Sequence& s : sequences_) {
    std::vector<int32_t>& row = rows.emplace_back(prompt_);
    row.insert(row.end(), s.ids.begin(), s.ids.end());
    row.resize(prompt_.size() + longest, fill_);
  }
  return rows;
}

Result<Tensor> TokenSearch::Forward(Context& ctx, const ModelInput& input) {
  if (!ctx.ok()) return ctx.status();
  const ModelOutput output = model_.Forward(ctx, input, &cache_);
  if (!ctx.ok()) return ctx.status();
  return output.logits;
}

Result<Tensor> TokenSearch::ReadPrompt() {
  Context ctx(&arena_, pool_);
  const auto ids = [&](std::span<const int32_t> values) {
    Tensor out = ctx.New({1, static_cast<int64_t>(values.size())}, DType::kI32);
    if (out) std::copy(values.begin(), values.end(), out.i32());
    return out;
  };
  const int64_t past = cache_.length(), left = static_cast<int64_t>(prompt_.size()) - past;
  const int64_t take = std::min(left, kPromptPiece);
  const std::span<const int32_t> piece(prompt_.data() + past, static_cast<size_t>(take));
  ModelInput input;
  if (!source_.empty()) {
    if (past == 0) input.ids = ids(source_);
    input.decoder_ids = ids(piece);
  } else {
    input.ids = ids(piece);
  }
  input.length = static_cast<int64_t>(prompt_.size());
  input.rows = ctx.New({1}, DType::kI32);
  if (input.rows) input.rows.i32()[0] = static_cast<int32_t>(take - 1);
  SOTTO_ASSIGN_OR_RETURN(Tensor logits, Forward(ctx, input));
  return take < left ? Tensor() : logits;
}

Result<Tensor> TokenSearch::Read(std::span<const int32_t> rows) {
  Context ctx(&arena_, pool_);
  bool same = static_cast<int64_t>(rows.size()) == rows_;
  for (size_t i = 0; i < rows.size(); ++i) same = same && rows[i] == static_cast<int32_t>(i);
  if (!same) cache_.Reorder(ctx, rows);
  rows_ = static_cast<int64_t>(rows.size());
  const int64_t length = cache_.length() + 1;
  ModelInput input;
  input.length = length;
  const bool again = model_.MustRestart(cache_.length(), length);
  if (again) cache_.Truncate(0);
  const int64_t take = again ? length : 1;
  Tensor ids = ctx.New({rows_, take}, DType::kI32);
  input.rows = ctx.New({rows_}, DType::kI32);
  if (!ctx.ok()) return ctx.status();
  for (int64_t i = 0; i < rows_; ++i) {
    const std::span<const int32_t> text = TextOf(static_cast<size_t>(i));
    std::copy(text.end() - take, text.end(), ids.i32() + i * take);
    input.rows.i32()[i] = static_cast<int32_t>((i + 1) * take - 1);
  }
  (source_.empty() ? input.ids : input.decoder_ids) = ids;
  return Forward(ctx, input);
}

}  // namespace sotto
