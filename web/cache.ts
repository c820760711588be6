// Where files are kept: the origin's private file system, or the Cache API where there is none. A cache is a hint: whoever
// reads from it verifies what it reads.
import { isNode } from './variants.ts';

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
