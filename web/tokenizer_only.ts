/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Tokenizers alone: what `sotto` has of them, for pages that count, cut or mark tokens and run no model. Such a page
 * downloads no model code.
 *
 * ```ts
 * import { Tokenizer } from 'sotto/tokenizer';
 * const tokenizer = await Tokenizer.from('Qwen/Qwen3-0.6B');
 * const { ids } = await tokenizer.encode('How many tokens is this?');
 * ```
 *
 * @packageDocumentation
 */
export { clearCache } from './cache.ts';
export type { ChatMessage, ChatTemplateOptions } from './chat.ts';
export type { AssetOptions } from './engine.ts';
export { SottoError, type SottoErrorCode } from './error.ts';
export type { HubOptions, ModelSource } from './origins.ts';
export type { CallOptions } from './protocol.ts';
export type { CacheMode, ProgressEvent, StoreOptions } from './store.ts';
export {
  type DecodeOptions,
  type EncodeOptions,
  type TextEncoding,
  Tokenizer,
  type TokenizerCalls,
  type TokenizerOptions,
} from './tokenizer.ts';
