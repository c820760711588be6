import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { chooseVariant, detectFeatures, type Features, relaxedComputes } from '../../web/variants.ts';

const all: Features = { simd: true, relaxed: true, isolated: true, cores: 8 };

describe('the variant', () => {
  test('is the fastest that the environment can run', () => {
    assert.deepEqual(chooseVariant(all), { variant: 'relaxed-threads', threads: 4 });
    assert.deepEqual(chooseVariant({ ...all, relaxed: false }), { variant: 'simd-threads', threads: 4 });
    assert.deepEqual(chooseVariant({ ...all, isolated: false }), { variant: 'relaxed', threads: 1 });
    assert.deepEqual(chooseVariant({ ...all, relaxed: false, isolated: false }), { variant: 'simd', threads: 1 });
  });

  test('has no threads on one core', () => {
    assert.deepEqual(chooseVariant({ ...all, cores: 1 }), { variant: 'relaxed', threads: 1 });
    assert.deepEqual(chooseVariant({ ...all, cores: 0 }), { variant: 'relaxed', threads: 1 });
  });

  test('has as many threads as asked for, where the page is isolated', () => {
    assert.deepEqual(chooseVariant(all, { threads: 7 }), { variant: 'relaxed-threads', threads: 7 });
    assert.deepEqual(chooseVariant(all, { threads: 1 }), { variant: 'relaxed', threads: 1 });
    assert.deepEqual(chooseVariant({ ...all, cores: 1 }, { threads: 2 }), { variant: 'relaxed-threads', threads: 2 });
    assert.deepEqual(chooseVariant({ ...all, isolated: false }, { threads: 7 }), { variant: 'relaxed', threads: 1 });
  });

  test('asked for by name is that one', () => {
    assert.deepEqual(chooseVariant(all, { variant: 'simd' }), { variant: 'simd', threads: 1 });
    assert.deepEqual(chooseVariant(all, { variant: 'simd-threads' }), { variant: 'simd-threads', threads: 4 });
    assert.deepEqual(chooseVariant(all, { variant: 'relaxed', threads: 4 }), { variant: 'relaxed', threads: 1 });
  });

  test('that cannot run is an error, not another one', () => {
    const unsupported = { name: 'SottoError', code: 'unsupported' };
    assert.throws(() => chooseVariant({ ...all, relaxed: false }, { variant: 'relaxed' }), unsupported);
    assert.throws(() => chooseVariant({ ...all, isolated: false }, { variant: 'simd-threads' }), unsupported);
    assert.throws(() => chooseVariant({ ...all, simd: false }), unsupported);
  });

  test('with a senseless number of threads is an error', () => {
    for (const threads of [0, -1, 1.5, 65, Number.NaN]) {
      assert.throws(() => chooseVariant(all, { threads }), { code: 'invalid-argument' });
    }
  });
});

describe('the probe of relaxed SIMD', () => {
  const { Instance } = WebAssembly;

  /** An engine whose dot product is off by one in one lane. */
  class WrongInstance extends Instance {
    override readonly exports: WebAssembly.Exports;
    constructor(module: WebAssembly.Module) {
      super(module);
      const { m, f } = super.exports as { m: WebAssembly.Memory; f: () => void };
      const wrong = () => {
        f();
        const dot = new Int32Array(m.buffer, 48, 4);
        dot[2] = (dot[2] ?? 0) + 1;
      };
      this.exports = { m, f: wrong };
    }
  }

  test('accepts this engine', () => {
    assert.equal(relaxedComputes(), true);
    assert.equal(detectFeatures().simd, true);
  });

  test('refuses an engine that validates but computes wrong', () => {
    WebAssembly.Instance = WrongInstance;
    try {
      assert.equal(relaxedComputes(), false);
    } finally {
      WebAssembly.Instance = Instance;
    }
  });

  test('refuses an engine that does not know it', () => {
    const { validate } = WebAssembly;
    WebAssembly.validate = () => false;
    try {
      assert.equal(relaxedComputes(), false);
    } finally {
      WebAssembly.validate = validate;
    }
  });
});
