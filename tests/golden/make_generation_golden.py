#!/usr/bin/env python3
"""Makes the golden files of generation: what `generate` answers on the tiny models for many settings.

    python3 tests/golden/make_generation_golden.py [MODEL ...]

See README.md beside this. Every case is one whose choices are clear: small noise on the scores does not change it.
"""
import json
import sys
import tempfile
from pathlib import Path

import make_golden as golden  # sets the environment before PyTorch is read
import torch
import transformers

FOLDER = golden.HERE / "generation"
MODELS = ("gpt2", "llama", "phi3", "bart", "bart-pointer-generation", "mt5", "t5-gated")
NOISE = 2e-3
DRAWS = 3


class Noise(transformers.LogitsProcessor):

  def __init__(self, seed):
    self.generator = golden.generator(seed)

  def __call__(self, input_ids, scores):
    return scores + NOISE * (2 * torch.rand(scores.shape, generator=self.generator) - 1)


def run(model, inputs, options, processors=()):
  tensors = {k: torch.tensor([v]) for k, v in inputs.items()}
  tensors["attention_mask"] = torch.ones_like(tensors["input_ids"])
  return model.generate(**tensors, **options, logits_processor=transformers.LogitsProcessorList(processors),
                        return_dict_in_generate=True, output_scores=True)


def clear(model, inputs, options, sequences):
  """Whether noise leaves the result as it is."""
  return all(torch.equal(sequences, run(model, inputs, options, [Noise(seed)]).sequences) for seed in range(DRAWS))


def answer(name, model, make_inputs, options):
  """The first of some prompts whose answer is clear."""
  for attempt in range(60):
    inputs = make_inputs(golden.generator(1000 * golden.seed_of(name + json.dumps(options)) + attempt))
    out = run(model, inputs, options)
    if clear(model, inputs, options, out.sequences):
      case = {"options": options, **inputs, "sequences": out.sequences.tolist()}
      if "sequences_scores" in out:
        case["scores"] = golden.rounded(out.sequences_scores.tolist())
      return case
  sys.exit(f"{name}: no clear answer for {options}")


def frequent(model, make_inputs, options):
  """Ids that come often, so that settings about them matter; the commonest first."""
  counts = {}
  for seed in range(8):
    out = run(model, make_inputs(golden.generator(seed)), dict(options, max_new_tokens=16)).sequences[0, -14:].tolist()
    for a in out:
      counts[a] = counts.get(a, 0) + 1
  return [i for i, _ in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if i > 0]


def settings(ids):
  """Options of every kind; `ids` are the commonest."""
  a, b, c, d = ids[:4]
  ends = {"eos_token_id": c}
  several = {"eos_token_id": [b, d], "pad_token_id": 3}
  greedy = [
      {},
      {"max_new_tokens": 12},
      {"max_length": 24},
      dict(ends, max_new_tokens=24),
      dict(several, max_new_tokens=24),
      dict(ends, min_new_tokens=9, max_new_tokens=24),
      dict(ends, min_length=14, max_length=24),
      {"repetition_penalty": 1.7},
      {"repetition_penalty": 0.8, "max_new_tokens": 10},
      {"no_repeat_ngram_size": 1},
      {"no_repeat_ngram_size": 2, "max_new_tokens": 24},
      {"encoder_repetition_penalty": 1.6},
      {"encoder_no_repeat_ngram_size": 1},
      {"encoder_no_repeat_ngram_size": 2},
      {"bad_words_ids": [[a], [b, c], [c, b, a]]},
      dict(ends, bad_words_ids=[[c], [a]], max_new_tokens=24),
      {"suppress_tokens": [a, b, 96]},
      {"begin_suppress_tokens": [a, b, c, d, 5]},
      {"forced_eos_token_id": a, "max_length": 16},
      {"sequence_bias": [[[a], -6.0], [[b, c], 9.0], [[d], 2.5]]},
      dict(ends, exponential_decay_length_penalty=[4, 1.4], max_new_tokens=24),
      {"remove_invalid_values": True, "bad_words_ids": [[a]], "max_new_tokens": 8},
      {"do_sample": True, "top_k": 1, "temperature": 0.6},
  ]
  beams = [
      {"num_beams": 2},
      {"num_beams": 4, "max_new_tokens": 12},
      dict(ends, num_beams=3, max_new_tokens=24),
      dict(ends, num_beams=3, max_new_tokens=24, early_stopping=True),
      dict(ends, num_beams=3, max_new_tokens=24, early_stopping="never"),
      dict(ends, num_beams=3, max_new_tokens=16, length_penalty=0.0),
      dict(ends, num_beams=4, max_new_tokens=16, length_penalty=2.5),
      dict(ends, num_beams=4, max_new_tokens=16, length_penalty=2.5, early_stopping="never"),
      dict(ends, num_beams=4, max_new_tokens=16, length_penalty=-1.5, early_stopping="never"),
      dict(several, num_beams=4, max_new_tokens=20, num_return_sequences=4),
      dict(several, num_beams=4, max_new_tokens=20, num_return_sequences=3, early_stopping=True),
      dict(ends, pad_token_id=0, num_beams=3, max_new_tokens=20, num_return_sequences=3, length_penalty=0.5),
      dict(ends, num_beams=3, min_new_tokens=8, max_new_tokens=20),
      {"num_beams": 3, "num_return_sequences": 2, "no_repeat_ngram_size": 2, "max_new_tokens": 16},
      {"num_beams": 3, "repetition_penalty": 1.5, "max_new_tokens": 14},
      dict(ends, num_beams=3, forced_eos_token_id=c, max_new_tokens=10),
      {"num_beams": 2, "bad_words_ids": [[a], [b, c]], "max_new_tokens": 10},
      {"num_beams": 2, "sequence_bias": [[[a], -3.0]], "renormalize_logits": True, "max_new_tokens": 10},
      dict(ends, num_beams=5, num_return_sequences=5, max_new_tokens=10, exponential_decay_length_penalty=[3, 1.3]),
  ]
  return greedy + beams


def make(name):
  model = golden.load_model(name)
  model.generation_config.max_length = None
  # Where LongRoPE changes its factors, transformers 5.12 drops the cache and feeds only the last token.
  model.generation_config.use_cache = name != "phi3"
  encodes = golden.CASES[name].kind == "encoder-decoder"

  def prompt(g, low=5, high=13):
    return torch.randint(1, golden.VOCAB + golden.CASES[name].unknown_words, (int(torch.randint(low, high, (), generator=g)),), generator=g).tolist()

  source = lambda g: {"input_ids": prompt(g)}
  begins = {"decoder_start_token_id": 2} if encodes else {}
  ids = frequent(model, source, begins)
  cases = [answer(name, model, source, begins | o) for o in settings(ids)]
  forced = {"forced_bos_token_id": ids[1], "begin_suppress_tokens": ids[:3]}
  if encodes:
    for o in (forced, dict(forced, num_beams=3), {"bos_token_id": 7, "decoder_start_token_id": None},
              {"encoder_no_repeat_ngram_size": 1, "num_beams": 3}):
      cases.append(answer(name, model, source, begins | o))
    both = lambda g: {"input_ids": prompt(g), "decoder_input_ids": prompt(g, 2, 5)}
    for o in ({}, {"num_beams": 3, "length_penalty": 2.0, "max_length": 14}, {"repetition_penalty": 1.5}):
      cases.append(answer(name, model, both, begins | o))
  else:
    one = lambda g: {"input_ids": prompt(g, 1, 2)}
    cases += [answer(name, model, one, o) for o in (forced, dict(forced, num_beams=3))]
  FOLDER.mkdir(exist_ok=True)
  lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
  (FOLDER / f"{name}.json").write_text(f'{{"model":"{name}","cases":[\n{lines}\n]}}\n')
  begun = lambda c: len(c.get("decoder_input_ids", [2])) if encodes else len(c["input_ids"])
  ended = sum(1 for c in cases if "eos_token_id" in c["options"]
              and any(t in golden_ids(c["options"]["eos_token_id"]) for s in c["sequences"] for t in s[begun(c):]))
  print(f"generation/{name}: {len(cases)} cases, {ended} end by a token")


def golden_ids(value):
  return value if isinstance(value, list) else [value]


def processed(config, prompt_length, ids, logits):
  model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**dict(golden.GPT2, n_layer=1, vocab_size=len(logits))))
  config._eos_token_tensor = None if config.eos_token_id is None else torch.tensor(golden_ids(config.eos_token_id))
  processors = model._get_logits_processor(generation_config=config, input_ids_seq_length=prompt_length,
                                           encoder_input_ids=torch.tensor([ids[:prompt_length]]))
  return torch.softmax(processors(torch.tensor([ids]), torch.tensor([logits])).double(), -1)[0].tolist()


def make_processors():
  """Probabilities of the next token after the processors and warpers, by themselves and together."""
  g = golden.generator(77)
  logits = [round(x, 4) for x in (2.5 * torch.randn(40, generator=g)).tolist()]
  ids = [7, 3, 17, 9, 3, 17, 21, 9, 3]
  best = sorted(range(40), key=lambda i: -logits[i])
  options = [
      {"typical_p": 0.3}, {"typical_p": 0.9}, {"typical_p": 0.05}, {"epsilon_cutoff": 0.05}, {"epsilon_cutoff": 0.9},
      {"eta_cutoff": 0.02}, {"eta_cutoff": 0.4}, {"typical_p": 0.8, "top_k": 7, "temperature": 1.6},
      {"top_p": 0.9, "min_p": 0.02, "typical_p": 0.9, "epsilon_cutoff": 0.001, "eta_cutoff": 0.01},
      {"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 1}, {"encoder_no_repeat_ngram_size": 2}, {"encoder_repetition_penalty": 2.0},
      {"repetition_penalty": 1.6, "encoder_repetition_penalty": 1.4}, {"bad_words_ids": [[best[0]], [9, 3, best[1]], [3, 9, best[2]]]},
      {"sequence_bias": [[[best[0]], -3.5], [[3, best[3]], 2.0], [[9, 3, best[4]], 1.0]]}, {"suppress_tokens": best[:5]},
      {"eos_token_id": best[0], "min_length": 10}, {"eos_token_id": [best[0], best[1]], "min_new_tokens": 4},
      {"eos_token_id": best[6], "exponential_decay_length_penalty": [1, 1.5]}, {"eos_token_id": best[-1], "exponential_decay_length_penalty": [1, 1.5]},
      {"num_beams": 2, "top_k": 1}, {"num_beams": 2, "top_p": 0.05}, {"num_beams": 2, "min_p": 1.0}, {"num_beams": 2, "typical_p": 0.01},
      {"num_beams": 2, "eos_token_id": [best[3], best[9]], "top_k": 1}, {"num_beams": 3, "epsilon_cutoff": 0.9},
      {"renormalize_logits": True, "top_k": 4, "temperature": 0.5},
  ]
  cases = []
  for o in options:
    config = transformers.GenerationConfig(**dict(dict(do_sample=True, top_k=0, max_length=30), **o))
    cases.append({"options": o, "prompt": 6, "probabilities": golden.rounded(processed(config, 6, ids, logits))})
  lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
  (golden.HERE / "logits_processors.json").write_text(f'{{"logits":{json.dumps(logits)},"ids":{json.dumps(ids)},"cases":[\n{lines}\n]}}\n')
  print(f"logits_processors.json: {len(cases)} cases")


def seq2seq_tokenizer():
  from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
  tokenizer = Tokenizer(models.BPE())
  tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = decoders.ByteLevel()
  special = ["<s>", "<pad>", "</s>"]
  trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False,
                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
  tokenizer.train_from_iterator(golden.SENTENCES, trainer)
  tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B </s>",
                                                           special_tokens=[("<s>", 0), ("</s>", 2)])
  return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                              model_input_names=["input_ids", "attention_mask"])


def make_pipeline():
  """What Hugging Face's pipeline of that name gave as long as it had one: the decoded texts of `generate`."""
  tokenizer = seq2seq_tokenizer()
  config = transformers.BartConfig(
      vocab_size=len(tokenizer), d_model=24, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=3,
      encoder_ffn_dim=31, decoder_ffn_dim=37, max_position_embeddings=64, dropout=0.0, pad_token_id=1, bos_token_id=0, eos_token_id=2,
      decoder_start_token_id=2, forced_eos_token_id=2)
  name = "text2text-generation"
  texts = ["The old boat drifted.", "Snow \u2603 lay on the caf\u00e9's roof.", "A quiet river runs behind the school."]
  options = [{"max_new_tokens": 12}, {"max_new_tokens": 24, "num_beams": 3}, {"max_new_tokens": 10, "num_beams": 4, "num_return_sequences": 2},
             {"max_new_tokens": 20, "no_repeat_ngram_size": 1, "min_new_tokens": 8}]
  for seed in range(700, 760):
    model = golden.randomize(transformers.BartForConditionalGeneration(config), seed)
    folder = golden.store_pipeline(name, model, tokenizer)
    golden.write_json(folder / "generation_config.json", dict(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2))
    model = transformers.BartForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()

    def run_text(text, o):
      inputs = {"input_ids": tokenizer(text)["input_ids"]}
      sequences = run(model, inputs, o).sequences
      return clear(model, inputs, o, sequences), [{"generated_text": tokenizer.decode(s, skip_special_tokens=True)} for s in sequences]

    answers = [(t, o, *run_text(t, o)) for t in texts for o in options]
    several = len({a[3][0]["generated_text"] for a in answers}) > 6
    if several and all(a[2] for a in answers):
      print(f"pipelines/{name}: seed {seed}")
      break
  else:
    sys.exit("no seed gives clear choices")
  cases = [{"input": t, "options": o, "output": output} for t, o, _, output in answers]
  cases.append({"input": texts, "options": options[1], "output": [c["output"][0] for c in cases if c["options"] == options[1]]})
  golden.store_cases(folder, name, cases)


SPM = golden.HERE / "sentencepiece"


def spm_vocabulary(key):
  return json.loads((SPM / "expected.json").read_text())[key]["vocab"]


def m2m100_tokenizer(scratch):
  from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES
  golden.write_json(scratch / "vocab.json", spm_vocabulary("m2m100"))
  # As the published ones list them; otherwise transformers 5.12 takes them for ordinary tokens.
  codes = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
  return transformers.M2M100Tokenizer(str(scratch / "vocab.json"), str(SPM / "bpe.model"), additional_special_tokens=codes)


def marian_tokenizer(scratch):
  golden.write_json(scratch / "vocab.json", spm_vocabulary("marian"))
  return transformers.MarianTokenizer(str(SPM / "unigram.model"), str(SPM / "unigram.model"), str(scratch / "vocab.json"))


def mbart_tokenizer(scratch):
  import sentencepiece
  sp = sentencepiece.SentencePieceProcessor(model_file=str(SPM / "unigram.model"))
  pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + [
      (sp.id_to_piece(i), sp.get_score(i)) for i in range(3, sp.get_piece_size())]
  return transformers.MBartTokenizer(vocab=pieces, src_lang="de_DE")


SMALL = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=4, encoder_ffn_dim=21,
             decoder_ffn_dim=23, max_position_embeddings=64, dropout=0.0, forced_eos_token_id=None)
# By folder: the tokenizer, the model, its settings, and whether a call names languages.
TRANSLATORS = {
    "translation-m2m-100": (m2m100_tokenizer, "M2M100ForConditionalGeneration", dict(decoder_start_token_id=2, scale_embedding=False), [("en", "fr"), ("zh", "en")]),
    "translation-mbart": (mbart_tokenizer, "MBartForConditionalGeneration", dict(decoder_start_token_id=2), [("en_XX", "fr_XX"), ("ro_RO", "en_XX")]),
    "translation-marian": (marian_tokenizer, "MarianMTModel", {}, [None]),
}


def make_translation(name):
  """What transformers' translation pipeline gave as long as there was one."""
  make_tokenizer, cls, settings, languages = TRANSLATORS[name]
  texts = ["The quick brown fox.", "Snow \u2603 lay on the caf\u00e9's roof.", ">>de<< A quiet river runs behind the school."]
  options = [{"max_new_tokens": 9, "no_repeat_ngram_size": 1}, {"max_new_tokens": 12, "num_beams": 3, "no_repeat_ngram_size": 2}]
  with tempfile.TemporaryDirectory() as scratch:
    tokenizer = make_tokenizer(Path(scratch))
    vocab = max([*tokenizer.get_vocab().values(), *getattr(tokenizer, "lang_code_to_id", {}).values()]) + 1
    pad = tokenizer.pad_token_id
    settings = dict(SMALL, decoder_start_token_id=pad, bad_words_ids=[[pad]]) | settings
    bad_words = settings.pop("bad_words_ids") if "Marian" in cls else None
    settings.pop("bad_words_ids", None)
    config = getattr(transformers, cls.replace("ForConditionalGeneration", "Config").replace("MTModel", "Config"))(
        vocab_size=vocab, pad_token_id=pad, eos_token_id=tokenizer.eos_token_id, bos_token_id=0, **settings)
    for seed in range(800, 860):
      model = golden.randomize(getattr(transformers, cls)(config), seed)
      folder = golden.store_pipeline(name, model, tokenizer)
      generation = dict(bos_token_id=0, pad_token_id=pad, eos_token_id=tokenizer.eos_token_id,
                        decoder_start_token_id=config.decoder_start_token_id)
      golden.write_json(folder / "generation_config.json", generation | ({"bad_words_ids": bad_words} if bad_words else {}))
      model = getattr(transformers, cls).from_pretrained(folder, attn_implementation="eager").eval()
      tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
      cases, sure = [], True
      for text in texts:
        for pair in languages:
          for o in options:
            if pair:
              inputs = tokenizer._build_translation_inputs(text, src_lang=pair[0], tgt_lang=pair[1], return_tensors="pt")
              given = o | dict(src_lang=pair[0], tgt_lang=pair[1])
            else:
              inputs, given = tokenizer(text, return_tensors="pt"), o
            forced = {k: v for k, v in inputs.items() if k == "forced_bos_token_id"}
            ids = {"input_ids": inputs["input_ids"][0].tolist()}
            sequences = run(model, ids, o | forced).sequences
            sure = sure and clear(model, ids, o | forced, sequences)
            cases.append({"input": text, "options": given,
                          "output": [{"generated_text": tokenizer.decode(sequences[0], skip_special_tokens=True)}]})
      made = {c["output"][0]["generated_text"] for c in cases}
      if sure and len(made) > 0.7 * len(cases):
        print(f"pipelines/{name}: seed {seed}")
        return golden.store_cases(folder, "text2text-generation", cases)
  sys.exit(f"{name}: no seed gives clear choices")


def main(names):
  torch.set_num_threads(1)
  torch.use_deterministic_algorithms(True)
  transformers.logging.set_verbosity_error()
  if not names:
    make_processors()
    make_pipeline()
  for name in TRANSLATORS:
    if not names or name in names:
      make_translation(name)
  names = [n for n in names if n not in TRANSLATORS] if names else [m for m in MODELS if m in golden.CASES]
  if "text2text-generation" in names:
    return make_pipeline()
  for name in names:
    make(name)


if __name__ == "__main__":
  main(sys.argv[1:])
