#!/usr/bin/env python3
"""Compares `sotto` with the reference implementation on models that nobody chose: the tiny models of make_golden.py with
their settings changed at random, as a checkpoint folder each.

    python3 tests/golden/compare_random.py [--rounds N] [--seed N] [--sotto build/native/sotto] [MODEL ...]

needs what make_golden.py needs. For each model it prints what differs: the logits of a text with and without
padding, greedy continuations and beams; what `sotto` refuses is counted and its sentences are listed.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
import transformers

import make_golden
from make_golden import CASES, randomize, store_model

TOLERANCE = 2e-4

# What may change in a config, where the case's config has the key.
CHOICES = dict(
    hidden_act=["gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh"], hidden_activation=["gelu_pytorch_tanh", "gelu"],
    activation_function=["gelu", "gelu_new", "relu", "silu"], activation=["gelu", "relu"],
    tie_word_embeddings=[True, False], rms_norm_eps=[1e-6, 1e-3], layer_norm_eps=[1e-12, 1e-3], layer_norm_epsilon=[1e-5, 1e-2],
    sliding_window=[2, 7, 50], attention_bias=[True, False], mlp_bias=[True, False], num_key_value_heads=[1, 2, 4],
    use_parallel_residual=[True, False], scale_embedding=[True, False], num_hidden_layers=[1, 2, 3], n_layer=[1, 3],
    scale_attn_weights=[True, False], scale_attn_by_inverse_layer_idx=[True, False],
    head_dim=[4, 6, 12], intermediate_size=[5, 64], n_inner=[None, 7], type_vocab_size=[1, 2],
    encoder_layers=[1, 3], decoder_layers=[1, 3], encoder_ffn_dim=[8, 33], decoder_ffn_dim=[8, 33],
    query_pre_attn_scalar=[3, 16], attn_logit_softcapping=[None, 2.0], final_logit_softcapping=[None, 5.0],
    num_layers=[1, 2], d_ff=[9, 40], d_kv=[4, 10], relative_attention_num_buckets=[4, 8, 32], relative_attention_max_distance=[6, 128],
    feed_forward_proj=["relu", "gated-gelu", "gated-silu", "gelu"], embedding_size=[8, 20], num_hidden_groups=[1],
)
ROPES = [dict(rope_type="default", rope_theta=10000.0), dict(rope_type="linear", rope_theta=1000.0, factor=2.5),
         dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16),
         dict(rope_type="yarn", rope_theta=10000.0, factor=2.0, original_max_position_embeddings=16),
         dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=8, attention_factor=1.1,
              truncate=False)]


def mutated(case, chance):
  settings = dict(case.settings)
  for key, choices in CHOICES.items():
    if key in settings and chance.random() < 0.4:
      settings[key] = chance.choice(choices)
  rope = settings.get("rope_parameters")
  if rope and "rope_type" in rope and rope["rope_type"] == "default" and chance.random() < 0.6:
    settings["rope_parameters"] = dict(chance.choice(ROPES), **{k: v for k, v in rope.items() if k == "partial_rotary_factor"})
  return settings


def tensor_of(found):
  return torch.tensor(found["data"], dtype=torch.float32).reshape(found["shape"])


class Sotto:
  def __init__(self, program):
    self.program = program

  def __call__(self, command, folder, *args):
    done = subprocess.run([self.program, command, "--model", str(folder), "--threads", "1", *args], capture_output=True, text=True)
    if done.returncode not in (0, 1):
      raise AssertionError(f"sotto {command} ended with {done.returncode}: {done.stderr[-300:]}")
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip()


def commas(ids):
  return ",".join(str(int(i)) for i in ids)


def compare(name, case, chance, sotto, folder):
  settings = mutated(case, chance)
  config_class = getattr(transformers, case.config)
  try:
    config = config_class(**settings)
    config._attn_implementation = "eager"
    model = getattr(transformers, case.model)(config).eval()
  except Exception as error:  # the reference itself does not take this mix
    return "impossible", f"{type(error).__name__}: {error}"[:120]
  randomize(model, chance.randrange(2**31))
  # Not the case's save and adjust: those make the older checkpoints of one config.
  store_model(make_golden.Case(case.model, case.config), model, folder)
  model = type(model).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
  length = chance.randint(1, 22)
  low = 5
  ids = [chance.randrange(low, 97) for _ in range(length)]
  if case.own_source:
    ids[-1] = config.eos_token_id
  inputs = dict(input_ids=torch.tensor([ids]))
  arguments = ["--ids", commas(ids)]
  pad = chance.choice([0, 0, 2]) if length > 4 and not case.own_source and "rwkv" not in name and "mamba" not in name else 0
  if pad:
    mask = [1] * (length - pad) + [0] * pad
    if config.is_encoder_decoder or case.kind == "encoder":
      inputs["attention_mask"] = torch.tensor([mask])
      arguments += ["--mask", commas(mask)]
    else:
      pad = 0
  if config.is_encoder_decoder and not case.own_source:
    target = [chance.randrange(low, 97) for _ in range(chance.randint(1, 12))]
    inputs["decoder_input_ids"] = torch.tensor([target])
    arguments += ["--decoder-ids", commas(target)]
  try:
    with torch.no_grad():
      expected = make_golden.run(model, inputs, {})
  except (RuntimeError, IndexError) as error:  # heads that do not divide, a cache of too few layers
    return "impossible", f"{error}"[:120]
  found = sotto("logits", folder, *arguments)
  if isinstance(found, str):
    return "refused", found
  main = expected.get("logits", expected.get("last_hidden_state"))
  got = tensor_of(found)
  if got.numel() != main.numel():
    return "differs", f"shape {list(got.shape)} for {list(main.shape)}"
  got = got.reshape(main.shape)
  if pad and main.dim() > 2 and "decoder_input_ids" not in inputs:
    got, main = got[:, :-pad], main[:, :-pad]
  difference = ((got - main).abs() / (1 + main.abs())).max().item()
  if not difference < TOLERANCE:
    return "differs", f"logits by {difference:.2e}; {settings}"
  if case.generates and case.kind != "encoder" and case.cached and "logits" in expected and hasattr(model, "generate"):
    options = dict(max_new_tokens=chance.randint(1, 12), do_sample=False)
    if chance.random() < 0.5:
      options |= dict(num_beams=chance.randint(2, 4), length_penalty=chance.choice([0.0, 1.0, 2.0]), early_stopping=chance.choice([True, False]))
    if chance.random() < 0.3:
      options |= dict(repetition_penalty=1.3)
    if chance.random() < 0.3:
      options |= dict(no_repeat_ngram_size=2)
    if chance.random() < 0.3:
      options |= dict(min_new_tokens=3)
    if getattr(config, "eos_token_id", None) is None:
      options.pop("min_new_tokens", None)
      if chance.random() < 0.5:
        options |= dict(eos_token_id=chance.randrange(97), pad_token_id=1)
    if "M2M100" in case.config or "Marian" in case.config:
      options |= chance.choice([{}, dict(forced_bos_token_id=chance.randrange(97)), dict(bad_words_ids=[[config.pad_token_id], [7, 9]])])
    room = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 999
    if not config.is_encoder_decoder and length + options["max_new_tokens"] > room:
      return "agrees", ""
    # transformers 5.12 does not reorder the states of a purely recurrent model between beams.
    cached = dict(use_cache=False) if case.config in ("MambaConfig", "RwkvConfig") and "num_beams" in options else {}
    try:
      with torch.no_grad():
        wanted = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, length, dtype=torch.long), **options,
                                **cached)[0].tolist()
    except IndexError as error:  # its cache has as many layers as the encoder, and the decoder has more
      return "impossible", f"generate: {error}"[:120]
    arguments = [a for k, v in options.items() for a in ("--set", f"{k}={json.dumps(v)}")]
    got = sotto("generate", folder, "--ids", commas(ids), *arguments)
    if isinstance(got, str):
      return "refused", "generate: " + got
    if got["ids"][0] != wanted:
      return "differs", f"generate {options}: {got['ids'][0]} for {wanted}; {settings}"
  return "agrees", ""


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rounds", type=int, default=4)
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--sotto", default="build/native/sotto")
  parser.add_argument("models", nargs="*")
  args = parser.parse_args()
  torch.set_num_threads(1)
  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  chance, sotto, totals = random.Random(args.seed), Sotto(args.sotto), Counter()
  refusals = Counter()
  with tempfile.TemporaryDirectory() as scratch:
    for name in args.models or sorted(CASES):
      outcomes = Counter()
      for _ in range(args.rounds):
        try:
          outcome, why = compare(name, CASES[name], chance, sotto, Path(scratch) / "model")
        except Exception as error:
          outcome, why = "failed", f"{type(error).__name__}: {error}"[:500]
        outcomes[outcome] += 1
        if outcome in ("differs", "failed"):
          print(f"{name} {outcome}: {why}", flush=True)
        elif outcome != "agrees":
          refusals[f"{name} {outcome}: {why}"] += 1
      totals += outcomes
      print(name, dict(outcomes), flush=True)
  for why, count in refusals.most_common():
    print(count, why)
  print(dict(totals))
  return 1 if totals["differs"] or totals["failed"] else 0


if __name__ == "__main__":
  sys.exit(main())
