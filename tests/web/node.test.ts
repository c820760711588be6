// The built package as a Node program uses it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type * as Sotto from '../../web/index.ts';
import type * as SottoTokenizer from '../../web/tokenizer_only.ts';

const built = new URL('../../dist/index.js', import.meta.url).href;
const { pipeline, SottoError, Tokenizer } = (await import(built)) as typeof Sotto;
const golden = fileURLToPath(new URL('../golden/pipelines/', import.meta.url));

interface Case {
  input: string;
  options: object;
  output: unknown;
}
const casesOf = (task: string): Case[] => JSON.parse(readFileSync(`${golden}${task}/cases.json`, 'utf8')).cases;

/** Equal, but for numbers, which agree to 1e-4. */
function assertClose(got: unknown, want: unknown, where: string): void {
  if (typeof want === 'number' && typeof got === 'number') {
    assert.ok(Math.abs(got - want) <= 1e-4 * Math.max(1, Math.abs(want)), `${where}: ${got} is not ${want}`);
  } else if (typeof want === 'object' && want !== null && typeof got === 'object' && got !== null) {
    assert.deepEqual(Object.keys(got), Object.keys(want), where);
    for (const [key, value] of Object.entries(want))
      assertClose((got as Record<string, unknown>)[key], value, `${where}.${key}`);
  } else {
    assert.equal(got, want, where);
  }
}

/** Features as Hugging Face's nested lists. */
function nested({ dims, data }: Sotto.Features): unknown {
  const width = dims.at(-1) ?? 1;
  const rows = Array.from({ length: data.length / width }, (_, i) => [...data.subarray(i * width, (i + 1) * width)]);
  return dims.length === 3 ? [rows] : rows;
}

for (const variant of ['simd', 'relaxed', 'simd-threads', 'relaxed-threads'] as const) {
  const options = { variant, ...(variant.endsWith('threads') ? { threads: 2 } : {}) };

  describe(`in Node, the variant ${variant}`, () => {
    test('classifies as Hugging Face does', async () => {
      await using classify = await pipeline('sentiment-analysis', `${golden}text-classification`, options);
      assert.deepEqual([classify.task, classify.model.variant], ['text-classification', variant]);
      for (const { input, options, output } of casesOf('text-classification')) {
        assertClose(await classify(input, options), output, input);
      }
    });

    test('fills masks as Hugging Face does', async () => {
      await using fill = await pipeline('fill-mask', `${golden}fill-mask`, options);
      assert.equal(fill.tokenizer.mask_token, '[MASK]');
      for (const { input, options, output } of casesOf('fill-mask'))
        assertClose(await fill(input, options), output, input);
    });

    test('extracts features as Hugging Face does', async () => {
      await using extract = await pipeline('feature-extraction', `${golden}feature-extraction`, options);
      for (const { input, options, output } of casesOf('feature-extraction')) {
        assertClose(nested(await extract(input, options)), output, input);
      }
    });

    test('generates as Hugging Face does', async () => {
      await using generate = await pipeline('text-generation', `${golden}text-generation`, options);
      for (const { input, options, output } of casesOf('text-generation')) {
        assertClose(await generate(input, options), output, input);
      }
    });

    for (const name of ['text2text-generation', 'translation-m2m-100', 'translation-mbart', 'translation-marian']) {
      test(`turns texts into texts as Hugging Face does: ${name}`, async () => {
        await using convert = await pipeline('text2text-generation', `${golden}${name}`, options);
        for (const { input, options, output } of casesOf(name))
          assertClose(await convert(input, options), output, input);
      });
    }
  });
}

describe('a pipeline', () => {
  test('takes lists, and gives what Hugging Face gives for them', async () => {
    await using classify = await pipeline('text-classification', `${golden}text-classification`);
    const texts = ['What a wonderful film!', 'The soup was cold and the music was dull.'];
    const best = await classify(texts);
    assert.deepEqual(best, [...(await classify(texts[0] ?? '')), ...(await classify(texts[1] ?? ''))]);
    const all = await classify(texts, { top_k: null });
    assert.deepEqual([all.length, all[0]?.length], [2, 3]);
    assert.deepEqual(all[1]?.[0], best[1]);
    assert.equal((await classify([{ text: 'a', text_pair: 'b' }, 'c'])).length, 2);
  });

  test('says what is wrong with an option', async () => {
    await using classify = await pipeline('text-classification', `${golden}text-classification`);
    const options = { topk: 3 } as object;
    await assert.rejects(classify('x', options), { name: 'SottoError', code: 'invalid-argument', message: /'topk'/ });
  });

  test('streams the text that it returns', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const options = { max_new_tokens: 12, do_sample: false };
    const [whole] = await generate('The old boat', { ...options, return_full_text: false });
    let text = '';
    let tokens = 0;
    for await (const chunk of generate.stream('The old boat', options)) {
      text += chunk.text;
      tokens++;
    }
    assert.equal(text, whole?.generated_text);
    assert.ok(tokens > 4);
  });

  test('gives the best of several beams, and as many texts as asked for', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const options = { num_beams: 4, max_new_tokens: 12, return_full_text: false, output_logprobs: true };
    const texts = await generate('The old boat', { ...options, num_return_sequences: 3, length_penalty: 0 });
    assert.equal(new Set(texts.map(({ generated_text }) => generated_text)).size, 3);
    const sums = texts.map(({ tokens }) => (tokens ?? []).reduce((sum, { logprob }) => sum + logprob, 0));
    assert.deepEqual(
      sums,
      sums.toSorted((a, b) => b - a),
    );
    const [best] = await generate('The old boat', { ...options, length_penalty: 0 });
    assert.deepEqual(best, texts[0]);
    assert.throws(() => generate.stream('x', { num_beams: 2 }), { code: 'invalid-argument', message: /num_beams/ });
    await assert.rejects(generate('x', { num_beam_groups: 2 } as object), {
      code: 'unsupported',
      message: /num_beam_groups/,
    });
  });

  test('streams the text that an encoder-decoder returns, of one beam', async () => {
    await using convert = await pipeline('text2text-generation', `${golden}text2text-generation`);
    const options = { max_new_tokens: 15, no_repeat_ngram_size: 1 };
    const { text, tokens } = await convert.stream('The old boat', options).result();
    assert.deepEqual(await convert('The old boat', options), [{ generated_text: text }]);
    assert.ok(tokens.length > 4);
  });

  test('draws several texts at once', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const options = { do_sample: true, temperature: 2, max_new_tokens: 12, seed: 3 };
    const [one] = await generate('Snow', options);
    const texts = await generate('Snow', { ...options, num_return_sequences: 3 });
    assert.equal(texts.length, 3);
    assert.equal(texts[0]?.generated_text, one?.generated_text);
    assert.notEqual(texts[1]?.generated_text, one?.generated_text);
  });

  test('tells how likely each token was, and what else was likely', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const options = { max_new_tokens: 5, output_logprobs: true, top_logprobs: 3 };
    const seen: object[] = [];
    for await (const { text: _, ...scored } of generate.stream('The old boat', options)) {
      assert.equal(scored.top_logprobs?.length, 3);
      assert.equal(scored.token, scored.top_logprobs?.[0]?.token);
      assert.ok((scored.logprob ?? 1) <= 0);
      seen.push(scored);
    }
    const [whole] = await generate('The old boat', options);
    assert.deepEqual(whole?.tokens, seen);
    const [plain] = await generate('The old boat', { max_new_tokens: 5 });
    assert.equal(plain?.generated_text, whole?.generated_text);
    assert.equal(plain?.tokens, undefined);
  });

  test('draws the same text for the same seed, and other texts for others', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const draw = async (seed: number) =>
      (await generate('The old boat', { do_sample: true, temperature: 2, max_new_tokens: 20, seed }))[0]
        ?.generated_text;
    assert.equal(await draw(1), await draw(1));
    assert.notEqual(await draw(1), await draw(2));
  });

  test('interleaves two streams of one model', async () => {
    await using generate = await pipeline('text-generation', `${golden}text-generation`);
    const order: string[] = [];
    const follow = async (name: string, prompt: string) => {
      for await (const _ of generate.stream(prompt, { max_new_tokens: 12, eos_token_id: 329 })) order.push(name);
    };
    await Promise.all([follow('a', 'The old boat'), follow('b', 'A quiet river')]);
    assert.ok(
      order.indexOf('b') < order.lastIndexOf('a') && order.indexOf('a') < order.lastIndexOf('b'),
      order.join(''),
    );
  });

  test('rejects its calls once it is disposed of, and those under way', async () => {
    const generate = await pipeline('text-generation', `${golden}text-generation`);
    const running = generate.stream('The old boat', { max_new_tokens: 30 }).result();
    const rejected = assert.rejects(running, { code: 'disposed' });
    await generate.dispose();
    await generate.dispose();
    await rejected;
    await assert.rejects(generate('x'), { name: 'SottoError', code: 'disposed' });
    await assert.rejects(generate.tokenizer.encode('x'), { code: 'disposed' });
  });

  test('of a task that the model has no head for is an error', async () => {
    await assert.rejects(pipeline('text-generation', `${golden}text-classification`), {
      name: 'SottoError',
      code: 'invalid-argument',
    });
  });

  test('of an unknown task, or of a folder that is not there, is an error', async () => {
    const task = 'telepathy' as 'fill-mask';
    await assert.rejects(pipeline(task, golden), { code: 'unsupported', message: /text-generation/ });
    await assert.rejects(pipeline('fill-mask', `${golden}nowhere`), { code: 'not-found' });
    await assert.rejects(pipeline('fill-mask', golden), { code: 'not-found', message: /config\.json/ });
  });

  test('from files that are garbage is an error that names the file', async () => {
    const files = async (name: string, content: string) =>
      Promise.all(
        ['config.json', 'tokenizer.json', 'model.safetensors'].map(async (file) => {
          const bytes = readFileSync(`${golden}text-classification/${file}`);
          return new File([file === name ? content : bytes], file);
        }),
      );
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) {
      for (const content of ['', 'garbage', `{"${'x'.repeat(1000)}`, '\0'.repeat(64)]) {
        await assert.rejects(pipeline('text-classification', await files(name, content)), (error: Sotto.SottoError) => {
          assert.ok(error instanceof SottoError);
          assert.ok(['invalid-file', 'not-found', 'unsupported'].includes(error.code), `${name}: ${error.code}`);
          assert.ok(error.message.includes(name), error.message);
          return true;
        });
      }
    }
  });
});

describe('a tokenizer alone', () => {
  test('gives offsets that slice the text, whatever is in it', async () => {
    await using tokenizer = await Tokenizer.from(`${golden}text-generation`);
    for (const text of ['The old boat', 'naïve 😀 boats — 東京', 'a \ud800 lone surrogate', '']) {
      const { ids, tokens, offsets } = await tokenizer.encode(text, { add_special_tokens: false });
      assert.equal(ids.length, tokens.length);
      for (const [begin, end] of offsets) assert.ok(begin <= end && end <= text.length);
      if (offsets.length > 0) assert.deepEqual([offsets[0]?.[0], offsets.at(-1)?.[1]], [0, text.length]);
      assert.equal(await tokenizer.decode(ids), text.toWellFormed());
    }
  });
});

describe('the entry of tokenizers alone', async () => {
  const entry = (await import(new URL('tokenizer_only.js', built).href)) as typeof SottoTokenizer;

  test('has the tokenizer of the whole library, and nothing else of it', () => {
    assert.deepEqual(Object.keys(entry).sort(), ['SottoError', 'Tokenizer', 'clearCache']);
  });

  test('encodes as the tokenizer of a pipeline', async () => {
    await using fill = await pipeline('fill-mask', `${golden}fill-mask`);
    await using alone = await entry.Tokenizer.from(`${golden}fill-mask`);
    for (const text of ['The [MASK] was cold.', 'naïve 😀 — 東京', '']) {
      for (const options of [{}, { text_pair: 'and so', max_length: 6, parse_special: true }]) {
        assert.deepEqual(await alone.encode(text, options), await fill.tokenizer.encode(text, options));
      }
    }
    assert.deepEqual([alone.vocab_size, alone.mask_token], [fill.tokenizer.vocab_size, fill.tokenizer.mask_token]);
  });

  test('says what is wrong with a file', async () => {
    const garbage = new File(['{"model": 3}'], 'tokenizer.json');
    await assert.rejects(entry.Tokenizer.from([garbage]), { name: 'SottoError', message: /tokenizer\.json/ });
  });

  test('is found by its name in the package', () => {
    const { exports } = JSON.parse(readFileSync(new URL('../package.json', built), 'utf8'));
    for (const file of Object.values<string>(exports['./tokenizer'])) {
      assert.ok(existsSync(new URL(`../${file}`, built)), file);
    }
  });
});

test('a program that forgets to dispose ends all the same', async () => {
  const program = `import { pipeline } from ${JSON.stringify(built)};
    const classify = await pipeline('text-classification', ${JSON.stringify(`${golden}text-classification`)});
    console.log((await classify('good')).length);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    timeout: 60_000,
  });
  assert.equal(stdout.trim(), '1');
});
