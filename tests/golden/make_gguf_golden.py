#!/usr/bin/env python3
"""Makes tests/golden/gguf: what ggml and llama.cpp's own converter make of random blocks and of the tiny models.

    LLAMA_CPP=ROOT python3 tests/golden/make_gguf_golden.py [blocks] [quantized] [MODEL ...]

ROOT is where Debian's packages libggml0, llama.cpp-tools and python3-gguf are unpacked (default: /). See README.md."""
import ctypes
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

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


# The models of tests/golden/models that are converted.
MODELS = ["bert", "gpt2", "llama", "llama3", "mamba"]


def converter():
  """llama.cpp's, made to take models without a tokenizer: the tokens are called t0, t1, ..."""
  sys.path[:0] = [str(ROOT / "usr/lib/python3/dist-packages"), str(ROOT / "usr/share/llama.cpp/llama.cpp-tools")]
  import conversion
  from conversion.base import ModelBase

  def tokens(self):
    size = self.hparams["vocab_size"]
    self.gguf_writer.add_tokenizer_model("bert" if "Bert" in type(self).__name__ else "gpt2")
    self.gguf_writer.add_token_list([f"t{i}" for i in range(size)])
    if "Bert" in type(self).__name__:
      self.gguf_writer.add_token_type_count(self.hparams["type_vocab_size"])

  def convert(folder, out, kind):
    hparams = ModelBase.load_hparams(folder, False)
    cls = conversion.get_model_class(hparams["architectures"][0])
    cls = type(cls.__name__, (cls,), {"set_vocab": tokens, "model_arch": cls.model_arch})
    import gguf
    model = cls(folder, getattr(gguf.LlamaFileType, kind), out)
    model.write()

  return convert


def model(convert, name):
  """In f16: the test compares every tensor with the checkpoint's."""
  import json
  import shutil
  import tempfile
  with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder) / name
    shutil.copytree(HERE / "models" / name, folder)
    (folder / "golden.safetensors").unlink()
    (folder / "gradients.safetensors").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    # What the converter takes for granted.
    if config["model_type"] == "gpt2":
      config.setdefault("n_ctx", config["n_positions"])
    if config["model_type"] == "gemma3_text":
      vocab = {"model": {"vocab": {f"t{i}": i for i in range(config["vocab_size"])}}, "added_tokens": []}
      (folder / "tokenizer.json").write_text(json.dumps(vocab))
    (folder / "config.json").write_text(json.dumps(config))
    convert(folder, OUT / f"{name}.gguf", "MOSTLY_F16")


def main():
  wanted = sys.argv[1:]
  if not wanted or "blocks" in wanted:
    blocks()
  models = [name for name in MODELS if not wanted or name in wanted]
  if models:
    convert = converter()
    for name in models:
      try:
        model(convert, name)
      except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
  main()
