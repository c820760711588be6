// GGUF files for tests: the golden GPT-2 with its tokenizer, as llama.cpp's converter and gguf-split would write it.
import { readFileSync } from 'node:fs';

const root = new URL('../../', import.meta.url).pathname;

type Value = number | string | boolean | { float: number } | readonly string[] | readonly number[];

/** Little-endian bytes, one piece after the other. */
class Bytes {
  #pieces: Buffer[] = [];
  length = 0;
  add(piece: Buffer): this {
    this.#pieces.push(piece);
    this.length += piece.length;
    return this;
  }
  u32(value: number): this {
    const piece = Buffer.alloc(4);
    piece.writeUInt32LE(value);
    return this.add(piece);
  }
  u64(value: number): this {
    const piece = Buffer.alloc(8);
    piece.writeBigUInt64LE(BigInt(value));
    return this.add(piece);
  }
  f32(value: number): this {
    const piece = Buffer.alloc(4);
    piece.writeFloatLE(value);
    return this.add(piece);
  }
  text(value: string): this {
    const piece = Buffer.from(value);
    return this.u64(piece.length).add(piece);
  }
  value(value: Value): this {
    if (typeof value === 'number') return this.u32(4).u32(value);
    if (typeof value === 'string') return this.u32(8).text(value);
    if (typeof value === 'boolean') return this.u32(7).add(Buffer.from([Number(value)]));
    if ('float' in value) return this.u32(6).f32(value.float);
    const texts = typeof value[0] === 'string';
    this.u32(9)
      .u32(texts ? 8 : 5)
      .u64(value.length);
    for (const item of value) texts ? this.text(item as string) : this.u32(item as number);
    return this;
  }
  align(to: number): this {
    return this.add(Buffer.alloc((to - (this.length % to)) % to));
  }
  get whole(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

interface Stored {
  name: string;
  /** Outermost first. */
  shape: number[];
  values: Buffer;
}

function write(metadata: readonly (readonly [string, Value])[], tensors: readonly Stored[]): Buffer {
  const out = new Bytes().add(Buffer.from('GGUF')).u32(3).u64(tensors.length).u64(metadata.length);
  for (const [key, value] of metadata) out.text(key).value(value);
  const data = new Bytes();
  for (const { name, shape, values } of tensors) {
    out.text(name).u32(shape.length);
    for (const extent of [...shape].reverse()) out.u64(extent);
    out.u32(0).u64(data.length);
    data.add(values).align(32);
  }
  return out.align(32).add(data.whole).whole;
}

/** [rows, columns] of f32 as [columns, rows]. */
function transposed(values: Buffer, rows: number, columns: number): Buffer {
  const out = Buffer.alloc(values.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      values.copy(out, (c * rows + r) * 4, (r * columns + c) * 4, (r * columns + c + 1) * 4);
  return out;
}

const names: readonly (readonly [RegExp, string])[] = [
  [/^transformer\.wte/, 'token_embd'],
  [/^transformer\.wpe/, 'position_embd'],
  [/^transformer\.ln_f/, 'output_norm'],
  [/^transformer\.h\.(\d+)\.ln_1/, 'blk.$1.attn_norm'],
  [/^transformer\.h\.(\d+)\.attn\.c_attn/, 'blk.$1.attn_qkv'],
  [/^transformer\.h\.(\d+)\.attn\.c_proj/, 'blk.$1.attn_output'],
  [/^transformer\.h\.(\d+)\.ln_2/, 'blk.$1.ffn_norm'],
  [/^transformer\.h\.(\d+)\.mlp\.c_fc/, 'blk.$1.ffn_up'],
  [/^transformer\.h\.(\d+)\.mlp\.c_proj/, 'blk.$1.ffn_down'],
];

function tensorsOf(file: Buffer): Stored[] {
  const header = Number(file.readBigUInt64LE(0));
  const table = JSON.parse(file.subarray(8, 8 + header).toString()) as Record<
    string,
    { shape: number[]; data_offsets: [number, number] }
  >;
  return Object.entries(table).flatMap(([key, { shape, data_offsets }]) => {
    const found = names.find(([pattern]) => pattern.test(key));
    if (!found) return [];
    const values = file.subarray(8 + header + data_offsets[0], 8 + header + data_offsets[1]);
    const name = key.replace(...(found as [RegExp, string]));
    const upright = /blk.*(attn_qkv|attn_output|ffn_up|ffn_down)\.weight/.test(name);
    const [rows = 0, columns = 0] = shape;
    return [
      upright ? { name, shape: [columns, rows], values: transposed(values, rows, columns) } : { name, shape, values },
    ];
  });
}

/** The model of `pipelines/text-generation` as one GGUF file, or as several. */
export function goldenGguf(parts = 1): Map<string, Buffer> {
  const folder = `${root}tests/golden/pipelines/text-generation/`;
  const config = JSON.parse(readFileSync(`${folder}config.json`, 'utf8'));
  const { model } = JSON.parse(readFileSync(`${folder}tokenizer.json`, 'utf8'));
  const tokens = Object.entries(model.vocab as Record<string, number>)
    .sort(([, a], [, b]) => a - b)
    .map(([token]) => token);
  const metadata: [string, Value][] = [
    ['general.architecture', 'gpt2'],
    ['gpt2.context_length', config.n_positions],
    ['gpt2.embedding_length', config.n_embd],
    ['gpt2.feed_forward_length', config.n_inner],
    ['gpt2.block_count', config.n_layer],
    ['gpt2.attention.head_count', config.n_head],
    ['gpt2.attention.layer_norm_epsilon', { float: config.layer_norm_epsilon }],
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'gpt-2'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', tokens.map((_, i) => (i === config.eos_token_id ? 3 : 1))],
    ['tokenizer.ggml.merges', (model.merges as string[][]).map((pair) => pair.join(' '))],
    ['tokenizer.ggml.bos_token_id', config.bos_token_id],
    ['tokenizer.ggml.eos_token_id', config.eos_token_id],
    ['tokenizer.chat_template', '{% for m in messages %}{{ m.content }} {% endfor %}'],
  ];
  const tensors = tensorsOf(readFileSync(`${folder}model.safetensors`));
  const out = new Map<string, Buffer>();
  for (let part = 0; part < parts; part++) {
    const number = (n: number) => String(n).padStart(5, '0');
    const split: [string, Value][] = [
      ['split.no', part],
      ['split.count', parts],
      ['split.tensors.count', tensors.length],
    ];
    const here = tensors.slice((tensors.length * part) / parts, (tensors.length * (part + 1)) / parts);
    if (parts === 1) out.set('story.gguf', write(metadata, here));
    else
      out.set(
        `story-${number(part + 1)}-of-${number(parts)}.gguf`,
        write(part === 0 ? [...metadata, ...split] : split, here),
      );
  }
  return out;
}
