// What every browser test needs: a site of its own, whose server misbehaves on demand, and a page with the library.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import type http from 'node:http';
import { test as base, expect, type Page } from '@playwright/test';
import type * as Sotto from '../../web/index.ts';
import { goldenGguf } from '../web/gguf_file.ts';

/** How the page is served. */
export interface Mode {
  isolate?: boolean;
  csp?: boolean;
}

type Answer = (response: http.ServerResponse, bytes: Buffer) => void;

/** A server, and what it did. */
export interface Site {
  url: string;
  /** Paths that were asked for since the last `forget`. */
  asked: string[];
  forget(): void;
  /** Answers the next `times` requests for a model's file in another way. */
  misbehave(file: string, answer: Answer, times?: number): void;
  /** Every request for a model's file breaks. */
  cutOff(): void;
  /** Opens the page with the library. */
  open(page: Page): Promise<void>;
}

/** tools/serve.mjs, as far as it is used here. */
export type Serve = (options: {
  folder: string;
  isolate: boolean;
  csp: boolean;
  intercept(request: http.IncomingMessage, response: http.ServerResponse, path: string): boolean;
}) => Promise<{ url: string; close(): Promise<void> }>;

const root = new URL('../../', import.meta.url).pathname;
/** The demos as `npm start` serves them. */
export const siteFolder = `${root}build/site/`;

/** A golden model's files, with the manifest that a model folder ships. */
export function modelFiles(name: string): Map<string, Buffer> {
  const folder = `${root}tests/golden/pipelines/${name}/`;
  const names = (readdirSync(folder, { recursive: true }) as string[]).filter((file) => file !== 'cases.json');
  const files = new Map(
    names.filter((file) => statSync(folder + file).isFile()).map((file) => [file, readFileSync(folder + file)]),
  );
  const entries = [...files].map(([file, bytes]) => ({
    name: file,
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }));
  files.set('manifest.json', Buffer.from(JSON.stringify({ files: entries })));
  return files;
}

const models = new Map<string, Map<string, Buffer> | undefined>([
  ['gguf', new Map([...goldenGguf(), ...goldenGguf(3)])], // without a manifest
]);

/** A golden model's files, read once; undefined where there is no such model. */
function known(name: string): Map<string, Buffer> | undefined {
  if (!models.has(name))
    models.set(name, existsSync(`${root}tests/golden/pipelines/${name}`) ? modelFiles(name) : undefined);
  return models.get(name);
}

/** A site with a port, and so an origin, of its own. */
export async function startSite(mode: Mode): Promise<Site & { close(): Promise<void> }> {
  const { serve } = (await import(`${root}tools/serve.mjs`)) as { serve: Serve };
  const asked: string[] = [];
  const tricks: { file: string; answer: Answer; times: number }[] = [];
  let cut = false;
  const intercept = (request: http.IncomingMessage, response: http.ServerResponse, path: string): boolean => {
    if (!path.endsWith('/icon.svg')) asked.push(path); // which the browser fetches when it likes
    // Pages of another origin may have everything.
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
    const [, name = '', file = ''] = /^\/m\/([\w-]+)\/(.+)$/.exec(path) ?? [];
    if (!name) return false;
    if (cut) {
      request.socket.destroy();
      return true;
    }
    const bytes = known(name)?.get(file);
    const trick = tricks.find((item) => item.file === file && item.times > 0);
    if (trick && bytes) {
      trick.times--;
      trick.answer(response, bytes);
    } else if (bytes) {
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
      response.writeHead(start > 0 ? 206 : 200, {
        'Content-Length': bytes.length - start,
        ...(start > 0 ? { 'Content-Range': range } : {}),
      });
      response.end(bytes.subarray(start));
    } else {
      response.writeHead(404).end();
    }
    return true;
  };
  const server = await serve({ folder: root, isolate: mode.isolate ?? false, csp: mode.csp ?? false, intercept });
  return {
    url: server.url,
    asked,
    forget() {
      asked.length = 0;
    },
    misbehave: (file, answer, times = Number.POSITIVE_INFINITY) => void tricks.push({ file, answer, times }),
    cutOff() {
      cut = true;
    },
    async open(page) {
      await page.goto(`${server.url}tests/browser/page.html`);
      expect(await page.evaluate(() => typeof sotto.pipeline)).toBe('function');
    },
    close: () => server.close(),
  };
}

export const test = base.extend<{ mode: Mode; site: Site }>({
  mode: [{}, { option: true }],
  site: async ({ mode }, use) => {
    const site = await startSite(mode);
    await use(site);
    await site.close();
  },
});

export { expect };

declare global {
  /** The library, as page.js puts it there. */
  var sotto: typeof Sotto;
}
