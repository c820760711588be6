// kitoken's build for browsers, in the page itself.
import start, { Kitoken } from '/tests/bench/peers/node_modules/kitoken/dist/web.js';

export async function open({ url }) {
  await start();
  const bytes = new Uint8Array(await (await fetch(`${url}tokenizer.json`)).arrayBuffer());
  const tokenizer = Kitoken.from_tokenizers(bytes);
  return { tokenize: (text) => tokenizer.encode(text, false).length };
}
