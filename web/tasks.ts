/// <reference lib="esnext.disposable" preserve="true" />
// The tasks: what goes in, what comes out, shaped as Hugging Face's pipelines, and how each becomes calls to the worker.
import type { Engine } from './engine.ts';
import { SottoError } from './error.ts';
import type { CallOptions, Handle, JsonOptions, ModelFacts } from './protocol.ts';
import { streamCredit, streamTokens, type TokenStream } from './stream.ts';
import { type TokenizerCalls, tokenizerCalls } from './tokenizer.ts';
import type { Variant } from './variants.ts';

/** The tasks, by Hugging Face's names, and the aliases that it has for them. */
export type TaskName =
  | 'text-classification'
  | 'sentiment-analysis'
  | 'text-generation'
  | 'fill-mask'
  | 'feature-extraction';

/** Two texts that are read as one input: a premise and a hypothesis, a question and a passage. */
export interface TextPair {
  text: string;
  text_pair: string;
}

/** Options of a text classification. */
export interface ClassifyOptions extends CallOptions {
  /** How many labels to give, best first, as a list for each text; `null`: all. Left out: the best one. */
  top_k?: number | null;
  /** How logits become scores. Default: softmax, or sigmoid where the labels do not exclude each other. */
  function_to_apply?: 'softmax' | 'sigmoid' | 'none';
  /** Whether a text that is too long for the model is cut (default), or an error. */
  truncation?: boolean;
}

/** One label of a text, with its score. */
export interface Classification {
  label: string;
  score: number;
}

/** Options of filling masks. */
export interface FillMaskOptions extends CallOptions {
  /** How many tokens to propose for each mask (default 5). */
  top_k?: number;
  /** Only these tokens compete. */
  targets?: readonly string[];
}

/** One token that fits where the mask is. */
export interface FilledMask {
  score: number;
  /** The token's id. */
  token: number;
  token_str: string;
  /** The whole text with the mask filled. */
  sequence: string;
}

/** Options of a feature extraction. */
export interface FeatureOptions extends CallOptions {
  /** `none` (default): a vector for each token; `mean`: their average; `cls`: the first token's. */
  pooling?: 'none' | 'mean' | 'cls';
  /** Whether vectors are scaled to length 1 (default: no). */
  normalize?: boolean;
  /** Whether a text that is too long for the model is cut (default), or an error. */
  truncation?: boolean;
}

/** Numbers with their extents, row-major. */
export interface Features {
  /** `[1, tokens, hidden]`, or `[1, hidden]` when pooled. */
  dims: readonly number[];
  data: Float32Array<ArrayBuffer>;
}

/** Options of a text generation, by Hugging Face's names; the model's generation_config.json has the defaults. */
export interface GenerateOptions extends CallOptions {
  /** At most so many tokens (default 256). */
  max_new_tokens?: number;
  /** Draw at random (`true`), or take the likeliest token each time (`false`, the default). */
  do_sample?: boolean;
  /** Above 1 flattens the distribution, below 1 sharpens it. */
  temperature?: number;
  /** Keep the k likeliest tokens (default 50); 0: all. */
  top_k?: number;
  /** Keep the likeliest tokens that together reach this probability. */
  top_p?: number;
  /** Keep the tokens that are at least so many times as likely as the likeliest. */
  min_p?: number;
  /** Above 1 discourages tokens that were seen before. */
  repetition_penalty?: number;
  /** The same seed draws the same text. Left out: a new one for each call. */
  seed?: number;
  /** Texts that end the generation; they are not part of the result. */
  stop?: string | readonly string[];
  /** Tokens that end the generation. Default: the model's own. */
  eos_token_id?: number | readonly number[];
  /** Whether `generated_text` begins with the prompt (default), as Hugging Face's does. Streams never do. */
  return_full_text?: boolean;
}

/** One generated text. */
export interface GeneratedText {
  generated_text: string;
}

/** What a loaded model tells of itself. */
export interface ModelInfo {
  /** The build of the engine that runs it. */
  variant: Variant;
  /** Threads that compute. */
  threads: number;
  /** Bytes of weights as downloaded. */
  bytes: number;
  /** config.json. */
  config: Readonly<Record<string, unknown>>;
}

/** What every pipeline has. Unlike Python's, it must be disposed of: a worker and its memory hang on it. */
export interface Pipeline extends AsyncDisposable {
  /** The task, by its own name even where an alias was asked for. */
  readonly task: TaskName;
  /** The model's tokenizer. It ends with the pipeline. */
  readonly tokenizer: TokenizerCalls;
  readonly model: ModelInfo;
  /** Frees the model. Calls that are under way reject; a second call does nothing. */
  dispose(): Promise<void>;
}

/** Sorts texts into the model's labels. */
export interface TextClassificationPipeline extends Pipeline {
  (text: string | TextPair, options: ClassifyOptions & { top_k: number | null }): Promise<Classification[]>;
  (text: string, options?: ClassifyOptions): Promise<Classification[]>;
  (pair: TextPair, options?: ClassifyOptions): Promise<Classification>;
  (
    texts: readonly (string | TextPair)[],
    options: ClassifyOptions & { top_k: number | null },
  ): Promise<Classification[][]>;
  (texts: readonly (string | TextPair)[], options?: ClassifyOptions): Promise<Classification[]>;
}

/** Proposes tokens for the mask token of a text (`tokenizer.mask_token`); several masks give a list for each. */
export interface FillMaskPipeline extends Pipeline {
  (text: string, options?: FillMaskOptions): Promise<FilledMask[] | FilledMask[][]>;
  (texts: readonly string[], options?: FillMaskOptions): Promise<(FilledMask[] | FilledMask[][])[]>;
}

/** Turns texts into vectors. */
export interface FeatureExtractionPipeline extends Pipeline {
  (text: string, options?: FeatureOptions): Promise<Features>;
  (texts: readonly string[], options?: FeatureOptions): Promise<Features[]>;
}

/** Continues texts. */
export interface TextGenerationPipeline extends Pipeline {
  (prompt: string, options?: GenerateOptions): Promise<GeneratedText[]>;
  (prompts: readonly string[], options?: GenerateOptions): Promise<GeneratedText[][]>;
  /** Continues a text and gives each token as soon as it is there. */
  stream(prompt: string, options?: Omit<GenerateOptions, 'return_full_text'>): TokenStream;
}

/** The pipeline of each task. */
export interface Pipelines {
  'text-classification': TextClassificationPipeline;
  'sentiment-analysis': TextClassificationPipeline;
  'text-generation': TextGenerationPipeline;
  'fill-mask': FillMaskPipeline;
  'feature-extraction': FeatureExtractionPipeline;
}

/** What a task's calls need. */
interface Running {
  engine: Engine;
  handle: Handle;
  lifetime: AbortSignal;
}

/** One line of the task table: the task's own name, and its function made from a loaded model. */
interface Task<F> {
  name: TaskName;
  make(running: Running): F;
}

/** Options without the signal, as the engine reads them. */
function settings({ signal: _, ...options }: CallOptions): JsonOptions {
  return options as JsonOptions;
}

function runInputs({ engine, handle, lifetime }: Running, inputs: readonly unknown[], options: CallOptions) {
  const params = { handle, inputs, options: settings(options) };
  return engine.client.call('run', params, { signals: [lifetime, options.signal] });
}

function isList<T>(input: T | readonly T[]): input is readonly T[] {
  return Array.isArray(input);
}

const classification: Task<unknown> = {
  name: 'text-classification',
  make:
    (running) =>
    async (input: string | TextPair | readonly (string | TextPair)[], options: ClassifyOptions = {}) => {
      const results = (await runInputs(running, isList(input) ? input : [input], options)) as (
        | Classification
        | Classification[]
      )[];
      if (!isList(input)) return results[0];
      return options.top_k === undefined ? results.flat() : results;
    },
};

const fillMask: Task<unknown> = {
  name: 'fill-mask',
  make:
    (running) =>
    async (input: string | readonly string[], options: FillMaskOptions = {}) => {
      const results = await runInputs(running, isList(input) ? input : [input], options);
      return isList(input) ? results : results[0];
    },
};

const featureExtraction: Task<unknown> = {
  name: 'feature-extraction',
  make:
    ({ engine, handle, lifetime }) =>
    async (input: string | readonly string[], options: FeatureOptions = {}) => {
      const params = { handle, texts: isList(input) ? input : [input], options: settings(options) };
      const results = await engine.client.call('extract', params, { signals: [lifetime, options.signal] });
      return isList(input) ? results : results[0];
    },
};

/** One that no other call has. */
const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

const textGeneration: Task<unknown> = {
  name: 'text-generation',
  make({ engine, handle, lifetime }) {
    const stream = (prompt: string, options: GenerateOptions = {}): TokenStream => {
      const { return_full_text: _, ...rest } = settings(options);
      const params = { handle, prompt, options: { seed: newSeed(), ...rest }, credit: streamCredit };
      let id = 0;
      return streamTokens({
        run: (notice, signal) =>
          engine.client.call('generate', params, {
            signals: [lifetime, options.signal, signal],
            notice,
            begun: (number) => {
              id = number;
            },
          }),
        credit: () => engine.client.credit(id, 1),
      });
    };
    const generate = async (prompt: string, options: GenerateOptions): Promise<GeneratedText[]> => {
      const { text } = await stream(prompt, options).result();
      return [{ generated_text: (options.return_full_text ?? true) ? prompt + text : text }];
    };
    const call = async (input: string | readonly string[], options: GenerateOptions = {}) => {
      if (!isList(input)) return generate(input, options);
      const results: GeneratedText[][] = [];
      for (const prompt of input) results.push(await generate(prompt, options));
      return results;
    };
    return Object.assign(call, { stream });
  },
};

/** The task table. */
const tasks: { [T in TaskName]: Task<unknown> } = {
  'text-classification': classification,
  'sentiment-analysis': classification,
  'fill-mask': fillMask,
  'feature-extraction': featureExtraction,
  'text-generation': textGeneration,
};

/** The task's own name. */
export function taskName(task: string): TaskName {
  if (!Object.hasOwn(tasks, task)) {
    throw new SottoError('unsupported', `There is no task '${task}'. There are: ${Object.keys(tasks).join(', ')}.`);
  }
  return tasks[task as TaskName].name;
}

/** A loaded model as its task's function. */
export async function makePipeline<T extends TaskName>(
  task: T,
  engine: Engine,
  facts: ModelFacts,
): Promise<Pipelines[T]> {
  const { variant, threads } = await engine.choice;
  const { handle, bytes } = facts;
  const { lifetime, dispose } = lifetimeOf(engine, handle);
  const call = tasks[task].make({ engine, handle, lifetime }) as object;
  const shared: Omit<Pipeline, typeof Symbol.asyncDispose> = {
    task: tasks[task].name,
    tokenizer: tokenizerCalls(engine, facts, lifetime),
    model: { variant, threads, bytes, config: JSON.parse(facts.config) },
    dispose,
  };
  return Object.assign(call, shared, asyncDisposable(dispose)) as Pipelines[T];
}

/** Until `dispose`: a signal that ends every call, and the handle in the worker. */
export function lifetimeOf(engine: Engine, handle: Handle): { lifetime: AbortSignal; dispose: () => Promise<void> } {
  const end = new AbortController();
  return {
    lifetime: end.signal,
    async dispose() {
      if (end.signal.aborted) return;
      end.abort(new SottoError('disposed', 'The model was disposed of.'));
      try {
        await engine.client.call('dispose', { handle });
      } catch {
        // The worker is gone, and the model with it.
      } finally {
        engine.release();
      }
    },
  };
}

/** For `await using`, where the language has it. */
export function asyncDisposable(dispose: () => Promise<void>): Partial<AsyncDisposable> {
  return typeof Symbol.asyncDispose === 'symbol' ? { [Symbol.asyncDispose]: dispose } : {};
}
