import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { asSottoError, SottoError } from '../../web/error.ts';

describe('a SottoError', () => {
  test('has a code for programs and keeps its cause', () => {
    const cause = new Error('deep');
    const error = new SottoError('network', 'It broke off.', { cause });
    assert.ok(error instanceof Error);
    assert.deepEqual(
      [error.name, error.code, error.message, error.cause],
      ['SottoError', 'network', 'It broke off.', cause],
    );
  });

  test('of a code that nobody knows is internal', () => {
    assert.equal(SottoError.of('invalid-file', '').code, 'invalid-file');
    assert.equal(SottoError.of('toString', '').code, 'internal');
  });

  test('wraps what was thrown, once', () => {
    const thrown = new RangeError('too much');
    const error = asSottoError(thrown, 'io');
    assert.deepEqual([error.code, error.message, error.cause], ['io', 'too much', thrown]);
    assert.equal(asSottoError(error), error);
    assert.equal(asSottoError('text').message, 'text');
  });
});
