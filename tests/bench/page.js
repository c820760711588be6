// The page's side of the benchmark: opens one engine with one model and times it. run.mjs drives it.
// Every engine answers alike: open(model) -> { encode(tokens), prompt(tokens), decode(context, steps) }, all in milliseconds.
const engines = {
  sotto: () => import('./engines/sotto.js'),
  'onnxruntime-web': () => import('./engines/onnxruntime-web.js'),
  wllama: () => import('./engines/wllama.js'),
};

/** Times `once` until half a second and `least` runs are over; the first run (compiling, allocating) is told apart. */
async function measure(once, { least = 5, budget = 1500 } = {}) {
  const first = await once();
  const times = [];
  const end = performance.now() + budget;
  while (times.length < least || (performance.now() < end && times.length < 200)) times.push(await once());
  times.sort((a, b) => a - b);
  return { first, median: times[times.length >> 1], best: times[0], runs: times.length };
}

globalThis.bench = async ({ engine, model, threads, work }) => {
  const before = performance.now();
  const { open } = await engines[engine]();
  const runner = await open(model, threads);
  const load = performance.now() - before;
  const result = { load, ...(await perform(runner, work)) };
  return result;
};

async function perform(runner, work) {
  if (work.kind === 'encode') return measure(() => runner.encode(work.tokens));
  if (work.kind === 'prompt') return measure(() => runner.prompt(work.tokens));
  // Decoding: the time of `steps` tokens after a context, per token.
  return measure(async () => (await runner.decode(work.context, work.steps)) / work.steps, { least: 3 });
}
