// The digest by which a stored file is known again. The browser's own SHA-256 is several times faster than any script's and
// runs beside it, but takes its bytes whole: so a file is digested in pieces, and then the pieces' digests are.
import { hex } from './origins.ts';

const pieceBytes = 4 * 2 ** 20;

/** SHA-256 over the SHA-256 digests of a file's pieces of 4 MiB, the last one shorter. */
export class PiecesDigest {
  readonly #digests: Uint8Array[] = [];
  #piece: Uint8Array[] = [];
  #bytes = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** Takes the next bytes, which must stay as they are; waits as long as an earlier piece is not done. */
  async update(chunk: Uint8Array): Promise<void> {
    for (let from = 0; from < chunk.byteLength; ) {
      const part = chunk.subarray(from, from + pieceBytes - this.#bytes);
      this.#piece.push(part);
      this.#bytes += part.byteLength;
      from += part.byteLength;
      if (this.#bytes === pieceBytes) await this.#close();
    }
  }

  /** The digest in hexadecimal; nothing may follow. */
  async end(): Promise<string> {
    await this.#close();
    await this.#last;
    return hex(await sha256(joined(this.#digests)));
  }

  async #close(): Promise<void> {
    await this.#last;
    this.#last = sha256(joined(this.#piece)).then((digest) => this.#digests.push(digest));
    this.#piece = [];
    this.#bytes = 0;
  }
}

const sha256 = async (bytes: Uint8Array<ArrayBuffer>) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));

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
