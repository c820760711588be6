/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Sotto runs Transformers inside the web page: text in, text out, and nothing leaves the browser.
 *
 * ```ts
 * import { pipeline } from 'sotto';
 * const classify = await pipeline('text-classification', './models/sotto-sentiment/');
 * await classify('What a lovely day.'); // [{ label: 'positive', score: 0.98 }]
 * ```
 *
 * @packageDocumentation
 */
import { type EngineOptions, openEngine } from './engine.ts';
import { SottoError, type SottoErrorCode } from './error.ts';
import { type Location, locate, type ModelSource } from './origins.ts';
import type { CallOptions, LoadParams } from './protocol.ts';
import type { StoreOptions } from './store.ts';
import { asyncDisposable, lifetimeOf, makePipeline, type Pipelines, type TaskName, taskName } from './tasks.ts';
import { type TokenizerCalls, tokenizerCalls } from './tokenizer.ts';

export { clearCache } from './cache.ts';
export type { ChatMessage, ChatTemplateOptions } from './chat.ts';
export type { EngineOptions } from './engine.ts';
export type { HubOptions, ModelSource } from './origins.ts';
export type { CallOptions } from './protocol.ts';
export type { CacheMode, ProgressEvent, StoreOptions } from './store.ts';
export type { Generated, GeneratedText, ScoredToken, TokenChunk, TokenStream } from './stream.ts';
export type {
  Classification,
  ClassifyOptions,
  FeatureExtractionPipeline,
  FeatureOptions,
  Features,
  FilledMask,
  FillMaskOptions,
  FillMaskPipeline,
  GeneratedChat,
  GenerateOptions,
  Insides,
  InsidesInput,
  InsidesOptions,
  ModelInfo,
  Pipeline,
  Pipelines,
  Streaming,
  TaskName,
  Text2TextGenerationPipeline,
  TextClassificationPipeline,
  TextGenerationOptions,
  TextGenerationPipeline,
  TextPair,
} from './tasks.ts';
export type { DecodeOptions, EncodeOptions, TextEncoding, TokenizerCalls } from './tokenizer.ts';
export { describeVariant, type Variant } from './variants.ts';
export { SottoError, type SottoErrorCode };

/** Options of loading: where files come from, what runs them, and a signal that stops it. */
export interface LoadOptions extends StoreOptions, EngineOptions, CallOptions {}

/** Options of {@link pipeline}. */
export interface PipelineOptions extends LoadOptions {
  /** How weights compute: as the file stores them (`auto`, the default), in 32-bit floats, or packed to 8 or 4 bits. */
  dtype?: 'auto' | 'fp32' | 'q8' | 'q4';
}

function loadParams(source: ModelSource, options: LoadOptions): LoadParams {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  const location: Location = locate(source, options, base);
  return { location, cache: options.cache ?? 'default' };
}

/**
 * Loads a model for a task, in a worker.
 *
 * ```ts
 * const write = await pipeline('text-generation', './models/sotto-write/', { progress: (event) => show(event) });
 * for await (const { text } of write.stream('Once upon a time', { do_sample: true })) show(text);
 * await write.dispose();
 * ```
 *
 * @throws {@link SottoError} when it cannot be loaded, or the signal's reason.
 */
export async function pipeline<T extends TaskName>(
  task: T,
  source: ModelSource,
  options: PipelineOptions = {},
): Promise<Pipelines[T]> {
  const { signal, progress, dtype = 'auto' } = options;
  signal?.throwIfAborted();
  const name = taskName(task);
  if (!['auto', 'fp32', 'q8', 'q4'].includes(dtype)) {
    throw new SottoError('invalid-argument', `'dtype' is one of auto, fp32, q8 and q4, not '${dtype}'.`);
  }
  const params = { ...loadParams(source, options), task: name, dtype };
  const engine = openEngine(options);
  try {
    const facts = await engine.client.call('load', params, {
      signals: [signal],
      notice: progress,
      late: ({ handle }) => void engine.client.call('dispose', { handle }).catch(() => {}),
    });
    return await makePipeline(task, engine, facts);
  } catch (error) {
    engine.release();
    throw error;
  }
}

/**
 * A model's tokenizer alone, without its weights.
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

  /** Loads tokenizer.json and its companions. */
  static async from(source: ModelSource, options: LoadOptions = {}): Promise<Tokenizer> {
    const { signal, progress } = options;
    signal?.throwIfAborted();
    const params = loadParams(source, options);
    const engine = openEngine(options);
    try {
      const facts = await engine.client.call('loadTokenizer', params, {
        signals: [signal],
        notice: progress,
        late: ({ handle }) => void engine.client.call('dispose', { handle }).catch(() => {}),
      });
      const { lifetime, dispose } = lifetimeOf(engine, facts.handle);
      return new Tokenizer(tokenizerCalls(engine, facts, lifetime), dispose);
    } catch (error) {
      engine.release();
      throw error;
    }
  }
}
