// What every demo needs: a model with its progress shown, and one place for news and errors.
import { type PipelineOptions, type ProgressEvent, SottoError } from 'sotto';

/** An element of the page that the script cannot do without. */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} '${id}'`);
  return found;
}

const status = element('status', HTMLElement);
const progress = element('progress', HTMLProgressElement);

/** Shows one line of news; an error stays until the next one. */
export function say(text: string, kind: 'news' | 'error' = 'news'): void {
  status.textContent = text;
  status.dataset.kind = kind;
}

/** What went wrong, in a sentence for a visitor. */
export function explain(error: unknown): string {
  if (error instanceof SottoError) return `${error.message} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}

/** Loading options that drive the page's progress bar. */
export function shownLoading(): PipelineOptions {
  const bytes = new Map<string, { loaded: number; total: number }>();
  progress.hidden = false;
  progress.removeAttribute('value');
  return {
    progress: ({ file, loaded, total, from }: ProgressEvent) => {
      bytes.set(file, { loaded, total });
      const files = [...bytes.values()];
      const done = files.reduce((sum, f) => sum + f.loaded, 0);
      const all = files.reduce((sum, f) => sum + f.total, 0);
      if (all > 0) {
        progress.max = all;
        progress.value = done;
      }
      say(`Loading the model from the ${from}: ${(done / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB`);
    },
  };
}

/** Takes the progress bar away again. */
export function loadingDone(): void {
  progress.hidden = true;
}

/** Buttons that put a text into a field. */
export function offerExamples(texts: readonly string[], choose: (text: string) => void): void {
  element('examples', HTMLUListElement).replaceChildren(
    ...texts.map((text) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = text;
      button.addEventListener('click', () => choose(text));
      const item = document.createElement('li');
      item.append(button);
      return item;
    }),
  );
}
