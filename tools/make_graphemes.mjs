// Writes core/text/grapheme_data.inc, the tables behind core/text/graphemes.cc, from what Node's
// Intl.Segmenter does (Unicode 17, as the unicode-segmentation crate 1.13 of Hugging Face's tokenizers):
//   node tools/make_graphemes.mjs > core/text/grapheme_data.inc
if (Number.parseInt(process.versions.unicode, 10) < 17) throw new Error('Unicode 17 is needed');
const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });
const whole = (text) => [...segmenter.segment(text)].length === 1;
const kinds = { Control: [], Extend: [], SpacingMark: [], Prepend: [], Pictographic: [] };
for (let code = 0; code < 0x110000; ++code) {
  if (code >= 0xd800 && code < 0xe000) continue;
  if (code >= 0xac00 && code < 0xd7a4) continue; // Hangul goes by arithmetic
  const c = String.fromCodePoint(code);
  if (code === 0x200d) continue;
  if (/\p{Extended_Pictographic}/u.test(c)) kinds.Pictographic.push(code);
  if (whole(`a${c}`)) {
    kinds[whole(`\u00a9${c}\u200d\u00a9`) ? 'Extend' : 'SpacingMark'].push(code);
  } else if (!whole(`${c}\u0301`)) {
    kinds.Control.push(code);
  } else if (whole(`${c}a`)) {
    kinds.Prepend.push(code);
  }
}
const lines = [];
for (const [name, codes] of Object.entries(kinds)) {
  const runs = [];
  for (const code of codes) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === code - 1) last[1] = code;
    else runs.push([code, code]);
  }
  lines.push(`constexpr Range k${name}[] = {`);
  const items = runs.map(([first, last]) => `{0x${first.toString(16)}, 0x${last.toString(16)}},`);
  for (let i = 0; i < items.length; i += 5) lines.push(`    ${items.slice(i, i + 5).join(' ')}`);
  lines.push('};');
}
process.stdout.write(`// Made by tools/make_graphemes.mjs: do not edit.\n${lines.join('\n')}\n`);
