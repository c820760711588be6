/// <reference lib="esnext.disposable" preserve="true" />
// The tasks: what goes in, what comes out, shaped as Hugging Face's pipelines, and how each becomes calls to the worker.
import { type ChatMessage, type ChatTemplateOptions, isChat, writeChat } from './chat.ts';
import { asyncDisposable, type Engine, type Loaded } from './engine.ts';
import { SottoError } from './error.ts';
import type { Calling, CallOptions, ChatFacts, Handle, JsonOptions, ModelFacts } from './protocol.ts';
import { type GeneratedText, streamCredit, streamTokens, type TokenStream } from './stream.ts';
import { type TokenizerCalls, tokenizerCalls } from './tokenizer.ts';
import type { Variant } from './variants.ts';

/** The tasks, by Hugging Face's names, and the aliases that it has for them. */
export type TaskName =
  | 'text-classification'
  | 'sentiment-analysis'
  | 'text-generation'
  | 'text2text-generation'
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
  /**
   * `none` (default): a vector for each token. One for the text: `mean`: their average; `cls`: the first token's;
   * `lasttoken`; `max`, by column; `mean_sqrt_len`: their sum by the root of their number; `weightedmean`, by position.
   */
  pooling?: 'none' | 'mean' | 'cls' | 'max' | 'mean_sqrt_len' | 'weightedmean' | 'lasttoken';
  /**
   * In place of `pooling`: the vector that the model's own modules make of the text, as sentence-transformers gives it
   * (`modules.json`: pooling, dense layers, normalization).
   */
  sentence_embedding?: boolean;
  /** With `sentence_embedding`: which of the model's prompts goes before the text. Default: the model's default one. */
  prompt_name?: string;
  /** With `sentence_embedding`: what goes before the text, in place of one of the model's prompts. */
  prompt?: string;
  /** With `sentence_embedding`: only so many columns, for models whose first ones count most. */
  truncate_dim?: number;
  /** Whether vectors are scaled to length 1 (default: no; a model's modules may do it). */
  normalize?: boolean;
  /** Whether a text that is too long for the model is cut (default), or an error. */
  truncation?: boolean;
}

/** Numbers with their extents, row-major. */
export interface Features {
  /** Of features `[1, tokens, hidden]`, or `[1, hidden]` when pooled. */
  dims: readonly number[];
  data: Float32Array<ArrayBuffer>;
}

/**
 * Options of every generation, by Hugging Face's names; the model's generation_config.json has the defaults. They work as
 * in its `generate`, in the same order. `null` takes a default of the model away.
 */
export interface GenerateOptions extends CallOptions {
  /** At most so many tokens (default 256). */
  max_new_tokens?: number;
  /** At most so many tokens with the prompt (of an encoder-decoder: with the token that its decoder begins with). */
  max_length?: number;
  /** No end before so many tokens. */
  min_new_tokens?: number;
  /** No end before so many tokens with the prompt. */
  min_length?: number;
  /** Draw at random (`true`), or take the likeliest token each time (`false`, the default). */
  do_sample?: boolean;
  /** Above 1 flattens the distribution, below 1 sharpens it. */
  temperature?: number;
  /** Keep the k likeliest tokens (default 50); 0 or `null`: all. */
  top_k?: number | null;
  /** Keep the likeliest tokens that together reach this probability. */
  top_p?: number;
  /** Keep the tokens that are at least so many times as likely as the likeliest. */
  min_p?: number;
  /** Keep the most typical tokens that together reach this probability. */
  typical_p?: number;
  /** Keep the tokens that are at least so likely. */
  epsilon_cutoff?: number;
  /** The same, less strict where the model is unsure. */
  eta_cutoff?: number;
  /** The same seed draws the same text. Left out: a new one for each call. */
  seed?: number;
  /** Above 1: follow so many texts side by side and give the likeliest as a whole (beam search). */
  num_beams?: number;
  /** A finished beam's score is divided by its length to this power: above 0 favours long texts (default 1). */
  length_penalty?: number;
  /**
   * When beams stop: once there are `num_beams` finished texts (`true`), once a better one is unlikely (`false`, the
   * default), or once there can be none (`'never'`).
   */
  early_stopping?: boolean | 'never';
  /** How many texts to give: drawn with `do_sample`, or the best of `num_beams`. */
  num_return_sequences?: number;
  /** Above 1 discourages tokens that were seen before. */
  repetition_penalty?: number;
  /** Above 1 favours tokens of the input. */
  encoder_repetition_penalty?: number;
  /** No sequence of so many tokens comes twice. */
  no_repeat_ngram_size?: number;
  /** No sequence of so many tokens of the input comes. */
  encoder_no_repeat_ngram_size?: number;
  /** Sequences of tokens that never come. */
  bad_words_ids?: readonly (readonly number[])[];
  /** What is added to the score of a sequence's last token where the rest of it has come. */
  sequence_bias?: readonly (readonly [ids: readonly number[], bias: number])[];
  /** Tokens that never come. */
  suppress_tokens?: readonly number[] | null;
  /** Tokens that do not come first. */
  begin_suppress_tokens?: readonly number[] | null;
  /** The first token after a decoder's start, as the language of a translation. */
  forced_bos_token_id?: number | null;
  /** The token that comes last where `max_length` is reached. */
  forced_eos_token_id?: number | readonly number[] | null;
  /** From a number of new tokens on, the end becomes likelier by a factor with each token. */
  exponential_decay_length_penalty?: readonly [first: number, factor: number] | null;
  /** Whether scores become log-probabilities again after all other options (matters for beams). */
  renormalize_logits?: boolean;
  /** Whether scores that are no numbers are made harmless. */
  remove_invalid_values?: boolean;
  /** Of an encoder-decoder: whether a text that is too long for its encoder is cut, or an error (default). */
  truncation?: boolean;
  /** Of a translator: the language of the text, by the tokenizer's code (`fr`, `fr_XX`, `fra_Latn`). Default: the tokenizer's. */
  src_lang?: string;
  /** Of a translator: the language to write; `forced_bos_token_id` by another name. */
  tgt_lang?: string;
  /** Tokens that end the generation. Default: the model's own. */
  eos_token_id?: number | readonly number[] | null;
  /** The token that the decoder of an encoder-decoder begins with. Default: the model's own. */
  decoder_start_token_id?: number;
  /** Texts that end the generation; they are not part of the result. For one text without beams. */
  stop?: string | readonly string[];
  /**
   * How the keys and values of past tokens are kept: half or a quarter of the memory at a small cost of accuracy.
   * Default: `q8` where the model's weights are rounded, too, else `fp32`.
   */
  cache_dtype?: 'fp32' | 'fp16' | 'q8';
  /** Whether to tell the log-probability of each token, as the model gives it before any option changes it. */
  output_logprobs?: boolean;
  /** And those of so many of the likeliest tokens at its place. Not for beams. */
  top_logprobs?: number;
}

/** Options of a text generation. */
export interface TextGenerationOptions extends GenerateOptions {
  /** Whether `generated_text` begins with the prompt (default), as Hugging Face's does. Streams never do. */
  return_full_text?: boolean;
}

/** A text, a pair, or of an encoder-decoder also what its decoder reads. */
export type InsidesInput = string | TextPair | { text: string; decoder_text: string };

/** What to show of a model's insides. */
export interface InsidesOptions extends CallOptions {
  /** The attention probabilities of each layer. */
  output_attentions?: boolean;
  /** The embeddings, and what each layer gives. */
  output_hidden_states?: boolean;
  /** The log-probability of each token of the text, by a language model. */
  output_logprobs?: boolean;
}

/** What happens inside a model for one input, by Hugging Face's names; what the architecture lacks is absent. */
export interface Insides {
  /** What the head gives. */
  logits?: Features;
  /** `[1, tokens, hidden]`. */
  last_hidden_state?: Features;
  pooler_output?: Features;
  seq_relationship_logits?: Features;
  encoder_last_hidden_state?: Features;
  /** `[1, tokens - 1]`: of each token after what comes before it; of a masked model `[1, tokens]`, at its own place. */
  logprobs?: Features;
  /** `[1, tokens, hidden]` each: the embeddings, then one after each layer. */
  hidden_states?: Features[];
  /** `[1, heads, queries, keys]` for each layer that attends. */
  attentions?: Features[];
  encoder_hidden_states?: Features[];
  encoder_attentions?: Features[];
  decoder_hidden_states?: Features[];
  decoder_attentions?: Features[];
  cross_attentions?: Features[];
  /** Of a pointer-generator: the share that is not copied, and what the rest is copied from. */
  p_gen?: Features;
  copy_attention?: Features;
}

/** Options of continuing a chat. */
export interface ChatOptions extends TextGenerationOptions {
  /** What the template is given beside the messages. */
  chat?: Omit<ChatTemplateOptions, 'add_generation_prompt' | 'continue_final_message'>;
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
  /** Runs the model once and shows what happens inside. Nothing of it is computed for other calls. */
  insides(input: InsidesInput, options?: InsidesOptions): Promise<Insides>;
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

/** What the generating pipelines share. */
export interface Streaming {
  /**
   * Gives each token as soon as it is there, of one text: `num_beams` and `num_return_sequences` are 1 whatever the model
   * says, and other values are errors.
   */
  stream(text: string, options?: GenerateOptions): TokenStream;
}

/** A chat with its next turn. */
export interface GeneratedChat extends Omit<GeneratedText, 'generated_text'> {
  /** The messages, and the model's; without `return_full_text` the text of that alone. */
  generated_text: ChatMessage[] | string;
}

/**
 * Continues texts and chats. A chat, a list of messages, is written by the model's own template; where its last message
 * is the assistant's, that one is continued.
 */
export interface TextGenerationPipeline extends Pipeline, Streaming {
  (prompt: string, options?: TextGenerationOptions): Promise<GeneratedText[]>;
  (chat: readonly ChatMessage[], options?: ChatOptions): Promise<GeneratedChat[]>;
  (prompts: readonly string[], options?: TextGenerationOptions): Promise<GeneratedText[][]>;
  /** Streams what comes after a text, or the next turn of a chat. */
  stream(prompt: string | readonly ChatMessage[], options?: GenerateOptions & Pick<ChatOptions, 'chat'>): TokenStream;
}

/** Turns texts into texts: an encoder-decoder that translates, summarizes, answers. */
export interface Text2TextGenerationPipeline extends Pipeline, Streaming {
  (text: string, options?: GenerateOptions): Promise<GeneratedText[]>;
  /** One answer for each text; with `num_return_sequences` above 1 a list for each. */
  (texts: readonly string[], options?: GenerateOptions): Promise<GeneratedText[] | GeneratedText[][]>;
}

/** The pipeline of each task. */
export interface Pipelines {
  'text-classification': TextClassificationPipeline;
  'sentiment-analysis': TextClassificationPipeline;
  'text-generation': TextGenerationPipeline;
  'text2text-generation': Text2TextGenerationPipeline;
  'fill-mask': FillMaskPipeline;
  'feature-extraction': FeatureExtractionPipeline;
}

/** What a task's calls need. */
interface Running {
  engine: Engine;
  handle: Handle;
  lifetime: AbortSignal;
  chat: ChatFacts;
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

/** A text, or what writes a chat in pieces. */
type Prompt = string | (() => Promise<readonly string[]>);

/** The calls of a generating task: each text's answers, and a stream of one. */
function generating({ engine, handle, lifetime }: Running) {
  const start = async (
    prompt: Prompt,
    options: GenerateOptions,
    credit: number,
    calling: Omit<Calling<'generate'>, 'signals'>,
    signal?: AbortSignal,
  ) => {
    const written = typeof prompt === 'string' ? prompt : await prompt();
    const params = { handle, prompt: written, options: { seed: newSeed(), ...settings(options) }, credit };
    return engine.client.call('generate', params, { ...calling, signals: [lifetime, options.signal, signal] });
  };
  const stream = (prompt: Prompt, options: GenerateOptions = {}): TokenStream => {
    if ((options.num_beams ?? 1) !== 1 || (options.num_return_sequences ?? 1) !== 1) {
      throw new SottoError(
        'invalid-argument',
        'A stream is of one text: num_beams and num_return_sequences must be 1.',
      );
    }
    let id = 0;
    return streamTokens({
      run: (notice, signal) => {
        const begun = (number: number) => {
          id = number;
        };
        const single = { num_beams: 1, num_return_sequences: 1 };
        return start(prompt, { ...options, ...single }, streamCredit, { notice, begun }, signal);
      },
      credit: () => engine.client.credit(id, 1),
    });
  };
  const generate = async (prompt: Prompt, options: GenerateOptions): Promise<GeneratedText[]> =>
    (await start(prompt, options, Number.MAX_SAFE_INTEGER, {})).texts;
  /** One after the other. */
  const generateAll = async (texts: readonly string[], options: GenerateOptions): Promise<GeneratedText[][]> => {
    const results: GeneratedText[][] = [];
    for (const text of texts) results.push(await generate(text, options));
    return results;
  };
  return { stream, generate, generateAll };
}

const textGeneration: Task<unknown> = {
  name: 'text-generation',
  make(running) {
    const { stream, generate, generateAll } = generating(running);
    /** The last message of a chat is continued where it is the assistant's. */
    const writer = (messages: readonly ChatMessage[], chat: ChatOptions['chat']) => () => {
      const open = messages.at(-1)?.role === 'assistant';
      return writeChat(running.chat, messages, {
        ...chat,
        add_generation_prompt: !open,
        continue_final_message: open,
      });
    };
    const continueChat = async (messages: readonly ChatMessage[], { chat, ...options }: ChatOptions) => {
      const { return_full_text = true, ...rest } = options;
      const results = await generate(writer(messages, chat), rest);
      if (!return_full_text) return results;
      const last = messages.at(-1);
      return results.map(({ generated_text, ...more }) => ({
        generated_text:
          last?.role === 'assistant'
            ? [...messages.slice(0, -1), { ...last, content: last.content + generated_text }]
            : [...messages, { role: 'assistant', content: generated_text }],
        ...more,
      }));
    };
    const call = async (input: string | readonly string[] | readonly ChatMessage[], options: ChatOptions = {}) => {
      if (isChat(input)) return continueChat(input, options);
      const { return_full_text = true, ...rest } = options;
      const prompts = isList(input) ? input : [input];
      const results = await generateAll(prompts, rest);
      if (return_full_text) {
        for (const [i, texts] of results.entries()) {
          for (const text of texts) text.generated_text = prompts[i] + text.generated_text;
        }
      }
      return isList(input) ? results : results[0];
    };
    return Object.assign(call, {
      stream: (prompt: string | readonly ChatMessage[], { chat, ...options }: ChatOptions = {}) =>
        stream(typeof prompt === 'string' ? prompt : writer(prompt, chat), options),
    });
  },
};

const text2textGeneration: Task<unknown> = {
  name: 'text2text-generation',
  make(running) {
    const { stream, generateAll } = generating(running);
    const call = async (input: string | readonly string[], options: GenerateOptions = {}) => {
      const results = await generateAll(isList(input) ? input : [input], options);
      if (!isList(input)) return results[0];
      return results.every(({ length }) => length === 1) ? results.flat() : results;
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
  'text2text-generation': text2textGeneration,
};

/** The task's own name. */
export function taskName(task: string): TaskName {
  if (!Object.hasOwn(tasks, task)) {
    throw new SottoError('unsupported', `There is no task '${task}'. There are: ${Object.keys(tasks).join(', ')}.`);
  }
  return tasks[task as TaskName].name;
}

/** A loaded model as its task's function. */
export function makePipeline<T extends TaskName>(task: T, loaded: Loaded<ModelFacts>): Pipelines[T] {
  const { engine, facts, lifetime, dispose } = loaded;
  const { handle, variant, threads, bytes } = facts;
  const call = tasks[task].make({ engine, handle, lifetime, chat: facts.chat }) as object;
  const shared: Omit<Pipeline, typeof Symbol.asyncDispose> = {
    task: tasks[task].name,
    tokenizer: tokenizerCalls(engine, facts, lifetime),
    model: { variant, threads, bytes, config: JSON.parse(facts.config) },
    async insides(input, options = {}) {
      const params = { handle, input, options: settings(options) };
      const tensors = await engine.client.call('insides', params, { signals: [lifetime, options.signal] });
      const shown: Record<string, Features | Features[]> = {};
      for (const { name, dims, data } of tensors) {
        const [list = '', place] = name.split('.');
        if (place === undefined) shown[name] = { dims, data };
        else shown[list] = [...((shown[list] as Features[] | undefined) ?? []), { dims, data }];
      }
      return shown as Insides;
    },
    dispose,
  };
  return Object.assign(call, shared, asyncDisposable(dispose)) as Pipelines[T];
}
