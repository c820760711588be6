// The worker: the only door to the engine. Serves many models; between tokens, and between the texts of a list, it lets
// other calls and aborts in.
import type { ClassHandle, Files, MainModule, Pipeline, Tokenizer } from '../wasm/sotto.d.ts';
import { openCache } from './cache.ts';
import { SottoError } from './error.ts';
import {
  type Handle,
  type Handlers,
  type LoadParams,
  type Port,
  type Reply,
  type Request,
  type Serving,
  serve,
} from './protocol.ts';
import { Loader, type ProgressEvent, type Target } from './store.ts';
import type { Generated, GeneratedText } from './stream.ts';
import { chooseVariant, detectFeatures, isNode, type Variant } from './variants.ts';

// Bundlers find the files by these very expressions.
const assets: Record<Variant, () => [script: URL, wasm: URL]> = {
  simd: () => [new URL('./sotto-simd.mjs', import.meta.url), new URL('./sotto-simd.wasm', import.meta.url)],
  relaxed: () => [new URL('./sotto-relaxed.mjs', import.meta.url), new URL('./sotto-relaxed.wasm', import.meta.url)],
  'simd-threads': () => [
    new URL('./sotto-simd-threads.mjs', import.meta.url),
    new URL('./sotto-simd-threads.wasm', import.meta.url),
  ],
  'relaxed-threads': () => [
    new URL('./sotto-relaxed-threads.mjs', import.meta.url),
    new URL('./sotto-relaxed-threads.wasm', import.meta.url),
  ],
};

interface Loaded {
  pipeline: Pipeline | undefined;
  tokenizer: Tokenizer;
  /** Generations under way: freed with the model. */
  running: Set<ClassHandle>;
}

let started: Promise<MainModule> | undefined;
const models = new Map<Handle, Loaded>();
let nextHandle = 1;

async function startModule(variant: Variant, threads: number, folder: string | undefined): Promise<MainModule> {
  const [script, wasm] = folder
    ? [new URL(`sotto-${variant}.mjs`, folder), new URL(`sotto-${variant}.wasm`, folder)]
    : assets[variant]();
  try {
    const { default: create } = (await import(/* webpackIgnore: true */ /* @vite-ignore */ script.href)) as {
      default(options: unknown): Promise<MainModule>;
    };
    const module = await create({
      locateFile: (name: string) => (name.endsWith('.wasm') ? wasm.href : script.href),
      // What the threads' workers run; Node takes a path here.
      mainScriptUrlOrBlob: isNode ? process.getBuiltinModule('node:url').fileURLToPath(script) : script.href,
      poolSize: threads - 1,
    });
    module.startThreads(threads);
    return module;
  } catch (cause) {
    throw new SottoError('worker', `The engine (${wasm.href}) did not start: ${(cause as Error).message}`, { cause });
  }
}

function theModule(): Promise<MainModule> {
  if (!started) throw new SottoError('internal', 'The worker was not started.');
  return started;
}

/** Lets messages in. */
const breathe: () => Promise<void> = isNode
  ? () => new Promise((resolve) => setImmediate(resolve))
  : (() => {
      const { port1, port2 } = new MessageChannel();
      const waiting: (() => void)[] = [];
      port1.onmessage = () => waiting.shift()?.();
      return () =>
        new Promise<void>((resolve) => {
          waiting.push(resolve);
          port2.postMessage(undefined);
        });
    })();

/** Calls into the engine; what breaks there, breaks for good. */
function enter<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof SottoError) throw cause;
    const memory = cause instanceof RangeError || /memory/i.test(String(cause));
    throw new SottoError('worker', `The engine broke down${memory ? ', probably for want of memory' : ''}: ${cause}`, {
      cause,
    });
  }
}

/** The value of an outcome, or its error thrown. */
function check<T extends { code: unknown; message: unknown }>(outcome: T): T {
  if (outcome.code !== '') throw SottoError.of(String(outcome.code), String(outcome.message));
  return outcome;
}

function present<T>(value: T | null): T {
  if (value === null) throw new SottoError('internal', 'The engine gave nothing.');
  return value;
}

/** The engine takes no lone surrogates: they become U+FFFD, as everywhere on the web. */
const wellFormed = (text: string): string => text.toWellFormed();
const json = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => (typeof item === 'string' ? wellFormed(item) : item));

const mostText = 256 * 2 ** 20;

/** A text file. */
class TextTarget implements Target {
  text = '';
  #decoder = new TextDecoder();
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  begin(bytes: number | undefined): void {
    if (bytes !== undefined && bytes > mostText) {
      throw new SottoError('invalid-file', `${this.#name} has ${bytes} bytes: too many for what it is.`);
    }
    this.text = '';
    this.#decoder = new TextDecoder();
  }

  write(chunk: Uint8Array): void {
    if (this.text.length + chunk.byteLength > mostText) {
      throw new SottoError('invalid-file', `${this.#name} is too long for what it is.`);
    }
    this.text += this.#decoder.decode(chunk, { stream: true });
  }

  end(): void {
    this.text += this.#decoder.decode();
  }
}

/** Weights, copied once: to where they stay. */
class HeapTarget implements Target {
  readonly name: string;
  readonly #module: MainModule;
  #pointer = 0;
  #room = 0;
  bytes = 0;
  whole = false;
  /** As long as nobody knows how many there will be. */
  #loose: Uint8Array[] | undefined;

  constructor(name: string, module: MainModule) {
    this.name = name;
    this.#module = module;
  }

  #reserve(bytes: number): void {
    this.#pointer = enter(() => this.#module.reserve(bytes));
    this.#room = bytes;
    if (this.#pointer === 0) {
      const size = (bytes / 1e6).toFixed(1);
      throw new SottoError('out-of-memory', `There is no room for the ${size} MB of ${this.name}.`);
    }
  }

  begin(bytes: number | undefined): void {
    this.bytes = 0;
    this.whole = false;
    this.#loose = bytes === undefined ? [] : undefined;
    if (this.#pointer !== 0 && this.#room === bytes) return;
    this.free();
    if (bytes !== undefined) this.#reserve(bytes);
  }

  write(chunk: Uint8Array): void {
    if (this.#loose) {
      this.#loose.push(chunk);
    } else {
      if (this.bytes + chunk.byteLength > this.#room) throw new SottoError('internal', `${this.name} grew.`);
      // The view is made anew after every growth of the heap: never keep it.
      this.#module.HEAPU8.set(chunk, this.#pointer + this.bytes);
    }
    this.bytes += chunk.byteLength;
  }

  end(): void {
    this.whole = true;
    const loose = this.#loose;
    if (!loose) return;
    this.#reserve(this.bytes);
    this.#loose = undefined;
    this.bytes = 0;
    for (const chunk of loose) this.write(chunk);
  }

  /** Hands the memory over. */
  give(): number {
    const pointer = this.#pointer;
    this.#pointer = 0;
    return pointer;
  }

  free(): void {
    if (this.#pointer !== 0) this.#module.release(this.give());
  }
}

/** Loads a model's files, and makes something of them while they are at hand. */
async function withFiles<T>(
  params: LoadParams,
  weights: boolean,
  serving: Serving<'load' | 'loadTokenizer'>,
  make: (module: MainModule, files: Files, texts: ReadonlyMap<string, string>, bytes: number) => T,
): Promise<T> {
  const texts = new Map<string, TextTarget>();
  const tensors: HeapTarget[] = [];
  try {
    const notice = (event: ProgressEvent) => serving.notice(event);
    const loader = new Loader(params.location, await openCache(), params.cache, serving.signal, notice);
    await loader.load({
      weights,
      async target(name) {
        if (name.endsWith('.safetensors')) {
          // The texts need not wait for the engine.
          const target = new HeapTarget(name, await theModule());
          tensors.push(target);
          return target;
        }
        const target = new TextTarget(name);
        texts.set(name, target);
        return target;
      },
    });
    const module = await theModule();
    serving.signal.throwIfAborted();
    const files = new module.Files();
    try {
      let bytes = 0;
      for (const target of tensors.filter(({ whole }) => whole)) {
        const size = target.bytes;
        bytes += size;
        check(enter(() => files.addWeights(target.name, target.give(), size)));
      }
      const plain = new Map([...texts].map(([name, target]) => [name, target.text]));
      for (const [name, text] of plain) files.setText(name, wellFormed(text));
      const index = plain.get('model.safetensors.index.json');
      if (index) check(files.checkShards(wellFormed(index)));
      texts.clear();
      return make(module, files, plain, bytes);
    } finally {
      files.delete();
    }
  } finally {
    for (const target of tensors) target.free();
  }
}

function keep(pipeline: Pipeline | undefined, tokenizer: Tokenizer): Handle {
  const handle = nextHandle++;
  models.set(handle, { pipeline, tokenizer, running: new Set() });
  return handle;
}

function tokenizerFacts(handle: Handle, tokenizer: Tokenizer) {
  return { handle, vocab_size: tokenizer.vocabSize(), mask_token: tokenizer.maskToken() || undefined };
}

function modelOf(handle: Handle): Loaded {
  const model = models.get(handle);
  if (!model) throw new SottoError('disposed', 'The model was disposed of.');
  return model;
}

function pipelineOf(handle: Handle): Pipeline {
  const { pipeline } = modelOf(handle);
  if (!pipeline) throw new SottoError('internal', 'A tokenizer was asked to run.');
  return pipeline;
}

/** Frees a model; twice does no harm. */
function dispose(handle: Handle): void {
  const model = models.get(handle);
  models.delete(handle);
  if (!model) return;
  for (const generation of model.running) generation.delete();
  model.tokenizer.delete();
  model.pipeline?.delete();
}

const handlers: Handlers = {
  async start({ variant, threads, assetsURL }) {
    // Calls that come right behind this one wait for the module, and share its failure.
    const choosing = Promise.resolve().then(() => chooseVariant(detectFeatures(), { variant, threads }));
    started = choosing.then((choice) => startModule(choice.variant, choice.threads, assetsURL));
    await started;
    return choosing;
  },

  async load(params, serving) {
    const facts = await withFiles(params, true, serving, (module, files, texts, bytes) => {
      const loaded = check(enter(() => module.Pipeline.load(params.task, files, params.dtype)));
      const pipeline = present(loaded.pipeline);
      const tokenizer = present(pipeline.tokenizer());
      const handle = keep(pipeline, tokenizer);
      return {
        ...tokenizerFacts(handle, tokenizer),
        task: pipeline.task(),
        config: texts.get('config.json') ?? '{}',
        bytes,
      };
    });
    if (serving.signal.aborted) dispose(facts.handle);
    return facts;
  },

  async loadTokenizer(params, serving) {
    const facts = await withFiles(params, false, serving, (module, files) => {
      const tokenizer = present(check(enter(() => module.Tokenizer.load(files))).tokenizer);
      return tokenizerFacts(keep(undefined, tokenizer), tokenizer);
    });
    if (serving.signal.aborted) dispose(facts.handle);
    return facts;
  },

  async run({ handle, inputs, options }, { signal }) {
    const results: unknown[] = [];
    const settings = json(options);
    for (const input of inputs) {
      if (results.length > 0) await breathe();
      signal.throwIfAborted();
      const pipeline = pipelineOf(handle);
      results.push(JSON.parse(String(check(enter(() => pipeline.run(json(input), settings))).json)));
    }
    return results;
  },

  async extract({ handle, texts, options }, { signal, transfer }) {
    const results: { dims: number[]; data: Float32Array<ArrayBuffer> }[] = [];
    const settings = json(options);
    for (const text of texts) {
      if (results.length > 0) await breathe();
      signal.throwIfAborted();
      const pipeline = pipelineOf(handle);
      const { dims, data } = check(enter(() => pipeline.extract(wellFormed(text), settings)));
      results.push({ dims: [...dims], data });
      transfer(data.buffer);
    }
    return results;
  },

  async generate({ handle, prompt, options }, { signal, room, notice }) {
    const pipeline = pipelineOf(handle);
    const { running } = modelOf(handle);
    const generation = present(check(enter(() => pipeline.generate(wellFormed(prompt), json(options)))).generation);
    running.add(generation);
    try {
      const prompt_tokens = generation.promptTokens();
      for (;;) {
        await room();
        for (;;) {
          await breathe();
          signal.throwIfAborted();
          modelOf(handle);
          const step = check(enter(() => generation.next()));
          if (step.token >= 0) {
            const score = String(step.score);
            notice({ text: String(step.text), token: step.token, ...(score === '' ? {} : JSON.parse(score)) });
          }
          if (step.done) {
            const texts = JSON.parse(generation.texts()) as GeneratedText[];
            return { prompt_tokens, finish_reason: String(step.finishReason) as Generated['finish_reason'], texts };
          }
          if (step.token >= 0) break;
        }
      }
    } finally {
      running.delete(generation);
      if (!generation.isDeleted()) generation.delete();
    }
  },

  encode({ handle, text, pair, addSpecial, parseSpecial, maxLength }, { transfer }) {
    const { tokenizer } = modelOf(handle);
    const second = wellFormed(pair ?? '');
    const encoded = check(
      enter(() => tokenizer.encode(wellFormed(text), second, pair !== undefined, addSpecial, parseSpecial, maxLength)),
    );
    const { ids, typeIds, special, offsets, tokens } = encoded;
    for (const { buffer } of [ids, typeIds, special, offsets]) transfer(buffer);
    return { ids, typeIds, special, offsets, tokens };
  },

  decode({ handle, ids, skipSpecial }) {
    const { tokenizer } = modelOf(handle);
    return enter(() => tokenizer.decode(ids, skipSpecial));
  },

  dispose({ handle }) {
    dispose(handle);
  },
};

function portOfWorker(): Port<Reply, Request> {
  if (isNode) {
    const port = process.getBuiltinModule('node:worker_threads').parentPort;
    if (!port) throw new SottoError('internal', 'worker.js runs in a worker.');
    return {
      post: (message, transfer) => port.postMessage(message, transfer as never),
      listen: (hear) => port.on('message', hear),
    };
  }
  const scope = globalThis as unknown as {
    postMessage(message: Reply, transfer: Transferable[]): void;
    addEventListener(type: 'message', listener: (event: MessageEvent<Request>) => void): void;
  };
  return {
    post: (message, transfer) => scope.postMessage(message, transfer),
    listen: (hear) => scope.addEventListener('message', (event) => hear(event.data)),
  };
}

serve(portOfWorker(), handlers);
