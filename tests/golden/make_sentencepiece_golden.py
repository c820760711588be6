#!/usr/bin/env python3
"""Writes tests/golden/sentencepiece: tiny SentencePiece models, and what becomes of 500 random strings with
them by Hugging Face's conversion for each tokenizer class, and by SentencePiece itself, as CRC-32s.

    python3 tests/golden/make_sentencepiece_golden.py
"""
import importlib
import json
import os
import sys
import types
import zlib

import sentencepiece
from tokenizers import AddedToken, Tokenizer, processors
from tokenizers.models import BPE

import sentencepiece_file
from make_tokenizer_golden import SENTENCES, blocks, expectations, pack
from random_strings import random_string

convert = importlib.import_module('transformers.convert_slow_tokenizer')
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, 'sentencepiece')
STRINGS = 500

MODELS = {
    'unigram': dict(model_type='unigram', vocab_size=420),
    't5': dict(model_type='unigram', vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
    'albert': dict(model_type='unigram', vocab_size=400, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1,
                   control_symbols=['[CLS]', '[SEP]', '[MASK]']),
    'deberta': dict(model_type='unigram', vocab_size=400, pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece='[PAD]',
                    bos_piece='[CLS]', eos_piece='[SEP]', unk_piece='[UNK]'),
    'llama': dict(model_type='bpe', vocab_size=700, byte_fallback=True, normalization_rule_tsv='', split_digits=True,
                  normalization_rule_name='identity', remove_extra_whitespaces=False),
    'gemma': dict(model_type='bpe', vocab_size=700, byte_fallback=True, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
                  pad_piece='<pad>', eos_piece='<eos>', bos_piece='<bos>', normalization_rule_tsv='',
                  normalization_rule_name='identity', remove_extra_whitespaces=False, add_dummy_prefix=False,
                  user_defined_symbols=['<start_of_turn>', 'aa', '\u2581\u2581']),
    'bpe': dict(model_type='bpe', vocab_size=400),
    'char': dict(model_type='char', vocab_size=150),
    'word': dict(model_type='word', vocab_size=150),
}

# Class, model, tokenizer_config.json, special tokens in the order of their roles.
FAIRSEQ = ['<s>', '</s>', '<unk>', '<pad>', '<mask>']
CASES = [
    ('T5Tokenizer', 't5', {'extra_ids': 7}, ['</s>', '<unk>', '<pad>']),
    ('T5Tokenizer', 't5', {'extra_ids': 3, 'legacy': False}, ['</s>', '<unk>', '<pad>']),
    ('XLMRobertaTokenizer', 'unigram', {}, FAIRSEQ),
    ('CamembertTokenizer', 'unigram', {}, FAIRSEQ),
    ('MBartTokenizer', 'unigram', {}, FAIRSEQ),
    ('MBart50Tokenizer', 'unigram', {}, FAIRSEQ),
    ('XGLMTokenizer', 'unigram', {}, FAIRSEQ[:-1]),
    ('NllbTokenizer', 'bpe', {'additional_special_tokens': ['eng_Latn', 'fra_Latn']}, FAIRSEQ),
    ('PegasusTokenizer', 't5', {'offset': 9}, ['</s>', '<unk>', '<pad>', '<mask_2>']),
    ('AlbertTokenizer', 'albert', {}, ['[CLS]', '[SEP]', '<unk>', '<pad>', '[MASK]']),
    ('AlbertTokenizer', 'albert', {'do_lower_case': False, 'keep_accents': True},
     ['[CLS]', '[SEP]', '<unk>', '<pad>', '[MASK]']),
    ('DebertaV2Tokenizer', 'deberta', {}, ['[CLS]', '[SEP]', '[UNK]', '[PAD]', '[MASK]']),
    ('DebertaV2Tokenizer', 'deberta', {'split_by_punct': True, 'do_lower_case': True},
     ['[CLS]', '[SEP]', '[UNK]', '[PAD]', '[MASK]']),
    ('LlamaTokenizer', 'llama', {}, ['<s>', '</s>', '<unk>']),
    ('LlamaTokenizer', 'llama', {'legacy': False, 'add_eos_token': True}, ['<s>', '</s>', '<unk>']),
    ('LlamaTokenizer', 'llama', {'add_prefix_space': False, 'add_bos_token': False}, ['<s>', '</s>', '<unk>']),
    ('GemmaTokenizer', 'gemma', {}, ['<bos>', '<eos>', '<unk>', '<pad>']),
]
LIKE_SENTENCEPIECE = ['unigram', 'llama', 'bpe', 'char', 'word']


def merges_of(vocab_scores):
    """As transformers 4 derives them: every way to make a piece of two, best score first."""
    vocab = {piece: i for i, (piece, _) in enumerate(vocab_scores)}
    merges = []
    for merge, score in vocab_scores:
        local = [(merge[:i], merge[i:], score) for i in range(1, len(merge))
                 if merge[:i] in vocab and merge[i:] in vocab]
        merges += sorted(local, key=lambda x: (vocab[x[0]], vocab[x[1]]))
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    return vocab, [(m[0], m[1]) for m in merges]


def bpe_tokenizer(converter, proto):
    scores = converter.vocab(proto)
    vocab, merges = merges_of(scores)
    unknown = scores[converter.unk_id(proto)][0]
    t = Tokenizer(BPE(vocab, merges, unk_token=unknown, fuse_unk=True,
                      byte_fallback=converter.handle_byte_fallback, dropout=None))
    for p in proto.pieces:
        if p.type in (3, 4):
            t.add_tokens([AddedToken(p.piece, normalized=False,
                                     special=p.type == 3 or p.piece in converter.special_tokens)])
    return t


def converted(name, proto, config, special):
    kind = getattr(convert, name.replace('Tokenizer', 'Converter'))
    converter = kind.__new__(kind)
    original = types.SimpleNamespace(
        add_prefix_space=config.get('add_prefix_space', True), legacy=config.get('legacy', True),
        do_lower_case=config.get('do_lower_case', name.startswith('Albert')),
        keep_accents=config.get('keep_accents', False), split_by_punct=config.get('split_by_punct', False),
        _extra_ids=config.get('extra_ids', 100), offset=config.get('offset', 103), pad_token='<pad>',
        eos_token='</s>', mask_token='<mask_2>', mask_token_sent='<mask_1>', mask_token_id=3, eos_token_id=1,
        convert_ids_to_tokens=lambda i: ['<unk>', '<s>', '</s>'][i])
    if name.startswith('Gemma'):
        original.pad_token, original.eos_token, original.bos_token = '<pad>', '<eos>', '<bos>'
    converter.original_tokenizer, converter.proto = original, proto
    ids = {piece: i for i, (piece, _) in enumerate(converter.vocab(proto))}
    for token in special + config.get('additional_special_tokens', []):
        ids.setdefault(token, len(ids))
    original.convert_tokens_to_ids = ids.get
    if proto.trainer_spec.model_type == 2:
        converter.tokenizer = lambda p: bpe_tokenizer(converter, p)
    t = converter.converted()
    for token in special:
        t.add_special_tokens([AddedToken(
            token, special=True, normalized=False,
            lstrip='mask' in token.lower() and not name.startswith(('Deberta', 'Pegasus')))])
    extra = config.get('additional_special_tokens', [])
    if name.startswith('T5'):
        extra = ['<extra_id_%d>' % i for i in range(config['extra_ids'])]
    elif name.startswith('Pegasus'):
        extra = ['<mask_1>'] + ['<unk_%d>' % i for i in range(2, config['offset'])]
    elif name.startswith('MBart'):
        extra = [piece for piece in ids if len(piece) == 5 and piece[2] == '_']
    t.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in extra])
    if name.startswith(('Llama', 'Gemma')):
        bos = special[0] if config.get('add_bos_token', True) else ''
        eos = special[1] if config.get('add_eos_token', False) else ''
        single = ' '.join(x for x in (bos, '$A', eos) if x)
        second = ' '.join(x + ':1' for x in (bos, '$B', eos) if x)
        t.post_processor = processors.TemplateProcessing(
            single=single, pair=single + ' ' + second, special_tokens=[(x, ids[x]) for x in (bos, eos) if x])
    return t


def ids_blocks(encode):
    return blocks(STRINGS, lambda i, crc: zlib.crc32(pack(encode(random_string(i))), crc))


def marian(model):
    """A vocabulary of its own for the pieces, some of which it lacks, and languages."""
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [sp.id_to_piece(i) for i in range(3, sp.get_piece_size())]
    tokens = ['</s>', '<unk>', '>>fr<<', '>>de<<'] + pieces[::-2] + pieces[1::4] + ['<pad>']
    tokens = list(dict.fromkeys(tokens))
    vocab = {token: i for i, token in enumerate(tokens)}

    def encode(text):
        return [vocab.get(p, vocab['<unk>']) for p in sp.encode(text, out_type=str)] + [vocab['</s>']]
    texts = ['The quick brown fox', ' a  b ', '']
    return {'vocab': vocab, 'blocks': ids_blocks(encode),
            'texts': [{'text': t, 'ids': encode(t)} for t in texts]
            + [{'text': '>>de<< ' + t, 'ids': [3] + encode(t)} for t in texts]}


def m2m(model):
    sp = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [sp.id_to_piece(i) for i in range(3, sp.get_piece_size())]
    vocab = {token: i for i, token in enumerate(['<s>', '<pad>', '</s>', '<unk>'] + pieces + ['madeupword0'])}

    def encode(text):  # Catalan is the 12th language
        return ([len(vocab) + 11] + [vocab.get(p, vocab['<unk>']) for p in sp.encode(text, out_type=str)]
                + [vocab['</s>']])
    return {'vocab': vocab, 'blocks': ids_blocks(encode), 'texts': []}


def main():
    os.makedirs(OUT, exist_ok=True)
    data = {}
    for name, options in MODELS.items():
        path = os.path.join(OUT, name + '.model')
        if not os.path.exists(path):
            options = dict(options)
            kind, size = options.pop('model_type'), options.pop('vocab_size')
            with open(path, 'wb') as file:
                file.write(sentencepiece_file.train(SENTENCES.split('\n'), kind, size, **options))
        with open(path, 'rb') as file:
            data[name] = file.read()
    cases = []
    for name, model, config, special in CASES:
        t = converted(name, sentencepiece_file.parse(data[model]), config, special)
        cases.append({'class': name, 'model': model, 'config': config, 'expected': expectations(t, STRINGS)})
        print(name, model, config, flush=True)
    own = {}
    for name in LIKE_SENTENCEPIECE:
        sp = sentencepiece.SentencePieceProcessor(model_proto=data[name])
        own[name] = ids_blocks(sp.encode)
    out = {'classes': cases, 'sentencepiece': own, 'marian': marian(data['unigram']), 'm2m100': m2m(data['bpe'])}
    with open(os.path.join(OUT, 'expected.json'), 'w', encoding='utf-8') as file:
        json.dump(out, file, ensure_ascii=False, separators=(',', ':'))
        file.write('\n')


if __name__ == '__main__':
    sys.exit(main())
