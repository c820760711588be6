// What the design says about who may know whom, checked in the sources.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const root = path.resolve(import.meta.dirname, '../..');
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .trim()
  .split('\n')
  .filter((file) => fs.existsSync(path.join(root, file)));
const read = (file) => fs.readFileSync(path.join(root, file), 'utf8');
const isCxx = (file) => /\.(h|cc|inc)$/.test(file);

/** The rooms that each room includes directly; what those include, it may include too. */
const arrows = {
  base: [],
  tensor: ['base'],
  kernels: ['tensor'],
  ops: ['kernels'],
  nn: ['ops'],
  io: ['base', 'tensor'],
  text: ['base'],
  models: ['nn', 'io'],
  run: ['models', 'text'],
  train: ['models', 'text'],
  cli: ['run', 'train'],
  wasm: ['run', 'train'],
};

/** A room and all that it may include. */
function reach(room) {
  return new Set([room, ...arrows[room].flatMap((next) => [...reach(next)])]);
}

/** The room of a file, or undefined outside core and wasm. */
function roomOf(file) {
  return /^core\/(\w+)\//.exec(file)?.[1] ?? (file.startsWith('wasm/') ? 'wasm' : undefined);
}

/** Every match of a pattern, as 'file:line: text'. */
function matches(candidates, pattern) {
  return candidates.flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}: ${line.trim().slice(0, 120)}`] : [])),
  );
}

test('rooms include only what their arrows allow', () => {
  const wrong = [];
  for (const file of files.filter((name) => isCxx(name) && roomOf(name))) {
    const room = roomOf(file);
    assert.ok(arrows[room], `${file} is in a room that the design does not know`);
    const allowed = reach(room);
    for (const [, included] of read(file).matchAll(/^\s*#\s*include\s+"((?:core|wasm|tests)\/[^"]+)"/gm)) {
      if (!allowed.has(roomOf(included))) wrong.push(`${file} includes ${included}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('the check of includes sees a forbidden one', () => {
  assert.ok(reach('models').has('base'));
  assert.ok(!reach('models').has('text'));
  assert.ok(!reach('run').has('train'));
  assert.equal(roomOf('core/text/bpe.h'), 'text');
});

test('project includes are written from the root of the tree', () => {
  const local = /^\s*#\s*include\s+"(?!(core|wasm|tests|hwy|gtest|gmock|rapidjson|benchmark|emscripten)\/)/;
  assert.deepEqual(
    matches(
      files.filter((file) => isCxx(file) && roomOf(file)),
      local,
    ),
    [],
  );
});

test('only the kernels name SIMD', () => {
  const simd = /#\s*include\s*[<"](hwy\/|\w*mmintrin|wasm_simd128|arm_neon)/;
  const others = files.filter((file) => isCxx(file) && roomOf(file) && roomOf(file) !== 'kernels');
  assert.deepEqual(matches(others, simd), []);
});

test('the core neither throws nor prints to iostreams', () => {
  const banned = /#\s*include\s*<(iostream|fstream|sstream|stdexcept)>|\b(throw|try)\b\s*[^;]*[{;]\s*$/;
  const code = files.filter((file) => isCxx(file) && roomOf(file));
  assert.deepEqual(
    matches(code, banned).filter((line) => !/:\s*\d*:?\s*(\/\/|\*)/.test(line)),
    [],
  );
});

test('C++ sources are ASCII', () => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is the point
  assert.deepEqual(matches(files.filter(isCxx), /[^\x00-\x7F]/), []);
});

test('a header is guarded by its own path', () => {
  for (const file of files.filter((name) => name.endsWith('.h') && roomOf(name))) {
    if (read(file).includes('HWY_TARGET_TOGGLE')) continue; // read once for each target
    const guard = `SOTTO_${file.replace(/[^A-Za-z0-9]/g, '_').toUpperCase()}_`;
    assert.ok(read(file).includes(`#ifndef ${guard}\n#define ${guard}\n`), `${file} has no guard ${guard}`);
  }
});

test('the library does not know the demos, and the demos know only its public face', () => {
  const scripts = (folder) => files.filter((file) => file.startsWith(`${folder}/`) && /\.(ts|js|mjs|html)$/.test(file));
  assert.deepEqual(matches(scripts('web'), /from\s+['"][^'"]*demos\//), []);
  assert.deepEqual(matches(scripts('demos'), /(from|import\()\s*['"][^'"]*(web|wasm|dist)\//), []);
});

const isText = (file) => /\.(h|cc|inc|mjs|js|ts|json|sh|cmake|txt|md|html|css|py|yml)$/.test(file);
const isData = (file) => /^(models|tests\/(golden|fuzz|malformed))\/.*\.(json|txt|jsonl)$/.test(file);
const prose = files.filter((file) => isText(file) && !isData(file));

test('no file names a path of some machine', () => {
  const places = ['work', 'tmp', 'root', 'home', 'Users'].join('|');
  assert.deepEqual(matches(prose, new RegExp(`(^|[\\s"'\`=(:])/(${places})/\\w`)), []);
});

test('no file is left unfinished', () => {
  const marks = ['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|');
  assert.deepEqual(
    matches(
      prose.filter((file) => file !== 'package-lock.json'),
      new RegExp(`\\b(${marks})\\b`),
    ),
    [],
  );
});

test('names say what is inside', () => {
  const vague = /(^|[/_-])(utils?|helpers?|common|misc|manager)([/_.-]|$)/i;
  assert.deepEqual(
    files.filter((file) => vague.test(file)),
    [],
  );
});
