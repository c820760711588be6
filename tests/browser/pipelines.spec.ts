import { readFileSync } from 'node:fs';
import type { FilledMask } from '../../web/index.ts';
import { expect, modelFiles, startSite, test } from './site.ts';

const golden = new URL('../golden/pipelines/', import.meta.url).pathname;

/** The first case of a golden model with these options. */
function goldenCase<Output>(task: string, options: object): { input: string; options: object; output: Output } {
  const { cases } = JSON.parse(readFileSync(`${golden}${task}/cases.json`, 'utf8'));
  const same = (found: object) => JSON.stringify(found) === JSON.stringify(options);
  return cases.find(({ options }: { options: object }) => same(options));
}

interface Label {
  label: string;
  score: number;
}
const labelled = goldenCase<Label[]>('text-classification', { top_k: null });
const best = goldenCase<Label[]>('text-classification', {});
const filled = goldenCase<object[]>('fill-mask', {});
/** Twelve tokens, always the likeliest. */
const greedy = { max_new_tokens: 12, do_sample: false };
const written = goldenCase<{ generated_text: string }[]>('text-generation', greedy);
const story = written.output[0]?.generated_text ?? '';

for (const [name, mode] of Object.entries({
  'a plain page': {},
  'a cross-origin isolated page': { isolate: true },
  'a page under a strict policy': { csp: true },
  'an isolated page under a strict policy': { isolate: true, csp: true },
})) {
  test.describe(name, () => {
    test.use({ mode });

    test('classifies as Hugging Face does', async ({ page, site }) => {
      const complaints: string[] = [];
      page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
      await site.open(page);
      const { input, options, output } = labelled;
      const got = await page.evaluate(
        async ({ input, options }) => {
          const classify = await sotto.pipeline('text-classification', '/m/text-classification/');
          const { variant, threads } = classify.model;
          const labels = await classify(input, options as { top_k: null });
          await classify.dispose();
          return { labels, variant, threads, isolated: crossOriginIsolated, cores: navigator.hardwareConcurrency };
        },
        { input, options },
      );
      expect(got.labels.map(({ label }) => label)).toEqual(output.map(({ label }) => label));
      for (const [i, { score }] of output.entries()) expect(got.labels[i]?.score).toBeCloseTo(score, 4);
      expect(got.isolated).toBe('isolate' in mode);
      expect(got.variant.endsWith('-threads')).toBe(got.isolated && got.cores > 1);
      expect(got.threads).toBe(got.isolated ? Math.min(4, got.cores) : 1);
      expect(complaints).toEqual([]);
    });

    test('streams a text token by token', async ({ page, site }) => {
      await site.open(page);
      const got = await page.evaluate(async ({ input, options }) => {
        const generate = await sotto.pipeline('text-generation', '/m/text-generation/');
        const pieces: string[] = [];
        for await (const { text } of generate.stream(input, options)) pieces.push(text);
        const readable = await new Response(
          generate.stream(input, options).readable.pipeThrough(new TextEncoderStream()),
        ).text();
        const [whole] = await generate(input, { ...options, return_full_text: false });
        await generate.dispose();
        return { pieces, readable, whole: whole?.generated_text };
      }, written);
      expect(got.pieces.length).toBeGreaterThan(4);
      expect(written.input + got.whole).toBe(story);
      expect(got.pieces.join('')).toBe(got.whole);
      expect(got.readable).toBe(got.whole);
    });
  });
}

test('a page whose own policy forbids WebAssembly leaves it to the worker', async ({ page, site }) => {
  await site.open(page);
  const { input, options, output } = labelled;
  const got = await page.evaluate(
    async ({ input, options }) => {
      const policy = document.createElement('meta');
      policy.httpEquiv = 'Content-Security-Policy';
      policy.content = "script-src 'self'";
      document.head.append(policy);
      const classify = await sotto.pipeline('text-classification', '/m/text-classification/');
      return classify(input, options as { top_k: null });
    },
    { input, options },
  );
  expect(got.map(({ label }) => label)).toEqual(output.map(({ label }) => label));
});

test('a GGUF file, by its address and as a file that the user picked, writes what its folder does', async ({
  page,
  site,
}) => {
  await site.open(page);
  const got = await page.evaluate(async ({ input, options }) => {
    const texts: string[] = [];
    const write = async (source: string | File[]) => {
      const generate = await sotto.pipeline('text-generation', source);
      const [text] = await generate(input, options);
      texts.push(text?.generated_text ?? '', String(generate.model.config.model_type));
      await generate.dispose();
    };
    const file = async (name: string) => new File([await (await fetch(`/m/gguf/${name}`)).blob()], name);
    const parts = [1, 2, 3].map((part) => `story-0000${part}-of-00003.gguf`);
    await write('/m/gguf/story.gguf');
    await write('/m/gguf/story.gguf'); // from the cache
    await write(`/m/gguf/${parts[1]}`);
    await write([await file('story.gguf')]);
    await write(await Promise.all([...parts].reverse().map(file)));
    return texts;
  }, written);
  expect(got).toEqual(Array(5).fill([story, 'gpt2']).flat());
});

test('a GGUF file that is garbage is an error that says so', async ({ page, site }) => {
  await site.open(page);
  site.misbehave('story.gguf', (response, bytes) => response.end(bytes.subarray(0, 3000)));
  const messages = await page.evaluate(async () => {
    const message = (source: string | File[]) =>
      sotto.pipeline('text-generation', source).then(
        () => 'no error',
        ({ code, message }) => `${code}: ${message}`,
      );
    return [
      await message('/m/gguf/story.gguf'),
      await message([new File(['not a model'], 'x.gguf')]),
      await message('/m/gguf/none.gguf'),
    ];
  });
  expect(messages[0]).toMatch(/^invalid-file: story\.gguf: /);
  expect(messages[1]).toMatch(/^invalid-file: x\.gguf: /);
  expect(messages[2]).toMatch(/^not-found: There is no none\.gguf/);
});

test("a sentence's vector comes of the model's own modules", async ({ page, site }) => {
  await site.open(page);
  const { cases } = JSON.parse(readFileSync(`${golden}sentence-embedding/cases.json`, 'utf8'));
  const got = await page.evaluate(async (cases) => {
    const extract = await sotto.pipeline('feature-extraction', '/m/sentence-embedding/');
    const vectors: number[][] = [];
    for (const { input, options } of cases) vectors.push([...(await extract(input, options)).data]);
    await extract.dispose();
    return vectors;
  }, cases);
  for (const [i, { output }] of cases.entries()) {
    expect(got[i]?.length).toBe(output[0].length);
    for (const [c, value] of output[0].entries()) expect(got[i]?.[c]).toBeCloseTo(value, 4);
  }
});

for (const variant of ['simd', 'relaxed'] as const) {
  test(`the variant ${variant} generates the same text`, async ({ page, site, browserName }) => {
    await site.open(page);
    const got = await page.evaluate(
      async ({ variant, input, options }) => {
        try {
          const generate = await sotto.pipeline('text-generation', '/m/text-generation/', { variant });
          return (await generate(input, options))[0]?.generated_text;
        } catch (error) {
          return (error as { code: string }).code;
        }
      },
      { variant, ...written },
    );
    // Older Firefoxes have no relaxed SIMD, and say so.
    const absent = browserName === 'firefox' && variant === 'relaxed' && got === 'unsupported';
    if (!absent) expect(got).toBe(story);
  });
}

test('a page with tokenizers alone downloads no model code', async ({ page, site }) => {
  await page.goto(`${site.url}tests/browser/empty.html`);
  const got = await page.evaluate(async () => {
    const address = '/dist/tokenizer_only.js';
    const { Tokenizer } = (await import(address)) as typeof import('../../web/tokenizer_only.ts');
    const tokenizer = await Tokenizer.from('/m/text-generation/');
    const { ids, offsets } = await tokenizer.encode('A naïve 😀 boat');
    const back = await tokenizer.decode(ids);
    await tokenizer.dispose();
    return { back, end: offsets.at(-1)?.[1], length: 'A naïve 😀 boat'.length };
  });
  expect(got.back).toBe('A naïve 😀 boat');
  expect(got.end).toBe(got.length);
  const engines = site.asked.filter((path) => path.endsWith('.wasm') || path.includes('/sotto-'));
  expect([...new Set(engines)].sort()).toEqual(['/dist/sotto-tokenizer.mjs', '/dist/sotto-tokenizer.wasm']);
  expect(site.asked).not.toContain('/dist/index.js');
});

test.describe('the engine comes in two parts', () => {
  const seq2seq = goldenCase<{ generated_text: string }[]>('text2text-generation', { max_new_tokens: 12 });
  const later = (site: { asked: string[] }) => site.asked.filter((path) => path.endsWith('.later.wasm'));

  for (const mode of [{}, { isolate: true, csp: true }]) {
    test.describe(JSON.stringify(mode), () => {
      test.use({ mode });

      test('what most pages do needs one of them, and other models bring in the rest', async ({ page, site }) => {
        await site.open(page);
        await page.evaluate(
          async ([labelled, filled, written]) => {
            await (await sotto.pipeline('text-classification', '/m/text-classification/'))(labelled.input, {
              top_k: 2,
            });
            await (await sotto.pipeline('fill-mask', '/m/fill-mask/'))(filled.input);
            await (await sotto.pipeline('feature-extraction', '/m/feature-extraction/'))('Hello', { pooling: 'mean' });
            const generate = await sotto.pipeline('text-generation', '/m/text-generation/');
            await generate(written.input, {
              max_new_tokens: 4,
              do_sample: true,
              top_k: 5,
              top_p: 0.9,
              temperature: 0.7,
            });
          },
          [labelled, filled, written] as const,
        );
        expect(later(site)).toEqual([]);
        const got = await page.evaluate(
          async ({ input, options }) =>
            (await sotto.pipeline('text2text-generation', '/m/text2text-generation/'))(input, options),
          seq2seq,
        );
        expect(got).toEqual(seq2seq.output);
        expect(later(site).length).toBeGreaterThan(0);
      });
    });
  }

  test('numbers of many digits are read by the rest', async ({ page, site }) => {
    await site.open(page);
    const generate = await page.evaluateHandle(() => sotto.pipeline('text-generation', '/m/text-generation/'));
    const write = (temperature: number) =>
      generate.evaluate(
        (generate, [input, temperature]) =>
          generate(input, { max_new_tokens: 8, do_sample: true, seed: 1, temperature }),
        [written.input, temperature] as const,
      );
    const short = await write(0.3);
    expect(later(site)).toEqual([]);
    expect(await write(0.1 + 0.2)).toEqual(short); // 0.30000000000000004
    expect(later(site)).toHaveLength(1);
  });

  test('the rest that cannot be had is an error that says so', async ({ page, site }) => {
    await page.route('**/*.later.wasm', (route) => route.fulfill({ status: 404 }));
    await site.open(page);
    const got = await page.evaluate(async () => {
      const load = sotto.pipeline('text2text-generation', '/m/text2text-generation/');
      const failed = await load.then(
        () => undefined,
        (error: { code: string; message: string }) => ({ code: error.code, message: error.message }),
      );
      // Another model, which needs none of it, runs.
      const [best] = await (await sotto.pipeline('text-classification', '/m/text-classification/'))('Hello');
      return { ...failed, label: typeof best?.label };
    });
    expect(got.code).toBe('worker');
    expect(got.message).toMatch(/later\.wasm\) did not load/);
    expect(got.label).toBe('string');
  });
});

test('fills masks, extracts features and tokenizes', async ({ page, site }) => {
  await site.open(page);
  const got = await page.evaluate(async (input) => {
    const fill = await sotto.pipeline('fill-mask', '/m/fill-mask/');
    const extract = await sotto.pipeline('feature-extraction', '/m/feature-extraction/');
    const tokenizer = await sotto.Tokenizer.from('/m/text-generation/');
    const text = 'A naïve 😀 boat';
    const { ids, offsets } = await tokenizer.encode(text);
    const features = await extract('A quiet river.', { pooling: 'mean' });
    return {
      mask: fill.tokenizer.mask_token,
      filled: (await fill(input)) as FilledMask[],
      dims: features.dims,
      numbers: features.data instanceof Float32Array && features.data.length,
      back: await tokenizer.decode(ids),
      end: offsets.at(-1),
      length: text.length,
    };
  }, filled.input);
  expect(filled.input).toContain(got.mask);
  expect(got.filled.map(({ score: _, ...rest }) => rest)).toEqual(
    (filled.output as FilledMask[]).map(({ score: _, ...rest }) => rest),
  );
  expect(got.dims).toEqual([1, 24]);
  expect(got.numbers).toBe(24);
  expect(got.back).toBe('A naïve 😀 boat');
  expect(got.end).toEqual([expect.any(Number), got.length]);
});

test('an abort in mid-stream stops at once and leaves the model usable', async ({ page, site }) => {
  await site.open(page);
  const got = await page.evaluate(async ({ input, options }) => {
    const generate = await sotto.pipeline('text-generation', '/m/text-generation/');
    const stop = new AbortController();
    let read = 0;
    let thrown: unknown;
    try {
      const stream = generate.stream(input, { max_new_tokens: 50, eos_token_id: 329, signal: stop.signal });
      for await (const _ of stream) if (++read === 5) stop.abort();
    } catch (error) {
      thrown = error;
    }
    const [again] = await generate(input, options);
    return { read, same: thrown === stop.signal.reason, name: (thrown as Error).name, again: again?.generated_text };
  }, written);
  expect(got).toEqual({ read: 5, same: true, name: 'AbortError', again: story });
});

test('several sessions of one model take turns', async ({ page, site }) => {
  await site.open(page);
  const order = await page.evaluate(async () => {
    const generate = await sotto.pipeline('text-generation', '/m/text-generation/');
    let order = '';
    const follow = async (name: string, prompt: string) => {
      for await (const _ of generate.stream(prompt, {
        max_new_tokens: 12,
        do_sample: true,
        seed: 3,
        eos_token_id: 329,
      }))
        order += name;
    };
    await Promise.all([follow('a', 'The old boat'), follow('b', 'The old boat')]);
    return order;
  });
  expect(order).toMatch(/a+b+a+b+/);
});

test('files that the user picked load without a network', async ({ page, site }) => {
  await site.open(page);
  const files = [...modelFiles('text-classification')].map(
    ([name, bytes]) => [name, bytes.toString('base64')] as const,
  );
  site.forget();
  const got = await page.evaluate(async (files) => {
    const picked = files.map(([name, base64]) => {
      return new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name);
    });
    const classify = await sotto.pipeline('text-classification', picked);
    return classify('What a wonderful film!');
  }, files);
  expect(got[0]?.label).toBe(best.output[0]?.label);
  expect(site.asked.filter((path) => !path.startsWith('/dist/'))).toEqual([]);
});

test('the engine loads from where its assets are', async ({ page, site }) => {
  await site.open(page);
  const got = await page.evaluate(async () => {
    const options = { assetsURL: '/dist/' };
    const classify = await sotto.pipeline('text-classification', '/m/text-classification/', options);
    return classify('What a wonderful film!');
  });
  expect(got[0]?.label).toBe(best.output[0]?.label);
});

test.describe('isolated', () => {
  test.use({ mode: { isolate: true } });

  test('the engine and its threads come from another origin, and end with the model', async ({ page, site }) => {
    await site.open(page);
    const elsewhere = await startSite({});
    const classify = await page.evaluateHandle(
      (assetsURL) => sotto.pipeline('text-classification', '/m/text-classification/', { assetsURL, threads: 3 }),
      `${elsewhere.url}dist/`,
    );
    const got = await classify.evaluate(async (classify) => {
      const labels = await classify('What a wonderful film!');
      return [classify.model.threads, labels[0]?.label];
    });
    expect(got).toEqual([3, best.output[0]?.label]);
    expect(page.workers()).toHaveLength(3);
    await classify.evaluate((classify) => classify.dispose());
    await expect.poll(() => page.workers().length).toBe(0);
    await elsewhere.close();
  });
});

test('an engine that is not where it should be is an error that says so', async ({ page, site }) => {
  await site.open(page);
  const got = await page.evaluate(async () => {
    try {
      await sotto.pipeline('text-classification', '/m/text-classification/', { assetsURL: '/nowhere/' });
    } catch (error) {
      const { name, code, message } = error as { name: string; code: string; message: string };
      return { name, code, message };
    }
  });
  expect(got).toEqual({ name: 'SottoError', code: 'worker', message: expect.stringContaining('nowhere') });
});
