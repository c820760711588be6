// Chats: lists of messages, written as the text that a model was trained on, by its own template.
import { SottoError } from './error.ts';
import type { ChatFacts } from './protocol.ts';

/** One turn of a chat. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, or what else the model's template knows. */
  role: string;
  /** What was said; some templates take a list of parts. */
  content: string | readonly Readonly<Record<string, unknown>>[];
  /** What else the template reads (`tool_calls`, `name`, …). */
  readonly [key: string]: unknown;
}

/** Options of writing a chat, by Hugging Face's names. */
export interface ChatTemplateOptions {
  /** Whether the text ends with the beginning of the assistant's turn. */
  add_generation_prompt?: boolean;
  /** Whether the last message stays open, to be continued. */
  continue_final_message?: boolean;
  /** Another template than the model's own. */
  chat_template?: string;
  /** Tools that the template may describe, as JSON schemas. */
  tools?: readonly Readonly<Record<string, unknown>>[];
  /** Documents that the template may quote. */
  documents?: readonly Readonly<Record<string, unknown>>[];
  /** More variables of the template (`enable_thinking`, …). */
  readonly [variable: string]: unknown;
}

/** Whether an input of a task is a chat, as against a list of texts. */
export function isChat(input: unknown): input is readonly ChatMessage[] {
  const [first] = Array.isArray(input) ? input : [];
  return typeof first === 'object' && first !== null && !Array.isArray(first) && 'role' in first;
}

/** Stands within special tokens that a message spells; a noncharacter, which no text needs. */
const seam = '\uFDD0';

/** Every text within a value, replaced. */
function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item, change)]));
}

/**
 * A chat as text, in pieces between which no token may reach: what a message says is text even where it spells a special
 * token, so that nobody can forge a turn.
 */
export async function writeChat(
  facts: ChatFacts,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions,
): Promise<string[]> {
  const { chat_template = facts.template, continue_final_message = false, ...variables } = options;
  if (chat_template === '') {
    throw new SottoError('unsupported', 'This model has no chat template: give it a text, or a chat_template.');
  }
  if (continue_final_message && variables.add_generation_prompt) {
    throw new SottoError('invalid-argument', 'A chat ends open or with the next turn, not both.');
  }
  const tokens = facts.special_tokens.filter((token) => token !== '');
  const plain = (text: string) => {
    let out = text.replaceAll(seam, '');
    for (const token of tokens) {
      const [first = ''] = token;
      out = out.replaceAll(token, `${first}${seam}${token.slice(first.length)}`);
    }
    return out;
  };
  const said = messages.map(({ role, ...rest }) => ({ role, ...(mapTexts(rest, plain) as object) }));
  const { Template } = await import('./jinja.ts');
  let text: string;
  try {
    text = new Template(chat_template).render({
      ...facts.named_tokens,
      add_generation_prompt: false,
      ...variables,
      messages: said,
    });
  } catch (cause) {
    throw new SottoError('invalid-argument', `The chat template refuses these messages: ${(cause as Error).message}`, {
      cause,
    });
  }
  if (continue_final_message) text = text.slice(0, endOfLast(text, said.at(-1)));
  return text.split(seam);
}

/** Where the last message's content ends in the written chat. */
function endOfLast(text: string, message: object | undefined): number {
  const content = (message as { content?: unknown } | undefined)?.content;
  const last = typeof content === 'string' ? content.trim() : '';
  const at = last === '' ? -1 : text.lastIndexOf(last);
  if (at < 0)
    throw new SottoError('invalid-argument', 'The last message cannot be continued: its text is not to be found.');
  return at + last.length;
}
