// TypeScript bindings for emscripten-generated code.  Automatically generated at compile time.
declare namespace RuntimeExports {
    let HEAPU8: Uint8Array;
}
interface WasmModule {
  _malloc(_0: number): number;
  _free(_0: number): void;
}

type EmbindString = ArrayBuffer|Uint8Array|Uint8ClampedArray|Int8Array|string;
export interface ClassHandle {
  isAliasOf(other: ClassHandle): boolean;
  delete(): void;
  deleteLater(): this;
  isDeleted(): boolean;
  // @ts-ignore - If targeting lower than ESNext, this symbol might not exist.
  [Symbol.dispose](): void;
  clone(): this;
}
export type Failure = {
  code: EmbindString,
  message: EmbindString
};

export interface Files extends ClassHandle {
  setText(_0: EmbindString, _1: EmbindString): boolean;
}

export type Encoded = {
  code: EmbindString,
  message: EmbindString,
  ids: Int32Array<ArrayBuffer>,
  typeIds: Int32Array<ArrayBuffer>,
  special: Int32Array<ArrayBuffer>,
  offsets: Uint32Array<ArrayBuffer>,
  tokens: EmbindString,
  tokenEnds: Uint32Array<ArrayBuffer>
};

export interface Tokenizer extends ClassHandle {
  encode(_0: EmbindString, _1: EmbindString, _2: boolean, _3: boolean, _4: boolean, _5: number): Encoded;
  decode(_0: Int32Array<ArrayBuffer>, _1: boolean): string;
  vocabSize(): number;
  chat(): string;
  maskToken(): string;
}

export type LoadedTokenizer = {
  code: EmbindString,
  message: EmbindString,
  tokenizer: Tokenizer | null
};

export type HeaderStep = {
  code: EmbindString,
  message: EmbindString,
  whole: boolean
};

export interface Weights extends ClassHandle {
  setText(_0: EmbindString, _1: EmbindString): boolean;
  addModule(_0: EmbindString, _1: EmbindString): Failure;
  readTokenizer(): void;
  begin(_0: EmbindString, _1: number): Failure;
  append(_0: number, _1: number): Failure;
  end(): Failure;
  wantedHeader(): string;
  addHeader(_0: number, _1: number, _2: number): HeaderStep;
  parts(): string[];
}

export type Step = {
  code: EmbindString,
  message: EmbindString,
  token: number,
  text: EmbindString,
  score: EmbindString,
  done: boolean,
  finishReason: EmbindString
};

export interface Generation extends ClassHandle {
  next(): Step;
  promptTokens(): number;
  texts(): string;
}

export type Started = {
  code: EmbindString,
  message: EmbindString,
  generation: Generation | null
};

export type Output = {
  code: EmbindString,
  message: EmbindString,
  json: EmbindString
};

export type Extracted = {
  code: EmbindString,
  message: EmbindString,
  dims: Int32Array<ArrayBuffer>,
  data: Float32Array<ArrayBuffer>
};

export interface Pipeline extends ClassHandle {
  run(_0: EmbindString, _1: EmbindString): Output;
  extract(_0: EmbindString, _1: EmbindString): Extracted;
  generate(_0: EmbindString, _1: EmbindString): Started;
  generateAfterTemplate(_0: string[], _1: EmbindString): Started;
  tokenizer(): Tokenizer | null;
  task(): string;
  config(): string;
  insides(_0: EmbindString, _1: EmbindString): Shown;
}

export type Shown = {
  code: EmbindString,
  message: EmbindString,
  tensors: { name: string; dims: number[]; data: Float32Array<ArrayBuffer> }[]
};

export type Loaded = {
  code: EmbindString,
  message: EmbindString,
  pipeline: Pipeline | null
};

interface EmbindModule {
  Files: {
    new(): Files;
  };
  Tokenizer: {
    load(_0: Files): LoadedTokenizer;
  };
  reserve(_0: number): number;
  release(_0: number): void;
  startThreads(_0: number): number;
  Weights: {
    new(_0: EmbindString): Weights;
  };
  Generation: {};
  Pipeline: {
    load(_0: EmbindString, _1: Weights, _2: EmbindString): Loaded;
  };
}

export type MainModule = WasmModule & typeof RuntimeExports & EmbindModule;
export default function MainModuleFactory (options?: unknown): Promise<MainModule>;
