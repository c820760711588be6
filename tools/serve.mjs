// A static file server for the demos and the browser tests: right types, ranges, and on request the
// headers of an isolated page or of one with a strict Content-Security-Policy. For one's own
// machine: it is not hardened for the world.
//   node tools/serve.mjs [FOLDER] [--port N] [--isolate] [--csp]
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.md': 'text/markdown; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
};

const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
const policy = { 'Content-Security-Policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'" };

/** The file that a URL path names, or undefined when it is outside the folder or absent. */
function resolve(folder, urlPath) {
  let decoded;
  try {
    decoded = decodeURIComponent(urlPath);
  } catch {
    return undefined;
  }
  const file = path.join(folder, path.normalize(`/${decoded}`));
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (stat?.isDirectory()) {
    // A page's relative links need the slash.
    if (!decoded.endsWith('/')) return { redirect: `${urlPath}/` };
    return resolve(folder, `${urlPath}index.html`);
  }
  return stat && { file, size: stat.size, modified: stat.mtime };
}

/** `bytes=a-b` within a size, as [first, last]; undefined to send everything, null when unsatisfiable. */
function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (!match[1] && !match[2])) return undefined;
  const first = match[1] ? Number(match[1]) : Math.max(0, size - Number(match[2]));
  const last = match[1] && match[2] ? Math.min(Number(match[2]), size - 1) : size - 1;
  return first <= last ? [first, last] : null;
}

function answer(request, response, { folder, headers, intercept }) {
  const urlPath = new URL(request.url, 'http://localhost').pathname;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (intercept?.(request, response, urlPath)) return;
  if (request.method !== 'GET' && request.method !== 'HEAD') return response.writeHead(405).end();
  const found = resolve(folder, urlPath);
  if (!found) return response.writeHead(404, { 'Content-Type': 'text/plain' }).end(`No ${urlPath} here.`);
  if (found.redirect) return response.writeHead(301, { Location: found.redirect }).end();
  const etag = `"${found.size.toString(16)}-${found.modified.getTime().toString(16)}"`;
  response.setHeader('Content-Type', types[path.extname(found.file)] ?? 'application/octet-stream');
  response.setHeader('Cache-Control', 'no-cache');
  response.setHeader('ETag', etag);
  response.setHeader('Accept-Ranges', 'bytes');
  if (request.headers['if-none-match'] === etag) return response.writeHead(304).end();
  const range = parseRange(request.headers.range, found.size);
  if (range === null) return response.writeHead(416, { 'Content-Range': `bytes */${found.size}` }).end();
  const [start, end] = range ?? [0, found.size - 1];
  if (range) response.setHeader('Content-Range', `bytes ${start}-${end}/${found.size}`);
  response.writeHead(range ? 206 : 200, { 'Content-Length': end - start + 1 });
  if (request.method === 'HEAD' || found.size === 0) return response.end();
  fs.createReadStream(found.file, { start, end })
    .on('error', () => response.destroy())
    .pipe(response);
}

/**
 * Serves a folder on localhost; the next free port is taken when `port` is in use (0: any).
 * `intercept(request, response, path)` may answer first, and then returns true: for tests that need
 * a broken server. Resolves to {url, port, close()}.
 */
export async function serve({ folder, port = 0, isolate = false, csp = false, intercept } = {}) {
  const headers = { ...(isolate ? isolation : {}), ...(csp ? policy : {}) };
  const options = { folder: path.resolve(folder), headers, intercept };
  const server = http.createServer((request, response) => answer(request, response, options));
  for (let candidate = port; ; ++candidate) {
    const error = await new Promise((done) => {
      server.once('error', done);
      server.listen(candidate, 'localhost', () => {
        server.off('error', done);
        done(undefined);
      });
    });
    if (!error) break;
    if (error.code !== 'EADDRINUSE' || candidate >= port + 50) throw error;
  }
  const bound = server.address().port;
  const close = () =>
    new Promise((done) => {
      server.close(done);
      server.closeAllConnections();
    });
  return { url: `http://localhost:${bound}/`, port: bound, close };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const args = process.argv.slice(2);
  const at = args.indexOf('--port');
  const port = at < 0 ? 8080 : Number(args.splice(at, 2)[1]);
  const folder = args.find((arg) => !arg.startsWith('--')) ?? 'build/site';
  const server = await serve({ folder, port, isolate: args.includes('--isolate'), csp: args.includes('--csp') });
  console.log(server.url);
}
