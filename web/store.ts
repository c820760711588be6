// Loads a model: fetch, verify, keep. Bytes go to their target in pieces as they arrive and are hashed on the way; what
// the cache gives back is verified too. Knows nothing of what the files mean beyond which of them make up a model.
import type { CacheWriter, FileCache } from './cache.ts';
import { FileDigest } from './digest.ts';
import { SottoError } from './error.ts';
import {
  type Entry,
  type HubOptions,
  type Location,
  type Opened,
  type Origin,
  originOf,
  plainName,
} from './origins.ts';

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
 *
 * A model is stored while it loads; a small one a tenth of a second later, and at the latest when it is disposed of.
 */
export type CacheMode = 'default' | 'force-cache' | 'only-if-cached' | 'reload' | 'no-store';

/** How files are found and kept. */
export interface StoreOptions extends HubOptions {
  cache?: CacheMode;
  /** Told about every file, many times a second. */
  progress?: (event: ProgressEvent) => void;
}

/** Takes one file's bytes in order. */
export interface Target {
  /** The file begins, of so many bytes if that is known; also when it has to begin again. */
  begin(bytes: number | undefined): void | Promise<void>;
  write(chunk: Uint8Array): void | Promise<void>;
  /** The file is whole and, where its hash is known, the right one. */
  end(): void | Promise<void>;
}

/**
 * Gives the first bytes of another file of the model, piece by piece with the file's length, until `take` says that it
 * has enough.
 */
export type Peek = (name: string, take: (chunk: Uint8Array, bytes: number) => boolean) => Promise<void>;

/** The files of one model that loading asks for. */
export interface Wanted {
  /** Whether the weights are wanted, or the tokenizer alone. */
  weights: boolean;
  /** Whether the modules of sentence-transformers are wanted, where there are some. */
  sentence?: boolean;
  /** Where a file goes; weights come after all texts, and one after the other. */
  target(name: string, peek: Peek): Target | Promise<Target>;
  /** When what says how to read a text has come, whether or not the weights have: the names of these files. */
  tokenizer?(names: readonly string[]): Promise<void>;
  /** Once the first GGUF file has ended: the names of all, where there are several. */
  parts?(): readonly string[];
}

/** The texts that a model may have, beside its weights. */
const texts = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
  'chat_template.json',
] as const;
const tokenizerTexts: readonly string[] = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'chat_template.json',
];
/** What a tokenizer is made of where there is no tokenizer.json. */
const olderTokenizer = [
  'spiece.model',
  'sentencepiece.bpe.model',
  'sentencepiece.model',
  'spm.model',
  'tokenizer.model',
  'source.spm',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'added_tokens.json',
] as const;
const modulesName = 'modules.json';
/** The settings of sentence-transformers, whose file's name told once what the model was. */
const sentenceTexts = [
  'config_sentence_transformers.json',
  'sentence_bert_config.json',
  'sentence_roberta_config.json',
  'sentence_distilbert_config.json',
  'sentence_camembert_config.json',
  'sentence_albert_config.json',
  'sentence_xlm-roberta_config.json',
  'sentence_xlnet_config.json',
] as const;
const pickles = ['pytorch_model.bin', 'pytorch_model.bin.index.json'] as const;
const weightsName = 'model.safetensors';
const indexName = 'model.safetensors.index.json';
const storedIndex = 'index.json';
/** Milliseconds between the progress events of a file. */
const reportEvery = 30;

/** What a model's folder in the cache says of itself. */
interface StoredIndex {
  version: 2;
  /** What the origin said the model consists of. */
  listing: Entry[] | undefined;
  /** What is stored whole. */
  files: Record<string, StoredFile>;
}

interface StoredFile {
  bytes: number;
  /** What the file was verified against, where its origin tells. */
  sha256?: string | undefined;
  tag?: string | undefined;
  /** What it is verified against when it is read again. */
  pieces: string;
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

/** The folders of sentence-transformers' modules, with whether they may hold weights, or an error. */
function moduleFolders(text: string): { path: string; weights: boolean }[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (cause) {
    throw new SottoError('invalid-file', `${modulesName}: ${(cause as Error).message}`, { cause });
  }
  if (!Array.isArray(list) || list.length > 64) {
    throw new SottoError('invalid-file', `${modulesName} must be a list of at most 64 modules.`);
  }
  return list.flatMap((item: { path?: unknown; type?: unknown } | null) => {
    const { path, type } = item ?? {};
    if (typeof path !== 'string' || typeof type !== 'string' || (path !== '' && !folderName.test(path))) {
      throw new SottoError('invalid-file', `${modulesName}: each module must have a type and a folder beside it.`);
    }
    return path === '' ? [] : [{ path, weights: !/\.(Transformer|Pooling|Normalize|Dropout)$/.test(type) }];
  });
}

/** Keeps a text that the loader reads itself, on its way to where it is wanted. */
function keeping(target: Target): Target & { readonly text: string } {
  let text = '';
  let decoder = new TextDecoder();
  return {
    get text() {
      return text;
    },
    begin(bytes) {
      text = '';
      decoder = new TextDecoder();
      return target.begin(bytes);
    },
    write(chunk) {
      text += decoder.decode(chunk, { stream: true });
      return target.write(chunk);
    },
    end() {
      text += decoder.decode();
      return target.end();
    },
  };
}

/** Bytes that are kept for a target that is not there yet. */
const mostHeld = 8 * 2 ** 20;

/** A target that is there later. Meanwhile its bytes are kept, if there are few; else they wait. */
class LaterTarget implements Target {
  readonly #coming: Promise<Target>;
  #settled = false;
  #begun = false;
  #total: number | undefined;
  #held: Uint8Array[] = [];
  #bytes = 0;

  constructor(coming: Promise<Target>) {
    this.#coming = coming;
    const settle = () => {
      this.#settled = true;
    };
    coming.then(settle, settle); // Whoever writes to it is told.
  }

  begin(bytes: number | undefined): void {
    this.#begun = false;
    this.#total = bytes;
    this.#held = [];
    this.#bytes = 0;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#held.push(chunk);
    this.#bytes += chunk.byteLength;
    if (this.#settled || this.#bytes >= mostHeld) await this.#pass();
  }

  async end(): Promise<void> {
    await (await this.#pass()).end();
  }

  async #pass(): Promise<Target> {
    const target = await this.#coming;
    if (!this.#begun) await target.begin(this.#total);
    this.#begun = true;
    const held = this.#held;
    this.#held = [];
    this.#bytes = 0;
    for (const chunk of held) await target.write(chunk);
    return target;
  }
}

/**
 * A target that may find bytes wrong before their hash is known. Its `invalid-file` error waits until then: wrong bytes
 * are fetched again, and only right ones can be to blame.
 */
class PatientTarget implements Target {
  readonly #target: Target;
  #refusal: SottoError | undefined;

  constructor(target: Target) {
    this.#target = target;
  }

  async begin(bytes: number | undefined): Promise<void> {
    this.#refusal = undefined;
    await this.#target.begin(bytes);
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#refusal) return;
    try {
      await this.#target.write(chunk);
    } catch (error) {
      if (!(error instanceof SottoError) || error.code !== 'invalid-file') throw error;
      this.#refusal = error;
    }
  }

  async end(): Promise<void> {
    if (this.#refusal) throw this.#refusal;
    await this.#target.end();
  }
}

/** Bytes of a file that may be ahead of the cache. */
const mostUnstored = 4 * 2 ** 20;

/** Holds back what would be written to the cache. */
interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

function gate(): Gate {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** One file on its way to its target, and into the cache where there is one, which the target does not wait for. */
class Arriving {
  loaded = 0;
  readonly #entry: Entry;
  readonly #target: Target;
  readonly #path: readonly string[];
  readonly #report: (loaded: number, total: number | undefined) => void;
  #cache: FileCache | undefined;
  #digest: FileDigest;
  #total: number | undefined;
  #tag: string | undefined;
  #strong = false;
  #writer: CacheWriter | undefined;
  readonly #gate: Gate;
  #storing: Promise<void>;
  #unstored = 0;
  #tooLong = false;
  #ended = false;

  constructor(
    entry: Entry,
    target: Target,
    cache: FileCache | undefined,
    path: readonly string[],
    gate: Gate,
    report: (loaded: number, total: number | undefined) => void,
  ) {
    this.#entry = entry;
    this.#target = target;
    this.#cache = cache;
    this.#path = path;
    this.#gate = gate;
    this.#storing = gate.opened;
    this.#report = report;
    this.#total = entry.bytes;
    this.#digest = this.#newDigest();
  }

  /** Whether nothing is left to fetch. */
  get whole(): boolean {
    return this.#entry.sha256 !== undefined && this.loaded === this.#total;
  }

  /** Whether it can be told later that the rest belongs to what is here. */
  get resumable(): boolean {
    return this.#entry.sha256 !== undefined || this.#strong;
  }

  /** The tag that the rest must have, where no hash tells. */
  get expectedTag(): string | undefined {
    return this.#entry.sha256 === undefined && this.loaded > 0 ? this.#tag : undefined;
  }

  get short(): boolean {
    return !this.#tooLong && this.#total !== undefined && this.loaded < this.#total;
  }

  #newDigest(): FileDigest {
    return new FileDigest(this.#total, this.#entry.sha256 !== undefined);
  }

  /** What is wrong with the file, as far as it is here. */
  async complaint(): Promise<string | undefined> {
    if (this.#tooLong) return `it has more than ${this.#total} bytes`;
    if (this.short) return `it has ${this.loaded} of ${this.#total} bytes`;
    const { sha256 } = await this.#digest.end();
    return sha256 === this.#entry.sha256 ? undefined : `its SHA-256 is ${sha256}, not ${this.#entry.sha256}`;
  }

  /** Takes up what an earlier visit left in the cache. */
  async takeUp(signal: AbortSignal): Promise<void> {
    const part = await this.#cache?.read(this.#path).catch(() => undefined);
    if (!part) return;
    await this.#target.begin(this.#total);
    try {
      for await (const chunk of chunksOf(part.stream, signal)) if (!(await this.#take(chunk))) break;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SottoError) throw error;
      await this.discard();
    }
    if (this.#tooLong) await this.discard();
  }

  async continueWith(opened: Opened, signal: AbortSignal): Promise<void> {
    this.#tag = opened.tag;
    this.#strong = opened.strong;
    this.#total = this.#entry.bytes ?? opened.bytes;
    if (opened.offset !== this.loaded || this.loaded === 0) await this.restart();
    for await (const chunk of chunksOf(opened.stream, signal)) {
      const at = this.loaded;
      if (!(await this.#take(chunk))) break;
      this.#enqueue(async (cache) => {
        this.#writer ??= await cache.write(this.#path, at);
        await this.#writer.write(chunk as Uint8Array<ArrayBuffer>);
      }, chunk.byteLength);
      if (this.#unstored > mostUnstored) await this.#store();
    }
  }

  /** Begins anew. */
  async restart(): Promise<void> {
    if (this.loaded > 0) {
      await this.#store();
      await this.#writer?.abandon().catch(() => {});
      this.#writer = undefined;
    }
    this.#digest = this.#newDigest();
    this.loaded = 0;
    this.#tooLong = false;
    await this.#target.begin(this.#total);
  }

  /** Begins anew, for what is there is worth nothing. */
  async discard(): Promise<void> {
    await this.restart();
    await this.#cache?.remove(this.#path).catch(() => {});
  }

  /** The file is whole and right. */
  async end(): Promise<void> {
    if (this.loaded === 0) this.#report(0, 0);
    this.#enqueue(async (cache) => {
      this.#writer ??= await cache.write(this.#path, this.loaded);
      await this.#writer.close();
      this.#writer = undefined;
    });
    await this.#target.end();
    this.#ended = true;
  }

  /** After its end: what to note of the file once the gate is open and it is stored, if it can be. */
  async stored(): Promise<StoredFile | undefined> {
    await this.#storing;
    if (!this.#cache) return undefined;
    const { sha256, pieces } = await this.#digest.end();
    if (pieces === undefined) return undefined;
    return { bytes: this.loaded, sha256, tag: this.#entry.tag ?? this.#tag, pieces };
  }

  /** Whatever happened: what was cut off stays in the cache only where a hash can vouch for it later. */
  async leave(): Promise<void> {
    if (this.#ended) return;
    await this.#store();
    if (!this.#writer) return;
    await this.#writer.abandon().catch(() => {});
    if (!this.#entry.sha256) await this.#cache?.remove(this.#path).catch(() => {});
  }

  /** False when the file has become longer than it can be. */
  async #take(chunk: Uint8Array): Promise<boolean> {
    if (this.#total !== undefined && this.loaded + chunk.byteLength > this.#total) {
      this.#tooLong = true;
      return false;
    }
    if (this.#cache || this.#entry.sha256 !== undefined) await this.#digest.update(chunk);
    await this.#target.write(chunk);
    this.loaded += chunk.byteLength;
    this.#report(this.loaded, this.#total);
    return true;
  }

  /** Stores all that has come. */
  #store(): Promise<void> {
    this.#gate.open();
    return this.#storing;
  }

  /** One step after the other, once the gate is open. */
  #enqueue(step: (cache: FileCache) => Promise<void>, bytes = 0): void {
    this.#unstored += bytes;
    this.#storing = this.#storing.then(async () => {
      this.#unstored -= bytes;
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
    });
  }
}

/** Loads one model. Everything it needs is handed in, so that it runs anywhere. */
export class Loader {
  readonly #location: Location;
  readonly #opening: Promise<FileCache | undefined> | FileCache | undefined;
  #cache: FileCache | undefined;
  readonly #mode: CacheMode;
  readonly #signal: AbortSignal;
  readonly #progress: (event: ProgressEvent) => void;
  readonly #counts = new Map<string, { loaded: number; total: number; told?: number }>();
  #index: StoredIndex = { version: 2, listing: undefined, files: {} };
  readonly #gate = gate();
  readonly #storing: Promise<void>[] = [];
  #saving: Promise<void> = Promise.resolve();
  #unsaved = false;

  constructor(
    location: Location,
    cache: Promise<FileCache | undefined> | FileCache | undefined,
    mode: CacheMode,
    signal: AbortSignal,
    progress: (event: ProgressEvent) => void,
  ) {
    this.#location = location;
    this.#opening = mode === 'no-store' ? undefined : cache;
    this.#mode = mode;
    this.#signal = signal;
    this.#progress = progress;
  }

  /** Brings every file that is wanted to its target. `store` comes next. */
  async load(wanted: Wanted): Promise<void> {
    try {
      await this.#bring(wanted);
    } catch (error) {
      await this.store();
      throw error;
    }
  }

  /**
   * Puts what came from elsewhere into the cache. Where that is much, it has begun by itself; a small model is not kept
   * waiting for the disk.
   */
  async store(): Promise<void> {
    this.#gate.open();
    await Promise.all(this.#storing);
    await this.#saving;
  }

  async #bring(wanted: Wanted): Promise<void> {
    this.#signal.throwIfAborted();
    const origin = await originOf(this.#location);
    // The origin is asked while the cache opens, unless what is stored may do.
    const mayDo = this.#mode === 'force-cache' || this.#mode === 'only-if-cached';
    const asking = mayDo ? undefined : origin.list(this.#signal);
    asking?.catch(() => {});
    this.#cache = await this.#opening;
    await this.#readIndex(origin);
    const listing = await this.#list(origin, asking);
    const known = listing && new Map(listing.map((entry) => [entry.name, entry]));
    const has = (name: string) => known === undefined || known.has(name);
    const entry = (name: string): Entry => known?.get(name) ?? { name };
    const peek: Peek = (name, take) => this.#peek(origin, entry(name), take);
    const get: Get = async <T extends Target = Target>(
      name: string,
      wrap?: (target: Target) => T,
      after?: Promise<unknown>,
    ) => {
      // A listing of the Hub does not tell what is in a folder.
      if (!has(name) && !(name.includes('/') && this.#location.kind === 'hub')) return undefined;
      const given = after
        ? new LaterTarget(after.then(() => wanted.target(name, peek)))
        : await wanted.target(name, peek);
      const target = wrap?.(given) ?? (given as T);
      return (await this.#file(origin, entry(name), target)) ? target : undefined;
    };
    const expect = (names: readonly string[]) => {
      for (const name of names) {
        const bytes = known?.get(name)?.bytes;
        if (bytes !== undefined) this.#counts.set(name, { loaded: 0, total: bytes });
      }
    };
    const { gguf } = this.#location;
    if (gguf !== undefined) {
      expect([gguf]);
      await this.#settle([this.#gguf(gguf, wanted, get)]);
      return;
    }
    if (wanted.weights && !has('config.json')) throw this.#absent('config.json', known);
    const wantedTexts = texts.filter((name) => (wanted.weights || tokenizerTexts.includes(name)) && has(name));
    expect(wanted.weights ? [...wantedTexts, weightsName] : wantedTexts);
    const loadings = new Map(wantedTexts.map((name) => [name, get(name)]));
    const config = loadings.get('config.json')?.then((found) => {
      if (!found) throw this.#absent('config.json', known);
    });
    const tokenizer = async () => {
      if (await loadings.get('tokenizer.json')) return;
      const older = await this.#settle(olderTokenizer.map((name) => get(name)));
      if (older.every((found) => found === undefined)) throw this.#absent('tokenizer.json');
      if (!wanted.weights) await get('config.json'); // It says the class where nothing else does.
    };
    const all: Promise<unknown>[] = [...loadings.values()];
    const readable = Promise.all([...loadings.values(), tokenizer()]);
    const read = readable.then(() => wanted.tokenizer?.([...wantedTexts, ...olderTokenizer]));
    // A missing config.json is told before whatever else is missing. What reading a tokenizer takes in passing, the
    // weights take over: they are asked for meanwhile, but reach their target after it.
    if (config && wanted.weights) {
      const before = config.then(() => read.catch(() => {}));
      all.unshift(config, this.#weights(get, has, origin, before));
    }
    all.push(read);
    if (wanted.sentence) all.push(this.#sentence(get));
    await this.#settle(all);
  }

  /** All must have ended before an error goes out: nobody may write to a target afterwards. */
  async #settle<T>(loadings: readonly Promise<T>[]): Promise<T[]> {
    const outcomes = await Promise.allSettled(loadings);
    this.#signal.throwIfAborted();
    return outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  }

  async #weights(get: Get, has: (name: string) => boolean, origin: Origin, before: Promise<unknown>) {
    if (await get(weightsName, undefined, before)) return;
    await before;
    this.#counts.delete(weightsName);
    const index = await get(indexName, keeping);
    if (!index) {
      for (const pickle of pickles) {
        if (!has(pickle)) continue;
        const there = this.#location.kind === 'url' ? await origin.tag(pickle, this.#signal) : pickle;
        if (there !== undefined) throw refusedPickle(pickle);
      }
      throw this.#absent(weightsName);
    }
    for (const name of shardNames(index.text)) if (!(await get(name))) throw this.#absent(name);
  }

  async #gguf(first: string, wanted: Wanted, get: Get) {
    if (!(await get(first))) throw this.#absent(first);
    for (const name of wanted.parts?.() ?? []) {
      if (name !== first && !(await get(name))) throw this.#absent(name);
    }
  }

  async #sentence(get: Get) {
    const modules = await get(modulesName, keeping);
    if (!modules) return;
    const names = moduleFolders(modules.text).flatMap(({ path, weights }) => [
      `${path}/config.json`,
      ...(weights ? [`${path}/${weightsName}`] : []),
    ]);
    await this.#settle([...sentenceTexts, ...names].map((name) => get(name)));
  }

  /** From the cache, where it is there whole; nothing is verified: what comes later is. */
  async #peek(origin: Origin, entry: Entry, take: (chunk: Uint8Array, bytes: number) => boolean): Promise<void> {
    const known = this.#index.files[entry.name];
    const stored =
      origin.key !== undefined && known ? await this.#cache?.read(pathOf(origin.key, entry.name)) : undefined;
    const opened = stored ?? (await origin.open(entry.name, 0, false, this.#signal));
    if (!opened) throw this.#absent(entry.name);
    const bytes = entry.bytes ?? opened.bytes;
    if (bytes === undefined) throw new SottoError('network', `${entry.name}: the server does not tell its length.`);
    for await (const chunk of chunksOf(opened.stream, this.#signal)) if (take(chunk, bytes)) return;
    throw new SottoError('invalid-file', `${entry.name} ends within its header.`);
  }

  #absent(name: string, known?: ReadonlyMap<string, Entry>): SottoError {
    const { kind } = this.#location;
    const where =
      this.#location.kind === 'folder'
        ? ` in ${this.#location.path}`
        : kind === 'files'
          ? ' among the files given'
          : ` at ${(this.#location as { base: string }).base}`;
    const ggufs = [...(known?.keys() ?? [])].filter((other) => other.endsWith('.gguf'));
    let hint = name === weightsName ? ' Sotto reads safetensors and GGUF.' : '';
    if (ggufs.length > 0) hint = ` There are GGUF files: name one of them, as ${ggufs.slice(0, 3).join(', ')}.`;
    return new SottoError('not-found', `There is no ${name}${where}.${hint}`);
  }

  async #readIndex(origin: Origin): Promise<void> {
    if (!this.#cache || origin.key === undefined || this.#mode === 'reload') return;
    const stored = await this.#cache.read([origin.key, storedIndex]).catch(() => undefined);
    if (!stored) return;
    try {
      const index = JSON.parse(await readAll(stored.stream)) as StoredIndex | null;
      if (index?.version === 2 && typeof index.files === 'object') this.#index = index;
    } catch {
      // Then nothing counts as stored.
    }
  }

  /** One write after the other, each of the newest state when it begins. */
  #saveIndex(origin: Origin): void {
    const { key } = origin;
    const cache = this.#cache;
    if (!cache || key === undefined || this.#unsaved) return;
    this.#unsaved = true;
    this.#saving = this.#saving.then(async () => {
      this.#unsaved = false;
      try {
        const writer = await cache.write([key, storedIndex], 0);
        await writer.write(new TextEncoder().encode(JSON.stringify(this.#index)));
        await writer.close();
      } catch {
        // A full disk, or another tab at the same file: the next visit fetches again.
      }
    });
  }

  async #list(origin: Origin, asking: Promise<Entry[] | undefined> | undefined): Promise<Entry[] | undefined> {
    const stored =
      this.#index.listing ?? (Object.keys(this.#index.files).length > 0 ? this.#storedEntries() : undefined);
    if (this.#mode === 'only-if-cached' && origin.from === 'network') {
      if (!stored) throw new SottoError('not-found', 'The model is not stored on this device.');
      return stored;
    }
    if (this.#mode === 'force-cache' && stored) return stored;
    try {
      const listing = await (asking ?? origin.list(this.#signal));
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
    const patient = new PatientTarget(target);
    if (origin.key !== undefined && (await this.#fromCache(origin, origin.key, entry, patient))) return true;
    if (this.#mode === 'only-if-cached' && origin.from === 'network') {
      throw new SottoError('not-found', `${entry.name} is not stored on this device.`);
    }
    return this.#fromOrigin(origin, entry, entry.sha256 === undefined ? target : patient);
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
    const stored = await cache.read(pathOf(key, entry.name)).catch(() => undefined);
    if (stored && want) {
      const digest = new FileDigest(want.bytes, false);
      let loaded = 0;
      await target.begin(want.bytes);
      try {
        for await (const chunk of chunksOf(stored.stream, this.#signal)) {
          loaded += chunk.byteLength;
          if (loaded > want.bytes) break;
          await digest.update(chunk);
          await target.write(chunk);
          this.#report(entry.name, loaded, want.bytes, 'cache');
        }
      } catch (error) {
        this.#signal.throwIfAborted();
        if (error instanceof SottoError) throw error;
        loaded = -1; // The cache broke off.
      }
      if (loaded === want.bytes && (await digest.end()).pieces === want.pieces) {
        await target.end();
        return true;
      }
    }
    // Evicted or damaged.
    delete this.#index.files[entry.name];
    await cache.remove(pathOf(key, entry.name)).catch(() => {});
    return false;
  }

  /**
   * Downloads a file, resuming when the connection breaks, and once more from the start when its hash is wrong. Where
   * the hash is known, a part that an earlier visit left in the cache is taken up.
   */
  async #fromOrigin(origin: Origin, entry: Entry, target: Target): Promise<boolean> {
    const path = origin.key === undefined ? undefined : pathOf(origin.key, entry.name);
    let fresh = this.#mode === 'reload' || this.#mode === 'no-store' || this.#index.files[entry.name] !== undefined;
    const file = new Arriving(entry, target, path && this.#cache, path ?? [], this.#gate, (loaded, total) =>
      this.#report(entry.name, loaded, total, origin.from),
    );
    try {
      if (entry.sha256 && !fresh) await file.takeUp(this.#signal);
      for (let breaks = 0, mismatches = 0; ; ) {
        if (!file.whole) {
          try {
            const opened = await origin.open(entry.name, file.loaded, fresh, this.#signal, file.expectedTag);
            if (!opened) return false;
            await file.continueWith(opened, this.#signal);
          } catch (error) {
            this.#signal.throwIfAborted();
            if (error instanceof SottoError && error.code !== 'network') throw error;
            if (file.loaded === 0 || ++breaks > 3) throw networkError(entry.name, error);
            // Only a hash or a strong tag can tell whether the rest will belong to what is here.
            if (!file.resumable) await file.restart();
            continue;
          }
        }
        const why = await file.complaint();
        if (why === undefined) {
          await file.end();
          this.#storing.push(
            file.stored().then((stored) => {
              if (!stored) return;
              this.#index.files[entry.name] = stored;
              this.#saveIndex(origin);
            }),
          );
          return true;
        }
        if (file.short && origin.from === 'network' && file.loaded > 0 && ++breaks <= 3) {
          if (!file.resumable) await file.restart();
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

/** Brings a file to its target, or gives nothing where there is none. The target is asked for when `after` is done. */
type Get = <T extends Target = Target>(
  name: string,
  wrap?: (target: Target) => T,
  after?: Promise<unknown>,
) => Promise<T | undefined>;

const folderName = /^(?!\.{1,2}$)[^/\\]{1,200}$/;
/** Where the cache has a file. */
const pathOf = (key: string, name: string) => [key, ...name.split('/')];

function refusedPickle(name: string): SottoError {
  return new SottoError(
    'unsupported',
    `The model has only ${name}: PyTorch pickles can run code when they are read, so Sotto never reads them. Take the ` +
      "model's model.safetensors, or write one with transformers: " +
      'AutoModel.from_pretrained(folder).save_pretrained(folder).',
  );
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
