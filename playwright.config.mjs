import { defineConfig } from '@playwright/test';

// The browsers of the system (Debian's packages), in tests/browser. A test serves what it needs by
// tools/serve.mjs, isolated or not, under a strict policy or not.
export default defineConfig({
  testDir: 'tests/browser',
  outputDir: 'build/test-results',
  timeout: 60_000,
  expect: { timeout: 20_000 }, // machines that test are busy
  fullyParallel: true,
  workers: 2,
  forbidOnly: Boolean(process.env.CI),
  projects: [
    {
      name: 'chromium',
      use: {
        browserName: 'chromium',
        launchOptions: {
          executablePath: process.env.SOTTO_CHROMIUM ?? '/usr/bin/chromium',
          args: [
            '--no-sandbox',
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
          ],
        },
      },
    },
    {
      name: 'firefox',
      use: {
        browserName: 'firefox',
        channel: 'moz-firefox',
        launchOptions: { executablePath: process.env.SOTTO_FIREFOX ?? '/usr/bin/firefox-esr' },
      },
    },
  ],
});
