// A text that is being written, as the page reads it.

/** A token with its log-probability: natural, as the model gives it before any option changes it. */
export interface ScoredToken {
  /** Its id. */
  token: number;
  /** As it is spelled in the vocabulary. */
  token_str: string;
  logprob: number;
  /** The likeliest tokens at its place, with `top_logprobs`. */
  top_logprobs?: Omit<ScoredToken, 'top_logprobs'>[];
}

/** One generated text. */
export interface GeneratedText {
  generated_text: string;
  /** Its tokens, with `output_logprobs`. */
  tokens?: ScoredToken[];
}

/** One token of a generation; with `output_logprobs` also `token_str`, `logprob` and `top_logprobs`. */
export interface TokenChunk extends Partial<ScoredToken> {
  /** What it adds to the text; empty while a character is incomplete or a stop text may be under way. */
  text: string;
  /** Its id. */
  token: number;
}

/** How a generation ended. */
export interface Generated {
  /** The whole text, without the prompt. */
  text: string;
  /** The ids that were made. */
  tokens: number[];
  /** Tokens of the prompt. */
  prompt_tokens: number;
  /** `eos`: the model ended its text; `stop`: a stop text came; `length`: max_new_tokens, or the model's context, is full. */
  finish_reason: 'eos' | 'stop' | 'length';
}

/**
 * A text that is being written. It is read once: token by token in `for await`, or as text through `readable`.
 * Leaving the loop, cancelling the readable, or aborting the call's signal stops the model at once. The model runs
 * only a few tokens ahead of the reader.
 */
export interface TokenStream extends AsyncIterable<TokenChunk> {
  /** The text as it comes, for `pipeTo`, `pipeThrough` or a `Response`. */
  readonly readable: ReadableStream<string>;
  /** How it ended; reads what nobody else reads. Rejects as reading does. */
  result(): Promise<Generated>;
}

/** Where a stream's tokens come from. */
export interface TokenSource {
  /** Runs the generation; `token` is called for each token, and `signal` stops it. */
  run(
    token: (chunk: TokenChunk) => void,
    signal: AbortSignal,
  ): Promise<Pick<Generated, 'prompt_tokens' | 'finish_reason'>>;
  /** Asks for one more token. */
  credit(): void;
}

/** How many tokens a model may be ahead of its reader. */
export const streamCredit = 16;

/** Starts a generation at once. */
export function streamTokens(source: TokenSource): TokenStream {
  const stop = new AbortController();
  const queue: TokenChunk[] = [];
  const tokens: number[] = [];
  let text = '';
  let wake: (() => void) | undefined;
  let settled = false;
  let taken = false;

  const ended = source.run((chunk) => {
    queue.push(chunk);
    wake?.();
  }, stop.signal);
  const settle = () => {
    settled = true;
    wake?.();
  };
  ended.then(settle, settle);

  const next = async (): Promise<IteratorResult<TokenChunk, undefined>> => {
    while (queue.length === 0 && !settled) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    // An abort shows at once, whatever is still waiting to be read.
    if (settled) await ended;
    const chunk = queue.shift();
    if (!chunk) return { done: true, value: undefined };
    source.credit();
    tokens.push(chunk.token);
    text += chunk.text;
    return { done: false, value: chunk };
  };
  const cancel = () => stop.abort(new DOMException('The reader left.', 'AbortError'));
  const take = () => {
    if (taken) throw new TypeError('This stream is read already.');
    taken = true;
  };
  let readable: ReadableStream<string> | undefined;

  return {
    [Symbol.asyncIterator]() {
      take();
      let left = false;
      return {
        next: () => (left ? Promise.resolve({ done: true, value: undefined }) : next()),
        async return() {
          left = true;
          cancel();
          return { done: true, value: undefined };
        },
      };
    },
    get readable() {
      if (readable) return readable;
      take();
      readable = new ReadableStream<string>(
        {
          async pull(controller) {
            for (;;) {
              const { done, value } = await next();
              if (done) return controller.close();
              if (value.text !== '') return controller.enqueue(value.text);
            }
          },
          cancel,
        },
        { highWaterMark: 0 },
      );
      return readable;
    },
    async result() {
      if (!taken) {
        taken = true;
        while (!(await next()).done);
      }
      const { prompt_tokens, finish_reason } = await ended;
      return { text, tokens, prompt_tokens, finish_reason };
    },
  };
}
