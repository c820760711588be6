// The built package and the kinds of files that it reads, in Node.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type * as Sotto from '../../web/index.ts';
import { goldenGguf } from './gguf_file.ts';

const built = new URL('../../dist/index.js', import.meta.url).href;
const { pipeline, Tokenizer } = (await import(built)) as typeof Sotto;
const root = fileURLToPath(new URL('../../', import.meta.url));
const golden = `${root}tests/golden/pipelines/`;
const scratch = mkdtempSync(join(tmpdir(), 'sotto-files-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const prompt = 'The old boat';
const greedy = { max_new_tokens: 12, do_sample: false };

/** What the golden GPT-2 writes. */
async function story(source: string): Promise<string> {
  await using generate = await pipeline('text-generation', source);
  const [text] = await generate(prompt, greedy);
  return text?.generated_text ?? '';
}

function close(got: ArrayLike<number>, want: ArrayLike<number>): void {
  assert.equal(got.length, want.length);
  for (let i = 0; i < want.length; i++) {
    const [g = Number.NaN, w = Number.NaN] = [got[i], want[i]];
    assert.ok(Math.abs(g - w) <= 1e-4 * (1 + Math.abs(w)), `${i}: ${g} is not ${w}`);
  }
}

describe('GGUF', () => {
  test('in one file or several writes what the folder of the same model writes', async () => {
    const expected = await story(`${golden}text-generation`);
    for (const parts of [1, 2]) {
      const files = goldenGguf(parts);
      for (const [name, bytes] of files) writeFileSync(join(scratch, name), bytes);
      for (const name of files.keys()) assert.equal(await story(join(scratch, name)), expected, name);
    }
  });

  test('has its tokenizer and its chat template within', async () => {
    for (const [name, bytes] of goldenGguf()) writeFileSync(join(scratch, name), bytes);
    await using folder = await pipeline('text-generation', `${golden}text-generation`);
    await using file = await pipeline('text-generation', join(scratch, 'story.gguf'));
    const text = 'She opened the window; Zürich ☃!';
    assert.deepEqual(await file.tokenizer.encode(text), await folder.tokenizer.encode(text));
    const chat = [{ role: 'user', content: 'Snow' }];
    assert.equal(await file.tokenizer.apply_chat_template(chat), 'Snow ');
    assert.equal(folder.tokenizer.chat_template, undefined);
    await assert.rejects(folder(chat), { code: 'unsupported', message: /chat template/ });
    await assert.rejects(Tokenizer.from(join(scratch, 'story.gguf')), { code: 'unsupported' });
  });

  test('of parts that do not belong together is an error that names the part', async () => {
    const [[first = '', bytes = Buffer.of()] = [], [second = ''] = []] = goldenGguf(2);
    const folder = mkdtempSync(join(scratch, 'x'));
    writeFileSync(join(folder, first), bytes);
    await assert.rejects(pipeline('text-generation', join(folder, first)), {
      code: 'not-found',
      message: RegExp(second),
    });
    writeFileSync(join(folder, second), bytes);
    await assert.rejects(pipeline('text-generation', join(folder, first)), {
      code: 'invalid-file',
      message: /part 1 of 2, not 2 of 2/,
    });
  });
});

describe('a chat', () => {
  test('is continued by its next turn, or its open last one, and streams', async () => {
    for (const [name, bytes] of goldenGguf()) writeFileSync(join(scratch, name), bytes);
    await using generate = await pipeline('text-generation', join(scratch, 'story.gguf'));
    const said = { role: 'user', content: prompt };
    const [plain] = await generate(`${prompt} `, { ...greedy, return_full_text: false });
    const next = plain?.generated_text ?? '';
    const [answer] = await generate([said], greedy);
    assert.deepEqual(answer?.generated_text, [said, { role: 'assistant', content: next }]);
    const [alone] = await generate([said], { ...greedy, return_full_text: false });
    assert.equal(alone?.generated_text, next);
    const [open] = await generate([{ role: 'assistant', content: prompt }], greedy);
    assert.equal(open?.generated_text.length, 1);
    let streamed = '';
    for await (const { text } of generate.stream([said], greedy)) streamed += text;
    assert.equal(streamed, next);
  });

  test('takes what a user writes as text, even a special token', async () => {
    for (const [name, bytes] of goldenGguf()) writeFileSync(join(scratch, name), bytes);
    await using generate = await pipeline('text-generation', join(scratch, 'story.gguf'));
    const end = '<|endoftext|>';
    const as = { chat: { chat_template: `${end}{{ messages[0].content }}` } };
    const count = async (content: string) => {
      const run = generate.stream([{ role: 'user', content }], { ...as, max_new_tokens: 1 });
      return (await run.result()).prompt_tokens;
    };
    // The template's own counts as one; the user's as its letters.
    const letters = (await generate.tokenizer.encode(end)).ids.length;
    assert.ok(letters > 5);
    assert.equal(await count('a'), 2);
    assert.ok((await count(end)) >= letters, 'it is no end of a text');
  });
});

describe("a sentence's vector", () => {
  test("is what sentence-transformers' modules give", async () => {
    await using extract = await pipeline('feature-extraction', `${golden}sentence-embedding`);
    const { cases } = JSON.parse(readFileSync(`${golden}sentence-embedding/cases.json`, 'utf8'));
    for (const { input, options, output } of cases) {
      const { dims, data } = await extract(input, options);
      assert.deepEqual(dims, [1, output[0].length]);
      close(data, output[0]);
    }
    await assert.rejects(extract('x', { sentence_embedding: true, pooling: 'mean' }), { code: 'invalid-argument' });
  });
});

describe('older tokenizer files', () => {
  test('serve where there is no tokenizer.json', async () => {
    const folder = join(scratch, 'older');
    cpSync(`${golden}fill-mask`, folder, { recursive: true });
    const { model, normalizer } = JSON.parse(readFileSync(`${folder}/tokenizer.json`, 'utf8'));
    const old_config = { tokenizer_class: 'BertTokenizer', do_lower_case: normalizer.lowercase };
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(old_config));
    rmSync(join(folder, 'tokenizer.json'));
    const vocab = Object.entries(model.vocab as Record<string, number>).sort(([, a], [, b]) => a - b);
    writeFileSync(join(folder, 'vocab.txt'), vocab.map(([token]) => `${token}\n`).join(''));
    await using old = await Tokenizer.from(folder);
    await using current = await Tokenizer.from(`${golden}fill-mask`);
    const text = 'What a wonderful day!';
    assert.deepEqual((await old.encode(text)).ids, (await current.encode(text)).ids);
  });

  test('may be a SentencePiece model', async () => {
    const folder = mkdtempSync(join(scratch, 'spm'));
    cpSync(`${root}tests/golden/sentencepiece/t5.model`, join(folder, 'spiece.model'));
    writeFileSync(join(folder, 'config.json'), '{"model_type":"t5"}');
    await using tokenizer = await Tokenizer.from(folder);
    assert.ok((await tokenizer.encode('the house')).tokens.length > 1);
  });
});

describe('a folder', () => {
  test('of a pickle alone is refused with the reason', async () => {
    const folder = mkdtempSync(join(scratch, 'pickle'));
    for (const name of ['config.json', 'tokenizer.json']) cpSync(`${golden}fill-mask/${name}`, join(folder, name));
    writeFileSync(join(folder, 'pytorch_model.bin'), 'PK');
    await assert.rejects(pipeline('fill-mask', folder), { code: 'unsupported', message: /run code.*save_pretrained/ });
  });
});

describe("a model's insides", () => {
  test('are those of the golden files, for a decoder and an encoder', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const { ids } = await generate.tokenizer.encode(prompt);
    const plain = await generate.insides(prompt);
    assert.deepEqual(Object.keys(plain), ['logits', 'last_hidden_state']);
    const all = await generate.insides(prompt, {
      output_attentions: true,
      output_hidden_states: true,
      output_logprobs: true,
    });
    assert.deepEqual(all.logits, plain.logits);
    const n = ids.length;
    assert.deepEqual(
      all.hidden_states?.map(({ dims }) => dims),
      Array(3).fill([1, n, 36]),
    );
    assert.deepEqual(
      all.attentions?.map(({ dims }) => dims),
      Array(2).fill([1, 3, n, n]),
    );
    assert.deepEqual(all.logprobs?.dims, [1, n - 1]);
    for (const { data } of all.attentions ?? []) {
      for (let row = 0; row < data.length / n; row++) {
        const sum = data.subarray(row * n, (row + 1) * n).reduce((a, b) => a + b, 0);
        assert.ok(Math.abs(sum - 1) < 1e-5);
      }
    }
    const vocab = plain.logits?.dims[2] ?? 0;
    const row = (plain.logits?.data ?? new Float32Array()).subarray(0, vocab);
    const norm = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    close(all.logprobs?.data.subarray(0, 1) ?? [], [(row[ids[1] ?? 0] ?? 0) - norm]);

    await using convert = await pipeline('text2text-generation', `${golden}text2text-generation`);
    const both = await convert.insides({ text: 'A boat.', decoder_text: 'x' }, { output_attentions: true });
    assert.ok(both.cross_attentions && both.encoder_attentions && both.decoder_attentions && both.logits);
    await assert.rejects(convert.insides('x', { output_all: true } as object), { code: 'invalid-argument' });
  });
});
