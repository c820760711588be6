"""Language models whose state does not grow with the context, and hybrids of those with attention."""
from case import Case

VOCAB = 97
MAMBA = dict(vocab_size=VOCAB, hidden_size=19, num_hidden_layers=2, state_size=5, expand=2, conv_kernel=4, time_step_rank="auto",
             use_bias=False, use_conv_bias=True, layer_norm_epsilon=1e-5, tie_word_embeddings=True,
             bos_token_id=None, eos_token_id=None, pad_token_id=None)
RWKV = dict(vocab_size=VOCAB, hidden_size=21, num_hidden_layers=2, intermediate_size=29, attention_hidden_size=None,
            rescale_every=0, layer_norm_epsilon=1e-5, context_length=16, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=None)


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
}
