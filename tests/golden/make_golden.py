#!/usr/bin/env python3
"""Makes the golden files: what the reference implementation answers on tiny random models.

    python3 tests/golden/make_golden.py [SECTION ...]

needs PyTorch 2, Hugging Face transformers 5, tokenizers and safetensors; a setup without them runs the
tests on the committed files. Everything is seeded and single-threaded, so a second run on the same
machine writes the same bytes. What the files hold and how to compare is in README.md beside this.
"""
import copy
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

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


def labels(*names):
  return dict(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})


# folder: (class, config class, settings). How each is stored is in store_model.
MODEL_TABLE = {
    "bert-sequence-classification": ("BertForSequenceClassification", "BertConfig",
                                     dict(BERT, **labels("negative", "neutral", "positive"))),
    "bert-token-classification": ("BertForTokenClassification", "BertConfig",
                                  dict(BERT, num_hidden_layers=1, **labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))),
    "bert-question-answering": ("BertForQuestionAnswering", "BertConfig", dict(BERT, num_hidden_layers=1)),
    "bert-masked-lm": ("BertForMaskedLM", "BertConfig", BERT),
    "bert-next-sentence": ("BertForNextSentencePrediction", "BertConfig", dict(BERT, num_hidden_layers=1, hidden_act="relu")),
    "bert-pretraining": ("BertForPreTraining", "BertConfig", dict(BERT, num_hidden_layers=1, hidden_act="gelu_new")),
    "bert": ("BertModel", "BertConfig", dict(BERT, hidden_size=35, num_attention_heads=5, layer_norm_eps=1e-12)),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2-scaled": ("GPT2LMHeadModel", "GPT2Config",
                    dict(GPT2, n_embd=35, n_head=5, n_layer=3, n_inner=None, activation_function="gelu",
                         scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False)),
    "gpt2-hub": ("GPT2LMHeadModel", "GPT2Config", dict(GPT2, n_layer=1)),
    "gpt2-bare": ("GPT2Model", "GPT2Config", dict(GPT2, n_layer=1, activation_function="relu")),
    "llama": ("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama3": ("LlamaForCausalLM", "LlamaConfig", LLAMA3),
}


def generator(seed):
  return torch.Generator().manual_seed(seed)


def randomize(model, seed):
  """Weights that make every term matter: wide matrices, norms away from 1, biases away from 0.

  All values are exact in float16 and bfloat16 alike (8 bits of mantissa, exponents in range), so a
  model may be stored in either, and float32 files compress to half.
  """
  g = generator(seed)
  with torch.no_grad():
    for name, p in model.named_parameters():
      noise = torch.randn(p.shape, generator=g)
      lower = name.lower()
      if "norm" in lower or ".ln_" in lower or lower.startswith("ln_"):
        value = 1 + 0.3 * noise if name.endswith("weight") else 0.3 * noise
      elif name.endswith("bias"):
        value = 0.3 * noise
      elif "embed" in lower or "wte" in lower or "wpe" in lower:
        value = 0.5 * noise
      else:
        value = 0.25 * noise
      value = value.sign() * value.abs().clamp(2.0**-12, 8.0)
      p.copy_(value.bfloat16().half().float())


def write_json(path, value):
  path.write_text(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def clean_config(folder):
  """Keeps config.json free of what the writing version says about itself."""
  path = folder / "config.json"
  config = json.loads(path.read_text())
  config["transformers_version"] = "5.12"
  return path, config


def store_model(name, model, folder):
  """Saves as save_pretrained does, in the variations that files on the Hub show."""
  if folder.exists():
    shutil.rmtree(folder)
  if name == "gpt2-scaled":  # float16, in several files with an index
    copy.deepcopy(model).half().save_pretrained(folder, max_shard_size="60kB")
  elif name == "llama3":  # bfloat16
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
  else:
    model.save_pretrained(folder)
  generation = folder / "generation_config.json"
  if generation.exists():
    generation.unlink()
  path, config = clean_config(folder)
  if name == "gpt2-hub":  # the oldest checkpoints: no "transformer." before the names, and the causal mask as a tensor
    tensors = {k.removeprefix("transformer."): v for k, v in load_file(folder / "model.safetensors").items()}
    n = config["n_positions"]
    for layer in range(config["n_layer"]):
      tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
  if name in ("llama", "gpt2-hub", "bert-sequence-classification"):  # config.json in the manner of transformers 4
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.40.0"
  if name == "llama":
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = None
    config["pretraining_tp"] = 1
  write_json(path, config)


def load_model(name, folder=None):
  cls = getattr(transformers, MODEL_TABLE[name][0])
  model, info = cls.from_pretrained(folder or MODELS / name, attn_implementation="eager", dtype=torch.float32,
                                    output_loading_info=True)
  missing = [k for k in info["missing_keys"] if k != "lm_head.weight"]
  assert not missing and not info["mismatched_keys"], (name, info)
  return model.eval()


def padded(lengths, side, g, low=1, high=VOCAB):
  """ids and mask [batch, longest]; the ids under the padding are 0."""
  width = max(lengths)
  ids = torch.zeros(len(lengths), width, dtype=torch.int64)
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
    found["next_sentence"] = output.seq_relationship_logits
  elif "logits" in output:
    found["logits"] = output.logits
  for i, attention in enumerate(output.attentions or ()):
    found[f"attentions.{i}"] = attention
  for i, hidden in enumerate(output.hidden_states or ()):
    found[f"hidden_states.{i}"] = hidden
  return found


def widened(model):
  """A float64 copy. Not by the eager attention: for a fully masked row that gives NaN in float64."""
  wide = copy.deepcopy(model).double()
  wide.set_attn_implementation("sdpa")
  return wide


def run_checked(model, inputs, **options):
  """Outputs in float32, after checking that float64 gives the same."""
  with torch.no_grad():
    got = outputs_of(model, model(**inputs, **options))
    wide = outputs_of(model, widened(model)(**inputs, **options))
  mask = inputs.get("attention_mask")
  for key, value in got.items():
    if key not in wide:  # attentions
      continue
    difference = (value.double() - wide[key].double()).abs()
    if mask is not None and value.dim() > 2:
      difference = blank_padding(key, difference, mask)
    assert difference.max() < WELL_CONDITIONED, (key, difference.max())
  return got


def blank_padding(key, value, mask):
  """Zeroes what is computed at padding: for a decoder nobody may rely on it."""
  hidden = mask[:, None, :, None] if key.startswith("attentions") else mask[..., None]
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
  return not name.startswith("bert")


def make_model_outputs(name, model, seed):
  g = generator(seed)
  golden = {}
  decoder = is_decoder(name)
  probed = name in ("bert", "gpt2", "llama")
  for side in ("right", "left"):
    ids, mask = padded([11, 7, 4], side, g)
    inputs = dict(input_ids=ids, attention_mask=mask)
    if decoder:
      inputs["position_ids"] = counted_positions(mask)
    else:
      types = torch.randint(0, BERT["type_vocab_size"], ids.shape, generator=g)
      inputs["token_type_ids"] = types * mask
    options = dict(output_attentions=True, output_hidden_states=True) if probed and side == "right" else {}
    found = run_checked(model, inputs, **options)
    if decoder:
      found = {k: blank_padding(k, v, mask) for k, v in found.items()}
    golden.update({f"{side}.{k}": v for k, v in (inputs | found).items()})
  ids = torch.randint(1, VOCAB, (1, 24), generator=g)
  golden["single.input_ids"] = ids
  golden.update({f"single.{k}": v for k, v in run_checked(model, dict(input_ids=ids)).items()})
  if decoder and name != "gpt2-bare":
    generated = make_generated(model, golden)
    if generated is None:
      return make_model_outputs(name, model, seed + 1000)
    golden.update(generated)
  return golden_tensors(golden)


def make_generated(model, golden, steps=16):
  """Greedy continuations, or None where a choice is so close that rounding could turn it."""
  found = {}
  prompts = {"left": dict(input_ids=golden["left.input_ids"], attention_mask=golden["left.attention_mask"]),
             "single": dict(input_ids=golden["single.input_ids"][:, :8],
                            attention_mask=torch.ones(1, 8, dtype=torch.int64))}
  for key, prompt in prompts.items():
    out = model.generate(**prompt, max_new_tokens=steps, do_sample=False, use_cache=True, pad_token_id=0,
                         return_dict_in_generate=True, output_logits=True)
    top = torch.stack(out.logits).topk(2).values
    if (top[..., 0] - top[..., 1]).min() < 1e-2:
      return None
    found[f"{key}.generated"] = out.sequences[:, prompt["input_ids"].shape[1]:]
  return found


def make_models():
  for index, (name, (cls, config_cls, settings)) in enumerate(MODEL_TABLE.items()):
    config = getattr(transformers, config_cls)(**settings)
    model = getattr(transformers, cls)(config)
    randomize(model, seed=100 + index)
    folder = MODELS / name
    store_model(name, model, folder)
    loaded = load_model(name)
    for (key, a), b in zip(model.named_parameters(), loaded.parameters()):
      assert torch.equal(a, b), (name, key)
    save_file(make_model_outputs(name, loaded, seed=200 + index), folder / "golden.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < 300_000, (name, size)
    print(f"models/{name}: {size} bytes")


# --- Gradients --------------------------------------------------------------------------------------

TRAINED = ("bert-masked-lm", "gpt2", "llama")


def training_batch(name, g, lengths=(11, 7, 4), words=VOCAB):
  """A right-padded batch and its labels, at the positions of the ids and IGNORED elsewhere."""
  ids, mask = padded(lengths, "right", g, high=words)
  batch = dict(input_ids=ids, attention_mask=mask)
  if is_decoder(name):
    targets = ids.masked_fill(mask == 0, IGNORED)
  else:
    chosen = (torch.rand(ids.shape, generator=g) < 0.4) & (mask == 1)
    chosen[:, 1] = True  # each row has one
    targets = ids.masked_fill(~chosen, IGNORED)
    batch["input_ids"] = ids.masked_fill(chosen, VOCAB - 1)  # the last id stands for [MASK]
    batch["token_type_ids"] = torch.randint(0, BERT["type_vocab_size"], ids.shape, generator=g) * mask
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
  grads = {k: p.grad.clone() for k, p in model.named_parameters()}
  assert set(grads) == stored_names(name), set(grads) ^ stored_names(name)
  return loss.detach(), grads


def make_gradients():
  for index, name in enumerate(TRAINED):
    model = load_model(name)
    batch = training_batch(name, generator(300 + index))
    loss, grads = gradients_of(name, model, batch)
    with torch.no_grad():
      assert abs(model(**batch).loss - loss) < 1e-5  # the class's own loss agrees with ours
    wide_loss, wide = gradients_of(name, widened(model), batch)
    assert abs(wide_loss - loss) < WELL_CONDITIONED
    for key, grad in grads.items():
      difference = (grad - wide[key]).abs().max()
      assert difference < WELL_CONDITIONED, (key, difference)
    smoothed, smoothed_grads = gradients_of(name, model, batch, smoothing=0.1)
    golden = dict(batch, loss=loss.view(1), smoothed_loss=smoothed.view(1),
                  smoothed_gradient_norm=norm_of(smoothed_grads).view(1), gradient_norm=norm_of(grads).view(1))
    golden.update({f"gradient.{k}": v for k, v in grads.items()})
    path = MODELS / name / "gradients.safetensors"
    save_file(golden_tensors(golden), path)
    print(f"models/{name}/gradients.safetensors: loss {loss:.6f}, norm {norm_of(grads):.4f}, {path.stat().st_size} bytes")


def norm_of(grads):
  return torch.sqrt(sum((g.double()**2).sum() for g in grads.values()))


# --- The rest ---------------------------------------------------------------------------------------

SECTIONS = {
    "models": make_models,
    "gradients": make_gradients,
}


def main(arguments):
  torch.set_num_threads(1)
  torch.use_deterministic_algorithms(True)
  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  unknown = [a for a in arguments if a not in SECTIONS]
  if unknown:
    sys.exit(f"unknown section {unknown[0]}; there are: {', '.join(SECTIONS)}")
  for section in arguments or SECTIONS:
    SECTIONS[section]()


if __name__ == "__main__":
  main(sys.argv[1:])
