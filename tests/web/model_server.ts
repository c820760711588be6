// A server of one model folder whose behaviour a test can change while it runs.
import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What was asked of the server. */
export interface Asked {
  method: string;
  name: string;
  range: string | undefined;
}

/** A running server. */
export class ModelServer {
  readonly files = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly asked: Asked[] = [];
  /** Answers instead of the server when it gives true. */
  intercept: ((asked: Asked, response: http.ServerResponse) => boolean) | undefined;
  /** Whether a manifest.json of the files as they are now is served. */
  manifest = true;
  /** The folder's address, once started. */
  url = '';
  readonly #server = http.createServer((request, response) => this.#answer(request, response));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/model/`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  /** How often a file's content was asked for. */
  count(name: string): number {
    return this.asked.filter((asked) => asked.name === name && asked.method === 'GET').length;
  }

  makeManifest(): string {
    const files = [...this.files].map(([name, bytes]) => ({
      name,
      bytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    }));
    return JSON.stringify({ files });
  }

  /** A file's entity tag. */
  tag(name: string): string {
    return `"${createHash('md5')
      .update(this.files.get(name) ?? '')
      .digest('hex')}"`;
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const name = decodeURIComponent((request.url ?? '').replace(/^\/model\//, ''));
    const asked = { method: request.method ?? '', name, range: request.headers.range };
    this.asked.push(asked);
    if (this.intercept?.(asked, response)) return;
    const bytes = name === 'manifest.json' && this.manifest ? Buffer.from(this.makeManifest()) : this.files.get(name);
    if (!bytes) {
      response.writeHead(404).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(asked.range ?? '')?.[1] ?? 0);
    if (start > 0) response.setHeader('Content-Range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
    response.setHeader('ETag', `"${createHash('md5').update(bytes).digest('hex')}"`);
    response.writeHead(start > 0 ? 206 : 200, { 'Content-Length': bytes.length - start });
    response.end(request.method === 'HEAD' ? undefined : bytes.subarray(start));
  }
}

/** Sends the first part of a file, and then nothing or a broken connection. */
export function breakAfter(
  response: http.ServerResponse,
  bytes: Uint8Array,
  sent: number,
  then: 'hang' | 'break',
  tag?: string,
): void {
  response.writeHead(200, { 'Content-Length': bytes.length, ...(tag === undefined ? {} : { ETag: tag }) });
  response.write(bytes.subarray(0, sent), () => {
    // Time for the reader to take what was sent.
    if (then === 'break') setTimeout(() => response.destroy(), 50);
  });
}
