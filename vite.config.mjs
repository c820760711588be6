import fs from 'node:fs';
import path from 'node:path';
import { defineConfig } from 'vite';

// Every folder of demos/ with an index.html is a page. The pages use the package as a stranger
// would: `import { pipeline } from 'sotto'` stays an import, of the built library that is served in
// sotto/ beside the scripts in assets/. Nothing is inlined, so that a strict
// Content-Security-Policy holds, and all addresses are relative, so that any folder can host it.
const pages = fs
  .readdirSync('demos', { recursive: true })
  .filter((file) => path.basename(file) === 'index.html')
  .map((file) => path.join('demos', file));

export default defineConfig({
  root: 'demos',
  base: './',
  build: {
    outDir: '../build/site',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: pages,
      external: ['sotto', 'sotto/tokenizer'],
      output: { paths: { sotto: '../sotto/index.js', 'sotto/tokenizer': '../sotto/tokenizer_only.js' } },
    },
  },
});
