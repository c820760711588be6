// Turns the lines of a run into tables: `node tests/bench/table.mjs FILE.jsonl ...` prints those of earlier runs.
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';
import { cases, shareOfLimit } from './cases.mjs';

const sorted = (list) => [...list].sort((a, b) => a - b);
const median = (list) => {
  const s = sorted(list);
  return s.length % 2 ? s[s.length >> 1] : (s[s.length / 2 - 1] + s[s.length / 2]) / 2;
};

/** What people count, from milliseconds: [number, unit]; `less` where a smaller one is better. */
function counted({ kind, m, k, n, tokens }, ms) {
  switch (kind) {
    case 'product':
      return [(2 * m * k * n) / ms / 1e6, 'GOP/s'];
    case 'prompt':
      return [(tokens * 1000) / ms, 'tok/s'];
    case 'decode':
      return [1000 / ms, 'tok/s'];
    case 'tokenize':
      return [1000 / ms, 'MB/s'];
    default:
      return [ms, 'ms'];
  }
}

const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
const show = (work, ms) => {
  const [value, unit] = counted(work, ms);
  return `${digits(value)} ${unit}`;
};
const percent = (part) => `${Math.round(100 * part)} %`;
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

function print(title, head, rows) {
  if (rows.length === 0) return;
  const line = (cells) => `| ${cells.join(' | ')} |`;
  console.log(`\n## ${title}\n`);
  console.log([line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n'));
}

/** The medians of an engine's rounds, for a case: {ms, spread, first, runs}. */
export function summaryOf(lines) {
  const good = lines.filter((line) => line.times?.length > 0);
  if (good.length === 0) return undefined;
  const rounds = good.map((line) => median(line.times));
  const ms = median(rounds);
  const firsts = good.map((line) => line.first).filter((first) => first !== undefined);
  return {
    ms,
    // Half of what lies between the best round and the worst.
    spread: (Math.max(...rounds) - Math.min(...rounds)) / 2 / ms,
    first: firsts.length > 0 ? median(firsts) : undefined,
    variant: good[0].variant,
    lines: good,
  };
}

const limitKeys = ['relaxed-dot', 'relaxed-madd', 'i16-dot', 'mul-add', 'read 16 MB', 'read 512 MB'];

/** Prints what the lines of one run (one setting) say. */
export function printTables(lines, known = cases) {
  const setting = lines.find((line) => line.kind === 'setting');
  const limits = {};
  for (const line of lines.filter((line) => line.kind === 'limits')) {
    limits[line.threads] ??= { ...line };
    const best = limits[line.threads];
    for (const key of limitKeys) if (line[key] > (best[key] ?? 0)) best[key] = line[key];
  }
  const runs = lines.filter((line) => line.kind === 'run');
  const byName = new Map(known.map((c) => [c.name, c]));
  const engines = [...new Set(runs.map((line) => line.engine))];
  const peers = engines.filter((engine) => engine !== 'sotto');
  const keys = [...new Set(runs.map((line) => `${line.case}\n${line.threads}`))];
  const found = keys.map((key) => {
    const [name, threads] = key.split('\n');
    const mine = runs.filter((line) => line.case === name && line.threads === Number(threads));
    const of = (engine) => summaryOf(mine.filter((line) => line.engine === engine));
    return { c: byName.get(name), threads: Number(threads), engines: new Map(engines.map((e) => [e, of(e)])) };
  });

  if (setting) {
    const { browser, tier, processor, cores, commit, rounds } = setting;
    console.log(`\n${browser}; V8's tier: ${tier}; ${processor}, ${cores} cores; commit ${commit}; ${rounds} rounds`);
  }
  const rate = (limit, key) => (limit[key] === undefined ? '-' : digits(limit[key]));
  print(
    'Limits of this machine in WebAssembly (GOP/s; reading: GB/s)',
    ['threads', ...limitKeys],
    Object.values(limits).map((limit) => [limit.threads, ...limitKeys.map((key) => rate(limit, key))]),
  );

  const speedRow = ({ c, threads, engines: of }) => {
    const sotto = of.get('sotto');
    const limit = limits[threads];
    const share =
      sotto && limit ? shareOfLimit(c, sotto.ms, limit, sotto.variant?.startsWith('relaxed') ?? true) : undefined;
    return [
      c.name,
      threads,
      sotto ? show(c.work, sotto.ms) : '-',
      sotto ? `\u00b1${percent(sotto.spread)}` : '-',
      sotto?.first === undefined ? '-' : show(c.work, sotto.first),
      share === undefined ? '-' : percent(share),
      ...peers.map((peer) => {
        const other = of.get(peer);
        if (!other) return '-';
        return `${show(c.work, other.ms)}${sotto ? ` (\u00d7${digits(other.ms / sotto.ms)})` : ''}`;
      }),
    ];
  };
  print(
    'Speed: medians once warm; in brackets how many times as fast Sotto is',
    ['case', 'threads', 'sotto', 'spread', 'first call', 'of the limit', ...peers],
    found.filter(({ c }) => c && !['load', 'start'].includes(c.work.kind)).map(speedRow),
  );
  print(
    "Loading from the origin's private file system; from navigation to the first result",
    ['case', 'threads', 'sotto', 'spread', ...peers],
    found
      .filter(({ c }) => c && ['load', 'start'].includes(c.work.kind))
      .map((row) => speedRow(row).filter((_, i) => i !== 4 && i !== 5)),
  );

  const two = found.flatMap(({ c, threads, engines: of }) => {
    if (threads === 1) return [];
    const one = found.find((row) => row.c === c && row.threads === 1);
    if (!one) return [];
    const times = engines.map((e) =>
      one.engines.get(e) && of.get(e) ? one.engines.get(e).ms / of.get(e).ms : undefined,
    );
    return [[c.name, threads, ...times.map((times) => (times === undefined ? '-' : `\u00d7${digits(times)}`))]];
  });
  print('Threads: how many times as fast as one', ['case', 'threads', ...engines], two);

  const memory = new Map();
  for (const line of runs) {
    const c = byName.get(line.case);
    if (!c?.model || !line.wasm_bytes || !line.file_bytes || line.threads !== 1) continue;
    const key = `${c.model} ${c.precision}`;
    if (!memory.has(key)) memory.set(key, new Map());
    const of = memory.get(key);
    if (!of.has(line.engine)) of.set(line.engine, { file: line.file_bytes, loaded: [], most: 0, peak: 0 });
    const entry = of.get(line.engine);
    if (line.loaded_bytes) entry.loaded.push(line.loaded_bytes);
    entry.most = Math.max(entry.most, line.wasm_bytes);
    entry.peak = Math.max(entry.peak, line.peak_bytes ?? 0);
  }
  print(
    'Memory in MB, and as multiples of the file: WebAssembly after loading, at most; the process at its peak',
    ['model', 'engine', 'file', 'after loading', 'at most', 'process'],
    [...memory].flatMap(([model, of]) =>
      [...of].map(([engine, { file, loaded, most, peak }]) => {
        const times = (bytes) => (bytes > 0 ? `${megabytes(bytes)} (\u00d7${digits(bytes / file)})` : '-');
        return [model, engine, megabytes(file), times(loaded.length ? median(loaded) : 0), times(most), times(peak)];
      }),
    ),
  );

  const pages = new Map();
  for (const line of runs) if (line.page_bytes) pages.set(line.engine, line);
  print(
    'Scripts and WebAssembly that a page downloads, in kB',
    ['engine', 'raw', 'brotli'],
    [...pages].map(([engine, line]) => [
      engine,
      (line.page_bytes / 1000).toFixed(0),
      (line.page_brotli_bytes / 1000).toFixed(0),
    ]),
  );
  const failed = runs.filter((line) => line.error);
  print(
    'Failed',
    ['case', 'threads', 'engine', 'why'],
    failed.map(({ case: name, threads, engine, error }) => [name, threads, engine, error]),
  );
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  for (const file of process.argv.slice(2)) {
    const lines = fs.readFileSync(file, 'utf8').trim().split('\n');
    printTables(lines.map((line) => JSON.parse(line)));
  }
}
