// emcc's --pre-js. The functions that few pages call are in a file of their own (see split.mjs): the first call of one of
// them loads it, in each thread for itself, while that thread waits. Its address is the option `later`, or, in a thread,
// what stands behind the # of the script's; without either it lies beside the script.
{
  const [script, fragment] = import.meta.url.split('#');
  const address = Module['later'] ?? fragment ?? script.replace(/\.mjs$/, '.later.wasm');
  wasmBinaryFile = '';
  Module['loadSplitModule'] = (_name, imports) => {
    try {
      instantiateSync(address, imports);
    } catch (cause) {
      throw new Error(`its part for later (${address}) did not load: ${cause.message}`, { cause });
    }
  };
}
