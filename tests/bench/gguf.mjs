// Writes the synthetic Llama as a GGUF file of Q8_0 or Q4_0 blocks, for wllama to be measured beside Sotto.
// Format: ggml's gguf.md, version 3.
import fs from 'node:fs';
import path from 'node:path';
import { folder, randomFloats, randomInts, shapes } from './models.mjs';

const U32 = 4,
  I32 = 5,
  F32 = 6,
  STRING = 8,
  ARRAY = 9;
const types = { f32: 0, q4: 2, q8: 8 };

const u32 = (v) => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(v);
  return b;
};
const u64 = (v) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(v));
  return b;
};
const f32 = (v) => {
  const b = Buffer.alloc(4);
  b.writeFloatLE(v);
  return b;
};
const string = (v) => Buffer.concat([u64(Buffer.byteLength(v)), Buffer.from(v)]);
const encode = { [U32]: u32, [I32]: u32, [F32]: f32, [STRING]: string };
const entry = (key, type, value) => Buffer.concat([string(key), u32(type), encode[type](value)]);
const list = (key, type, values) =>
  Buffer.concat([string(key), u32(ARRAY), u32(type), u64(values.length), ...values.map(encode[type])]);

// Blocks of 32 values: an f16 scale (here 2^-11 everywhere) and the numbers.
function blocks(count, precision) {
  const bytes = precision === 'q8' ? 34 : 18;
  const out = new Uint8Array((count / 32) * bytes);
  const values = new Uint8Array(randomInts((count / 32) * (bytes - 2)).buffer);
  for (let b = 0; b < count / 32; ++b) {
    out[b * bytes + 1] = 0x10;
    out.set(values.subarray(b * (bytes - 2), (b + 1) * (bytes - 2)), b * bytes + 2);
  }
  return out;
}

/** The GGUF file of a Llama shape; made where it is not there. */
export function ggufModel(name, precision) {
  const file = path.join(folder, `${name}-${precision}.gguf`);
  if (fs.existsSync(file)) return file;
  fs.mkdirSync(folder, { recursive: true });
  const { vocab, positions, hidden, layers, heads, inner } = shapes[name];
  const tokens = ['<unk>', '<s>', '</s>', ...Array.from({ length: vocab - 3 }, (_, i) => `\u2581w${i}`)];
  const metadata = [
    entry('general.architecture', STRING, 'llama'),
    entry('general.name', STRING, name),
    entry('llama.context_length', U32, positions),
    entry('llama.embedding_length', U32, hidden),
    entry('llama.block_count', U32, layers),
    entry('llama.feed_forward_length', U32, inner),
    entry('llama.attention.head_count', U32, heads),
    entry('llama.attention.layer_norm_rms_epsilon', F32, 1e-5),
    entry('llama.rope.dimension_count', U32, hidden / heads),
    entry('tokenizer.ggml.model', STRING, 'llama'),
    list('tokenizer.ggml.tokens', STRING, tokens),
    list(
      'tokenizer.ggml.scores',
      F32,
      tokens.map((_, i) => -i),
    ),
    list(
      'tokenizer.ggml.token_type',
      I32,
      tokens.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : 1)),
    ),
    entry('tokenizer.ggml.bos_token_id', U32, 1),
    entry('tokenizer.ggml.eos_token_id', U32, 2),
  ];
  const tensors = [];
  const matrix = (key, out, into) => tensors.push({ key, dims: [into, out], type: precision });
  const norm = (key) => tensors.push({ key, dims: [hidden], type: 'f32' });
  matrix('token_embd.weight', vocab, hidden);
  for (let i = 0; i < layers; ++i) {
    norm(`blk.${i}.attn_norm.weight`);
    for (const part of ['q', 'k', 'v', 'output']) matrix(`blk.${i}.attn_${part}.weight`, hidden, hidden);
    norm(`blk.${i}.ffn_norm.weight`);
    matrix(`blk.${i}.ffn_gate.weight`, inner, hidden);
    matrix(`blk.${i}.ffn_up.weight`, inner, hidden);
    matrix(`blk.${i}.ffn_down.weight`, hidden, inner);
  }
  norm('output_norm.weight');
  const pad = (n) => (n + 31) & ~31;
  const infos = [];
  let offset = 0;
  for (const t of tensors) {
    const count = t.dims.reduce((a, b) => a * b, 1);
    t.data = t.type === 'f32' ? new Uint8Array(randomFloats(count, 0, 1).buffer) : blocks(count, t.type);
    infos.push(Buffer.concat([string(t.key), u32(t.dims.length), ...t.dims.map(u64), u32(types[t.type]), u64(offset)]));
    offset += pad(t.data.length);
  }
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(metadata.length),
    ...metadata,
    ...infos,
  ]);
  const parts = [head, Buffer.alloc(pad(head.length) - head.length)];
  for (const t of tensors) parts.push(t.data, Buffer.alloc(pad(t.data.length) - t.data.length));
  fs.writeFileSync(`${file}.part`, Buffer.concat(parts));
  fs.renameSync(`${file}.part`, file);
  return file;
}
