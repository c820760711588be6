// Rotary angles of every kind of scaling against Hugging Face's own code: tests/golden/rotary.json.
#include "core/models/rotary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/base/file.h"

namespace sotto {
namespace {

RotaryNames NamesOf(const Json& example) {
  const std::string& architecture = example["architecture"].as_string();
  const std::string& layer = example["layer_type"].as_string();
  RotaryNames names;
  if (architecture == "Phi3") names.fraction_key = "partial_rotary_factor";
  if (architecture == "GPTNeoX") {
    names = {.theta_key = "rotary_emb_base", .fraction = 0.25, .fraction_key = "rotary_pct"};
  }
  if (architecture == "Gemma3") {
    names.layer_type = layer;
    if (layer == "sliding_attention")
      names.theta_key = "rope_local_base_freq", names.scaling_key = "";
  }
  return names;
}

TEST(Rotary, AnglesAreTheReferencesForEveryKindOfScaling) {
  Result<FileView> file = FileView::Open(SOTTO_SOURCE_DIR "/tests/golden/rotary.json");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const Json golden = *Json::Parse(file->bytes());
  ASSERT_GE(golden["cases"].items().size(), 20u);
  for (const Json& example : golden["cases"].items()) {
    const std::string what = example["config"].Dump() + example["layer_type"].as_string();
    const Result<RotaryPositions> rotary =
        RotaryPositions::Read(example["config"], example["head_dim"].as_int(), NamesOf(example));
    ASSERT_TRUE(rotary.ok()) << what << rotary.status().message();
    const std::vector<Json>& positions = example["positions"].items();
    const auto tokens = static_cast<int64_t>(positions.size());
    std::vector<int32_t> ids;
    for (const Json& p : positions) ids.push_back(static_cast<int32_t>(p.as_int()));
    Sequence s{.batch = 1, .tokens = tokens, .position_ids = *Tensor::FromInts({1, tokens}, ids)};
    Arena arena;
    Context ctx(&arena);
    const nn::RotaryTables tables = rotary->Tables(ctx, s);
    ASSERT_TRUE(ctx.ok()) << ctx.status().message();
    for (int64_t t = 0; t < tokens; ++t) {
      const std::vector<Json>& cos = example["cos"].items()[static_cast<size_t>(t)].items();
      const std::vector<Json>& sin = example["sin"].items()[static_cast<size_t>(t)].items();
      ASSERT_EQ(2 * cos.size(), static_cast<size_t>(rotary->dim())) << what;
      for (size_t i = 0; i < cos.size(); ++i) {
        const size_t at = static_cast<size_t>(t) * cos.size() + i;
        // A step of f32 in the angle.
        const double tolerance = 2e-6 + 1.2e-7 * positions[static_cast<size_t>(t)].as_number();
        EXPECT_NEAR(tables.cos.f32()[at], cos[i].as_number(), tolerance) << what << t << " " << i;
        EXPECT_NEAR(tables.sin.f32()[at], sin[i].as_number(), tolerance) << what << t << " " << i;
      }
    }
  }
}

TEST(Rotary, ParametersThatMakeNoSenseAreErrorsThatNameThem) {
  const auto message = [](const char* config) {
    return RotaryPositions::Read(*Json::Parse(config), 16).status().message();
  };
  const auto names = [&](const char* config, const char* what) {
    EXPECT_NE(message(config).find(what), std::string::npos) << config << ": " << message(config);
  };
  EXPECT_EQ(message(R"({})"), "");
  names(R"({"rope_theta": -1})", "rope_theta");
  names(R"({"rope_theta": "large"})", "rope_theta");
  names(R"({"rope_scaling": {"type": "spiral"}})", "spiral");
  names(R"({"rope_scaling": {"type": "linear", "factor": 2, "twist": 1}})", "twist");
  names(R"({"rope_scaling": {"type": "linear"}})", "factor");
  names(R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", "factor");
  names(R"({"rope_scaling": {"type": "dynamic", "factor": 2}})", "max_position_embeddings");
  names(R"({"rope_scaling": {"type": "yarn", "factor": 2}})", "max_position_embeddings");
  names(R"({"rope_parameters": {"partial_rotary_factor": 0.5}})", "partial_rotary_factor");
  names(R"({"rope_parameters": {"partial_rotary_factor": -1}})", "share");
  names(R"({"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": -1}})",
        "share");
  names(R"({"rope_parameters": {"full_attention": {}, "rope_theta": 1}})", "full_attention");
  names(R"({"max_position_embeddings": 9, "rope_scaling": {"type": "longrope", "factor": 2}})",
        "short_factor");
  names(R"({"max_position_embeddings": 9, "rope_scaling": {"type": "longrope",
            "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [1, 1, 1, 1, 1, 1, 1, 0]}})",
        "long_factor");
  EXPECT_FALSE(RotaryPositions::Read(*Json::Parse("{}"), 15).ok());
}

}  // namespace
}  // namespace sotto
