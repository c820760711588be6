// Where models come from and where they are kept: fetch, verify, store. Bytes go to their target in pieces as they
// arrive and are hashed on the way; a cache is only a hint, so what is read back is verified too. Knows nothing of what
// the files mean beyond which of them make up a model.
import { sha256 } from '@noble/hashes/sha2.js';
import { SottoError } from './error.ts';
import { isNode } from './variants.ts';

/**
 * Where a model is:
 * - a folder's address, as `URL`, or as text that begins with a scheme, `/`, `./` or `../` or ends with `/` (relative to
 *   the page); in Node also a path;
 * - `owner/name` on the Hugging Face Hub;
 * - the folder's files, as picked in an `<input type="file" multiple>` or dropped.
 *
 * A folder may have a `manifest.json`, `{"files": [{"name", "bytes", "sha256"}]}`: then every file is verified, and a
 * download that broke is resumed.
 */
export type ModelSource = string | URL | Iterable<File>;

/** How far loading has come. */
export interface ProgressEvent {
  file: string;
  /** Bytes of the file that are there. */
  loaded: number;
  /** Bytes that there will be; 0 while unknown. */
  total: number;
  from: 'network' | 'cache' | 'file';
  /** The same over all files that have begun, or that the manifest names. */
  overall: { loaded: number; total: number };
}

/**
 * How stored models are used:
 * - `default`: the manifest is fetched anew to see whether they changed; without a network they serve as they are
 * - `force-cache`: what is stored serves without asking
 * - `only-if-cached`: the same, and nothing is ever fetched
 * - `reload`: everything is fetched anew, and stored
 * - `no-store`: everything is fetched anew, and nothing is stored
 */
export type CacheMode = 'default' | 'force-cache' | 'only-if-cached' | 'reload' | 'no-store';

/** How files are found and kept. */
export interface StoreOptions {
  /** The Hub, or a mirror of it (default `https://huggingface.co`). */
  hub?: string | URL;
  /** The Hub's branch, tag or commit (default `main`). */
  revision?: string;
  cache?: CacheMode;
  /** Told about every file, many times a second. */
  progress?: (event: ProgressEvent) => void;
}

/** A source that any thread can open: what `ModelSource` becomes before it crosses to the worker. */
export type Location =
  | { kind: 'url'; base: string }
  | { kind: 'hub'; base: string; listing: string }
  | { kind: 'files'; files: readonly File[] }
  | { kind: 'folder'; path: string };

const hubName = /^[\w.-]+\/[\w.-]+$/;

/** Reads a source; relative addresses are relative to `base`, that of the page. */
export function locate(source: ModelSource, options: StoreOptions, base: string | undefined): Location {
  if (typeof source !== 'string' && !(source instanceof URL)) {
    const files = [...source];
    if (files.length === 0) throw new SottoError('invalid-argument', 'No files were given.');
    return { kind: 'files', files };
  }
  const text = String(source);
  if (typeof source === 'string' && hubName.test(text) && !/^\.{1,2}\//.test(text)) {
    const hub = String(options.hub ?? 'https://huggingface.co').replace(/\/+$/, '');
    const revision = encodeURIComponent(options.revision ?? 'main');
    return {
      kind: 'hub',
      base: `${hub}/${text}/resolve/${revision}/`,
      listing: `${hub}/api/models/${text}/tree/${revision}`,
    };
  }
  if (isNode && !/^(https?|data|blob):/i.test(text)) {
    return { kind: 'folder', path: text.startsWith('file:') ? decodeURIComponent(new URL(text).pathname) : text };
  }
  try {
    const url = new URL(text, base);
    url.hash = '';
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    return { kind: 'url', base: url.href };
  } catch (cause) {
    throw new SottoError('invalid-argument', `'${text}' is neither an address nor a name on the Hub.`, { cause });
  }
}

/** Takes one file's bytes in order. */
export interface Target {
  /** The file begins, of so many bytes if that is known; also when it has to begin again. */
  begin(bytes: number | undefined): void;
  write(chunk: Uint8Array): void;
  /** The file is whole and, where its hash is known, the right one. */
  end(): void;
}

/** The files of one model that loading asks for. */
export interface Wanted {
  /** Whether the weights are wanted, or the tokenizer alone. */
  weights: boolean;
  target(name: string): Target | Promise<Target>;
}

interface Entry {
  name: string;
  bytes?: number | undefined;
  sha256?: string | undefined;
  /** Changes when the file does. */
  tag?: string | undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Keeping files: OPFS, or the Cache API where there is none.

/** A file being written. */
export interface CacheWriter {
  write(chunk: Uint8Array<ArrayBuffer>): void | Promise<void>;
  /** Ends the file. */
  close(): Promise<void>;
  /** Gives up; what is there so far stays, where it can serve to resume, or goes. */
  abandon(): Promise<void>;
}

/** A store of files by path. Everything may fail at any time: its user then does without. */
export interface FileCache {
  read(path: readonly string[]): Promise<{ bytes: number; stream: ReadableStream<Uint8Array> } | undefined>;
  /** Continues the file at `offset`, cutting what is beyond. */
  write(path: readonly string[], offset: number): Promise<CacheWriter>;
  remove(path: readonly string[]): Promise<void>;
}

const cacheName = 'sotto';

async function folderOf(root: FileSystemDirectoryHandle, path: readonly string[], create: boolean) {
  let folder = root;
  for (const part of path.slice(0, -1)) folder = await folder.getDirectoryHandle(part, { create });
  return folder;
}

/** What workers have and TypeScript's typings of pages do not. */
interface WorkerFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle?(): Promise<{
    write(chunk: Uint8Array<ArrayBuffer>, options: { at: number }): number;
    truncate(bytes: number): void;
    flush(): void;
    close(): void;
  }>;
}

async function writerOf(file: WorkerFileHandle, offset: number): Promise<CacheWriter> {
  const handle = await file.createSyncAccessHandle?.();
  if (handle) {
    let at = offset;
    handle.truncate(offset);
    return {
      write(chunk) {
        const written = handle.write(chunk, { at });
        // A full disk may show as a short write.
        if (written !== chunk.byteLength) throw new DOMException('The disk is full.', 'QuotaExceededError');
        at += written;
      },
      close: async () => {
        handle.flush();
        handle.close();
      },
      abandon: async () => handle.close(),
    };
  }
  const stream = await file.createWritable({ keepExistingData: offset > 0 });
  await stream.truncate(offset);
  await stream.seek(offset);
  return {
    write: (chunk) => stream.write(chunk),
    close: () => stream.close(),
    abandon: () => stream.close(),
  };
}

/** Files in a folder of the origin's private file system. */
export function folderCache(root: FileSystemDirectoryHandle): FileCache {
  return {
    async read(path) {
      try {
        const folder = await folderOf(root, path, false);
        const file = await (await folder.getFileHandle(path.at(-1) ?? '')).getFile();
        return { bytes: file.size, stream: file.stream() };
      } catch {
        return undefined;
      }
    },
    async write(path, offset) {
      const folder = await folderOf(root, path, true);
      return writerOf(await folder.getFileHandle(path.at(-1) ?? '', { create: true }), offset);
    },
    async remove(path) {
      try {
        await (await folderOf(root, path, false)).removeEntry(path.at(-1) ?? '', { recursive: true });
      } catch {
        // It was not there.
      }
    },
  };
}

function responseCache(cache: Cache): FileCache {
  const address = (path: readonly string[]) => `https://sotto.invalid/${path.map(encodeURIComponent).join('/')}`;
  return {
    async read(path) {
      const response = await cache.match(address(path));
      if (!response?.body) return undefined;
      return { bytes: Number(response.headers.get('content-length') ?? 0), stream: response.body };
    },
    async write(path, offset) {
      if (offset > 0) throw new DOMException('A stored response cannot be continued.', 'NotSupportedError');
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
      const stored = cache.put(address(path), new Response(readable));
      stored.catch(() => {});
      const writer = writable.getWriter();
      return {
        write: (chunk) => writer.write(chunk),
        close: async () => {
          await writer.close();
          await stored;
        },
        abandon: async () => {
          await writer.abort().catch(() => {});
          await stored.catch(() => {});
        },
      };
    },
    async remove(path) {
      await cache.delete(address(path));
    },
  };
}

/** This origin's cache, or undefined where it has none: then models live in memory only. */
export async function openCache(): Promise<FileCache | undefined> {
  if (isNode) return undefined;
  try {
    return folderCache(await (await navigator.storage.getDirectory()).getDirectoryHandle(cacheName, { create: true }));
  } catch {
    // Private windows and old browsers.
  }
  try {
    return responseCache(await caches.open(cacheName));
  } catch {
    return undefined;
  }
}

/** Forgets every stored model of this origin. */
export async function clearCache(): Promise<void> {
  try {
    await (await navigator.storage.getDirectory()).removeEntry(cacheName, { recursive: true });
  } catch {
    // Nothing was stored there.
  }
  try {
    await caches.delete(cacheName);
  } catch {
    // Nor there.
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Finding files: a folder on the web, on the Hub, on disk, or in the user's hands.

interface Opened {
  stream: ReadableStream<Uint8Array>;
  /** Of the whole file, where it is known. */
  bytes: number | undefined;
  /** Where the stream begins: 0 if the asked-for offset could not be had. */
  offset: number;
  tag: string | undefined;
}

interface Origin {
  readonly from: 'network' | 'file';
  /** Names the model in the cache; undefined: not worth storing. */
  readonly key: string | undefined;
  /** What the model consists of, or undefined where nobody says. Throws a `network` error without a network. */
  list(signal: AbortSignal): Promise<Entry[] | undefined>;
  /** Undefined when there is no such file. */
  open(name: string, offset: number, fresh: boolean, signal: AbortSignal): Promise<Opened | undefined>;
  /** A sign that changes when the file does; undefined: unknown. */
  tag(name: string, signal: AbortSignal): Promise<string | undefined>;
}

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const plainName = /^[^/\\]{1,200}$/;

/** manifest.json, or undefined where a file of that name is something else (a web app has one, too). */
export function parseManifest(text: string): Entry[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const files = typeof json === 'object' && json !== null && 'files' in json ? json.files : undefined;
  if (!Array.isArray(files)) return undefined;
  return files.map((item: unknown, i) => {
    const { name, bytes, sha256: hash } = (item ?? {}) as Record<string, unknown>;
    if (
      typeof name !== 'string' ||
      !plainName.test(name) ||
      typeof bytes !== 'number' ||
      !(Number.isSafeInteger(bytes) && bytes >= 0) ||
      typeof hash !== 'string' ||
      !/^[0-9a-f]{64}$/i.test(hash)
    ) {
      throw new SottoError('invalid-file', `manifest.json: entry ${i} must have a plain name, bytes and a sha256.`);
    }
    return { name, bytes, sha256: hash.toLowerCase() };
  });
}

/** The Hub's list of files: sizes, and the hashes of those in its large-file store. */
function parseHubListing(json: unknown): Entry[] | undefined {
  if (!Array.isArray(json)) return undefined;
  return json.flatMap(
    (item: { type?: unknown; path?: unknown; size?: unknown; oid?: unknown; lfs?: { oid?: unknown } }) => {
      if (item?.type !== 'file' || typeof item.path !== 'string' || !plainName.test(item.path)) return [];
      const hash = item.lfs?.oid;
      return {
        name: item.path,
        bytes: typeof item.size === 'number' ? item.size : undefined,
        sha256: typeof hash === 'string' && /^[0-9a-f]{64}$/.test(hash) ? hash : undefined,
        tag: typeof item.oid === 'string' ? item.oid : undefined,
      };
    },
  );
}

const tagOf = (headers: Headers) =>
  headers.get('etag') ?? headers.get('last-modified') ?? headers.get('content-length') ?? undefined;

class WebOrigin implements Origin {
  readonly from = 'network';
  readonly key: string;
  readonly #base: string;
  readonly #listing: string | undefined;

  constructor(base: string, listing?: string) {
    this.#base = base;
    this.#listing = listing;
    this.key = hex(sha256(new TextEncoder().encode(base))).slice(0, 32);
  }

  async list(signal: AbortSignal): Promise<Entry[] | undefined> {
    if (this.#listing) {
      const response = await this.#fetch(this.#listing, { cache: 'no-cache' }, signal);
      if (response.ok) {
        const listed = parseHubListing(await this.#body(response, () => response.json(), signal));
        if (listed) return listed;
      }
    }
    const response = await this.#get('manifest.json', { cache: 'no-cache' }, signal);
    if (!response) return undefined;
    return parseManifest(await this.#body(response, () => response.text(), signal));
  }

  async open(name: string, offset: number, fresh: boolean, signal: AbortSignal): Promise<Opened | undefined> {
    const headers: HeadersInit = offset > 0 ? { Range: `bytes=${offset}-` } : {};
    const response = await this.#get(name, { headers, cache: fresh ? 'reload' : 'default' }, signal);
    if (!response) return undefined;
    const range = /^bytes (\d+)-\d*\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
    const start = response.status === 206 ? Number(range?.[1] ?? Number.NaN) : 0;
    if (start !== 0 && start !== offset) throw new SottoError('network', `${this.#base}${name}: a wrong range came.`);
    // The length of an encoded body says nothing about the file.
    const length = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
    const stream = response.body ?? new Blob().stream();
    return {
      stream,
      bytes: length === null ? undefined : start + Number(length),
      offset: start,
      tag: tagOf(response.headers),
    };
  }

  async tag(name: string, signal: AbortSignal): Promise<string | undefined> {
    const response = await this.#get(name, { method: 'HEAD', cache: 'no-cache' }, signal);
    return response && tagOf(response.headers);
  }

  async #fetch(address: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    try {
      return await fetch(address, { ...init, signal });
    } catch (cause) {
      signal.throwIfAborted();
      throw new SottoError('network', `${address} could not be fetched: ${(cause as Error).message}`, { cause });
    }
  }

  async #body<T>(response: Response, read: () => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await read();
    } catch (cause) {
      signal.throwIfAborted();
      throw new SottoError('network', `${response.url} broke off: ${(cause as Error).message}`, { cause });
    }
  }

  /** Undefined when the file is absent. A page in place of a file is a server's way to say so. */
  async #get(name: string, init: RequestInit, signal: AbortSignal): Promise<Response | undefined> {
    const address = new URL(encodeURIComponent(name), this.#base).href;
    const response = await this.#fetch(address, init, signal);
    if (response.ok && !response.headers.get('content-type')?.startsWith('text/html')) return response;
    await response.body?.cancel();
    if (response.ok || response.status === 404 || response.status === 410) return undefined;
    const hint = response.status === 401 || response.status === 403 ? ' (private, gated, or not there)' : '';
    throw new SottoError('network', `${address} answered with status ${response.status}${hint}.`);
  }
}

/** Files in memory or on the user's disk; the manifest, where there is one, lists what must be there. */
class FilesOrigin implements Origin {
  readonly from = 'file';
  readonly key = undefined;
  readonly #files: Map<string, Blob>;

  constructor(files: Map<string, Blob>) {
    this.#files = files;
  }

  async list(): Promise<Entry[]> {
    const manifest = await this.#files.get('manifest.json')?.text();
    const listed = manifest === undefined ? undefined : parseManifest(manifest);
    const known = new Map(listed?.map((entry) => [entry.name, entry]));
    return [...this.#files].map(([name, file]) => known.get(name) ?? { name, bytes: file.size });
  }

  async open(name: string): Promise<Opened | undefined> {
    const file = this.#files.get(name);
    return file && { stream: file.stream(), bytes: file.size, offset: 0, tag: undefined };
  }

  async tag(): Promise<undefined> {}
}

/** A folder on Node's disk. */
async function folderFiles(path: string): Promise<Map<string, Blob>> {
  const fs = process.getBuiltinModule('node:fs');
  const prefix = path.endsWith('/') ? path : `${path}/`;
  try {
    const files = fs.readdirSync(path, { withFileTypes: true }).filter((entry) => !entry.isDirectory());
    return new Map(
      await Promise.all(files.map(async ({ name }) => [name, await fs.openAsBlob(prefix + name)] as const)),
    );
  } catch (cause) {
    const absent = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new SottoError(
      absent ? 'not-found' : 'io',
      `The folder '${path}' cannot be read: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}

async function originOf(location: Location): Promise<Origin> {
  if (location.kind === 'url') return new WebOrigin(location.base);
  if (location.kind === 'hub') return new WebOrigin(location.base, location.listing);
  if (location.kind === 'folder') return new FilesOrigin(await folderFiles(location.path));
  return new FilesOrigin(new Map(location.files.map((file) => [file.name, file])));
}

// ---------------------------------------------------------------------------------------------------------------------
// Loading.

/** The texts that a model may have, beside its weights; the first two it must have. */
const texts = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
] as const;
const tokenizerTexts: readonly string[] = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'];
const weightsName = 'model.safetensors';
const indexName = 'model.safetensors.index.json';
const storedIndex = 'index.json';
/** Milliseconds between the progress events of a file. */
const reportEvery = 30;

/** What a model's folder in the cache says of itself. */
interface StoredIndex {
  version: 1;
  /** What the origin said the model consists of. */
  listing: Entry[] | undefined;
  /** What is stored whole. */
  files: Record<string, StoredFile>;
}

interface StoredFile {
  bytes: number;
  sha256: string;
  tag?: string | undefined;
}

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  return new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).text();
}

/** The shards that an index names, or an error. */
function shardNames(text: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw new SottoError('invalid-file', `${indexName}: ${(cause as Error).message}`, { cause });
  }
  const names = typeof map === 'object' && map !== null ? [...new Set<unknown>(Object.values(map))] : [];
  if (
    names.length === 0 ||
    names.length > 1024 ||
    !names.every((name) => typeof name === 'string' && plainName.test(name))
  ) {
    throw new SottoError('invalid-file', `${indexName}: its weight_map must name files of the same folder.`);
  }
  return (names as string[]).sort();
}

/** One file on its way to its target, and into the cache where there is one. */
class Arriving {
  loaded = 0;
  readonly #entry: Entry;
  readonly #target: Target;
  readonly #path: readonly string[];
  readonly #report: (loaded: number, total: number | undefined) => void;
  #cache: FileCache | undefined;
  #hash = sha256.create();
  #total: number | undefined;
  #tag: string | undefined;
  #writer: CacheWriter | undefined;
  #tooLong = false;

  constructor(
    entry: Entry,
    target: Target,
    cache: FileCache | undefined,
    path: readonly string[],
    report: (loaded: number, total: number | undefined) => void,
  ) {
    this.#entry = entry;
    this.#target = target;
    this.#cache = cache;
    this.#path = path;
    this.#report = report;
    this.#total = entry.bytes;
  }

  /** Whether nothing is left to fetch. */
  get whole(): boolean {
    return this.#entry.sha256 !== undefined && this.loaded === this.#total;
  }

  get short(): boolean {
    return !this.#tooLong && this.#total !== undefined && this.loaded < this.#total;
  }

  get #digest(): string {
    return hex(this.#hash.clone().digest());
  }

  get right(): boolean {
    if (this.#tooLong || this.short) return false;
    return this.#entry.sha256 === undefined || this.#digest === this.#entry.sha256;
  }

  get complaint(): string {
    if (this.#tooLong) return `it has more than ${this.#total} bytes`;
    if (this.short) return `it has ${this.loaded} of ${this.#total} bytes`;
    return `its SHA-256 is ${this.#digest}, not ${this.#entry.sha256}`;
  }

  /** Takes up what an earlier visit left in the cache. */
  async takeUp(signal: AbortSignal): Promise<void> {
    const part = await this.#cache?.read(this.#path).catch(() => undefined);
    if (!part) return;
    this.#target.begin(this.#total);
    try {
      for await (const chunk of chunksOf(part.stream, signal)) if (!this.#take(chunk)) break;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SottoError) throw error;
      await this.discard();
    }
    if (this.#tooLong) await this.discard();
  }

  async continueWith(opened: Opened, signal: AbortSignal): Promise<void> {
    this.#tag = opened.tag;
    this.#total = this.#entry.bytes ?? opened.bytes;
    if (opened.offset !== this.loaded || this.loaded === 0) await this.restart();
    for await (const chunk of chunksOf(opened.stream, signal)) {
      const at = this.loaded;
      if (!this.#take(chunk)) break;
      await this.#store(async (cache) => {
        this.#writer ??= await cache.write(this.#path, at);
        await this.#writer.write(chunk as Uint8Array<ArrayBuffer>);
      });
    }
  }

  /** Begins anew. */
  async restart(): Promise<void> {
    this.#hash = sha256.create();
    this.loaded = 0;
    this.#tooLong = false;
    this.#target.begin(this.#total);
    await this.#writer?.abandon().catch(() => {});
    this.#writer = undefined;
  }

  /** Begins anew, for what is there is worth nothing. */
  async discard(): Promise<void> {
    await this.restart();
    await this.#cache?.remove(this.#path).catch(() => {});
  }

  /** The file is whole and right; gives what to note of it, if it is stored. */
  async end(): Promise<StoredFile | undefined> {
    if (this.loaded === 0) this.#report(0, 0);
    await this.#store(async (cache) => {
      this.#writer ??= await cache.write(this.#path, this.loaded);
      await this.#writer.close();
    });
    this.#writer = undefined;
    this.#target.end();
    if (!this.#cache) return undefined;
    return { bytes: this.loaded, sha256: this.#digest, tag: this.#entry.tag ?? this.#tag };
  }

  /** Whatever happened: what was cut off stays in the cache only where a hash can vouch for it later. */
  async leave(): Promise<void> {
    if (!this.#writer) return;
    await this.#writer.abandon().catch(() => {});
    if (!this.#entry.sha256) await this.#cache?.remove(this.#path).catch(() => {});
  }

  /** False when the file has become longer than it can be. */
  #take(chunk: Uint8Array): boolean {
    if (this.#total !== undefined && this.loaded + chunk.byteLength > this.#total) {
      this.#tooLong = true;
      return false;
    }
    this.#hash.update(chunk);
    this.#target.write(chunk);
    this.loaded += chunk.byteLength;
    this.#report(this.loaded, this.#total);
    return true;
  }

  async #store(step: (cache: FileCache) => Promise<void>): Promise<void> {
    const cache = this.#cache;
    if (!cache) return;
    try {
      await step(cache);
    } catch {
      // A full disk, or another tab at the same file: an ordinary event. What is there goes, to make room.
      this.#cache = undefined;
      await this.#writer?.abandon().catch(() => {});
      this.#writer = undefined;
      await cache.remove(this.#path).catch(() => {});
    }
  }
}

/** Loads one model. Everything it needs is handed in, so that it runs anywhere. */
export class Loader {
  readonly #location: Location;
  readonly #cache: FileCache | undefined;
  readonly #mode: CacheMode;
  readonly #signal: AbortSignal;
  readonly #progress: (event: ProgressEvent) => void;
  readonly #counts = new Map<string, { loaded: number; total: number; told?: number }>();
  #index: StoredIndex = { version: 1, listing: undefined, files: {} };
  #saving: Promise<void> = Promise.resolve();

  constructor(
    location: Location,
    cache: FileCache | undefined,
    mode: CacheMode,
    signal: AbortSignal,
    progress: (event: ProgressEvent) => void,
  ) {
    this.#location = location;
    this.#cache = mode === 'no-store' ? undefined : cache;
    this.#mode = mode;
    this.#signal = signal;
    this.#progress = progress;
  }

  /** Brings every file that is wanted to its target. */
  async load(wanted: Wanted): Promise<void> {
    this.#signal.throwIfAborted();
    const origin = await originOf(this.#location);
    await this.#readIndex(origin);
    const listing = await this.#list(origin);
    const known = listing && new Map(listing.map((entry) => [entry.name, entry]));
    const has = (name: string) => known === undefined || known.has(name);
    const entry = (name: string): Entry => known?.get(name) ?? { name };
    const required = wanted.weights ? ['config.json', 'tokenizer.json'] : ['tokenizer.json'];
    const wantedTexts = texts.filter((name) => (wanted.weights || tokenizerTexts.includes(name)) && has(name));

    for (const name of required) if (!has(name)) throw this.#absent(name);
    for (const name of wanted.weights ? [...wantedTexts, weightsName] : wantedTexts) {
      const bytes = known?.get(name)?.bytes;
      if (bytes !== undefined) this.#counts.set(name, { loaded: 0, total: bytes });
    }
    const loadings = wantedTexts.map(async (name) => {
      const found = await this.#file(origin, entry(name), await wanted.target(name));
      if (!found && required.includes(name)) throw this.#absent(name);
    });
    if (wanted.weights) loadings.push(this.#weights(origin, wanted, has, entry));
    // All must have ended before an error goes out: nobody may write to a target afterwards.
    const failed = (await Promise.allSettled(loadings)).find((outcome) => outcome.status === 'rejected');
    await this.#saving;
    this.#signal.throwIfAborted();
    if (failed) throw failed.reason;
  }

  async #weights(origin: Origin, wanted: Wanted, has: (name: string) => boolean, entry: (name: string) => Entry) {
    if (has(weightsName) && (await this.#file(origin, entry(weightsName), await wanted.target(weightsName)))) return;
    this.#counts.delete(weightsName);
    let index = '';
    const target = await wanted.target(indexName);
    const decoder = new TextDecoder();
    const kept: Target = {
      begin: (bytes) => {
        index = '';
        target.begin(bytes);
      },
      write: (chunk) => {
        index += decoder.decode(chunk, { stream: true });
        target.write(chunk);
      },
      end: () => target.end(),
    };
    if (!has(indexName) || !(await this.#file(origin, entry(indexName), kept))) throw this.#absent(weightsName);
    for (const name of shardNames(index)) {
      if (!(await this.#file(origin, entry(name), await wanted.target(name)))) throw this.#absent(name);
    }
  }

  #absent(name: string): SottoError {
    const { kind } = this.#location;
    const where =
      this.#location.kind === 'folder'
        ? ` in ${this.#location.path}`
        : kind === 'files'
          ? ' among the files given'
          : ` at ${(this.#location as { base: string }).base}`;
    const hint = name === weightsName ? ' Sotto reads safetensors.' : '';
    return new SottoError('not-found', `There is no ${name}${where}.${hint}`);
  }

  async #readIndex(origin: Origin): Promise<void> {
    if (!this.#cache || origin.key === undefined || this.#mode === 'reload') return;
    const stored = await this.#cache.read([origin.key, storedIndex]).catch(() => undefined);
    if (!stored) return;
    try {
      const index = JSON.parse(await readAll(stored.stream)) as StoredIndex | null;
      if (index?.version === 1 && typeof index.files === 'object') this.#index = index;
    } catch {
      // Then nothing counts as stored.
    }
  }

  /** One write after the other, each of the newest state. */
  #saveIndex(origin: Origin): void {
    const { key } = origin;
    const cache = this.#cache;
    if (!cache || key === undefined) return;
    this.#saving = this.#saving.then(async () => {
      try {
        const writer = await cache.write([key, storedIndex], 0);
        await writer.write(new TextEncoder().encode(JSON.stringify(this.#index)));
        await writer.close();
      } catch {
        // A full disk, or another tab at the same file: the next visit fetches again.
      }
    });
  }

  async #list(origin: Origin): Promise<Entry[] | undefined> {
    const stored =
      this.#index.listing ?? (Object.keys(this.#index.files).length > 0 ? this.#storedEntries() : undefined);
    if (this.#mode === 'only-if-cached' && origin.from === 'network') {
      if (!stored) throw new SottoError('not-found', 'The model is not stored on this device.');
      return stored;
    }
    if (this.#mode === 'force-cache' && stored) return stored;
    try {
      const listing = await origin.list(this.#signal);
      if (origin.key !== undefined) this.#index.listing = listing;
      return listing;
    } catch (error) {
      if (stored && error instanceof SottoError && error.code === 'network') return stored;
      throw error;
    }
  }

  #storedEntries(): Entry[] {
    return Object.entries(this.#index.files).map(([name, file]) => ({ name, ...file }));
  }

  /** Brings one file to its target, from wherever it can be had; false when there is none. */
  async #file(origin: Origin, entry: Entry, target: Target): Promise<boolean> {
    if (origin.key !== undefined && (await this.#fromCache(origin, origin.key, entry, target))) return true;
    if (this.#mode === 'only-if-cached' && origin.from === 'network') {
      throw new SottoError('not-found', `${entry.name} is not stored on this device.`);
    }
    return this.#fromOrigin(origin, entry, target);
  }

  async #unchanged(origin: Origin, entry: Entry): Promise<boolean> {
    const stored = this.#index.files[entry.name];
    if (!stored) return false;
    if (entry.sha256) return entry.sha256 === stored.sha256;
    if (entry.tag) return entry.tag === stored.tag;
    if (this.#mode !== 'default') return true;
    try {
      const tag = await origin.tag(entry.name, this.#signal);
      return tag !== undefined && tag === stored.tag;
    } catch (error) {
      this.#signal.throwIfAborted();
      return error instanceof SottoError && error.code === 'network';
    }
  }

  async #fromCache(origin: Origin, key: string, entry: Entry, target: Target): Promise<boolean> {
    const cache = this.#cache;
    if (!cache || this.#mode === 'reload' || !(await this.#unchanged(origin, entry))) return false;
    const want = this.#index.files[entry.name];
    const stored = await cache.read([key, entry.name]).catch(() => undefined);
    if (stored && want) {
      const hash = sha256.create();
      let loaded = 0;
      target.begin(want.bytes);
      try {
        for await (const chunk of chunksOf(stored.stream, this.#signal)) {
          loaded += chunk.byteLength;
          if (loaded > want.bytes) break;
          hash.update(chunk);
          target.write(chunk);
          this.#report(entry.name, loaded, want.bytes, 'cache');
        }
      } catch (error) {
        this.#signal.throwIfAborted();
        if (error instanceof SottoError) throw error;
        loaded = -1; // The cache broke off.
      }
      if (loaded === want.bytes && hex(hash.digest()) === want.sha256) {
        target.end();
        return true;
      }
    }
    // Evicted or damaged.
    delete this.#index.files[entry.name];
    await cache.remove([key, entry.name]).catch(() => {});
    return false;
  }

  /**
   * Downloads a file, resuming when the connection breaks, and once more from the start when its hash is wrong. Where
   * the hash is known, a part that an earlier visit left in the cache is taken up.
   */
  async #fromOrigin(origin: Origin, entry: Entry, target: Target): Promise<boolean> {
    const path = origin.key === undefined ? undefined : [origin.key, entry.name];
    let fresh = this.#mode === 'reload' || this.#mode === 'no-store' || this.#index.files[entry.name] !== undefined;
    const file = new Arriving(entry, target, path && this.#cache, path ?? [], (loaded, total) =>
      this.#report(entry.name, loaded, total, origin.from),
    );
    try {
      if (entry.sha256 && !fresh) await file.takeUp(this.#signal);
      for (let breaks = 0, mismatches = 0; ; ) {
        if (!file.whole) {
          try {
            const opened = await origin.open(entry.name, file.loaded, fresh, this.#signal);
            if (!opened) return false;
            await file.continueWith(opened, this.#signal);
          } catch (error) {
            this.#signal.throwIfAborted();
            if (error instanceof SottoError && error.code !== 'network') throw error;
            if (file.loaded === 0 || ++breaks > 3) throw networkError(entry.name, error);
            // Only a hash can tell whether the rest will belong to what is here.
            if (!entry.sha256) await file.restart();
            continue;
          }
        }
        if (file.right) {
          const stored = await file.end();
          if (stored) {
            this.#index.files[entry.name] = stored;
            this.#saveIndex(origin);
          }
          return true;
        }
        const why = file.complaint;
        if (file.short && origin.from === 'network' && file.loaded > 0 && ++breaks <= 3) {
          if (!entry.sha256) await file.restart();
          continue;
        }
        await file.discard();
        fresh = true;
        if (origin.from === 'file' || ++mismatches > 1) {
          throw new SottoError('integrity', `${entry.name} is not the file that it should be: ${why}.`);
        }
      }
    } finally {
      await file.leave();
    }
  }

  #report(file: string, loaded: number, total: number | undefined, from: ProgressEvent['from']): void {
    const now = performance.now();
    const told = this.#counts.get(file)?.told ?? Number.NEGATIVE_INFINITY;
    const due = loaded === total || now - told >= reportEvery;
    this.#counts.set(file, { loaded, total: total ?? 0, told: due ? now : told });
    if (!due) return;
    const overall = { loaded: 0, total: 0 };
    for (const count of this.#counts.values()) {
      overall.loaded += count.loaded;
      overall.total += Math.max(count.total, count.loaded);
    }
    this.#progress({ file, loaded, total: total ?? 0, from, overall });
  }
}

function networkError(name: string, cause: unknown): SottoError {
  if (cause instanceof SottoError) return cause;
  return new SottoError('network', `The download of ${name} broke off: ${(cause as Error)?.message ?? cause}`, {
    cause,
  });
}

/** The pieces of a stream; ends it when the loop is left or the signal fires. */
async function* chunksOf(stream: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  const cancel = () => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener('abort', cancel, { once: true });
  try {
    for (;;) {
      signal.throwIfAborted();
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener('abort', cancel);
    reader.cancel().catch(() => {});
  }
}
