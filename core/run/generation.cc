#include "core/run/generation.h"

#include <algorithm>
#include <utility>

namespace sotto {
namespace {

// How many bytes at the end of `text` are a beginning of `stop`.
size_t OverlapWith(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

Generation::Generation(const Tokenizer& tokenizer, std::unique_ptr<TokenSearch> search,
                       std::vector<std::string> stops, int64_t prompt_tokens,
                       std::vector<std::string> copied, int32_t first_copied)
    : tokenizer_(tokenizer),
      search_(std::move(search)),
      stops_(std::move(stops)),
      copied_(std::move(copied)),
      first_copied_(first_copied),
      decoder_(tokenizer),
      prompt_tokens_(prompt_tokens) {}

Result<std::unique_ptr<Generation>> Generation::Start(const Model& model,
                                                      const Tokenizer& tokenizer, ThreadPool* pool,
                                                      std::vector<int32_t> ids,
                                                      GenerationOptions options,
                                                      std::vector<std::string> copied) {
  if (ids.empty()) {
    const auto start = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
    if (!start)
      return InvalidArgument(
          "the prompt is empty, and the tokenizer has no token that begins a text");
    ids.push_back(*start);
  }
  if (options.eos_token_ids.empty() && tokenizer.eos_id())
    options.eos_token_ids.push_back(*tokenizer.eos_id());
  const auto prompt_tokens = static_cast<int64_t>(ids.size());
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<TokenSearch> search,
                         TokenSearch::Start(model, pool, std::move(ids), {}, options));
  return std::unique_ptr<Generation>(
      new Generation(tokenizer, std::move(search), std::move(options.stop), prompt_tokens,
                     std::move(copied), static_cast<int32_t>(model.vocab_size())));
}

std::string_view Generation::Spelled(int32_t token) const {
  return IsCopied(token) ? copied_[static_cast<size_t>(token - first_copied_)]
                         : tokenizer_.IdToToken(token);
}

std::string Generation::Push(StreamDecoder& decoder, int32_t token) const {
  return IsCopied(token) ? decoder.PushToken(Spelled(token)) : decoder.Push(token);
}

Result<Generation::Step> Generation::Next() {
  if (done_) return InvalidArgument("the generation is over");
  // Everything but a finished step ends the generation.
  done_ = true;
  SOTTO_ASSIGN_OR_RETURN(TokenSearch::Step found, search_->Next());
  Step step;
  if (found.token < 0) {
    step.done = done_ = found.done;
    if (!done_) return step;
    for (const TokenSearch::Sequence& s : search_->sequences()) {
      const size_t shown = s.ids.size() - (s.finish_reason == "eos" ? 1 : 0);
      StreamDecoder decoder(tokenizer_);
      std::string text;
      for (const int32_t id : std::span(s.ids).first(shown)) text += Push(decoder, id);
      text += decoder.Finish();
      outputs_.push_back({.text = std::move(text),
                          .ids = s.ids,
                          .finish_reason = std::string(s.finish_reason),
                          .score = s.score,
                          .scores = s.scores});
    }
    step.text = outputs_.front().text;
    step.finish_reason = outputs_.front().finish_reason;
    return step;
  }
  step.token = found.token;
  streamed_.ids.push_back(found.token);
  if (found.done) step.finish_reason = search_->sequences().front().finish_reason;
  std::string text = step.finish_reason == "eos" ? "" : Push(decoder_, found.token);
  if (found.done) text += decoder_.Finish();
  if (Release(text, found.done, &step.text)) step.finish_reason = "stop";
  step.done = done_ = !step.finish_reason.empty();
  streamed_.text += step.text;
  if (found.score) streamed_.scores.push_back(*found.score);
  step.score = std::move(found.score);
  if (done_) {
    streamed_.finish_reason = step.finish_reason;
    outputs_.push_back(std::move(streamed_));
  }
  return step;
}

bool Generation::Release(std::string_view text, bool last, std::string* out) {
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    *out = held_.substr(0, first);
    held_.clear();
    return true;
  }
  size_t keep = 0;
  for (const std::string& stop : stops_) keep = std::max(keep, last ? 0 : OverlapWith(held_, stop));
  *out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

}  // namespace sotto
