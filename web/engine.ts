// The page's side of the worker: starts it, shares it among models that want the same engine, and ends it with the last.
import { SottoError } from './error.ts';
import { Client, type Port, type Reply, type Request } from './protocol.ts';
import { type Choice, isNode, type Variant } from './variants.ts';

/** Which engine runs a model, and where its files are. Models with the same settings share one worker. */
export interface EngineOptions {
  /** Default: the best that computes right here. */
  variant?: Variant;
  /** At most so many threads compute. Default: the cores, at most 4, in a cross-origin isolated page; otherwise 1. */
  threads?: number;
  /** The folder of worker.js and the sotto-*.mjs and .wasm files, where a bundler or a CDN has moved them. */
  assetsURL?: string | URL;
  /** The worker's script, where it is elsewhere. */
  workerURL?: string | URL;
}

/** A worker that runs. */
export interface Engine {
  readonly client: Client;
  /** What it chose to run. */
  readonly choice: Promise<Choice>;
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

/** A worker from another origin is not allowed, but one of ours may import that one. */
function foreignWorker(url: URL): Worker {
  const source = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
  const address = URL.createObjectURL(source);
  try {
    return new Worker(address, { type: 'module' });
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
      : url.origin === globalThis.location.origin || url.protocol === 'blob:' || url.protocol === 'data:'
        ? new Worker(url, { type: 'module' })
        : foreignWorker(url);
  return {
    port: {
      post: (message, transfer) => worker.postMessage(message, transfer),
      listen: (hear) => worker.addEventListener('message', (event: MessageEvent<Reply>) => hear(event.data)),
    },
    failed(tell) {
      worker.addEventListener('error', (event) => {
        event.preventDefault();
        tell(event.message || `its script${url ? ` ${url.href}` : ''} did not load`);
      });
      worker.addEventListener('messageerror', () => tell('a message could not be read'));
    },
    hold() {},
    end: () => worker.terminate(),
  };
}

const baseAddress = (): string | undefined => globalThis.document?.baseURI ?? globalThis.location?.href;

function folderURL(address: string | URL): URL {
  const url = new URL(address, baseAddress());
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

const engines = new Map<string, { engine: Engine; users: number }>();

/** The worker for these settings, started if need be. Its user calls `release` once. */
export function openEngine(options: EngineOptions): Engine {
  const assets = options.assetsURL === undefined ? undefined : folderURL(options.assetsURL);
  const script =
    options.workerURL === undefined
      ? assets && new URL('worker.js', assets)
      : new URL(options.workerURL, assets ?? baseAddress());
  const { variant, threads } = options;
  const key = JSON.stringify([variant, threads, assets?.href, script?.href]);
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
  const choice = client.call('start', { variant, threads, assetsURL: assets?.href });
  choice.catch(() => {});
  const entry = {
    users: 1,
    engine: {
      client,
      choice,
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
