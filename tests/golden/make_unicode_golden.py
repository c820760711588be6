#!/usr/bin/env python3
"""Writes tests/golden/tokenizers/unicode.json: for each Unicode property and mapping that tokenizers
use, a CRC-32 over each 4,096 code points of what Hugging Face's tokenizers 0.23 does with them.

    python3 tests/golden/make_unicode_golden.py
"""
import json
import os
import unicodedata
import zlib

from tokenizers import Regex
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tokenizers', 'unicode.json')
BLOCK = 0x1000
assert unicodedata.unidata_version == '16.0.0'


def splits(pre_tokenizer, around):
    """Whether the character is taken out of its surroundings."""
    return lambda c: bytes([len(pre_tokenizer.pre_tokenize_str(around + c + around)) > 1])


def vanishes(normalizer):
    return lambda c: bytes([c not in '\0\ufffd' and normalizer.normalize_str(c) == ''])


def becomes(normalizer, before='', after=''):
    return lambda c: normalizer.normalize_str(before + c + after).encode('utf-8') + b'\0'


def lower(c):
    # Rust may know later versions of Unicode; the tables are of 16.
    if unicodedata.category(c) == 'Cn':
        return c.encode('utf-8') + b'\0'
    return N.Lowercase().normalize_str(c).encode('utf-8') + b'\0'


def bert(**flags):
    return N.BertNormalizer(**{**dict(clean_text=False, handle_chinese_chars=False,
                                      strip_accents=False, lowercase=False), **flags})


def word(c):
    # \w+|[^\w\s]+ : a word character joins the letters around it.
    return bytes([len(P.Whitespace().pre_tokenize_str('a' + c + 'a')) == 1])


PROPERTIES = {
    'letter': splits(P.Split(Regex(r'\p{L}'), 'isolated'), '1'),
    'number': splits(P.Split(Regex(r'\p{N}'), 'isolated'), 'a'),
    'punctuation': splits(P.Punctuation(), 'a'),
    'space': splits(P.WhitespaceSplit(), 'a'),
    'control': vanishes(bert(clean_text=True)),
    'nonspacing': vanishes(bert(strip_accents=True)),
    'mark': vanishes(N.StripAccents()),
    'word': word,
    'ideograph': lambda c: bytes([len(bert(handle_chinese_chars=True).normalize_str(c)) > 1]),
    'lower': lower,
    'nfd': becomes(N.NFD()), 'nfc': becomes(N.NFC()),
    'nfkd': becomes(N.NFKD()), 'nfkc': becomes(N.NFKC()),
    'nfd_marks': becomes(N.NFD(), 'e\u0301', '\u0323\u1161a'),
    'nfc_marks': becomes(N.NFC(), 'e\u0301', '\u0323\u1161a'),
    'nfkc_marks': becomes(N.NFKC(), 'e\u0301', '\u0323\u1161a'),
}


def main():
    out = {}
    for name, of in PROPERTIES.items():
        crcs = []
        for begin in range(0, 0x110000, BLOCK):
            crc = 0
            for code in range(begin, begin + BLOCK):
                if not 0xD800 <= code < 0xE000:
                    crc = zlib.crc32(of(chr(code)), crc)
            crcs.append('%08x' % crc)
        # Runs of equal blocks, which the unassigned planes are, are written once.
        runs = []
        for crc in crcs:
            if runs and runs[-1][0] == crc:
                runs[-1][1] += 1
            else:
                runs.append([crc, 1])
        out[name] = runs
        print(name, flush=True)
    with open(OUT, 'w', encoding='utf-8') as file:
        json.dump(out, file, separators=(',', ':'))
        file.write('\n')


if __name__ == '__main__':
    main()
