// Classify: judges each line as it is typed. The newest text wins; older answers are dropped.
import { pipeline } from 'sotto';
import { element, explain, loadingDone, offerExamples, say, shownLoading } from '../load.js';

const text = element('text', HTMLTextAreaElement);
const results = element('results', HTMLUListElement);
const model = new URL('../models/sotto-sentiment/', document.baseURI);

offerExamples(
  [
    'A warm, funny and generous film.',
    'Two hours of my life that I will never get back.',
    'The acting is superb, but the story goes nowhere.',
    'I did not expect to like it, and yet I was moved to tears.',
  ],
  (example) => {
    text.value = example;
    void judge();
  },
);

const loading = pipeline('text-classification', model, shownLoading());
let newest = 0;
let busy = Promise.resolve();

/** Shows one line's scores, the best label first. */
function resultOf(line: string, scores: readonly { label: string; score: number }[]): HTMLLIElement {
  const item = document.createElement('li');
  item.className = 'panel';
  const quote = document.createElement('p');
  quote.className = 'text';
  quote.textContent = line;
  const list = document.createElement('dl');
  list.className = 'scores';
  for (const { label, score } of scores) {
    const name = document.createElement('dt');
    name.textContent = label;
    const bar = document.createElement('dd');
    const meter = document.createElement('meter');
    meter.value = score;
    meter.setAttribute('aria-label', label);
    bar.append(meter);
    const percent = document.createElement('dd');
    percent.textContent = `${(100 * score).toFixed(1)} %`;
    list.append(name, bar, percent);
  }
  item.append(quote, list);
  return item;
}

async function judge(): Promise<void> {
  const mine = ++newest;
  const lines = text.value
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  try {
    const classify = await loading;
    await busy;
    if (mine !== newest) return;
    const start = performance.now();
    const answer = classify(lines, { top_k: null });
    busy = answer.then(
      () => {},
      () => {},
    );
    const scores = await answer;
    if (mine !== newest) return;
    results.replaceChildren(...lines.map((line, i) => resultOf(line, scores[i] ?? [])));
    const ms = performance.now() - start;
    say(
      lines.length === 0
        ? 'Type a sentence.'
        : `Judged ${lines.length === 1 ? 'one line' : `${lines.length} lines`} in ${ms.toFixed(1)} ms, here in the page.`,
    );
  } catch (error) {
    say(explain(error), 'error');
  }
}

let waiting: ReturnType<typeof setTimeout> | undefined;
text.addEventListener('input', () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => void judge(), 120);
});

try {
  await loading;
} catch {
  // judge() tells
}
loadingDone();
await judge();
