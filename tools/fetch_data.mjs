#!/usr/bin/env node
// Lays the training data of the shipped models out in build/data, as their recipes name it: from a
// folder of compressed sets (--from, or ../shared/data beside the repository) where there is one, else
// from the public origin of each set. Needs `xz` for .xz and `tar` for archives.
//
//   node tools/fetch_data.mjs [--from FOLDER] [--gpt2 FOLDER_WITH_VOCAB_JSON] [names]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(root, 'build/data');
const kBig = 1 << 30;

function option(name, fallback) {
  const at = process.argv.indexOf(name);
  return at > 0 ? process.argv.splice(at, 2)[1] : fallback;
}
const from = option('--from', join(root, '../shared/data'));
const gpt2 = option('--gpt2', join(root, '../shared/fixtures/tokenizers/ort-extensions/gpt2'));
const wanted = process.argv.slice(2);

// A file as bytes, decompressed by its name.
function read(path) {
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path));
  if (path.endsWith('.xz')) return execFileSync('xz', ['-dc', path], { maxBuffer: kBig });
  return readFileSync(path);
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return Buffer.from(await response.arrayBuffer());
}

// An archive of an address, unpacked for `use(folder)`.
async function unpacked(url, use) {
  const folder = mkdtempSync(join(tmpdir(), 'sotto-data-'));
  try {
    const archive = join(folder, 'archive');
    writeFileSync(archive, await download(url));
    if (url.endsWith('.zip')) execFileSync('unzip', ['-q', archive, '-d', folder]);
    else execFileSync('tar', ['-xzf', archive, '-C', folder]);
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// Every file below a folder whose path matches.
function* walk(folder, pattern) {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path, pattern);
    else if (pattern.test(path)) yield path;
  }
}

const jsonl = (records) => records.map((record) => JSON.stringify(record)).join('\n') + '\n';
const oneLine = (text) =>
  text
    .replace(/<br\s*\/?>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();

// Ids of GPT-2's tokenizer, little-endian 16 bits, as text: its vocabulary spells each byte as a character.
function decodeGpt2(bytes) {
  const vocab = JSON.parse(readFileSync(join(gpt2, 'vocab.json'), 'utf8'));
  const byteOf = new Map();
  for (let b = 0, next = 256; b < 256; ++b) {
    const printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    byteOf.set(String.fromCodePoint(printable ? b : next++), b);
  }
  const spelled = [];
  for (const [token, id] of Object.entries(vocab)) {
    spelled[id] = token === '<|endoftext|>' ? Buffer.from(token) : Buffer.from([...token].map((c) => byteOf.get(c)));
  }
  const parts = [];
  for (let i = 0; i + 1 < bytes.length; i += 2) parts.push(spelled[bytes.readUInt16LE(i)] ?? Buffer.alloc(0));
  return Buffer.concat(parts).toString('utf8');
}

// The several cuts of TinyStories in the compressed sets, as one list of stories.
function tinyStories(folder) {
  const cut = (text) => text.split('<|endoftext|>');
  const stories = [
    ...cut(read(join(folder, 'tinystories_subset.txt.gz')).toString('utf8')),
    ...cut(read(join(folder, 'tinystories_10k.txt')).toString('utf8')),
    // Here paragraphs are apart by an empty line, and stories by none.
    ...read(join(folder, 'tiny_stories.txt'))
      .toString('utf8')
      .split(/(?<!\n)\n(?!\n)/),
  ];
  if (existsSync(join(gpt2, 'vocab.json'))) {
    for (const name of ['val.bin', 'test.bin']) stories.push(...cut(decodeGpt2(readFileSync(join(folder, name)))));
  }
  const texts = stories.map((text) => text.trim()).filter((text) => text.length > 0);
  // The first story of a cut and the last begin or end in its middle.
  return jsonl(texts.filter((text) => /^["“A-Z]/.test(text) && /[.!?"”]$/.test(text)).map((text) => ({ text })));
}

const hub = 'https://raw.githubusercontent.com';
const sstCommit = `${hub}/clairett/pytorch-sentiment-classification/457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2`;

// Each set: what it is made of, and where it comes from when there is no local copy.
const sets = {
  'tinystories.jsonl': {
    local: ['lm-tinystories', tinyStories],
    origin: async () => {
      const url = 'https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt';
      const texts = (await download(url))
        .toString('utf8')
        .split('<|endoftext|>')
        .map((text) => text.trim());
      return jsonl(texts.filter(Boolean).map((text) => ({ text })));
    },
  },
  'gutenberg-simple.jsonl': { local: ['story-gutenberg-simple', 'simple.jsonl.xz'] },
  'gutenberg-fairy.jsonl': { local: ['story-gutenberg-fairy', 'fairy.jsonl.xz'] },
  'storybooks.jsonl': { local: ['story-storybooks', 'english.jsonl.xz'] },
  'aesop.jsonl': { local: ['story-aesop-children', 'fables.jsonl.xz'] },
  'personality-qna.jsonl': { local: ['chat-personality-qna', 'chitchat_qna.jsonl.gz'] },
  'topical-chat.jsonl': { local: ['chat-topical', 'topical_chat_valid_test.jsonl.gz'] },
  'self-dialogue.jsonl': { local: ['chat-self-dialogue', 'self_dialogue.jsonl.gz'] },
  'classics-kids.jsonl': { local: ['lit-classics', 'kids.jsonl.xz'] },
  'imdb-train.tsv': { local: ['cls-imdb', 'imdb_train.tsv.gz'], origin: () => imdb('train') },
  'imdb-test.tsv': { local: ['cls-imdb', 'imdb_test.tsv.gz'], origin: () => imdb('test') },
  'sst2-phrases.tsv': {
    local: ['cls-sst2-glue', (folder) => phrases([join(folder, 'train.tsv'), join(folder, 'dev.tsv')])],
    origin: () =>
      unpacked('https://dl.fbaipublicfiles.com/glue/data/SST-2.zip', (folder) =>
        phrases([...walk(folder, /SST-2\/train\.tsv$/)]),
      ),
  },
  'sst2-dev.tsv': { local: ['cls-sst2-sentences', 'dev.tsv'], origin: () => download(`${sstCommit}/dev.tsv`) },
  'sst2-test.tsv': { local: ['cls-sst2-sentences', 'test.tsv'], origin: () => download(`${sstCommit}/test.tsv`) },
  'sst2-train.tsv': { local: ['cls-sst2-sentences', 'train.tsv'], origin: () => download(`${sstCommit}/train.tsv`) },
};

// GLUE's training phrases; the local copy has them cut in two files.
function phrases(paths) {
  const rows = paths.flatMap((path) => readFileSync(path, 'utf8').trimEnd().split('\n').slice(1));
  return ['sentence\tlabel', ...rows].join('\n') + '\n';
}

function imdb(split) {
  return unpacked('https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz', (folder) => {
    const rows = ['label\tstars\ttext'];
    for (const path of walk(folder, new RegExp(`/${split}/(pos|neg)/\\d+_\\d+\\.txt$`))) {
      const [, label, stars] = path.match(/(pos|neg)\/\d+_(\d+)\.txt$/);
      rows.push(`${label === 'pos' ? 1 : 0}\t${stars}\t${oneLine(readFileSync(path, 'utf8'))}`);
    }
    return rows.join('\n') + '\n';
  });
}

async function make(set) {
  const [folder, how] = set.local;
  const local = join(from, folder);
  if (existsSync(local)) return typeof how === 'string' ? read(join(local, how)) : how(local);
  if (set.origin) return set.origin();
  throw new Error(
    `there is no ${local}; its origin is a collection that has to be gathered by hand (see the model's card)`,
  );
}

mkdirSync(out, { recursive: true });
let failed = false;
for (const [name, set] of Object.entries(sets)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const path = join(out, name);
  if (existsSync(path)) {
    console.log(`${name}: there already`);
    continue;
  }
  try {
    const bytes = Buffer.from(await make(set));
    writeFileSync(path, bytes);
    console.log(`${name}: ${(bytes.length / 1e6).toFixed(1)} MB`);
  } catch (error) {
    failed = true;
    console.error(`${name}: ${error.message}`);
  }
}
process.exit(failed ? 1 : 0);
