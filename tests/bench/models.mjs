// Synthetic models of the shapes that people run, for speed alone: random weights, and a tokenizer whose
// tokens are the words w0, w1, ..., so that a text of n words is n tokens. Written to build/bench/models once.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { manifestOf } from '../../tools/manifest.mjs';

export const folder = fileURLToPath(new URL('../../build/bench/models/', import.meta.url));

const bert = (hidden, layers, heads, inner) => ({
  kind: 'bert',
  vocab: 30522,
  positions: 512,
  hidden,
  layers,
  heads,
  inner,
});

/** The shapes, by name. */
export const shapes = {
  'minilm-l6': bert(384, 6, 12, 1536),
  'bert-base': bert(768, 12, 12, 3072),
  gpt2: { kind: 'gpt2', vocab: 50257, positions: 1024, hidden: 768, layers: 12, heads: 12, inner: 3072 },
  // The shape of models/sotto-sentiment, for peers to be measured beside it.
  'tiny-bert': { ...bert(160, 4, 5, 640), vocab: 8192, positions: 128 },
  'llama-15m': { kind: 'llama', vocab: 32000, positions: 2048, hidden: 288, layers: 6, heads: 6, inner: 768 },
};

// Values that repeat after a megabyte: as good as random ones for timing, and quickly made.
const noise = new Int8Array(1 << 20);
for (let i = 0, state = 1; i < noise.length; ++i) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  noise[i] = ((state >>> 24) % 127) - 63;
}

export function randomInts(count) {
  const out = new Int8Array(count);
  for (let at = 0; at < count; at += noise.length) out.set(noise.subarray(0, Math.min(noise.length, count - at)), at);
  return out;
}

export function randomFloats(count, scale = 0.02 / 36, offset = 0) {
  const out = new Float32Array(count);
  for (let i = 0; i < count; ++i) out[i] = offset + scale * noise[i % noise.length];
  return out;
}

/** The weights in Hugging Face's names: [name, shape, 'matrix' | 'bias' | 'norm'], matrices as [out, in]. */
export function weights({ kind, vocab, positions, hidden, layers, inner }) {
  const list = [];
  const matrix = (name, out, into) => list.push([name, [out, into], 'matrix']);
  const vector = (name, size, role) => list.push([name, [size], role]);
  const linear = (name, out, into) => {
    matrix(`${name}.weight`, out, into);
    vector(`${name}.bias`, out, 'bias');
  };
  const norm = (name) => {
    vector(`${name}.weight`, hidden, 'norm');
    vector(`${name}.bias`, hidden, 'bias');
  };
  if (kind === 'bert') {
    matrix('embeddings.word_embeddings.weight', vocab, hidden);
    matrix('embeddings.position_embeddings.weight', positions, hidden);
    matrix('embeddings.token_type_embeddings.weight', 2, hidden);
    norm('embeddings.LayerNorm');
    for (let i = 0; i < layers; ++i) {
      const at = `encoder.layer.${i}.`;
      for (const part of ['query', 'key', 'value']) linear(`${at}attention.self.${part}`, hidden, hidden);
      linear(`${at}attention.output.dense`, hidden, hidden);
      norm(`${at}attention.output.LayerNorm`);
      linear(`${at}intermediate.dense`, inner, hidden);
      linear(`${at}output.dense`, hidden, inner);
      norm(`${at}output.LayerNorm`);
    }
    linear('pooler.dense', hidden, hidden);
  } else if (kind === 'gpt2') {
    matrix('transformer.wte.weight', vocab, hidden);
    matrix('transformer.wpe.weight', positions, hidden);
    for (let i = 0; i < layers; ++i) {
      const at = `transformer.h.${i}.`;
      norm(`${at}ln_1`);
      linear(`${at}attn.c_attn`, 3 * hidden, hidden);
      linear(`${at}attn.c_proj`, hidden, hidden);
      norm(`${at}ln_2`);
      linear(`${at}mlp.c_fc`, inner, hidden);
      linear(`${at}mlp.c_proj`, hidden, inner);
    }
    norm('transformer.ln_f');
  } else {
    matrix('model.embed_tokens.weight', vocab, hidden);
    for (let i = 0; i < layers; ++i) {
      const at = `model.layers.${i}.`;
      vector(`${at}input_layernorm.weight`, hidden, 'norm');
      for (const part of ['q', 'k', 'v', 'o']) matrix(`${at}self_attn.${part}_proj.weight`, hidden, hidden);
      vector(`${at}post_attention_layernorm.weight`, hidden, 'norm');
      matrix(`${at}mlp.gate_proj.weight`, inner, hidden);
      matrix(`${at}mlp.up_proj.weight`, inner, hidden);
      matrix(`${at}mlp.down_proj.weight`, hidden, inner);
    }
    vector('model.norm.weight', hidden, 'norm');
  }
  return list;
}

function config({ kind, vocab, positions, hidden, layers, heads, inner }) {
  if (kind === 'bert') {
    return {
      model_type: 'bert',
      architectures: ['BertModel'],
      vocab_size: vocab,
      hidden_size: hidden,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      intermediate_size: inner,
      max_position_embeddings: positions,
      type_vocab_size: 2,
      hidden_act: 'gelu',
      layer_norm_eps: 1e-12,
    };
  }
  if (kind === 'gpt2') {
    return {
      model_type: 'gpt2',
      architectures: ['GPT2LMHeadModel'],
      vocab_size: vocab,
      n_embd: hidden,
      n_layer: layers,
      n_head: heads,
      n_positions: positions,
      activation_function: 'gelu_new',
    };
  }
  return {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: vocab,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    intermediate_size: inner,
    max_position_embeddings: positions,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    tie_word_embeddings: true,
  };
}

function tokenizer({ kind, vocab }) {
  const names = kind === 'bert' ? ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] : ['[UNK]'];
  const words = Object.fromEntries(
    [...names, ...Array.from({ length: vocab - names.length }, (_, i) => `w${i}`)].map((w, i) => [w, i]),
  );
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: words,
    },
  };
}

// One safetensors file, written piece by piece.
function writeSafetensors(file, tensors) {
  const header = { __metadata__: { format: 'pt' } };
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  let json = Buffer.from(JSON.stringify(header));
  json = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const out = fs.openSync(file, 'w');
  fs.writeSync(out, length);
  fs.writeSync(out, json);
  for (const tensor of tensors) {
    const data = tensor.make();
    fs.writeSync(out, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  fs.closeSync(out);
}

const size = (shape) => shape.reduce((a, b) => a * b, 1);

/** The folder of a shape in Sotto's files; dtype is f32, q8 or q4. Made where it is not there. */
export function sottoModel(name, dtype) {
  const at = path.join(folder, `${name}-${dtype}`);
  if (fs.existsSync(path.join(at, 'manifest.json'))) return at;
  fs.mkdirSync(at, { recursive: true });
  const shape = shapes[name];
  fs.writeFileSync(path.join(at, 'config.json'), JSON.stringify(config(shape)));
  fs.writeFileSync(path.join(at, 'tokenizer.json'), JSON.stringify(tokenizer(shape)));
  const tensors = [];
  for (const [weight, dims, role] of weights(shape)) {
    const count = size(dims);
    const packs = role === 'matrix' && dims[0] >= 32;
    // GPT-2's checkpoints hold their projections as [in, out]; 8-bit rows are always those of the output.
    const stored =
      shape.kind === 'gpt2' && role === 'matrix' && dtype === 'f32' && weight.includes('.h.')
        ? [...dims].reverse()
        : dims;
    if (packs && dtype === 'q8') {
      tensors.push({ name: weight, dtype: 'I8', shape: dims, bytes: count, make: () => randomInts(count) });
      tensors.push({
        name: `${weight}.scale`,
        dtype: 'F32',
        shape: [dims[0]],
        bytes: 4 * dims[0],
        make: () => randomFloats(dims[0], 0, 0.02 / 36),
      });
    } else if (packs && dtype === 'q4') {
      const [out, into] = dims;
      const half = [out, into / 2];
      const groups = [out, into / 32];
      const bytes = (count / 32) * 2;
      tensors.push({ name: weight, dtype: 'U8', shape: half, bytes: count / 2, make: () => randomInts(count / 2) });
      // 2^-9 in bf16.
      const make = () => new Uint16Array(bytes / 2).fill(0x3b00);
      tensors.push({ name: `${weight}.scale`, dtype: 'BF16', shape: groups, bytes, make });
    } else {
      const make = () => (role === 'norm' ? randomFloats(count, 0, 1) : randomFloats(count));
      tensors.push({ name: weight, dtype: 'F32', shape: stored, bytes: 4 * count, make });
    }
  }
  // Larger alignment first, so that every tensor of 4-byte elements is aligned.
  const alignment = ['F32', 'BF16', 'I8', 'U8'];
  tensors.sort((a, b) => alignment.indexOf(a.dtype) - alignment.indexOf(b.dtype));
  writeSafetensors(path.join(at, 'model.safetensors'), tensors);
  fs.writeFileSync(path.join(at, 'manifest.json'), JSON.stringify(manifestOf(at))); // last: the folder is whole
  return at;
}
