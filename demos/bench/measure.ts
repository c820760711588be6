// How a call is timed, here and in tests/bench.

/** What timing a call gave, in milliseconds unless `once` counts otherwise. */
export interface Timing {
  /** The first call: memory is allocated, and the engine's compiler has not optimized yet. */
  first: number;
  /** The others, once warm; sorted. */
  times: number[];
}

/** The middle one of a sorted list. */
export const middle = (sorted: readonly number[]): number => sorted[sorted.length >> 1] ?? Number.NaN;

/**
 * Calls `once`, which gives its own time, until the budget is spent and `least` calls are over. The first call is told
 * apart, and what follows in the first third of the budget does not count either, unless there is little else: an
 * engine's second compiler is still at work then. A call that alone takes longer than the budget is enough.
 */
export async function measure(
  once: () => Promise<number>,
  { budget, least = 3, signal }: { budget: number; least?: number; signal?: AbortSignal | undefined },
): Promise<Timing> {
  signal?.throwIfAborted();
  const first = await once();
  const begin = performance.now();
  let times: number[] = [];
  let warming = true;
  for (;;) {
    signal?.throwIfAborted();
    const spent = performance.now() - begin;
    if (warming && spent > budget / 3) {
      warming = false;
      if (spent < budget) times = [];
    }
    const enough = times.length >= least && (spent >= budget || times.length >= 200);
    if ((enough && !warming) || (times[0] ?? 0) > budget) break;
    times.push(await once());
  }
  times.sort((a, b) => a - b);
  return { first, times: times.map((time) => Math.round(time * 1e4) / 1e4) };
}
