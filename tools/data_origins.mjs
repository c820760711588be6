// Reads the public origins of the training data as they are published, into the records that the recipes
// name. Each reader takes text and gives records, so that it can be tested without a network; what is
// downloaded from where stands in fetch_data.mjs.

/** The fields of one CSV text (RFC 4180), by the names of its first row. */
export function readCsv(text) {
  const rows = [[]];
  let field = '';
  let quoted = false;
  const endField = () => {
    rows.at(-1).push(field);
    field = '';
  };
  for (let i = 0; i < text.length; ++i) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') field += c;
      else if (text[i + 1] === '"') field += text[++i];
      else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ',') endField();
    else if (c === '\n') {
      endField();
      rows.push([]);
    } else if (c !== '\r') field += c;
  }
  if (field !== '' || rows.at(-1).length > 0) endField();
  const [names = [], ...records] = rows.filter((row) => row.length > 1);
  return records.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i] ?? ''])));
}

/** The dialogues of one file of the Self-dialogue corpus, without those that were rejected. */
export function readSelfDialogues(csv, topic, blockedWorkers = new Set()) {
  return readCsv(csv)
    .filter((row) => !row.Reject && !blockedWorkers.has(row.WorkerId))
    .map((row) => ({
      topic,
      turns: Object.keys(row)
        .filter((name) => /^Answer\.sentence\d+$/.test(name))
        .sort((a, b) => Number(a.match(/\d+/)[0]) - Number(b.match(/\d+/)[0]))
        .map((name) => row[name].trim())
        .filter((turn) => turn !== '' && turn !== '{}'),
    }))
    .filter(({ turns }) => turns.length > 1);
}

/** The pairs of one .qna file: "# ? question", "- another way to ask it", and the answer in a fence. */
export function readQna(text, lang, personality) {
  const records = [];
  let questions = [];
  let answer = null;
  for (const line of text.split(/\r?\n/)) {
    if (answer !== null) {
      if (!line.startsWith('```')) answer.push(line);
      else {
        if (questions.length > 0) records.push({ lang, personality, questions, answer: answer.join('\n').trim() });
        questions = [];
        answer = null;
      }
    } else if (line.startsWith('```')) answer = [];
    else if (/^#+ *\? */.test(line)) questions = [line.replace(/^#+ *\? */, '').trim()];
    else if (line.startsWith('**')) continue;
    else if (/^- (?!.*=)/.test(line) && questions.length > 0) questions.push(line.slice(2).trim());
  }
  return records;
}

/** One picture book of African Storybook or Pratham Books; null unless its licence is plainly CC-BY. */
export function readStorybook(markdown, source) {
  if (!/^\* License: \[CC-BY\]\s*$/m.test(markdown)) return null;
  const field = (name) => markdown.match(new RegExp(`^\\* ${name}: (.*)$`, 'm'))?.[1].trim() ?? '';
  const title = markdown.match(/^# (.*)$/m)?.[1].trim() ?? '';
  const pages = markdown
    .replace(/^# .*$/m, '')
    .split(/^##.*$/m)
    .map((page) =>
      page
        .replace(/^\*.*$/gm, '')
        .replace(/\s+/g, ' ')
        .trim(),
    )
    .filter(Boolean);
  return { lang: field('Language'), title, author: field('Text'), source, text: pages.join('\n') };
}

/** "The Aesop for Children", as its collection's JSON has it. */
export function readFables(json) {
  return JSON.parse(json).map(({ title, lesson, fable }) => ({ title, lesson, text: fable }));
}

const words = (text) => text.toLowerCase().match(/[a-z']+/g) ?? [];

/** The commonest words of some texts. */
export function commonWords(texts, count) {
  const counts = new Map();
  for (const text of texts) for (const word of words(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const ranked = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return new Set(ranked.slice(0, count).map(([word]) => word));
}

/**
 * The chapters of a book of Project Gutenberg in plain text, one paragraph a line, without the licence, the
 * headings and what is too short for a story. `easy` is the share of words that are in `common`.
 */
export function readGutenberg(text, book, common) {
  const begin = text.search(/^\*\*\* ?START OF/m);
  const end = text.search(/^\*\*\* ?END OF/m);
  const body = text.slice(begin < 0 ? 0 : text.indexOf('\n', begin) + 1, end < 0 ? text.length : end);
  const chapters = [[]];
  for (const block of body.replace(/\r/g, '').split(/\n\s*\n/)) {
    const paragraph = block
      .replace(/[_*]/g, '')
      .replace(/[“”]/g, '"')
      .replace(/[‘’]/g, "'")
      .replace(/\s*—\s*/g, '--')
      .replace(/\s+/g, ' ')
      .trim();
    if (paragraph === '' || paragraph.startsWith('[Illustration')) continue;
    const heading = paragraph.length < 70 && !/[.!?"'),;:-]$/.test(paragraph);
    if (heading || /^(CHAPTER|Chapter) [IVXLC\d]+/.test(paragraph) || paragraph === paragraph.toUpperCase())
      chapters.push([]);
    else chapters.at(-1).push(paragraph);
  }
  return chapters
    .map((paragraphs) => paragraphs.join('\n'))
    .filter((chapter) => chapter.length >= 600)
    .map((chapter) => {
      const all = words(chapter);
      const easy = all.filter((word) => common.has(word)).length / all.length;
      return { book, easy: Math.round(easy * 1000) / 1000, text: chapter };
    })
    .filter(({ easy }) => easy >= 0.83);
}
