// The worker: the only door to the engine. Serves many models; between tokens, and between the texts of a list, it lets
// other calls and aborts in.
import type { ClassHandle, MainModule, Pipeline, Tokenizer, Weights } from '../wasm/sotto.d.ts';
import { openCache } from './cache.ts';
import { joined } from './digest.ts';
import { SottoError } from './error.ts';
import {
  type Calls,
  type Handle,
  type Handlers,
  type LoadParams,
  type ModelFacts,
  type Port,
  type Reply,
  type Request,
  type Serving,
  serve,
  type ThreadWish,
  type TokenizerFacts,
} from './protocol.ts';
import { Loader, type Peek, type ProgressEvent, type Target, type Wanted } from './store.ts';
import type { Generated, GeneratedText } from './stream.ts';
import { type Choice, chooseVariant, detectFeatures, isNode, type Variant, type Wish } from './variants.ts';

/** The files of a build: its script, its module, and the part of the module that is loaded when it is first called. */
type Files = [script: URL, wasm: URL, later?: URL];

// Bundlers find the files by these very expressions.
const assets: Record<Variant | 'tokenizer', () => Files> = {
  simd: () => [
    new URL('./sotto-simd.mjs', import.meta.url),
    new URL('./sotto-simd.wasm', import.meta.url),
    new URL('./sotto-simd.later.wasm', import.meta.url),
  ],
  relaxed: () => [
    new URL('./sotto-relaxed.mjs', import.meta.url),
    new URL('./sotto-relaxed.wasm', import.meta.url),
    new URL('./sotto-relaxed.later.wasm', import.meta.url),
  ],
  'simd-threads': () => [
    new URL('./sotto-simd-threads.mjs', import.meta.url),
    new URL('./sotto-simd-threads.wasm', import.meta.url),
    new URL('./sotto-simd-threads.later.wasm', import.meta.url),
  ],
  'relaxed-threads': () => [
    new URL('./sotto-relaxed-threads.mjs', import.meta.url),
    new URL('./sotto-relaxed-threads.wasm', import.meta.url),
    new URL('./sotto-relaxed-threads.later.wasm', import.meta.url),
  ],
  tokenizer: () => [
    new URL('./sotto-tokenizer.mjs', import.meta.url),
    new URL('./sotto-tokenizer.wasm', import.meta.url),
  ],
};

interface Loaded {
  pipeline: Pipeline | undefined;
  tokenizer: Tokenizer;
  /** Generations under way: freed with the model. */
  running: Set<ClassHandle>;
}

let started: Promise<MainModule> | undefined;
/** What it was compiled to. */
let code: WebAssembly.Module | undefined;
/** What runs, where it is not tokenizers alone. */
let chosen: Choice | undefined;
const models = new Map<Handle, Loaded>();
let nextHandle = 1;

async function compile(wasm: URL): Promise<WebAssembly.Module> {
  if (isNode && wasm.protocol === 'file:') {
    return WebAssembly.compile(await process.getBuiltinModule('node:fs/promises').readFile(wasm));
  }
  const response = await fetch(wasm);
  if (!response.ok) throw new Error(`it answered with status ${response.status}`);
  // Compiled while it arrives, and cached as machine code, but only from servers that know its type.
  if (response.headers.get('content-type') === 'application/wasm') return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** What the engine takes for a worker of its own: one of the page's. */
class PageWorker {
  onmessage: ((event: MessageEvent) => void) | undefined;
  readonly #port: MessagePort;

  constructor(url: string | URL, { name = '' }: WorkerOptions = {}) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = (event) => this.onmessage?.(event);
    const wish: ThreadWish = { kind: 'thread', url: String(url), name, port: port2 };
    globalThis.postMessage(wish, { transfer: [port2] });
  }

  postMessage(message: unknown): void {
    this.#port.postMessage(message);
  }

  /** The page ends its workers all at once. */
  terminate(): void {}
}
if (!isNode) globalThis.Worker = PageWorker as unknown as typeof Worker;

async function startModule(build: keyof typeof assets, folder: string | undefined, threads = 1): Promise<MainModule> {
  const [script, wasm, later]: Files = folder
    ? [
        new URL(`sotto-${build}.mjs`, folder),
        new URL(`sotto-${build}.wasm`, folder),
        new URL(`sotto-${build}.later.wasm`, folder),
      ]
    : assets[build]();
  try {
    const [compiled, { default: create }] = await Promise.all([
      compile(wasm),
      import(/* webpackIgnore: true */ /* @vite-ignore */ script.href) as Promise<{
        default(options: unknown): Promise<MainModule>;
      }>,
    ]);
    code = compiled;
    return await create({
      instantiateWasm(imports: WebAssembly.Imports, ready: (instance: WebAssembly.Instance, code: unknown) => void) {
        const instance = new WebAssembly.Instance(compiled, imports);
        ready(instance, compiled);
        return instance.exports;
      },
      later: later?.href,
      // What the threads' workers run; Node takes a path here. See wasm/later.js.
      mainScriptUrlOrBlob: isNode
        ? process.getBuiltinModule('node:url').fileURLToPath(script)
        : `${script.href}#${later?.href}`,
      poolSize: threads - 1,
    });
  } catch (cause) {
    throw new SottoError('worker', `The engine (${wasm.href}) did not start: ${(cause as Error).message}`, { cause });
  }
}

async function startEngine(tokenizerOnly: boolean, wish: Wish, folder: string | undefined): Promise<MainModule> {
  const choice = chooseVariant(detectFeatures(), wish);
  if (tokenizerOnly) return startModule('tokenizer', folder);
  chosen = choice;
  const module = await startModule(choice.variant, folder, choice.threads);
  module.startThreads(choice.threads);
  return module;
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

function present<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new SottoError('internal', 'The engine gave nothing.');
  return value;
}

/** The engine takes no lone surrogates: they become U+FFFD, as everywhere on the web. */
const wellFormed = (text: string): string => text.toWellFormed();
const json = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => (typeof item === 'string' ? wellFormed(item) : item));

const mostText = 256 * 2 ** 20;

/** A small file, gathered as it is: text, a SentencePiece model, or the weights of a sentence's module. */
class WholeTarget implements Target {
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  begin(bytes: number | undefined): void {
    if (bytes !== undefined && bytes > mostText) {
      throw new SottoError('invalid-file', `${this.#name} has ${bytes} bytes: too many for what it is.`);
    }
    this.#pieces = [];
    this.#bytes = 0;
  }

  write(chunk: Uint8Array): void {
    this.#bytes += chunk.byteLength;
    if (this.#bytes > mostText) throw new SottoError('invalid-file', `${this.#name} is too long for what it is.`);
    this.#pieces.push(chunk);
  }

  end(): void {}

  get bytes(): Uint8Array {
    return joined(this.#pieces);
  }
}

/** Bytes that enter the engine at a time. */
const doorBytes = 2 ** 16;

/** Weights on their way into a model: piece by piece, to where they stay. */
class WeightsTarget implements Target {
  bytes = 0;
  /** As long as nobody knows how many there will be. */
  #loose: Uint8Array[] | undefined;
  readonly #name: string;
  readonly #incoming: Incoming;
  readonly #peek: Peek;

  constructor(name: string, incoming: Incoming, peek: Peek) {
    this.#name = name;
    this.#incoming = incoming;
    this.#peek = peek;
  }

  begin(bytes: number | undefined): void {
    this.bytes = 0;
    this.#loose = bytes === undefined ? [] : undefined;
    if (bytes !== undefined) check(enter(() => this.#incoming.weights.begin(this.#name, bytes)));
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.bytes += chunk.byteLength;
    if (this.#loose) {
      this.#loose.push(chunk);
      return;
    }
    const { weights } = this.#incoming;
    this.#incoming.pass(chunk, (at, bytes) => check(enter(() => weights.append(at, bytes))));
    for (;;) {
      const name = weights.wantedHeader();
      if (name === '') return;
      await this.#peek(name, (piece, bytes) => {
        let whole = false;
        this.#incoming.pass(piece, (at, length) => {
          if (!whole) whole = check(enter(() => weights.addHeader(at, length, bytes))).whole;
        });
        return whole;
      });
    }
  }

  async end(): Promise<void> {
    const loose = this.#loose;
    if (loose) {
      this.begin(this.bytes);
      for (const chunk of loose) await this.write(chunk);
    }
    check(enter(() => this.#incoming.weights.end()));
  }
}

/** A model that is coming in: its weights, and the door through which their bytes pass. */
class Incoming {
  readonly weights: Weights;
  readonly #module: MainModule;
  readonly #door: number;

  constructor(module: MainModule, dtype: string) {
    this.#module = module;
    this.#door = enter(() => module.reserve(doorBytes));
    if (this.#door === 0) throw new SottoError('out-of-memory', 'There is no room for the engine to read anything.');
    this.weights = new module.Weights(dtype);
  }

  pass(chunk: Uint8Array, take: (at: number, bytes: number) => void): void {
    for (let from = 0; from < chunk.byteLength; from += doorBytes) {
      const piece = chunk.subarray(from, from + doorBytes);
      // The view is made anew after every growth of the heap: never keep it.
      this.#module.HEAPU8.set(piece, this.#door);
      take(this.#door, piece.byteLength);
    }
  }

  free(): void {
    this.weights.delete();
    this.#module.release(this.#door);
  }
}

/** The weights of one of a sentence's modules. */
const isModule = (name: string) => name.endsWith('/model.safetensors');

/** Where the small files of a model gather. */
class Texts {
  readonly #targets = new Map<string, WholeTarget>();

  target(name: string): Target {
    const target = new WholeTarget(name);
    this.#targets.set(name, target);
    return target;
  }

  /** What is there under this name, which is not kept; no bytes where there is nothing. */
  take(name: string): Uint8Array {
    const bytes = this.#targets.get(name)?.bytes ?? new Uint8Array();
    this.#targets.delete(name);
    return bytes;
  }

  /** Hands over what is there of these, or of all; nothing of it is kept. */
  give(to: (name: string, text: Uint8Array) => void, names: Iterable<string> = this.#targets.keys()): void {
    for (const name of [...names]) {
      const text = this.take(name);
      if (text.length > 0) to(name, text);
    }
  }
}

/** What has loaded, but may not be stored yet. */
const loaders = new Set<Loader>();
/** Milliseconds after loading: a first text goes before the disk. */
const storeAfter = 100;

/** Stores what has loaded, now. */
async function storeAll(): Promise<void> {
  await Promise.all([...loaders].map((loader) => loader.store().finally(() => loaders.delete(loader))));
}

/** Loads files. They are stored soon afterwards. */
async function loadFiles(
  { location, cache }: LoadParams,
  serving: Serving<'load' | 'loadTokenizer'>,
  wanted: Wanted,
): Promise<void> {
  await storeAll(); // It may be the same model once more.
  const notice = (event: ProgressEvent) => serving.notice(event);
  const loader = new Loader(location, openCache(), cache, serving.signal, notice);
  await loader.load(wanted);
  loaders.add(loader);
  setTimeout(storeAll, storeAfter);
}

/** Loads a model. */
async function loadModel(params: Calls['load']['params'], serving: Serving<'load'>): Promise<ModelFacts> {
  const texts = new Texts();
  const targets: WeightsTarget[] = [];
  let incoming: Incoming | undefined;
  const open = async () => {
    const module = await theModule();
    incoming ??= new Incoming(module, params.dtype);
    return incoming;
  };
  try {
    await loadFiles(params, serving, {
      weights: true,
      sentence: params.task === 'feature-extraction',
      parts: () => incoming?.weights.parts() ?? [],
      async target(name, peek) {
        if (!/\.(safetensors|gguf)$/.test(name) || isModule(name)) return texts.target(name);
        // The texts need not wait for the engine.
        const door = await open();
        texts.give((name, text) => door.weights.setText(name, text), ['config.json']);
        const target = new WeightsTarget(name, door, peek);
        targets.push(target);
        return target;
      },
      async tokenizer(names) {
        const { weights } = await open();
        texts.give((name, text) => enter(() => weights.setText(name, text)), names);
        // What this takes in passing, the weights take over.
        enter(() => weights.readTokenizer());
      },
    });
    const module = await theModule();
    serving.signal.throwIfAborted();
    const { weights } = present(incoming);
    const index = texts.take('model.safetensors.index.json');
    texts.give((name, text) => {
      if (isModule(name)) check(enter(() => weights.addModule(name, text)));
      else enter(() => weights.setText(name, text));
    });
    const pipeline = present(check(enter(() => module.Pipeline.load(params.task, weights, index))).pipeline);
    const tokenizer = present(pipeline.tokenizer());
    return {
      ...tokenizerFacts(keep(pipeline, tokenizer), tokenizer),
      ...present(chosen),
      task: pipeline.task(),
      config: pipeline.config(),
      bytes: targets.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  } finally {
    incoming?.free();
  }
}

/** Loads a tokenizer alone. */
async function loadTokenizer(params: LoadParams, serving: Serving<'loadTokenizer'>): Promise<TokenizerFacts> {
  if (params.location.gguf !== undefined) {
    throw new SottoError('unsupported', 'A GGUF file has its tokenizer within: load it with pipeline().');
  }
  const texts = new Texts();
  await loadFiles(params, serving, { weights: false, target: (name) => texts.target(name) });
  const module = await theModule();
  serving.signal.throwIfAborted();
  const files = new module.Files();
  try {
    texts.give((name, text) => enter(() => files.setText(name, text)));
    const tokenizer = present(check(enter(() => module.Tokenizer.load(files))).tokenizer);
    return tokenizerFacts(keep(undefined, tokenizer), tokenizer);
  } finally {
    files.delete();
  }
}

function keep(pipeline: Pipeline | undefined, tokenizer: Tokenizer): Handle {
  const handle = nextHandle++;
  models.set(handle, { pipeline, tokenizer, running: new Set() });
  return handle;
}

function tokenizerFacts(handle: Handle, tokenizer: Tokenizer): TokenizerFacts {
  return {
    handle,
    vocab_size: tokenizer.vocabSize(),
    mask_token: tokenizer.maskToken() || undefined,
    chat: JSON.parse(tokenizer.chat()),
  };
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
  async start({ tokenizerOnly, variant, threads, assetsURL }) {
    // Calls that come right behind this one wait for the module, and share its failure.
    started = startEngine(tokenizerOnly, { variant, threads }, assetsURL);
    await started;
    // Chromium alone makes something of it, and Firefox would refuse it where the page's own policy forbids WebAssembly.
    return 'userAgentData' in navigator ? code : undefined;
  },

  async load(params, serving) {
    const facts = await loadModel(params, serving);
    if (serving.signal.aborted) dispose(facts.handle);
    return facts;
  },

  async loadTokenizer(params, serving) {
    const facts = await loadTokenizer(params, serving);
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

  insides({ handle, input, options }, { transfer }) {
    const pipeline = pipelineOf(handle);
    const { tensors } = check(enter(() => pipeline.insides(json(input), json(options))));
    for (const { data } of tensors) transfer(data.buffer);
    return tensors;
  },

  async generate({ handle, prompt, options }, { signal, room, notice }) {
    const pipeline = pipelineOf(handle);
    const { running } = modelOf(handle);
    const begin = () =>
      typeof prompt === 'string'
        ? pipeline.generate(wellFormed(prompt), json(options))
        : pipeline.generateAfterTemplate(prompt.map(wellFormed), json(options));
    const generation = present(check(enter(begin)).generation);
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
    const { ids, typeIds, special, offsets, tokens, tokenEnds } = encoded;
    for (const { buffer } of [ids, typeIds, special, offsets, tokenEnds]) transfer(buffer);
    return { ids, typeIds, special, offsets, tokens: String(tokens), tokenEnds };
  },

  decode({ handle, ids, skipSpecial }) {
    const { tokenizer } = modelOf(handle);
    return enter(() => tokenizer.decode(ids, skipSpecial));
  },

  async dispose({ handle }) {
    dispose(handle);
    await storeAll(); // This may be the worker's end.
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
