// Writes the layers of the synthetic models as .tflite files, for LiteRT.js to be measured beside Sotto: an encoder
// from hidden states to hidden states (no embedding tables), or a decoder's linear layers with its output layer (no
// attention: LiteRT.js has no cache of keys and values). Format: FlatBuffers
// (https://flatbuffers.dev/internals/) after TensorFlow Lite's schema.fbs, written by hand below.
import fs from 'node:fs';
import path from 'node:path';
import { folder, randomFloats, randomInts, shapes } from './models.mjs';

// ---- FlatBuffers, written front to back: whatever points, points forward. A table is a list of fields, each
// undefined or {bytes, size} (a scalar) or {to} (a function that writes what it points to and returns its place).

class Writer {
  parts = [];
  length = 0;
  patches = [];

  raw(bytes) {
    this.parts.push(bytes);
    this.length += bytes.length;
  }
  /** Pads so that what comes after `ahead` more bytes is aligned. */
  align(to, ahead = 0) {
    const gap = (to - ((this.length + ahead) % to)) % to;
    if (gap > 0) this.raw(Buffer.alloc(gap));
  }
  /** A place for an offset, to be filled in. */
  pointer(write) {
    this.patches.push({ at: this.length, write });
    this.raw(Buffer.alloc(4));
  }
  table(fields) {
    // The layout: the vtable, then the table: its way back to the vtable, fields by falling size.
    const present = fields.map((field, id) => ({ field, id })).filter(({ field }) => field !== undefined);
    present.sort((a, b) => (b.field.size ?? 4) - (a.field.size ?? 4));
    const offsets = new Array(fields.length).fill(0);
    const wide = present.some(({ field }) => field.size === 8);
    let size = wide ? 8 : 4;
    for (const { field, id } of present) {
      offsets[id] = size;
      size += field.size ?? 4;
    }
    const vtable = 4 + 2 * fields.length;
    this.align(8, vtable);
    const begin = this.length;
    const head = Buffer.alloc(vtable);
    head.writeUInt16LE(vtable, 0);
    head.writeUInt16LE(size, 2);
    offsets.forEach((offset, id) => {
      head.writeUInt16LE(offset, 4 + 2 * id);
    });
    this.raw(head);
    const at = this.length;
    const back = Buffer.alloc(wide ? 8 : 4);
    back.writeInt32LE(at - begin, 0);
    this.raw(back);
    for (const { field } of present) {
      if (field.to) this.pointer(field.to);
      else this.raw(field.bytes);
    }
    return at;
  }
  /** A vector of bytes that are there already, of elements so large. */
  vector(bytes, count, element, alignment = Math.max(4, element)) {
    this.align(alignment, 4);
    const at = this.length;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(count);
    this.raw(length);
    this.raw(bytes);
    return at;
  }
  pointers(writes) {
    this.align(4);
    const at = this.length;
    const length = Buffer.alloc(4);
    length.writeUInt32LE(writes.length);
    this.raw(length);
    for (const write of writes) this.pointer(write);
    return at;
  }
  /** Everything that is pointed to, and the file. */
  finish() {
    for (let i = 0; i < this.patches.length; ++i) this.patches[i].target = this.patches[i].write(this);
    const file = Buffer.concat(this.parts);
    for (const { at, target } of this.patches) file.writeUInt32LE(target - at, at);
    return file;
  }
}

const scalar = (bytes) => ({ bytes, size: bytes.length });
const u8 = (value) => scalar(Buffer.of(value));
const i32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return scalar(bytes);
};
const f32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return scalar(bytes);
};
const bytesOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
const table = (...fields) => ({ to: (w) => w.table(fields) });
const vector = (array, alignment) => ({
  to: (w) => w.vector(bytesOf(array), array.length, array.BYTES_PER_ELEMENT, alignment),
});
const list = (items) => ({ to: (w) => w.pointers(items.map((item) => item.to)) });
const string = (text) => ({ to: (w) => w.vector(Buffer.from(`${text}\0`), Buffer.byteLength(text), 1) });

// ---- The schema's numbers.

const FLOAT32 = 0;
const INT32 = 2;
const INT8 = 9;
const INT4 = 17;
const ops = {
  add: 0,
  fullyConnected: 9,
  mul: 18,
  reshape: 22,
  softmax: 25,
  transpose: 39,
  mean: 40,
  sub: 41,
  rsqrt: 76,
  squaredDifference: 99,
  batchMatMul: 126,
  gelu: 150,
};
/** The kinds of options in the union, where an operator needs any. */
const optionsType = { fullyConnected: 8, softmax: 9, mean: 27 };

class Model {
  tensors = [];
  buffers = [table()]; // the first is the empty one
  operators = [];
  codes = [];

  tensor(name, shape, type = FLOAT32, data = undefined, scales = undefined) {
    let buffer = 0;
    if (data) buffer = this.buffers.push(table(vector(bytesOf(data), 16))) - 1;
    const quantization =
      scales && table(undefined, undefined, vector(scales), vector(new BigInt64Array(scales.length)));
    this.tensors.push(table(vector(Int32Array.from(shape)), u8(type), i32(buffer), string(name), quantization));
    return this.tensors.length - 1;
  }
  floats(name, shape, scale, offset) {
    const count = shape.reduce((a, b) => a * b, 1);
    return this.tensor(name, shape, FLOAT32, randomFloats(count, scale, offset));
  }
  ints(name, values) {
    return this.tensor(name, [values.length], INT32, Int32Array.from(values));
  }
  op(kind, inputs, shape, options) {
    let code = this.codes.indexOf(kind);
    if (code < 0) code = this.codes.push(kind) - 1;
    const out = this.tensor(`${kind}${this.operators.length}`, shape);
    this.operators.push(
      table(
        i32(code),
        vector(Int32Array.from(inputs)),
        vector(Int32Array.of(out)),
        options && u8(optionsType[kind]),
        options,
      ),
    );
    return out;
  }
  /** x W^T + b in the precision: f32, or weights of 8 or 4 bits by output channel with activations rounded on the way. */
  linear(name, x, tokens, into, out, precision, bias = true) {
    const count = into * out;
    const scales = new Float32Array(out).fill(0.02 / 36);
    const w =
      precision === 'f32'
        ? this.floats(`${name}.w`, [out, into])
        : precision === 'q8'
          ? this.tensor(`${name}.w`, [out, into], INT8, randomInts(count), scales)
          : this.tensor(`${name}.w`, [out, into], INT4, randomInts(count / 2), scales);
    const inputs = [x, w, ...(bias ? [this.floats(`${name}.b`, [out])] : [])];
    return this.op('fullyConnected', inputs, [tokens, out], table());
  }
  layerNorm(name, x, tokens, hidden) {
    const axis = this.ints(`${name}.axis`, [1]);
    const keep = table(u8(1));
    const mean = this.op('mean', [x, axis], [tokens, 1], keep);
    const variance = this.op(
      'mean',
      [this.op('squaredDifference', [x, mean], [tokens, hidden]), axis],
      [tokens, 1],
      keep,
    );
    const epsilon = this.tensor(`${name}.epsilon`, [1, 1], FLOAT32, Float32Array.of(1e-5));
    const factor = this.op('rsqrt', [this.op('add', [variance, epsilon], [tokens, 1])], [tokens, 1]);
    const normed = this.op('mul', [this.op('sub', [x, mean], [tokens, hidden]), factor], [tokens, hidden]);
    const scaled = this.op('mul', [normed, this.floats(`${name}.g`, [1, hidden], 0, 1)], [tokens, hidden]);
    return this.op('add', [scaled, this.floats(`${name}.b`, [1, hidden])], [tokens, hidden]);
  }
  save(file, input, output) {
    const graph = table(
      list(this.tensors),
      vector(Int32Array.of(input)),
      vector(Int32Array.of(output)),
      list(this.operators),
      string('main'),
    );
    // Codes beyond 127 are in the fourth field, and the first is then 127.
    const codes = this.codes.map((kind) => table(u8(Math.min(ops[kind], 127)), undefined, i32(1), i32(ops[kind])));
    const w = new Writer();
    w.pointer(table(i32(3), list(codes), list([graph]), string('bench'), list(this.buffers)).to);
    w.raw(Buffer.from('TFL3'));
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(`${file}.part`, w.finish());
    fs.renameSync(`${file}.part`, file);
  }
}

function encoder(g, x, { hidden, layers, heads, inner }, tokens, batch, precision) {
  const rows = tokens * batch;
  const dim = hidden / heads;
  const byHead = g.ints('by_head', [batch, tokens, heads, dim]);
  const headFirst = g.ints('head_first', [0, 2, 1, 3]);
  const transposed = g.ints('transposed', [0, 2, 3, 1]);
  const flat = g.ints('flat', [rows, hidden]);
  const scale = g.tensor('scale', [1, 1, 1, 1], FLOAT32, Float32Array.of(1 / Math.sqrt(dim)));
  const split = (y, order, shape) => {
    const apart = g.op('reshape', [y, byHead], [batch, tokens, heads, dim]);
    return g.op('transpose', [apart, order], shape);
  };
  for (let i = 0; i < layers; ++i) {
    const [q, k, v] = ['q', 'k', 'v'].map((part) => g.linear(`${i}.${part}`, x, rows, hidden, hidden, precision));
    const heads4 = [batch, heads, tokens, dim];
    const scaled = g.op('mul', [split(q, headFirst, heads4), scale], heads4);
    const keys = split(k, transposed, [batch, heads, dim, tokens]);
    const square = [batch, heads, tokens, tokens];
    const scores = g.op('batchMatMul', [scaled, keys], square);
    const shares = g.op('softmax', [scores], square, table(f32(1)));
    const mixed = g.op('batchMatMul', [shares, split(v, headFirst, heads4)], heads4);
    const back = g.op('transpose', [mixed, headFirst], [batch, tokens, heads, dim]);
    const a = g.op('reshape', [back, flat], [rows, hidden]);
    const o = g.linear(`${i}.o`, a, rows, hidden, hidden, precision);
    x = g.layerNorm(`${i}.a`, g.op('add', [x, o], [rows, hidden]), rows, hidden);
    const f = g.op('gelu', [g.linear(`${i}.f`, x, rows, hidden, inner, precision)], [rows, inner]);
    const p = g.linear(`${i}.p`, f, rows, inner, hidden, precision);
    x = g.layerNorm(`${i}.n`, g.op('add', [x, p], [rows, hidden]), rows, hidden);
  }
  return x;
}

function decoderLinears(g, x, { hidden, layers, inner, vocab }, tokens, precision) {
  for (let i = 0; i < layers; ++i) {
    const [q, k, v] = ['q', 'k', 'v'].map((part) => g.linear(`${i}.${part}`, x, tokens, hidden, hidden, precision));
    const sum = g.op('add', [g.op('add', [q, k], [tokens, hidden]), v], [tokens, hidden]);
    const f = g.op(
      'gelu',
      [
        g.linear(
          `${i}.f`,
          g.linear(`${i}.o`, sum, tokens, hidden, hidden, precision),
          tokens,
          hidden,
          inner,
          precision,
        ),
      ],
      [tokens, inner],
    );
    x = g.linear(`${i}.p`, f, tokens, inner, hidden, precision);
  }
  // Logits of one token alone, as generation needs them: the sum stands for the last one's choice.
  const last = tokens === 1 ? x : g.op('mean', [x, g.ints('rows', [0])], [1, hidden], table(u8(1)));
  return g.linear('head', last, 1, hidden, vocab, precision, false);
}

/** The .tflite file of a case, whose shapes are fixed in it; {file, rows, columns} of its input. Made where it is not there. */
export function tfliteModel(name, precision, { kind, tokens = 1, batch = 1, m, k, n }) {
  const rows = kind === 'product' ? m : kind === 'decode' ? 1 : tokens * batch;
  const columns = kind === 'product' ? k : shapes[name].hidden;
  const what = kind === 'product' ? `product-${m}x${k}x${n}` : `${name}-${batch}x${rows / batch}`;
  const file = path.join(folder, `${what}-${precision}.tflite`);
  if (fs.existsSync(file)) return { file, rows, columns };
  const g = new Model();
  const x = g.tensor('x', [rows, columns]);
  const y =
    kind === 'product'
      ? g.linear('w', x, m, k, n, precision)
      : kind === 'encode'
        ? encoder(g, x, shapes[name], tokens, batch, precision)
        : decoderLinears(g, x, shapes[name], rows, precision);
  g.save(file, x, y);
  return { file, rows, columns };
}
