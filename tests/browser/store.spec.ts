import type { Page } from '@playwright/test';
import { expect, test } from './site.ts';

/** Loads the classifier: a label and where its bytes came from, or the error. */
async function load(page: Page, source = '/m/text-classification/', cache?: 'force-cache') {
  return page.evaluate(
    async ({ source, cache }) => {
      const from = new Set<string>();
      try {
        const classify = await sotto.pipeline('text-classification', source, {
          progress: (event) => from.add(event.from),
          ...(cache ? { cache } : {}),
        });
        const [best] = await classify('What a wonderful film!');
        await classify.dispose();
        return { label: typeof best?.label, from: [...from] };
      } catch (error) {
        const { name, code, message } = error as { name: string; code: string; message: string };
        return { name, code, message, from: [...from] };
      }
    },
    { source, cache },
  );
}

const weights = 'model.safetensors';
const fromNetwork = { label: 'string', from: ['network'] };
const fromCache = { label: 'string', from: ['cache'] };

/** The same length, one bit wrong. */
function flipped(bytes: Buffer): Buffer {
  const wrong = Buffer.from(bytes);
  wrong[wrong.length - 9] = (wrong[wrong.length - 9] ?? 0) ^ 4;
  return wrong;
}

test('after a reload the model serves with its network gone', async ({ page, site }) => {
  await site.open(page);
  expect(await load(page)).toEqual(fromNetwork);
  site.cutOff();
  await page.reload();
  expect(await load(page)).toEqual(fromCache);
});

test('a stored model is not asked for again', async ({ page, site }) => {
  await site.open(page);
  await load(page);
  await page.reload();
  site.forget();
  expect(await load(page)).toEqual(fromCache);
  expect(site.asked.filter((path) => path.startsWith('/m/'))).toEqual(['/m/text-classification/manifest.json']);
  site.forget();
  expect(await load(page, '/m/text-classification/', 'force-cache')).toEqual(fromCache);
  expect(site.asked.filter((path) => path.startsWith('/m/'))).toEqual([]);
});

test('clearing the cache forgets every model', async ({ page, site }) => {
  await site.open(page);
  await load(page);
  await page.evaluate(() => sotto.clearCache());
  expect(await load(page)).toEqual(fromNetwork);
});

test('without OPFS the Cache API keeps the model', async ({ page, site }) => {
  // The library asks in its worker, so the worker's script is what must find none.
  await page.route('**/dist/worker.js', async (route) => {
    const response = await route.fetch();
    const body = `delete StorageManager.prototype.getDirectory;${await response.text()}`;
    await route.fulfill({ response, body });
  });
  await site.open(page);
  expect(await load(page)).toEqual(fromNetwork);
  expect(await page.evaluate(() => caches.has('sotto'))).toBe(true);
  site.cutOff();
  await page.reload();
  expect(await load(page)).toEqual(fromCache);
});

test('a corrupted download is fetched once more', async ({ page, site }) => {
  await site.open(page);
  site.misbehave(weights, (response, bytes) => response.end(flipped(bytes)), 1);
  expect(await load(page)).toEqual(fromNetwork);
  expect(site.asked.filter((path) => path.endsWith(weights))).toHaveLength(2);
});

test('a download that is always corrupted is an error that says which file', async ({ page, site }) => {
  await site.open(page);
  site.misbehave(weights, (response, bytes) => response.end(flipped(bytes)));
  expect(await load(page)).toMatchObject({
    name: 'SottoError',
    code: 'integrity',
    message: expect.stringContaining(weights),
  });
});

test('a download that breaks off is resumed', async ({ page, site }) => {
  await site.open(page);
  site.misbehave(
    weights,
    (response, bytes) => {
      response.writeHead(200, { 'Content-Length': bytes.length });
      response.write(bytes.subarray(0, 20_000), () => setTimeout(() => response.destroy(), 300));
    },
    1,
  );
  expect(await load(page)).toEqual(fromNetwork);
});

for (const damage of ['rotted', 'evicted'] as const) {
  test(`a stored file that was ${damage} is fetched again`, async ({ page, site }) => {
    await site.open(page);
    await load(page);
    const found = await page.evaluate(
      async ({ weights, damage }) => {
        const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('sotto');
        let found = 0;
        for await (const folder of root.values()) {
          if (folder.kind !== 'directory') continue;
          for await (const name of (folder as FileSystemDirectoryHandle).keys()) {
            if (name !== weights) continue;
            found++;
            const handle = folder as FileSystemDirectoryHandle;
            if (damage === 'evicted') {
              await handle.removeEntry(name);
              break;
            }
            const writable = await (await handle.getFileHandle(name)).createWritable({ keepExistingData: true });
            await writable.write({ type: 'write', position: 30_000, data: new Uint8Array([1, 2, 3]) });
            await writable.close();
          }
        }
        return found;
      },
      { weights, damage },
    );
    expect(found).toBe(1);
    site.forget();
    expect((await load(page)).label).toBe('string');
    expect(site.asked.filter((path) => path.endsWith(weights))).toHaveLength(1);
    expect(await load(page)).toEqual(fromCache);
  });
}

test('loading can be aborted while the network hangs', async ({ page, site }) => {
  await site.open(page);
  site.misbehave(weights, (response, bytes) => {
    response.writeHead(200, { 'Content-Length': bytes.length });
    response.write(bytes.subarray(0, 1000));
  });
  const got = await page.evaluate(async () => {
    const stop = new AbortController();
    const loading = sotto.pipeline('text-classification', '/m/text-classification/', {
      signal: stop.signal,
      progress: ({ file }) => file.endsWith('.safetensors') && stop.abort(),
    });
    return loading.then(
      () => 'loaded',
      (error: unknown) => error === stop.signal.reason && (error as Error).name,
    );
  });
  expect(got).toBe('AbortError');
});

// Without a manifest nothing tells that a file is wrong but the file itself.
for (const file of ['config.json', 'tokenizer.json', weights]) {
  test(`a ${file} that is garbage is an error that says so`, async ({ page, site }) => {
    await site.open(page);
    site.misbehave('manifest.json', (response) => response.writeHead(404).end());
    site.misbehave(file, (response) => response.end('\u0000\u0001garbage\ufffd'.repeat(100)));
    const got = await load(page);
    expect(got).toMatchObject({ name: 'SottoError', code: 'invalid-file', message: expect.stringContaining(file) });
  });
}

test('a model that is not there is an error that says what is missing', async ({ page, site }) => {
  await site.open(page);
  expect(await load(page, '/m/nowhere/')).toMatchObject({
    name: 'SottoError',
    code: 'not-found',
    message: expect.stringContaining('config.json'),
  });
});
