// The models that ship: small, described, and verified by a manifest that is true.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { manifestOf } from '../../tools/manifest.mjs';

const shipped = fs
  .readdirSync('models')
  .map((name) => path.join('models', name))
  .filter((folder) => fs.existsSync(path.join(folder, 'model.safetensors')));

test('two models ship', () => assert.ok(shipped.length >= 2, shipped.join(', ')));

for (const folder of shipped) {
  test(`${folder} has a card, a recipe and at most 8 MB`, () => {
    assert.ok(fs.existsSync(path.join(folder, 'README.md')));
    assert.ok(fs.existsSync(path.join(folder, 'recipe.json')));
    const bytes = fs.readdirSync(folder).reduce((sum, name) => sum + fs.statSync(path.join(folder, name)).size, 0);
    assert.ok(bytes <= 8e6, `${bytes} bytes`);
  });

  test(`${folder}/manifest.json tells the truth`, () => {
    const manifest = JSON.parse(fs.readFileSync(path.join(folder, 'manifest.json'), 'utf8'));
    assert.deepEqual(manifest, manifestOf(folder));
  });
}
