"""The reference of core/models/pointer_generator.h: See, Liu and Manning's head (2017) over transformers' BART."""
import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers.modeling_outputs import Seq2SeqLMOutput

NO_PROBABILITY = 1e-12


class BartForPointerGeneration(transformers.BartForConditionalGeneration):
  """Logits are log-probabilities; ids from vocab_size on are unknown words, numbered for each source."""
  _supports_sdpa = False  # its attentions are read

  def __init__(self, config):
    super().__init__(config)
    width = config.d_model
    self.pointer_generator = nn.ModuleDict(dict(w_h=nn.Linear(width, 1, bias=False), w_s=nn.Linear(width, 1, bias=False),
                                                w_x=nn.Linear(width, 1)))
    self.source_ids = None  # of generate(), which gives forward() only what the encoder made of them

  def known(self, ids):
    return None if ids is None else ids.masked_fill(ids >= self.words, self.config.unk_token_id)

  @property
  def words(self):
    return self.model.shared.num_embeddings

  def generate(self, input_ids, **options):
    self.source_ids = input_ids
    self.config.vocab_size = max(self.words, int(input_ids.max()) + 1)  # beams go by it
    states = self.model.encoder(self.known(input_ids), attention_mask=options.get("attention_mask"), return_dict=True)
    try:
      return super().generate(input_ids=input_ids, encoder_outputs=states, **options)
    finally:
      self.source_ids = None
      self.config.vocab_size = self.words

  def forward(self, input_ids=None, attention_mask=None, decoder_input_ids=None, decoder_attention_mask=None,
              encoder_outputs=None, past_key_values=None, labels=None, use_cache=None, **_):
    source = self.source_ids if self.source_ids is not None else input_ids
    source = source.repeat_interleave(len(decoder_input_ids) // len(source), 0)  # beams
    given = {}
    attend = self.model.decoder.layers[-1].encoder_attn
    hook = attend.register_forward_hook(lambda module, inputs, output: given.update(context=output[0]))
    out = self.model(input_ids=self.known(input_ids), attention_mask=attention_mask,
                     decoder_input_ids=self.known(decoder_input_ids), decoder_attention_mask=decoder_attention_mask,
                     encoder_outputs=encoder_outputs, past_key_values=past_key_values, use_cache=use_cache,
                     output_attentions=True, return_dict=True)
    hook.remove()
    state = out.last_hidden_state
    embedded = F.embedding(self.known(decoder_input_ids), self.model.shared.weight)
    head = self.pointer_generator
    gate = torch.sigmoid(head["w_h"](given["context"]) + head["w_s"](state) + head["w_x"](embedded))
    written = torch.softmax(self.lm_head(state) + self.final_logits_bias, -1)
    attention = out.cross_attentions[-1].mean(1)  # over heads
    extra = max(0, int(source.max()) + 1 - self.words)
    p = F.pad(gate * written, (0, extra))
    p = p.scatter_add(-1, source[:, None, :].expand_as(attention), (1 - gate) * attention)
    logits = torch.log(p + NO_PROBABILITY)
    loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    return Seq2SeqLMOutput(loss=loss, logits=logits, past_key_values=out.past_key_values,
                           encoder_last_hidden_state=out.encoder_last_hidden_state)
