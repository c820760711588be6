// @huggingface/tokenizers, in the page itself.
import { Tokenizer } from '/tests/bench/peers/node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs';

export async function open({ url }) {
  const json = async (name) => (await fetch(`${url}${name}`)).json();
  const tokenizer = new Tokenizer(await json('tokenizer.json'), await json('tokenizer_config.json'));
  return { tokenize: (text) => tokenizer.encode(text).ids.length };
}
