#include "core/train/batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

namespace sotto {
namespace {

constexpr int32_t kSeparator = 0, kCls = 1, kSep = 2, kMaskId = 3, kPad = 4, kVocab = 100;

SpecialIds Special() {
  SpecialIds special;
  special.separator = kSeparator;
  special.cls = kCls, special.sep = kSep, special.mask = kMaskId, special.pad = kPad;
  special.vocab_size = kVocab;
  special.is_special.assign(kVocab, false);
  std::fill_n(special.is_special.begin(), 5, true);
  return special;
}

// Documents of the given lengths; document d's tokens are 5 + d % 90.
TokenizedDocuments Documents(const std::vector<int>& lengths) {
  TokenizedDocuments documents;
  for (size_t d = 0; d < lengths.size(); ++d) {
    documents.ids.insert(documents.ids.end(), static_cast<size_t>(lengths[d]),
                         static_cast<int32_t>(5 + d % 90));
    documents.begins.push_back(static_cast<int64_t>(documents.ids.size()));
    documents.labels.push_back(static_cast<int32_t>(d % 2));
    documents.sources.push_back(static_cast<int32_t>(d % 2));
  }
  return documents;
}

BatchOptions Options(int64_t batch_size, int64_t max_tokens) {
  BatchOptions options;
  options.batch_size = batch_size;
  options.max_tokens = max_tokens;
  options.seed = 7;
  return options;
}

std::vector<int32_t> Values(const Tensor& tensor) {
  return {tensor.i32(), tensor.i32() + tensor.elements()};
}

TEST(Shuffled, IsAPermutationThatDependsOnSeedAndEpoch) {
  const auto order = Shuffled(1000, 1, 0);
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 1000u);
  EXPECT_EQ(order, Shuffled(1000, 1, 0));
  EXPECT_NE(order, Shuffled(1000, 1, 1));
  EXPECT_NE(order, Shuffled(1000, 2, 0));
}

TEST(PackCausal, TargetsAreTheNextTokensOfTheStream) {
  auto source = PackCausal(Documents({5, 9, 1, 30, 12}), Special(), Options(2, 8));
  ASSERT_TRUE(source.ok());
  EXPECT_EQ((*source)->batches(), 4);  // (57 tokens + 5 separators - 1) / 8 = 7 blocks
  for (int64_t index = 0; index < 4; ++index) {
    const auto batch = (*source)->Get(0, index);
    ASSERT_TRUE(batch.ok());
    const auto ids = Values(batch->input.ids), targets = Values(batch->targets);
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      if (i % 8 != 7) {
        EXPECT_EQ(targets[i], ids[i + 1]);
      }
    }
    EXPECT_EQ(batch->target_count, batch->tokens);
  }
  EXPECT_EQ((*source)->Get(0, 3)->input.ids.dim(0), 1);  // the last batch is what is left
}

TEST(PackCausal, AnEvaluationSeesEachTokenOnce) {
  const auto documents = Documents({20, 13, 7, 25});
  auto source = PackCausal(documents, Special(), Options(3, 8));
  ASSERT_TRUE(source.ok());
  std::map<int32_t, int> seen;
  for (int64_t index = 0; index < (*source)->batches(); ++index) {
    for (const int32_t id : Values((*source)->Get(-1, index)->targets)) ++seen[id];
  }
  int off = 0;
  const std::vector<int> lengths = {20, 13, 7, 25};
  for (int d = 0; d < 4; ++d) off += std::abs(seen[5 + d] - lengths[d]);
  EXPECT_LE(off, 8);  // but for the first token and the tail that fills no block
}

TEST(PackCausal, UpsamplingRepeatsAndThinsOut) {
  std::vector<int> lengths(400, 10);
  BatchOptions options = Options(1, 11);
  options.upsample = {3, 0.25};  // even documents thrice, of the odd ones a quarter
  auto source = PackCausal(Documents(lengths), Special(), options);
  ASSERT_TRUE(source.ok());
  EXPECT_NEAR(static_cast<double>((*source)->batches()), 200 * 3 + 200 * 0.25, 25);
  options.upsample = {0, 0};
  EXPECT_FALSE(PackCausal(Documents(lengths), Special(), options).ok());
}

TEST(PackCausal, TheSameBatchComesWhateverWasAskedBefore) {
  const auto documents = Documents(std::vector<int>(50, 17));
  auto a = PackCausal(documents, Special(), Options(4, 16)),
       b = PackCausal(documents, Special(), Options(4, 16));
  ASSERT_TRUE(a.ok() && b.ok());
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    for (int64_t i = 0; i < (*a)->batches(); ++i) ASSERT_TRUE((*a)->Get(epoch, i).ok());
  }
  EXPECT_EQ(Values((*a)->Get(1, 5)->input.ids), Values((*b)->Get(1, 5)->input.ids));
  EXPECT_NE(Values((*a)->Get(1, 5)->input.ids), Values((*a)->Get(2, 5)->input.ids));
}

TEST(MaskTokens, ChoosesTheShareAndNeverASpecialToken) {
  std::vector<int32_t> ids = {kCls};
  for (int i = 0; i < 1000; ++i) ids.push_back(5 + i % 90);
  ids.push_back(kSep);
  const std::vector<int32_t> before = ids;
  std::vector<int32_t> rows, targets;
  MaskTokens(ids, Special(), {}, 42, 10000, rows, targets);
  ASSERT_EQ(rows.size(), 150u);
  int masked = 0, kept = 0;
  std::set<int32_t> places;
  for (size_t i = 0; i < rows.size(); ++i) {
    const int32_t place = rows[i] - 10000;
    places.insert(place);
    ASSERT_GT(place, 0);
    ASSERT_LT(place, 1001);
    EXPECT_EQ(targets[i], before[place]);
    masked += ids[place] == kMaskId ? 1 : 0;
    kept += ids[place] == before[place] ? 1 : 0;
    EXPECT_TRUE(ids[place] == kMaskId || ids[place] >= 5);
    ids[place] = before[place];
  }
  EXPECT_EQ(places.size(), 150u);
  EXPECT_EQ(ids, before);  // nothing else changed
  EXPECT_NEAR(masked / 150.0, 0.8, 0.1);
  EXPECT_NEAR(kept / 150.0, 0.1, 0.08);
}

TEST(MaskTokens, HidesAtLeastOneTokenAndNothingOfSpecialsAlone) {
  std::vector<int32_t> one = {kCls, 9, kSep}, none = {kCls, kSep}, rows, targets;
  MaskTokens(one, Special(), {}, 1, 0, rows, targets);
  EXPECT_EQ(rows, std::vector<int32_t>{1});
  MaskTokens(none, Special(), {}, 1, 0, rows, targets);
  EXPECT_EQ(rows.size(), 1u);
}

TEST(PackMasked, DynamicMasksAreNewInEachEpochAndStaticOnesAreNot) {
  const auto documents = Documents(std::vector<int>(40, 23));
  for (const bool is_static : {false, true}) {
    MaskOptions mask;
    mask.is_static = is_static;
    auto source = PackMasked(documents, Special(), Options(1, 32), mask);
    ASSERT_TRUE(source.ok());
    // The blocks of two epochs, as sets: the order is another in each.
    std::set<std::vector<int32_t>> epochs[2];
    for (int64_t epoch = 0; epoch < 2; ++epoch) {
      for (int64_t i = 0; i < (*source)->batches(); ++i)
        epochs[epoch].insert(Values((*source)->Get(epoch, i)->input.ids));
    }
    EXPECT_EQ(epochs[0] == epochs[1], is_static);
  }
}

TEST(PackMasked, RowsPointAtTheHiddenTokens) {
  auto source = PackMasked(Documents(std::vector<int>(40, 23)), Special(), Options(4, 32), {});
  ASSERT_TRUE(source.ok());
  const auto batch = (*source)->Get(0, 0);
  ASSERT_TRUE(batch.ok());
  const auto ids = Values(batch->input.ids), rows = Values(batch->input.rows),
             targets = Values(batch->targets);
  EXPECT_EQ(static_cast<int64_t>(rows.size()), batch->target_count);
  EXPECT_EQ(rows.size(), targets.size());
  const auto masks = std::count(ids.begin(), ids.end(), kMaskId);
  const auto hit =
      std::count_if(rows.begin(), rows.end(), [&](int32_t row) { return ids[row] == kMaskId; });
  EXPECT_EQ(masks, hit);
  for (int64_t b = 0; b < 4; ++b) {
    EXPECT_EQ(ids[b * 32], kCls);
    EXPECT_EQ(ids[b * 32 + 31], kSep);
  }
}

TEST(BucketClasses, ShowsEachTextOnceAnEpochWithLittlePadding) {
  std::vector<int> lengths;
  for (int i = 0; i < 300; ++i) lengths.push_back(1 + (i * 37) % 60);
  auto source = BucketClasses(Documents(lengths), Special(), Options(8, 64));
  ASSERT_TRUE(source.ok());
  int64_t texts = 0, real = 0, cells = 0;
  for (int64_t i = 0; i < (*source)->batches(); ++i) {
    const auto batch = (*source)->Get(0, i);
    ASSERT_TRUE(batch.ok());
    texts += batch->input.ids.dim(0);
    real += batch->tokens;
    cells += batch->input.ids.elements();
    const uint8_t* mask = static_cast<const uint8_t*>(batch->input.attention_mask.data());
    int64_t masked = 0;
    for (int64_t c = 0; c < batch->input.ids.elements(); ++c) {
      masked += mask[c];
      EXPECT_EQ(mask[c] == 0, batch->input.ids.i32()[c] == kPad);
    }
    EXPECT_EQ(masked, batch->tokens);
  }
  EXPECT_EQ(texts, 300);
  EXPECT_LT(cells, real * 12 / 10);
}

TEST(BucketClasses, CutsLongTextsAndRefusesUnlabelledOnes) {
  auto source = BucketClasses(Documents({100}), Special(), Options(8, 16));
  ASSERT_TRUE(source.ok());
  const auto batch = (*source)->Get(0, 0);
  EXPECT_EQ(batch->tokens, 16);
  EXPECT_EQ(Values(batch->input.ids).back(), kSep);
  TokenizedDocuments unlabelled = Documents({3});
  unlabelled.labels[0] = -1;
  EXPECT_FALSE(BucketClasses(unlabelled, Special(), Options(8, 16)).ok());
}

TEST(PairSentences, HalfOfThePairsFollowAndTheRestComeFromElsewhere) {
  // Document d's sentences all hold the token 5 + d, so that a stranger shows.
  TokenizedDocuments sentences;
  std::vector<int64_t> begins = {0};
  for (int32_t d = 0; d < 80; ++d) {
    for (int s = 0; s < 12; ++s) {
      sentences.ids.insert(sentences.ids.end(), 6, 5 + d);
      sentences.begins.push_back(static_cast<int64_t>(sentences.ids.size()));
      sentences.labels.push_back(-1);
      sentences.sources.push_back(0);
    }
    begins.push_back(sentences.size());
  }
  const MaskOptions mask;
  auto source = PairSentences(sentences, begins, Special(), Options(4, 40), &mask);
  ASSERT_TRUE(source.ok());
  int64_t pairs = 0, strangers = 0;
  for (int64_t i = 0; i < (*source)->batches(); ++i) {
    const auto batch = (*source)->Get(0, i);
    ASSERT_TRUE(batch.ok());
    const int64_t width = batch->input.ids.dim(1);
    ASSERT_LE(width, 40);
    EXPECT_GT(batch->target_count, 0);
    for (int64_t b = 0; b < batch->input.ids.dim(0); ++b) {
      const int32_t* ids = batch->input.ids.i32() + b * width;
      const int32_t* types = batch->input.token_type_ids.i32() + b * width;
      std::map<int32_t, int> first, second;
      for (int64_t t = 0; t < width; ++t) {
        if (ids[t] >= 5) ++(types[t] == 0 ? first : second)[ids[t]];
      }
      ASSERT_FALSE(first.empty());
      ASSERT_FALSE(second.empty());
      const auto most = [](const std::map<int32_t, int>& counts) {
        return std::max_element(counts.begin(), counts.end(),
                                [](auto& a, auto& b) { return a.second < b.second; })
            ->first;
      };
      const int32_t label = batch->next_sentence.i32()[b];
      EXPECT_EQ(label == 0, most(first) == most(second));
      ++pairs;
      strangers += label;
    }
  }
  EXPECT_NEAR(static_cast<double>(strangers) / static_cast<double>(pairs), 0.5, 0.1);
}

TEST(SplitSentences, CutsAtStopsAndLineBreaksOnly) {
  EXPECT_EQ(SplitSentences("He said \"Go!\" She went. Pi is 3.14\nNew line?"),
            (std::vector<std::string>{"He said \"Go!\"", "She went.", "Pi is 3.14", "New line?"}));
  EXPECT_TRUE(SplitSentences("  \n ").empty());
}

// Pairs of the given lengths; source d's tokens are 5 + d, its target's 55 + d and the end.
TokenizedDocuments Pairs(const std::vector<std::pair<int, int>>& lengths) {
  TokenizedDocuments pairs;
  for (size_t d = 0; d < lengths.size(); ++d) {
    const auto [source, target] = lengths[d];
    pairs.ids.insert(pairs.ids.end(), static_cast<size_t>(source), static_cast<int32_t>(5 + d));
    pairs.begins.push_back(static_cast<int64_t>(pairs.ids.size()));
    pairs.target_ids.insert(pairs.target_ids.end(), static_cast<size_t>(target),
                            static_cast<int32_t>(55 + d));
    pairs.target_ids.push_back(kSep);
    pairs.target_begins.push_back(static_cast<int64_t>(pairs.target_ids.size()));
    pairs.labels.push_back(-1);
    pairs.sources.push_back(0);
  }
  return pairs;
}

SpecialIds PairSpecial() {
  SpecialIds special;
  special.pad = kPad, special.start = kCls, special.end = kSep;
  return special;
}

TEST(BucketPairs, TheDecoderIsFedTheTargetOneToTheRightAndPaddingIsNoTarget) {
  auto source = BucketPairs(Pairs({{3, 1}, {2, 3}}), PairSpecial(), Options(2, 16));
  ASSERT_TRUE(source.ok()) << source.status().message();
  const auto batch = (*source)->Get(-1, 0);
  ASSERT_TRUE(batch.ok());
  constexpr int32_t kNone = -100, P = kPad;
  EXPECT_EQ(Values(batch->input.ids),
            (std::vector<int32_t>{5, 5, 5, P, P, P, P, P, 6, 6, P, P, P, P, P, P}));
  EXPECT_EQ(Values(batch->input.decoder_ids),
            (std::vector<int32_t>{kCls, 55, P, P, P, P, P, P, kCls, 56, 56, 56, P, P, P, P}));
  EXPECT_EQ(Values(batch->targets),
            (std::vector<int32_t>{55, kSep, kNone, kNone, kNone, kNone, kNone, kNone, 56, 56, 56,
                                  kSep, kNone, kNone, kNone, kNone}));
  const auto* mask = static_cast<const uint8_t*>(batch->input.attention_mask.data());
  EXPECT_EQ((std::vector<uint8_t>(mask, mask + 16)),
            (std::vector<uint8_t>{1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(batch->target_count, 6);
  EXPECT_EQ(batch->tokens, 11);
}

TEST(BucketPairs, LikeLengthsMeetAndEachPairComesOnceAnEpoch) {
  std::vector<std::pair<int, int>> lengths;
  for (int i = 0; i < 40; ++i) lengths.emplace_back(1 + i * 7 % 40, 1 + i * 7 % 40);
  auto source = BucketPairs(Pairs(lengths), PairSpecial(), Options(4, 64));
  ASSERT_TRUE(source.ok());
  std::multiset<int32_t> first, second;
  int64_t width = 0;
  for (int64_t i = 0; i < (*source)->batches(); ++i) {
    const auto batch = (*source)->Get(0, i), next = (*source)->Get(1, i);
    width += batch->input.ids.dim(1);
    for (int64_t r = 0; r < 4; ++r) {
      first.insert(batch->input.ids.i32()[r * batch->input.ids.dim(1)]);
      second.insert(next->input.ids.i32()[r * next->input.ids.dim(1)]);
    }
  }
  EXPECT_EQ(first.size(), 40u);
  EXPECT_EQ(std::set<int32_t>(first.begin(), first.end()).size(), 40u);
  EXPECT_EQ(first, second);
  EXPECT_LT(width, 10 * 28);  // 40 in each batch if lengths met at random
  EXPECT_FALSE(BucketPairs(Pairs({}), PairSpecial(), Options(4, 64)).ok());
}

TEST(SpecialIds, AConfigThatNamesNoEndOrStartIsRefused) {
  EXPECT_FALSE(SpecialIdsOf(*Json::Parse(R"({"eos_token_id": 2})")).ok());
  EXPECT_FALSE(SpecialIdsOf(*Json::Parse(R"({"decoder_start_token_id": 2})")).ok());
  const auto ids = SpecialIdsOf(
      *Json::Parse(R"({"eos_token_id": [7, 8], "bos_token_id": 3, "pad_token_id": 1})"));
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->end, 7);
  EXPECT_EQ(ids->start, 3);
  EXPECT_EQ(ids->pad, 1);
}

}  // namespace
}  // namespace sotto
