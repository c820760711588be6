// The demos with the models that ship, as a visitor meets them: under a strict policy, with and without isolation.
import { test as base, expect, type Page } from '@playwright/test';
import { type Serve, siteFolder } from './site.ts';

const test = base.extend<{ isolate: boolean; demos: { url: string; asked: string[] } }>({
  isolate: [false, { option: true }],
  demos: async ({ isolate }, use) => {
    const { serve } = (await import('../../tools/serve.mjs' as string)) as { serve: Serve };
    const asked: string[] = [];
    const intercept = (_request: unknown, _response: unknown, path: string) => {
      asked.push(path);
      return false;
    };
    const server = await serve({ folder: siteFolder, isolate, csp: true, intercept });
    await use({ url: server.url, asked });
    await server.close();
  },
});

/** Collects what the browser complains of. */
function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  return complaints;
}

test('the landing page leads to every demo, and each of them back', async ({ page, demos }) => {
  const complaints = complaintsOf(page);
  await page.goto(demos.url);
  await expect(page.locator('#browser')).toContainText('SIMD');
  for (const name of ['Classify', 'Write', 'Measure']) {
    await page.getByRole('link', { name }).first().click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(name);
    await page.getByRole('link', { name: 'Sotto' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('Transformers');
  }
  expect(complaints).toEqual([]);
});

for (const isolate of [false, true]) {
  test.describe(isolate ? 'isolated' : 'not isolated', () => {
    test.use({ isolate });

    test('Classify judges what is typed, and asks the network for nothing more', async ({ page, demos }) => {
      const complaints = complaintsOf(page);
      await page.goto(`${demos.url}classify/`);
      await expect(page.locator('#results li')).toHaveCount(1);
      demos.asked.length = 0;
      await page
        .locator('#text')
        .fill('A warm, funny and generous film.\nTwo hours of pure boredom, badly acted and worse written.');
      await expect(page.locator('#results li')).toHaveCount(2);
      const best = page.locator('#results li dt:first-of-type');
      await expect(best).toHaveCount(2);
      const [first, second] = await best.allTextContents();
      expect(first).not.toBe(second);
      expect(demos.asked).toEqual([]);
      expect(complaints).toEqual([]);
    });

    test('Write streams a story, and stops on request', async ({ page, demos }) => {
      const complaints = complaintsOf(page);
      await page.goto(`${demos.url}write/`);
      await expect(page.locator('#start')).toBeEnabled();
      demos.asked.length = 0;
      const story = page.locator('#story');
      const prompt = await page.locator('#prompt').inputValue();
      await page.locator('#start').click();
      await expect(page.locator('#status')).toContainText(/\d+ tokens/);
      expect((await story.textContent())?.length).toBeGreaterThan(prompt.length);
      await expect(page.locator('#start')).toBeEnabled();
      // In the page itself: a small model would be done before a test could press the button.
      await page.evaluate(() => {
        const story = document.querySelector('#story') as HTMLElement;
        let grown = 0;
        const watch = new MutationObserver(() => {
          if (++grown < 5) return;
          watch.disconnect();
          (document.querySelector('#stop') as HTMLButtonElement).click();
        });
        watch.observe(story, { childList: true, subtree: true, characterData: true });
        (document.querySelector('#start') as HTMLButtonElement).click();
      });
      await expect(page.locator('#status')).toContainText('Stopped');
      await expect(page.locator('#start')).toBeEnabled();
      expect(demos.asked).toEqual([]);
      expect(complaints).toEqual([]);
    });

    test('Measure times both models beside the limits, and stops on request', async ({ page, demos }) => {
      test.setTimeout(180_000);
      const complaints = complaintsOf(page);
      await page.goto(`${demos.url}bench/`);
      await expect(page.locator('#browser')).toContainText('SIMD');
      await page.locator('#start').click();
      await expect(page.locator('#results table').first()).toBeVisible();
      await page.locator('#stop').click();
      await expect(page.locator('#status')).toContainText('Stopped');
      await expect(page.locator('#start')).toBeEnabled();

      await page.locator('#start').click();
      await expect(page.locator('#status')).toContainText('Done', { timeout: 150_000 });
      await expect(page.locator('#results table')).toHaveCount(4);
      const [widest, names] = await page.evaluate(() => {
        const bars = [...document.querySelectorAll<HTMLElement>('#results .bar')];
        const parts = bars.map((bar) => Number(bar.style.getPropertyValue('--part')));
        const texts = [...document.querySelectorAll('#results th[scope=row]')].map((cell) => cell.textContent ?? '');
        return [parts.filter((part) => part > 0 && part <= 1).length / parts.length, texts];
      });
      expect(widest).toBe(1);
      await expect(page.locator('#results')).toContainText(/[\d.]+ % of the limit/);
      expect(names.join()).toMatch(/dot products.*sentence.*beginning.*classifier/);
      expect(complaints).toEqual([]);
    });
  });
}
