/// <reference lib="esnext.disposable" preserve="true" />
// The page's side of the worker: starts it, shares it among models that want the same engine, and ends it with the last.
import { SottoError } from './error.ts';
import { locate, type ModelSource } from './origins.ts';
import {
  type CallOptions,
  type Calls,
  Client,
  type LoadParams,
  type Port,
  type Reply,
  type Request,
  type ThreadWish,
} from './protocol.ts';
import type { StoreOptions } from './store.ts';
import { isNode, type Variant } from './variants.ts';

/** Where the engine's files are. */
export interface AssetOptions {
  /** The folder of worker.js and the sotto-*.mjs and .wasm files, where a bundler or a CDN has moved them. */
  assetsURL?: string | URL;
  /** The worker's script, where it is elsewhere. */
  workerURL?: string | URL;
}

/** Which engine runs a model, and where its files are. Models with the same settings share one worker. */
export interface EngineOptions extends AssetOptions {
  /** Default: the best that computes right here. */
  variant?: Variant;
  /** At most so many threads compute. Default: the cores, at most 4, in a cross-origin isolated page; otherwise 1. */
  threads?: number;
}

/** A worker that runs. */
export interface Engine {
  readonly client: Client;
  /** One user fewer; the last one ends the worker and frees its memory. */
  release(): void;
}

interface Line {
  port: Port<Request, Reply>;
  failed(tell: (message: string) => void): void;
  /** Whether the worker keeps the process alive (Node's only). */
  hold(busy: boolean): void;
  end(): void;
}

function startInNode(url: URL): Line {
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  // A program given as text has options that a worker's script must not have.
  const asText = process.execArgv.some((option) => option.startsWith('--input-type'));
  const worker = new Worker(url, asText ? { execArgv: [] } : {});
  worker.unref();
  return {
    port: {
      post: (message, transfer) => worker.postMessage(message, transfer as never),
      listen: (hear) => worker.on('message', hear),
    },
    failed(tell) {
      worker.on('error', (error) => tell(error instanceof Error ? error.message : String(error)));
      worker.on('exit', (status) => tell(`it ended with status ${status}`));
    },
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
    end: () => void worker.terminate(),
  };
}

/** Starts a worker's script, from another origin too: that is not allowed, but a script of ours may import that one. */
function startScript(url: URL, name = ''): Worker {
  if (url.origin === globalThis.location.origin || url.protocol === 'blob:' || url.protocol === 'data:') {
    return new Worker(url, { type: 'module', name });
  }
  const source = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
  const address = URL.createObjectURL(source);
  try {
    return new Worker(address, { type: 'module', name });
  } finally {
    // Firefox and Safari read the blob after the constructor has returned.
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}

function startInBrowser(url: URL | undefined): Line {
  const worker =
    url === undefined
      ? // Bundlers recognize this form, and only this form.
        new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
      : startScript(url);
  const threads: Worker[] = [];
  let ended = false;
  let tell: (message: string) => void;
  const watch = (watched: Worker, script = '') => {
    watched.addEventListener('error', (event) => {
      event.preventDefault();
      tell(event.message || `its script${script} did not load`);
    });
    watched.addEventListener('messageerror', () => tell('a message could not be read'));
  };
  const startThread = ({ url, name, port }: ThreadWish) => {
    if (ended) return;
    try {
      const thread = startScript(new URL(url), name);
      threads.push(thread);
      watch(thread, ` ${url}`);
      thread.addEventListener('message', ({ data }) => port.postMessage(data));
      port.onmessage = ({ data }) => thread.postMessage(data);
    } catch (cause) {
      tell(`a thread did not start: ${(cause as Error).message}`);
    }
  };
  return {
    port: {
      post: (message, transfer) => worker.postMessage(message, transfer),
      listen: (hear) =>
        worker.addEventListener('message', ({ data }: MessageEvent<Reply | ThreadWish>) =>
          data.kind === 'thread' ? startThread(data) : hear(data),
        ),
    },
    failed(listener) {
      tell = listener;
      watch(worker, url && ` ${url.href}`);
    },
    hold() {},
    end() {
      ended = true;
      for (const started of [worker, ...threads]) started.terminate();
    },
  };
}

const baseAddress = (): string | undefined => globalThis.document?.baseURI ?? globalThis.location?.href;

function folderURL(address: string | URL): URL {
  const url = new URL(address, baseAddress());
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

const engines = new Map<string, { engine: Engine; users: number }>();
/**
 * What each of them was compiled to. Nobody reads it: as long as the page's thread has it, be it as garbage of the page
 * before, Chromium that meets the same bytes again in this process has their machine code at hand. What a worker has
 * goes with the worker.
 */
const compiled = new Map<string, WebAssembly.Module | undefined>();

/** The worker for these settings, started if need be. Its user calls `release` once. */
function openEngine(options: EngineOptions, tokenizerOnly: boolean): Engine {
  const assets = options.assetsURL === undefined ? undefined : folderURL(options.assetsURL);
  const script =
    options.workerURL === undefined
      ? assets && new URL('worker.js', assets)
      : new URL(options.workerURL, assets ?? baseAddress());
  const { variant, threads } = tokenizerOnly ? {} : options;
  const key = JSON.stringify([tokenizerOnly, variant, threads, assets?.href, script?.href]);
  const shared = engines.get(key);
  if (shared && !shared.engine.client.broken) {
    shared.users++;
    return shared.engine;
  }

  let line: Line;
  try {
    line = isNode ? startInNode(script ?? new URL('./worker.js', import.meta.url)) : startInBrowser(script);
  } catch (cause) {
    throw new SottoError('worker', `The worker could not start: ${(cause as Error).message}`, { cause });
  }
  const client = new Client(line.port, (busy) => line.hold(busy));
  line.failed((message) => client.break(new SottoError('worker', `The worker failed: ${message}.`)));
  client.call('start', { tokenizerOnly, variant, threads, assetsURL: assets?.href }).then(
    (code) => compiled.set(key, code),
    () => {}, // Whoever loads something is told.
  );
  const entry = {
    users: 1,
    engine: {
      client,
      release() {
        if (--entry.users > 0) return;
        if (engines.get(key) === entry) engines.delete(key);
        client.break(new SottoError('disposed', 'The model was disposed of.'));
        line.end();
      },
    },
  };
  engines.set(key, entry);
  return entry.engine;
}

/** What a worker has loaded for a page. */
export interface Loaded<Facts> {
  engine: Engine;
  facts: Facts;
  /** Ends every call when it fires: what was loaded is gone. */
  lifetime: AbortSignal;
  /** Frees it; a second call does nothing. */
  dispose(): Promise<void>;
}

/** Loads a model, or a tokenizer alone, into a worker that has what it takes. */
export async function load<M extends 'load' | 'loadTokenizer'>(
  method: M,
  source: ModelSource,
  options: StoreOptions & EngineOptions & CallOptions,
  more: Omit<Calls[M]['params'], keyof LoadParams>,
): Promise<Loaded<Calls[M]['result']>> {
  const { signal, progress, cache = 'default' } = options;
  signal?.throwIfAborted();
  const params = { location: locate(source, options, baseAddress()), cache, ...more } as Calls[M]['params'];
  const engine = openEngine(options, method === 'loadTokenizer');
  const forget = (handle: number) => engine.client.call('dispose', { handle }).catch(() => {}); // the worker is gone
  try {
    const facts = await engine.client.call(method, params, {
      signals: [signal],
      notice: progress as (value: Calls[M]['notice']) => void,
      late: ({ handle }) => void forget(handle),
    });
    const end = new AbortController();
    const dispose = async () => {
      if (end.signal.aborted) return;
      end.abort(new SottoError('disposed', 'The model was disposed of.'));
      await forget(facts.handle);
      engine.release();
    };
    return { engine, facts, lifetime: end.signal, dispose };
  } catch (error) {
    engine.release();
    throw error;
  }
}

/** For `await using`, where the language has it. */
export function asyncDisposable(dispose: () => Promise<void>): Partial<AsyncDisposable> {
  return typeof Symbol.asyncDispose === 'symbol' ? { [Symbol.asyncDispose]: dispose } : {};
}
