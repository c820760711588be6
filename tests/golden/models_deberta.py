"""DeBERTa and DeBERTa-v2: disentangled attention."""
import transformers

from case import Case, labels

V2 = dict(vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=29,
          max_position_embeddings=64, type_vocab_size=0, hidden_act="gelu", layer_norm_eps=1e-6, relative_attention=True,
          position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type="p2c|c2p",
          max_relative_positions=-1, position_biased_input=False, hidden_dropout_prob=0.0,
          attention_probs_dropout_prob=0.0, pad_token_id=0)
V1 = dict(vocab_size=97, hidden_size=25, num_hidden_layers=2, num_attention_heads=5, intermediate_size=29,
          max_position_embeddings=40, type_vocab_size=3, hidden_act="gelu", layer_norm_eps=1e-6, relative_attention=True,
          max_relative_positions=9, pos_att_type=["c2p", "p2c"], position_biased_input=False, hidden_dropout_prob=0.0,
          attention_probs_dropout_prob=0.0, pad_token_id=0)


def without_the_tie(cls):
  """This version of transformers cannot load a model with the authors' head: it looks for a tied weight that is not there."""
  init = cls.__init__

  def patched(self, config):
    init(self, config)
    if not config.legacy:
      self.all_tied_weights_keys = self._tied_weights_keys = {}
      self.lm_predictions.lm_head._parameters.pop("weight", None)

  cls.__init__ = patched


without_the_tie(transformers.DebertaForMaskedLM)
without_the_tie(transformers.DebertaV2ForMaskedLM)


def v2(suffix, settings, **options):
  return Case(f"DebertaV2{suffix}", "DebertaV2Config", settings, token_types=settings["type_vocab_size"], **options)


def v1(suffix, settings, **options):
  return Case(f"Deberta{suffix}", "DebertaConfig", settings, token_types=settings["type_vocab_size"], **options)


def as_transformers_4(folder, config):
  """As the published checkpoints have it: kinds of scores in one string."""
  config["torch_dtype"] = config.pop("dtype")
  config["transformers_version"] = "4.40.0"
  config["pos_att_type"] = "p2c|c2p"


CASES = {
    "deberta-v2": v2("Model", dict(V2, conv_kernel_size=3, conv_act="gelu"), probed=True),
    "deberta-v2-biased": v2("Model", dict(V2, num_hidden_layers=1, share_att_key=False, position_biased_input=True,
                                          type_vocab_size=2, embedding_size=17, norm_rel_ebd="none", pos_att_type="p2c")),
    "deberta-v2-masked-lm": v2("ForMaskedLM", dict(V2, hidden_size=16, num_attention_heads=2, intermediate_size=11, conv_kernel_size=3,
                                                   embedding_size=14, position_buckets=6, share_att_key=False), gradients=True),
    "deberta-v2-masked-lm-untied": v2("ForMaskedLM", dict(V2, num_hidden_layers=1, tie_word_embeddings=False)),
    "deberta-v2-masked-lm-authors": v2("ForMaskedLM", dict(V2, num_hidden_layers=1, legacy=False)),
    "deberta-v2-sequence-classification": v2("ForSequenceClassification",
                                             dict(V2, num_hidden_layers=1, pooler_hidden_act="tanh", **labels("a", "b", "c")),
                                             sides=("right",), adjust=as_transformers_4),
    "deberta-v2-token-classification": v2("ForTokenClassification", dict(V2, num_hidden_layers=1, **labels("O", "X", "Y", "Z"))),
    "deberta-v2-question-answering": v2("ForQuestionAnswering", dict(V2, num_hidden_layers=1, relative_attention=False, position_biased_input=True)),
    "deberta-masked-lm": v1("ForMaskedLM", dict(V1, hidden_size=16, num_attention_heads=2, intermediate_size=13), gradients=True),
    "deberta-masked-lm-authors": v1("ForMaskedLM", dict(V1, num_hidden_layers=1, legacy=False, pos_att_type=["c2p"])),
    "deberta-sequence-classification": v1("ForSequenceClassification", dict(V1, num_hidden_layers=1, **labels("a", "b", "c")), sides=("right",)),
    "deberta-token-classification": v1("ForTokenClassification", dict(V1, num_hidden_layers=1, **labels("O", "X", "Y", "Z"))),
    "deberta-question-answering": v1("ForQuestionAnswering", dict(V1, num_hidden_layers=1)),
    "deberta": v1("Model", V1, probed=True),
}
