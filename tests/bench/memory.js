// Runs before anything else in a page: notes every WebAssembly memory of the page and of its workers, so that the
// benchmark can ask how large they are. Shared memories are counted where they were made.
(() => {
  const line = new BroadcastChannel('bench-memory');
  const memories = new Set();
  const bytes = () => [...memories].reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
  line.addEventListener('message', ({ data }) => data === 'how much?' && line.postMessage(bytes()));

  const noted = (instance) => {
    for (const value of Object.values(instance.exports)) {
      if (value instanceof WebAssembly.Memory && !(value.buffer instanceof globalThis.SharedArrayBuffer)) {
        memories.add(value);
      }
    }
    return instance;
  };
  const { instantiate, instantiateStreaming } = WebAssembly;
  const found = (result) => {
    noted(result.instance ?? result);
    return result;
  };
  WebAssembly.instantiate = (...args) => instantiate.apply(WebAssembly, args).then(found);
  WebAssembly.instantiateStreaming = (...args) => instantiateStreaming.apply(WebAssembly, args).then(found);
  const construct = (keep) => ({
    construct(target, args, self) {
      const made = Reflect.construct(target, args, self);
      keep(made);
      return made;
    },
  });
  WebAssembly.Instance = new Proxy(WebAssembly.Instance, construct(noted));
  WebAssembly.Memory = new Proxy(
    WebAssembly.Memory,
    construct((memory) => memories.add(memory)),
  );

  if (typeof document === 'undefined') return;
  // Workers begin with this script, too; threads need not, for their memory is another's.
  const here = new URL('/tests/bench/memory.js', location.href).href;
  globalThis.Worker = class extends Worker {
    constructor(url, options = {}) {
      const whole = new URL(url, location.href).href;
      const begin =
        options.type === 'module'
          ? `import ${JSON.stringify(here)}; import ${JSON.stringify(whole)};`
          : `importScripts(${JSON.stringify(here)}, ${JSON.stringify(whole)});`;
      const thread = /pthread/.test(options.name ?? '');
      super(thread ? url : URL.createObjectURL(new Blob([begin], { type: 'text/javascript' })), options);
    }
  };

  /** The bytes of every memory there is; those who have none do not answer, and nobody is waited for long. */
  globalThis.wasmBytes = () =>
    new Promise((resolve) => {
      let sum = bytes();
      const asking = new BroadcastChannel('bench-memory');
      asking.addEventListener('message', ({ data }) => {
        if (typeof data === 'number') sum += data;
      });
      asking.postMessage('how much?');
      setTimeout(() => {
        asking.close();
        resolve(sum);
      }, 60);
    });
})();
