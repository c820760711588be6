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
import type { EngineOptions } from './engine.ts';
import type { CallOptions } from './protocol.ts';
import type { ModelSource, StoreOptions } from './store.ts';
import type { Pipelines, TaskName } from './tasks.ts';
import type { TokenizerCalls } from './tokenizer.ts';

export type { EngineOptions } from './engine.ts';
export { SottoError, type SottoErrorCode } from './error.ts';
export type { CallOptions } from './protocol.ts';
export type { CacheMode, ModelSource, Progress, StoreOptions } from './store.ts';
export type { Generated, TokenChunk, TokenStream } from './stream.ts';
export type {
  Classification,
  ClassifyOptions,
  FeatureExtractionPipeline,
  FeatureOptions,
  Features,
  FilledMask,
  FillMaskOptions,
  FillMaskPipeline,
  GeneratedText,
  GenerateOptions,
  ModelInfo,
  Pipeline,
  Pipelines,
  TaskName,
  TextClassificationPipeline,
  TextGenerationPipeline,
  TextPair,
} from './tasks.ts';
export type { DecodeOptions, EncodeOptions, TextEncoding, TokenizerCalls } from './tokenizer.ts';
export type { Variant } from './variants.ts';

/** Options of loading: where files come from, what runs them, and a signal that stops it. */
export interface LoadOptions extends StoreOptions, EngineOptions, CallOptions {}

/** Options of {@link pipeline}. */
export interface PipelineOptions extends LoadOptions {
  /** How weights compute: as the file stores them (`auto`, the default), in 32-bit floats, or packed to 8 bits. */
  dtype?: 'auto' | 'fp32' | 'q8';
}
