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
import { type EngineOptions, load } from './engine.ts';
import { SottoError, type SottoErrorCode } from './error.ts';
import type { ModelSource } from './origins.ts';
import type { CallOptions } from './protocol.ts';
import type { StoreOptions } from './store.ts';
import { makePipeline, type Pipelines, type TaskName, taskName } from './tasks.ts';

export { clearCache } from './cache.ts';
export type { ChatMessage, ChatTemplateOptions } from './chat.ts';
export type { AssetOptions, EngineOptions } from './engine.ts';
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
export {
  type DecodeOptions,
  type EncodeOptions,
  type TextEncoding,
  Tokenizer,
  type TokenizerCalls,
  type TokenizerOptions,
} from './tokenizer.ts';
export { describeVariant, type Variant } from './variants.ts';
export { SottoError, type SottoErrorCode };

/** Options of loading: where files come from, what runs them, and a signal that stops it. */
export interface LoadOptions extends StoreOptions, EngineOptions, CallOptions {}

/** Options of {@link pipeline}. */
export interface PipelineOptions extends LoadOptions {
  /** How weights compute: as the file stores them (`auto`, the default), in 32-bit floats, or packed to 8 or 4 bits. */
  dtype?: 'auto' | 'fp32' | 'q8' | 'q4';
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
  const { dtype = 'auto' } = options;
  const name = taskName(task);
  if (!['auto', 'fp32', 'q8', 'q4'].includes(dtype)) {
    throw new SottoError('invalid-argument', `'dtype' is one of auto, fp32, q8 and q4, not '${dtype}'.`);
  }
  return makePipeline(task, await load('load', source, options, { task: name, dtype }));
}
