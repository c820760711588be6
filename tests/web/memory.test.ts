// How much memory loading takes at its peak, JavaScript's own included: the weights as they are kept, and at most 64 MB.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('../../', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'sotto-memory-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A Llama of zeros in f16, cut in two files that take no room on the disk, and how many values it has in matrices. */
function model(name: string, hidden: number, layers: number): { folder: string; values: number } {
  const folder = join(scratch, name);
  mkdirSync(folder);
  const [vocab, inner] = [32000, 4 * hidden];
  const config = {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: vocab,
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: hidden / 64,
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(`${root}tests/golden/pipelines/text-generation/${file}`, join(folder, file));
  const tensors: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocab, hidden]],
    ['lm_head.weight', [vocab, hidden]],
    ['model.norm.weight', [hidden]],
  ];
  for (let i = 0; i < layers; i++) {
    const at = `model.layers.${i}.`;
    for (const part of ['q', 'k', 'v', 'o']) tensors.push([`${at}self_attn.${part}_proj.weight`, [hidden, hidden]]);
    for (const part of ['gate', 'up']) tensors.push([`${at}mlp.${part}_proj.weight`, [inner, hidden]]);
    tensors.push([`${at}mlp.down_proj.weight`, [hidden, inner]]);
    for (const norm of ['input', 'post_attention']) tensors.push([`${at}${norm}_layernorm.weight`, [hidden]]);
  }
  const map: Record<string, string> = {};
  let values = 0;
  for (const half of [0, 1]) {
    const file = `model-${half}.safetensors`;
    const table: Record<string, unknown> = {};
    let at = 0;
    for (const [tensor, shape] of tensors.slice((half * tensors.length) / 2, ((half + 1) * tensors.length) / 2)) {
      const count = shape.reduce((a, b) => a * b);
      if (shape.length > 1) values += count;
      table[tensor] = { dtype: 'F16', shape, data_offsets: [at, at + 2 * count] };
      map[tensor] = file;
      at += 2 * count;
    }
    const json = Buffer.from(JSON.stringify(table));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    writeFileSync(join(folder, file), Buffer.concat([length, json]));
    truncateSync(join(folder, file), 8 + json.length + at);
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
  return { folder, values };
}

/** The most memory that a process of its own has had when the model is there. */
async function peak(folder: string, dtype: string): Promise<number> {
  const script = `
    const { pipeline } = await import(${JSON.stringify(`${root}dist/index.js`)});
    const options = { variant: 'simd', dtype: ${JSON.stringify(dtype)} };
    const generate = await pipeline('text-generation', ${JSON.stringify(folder)}, options);
    console.log(process.resourceUsage().maxRSS * 1024);
    await generate.dispose();
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  return Number(stdout);
}

test('loading takes the weights as they are kept, and at most 64 MB', async (t) => {
  const large = model('large', 512, 8);
  const tiny = model('tiny', 64, 1);
  for (const [dtype, bytes] of [
    ['q8', 1],
    ['fp32', 4],
  ] as const) {
    const [most, least] = [await peak(large.folder, dtype), await peak(tiny.folder, dtype)];
    const beyond = most - least - bytes * (large.values - tiny.values);
    t.diagnostic(`${dtype}: ${(beyond / 1e6).toFixed(1)} MB beyond the weights`);
    assert.ok(beyond < 64e6, `${dtype}: ${(beyond / 1e6).toFixed(1)} MB beyond the weights`);
  }
});
