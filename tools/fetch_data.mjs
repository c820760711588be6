#!/usr/bin/env node
// Lays the training data of the shipped models out in build/data, as their recipes name it: from a
// folder of compressed sets (--from, or ../shared/data beside the repository) where there is one, else
// from the public origin of each set. Needs `xz` for .xz and `tar` for archives.
//
//   node tools/fetch_data.mjs [--from FOLDER] [--gpt2 FOLDER_WITH_VOCAB_JSON] [names]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { commonWords, readFables, readGutenberg, readQna, readSelfDialogues, readStorybook } from './data_origins.mjs';

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

const raw = 'https://raw.githubusercontent.com';
const github = (repository, commit) => `https://codeload.github.com/${repository}/tar.gz/${commit}`;
const sstCommit = `${raw}/clairett/pytorch-sentiment-classification/457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2`;

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
  'gutenberg-simple.jsonl': { local: ['story-gutenberg-simple', 'simple.jsonl.xz'], origin: () => gutenberg('simple') },
  'gutenberg-fairy.jsonl': { local: ['story-gutenberg-fairy', 'fairy.jsonl.xz'], origin: () => gutenberg('fairy') },
  'storybooks.jsonl': {
    local: ['story-storybooks', 'english.jsonl.xz'],
    origin: async () => {
      const books = [];
      for (const [source, repository, commit] of [
        ['African Storybook', 'global-asp/asp-source', '99e022369a980bd52bce8c6f86d5f24e9a4ada9d'],
        ['Pratham Books', 'global-asp/pb-source', '9ea530dfb0011dd1cbaf42e6ffe74aa3ef5733ed'],
      ]) {
        books.push(
          ...(await unpacked(github(repository, commit), (folder) =>
            [...walk(folder, /\/en\/[^/]+\.md$/)].map((path) => readStorybook(readFileSync(path, 'utf8'), source)),
          )),
        );
      }
      return jsonl(books.filter((book) => book?.lang === 'en'));
    },
  },
  'aesop.jsonl': {
    local: ['story-aesop-children', 'fables.jsonl.xz'],
    origin: async () => {
      const commit = '89dc561d62fa983eaca960bb219373851ae876c2';
      const json = await download(`${raw}/emorynlp/data-collection/${commit}/aesops_fables/dat/aesop4children.json`);
      return jsonl(readFables(json.toString('utf8')));
    },
  },
  'personality-qna.jsonl': {
    local: ['chat-personality-qna', 'chitchat_qna.jsonl.gz'],
    origin: async () => {
      const commit = '9fa25c6cef41cb8e3c6826c515034fe589f0fe5d';
      const folder = `${raw}/microsoft/botframework-cli/${commit}/packages/qnamaker/docs/qnaFormat/english`;
      const pairs = [];
      for (const personality of ['caring', 'friendly']) {
        const text = await download(`${folder}/qna_chitchat_${personality}.qna`);
        pairs.push(...readQna(text.toString('utf8'), 'english', personality));
      }
      return jsonl(pairs);
    },
  },
  'self-dialogue.jsonl': {
    local: ['chat-self-dialogue', 'self_dialogue.jsonl.gz'],
    origin: () =>
      unpacked(github('jfainberg/self_dialogue_corpus', '113a1b0ff10308f1227c13a4aaded9bc85577816'), (folder) => {
        const [list] = walk(folder, /\/blocked_workers\.txt$/);
        const blocked = new Set(readFileSync(list, 'utf8').split(/\s+/).filter(Boolean));
        const dialogues = [...walk(folder, /\/corpus\/[^/]+\/[^/]+\.csv$/)].flatMap((path) =>
          readSelfDialogues(readFileSync(path, 'utf8'), basename(dirname(path)), blocked),
        );
        return jsonl(dialogues);
      }),
  },
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

// The chapters of the books of one set, each book in plain text from Project Gutenberg itself, with a pause
// between them as it asks of robots.
async function gutenberg(set) {
  const stories = join(out, 'tinystories.jsonl');
  if (!existsSync(stories)) throw new Error('make tinystories.jsonl first: its words say what is easy to read');
  const texts = readFileSync(stories, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).text);
  const common = commonWords(texts, 6000);
  const chapters = [];
  for (const line of readFileSync(join(root, 'tools/gutenberg_books.tsv'), 'utf8').trimEnd().split('\n')) {
    const [from, number, name] = line.split('\t');
    if (from !== set) continue;
    const text = await download(`https://www.gutenberg.org/cache/epub/${number}/pg${number}.txt`);
    chapters.push(...readGutenberg(text.toString('utf8'), `${name}_${number}`, common));
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  return jsonl(chapters);
}

async function make(set) {
  const [folder, how] = set.local;
  const local = join(from, folder);
  if (existsSync(local)) return typeof how === 'string' ? read(join(local, how)) : how(local);
  return set.origin();
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
