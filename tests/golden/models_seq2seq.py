"""Tiny encoder-decoders: BART and its family, and T5."""
import copy

from case import Case, labels
from pointer_generator import BartForPointerGeneration

BART = dict(vocab_size=97, d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=4,
            encoder_ffn_dim=21, decoder_ffn_dim=23, max_position_embeddings=26, activation_function="gelu", dropout=0.0,
            attention_dropout=0.0, activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, scale_embedding=False,
            pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None)


def save_bf16(model, folder):
  copy.deepcopy(model).bfloat16().save_pretrained(folder)


def seq2seq(model, config, settings, **options):
  return Case(model, config, settings, kind="encoder-decoder", save=save_bf16, **options)


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
    "mbart-question-answering": seq2seq("MBartForQuestionAnswering", "MBartConfig",
                                        dict(BART, encoder_layers=1, decoder_layers=1), own_source=True),
}
