// wllama 2.2.1: llama.cpp in its worker, by its low-level calls.
import { Wllama } from '/tests/bench/peers/node_modules/@wllama/wllama/esm/index.js';

const esm = '/tests/bench/peers/node_modules/@wllama/wllama/esm';

export async function open({ url, blob }, threads) {
  const engine = new Wllama(
    {
      'single-thread/wllama.wasm': `${esm}/single-thread/wllama.wasm`,
      'multi-thread/wllama.wasm': `${esm}/multi-thread/wllama.wasm`,
    },
    { suppressNativeLog: true },
  );
  const file = blob ?? (await (await fetch(url)).blob());
  await engine.loadModel([file], { n_threads: threads, n_ctx: 1536, n_batch: 512, cache_type_k: 'f16' });
  await engine.samplingInit({ temp: 0 });
  let turn = 0;
  const ids = (n) => Array.from({ length: n }, (_, i) => 5 + ((turn + 37 * i) % 5000));
  const clear = () => engine.kvClear();
  return {
    async prompt(tokens) {
      ++turn;
      await clear();
      const begin = performance.now();
      await engine.decode(ids(tokens), {});
      return performance.now() - begin;
    },
    async decode(context, steps) {
      ++turn;
      await clear();
      await engine.decode(ids(context), {});
      const begin = performance.now();
      for (let i = 0; i < steps; ++i) await engine.decode([7 + i], {});
      return performance.now() - begin;
    },
  };
}
