// Sotto as a page uses it: the published library, in its worker.
import { pipeline } from '/dist/index.js';

const words = (n, from = 0) => Array.from({ length: n }, (_, i) => `w${(from + 37 * i) % 5000}`).join(' ');

export async function open({ name, task, precision }, threads) {
  const url = new URL(`/build/bench/models/${name}-${precision}/`, location.href).href;
  const run = await pipeline(task, url, { cache: 'no-store', threads });
  let turn = 0; // another text each time: nothing can be remembered
  const stream = async (context, steps) => {
    const generating = run.stream(words(context, ++turn), { max_new_tokens: steps, do_sample: false });
    const times = [];
    for await (const _ of generating) times.push(performance.now());
    return times;
  };
  return {
    async encode(tokens) {
      const text = words(tokens, ++turn);
      const begin = performance.now();
      await run(text, { pooling: 'mean' });
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
  };
}
