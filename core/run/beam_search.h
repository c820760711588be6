// Beam search: several texts grow side by side in one batch, and those that are likeliest as a
// whole go on. Step by step, so that a caller can stop it after any token.
#ifndef SOTTO_CORE_RUN_BEAM_SEARCH_H_
#define SOTTO_CORE_RUN_BEAM_SEARCH_H_

#include <vector>

#include "core/run/token_search.h"

namespace sotto {

class BeamSearch final : public TokenSearch {
 public:
  BeamSearch(const Model& model, ThreadPool* pool, std::vector<int32_t> source,
             std::vector<int32_t> prompt, const GenerationOptions& options);

  Result<Step> Next() override;

 private:
  struct Beam {
    std::vector<int32_t> ids;  // what was made
    std::vector<float> logprobs;
    float score = 0;        // summed log-probabilities; of a finished beam over length^penalty
    bool finished = false;  // false: a place still free
    bool ended = false;     // by a token that ends a text
  };
  // A continuation of a running beam.
  struct Candidate {
    size_t beam = 0;
    int32_t token = 0;
    float score = 0;    // of the text with it
    double rank = 0;    // what candidates are chosen by
    float logprob = 0;  // of the token as the model gives it
    bool hits = false;  // nothing can follow it
  };

  std::span<const int32_t> TextOf(size_t row) override;
  std::vector<Candidate> Continuations(const Tensor& logits);
  Beam Extended(const Candidate& candidate) const;
  void Finish(const std::vector<Candidate>& candidates);
  void GoOn(const std::vector<Candidate>& candidates);
  // Whether a running beam could still become better than a finished one.
  bool CouldImprove() const;
  void Conclude();
  bool AllFinished() const;

  std::vector<Beam> running_, finished_;  // num_beams each, best first
  std::vector<int32_t> held_;             // the place of each running one in the cache
  Random random_;
  std::vector<int32_t> text_;  // what TextOf gave last
  std::vector<float> scores_;  // of the vocabulary, for one beam after the other
  bool begun_ = false, can_improve_ = true, done_ = false;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_BEAM_SEARCH_H_
