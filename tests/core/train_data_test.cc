#include "core/train/data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace sotto {
namespace {

std::vector<std::string> Texts(const Result<std::vector<Document>>& documents) {
  std::vector<std::string> texts;
  if (!documents.ok()) return {"error: " + documents.status().message()};
  for (const Document& document : *documents) texts.push_back(document.text);
  return texts;
}

using Strings = std::vector<std::string>;

TEST(ReadDocuments, CutsATextAtItsSeparator) {
  SourceSpec spec;
  spec.separator = "<|end|>";
  EXPECT_EQ(Texts(ReadDocuments("one<|end|>two\nlines<|end|>", spec, {})),
            (Strings{"one", "two\nlines", ""}));
  spec.separator.clear();
  EXPECT_EQ(Texts(ReadDocuments("a<|end|>b", spec, {})), (Strings{"a<|end|>b"}));
}

TEST(ReadDocuments, TakesEachLineWithoutItsLineBreak) {
  SourceSpec spec;
  spec.format = DataFormat::kLines;
  EXPECT_EQ(Texts(ReadDocuments("\xEF\xBB\xBFone\r\n\ntwo", spec, {})), (Strings{"one", "two"}));
}

TEST(ReadDocuments, FiltersJsonLinesByNumbersAndTexts) {
  SourceSpec spec;
  spec.format = DataFormat::kJsonl;
  spec.filters = {{"easy", 0.9, std::nullopt, std::nullopt},
                  {"lang", std::nullopt, std::nullopt, "en"}};
  const char* lines =
      "{\"text\":\"kept\",\"easy\":0.95,\"lang\":\"en\"}\n"
      "{\"text\":\"hard\",\"easy\":0.5,\"lang\":\"en\"}\n"
      "{\"text\":\"foreign\",\"easy\":0.99,\"lang\":\"de\"}\n"
      "{\"text\":\"unrated\",\"lang\":\"en\"}\n";
  EXPECT_EQ(Texts(ReadDocuments(lines, spec, {})), (Strings{"kept"}));
}

TEST(ReadDocuments, ATemplateGivesOneTextForEachItemOfItsList) {
  SourceSpec spec;
  spec.format = DataFormat::kJsonl;
  spec.text_template = "Q: {q}\nA: {a}";
  EXPECT_EQ(Texts(ReadDocuments("{\"q\":[\"x\",\"y\"],\"a\":\"z\"}", spec, {})),
            (Strings{"Q: x\nA: z", "Q: y\nA: z"}));
  spec.text_template = "{missing}";
  EXPECT_EQ(Texts(ReadDocuments("{\"q\":1}", spec, {})),
            (Strings{"error: line 1: there is no field 'missing'"}));
}

TEST(ReadDocuments, TurnsOfADialogueAlternateBetweenSpeakers) {
  SourceSpec spec;
  spec.format = DataFormat::kJsonl;
  spec.field = "turns";
  spec.speakers = {"A: ", "B: "};
  EXPECT_EQ(Texts(ReadDocuments("{\"turns\":[\"hi\",\"oh\\nhi\",\"bye\"]}", spec, {})),
            (Strings{"A: hi\nB: oh hi\nA: bye"}));
}

TEST(ReadDocuments, CsvCellsMayHoldQuotesCommasAndLineBreaks) {
  SourceSpec spec;
  spec.format = DataFormat::kCsv;
  spec.label = "label";
  const auto documents = ReadDocuments("text,label\r\n\"a, \"\"b\"\"\nc\",good\nplain,0\n", spec,
                                       Strings{"bad", "good"});
  ASSERT_TRUE(documents.ok()) << documents.status().message();
  EXPECT_EQ(Texts(documents), (Strings{"a, \"b\"\nc", "plain"}));
  EXPECT_EQ((*documents)[0].label, 1);
  EXPECT_EQ((*documents)[1].label, 0);
}

TEST(ReadDocuments, AnUnclosedQuoteAndARaggedRowAreErrors) {
  SourceSpec spec;
  spec.format = DataFormat::kCsv;
  EXPECT_FALSE(ReadDocuments("text\n\"open", spec, {}).ok());
  EXPECT_EQ(Texts(ReadDocuments("text\na,b\n", spec, {})),
            (Strings{"error: row 2: 2 cells where there are 1 columns"}));
}

TEST(ReadDocuments, TsvTakesQuotesAsTheyAre) {
  SourceSpec spec;
  spec.format = DataFormat::kTsv;
  spec.columns = {"text", "label"};
  spec.label = "label";
  const auto documents = ReadDocuments("\"so\t1\n", spec, Strings{"bad", "good"});
  EXPECT_EQ(Texts(documents), (Strings{"\"so"}));
  EXPECT_EQ((*documents)[0].label, 1);
}

TEST(ReadDocuments, AnUnknownLabelIsAnErrorThatNamesLineAndLabel) {
  SourceSpec spec;
  spec.format = DataFormat::kTsv;
  spec.columns = {"text", "label"};
  spec.label = "label";
  for (const char* label : {"2", "-1", "great", "1x", ""}) {
    const auto documents =
        ReadDocuments(StrCat("a\t0\nb\t", label, "\n"), spec, Strings{"bad", "good"});
    ASSERT_FALSE(documents.ok()) << label;
    EXPECT_NE(documents.status().message().find("line 2"), std::string::npos);
    EXPECT_NE(documents.status().message().find(StrCat("'", label, "'")), std::string::npos);
  }
}

TEST(CleanText, TrimsCollapsesAndRepairs) {
  CleanSpec spec;
  spec.straight_quotes = true;
  std::string text = "  a \t b\r\n \n c \xFF \xE2\x80\x9Cq\xE2\x80\x9D \xE2\x80\x94 \n";
  ASSERT_TRUE(CleanText(text, spec));
  EXPECT_EQ(text, "a b\nc \xEF\xBF\xBD \"q\" --");
}

TEST(CleanText, DropsWhatIsTooShortTooLongOrUnwanted) {
  CleanSpec spec;
  spec.min_chars = 3;
  spec.max_chars = 5;
  spec.drop_containing = {"bad"};
  const auto kept = [&](std::string text) { return CleanText(text, spec); };
  EXPECT_FALSE(kept("ab   "));
  EXPECT_TRUE(kept("abc"));
  EXPECT_TRUE(kept("abcde"));
  EXPECT_FALSE(kept("abcdef"));
  EXPECT_FALSE(kept("bad"));
}

TEST(Corpus, KeepsOneOfTextsThatDifferInCaseAndPunctuation) {
  Corpus corpus({}, 0, 0);
  const auto counts =
      corpus.Add({{"Hello, world!", -1}, {"hello world", -1}, {"hello moon", -1}}, 0, std::nullopt);
  EXPECT_EQ(counts.duplicate, 1);
  EXPECT_EQ(corpus.part(DataSplit::kTrain).documents.size(), 2u);
  EXPECT_EQ(corpus.part(DataSplit::kTrain).documents[0].text, "Hello, world!");
}

TEST(Corpus, NoTrainingTextStandsInAHeldOutSet) {
  Corpus corpus({}, 0, 0);
  corpus.Add({{"held out", 0}, {"held out", 1}}, 0, DataSplit::kTest);
  corpus.Add({{"Held-out.", 0}, {"new", 1}}, 1, DataSplit::kTrain);
  EXPECT_EQ(corpus.part(DataSplit::kTest).documents.size(),
            2u);  // a given set keeps its repetitions
  ASSERT_EQ(corpus.part(DataSplit::kTrain).documents.size(), 1u);
  EXPECT_EQ(corpus.part(DataSplit::kTrain).documents[0].text, "new");
  EXPECT_EQ(corpus.part(DataSplit::kTrain).sources[0], 1);
}

TEST(Corpus, SplitsByTheTextAloneInTheAskedShares) {
  std::vector<Document> documents, reversed;
  for (int i = 0; i < 20000; ++i) documents.push_back({StrCat("text number ", i), -1});
  reversed.assign(documents.rbegin(), documents.rend());
  Corpus a({}, 0.1, 0.05), b({}, 0.1, 0.05);
  const auto counts = a.Add(documents, 0, std::nullopt);
  b.Add(reversed, 0, std::nullopt);
  EXPECT_NEAR(counts.kept[1] / 20000.0, 0.1, 0.01);
  EXPECT_NEAR(counts.kept[2] / 20000.0, 0.05, 0.01);
  std::vector<std::string> of_a, of_b;
  for (const Document& d : a.part(DataSplit::kTest).documents) of_a.push_back(d.text);
  for (const Document& d : b.part(DataSplit::kTest).documents) of_b.insert(of_b.begin(), d.text);
  EXPECT_EQ(of_a, of_b);
}

TEST(ReadDocuments, PairsATextWithEachOfItsTargets) {
  SourceSpec spec;
  spec.format = DataFormat::kJsonl;
  spec.text_template = "say: {en}";
  spec.target = "de";
  const auto documents = ReadDocuments(
      "{\"en\": \"cat\", \"de\": \"Katze\"}\n{\"en\": \"hi\", \"de\": [\"hallo\", \"servus\"]}\n",
      spec, {});
  ASSERT_TRUE(documents.ok()) << documents.status().message();
  ASSERT_EQ(documents->size(), 3u);
  EXPECT_EQ((*documents)[0].text, "say: cat");
  EXPECT_EQ((*documents)[0].target, "Katze");
  EXPECT_EQ((*documents)[2].text, "say: hi");
  EXPECT_EQ((*documents)[2].target, "servus");
  spec.target = "fr";
  const auto missing = ReadDocuments("{\"en\": \"cat\"}\n", spec, {});
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.status().message().find("'fr'"), std::string::npos);
  EXPECT_NE(missing.status().message().find("line 1"), std::string::npos);
}

TEST(Corpus, ATextKeepsItsTargetsTogetherAndNoHeldOutTextTrains) {
  Corpus corpus({}, 0.5, 0);
  std::vector<Document> documents;
  for (int i = 0; i < 200; ++i) {
    for (const char* target : {"a", "b", "a", ""})
      documents.push_back({StrCat("text ", i), -1, std::string(target)});
  }
  corpus.Add({{"text 7", -1, "other"}}, 0, DataSplit::kTest);
  const Corpus::Counts counts = corpus.Add(std::move(documents), 1, std::nullopt);
  EXPECT_EQ(counts.unclean, 200);        // without a target
  EXPECT_EQ(counts.duplicate, 199 + 3);  // the same pair again, and all of the held-out text
  std::set<std::string> train, validation;
  for (const Document& d : corpus.part(DataSplit::kTrain).documents) train.insert(d.text);
  for (const Document& d : corpus.part(DataSplit::kValidation).documents) validation.insert(d.text);
  EXPECT_EQ(train.size() + validation.size(), 199u);
  EXPECT_GT(validation.size(), 60u);
  for (const std::string& text : train) EXPECT_EQ(validation.count(text), 0u) << text;
  EXPECT_EQ(counts.kept[0] + counts.kept[1], 2 * 199);
}

}  // namespace
}  // namespace sotto
