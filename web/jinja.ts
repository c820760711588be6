// The language of chat templates, in a file of its own: a page that writes no chats does not download it.
export { Template } from '@huggingface/jinja';
