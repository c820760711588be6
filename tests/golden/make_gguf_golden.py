#!/usr/bin/env python3
"""Makes tests/golden/gguf: what ggml and llama.cpp's own converter make of random blocks and of the tiny models.

    LLAMA_CPP=ROOT python3 tests/golden/make_gguf_golden.py [blocks] [MODEL ...]

ROOT is where Debian's packages libggml0, llama.cpp-tools and python3-gguf are unpacked (default: /). See README.md."""
import ctypes
import json
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
OUT = HERE / "gguf"
ROOT = Path(os.environ.get("LLAMA_CPP", "/"))
LIB = ROOT / "usr/lib/x86_64-linux-gnu"

# Name, values and bytes of a block.
BLOCKS = {
  "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34), "Q2_K": (256, 84),
  "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210), "IQ4_NL": (32, 18), "MXFP4": (32, 17),
}


def blocks():
  """Random bytes, so every bit counts; scales are whatever halves they give: subnormal, infinite, not a number."""
  ggml = ctypes.CDLL(str(LIB / "libggml-base.so.0"))
  random = np.random.default_rng(1)
  tensors = {}
  for name, (values, size) in BLOCKS.items():
    decode = ggml["dequantize_row_" + (name.lower() if name in ("IQ4_NL", "MXFP4") else name[0].lower() + name[1:])]
    count = 1024 // values + (2 if values == 256 else 0)
    stored = random.integers(0, 256, (count, size), dtype=np.uint8)
    if name == "MXFP4":
      stored[:4, 0] = [0, 1, 2, 254]
    out = np.zeros(count * values, np.float32)
    decode(stored.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(out.size))
    tensors[name + ".blocks"] = stored
    tensors[name + ".bits"] = out.view(np.int32)
  OUT.mkdir(exist_ok=True)
  save_file(tensors, OUT / "blocks.safetensors")


def case(settings, model, config=None, **more):
  """Settings of a case of make_golden.py, changed to what the format can say."""
  return model, config or model.removesuffix("ForCausalLM").removesuffix("LMHeadModel").removesuffix("Model") + "Config", dict(settings, **more)


def models():
  """By file: the class in transformers, that of its config, and settings. All of them can be said in a GGUF file: what its
  writers leave out and its readers assume (windows of Qwen, every how many layers Gemma sees everything) is as assumed."""
  import make_golden as golden
  from models_decoders import LOCAL_GLOBAL, LONGROPE, PLAIN, SMALL, YARN
  from models_encoders import DISTILBERT, ROBERTA
  from models_modern import MODERN, NOMIC
  from models_recurrent import LFM2, MAMBA, QWEN
  from models_seq2seq import T5
  small = dict(SMALL, hidden_size=16, intermediate_size=19)
  gemma = dict(small, num_attention_heads=2, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8, num_hidden_layers=6, sliding_window=5, rope_parameters=LOCAL_GLOBAL)
  deltas = dict(QWEN, full_attention_interval=2)
  t5 = dict(T5, num_decoder_layers=1, relative_attention_num_buckets=32, relative_attention_max_distance=128)
  return {
    "llama": case(small, "LlamaForCausalLM", head_dim=10, rope_parameters=PLAIN, tie_word_embeddings=False),
    "llama3": case(golden.LLAMA3, "LlamaForCausalLM", hidden_size=18, intermediate_size=21, num_hidden_layers=1),
    "mistral": case(small, "MistralForCausalLM", num_key_value_heads=1, head_dim=8, sliding_window=None, rope_parameters=PLAIN),
    "smollm3": case(small, "SmolLM3ForCausalLM", num_hidden_layers=4, sliding_window=None, rope_parameters=PLAIN),
    "qwen2": case(small, "Qwen2ForCausalLM", rope_parameters=YARN),
    "qwen3": case(small, "Qwen3ForCausalLM", head_dim=10, rope_parameters=PLAIN, tie_word_embeddings=False),
    "granite": case(small, "GraniteForCausalLM", embedding_multiplier=3.0, attention_multiplier=0.3, residual_multiplier=0.7,
                    logits_scaling=2.5, rope_parameters=PLAIN),
    "olmo2": case(small, "Olmo2ForCausalLM", rope_parameters=PLAIN, tie_word_embeddings=False),
    "phi3": case(small, "Phi3ForCausalLM", hidden_size=24, num_attention_heads=3, num_key_value_heads=1, original_max_position_embeddings=9,
                 rope_parameters=LONGROPE, sliding_window=None, tie_word_embeddings=False),
    "phi3-window": case(small, "Phi3ForCausalLM", sliding_window=4, rope_parameters=dict(PLAIN, partial_rotary_factor=0.67)),
    "gemma2": case(small, "Gemma2ForCausalLM", head_dim=8, query_pre_attn_scalar=8, sliding_window=4, attn_logit_softcapping=3.0,
                   final_logit_softcapping=12.0, rope_parameters=PLAIN),
    "gemma3": case(gemma, "Gemma3ForCausalLM", "Gemma3TextConfig", final_logit_softcapping=12.0),
    "gemma-embedding": case(gemma, "Gemma3TextModel", use_bidirectional_attention=True),
    "gpt2": case(golden.GPT2, "GPT2LMHeadModel", n_embd=21, n_inner=31),
    "gpt2-untied": case(golden.GPT2, "GPT2LMHeadModel", n_embd=20, n_head=5, n_layer=1, n_inner=None, tie_word_embeddings=False),
    "gpt-neox": case(small, "GPTNeoXForCausalLM", num_attention_heads=2, rope_parameters=dict(PLAIN, partial_rotary_factor=0.5),
                     tie_word_embeddings=False, hidden_act="gelu"),
    "gpt-neox-sequential": case(small, "GPTNeoXForCausalLM", num_hidden_layers=1, num_attention_heads=2, use_parallel_residual=False,
                                rope_parameters=dict(PLAIN, partial_rotary_factor=0.25), hidden_act="gelu"),
    "mamba": case(MAMBA, "MambaForCausalLM"),
    "lfm2": case(LFM2, "Lfm2ForCausalLM"),
    "qwen35": case(deltas, "Qwen3_5ForCausalLM", "Qwen3_5TextConfig"),
    "qwen35-even": case(deltas, "Qwen3_5ForCausalLM", "Qwen3_5TextConfig", linear_num_value_heads=2, tie_word_embeddings=True),
    "bert": case(golden.BERT, "BertModel", hidden_size=20, num_attention_heads=5, intermediate_size=23),
    "roberta": case(ROBERTA, "RobertaModel", num_hidden_layers=2),
    "distilbert": case(DISTILBERT, "DistilBertModel", n_layers=2),
    "nomic-bert": case(NOMIC, "NomicBertModel", max_position_embeddings=2048, type_vocab_size=2),
    "modernbert": case(MODERN, "ModernBertModel", hidden_size=12, intermediate_size=10, num_hidden_layers=4, global_attn_every_n_layers=3,
                       rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=160000.0),
                                            sliding_attention=dict(rope_type="default", rope_theta=10000.0))),
    "t5": case(t5, "T5ForConditionalGeneration", "T5Config"),
    "t5-gated": case(t5, "T5ForConditionalGeneration", "T5Config", feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "t5-encoder": case(t5, "T5EncoderModel", "T5Config"),
    "umt5": case(t5, "UMT5ForConditionalGeneration", "UMT5Config", feed_forward_proj="gated-gelu"),
  }


def converter():
  """llama.cpp's, made to take models without a tokenizer: the tokens are called t0, t1, ..."""
  sys.path[:0] = [str(ROOT / "usr/lib/python3/dist-packages"), str(ROOT / "usr/share/llama.cpp/llama.cpp-tools")]
  import conversion
  import gguf
  from conversion.base import ModelBase

  def tokens(self):
    size = self.hparams["vocab_size"]
    self.gguf_writer.add_tokenizer_model("bert" if "Bert" in type(self).__name__ else "gpt2")
    self.gguf_writer.add_token_list([f"t{i}" for i in range(size)])

  def convert(folder, out):
    hparams = ModelBase.load_hparams(folder, False)
    cls = conversion.get_model_class(hparams["architectures"][0])
    cls = type(cls.__name__, (cls,), {"set_vocab": tokens, "model_arch": cls.model_arch})
    cls.no_mtp = True
    model = cls(folder, gguf.LlamaFileType.MOSTLY_F16, out)
    for key, value in json.loads((folder / "config.json").read_text()).items():
      model.hparams.setdefault(key, value)  # transformers leaves out what it does not know
    model.write()

  return convert


def adjust(config, settings):
  """What the converter takes for granted in config.json."""
  kind = config["model_type"]
  if kind == "gemma3_text":
    config["sliding_window"] = settings["sliding_window"]  # as published: transformers halves it when it reads one
  if kind == "gpt2":
    config.setdefault("n_ctx", config["n_positions"])
  if kind == "gpt_neox":
    config["rotary_pct"] = config["rope_parameters"]["partial_rotary_factor"]
  if kind == "modernbert":
    config["global_attn_every_n_layers"] = 3
  if kind == "lfm2":
    config |= {"block_ffn_dim_multiplier": 1.0, "block_multiple_of": 1}
  if kind == "nomic_bert":
    config |= {"n_embd": config["hidden_size"], "n_layer": config["num_hidden_layers"], "n_head": config["num_attention_heads"],
               "n_inner": config["intermediate_size"], "n_positions": 2048, "max_trained_positions": 2048,
               "layer_norm_epsilon": config["layer_norm_eps"], "activation_function": "swiglu", "causal": False,
               "prenorm": False, "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "rotary_emb_fraction": 1.0,
               "rotary_emb_interleaved": False, "rotary_emb_scale_base": None,
               "rotary_emb_base": config["rope_parameters"]["rope_theta"]}


def make_model(convert, name, cls, config, settings, outputs):
  """The file in f16, in which every weight is exact, and what Hugging Face's code answers with these weights."""
  import tempfile

  import make_golden as golden
  import torch
  import transformers
  seed = golden.seed_of("gguf " + name)
  torch.manual_seed(seed)
  config = getattr(transformers, config)(**settings)
  config._attn_implementation = "eager"
  model = getattr(transformers, cls)(config).eval()
  if "shared.weight" in model.state_dict() and settings.get("tie_word_embeddings") is False:
    model.lm_head = torch.nn.Linear(config.d_model, config.vocab_size, bias=False)  # which a fresh one ties all the same
  golden.randomize(model, seed)
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder) / name
    model.save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    adjust(stored, settings)
    (folder / "config.json").write_text(json.dumps(stored))
    vocab = {"model": {"type": "WordPiece", "vocab": {f"t{i}": i for i in range(stored["vocab_size"])}}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(vocab))
    convert(folder, OUT / f"{name}.gguf")
  g = golden.generator(seed)
  inputs = {"input_ids": torch.randint(2, settings["vocab_size"], (1, 12), generator=g)}
  if config.is_encoder_decoder:
    inputs["decoder_input_ids"] = torch.randint(2, settings["vocab_size"], (1, 7), generator=g)
  with torch.no_grad():
    out = model(**inputs)
    wide = golden.widened(model)(**inputs)
  key = "logits" if "logits" in out else "last_hidden_state"
  assert ((out[key] - wide[key]).abs() <= 2e-5 * (1 + wide[key].abs())).all(), name
  for input_name, ids in inputs.items():
    outputs[f"{name}.{input_name}"] = ids.to(torch.int32).numpy()
  outputs[name + "." + key] = out[key].float().numpy()


def make_models(wanted):
  path = OUT / "models.safetensors"
  outputs = load_file(path) if path.exists() else {}
  cases = models()
  outputs = {k: v for k, v in outputs.items() if k.split(".")[0] in cases}
  convert = converter()
  for name in cases:
    if not wanted or name in wanted:
      make_model(convert, name, *cases[name], outputs)
  save_file(outputs, path)


def main():
  wanted = sys.argv[1:]
  OUT.mkdir(exist_ok=True)
  if not wanted or "blocks" in wanted:
    blocks()
  if not wanted or set(wanted) - {"blocks"}:
    make_models(wanted)


if __name__ == "__main__":
  main()
