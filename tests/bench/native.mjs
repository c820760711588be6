#!/usr/bin/env node
// Speed outside the browser: Sotto's forward_bench and onnxruntime-node on the same shapes, taking turns, each run in a
// process of its own.
//   node tests/bench/native.mjs [--threads 1,2] [--rounds 3] [--budget 500] [--all] [words that a case's name must have ...]
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cases } from './cases.mjs';
import { runnerOf } from './engines/onnxruntime.js';
import { shapes } from './models.mjs';
import { onnxModel } from './onnx.mjs';
import { printTables } from './table.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    budget: { type: 'string', default: '500' },
    all: { type: 'boolean', default: false },
    run: { type: 'string' }, // in a process of its own: one measurement of onnxruntime-node, as JSON
  },
});
const budget = Number(options.budget);

async function onnxRuntime({ model, precision, work, threads }) {
  const require = createRequire(`${root}tests/bench/peers/`);
  const ort = require('onnxruntime-node');
  const session = await ort.InferenceSession.create(onnxModel(model, precision, work), {
    intraOpNumThreads: threads,
    graphOptimizationLevel: 'all',
  });
  const runner = runnerOf(ort, session, shapes[model]);
  const once = () => {
    if (work.kind === 'decode') return runner.decode(work.context, work.steps).then((ms) => ms / work.steps);
    return runner[work.kind](work.tokens, work.batch);
  };
  const first = await once();
  const times = [];
  for (const end = performance.now() + budget; times.length < 3 || performance.now() < end; ) times.push(await once());
  return { first, times };
}

if (options.run) {
  console.log(JSON.stringify(await onnxRuntime(JSON.parse(options.run))));
  process.exit(0);
}

const program = `${root}build/native/tests/forward_bench`;
if (!fs.existsSync(program)) {
  console.error('build/native/tests/forward_bench is missing: npm run bench native builds it.');
  process.exit(2);
}
const output = (command, args) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const engines = {
  sotto(c) {
    const line = output(program, [String(c.threads), options.budget, c.name])
      .trim()
      .split('\n')[0];
    if (!line) return undefined; // a case that it does not have
    const { ms, target } = JSON.parse(line);
    return { times: [ms], variant: target };
  },
  'onnxruntime-node': (c) =>
    JSON.parse(
      output(process.execPath, [import.meta.filename, '--budget', options.budget, '--run', JSON.stringify(c)]),
    ),
};
if (!fs.existsSync(`${root}tests/bench/peers/node_modules/onnxruntime-node`)) {
  console.error('(onnxruntime-node is not installed: npm run bench peers)');
  delete engines['onnxruntime-node'];
}

const results = [
  {
    kind: 'setting',
    browser: 'native',
    tier: 'none',
    processor: os.cpus()[0]?.model,
    cores: os.cpus().length,
    commit: '-',
    rounds: options.rounds,
  },
];
for (const threads of options.threads.split(',').map(Number)) {
  for (const c of cases) {
    if (!['encode', 'prompt', 'decode'].includes(c.work.kind) || c.model === 'tiny-bert' || c.work.batch > 1) continue;
    if (wanted.length > 0 ? !wanted.every((part) => c.name.includes(part)) : !options.all && c.set !== 'default')
      continue;
    for (let round = 0; round < Number(options.rounds); ++round) {
      for (const [engine, measure] of Object.entries(engines)) {
        const found = await measure({ ...c, threads });
        if (!found) continue;
        const line = { kind: 'run', case: c.name, engine, threads, round, browser: 'native', ...found };
        console.log(JSON.stringify(line));
        results.push(line);
      }
    }
  }
}
printTables(results);
