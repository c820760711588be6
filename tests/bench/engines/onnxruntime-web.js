// ONNX Runtime in the page's own worker-less form: its fastest, without messages in between.
import * as ort from '/tests/bench/peers/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs';

const ints = (values, dims, type = 'int64') =>
  new ort.Tensor(type, type === 'int64' ? BigInt64Array.from(values, BigInt) : Int32Array.from(values), dims);
const range = (n, from = 0) => Array.from({ length: n }, (_, i) => from + i);

export async function open({ name, precision, heads, hidden }, threads) {
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(`/build/bench/models/${name}-${precision}.onnx`, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  });
  const has = (input) => session.inputNames.includes(input);
  const pasts = session.inputNames.filter((input) => input.startsWith('past'));
  let turn = 0;
  const ids = (n) =>
    ints(
      range(n).map((i) => 5 + ((turn + 37 * i) % 5000)),
      [1, n],
    );

  // One call over n tokens after `past` ones, whose keys and values came from the call before.
  async function step(n, past, before) {
    const feeds = { input_ids: ids(n) };
    if (has('position_ids')) feeds.position_ids = ints(range(n, past), [1, n]);
    if (pasts.length > 0) {
      feeds.seqlens_k = ints([past + n - 1], [1], 'int32');
      feeds.total_sequence_length = ints([past + n], [], 'int32');
      for (const input of pasts)
        feeds[input] =
          before?.[input.replace('past', 'present')] ??
          new ort.Tensor('float32', new Float32Array(0), [1, heads, 0, hidden / heads]);
    }
    return session.run(feeds);
  }
  const timed = async (tokens) => {
    ++turn;
    const begin = performance.now();
    await step(tokens, 0);
    return performance.now() - begin;
  };
  return {
    encode: timed,
    prompt: timed,
    async decode(context, steps) {
      ++turn;
      let state = await step(context, 0);
      const begin = performance.now();
      for (let i = 0; i < steps; ++i) state = await step(1, context + i, state);
      return performance.now() - begin;
    },
  };
}
