/** The builds of the engine. */
export type Variant = 'simd' | 'relaxed' | 'simd-threads' | 'relaxed-threads';
