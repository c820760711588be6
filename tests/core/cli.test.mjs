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

test('logits give hidden states, attentions and log-probabilities where asked', () => {
  const ids = [1, 2, 3, 4];
  const model = ['--model', 'tests/golden/models/gpt2', '--ids', ids.join(',')];
  const plain = json(['logits', ...model]);
  assert.deepEqual(Object.keys(plain), ['shape', 'data']);
  const all = json(['logits', ...model, '--hidden', '--attentions', '--logprobs']);
  assert.deepEqual(all.data, plain.data);
  assert.deepEqual(
    all.hidden_states.map(({ shape }) => shape),
    Array(3).fill([1, 4, 36]),
  );
  assert.deepEqual(
    all.attentions.map(({ shape }) => shape),
    Array(2).fill([1, 3, 4, 4]),
  );
  for (const { data } of all.attentions) {
    for (let row = 0; row < data.length; row += 4) {
      const sum = data.slice(row, row + 4).reduce((a, b) => a + b);
      assert.ok(Math.abs(sum - 1) < 1e-5);
    }
  }
  assert.deepEqual(all.logprobs.shape, [1, 3]);
  for (const [t, logprob] of all.logprobs.data.entries()) {
    const row = plain.data.slice(t * 97, (t + 1) * 97);
    const expected = row[ids[t + 1]] - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    assert.ok(Math.abs(logprob - expected) < 1e-4);
  }
});

test('logits of an encoder-decoder need what the decoder reads, and show all three attentions', () => {
  const model = ['logits', '--model', 'tests/golden/models/bart', '--ids', '5,6,7'];
  const { shape, cross_attentions, encoder_attentions, decoder_attentions, logprobs } = json([
    ...model,
    ...['--decoder-ids', '2,9', '--attentions', '--logprobs'],
  ]);
  assert.deepEqual(shape, [1, 2, 97]);
  assert.deepEqual(cross_attentions[0].shape, [1, 4, 2, 3]);
  assert.deepEqual(encoder_attentions[0].shape, [1, 3, 3, 3]);
  assert.deepEqual(decoder_attentions[0].shape, [1, 4, 2, 2]);
  assert.deepEqual(logprobs.shape, [1, 1]);
  const { status, stderr } = sotto(model);
  assert.equal(status, 1);
  assert.match(stderr, /decoder/);
});

test('logits leave masked tokens unseen', () => {
  const rows = (args) => json(['logits', '--model', 'tests/golden/models/bert', ...args]).data;
  const masked = rows(['--ids', '5,6,7,8', '--mask', '1,1,1,0']).slice(0, 3 * 35);
  const short = rows(['--ids', '5,6,7']);
  for (const [i, x] of short.entries()) assert.ok(Math.abs(masked[i] - x) < 1e-4);
});

test('generate gives the ids that Hugging Face gives', () => {
  for (const name of ['gpt2', 'bart', 't5-gated']) {
    const { model, cases } = JSON.parse(fs.readFileSync(`tests/golden/generation/${name}.json`, 'utf8'));
    for (const { options, input_ids, decoder_input_ids, sequences, scores } of cases.filter((_, i) => i % 6 === 0)) {
      const set = Object.entries(options).flatMap(([key, value]) => ['--set', `${key}=${JSON.stringify(value)}`]);
      const decoder = decoder_input_ids ? ['--decoder-ids', decoder_input_ids.join(',')] : [];
      const ids = ['--ids', input_ids.join(','), ...decoder];
      const got = json(['generate', '--model', `tests/golden/models/${model}`, ...ids, ...set]);
      assert.deepEqual(got.ids, sequences, JSON.stringify(options));
      assert.equal(got.sequences_scores?.length, scores?.length);
    }
  }
});

test('a GGUF file says what a decoder begins with', () => {
  const { ids } = json([
    'generate',
    '--model',
    'tests/golden/gguf/t5.gguf',
    '--ids',
    '5,6,7',
    '--set',
    'max_new_tokens=3',
  ]);
  assert.deepEqual([ids[0].length, ids[0][0]], [4, 0]);
});

test('inspect tells what a model is, for programs and for readers', () => {
  const { status, stdout, stderr } = sotto(['inspect', '--model', 'models/sotto-write']);
  assert.equal(status, 0, stderr);
  const told = JSON.parse(stdout);
  const config = JSON.parse(fs.readFileSync('models/sotto-write/config.json', 'utf8'));
  assert.equal(told.architecture, config.model_type);
  assert.equal(told.vocabulary, config.vocab_size);
  assert.equal(told.tokenizer.kind, 'BPE');
  assert.deepEqual(told.unsupported, []);
  const bytes = told.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  assert.equal(told.bytes, bytes);
  assert.ok(fs.statSync('models/sotto-write/model.safetensors').size - bytes < 20_000);
  assert.match(stderr, /can run this model/);
});

test('inspect lists the modules of sentence-transformers, and says which one is not implemented', () => {
  const folder = path.join(scratch, 'sentence');
  fs.cpSync(`${golden}/sentence-embedding`, folder, { recursive: true });
  const inspected = json(['inspect', '--model', folder]);
  assert.equal(inspected.sentence_modules.length, 7);
  assert.deepEqual(inspected.unsupported, []);
  const list = JSON.parse(fs.readFileSync(`${folder}/modules.json`, 'utf8'));
  list.push({ idx: 7, name: '7', path: '7_LSTM', type: 'sentence_transformers.models.LSTM' });
  fs.writeFileSync(`${folder}/modules.json`, JSON.stringify(list));
  assert.match(json(['inspect', '--model', folder]).unsupported[0], /models\.LSTM/);
});

test('inspect says why a model cannot be run', () => {
  const from = 'tests/golden/models/gpt2';
  const changed = (name, change) => {
    const folder = path.join(scratch, name);
    fs.cpSync(from, folder, { recursive: true });
    const file = path.join(folder, 'config.json');
    fs.writeFileSync(file, JSON.stringify(change(JSON.parse(fs.readFileSync(file, 'utf8')))));
    const { status, stdout, stderr } = sotto(['inspect', '--model', folder]);
    assert.equal(status, 0, stderr);
    assert.match(stderr, /cannot run this model/);
    return JSON.parse(stdout).unsupported.join('\n');
  };
  assert.match(
    changed('unknown', (config) => ({ ...config, model_type: 'flamingo', architectures: ['Flamingo'] })),
    /'flamingo' is not implemented/,
  );
  assert.match(
    changed('value', (config) => ({ ...config, activation_function: 'mish' })),
    /'mish'/,
  );
  assert.match(
    changed('fewer', (config) => ({ ...config, n_layer: 1 })),
    /does not use: 'transformer\.h\.1\./,
  );
  assert.match(
    changed('more', (config) => ({ ...config, n_layer: 3 })),
    /no tensor 'transformer\.h\.2\./,
  );
  assert.match(
    changed('wider', (config) => ({ ...config, n_inner: 60 })),
    /'transformer\.h\.0\.mlp\.c_fc\.weight' has the shape \[36, 53\], but the model needs \[36, 60\]/,
  );
  assert.match(
    changed('option', (config) => ({ ...config, guidance_scale: 2 })),
    /'guidance_scale' is not implemented/,
  );
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

test('quantize takes a GGUF file, and the modules of sentence-transformers along', () => {
  const out = path.join(scratch, 'of-gguf');
  const made = sotto(['quantize', '--model', 'tests/golden/gguf/llama.gguf', '--to', 'f32', '--out', out]);
  assert.equal(made.status, 0, made.stderr);
  const logits = (model) => json(['logits', '--model', model, '--ids', '1,2,3']).data;
  assert.deepEqual(logits(out), logits('tests/golden/gguf/llama.gguf'));
  const sentences = path.join(scratch, 'sentences');
  const from = `${golden}/sentence-embedding`;
  assert.equal(sotto(['quantize', '--model', from, '--to', 'f32', '--out', sentences]).status, 0);
  const embed = (model) =>
    json(['run', 'feature-extraction', '--model', model, '--set', 'sentence_embedding=true'], 'A quiet river.');
  assert.deepEqual(embed(sentences), embed(from));
  assert.equal(embed(from)[0].length, 12);
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

test('a model that copies is trained, evaluated by what it writes, and spells words that it never saw', () => {
  const names = (i) => [`q${'abcdefghij'[i % 10]}v${'klmnopqrst'[Math.floor(i / 10)]}`, `z${i}x`];
  const pairs = Array.from({ length: 100 }, (_, i) => names(i)).map(([a, b]) => `${a} and ${b}\t${b} with ${a}\n`);
  fs.writeFileSync(`${scratch}/pairs.tsv`, pairs.join(''));
  const recipe = {
    task: 'seq2seq-lm',
    data: [{ path: `${scratch}/pairs.tsv`, format: 'tsv', columns: ['a', 'b'], field: 'a', target: 'b' }],
    split: { test: 0.1, validation: 0 },
    tokenizer: { type: 'wordlevel', vocab_size: 50 },
    model: {
      model_type: 'bart',
      architectures: ['BartForPointerGeneration'],
      d_model: 32,
      encoder_layers: 1,
      decoder_layers: 1,
      encoder_attention_heads: 2,
      decoder_attention_heads: 2,
      encoder_ffn_dim: 32,
      decoder_ffn_dim: 32,
      max_position_embeddings: 16,
      init_std: 0.1,
    },
    training: { max_tokens: 16, batch_size: 10, epochs: 30, coverage: 0.1, optimizer: { lr: 0.01 } },
  };
  fs.writeFileSync(`${scratch}/pairs.json`, JSON.stringify(recipe));
  const trained = sotto(['train', `${scratch}/pairs.json`, '--out', `${scratch}/pairs`]);
  assert.equal(trained.status, 0, trained.stderr);
  const metrics = json(['eval', `${scratch}/pairs.json`, '--model', `${scratch}/pairs`]);
  assert.equal(metrics.exact_match, 1);
  assert.equal(metrics.rougeL, 1);
  const made = json(['run', 'text2text-generation', '--model', `${scratch}/pairs`], 'Ulf and Ann');
  assert.equal(made[0].generated_text, 'Ann with Ulf');
});

test('a failure is one sentence on stderr and status 1', () => {
  for (const args of [
    ['logits', '--model', path.join(scratch, 'nowhere'), '--ids', '1'],
    ['logits', '--model', 'tests/golden/models/gpt2', '--ids', '97'],
    ['logits', '--model', 'tests/golden/models/bert', '--ids', '1', '--logprobs'],
    ['logits', '--model', 'tests/golden/models/gpt2', '--ids', '1,2', '--mask', '1'],
    ['generate', '--model', 'tests/golden/models/bert', '--ids', '1'],
    ['generate', '--model', 'tests/golden/models/gpt2', '--ids', '1', '--decoder-ids', '2'],
    ['generate', '--model', 'tests/golden/models/gpt2', '--ids', '1', '--set', 'num_beans=2'],
    ['inspect', '--model', path.join(scratch, 'nowhere')],
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
    ['generate', '--model', 'tests/golden/models/gpt2'],
    ['generate', '--model', 'tests/golden/models/gpt2', '--ids', '1', '--set', 'num_beams'],
    ['inspect'],
    ['logits', '--model', 'tests/golden/models/gpt2', '--ids', 'one'],
  ]) {
    assert.equal(sotto(args).status, 2, args.join(' '));
  }
  assert.equal(sotto(['--help']).status, 0);
});
