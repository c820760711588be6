// Measure: the machine's limits, and the models that ship, timed one after another and drawn as bars in tables.
import { describeVariant, type EngineOptions, type ModelInfo, pipeline } from 'sotto';
import { element, explain, say } from '../load.js';
import { type Limit, limitOf, units } from './limits.js';
import { measure, middle } from './measure.js';

const start = element('start', HTMLButtonElement);
const stop = element('stop', HTMLButtonElement);
const copy = element('copy', HTMLButtonElement);
const progress = element('progress', HTMLProgressElement);
const results = element('results', HTMLDivElement);
const about = element('browser', HTMLParagraphElement);

/** One figure. */
interface Figure {
  group: string;
  name: string;
  unit: string;
  threads: number;
  value: number;
  /** In the unit of the figure, too. */
  first?: number;
  /** What the machine would allow at most, where that is known. */
  limit?: number | undefined;
}

interface Group {
  title: string;
  note: string;
}

const groups = {
  limits: {
    title: 'What the machine can do at most',
    note: 'In WebAssembly. A multiply-add counts as two operations; longer bars are better.',
  },
  read: {
    title: 'Reading',
    note: 'The classifier of the first page, a small BERT. A full bar is the machine’s limit.',
  },
  write: {
    title: 'Writing',
    note: 'The writer of the second page, a small GPT. A full bar is the machine’s limit.',
  },
  start: {
    title: 'Starting',
    note: 'From nothing to a model that answers, files from this origin or its store; shorter bars are better.',
  },
} satisfies Record<string, Group>;
type GroupName = keyof typeof groups;

/** Milliseconds for a figure. */
const budget = 700;
const isolated = globalThis.crossOriginIsolated === true;
/** More threads than Sotto would take unasked are not measured. */
const cores = Math.min(navigator.hardwareConcurrency || 1, 4);
const threadCounts = isolated && cores > 1 ? [1, cores] : [1];

let figures: Figure[] = [];
let variants: string[] = [];

// ---- What is measured: a list of steps, so that progress can be told.

type Step = { name: string; run(signal: AbortSignal): Promise<void> };

function note(group: GroupName, figure: Omit<Figure, 'group'>): void {
  figures.push({ group, ...figure });
  draw();
}

const limitNames: [Limit, name: string, megabytes: number][] = [
  ['relaxed-dot', '8-bit dot products, relaxed SIMD', 0],
  ['i16-dot', '16-bit dot products', 0],
  ['relaxed-madd', '32-bit floats, fused', 0],
  ['mul-add', '32-bit floats, multiply and add', 0],
  ['read', 'reading 16 MB over and over', 16],
];

function limitSteps(threads: number): Step[] {
  return limitNames.map(([limit, name, megabytes]) => ({
    name: `limits: ${name}`,
    async run(signal) {
      const rate = await limitOf(limit, { threads, bytes: megabytes * 2 ** 20, milliseconds: 250, signal });
      if (rate !== undefined) note('limits', { name, unit: units[limit], threads, value: rate });
    },
  }));
}

/** Weights of a model: of the matrices that each token is multiplied with, and of the table of its words. */
function weightsOf({ config }: ModelInfo): { layers: number; words: number } {
  const number = (...names: string[]) =>
    names.map((name) => config[name]).find((value) => typeof value === 'number') ?? 0;
  const hidden = number('hidden_size', 'n_embd');
  const inner = number('intermediate_size', 'n_inner') || 4 * hidden;
  const layers = number('num_hidden_layers', 'n_layer') * (4 * hidden * hidden + 2 * hidden * inner);
  return { layers, words: number('vocab_size') * hidden };
}

/**
 * Tokens a second at the machine's limits, weights being one byte each, as those that ship are: two operations a weight
 * at the rate of dot products, and every weight read once a step.
 */
function most(model: ModelInfo, task: 'read' | 'write'): number | undefined {
  const limit = (what: Limit) => {
    const name = limitNames.find(([one]) => one === what)?.[1];
    return figures.find((one) => one.group === 'limits' && one.name === name && one.threads === model.threads)?.value;
  };
  const { layers, words } = weightsOf(model);
  const operations = Math.max(limit('relaxed-dot') ?? 0, limit('i16-dot') ?? 0);
  const bytes = limit('read');
  if (!layers || !operations || !bytes) return undefined;
  if (task === 'read') return (1e9 * operations) / (2 * layers);
  return 1e9 / Math.max((2 * (layers + words)) / operations, (layers + words) / bytes);
}

const sentence = 'The acting is superb, but the story goes nowhere.';
const paragraph = Array.from({ length: 9 }, () => 'We laughed and cried, and went home late in the rain.').join(' ');
const beginning =
  'Once upon a time, there was a little girl named Lily. She liked to play in the garden with her dog. ';

/** Milliseconds of a call, made as often as a page's coarse clock needs. */
async function steady(call: () => PromiseLike<unknown>): Promise<number> {
  const begin = performance.now();
  for (let calls = 1; ; ++calls) {
    await call();
    const spent = performance.now() - begin;
    if (spent > 10) return spent / calls;
  }
}

/** Milliseconds of one call. */
async function timed(call: () => PromiseLike<unknown>): Promise<number> {
  const begin = performance.now();
  await call();
  return performance.now() - begin;
}

const address = (name: string) => new URL(`../models/${name}/`, document.baseURI);

function classifySteps(threads: number): Step[] {
  const options: EngineOptions = { threads };
  let classify: Awaited<ReturnType<typeof pipeline<'text-classification'>>> | undefined;
  const open = () => {
    if (!classify) throw new Error('the classifier was not loaded');
    return classify;
  };
  return [
    {
      name: 'loading the classifier',
      async run(signal) {
        const took = await timed(async () => {
          classify = await pipeline('text-classification', address('sotto-sentiment'), { ...options, signal });
        });
        const { model } = open();
        variants.push(`${model.variant}, ${model.threads}`);
        // Later ones come out of the store.
        if (threads === 1) note('start', { name: 'the classifier', unit: 'ms', threads, value: took });
      },
    },
    ...(
      [
        ['a sentence', sentence],
        ['a paragraph', paragraph],
        ['eight sentences at once', Array.from({ length: 8 }, (_, i) => `${i + 1}. ${sentence}`)],
      ] as const
    ).map(([name, text]) => ({
      name: `reading ${name}`,
      async run(signal: AbortSignal) {
        const run = open();
        const texts = typeof text === 'string' ? [text] : text;
        let tokens = 0;
        for (const one of texts) tokens += (await run.tokenizer.encode(one, { signal })).ids.length;
        const call = () => run([...texts], { signal });
        const first = await timed(call);
        const { times } = await measure(() => steady(call), { budget, signal });
        const rate = (ms: number) => (1000 * tokens) / ms;
        const figure = {
          name: `${name} (${tokens} tokens)`,
          unit: 'tokens/s',
          threads,
          limit: most(run.model, 'read'),
        };
        note('read', { ...figure, value: rate(middle(times)), first: rate(first) });
      },
    })),
    { name: 'closing the classifier', run: async () => void (await classify?.dispose()) },
  ];
}

function writeSteps(threads: number): Step[] {
  const options: EngineOptions = { threads };
  let write: Awaited<ReturnType<typeof pipeline<'text-generation'>>> | undefined;
  const open = () => {
    if (!write) throw new Error('the writer was not loaded');
    return write;
  };
  /** When each of so many tokens came, counted from the call. */
  const stream = async (prompt: string, tokens: number, signal: AbortSignal) => {
    const begin = performance.now();
    const times: number[] = [];
    const fixed = { do_sample: false, max_new_tokens: tokens, min_new_tokens: tokens };
    for await (const _ of open().stream(prompt, { ...fixed, signal })) times.push(performance.now() - begin);
    return times;
  };
  const generated = 48;
  const decode = (name: string, repeats: number): Step => ({
    name: `writing ${name}`,
    async run(signal) {
      const perToken = async () => {
        const times = await stream(beginning.repeat(repeats), generated + 1, signal);
        return ((times.at(-1) ?? 0) - (times[0] ?? 0)) / (times.length - 1);
      };
      const { first, times } = await measure(perToken, { budget, signal });
      const figure = { name, unit: 'tokens/s', threads, limit: most(open().model, 'write') };
      note('write', { ...figure, value: 1000 / middle(times), first: 1000 / first });
    },
  });
  return [
    {
      name: 'loading the writer',
      async run(signal) {
        const took = await timed(async () => {
          write = await pipeline('text-generation', address('sotto-write'), { ...options, signal });
        });
        if (threads === 1) note('start', { name: 'the writer', unit: 'ms', threads, value: took });
      },
    },
    {
      name: 'reading the beginning of a story',
      async run(signal) {
        let turn = 0;
        const prompts = ['One day. ', 'Long ago. ', 'At night. '].map((words) => words + beginning.repeat(5));
        const tokens = (await open().tokenizer.encode(prompts[0] ?? '', { signal })).ids.length;
        const once = async () => (await stream(prompts[turn++ % prompts.length] ?? '', 1, signal))[0] ?? Number.NaN;
        const { first, times } = await measure(once, { budget, signal });
        const rate = (ms: number) => (1000 * tokens) / ms;
        const name = `reading a beginning (${tokens} tokens)`;
        const figure = { name, unit: 'tokens/s', threads, limit: most(open().model, 'read') };
        note('write', { ...figure, value: rate(middle(times)), first: rate(first) });
      },
    },
    decode('after a short beginning', 1),
    decode('after a long one', 7),
    { name: 'closing the writer', run: async () => void (await write?.dispose()) },
  ];
}

// ---- How it is shown.

const digits = (value: number) =>
  value.toLocaleString('en', { maximumFractionDigits: value >= 100 ? 0 : value >= 10 ? 1 : 2 });

function make<K extends keyof HTMLElementTagNameMap>(tag: K, text = '', name = ''): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function barOf({ value, unit, threads, limit }: Figure, longest: number): HTMLDivElement {
  const bar = make('div', '', `bar${threads > 1 ? ' many' : ''}${limit ? ' limited' : ''}`);
  bar.style.setProperty('--part', String(Math.min(1, value / (limit ?? longest))));
  const text = make('span', `${digits(value)} ${unit}`);
  if (threads > 1) text.title = `${threads} threads`;
  bar.append(text);
  return bar;
}

function tableOf(name: GroupName): HTMLTableElement | undefined {
  const mine = figures.filter(({ group }) => group === name);
  if (mine.length === 0) return undefined;
  const table = make('table', '', 'bars');
  const caption = make('caption', groups[name].title);
  caption.append(make('small', groups[name].note));
  const head = make('tr');
  for (const title of ['what', 'how fast']) {
    const cell = make('th', title);
    cell.scope = 'col';
    head.append(cell);
  }
  table.append(caption, make('thead'), make('tbody'));
  table.tHead?.append(head);
  for (const what of new Set(mine.map((figure) => figure.name))) {
    const row = table.tBodies[0]?.insertRow();
    const label = make('th', what);
    label.scope = 'row';
    const cell = make('td');
    for (const figure of mine.filter((one) => one.name === what)) {
      const alike = mine.filter(({ unit }) => unit === figure.unit);
      cell.append(barOf(figure, Math.max(...alike.map(({ value }) => value))));
      const { threads, value, first, limit, unit } = figure;
      const by = threads > 1 ? `${threads} threads` : 'one thread';
      const told = [
        ...(threadCounts.length > 1 ? [by] : []),
        ...(limit === undefined ? [] : [`${Math.round((100 * value) / limit)} % of the limit`]),
        ...(first === undefined ? [] : [`the first call ${digits(first)} ${unit}`]),
      ];
      if (told.length > 0) cell.append(make('p', told.join('; '), 'note'));
    }
    row?.append(label, cell);
  }
  return table;
}

function draw(): void {
  const tables = (Object.keys(groups) as GroupName[]).map(tableOf).filter((table) => table !== undefined);
  results.replaceChildren(...tables);
}

function asJson(): string {
  const { userAgent, hardwareConcurrency } = navigator;
  const where = { date: new Date().toISOString(), userAgent, cores: hardwareConcurrency, isolated };
  return JSON.stringify({ ...where, variants: [...new Set(variants)], figures }, null, 2);
}

// ---- Running.

let running: AbortController | undefined;

async function run(): Promise<void> {
  const mine = new AbortController();
  running = mine;
  figures = [];
  variants = [];
  draw();
  start.disabled = true;
  stop.disabled = false;
  copy.disabled = true;
  const steps = threadCounts.flatMap((n) => [...limitSteps(n), ...classifySteps(n), ...writeSteps(n)]);
  progress.hidden = false;
  progress.max = steps.length;
  try {
    for (const [done, step] of steps.entries()) {
      progress.value = done;
      say(`${done + 1} of ${steps.length}: ${step.name}`);
      await step.run(mine.signal);
      mine.signal.throwIfAborted();
    }
    say(`Done: ${figures.length} figures.`);
  } catch (error) {
    if (mine.signal.aborted) say(`Stopped after ${figures.length} figures.`);
    else say(explain(error), 'error');
    // Whatever is open is closed; this reports nothing that the visitor needs.
    for (const { name, run: close } of steps) if (name.startsWith('closing')) await close(mine.signal).catch(() => {});
  } finally {
    progress.hidden = true;
    start.disabled = false;
    stop.disabled = true;
    copy.disabled = figures.length === 0;
    start.textContent = 'Measure again';
  }
}

start.addEventListener('click', () => void run());
stop.addEventListener('click', () => running?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
});
copy.addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(asJson());
    say('Copied.');
  } catch {
    // Without a clipboard: there to be selected.
    const text = make('pre', asJson());
    text.tabIndex = 0;
    results.append(text);
    text.focus();
    say('This browser lets no page copy: the results stand below.');
  }
});

try {
  const what = await describeVariant();
  const cores = navigator.hardwareConcurrency;
  about.textContent = `This browser runs Sotto with ${what}; the machine has ${cores} ${cores === 1 ? 'core' : 'cores'}.`;
} catch (error) {
  about.textContent = explain(error);
  start.disabled = true;
}
