// The readers of the training data's public origins, on texts in the form that those have.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  commonWords,
  readCsv,
  readFables,
  readGutenberg,
  readQna,
  readSelfDialogues,
  readStorybook,
} from '../../tools/data_origins.mjs';

test('a CSV field may hold commas, quotes and line ends', () => {
  assert.deepEqual(readCsv('a,b\r\n"x, ""y""","two\nlines"\n1,\n'), [
    { a: 'x, "y"', b: 'two\nlines' },
    { a: '1', b: '' },
  ]);
});

test('self-dialogues keep the order of their turns and leave out what was rejected or blocked', () => {
  const head = '"AssignmentId","WorkerId","Reject","Answer.sentence1","Answer.sentence10","Answer.sentence2"';
  const csv = [
    head,
    '"1","w1","","Hello.","Bye.","How are you?"',
    '"2","w1","x","Rejected.","","Yes."',
    '"3","w2","","Blocked.","","Yes."',
    '"4","w3","","Alone.","{}",""',
  ].join('\n');
  assert.deepEqual(readSelfDialogues(csv, 'action', new Set(['w2'])), [
    { topic: 'action', turns: ['Hello.', 'How are you?', 'Bye.'] },
  ]);
});

test('a question of a .qna file has all its wordings and one answer', () => {
  const text =
    '> !# @qna.pair.source = editorial\n\n# ? Are you tired?\n- Need a nap?\n- Sleepy?\n\n**Filters:**\n' +
    '- editorial = chitchat\n\n```markdown\nNever.\nNot me.\n```\n\n## ? Next\n\n```markdown\nYes.\n```\n';
  assert.deepEqual(readQna(text, 'english', 'friendly'), [
    {
      lang: 'english',
      personality: 'friendly',
      questions: ['Are you tired?', 'Need a nap?', 'Sleepy?'],
      answer: 'Never.\nNot me.',
    },
    { lang: 'english', personality: 'friendly', questions: ['Next'], answer: 'Yes.' },
  ]);
});

test('a picture book is read only under its plain CC-BY licence', () => {
  const book = (licence) =>
    `# The Hat\n\n##\nA man\nhad a hat.\n\n##\nIt was red.\n\n##\n* License: [${licence}]\n* Text: A. Writer\n` +
    '* Illustration: B\n* Language: en\n';
  assert.deepEqual(readStorybook(book('CC-BY'), 'African Storybook'), {
    lang: 'en',
    title: 'The Hat',
    author: 'A. Writer',
    source: 'African Storybook',
    text: 'A man had a hat.\nIt was red.',
  });
  assert.equal(readStorybook(book('CC-BY-NC'), 'African Storybook'), null);
});

test('fables keep title, lesson and text', () => {
  assert.deepEqual(readFables('[{"title":"T","lesson":"L","fable":"F","tokens":"F"}]'), [
    { title: 'T', lesson: 'L', text: 'F' },
  ]);
});

test('a book is cut into chapters without its licence and headings, and hard ones are left out', () => {
  const easy = 'The cat sat on the mat and the dog ran to the cat. '.repeat(20).trim();
  const hard = 'Perspicacious antediluvian magnates obfuscate quixotic stratagems. '.repeat(20).trim();
  const text = [
    'The licence.\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n',
    `CHAPTER I\n\nThe Beginning\n\n[Illustration: a cat]\n\n${easy}\n\n\u201cOh\u2014no!\u201d\nsaid the cat.`,
    `\nCHAPTER II\n\n${hard}`,
    '\nTHE END\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nmore licence',
  ].join('\n');
  const common = commonWords([easy, 'oh no said'], 100);
  const chapters = readGutenberg(text, 'X_1', common);
  assert.equal(chapters.length, 1);
  assert.equal(chapters[0].book, 'X_1');
  assert.equal(chapters[0].easy, 1);
  assert.equal(chapters[0].text, `${easy}\n"Oh--no!" said the cat.`);
});
