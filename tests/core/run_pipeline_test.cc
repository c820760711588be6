// Sampling and the pipelines against Hugging Face's, and what they do at the edges.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "core/base/file.h"
#include "core/base/utf8.h"
#include "core/run/pipeline.h"
#include "core/run/sampler.h"

namespace sotto {
namespace {

Json ReadGolden(const std::string& name) {
  Result<std::string> text = ReadFile(SOTTO_SOURCE_DIR "/tests/golden/" + name);
  EXPECT_TRUE(text.ok()) << text.status().message();
  Result<Json> json = Json::Parse(*text);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return *json;
}

void ExpectSame(const Json& actual, const Json& expected, const std::string& at) {
  ASSERT_EQ(actual.kind(), expected.kind())
      << at << ": " << actual.Dump() << " for " << expected.Dump();
  if (expected.is_number()) {
    ASSERT_NEAR(actual.as_number(), expected.as_number(),
                1e-4 * (1 + std::fabs(expected.as_number())))
        << at;
  } else if (expected.is_array()) {
    ASSERT_EQ(actual.items().size(), expected.items().size()) << at;
    for (size_t i = 0; i < expected.items().size(); ++i)
      ExpectSame(actual.items()[i], expected.items()[i], StrCat(at, "[", i, "]"));
  } else if (expected.is_object()) {
    ASSERT_EQ(actual.members().size(), expected.members().size()) << at;
    for (const auto& [key, value] : expected.members())
      ExpectSame(actual[key], value, StrCat(at, ".", key));
  } else {
    ASSERT_EQ(actual.Dump(), expected.Dump()) << at;
  }
}

std::unique_ptr<Pipeline> Open(const std::string& folder, const std::string& task) {
  Result<ModelFiles> files = OpenModelFolder(SOTTO_SOURCE_DIR "/tests/golden/pipelines/" + folder);
  EXPECT_TRUE(files.ok()) << files.status().message();
  Result<std::unique_ptr<Pipeline>> pipeline =
      Pipeline::Load(task, *std::move(files), {.threads = 2});
  EXPECT_TRUE(pipeline.ok()) << pipeline.status().message();
  return *std::move(pipeline);
}

class GoldenPipeline : public testing::TestWithParam<const char*> {};

TEST_P(GoldenPipeline, ReturnsWhatHuggingFaceReturns) {
  const Json golden = ReadGolden(StrCat("pipelines/", GetParam(), "/cases.json"));
  const std::unique_ptr<Pipeline> pipeline = Open(GetParam(), golden["task"].as_string());
  for (const Json& one : golden["cases"].items()) {
    const Result<Json> output = pipeline->Run(one["input"], one["options"]);
    ASSERT_TRUE(output.ok()) << output.status().message() << " for " << one["input"].Dump();
    ExpectSame(*output, one["output"], one["input"].Dump() + " " + one["options"].Dump());
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenPipeline,
                         testing::Values("text-classification", "text-classification-multi-label",
                                         "fill-mask", "feature-extraction", "sentence-embedding",
                                         "text-generation", "text2text-generation",
                                         "translation-m2m-100", "translation-mbart",
                                         "translation-marian"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

std::string SentenceFolder() {
  return SOTTO_SOURCE_DIR "/tests/golden/pipelines/sentence-embedding";
}

// Why the changed files of the golden model give no sentence's vector.
std::string SentenceError(const std::function<void(ModelFiles&)>& change, const char* options) {
  ModelFiles files = *OpenModelFolder(SentenceFolder());
  change(files);
  Result<std::unique_ptr<Pipeline>> pipeline =
      Pipeline::Load("feature-extraction", std::move(files), {});
  if (!pipeline.ok()) return pipeline.status().message();
  return (*pipeline)->Run(Json::String("A boat."), *Json::Parse(options)).status().message();
}

TEST(SentenceModules, WhatIsNotImplementedIsAnErrorThatNamesIt) {
  const char* asks = R"({"sentence_embedding": true})";
  const auto of = [&](const std::string& file, const std::string& text) {
    return SentenceError([&](ModelFiles& files) { EXPECT_TRUE(files.SetText(file, text)); }, asks);
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  EXPECT_EQ(SentenceError([](ModelFiles&) {}, asks), "");
  const auto modules = [&](const std::string& last) {
    return of("modules.json",
              StrCat(R"([{"type": "sentence_transformers.models.Transformer", "path": ""},
                         {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"})",
                     last, "]"));
  };
  EXPECT_EQ(modules(""), "");
  expect(modules(R"(, {"type": "sentence_transformers.models.CNN", "path": "2_CNN"})"),
         "models.CNN");
  expect(modules(R"(, {"type": "own_code.Dense", "path": "2_Dense"})"), "own_code.Dense");
  expect(modules(R"(, {"type": "sentence_transformers.models.Dense", "path": "../x"})"), "path");
  expect(of("modules.json", "{}"), "modules.json");
  expect(of("modules.json", R"([{"type": "sentence_transformers.models.BoW", "path": ""}])"),
         "models.BoW");
  expect(
      of("modules.json", R"([{"type": "sentence_transformers.models.Transformer", "path": ""}])"),
      "Pooling");
  expect(of("1_Pooling/config.json", R"({"pooling_mode_first_and_last": true})"),
         "pooling_mode_first_and_last");
  expect(of("1_Pooling/config.json", R"({"word_embedding_dimension": 5})"),
         "word_embedding_dimension");
  expect(of("1_Pooling/config.json", R"({"pooling_mode": "attention"})"), "attention");
  expect(of("2_Dense/config.json", R"({"in_features": 3, "out_features": 20})"), "in_features");
  const std::string dense = *ReadFile(SentenceFolder() + "/2_Dense/config.json");
  std::string other = dense;
  other.replace(other.find("Tanh"), 4, "Mish");
  expect(of("2_Dense/config.json", other), "Mish");
  expect(of("sentence_bert_config.json", R"({"max_seq_length": 0})"), "max_seq_length");
  expect(of("sentence_bert_config.json", R"({"tokenizer_args": {}})"), "tokenizer_args");
  expect(of("config_sentence_transformers.json", R"({"model_type": "SparseEncoder"})"),
         "SparseEncoder");
  expect(of("config_sentence_transformers.json", R"({"default_prompt_name": "none"})"), "none");
  expect(SentenceError([](ModelFiles& f) { f.sentence_tensors.erase("2_Dense"); }, asks),
         "pytorch_model.bin");
  expect(SentenceError([](ModelFiles& f) { f.sentence_texts.clear(); }, asks),
         "choose a 'pooling'");
}

TEST(SentenceModules, OptionsThatMakeNoSenseAreErrors) {
  const auto error = [](const char* options) { return SentenceError([](ModelFiles&) {}, options); };
  EXPECT_NE(error(R"({"sentence_embedding": true, "pooling": "mean"})").find("'pooling'"),
            std::string::npos);
  EXPECT_NE(error(R"({"prompt": "x"})").find("'prompt'"), std::string::npos);
  EXPECT_NE(error(R"({"pooling": "median"})").find("weightedmean"), std::string::npos);
  EXPECT_NE(error(R"({"sentence_embedding": true, "prompt_name": "x"})")
                .find("known are query, document, spaced"),
            std::string::npos);
  EXPECT_NE(error(R"({"sentence_embedding": true, "truncate_dim": 0})").find("truncate_dim"),
            std::string::npos);
}

// The modes of the golden model's pooling are joined in this order.
TEST(SentenceModules, EveryPoolingCanBeAskedForByItsName) {
  const auto p = Open("feature-extraction", "feature-extraction");
  const Json tokens = (*p->Run(Json::String("A quiet river."), {})).items()[0];
  const size_t n = tokens.items().size();
  for (const char* mode : {"cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken"}) {
    const Json options = Json::Object({{"pooling", Json::String(mode)}});
    const Json got = (*p->Run(Json::String("A quiet river."), options)).items()[0];
    for (size_t c = 0; c < got.items().size(); ++c) {
      double sum = 0, weighted = 0, most = -1e9;
      for (size_t t = 0; t < n; ++t) {
        const double x = tokens.items()[t].items()[c].as_number();
        sum += x;
        weighted += static_cast<double>(t + 1) * x;
        most = std::max(most, x);
      }
      const auto count = static_cast<double>(n);
      const std::map<std::string, double> expected = {
          {"cls", tokens.items()[0].items()[c].as_number()},
          {"lasttoken", tokens.items()[n - 1].items()[c].as_number()},
          {"max", most},
          {"mean", sum / count},
          {"mean_sqrt_len", sum / std::sqrt(count)},
          {"weightedmean", weighted / (count * (count + 1) / 2)}};
      EXPECT_NEAR(got.items()[c].as_number(), expected.at(mode), 1e-5) << mode;
    }
  }
}

LogitsOptions OptionsOf(const Json& json) {
  LogitsOptions o{.do_sample = true};
  const auto number = [&](std::string_view key, float fallback) {
    return static_cast<float>(*json.NumberOr(key, fallback));
  };
  o.temperature = number("temperature", 1);
  o.top_k = static_cast<int64_t>(number("top_k", 0));
  o.top_p = number("top_p", 1);
  o.min_p = number("min_p", 0);
  o.repetition_penalty = number("repetition_penalty", 1);
  return o;
}

Sampler SamplerOf(const LogitsOptions& options, uint64_t seed = 0) {
  return Sampler(LogitsProcessors(options, {}), seed);
}

TEST(Sampler, KeepsTheDistributionThatHuggingFaceKeeps) {
  const Json golden = ReadGolden("sampling.json");
  std::vector<int32_t> prefix;
  for (const Json& id : golden["prefix"].items())
    prefix.push_back(static_cast<int32_t>(id.as_int()));
  for (const Json& one : golden["cases"].items()) {
    std::vector<float> logits;
    for (const Json& x : golden["logits"][one["logits"].as_string()].items())
      logits.push_back(static_cast<float>(x.as_number()));
    std::vector<float> actual(logits.size());
    for (const auto& [id, p] : SamplerOf(OptionsOf(one["options"])).Distribution(logits, prefix))
      actual[id] = p;
    for (size_t i = 0; i < actual.size(); ++i) {
      EXPECT_NEAR(actual[i], one["probabilities"].items()[i].as_number(), 1e-5)
          << one["options"].Dump() << " id " << i;
    }
  }
}

TEST(Sampler, DrawsAsOftenAsTheProbabilitySays) {
  Sampler sampler = SamplerOf({.do_sample = true}, 5);
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  int count[3] = {};
  for (int i = 0; i < 20000; ++i) ++count[sampler.Next(logits, {})];
  EXPECT_NEAR(count[0] / 20000.0, 0.5, 0.02);
  EXPECT_NEAR(count[1] / 20000.0, 0.3, 0.02);
  EXPECT_NEAR(count[2] / 20000.0, 0.2, 0.02);
}

TEST(Sampler, PassesOverLogitsThatAreNoNumbers) {
  const std::vector<float> logits{NAN, 1, INFINITY * 0, -INFINITY};
  EXPECT_EQ(SamplerOf({}).Next(logits, {}), 1);
  EXPECT_EQ(SamplerOf({.do_sample = true}).Next(logits, {}), 1);
  const std::vector<float> nothing{NAN, NAN};
  EXPECT_EQ(SamplerOf({.do_sample = true}).Next(nothing, {}), 0);
}

TEST(Sampler, RefusesSettingsThatMakeNoSense) {
  EXPECT_FALSE(LogitsOptions{.temperature = 0}.Validate().ok());
  EXPECT_FALSE(LogitsOptions{.top_p = 0}.Validate().ok());
  EXPECT_FALSE(LogitsOptions{.top_p = 1.5f}.Validate().ok());
  EXPECT_FALSE(LogitsOptions{.min_p = -1}.Validate().ok());
  EXPECT_FALSE(LogitsOptions{.repetition_penalty = 0}.Validate().ok());
  EXPECT_FALSE(LogitsOptions{.temperature = NAN}.Validate().ok());
}

Json Parsed(const char* text) { return *Json::Parse(text); }

std::string Write(Pipeline& pipeline, const char* options) {
  return (*pipeline.Run(Json::String("The old boat"), Parsed(options)))
      .items()[0]["generated_text"]
      .as_string();
}

TEST(Generation, TheSameSeedGivesTheSameTextAndAnotherSeedAnother) {
  const auto p = Open("text-generation", "text-generation");
  const std::string one = Write(*p, R"({"do_sample": true, "seed": 1, "max_new_tokens": 30})");
  EXPECT_EQ(one, Write(*p, R"({"do_sample": true, "seed": 1, "max_new_tokens": 30})"));
  EXPECT_NE(one, Write(*p, R"({"do_sample": true, "seed": 2, "max_new_tokens": 30})"));
}

TEST(Generation, AStopTextEndsItAndIsNotPartOfIt) {
  const auto p = Open("text-generation", "text-generation");
  const std::string whole = Write(*p, R"({"max_new_tokens": 30, "return_full_text": false})");
  ASSERT_GT(whole.size(), 12u);
  const std::string stop = whole.substr(8, 3);  // across token borders
  const Json options =
      Json::Object({{"max_new_tokens", Json::Int(30)},
                    {"stop", Json::Array({Json::String("never"), Json::String(stop)})}});
  const auto generation = *p->Generate("The old boat", options);
  std::string text, reason;
  while (!generation->done()) {
    const Generation::Step step = *generation->Next();
    text += step.text;
    reason = step.finish_reason;
  }
  EXPECT_EQ(text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(reason, "stop");
  EXPECT_FALSE(generation->Next().ok());
}

TEST(Generation, StreamsWholeCharactersOnly) {
  const auto p = Open("text-generation", "text-generation");
  const auto generation = *p->Generate(
      "Snow",
      Parsed(R"({"max_new_tokens": 40, "do_sample": true, "seed": 3, "temperature": 1.4})"));
  while (!generation->done()) EXPECT_TRUE(IsValidUtf8((*generation->Next()).text));
}

TEST(Generation, SeveralRunInterleavedOnOneModel) {
  const auto p = Open("text-generation", "text-generation");
  const std::string alone = Write(*p, R"({"max_new_tokens": 20, "return_full_text": false})");
  const auto a = *p->Generate("The old boat", Parsed(R"({"max_new_tokens": 20})"));
  const auto b = *p->Generate("Snow", Parsed(R"({"max_new_tokens": 20})"));
  std::string text;
  while (!a->done()) {
    text += (*a->Next()).text;
    if (!b->done()) ASSERT_TRUE(b->Next().ok());
  }
  EXPECT_EQ(text, alone);
}

TEST(Generation, EndsWhenTheModelsContextIsFull) {
  const auto p = Open("text-generation", "text-generation");
  const int64_t room = p->model().max_positions();
  const auto generation =
      *p->Generate("Snow", Parsed(R"({"max_new_tokens": 100000, "eos_token_id": []})"));
  std::string reason;
  while (!generation->done()) reason = (*generation->Next()).finish_reason;
  EXPECT_TRUE(reason == "length" || reason == "eos");
  const auto made = static_cast<int64_t>(generation->outputs().front().ids.size());
  EXPECT_LE(generation->prompt_tokens() + made, room);
  const Status refused = p->Generate(std::string(5000, 'x'), Json::Object({})).status();
  EXPECT_NE(refused.message().find("tokens"), std::string::npos);
}

TEST(Generation, AnEmptyPromptBeginsATextOrSaysWhyNot) {
  const auto p = Open("text-generation", "text-generation");
  const auto generation = p->Generate("", Parsed(R"({"max_new_tokens": 3})"));
  if (generation.ok()) {
    EXPECT_TRUE((*generation)->Next().ok());
  } else {
    EXPECT_NE(generation.status().message().find("empty"), std::string::npos);
  }
}

TEST(Pipeline, OptionsAndInputsThatDoNotFitAreErrorsThatNameThem) {
  const auto p = Open("text-classification", "text-classification");
  const auto message = [&](const char* input, const char* options) {
    return p->Run(Parsed(input), Parsed(options)).status().message();
  };
  EXPECT_NE(message(R"("x")", R"({"topk": 1})").find("topk"), std::string::npos);
  EXPECT_NE(message(R"("x")", R"({"top_k": "many"})").find("top_k"), std::string::npos);
  EXPECT_NE(message(R"("x")", R"({"function_to_apply": "tanh"})").find("function_to_apply"),
            std::string::npos);
  EXPECT_NE(message("7", "{}").find("text"), std::string::npos);
  EXPECT_NE(message(R"(["x", 7])", "{}").find("input 1"), std::string::npos);
}

TEST(Pipeline, ALanguageThatATranslatorDoesNotKnowIsAnErrorThatNamesIt) {
  const auto message = [](const std::string& folder, const char* options) {
    const auto p = Open(folder, "text2text-generation");
    return p->Run(Json::String("A river."), Parsed(options)).status().message();
  };
  EXPECT_EQ(message("translation-m2m-100", R"({"src_lang": "fr_XX", "tgt_lang": "fr"})"),
            "'fr_XX' is no language of this model's tokenizer; it knows af, am, ar, ast, az, ba, "
            "be, bg, bn, br, bs, ca and 88 more");
  EXPECT_NE(message("translation-mbart", R"({"tgt_lang": "</s>"})").find("'</s>' is no language"),
            std::string::npos);
  EXPECT_EQ(message("translation-mbart", R"({"tgt_lang": "fr_XX", "forced_bos_token_id": 7})"),
            "'tgt_lang' and 'forced_bos_token_id' say the same; give one of them");
  for (const char* key : {R"({"src_lang": "fr"})", R"({"tgt_lang": "fr"})"})
    EXPECT_EQ(message("translation-marian", key), "this model's tokenizer knows no languages");
}

TEST(Pipeline, ATaskNeedsItsHead) {
  Result<ModelFiles> files =
      OpenModelFolder(SOTTO_SOURCE_DIR "/tests/golden/pipelines/text-classification");
  EXPECT_NE(Pipeline::Load("fill-mask", *std::move(files), {}).status().message().find("fill-mask"),
            std::string::npos);
  files = OpenModelFolder(SOTTO_SOURCE_DIR "/tests/golden/pipelines/text-classification");
  EXPECT_EQ(Pipeline::Load("mind-reading", *std::move(files), {}).status().code(),
            StatusCode::kUnsupported);
}

TEST(Pipeline, ShowsTheInsidesOfATextByHuggingFacesNames) {
  const auto p = Open("fill-mask", "fill-mask");
  const Json options = Parsed(
      R"({"output_attentions": true, "output_hidden_states": true, "output_logprobs": true})");
  const Result<TextInsides> insides = p->Insides(Json::String("A quiet river."), options);
  ASSERT_TRUE(insides.ok()) << insides.status().message();
  const int64_t tokens = static_cast<int64_t>(insides->encoding.size());
  const int64_t hidden = p->model().hidden_size();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : insides->outputs) {
    names.push_back(name);
    if (name == "logits") EXPECT_EQ(tensor.shape(), Shape({1, tokens, p->model().vocab_size()}));
    if (name == "logprobs") EXPECT_EQ(tensor.shape(), Shape({1, tokens}));
    if (name == "hidden_states.1") EXPECT_EQ(tensor.shape(), Shape({1, tokens, hidden}));
    if (name == "attentions.0") EXPECT_EQ(tensor.shape(), Shape({1, 3, tokens, tokens}));
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"logits", "last_hidden_state", "logprobs", "hidden_states.0",
                                      "hidden_states.1", "attentions.0"}));
  EXPECT_EQ(p->Insides(Json::String("x"), {})->outputs.size(), 2u);
  EXPECT_FALSE(p->Insides(Json::String("x"), Parsed(R"({"output_scores": true})")).ok());
  const auto c = Open("text-classification", "text-classification");
  EXPECT_FALSE(c->Insides(Json::String("x"), Parsed(R"({"output_logprobs": true})")).ok());
}

TEST(Generation, TellsLogProbabilitiesAndSeveralTextsWhereAsked) {
  const auto p = Open("text-generation", "text-generation");
  const Json texts =
      *p->Run(Json::String("The old boat"),
              Parsed(R"({"max_new_tokens": 5, "num_beams": 3, "num_return_sequences": 2,
                 "output_logprobs": true, "return_full_text": false})"));
  ASSERT_EQ(texts.items().size(), 2u);
  EXPECT_NE(texts.items()[0]["generated_text"].Dump(), texts.items()[1]["generated_text"].Dump());
  EXPECT_EQ(texts.items()[0]["tokens"].items().size(), 5u);
  const Json scored = (*p->Run(Json::String("The old boat"),
                               Parsed(R"({"max_new_tokens": 2, "output_logprobs": true,
                                          "top_logprobs": 3})")))
                          .items()[0]["tokens"];
  ASSERT_EQ(scored.items().size(), 2u);
  const Json first = scored.items()[0];
  ASSERT_EQ(first["top_logprobs"].items().size(), 3u);
  EXPECT_EQ(first["token"].as_int(), first["top_logprobs"].items()[0]["token"].as_int());
  EXPECT_EQ(first["token_str"].as_string(),
            p->tokenizer().IdToToken(static_cast<int32_t>(first["token"].as_int())));
}

TEST(Pipeline, ShowsTheInsidesOfAnEncoderDecoder) {
  const auto p = Open("text2text-generation", "text2text-generation");
  const Result<TextInsides> insides =
      p->Insides(Parsed(R"({"text": "The old boat", "decoder_text": "Snow"})"),
                 Parsed(R"({"output_attentions": true, "output_logprobs": true})"));
  ASSERT_TRUE(insides.ok()) << insides.status().message();
  const int64_t source = static_cast<int64_t>(insides->encoding.size());
  const int64_t target = static_cast<int64_t>(insides->decoder_ids.size());
  EXPECT_EQ(insides->decoder_ids.front(), 2);
  ASSERT_GT(target, 1);
  std::set<std::string> names;
  for (const auto& [name, tensor] : insides->outputs) {
    names.insert(name);
    if (name == "cross_attentions.0") EXPECT_EQ(tensor.shape(), Shape({1, 3, target, source}));
    if (name == "logprobs") EXPECT_EQ(tensor.shape(), Shape({1, target - 1}));
  }
  for (const char* name : {"logits", "encoder_last_hidden_state", "encoder_attentions.0",
                           "decoder_attentions.0", "cross_attentions.0", "logprobs"})
    EXPECT_TRUE(names.contains(name)) << name;
}

TEST(Generation, AnEncoderDecoderStreamsTheTextThatItReturns) {
  const auto p = Open("text2text-generation", "text2text-generation");
  const Json options = Parsed(R"({"max_new_tokens": 15, "no_repeat_ngram_size": 1})");
  const auto generation = *p->Generate("The old boat", options);
  std::string text;
  while (!generation->done()) text += (*generation->Next()).text;
  const Json whole = *p->Run(Json::String("The old boat"), options);
  EXPECT_EQ(whole.items()[0]["generated_text"].as_string(), text);
}

TEST(Pipeline, ATextTooLongIsCutUnlessThatIsForbidden) {
  const auto p = Open("text-classification", "text-classification");
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "word ";
  EXPECT_TRUE(p->Run(Json::String(text), Json::Object({})).ok());
  EXPECT_NE(p->Run(Json::String(text), Parsed(R"({"truncation": false})"))
                .status()
                .message()
                .find("at most"),
            std::string::npos);
}

TEST(Pipeline, AnyBytesAreAText) {
  const auto p = Open("text-classification", "text-classification");
  for (const char* text :
       {"", " ", "\xff\xfe", "\xe2\x82", "\xf0\x9f\x98\x80", "[MASK] [CLS]", "a\0b"}) {
    EXPECT_TRUE(p->Run(Json::String(text), Json::Object({})).ok()) << text;
  }
}

TEST(Pipeline, AnEmptyListGivesAnEmptyList) {
  const auto p = Open("text-classification", "text-classification");
  EXPECT_EQ((*p->Run(Json::Array({}), Json::Object({}))).Dump(), "[]");
}

TEST(Pipeline, APointerGeneratorSpellsTheWordsOfItsSourceThatItDoesNotKnow) {
  const Json config = *Json::Parse(
      R"({"model_type": "bart", "architectures": ["BartForPointerGeneration"], "vocab_size": 3, "d_model": 8,
          "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
          "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16, "unk_token_id": 0,
          "eos_token_id": 2, "pad_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": null})");
  const std::unique_ptr<Model> model = *CreateModel(config);
  ASSERT_TRUE(model->parameters().Initialize(5, 0.7f).ok());
  // So that it always copies.
  model->parameters().Find("pointer_generator.w_x.bias")->tensor->f32()[0] = -100;
  const std::string folder = testing::TempDir() + "sotto-pointer";
  ASSERT_TRUE(MakeFolder(folder).ok());
  ASSERT_TRUE(WriteFile(folder + "/config.json", config.Dump()).ok());
  ASSERT_TRUE(WriteFile(folder + "/tokenizer.json",
                        R"({"pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel",
                            "unk_token": "?", "vocab": {"?": 0, "met": 1, "</s>": 2}}})")
                  .ok());
  ASSERT_TRUE(WriteSafetensorsFile(folder + "/model.safetensors",
                                   *ExportWeights(*model, SaveFormat::kF32), {})
                  .ok());
  const auto pipeline = Pipeline::Load("text2text-generation", *OpenModelFolder(folder), {});
  ASSERT_TRUE(pipeline.ok()) << pipeline.status().message();
  for (
      const char* options :
      {R"({"max_new_tokens": 6, "output_logprobs": true})",
       R"({"max_new_tokens": 6, "num_beams": 3, "output_logprobs": true})",
       R"({"max_new_tokens": 6, "do_sample": true, "top_k": 0, "seed": 3, "output_logprobs": true})"}) {
    const auto out = (*pipeline)->Run(Json::String("Zoe met Bo"), *Json::Parse(options));
    ASSERT_TRUE(out.ok()) << out.status().message();
    const Json& made = out->items()[0];
    std::string spelled;
    std::set<std::string> words;
    for (const Json& token : made["tokens"].items()) {
      words.insert(token["token_str"].as_string());
      spelled += (spelled.empty() ? "" : " ") + token["token_str"].as_string();
    }
    EXPECT_EQ(made["tokens"].items().size(), 6u);
    EXPECT_EQ(made["generated_text"].as_string(), spelled);
    for (const std::string& word : words)
      EXPECT_TRUE(word == "Zoe" || word == "met" || word == "Bo") << word;
    EXPECT_TRUE(words.count("Zoe") + words.count("Bo") > 0) << spelled;
  }
}

}  // namespace
}  // namespace sotto
