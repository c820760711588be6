// The page's side of the benchmark: opens one engine with one model and times it. run.mjs drives it.
// Every engine answers alike: open(model, threads) -> { encode(tokens, batch), prompt(tokens), decode(context, steps),
// product(), tokenize(text), variant }, of which each does what it can; times are milliseconds.
import { measure } from '/demos/bench/measure.js';

const engineOf = (name) => import(`./engines/${name}.js`);

/** What the engine and the model need: for a peer's files in the origin's private file system, its bytes. */
async function stored(engine, model) {
  const root = await navigator.storage.getDirectory();
  const file = await (await root.getFileHandle('model')).getFile();
  return engine === 'wllama' ? { ...model, blob: file } : { ...model, bytes: new Uint8Array(await file.arrayBuffer()) };
}

globalThis.bench = async ({ engine, model, threads, work, budget }) => {
  const { open } = await engineOf(engine);
  const runner = await open({ ...work, ...model, kind: work.kind }, threads);
  const loaded_bytes = await globalThis.wasmBytes();
  const result = await perform(runner, work, budget);
  return { ...result, loaded_bytes, variant: runner.variant, wasm_bytes: await globalThis.wasmBytes() };
};

async function perform(runner, work, budget) {
  switch (work.kind) {
    case 'product': {
      if (!runner.variant) return measure(() => runner.product(), { budget });
      return { times: [await runner.product()] };
    }
    case 'encode':
      return measure(() => runner.encode(work.tokens, work.batch), { budget });
    case 'prompt':
      return measure(() => runner.prompt(work.tokens), { budget });
    case 'decode': // the time of `steps` tokens after a context, per token
      return measure(async () => (await runner.decode(work.context, work.steps)) / work.steps, { budget, least: 2 });
    case 'tokenize': {
      const text = await (await fetch(work.url)).text();
      const pieces = text.match(/.{1,16384}/gs);
      let at = 0;
      return measure(
        async () => {
          const piece = pieces[at++ % pieces.length];
          const begin = performance.now();
          if (!((await runner.tokenize(piece)) > 0)) throw new Error('no tokens');
          const took = performance.now() - begin;
          return (took * 1e6) / new TextEncoder().encode(piece).length; // per megabyte
        },
        // Many functions, each of them small: V8 has optimized them all after a second or so.
        { budget: 4 * budget },
      );
    }
    default:
      throw new Error(`no such work: ${work.kind}`);
  }
}

/** Puts the model where the next page finds it, as an application would: in the origin's private file system. */
globalThis.prepareLoad = async ({ engine, model }) => {
  if (engine === 'sotto') {
    const runner = await (await engineOf('sotto')).open({ ...model, cache: 'default' }, 1);
    await runner.dispose(); // now it is stored
    return;
  }
  const file = await (await navigator.storage.getDirectory()).getFileHandle('model', { create: true });
  const writable = await file.createWritable();
  await (await fetch(model.url)).body.pipeTo(writable);
};

/** From the private file system to a model that answers, in milliseconds; the engine's own code is in the page's cache. */
globalThis.load = async ({ engine, model, threads }) => {
  const { open } = await engineOf(engine);
  const begin = performance.now();
  const runner = await open(engine === 'sotto' ? { ...model, cache: 'default' } : await stored(engine, model), threads);
  const times = [performance.now() - begin];
  return { times, variant: runner.variant, wasm_bytes: await globalThis.wasmBytes() };
};
