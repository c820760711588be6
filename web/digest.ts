// Digests of files. The browser's own SHA-256 is many times faster than any script's and runs beside it, but it takes its
// bytes whole and is there in secure contexts only. So a file is known again by the digests of its pieces; its plain
// SHA-256, where that is asked for, comes from the script unless the file is one piece.
import { sha256 as script } from '@noble/hashes/sha2.js';

const pieceBytes = 4 * 2 ** 20;
const subtle = (globalThis as { crypto?: Crypto }).crypto?.subtle as SubtleCrypto | undefined;

/** Digests in hexadecimal. */
export interface Digests {
  /** The SHA-256 of the file, where it was asked for. */
  sha256: string | undefined;
  /** SHA-256 over the SHA-256 digests of the file's pieces of 4 MiB, the last one shorter; where the browser computes it. */
  pieces: string | undefined;
}

/** Digests one file as its bytes come. */
export class FileDigest {
  readonly #plain: boolean;
  readonly #script: ReturnType<typeof script.create> | undefined;
  readonly #digests: Uint8Array<ArrayBuffer>[] = [];
  /** The piece under way. One buffer serves them all: the browser copies what it digests, and fresh memory is slow. */
  #piece: Uint8Array<ArrayBuffer>;
  #bytes = 0;
  #last: Promise<unknown> = Promise.resolve();
  #ended: Promise<Digests> | undefined;

  /** `bytes`: how many there will be at most, where that is known; `plain`: the file's SHA-256 is wanted. */
  constructor(bytes: number | undefined, plain: boolean) {
    this.#plain = plain;
    const onePiece = subtle && bytes !== undefined && bytes <= pieceBytes;
    if (plain && !onePiece) this.#script = script.create();
    this.#piece = new Uint8Array(subtle ? Math.min(bytes ?? pieceBytes, pieceBytes) : 0);
  }

  /** Takes the next bytes; waits as long as an earlier piece is not done. */
  async update(chunk: Uint8Array): Promise<void> {
    this.#script?.update(chunk);
    for (let from = 0; subtle && from < chunk.byteLength; ) {
      const part = chunk.subarray(from, from + pieceBytes - this.#bytes);
      if (this.#bytes + part.byteLength > this.#piece.byteLength) {
        // more than there should be
        const piece = new Uint8Array(pieceBytes);
        piece.set(this.#piece.subarray(0, this.#bytes));
        this.#piece = piece;
      }
      this.#piece.set(part, this.#bytes);
      this.#bytes += part.byteLength;
      from += part.byteLength;
      if (this.#bytes === pieceBytes) await this.#closePiece();
    }
  }

  /** No more bytes come. */
  end(): Promise<Digests> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<Digests> {
    if (this.#bytes > 0 || this.#digests.length === 0) await this.#closePiece();
    await this.#last;
    const [first] = this.#digests;
    const sha256 = this.#script?.digest() ?? (this.#plain ? first : undefined);
    const pieces = subtle && script(joined(this.#digests)); // a few bytes: sooner done here than sent elsewhere
    return { sha256: sha256 && hex(sha256), pieces: pieces && hex(pieces) };
  }

  async #closePiece(): Promise<void> {
    await this.#last;
    if (!subtle) return;
    const digested = digestOf(subtle, this.#piece.subarray(0, this.#bytes));
    this.#last = digested.then((digest) => this.#digests.push(digest));
    this.#bytes = 0;
  }
}

const digestOf = async (subtle: SubtleCrypto, bytes: Uint8Array<ArrayBuffer>) =>
  new Uint8Array(await subtle.digest('SHA-256', bytes));

/** Bytes as a hash is written. */
export const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** The pieces as one. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.byteLength;
  }
  return all;
}
