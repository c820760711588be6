// What recurrent language models promise beside their numbers, which models_golden_test.cc
// compares.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/models/model.h"

namespace sotto {
namespace {

constexpr const char* kRecurrent[] = {
    R"({"model_type": "mamba", "architectures": ["MambaForCausalLM"], "vocab_size": 50,
        "hidden_size": 24, "num_hidden_layers": 2})",
    R"({"model_type": "rwkv", "architectures": ["RwkvForCausalLM"], "vocab_size": 50,
        "hidden_size": 24, "num_hidden_layers": 2})",
};

std::unique_ptr<Model> Fresh(const std::string& config) {
  Result<std::unique_ptr<Model>> model = CreateModel(*Json::Parse(config));
  EXPECT_TRUE(model.ok()) << model.status().message();
  EXPECT_TRUE((*model)->parameters().Initialize(1, 0.1f).ok());
  return *std::move(model);
}

TEST(RecurrentModels, KeepAsMuchAfterManyTokensAsAfterOne) {
  for (const char* config : kRecurrent) {
    SCOPED_TRACE(config);
    const std::unique_ptr<Model> model = Fresh(config);
    Arena arena;
    Context ctx(&arena);
    KvCache cache;
    const auto feed = [&](int64_t tokens) {
      const std::vector<int32_t> ids(static_cast<size_t>(tokens), 3);
      model->Forward(ctx, {.ids = *Tensor::FromInts({1, tokens}, ids)}, &cache);
      ASSERT_TRUE(ctx.ok()) << ctx.status().message();
    };
    feed(1);
    const size_t bytes = cache.bytes(), held = (feed(1), arena.bytes_held());
    EXPECT_GT(bytes, 0u);
    for (int i = 0; i < 50; ++i) feed(1);
    EXPECT_EQ(arena.bytes_held(), held);  // nothing is allocated anew for a token
    feed(200);
    EXPECT_EQ(cache.bytes(), bytes);
    EXPECT_EQ(cache.length(), 252);
    EXPECT_EQ(model->max_positions(), 0);
  }
}

TEST(RecurrentModels, AForgottenPastLeavesNoTrace) {
  for (const char* config : kRecurrent) {
    SCOPED_TRACE(config);
    const std::unique_ptr<Model> model = Fresh(config);
    Arena arena;
    Context ctx(&arena);
    KvCache cache;
    const ModelInput input{.ids = *Tensor::FromInts({1, 3}, std::vector<int32_t>{4, 7, 1})};
    const auto logits = [&] {
      const Tensor y = model->Forward(ctx, input, &cache).logits;
      EXPECT_TRUE(ctx.ok()) << ctx.status().message();
      return std::vector<float>(y.f32(), y.f32() + y.elements());
    };
    const std::vector<float> first = logits();
    EXPECT_NE(logits(), first);  // the past counts
    ASSERT_TRUE(cache.Truncate(0));
    EXPECT_EQ(logits(), first);
  }
}

TEST(RecurrentModels, AStateOfAnotherBatchIsRefused) {
  for (const char* config : kRecurrent) {
    SCOPED_TRACE(config);
    const std::unique_ptr<Model> model = Fresh(config);
    Arena arena;
    Context ctx(&arena);
    KvCache cache;
    model->Forward(ctx, {.ids = *Tensor::FromInts({1, 1}, std::vector<int32_t>{4})}, &cache);
    ASSERT_TRUE(ctx.ok());
    model->Forward(ctx, {.ids = *Tensor::FromInts({2, 1}, std::vector<int32_t>{4, 5})}, &cache);
    EXPECT_FALSE(ctx.ok());
  }
}

TEST(RecurrentModels, ExpertsAreRefusedByName) {
  const Status status =
      CreateModel(*Json::Parse(R"({"model_type": "qwen3_5_moe", "architectures": ["X"]})"))
          .status();
  EXPECT_NE(status.message().find("qwen3_5_moe"), std::string::npos);
}

TEST(RecurrentModels, SettingsThatMakeNoSenseAreRefused) {
  const auto refused = [](const std::string& type, const std::string& setting) {
    return !CreateModel(*Json::Parse(StrCat(R"({"model_type": ")", type, "\", ", setting, "}")))
                .ok();
  };
  EXPECT_FALSE(refused("mamba", R"("time_step_rank": 3)"));
  EXPECT_TRUE(refused("mamba", R"("time_step_rank": 0)"));
  EXPECT_TRUE(refused("mamba", R"("time_step_rank": "many")"));
  EXPECT_TRUE(refused("mamba", R"("state_size": 100000)"));
  EXPECT_TRUE(refused("mamba", R"("conv_kernel": 0)"));
  EXPECT_TRUE(refused("mamba", R"("expand": -2)"));
  EXPECT_TRUE(refused("mamba", R"("expand": 1e30)"));
  EXPECT_TRUE(refused("mamba", R"("expand": 1e-30)"));
  EXPECT_TRUE(refused("mamba", R"("hidden_act": "sine")"));
  EXPECT_TRUE(refused("mamba", R"("time_step_min": 0)"));
  EXPECT_TRUE(refused("mamba", R"("architectures": ["MambaForSequenceClassification"])"));
  EXPECT_TRUE(refused("rwkv", R"("attention_hidden_size": -1)"));
  EXPECT_TRUE(refused("rwkv", R"("rescale_every": 1e9)"));
  EXPECT_TRUE(refused("rwkv", R"("num_hidden_layers": 0)"));
  EXPECT_FALSE(refused("qwen3_5_text", R"("num_hidden_layers": 2)"));
  EXPECT_TRUE(refused("qwen3_5_text", R"("attn_output_gate": false)"));
  EXPECT_TRUE(refused("qwen3_5_text", R"("linear_num_key_heads": 3)"));
  EXPECT_TRUE(refused("qwen3_5_text", R"("linear_key_head_dim": 0)"));
  EXPECT_TRUE(refused("qwen3_5_text", R"("layer_types": ["full_attention"])"));
  EXPECT_TRUE(refused("qwen3_5_text", R"("num_hidden_layers": 1, "layer_types": ["spiral"])"));
  EXPECT_TRUE(refused("qwen3_5_text", R"("full_attention_interval": 0)"));
  EXPECT_TRUE(refused("qwen3_5", R"("text_config": {"num_hidden_layers": 2})"));  // bare
  EXPECT_TRUE(refused("qwen3_5", R"("architectures": ["Qwen3_5ForConditionalGeneration"])"));
  EXPECT_FALSE(refused("lfm2", R"("num_hidden_layers": 2)"));
  EXPECT_TRUE(refused("lfm2", R"("full_attn_idxs": [99])"));
  EXPECT_TRUE(refused("lfm2", R"("full_attn_idxs": ["one"])"));
  EXPECT_TRUE(refused("lfm2", R"("conv_L_cache": 0)"));
  EXPECT_TRUE(refused("lfm2", R"("block_multiple_of": 0)"));
  EXPECT_TRUE(refused("lfm2", R"("block_ffn_dim_multiplier": -1)"));
  EXPECT_TRUE(refused("lfm2", R"("block_ff_dim": 1, "block_ffn_dim_multiplier": 0.1)"));
}

}  // namespace
}  // namespace sotto
