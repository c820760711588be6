// Write: streams a continuation of the prompt, with a stop button and the sampling settings.
import { pipeline } from 'sotto';
import { element, explain, loadingDone, offerExamples, say, shownLoading } from '../load.js';

const form = element('form', HTMLFormElement);
const prompt = element('prompt', HTMLTextAreaElement);
const start = element('start', HTMLButtonElement);
const stop = element('stop', HTMLButtonElement);
const story = element('story', HTMLParagraphElement);
const seed = element('seed', HTMLInputElement);
const model = new URL('../models/sotto-write/', document.baseURI);

const settings = ['temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty', 'max_new_tokens'] as const;
const sliders = Object.fromEntries(settings.map((name) => [name, element(name, HTMLInputElement)]));
const chosen = (name: (typeof settings)[number]): number => sliders[name]?.valueAsNumber ?? 0;

for (const slider of Object.values(sliders)) {
  const shown = form.querySelector(`output[for="${slider.id}"]`);
  const show = (): void => {
    if (shown) shown.textContent = slider.value;
  };
  slider.addEventListener('input', show);
  show();
}

offerExamples(
  [
    'Once upon a time, there was a little girl named Lily.',
    'The old rabbit lived under the big tree. One day',
    'Tom and his dog Max went to the park.',
    '"Who is there?" asked the little bear.',
  ],
  (example) => {
    prompt.value = example;
    prompt.focus();
  },
);

let running: AbortController | undefined;

/** Runs one generation and shows it as it comes. */
async function write(): Promise<void> {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  const told = document.createElement('span');
  const beginning = document.createElement('span');
  beginning.className = 'prompt';
  beginning.textContent = prompt.value;
  story.replaceChildren(beginning, told);
  story.setAttribute('aria-busy', 'true');
  start.disabled = true;
  stop.disabled = false;
  let tokens = 0;
  let since = performance.now();
  const rate = (): string => {
    const perSecond = (1000 * Math.max(tokens - 1, 0)) / Math.max(performance.now() - since, 1);
    return `${tokens} ${tokens === 1 ? 'token' : 'tokens'}, ${perSecond.toFixed(0)} tokens/s`;
  };
  try {
    const generate = await loading;
    const temperature = chosen('temperature');
    const stream = generate.stream(prompt.value, {
      do_sample: temperature > 0,
      ...(temperature > 0 ? { temperature } : {}),
      top_k: chosen('top_k'),
      top_p: chosen('top_p'),
      min_p: chosen('min_p'),
      repetition_penalty: chosen('repetition_penalty'),
      max_new_tokens: chosen('max_new_tokens'),
      seed: Number.isNaN(seed.valueAsNumber) ? Math.floor(Math.random() * 2 ** 31) : seed.valueAsNumber,
      signal: mine.signal,
    });
    for await (const { text } of stream) {
      if (tokens++ === 0) since = performance.now();
      told.textContent += text;
      if (tokens % 8 === 0) say(rate());
    }
    say(`Done: ${rate()}.`);
  } catch (error) {
    if (mine.signal.aborted) say(`Stopped: ${rate()}.`);
    else say(explain(error), 'error');
  } finally {
    if (running === mine) {
      start.disabled = false;
      stop.disabled = true;
      story.setAttribute('aria-busy', 'false');
    }
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  void write();
});
stop.addEventListener('click', () => running?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
});
prompt.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

start.disabled = true;
const loading = pipeline('text-generation', model, shownLoading());
try {
  await loading;
  say('Ready. Ctrl+Enter writes on, Escape stops.');
  start.disabled = false;
} catch (error) {
  say(explain(error), 'error');
}
loadingDone();
