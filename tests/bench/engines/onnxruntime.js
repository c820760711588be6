// Runs a session of ONNX Runtime, whichever: the browser's or Node's.

const range = (n, from = 0) => Array.from({ length: n }, (_, i) => from + i);

/** The benchmark's calls, each in milliseconds. */
export function runnerOf(ort, session, { heads, hidden, m, k }) {
  const ints = (values, dims, type = 'int64') =>
    new ort.Tensor(type, type === 'int64' ? BigInt64Array.from(values, BigInt) : Int32Array.from(values), dims);
  const has = (input) => session.inputNames.includes(input);
  const pasts = session.inputNames.filter((input) => input.startsWith('past'));
  let turn = 0;

  // One call over n tokens after `past` ones, whose keys and values came from the call before.
  async function step(n, past, before, batch = 1) {
    const ids = range(batch * n).map((i) => 5 + ((turn + 37 * i) % 5000));
    const feeds = { input_ids: ints(ids, [batch, n]) };
    if (has('position_ids')) {
      const places = range(batch).flatMap(() => range(n, past));
      feeds.position_ids = ints(places, [batch, n]);
    }
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
  const timed = async (tokens, batch) => {
    ++turn;
    const begin = performance.now();
    await step(tokens, 0, undefined, batch);
    return performance.now() - begin;
  };
  return {
    encode: timed,
    prompt: timed,
    async product() {
      const data = Float32Array.from({ length: m * k }, (_, i) => ((i * 37 + ++turn) % 101) / 50 - 1);
      const begin = performance.now();
      await session.run({ x: new ort.Tensor('float32', data, [m, k]) });
      return performance.now() - begin;
    },
    async decode(context, steps) {
      ++turn;
      let state = await step(context, 0);
      const begin = performance.now();
      for (let i = 0; i < steps; ++i) state = await step(1, context + i, state);
      return performance.now() - begin;
    },
  };
}
