// Choosing tokens against Hugging Face's generate: ids for many settings, and what single
// processors leave; and how options are read.
#include <gtest/gtest.h>

#include <malloc.h>

#include <cmath>
#include <filesystem>
#include <set>
#include <tuple>

#include "core/base/file.h"
#include "core/io/model_folder.h"
#include "core/run/token_search.h"

namespace sotto {
namespace {

const std::string kGolden = SOTTO_SOURCE_DIR "/tests/golden/";

Json Parsed(std::string_view text) {
  Result<Json> json = Json::Parse(text);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return *json;
}

Json ReadGolden(const std::string& name) {
  Result<std::string> text = ReadFile(kGolden + name);
  EXPECT_TRUE(text.ok()) << text.status().message();
  return Parsed(*text);
}

std::unique_ptr<Model> OpenModel(const std::string& name,
                                 WeightFormat format = WeightFormat::kAsStored) {
  Result<ModelFiles> files = OpenModelFolder(kGolden + "models/" + name);
  EXPECT_TRUE(files.ok()) << files.status().message();
  Result<std::unique_ptr<Model>> model = CreateModel(Parsed(files->config));
  EXPECT_TRUE(model.ok()) << model.status().message();
  LoadOptions options;
  options.format = format;
  const Status loaded = LoadWeights(**model, files->tensors, options);
  EXPECT_TRUE(loaded.ok()) << loaded.message();
  return *std::move(model);
}

std::vector<int32_t> Ids(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list.items()) ids.push_back(static_cast<int32_t>(id.as_int()));
  return ids;
}

GenerationOptions Options(const Json& options, const Json& config = Json::Object({})) {
  const auto read = GenerationOptions::Read(options, {}, config, 20);
  EXPECT_TRUE(read.ok()) << read.status().message() << " for " << options.Dump();
  return *read;
}

std::unique_ptr<TokenSearch> Finished(const Model& model, std::vector<int32_t> ids,
                                      std::vector<int32_t> decoder_ids,
                                      const GenerationOptions& options) {
  auto search = TokenSearch::Start(model, nullptr, std::move(ids), std::move(decoder_ids), options);
  EXPECT_TRUE(search.ok()) << search.status().message();
  for (bool done = false; !done;) {
    const auto step = (*search)->Next();
    EXPECT_TRUE(step.ok()) << step.status().message();
    done = !step.ok() || step->done;
  }
  return *std::move(search);
}

std::vector<std::string> GoldenModels() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden + "generation"))
    names.insert(entry.path().stem().string());
  return {names.begin(), names.end()};
}

class GoldenGeneration : public testing::TestWithParam<std::string> {};

TEST_P(GoldenGeneration, GivesTheIdsThatHuggingFaceGives) {
  const std::unique_ptr<Model> model = OpenModel(GetParam());
  const Json golden = ReadGolden("generation/" + GetParam() + ".json");
  for (const Json& one : golden["cases"].items()) {
    SCOPED_TRACE(one["options"].Dump());
    const auto search = Finished(*model, Ids(one["input_ids"]), Ids(one["decoder_input_ids"]),
                                 Options(one["options"], model->config()));
    std::vector<std::vector<int32_t>> expected;
    for (const Json& row : one["sequences"].items()) expected.push_back(Ids(row));
    EXPECT_EQ(search->Matrix(), expected);
    for (size_t i = 0; i < one["scores"].items().size(); ++i) {
      const double score = one["scores"].items()[i].as_number();
      EXPECT_NEAR(search->sequences()[i].score, score, 1e-4 + 1e-6 * std::fabs(score));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenGeneration, testing::ValuesIn(GoldenModels()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(LogitsProcessors, LeaveTheProbabilitiesThatHuggingFaceLeaves) {
  const Json golden = ReadGolden("logits_processors.json");
  const std::vector<int32_t> ids = Ids(golden["ids"]);
  std::vector<float> logits;
  for (const Json& x : golden["logits"].items())
    logits.push_back(static_cast<float>(x.as_number()));
  for (const Json& one : golden["cases"].items()) {
    std::vector<Json::Member> members = one["options"].members();
    members.emplace_back("do_sample", Json::Bool(true));
    if (!one["options"].has("top_k")) members.emplace_back("top_k", Json::Int(0));
    const GenerationOptions options = Options(Json::Object(members));
    const int64_t prompt = one["prompt"].as_int();
    Sampler sampler(LogitsProcessors(
        options.logits, {.prompt_tokens = prompt,
                         .max_length = 30,
                         .num_beams = options.num_beams,
                         .eos_tokens = options.eos_token_ids,
                         .source = std::vector<int32_t>(ids.begin(), ids.begin() + prompt)}));
    std::vector<float> actual(logits.size());
    for (const auto& [id, p] : sampler.Distribution(logits, ids)) actual[id] = p;
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_NEAR(actual[i], one["probabilities"].items()[i].as_number(), 1e-5)
          << one["options"].Dump() << " id " << i;
    }
  }
}

// The warpers by their definitions, over all tokens in order.
std::vector<std::pair<int32_t, float>> WarpedByDefinition(std::vector<float> scores,
                                                          const LogitsOptions& o) {
  std::vector<std::pair<int32_t, float>> kept;
  for (size_t i = 0; i < scores.size(); ++i)
    kept.emplace_back(static_cast<int32_t>(i), scores[i] / o.temperature);
  std::stable_sort(kept.begin(), kept.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (o.top_k > 0 && static_cast<size_t>(o.top_k) < kept.size()) {
    size_t count = static_cast<size_t>(o.top_k);
    while (count < kept.size() && kept[count].second == kept[count - 1].second) ++count;
    kept.resize(count);
  }
  const auto probabilities = [&] {
    std::vector<double> p;
    double sum = 0;
    for (const auto& [id, score] : kept)
      sum += p.emplace_back(std::exp(static_cast<double>(score) - kept.front().second));
    for (double& x : p) x /= sum;
    return p;
  };
  if (o.top_p < 1) {
    const std::vector<double> p = probabilities();
    size_t count = 0;
    for (double reached = 0; count < p.size() && reached < static_cast<double>(o.top_p);)
      reached += p[count++];
    kept.resize(std::max<size_t>(count, 1));
  }
  if (o.min_p > 0) {
    const std::vector<double> p = probabilities();
    size_t count = 1;
    while (count < p.size() && p[count] >= static_cast<double>(o.min_p) * p[0]) ++count;
    kept.resize(count);
  }
  return kept;
}

TEST(LogitsProcessors, KeepOfALongVocabularyWhatTheyKeepByDefinition) {
  Random random(3);
  for (const float spread : {0.0f, 0.3f, 3.0f, 12.0f}) {
    std::vector<float> scores(20011);
    for (float& x : scores) x = spread * random.NextNormal();
    for (size_t i = 0; i < 40; ++i) scores[i * 7] = 2 * spread;  // that tie
    for (const LogitsOptions& o :
         std::vector<LogitsOptions>{{.top_k = 50},
                                    {.top_k = 1},
                                    {.top_k = 20, .top_p = 0.5f},
                                    {.temperature = 0.7f, .top_k = 30000, .top_p = 0.9f},
                                    {.temperature = 1.4f, .top_p = 0.95f},
                                    {.top_p = 0.999f},
                                    {.min_p = 0.05f},
                                    {.top_p = 0.8f, .min_p = 0.01f},
                                    {}}) {
      std::vector<float> warped = scores;
      const auto got = LogitsProcessors(o, {}).Warp(warped);
      const auto want = WarpedByDefinition(scores, o);
      // Where probability is summed, rounding decides about one or the other token at the end.
      const size_t slack = o.top_p < 1 ? 2 : 0;
      ASSERT_NEAR(static_cast<double>(got.size()), static_cast<double>(want.size()),
                  static_cast<double>(slack) + 1e-4 * static_cast<double>(want.size() * slack))
          << spread << " " << o.top_k << " " << o.top_p << " " << o.min_p;
      for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) ASSERT_EQ(got[i], want[i]);
    }
  }
}

TEST(TokenSearch, SeveralDrawsAreWhatEachSeedStreamDrawsAlone) {
  const auto model = OpenModel("llama");
  const std::vector<int32_t> ids{5, 9, 31};
  const auto draw = [&](const char* options) {
    return Finished(*model, ids, {}, Options(Parsed(options)))->Matrix();
  };
  const auto three = draw(
      R"({"do_sample": true, "seed": 4, "num_return_sequences": 3, "temperature": 2, "eos_token_id": 7,
          "max_new_tokens": 30})");
  ASSERT_EQ(three.size(), 3u);
  EXPECT_NE(three[0], three[1]);
  EXPECT_NE(three[1], three[2]);
  const auto one = draw(R"({"do_sample": true, "seed": 4, "temperature": 2, "eos_token_id": 7,
               "max_new_tokens": 30})");
  EXPECT_TRUE(std::equal(one[0].begin(), one[0].end(), three[0].begin()));
}

TEST(TokenSearch, BeamsDrawnWithASeedComeAgainAndWithAnotherOneDiffer) {
  const auto model = OpenModel("gpt2");
  const auto draw = [&](int64_t seed) {
    const Json options = Json::Object({{"do_sample", Json::Bool(true)},
                                       {"num_beams", Json::Int(3)},
                                       {"temperature", Json::Number(3)},
                                       {"top_k", Json::Int(0)},
                                       {"seed", Json::Int(seed)}});
    return Finished(*model, {3, 4, 5}, {}, Options(options))->Matrix();
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

// With one draw a step from beams that never merge, the first token's frequencies are the model's.
TEST(TokenSearch, BeamsAreDrawnAsOftenAsTheProbabilitySays) {
  const auto model = OpenModel("gpt2");
  const std::vector<int32_t> ids{3, 4, 5};
  std::vector<int> counts(97);
  constexpr int kDraws = 600;
  for (int seed = 0; seed < kDraws; ++seed) {
    GenerationOptions options = Options(Parsed(
        R"({"do_sample": true, "num_beams": 2, "top_k": 0, "max_new_tokens": 1, "length_penalty": 0})"));
    options.seed = static_cast<uint64_t>(seed);
    const auto search = Finished(*model, ids, {}, options);
    ++counts[search->sequences().front().ids.front()];
  }
  // Of two drawn the likelier one is returned: P = p^2 + sum over less likely b of
  // p b / (1 - p) + b p / (1 - b), without replacement and so without the square.
  auto search = *TokenSearch::Start(*model, nullptr, ids, {},
                                    Options(Parsed(R"({"max_new_tokens": 1, "output_logprobs": true,
                                                       "top_logprobs": 97})")));
  const auto top = (*search->Next()).score->top;
  ASSERT_EQ(top.size(), 97u);
  for (size_t i = 0; i < 3; ++i) {
    const double p = std::exp(top[i].second);
    double expected = 0;
    for (size_t j = i + 1; j < top.size(); ++j) {
      const double q = std::exp(top[j].second);
      expected += p * q / (1 - p) + q * p / (1 - q);
    }
    EXPECT_NEAR(counts[top[i].first] / static_cast<double>(kDraws), expected,
                4 * std::sqrt(expected * (1 - expected) / kDraws) + 1e-3)
        << i;
  }
}

TEST(TokenSearch, GivesTheLogProbabilitiesOfTheModelWhateverTheProcessorsDo) {
  const auto model = OpenModel("gpt2");
  const auto search = Finished(
      *model, {3, 4, 5}, {},
      Options(Parsed(
          R"({"output_logprobs": true, "top_logprobs": 4, "max_new_tokens": 5, "repetition_penalty": 2.0})")));
  const TokenSearch::Sequence& text = search->sequences().front();
  ASSERT_EQ(text.scores.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    const TokenScore& score = text.scores[i];
    EXPECT_LT(score.logprob, 0);
    ASSERT_EQ(score.top.size(), 4u);
    EXPECT_GE(score.top[0].second, score.logprob);
    double sum = 0;
    for (const auto& [id, logprob] : score.top) sum += std::exp(logprob);
    EXPECT_LT(sum, 1 + 1e-6);
  }
  const auto beams = Finished(
      *model, {3, 4, 5}, {},
      Options(Parsed(R"({"output_logprobs": true, "num_beams": 3, "max_new_tokens": 5})")));
  double sum = 0;
  for (const TokenScore& score : beams->sequences().front().scores) sum += score.logprob;
  EXPECT_NEAR(beams->sequences().front().score, sum / 5, 1e-4);
}

TEST(TokenSearch, ACacheOfFewerBitsMovesProbabilitiesLittle) {
  for (const char* name : {"gpt2", "mistral", "bart"}) {
    const auto model = OpenModel(name);
    for (const char* settings :
         {R"("max_new_tokens": 8)",
          R"("max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 3)"}) {
      const auto run = [&](const char* dtype) {
        const std::string options = StrCat("{", settings, R"(, "output_logprobs": true,
            "decoder_start_token_id": 2, "cache_dtype": ")",
                                           dtype, R"("})");
        return Finished(*model, {3, 4, 5, 6, 7}, {}, Options(Parsed(options)))->sequences();
      };
      const auto plain = run("fp32");
      for (const auto& [dtype, tolerance] : {std::pair("fp16", 3e-3), std::pair("q8", 5e-2)}) {
        SCOPED_TRACE(StrCat(name, " ", dtype, " ", settings));
        const auto rounded = run(dtype);
        ASSERT_EQ(rounded.size(), plain.size());
        for (size_t t = 0; t < plain[0].ids.size(); ++t) {
          ASSERT_LT(t, rounded[0].ids.size());
          EXPECT_NEAR(rounded[0].scores[t].logprob, plain[0].scores[t].logprob, tolerance);
          if (rounded[0].ids[t] != plain[0].ids[t]) break;  // from here on another text
        }
        EXPECT_NEAR(rounded[0].score, plain[0].score, tolerance);
      }
    }
  }
}

TEST(TokenSearch, TheCacheIsRoundedUnaskedWhereTheWeightsAre) {
  for (const auto& [format, usual, other] : {std::tuple(WeightFormat::kAsStored, "fp32", "q8"),
                                             std::tuple(WeightFormat::kQ8, "q8", "fp32")}) {
    const auto model = OpenModel("gpt2", format);
    const auto run = [&](const std::string& more) {
      const std::string options = R"({"max_new_tokens": 4, "output_logprobs": true)" + more + "}";
      return Finished(*model, {3, 4, 5, 6, 7}, {}, Options(Parsed(options)))->sequences()[0];
    };
    const auto unasked = run("");
    const auto with = [&](const char* dtype) {
      return run(StrCat(R"(, "cache_dtype": ")", dtype, "\"")).scores.back().logprob;
    };
    EXPECT_EQ(unasked.scores.back().logprob, with(usual));
    EXPECT_NE(unasked.scores.back().logprob, with(other));
  }
}

// Bytes that the program has in use; 0 where the system does not tell.
size_t BytesInUse() {
#if defined(__GLIBC__)
  return mallinfo2().uordblks + mallinfo2().hblkhd;
#else
  return static_cast<size_t>(mallinfo().uordblks);
#endif
}

// A model of random weights with room for long texts.
std::unique_ptr<Model> RandomModel(const char* config) {
  Result<std::unique_ptr<Model>> model = CreateModel(Parsed(config));
  EXPECT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->parameters().Initialize(1, 0.1f).ok());
  return *std::move(model);
}

TEST(TokenSearch, ThousandsOfTokensTakeNoMoreMemoryThanTheirCache) {
  if (BytesInUse() == 0) GTEST_SKIP() << "the allocator does not tell what is in use";
  constexpr int64_t kTokens = 3000, kEarly = 100;
  struct Long {
    const char* config;
    int64_t row;  // bytes of the cache for a token, at 32 bits
  };
  for (const Long& one : {
           Long{R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 90,
                    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                    "num_attention_heads": 2, "max_position_embeddings": 4096})",
                2 * 2 * 16 * 4},
           Long{R"({"model_type": "mamba", "architectures": ["MambaForCausalLM"], "vocab_size": 90,
                    "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4})",
                0},
           Long{R"({"model_type": "rwkv", "architectures": ["RwkvForCausalLM"], "vocab_size": 90,
                    "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16})",
                0},
       }) {
    SCOPED_TRACE(one.config);
    const auto model = RandomModel(one.config);
    for (const char* settings : {R"("do_sample": false)", R"("do_sample": true, "top_p": 0.9)",
                                 R"("do_sample": true, "repetition_penalty": 1.2)"}) {
      auto search = TokenSearch::Start(
          *model, nullptr, {1, 2, 3}, {},
          Options(Parsed(StrCat("{\"eos_token_id\": null, \"max_new_tokens\": ", kTokens, ", ",
                                settings, "}"))));
      ASSERT_TRUE(search.ok()) << search.status().message();
      size_t early = 0;
      for (int64_t t = 1; t < kTokens; ++t) {
        const auto step = (*search)->Next();
        ASSERT_TRUE(step.ok() && !step->done);
        if (t == kEarly) early = BytesInUse();
      }
      // The ids themselves grow, twice, by doubling.
      const int64_t grown = static_cast<int64_t>(BytesInUse()) - static_cast<int64_t>(early);
      EXPECT_LT(grown, (kTokens - 64) * one.row + 48 * 1024) << settings;
    }
  }
}

TEST(TokenSearch, ASearchThatIsOverSaysSo) {
  const auto model = OpenModel("gpt2");
  for (const char* options : {"{}", R"({"num_beams": 2})"}) {
    const auto search = Finished(*model, {3}, {}, Options(Parsed(options)));
    EXPECT_FALSE(search->Next().ok());
  }
}

TEST(TokenSearch, WhatCannotBeginIsRefused) {
  const auto model = OpenModel("gpt2");
  const auto refused = [&](std::vector<int32_t> ids, std::vector<int32_t> decoder_ids,
                           const char* options) {
    const auto search = TokenSearch::Start(*model, nullptr, std::move(ids), std::move(decoder_ids),
                                           Options(Parsed(options)));
    return search.status().message();
  };
  EXPECT_NE(refused({}, {}, "{}").find("no ids"), std::string::npos);
  EXPECT_NE(refused({1}, {2}, "{}").find("encoder"), std::string::npos);
  EXPECT_NE(refused({1, 2, 3}, {}, R"({"max_length": 3})").find("max_length"), std::string::npos);
  EXPECT_NE(refused({1}, {}, R"({"forced_bos_token_id": 97})").find("97"), std::string::npos);
  EXPECT_NE(refused(std::vector<int32_t>(48, 1), {}, "{}").find("48"), std::string::npos);
  const auto bert = OpenModel("bert");
  EXPECT_FALSE(TokenSearch::Start(*bert, nullptr, {1}, {}, Options(Parsed("{}"))).ok());
}

// --- Options ---

std::string WhyNot(const char* options, const char* generation_config = "null",
                   const char* config = "{}") {
  return GenerationOptions::Read(Parsed(options), Parsed(generation_config), Parsed(config), 20)
      .status()
      .message();
}

TEST(GenerationOptions, AnUnknownOneIsNamed) {
  EXPECT_NE(WhyNot(R"({"num_beans": 4})").find("num_beans"), std::string::npos);
  EXPECT_EQ(WhyNot("{}", R"({"num_beans": 4})"), "");
}

TEST(GenerationOptions, OneThatIsNotImplementedIsNamedWhereverItStands) {
  const auto code = [](const char* options, const char* model) {
    return GenerationOptions::Read(Parsed(options), Parsed(model), Parsed("{}"), 20)
        .status()
        .code();
  };
  for (const char* o : {R"({"guidance_scale": 1.5})", R"({"num_beam_groups": 2})",
                        R"({"penalty_alpha": 0.6})", R"({"stop_strings": ["x"]})"}) {
    EXPECT_EQ(code(o, "null"), StatusCode::kUnsupported) << o;
    EXPECT_EQ(code("{}", o), StatusCode::kUnsupported) << o;
  }
  EXPECT_EQ(code(R"({"use_cache": false})", "null"), StatusCode::kUnsupported);
  EXPECT_EQ(code("{}", R"({"use_cache": false, "output_scores": true})"), StatusCode::kOk);
  EXPECT_EQ(code(R"({"guidance_scale": 1.0, "num_beam_groups": 1, "use_cache": true})",
                 R"({"diversity_penalty": 0.0, "stop_strings": null})"),
            StatusCode::kOk);
}

TEST(GenerationOptions, WrongValuesAreNamedWithTheFileTheyStandIn) {
  for (const char* o :
       {R"({"num_beams": 0})", R"({"num_beams": "four"})", R"({"early_stopping": "always"})",
        R"({"eos_token_id": "</s>"})", R"({"eos_token_id": -1})", R"({"bad_words_ids": [[]]})",
        R"({"bad_words_ids": [1, 2]})", R"({"sequence_bias": [[1], 2.0]})",
        R"({"exponential_decay_length_penalty": 3})", R"({"top_p": 1.5})", R"({"top_k": 1.5})",
        R"({"typical_p": 0})", R"({"temperature": 0})", R"({"max_new_tokens": 0})",
        R"({"cache_dtype": "int4"})", R"({"do_sample": 1})", R"({"stop": [""]})",
        R"({"forced_bos_token_id": [1]})"}) {
    const std::string key = Parsed(o).members().front().first;
    EXPECT_NE(WhyNot(o).find(key), std::string::npos) << o << ": " << WhyNot(o);
  }
  EXPECT_NE(WhyNot("{}", R"({"num_beams": 0})").find("generation_config.json"), std::string::npos);
  EXPECT_NE(WhyNot("{}", "null", R"({"num_beams": 0})").find("config.json"), std::string::npos);
  EXPECT_EQ(WhyNot("{}", R"({"pad_token_id": -1})"), "");
}

TEST(GenerationOptions, ThoseOfACallWinOverTheModelsAndThoseOverTheDefaults) {
  const auto read = [](const char* options, const char* generation_config, const char* config) {
    return *GenerationOptions::Read(Parsed(options), Parsed(generation_config), Parsed(config), 20);
  };
  const char* model = R"({"num_beams": 4, "top_k": 7, "eos_token_id": [3, 4], "max_length": 50})";
  const GenerationOptions o = read(R"({"num_beams": 2})", model, R"({"length_penalty": 2.0})");
  EXPECT_EQ(o.num_beams, 2);
  EXPECT_EQ(o.logits.top_k, 7);
  EXPECT_EQ(o.eos_token_ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(o.max_length, 50);
  EXPECT_EQ(o.length_penalty, 1);  // config.json counts only where there is no other file
  EXPECT_EQ(read("{}", "null", R"({"length_penalty": 2.0})").length_penalty, 2);
  EXPECT_EQ(read("{}", "null", R"({"text_config": {"eos_token_id": 5}})").eos_token_ids.front(), 5);
  EXPECT_EQ(read("{}", "null", "{}").logits.top_k, 50);
  EXPECT_EQ(read(R"({"top_k": null})", model, "{}").logits.top_k, 0);
  EXPECT_TRUE(read(R"({"eos_token_id": null})", model, "{}").eos_token_ids.empty());
  EXPECT_EQ(read("{}", "null", R"({"bos_token_id": 6, "force_bos_token_to_be_generated": true})")
                .logits.forced_bos_token_id,
            6);
}

TEST(GenerationOptions, CombinationsThatMakeNoSenseAreRefused) {
  EXPECT_NE(WhyNot(R"({"num_return_sequences": 2})"), "");
  EXPECT_NE(WhyNot(R"({"num_return_sequences": 3, "num_beams": 2})"), "");
  EXPECT_NE(WhyNot(R"({"stop": "x", "num_beams": 2})"), "");
  EXPECT_NE(WhyNot(R"({"top_logprobs": 2})"), "");
}

}  // namespace
}  // namespace sotto
