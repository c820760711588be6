// What a model is worth on held-out data: counts of right and wrong, and what is derived from them.
#ifndef SOTTO_CORE_TRAIN_METRICS_H_
#define SOTTO_CORE_TRAIN_METRICS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"

namespace sotto {

// Rows are true classes, columns predicted ones. Ratios with nothing below the line are 0.
class Confusion {
 public:
  Confusion() = default;
  explicit Confusion(int64_t classes)
      : classes_(classes), counts_(static_cast<size_t>(classes * classes)) {}

  void Add(int64_t truth, int64_t predicted) {
    ++counts_[static_cast<size_t>(truth * classes_ + predicted)];
  }
  int64_t classes() const { return classes_; }
  int64_t at(int64_t truth, int64_t predicted) const {
    return counts_[static_cast<size_t>(truth * classes_ + predicted)];
  }
  int64_t total() const;
  int64_t support(int64_t c) const;  // how many truly are of the class

  struct Scores {
    double precision = 0, recall = 0, f1 = 0;
  };
  double accuracy() const;
  Scores of(int64_t c) const;
  Scores macro() const;     // the mean over classes
  Scores micro() const;     // of all decisions together: with one label each, the accuracy
  Scores weighted() const;  // the mean over classes, by support

  Json ToJson(const std::vector<std::string>& labels) const;
  // Columns aligned for reading: the matrix, then precision, recall and F1 by class.
  std::string ToTable(const std::vector<std::string>& labels) const;

 private:
  int64_t classes_ = 0;
  std::vector<int64_t> counts_;
};

// How much a text shares with a reference (Lin 2004, "ROUGE"): the F1 of words, of neighbours in
// pairs and of the longest common subsequence. Words are runs of letters and digits in lower case;
// what is not ASCII counts as letters.
struct Rouge {
  double rouge1 = 0, rouge2 = 0, rouge_l = 0;
};
Rouge RougeOf(std::string_view text, std::string_view reference);

// One evaluation. `loss` is the mean negative log-likelihood in nats of what the task predicts.
struct EvalReport {
  double loss = 0;
  int64_t count = 0;           // predictions
  double token_accuracy = -1;  // of the most likely token (language models); -1: not of this task
  Confusion confusion;         // classification and next sentence; without classes elsewhere
  double next_sentence_loss = 0;
  // Of pairs: the share of targets whose every token is the likeliest after those before it, which
  // are those that greedy search gives. -1: not of this task.
  double exact_match = -1;

  double perplexity() const;
  // A named number ("loss", "perplexity", "accuracy", "f1", "exact_match"), and whether more of it
  // is better.
  Result<double> Metric(const std::string& name) const;
  static bool HigherIsBetter(const std::string& name) {
    return name != "loss" && name != "perplexity";
  }
  Json ToJson(const std::vector<std::string>& labels) const;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_METRICS_H_
