#!/usr/bin/env python3
"""Training speed of PyTorch on a small GPT-2, to set beside `sotto train` on the same machine.

    python3 tests/bench/train_pytorch.py [--steps 6] [--threads 2] [--width 192] ...

Prints one JSON line. A step is forward, backward, clipping at norm 1 and AdamW on random tokens, in float32,
with PyTorch's own attention (scaled_dot_product_attention) and fused AdamW; the first step is not counted.
A fair figure needs an idle machine: the load average is in the output, and so are the tokens per second of
processor time, which with one thread suffer less from company.
"""
import argparse
import json
import os
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def arguments():
  parser = argparse.ArgumentParser()
  for name, value in dict(steps=6, threads=2, width=192, layers=6, heads=6, vocab=4096, tokens=256, batch=16).items():
    parser.add_argument(f"--{name}", type=int, default=value)
  parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa")
  return parser.parse_args()


# Matrix products run in the BLAS library, which reads its number of threads when it is loaded.
ARGUMENTS = arguments()
for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
  os.environ[variable] = str(ARGUMENTS.threads)

import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel


def step_flops(model, a):
  """Forward and backward: 6 per weight and token of a matrix product; 12 * width * tokens of attention per token."""
  weights = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2 and "wpe" not in n)
  return a.batch * a.tokens * (6 * weights + 12 * a.layers * a.width * a.tokens)


def main():
  a = ARGUMENTS
  torch.set_num_threads(a.threads)
  torch.manual_seed(1)
  config = GPT2Config(vocab_size=a.vocab, n_embd=a.width, n_layer=a.layers, n_head=a.heads, n_positions=a.tokens,
                      resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation=a.attention, use_cache=False,
                      bos_token_id=0, eos_token_id=0)
  model = GPT2LMHeadModel(config).train()
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
  wall, cpu, loss = [], [], None
  for _ in range(a.steps + 1):
    ids = torch.randint(0, a.vocab, (a.batch, a.tokens + 1))
    start, start_cpu = time.perf_counter(), time.process_time()
    logits = model(ids[:, :-1]).logits
    loss = F.cross_entropy(logits.view(-1, a.vocab), ids[:, 1:].reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    wall.append(time.perf_counter() - start)
    cpu.append(time.process_time() - start_cpu)
  wall, cpu = wall[1:], cpu[1:]
  tokens, median = a.batch * a.tokens, statistics.median(wall)
  print(json.dumps({
      "name": "train_gpt2", "engine": f"pytorch {torch.__version__}", **vars(a),
      "parameters": sum(p.numel() for p in model.parameters()),
      "tokens_per_second": round(tokens / median, 1), "tokens_per_second_best": round(tokens / min(wall), 1),
      "tokens_per_cpu_second": round(tokens / statistics.median(cpu), 1),
      "gflops_per_second": round(step_flops(model, a) / median / 1e9, 1), "loss": round(loss.item(), 4),
      "load_average": round(os.getloadavg()[0], 2)}))


if __name__ == "__main__":
  main()
