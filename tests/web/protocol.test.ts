import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { SottoError } from '../../web/error.ts';
import { type Calls, Client, type Handlers, type Port, type Reply, type Request, serve } from '../../web/protocol.ts';
import { streamTokens } from '../../web/stream.ts';

function portOf<Out, In>(port: MessagePort): Port<Out, In> {
  return {
    post: (message, transfer) => port.postMessage(message, transfer),
    listen: (hear) => port.addEventListener('message', (event: MessageEvent<In>) => hear(event.data)),
  };
}

/** Both ends of a line, over a real channel; what a test does not answer is an error. */
function line(handlers: Partial<Handlers>, busy?: (busy: boolean) => void) {
  const { port1, port2 } = new MessageChannel();
  const unknown = () => {
    throw new SottoError('internal', 'not part of this test');
  };
  const all = new Proxy(handlers, { get: (target, name) => Reflect.get(target, name) ?? unknown }) as Handlers;
  serve(portOf<Reply, Request>(port2), all);
  const client = new Client(portOf<Request, Reply>(port1), busy);
  for (const port of [port1, port2]) {
    port.start();
    (port as unknown as { unref(): void }).unref();
  }
  // The ports alone do not keep the process.
  const alive = setInterval(() => {}, 1000);
  return { client, [Symbol.dispose]: () => clearInterval(alive) };
}

const facts: Calls['loadTokenizer']['result'] = {
  handle: 1,
  vocab_size: 2,
  mask_token: undefined,
  chat: { template: '', named_tokens: {}, special_tokens: [] },
};
const loadParams: Calls['loadTokenizer']['params'] = { location: { kind: 'url', base: 'http://x/' }, cache: 'default' };
const generateParams: Calls['generate']['params'] = { handle: 1, prompt: '', options: {}, credit: 4 };

describe('a call', () => {
  test('resolves to what its handler gives', async () => {
    using both = line({ decode: ({ ids }) => `${ids.length} ids` });
    const params = { handle: 1, ids: new Int32Array(3), skipSpecial: true };
    assert.equal(await both.client.call('decode', params), '3 ids');
  });

  test('rejects with the code and the sentence of what its handler throws', async () => {
    using both = line({
      dispose: () => {
        throw new SottoError('out-of-memory', 'There is no room.');
      },
    });
    const error = await both.client.call('dispose', { handle: 1 }).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof SottoError);
    assert.deepEqual([error.code, error.message], ['out-of-memory', 'There is no room.']);
  });

  test('that throws anything else is an internal error', async () => {
    using both = line({ dispose: () => Promise.reject(new TypeError('oops')) });
    await assert.rejects(both.client.call('dispose', { handle: 1 }), {
      name: 'SottoError',
      code: 'internal',
      message: 'oops',
    });
  });

  test('gives its notices in order before its result', async () => {
    using both = line({
      loadTokenizer: (_, { notice }) => {
        for (const loaded of [1, 2, 3]) {
          notice({ file: 'a', loaded, total: 3, from: 'network', overall: { loaded, total: 3 } });
        }
        return facts;
      },
    });
    const heard: number[] = [];
    await both.client.call('loadTokenizer', loadParams, { notice: ({ loaded }) => void heard.push(loaded) });
    assert.deepEqual(heard, [1, 2, 3]);
  });

  test('does not wait for an earlier one', async () => {
    let finish = () => {};
    using both = line({
      loadTokenizer: () => new Promise((resolve) => (finish = () => resolve(facts))),
      decode: () => 'quick',
    });
    const slow = both.client.call('loadTokenizer', loadParams);
    assert.equal(await both.client.call('decode', { handle: 1, ids: new Int32Array(), skipSpecial: true }), 'quick');
    finish();
    assert.equal((await slow).handle, 1);
  });

  test('whose parameters cannot be sent is an error of its caller', async () => {
    using both = line({});
    const inputs = [() => {}];
    await assert.rejects(both.client.call('run', { handle: 1, inputs, options: {} }), { code: 'invalid-argument' });
  });

  test('transfers the buffers of its result', async () => {
    using both = line({
      extract: (_, { transfer }) => {
        const data = new Float32Array([1, 2]);
        transfer(data.buffer);
        queueMicrotask(() => setImmediate(() => assert.equal(data.length, 0)));
        return [{ dims: [1, 2], data }];
      },
    });
    const [first] = await both.client.call('extract', { handle: 1, texts: [''], options: {} });
    assert.deepEqual([...(first?.data ?? [])], [1, 2]);
  });

  test('keeps the line busy until the last one ends', async () => {
    const states: boolean[] = [];
    using both = line({ dispose: () => undefined }, (busy) => states.push(busy));
    await Promise.all([both.client.call('dispose', { handle: 1 }), both.client.call('dispose', { handle: 2 })]);
    assert.deepEqual(states, [true, false]);
  });
});

describe('an abort', () => {
  test("rejects at once with the signal's reason, and reaches the handler", async () => {
    const reached = Promise.withResolvers<void>();
    using both = line({
      loadTokenizer: (_, { signal }) => {
        signal.addEventListener('abort', () => reached.resolve());
        return new Promise(() => {});
      },
    });
    const stop = new AbortController();
    const call = both.client.call('loadTokenizer', loadParams, { signals: [undefined, stop.signal] });
    await pause(10);
    const reason = new Error('enough');
    stop.abort(reason);
    await assert.rejects(call, (thrown) => thrown === reason);
    await reached.promise;
  });

  test('that was before the call sends nothing', async () => {
    let asked = false;
    using both = line({
      dispose: () => {
        asked = true;
      },
    });
    await assert.rejects(both.client.call('dispose', { handle: 1 }, { signals: [AbortSignal.abort()] }), {
      name: 'AbortError',
    });
    await pause(20);
    assert.equal(asked, false);
  });

  test('that crosses the result hands it to the clean-up', async () => {
    using both = line({ loadTokenizer: () => pause(30, facts) });
    const stop = new AbortController();
    const late = Promise.withResolvers<number>();
    const call = both.client.call('loadTokenizer', loadParams, {
      signals: [stop.signal],
      late: ({ handle }) => late.resolve(handle),
    });
    await pause(5);
    stop.abort();
    await assert.rejects(call, { name: 'AbortError' });
    assert.equal(await late.promise, 1);
  });
});

describe('a broken line', () => {
  test('rejects what runs and what comes', async () => {
    using both = line({ dispose: () => new Promise(() => {}) });
    const running = both.client.call('dispose', { handle: 1 });
    both.client.break(new SottoError('worker', 'gone'));
    await assert.rejects(running, { code: 'worker', message: 'gone' });
    await assert.rejects(both.client.call('dispose', { handle: 2 }), { code: 'worker' });
  });

  test('is what an engine that broke down leaves', async () => {
    using both = line({
      dispose: () => {
        throw new SottoError('worker', 'memory access out of bounds');
      },
      decode: () => 'never',
    });
    await assert.rejects(both.client.call('dispose', { handle: 1 }), { code: 'worker' });
    await assert.rejects(both.client.call('decode', { handle: 1, ids: new Int32Array(), skipSpecial: true }), {
      code: 'worker',
    });
  });
});

describe('a token stream', () => {
  const made: number[] = [];
  /** Counts upwards, with or without end. */
  const counting: (end: number) => Handlers['generate'] =
    (end) =>
    async (_, { room, notice }) => {
      made.length = 0;
      for (let token = 0; token < end; token++) {
        await room();
        made.push(token);
        notice({ token, text: `${token} ` });
      }
      return { prompt_tokens: 1, finish_reason: 'length', texts: [] };
    };
  const open = (client: Client, signal?: AbortSignal) => {
    let id = 0;
    return streamTokens({
      run: (notice, stop) =>
        client.call('generate', generateParams, {
          signals: [signal, stop],
          notice,
          begun: (number) => {
            id = number;
          },
        }),
      credit: () => client.credit(id, 1),
    });
  };

  test('gives every token in order, and how it ended', async () => {
    using both = line({ generate: counting(20) });
    const stream = open(both.client);
    const tokens: number[] = [];
    for await (const { token } of stream) tokens.push(token);
    assert.deepEqual(tokens, [...Array(20).keys()]);
    const { text, finish_reason, prompt_tokens } = await stream.result();
    assert.equal(text, `${tokens.join(' ')} `);
    assert.deepEqual([finish_reason, prompt_tokens], ['length', 1]);
  });

  test('is made no further ahead than its credit', async () => {
    using both = line({ generate: counting(1000) });
    const tokens = open(both.client)[Symbol.asyncIterator]();
    await pause(30);
    assert.equal(made.length, 4);
    await tokens.next();
    await tokens.next();
    await pause(30);
    assert.equal(made.length, 6);
    await tokens.return?.();
  });

  test('stops when its reader leaves the loop', async () => {
    using both = line({ generate: counting(Number.POSITIVE_INFINITY) });
    for await (const { token } of open(both.client)) if (token === 10) break;
    await pause(30);
    const { length } = made;
    await pause(30);
    assert.equal(made.length, length);
  });

  test('stops when its readable is cancelled', async () => {
    using both = line({ generate: counting(Number.POSITIVE_INFINITY) });
    const reader = open(both.client).readable.getReader();
    assert.equal((await reader.read()).value, '0 ');
    await reader.cancel();
    await pause(30);
    const { length } = made;
    await pause(30);
    assert.equal(made.length, length);
  });

  test('is readable as text', async () => {
    using both = line({ generate: counting(7) });
    assert.equal(
      await new Response(open(both.client).readable.pipeThrough(new TextEncoderStream())).text(),
      '0 1 2 3 4 5 6 ',
    );
  });

  test('rejects in mid-stream with the reason of its signal', async () => {
    using both = line({ generate: counting(Number.POSITIVE_INFINITY) });
    const stop = new AbortController();
    const stream = open(both.client, stop.signal);
    let read = 0;
    await assert.rejects(
      async () => {
        for await (const _ of stream) if (++read === 5) stop.abort();
      },
      { name: 'AbortError' },
    );
    assert.equal(read, 5);
    await assert.rejects(stream.result(), { name: 'AbortError' });
  });

  test('that nobody reads is read by its result', async () => {
    using both = line({ generate: counting(100) });
    assert.equal((await open(both.client).result()).tokens.length, 100);
  });

  test('is read once', async () => {
    using both = line({ generate: counting(3) });
    const stream = open(both.client);
    assert.equal(stream.readable, stream.readable);
    assert.throws(() => stream[Symbol.asyncIterator](), TypeError);
  });
});
