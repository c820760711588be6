"""ModernBERT and NomicBERT: encoders with rotary positions."""
from case import Case, labels

MODERN = dict(vocab_size=97, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=20,
              max_position_embeddings=64, local_attention=10, global_attn_every_n_layers=2, norm_eps=1e-5,
              hidden_activation="gelu", attention_dropout=0.0, embedding_dropout=0.0, mlp_dropout=0.0, classifier_dropout=0.0,
              pad_token_id=0, bos_token_id=None, eos_token_id=None, cls_token_id=None, sep_token_id=None)
BIASED = dict(MODERN, hidden_size=16, num_attention_heads=2, intermediate_size=12, norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True, classifier_activation="silu")

NOMIC = dict(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=29,
             max_position_embeddings=64, type_vocab_size=3, hidden_act="silu", layer_norm_eps=1e-6, hidden_dropout_prob=0.0,
             attention_probs_dropout_prob=0.0, rope_parameters=dict(rope_type="default", rope_theta=700.0), pad_token_id=0)


def as_transformers_4(folder, config):
  """A theta of its own for each kind of layer, and every how many layers attention is global."""
  config["torch_dtype"] = config.pop("dtype")
  config["transformers_version"] = "4.48.0"
  parameters = config.pop("rope_parameters")
  config["global_rope_theta"] = parameters["full_attention"]["rope_theta"]
  config["local_rope_theta"] = parameters["sliding_attention"]["rope_theta"]
  config["global_attn_every_n_layers"] = 2
  del config["layer_types"]


def modern(suffix, settings, **options):
  return Case(f"ModernBert{suffix}", "ModernBertConfig", settings, **options)


def as_published(folder, config):
  """Adds the keys of the config beside the published weights, which win; Hugging Face's code reads its own."""
  config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
  config |= dict(
      n_embd=NOMIC["hidden_size"], n_layer=1, n_head=NOMIC["num_attention_heads"],
      n_inner=NOMIC["intermediate_size"], n_positions=64, layer_norm_epsilon=1e-6, activation_function="swiglu", causal=False,
      prenorm=False, parallel_block=False, use_rms_norm=False, qkv_proj_bias=False, mlp_fc1_bias=False, mlp_fc2_bias=False,
      rotary_emb_base=700, rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None,
      rotary_scaling_factor=None, pad_vocab_size_multiple=1, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False,
      torch_dtype=config.pop("dtype"))


def nomic(suffix, settings, **options):
  return Case(f"NomicBert{suffix}", "NomicBertConfig", settings, token_types=settings["type_vocab_size"], **options)


CASES = {
    "modernbert": modern("Model", dict(MODERN, rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=500.0),
                                                                     sliding_attention=dict(rope_type="linear", rope_theta=50.0, factor=2.0))),
                         probed=True),
    "modernbert-masked-lm": modern("ForMaskedLM", BIASED, adjust=as_transformers_4, gradients=True),
    "modernbert-masked-lm-untied": modern("ForMaskedLM", dict(MODERN, num_hidden_layers=2, tie_word_embeddings=False,
                                                              decoder_bias=False)),
    "modernbert-sequence-classification": modern("ForSequenceClassification", dict(BIASED, num_hidden_layers=2,
                                                                                   classifier_pooling="mean", **labels("a", "b", "c"))),
    "modernbert-sequence-classification-cls": modern("ForSequenceClassification", dict(MODERN, num_hidden_layers=2, **labels("a", "b")),
                                                     sides=("right",)),
    "modernbert-token-classification": modern("ForTokenClassification", dict(MODERN, num_hidden_layers=2, **labels("O", "X", "Y", "Z"))),
    "modernbert-question-answering": modern("ForQuestionAnswering", dict(MODERN, num_hidden_layers=2)),
    "modernbert-decoder": Case("ModernBertDecoderForCausalLM", "ModernBertDecoderConfig", dict(MODERN, hidden_size=16, num_attention_heads=2, intermediate_size=12, pad_token_id=0,
                                                                        bos_token_id=1, cls_token_id=1, sep_token_id=2), kind="decoder", probed=True,
                               gradients=True),
    "nomic-bert": nomic("Model", NOMIC, probed=True),
    "nomic-bert-published": nomic("Model", dict(NOMIC, num_hidden_layers=1), adjust=as_published),
    "nomic-bert-masked-lm": nomic("ForMaskedLM", dict(NOMIC, hidden_size=16, num_attention_heads=2, intermediate_size=13)),
    "nomic-bert-sequence-classification": nomic("ForSequenceClassification", dict(NOMIC, num_hidden_layers=1, **labels("a", "b", "c"))),
    "nomic-bert-token-classification": nomic("ForTokenClassification", dict(NOMIC, num_hidden_layers=1, **labels("O", "X", "Y", "Z"))),
}
