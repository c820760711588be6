#!/usr/bin/env python3
"""Makes the golden files: what the reference implementation answers on tiny random models.

    python3 tests/golden/make_golden.py [SECTION or MODEL ...]

needs PyTorch 2, Hugging Face transformers 5, tokenizers and safetensors; a setup without them runs the
tests on the committed files. Everything is seeded and single-threaded, so a second run on the same
machine writes the same bytes. What the files hold and how to compare is in README.md beside this.
"""
import copy
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when the library is loaded

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from case import Case, labels

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
VOCAB = 97
IGNORED = -100  # the label of a position that carries no loss

# The float32 reference must agree with float64 to this, or a golden value would be mostly rounding.
WELL_CONDITIONED = 2e-5


# --- Tiny models ------------------------------------------------------------------------------------

BERT = dict(vocab_size=VOCAB, hidden_size=36, num_hidden_layers=2, num_attention_heads=3, intermediate_size=53,
            max_position_embeddings=40, type_vocab_size=3, hidden_act="gelu", layer_norm_eps=1e-6,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0)
GPT2 = dict(vocab_size=VOCAB, n_embd=36, n_head=3, n_layer=2, n_inner=53, n_positions=48, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, activation_function="gelu_new", bos_token_id=None, eos_token_id=None, pad_token_id=None)
LLAMA = dict(vocab_size=VOCAB, hidden_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
             intermediate_size=53, max_position_embeddings=128, rms_norm_eps=1e-5, hidden_act="silu",
             rope_parameters=dict(rope_type="default", rope_theta=500000.0), tie_word_embeddings=False,
             bos_token_id=None, eos_token_id=None, pad_token_id=None)
LLAMA3 = dict(LLAMA, hidden_size=42, num_attention_heads=6, num_key_value_heads=3, head_dim=12, intermediate_size=45,
              attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
              rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                   high_freq_factor=4.0, original_max_position_embeddings=64))


def save_sharded_f16(model, folder):
  copy.deepcopy(model).half().save_pretrained(folder, max_shard_size="60kB")


def save_bf16(model, folder):
  copy.deepcopy(model).bfloat16().save_pretrained(folder)


def as_transformers_4(folder, config):
  """config.json in the manner of transformers 4."""
  config["torch_dtype"] = config.pop("dtype")
  config["transformers_version"] = "4.40.0"


def as_oldest_gpt2(folder, config):
  """No "transformer." before the names, and the causal mask as a tensor."""
  as_transformers_4(folder, config)
  tensors = {k.removeprefix("transformer."): v for k, v in load_file(folder / "model.safetensors").items()}
  n = config["n_positions"]
  for layer in range(config["n_layer"]):
    tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
  save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def as_old_llama(folder, config):
  as_transformers_4(folder, config)
  config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
  config["rope_scaling"] = None
  config["pretraining_tp"] = 1


def bert(suffix, settings, **options):
  return Case(f"Bert{suffix}", "BertConfig", settings, token_types=BERT["type_vocab_size"], **options)


def gpt2(suffix, settings, **options):
  return Case(f"GPT2{suffix}", "GPT2Config", settings, kind="decoder", **options)


# By folder. A family of architectures has its cases in a file of its own: models_*.py.
CASES = {
    "bert-sequence-classification": bert("ForSequenceClassification", dict(BERT, **labels("negative", "neutral", "positive")),
                                         adjust=as_transformers_4),
    "bert-token-classification": bert("ForTokenClassification",
                                      dict(BERT, num_hidden_layers=1, **labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))),
    "bert-question-answering": bert("ForQuestionAnswering", dict(BERT, num_hidden_layers=1)),
    "bert-masked-lm": bert("ForMaskedLM", BERT, gradients=True),
    "bert-next-sentence": bert("ForNextSentencePrediction", dict(BERT, num_hidden_layers=1, hidden_act="relu")),
    "bert-pretraining": bert("ForPreTraining", dict(BERT, num_hidden_layers=1, hidden_act="gelu_new")),
    "bert": bert("Model", dict(BERT, hidden_size=35, num_attention_heads=5, layer_norm_eps=1e-12), probed=True),
    "gpt2": gpt2("LMHeadModel", GPT2, probed=True, gradients=True),
    "gpt2-scaled": gpt2("LMHeadModel", dict(GPT2, n_embd=35, n_head=5, n_layer=3, n_inner=None, activation_function="gelu",
                                            scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
                        save=save_sharded_f16),
    "gpt2-hub": gpt2("LMHeadModel", dict(GPT2, n_layer=1), adjust=as_oldest_gpt2),
    "gpt2-bare": gpt2("Model", dict(GPT2, n_layer=1, activation_function="relu"), generates=False),
    "llama": Case("LlamaForCausalLM", "LlamaConfig", LLAMA, kind="decoder", probed=True, gradients=True, adjust=as_old_llama),
    "llama3": Case("LlamaForCausalLM", "LlamaConfig", LLAMA3, kind="decoder", save=save_bf16),
}
for family in sorted(HERE.glob("models_*.py")):
  CASES.update(importlib.import_module(family.stem).CASES)


def generator(seed):
  return torch.Generator().manual_seed(seed)


def seed_of(name):
  """A seed that a case keeps whatever is added beside it."""
  return zlib.crc32(name.encode())


def randomize(model, seed):
  """Weights that make every term matter: wide matrices, norms away from 1, biases away from 0.

  All values are exact in float16 and bfloat16 alike (8 bits of mantissa, exponents in range), so a
  model may be stored in either, and float32 files compress to half.
  """
  g = generator(seed)
  with torch.no_grad():
    biases = [(k, b) for k, b in model.named_buffers() if k == "final_logits_bias"]
    for name, p in [*model.named_parameters(), *biases]:
      if not p.requires_grad and p.dim() == 2 and "embed_positions" in name:
        continue  # a table of sines
      noise = torch.randn(p.shape, generator=g)
      lower = name.lower()
      if "norm" in lower or ".ln_" in lower or lower.startswith("ln_"):
        centre = 0 if "Qwen3_5" in type(model).__name__ and "linear_attn" not in lower else 1  # it adds 1 itself
        value = centre + 0.3 * noise if name.endswith("weight") else 0.3 * noise
      elif name.endswith("bias"):
        value = 0.3 * noise
      elif "embed" in lower or "wte" in lower or "wpe" in lower:
        value = 0.5 * noise
      else:
        value = 0.25 * noise
      value = value.sign() * value.abs().clamp(2.0**-12, 8.0)
      p.copy_(value.bfloat16().half().float())
  return model


def write_json(path, value):
  path.write_text(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def clean_config(folder):
  """Keeps config.json free of what the writing version says about itself."""
  path = folder / "config.json"
  config = json.loads(path.read_text())
  config["transformers_version"] = "5.12"
  return path, config


def class_of(case):
  return case.model if isinstance(case.model, type) else getattr(transformers, case.model)


def store_model(case, model, folder):
  """Saves as save_pretrained does, in the variations that files on the Hub show."""
  if folder.exists():
    shutil.rmtree(folder)
  folder.mkdir()
  if case.save:
    case.save(model, folder)
  else:
    model.save_pretrained(folder)
  (folder / "generation_config.json").unlink(missing_ok=True)
  path, config = clean_config(folder)
  if case.adjust:
    case.adjust(folder, config)
  write_json(path, config)


def load_model(name, folder=None):
  cls = class_of(CASES[name])
  model, info = cls.from_pretrained(folder or MODELS / name, attn_implementation="eager", dtype=torch.float32,
                                    output_loading_info=True)
  missing = [k for k in info["missing_keys"] if k != "lm_head.weight"]
  assert not missing and not info["mismatched_keys"], (name, info)
  return model.eval()


def padded(lengths, side, g, low=1, high=VOCAB, pad=0):
  """ids and mask [batch, longest]; the ids under the padding are `pad`."""
  width = max(lengths)
  ids = torch.full((len(lengths), width), pad, dtype=torch.int64)
  mask = torch.zeros(len(lengths), width, dtype=torch.int64)
  for row, n in enumerate(lengths):
    at = slice(0, n) if side == "right" else slice(width - n, width)
    ids[row, at] = torch.randint(low, high, (n,), generator=g)
    mask[row, at] = 1
  return ids, mask


def counted_positions(mask):
  """Positions over real tokens only, as generate() counts them."""
  return (mask.cumsum(-1) - 1).clamp(min=0)


def outputs_of(model, output):
  """The reference's output under the names of README.md."""
  found = {}
  if "last_hidden_state" in output:
    found["last_hidden_state"] = output.last_hidden_state
  if getattr(output, "pooler_output", None) is not None:
    found["pooler_output"] = output.pooler_output
  if "start_logits" in output:
    found["logits"] = torch.stack([output.start_logits, output.end_logits], -1)
  elif "prediction_logits" in output:
    found["logits"] = output.prediction_logits
    found["next_sentence"] = output.get("seq_relationship_logits", output.get("sop_logits"))
  elif "logits" in output:
    found["logits"] = output.logits
  if getattr(output, "encoder_last_hidden_state", None) is not None:
    found["encoder_last_hidden_state"] = output.encoder_last_hidden_state
  for key in ("attentions", "hidden_states", "encoder_attentions", "decoder_attentions", "cross_attentions",
              "encoder_hidden_states", "decoder_hidden_states"):
    values = [v for v in getattr(output, key, None) or () if v is not None]
    for i, value in enumerate(values):
      if key == "attentions" and value.dim() != 4:
        continue  # RWKV names hidden states so
      found[f"{key}.{i}"] = value
  return found


def mask_for(key, inputs):
  """The mask of the half of the model that an output is of."""
  decoded = "decoder_attention_mask" in inputs and not key.startswith("encoder_")
  return inputs.get("decoder_attention_mask" if decoded else "attention_mask")


def widened(model):
  """A float64 copy. Not by the eager attention, which for a fully masked row gives NaN in float64, where another is possible."""
  wide = copy.deepcopy(model).double()
  if wide._supports_sdpa and not getattr(wide.config, "attn_logit_softcapping", None):
    wide.set_attn_implementation("sdpa")
  return wide


def run(model, inputs, options):
  """Outputs; the rows of a multiple choice are the choices of one question."""
  if not type(model).__name__.endswith("ForMultipleChoice"):
    return outputs_of(model, model(**inputs, **options))
  found = outputs_of(model, model(**{k: v[None] for k, v in inputs.items()}, **options))
  return found | dict(logits=found["logits"][0])


def run_checked(model, inputs, **options):
  """Outputs in float32, after checking that float64 gives the same."""
  with torch.no_grad():
    # A copy: some rotary positions remember how long the longest sequence was.
    got = run(copy.deepcopy(model), inputs, options)
    wide = {}
    causal = inputs.get("decoder_attention_mask")
    blind = causal is not None and (causal[:, 0] == 0).any() and not model._supports_sdpa  # see widened
    if not blind and ("attention_mask" not in inputs or not getattr(model.config, "attn_logit_softcapping", None)):
      wide = run(widened(model), inputs, options)
  for key, value in got.items():
    if key not in wide:  # attentions
      continue
    difference = (value.double() - wide[key].double()).abs() / (1 + wide[key].double().abs())
    mask = mask_for(key, inputs)
    if mask is not None and value.dim() > 2:
      difference = blank_padding(key, difference, mask)
    assert difference.max() < WELL_CONDITIONED, (key, difference.max())
  return got


def blank_padding(key, value, mask):
  """Zeroes what is computed at padding: for a decoder nobody may rely on it."""
  if value.dim() < 3:
    return value
  hidden = mask[:, None, :, None] if "attentions" in key else mask[..., None]
  return value.masked_fill(hidden == 0, 0)


def golden_tensors(tensors):
  """Ids as I32, masks as U8, the rest as F32, all contiguous."""
  out = {}
  for key, value in tensors.items():
    if key.endswith("attention_mask"):
      value = value.to(torch.uint8)
    elif not value.dtype.is_floating_point:
      value = value.to(torch.int32)
    else:
      value = value.to(torch.float32)
    out[key] = value.detach().contiguous().clone()
  return out


def is_decoder(name):
  return CASES[name].kind == "decoder"


def is_encoder_decoder(name):
  return CASES[name].kind == "encoder-decoder"


def with_ends(ids, mask, end):
  """Each row ends with the id that stands for the whole, and has no other."""
  ids = torch.where(ids == end, end + 1, ids)
  last = [int(row.nonzero()[-1]) for row in mask]
  ids[range(len(ids)), last] = end
  return ids


def make_encoder_decoder_outputs(name, model, seed):
  g = generator(seed)
  case, config, golden = CASES[name], model.config, {}

  def decoder_inputs(lengths, side):
    ids, mask = padded(lengths, side, g, high=VOCAB + case.unknown_words, pad=config.pad_token_id)
    return dict(decoder_input_ids=ids, decoder_attention_mask=mask)

  for side in case.sides:
    ids, mask = padded(case.lengths, side, g, high=VOCAB + case.unknown_words, pad=config.pad_token_id)
    if case.own_source:
      inputs = dict(input_ids=with_ends(ids, mask, config.eos_token_id), attention_mask=mask)
    else:
      inputs = dict(input_ids=ids, attention_mask=mask) | decoder_inputs(case.decoder_lengths, side)
    options = dict(output_attentions=True, output_hidden_states=True) if case.probed and side == "right" else {}
    found = run_checked(model, inputs, **options)
    if not case.own_source:
      found = {k: blank_padding(k, v, mask_for(k, inputs)) for k, v in found.items()}
    golden.update({f"{side}.{k}": v for k, v in (inputs | found).items()})
  ids = torch.randint(1, VOCAB + case.unknown_words, (1, case.single), generator=g)
  if case.own_source:
    inputs = dict(input_ids=with_ends(ids, torch.ones_like(ids), config.eos_token_id))
  else:
    inputs = dict(input_ids=ids, decoder_input_ids=torch.randint(1, VOCAB, (1, case.decoder_single), generator=g))
  golden.update({f"single.{k}": v for k, v in (inputs | run_checked(model, inputs)).items()})
  if case.generates and not case.own_source:
    generated = make_decoded(model, golden, case.sides)
    if generated is None:
      return make_encoder_decoder_outputs(name, model, seed + 1000)
    golden.update(generated)
  return golden_tensors(golden)


def make_decoded(model, golden, sides, steps=16):
  """What greedy search gives from padded sources and from a single one, or None where a choice is too close."""
  found = {}
  start = model.config.decoder_start_token_id
  model.generation_config.eos_token_id = None  # all go on to the last step
  settings = transformers.GenerationConfig(max_new_tokens=steps, do_sample=False, pad_token_id=model.config.pad_token_id,
                                           decoder_start_token_id=start if start is not None else 0)
  for key in (*sides, "single"):
    prompt = {k: golden[f"{key}.{k}"] for k in ("input_ids", "attention_mask") if f"{key}.{k}" in golden}
    prompt.setdefault("attention_mask", torch.ones_like(prompt["input_ids"]))
    out = model.generate(**prompt, generation_config=settings, return_dict_in_generate=True, output_logits=True)
    top = torch.stack(out.logits).topk(2).values
    if (top[..., 0] - top[..., 1]).min() < 1e-2:
      return None
    found[f"{key}.generated"] = out.sequences  # with the start
  return found


def make_model_outputs(name, model, seed):
  if is_encoder_decoder(name):
    return make_encoder_decoder_outputs(name, model, seed)
  g = generator(seed)
  case, golden = CASES[name], {}
  decoder = case.kind == "decoder"
  for side in case.sides:
    ids, mask = padded(case.lengths, side, g)
    inputs = dict(input_ids=ids, attention_mask=mask)
    if decoder and case.positions:
      inputs["position_ids"] = counted_positions(mask)
    if case.token_types:
      inputs["token_type_ids"] = torch.randint(0, case.token_types, ids.shape, generator=g) * mask
    options = dict(output_attentions=True, output_hidden_states=True) if case.probed and side == "right" else {}
    found = run_checked(model, inputs, **options)
    if decoder:
      found = {k: blank_padding(k, v, mask) for k, v in found.items()}
    golden.update({f"{side}.{k}": v for k, v in (inputs | found).items()})
  ids = torch.randint(1, VOCAB, (1, case.single), generator=g)
  golden["single.input_ids"] = ids
  golden.update({f"single.{k}": v for k, v in run_checked(model, dict(input_ids=ids)).items()})
  if case.by_length:
    golden["pieces.logits"] = fed_in_pieces(model, ids)
  if decoder and case.generates:
    generated = make_generated(model, golden, cached=case.cached)
    if generated is None:
      return make_model_outputs(name, model, seed + 1000)
    golden.update(generated)
  return golden_tensors(golden)


def fed_in_pieces(model, ids, size=5):
  """The logits of ids [1, tokens] where a cache is fed `size` tokens at a time."""
  model, cache, logits = copy.deepcopy(model), transformers.DynamicCache(), []
  with torch.no_grad():
    for piece in ids.split(size, 1):
      logits.append(model(input_ids=piece, past_key_values=cache, use_cache=True).logits)
  return torch.cat(logits, 1)


def make_generated(model, golden, steps=16, cached=True):
  """Greedy continuations, or None where a choice is so close that rounding could turn it."""
  found = {}
  prompts = {"left": dict(input_ids=golden["left.input_ids"], attention_mask=golden["left.attention_mask"])} if "left.input_ids" in golden else {}
  prompts |= {"single": dict(input_ids=golden["single.input_ids"][:, :8],
                            attention_mask=torch.ones(1, 8, dtype=torch.int64))}
  for key, prompt in prompts.items():
    out = copy.deepcopy(model).generate(**prompt, max_new_tokens=steps, do_sample=False, use_cache=cached, pad_token_id=0,
                         return_dict_in_generate=True, output_logits=True)
    top = torch.stack(out.logits).topk(2).values
    if (top[..., 0] - top[..., 1]).min() < 1e-2:
      return None
    found[f"{key}.generated"] = out.sequences[:, prompt["input_ids"].shape[1]:]
  return found


def make_model(name):
  case, seed = CASES[name], seed_of(name)
  config = getattr(transformers, case.config)(**case.settings)
  model = randomize(class_of(case)(config), seed)
  folder = MODELS / name
  store_model(case, model, folder)
  loaded = load_model(name)
  for (key, a), b in zip(model.named_parameters(), loaded.parameters()):
    assert torch.equal(a, b) or not a.requires_grad, (name, key)
  save_file(make_model_outputs(name, loaded, seed + 1), folder / "golden.safetensors")
  if case.gradients:
    make_gradients(name, seed + 2)
  size = sum(f.stat().st_size for f in folder.iterdir())
  assert size < 300_000, (name, size)
  print(f"models/{name}: {size} bytes", flush=True)


def make_models():
  for name in CASES:
    make_model(name)


# --- Gradients --------------------------------------------------------------------------------------

TRAINED = ("bert-masked-lm", "gpt2", "llama", "bart")  # which the ten optimizer steps start from


def training_batch(name, g, lengths=(11, 7, 4), words=VOCAB):
  """A right-padded batch and its labels, at the positions of the ids and IGNORED elsewhere."""
  if is_encoder_decoder(name):
    settings = CASES[name].settings
    pad, start = settings["pad_token_id"], settings["decoder_start_token_id"]
    low = pad + 1  # for a real token with that id the reference holds back the embedding's gradient
    unknown = CASES[name].unknown_words
    ids, mask = padded(lengths, "right", g, low=low, high=words + unknown, pad=pad)
    labels, real = padded(CASES[name].decoder_lengths, "right", g, low=low, high=words, pad=pad)
    if unknown:  # every other label is copied
      labels[:, ::2] = torch.where(real == 1, ids[:, :labels.shape[1]], labels)[:, ::2]
    fed = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], 1)
    return dict(input_ids=ids, attention_mask=mask, decoder_input_ids=fed, labels=labels.masked_fill(real == 0, IGNORED))
  ids, mask = padded(lengths, "right", g, high=words)
  batch = dict(input_ids=ids, attention_mask=mask)
  if is_decoder(name):
    targets = ids.masked_fill(mask == 0, IGNORED)
  else:
    chosen = (torch.rand(ids.shape, generator=g) < 0.4) & (mask == 1)
    chosen[:, 1] = True  # each row has one
    targets = ids.masked_fill(~chosen, IGNORED)
    batch["input_ids"] = ids.masked_fill(chosen, VOCAB - 1)  # the last id stands for [MASK]
    if CASES[name].token_types:
      batch["token_type_ids"] = torch.randint(0, CASES[name].token_types, ids.shape, generator=g) * mask
  batch["labels"] = targets
  return batch


def loss_of(name, model, batch, smoothing=0.0, reduction="mean"):
  """Cross entropy over the labels that are not IGNORED; a decoder's logits predict the next position."""
  inputs = {k: v for k, v in batch.items() if k != "labels"}
  logits, targets = model(**inputs).logits, batch["labels"]
  if is_decoder(name):
    logits, targets = logits[:, :-1], targets[:, 1:]
  return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing,
                         reduction=reduction)


def stored_names(name):
  return set(load_file(MODELS / name / "model.safetensors"))


def gradients_of(name, model, batch, **options):
  model.zero_grad(set_to_none=True)
  loss = loss_of(name, model, batch, **options)
  loss.backward()
  grads = {k: p.grad.clone() for k, p in model.named_parameters() if p.requires_grad}
  constants = {k for k, p in [*model.named_parameters(), *model.named_buffers()] if not p.requires_grad}
  assert set(grads) == stored_names(name) - constants, set(grads) ^ stored_names(name)
  return loss.detach(), grads


def make_gradients(name, seed):
  model = load_model(name)
  batch = training_batch(name, generator(seed))
  loss, grads = gradients_of(name, model, batch)
  with torch.no_grad():
    assert abs(model(**batch).loss - loss) < 1e-5  # the class's own loss agrees with ours
  wide_loss, wide = gradients_of(name, widened(model), batch)
  assert abs(wide_loss - loss) < WELL_CONDITIONED
  for key, grad in grads.items():
    difference = ((grad - wide[key]).abs() / (1 + wide[key].abs())).max()
    assert difference < WELL_CONDITIONED, (key, difference)
  smoothed, smoothed_grads = gradients_of(name, model, batch, smoothing=0.1)
  golden = dict(batch, loss=loss.view(1), smoothed_loss=smoothed.view(1),
                smoothed_gradient_norm=norm_of(smoothed_grads).view(1), gradient_norm=norm_of(grads).view(1))
  golden.update({f"gradient.{k}": v for k, v in grads.items()})
  save_file(golden_tensors(golden), MODELS / name / "gradients.safetensors")
  print(f"models/{name}/gradients.safetensors: loss {loss:.6f}, norm {norm_of(grads):.4f}")


def norm_of(grads):
  return torch.sqrt(sum((g.double()**2).sum() for g in grads.values()))


# --- Ten optimizer steps ----------------------------------------------------------------------------

STEPS = 10
MICRO_BATCHES = 4
ADAMW = dict(kind="adamw", betas=[0.9, 0.95], epsilon=1e-8, weight_decay=0.1, max_gradient_norm=1.0)
SGD = dict(kind="sgd", momentum=0.9, weight_decay=0.01, max_gradient_norm=0.0)


def warmup_then_cosine(step, peak=1e-3, warmup=3, steps=STEPS):
  """As transformers' get_cosine_schedule_with_warmup: 0 at step 0, the peak at step `warmup`."""
  if step < warmup:
    return peak * step / warmup
  return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def is_decayed(name):
  """Weight decay is for matrices and embeddings, not for biases and norms."""
  lower = name.lower()
  return not (name.endswith("bias") or "norm" in lower or ".ln_" in lower)


def make_optimizer(model, options):
  groups = [dict(params=[p for n, p in model.named_parameters() if is_decayed(n) == decayed],
                 weight_decay=options["weight_decay"] if decayed else 0.0) for decayed in (True, False)]
  if options["kind"] == "adamw":
    return torch.optim.AdamW(groups, lr=0.0, betas=tuple(options["betas"]), eps=options["epsilon"], foreach=False)
  return torch.optim.SGD(groups, lr=0.0, momentum=options["momentum"], foreach=False)


def train(name, model, batches, options, rates):
  """One step a batch; returns the losses before each step and the norms before clipping."""
  optimizer = make_optimizer(model, options)
  losses, norms = [], []
  for batch, rate in zip(batches, rates):
    for group in optimizer.param_groups:
      group["lr"] = rate
    optimizer.zero_grad()
    loss = loss_of(name, model, batch)
    loss.backward()
    limit = options["max_gradient_norm"] or math.inf
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit, foreach=False)
    optimizer.step()
    losses.append(loss.item())
    norms.append(norm.item())
  return losses, norms


def final_checksums(model, wide, max_rate):
  """Mean and standard deviation of each parameter, where rounding cannot change them.

  The bias of the keys has no gradient in exact arithmetic (softmax does not see it), so Adam moves it by
  the sign of rounding noise: it is left out.
  """
  found = {}
  for (name, p), q in zip(model.named_parameters(), wide.parameters()):
    if name.endswith(("key.bias", "k_proj.bias", "c_attn.bias")):
      continue
    difference = (p.double() - q).abs()
    assert difference.mean() < 0.02 * max_rate, (name, difference.max())
    found[name] = [p.double().mean().item(), p.double().std(correction=0).item()]
  return found


def train_checked(name, batches, options, rates):
  model = load_model(name)
  wide = widened(load_model(name))
  losses, norms = train(name, model, batches, options, rates)
  wide_losses, wide_norms = train(name, wide, batches, options, rates)
  for a, b in zip(losses + norms, wide_losses + wide_norms):
    assert abs(a - b) < 1e-4 * max(1, abs(b)), (a, b)
  return dict(options, learning_rates=rates, losses=losses, gradient_norms=norms,
              final_mean_and_std=final_checksums(model, wide, max(rates)))


def accumulated(name, model, batches, by_token):
  """The gradient of several batches as one step: over all their labels, or the mean of their means."""
  model.zero_grad()
  total = 0.0
  shift = 1 if is_decoder(name) else 0
  count = sum(int((b["labels"][:, shift:] != IGNORED).sum()) for b in batches)
  for batch in batches:
    if by_token:
      loss = loss_of(name, model, batch, reduction="sum") / count
    else:
      loss = loss_of(name, model, batch) / len(batches)
    loss.backward()
    total += loss.item()
  return dict(loss=total, gradient_norm=norm_of({k: p.grad for k, p in model.named_parameters()}).item())


def make_training():
  for name in TRAINED:
    make_training_of(name)


def make_training_of(name):
  folder = HERE / "training"
  folder.mkdir(exist_ok=True)
  g = generator(400 + TRAINED.index(name))
  lengths = [(11, 7, 4), (5, 11, 9), (11, 11, 11), (3, 2, 11), (8, 11, 6)]
  batches = [training_batch(name, g, lengths[i % len(lengths)], words=21) for i in range(STEPS)]
  save_file(golden_tensors({k: torch.stack([b[k] for b in batches]) for k in batches[0]}), folder / f"{name}.safetensors")
  model = load_model(name)
  micro = batches[:MICRO_BATCHES]
  result = {
      "model": f"models/{name}",
      "adamw": train_checked(name, batches, ADAMW, [warmup_then_cosine(i) for i in range(STEPS)]),
      "sgd": train_checked(name, batches, SGD, [3e-3] * STEPS),
      "label_smoothing": {"smoothing": 0.1, "loss_of_batch_0": loss_of(name, model, batches[0], smoothing=0.1).item()},
      "accumulation": {"batches": MICRO_BATCHES, "over_all_labels": accumulated(name, model, micro, True),
                       "mean_of_means": accumulated(name, model, micro, False)},
  }
  write_json(folder / f"{name}.json", result)
  for kind in ("adamw", "sgd"):
    print(f"training/{name} {kind}:", *(f"{x:.4f}" for x in result[kind]["losses"]))


# --- Sampling ---------------------------------------------------------------------------------------

def processed(logits, prefix, options):
  """Probabilities after the processors that generate() builds from the options, in its order."""
  settings = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0) | options
  config = transformers.GenerationConfig(**settings)
  model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**dict(GPT2, n_layer=1, vocab_size=len(logits))))
  processors = model._get_logits_processor(generation_config=config, input_ids_seq_length=len(prefix))
  scores = processors(torch.tensor([prefix]), torch.tensor([logits]))
  return torch.softmax(scores.double(), -1)[0].tolist()


def make_sampling():
  g = generator(500)
  smooth = [round(x, 4) for x in (2.5 * torch.randn(50, generator=g)).tolist()]
  tied = [round(x * 2) / 2 for x in smooth]
  prefix = [3, 17, 17, smooth.index(max(smooth)), smooth.index(min(smooth)), 41]
  options = [
      {}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.05}, {"repetition_penalty": 1.3},
      {"top_k": 1}, {"top_k": 80}, {"top_p": 0.01}, {"min_p": 1.0}, {"temperature": 3.0, "top_p": 0.5},
      {"temperature": 0.7, "top_k": 5}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 5, "top_p": 0.9},
      {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1},
      {"temperature": 0.7, "top_k": 12, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.3},
      {"temperature": 1.5, "min_p": 0.1, "repetition_penalty": 0.8},
  ]
  cases = [{"logits": "smooth", "options": o, "probabilities": processed(smooth, prefix, o)} for o in options]
  for o in ({"top_k": 5}, {"min_p": 0.2}, {"top_k": 3, "temperature": 0.5}):
    cases.append({"logits": "tied", "options": o, "probabilities": processed(tied, prefix, o)})
  write_json(HERE / "sampling.json", {"logits": {"smooth": smooth, "tied": tied}, "prefix": prefix, "cases": cases})
  print(f"sampling.json: {len(cases)} cases")


# --- Pipelines --------------------------------------------------------------------------------------

SENTENCES = """
The old boat drifted past the harbour wall while the gulls cried above it.
My sister bakes bread on Sundays and gives half of it away.
Nobody liked the film, but everyone stayed until the end.
A quiet river runs behind the school.
What a wonderful evening! We laughed, we sang, we danced.
The service was slow and the soup was cold.
He couldn't find his keys, so he waited in the garden.
Rain fell all night; by morning the street was a stream.
I've never seen such a beautiful garden in my life.
They painted the door blue and the window frames white.
The teacher asked a question and the whole class was quiet.
It's a dull story with a clever ending.
The cat slept on the warm stones near the well.
We walked to the market and bought apples, onions and cheese.
The music was too loud, the room too dark.
Her letter arrived in March, three weeks late.
Grandfather told us the story of the lost ring again.
The train stops here twice a day, at 7:15 and 18:40.
This is the best coffee in town.
A small dog barked at the moving leaves.
The actors were brilliant and the script was weak.
She opened the window and listened to the rain.
The road to the north is closed in winter.
Why would anyone pay 25 euros for that?
The children built a castle of sand and the sea took it away.
We were happy with the room, the view and the breakfast.
The lamp flickered, then the house was dark.
He reads slowly but remembers everything.
Our neighbour keeps bees and sells honey at the gate.
The ending made no sense at all.
In spring the hills turn green and the lambs arrive.
You should see it twice: it's that good.
The caf\u00e9 in Z\u00fcrich closes at six.
Snow \u2603 lay on the caf\u00e9's roof.
""".strip().split("\n")

TINY_BERT = dict(BERT, hidden_size=24, num_hidden_layers=1, intermediate_size=40, max_position_embeddings=32, type_vocab_size=2)


def wordpiece_vocabulary(size, special):
  """Every letter alone and as a continuation, some endings, then the commonest words.

  The library's own trainer breaks ties by the order of a hash table, so each run would give another one.
  """
  words = re.findall(r"[a-z]+", "\n".join(SENTENCES).lower())
  letters = sorted(set("".join(words)))
  endings = ["ing", "ed", "er", "ly", "est", "en", "ful", "ion", "ay", "th", "ou", "an"]
  tokens = special + list("!',.:;?0123456789") + letters + ["##" + c for c in letters + list("0123456789") + endings]
  ranked = sorted(set(words) - set(tokens), key=lambda w: (-words.count(w), w))
  return {token: i for i, token in enumerate((tokens + ranked)[:size])}


def wordpiece_tokenizer():
  from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
  special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  tokenizer = Tokenizer(models.WordPiece(wordpiece_vocabulary(200, special), unk_token="[UNK]"))
  tokenizer.add_special_tokens(special)
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = decoders.WordPiece(prefix="##")
  tokenizer.post_processor = processors.TemplateProcessing(
      single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
  return transformers.PreTrainedTokenizerFast(
      tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
      model_max_length=TINY_BERT["max_position_embeddings"],
      model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def byte_bpe_tokenizer():
  from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
  tokenizer = Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
  trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<|endoftext|>"], show_progress=False,
                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
  tokenizer.train_from_iterator(SENTENCES, trainer)
  return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>",
                                              unk_token="<|endoftext|>", model_max_length=64)


def rounded(value):
  """Floats at 8 significant digits: enough to check, short to store."""
  if isinstance(value, float):
    return float(f"{value:.8g}")
  if isinstance(value, dict):
    return {k: rounded(v) for k, v in value.items()}
  return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value


def store_pipeline(name, model, tokenizer):
  folder = HERE / "pipelines" / name
  if folder.exists():
    shutil.rmtree(folder)
  model.save_pretrained(folder)
  tokenizer.save_pretrained(folder)
  path, config = clean_config(folder)
  write_json(path, config)
  (folder / "generation_config.json").unlink(missing_ok=True)
  return folder


def open_pipeline(task, folder):
  model_class = json.loads((folder / "config.json").read_text())["architectures"][0]
  model = getattr(transformers, model_class).from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  return transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu")


def store_cases(folder, task, cases):
  write_json(folder / "cases.json", {"task": task, "cases": rounded(cases)})
  size = sum(f.stat().st_size for f in folder.iterdir())
  assert size < 300_000, (folder, size)
  print(f"pipelines/{folder.name}: {len(cases)} cases, {size} bytes")


def run_cases(folder, task, inputs_and_options):
  pipe = open_pipeline(task, folder)
  store_cases(folder, task, [{"input": i, "options": o, "output": pipe(i, **o)} for i, o in inputs_and_options])


CLASSIFIED = ["What a wonderful film!", "The soup was cold and the music was dull.", "It's Z\u00fcrich \u2014 nai\u0308ve, 20\u00b0C?!", ""]
LONG_TEXT = "the old boat drifted past the harbour wall " * 6


def make_classification(tokenizer):
  names = labels("negative", "neutral", "positive")
  config = transformers.BertConfig(**dict(TINY_BERT, vocab_size=len(tokenizer), **names))
  folder = store_pipeline("text-classification", randomize(transformers.BertForSequenceClassification(config), 600), tokenizer)
  pair = {"text": "The ending was weak.", "text_pair": "Everyone liked it."}
  run_cases(folder, "text-classification",
            [(t, o) for t in CLASSIFIED for o in ({}, {"top_k": None}, {"top_k": 2})] +
            [(CLASSIFIED[:2], {}), (CLASSIFIED[:2], {"top_k": None}), (pair, {}), (pair, {"top_k": None}),
             (CLASSIFIED[0], {"top_k": None, "function_to_apply": "sigmoid"}),
             (CLASSIFIED[0], {"top_k": None, "function_to_apply": "none"}), (LONG_TEXT, {"top_k": None, "truncation": True})])
  names = labels("toxic", "spam", "praise", "question")
  config = transformers.BertConfig(**dict(TINY_BERT, vocab_size=len(tokenizer), problem_type="multi_label_classification", **names))
  folder = store_pipeline("text-classification-multi-label", randomize(transformers.BertForSequenceClassification(config), 601), tokenizer)
  run_cases(folder, "text-classification", [(t, o) for t in CLASSIFIED[:2] for o in ({}, {"top_k": None})])


def make_fill_mask(tokenizer):
  config = transformers.BertConfig(**dict(TINY_BERT, vocab_size=len(tokenizer)))
  folder = store_pipeline("fill-mask", randomize(transformers.BertForMaskedLM(config), 602), tokenizer)
  one, two = "The [MASK] was cold.", "The [MASK] sat near the [MASK]!"
  run_cases(folder, "fill-mask", [(one, {}), (one, {"top_k": 3}), ("[MASK] is it?", {"top_k": 5}), (two, {"top_k": 2}), ([one, one], {"top_k": 2}),
                                  (one, {"targets": ["the", "garden", "was"]})])


def make_features(tokenizer):
  config = transformers.BertConfig(**dict(TINY_BERT, vocab_size=len(tokenizer), hidden_act="gelu_new"))
  folder = store_pipeline("feature-extraction", randomize(transformers.BertModel(config), 603), tokenizer)
  pipe = open_pipeline("feature-extraction", folder)
  texts = ["A quiet river.", "What did the teacher ask?"]
  cases = [{"input": t, "options": {}, "output": pipe(t)} for t in texts]
  # Pooling is not in the reference's pipeline; the sentence vectors are made from its output.
  for text in texts:
    tokens = torch.tensor(pipe(text))
    for pooling, vector in (("mean", tokens.mean(1)), ("cls", tokens[:, 0])):
      for normalize in (False, True):
        value = F.normalize(vector, dim=-1) if normalize else vector
        cases.append({"input": text, "options": {"pooling": pooling, "normalize": normalize}, "output": value.tolist()})
  store_cases(folder, "feature-extraction", cases)


def memorize(model, tokenizer, steps):
  """Trains on the sentences until the text that comes out can be read."""
  end = tokenizer.eos_token_id
  rows = [[end] + tokenizer(t)["input_ids"] + [end] for t in SENTENCES]
  width = max(map(len, rows))
  ids = torch.tensor([r + [end] * (width - len(r)) for r in rows])
  targets = torch.tensor([r + [IGNORED] * (width - len(r)) for r in rows])
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)
  for step in range(steps):
    for group in optimizer.param_groups:
      group["lr"] = warmup_then_cosine(step, peak=1e-2, warmup=10, steps=steps)
    optimizer.zero_grad()
    loss_of("gpt2", model, dict(input_ids=ids, labels=targets)).backward()
    optimizer.step()
  with torch.no_grad():
    for p in model.parameters():
      p.copy_(p.bfloat16().float())
  return model.eval()


def make_text_generation(tokenizer):
  end = tokenizer.eos_token_id
  settings = dict(GPT2, vocab_size=len(tokenizer), n_embd=36, n_positions=64, bos_token_id=end, eos_token_id=end)
  prompts = ["The old boat", "What a", "The caf\u00e9 in Z", "Snow \u2603", "She opened the window and"]
  options = [{"max_new_tokens": 12}, {"max_new_tokens": 40}, {"max_new_tokens": 12, "return_full_text": False},
             {"max_new_tokens": 24, "repetition_penalty": 1.3}]
  for seed in range(604, 624):
    transformers.set_seed(seed)
    model = memorize(transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings)), tokenizer, steps=150)
    folder = store_pipeline("text-generation", model, tokenizer)
    pipe = open_pipeline("text-generation", folder)
    pipe.tokenizer.pad_token_id = end
    if all(clearly_greedy(pipe, p, o) for p in prompts for o in options):
      print(f"pipelines/text-generation: seed {seed}")
      break
  else:
    sys.exit("no seed gives clear greedy choices")
  cases = []
  for prompt in prompts:
    for o in options:
      cases.append({"input": prompt, "options": dict(o, do_sample=False), "output": pipe(prompt, do_sample=False, **o)})
  store_cases(folder, "text-generation", cases)


def clearly_greedy(pipe, prompt, options):
  """Whether each greedy choice wins by so much that rounding cannot turn it."""
  keys = ("max_new_tokens", "repetition_penalty")
  inputs = pipe.tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
  out = pipe.model.generate(**inputs, do_sample=False, return_dict_in_generate=True, output_scores=True,
                            pad_token_id=pipe.tokenizer.eos_token_id, **{k: v for k, v in options.items() if k in keys})
  top = torch.stack(out.scores).topk(2).values
  return bool((top[..., 0] - top[..., 1]).min() > 1e-2)


def make_pipelines():
  (HERE / "pipelines").mkdir(exist_ok=True)
  words = wordpiece_tokenizer()
  make_classification(words)
  make_fill_mask(words)
  make_features(words)
  make_text_generation(byte_bpe_tokenizer())


# --- Metrics ----------------------------------------------------------------------------------------

def scores(confusion):
  """scikit-learn's precision_recall_fscore_support(zero_division=0), from its definitions.

  Rows are true classes. precision = tp / predicted, recall = tp / support, f1 = 2 p r / (p + r), each 0
  where it would divide by 0; macro = mean over classes, weighted = mean by support, micro = from the summed
  counts, which for one label each are all equal to the accuracy.
  """
  n = len(confusion)
  ratio = lambda a, b: a / b if b else 0.0
  support = [sum(row) for row in confusion]
  predicted = [sum(confusion[r][c] for r in range(n)) for c in range(n)]
  hits = [confusion[c][c] for c in range(n)]
  per_class = []
  for c in range(n):
    p, r = ratio(hits[c], predicted[c]), ratio(hits[c], support[c])
    per_class.append(dict(precision=p, recall=r, f1=ratio(2 * p * r, p + r), support=support[c]))
  total = sum(support)
  keys = ("precision", "recall", "f1")
  micro = ratio(sum(hits), total)
  return dict(accuracy=micro, per_class=per_class, macro={k: sum(c[k] for c in per_class) / n for k in keys},
              micro={k: micro for k in keys},
              weighted={k: ratio(sum(c[k] * c["support"] for c in per_class), total) for k in keys})


def make_metrics():
  confusions = {
      "three classes": [[5, 2, 0], [1, 7, 3], [0, 4, 11]],
      "binary": [[50, 7], [9, 34]],
      "a class never predicted, another without support": [[4, 0, 1, 2], [3, 0, 0, 1], [0, 0, 6, 0], [0, 0, 0, 0]],
      "all right": [[3, 0], [0, 9]],
      "all wrong": [[0, 3], [9, 0]],
  }
  cases = [dict(name=k, confusion=c, **scores(c)) for k, c in confusions.items()]
  write_json(HERE / "metrics.json", {"cases": cases})
  print(f"metrics.json: {len(cases)} cases")


# --- Tables of functions ----------------------------------------------------------------------------

def make_functions():
  """Values and derivatives of activations in float64, and the angles of rotary positions."""
  from transformers.activations import ACT2FN
  points = sorted({x / 4 for x in range(-24, 25)} | {-30.0, -12.5, -9.0, -5.5, -0.01, -1e-4, 1e-4, 0.01, 5.5, 9.0, 12.5, 30.0})
  table = {"x": points}
  for name in ("gelu", "gelu_new", "relu", "silu", "tanh", "sigmoid"):
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    y = ACT2FN[name](x)
    y.sum().backward()
    table[name] = {"value": y.tolist(), "derivative": x.grad.tolist()}
  write_json(HERE / "activations.json", rounded(table))

  cases = [rotary_case(*case) for case in rotary_cases()]
  write_json(HERE / "rotary.json", rounded({"cases": cases}))
  print(f"activations.json, rotary.json: {len(cases)} rotary cases")


def rotary_cases():
  """Per case the architecture, its config as on the Hub, positions, and the type of layer."""
  base = dict(hidden_size=64, num_attention_heads=4, max_position_embeddings=4096)
  near, far = [0, 1, 2, 7, 100, 1023], [0, 1, 7, 100, 1023, 4095, 5000]
  llama3 = dict(rope_type="llama3", low_freq_factor=1.0, high_freq_factor=4.0)
  yarn = dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=512)
  longrope = dict(type="longrope", short_factor=[1.0, 1.1, 1.3, 2.0, 2.5, 3.5], long_factor=[1.0, 1.5, 4.0, 9.0, 17.0, 31.5])
  dynamic = dict(base, max_position_embeddings=1024, rope_theta=10000.0, rope_scaling=dict(type="dynamic", factor=4.0))
  phi3 = dict(base, original_max_position_embeddings=1024, partial_rotary_factor=0.75, rope_theta=10000.0, rope_scaling=longrope,
              pad_token_id=0)
  gemma3 = dict(base, head_dim=16, num_key_value_heads=2, num_hidden_layers=6)
  old_gemma3 = dict(gemma3, rope_theta=1e6, rope_local_base_freq=5e3, rope_scaling=dict(rope_type="linear", factor=8.0))
  new_gemma3 = dict(gemma3, rope_parameters=dict(full_attention=dict(yarn, rope_theta=1e5),
                                                 sliding_attention=dict(rope_type="default", rope_theta=2e4)))
  yield "Llama", dict(base, rope_theta=10000.0), far
  yield "Llama", dict(base, rope_parameters=dict(rope_type="default", rope_theta=500000.0)), far
  yield "Llama", dict(base, rope_theta=10000.0, rope_scaling=dict(type="linear", factor=4.0)), far
  yield "Llama", dict(base, rope_parameters=dict(llama3, rope_theta=5e5, factor=8.0, original_max_position_embeddings=8192)), far
  yield "Llama", dict(base, rope_theta=5e5, rope_scaling=dict(llama3, factor=32.0, original_max_position_embeddings=512)), far
  yield "Llama", dynamic, near
  yield "Llama", dynamic, far
  yield "Llama", dict(base, rope_theta=10000.0, rope_scaling=yarn), far
  yield "Llama", dict(base, rope_parameters=dict(yarn, rope_theta=10000.0, truncate=False, beta_fast=20, beta_slow=2)), far
  yield "Llama", dict(base, rope_parameters=dict(yarn, rope_theta=10000.0, mscale=0.7, mscale_all_dim=1.2)), far
  yield "Llama", dict(base, rope_parameters=dict(yarn, rope_theta=10000.0, attention_factor=0.9)), far
  yield "Llama", dict(base, rope_parameters=dict(rope_type="proportional", rope_theta=10000.0, factor=2.0, partial_rotary_factor=0.5)), far
  yield "Phi3", phi3, near
  yield "Phi3", phi3, far
  yield "Phi3", dict(phi3, rope_scaling=dict(longrope, factor=2.0, attention_factor=1.5)), far
  yield "GPTNeoX", dict(base, rotary_pct=0.25, rotary_emb_base=5000), far
  yield "GPTNeoX", dict(base, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=9e3, partial_rotary_factor=0.75)), far
  for config in (old_gemma3, new_gemma3):
    for layer in ("full_attention", "sliding_attention"):
      yield "Gemma3", config, far, layer


def rotary_case(architecture, settings, positions, layer=None):
  module = importlib.import_module(f"transformers.models.{architecture.replace('GPTN', 'GPT_N').lower()}.modeling_"
                                   f"{architecture.replace('GPTN', 'GPT_N').lower()}")
  config = getattr(transformers, architecture + ("TextConfig" if layer else "Config"))(**copy.deepcopy(settings))
  rotary = getattr(module, f"{architecture}RotaryEmbedding")(config)
  cos, sin = rotary(torch.zeros(1), torch.tensor([positions]), *([layer] if layer else []))
  half = cos.shape[-1] // 2
  case = dict(architecture=architecture, config=settings, head_dim=16, positions=positions,
              cos=cos[0, :, :half].tolist(), sin=sin[0, :, :half].tolist())
  return case | (dict(layer_type=layer) if layer else {})


# --- All of it --------------------------------------------------------------------------------------

def make_tokenizers():
  """The text room's own scripts beside this one."""
  for script in sorted(HERE.glob("make_*_golden.py")):
    print(script.name, flush=True)
    subprocess.run([sys.executable, str(script)], check=True)


SECTIONS = {
    "models": make_models,
    "training": make_training,
    "sampling": make_sampling,
    "pipelines": make_pipelines,
    "metrics": make_metrics,
    "functions": make_functions,
    "tokenizers": make_tokenizers,
}


def main(arguments):
  torch.set_num_threads(1)
  torch.use_deterministic_algorithms(True)
  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  unknown = [a for a in arguments if a not in SECTIONS and a not in CASES and a.removeprefix("training/") not in TRAINED]
  if unknown:
    sys.exit(f"unknown section or model {unknown[0]}; there are: {', '.join([*SECTIONS, *CASES])}")
  for name in arguments or SECTIONS:
    if name.startswith("training/"):
      make_training_of(name.removeprefix("training/"))
    else:
      SECTIONS[name]() if name in SECTIONS else make_model(name)
  for path in HERE.rglob("*.safetensors"):
    path.chmod(0o644)


if __name__ == "__main__":
  main(sys.argv[1:])
