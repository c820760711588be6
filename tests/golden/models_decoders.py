"""The decoders after Llama, with the settings of their configs that matter switched on."""
import copy

from case import Case

VOCAB = 97
TOKENS = dict(vocab_size=VOCAB, bos_token_id=None, eos_token_id=None, pad_token_id=None)
SMALL = dict(TOKENS, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=37,
             max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
DYNAMIC = dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=9, beta_fast=4, beta_slow=1)
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=[1.0, 1.2, 1.5],
                long_factor=[1.5, 3.0, 7.0])
LOCAL_GLOBAL = dict(full_attention=dict(rope_type="linear", factor=2.0, rope_theta=1e6),
                    sliding_attention=dict(rope_type="default", rope_theta=500.0))


def save_bf16(model, folder):
  """All values are exact in bfloat16: half the size."""
  copy.deepcopy(model).bfloat16().save_pretrained(folder)


def as_transformers_4(folder, config):
  """The rotary parameters and the dtype where transformers 4 has them."""
  config["torch_dtype"] = config.pop("dtype")
  rope = config.pop("rope_parameters")
  if "full_attention" in rope:
    config["rope_local_base_freq"] = rope["sliding_attention"].pop("rope_theta")
    assert rope["sliding_attention"] == {"rope_type": "default"}
    rope = rope["full_attention"]
  theta = rope.pop("rope_theta")
  fraction = rope.pop("partial_rotary_factor", None)
  if config["model_type"] == "gpt_neox":
    config["rotary_emb_base"], config["rotary_pct"] = theta, fraction
  else:
    config["rope_theta"] = theta
    if fraction is not None:
      config["partial_rotary_factor"] = fraction
  config["rope_scaling"] = rope if rope["rope_type"] != "default" else None


def as_old_gemma3(folder, config):
  as_transformers_4(folder, config)
  config["sliding_window_pattern"] = 2
  del config["layer_types"]
  config.pop("_sliding_window_pattern", None)


def decoder(name, settings, suffix="ForCausalLM", config=None, **options):
  options.setdefault("save", save_bf16)
  return Case(name + suffix, (config or name) + "Config", settings, kind=options.pop("kind", "decoder"),
              generates=options.pop("generates", suffix == "ForCausalLM"), **options)


CASES = {
    "llama-dynamic": decoder("Llama", dict(SMALL, max_position_embeddings=9, rope_parameters=DYNAMIC), by_length=True,
                             adjust=as_transformers_4),
    "mistral": decoder("Mistral", dict(SMALL, num_key_value_heads=1, head_dim=8, sliding_window=5, rope_parameters=PLAIN,
                                       tie_word_embeddings=False), adjust=as_transformers_4),
    "smollm3": decoder("SmolLM3", dict(SMALL, no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=4,
                                       attention_bias=True, mlp_bias=True, rope_parameters=PLAIN)),
    "qwen2": decoder("Qwen2", dict(SMALL, use_sliding_window=True, max_window_layers=1, sliding_window=6, rope_parameters=YARN)),
    "qwen3": decoder("Qwen3", dict(SMALL, head_dim=10, attention_bias=True, rope_parameters=PLAIN), gradients=True),
    "qwen3-bare": decoder("Qwen3", dict(SMALL, num_attention_heads=3, num_key_value_heads=3, head_dim=6, use_sliding_window=True,
                                        sliding_window=3, layer_types=["sliding_attention", "full_attention"],
                                        rope_parameters=PLAIN), suffix="Model", probed=True),
    "granite": decoder("Granite", dict(SMALL, embedding_multiplier=3.0, attention_multiplier=0.3, residual_multiplier=0.7,
                                       logits_scaling=2.5, rope_parameters=PLAIN)),
    "olmo2": decoder("Olmo2", dict(SMALL, attention_bias=True, rope_parameters=PLAIN, tie_word_embeddings=False)),
    "phi3": decoder("Phi3", dict(SMALL, num_attention_heads=3, num_key_value_heads=1, original_max_position_embeddings=14,
                                 rope_parameters=LONGROPE, sliding_window=None),
                    by_length=True, cached=False),  # transformers 5.12 drops the cache where it changes factors, and feeds one token
    "phi3-window": decoder("Phi3", dict(SMALL, sliding_window=4, rope_parameters=dict(PLAIN, partial_rotary_factor=0.67),
                                        tie_word_embeddings=False), adjust=as_transformers_4),
    "gemma2": decoder("Gemma2", dict(SMALL, head_dim=8, query_pre_attn_scalar=5, sliding_window=4, attn_logit_softcapping=3.0,
                                     final_logit_softcapping=12.0, rope_parameters=PLAIN)),
    "gemma3": decoder("Gemma3", dict(SMALL, head_dim=8, query_pre_attn_scalar=11, sliding_window=5, attention_bias=True,
                                     layer_types=["full_attention", "sliding_attention"], rope_parameters=LOCAL_GLOBAL),
                      config="Gemma3Text", gradients=True),
    "gemma3-old": decoder("Gemma3", dict(SMALL, head_dim=6, query_pre_attn_scalar=4, sliding_window=3, sliding_window_pattern=2,
                                         final_logit_softcapping=12.0, rope_parameters=LOCAL_GLOBAL, tie_word_embeddings=False),
                          config="Gemma3Text", adjust=as_old_gemma3, probed=True),
    "embedding-gemma": decoder("Gemma3Text", dict(SMALL, head_dim=8, query_pre_attn_scalar=8, sliding_window=12,
                                                  use_bidirectional_attention=True,
                                                  layer_types=["sliding_attention", "full_attention"],
                                                  rope_parameters=LOCAL_GLOBAL), suffix="Model", kind="encoder"),
    "gpt-neo": decoder("GPTNeo", dict(TOKENS, hidden_size=24, num_layers=3, num_heads=3, intermediate_size=37, window_size=5,
                                      attention_types=[[["global"], 1], [["local", "global"], 1]], max_position_embeddings=40),
                       probed=True),
    "gpt-neox": decoder("GPTNeoX", dict(TOKENS, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=37,
                                        max_position_embeddings=64, rope_parameters=dict(PLAIN, partial_rotary_factor=0.5)),
                        gradients=True),
    "gpt-neox-sequential": decoder("GPTNeoX", dict(TOKENS, hidden_size=40, num_hidden_layers=1, num_attention_heads=5,
                                                   intermediate_size=41, max_position_embeddings=64, attention_bias=False,
                                                   use_parallel_residual=False, tie_word_embeddings=True,
                                                   rope_parameters=dict(PLAIN, partial_rotary_factor=0.25)),
                                   adjust=as_transformers_4, probed=True),
}
