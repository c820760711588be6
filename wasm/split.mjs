// Cuts a linked module in two: what most pages call, and the rest, which the first call of any of it brings in (later.js
// says how). Which functions are the rest is told by their source, or by their name.
//   node split.mjs MODULE.wasm WASM_SPLIT NM --objects FILE... --later SOURCE_OR_PATTERN...
// MODULE.wasm.orig, with its functions' names, becomes MODULE.wasm and MODULE.later.wasm. The objects and archives are
// all that were linked. A source is named like "io/gguf.cc": the functions that it alone defines are cut off. A pattern
// is a regular expression of mangled names: "/Backward/". Anything else is a function of a library, by its whole name.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

const [module, wasmSplit, nm, ...lists] = process.argv.slice(2);
const between = lists.indexOf('--later');
const [objects, later] = [lists.slice(1, between), lists.slice(between + 1)];
const patterns = later.filter((name) => name.startsWith('/')).map((name) => new RegExp(name.slice(1, -1)));
const sources = new Set(later.filter((name) => name.endsWith('.cc')));
const others = later.filter((name) => !/[/.]/.test(name));

const listed = execFileSync(nm, ['--defined-only', '-A', ...objects], { encoding: 'utf8', maxBuffer: 2 ** 28 });
const laterOnly = new Map(); // function → whether no other source defines it
const seen = new Set();
for (const line of listed.split('\n')) {
  const symbol = /(?:libsotto_(\w+)\.a:)?([^/:]+)\.o: \w+ [TtWw] (.+)$/.exec(line);
  if (!symbol) continue;
  const [, room, file, name] = symbol;
  const source = room ? `${room}/${file}` : file;
  seen.add(source);
  // What reads numbers is everyone's, also where the object of a caller has it inlined: the linker may take the function
  // around it from another object, which calls it.
  const cut = !/from_chars/.test(name) && (sources.has(source) || patterns.some((pattern) => pattern.test(name)));
  laterOnly.set(name, cut && laterOnly.get(name) !== false);
}
for (const name of others) laterOnly.set(name, true);
const linked = fs.readFileSync(`${module}.orig`);
const unknown = [
  ...[...sources].filter((source) => !seen.has(source)),
  ...others.filter((name) => !linked.includes(name)),
];
if (unknown.length > 0) throw new Error(`Nothing that was linked is ${unknown.join(', ')}.`);

const names = `${module}.later.txt`;
fs.writeFileSync(names, [...laterOnly].flatMap(([name, cut]) => (cut ? [`${name}\n`] : [])).join(''));
// Functions that are not in the module, being inlined or unused, are warned of.
const secondary = module.replace(/\.wasm$/, '.later.wasm');
const features = [
  'simd',
  'relaxed-simd',
  'threads',
  'bulk-memory',
  'sign-ext',
  'nontrapping-float-to-int',
  'mutable-globals',
].map((feature) => `--enable-${feature}`);
execFileSync(
  wasmSplit,
  [
    `${module}.orig`,
    ...features,
    '--strip-debug',
    `--split-funcs=@${names}`,
    '--import-namespace=primary',
    '--export-prefix=%',
    '-o1',
    module,
    '-o2',
    secondary,
  ],
  { stdio: ['ignore', 'inherit', 'pipe'] },
);
// Functions of the same code, and small ones with one caller, had to stay apart until now.
for (const half of [module, secondary]) {
  const again = ['-Os', '--one-caller-inline-max-function-size=30', half, '-o', half];
  execFileSync(wasmSplit.replace(/wasm-split(?=[^/]*$)/, 'wasm-opt'), [...features, ...again]);
}
