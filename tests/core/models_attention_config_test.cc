// What the configs of encoders with unusual attention may say, and what is refused by name.
#include <gtest/gtest.h>

#include <string>

#include "core/models/model.h"

namespace sotto {
namespace {

// "" where the model can be made.
std::string Message(const std::string& type, const std::string& members) {
  const Result<Json> config = Json::Parse(R"({"model_type": ")" + type +
                                          R"(", "hidden_size": 24, "num_attention_heads": 3, )"
                                          R"("num_hidden_layers": 2, "intermediate_size": 8, )"
                                          R"("vocab_size": 9)" +
                                          members + "}");
  EXPECT_TRUE(config.ok()) << config.status().message();
  const Result<std::unique_ptr<Model>> model = CreateModel(*config);
  return model.ok() ? "" : std::string(model.status().message());
}

void ExpectRefused(const std::string& type, const std::string& members, const std::string& named) {
  EXPECT_NE(Message(type, members).find(named), std::string::npos)
      << members << " gave: " << Message(type, members);
}

TEST(AttentionConfigs, DebertaRefusesWhatItDoesNotImplement) {
  for (const char* type : {"deberta", "deberta-v2"}) {
    EXPECT_EQ(Message(type, ""), "");
    EXPECT_EQ(Message(type, R"(, "relative_attention": true, "pos_att_type": " C2P | p2c ")"), "");
    EXPECT_EQ(Message(type, R"(, "relative_attention": true, "pos_att_type": ["p2c"])"), "");
    ExpectRefused(type, R"(, "pos_att_type": "p2p|c2p")", "p2p");
    ExpectRefused(type, R"(, "pos_att_type": ["c2p", "c2p"])", "c2p");
    ExpectRefused(type, R"(, "pos_att_type": [3])", "pos_att_type");
    ExpectRefused(type, R"(, "talking_head": true)", "talking_head");
    ExpectRefused(type, R"(, "attention_head_size": 64)", "attention_head_size");
    ExpectRefused(type, R"(, "pooler_hidden_size": 25)", "pooler_hidden_size");
    ExpectRefused(type, R"(, "pooler_hidden_act": "snake")", "snake");
    ExpectRefused(type, R"(, "max_relative_positions": 1e30)", "max_relative_positions");
  }
  ExpectRefused("deberta", R"(, "architectures": ["DebertaForPreTraining"])", "head");
}

TEST(AttentionConfigs, DebertaV2RefusesWhatItDoesNotImplement) {
  const std::string buckets = R"(, "relative_attention": true, "position_buckets": )";
  EXPECT_EQ(Message("deberta-v2", buckets + "256"), "");
  ExpectRefused("deberta-v2", buckets + "1", "position_buckets");
  ExpectRefused("deberta-v2", buckets + R"(256, "max_relative_positions": 129)",
                "position_buckets");
  ExpectRefused("deberta-v2", R"(, "norm_rel_ebd": "rms_norm")", "rms_norm");
  ExpectRefused("deberta-v2", R"(, "conv_kernel_size": 4)", "conv_kernel_size");
  ExpectRefused("deberta-v2", R"(, "conv_kernel_size": 3, "conv_groups": 2)", "conv_groups");
  ExpectRefused("deberta-v2", R"(, "conv_act": "snake")", "snake");
  ExpectRefused("deberta-v2", R"(, "architectures": ["DebertaV2ForMaskedLM"], "legacy": false,
                                 "embedding_size": 8)",
                "masked-LM");
}

TEST(AttentionConfigs, ModernBertRefusesWhatItDoesNotImplement) {
  EXPECT_EQ(Message("modernbert", ""), "");
  EXPECT_EQ(Message("modernbert-decoder", ""), "");
  ExpectRefused("modernbert", R"(, "classifier_pooling": "max")", "max");
  ExpectRefused("modernbert", R"(, "layer_types": ["full_attention"])", "layer_types");
  ExpectRefused("modernbert", R"(, "layer_types": ["full_attention", "spiral"])", "spiral");
  ExpectRefused("modernbert", R"(, "local_attention": null)", "local_attention");
  ExpectRefused("modernbert", R"(, "local_attention": -2)", "local_attention");
  ExpectRefused("modernbert", R"(, "global_attn_every_n_layers": 0)", "global_attn_every_n_layers");
  ExpectRefused("modernbert", R"(, "global_rope_theta": -1)", "rope_theta");
  ExpectRefused("modernbert", R"(, "rope_parameters": {"full_attention": {"rope_type": "spiral",
                                 "factor": 2}})",
                "spiral");
  ExpectRefused("modernbert", R"(, "architectures": ["ModernBertForQuestionAnswering"],
                                 "num_labels": 3)",
                "two labels");
  ExpectRefused("modernbert-decoder",
                R"(, "architectures": ["ModernBertDecoderForTokenClassification"])", "decoder");
}

TEST(AttentionConfigs, NomicBertRefusesWhatItDoesNotImplement) {
  const std::string published =
      R"(, "n_embd": 24, "n_head": 3, "n_layer": 2, "n_inner": 8, "rotary_emb_fraction": 1.0,
         "activation_function": "swiglu")";
  EXPECT_EQ(Message("nomic_bert", ""), "");
  EXPECT_EQ(Message("nomic_bert", published), "");
  EXPECT_EQ(Message("nomic_bert", R"(, "head_dim": 8)"), "");
  ExpectRefused("nomic_bert", R"(, "head_dim": 6)", "head_dim");
  for (const char* name : {"prenorm", "parallel_block", "causal", "use_rms_norm",
                           "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx"}) {
    ExpectRefused("nomic_bert", published + ", \"" + name + "\": true", name);
  }
  ExpectRefused("nomic_bert", published + R"(, "moe_every_n_layers": 2)", "experts");
  ExpectRefused("nomic_bert", published + R"(, "rotary_scaling_factor": 2)", "rotary_scaling");
  ExpectRefused("nomic_bert", R"(, "n_embd": 24, "n_head": 3, "activation_function": "swiglu")",
                "rotary");
  ExpectRefused("nomic_bert", R"(, "n_embd": 24, "n_head": 3, "activation_function": "relu")",
                "relu");
}

}  // namespace
}  // namespace sotto
