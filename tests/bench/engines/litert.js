// LiteRT.js, in the page itself. Its files hold one shape each.
import { loadAndCompile, loadLiteRt, Tensor } from '/tests/bench/peers/node_modules/@litertjs/core/dist/index.js';

export async function open({ url, rows, columns }, threads) {
  await loadLiteRt('/tests/bench/peers/node_modules/@litertjs/core/wasm/', { threads: threads > 1 });
  const model = await loadAndCompile(url, { accelerator: 'wasm', cpuOptions: { numThreads: threads } });
  let turn = 0;
  const timed = async () => {
    const data = Float32Array.from({ length: rows * columns }, (_, i) => ((i * 37 + ++turn) % 101) / 50 - 1);
    const begin = performance.now();
    const input = new Tensor(data, [rows, columns]);
    const [output] = await model.run(input);
    const result = output.toTypedArray();
    const took = performance.now() - begin;
    if (!Number.isFinite(result[0])) throw new Error('LiteRT.js computed no number');
    input.delete();
    output.delete();
    return took;
  };
  return {
    product: timed,
    encode: timed,
    prompt: timed,
    async decode(_context, steps) {
      let sum = 0;
      for (let i = 0; i < steps; ++i) sum += await timed();
      return sum;
    },
  };
}
