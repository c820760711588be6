#include "core/run/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/base/sort.h"
#include "core/kernels/rows.h"

namespace sotto {
namespace {

using Candidate = LogitsProcessors::Candidate;

constexpr float kNever = -std::numeric_limits<float>::infinity();

void Set(std::span<float> scores, std::span<const int32_t> ids, float value) {
  for (const int32_t id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < scores.size()) scores[id] = value;
  }
}

void Force(std::span<float> scores, std::span<const int32_t> ids) {
  std::fill(scores.begin(), scores.end(), kNever);
  Set(scores, ids, 0);
}

// Whether `ids` end in the first tokens of `sequence`, all but its last. Hugging Face looks only
// where the context is as long as the whole sequence.
bool MayComplete(std::span<const int32_t> ids, std::span<const int32_t> sequence) {
  const auto prefix = sequence.first(sequence.size() - 1);
  return prefix.empty() || (ids.size() >= sequence.size() &&
                            std::equal(prefix.begin(), prefix.end(), ids.end() - prefix.size()));
}

bool Likelier(const Candidate& a, const Candidate& b) {
  return a.second != b.second ? a.second > b.second : a.first < b.first;
}

// log of the sum of exp(score).
double LogSum(std::span<const Candidate> kept) {
  double sum = 0;
  for (const auto& [id, score] : kept)
    sum += std::exp(static_cast<double>(score) - kept.front().second);
  return kept.front().second + std::log(sum);
}

// -sum p log p of likeliest-first candidates.
double Entropy(std::span<const Candidate> kept, double log_sum) {
  double entropy = 0;
  for (const auto& [id, score] : kept) entropy -= std::exp(score - log_sum) * (score - log_sum);
  return entropy;
}

// Each of the following leaves the order, and at least `least` tokens.

// `log_sum`: of all tokens that the probability is shared among.
void KeepTopP(std::vector<Candidate>& kept, double p, double log_sum, size_t least) {
  // The token that crosses p is kept.
  double reached = 0;
  size_t keep = 0;
  while (keep < kept.size() && reached < p) reached += std::exp(kept[keep++].second - log_sum);
  kept.resize(std::min(kept.size(), std::max(keep, least)));
}

// Drops what is less likely than `probability`.
void KeepAbove(std::vector<Candidate>& kept, double probability, size_t least) {
  const double log_sum = LogSum(kept);
  size_t keep = std::min(least, kept.size());
  while (keep < kept.size() && !(std::exp(kept[keep].second - log_sum) < probability)) ++keep;
  kept.resize(keep);
}

void KeepTypical(std::vector<Candidate>& kept, double mass, size_t least) {
  const double log_sum = LogSum(kept), entropy = Entropy(kept, log_sum);
  // How far a token's surprise is from the expected one.
  const auto distance = [&](const Candidate& t) {
    return std::fabs(log_sum - static_cast<double>(t.second) - entropy);
  };
  HeapSort(kept.begin(), kept.end(), [&](const Candidate& a, const Candidate& b) {
    const double x = distance(a), y = distance(b);
    return x != y ? x < y : Likelier(a, b);
  });
  double reached = 0;
  size_t last = 0;
  for (const auto& [id, score] : kept) {
    reached += std::exp(score - log_sum);
    if (reached >= mass) break;
    ++last;
  }
  last = std::min(last, kept.size() - 1);
  const double limit = distance(kept[last]);
  size_t keep = std::min(least, kept.size());
  while (keep < kept.size() && distance(kept[keep]) <= limit) ++keep;
  kept.resize(keep);
  std::sort(kept.begin(), kept.end(), Likelier);
}

// The k-th greatest of at least k scores.
float KthGreatest(std::span<const float> scores, size_t k) {
  std::vector<float> heap(scores.begin(), scores.begin() + static_cast<int64_t>(k));
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  for (const float score : scores.subspan(k)) {
    if (score <= heap.front()) continue;
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.back() = score;
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  return heap.front();
}

}  // namespace

double LogSumExp(std::span<const float> scores) {
  const auto peak = std::max_element(scores.begin(), scores.end());
  if (!std::isfinite(*peak)) return kNever;
  const auto target = static_cast<int32_t>(peak - scores.begin());
  return *peak + CrossEntropy(scores.data(), &target, -1, 0, 0, nullptr, 1,
                              static_cast<int64_t>(scores.size()), nullptr, nullptr);
}

Status LogitsOptions::Validate() const {
  for (const auto& [name, value] :
       {std::pair("temperature", temperature), std::pair("repetition_penalty", repetition_penalty),
        std::pair("encoder_repetition_penalty", encoder_repetition_penalty)}) {
    if (!(value > 0) || !std::isfinite(value))
      return InvalidArgument(StrCat("'", name, "' must be greater than 0"));
  }
  for (const auto& [name, value] : {std::pair("top_p", top_p), std::pair("typical_p", typical_p)}) {
    if (!(value > 0 && value <= 1))
      return InvalidArgument(StrCat("'", name, "' must be greater than 0 and at most 1"));
  }
  for (const auto& [name, value] :
       {std::pair("min_p", min_p), std::pair("epsilon_cutoff", epsilon_cutoff),
        std::pair("eta_cutoff", eta_cutoff)}) {
    if (!(value >= 0 && value <= 1))
      return InvalidArgument(StrCat("'", name, "' must lie between 0 and 1"));
  }
  if (top_k < 0) return InvalidArgument("'top_k' must not be negative");
  return OkStatus();
}

LogitsProcessors::LogitsProcessors(LogitsOptions options, Call call)
    : options_(std::move(options)), call_(std::move(call)) {
  // A text may end whatever words are bad.
  std::erase_if(options_.bad_words_ids, [&](const std::vector<int32_t>& word) {
    return word.size() == 1 && std::find(call_.eos_tokens.begin(), call_.eos_tokens.end(),
                                         word.front()) != call_.eos_tokens.end();
  });
}

void LogitsProcessors::Penalize(std::span<float> scores, std::span<const int32_t> ids,
                                float penalty) const {
  std::vector<bool> done(scores.size());
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= scores.size() || done[id]) continue;
    done[id] = true;
    scores[id] = scores[id] < 0 ? scores[id] * penalty : scores[id] / penalty;
  }
}

void LogitsProcessors::Bias(std::span<float> scores, std::span<const int32_t> ids) const {
  for (const auto& [sequence, bias] : options_.sequence_bias) {
    const int32_t last = sequence.back();
    if (static_cast<size_t>(last) < scores.size() && MayComplete(ids, sequence))
      scores[last] += bias;
  }
}

void LogitsProcessors::BanNgrams(std::span<float> scores, std::span<const int32_t> text,
                                 std::span<const int32_t> ids, int64_t size) const {
  const size_t n = static_cast<size_t>(size);
  if (ids.size() + 1 < n) return;
  const auto begun = ids.last(n - 1);
  for (size_t at = 0; at + n <= text.size(); ++at) {
    if (std::equal(begun.begin(), begun.end(), text.begin() + at))
      Set(scores, text.subspan(at + n - 1, 1), kNever);
  }
}

void LogitsProcessors::BanWords(std::span<float> scores, std::span<const int32_t> ids) const {
  for (const std::vector<int32_t>& word : options_.bad_words_ids) {
    if (MayComplete(ids, word)) Set(scores, std::span(word).last(1), kNever);
  }
}

void LogitsProcessors::Process(std::span<float> scores, std::span<const int32_t> ids) const {
  const LogitsOptions& o = options_;
  const int64_t length = static_cast<int64_t>(ids.size()), made = length - call_.prompt_tokens;
  for (float& x : scores) {
    if (std::isnan(x)) x = o.remove_invalid_values ? 0 : kNever;
  }
  Bias(scores, ids);
  if (o.encoder_repetition_penalty != 1)
    Penalize(scores, call_.source, 1 / o.encoder_repetition_penalty);
  if (o.repetition_penalty != 1) Penalize(scores, ids, o.repetition_penalty);
  if (o.no_repeat_ngram_size > 0) BanNgrams(scores, ids, ids, o.no_repeat_ngram_size);
  if (o.encoder_no_repeat_ngram_size > 0)
    BanNgrams(scores, call_.source, ids, o.encoder_no_repeat_ngram_size);
  BanWords(scores, ids);
  if (length < o.min_length || made < o.min_new_tokens) Set(scores, call_.eos_tokens, kNever);
  if (o.forced_bos_token_id && length == 1) Force(scores, std::span(&*o.forced_bos_token_id, 1));
  if (!o.forced_eos_token_id.empty() && length == call_.max_length - 1)
    Force(scores, o.forced_eos_token_id);
  if (o.remove_invalid_values) {
    constexpr float kMost = std::numeric_limits<float>::max();
    for (float& x : scores) x = std::clamp(x, -kMost, kMost);
  }
  if (o.exponential_decay_length_penalty && made > o.exponential_decay_length_penalty->first) {
    const auto& [start, factor] = *o.exponential_decay_length_penalty;
    const auto growth = static_cast<float>(std::pow(factor, static_cast<double>(made - start)) - 1);
    for (const int32_t id : call_.eos_tokens) {
      if (static_cast<size_t>(id) < scores.size()) scores[id] += std::fabs(scores[id]) * growth;
    }
  }
  Set(scores, o.suppress_tokens, kNever);
  // After a forced token the text begins one later.
  const bool forced_first = call_.prompt_tokens <= 1 && o.forced_bos_token_id.has_value();
  if (made == (forced_first ? 1 : 0)) Set(scores, o.begin_suppress_tokens, kNever);
  if (o.renormalize_logits && !o.do_sample) {
    const float peak = *std::max_element(scores.begin(), scores.end());
    if (!std::isfinite(peak)) return;
    double sum = 0;
    for (const float x : scores) sum += std::exp(static_cast<double>(x) - peak);
    const auto log_sum = static_cast<float>(peak + std::log(sum));
    for (float& x : scores) x -= log_sum;
  }
}

std::vector<Candidate> LogitsProcessors::Warp(std::span<float> scores, double negligible) const {
  const LogitsOptions& o = options_;
  const size_t least =
      call_.num_beams > 1 ? std::max<size_t>(call_.eos_tokens.size() + 1, 2) : size_t{1};
  if (o.temperature != 1) {
    for (float& x : scores) x /= o.temperature;
  }
  const double log_sum = LogSumExp(scores);
  if (!std::isfinite(log_sum)) return {};
  // The vocabulary is long and what stays of it is short: below `limit` nothing does.
  double limit = kNever;
  const size_t k = std::max(static_cast<size_t>(o.top_k), least);
  const bool top_k = o.top_k > 0 && k < scores.size();
  if (top_k) {
    // What ties with the k-th stays, as in Hugging Face's warper.
    limit = KthGreatest(scores, k);
  } else {
    // Tokens that are each less likely than a share of `rest` cannot reach it together.
    const double rest = std::max(negligible, 0.5 * (1 - static_cast<double>(o.top_p)));
    if (rest > 0) limit = log_sum + std::log(rest / static_cast<double>(scores.size()));
    if (o.min_p > 0) {
      const float peak = *std::max_element(scores.begin(), scores.end());
      limit = std::max(limit, peak + std::log(static_cast<double>(o.min_p)) - 1e-3);
    }
    if (least > 1 && least < scores.size())
      limit = std::min<double>(limit, KthGreatest(scores, least));
  }
  std::vector<Candidate> kept;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] >= limit && scores[i] > kNever)
      kept.emplace_back(static_cast<int32_t>(i), scores[i]);
  }
  std::sort(kept.begin(), kept.end(), Likelier);
  if (kept.empty()) return {};
  if (o.top_p < 1) KeepTopP(kept, o.top_p, top_k ? LogSum(kept) : log_sum, least);
  if (o.min_p > 0) KeepAbove(kept, o.min_p * std::exp(kept.front().second - LogSum(kept)), least);
  if (o.typical_p < 1) KeepTypical(kept, o.typical_p, least);
  if (o.epsilon_cutoff > 0 && o.epsilon_cutoff < 1) KeepAbove(kept, o.epsilon_cutoff, least);
  if (o.eta_cutoff > 0 && o.eta_cutoff < 1) {
    const double e = o.eta_cutoff, spread = std::exp(-Entropy(kept, LogSum(kept)));
    KeepAbove(kept, std::min(e, std::sqrt(e) * spread), least);
  }
  if (o.renormalize_logits) {
    const auto log_sum = static_cast<float>(LogSum(kept));
    for (auto& [id, score] : kept) score -= log_sum;
  }
  return kept;
}

}  // namespace sotto
