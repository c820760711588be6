"""Makes pipelines/sentence-embedding: the model of pipelines/feature-extraction with the modules of sentence-transformers
behind it, and the vectors that its formulas give (sentence-transformers 5, models/Pooling.py, Dense.py, LayerNorm.py,
Normalize.py and SentenceTransformer.encode), written out here in PyTorch."""
import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
FOLDER = HERE / "pipelines" / "sentence-embedding"
ORDER = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
PROMPTS = {"query": "What is this: ", "document": "", "spaced": "  The old boat "}
MAX_SEQ_LENGTH = 14


def write_json(name, value):
  path = FOLDER / name
  path.parent.mkdir(exist_ok=True)
  path.write_text(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def pooled(x, mask):
  """Every mode of [1, tokens, hidden], in the order in which they are joined."""
  wide = mask[..., None].float()
  total, count = (x * wide).sum(1), wide.sum(1).clamp(min=1e-9)
  weights = wide * torch.arange(1, x.shape[1] + 1)[None, :, None]
  last = int(mask[0].nonzero()[-1])
  return torch.cat([
      x[:, 0],
      x.masked_fill(wide == 0, -1e9).max(1).values,
      total / count,
      total / count.sqrt(),
      (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9),
      x[:, last],
  ], 1)


def main():
  if FOLDER.exists():
    shutil.rmtree(FOLDER)
  shutil.copytree(HERE / "pipelines" / "feature-extraction", FOLDER, ignore=shutil.ignore_patterns("cases.json"))
  model = transformers.AutoModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
  width = model.config.hidden_size
  g = torch.Generator().manual_seed(901)
  draw = lambda *shape: (0.3 * torch.randn(*shape, generator=g)).bfloat16().float()
  first, first_bias = draw(20, 6 * width), draw(20)
  norm, norm_bias = 1 + draw(20), draw(20)
  second = draw(12, 20)

  kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_LayerNorm", "LayerNorm"),
           ("4_Dropout", "Dropout"), ("5_Dense", "Dense"), ("6_Normalize", "Normalize")]
  write_json("modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                              for i, (path, kind) in enumerate(kinds)])
  write_json("sentence_bert_config.json", {"max_seq_length": MAX_SEQ_LENGTH, "do_lower_case": True})
  write_json("config_sentence_transformers.json", {
      "__version__": {"sentence_transformers": "5.1.0"}, "model_type": "SentenceTransformer", "prompts": PROMPTS,
      "default_prompt_name": None, "similarity_fn_name": "cosine"})
  write_json("1_Pooling/config.json", {"word_embedding_dimension": width, **{f"pooling_mode_{m}": True for m in ORDER},
                                       "include_prompt": False})
  write_json("2_Dense/config.json", {"in_features": 6 * width, "out_features": 20, "bias": True,
                                     "activation_function": "torch.nn.modules.activation.Tanh"})
  write_json("3_LayerNorm/config.json", {"dimension": 20})
  write_json("4_Dropout/config.json", {"dropout": 0.1})
  write_json("5_Dense/config.json", {"in_features": 20, "out_features": 12, "bias": False,
                                     "activation_function": "torch.nn.modules.linear.Identity"})
  save_file({"linear.weight": first, "linear.bias": first_bias}, FOLDER / "2_Dense" / "model.safetensors")
  save_file({"norm.weight": norm, "norm.bias": norm_bias}, FOLDER / "3_LayerNorm" / "model.safetensors")
  save_file({"linear.weight": second}, FOLDER / "5_Dense" / "model.safetensors")

  def tokens_of(text):
    return tokenizer(text.strip().lower(), truncation=True, max_length=MAX_SEQ_LENGTH, return_tensors="pt")

  @torch.no_grad()
  def encode(text, prompt="", prompt_name=None, truncate_dim=None, normalize=False):
    if prompt_name is not None:
      prompt = PROMPTS[prompt_name]
    inputs = tokens_of(prompt + text)
    x, mask = model(**inputs).last_hidden_state, inputs["attention_mask"].clone()
    if prompt:
      ids = tokens_of(prompt)["input_ids"]
      ends = int(ids[0, -1]) in tokenizer.all_special_ids
      mask[:, : ids.shape[1] - ends] = 0
    y = torch.tanh(F.linear(pooled(x, mask), first, first_bias))
    y = F.linear(F.layer_norm(y, (20,), norm, norm_bias), second)
    y = F.normalize(y, p=2, dim=1)
    if truncate_dim:
      y = y[:, :truncate_dim]
    return F.normalize(y, p=2, dim=1) if normalize else y

  texts = ["A quiet river.", "  What did the TEACHER ask?\n", "The old boat went down the river while the teacher "
           "asked what the quiet children had seen in the morning."]
  options = [{}, {"prompt_name": "query"}, {"prompt": "A boat: "}, {"truncate_dim": 5}, {"truncate_dim": 5, "normalize": True},
             {"prompt_name": "document"}, {"prompt_name": "spaced", "normalize": True}]
  cases = [{"input": t, "options": {"sentence_embedding": True, **o}, "output": encode(t, **o).tolist()}
           for t in texts for o in options]
  write_json("cases.json", {"task": "feature-extraction", "cases": cases})


if __name__ == "__main__":
  main()
