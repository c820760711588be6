import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { type FileCache, folderCache } from '../../web/cache.ts';
import type { SottoError } from '../../web/error.ts';
import { type Location, locate, parseManifest } from '../../web/origins.ts';
import { type CacheMode, Loader, type ProgressEvent, type Target } from '../../web/store.ts';
import { type Disk, MemoryFolder } from './memory_folder.ts';
import { breakAfter, ModelServer } from './model_server.ts';

/** Keeps what arrives. */
class Kept implements Target {
  bytes: number[] = [];
  begun = 0;
  ended = false;
  readonly #tell: () => void;
  constructor(tell: () => void) {
    this.#tell = tell;
  }
  begin(): void {
    this.bytes = [];
    this.begun++;
    this.ended = false;
  }
  write(chunk: Uint8Array): void {
    assert.ok(!this.ended, 'nothing is written after the end');
    for (const byte of chunk) this.bytes.push(byte);
  }
  end(): void {
    this.ended = true;
    this.#tell();
  }
}

const noise = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (Math.imul(i + 1, 2654435761) >>> (seed + 7)) & 255);

let server: ModelServer;
let disk: Disk;
let folder: MemoryFolder;
let events: ProgressEvent[];

interface Visit {
  mode?: CacheMode;
  /** What the visit has in the cache's place. */
  slowed?(cache: FileCache): FileCache;
  ended?(name: string): void;
  /** Once everything is at its target, before it is stored. */
  loaded?(): void;
  signal?: AbortSignal;
  location?: Location;
  weights?: boolean;
  sentence?: boolean;
  /** The files that the first GGUF file names, whose beginnings it wants to see. */
  parts?: readonly string[];
}

/** What the first file saw of the others. */
let peeked: Map<string, number[]>;

/** One visit of a page: a new loader over the same disk. */
async function visit({
  mode = 'default',
  slowed = (cache) => cache,
  ended = () => {},
  loaded = () => {},
  signal,
  location,
  weights = true,
  sentence = false,
  parts = [],
}: Visit = {}): Promise<Map<string, Kept>> {
  const kept = new Map<string, Kept>();
  events = [];
  peeked = new Map();
  const loader = new Loader(
    location ?? { kind: 'url', base: server.url },
    slowed(folderCache(folder as unknown as FileSystemDirectoryHandle)),
    mode,
    signal ?? new AbortController().signal,
    (event) => events.push(event),
  );
  await loader.load({
    weights,
    sentence,
    parts: () => parts,
    target(name, peek) {
      const target = new Kept(() => ended(name));
      kept.set(name, target);
      if (name !== parts[0]) return target;
      return {
        begin: () => target.begin(),
        async write(chunk) {
          target.write(chunk);
          if (peeked.size > 0) return;
          for (const part of parts.slice(1)) {
            const seen: number[] = [];
            peeked.set(part, seen);
            await peek(part, (piece, bytes) => {
              assert.equal(bytes, server.files.get(part)?.length);
              seen.push(...piece.subarray(0, 10));
              return seen.length >= 10;
            });
          }
        },
        end: () => target.end(),
      };
    },
  });
  loaded();
  await loader.store();
  for (const [name, target] of kept) if (!target.ended) kept.delete(name);
  return kept;
}

function assertWhole(kept: Map<string, Kept>): void {
  for (const [name, bytes] of server.files) assert.deepEqual(kept.get(name)?.bytes, [...bytes], name);
}

const failure = (code: string, message?: RegExp) => (error: SottoError) => {
  assert.equal(error.name, 'SottoError');
  assert.equal(error.code, code, error.message);
  if (message) assert.match(error.message, message);
  return true;
};

const weights = 'model.safetensors';

for (const synchronous of [true, false]) {
  describe(`loading from the web with ${synchronous ? 'synchronous' : 'streamed'} writes to the disk`, () => {
    beforeEach(async () => {
      disk = { room: 1e9, synchronous };
      folder = new MemoryFolder(disk);
      server = new ModelServer();
      server.files.set('config.json', Buffer.from('{"model_type":"x"}'));
      server.files.set('tokenizer.json', Buffer.from('{}'));
      server.files.set(weights, noise(300_000, 1));
      await server.start();
    });
    afterEach(() => server.stop());

    test('every file of the manifest comes whole, and nothing else is asked for', async () => {
      assertWhole(await visit());
      assert.deepEqual(
        server.asked.map(({ name }) => name).sort(),
        ['config.json', 'manifest.json', weights, 'tokenizer.json'].sort(),
      );
    });

    test('a second visit fetches only the manifest', async () => {
      await visit();
      server.asked.length = 0;
      assertWhole(await visit());
      assert.deepEqual(
        server.asked.map(({ name }) => name),
        ['manifest.json'],
      );
      assert.ok(events.every(({ from }) => from === 'cache'));
    });

    test('no target waits for the cache, but the visit does', { timeout: 60_000 }, async () => {
      const left = new Set(server.files.keys());
      let open = () => {};
      const opened = new Promise<void>((resolve) => {
        open = resolve;
      });
      const kept = await visit({
        slowed: (cache) => ({ ...cache, write: (path, offset) => opened.then(() => cache.write(path, offset)) }),
        ended(name) {
          left.delete(name);
          if (left.size === 0) open();
        },
      });
      assertWhole(kept);
      assertWhole(await visit());
      assert.ok(events.every(({ from }) => from === 'cache'));
    });

    test('a small model is not written before it is whole, a large one meanwhile', async () => {
      const write = mock.fn((cache: FileCache, ...where: Parameters<FileCache['write']>) => cache.write(...where));
      const writes = async () => {
        let before = 0;
        write.mock.resetCalls();
        await visit({
          slowed: (cache) => ({ ...cache, write: (path, offset) => write(cache, path, offset) }),
          loaded() {
            before = write.mock.callCount();
          },
        });
        return [before, write.mock.callCount() - before];
      };
      const [before, after] = await writes();
      assert.equal(before, 0);
      assert.ok((after ?? 0) >= server.files.size);
      server.files.set(weights, noise(9 * 2 ** 20, 5));
      const [meanwhile] = await writes();
      assert.ok((meanwhile ?? 0) > 0);
      assertWhole(await visit());
    });

    test('without a network the stored model serves as it is', async () => {
      await visit();
      await server.stop();
      assertWhole(await visit());
      assertWhole(await visit({ mode: 'only-if-cached' }));
    });

    test('a stored model serves without asking under force-cache', async () => {
      await visit();
      server.asked.length = 0;
      assertWhole(await visit({ mode: 'force-cache' }));
      assert.equal(server.asked.length, 0);
    });

    test('nothing is stored under no-store', async () => {
      await visit({ mode: 'no-store' });
      await server.stop();
      await assert.rejects(visit(), failure('network'));
      await assert.rejects(visit({ mode: 'only-if-cached' }), failure('not-found'));
    });

    test('a file that rotted in the cache is fetched again', async () => {
      await visit();
      const stored = folder.find(weights);
      assert.ok(stored);
      stored.bytes[123_456] = (stored.bytes[123_456] ?? 0) ^ 1;
      assertWhole(await visit());
      assert.equal(server.count(weights), 2);
      assertWhole(await visit());
      assert.equal(server.count(weights), 2, 'and stored again');
    });

    test('a file of many pieces is known again, and one that rotted is fetched again', async () => {
      server.files.set(weights, noise(5_000_000, 5));
      await visit();
      assertWhole(await visit());
      assert.equal(server.count(weights), 1);
      const stored = folder.find(weights);
      assert.ok(stored);
      stored.bytes[4_500_000] = (stored.bytes[4_500_000] ?? 0) ^ 1;
      assertWhole(await visit());
      assert.equal(server.count(weights), 2);
    });

    test('weights are asked for while config.json is on its way, and begin after it', { timeout: 60_000 }, async () => {
      const waiting: (() => void)[] = [];
      server.intercept = ({ name }, response) => {
        if (name !== weights && name !== 'config.json') return false;
        waiting.push(() => response.end(server.files.get(name)));
        if (waiting.length === 2) for (const send of waiting.reverse()) send();
        return true;
      };
      assertWhole(await visit());
      const first = events.find(({ file }) => file === weights || file === 'config.json');
      assert.equal(first?.file, 'config.json');
    });

    test('an evicted file is fetched again', async () => {
      await visit();
      folder.evict(weights);
      assertWhole(await visit());
      assert.equal(server.count(weights), 2);
      assert.equal(server.count('tokenizer.json'), 1);
    });

    test('a cache whose index is garbage counts as empty', async () => {
      await visit();
      folder.find('index.json')?.bytes.fill(33);
      assertWhole(await visit());
    });

    test('a changed manifest brings the changed file', async () => {
      await visit();
      server.files.set(weights, noise(200_000, 3));
      assertWhole(await visit());
      assert.equal(server.count('config.json'), 1);
    });

    test('a download that does not match is tried once more', async () => {
      let wrong = 1;
      server.intercept = (asked, response) => {
        if (asked.name !== weights || wrong-- <= 0) return false;
        response.end(noise(300_000, 2));
        return true;
      };
      assertWhole(await visit());
      assert.equal(server.count(weights), 2);
    });

    test('a download that never matches is an integrity error, and is not stored', async () => {
      server.intercept = (asked, response) => {
        if (asked.name !== weights) return false;
        response.end(noise(300_000, 2));
        return true;
      };
      await assert.rejects(visit(), failure('integrity', /model\.safetensors .*SHA-256/));
      server.intercept = undefined;
      assertWhole(await visit());
    });

    test('a file that is longer than its manifest says is an integrity error', async () => {
      server.intercept = (asked, response) => {
        if (asked.name !== weights) return false;
        response.end(noise(300_001, 1));
        return true;
      };
      await assert.rejects(visit(), failure('integrity', /more than 300000 bytes/));
    });

    test('a connection that breaks is resumed where it broke', async () => {
      let breaks = 1;
      server.intercept = (asked, response) => {
        if (asked.name !== weights || breaks-- <= 0) return false;
        breakAfter(response, noise(300_000, 1), 100_000, 'break');
        return true;
      };
      assertWhole(await visit());
      assert.equal(server.asked.at(-1)?.range, 'bytes=100000-');
      assertWhole(await visit());
      assert.equal(server.count(weights), 2, 'what was resumed is stored whole');
    });

    test('a connection that always breaks is a network error', async () => {
      server.intercept = (asked, response) => {
        if (asked.name !== weights) return false;
        breakAfter(response, noise(300_000, 1), 1000, 'break');
        return true;
      };
      await assert.rejects(visit(), failure('network', /model\.safetensors/));
    });

    test('an aborted visit rejects with the reason, and the next one takes up what it left', async () => {
      const stop = new AbortController();
      server.intercept = (asked, response) => {
        if (asked.name !== weights) return false;
        breakAfter(response, noise(300_000, 1), 150_000, 'hang');
        setTimeout(() => stop.abort(new Error('enough')), 100);
        return true;
      };
      await assert.rejects(visit({ signal: stop.signal }), /enough/);
      server.intercept = undefined;
      assertWhole(await visit());
      assert.equal(server.asked.at(-1)?.range, 'bytes=150000-');
    });

    test('what an aborted visit left is dropped when it turns out to be wrong', async () => {
      const stop = new AbortController();
      server.intercept = (asked, response) => {
        if (asked.name !== weights) return false;
        breakAfter(response, noise(300_000, 2), 150_000, 'hang');
        setTimeout(() => stop.abort(), 100);
        return true;
      };
      await assert.rejects(visit({ signal: stop.signal }), { name: 'AbortError' });
      server.intercept = undefined;
      assertWhole(await visit());
    });

    test('an aborted signal stops before anything is asked', async () => {
      await assert.rejects(visit({ signal: AbortSignal.abort() }), { name: 'AbortError' });
      assert.equal(server.asked.length, 0);
    });

    test('a full disk stops nothing', async () => {
      disk.room = 100_000;
      assertWhole(await visit());
      assert.equal(folder.find(weights), undefined, 'what did not fit makes room');
      assertWhole(await visit());
    });

    test('progress counts the bytes of each file and of all', async () => {
      await visit();
      const last = events.at(-1);
      assert.deepEqual(last?.overall, { loaded: 300_020, total: 300_020 });
      for (const [name, bytes] of server.files) {
        const ofFile = events.filter(({ file }) => file === name);
        assert.equal(ofFile.at(-1)?.loaded, bytes.length);
        assert.ok(ofFile.every(({ from, loaded }, i) => from === 'network' && loaded >= (ofFile[i - 1]?.loaded ?? 0)));
      }
    });

    test('a folder without a manifest loads, and is stored', async () => {
      server.manifest = false;
      assertWhole(await visit());
      server.asked.length = 0;
      assertWhole(await visit());
      assert.equal(server.count(weights), 0);
      await server.stop();
      assertWhole(await visit());
    });

    test('a changed file of a folder without a manifest is noticed by its tag', async () => {
      server.manifest = false;
      await visit();
      server.files.set(weights, noise(300_000, 3));
      assertWhole(await visit());
    });

    test("a page in a file's place means that there is none", async () => {
      server.manifest = false;
      server.intercept = (asked, response) => {
        if (server.files.has(asked.name)) return false;
        response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html>');
        return true;
      };
      const kept = await visit();
      assertWhole(kept);
      assert.equal(kept.size, server.files.size);
    });

    test("a web app's own manifest.json is not taken for a model's", async () => {
      server.manifest = false;
      server.files.set('manifest.json', Buffer.from('{"name":"An app"}'));
      const kept = await visit();
      assert.ok(kept.has(weights));
    });

    test('a sharded model brings its index and every shard', async () => {
      server.files.delete(weights);
      server.files.set('model-1.safetensors', noise(1000, 1));
      server.files.set('model-2.safetensors', noise(2000, 2));
      const map = { weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors', c: 'model-1.safetensors' } };
      server.files.set('model.safetensors.index.json', Buffer.from(JSON.stringify(map)));
      assertWhole(await visit());
      server.manifest = false;
      assertWhole(await visit());
    });

    test('an index that names a path is refused', async () => {
      server.files.delete(weights);
      const map = { weight_map: { a: '../../secret' } };
      server.files.set('model.safetensors.index.json', Buffer.from(JSON.stringify(map)));
      await assert.rejects(visit(), failure('invalid-file', /same folder/));
    });

    test('missing weights are named', async () => {
      server.files.delete(weights);
      await assert.rejects(visit(), failure('not-found', /no model\.safetensors/));
      server.manifest = false;
      await assert.rejects(visit(), failure('not-found', /no model\.safetensors/));
    });

    test('a model in a pickle alone is refused, with the reason and what to do', async () => {
      server.files.delete(weights);
      server.files.set('pytorch_model.bin', noise(100, 1));
      const reason = /pytorch_model\.bin.* run code .*save_pretrained/;
      await assert.rejects(visit(), failure('unsupported', reason));
      server.manifest = false;
      await assert.rejects(visit(), failure('unsupported', reason));
      assert.equal(server.count('pytorch_model.bin'), 0);
    });

    test('without tokenizer.json the older files come', async () => {
      server.files.delete('tokenizer.json');
      server.files.set('vocab.txt', noise(100, 1));
      server.files.set('added_tokens.json', Buffer.from('{}'));
      assertWhole(await visit());
      const alone = await visit({ weights: false });
      assert.deepEqual([...alone.keys()].sort(), ['added_tokens.json', 'config.json', 'vocab.txt']);
      server.manifest = false;
      assertWhole(await visit());
      server.files.delete('vocab.txt');
      server.files.delete('added_tokens.json');
      await assert.rejects(visit(), failure('not-found', /no tokenizer\.json/));
    });

    test('the modules of sentence-transformers come with their folders where they are wanted', async () => {
      const modules = [
        { path: '', type: 'sentence_transformers.models.Transformer' },
        { path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
        { path: '2_Dense', type: 'sentence_transformers.models.Dense' },
      ];
      assert.ok(!(await visit()).has('modules.json'));
      server.files.set('modules.json', Buffer.from(JSON.stringify(modules)));
      server.files.set('sentence_bert_config.json', Buffer.from('{}'));
      server.files.set('1_Pooling/config.json', Buffer.from('{"a":1}'));
      server.files.set('2_Dense/config.json', Buffer.from('{"b":1}'));
      server.files.set('2_Dense/model.safetensors', noise(1000, 4));
      for (const manifest of [true, false]) {
        server.manifest = manifest;
        assert.ok(!(await visit()).has('1_Pooling/config.json'));
        assertWhole(await visit({ sentence: true }));
      }
      await server.stop();
      assertWhole(await visit({ sentence: true }));
    });

    test('a module outside of the model is refused', async () => {
      for (const path of ['../x', '..', 'a/b', '/a']) {
        server.files.set('modules.json', Buffer.from(JSON.stringify([{ path, type: 'x.Dense' }])));
        await assert.rejects(visit({ sentence: true }), failure('invalid-file', /modules\.json/));
      }
    });

    test('a GGUF file comes alone', async () => {
      server.files.set('m.gguf', noise(100_000, 5));
      const location: Location = { kind: 'url', base: server.url, gguf: 'm.gguf' };
      const kept = await visit({ location });
      assert.deepEqual([...kept.keys()], ['m.gguf']);
      assert.deepEqual(kept.get('m.gguf')?.bytes, [...noise(100_000, 5)]);
      await server.stop();
      assert.ok((await visit({ location })).has('m.gguf'));
    });

    test('a GGUF model in several files shows their beginnings to the first', async () => {
      const parts = [1, 2, 3].map((i) => `m-0000${i}-of-00003.gguf`);
      for (const [i, name] of parts.entries()) server.files.set(name, noise(150_000 + i, i));
      const location: Location = { kind: 'url', base: server.url, gguf: parts[0] ?? '' };
      for (const manifest of [true, false]) {
        server.manifest = manifest;
        for (const [name, kept] of await visit({ location, parts })) {
          assert.deepEqual(kept.bytes, [...(server.files.get(name) ?? [])], name);
        }
        assert.deepEqual([...peeked.keys()], parts.slice(1));
        for (const [name, seen] of peeked) assert.deepEqual(seen.slice(0, 10), [...noise(10, parts.indexOf(name))]);
      }
      await server.stop();
      assert.equal((await visit({ location, parts })).size, 3);
    });

    test('a folder of GGUF files alone says what to name', async () => {
      server.files.delete('config.json');
      server.files.set('m.gguf', noise(100, 5));
      await assert.rejects(visit(), failure('not-found', /no config\.json.* name one of them, as m\.gguf/));
    });

    test('a connection that breaks is resumed by a tag where there is no hash', async () => {
      server.manifest = false;
      let breaks = 1;
      server.intercept = (asked, response) => {
        if (asked.name !== weights || breaks-- <= 0) return false;
        breakAfter(response, noise(300_000, 1), 100_000, 'break', server.tag(weights));
        return true;
      };
      assertWhole(await visit());
      assert.equal(server.asked.at(-1)?.range, 'bytes=100000-');
    });

    test('a file that changed while the connection was broken begins anew', async () => {
      server.manifest = false;
      let breaks = 1;
      server.intercept = (asked, response) => {
        if (asked.name !== weights || breaks-- <= 0) return false;
        breakAfter(response, noise(300_000, 2), 100_000, 'break', '"another"');
        return true;
      };
      assertWhole(await visit());
      assert.equal(server.asked.at(-1)?.range, undefined);
    });

    test('the tokenizer alone comes without weights', async () => {
      const kept = await visit({ weights: false });
      assert.deepEqual([...kept.keys()], ['tokenizer.json']);
    });

    test("a server's failure is a network error that names its status", async () => {
      server.intercept = (asked, response) => {
        if (asked.name !== weights) return false;
        response.writeHead(503).end();
        return true;
      };
      await assert.rejects(visit(), failure('network', /503/));
    });

    test("the Hub's listing gives sizes and hashes", async () => {
      const listing = [...(parseManifest(server.makeManifest()) ?? [])].map(({ name, bytes, sha256 }) => ({
        type: 'file',
        path: name,
        size: bytes,
        oid: `oid-${sha256}`,
        ...(name === weights ? { lfs: { oid: sha256 } } : {}),
      }));
      server.intercept = (asked, response) => {
        if (asked.name !== 'listing') return false;
        response.end(JSON.stringify([...listing, { type: 'directory', path: 'onnx' }]));
        return true;
      };
      const location: Location = { kind: 'hub', base: server.url, listing: `${server.url}listing` };
      assertWhole(await visit({ location }));
      server.asked.length = 0;
      assertWhole(await visit({ location }));
      assert.deepEqual(
        server.asked.map(({ name }) => name),
        ['listing'],
      );
    });
  });
}

describe('files that the user picked', () => {
  const files = (manifest?: string) => [
    new File(['{}'], 'config.json'),
    new File(['{}'], 'tokenizer.json'),
    new File([noise(1000, 1)], weights),
    ...(manifest === undefined ? [] : [new File([manifest], 'manifest.json')]),
  ];

  test('are read as they are', async () => {
    const kept = await visit({ location: { kind: 'files', files: files() } });
    assert.deepEqual(kept.get(weights)?.bytes, [...noise(1000, 1)]);
    assert.ok(events.every(({ from }) => from === 'file'));
  });

  test('are verified where a manifest is among them', async () => {
    const manifest = { files: [{ name: weights, bytes: 1000, sha256: '0'.repeat(64) }] };
    const location: Location = { kind: 'files', files: files(JSON.stringify(manifest)) };
    await assert.rejects(visit({ location }), failure('integrity', /SHA-256/));
  });
});

describe('folders and GGUF files that the user picked', () => {
  test('keep the paths within the folder', async () => {
    const file = (name: string, text: string) =>
      Object.defineProperty(new File([text], name.split('/').at(-1) ?? ''), 'webkitRelativePath', { value: name });
    const modules = [{ path: '1_Pooling', type: 'sentence_transformers.models.Pooling' }];
    const files = [
      file('m/config.json', '{}'),
      file('m/tokenizer.json', '{}'),
      file('m/model.safetensors', 'x'),
      file('m/modules.json', JSON.stringify(modules)),
      file('m/1_Pooling/config.json', '{"a":1}'),
    ];
    const kept = await visit({ location: { kind: 'files', files }, sentence: true });
    assert.equal(String.fromCharCode(...(kept.get('1_Pooling/config.json')?.bytes ?? [])), '{"a":1}');
  });

  test('of the same name are an error that says so', async () => {
    const files = ['{}', '{"a":1}'].map((text) => new File([text], 'config.json'));
    await assert.rejects(visit({ location: { kind: 'files', files } }), failure('invalid-argument', /config\.json/));
  });

  test('are one model each', () => {
    const files = (...names: string[]) => names.map((name) => new File(['x'], name));
    const located = (...names: string[]) => locate(files(...names), {}, undefined).gguf;
    assert.equal(located('m.gguf'), 'm.gguf');
    assert.equal(located('m-00002-of-00002.gguf', 'm-00001-of-00002.gguf'), 'm-00001-of-00002.gguf');
    assert.equal(located('config.json', 'm.gguf'), undefined);
    assert.throws(() => located('a.gguf', 'b.gguf'), failure('invalid-argument', /a\.gguf, b\.gguf/));
  });
});

describe('a source', () => {
  const page = 'https://example.org/app/index.html';
  test('that is relative is relative to the page', () => {
    assert.deepEqual(locate('./models/a', {}, page), { kind: 'folder', path: './models/a' }, 'a path in Node');
    assert.deepEqual(locate('https://example.org/m', {}, page), { kind: 'url', base: 'https://example.org/m/' });
    assert.deepEqual(locate(new URL('http://x.org/m/#a'), {}, page), { kind: 'url', base: 'http://x.org/m/' });
  });

  test('of the form owner/name is on the Hub, or on its mirror', () => {
    assert.deepEqual(locate('owner/name', {}, page), {
      kind: 'hub',
      base: 'https://huggingface.co/owner/name/resolve/main/',
      listing: 'https://huggingface.co/api/models/owner/name/tree/main',
    });
    assert.deepEqual(locate('owner/name', { hub: 'https://mirror.org/', revision: 'v1/x' }, page), {
      kind: 'hub',
      base: 'https://mirror.org/owner/name/resolve/v1%2Fx/',
      listing: 'https://mirror.org/api/models/owner/name/tree/v1%2Fx',
    });
  });

  test('that ends in .gguf is that file', () => {
    assert.deepEqual(locate('https://example.org/m/a%20b.gguf?x=1', {}, page), {
      kind: 'url',
      base: 'https://example.org/m/',
      gguf: 'a b.gguf',
    });
    assert.deepEqual(locate('models/m-00002-of-00003.gguf', {}, page), {
      kind: 'folder',
      path: 'models/',
      gguf: 'm-00001-of-00003.gguf',
    });
    assert.deepEqual(locate('owner/name/m.Q4_K_M.gguf', {}, page), {
      kind: 'hub',
      base: 'https://huggingface.co/owner/name/resolve/main/',
      listing: 'https://huggingface.co/api/models/owner/name/tree/main',
      gguf: 'm.Q4_K_M.gguf',
    });
  });

  test('without files is an error', () => {
    assert.throws(() => locate([], {}, page), failure('invalid-argument'));
  });
});

describe('a manifest', () => {
  test('with an entry that is not whole is an error', () => {
    const good = { name: 'a', bytes: 1, sha256: '0'.repeat(64) };
    assert.equal(parseManifest(JSON.stringify({ files: [good] }))?.length, 1);
    for (const bad of [
      { ...good, name: '../a' },
      { ...good, name: 'a/..' },
      { ...good, name: 'a/b/c' },
      { ...good, bytes: -1 },
      { ...good, bytes: 1.5 },
      { ...good, sha256: 'x' },
      null,
    ]) {
      assert.throws(() => parseManifest(JSON.stringify({ files: [bad] })), failure('invalid-file'));
    }
  });
});
