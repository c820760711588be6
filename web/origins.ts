// Where models come from: a folder or a GGUF file on the web, on the Hub, on disk, or in the user's hands. Says what is
// there and opens it; verifies and keeps nothing.
import { sha256 } from '@noble/hashes/sha2.js';
import { hex } from './digest.ts';
import { SottoError } from './error.ts';
import { isNode } from './variants.ts';

/**
 * Where a model is:
 * - a folder's address, as `URL`, or as text that begins with a scheme, `/`, `./` or `../` or ends with `/` (relative to
 *   the page); in Node also a path;
 * - `owner/name` on the Hugging Face Hub;
 * - the folder's files, as picked in an `<input type="file" multiple>` (or `webkitdirectory`) or dropped;
 * - a GGUF file, in each of these ways: its address, `owner/name/file.gguf`, or the file (of a model in several files,
 *   the name of any of them, or all files).
 *
 * A folder may have a `manifest.json`, `{"files": [{"name", "bytes", "sha256"}]}`: then every file is verified, and a
 * download that broke is resumed.
 */
export type ModelSource = string | URL | Iterable<File>;

/** How the Hub is asked. */
export interface HubOptions {
  /** The Hub, or a mirror of it (default `https://huggingface.co`). */
  hub?: string | URL;
  /** The Hub's branch, tag or commit (default `main`). */
  revision?: string;
}

/**
 * A source that any thread can open: what `ModelSource` becomes before it crosses to the worker. With `gguf` the model is
 * that file of the folder; without, the folder itself.
 */
export type Location = (
  | { kind: 'url'; base: string }
  | { kind: 'hub'; base: string; listing: string }
  | { kind: 'files'; files: readonly File[] }
  | { kind: 'folder'; path: string }
) & { gguf?: string };

const hubName = /^([\w.-]+\/(?![\w.-]*\.gguf$)[\w.-]+)(?:\/([\w.-]+\.gguf))?$/;

/** Of a model in several GGUF files the first, whichever was named. */
const firstPart = (name: string) => name.replace(/-\d{5}-of-(\d{5}\.gguf)$/, '-00001-of-$1');
/** What follows the last slash, where that is a GGUF file, and what is before. */
function splitGguf(address: string): { base: string; gguf?: string } {
  if (!address.endsWith('.gguf')) return { base: address };
  const at = address.lastIndexOf('/') + 1;
  return { base: address.slice(0, at) || './', gguf: firstPart(address.slice(at)) };
}

/** The GGUF file among files without a config.json. */
function ggufAmong(files: readonly File[]): { gguf?: string } {
  const names = files.map(({ name }) => name);
  if (names.includes('config.json')) return {};
  const [first, ...others] = new Set(names.filter((name) => name.endsWith('.gguf')).map(firstPart));
  if (others.length > 0) {
    throw new SottoError('invalid-argument', `These are several models: ${[first, ...others].join(', ')}. Give one.`);
  }
  return first === undefined ? {} : { gguf: first };
}

/** Reads a source; relative addresses are relative to `base`, that of the page. */
export function locate(source: ModelSource, options: HubOptions, base: string | undefined): Location {
  if (typeof source !== 'string' && !(source instanceof URL)) {
    const files = [...source];
    if (files.length === 0) throw new SottoError('invalid-argument', 'No files were given.');
    return { kind: 'files', files, ...ggufAmong(files) };
  }
  const text = String(source);
  const [, repository, gguf] = hubName.exec(text) ?? [];
  if (typeof source === 'string' && repository !== undefined && !/^\.{1,2}\//.test(text)) {
    const hub = String(options.hub ?? 'https://huggingface.co').replace(/\/+$/, '');
    const revision = encodeURIComponent(options.revision ?? 'main');
    return {
      kind: 'hub',
      base: `${hub}/${repository}/resolve/${revision}/`,
      listing: `${hub}/api/models/${repository}/tree/${revision}`,
      ...(gguf === undefined ? {} : { gguf: firstPart(gguf) }),
    };
  }
  if (isNode && !/^(https?|data|blob):/i.test(text)) {
    const path = text.startsWith('file:') ? decodeURIComponent(new URL(text).pathname) : text;
    const { base: folder, gguf } = splitGguf(path);
    return { kind: 'folder', path: folder, ...(gguf === undefined ? {} : { gguf }) };
  }
  try {
    const url = new URL(text, base);
    url.hash = '';
    if (url.pathname.endsWith('.gguf')) {
      const { base: folder, gguf = '' } = splitGguf(url.pathname);
      return { kind: 'url', base: new URL(folder, url).href, gguf: decodeURIComponent(gguf) };
    }
    if (!url.pathname.endsWith('/')) url.pathname += '/';
    return { kind: 'url', base: url.href };
  } catch (cause) {
    throw new SottoError('invalid-argument', `'${text}' is neither an address nor a name on the Hub.`, { cause });
  }
}

/** One file of a model, as far as it is known. */
export interface Entry {
  name: string;
  bytes?: number | undefined;
  sha256?: string | undefined;
  /** Changes when the file does. */
  tag?: string | undefined;
}

/** A file on its way. */
export interface Opened {
  stream: ReadableStream<Uint8Array>;
  /** Of the whole file, where it is known. */
  bytes: number | undefined;
  /** Where the stream begins: 0 if the asked-for offset could not be had. */
  offset: number;
  tag: string | undefined;
  /** Whether an equal tag means equal bytes. */
  strong: boolean;
}

/** A place that has a model. */
export interface Origin {
  readonly from: 'network' | 'file';
  /** Names the model in the cache; undefined: not worth storing. */
  readonly key: string | undefined;
  /** What the model consists of, or undefined where nobody says. Throws a `network` error without a network. */
  list(signal: AbortSignal): Promise<Entry[] | undefined>;
  /** Undefined when there is no such file. From the beginning where it has another tag than the one expected. */
  open(name: string, offset: number, fresh: boolean, signal: AbortSignal, tag?: string): Promise<Opened | undefined>;
  /** A sign that changes when the file does; undefined: unknown. */
  tag(name: string, signal: AbortSignal): Promise<string | undefined>;
}

/** A file of the same folder. */
export const plainName = /^[^/\\]{1,200}$/;
/** A file of the same folder, or of one within it. */
const memberName = /^(?!\.{1,2}(\/|$))[^/\\]{1,200}(\/(?!\.{1,2}$)[^/\\]{1,200})?$/;

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
      !memberName.test(name) ||
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

  async open(
    name: string,
    offset: number,
    fresh: boolean,
    signal: AbortSignal,
    tag?: string,
  ): Promise<Opened | undefined> {
    const headers: HeadersInit = offset > 0 ? { Range: `bytes=${offset}-` } : {};
    const response = await this.#get(name, { headers, cache: fresh ? 'reload' : 'default' }, signal);
    if (!response) return undefined;
    const range = /^bytes (\d+)-\d*\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
    const start = response.status === 206 ? Number(range?.[1] ?? Number.NaN) : 0;
    if (start !== 0 && tag !== undefined && tag !== tagOf(response.headers)) {
      await response.body?.cancel();
      return this.open(name, 0, true, signal);
    }
    if (start !== 0 && start !== offset) throw new SottoError('network', `${this.#base}${name}: a wrong range came.`);
    // The length of an encoded body says nothing about the file.
    const length = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
    const stream = response.body ?? new Blob().stream();
    return {
      stream,
      bytes: length === null ? undefined : start + Number(length),
      offset: start,
      tag: tagOf(response.headers),
      strong: response.headers.get('etag')?.startsWith('"') ?? false,
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
    const address = new URL(name.split('/').map(encodeURIComponent).join('/'), this.#base).href;
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
    return file && { stream: file.stream(), bytes: file.size, offset: 0, tag: undefined, strong: false };
  }

  async tag(): Promise<undefined> {}
}

/** A folder on Node's disk, with the folders in it. */
async function folderFiles(path: string): Promise<Map<string, Blob>> {
  const fs = process.getBuiltinModule('node:fs');
  const prefix = path.endsWith('/') ? path : `${path}/`;
  try {
    const names = fs.readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
      if (!entry.isDirectory()) return [entry.name];
      const inside = fs.readdirSync(prefix + entry.name, { withFileTypes: true });
      return inside.filter((file) => file.isFile()).map(({ name }) => `${entry.name}/${name}`);
    });
    return new Map(await Promise.all(names.map(async (name) => [name, await fs.openAsBlob(prefix + name)] as const)));
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

/** A picked file's name; of a picked folder the path within it. */
const pickedName = ({ name, webkitRelativePath }: File) => webkitRelativePath?.replace(/^[^/]*\//, '') || name;

/** The place that a location names. */
export async function originOf(location: Location): Promise<Origin> {
  if (location.kind === 'url') return new WebOrigin(location.base);
  if (location.kind === 'hub') return new WebOrigin(location.base, location.listing);
  if (location.kind === 'folder') return new FilesOrigin(await folderFiles(location.path));
  const picked = new Map(location.files.map((file) => [pickedName(file), file]));
  if (picked.size < location.files.length) {
    const names = location.files.map(pickedName);
    const twice = names.find((name, i) => names.indexOf(name) < i);
    throw new SottoError('invalid-argument', `Two of the files are called ${twice}.`);
  }
  return new FilesOrigin(picked);
}
