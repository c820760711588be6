// Runs kernels_bench.cc as it was built for the page, and passes on the lines that it prints.
addEventListener('message', async ({ data: { build, threads, words } }) => {
  const folder = `/build/wasm-${build}/tests/`;
  const { default: start } = await import(`${folder}kernels_bench_page.mjs`);
  await start({
    arguments: [String(threads), '400', ...words.map(String)],
    print: (line) => postMessage(line),
    locateFile: (name) => `${folder}${name}`,
    mainScriptUrlOrBlob: `${folder}kernels_bench_page.mjs`,
    poolSize: threads - 1,
  });
});
