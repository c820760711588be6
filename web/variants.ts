// Which build of the engine this browser gets. Detection reads the environment; the choice is a pure function.
import { SottoError } from './error.ts';

/** The builds of the engine. */
export type Variant = 'simd' | 'relaxed' | 'simd-threads' | 'relaxed-threads';

/** What an environment offers. */
export interface Features {
  /** 128-bit SIMD, without which nothing runs. */
  simd: boolean;
  /** Relaxed SIMD that computes right. */
  relaxed: boolean;
  /** Memory can be shared between threads: the page is cross-origin isolated. */
  isolated: boolean;
  /** How many threads are worth starting unasked. */
  cores: number;
}

/** What the caller asks for. */
export interface Wish {
  variant?: Variant | undefined;
  /** At most so many threads. */
  threads?: number | undefined;
}

/** A build, and how many threads it computes with. */
export interface Choice {
  variant: Variant;
  threads: number;
}

/** More threads than this contend for memory more than they help. */
const usualThreads = 4;
const mostThreads = 64;

/** The build for an environment. Asked for by name, a build that cannot run here is an error. */
export function chooseVariant(features: Features, wish: Wish = {}): Choice {
  if (!features.simd) {
    throw new SottoError('unsupported', 'This browser has no WebAssembly SIMD, which Sotto needs: update it.');
  }
  const { variant, threads } = wish;
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= mostThreads)) {
    throw new SottoError('invalid-argument', `'threads' must be an integer between 1 and ${mostThreads}.`);
  }
  if (variant?.startsWith('relaxed') && !features.relaxed) {
    throw new SottoError('unsupported', `The variant '${variant}' needs relaxed SIMD, which is absent or wrong here.`);
  }
  if (variant?.endsWith('-threads') && !features.isolated) {
    throw new SottoError('unsupported', `The variant '${variant}' needs a page that is cross-origin isolated.`);
  }
  const usual = Math.min(Math.max(1, features.cores), usualThreads);
  const wanted = features.isolated ? (threads ?? usual) : 1;
  if (variant) return { variant, threads: variant.endsWith('-threads') ? wanted : 1 };
  const base = features.relaxed ? 'relaxed' : 'simd';
  return wanted > 1 ? { variant: `${base}-threads`, threads: wanted } : { variant: base, threads: 1 };
}

// (func (result v128) (i16x8.extadd_pairwise_i8x16_s (i8x16.splat (i32.const 0))))
const simdModule = 'AGFzbQEAAAABBQFgAAF7AwIBAAoKAQgAQQD9D/18Cw==';

// Memory "m", and "f": v128 at 48 = i32x4.relaxed_dot_i8x16_i7x16_add_s(at 0, at 16, at 32), and
// v128 at 112 = f32x4.relaxed_madd(at 64, at 80, at 96).
const relaxedModule =
  'AGFzbQEAAAABBAFgAAADAgEABQMBAAEHCQIBbQIAAWYAAAo+ATwAQTBBAP0ABABBEP0ABABBIP0ABAD9kwL9CwQAQfAAQcAA/QAEAEHQAP0ABABB4AD9AAQA/YUC/QsEAAs=';

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

/**
 * Whether relaxed SIMD computes right, not merely validates: some engines do the latter only. The dot product is exact
 * by the specification as long as its second operand stays in 0…127; the multiply-add may round once or twice.
 */
export function relaxedComputes(): boolean {
  try {
    const bytes = bytesOf(relaxedModule);
    if (!WebAssembly.validate(bytes)) return false;
    const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
    if (!(m instanceof WebAssembly.Memory) || typeof f !== 'function') return false;
    const [a, b] = [new Int8Array(m.buffer, 0, 16), new Int8Array(m.buffer, 16, 16)];
    const [sum, dot] = [new Int32Array(m.buffer, 32, 4), new Int32Array(m.buffer, 48, 4)];
    const [x, y, z] = [64, 80, 96].map((at) => new Float32Array(m.buffer, at, 4)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const madd = new Float32Array(m.buffer, 112, 4);
    for (let round = 0; round < 64; round++) {
      // Round 0 takes the extremes, where a saturating product would differ.
      for (let i = 0; i < 16; i++) {
        a[i] = round === 0 ? (i % 3 === 0 ? 127 : -128) : (round * 89 + i * 151) % 256;
        b[i] = round === 0 ? 127 : (round * 53 + i * 71) % 128;
      }
      for (let lane = 0; lane < 4; lane++) {
        sum[lane] = round * 1_000_003 * (lane - 2);
        x[lane] = round + lane / 8;
        y[lane] = lane - round / 4;
        z[lane] = round * lane - 7;
      }
      f();
      for (let lane = 0; lane < 4; lane++) {
        let want = sum[lane] ?? 0;
        for (let i = 4 * lane; i < 4 * lane + 4; i++) want += (a[i] ?? 0) * (b[i] ?? 0);
        if (dot[lane] !== (want | 0)) return false;
        // Every value is a multiple of 1/32 below 2^13: exact however it is rounded.
        if (madd[lane] !== (x[lane] ?? 0) * (y[lane] ?? 0) + (z[lane] ?? 0)) return false;
      }
    }
    return true;
  } catch {
    return false;
  }
}

/** Whether this is Node rather than a browser. */
export const isNode: boolean =
  typeof process === 'object' && typeof process.versions?.node === 'string' && !('window' in globalThis);

/** What this environment offers. Node gets threads only when asked for. */
export function detectFeatures(): Features {
  const simd = typeof WebAssembly === 'object' && WebAssembly.validate(bytesOf(simdModule));
  const isolated = isNode || globalThis.crossOriginIsolated === true;
  const cores = isNode ? 1 : (globalThis.navigator?.hardwareConcurrency ?? 1);
  return { simd, relaxed: simd && relaxedComputes(), isolated, cores };
}

/** What would run here, as a line to show. */
export async function describeVariant(wish: Wish = {}): Promise<string> {
  const features = detectFeatures();
  const { variant, threads } = chooseVariant(features, wish);
  const simd = variant.startsWith('relaxed') ? 'relaxed SIMD' : 'SIMD';
  if (threads > 1) return `${simd}, ${threads} threads`;
  return `${simd}, one thread${features.isolated ? '' : ' (the page is not cross-origin isolated)'}`;
}
