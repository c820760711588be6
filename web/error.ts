/**
 * What went wrong:
 * - `invalid-argument`: the call asks for something that makes no sense
 * - `invalid-file`: a file's bytes are not what its format promises
 * - `unsupported`: well-formed, but Sotto, or this browser, cannot do it
 * - `not-found`: a file, tensor or name is absent
 * - `out-of-memory`: the weights, or what they compute, do not fit
 * - `io`: reading a local file failed
 * - `network`: a download failed, and nothing stored could stand in
 * - `integrity`: a file is not the one that its manifest names, even after a second download
 * - `disposed`: the pipeline or tokenizer was disposed of
 * - `worker`: the worker, or the WebAssembly module in it, could not start or broke down
 * - `internal`: a promise between Sotto's own parts was broken: please report it
 *
 * A call that was aborted rejects with its signal's reason instead.
 */
export type SottoErrorCode =
  | 'invalid-argument'
  | 'invalid-file'
  | 'unsupported'
  | 'not-found'
  | 'out-of-memory'
  | 'io'
  | 'network'
  | 'integrity'
  | 'disposed'
  | 'worker'
  | 'internal';

const codes: ReadonlySet<string> = new Set<SottoErrorCode>([
  'invalid-argument',
  'invalid-file',
  'unsupported',
  'not-found',
  'out-of-memory',
  'io',
  'network',
  'integrity',
  'disposed',
  'worker',
  'internal',
]);

/** An error that Sotto explains: {@link SottoErrorCode | a code} for programs, a sentence for people. */
export class SottoError extends Error {
  override readonly name = 'SottoError';
  /** What kind of thing went wrong. */
  readonly code: SottoErrorCode;

  constructor(code: SottoErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  /** The error of a code that came from elsewhere; one that is not known counts as `internal`. */
  static of(code: string, message: string, options?: ErrorOptions): SottoError {
    return new SottoError(codes.has(code) ? (code as SottoErrorCode) : 'internal', message, options);
  }
}

/** A thrown value as a {@link SottoError}: itself, or wrapped with the code given. */
export function asSottoError(thrown: unknown, code: SottoErrorCode = 'internal'): SottoError {
  if (thrown instanceof SottoError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new SottoError(code, message, { cause: thrown });
}
