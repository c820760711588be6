"""RoBERTa and its like, DistilBERT, ALBERT, ELECTRA and MPNet, and what BERT's own cases leave out."""
import torch
from safetensors.torch import load_file, save_file

from case import Case, labels

BERT = dict(vocab_size=97, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=11,
            max_position_embeddings=30, type_vocab_size=3, hidden_act="gelu", layer_norm_eps=1e-6,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0, pad_token_id=0,
            bos_token_id=None, eos_token_id=None)
ROBERTA = dict(BERT, type_vocab_size=1, pad_token_id=1)
DISTILBERT = dict(vocab_size=97, dim=16, n_layers=1, n_heads=2, hidden_dim=11, max_position_embeddings=30, activation="gelu",
                  dropout=0.0, attention_dropout=0.0, qa_dropout=0.0, seq_classif_dropout=0.0, pad_token_id=0)
ALBERT = dict(BERT, embedding_size=10, num_hidden_layers=2, hidden_act="gelu_new", classifier_dropout_prob=0.0)
ELECTRA = dict(BERT, embedding_size=10, summary_last_dropout=0.0)
MPNET = dict({k: v for k, v in BERT.items() if k not in ("type_vocab_size", "classifier_dropout")}, pad_token_id=1)
WIDE = dict(hidden_size=25, num_hidden_layers=2, num_attention_heads=5, intermediate_size=29)

CLASSES = labels("a", "b", "c")
TAGS = labels("O", "X", "Y", "Z")


def as_old_bert(folder, config):
  """As BERT's first checkpoints, fine-tuned: gamma and beta, a buffer of positions, pooler and pre-training head left in."""
  config["torch_dtype"] = config.pop("dtype")
  config["transformers_version"] = "4.40.0"
  config["position_embedding_type"] = "absolute"
  tensors = load_file(folder / "model.safetensors")
  for old, new in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
    tensors = {k.replace(old, new): v for k, v in tensors.items()}
  tensors["bert.embeddings.position_ids"] = torch.arange(config["max_position_embeddings"])[None]
  tensors["bert.pooler.dense.weight"] = torch.zeros(16, 16)
  tensors["cls.seq_relationship.bias"] = torch.zeros(2)
  save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_decoder_bias(folder, config):
  """The bias under the tied layer's name, as converters wrote it that kept the other of two names."""
  tensors = load_file(folder / "model.safetensors")
  tensors["lm_head.decoder.bias"] = tensors.pop("lm_head.bias")
  save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def family(prefix, config, base):
  def case(suffix, settings=None, **options):
    settings = dict(base, **(settings or {}))
    types = settings.get("type_vocab_size", 0)
    return Case(f"{prefix}{suffix}", f"{config}Config", settings, token_types=types if types > 1 else 0, **options)
  return case


bert = family("Bert", "Bert", BERT)
roberta = family("Roberta", "Roberta", ROBERTA)
xlm_roberta = family("XLMRoberta", "XLMRoberta", ROBERTA)
camembert = family("Camembert", "Camembert", ROBERTA)
distilbert = family("DistilBert", "DistilBert", DISTILBERT)
albert = family("Albert", "Albert", ALBERT)
electra = family("Electra", "Electra", ELECTRA)
mpnet = family("MPNet", "MPNet", MPNET)

CASES = {
    "bert-multiple-choice": bert("ForMultipleChoice"),
    "bert-masked-lm-untied": bert("ForMaskedLM", dict(tie_word_embeddings=False), sides=("right",)),
    "bert-hub": bert("ForTokenClassification", TAGS, sides=("right",), adjust=as_old_bert),
    "roberta": roberta("Model", WIDE, probed=True),
    "roberta-masked-lm": roberta("ForMaskedLM", dict(pad_token_id=0), gradients=True),
    "roberta-sequence-classification": roberta("ForSequenceClassification", CLASSES),
    "roberta-multiple-choice": roberta("ForMultipleChoice", dict(type_vocab_size=3)),
    "xlm-roberta-token-classification": xlm_roberta("ForTokenClassification", TAGS),
    "xlm-roberta-masked-lm": xlm_roberta("ForMaskedLM", sides=("right",), adjust=with_decoder_bias),
    "camembert-question-answering": camembert("ForQuestionAnswering"),
    "camembert-masked-lm-untied": camembert("ForMaskedLM", dict(tie_word_embeddings=False, hidden_act="relu"), sides=("right",)),
    "distilbert": distilbert("Model", dict(dim=25, n_layers=2, n_heads=5, hidden_dim=29, sinusoidal_pos_embds=True), probed=True),
    "distilbert-masked-lm": distilbert("ForMaskedLM", dict(activation="relu")),
    "distilbert-sequence-classification": distilbert("ForSequenceClassification", CLASSES),
    "distilbert-token-classification": distilbert("ForTokenClassification", TAGS),
    "distilbert-question-answering": distilbert("ForQuestionAnswering"),
    "distilbert-multiple-choice": distilbert("ForMultipleChoice"),
    "albert": albert("Model", dict(hidden_size=25, num_attention_heads=5, num_hidden_layers=3, num_hidden_groups=2, inner_group_num=2),
                     probed=True),
    "albert-masked-lm": albert("ForMaskedLM", gradients=True),
    "albert-pretraining": albert("ForPreTraining", CLASSES),
    "albert-sequence-classification": albert("ForSequenceClassification", CLASSES),
    "albert-token-classification": albert("ForTokenClassification", TAGS),
    "albert-question-answering": albert("ForQuestionAnswering"),
    "albert-multiple-choice": albert("ForMultipleChoice"),
    "electra": electra("Model", WIDE, probed=True),
    "electra-masked-lm": electra("ForMaskedLM", dict(hidden_act="relu")),
    "electra-pretraining": electra("ForPreTraining", dict(embedding_size=16, hidden_act="relu")),
    "electra-sequence-classification": electra("ForSequenceClassification", CLASSES),
    "electra-token-classification": electra("ForTokenClassification", TAGS),
    "electra-question-answering": electra("ForQuestionAnswering"),
    "electra-multiple-choice": electra("ForMultipleChoice", dict(summary_activation="relu")),
    "mpnet": mpnet("Model", dict(WIDE, max_position_embeddings=180), probed=True, single=170),
    "mpnet-masked-lm": mpnet("ForMaskedLM", gradients=True),
    "mpnet-sequence-classification": mpnet("ForSequenceClassification", CLASSES),
    "mpnet-token-classification": mpnet("ForTokenClassification", TAGS),
    "mpnet-question-answering": mpnet("ForQuestionAnswering"),
    "mpnet-multiple-choice": mpnet("ForMultipleChoice"),
}
