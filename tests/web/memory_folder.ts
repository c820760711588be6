// A folder of the origin's private file system that lives in memory: the interface that browsers have, with a disk that
// can be full and files that can vanish or rot.

/** What the disk does beyond keeping files. */
export interface Disk {
  /** Bytes it can still take. */
  room: number;
  /** Whether files offer synchronous access, as in workers. */
  synchronous: boolean;
}

class MemoryFile {
  readonly kind = 'file';
  readonly name: string;
  readonly createSyncAccessHandle: (() => Promise<unknown>) | undefined;
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array();
  #locked = false;
  readonly #disk: Disk;

  constructor(name: string, disk: Disk) {
    this.name = name;
    this.#disk = disk;
    if (disk.synchronous) this.createSyncAccessHandle = () => this.#access();
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  async getFile(): Promise<File> {
    return new File([this.#bytes], this.name);
  }

  #write(chunk: Uint8Array, at: number): number {
    const grown = new Uint8Array(Math.max(this.#bytes.length, at + chunk.length));
    if (grown.length - this.#bytes.length > this.#disk.room) throw new DOMException('Full.', 'QuotaExceededError');
    this.#disk.room -= grown.length - this.#bytes.length;
    grown.set(this.#bytes);
    grown.set(chunk, at);
    this.#bytes = grown;
    return chunk.length;
  }

  #truncate(bytes: number): void {
    this.#disk.room += Math.max(0, this.#bytes.length - bytes);
    this.#bytes = this.#bytes.slice(0, bytes);
  }

  async #access() {
    if (this.#locked) throw new DOMException('Taken.', 'NoModificationAllowedError');
    this.#locked = true;
    return {
      write: (chunk: Uint8Array, { at }: { at: number }) => this.#write(chunk, at),
      truncate: (bytes: number) => this.#truncate(bytes),
      flush() {},
      close: () => {
        this.#locked = false;
      },
    };
  }

  async createWritable({ keepExistingData }: { keepExistingData: boolean }) {
    if (!keepExistingData) this.#truncate(0);
    let at = 0;
    return {
      truncate: async (bytes: number) => this.#truncate(bytes),
      seek: async (offset: number) => {
        at = offset;
      },
      write: async (chunk: Uint8Array) => {
        at += this.#write(chunk, at);
      },
      close: async () => {},
    };
  }
}

/** The folder; cast it to FileSystemDirectoryHandle. */
export class MemoryFolder {
  readonly kind = 'directory';
  readonly #disk: Disk;
  readonly #entries = new Map<string, MemoryFolder | MemoryFile>();

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<MemoryFolder> {
    const found = this.#entries.get(name);
    if (found instanceof MemoryFolder) return found;
    if (!create) throw new DOMException(name, 'NotFoundError');
    const made = new MemoryFolder(this.#disk);
    this.#entries.set(name, made);
    return made;
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<MemoryFile> {
    const found = this.#entries.get(name);
    if (found instanceof MemoryFile) return found;
    if (!create) throw new DOMException(name, 'NotFoundError');
    const made = new MemoryFile(name, this.#disk);
    this.#entries.set(name, made);
    return made;
  }

  async removeEntry(name: string): Promise<void> {
    if (!this.#entries.delete(name)) throw new DOMException(name, 'NotFoundError');
  }

  /** The file of that name in any folder below. */
  find(name: string): MemoryFile | undefined {
    for (const [key, entry] of this.#entries) {
      const found = entry instanceof MemoryFolder ? entry.find(name) : key === name ? entry : undefined;
      if (found) return found;
    }
    return undefined;
  }

  /** Makes a file vanish, as a browser short of room may. */
  evict(name: string): void {
    for (const [key, entry] of this.#entries) {
      if (entry instanceof MemoryFolder) entry.evict(name);
      else if (key === name) this.#entries.delete(key);
    }
  }
}
