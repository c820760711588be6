// node tools/manifest.mjs models/NAME ...: writes manifest.json of a model folder, by which the
// library verifies what it downloads: the name, size and SHA-256 of each file that a page loads.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** The files of a model folder that a page may load. */
const loaded =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map)\.json$|\.safetensors$|\.jinja$/;

export function manifestOf(folder) {
  const files = fs
    .readdirSync(folder)
    .filter((name) => loaded.test(name))
    .sort()
    .map((name) => {
      const content = fs.readFileSync(path.join(folder, name));
      return { name, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
    });
  return { files };
}

if (import.meta.filename === process.argv[1]) {
  for (const folder of process.argv.slice(2)) {
    fs.writeFileSync(path.join(folder, 'manifest.json'), `${JSON.stringify(manifestOf(folder), null, 2)}\n`);
  }
}
