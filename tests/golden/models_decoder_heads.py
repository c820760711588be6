"""The heads of decoders that classify texts and tokens and answer questions: reward models, rerankers and taggers."""
from case import labels
from models_decoders import LOCAL_GLOBAL, PLAIN, SMALL, TOKENS, as_transformers_4, decoder
from models_deberta import V2, v2
from models_modern import MODERN, modern

PADDED = dict(pad_token_id=0)  # which tells where a text ends
ONE = dict(SMALL, **PADDED, num_hidden_layers=1, rope_parameters=PLAIN)
GPT2 = dict(TOKENS, **PADDED, n_embd=24, n_layer=1, n_head=3, n_inner=37, n_positions=48)
GPT_NEO = dict(TOKENS, **PADDED, hidden_size=24, num_layers=1, num_heads=3, intermediate_size=37, window_size=5,
               attention_types=[[["local"], 1]], max_position_embeddings=40)
GPT_NEOX = dict(TOKENS, **PADDED, hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=37,
                max_position_embeddings=64, rope_parameters=dict(PLAIN, partial_rotary_factor=0.5))
QWEN35 = dict(TOKENS, **PADDED, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=8,
              intermediate_size=29, max_position_embeddings=64, rms_norm_eps=1e-5, linear_conv_kernel_dim=4, linear_key_head_dim=4,
              linear_value_head_dim=6, linear_num_key_heads=2, linear_num_value_heads=4,
              layer_types=["linear_attention", "full_attention"],
              rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5))
SCORE, THREE, TAGS = labels("good"), labels("no", "perhaps", "yes"), labels("O", "X", "Y", "Z")
CLASSES, TOKEN_CLASSES, ANSWERS = "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"

CASES = {
    "gpt2-sequence-classification": decoder("GPT2", dict(GPT2, **THREE), CLASSES),
    "gpt2-token-classification": decoder("GPT2", dict(GPT2, **TAGS), TOKEN_CLASSES),
    "gpt2-question-answering": decoder("GPT2", GPT2, ANSWERS),
    "gpt-neo-sequence-classification": decoder("GPTNeo", dict(GPT_NEO, **THREE), CLASSES),
    "gpt-neo-token-classification": decoder("GPTNeo", dict(GPT_NEO, **TAGS), TOKEN_CLASSES),
    "gpt-neo-question-answering": decoder("GPTNeo", GPT_NEO, ANSWERS),
    "gpt-neox-sequence-classification": decoder("GPTNeoX", dict(GPT_NEOX, **THREE), CLASSES),
    "gpt-neox-token-classification": decoder("GPTNeoX", dict(GPT_NEOX, **TAGS), TOKEN_CLASSES),
    "gpt-neox-question-answering": decoder("GPTNeoX", GPT_NEOX, ANSWERS),
    "llama-sequence-classification": decoder("Llama", dict(ONE, **SCORE), CLASSES, adjust=as_transformers_4),
    # Without an id for padding each text is read alone, to its end.
    "llama-sequence-classification-unpadded": decoder("Llama", dict(ONE, pad_token_id=None, **THREE), CLASSES, sides=()),
    "llama-token-classification": decoder("Llama", dict(ONE, **TAGS), TOKEN_CLASSES),
    "llama-question-answering": decoder("Llama", ONE, ANSWERS),
    "mistral-sequence-classification": decoder("Mistral", dict(ONE, sliding_window=5, **THREE), CLASSES),
    "mistral-question-answering": decoder("Mistral", dict(ONE, sliding_window=5), ANSWERS),
    "smollm3-question-answering": decoder("SmolLM3", ONE, ANSWERS),
    "smollm3-token-classification": decoder("SmolLM3", dict(ONE, **TAGS), TOKEN_CLASSES),
    "qwen2-sequence-classification": decoder("Qwen2", dict(ONE, **SCORE), CLASSES),
    "qwen2-question-answering": decoder("Qwen2", ONE, ANSWERS),
    "qwen3-sequence-classification": decoder("Qwen3", dict(ONE, head_dim=10, **THREE), CLASSES),
    "qwen3-question-answering": decoder("Qwen3", dict(ONE, head_dim=10), ANSWERS),
    "qwen3_5-sequence-classification": decoder("Qwen3_5", dict(QWEN35, **THREE), "TextForSequenceClassification", config="Qwen3_5Text"),
    "gemma2-sequence-classification": decoder("Gemma2", dict(ONE, head_dim=8, query_pre_attn_scalar=5, sliding_window=4,
                                                             attn_logit_softcapping=3.0, **THREE), CLASSES),
    "gemma2-token-classification": decoder("Gemma2", dict(ONE, head_dim=8, query_pre_attn_scalar=5, sliding_window=4, **TAGS),
                                           TOKEN_CLASSES),
    "gemma3-sequence-classification": decoder("Gemma3", dict(ONE, head_dim=8, query_pre_attn_scalar=11, sliding_window=5,
                                                             layer_types=["sliding_attention"], rope_parameters=LOCAL_GLOBAL, **THREE),
                                              "TextForSequenceClassification", config="Gemma3Text"),
    "phi3-sequence-classification": decoder("Phi3", dict(ONE, sliding_window=None, **THREE), CLASSES),
    "olmo2-sequence-classification": decoder("Olmo2", dict(ONE, **THREE), CLASSES),
    "modernbert-decoder-sequence-classification": decoder("ModernBertDecoder", dict(MODERN, num_hidden_layers=2, classifier_bias=True,
                                                                                    bos_token_id=1, cls_token_id=1, sep_token_id=2, **THREE), CLASSES, config="ModernBertDecoder"),
    "modernbert-multiple-choice": modern("ForMultipleChoice", dict(MODERN, num_hidden_layers=2)),
    "deberta-v2-multiple-choice": v2("ForMultipleChoice", dict(V2, num_hidden_layers=1), sides=("right",)),
}
