#!/usr/bin/env python3
"""What transformers' BART makes of a published model's lexicon: g2p.json, digests and counts, no data.

    SOTTO_FIXTURES=FOLDER python3 tests/golden/make_g2p_golden.py

needs FOLDER/models/bart-g2p-us: us_bart.safetensors, us_bart_config.json and us_gold.json as misaki publishes them.
"""
import json
import os
import sys
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

WORDS, GROUP, NEW_TOKENS = 2000, 25, 60
PAD, START, END, UNKNOWN = range(4)


def pronunciations(entry):
  """A word has one, or one for each part of speech."""
  return [p for p in entry.values() if p] if isinstance(entry, dict) else [entry]


def main():
  folder = os.environ.get("SOTTO_FIXTURES")
  if not folder:
    print("skipped: SOTTO_FIXTURES names no folder")
    return
  folder = Path(folder) / "models" / "bart-g2p-us"
  config = json.loads((folder / "us_bart_config.json").read_text())
  letters, sounds = config["grapheme_chars"], config["phoneme_chars"]
  lexicon = json.loads((folder / "us_gold.json").read_text())
  words = [w for w in lexicon if all(c in letters[4:] for c in w)]
  words = [words[i * len(words) // WORDS] for i in range(WORDS)]
  torch.set_num_threads(1)
  model = transformers.BartForConditionalGeneration(transformers.BartConfig(**config)).eval()
  missing, unexpected = model.load_state_dict(load_file(folder / "us_bart.safetensors"), strict=False)
  model.tie_weights()
  assert not unexpected and all("embed_tokens" in k or k in ("lm_head.weight", "final_logits_bias") for k in missing), (missing, unexpected)
  settings = transformers.GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1, pad_token_id=PAD,
                                           eos_token_id=END, decoder_start_token_id=START)
  spelled, right, closest = [], 0, 1e9
  for word in words:
    ids = torch.tensor([[START, *(letters.index(c, 4) for c in word), END]])
    out = model.generate(input_ids=ids, generation_config=settings, return_dict_in_generate=True, output_logits=True)
    top = torch.cat(out.logits).topk(2).values
    closest = min(closest, (top[:, 0] - top[:, 1]).min().item())
    spelled.append("".join(sounds[t] for t in out.sequences[0].tolist() if t > UNKNOWN))
    right += spelled[-1] in pronunciations(lexicon[word])
  digests = [zlib.crc32("\n".join(spelled[i:i + GROUP]).encode()) for i in range(0, WORDS, GROUP)]
  path = Path(__file__).resolve().parent / "g2p.json"
  path.write_text(json.dumps(dict(words=WORDS, group=GROUP, max_new_tokens=NEW_TOKENS, right=right, digests=digests)) + "\n")
  print(f"g2p.json: {right} of {WORDS} words right; the closest choice wins by {closest:.2g}")


if __name__ == "__main__":
  transformers.logging.set_verbosity_error()
  with torch.no_grad():
    main()
