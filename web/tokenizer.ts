/// <reference lib="esnext.disposable" preserve="true" />
// Tokenizers as the page sees them. The work is done in a worker.
import { type ChatMessage, type ChatTemplateOptions, writeChat } from './chat.ts';
import { type AssetOptions, asyncDisposable, type Engine, load } from './engine.ts';
import type { ModelSource } from './origins.ts';
import type { CallOptions, EncodedText, TokenizerFacts } from './protocol.ts';
import type { StoreOptions } from './store.ts';

/** Options of an encoding. */
export interface EncodeOptions extends CallOptions {
  /** A second text, encoded as the pair's other half. */
  text_pair?: string;
  /** Whether the tokens that the model expects around a text are added (default: yes). */
  add_special_tokens?: boolean;
  /** Whether special tokens written out in the text, such as `[MASK]`, become those tokens. Default: no, they are text. */
  parse_special?: boolean;
  /** Cut to this many tokens, special ones included. */
  max_length?: number;
}

/** A text as tokens: one entry for each in every list. */
export interface TextEncoding {
  ids: Int32Array<ArrayBuffer>;
  /** 0 for the first text and 1 for the second, as BERT counts segments. */
  token_type_ids: Int32Array<ArrayBuffer>;
  /** As the vocabulary spells them. */
  tokens: string[];
  /** Where each token came from in its text, in UTF-16 code units: `text.slice(begin, end)`. Added tokens have (0, 0). */
  offsets: [begin: number, end: number][];
  /** 1 for tokens that were added around the text. */
  special_tokens_mask: Uint8Array<ArrayBuffer>;
}

/** Options of a decoding. */
export interface DecodeOptions extends CallOptions {
  /** Whether special tokens are left out (default: yes). */
  skip_special_tokens?: boolean;
}

/** What a tokenizer does, be it alone or in a pipeline. */
export interface TokenizerCalls {
  encode(text: string, options?: EncodeOptions): Promise<TextEncoding>;
  decode(ids: Int32Array | readonly number[], options?: DecodeOptions): Promise<string>;
  /**
   * A chat as the text that the model continues, by its own template. To count its tokens, encode it with
   * `parse_special` and without `add_special_tokens`.
   */
  apply_chat_template(messages: readonly ChatMessage[], options?: ChatTemplateOptions): Promise<string>;
  /** How many ids there are, added tokens included. */
  readonly vocab_size: number;
  /** What to write where a word is missing, for models that fill masks. */
  readonly mask_token: string | undefined;
  /** The Jinja template by which the model writes chats. */
  readonly chat_template: string | undefined;
}

/** Spellings and offsets are made when somebody asks for them: who counts tokens needs neither. */
function readable({ ids, typeIds, special, ...sent }: EncodedText): TextEncoding {
  let tokens: string[] | undefined;
  let offsets: TextEncoding['offsets'] | undefined;
  return {
    ids,
    token_type_ids: typeIds,
    get tokens() {
      tokens ??= Array.from(sent.tokenEnds, (end, i) => sent.tokens.slice(sent.tokenEnds[i - 1] ?? 0, end));
      return tokens;
    },
    get offsets() {
      offsets ??= Array.from(ids, (_, i) => [sent.offsets[2 * i] ?? 0, sent.offsets[2 * i + 1] ?? 0]);
      return offsets;
    },
    special_tokens_mask: new Uint8Array(special),
  };
}

/** A tokenizer in the worker; `lifetime` ends its calls. */
export function tokenizerCalls(engine: Engine, facts: TokenizerFacts, lifetime: AbortSignal): TokenizerCalls {
  const { client } = engine;
  const { handle, vocab_size, mask_token, chat } = facts;
  return {
    vocab_size,
    mask_token,
    chat_template: chat.template || undefined,
    async apply_chat_template(messages, options = {}) {
      return (await writeChat(chat, messages, options)).join('');
    },
    async encode(text, { text_pair, add_special_tokens = true, parse_special = false, max_length = 0, signal } = {}) {
      const params = {
        handle,
        text,
        pair: text_pair,
        addSpecial: add_special_tokens,
        parseSpecial: parse_special,
        maxLength: max_length,
      };
      const encoded = await client.call('encode', params, { signals: [lifetime, signal] });
      return readable(encoded);
    },
    decode(ids, { skip_special_tokens = true, signal } = {}) {
      const params = { handle, ids: Int32Array.from(ids), skipSpecial: skip_special_tokens };
      return client.call('decode', params, { signals: [lifetime, signal] });
    },
  };
}

/** Options of {@link Tokenizer.from}: where files come from, and a signal that stops it. */
export interface TokenizerOptions extends StoreOptions, AssetOptions, CallOptions {}

/**
 * A model's tokenizer alone, without its weights, in a worker that has no model code.
 *
 * ```ts
 * const tokenizer = await Tokenizer.from('./models/sotto-write/');
 * const { ids, tokens, offsets } = await tokenizer.encode('Hello there');
 * ```
 */
export class Tokenizer implements TokenizerCalls {
  /** For `await using`, where the language has it. */
  declare readonly [Symbol.asyncDispose]: () => Promise<void>;
  readonly encode: TokenizerCalls['encode'];
  readonly decode: TokenizerCalls['decode'];
  readonly apply_chat_template: TokenizerCalls['apply_chat_template'];
  readonly vocab_size: number;
  readonly mask_token: string | undefined;
  readonly chat_template: string | undefined;
  /** Frees the tokenizer; a second call does nothing. */
  readonly dispose: () => Promise<void>;

  private constructor(calls: TokenizerCalls, dispose: () => Promise<void>) {
    this.encode = calls.encode;
    this.decode = calls.decode;
    this.apply_chat_template = calls.apply_chat_template;
    this.vocab_size = calls.vocab_size;
    this.mask_token = calls.mask_token;
    this.chat_template = calls.chat_template;
    this.dispose = dispose;
    Object.assign(this, asyncDisposable(dispose));
  }

  /**
   * Loads tokenizer.json and its companions.
   *
   * @throws {@link SottoError} when it cannot be loaded, or the signal's reason.
   */
  static async from(source: ModelSource, options: TokenizerOptions = {}): Promise<Tokenizer> {
    const { engine, facts, lifetime, dispose } = await load('loadTokenizer', source, options, {});
    return new Tokenizer(tokenizerCalls(engine, facts, lifetime), dispose);
  }
}
