/** One token of a generation. */
export interface TokenChunk {
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
