// The sotto command, as a shell sees it: JSON out, one sentence on stderr, and the exit status.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

const golden = 'tests/golden/pipelines';
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'sotto-cli-'));
process.on('exit', () => fs.rmSync(scratch, { recursive: true, force: true }));

function sotto(args, input = '') {
  const { status, stdout, stderr } = spawnSync('build/native/sotto', args, { input, encoding: 'utf8' });
  return { status, stdout, stderr };
}

function json(args, input) {
  const { status, stdout, stderr } = sotto(args, input);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

test('tokenize gives ids, tokens and byte offsets of what it read', () => {
  const text = 'Zürich is cold.';
  const { ids, offsets, tokens } = json(['tokenize', '--model', `${golden}/text-generation`], text);
  assert.equal(ids.length, tokens.length);
  assert.equal(ids.length, offsets.length);
  assert.equal(offsets[0][0], 0);
  assert.equal(offsets.at(-1)[1], Buffer.byteLength(text));
});

test('tokenize --lines gives one JSON a line, and --no-special leaves the special tokens out', () => {
  const lines = ['--model', `${golden}/fill-mask`, '--lines'];
  const rows = (args) =>
    sotto(['tokenize', ...lines, ...args], 'one line\nanother\n')
      .stdout.trim()
      .split('\n')
      .map((row) => JSON.parse(row));
  const [whole, bare] = [rows([]), rows(['--no-special'])];
  assert.equal(whole.length, 2);
  assert.deepEqual(whole[0].tokens, ['[CLS]', ...bare[0].tokens, '[SEP]']);
});

test('logits have the shape of the vocabulary', () => {
  const { shape, data } = json(['logits', '--model', 'tests/golden/models/gpt2', '--ids', '1,2,3']);
  assert.deepEqual(shape, [1, 3, 97]);
  assert.equal(data.length, 3 * 97);
});

test('run gives what the pipeline gives, for a text and for JSON', () => {
  const { cases } = JSON.parse(fs.readFileSync(`${golden}/text-classification/cases.json`, 'utf8'));
  const model = ['--model', `${golden}/text-classification`];
  const [{ input, output }] = cases;
  const [plain] = json(['run', 'text-classification', ...model], `${input}\n`);
  assert.equal(plain.label, output[0].label);
  assert.ok(Math.abs(plain.score - output[0].score) < 1e-4);
  assert.deepEqual(json(['run', 'sentiment-analysis', ...model], JSON.stringify([input])), [plain]);
  assert.equal(json(['run', 'text-classification', ...model, '--set', 'top_k=3'], input).length, 3);
});

test('quantize writes a smaller model that still runs', () => {
  const from = 'models/sotto-write';
  for (const to of ['f32', 'q8']) {
    const { status, stderr } = sotto(['quantize', '--model', from, '--to', to, '--out', path.join(scratch, to)]);
    assert.equal(status, 0, stderr);
  }
  const bytes = (name) => fs.statSync(path.join(scratch, name, 'model.safetensors')).size;
  assert.ok(bytes('q8') < 0.3 * bytes('f32'));
  const written = json(
    ['run', 'text-generation', '--model', path.join(scratch, 'q8'), '--set', 'max_new_tokens=8'],
    'Once',
  );
  assert.match(written[0].generated_text, /^Once ./);
});

test('a failure is one sentence on stderr and status 1', () => {
  for (const args of [
    ['logits', '--model', path.join(scratch, 'nowhere'), '--ids', '1'],
    ['logits', '--model', 'tests/golden/models/gpt2', '--ids', '97'],
    ['run', 'fill-mask', '--model', `${golden}/text-classification`],
    ['train', path.join(scratch, 'no-recipe.json'), '--out', scratch],
  ]) {
    const { status, stdout, stderr } = sotto(args, 'text');
    assert.equal(status, 1, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, /^sotto: .+\n$/);
  }
});

test('a wrong command line is status 2', () => {
  for (const args of [
    [],
    ['dance'],
    ['tokenize'],
    ['tokenize', '--modle', 'x'],
    ['logits', '--model'],
    ['run', '--model', golden],
    ['logits', '--model', 'tests/golden/models/gpt2', '--ids', 'one'],
  ]) {
    assert.equal(sotto(args).status, 2, args.join(' '));
  }
  assert.equal(sotto(['--help']).status, 0);
});
