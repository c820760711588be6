// Runs kernels_bench.cc as it was built for the page, and passes on the lines that it prints.
addEventListener('message', async ({ data: { build, threads, words } }) => {
  const at = (name) => new URL(`/build/wasm-${build}/tests/${name}`, import.meta.url).href;
  try {
    const { default: start } = await import(at('kernels_bench_page.mjs'));
    await start({
      arguments: [String(threads), '400', ...words.map(String)],
      print: (line) => postMessage({ line }),
      locateFile: at,
      mainScriptUrlOrBlob: at('kernels_bench_page.mjs'),
      poolSize: threads - 1,
    });
  } catch (error) {
    postMessage({ error: String(error) });
  }
});
