"""Tiny encoder-decoders: BART and its family, and T5 and its."""
import copy

import torch
from safetensors.torch import load_file, save_file

from case import Case, labels
from pointer_generator import BartForPointerGeneration

BART = dict(vocab_size=97, d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=4,
            encoder_ffn_dim=21, decoder_ffn_dim=23, max_position_embeddings=26, activation_function="gelu", dropout=0.0,
            attention_dropout=0.0, activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, scale_embedding=False,
            pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None)


PEGASUS = dict(BART, encoder_layers=1, decoder_layers=1, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
MARIAN = dict(BART, d_model=21, encoder_attention_heads=3, decoder_attention_heads=7, encoder_layers=1, activation_function="swish",
              pad_token_id=96, eos_token_id=0, decoder_start_token_id=96)
M2M100 = dict(BART, d_model=25, encoder_attention_heads=5, decoder_attention_heads=1, encoder_layers=1, activation_function="relu",
              scale_embedding=True, max_position_embeddings=8)  # fewer than there are tokens
T5 = dict(vocab_size=97, d_model=20, d_kv=7, d_ff=31, num_layers=3, num_decoder_layers=2, num_heads=3, relative_attention_num_buckets=8,
          relative_attention_max_distance=9, dropout_rate=0.0, layer_norm_epsilon=1e-5, feed_forward_proj="relu", pad_token_id=0,
          eos_token_id=1, decoder_start_token_id=0)
SHORT_T5 = dict(T5, num_layers=1, num_decoder_layers=1)
GATED_T5 = dict(SHORT_T5, feed_forward_proj="gated-gelu")


def save_bf16(model, folder):
  copy.deepcopy(model).bfloat16().save_pretrained(folder)


def seq2seq(model, config, settings, **options):
  return Case(model, config, settings, kind="encoder-decoder", save=save_bf16, **options)


def add_tensors(folder, **tensors):
  path = folder / "model.safetensors"
  held = load_file(path)
  some = next(iter(held.values()))
  save_file(held | {k: v.to(some.dtype).contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def with_positions(name):
  """As older checkpoints, which hold the tables of sines that they were trained with."""

  def adjust(folder, config):
    rows = config["max_position_embeddings"]
    generator = torch.Generator().manual_seed(5)
    # Not sines: what is stored counts where the class has a parameter for it, and is passed over where it has none.
    add_tensors(folder, **{f"model.{half}.embed_positions.{name}": torch.randn(rows, config["d_model"], generator=generator)
                           for half in ("encoder", "decoder")})

  return adjust


def with_output(folder, config):
  """As T5 1.1 and its kin: an output of its own, and a config in the manner of transformers 4."""
  generator = torch.Generator().manual_seed(6)
  add_tensors(folder, **{"lm_head.weight": 0.25 * torch.randn(config["vocab_size"], config["d_model"], generator=generator)})
  config.pop("scale_decoder_outputs", None)
  config["tie_word_embeddings"] = False


def with_leftovers(folder, config):
  """As the oldest checkpoints of T5: its embeddings under each of their names, and a table that nothing reads."""
  shared = load_file(folder / "model.safetensors")["shared.weight"]
  add_tensors(folder, **{"encoder.embed_tokens.weight": shared.clone(), "decoder.embed_tokens.weight": shared.clone(),
                         "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight":
                             torch.ones(config["relative_attention_num_buckets"], config["num_heads"])})


def alone(model, config, settings):
  """The decoder of an encoder-decoder as a language model."""
  return Case(model, config, dict(settings, max_position_embeddings=32, encoder_layers=2, decoder_layers=2, is_decoder=True, is_encoder_decoder=False),
              kind="decoder", positions=False, save=save_bf16)


CASES = {
    "bart": seq2seq("BartForConditionalGeneration", "BartConfig", dict(BART, encoder_layers=1, decoder_layers=1),
                    gradients=True),
    "bart-untied": seq2seq("BartForConditionalGeneration", "BartConfig",
                           dict(BART, encoder_layers=1, decoder_layers=2, activation_function="relu", scale_embedding=True,
                                tie_word_embeddings=False)),
    "bart-bare": seq2seq("BartModel", "BartConfig", dict(BART, encoder_layers=2, decoder_layers=1), generates=False),
    "bart-sequence-classification": seq2seq("BartForSequenceClassification", "BartConfig",
                                            dict(BART, encoder_layers=1, decoder_layers=1, **labels("a", "b", "c")),
                                            own_source=True),
    "bart-pointer-generation": seq2seq(BartForPointerGeneration, "BartConfig",
                                       dict(BART, encoder_layers=1, decoder_layers=2, scale_embedding=True, unk_token_id=3),
                                       unknown_words=4, sides=("right",), gradients=True),
    "mbart": seq2seq("MBartForConditionalGeneration", "MBartConfig", dict(BART, scale_embedding=True), probed=True),
    "bart-causal-lm": alone("BartForCausalLM", "BartConfig", dict(BART, scale_embedding=True)),
    "mbart-causal-lm": alone("MBartForCausalLM", "MBartConfig", dict(BART, tie_word_embeddings=False)),
    "pegasus-causal-lm": alone("PegasusForCausalLM", "PegasusConfig", PEGASUS),
    "marian-causal-lm": alone("MarianForCausalLM", "MarianConfig", MARIAN),
    "mbart-sequence-classification": seq2seq("MBartForSequenceClassification", "MBartConfig",
                                             dict(BART, encoder_layers=1, decoder_layers=1, **labels("a", "b", "c")),
                                             own_source=True),
    "bart-question-answering": seq2seq("BartForQuestionAnswering", "BartConfig", dict(BART, encoder_layers=1, decoder_layers=1),
                                       own_source=True),
    "pegasus": seq2seq("PegasusForConditionalGeneration", "PegasusConfig", dict(PEGASUS, decoder_layers=2, scale_embedding=True),
                       probed=True),
    "pegasus-bare": seq2seq("PegasusModel", "PegasusConfig", dict(PEGASUS, activation_function="relu", tie_word_embeddings=False),
                            generates=False),
    "marian": seq2seq("MarianMTModel", "MarianConfig", dict(MARIAN, scale_embedding=True), probed=True),
    "marian-separate": seq2seq("MarianMTModel", "MarianConfig",
                               dict(MARIAN, decoder_layers=1, share_encoder_decoder_embeddings=False, decoder_vocab_size=97),
                               adjust=with_positions("weight")),
    "marian-bare": seq2seq("MarianModel", "MarianConfig", dict(MARIAN, decoder_layers=1), generates=False),
    "m2m-100": seq2seq("M2M100ForConditionalGeneration", "M2M100Config", M2M100, probed=True, adjust=with_positions("weights")),
    "m2m-100-bare": seq2seq("M2M100Model", "M2M100Config", dict(M2M100, decoder_layers=1, scale_embedding=False), generates=False),
    "t5": seq2seq("T5ForConditionalGeneration", "T5Config", T5, gradients=True),
    "t5-gated": seq2seq("T5ForConditionalGeneration", "T5Config", GATED_T5, adjust=with_output),
    "t5-unscaled": seq2seq("T5ForConditionalGeneration", "T5Config",
                           dict(SHORT_T5, feed_forward_proj="gated-silu", tie_word_embeddings=False)),
    "t5-bare": seq2seq("T5Model", "T5Config", dict(T5, num_decoder_layers=None), generates=False, probed=True,
                       adjust=with_leftovers),
    "t5-encoder": Case("T5EncoderModel", "T5Config", dict(T5, relative_attention_num_buckets=6), probed=True, save=save_bf16),
    "t5-sequence-classification": seq2seq("T5ForSequenceClassification", "T5Config", dict(SHORT_T5, **labels("a", "b", "c")),
                                          own_source=True),
    "t5-token-classification": Case("T5ForTokenClassification", "T5Config", dict(SHORT_T5, **labels("O", "B", "I")), save=save_bf16),
    "t5-question-answering": seq2seq("T5ForQuestionAnswering", "T5Config", SHORT_T5, own_source=True),
    "mt5": seq2seq("MT5ForConditionalGeneration", "MT5Config",
                   dict(GATED_T5, relative_attention_num_buckets=32, relative_attention_max_distance=128), adjust=with_output,
                   single=160, decoder_single=150),
    "mt5-tied": seq2seq("MT5ForConditionalGeneration", "MT5Config", SHORT_T5),
    "mt5-encoder": Case("MT5EncoderModel", "MT5Config", GATED_T5, save=save_bf16),
    "mt5-token-classification": Case("MT5ForTokenClassification", "MT5Config", dict(GATED_T5, **labels("O", "B", "I")), save=save_bf16),
    "umt5": seq2seq("UMT5ForConditionalGeneration", "UMT5Config", dict(T5, feed_forward_proj="gated-gelu"), probed=True),
    "umt5-question-answering": seq2seq("UMT5ForQuestionAnswering", "UMT5Config", SHORT_T5, own_source=True),
    "mbart-question-answering": seq2seq("MBartForQuestionAnswering", "MBartConfig",
                                        dict(BART, encoder_layers=1, decoder_layers=1), own_source=True),
}
