#!/usr/bin/env node
// Speed in the browser: Sotto and its peers on the same synthetic models, alternating, each run in a fresh page.
//   node tests/bench/run.mjs [options] [words that a case's name must have ...]
// README.md beside this file says what is measured, and how to read it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { brotliCompressSync } from 'node:zlib';
import { chromium, firefox } from '@playwright/test';
import { transform } from 'esbuild';
import config from '../../playwright.config.mjs';
import { serve } from '../../tools/serve.mjs';
import { cases } from './cases.mjs';
import { ggufModel } from './gguf.mjs';
import { shapes, sottoModel } from './models.mjs';
import { onnxModel } from './onnx.mjs';
import { printTables } from './table.mjs';
import { tfliteModel } from './tflite.mjs';
import { textFile, tokenizerFolder } from './tokenizers.mjs';

const root = new URL('../../', import.meta.url).pathname;
const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    browser: { type: 'string', default: 'chromium' },
    engines: { type: 'string', default: 'sotto,onnxruntime-web,litert,wllama,huggingface-tokenizers,kitoken' },
    threads: { type: 'string' }, // default: what each case says
    rounds: { type: 'string', default: '3' },
    budget: { type: 'string', default: '500' }, // milliseconds of running in a round
    tier: { type: 'string', default: 'dynamic' }, // of V8: dynamic, liftoff, turbofan
    variant: { type: 'string', default: 'relaxed' }, // 'simd': as Sotto runs where there is no relaxed SIMD
    all: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});

const tiers = {
  dynamic: [],
  liftoff: ['--js-flags=--liftoff-only'],
  turbofan: ['--js-flags=--no-liftoff'],
};

function fail(message) {
  console.error(message);
  process.exit(2);
}
const oneOf = (name, known) => {
  if (!known.includes(options[name])) fail(`--${name} is one of ${known.join(', ')}, not '${options[name]}'.`);
};
oneOf('browser', ['chromium', 'firefox']);
oneOf('tier', Object.keys(tiers));
oneOf('variant', ['relaxed', 'simd']);
if (options.browser === 'firefox' && options.tier !== 'dynamic') fail('--tier is about Chromium.');
const rounds = Number(options.rounds);
const budget = Number(options.budget);
if (!(rounds >= 1 && budget >= 1)) fail('--rounds and --budget are numbers from 1 on.');

// ---- Which engines and cases.

const packages = {
  'onnxruntime-web': 'onnxruntime-web',
  litert: '@litertjs/core',
  wllama: '@wllama/wllama',
  'huggingface-tokenizers': '@huggingface/tokenizers',
  kitoken: 'kitoken',
};
const peers = `${root}tests/bench/peers/node_modules/`;
const engines = options.engines.split(',');
for (const engine of engines) {
  if (engine !== 'sotto' && !packages[engine])
    fail(`There is no engine '${engine}': sotto, ${Object.keys(packages).join(', ')}.`);
}
const installed = engines.filter((engine) => {
  const there = engine === 'sotto' || fs.existsSync(`${peers}${packages[engine]}`);
  if (!there) console.error(`(${engine} is not installed: npm run bench peers)`);
  return there;
});

const listed = cases.filter((c) => {
  if (wanted.length > 0) return wanted.every((part) => c.name.includes(part));
  return options.all || c.set === 'default';
});
const planned = listed.flatMap((c) =>
  (options.threads ? options.threads.split(',').map(Number) : c.threads).map((threads) => ({ ...c, threads })),
);
if (options.list) {
  for (const c of planned) console.log(`${c.name}, threads ${c.threads}: ${c.engines.join(', ')}`);
  process.exit(0);
}
if (planned.length === 0) fail(`No case has '${wanted.join("' and '")}' in its name: --list shows all.`);

// ---- What each engine needs on disk, made where it is missing.

const address = (file) => `/${file.slice(root.length)}`;
const sizeOf = (file) => fs.statSync(file).size;

/** {url, file_bytes, ...}: what an engine opens for a case; undefined where it cannot be had. */
function prepared(engine, { model, precision, work, threads }) {
  const shape = shapes[model] ?? {};
  const variant = engine === 'sotto' && options.variant === 'simd' ? `simd${threads > 1 ? '-threads' : ''}` : undefined;
  if (work.kind === 'tokenize') {
    const at = tokenizerFolder(work.tokenizer);
    return at && { url: address(at), variant, file_bytes: sizeOf(`${at}tokenizer.json`) };
  }
  if (engine === 'sotto') {
    if (work.kind === 'product') return { precision, variant };
    const task =
      work.kind === 'start' ? 'text-classification' : shape.kind === 'bert' ? 'feature-extraction' : 'text-generation';
    const at = work.kind === 'start' ? `${root}models/sotto-sentiment` : sottoModel(model, precision);
    const cache = work.kind === 'start' ? 'default' : 'no-store';
    return { url: `${address(at)}/`, task, cache, variant, file_bytes: sizeOf(`${at}/model.safetensors`) };
  }
  if (engine === 'litert') {
    const timed = work.kind === 'start' ? { kind: 'encode', tokens: 16 } : work;
    const { file, rows, columns } = tfliteModel(model, precision, timed);
    return { url: address(file), rows, columns, file_bytes: sizeOf(file) };
  }
  const file = engine === 'wllama' ? ggufModel(model, precision) : onnxModel(model, precision, work);
  return { ...shape, url: address(file), file_bytes: sizeOf(file) };
}

// ---- The server: this repository, isolated, its TypeScript with the types taken away.

const typescript = (request, response, path) => {
  // Modules name each other as they will be built.
  const file = `${root}${path.slice(1).replace(/\.js$/, '.ts')}`;
  if (!path.startsWith('/demos/bench/') || path.includes('..') || !fs.existsSync(file)) return false;
  transform(fs.readFileSync(file, 'utf8'), { loader: 'ts', format: 'esm' }).then(
    ({ code }) => response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(code),
    (error) => response.writeHead(500).end(String(error)),
  );
  return request.method === 'GET';
};

const out = options.out ?? `${root}build/bench/results-${new Date().toISOString().replace(/[:.]/g, '-')}.jsonl`;
fs.mkdirSync(`${root}build/bench`, { recursive: true });
const results = [];
function report(line) {
  results.push(line);
  fs.appendFileSync(out, `${JSON.stringify(line)}\n`);
}

const server = await serve({ folder: root, isolate: true, intercept: typescript });
/** Serves a page that is isolated from nothing, as most are. */
const ordinary = await serve({ folder: root });
const { use } = config.projects.find((project) => project.name === options.browser);
const args = [...(use.launchOptions.args ?? []), ...tiers[options.tier]];
const browser = await { chromium, firefox }[options.browser].launch({
  ...use.launchOptions,
  args,
  channel: use.channel,
});

const commit = (() => {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
})();
const setting = {
  browser: `${options.browser} ${browser.version()}`,
  tier: options.tier,
  commit,
  processor: os.cpus()[0]?.model ?? 'unknown',
  cores: os.cpus().length,
};
report({ kind: 'setting', ...setting, date: new Date().toISOString(), rounds, budget });
console.error(`${setting.browser}, V8's tier ${options.tier}, ${setting.processor}; lines go to ${out}`);

// ---- Memory of the page's process, as the kernel counts it: Chromium on Linux alone tells which process that is.

let cdp;
if (options.browser === 'chromium' && os.platform() === 'linux') cdp = await browser.newBrowserCDPSession();
async function renderers() {
  if (!cdp) return [];
  const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
  return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
}
const kilobytes = (id, key) => {
  try {
    return Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${id}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
};
const resident = (ids, key) => ids.reduce((sum, id) => sum + 1024 * kilobytes(id, key), 0);

// ---- One run.

async function openPage(context) {
  const page = await context.newPage();
  await page.addInitScript({ path: `${root}tests/bench/memory.js` });
  page.on('pageerror', (error) => console.error(`  ${error.message}`));
  await page.goto(`${server.url}tests/bench/page.html`);
  return page;
}

const brotliSizes = new Map();
function brotliSize(file) {
  if (!brotliSizes.has(file)) brotliSizes.set(file, brotliCompressSync(fs.readFileSync(file)).length);
  return brotliSizes.get(file);
}

/** Bytes of script and WebAssembly that a page downloads, raw and as brotli would send them. */
async function downloads(page, run) {
  const found = new Set();
  const note = (response) => {
    const { pathname } = new URL(response.url());
    // The benchmark's own scripts are none of the engine's.
    if (!/\.(js|mjs|wasm)$/.test(pathname) || /^\/tests\/bench\/(page|memory|engines\/)/.test(pathname)) return;
    if (fs.existsSync(`${root}${pathname.slice(1)}`)) found.add(`${root}${pathname.slice(1)}`);
  };
  page.context().on('response', note);
  const result = await run();
  page.context().off('response', note);
  const sum = (sizes) => sizes.reduce((a, b) => a + b, 0);
  const files = [...found];
  return { ...result, page_bytes: sum(files.map(sizeOf)), page_brotli_bytes: sum(files.map(brotliSize)) };
}

async function once(c, engine, model) {
  const { threads, work } = c;
  const context = await browser.newContext();
  try {
    if (work.kind === 'start') {
      const page = await context.newPage();
      const address = `${ordinary.url}tests/bench/start.html#${encodeURIComponent(JSON.stringify({ engine, model }))}`;
      const visit = () =>
        downloads(page, async () => {
          await page.waitForTimeout(500); // the browser still makes this page, or clears the one before away
          await Promise.all([
            page.waitForEvent('console', (message) => message.text() === 'started'),
            page.goto(address, { waitUntil: 'commit' }),
          ]);
          return page.evaluate(() => globalThis.started);
        });
      const first = await visit();
      if (work.visit === 'first') return first;
      await page.waitForTimeout(500); // a visitor stays so long; what is stored meanwhile, is there next time
      await page.goto('about:blank');
      const { page_bytes, page_brotli_bytes, ...second } = await visit();
      return second;
    }
    if (work.kind === 'load') {
      const before = await openPage(context);
      await before.evaluate((what) => globalThis.prepareLoad(what), { engine, model });
      await before.close();
      const page = await openPage(context);
      return await page.evaluate((what) => globalThis.load(what), { engine, model, threads });
    }
    const old = new Set(await renderers());
    const page = await openPage(context);
    const mine = (await renderers()).filter((id) => !old.has(id));
    const empty = resident(mine, 'VmRSS');
    const timed = { ...work, ...(work.kind === 'tokenize' ? { url: address(textFile(work.text).file) } : {}) };
    const result = await page.evaluate((what) => globalThis.bench(what), {
      engine,
      model,
      threads,
      work: timed,
      budget,
    });
    if (mine.length > 0) result.peak_bytes = resident(mine, 'VmHWM') - empty;
    return result;
  } finally {
    await context.close();
  }
}

const limitNames = [
  ['relaxed-dot', 0],
  ['relaxed-madd', 0],
  ['i16-dot', 0],
  ['mul-add', 0],
  ['read', 16],
  ['read', 512],
];
async function measureLimits(threads) {
  const context = await browser.newContext();
  const page = await openPage(context);
  const limits = {};
  for (const [limit, megabytes] of limitNames) {
    const rate = await page.evaluate(
      async ([limit, bytes, threads]) => {
        const { limitOf } = await import('/demos/bench/limits.js');
        return limitOf(limit, { bytes, threads, milliseconds: bytes > 2 ** 28 ? 600 : 200 });
      },
      [limit, megabytes * 2 ** 20, threads],
    );
    if (rate !== undefined) limits[megabytes ? `${limit} ${megabytes} MB` : limit] = rate;
  }
  await context.close();
  report({ kind: 'limits', threads, ...setting, ...limits });
}

// ---- All of them, the engines taking turns.

/** A page that has broken down may never answer. */
const tooLong = () =>
  new Promise((_, reject) => {
    setTimeout(() => reject(new Error('no answer in three minutes')), 180_000).unref();
  });

let failures = 0;
try {
  const threadCounts = new Set(planned.map((c) => c.threads));
  for (const threads of threadCounts) await measureLimits(threads);
  for (const c of planned) {
    const running = installed.filter((engine) => c.engines.includes(engine));
    const models = new Map();
    for (const engine of running) {
      const model = prepared(engine, c);
      if (model) models.set(engine, model);
    }
    if (models.size === 0) {
      console.error(`${c.name}: its tokenizer is not at hand (SOTTO_FIXTURES)`);
      continue;
    }
    process.stderr.write(`${c.name}, ${c.threads === 1 ? 'one thread' : `${c.threads} threads`}:`);
    for (let round = 0; round < rounds; ++round) {
      for (const [engine, model] of models) {
        const base = { kind: 'run', case: c.name, engine, threads: c.threads, round, ...setting };
        try {
          const result = await Promise.race([once(c, engine, model), tooLong()]);
          report({ ...base, ...result, file_bytes: model.file_bytes });
          process.stderr.write(
            ` ${engine} ${[...result.times].sort((a, b) => a - b)[result.times.length >> 1].toPrecision(3)}`,
          );
        } catch (error) {
          ++failures;
          models.delete(engine);
          report({ ...base, error: error.message.split('\n')[0] });
          process.stderr.write(` ${engine} FAILED (${error.message.split('\n')[0]})`);
        }
      }
    }
    process.stderr.write('\n');
  }
  // Once more: whatever else the machine did, the better of the two is nearer to its limit.
  for (const threads of threadCounts) await measureLimits(threads);
} finally {
  await browser.close();
  await server.close();
  await ordinary.close();
}
printTables(results, planned);
if (failures > 0) {
  console.error(`${failures} runs failed.`);
  process.exitCode = 1;
}
