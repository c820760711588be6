#!/usr/bin/env node
// Speed in the browser: Sotto and its peers on the same synthetic models, alternating, each run in a fresh page.
//   node tests/bench/run.mjs [--browser chromium|firefox] [--threads 1,2] [--rounds 3] [--engines sotto,...] [case name parts ...]
// Prints one JSON line a measurement and a table of medians with the ratio to each peer. The peers are installed
// by `npm ci` in tests/bench/peers; those that are not there are left out.
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { chromium, firefox } from '@playwright/test';
import config from '../../playwright.config.mjs';
import { serve } from '../../tools/serve.mjs';
import { ggufModel } from './gguf.mjs';
import { shapes, sottoModel } from './models.mjs';
import { onnxModel } from './onnx.mjs';

const root = new URL('../../', import.meta.url).pathname;
const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    browser: { type: 'string', default: 'chromium' },
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    engines: { type: 'string', default: 'sotto,onnxruntime-web,wllama' },
  },
});

const makers = { sotto: sottoModel, 'onnxruntime-web': onnxModel, wllama: ggufModel };
const packages = { 'onnxruntime-web': 'onnxruntime-web', wllama: '@wllama/wllama' };
const there = (engine) =>
  engine === 'sotto' || fs.existsSync(`${root}tests/bench/peers/node_modules/${packages[engine]}`);
const engines = options.engines
  .split(',')
  .filter((engine) => there(engine) || console.error(`(${engine} is not installed)`));

// What is measured, in tokens/s where text is made or read, else in milliseconds.
const cases = [];
const encode = (model, precision, lengths) => {
  for (const tokens of lengths)
    cases.push({ model, precision, work: { kind: 'encode', tokens }, engines: ['sotto', 'onnxruntime-web'] });
};
encode('minilm-l6', 'q8', [16, 64, 128, 512]);
encode('minilm-l6', 'f32', [16, 128, 512]);
encode('bert-base', 'q8', [16, 128, 512]);
encode('bert-base', 'f32', [128]);
for (const [model, names] of [
  ['gpt2', ['sotto', 'onnxruntime-web']],
  ['llama-15m', ['sotto', 'onnxruntime-web', 'wllama']],
]) {
  for (const tokens of [128, 512])
    cases.push({ model, precision: 'q8', work: { kind: 'prompt', tokens }, engines: names });
  for (const context of [128, model === 'gpt2' ? 960 : 1000])
    cases.push({ model, precision: 'q8', work: { kind: 'decode', context, steps: 32 }, engines: names });
}
for (const c of cases) c.name = `${c.model} ${c.precision} ${c.work.kind} ${c.work.tokens ?? c.work.context}`;

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

const server = await serve({ folder: root, isolate: true });
const { use } = config.projects.find((project) => project.name === options.browser);
const browser = await { chromium, firefox }[options.browser].launch({ ...use.launchOptions, channel: use.channel });
const table = [];
try {
  for (const threads of options.threads.split(',').map(Number)) {
    for (const c of cases) {
      if (wanted.length > 0 && !wanted.every((part) => c.name.includes(part))) continue;
      const running = c.engines.filter((engine) => engines.includes(engine));
      const found = Object.fromEntries(running.map((engine) => [engine, []]));
      for (let round = 0; round < Number(options.rounds); ++round) {
        for (const engine of running) {
          makers[engine](c.model, c.precision);
          const page = await browser.newPage();
          page.on('pageerror', (error) => console.error(`${engine}: ${error.message}`));
          await page.goto(`${server.url}tests/bench/page.html`);
          const task = c.work.kind === 'encode' ? 'feature-extraction' : 'text-generation';
          const model = { ...shapes[c.model], name: c.model, precision: c.precision, task };
          const result = await page.evaluate((what) => globalThis.bench(what), {
            engine,
            model,
            threads,
            work: c.work,
          });
          await page.close();
          console.log(JSON.stringify({ case: c.name, engine, threads, browser: options.browser, round, ...result }));
          found[engine].push(result);
        }
      }
      table.push({
        name: c.name,
        threads,
        ms: Object.fromEntries(running.map((e) => [e, median(found[e].map((r) => r.median))])),
        work: c.work,
      });
    }
  }
} finally {
  await browser.close();
  await server.close();
}

const speed = ({ kind, tokens }, ms) =>
  kind === 'encode' ? `${ms.toFixed(1)} ms` : `${(((kind === 'prompt' ? tokens : 1) * 1000) / ms).toFixed(0)} tok/s`;
console.log(
  `\n| case | threads | ${engines.join(' | ')} | times as fast as ${engines.slice(1).join(', ')} |\n|---|---|${'---|'.repeat(engines.length + 1)}`,
);
for (const row of table) {
  const cells = engines.map((engine) => (engine in row.ms ? speed(row.work, row.ms[engine]) : ''));
  const ratios = engines
    .slice(1)
    .map((engine) => (engine in row.ms ? (row.ms[engine] / row.ms.sotto).toFixed(2) : '-'));
  console.log(`| ${row.name} | ${row.threads} | ${cells.join(' | ')} | ${ratios.join(', ')} |`);
}
