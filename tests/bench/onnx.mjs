// Writes the synthetic models as ONNX files, for ONNX Runtime to be measured beside Sotto: built of its own
// fused operators (com.microsoft), so that it is at its best. Format: onnx.proto3, encoded by hand below.
import fs from 'node:fs';
import path from 'node:path';
import { folder, randomFloats, randomInts, shapes } from './models.mjs';

// ---- Protocol Buffers: a message is a list of fields, each already bytes.

function varint(value) {
  let v = BigInt.asUintN(64, BigInt(value));
  const out = [];
  do {
    out.push(Number(v & 127n) | (v > 127n ? 128 : 0));
    v >>= 7n;
  } while (v > 0n);
  return Buffer.from(out);
}
const int = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const blob = (field, bytes) => [varint((field << 3) | 2), varint(bytes.length), bytes];
const message = (field, ...parts) => blob(field, Buffer.concat(parts.flat(9)));
const string = (field, value) => blob(field, Buffer.from(value));
const float = (field, value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint((field << 3) | 5), bytes]);
};

const FLOAT = 1,
  UINT8 = 2,
  INT8 = 3,
  INT32 = 6,
  INT64 = 7;
const bytesOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

class Graph {
  nodes = [];
  initializers = [];
  inputs = [];
  outputs = [];
  #count = 0;

  tensor(name, type, dims, data) {
    this.initializers.push(
      message(
        5,
        dims.map((d) => int(1, d)),
        int(2, type),
        string(8, name),
        blob(9, bytesOf(data)),
      ),
    );
    return name;
  }
  floats(name, dims, scale, offset) {
    return this.tensor(
      name,
      FLOAT,
      dims,
      randomFloats(
        dims.reduce((a, b) => a * b, 1),
        scale,
        offset,
      ),
    );
  }
  node(op, inputs, attributes = {}, { domain = '', outputs } = {}) {
    const out = outputs ?? [`${op}_${++this.#count}`];
    const attribute = ([name, value]) => {
      if (typeof value === 'string') return message(5, string(1, name), string(4, value), int(20, 3));
      if (Array.isArray(value))
        return message(
          5,
          string(1, name),
          value.map((v) => int(8, v)),
          int(20, 7),
        );
      if (Number.isInteger(value)) return message(5, string(1, name), int(3, value), int(20, 2));
      return message(5, string(1, name), float(2, value), int(20, 1));
    };
    this.nodes.push(
      message(
        1,
        inputs.map((i) => string(1, i)),
        out.map((o) => string(2, o)),
        string(3, `n${this.#count}_${out[0]}`),
        string(4, op),
        Object.entries(attributes).map(attribute),
        string(7, domain),
      ),
    );
    return out[0];
  }
  fused(op, inputs, attributes, outputs) {
    return this.node(op, inputs, attributes, { domain: 'com.microsoft', outputs });
  }
  #value(field, name, type, dims) {
    const shape = dims.map((d) => message(1, typeof d === 'string' ? string(2, d) : int(1, d)));
    return message(field, string(1, name), message(2, message(1, int(1, type), message(2, shape))));
  }
  input(name, type, dims) {
    this.inputs.push(this.#value(11, name, type, dims));
    return name;
  }
  output(name, type, dims) {
    this.outputs.push(this.#value(12, name, type, dims));
  }
  save(file) {
    const graph = message(7, this.nodes, string(2, 'g'), this.initializers, this.inputs, this.outputs);
    const opset = (domain, version) => message(8, string(1, domain), int(2, version));
    fs.writeFileSync(file, Buffer.concat([int(1, 8), opset('', 17), opset('com.microsoft', 1), graph].flat(9)));
  }
}

/** x W + b in the precision of the model: f32, q8 (as dynamic quantization gives) or q4 (blocks of 32). */
function linear(g, name, x, into, out, precision, bias = true) {
  const b = bias ? g.floats(`${name}.b`, [out]) : '';
  if (precision === 'f32') {
    const y = g.node('MatMul', [x, g.floats(`${name}.w`, [into, out])]);
    return bias ? g.node('Add', [y, b]) : y;
  }
  if (precision === 'q4') {
    const blocks = into / 32;
    const w = g.tensor(`${name}.w`, UINT8, [out, blocks, 16], new Uint8Array(randomInts(out * blocks * 16).buffer));
    const y = g.fused('MatMulNBits', [x, w, g.floats(`${name}.s`, [out * blocks], 0, 0.003)], {
      K: into,
      N: out,
      bits: 4,
      block_size: 32,
      accuracy_level: 4,
    });
    return bias ? g.node('Add', [y, b]) : y;
  }
  const w = g.tensor(`${name}.w`, INT8, [into, out], randomInts(into * out));
  const scale = g.tensor(`${name}.s`, FLOAT, [], Float32Array.of(0.02 / 36));
  const zero = g.tensor(`${name}.z`, INT8, [], Int8Array.of(0));
  return g.fused('DynamicQuantizeMatMul', [x, w, scale, zero, b]);
}

function embedding(g, name, ids, rows, hidden, precision) {
  if (precision === 'f32') return g.node('Gather', [g.floats(name, [rows, hidden]), ids]);
  const table = g.tensor(name, INT8, [rows, hidden], randomInts(rows * hidden));
  return g.node('DequantizeLinear', [
    g.node('Gather', [table, ids]),
    g.tensor(`${name}.s`, FLOAT, [], Float32Array.of(0.02 / 36)),
    g.tensor(`${name}.z`, INT8, [], Int8Array.of(0)),
  ]);
}

function bert(g, { vocab, positions, hidden, layers, heads, inner }, precision) {
  const ids = g.input('input_ids', INT64, ['batch', 'tokens']);
  const places = g.input('position_ids', INT64, ['batch', 'tokens']);
  const norm = (name, x, skip) =>
    g.fused(
      'SkipLayerNormalization',
      [x, skip, g.floats(`${name}.g`, [hidden], 0, 1), g.floats(`${name}.b`, [hidden])],
      { epsilon: 1e-12 },
    );
  let x = norm(
    'e',
    embedding(g, 'words', ids, vocab, hidden, precision),
    embedding(g, 'places', places, positions, hidden, precision),
  );
  for (let i = 0; i < layers; ++i) {
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(g, `${i}.${part}`, x, hidden, hidden, precision));
    const a = g.fused('MultiHeadAttention', [q, k, v], { num_heads: heads });
    x = norm(`${i}.a`, linear(g, `${i}.o`, a, hidden, hidden, precision), x);
    const f = g.fused('Gelu', [linear(g, `${i}.f`, x, hidden, inner, precision)]);
    x = norm(`${i}.n`, linear(g, `${i}.p`, f, inner, hidden, precision), x);
  }
  g.node('Identity', [x], {}, { outputs: ['last_hidden_state'] });
  g.output('last_hidden_state', FLOAT, ['batch', 'tokens', hidden]);
}

// A decoder with its past as inputs and outputs, by GroupQueryAttention, as ONNX Runtime's own exporter makes them.
function decoder(g, { kind, vocab, positions, hidden, layers, heads, inner }, precision) {
  const llama = kind === 'llama',
    dim = hidden / heads;
  const ids = g.input('input_ids', INT64, ['batch', 'tokens']);
  const seqlens = g.input('seqlens_k', INT32, ['batch']);
  const total = g.input('total_sequence_length', INT32, []);
  let x = embedding(g, 'words', ids, vocab, hidden, precision);
  if (!llama) {
    x = g.node('Add', [
      x,
      embedding(g, 'places', g.input('position_ids', INT64, ['batch', 'tokens']), positions, hidden, precision),
    ]);
  }
  const tables = llama ? ['cos', 'sin'].map((name) => g.floats(`${name}_cache`, [positions, dim / 2], 0.01, 0.5)) : [];
  const norm = (name, x) =>
    llama
      ? g.node('SimplifiedLayerNormalization', [x, g.floats(`${name}.g`, [hidden], 0, 1)], { epsilon: 1e-5, axis: -1 })
      : g.node('LayerNormalization', [x, g.floats(`${name}.g`, [hidden], 0, 1), g.floats(`${name}.b`, [hidden])], {
          epsilon: 1e-5,
          axis: -1,
        });
  for (let i = 0; i < layers; ++i) {
    const n = norm(`${i}.1`, x);
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(g, `${i}.${part}`, n, hidden, hidden, precision, !llama));
    const past = ['key', 'value'].map((p) => g.input(`past_${i}_${p}`, FLOAT, ['batch', heads, 'past', dim]));
    const present = ['key', 'value'].map((p) => `present_${i}_${p}`);
    const a = g.fused(
      'GroupQueryAttention',
      [q, k, v, ...past, seqlens, total, ...tables],
      { num_heads: heads, kv_num_heads: heads, ...(llama ? { do_rotary: 1 } : {}) },
      [`attention_${i}`, ...present],
    );
    for (const p of present) g.output(p, FLOAT, ['batch', heads, 'total', dim]);
    x = g.node('Add', [x, linear(g, `${i}.o`, a, hidden, hidden, precision, !llama)]);
    const m = norm(`${i}.2`, x);
    let f;
    if (llama) {
      const gate = linear(g, `${i}.g`, m, hidden, inner, precision, false);
      f = g.node('Mul', [
        g.fused('QuickGelu', [gate], { alpha: 1.0000001 }),
        linear(g, `${i}.u`, m, hidden, inner, precision, false),
      ]);
    } else {
      f = g.fused('FastGelu', [linear(g, `${i}.f`, m, hidden, inner, precision)]);
    }
    x = g.node('Add', [x, linear(g, `${i}.p`, f, inner, hidden, precision, !llama)]);
  }
  // Logits of the last token alone, as generation needs them.
  const last = g.node('Gather', [norm('f', x), g.tensor('last', INT64, [1], BigInt64Array.of(-1n))], { axis: 1 });
  const logits = linear(g, 'head', last, hidden, vocab, precision, false);
  g.node('Identity', [logits], {}, { outputs: ['logits'] });
  g.output('logits', FLOAT, ['batch', 1, vocab]);
}

/** The ONNX file of a shape, or of one linear layer, in a precision; made where it is not there. */
export function onnxModel(name, precision, { kind, m, k, n }) {
  const what = kind === 'product' ? `product-${m}x${k}x${n}` : name;
  const file = path.join(folder, `${what}-${precision}.onnx`);
  if (fs.existsSync(file)) return file;
  fs.mkdirSync(folder, { recursive: true });
  const g = new Graph();
  if (kind === 'product') {
    const x = g.input('x', FLOAT, [m, k]);
    g.node('Identity', [linear(g, 'w', x, k, n, precision)], {}, { outputs: ['y'] });
    g.output('y', FLOAT, [m, n]);
  } else {
    (shapes[name].kind === 'bert' ? bert : decoder)(g, shapes[name], precision);
  }
  g.save(`${file}.part`);
  fs.renameSync(`${file}.part`, file);
  return file;
}
