"""Language models whose state does not grow with the context, and hybrids of those with attention."""
import torch
from safetensors.torch import load_file, save_file

from case import Case

VOCAB = 97
MAMBA = dict(vocab_size=VOCAB, hidden_size=19, num_hidden_layers=2, state_size=5, expand=2, conv_kernel=4, time_step_rank="auto",
             use_bias=False, use_conv_bias=True, layer_norm_epsilon=1e-5, tie_word_embeddings=True,
             bos_token_id=None, eos_token_id=None, pad_token_id=None)
RWKV = dict(vocab_size=VOCAB, hidden_size=21, num_hidden_layers=2, intermediate_size=29, attention_hidden_size=None,
            rescale_every=0, layer_norm_epsilon=1e-5, context_length=16, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=None)
QWEN = dict(vocab_size=VOCAB, hidden_size=18, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=8,
            intermediate_size=21, max_position_embeddings=128, rms_norm_eps=1e-6, linear_conv_kernel_dim=4, linear_key_head_dim=6,
            linear_value_head_dim=5, linear_num_key_heads=2, linear_num_value_heads=4,
            layer_types=["linear_attention", "full_attention"],
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5, mrope_interleaved=True,
                                 mrope_section=[1, 1, 0]),
            tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None)
LFM2 = dict(vocab_size=VOCAB, hidden_size=20, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=1,
            intermediate_size=27, block_auto_adjust_ff_dim=False, conv_L_cache=3, norm_eps=1e-5,
            layer_types=["conv", "full_attention"], max_position_embeddings=128,
            rope_parameters=dict(rope_type="default", rope_theta=1000000.0), tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=None, pad_token_id=None)


def as_multimodal(folder, config):
  """The text model as the part of a checkpoint that also sees images and guesses ahead."""
  tensors = {k.replace("model.", "model.language_model."): v for k, v in load_file(folder / "model.safetensors").items()}
  tensors["model.visual.patch_embed.proj.bias"] = torch.ones(3)
  tensors["mtp.norm.weight"] = torch.ones(3)
  save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
  text = dict(config)
  assert text.pop("layer_types") == ["linear_attention", "full_attention"]
  text["full_attention_interval"] = 2
  config.clear()
  config.update(architectures=["Qwen3_5ForConditionalGeneration"], model_type="qwen3_5", text_config=text,
                tie_word_embeddings=text["tie_word_embeddings"], transformers_version=text.pop("transformers_version"))


def as_first_lfm2(folder, config):
  """config.json in the manner of transformers 4, with the names that the first models used."""
  config["torch_dtype"] = config.pop("dtype")
  config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
  config["full_attn_idxs"] = [i for i, t in enumerate(config.pop("layer_types")) if t == "full_attention"]
  config["block_ff_dim"] = config.pop("intermediate_size")
  config["tie_embedding"] = config.pop("tie_word_embeddings")


def rwkv(settings, **options):
  # The reference does not look at the mask, so that only tokens before the padding are its business.
  return Case("RwkvForCausalLM", "RwkvConfig", settings, kind="decoder", sides=("right",), **options)


CASES = {
    "mamba": Case("MambaForCausalLM", "MambaConfig", MAMBA, kind="decoder", probed=True, gradients=True),
    "mamba-biased": Case("MambaForCausalLM", "MambaConfig",
                         dict(MAMBA, hidden_size=14, expand=3, conv_kernel=3, time_step_rank=4, state_size=16, use_bias=True,
                              use_conv_bias=False, tie_word_embeddings=False), kind="decoder"),
    "rwkv": rwkv(dict(RWKV, use_cache=False), gradients=True),  # its cache is updated in place, which autograd refuses
    "rwkv-rescaled": rwkv(dict(RWKV, hidden_size=16, num_hidden_layers=5, intermediate_size=27, rescale_every=2, layer_norm_epsilon=1e-3), probed=True),
    "qwen3_5": Case("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", QWEN, kind="decoder", probed=True, gradients=True),
    "qwen3_5-multimodal": Case("Qwen3_5ForCausalLM", "Qwen3_5TextConfig",
                               dict(QWEN, linear_conv_kernel_dim=5, linear_key_head_dim=9, linear_num_key_heads=3,
                                    linear_num_value_heads=3, num_attention_heads=2, attention_bias=True, tie_word_embeddings=True),
                               kind="decoder", adjust=as_multimodal),
    "lfm2": Case("Lfm2ForCausalLM", "Lfm2Config", LFM2, kind="decoder", probed=True, gradients=True),
    "lfm2-biased": Case("Lfm2ForCausalLM", "Lfm2Config",
                        dict(LFM2, layer_types=["full_attention", "conv"], num_attention_heads=2,
                             intermediate_size=50, block_auto_adjust_ff_dim=True, block_multiple_of=7, block_ffn_dim_multiplier=1.3,
                             conv_L_cache=4, conv_bias=True, tie_word_embeddings=False), kind="decoder", adjust=as_first_lfm2),
}
