#include "core/train/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <utility>

namespace sotto {
namespace {

double Ratio(double above, double below) { return below > 0 ? above / below : 0; }

Confusion::Scores FromCounts(double right, double predicted, double truly) {
  Confusion::Scores scores{Ratio(right, predicted), Ratio(right, truly), 0};
  scores.f1 = Ratio(2 * scores.precision * scores.recall, scores.precision + scores.recall);
  return scores;
}

Json ScoresJson(const Confusion::Scores& scores) {
  return Json::Object({{"precision", Json::Number(scores.precision)},
                       {"recall", Json::Number(scores.recall)},
                       {"f1", Json::Number(scores.f1)}});
}

std::string NameOf(const std::vector<std::string>& labels, int64_t c) {
  return c < static_cast<int64_t>(labels.size()) ? labels[static_cast<size_t>(c)]
                                                 : StrCat("LABEL_", c);
}

std::string Cell(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string Fixed(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4f", value);
  return buffer;
}

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words(1);
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool in_word =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || static_cast<uint8_t>(c) >= 0x80;
    if (in_word) {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

double F1(int64_t shared, size_t text, size_t reference) {
  return FromCounts(static_cast<double>(shared), static_cast<double>(text),
                    static_cast<double>(reference))
      .f1;
}

// The F1 of runs of `n` words, each as often as both have it.
double NgramF1(const std::vector<std::string>& text, const std::vector<std::string>& reference,
               size_t n) {
  const auto runs = [n](const std::vector<std::string>& words) {
    std::vector<std::vector<std::string>> out;
    for (size_t i = 0; i + n <= words.size(); ++i)
      out.emplace_back(words.begin() + static_cast<int64_t>(i),
                       words.begin() + static_cast<int64_t>(i + n));
    std::sort(out.begin(), out.end());
    return out;
  };
  const auto a = runs(text), b = runs(reference);
  std::vector<std::vector<std::string>> shared;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(shared));
  return F1(static_cast<int64_t>(shared.size()), a.size(), b.size());
}

int64_t CommonSubsequence(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<int64_t> row(b.size() + 1, 0);
  for (const std::string& word : a) {
    int64_t corner = 0;  // of the row before, one to the left
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t above = row[j + 1];
      row[j + 1] = word == b[j] ? corner + 1 : std::max(above, row[j]);
      corner = above;
    }
  }
  return row.back();
}

}  // namespace

Rouge RougeOf(std::string_view text, std::string_view reference) {
  const std::vector<std::string> a = WordsOf(text), b = WordsOf(reference);
  return {NgramF1(a, b, 1), NgramF1(a, b, 2), F1(CommonSubsequence(a, b), a.size(), b.size())};
}

int64_t Confusion::total() const {
  int64_t sum = 0;
  for (const int64_t count : counts_) sum += count;
  return sum;
}

int64_t Confusion::support(int64_t c) const {
  int64_t sum = 0;
  for (int64_t p = 0; p < classes_; ++p) sum += at(c, p);
  return sum;
}

double Confusion::accuracy() const {
  int64_t right = 0;
  for (int64_t c = 0; c < classes_; ++c) right += at(c, c);
  return Ratio(static_cast<double>(right), static_cast<double>(total()));
}

Confusion::Scores Confusion::of(int64_t c) const {
  int64_t predicted = 0;
  for (int64_t t = 0; t < classes_; ++t) predicted += at(t, c);
  return FromCounts(static_cast<double>(at(c, c)), static_cast<double>(predicted),
                    static_cast<double>(support(c)));
}

Confusion::Scores Confusion::macro() const {
  Scores mean;
  for (int64_t c = 0; c < classes_; ++c) {
    const Scores one = of(c);
    mean.precision += one.precision, mean.recall += one.recall, mean.f1 += one.f1;
  }
  const double n = static_cast<double>(classes_);
  return {Ratio(mean.precision, n), Ratio(mean.recall, n), Ratio(mean.f1, n)};
}

Confusion::Scores Confusion::micro() const {
  const double right = accuracy() * static_cast<double>(total()),
               all = static_cast<double>(total());
  return FromCounts(right, all, all);
}

Confusion::Scores Confusion::weighted() const {
  Scores mean;
  const double all = static_cast<double>(total());
  for (int64_t c = 0; c < classes_; ++c) {
    const Scores one = of(c);
    const double share = Ratio(static_cast<double>(support(c)), all);
    mean.precision += share * one.precision, mean.recall += share * one.recall,
        mean.f1 += share * one.f1;
  }
  return mean;
}

Json Confusion::ToJson(const std::vector<std::string>& labels) const {
  std::vector<Json> matrix;
  std::vector<Json::Member> by_class;
  for (int64_t c = 0; c < classes_; ++c) {
    std::vector<Json> row;
    for (int64_t p = 0; p < classes_; ++p) row.push_back(Json::Int(at(c, p)));
    matrix.push_back(Json::Array(std::move(row)));
    const Scores scores = of(c);
    by_class.emplace_back(NameOf(labels, c),
                          Json::Object({{"precision", Json::Number(scores.precision)},
                                        {"recall", Json::Number(scores.recall)},
                                        {"f1", Json::Number(scores.f1)},
                                        {"support", Json::Int(support(c))}}));
  }
  return Json::Object({{"accuracy", Json::Number(accuracy())},
                       {"macro", ScoresJson(macro())},
                       {"micro", ScoresJson(micro())},
                       {"weighted", ScoresJson(weighted())},
                       {"classes", Json::Object(std::move(by_class))},
                       {"confusion_matrix", Json::Array(std::move(matrix))}});
}

std::string Confusion::ToTable(const std::vector<std::string>& labels) const {
  size_t width = 9;
  for (int64_t c = 0; c < classes_; ++c) width = std::max(width, NameOf(labels, c).size());
  width += 2;
  const auto line = [&](const std::string& head, const std::vector<std::string>& cells) {
    std::string text = head + std::string(head.size() < width ? width - head.size() : 0, ' ');
    for (const std::string& cell : cells) text += Cell(cell, width);
    return text + "\n";
  };
  std::vector<std::string> names;
  for (int64_t c = 0; c < classes_; ++c) names.push_back(NameOf(labels, c));
  std::string table = "confusion matrix (rows: true, columns: predicted)\n" + line("", names);
  for (int64_t c = 0; c < classes_; ++c) {
    std::vector<std::string> cells;
    for (int64_t p = 0; p < classes_; ++p) cells.push_back(std::to_string(at(c, p)));
    table += line(NameOf(labels, c), cells);
  }
  table += "\n" + line("", {"precision", "recall", "f1", "support"});
  const auto scores_line = [&](const std::string& head, const Scores& s, int64_t support) {
    return line(head, {Fixed(s.precision), Fixed(s.recall), Fixed(s.f1), std::to_string(support)});
  };
  for (int64_t c = 0; c < classes_; ++c) table += scores_line(NameOf(labels, c), of(c), support(c));
  table += scores_line("macro", macro(), total()) + scores_line("micro", micro(), total()) +
           scores_line("weighted", weighted(), total());
  return table + "\n" + line("accuracy", {Fixed(accuracy())});
}

double EvalReport::perplexity() const { return std::exp(loss); }

Result<double> EvalReport::Metric(const std::string& name) const {
  if (name == "loss") return loss;
  if (name == "perplexity") return perplexity();
  if (name == "accuracy") return confusion.classes() > 0 ? confusion.accuracy() : token_accuracy;
  if (name == "f1" && confusion.classes() > 0) return confusion.macro().f1;
  if (name == "exact_match" && exact_match >= 0) return exact_match;
  return InvalidArgument(StrCat("there is no metric '", name, "' for this task"));
}

Json EvalReport::ToJson(const std::vector<std::string>& labels) const {
  std::vector<Json::Member> members = {{"loss", Json::Number(loss)}, {"count", Json::Int(count)}};
  if (token_accuracy >= 0) {
    members.emplace_back("perplexity", Json::Number(perplexity()));
    members.emplace_back("token_accuracy", Json::Number(token_accuracy));
  }
  if (exact_match >= 0) members.emplace_back("exact_match", Json::Number(exact_match));
  if (confusion.classes() > 0) {
    const Json scores = confusion.ToJson(labels);
    members.insert(members.end(), scores.members().begin(), scores.members().end());
    if (token_accuracy >= 0)
      members.emplace_back("next_sentence_loss", Json::Number(next_sentence_loss));
  }
  return Json::Object(std::move(members));
}

}  // namespace sotto
