// What the machine can do at most in WebAssembly: tiny modules, assembled here, whose loops do nothing but one kind of
// arithmetic in registers, or nothing but reading. Shares of these rates say how good a kernel is.

/** A limit by name. */
export type Limit = 'relaxed-dot' | 'relaxed-madd' | 'i16-dot' | 'mul-add' | 'read';

/** What a limit counts: operations (a multiply-add is two), or bytes read. */
export const units: Record<Limit, 'GOP/s' | 'GB/s'> = {
  'relaxed-dot': 'GOP/s',
  'relaxed-madd': 'GOP/s',
  'i16-dot': 'GOP/s',
  'mul-add': 'GOP/s',
  read: 'GB/s',
};

/** What the worker is asked: measure for so many milliseconds; `bytes` is how much to read over and over. */
export interface LimitRequest {
  limit: Limit;
  milliseconds: number;
  bytes: number;
}

/** Its answer: a rate in 10^9 a second, or null where the engine cannot. */
export interface LimitReply {
  rate: number | null;
}

// ---- The WebAssembly binary format (https://webassembly.github.io/spec/core/binary/), as far as it is needed.

const leb = (value: number): number[] => {
  const out: number[] = [];
  let rest = value;
  for (;;) {
    const low = rest & 127;
    rest >>= 7;
    const last = (rest === 0 && (low & 64) === 0) || (rest === -1 && (low & 64) !== 0);
    out.push(last ? low : low | 128);
    if (last) return out;
  }
};
const uleb = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...uleb(value >>> 7)]);
const sized = (bytes: number[]): number[] => [...uleb(bytes.length), ...bytes];
const section = (id: number, bytes: number[]): number[] => [id, ...sized(bytes)];
const name = (text: string): number[] => sized([...new TextEncoder().encode(text)]);

const I32 = 0x7f;
const V128 = 0x7b;
const get = (local: number): number[] => [0x20, ...uleb(local)];
const set = (local: number): number[] => [0x21, ...uleb(local)];
const constant = (value: number): number[] => [0x41, ...leb(value)];
const simd = (opcode: number): number[] => [0xfd, ...uleb(opcode)];
const load = (offset: number): number[] => [...simd(0), 0, ...uleb(offset)];
const store = (offset: number): number[] => [...simd(11), 0, ...uleb(offset)];
const addI32 = [0x6a];
const addI32x4 = simd(0xae);
const addF32x4 = simd(0xe4);
const mulF32x4 = simd(0xe6);
const dotI16x8 = simd(0xba);
const relaxedMadd = simd(0x105);
const relaxedPairs = simd(0x112);
const relaxedDot = simd(0x113);

const sums = 12;
const repeats = 4;

// Parameters 0 (address) and 1 (a count); then the sums, and two operands.
const firstSum = 2;
const [left, right] = [firstSum + sums, firstSum + sums + 1];

/** One function "f" of two integers over the memory "m". */
function moduleOf(body: number[]): Uint8Array<ArrayBuffer> {
  const code = sized([1, ...uleb(sums + 2), V128, ...body, 0x0b]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 2, I32, I32, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, 1]),
    ...section(7, [2, ...name('m'), 2, 0, ...name('f'), 0, 0]),
    ...section(10, [1, ...code]),
  ]);
}

/** `step` is done until the count, less `by` each time, is zero. */
const loop = (step: number[], by: number): number[] => [
  ...[0x03, 0x40],
  ...step,
  ...get(1),
  ...constant(by),
  0x6b,
  ...[0x22, 1],
  ...[0x0d, 0, 0x0b],
];

/** Keeps the sums from being optimized away. */
const keep = Array.from({ length: sums }, (_, i) => [
  ...constant(0),
  ...get(firstSum + i),
  ...store(64 + 16 * i),
]).flat();

/** Sums in registers, each its own chain: `next` takes the old sum's local to the new value. */
function arithmetic(next: (sum: number) => number[]): Uint8Array<ArrayBuffer> {
  const all = Array.from({ length: sums }, (_, i) => [...next(firstSum + i), ...set(firstSum + i)]).flat();
  const operands = [left, right].flatMap((local, i) => [...constant(0), ...load(16 * i), ...set(local)]);
  return moduleOf([...operands, ...loop(Array.from({ length: repeats }, () => all).flat(), 1), ...keep]);
}

/** Reads `count` bytes from an address, 128 at a time. */
function reading(): Uint8Array<ArrayBuffer> {
  const step = Array.from({ length: 8 }, (_, i) => [
    ...get(firstSum + i),
    ...get(0),
    ...load(16 * i),
    ...addI32x4,
    ...set(firstSum + i),
  ]).flat();
  return moduleOf([...loop([...step, ...get(0), ...constant(128), ...addI32, ...set(0)], 128), ...keep]);
}

/** The ways of doing it, the quickest of which is the limit. */
const modules: Record<Limit, (() => Uint8Array<ArrayBuffer>)[]> = {
  'relaxed-dot': [
    () => arithmetic((sum) => [...get(left), ...get(right), ...get(sum), ...relaxedDot]),
    // Pairs of products, then pairs of those: where the processor has no instruction for four. The sum is an operand, or
    // the engine would see the same product everywhere.
    () =>
      arithmetic((sum) => [
        ...[...get(sum), ...get(right), ...relaxedPairs],
        ...[...get(left), ...dotI16x8, ...get(sum), ...addI32x4],
      ]),
  ],
  'relaxed-madd': [() => arithmetic((sum) => [...get(sum), ...get(left), ...get(right), ...relaxedMadd])],
  'i16-dot': [() => arithmetic((sum) => [...get(sum), ...get(left), ...dotI16x8, ...get(right), ...addI32x4])],
  'mul-add': [() => arithmetic((sum) => [...get(sum), ...get(left), ...mulF32x4, ...get(right), ...addF32x4])],
  read: [reading],
};

/** Operations of one vector instruction (or pair): lanes, times two for the multiply and the add. */
const operations = { 'relaxed-dot': 32, 'relaxed-madd': 8, 'i16-dot': 16, 'mul-add': 8 };

/** The best of many stretches of some twenty milliseconds, the first ones unmeasured: they make the engine optimize. */
export function measureLimit({ limit, milliseconds, bytes }: LimitRequest): number | null {
  const ways = modules[limit];
  const rates = ways.map((way) => rateOf(way(), limit, milliseconds / ways.length, bytes));
  return rates.reduce((best, rate) => (best === null || (rate !== null && rate > best) ? rate : best));
}

function rateOf(binary: Uint8Array<ArrayBuffer>, limit: Limit, milliseconds: number, bytes: number): number | null {
  if (!WebAssembly.validate(binary)) return null;
  const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(binary)).exports;
  if (!(m instanceof WebAssembly.Memory) || typeof f !== 'function') return null;
  const page = 65536; // the first one holds operands and sums
  if (limit === 'read') {
    try {
      m.grow(Math.ceil(bytes / page));
    } catch {
      return null;
    }
    new Uint8Array(m.buffer).fill(1); // pages that were never written are all the same one
  } else if (limit === 'i16-dot') {
    new Int16Array(m.buffer, 0, 16).fill(3);
  } else if (limit === 'relaxed-dot') {
    new Int8Array(m.buffer, 0, 32).fill(3);
  } else {
    new Float32Array(m.buffer, 0, 8).fill(0.5); // x / 2 + 1 / 2 goes to 1
  }
  const turns = 1000;
  const [count, work] = limit === 'read' ? [bytes, bytes] : [turns, turns * sums * repeats * operations[limit]];
  const timed = (calls: number) => {
    const begin = performance.now();
    for (let i = 0; i < calls; ++i) f(page, count);
    return performance.now() - begin;
  };
  const end = performance.now() + milliseconds;
  let calls = 1;
  while (timed(calls) < 20) calls *= 2; // clocks of pages are coarse
  timed(calls);
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 4 || performance.now() < end; ++i) best = Math.min(best, timed(calls));
  return (calls * work) / best / 1e6;
}

/** The rate of so many threads at once, in 10^9 a second, or undefined where one of them cannot. */
export async function limitOf(
  limit: Limit,
  {
    threads = 1,
    milliseconds = 200,
    bytes = 0,
    signal,
  }: { threads?: number; milliseconds?: number; bytes?: number; signal?: AbortSignal } = {},
): Promise<number | undefined> {
  signal?.throwIfAborted();
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL('./limits-worker.ts', import.meta.url), { type: 'module' }),
  );
  const stop = new Promise<never>((_, reject) =>
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true }),
  );
  try {
    const request: LimitRequest = { limit, milliseconds, bytes: Math.floor(bytes / threads / 128) * 128 };
    const rates = workers.map(
      (worker) =>
        new Promise<number | null>((resolve, reject) => {
          worker.addEventListener('message', ({ data }: MessageEvent<LimitReply>) => resolve(data.rate));
          worker.addEventListener('error', (event) => reject(new Error(event.message || 'a worker did not start')));
          worker.postMessage(request);
        }),
    );
    let sum = 0;
    for (const rate of await Promise.race([Promise.all(rates), stop])) {
      if (rate === null) return undefined;
      sum += rate;
    }
    return sum;
  } finally {
    for (const worker of workers) worker.terminate();
  }
}
