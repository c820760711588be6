#include "core/train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sotto {
namespace {

// Rows true, columns predicted: [[5, 1, 0], [2, 3, 1], [0, 0, 4]].
Confusion Example() {
  Confusion confusion(3);
  const int counts[3][3] = {{5, 1, 0}, {2, 3, 1}, {0, 0, 4}};
  for (int t = 0; t < 3; ++t) {
    for (int p = 0; p < 3; ++p) {
      for (int i = 0; i < counts[t][p]; ++i) confusion.Add(t, p);
    }
  }
  return confusion;
}

// The expected values are scikit-learn's precision_recall_fscore_support on the same sixteen pairs.
TEST(Confusion, GivesTheScoresOfEachClass) {
  const Confusion c = Example();
  EXPECT_EQ(c.total(), 16);
  EXPECT_DOUBLE_EQ(c.accuracy(), 12.0 / 16);
  EXPECT_DOUBLE_EQ(c.of(0).precision, 5.0 / 7);
  EXPECT_DOUBLE_EQ(c.of(0).recall, 5.0 / 6);
  EXPECT_DOUBLE_EQ(c.of(1).precision, 3.0 / 4);
  EXPECT_DOUBLE_EQ(c.of(1).recall, 3.0 / 6);
  EXPECT_DOUBLE_EQ(c.of(1).f1, 0.6);
  EXPECT_DOUBLE_EQ(c.of(2).precision, 4.0 / 5);
  EXPECT_DOUBLE_EQ(c.of(2).recall, 1.0);
}

TEST(Confusion, AveragesOverClassesDecisionsAndSupport) {
  const Confusion c = Example();
  const double f0 = 10.0 / 13, f1 = 0.6, f2 = 8.0 / 9;
  EXPECT_NEAR(c.macro().f1, (f0 + f1 + f2) / 3, 1e-12);
  EXPECT_NEAR(c.weighted().f1, (6 * f0 + 6 * f1 + 4 * f2) / 16, 1e-12);
  EXPECT_NEAR(c.weighted().recall, c.accuracy(), 1e-12);
  EXPECT_NEAR(c.micro().f1, c.accuracy(), 1e-12);
}

TEST(Confusion, AClassThatNobodyPredictedScoresZeroAndNotNaN) {
  Confusion c(2);
  c.Add(1, 0);
  EXPECT_EQ(c.of(1).precision, 0);
  EXPECT_EQ(c.of(1).f1, 0);
  EXPECT_EQ(c.of(0).recall, 0);
  EXPECT_EQ(Confusion(2).accuracy(), 0);
}

TEST(Confusion, WritesLabelsInJsonAndTable) {
  const std::vector<std::string> labels = {"red", "green", "blue"};
  const Json json = Example().ToJson(labels);
  EXPECT_EQ(json["classes"]["green"]["support"].as_int(), 6);
  EXPECT_EQ(json["confusion_matrix"].items()[1].items()[0].as_int(), 2);
  const std::string table = Example().ToTable(labels);
  EXPECT_NE(table.find("green"), std::string::npos);
  EXPECT_NE(table.find("0.7500"), std::string::npos);
}

TEST(EvalReport, PerplexityIsTheExponentialOfTheLoss) {
  EvalReport report;
  report.loss = std::log(20.0);
  report.token_accuracy = 0.25;
  EXPECT_NEAR(report.perplexity(), 20, 1e-9);
  EXPECT_NEAR(*report.Metric("accuracy"), 0.25, 0);
  EXPECT_FALSE(report.Metric("f1").ok());
  EXPECT_FALSE(report.Metric("beauty").ok());
  EXPECT_TRUE(EvalReport::HigherIsBetter("f1"));
  EXPECT_FALSE(EvalReport::HigherIsBetter("perplexity"));
}

TEST(Rouge, CountsSharedWordsPairsAndTheLongestCommonSubsequence) {
  // Of 6 and 5 words 4 are shared, one pair of 5 and 4 ("the cat"), and in order "the cat" + "mat".
  const Rouge rouge = RougeOf("The cat, on a the mat!", "the cat the big mat");
  EXPECT_NEAR(rouge.rouge1, 2 * (4.0 / 6) * (4.0 / 5) / (4.0 / 6 + 4.0 / 5), 1e-12);
  EXPECT_NEAR(rouge.rouge2, 2 * (1.0 / 5) * (1.0 / 4) / (1.0 / 5 + 1.0 / 4), 1e-12);
  EXPECT_NEAR(rouge.rouge_l, 2 * (4.0 / 6) * (4.0 / 5) / (4.0 / 6 + 4.0 / 5), 1e-12);
  EXPECT_NEAR(RougeOf("a b c", "c b a").rouge_l, 1.0 / 3, 1e-12);
  EXPECT_EQ(RougeOf("sch\xC3\xB6n", "Sch\xC3\xB6n.").rouge1, 1);
  EXPECT_EQ(RougeOf("", "a").rouge1, 0);
  EXPECT_EQ(RougeOf("", "").rouge_l, 0);
}

}  // namespace
}  // namespace sotto
