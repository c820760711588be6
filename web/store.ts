/**
 * Where a model is:
 * - a folder's address, as `URL`, or as text that begins with a scheme, `/`, `./` or `../` or ends with `/` (relative to
 *   the page); in Node also a path;
 * - `owner/name` on the Hugging Face Hub;
 * - the folder's files, as picked in an `<input type="file" multiple>` or dropped.
 */
export type ModelSource = string | URL | Iterable<File>;

/** How far loading has come. */
export interface Progress {
  file: string;
  /** Bytes of the file that are there, and that there will be. */
  loaded: number;
  total: number | undefined;
  from: 'network' | 'cache' | 'file';
  /** The same over all files. The total is unknown as long as that of any file is. */
  overall: { loaded: number; total: number | undefined };
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
  progress?: (progress: Progress) => void;
}
