"""One tiny model of tests/golden/models: how it is built, what it is, and how its checkpoint is stored."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, Union


@dataclass(frozen=True)
class Case:
  model: Union[str, type]  # the class, or its name in transformers
  config: str
  settings: dict = field(default_factory=dict)  # of the config
  kind: str = "encoder"  # "encoder", "decoder" or "encoder-decoder"
  token_types: int = 0  # how many there are; 0: the model has none
  probed: bool = False  # attentions and hidden states are stored too
  gradients: bool = False  # and the gradient of every parameter
  sides: tuple = ("right", "left")  # where the padded batches are padded
  generates: bool = True  # a decoder's greedy continuations are stored
  cached: bool = True  # generate() may keep a cache
  by_length: bool = False  # its positions depend on the length: what a cache fed in pieces gives is stored
  lengths: tuple = (11, 7, 4)  # of the sequences in a padded batch
  single: int = 24  # and of the one without a mask
  decoder_lengths: tuple = (5, 7, 3)  # of what an encoder-decoder's decoder is fed beside them
  decoder_single: int = 11
  unknown_words: int = 0  # that sources hold, as ids after the vocabulary's, for a model that copies
  positions: bool = True  # a decoder takes position ids
  own_source: bool = False  # an encoder-decoder whose decoder is fed its own source
  save: Optional[Callable] = None  # (model, folder): instead of save_pretrained
  adjust: Optional[Callable[[Path, dict], None]] = None  # (folder, config): makes an older checkpoint of what was saved


def labels(*names):
  """The entries of a config that name the classes."""
  return dict(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
