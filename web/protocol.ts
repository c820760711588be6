// What the page and the worker say to each other: numbered requests with typed parameters, answered by notices and then
// one result or error. Either side runs over anything that posts messages in order.
import { asSottoError, SottoError } from './error.ts';
import type { Location } from './origins.ts';
import type { CacheMode, ProgressEvent } from './store.ts';
import type { Generated, GeneratedText, TokenChunk } from './stream.ts';
import type { Choice, Variant } from './variants.ts';

/** What every call takes. */
export interface CallOptions {
  /** Aborts the call, which then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** Names a model or tokenizer in the worker. */
export type Handle = number;

/** What loading tells of a tokenizer. */
export interface TokenizerFacts {
  handle: Handle;
  vocab_size: number;
  mask_token: string | undefined;
  chat: ChatFacts;
}

/** What a chat is written with. */
export interface ChatFacts {
  /** Jinja; empty where the model has none. */
  template: string;
  /** The tokens with a role, by Hugging Face's names (`bos_token`). */
  named_tokens: Record<string, string>;
  /** All special tokens, as they are spelled. */
  special_tokens: string[];
}

/** What loading tells of a model. */
export interface ModelFacts extends TokenizerFacts, Choice {
  task: string;
  /** config.json. */
  config: string;
  /** Of weights, as downloaded. */
  bytes: number;
}

/** Where a model comes from, and how it may be kept. */
export interface LoadParams {
  location: Location;
  cache: CacheMode;
}

/** A text as tokens, in arrays that need no copying. */
export interface EncodedText {
  ids: Int32Array<ArrayBuffer>;
  typeIds: Int32Array<ArrayBuffer>;
  special: Int32Array<ArrayBuffer>;
  /** begin, end, begin, end, … */
  offsets: Uint32Array<ArrayBuffer>;
  /** As they are spelled, one after another: one string is sent at once, thousands are not. */
  tokens: string;
  /** Where each of them ends in `tokens`. */
  tokenEnds: Uint32Array<ArrayBuffer>;
}

/** Options as the engine reads them: JSON without `undefined`. */
export type JsonOptions = Record<string, unknown>;

/** Every call, with what it takes, what it gives, and what it reports meanwhile. */
export interface Calls {
  start: {
    params: {
      /** Start what has tokenizers alone, of which there is one build and one thread. */
      tokenizerOnly: boolean;
      variant: Variant | undefined;
      threads: number | undefined;
      assetsURL: string | undefined;
    };
    /** What the engine was compiled to, where it is of use to hold it. */
    result: WebAssembly.Module | undefined;
    notice: never;
  };
  load: { params: LoadParams & { task: string; dtype: string }; result: ModelFacts; notice: ProgressEvent };
  loadTokenizer: { params: LoadParams; result: TokenizerFacts; notice: ProgressEvent };
  /** One result for each input. */
  run: {
    params: { handle: Handle; inputs: readonly unknown[]; options: JsonOptions };
    result: unknown[];
    notice: never;
  };
  extract: {
    params: { handle: Handle; texts: readonly string[]; options: JsonOptions };
    result: { dims: number[]; data: Float32Array<ArrayBuffer> }[];
    notice: never;
  };
  /** What happens inside the model for one input. */
  insides: {
    params: { handle: Handle; input: unknown; options: JsonOptions };
    result: { name: string; dims: number[]; data: Float32Array<ArrayBuffer> }[];
    notice: never;
  };
  /**
   * Sends one notice a token (of a single text), and waits when it is `credit` tokens ahead of its reader. The prompt is
   * a text, or the pieces of a rendered chat template: no token crosses from one to the next.
   */
  generate: {
    params: { handle: Handle; prompt: string | readonly string[]; options: JsonOptions; credit: number };
    result: Pick<Generated, 'prompt_tokens' | 'finish_reason'> & { texts: GeneratedText[] };
    notice: TokenChunk;
  };
  encode: {
    params: {
      handle: Handle;
      text: string;
      pair: string | undefined;
      addSpecial: boolean;
      parseSpecial: boolean;
      maxLength: number;
    };
    result: EncodedText;
    notice: never;
  };
  decode: {
    params: { handle: Handle; ids: Int32Array<ArrayBuffer>; skipSpecial: boolean };
    result: string;
    notice: never;
  };
  dispose: { params: { handle: Handle }; result: undefined; notice: never };
}

/** The name of a call. */
export type Method = keyof Calls;

/** From the page to the worker. */
export type Request =
  | { [M in Method]: { kind: 'call'; id: number; method: M; params: Calls[M]['params'] } }[Method]
  | { kind: 'abort'; id: number }
  | { kind: 'credit'; id: number; tokens: number };

/** From the worker to the page. */
export type Reply =
  | { kind: 'result'; id: number; value: unknown }
  | { kind: 'error'; id: number; code: string; message: string }
  | { kind: 'notice'; id: number; value: unknown };

/**
 * What a browser's worker asks of its page, outside of all calls: a worker that runs a thread's script and talks through
 * the port. A worker could start its own, but Firefox may wait for ever in the constructor while somebody debugs it.
 */
export interface ThreadWish {
  kind: 'thread';
  url: string;
  name: string;
  port: MessagePort;
}

/** One end of a line. */
export interface Port<Out, In> {
  post(message: Out, transfer: Transferable[]): void;
  listen(hear: (message: In) => void): void;
}

/** How a call is made. */
export interface Calling<M extends Method> {
  /** Any of these aborts the call, which rejects with its reason. */
  signals?: readonly (AbortSignal | undefined)[];
  notice?: ((value: Calls[M]['notice']) => void) | undefined;
  transfer?: Transferable[];
  /** Gets a result that came after the call was aborted. */
  late?: (value: Calls[M]['result']) => void;
  /** Told the call's number, with which to give it credit. */
  begun?: (id: number) => void;
}

interface Pending {
  resolve(value: unknown): void;
  reject(reason: unknown): void;
  notice: ((value: never) => void) | undefined;
  late: ((value: never) => void) | undefined;
  aborted: boolean;
}

/** The page's end. */
export class Client {
  readonly #port: Port<Request, Reply>;
  readonly #pending = new Map<number, Pending>();
  readonly #busy: (busy: boolean) => void;
  #next = 1;
  #broken: SottoError | undefined;

  /** `busy` is told when the first call begins and when the last one has ended. */
  constructor(port: Port<Request, Reply>, busy: (busy: boolean) => void = () => {}) {
    this.#port = port;
    this.#busy = busy;
    port.listen((reply) => this.#hear(reply));
  }

  /** Why the line is dead, if it is. */
  get broken(): SottoError | undefined {
    return this.#broken;
  }

  /** Makes a call. */
  call<M extends Method>(method: M, params: Calls[M]['params'], calling: Calling<M> = {}): Promise<Calls[M]['result']> {
    const signals = (calling.signals ?? []).filter((signal) => signal !== undefined);
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted) return Promise.reject(aborted.reason);
    if (this.#broken) return Promise.reject(this.#broken);
    const id = this.#next++;
    return new Promise<Calls[M]['result']>((resolve, reject) => {
      const stops = signals.map((signal) => {
        const stop = () => {
          const pending = this.#pending.get(id);
          if (!pending || pending.aborted) return;
          pending.aborted = true;
          unlisten();
          this.#port.post({ kind: 'abort', id }, []);
          reject(signal.reason);
        };
        signal.addEventListener('abort', stop);
        return () => signal.removeEventListener('abort', stop);
      });
      const unlisten = () => {
        for (const stop of stops) stop();
      };
      if (this.#pending.size === 0) this.#busy(true);
      this.#pending.set(id, {
        resolve: (value) => {
          unlisten();
          resolve(value as Calls[M]['result']);
        },
        reject: (reason) => {
          unlisten();
          reject(reason);
        },
        notice: calling.notice,
        late: calling.late,
        aborted: false,
      });
      try {
        this.#port.post({ kind: 'call', id, method, params } as Request, calling.transfer ?? []);
      } catch (error) {
        this.#end(id)?.reject(asSottoError(error, 'invalid-argument'));
        return;
      }
      calling.begun?.(id);
    });
  }

  /** Lets a running call send so many more notices. */
  credit(id: number, tokens: number): void {
    if (this.#pending.has(id) && !this.#broken) this.#port.post({ kind: 'credit', id, tokens }, []);
  }

  /** Ends every call, and those to come, with an error. */
  break(error: SottoError): void {
    this.#broken ??= error;
    for (const id of [...this.#pending.keys()]) {
      const pending = this.#end(id);
      if (!pending?.aborted) pending?.reject(error);
    }
  }

  #end(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (this.#pending.delete(id) && this.#pending.size === 0) this.#busy(false);
    return pending;
  }

  #hear(reply: Reply): void {
    if (reply.kind === 'notice') {
      const pending = this.#pending.get(reply.id);
      if (!pending?.aborted) pending?.notice?.(reply.value as never);
      return;
    }
    const pending = this.#end(reply.id);
    if (!pending) return;
    if (reply.kind === 'result') {
      if (pending.aborted) pending.late?.(reply.value as never);
      else pending.resolve(reply.value);
      return;
    }
    const error = SottoError.of(reply.code, reply.message);
    if (!pending.aborted) pending.reject(error);
    // What broke once cannot be trusted again.
    if (error.code === 'worker') this.break(error);
  }
}

/** What a call's handler can do while it runs. */
export interface Serving<M extends Method> {
  /** Fires when the caller aborts. */
  readonly signal: AbortSignal;
  notice(value: Calls[M]['notice']): void;
  /** Resolves when the caller has room for one more notice; rejects when it aborts. */
  room(): Promise<void>;
  /** Gives a buffer of the result away instead of copying it. */
  transfer(buffer: ArrayBuffer): void;
}

/** What answers each call. */
export type Handlers = {
  [M in Method]: (params: Calls[M]['params'], serving: Serving<M>) => Promise<Calls[M]['result']> | Calls[M]['result'];
};

/** How many notices a call may send unasked. */
const noCredit = Number.POSITIVE_INFINITY;

class Session {
  readonly abort = new AbortController();
  #credit = noCredit;
  #wake: (() => void) | undefined;

  constructor(credit: number | undefined) {
    this.#credit = credit ?? noCredit;
    this.abort.signal.addEventListener('abort', () => this.#wake?.());
  }

  grant(tokens: number): void {
    this.#credit += tokens;
    this.#wake?.();
  }

  async room(): Promise<void> {
    while (this.#credit < 1 && !this.abort.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.abort.signal.throwIfAborted();
    this.#credit--;
  }
}

/** The worker's end: answers calls, several at a time. */
export function serve(port: Port<Reply, Request>, handlers: Handlers): void {
  const sessions = new Map<number, Session>();
  const answer = async (request: Extract<Request, { kind: 'call' }>) => {
    const { id, method, params } = request;
    const session = new Session('credit' in params ? params.credit : undefined);
    sessions.set(id, session);
    const transfer: Transferable[] = [];
    const serving: Serving<Method> = {
      signal: session.abort.signal,
      notice: (value) => port.post({ kind: 'notice', id, value }, []),
      room: () => session.room(),
      transfer: (buffer) => transfer.push(buffer),
    };
    try {
      const handler = handlers[method] as (params: unknown, serving: Serving<Method>) => Promise<unknown>;
      const value = await handler(params, serving);
      port.post({ kind: 'result', id, value }, transfer);
    } catch (thrown) {
      const { code, message } = asSottoError(thrown);
      port.post({ kind: 'error', id, code, message }, []);
    } finally {
      sessions.delete(id);
    }
  };
  port.listen((request) => {
    if (request.kind === 'call') void answer(request);
    else if (request.kind === 'abort') sessions.get(request.id)?.abort.abort();
    else sessions.get(request.id)?.grant(request.tokens);
  });
}
