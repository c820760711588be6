import type { Variant } from './variants.ts';

/** Which engine runs a model, and where its files are. Models with the same settings share one worker. */
export interface EngineOptions {
  /** Default: the best that computes right here. */
  variant?: Variant;
  /** Threads that compute. Default: the cores, at most 4, in a cross-origin isolated page; otherwise 1. */
  threads?: number;
  /** The folder of worker.js and the sotto-*.mjs and .wasm files, where a bundler or a CDN has moved them. */
  assetsURL?: string | URL;
  /** The worker's script, where it is elsewhere. */
  workerURL?: string | URL;
}
