// What is measured, and by whom: each case is { name, set, model, precision, work, engines, threads }.
import { shapes, weights } from './models.mjs';

const all = [];
/** `sets` says when a case runs unasked: 'default' ones do, 'more' ones only when asked for by a part of the name. */
function add(name, work, engines, { model, precision, threads = [1], set = 'default' } = {}) {
  all.push({ name, work, engines, model, precision, threads, set });
}

// Matrix products [m, k] x [n, k]^T of one linear layer with bias.
for (const precision of ['q8', 'q4', 'f32']) {
  for (const [m, k, n] of [
    [128, 768, 3072],
    [128, 3072, 768],
    [128, 768, 768],
    [16, 384, 1536],
    [512, 768, 3072],
    [1, 768, 3072],
    [1, 3072, 768],
    [1, 768, 50257],
  ]) {
    const main = (m === 128 && n === 3072) || (m === 1 && n === 50257);
    const engines = ['onnxruntime-web', 'litert'];
    add(`product ${precision} ${m}x${k}x${n}`, { kind: 'product', m, k, n }, ['sotto', ...engines], {
      precision,
      threads: main && precision !== 'f32' ? [1, 2] : [1],
      set: main || (precision === 'q8' && m === 16) ? 'default' : 'more',
    });
  }
}

// Encoders: one text of so many tokens, or eight of 64.
const encoders = ['sotto', 'onnxruntime-web', 'litert'];
for (const model of ['minilm-l6', 'bert-base']) {
  for (const precision of ['q8', 'q4', 'f32']) {
    for (const [tokens, batch] of [
      [16, 1],
      [64, 1],
      [128, 1],
      [512, 1],
      [64, 8],
    ]) {
      const suffix = batch > 1 ? ` batch ${batch}` : '';
      const main =
        precision === 'q8' || (precision === 'f32' && tokens === 128) || (precision === 'q4' && tokens === 128);
      const heavy = model === 'bert-base' && (tokens === 64 || (precision === 'q4' && tokens === 128));
      add(`${model} ${precision} encode ${tokens}${suffix}`, { kind: 'encode', tokens, batch }, encoders, {
        model,
        precision,
        threads: tokens === 128 && precision === 'q8' ? [1, 2] : [1],
        set: main && !heavy ? 'default' : 'more',
      });
    }
  }
}

// Decoders: reading a prompt, and one token after another.
for (const model of ['gpt2', 'llama-15m']) {
  const engines = ['sotto', 'onnxruntime-web', ...(model === 'gpt2' ? ['litert'] : ['wllama'])];
  for (const precision of ['q8', 'q4', 'f32']) {
    const options = (main, threads) => ({ model, precision, threads, set: main ? 'default' : 'more' });
    const two = precision === 'q8' ? [1, 2] : [1];
    for (const tokens of [128, 512]) {
      const main = precision === 'q8' || (tokens === 128 && precision === 'q4');
      const work = { kind: 'prompt', tokens };
      add(`${model} ${precision} prompt ${tokens}`, work, engines, options(main, tokens === 128 ? two : [1]));
    }
    for (const context of [128, 1000]) {
      // GPT-2 has room for 1,024 tokens; the steps must fit, too.
      const work = { kind: 'decode', context: Math.min(context, shapes[model].positions - 34), steps: 32 };
      const main = precision === 'q8' || (context === 128 && precision === 'q4');
      add(`${model} ${precision} decode ${context}`, work, engines, options(main, context === 128 ? two : [1]));
    }
  }
}

// Tokenizers: megabytes of UTF-8 a second, in calls of some 16 kB.
for (const tokenizer of ['bert', 'gpt2', 'llama3', 'qwen3', 'unigram']) {
  for (const text of ['english', 'code', 'chinese']) {
    const work = { kind: 'tokenize', tokenizer, text };
    add(`tokenize ${tokenizer} ${text}`, work, ['sotto', 'huggingface-tokenizers', 'kitoken']);
  }
}

// From the origin's private file system to a model that is ready; and from navigation to the first result of a tiny model.
for (const model of ['minilm-l6', 'gpt2']) {
  add(`load ${model} q8`, { kind: 'load' }, ['sotto', 'onnxruntime-web'], { model, precision: 'q8' });
}
add('load llama-15m q8', { kind: 'load' }, ['sotto', 'onnxruntime-web', 'wllama'], {
  model: 'llama-15m',
  precision: 'q8',
});
for (const visit of ['first', 'second']) {
  const start = { kind: 'start', visit };
  const tiny = { model: 'tiny-bert', precision: 'q8' };
  add(`start tiny-bert q8 ${visit} visit`, start, ['sotto', 'onnxruntime-web', 'litert'], tiny);
}

/** Every case, in order. */
export const cases = all;

const size = (dims) => dims.reduce((a, b) => a * b, 1);

/** Bytes of a weight as it computes, each with its scales. */
const bytesEach = { f32: 4, q8: 1, q4: 0.5 + 2 / 32 };

/**
 * What a case must at least do: operations of its matrix products (attention's, too), and bytes of weights to be read.
 * The limit of a case is the slower of the two at the machine's best rates.
 */
export function leastWork({ work, model, precision }) {
  if (work.kind === 'product') {
    const { m, k, n } = work;
    return { operations: 2 * m * k * n, bytes: n * k * bytesEach[precision] };
  }
  if (!['encode', 'prompt', 'decode'].includes(work.kind)) return undefined;
  const shape = shapes[model];
  const { hidden, layers, kind } = shape;
  const table = /embed|\.wte|\.wpe|pooler/;
  const linears = weights(shape)
    .filter(([name, , role]) => role === 'matrix' && !table.test(name))
    .reduce((sum, [, dims]) => sum + size(dims), 0);
  const head = kind === 'bert' ? 0 : shape.vocab * hidden;
  const { tokens = 1, batch = 1, context = 0 } = work;
  // Each token attends to all (encoders), to half of them (a prompt), or to the context.
  const seen = work.kind === 'encode' ? tokens : work.kind === 'prompt' ? tokens / 2 : context;
  return {
    operations: batch * (2 * tokens * linears + 2 * head + 4 * tokens * seen * hidden * layers),
    bytes: (linears + head) * bytesEach[precision],
  };
}

/** The share of the limit that `milliseconds` means, given the limits measured (10^9 a second). */
export function shareOfLimit(c, milliseconds, limits, relaxed) {
  const least = leastWork(c);
  if (!least) return undefined;
  const integers = relaxed ? limits['relaxed-dot'] : limits['i16-dot'];
  const floats = relaxed ? limits['relaxed-madd'] : limits['mul-add'];
  const peak = c.precision === 'f32' ? floats : integers;
  const bandwidth = least.bytes > 64e6 ? limits['read 512 MB'] : limits['read 16 MB'];
  if (!peak || !bandwidth) return undefined;
  return Math.max(least.operations / peak, least.bytes / bandwidth) / 1e6 / milliseconds;
}
