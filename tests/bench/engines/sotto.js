// Sotto as a page uses it: the published library, in its worker. Products run in a worker of their own, for the library
// does not offer them.
import { describeVariant, pipeline, Tokenizer } from '/dist/index.js';

const words = (n, from = 0) => Array.from({ length: n }, (_, i) => `w${(from + 37 * i) % 5000}`).join(' ');

export async function open({ url, task, kind, precision, m, k, n, variant: wanted, cache = 'no-store' }, threads) {
  const wish = { threads, ...(wanted ? { variant: wanted } : {}) };
  if (kind === 'product') {
    const variant = await describeVariant(wish);
    return { variant, product: () => product(variant, threads, [precision, m, k, n]) };
  }
  if (kind === 'tokenize') {
    const tokenizer = await Tokenizer.from(url, { cache, ...wish });
    return { tokenize: async (text) => (await tokenizer.encode(text)).ids.length };
  }
  const run = await pipeline(task, url, { cache, ...wish });
  const { variant } = run.model;
  let turn = 0; // another text each time: nothing can be remembered
  const stream = async (context, steps) => {
    const generating = run.stream(words(context, ++turn), { max_new_tokens: steps, do_sample: false });
    const times = [];
    for await (const _ of generating) times.push(performance.now());
    return times;
  };
  return {
    variant,
    async encode(tokens, batch = 1) {
      const texts = Array.from({ length: batch }, () => words(tokens, ++turn));
      const begin = performance.now();
      await run(batch === 1 ? texts[0] : texts, { pooling: 'mean' });
      return performance.now() - begin;
    },
    async prompt(tokens) {
      const begin = performance.now();
      const [first] = await stream(tokens, 1);
      return first - begin;
    },
    async decode(context, steps) {
      const times = await stream(context, steps + 1);
      if (times.length !== steps + 1) throw new Error(`made ${times.length} tokens of ${steps + 1}`);
      return times.at(-1) - times[0];
    },
    async classify(text) {
      const [best] = await run(text);
      if (typeof best.label !== 'string') throw new Error('the classifier gave no label');
    },
    dispose: () => run.dispose(),
  };
}

/** The kernel's own time, {milliseconds}: the best of many runs. */
function product(variant, threads, words) {
  const build = `${variant.startsWith('relaxed') ? 'relaxed' : 'simd'}${threads > 1 ? '-threads' : ''}`;
  const worker = new Worker('/tests/bench/engines/kernels-worker.js', { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.addEventListener('message', ({ data: { line, error } }) =>
      line ? resolve(JSON.parse(line).ms) : reject(new Error(error)),
    );
    worker.addEventListener('error', (event) => reject(new Error(event.message || 'the kernels did not start')));
    worker.postMessage({ build, threads, words });
  }).finally(() => worker.terminate());
}
