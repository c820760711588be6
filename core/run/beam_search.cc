// The search is Hugging Face's, choice by choice, so that its texts are the same: which candidates
// are kept, what a finished text scores, and when no better one can come. Its scores are f32 and
// "minus infinity" is -1e9 in places, which decides between candidates that nobody wants.
#include "core/run/beam_search.h"

#include <algorithm>
#include <cmath>

namespace sotto {
namespace {

constexpr float kUnwanted = -1e9f;

// score / length^penalty
float Normalized(float score, int64_t length, double penalty) {
  return score / static_cast<float>(std::pow(static_cast<double>(length), penalty));
}

}  // namespace

BeamSearch::BeamSearch(const Model& model, ThreadPool* pool, std::vector<int32_t> source,
                       std::vector<int32_t> prompt, const GenerationOptions& options)
    : TokenSearch(model, pool, std::move(source), std::move(prompt), options),
      running_(static_cast<size_t>(options.num_beams), Beam{.score = kUnwanted}),
      finished_(running_),
      random_(options.seed) {
  // All begin with the same text: only the first may go on from there.
  running_.front().score = 0;
  // The reference takes the padding token 0 for none.
  if (!options_.eos_token_ids.empty() && fill_ == 0) fill_ = options_.eos_token_ids.front();
  if (options_.eos_token_ids.empty()) fill_ = -1;
}

Result<TokenSearch::Step> BeamSearch::Next() {
  if (done_) return InvalidArgument("the generation is over");
  // Everything but a finished step ends the search.
  done_ = true;
  Tensor logits;
  if (!begun_) {
    SOTTO_ASSIGN_OR_RETURN(logits, ReadPrompt());
  } else {
    SOTTO_ASSIGN_OR_RETURN(logits, Read(held_));
  }
  if (!logits) {
    done_ = false;
    return Step{};
  }
  const std::vector<Candidate> candidates = Continuations(logits);
  begun_ = true;
  Finish(candidates);
  GoOn(candidates);
  can_improve_ = can_improve_ && CouldImprove();
  const bool enough = options_.early_stopping == EarlyStopping::kTrue && AllFinished();
  const bool stuck =
      std::all_of(candidates.begin(), candidates.end(), [](const Candidate& c) { return c.hits; });
  done_ = !can_improve_ || enough || stuck;
  if (done_) Conclude();
  return Step{.done = done_};
}

std::vector<BeamSearch::Candidate> BeamSearch::Continuations(const Tensor& logits) {
  const size_t vocab = static_cast<size_t>(logits.dim(-1));
  const size_t keep = std::max<size_t>(2, 1 + options_.eos_token_ids.size()) * running_.size();
  // Of two that rank the same, the one of the earlier beam and the smaller id comes first.
  const auto better = [](const Candidate& a, const Candidate& b) {
    if (a.rank != b.rank) return a.rank > b.rank;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  };
  std::vector<Candidate> best;  // a heap with the worst in front
  const size_t length = prompt_.size() + running_.front().ids.size() + 1;
  for (size_t b = 0; b < running_.size(); ++b) {
    const Beam& beam = running_[b];
    const float* row = logits.f32() + (begun_ ? b * vocab : 0);
    const double log_sum = LogSumExp({row, vocab});
    scores_.resize(vocab);
    for (size_t i = 0; i < vocab; ++i) scores_[i] = static_cast<float>(row[i] - log_sum);
    processors_.Process(scores_, TextOf(b));
    const auto offer = [&](int32_t token, float score) {
      Candidate c{.beam = b, .token = token, .score = score + beam.score};
      c.rank = c.score;
      // Adding Gumbel noise to log-probabilities and taking the best draws without replacement
      // (Kool et al. 2019), in the order of drawing.
      if (options_.logits.do_sample)
        c.rank -= std::log(-std::log(static_cast<double>(random_.NextFloat()) + 0x1p-25));
      if (best.size() == keep && !better(c, best.front())) return;
      c.logprob = static_cast<float>(row[token] - log_sum);
      c.hits = Ends(token) || static_cast<int64_t>(length) >= max_length_;
      if (best.size() == keep) {
        std::pop_heap(best.begin(), best.end(), better);
        best.pop_back();
      }
      best.push_back(c);
      std::push_heap(best.begin(), best.end(), better);
    };
    if (options_.logits.do_sample) {
      for (const auto& [token, score] : processors_.Warp(scores_)) offer(token, score);
    } else {
      for (size_t i = 0; i < vocab; ++i) offer(static_cast<int32_t>(i), scores_[i]);
    }
  }
  std::sort(best.begin(), best.end(), better);
  return best;
}

std::span<const int32_t> BeamSearch::TextOf(size_t row) {
  text_ = prompt_;
  text_.insert(text_.end(), running_[row].ids.begin(), running_[row].ids.end());
  return text_;
}

BeamSearch::Beam BeamSearch::Extended(const Candidate& candidate) const {
  Beam beam = running_[candidate.beam];
  beam.ids.push_back(candidate.token);
  if (options_.output_logprobs) beam.logprobs.push_back(candidate.logprob);
  beam.score = candidate.score;
  beam.ended = Ends(candidate.token);
  return beam;
}

bool BeamSearch::AllFinished() const {
  return std::all_of(finished_.begin(), finished_.end(), [](const Beam& b) { return b.finished; });
}

void BeamSearch::Finish(const std::vector<Candidate>& candidates) {
  const bool closed =
      !can_improve_ || (options_.early_stopping == EarlyStopping::kTrue && AllFinished());
  // Only the best num_beams candidates may finish: the others are there so that some can go on.
  for (size_t i = 0; i < candidates.size() && i < running_.size() && !closed; ++i) {
    if (!candidates[i].hits) continue;
    Beam beam = Extended(candidates[i]);
    beam.finished = true;
    beam.score =
        Normalized(beam.score, static_cast<int64_t>(beam.ids.size()), options_.length_penalty);
    finished_.push_back(std::move(beam));
  }
  std::stable_sort(finished_.begin(), finished_.end(),
                   [](const Beam& a, const Beam& b) { return a.score > b.score; });
  finished_.resize(running_.size());
}

void BeamSearch::GoOn(const std::vector<Candidate>& candidates) {
  std::vector<Candidate> order = candidates;
  for (Candidate& c : order) {
    if (c.hits) c.score += kUnwanted;
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  std::vector<Beam> next;
  const bool first = held_.empty();
  held_.clear();
  for (size_t i = 0; i < running_.size(); ++i) {
    // There may be fewer candidates than beams where the vocabulary is tiny or nearly all of it
    // forbidden.
    Candidate c =
        order.empty() ? Candidate{.score = kUnwanted} : order[std::min(i, order.size() - 1)];
    if (i >= order.size()) c.score = kUnwanted;
    next.push_back(Extended(c));
    held_.push_back(first ? 0 : static_cast<int32_t>(c.beam));
  }
  running_ = std::move(next);
}

bool BeamSearch::CouldImprove() const {
  const int64_t made = static_cast<int64_t>(running_.front().ids.size());
  // A longer text may score better where length is rewarded.
  const bool longest =
      options_.early_stopping == EarlyStopping::kNever && options_.length_penalty > 0;
  const int64_t length = longest ? max_length_ - static_cast<int64_t>(prompt_.size()) : made;
  const float possible = Normalized(running_.front().score, length, options_.length_penalty);
  return possible > (AllFinished() ? finished_.back().score : kUnwanted);
}

void BeamSearch::Conclude() {
  for (int64_t i = 0; i < options_.num_return_sequences; ++i) {
    Beam& beam = finished_[static_cast<size_t>(i)];
    Sequence& sequence = sequences_.emplace_back();
    sequence.ids = std::move(beam.ids);
    sequence.finish_reason = beam.ended ? "eos" : "length";
    sequence.score = beam.score;
    for (const float logprob : beam.logprobs) sequence.scores.push_back({.logprob = logprob});
  }
}

}  // namespace sotto
