#!/usr/bin/env python3
"""Writes core/text/unicode_data.inc, the tables behind core/text/unicode.cc.

    python3 make_unicode.py --ucd /usr/share/unicode > core/text/unicode_data.inc

Categories, lowercase and decompositions come from Python's unicodedata, which must be of Unicode 16
(Python 3.14); DerivedAge.txt and PropList.txt from the Unicode Character Database, 15.0 or later.

The aim is to agree with Hugging Face's tokenizers (0.23), whose parts stand on different versions:
  \\p{L}, \\p{N}, \\s of the patterns   Oniguruma 6.9.10, Unicode 16
  lowercase, whitespace, numeric       Rust's standard library, Unicode 16 or later
  \\w                                  the regex crate, Unicode 16
  punctuation, control, nonspacing     the unicode_categories crate, Unicode 8
  normal forms, combining marks        a fork of unicode-normalization, Unicode 9
so the last two rows take only characters of that age, with the few whose category changed since.
"""
import argparse
import os
import sys
import unicodedata as U

SURROGATES = range(0xD800, 0xE000)
CODES = [c for c in range(0x110000) if c not in SURROGATES]
UNICODE_CATEGORIES_AGE = (8, 0)
NORMALIZATION_AGE = (9, 0)


def read_property_file(path, wanted=None):
    table = {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            line = line.split('#')[0].strip()
            if not line:
                continue
            span, value = [part.strip() for part in line.split(';')[:2]]
            if wanted and value != wanted:
                continue
            ends = [int(x, 16) for x in span.split('..')]
            for code in range(ends[0], ends[-1] + 1):
                table[code] = value
    return table


def varint(value):
    out = []
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return out + [value]


def zigzag(value):
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def ranges(codes):
    """[count] then (gap from the previous end, length - 1) for each run."""
    runs = []
    for code in sorted(codes):
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    out, end = varint(len(runs)), 0
    for first, last in runs:
        out += varint(first - end) + varint(last - first)
        end = last + 1
    return out


def lowercase():
    """[count] then (gap, span, stride, delta) for runs of single code points at a constant delta."""
    runs = []
    for code in CODES:
        lower = chr(code).lower()
        if len(lower) != 1 or ord(lower) == code:
            continue
        delta = ord(lower) - code
        last = runs[-1] if runs else None
        if last and last['delta'] == delta:
            step = code - last['last']
            if last['count'] == 1 and step <= 2 or last['count'] > 1 and step == last['step']:
                last.update(last=code, step=step, count=last['count'] + 1)
                continue
        runs.append(dict(first=code, last=code, step=1, count=1, delta=delta))
    out, end = varint(len(runs)), 0
    for run in runs:
        out += varint(run['first'] - end) + varint(run['count'] - 1) + varint(run['step'])
        out += zigzag(run['delta'])
        end = run['first']
    longer = [c for c in CODES if len(chr(c).lower()) != 1]
    assert longer == [0x130] and chr(0x130).lower() == 'i\u0307', longer
    return out


def decompositions(age):
    """[count] then (gap, length << 1 | compatibility, UTF-8 bytes of the full decomposition)."""
    entries = []
    for code in CODES:
        if age.get(code, (99,)) > NORMALIZATION_AGE or 0xAC00 <= code < 0xD7A4:
            continue
        full = U.normalize('NFKD', chr(code))
        canonical = U.normalize('NFD', chr(code))
        if full == chr(code):
            continue
        if canonical == chr(code):
            entries.append((code, full, 1))
        else:
            entries.append((code, canonical, 0))
            if full != canonical:  # follows from decomposing its parts again
                assert ''.join(U.normalize('NFKD', c) for c in canonical) == full
    out, end = varint(len(entries)), 0
    for code, text, compat in entries:
        data = text.encode('utf-8')
        out += varint(code - end) + varint(len(data) << 1 | compat) + list(data)
        end = code
    return out


def compositions(age):
    """[count] then (gap of the composite, first, second) of primary composites, sorted by composite."""
    out, end, count = [], 0, 0
    for code in CODES:
        if age.get(code, (99,)) > NORMALIZATION_AGE or 0xAC00 <= code < 0xD7A4:
            continue
        parts = U.decomposition(chr(code)).split()
        if len(parts) != 2 or parts[0].startswith('<') or U.normalize('NFC', chr(code)) != chr(code):
            continue
        first, second = (int(p, 16) for p in parts)
        out += varint(code - end) + zigzag(first - code) + varint(second)
        end, count = code, count + 1
    return varint(count) + out


def combining_classes(age):
    """[count] then (gap, length - 1, class) of runs with one class."""
    runs = []
    for code in CODES:
        ccc = U.combining(chr(code))
        if not ccc or age.get(code, (99,)) > NORMALIZATION_AGE:
            continue
        if runs and runs[-1][1] == code - 1 and runs[-1][2] == ccc:
            runs[-1][1] = code
        else:
            runs.append([code, code, ccc])
    out, end = varint(len(runs)), 0
    for first, last, ccc in runs:
        out += varint(first - end) + varint(last - first) + [ccc]
        end = last + 1
    return out


CATEGORIES = ('Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs Cn'
              .split())


def categories():
    """[count] then (length - 1, index into CATEGORIES) of runs from U+0000 on; surrogates are Cs."""
    runs = []
    for code in range(0x110000):
        index = CATEGORIES.index(U.category(chr(code)))
        if runs and runs[-1][1] == index:
            runs[-1][0] += 1
        else:
            runs.append([1, index])
    out = varint(len(runs))
    for length, index in runs:
        out += varint(length - 1) + [index]
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--ucd', default='/usr/share/unicode')
    options = parser.parse_args()
    assert U.unidata_version == '16.0.0', f'unicodedata is of Unicode {U.unidata_version}, not 16.0.0'
    age = {c: tuple(map(int, v.split('.')))
           for c, v in read_property_file(os.path.join(options.ucd, 'DerivedAge.txt')).items()}
    other_alphabetic = read_property_file(os.path.join(options.ucd, 'PropList.txt'), 'Other_Alphabetic')
    category = {c: U.category(chr(c)) for c in CODES}

    def of_age(limit, test):
        return {c for c in CODES if age.get(c, (99,)) <= limit and test(category[c], c)}

    old = UNICODE_CATEGORIES_AGE
    tables = {
        'Letter': ranges(c for c in CODES if category[c][0] == 'L'),
        'Number': ranges(c for c in CODES if category[c][0] == 'N'),
        'Word': ranges(c for c in CODES if category[c][0] in 'LM' or category[c] in ('Nd', 'Nl', 'Pc')
                       or c in other_alphabetic or c in (0x200C, 0x200D)),
        'Punctuation': ranges(
            (of_age(old, lambda k, c: k[0] == 'P' or c < 128 and k[0] == 'S') | PUNCTUATION_THEN)
            - PUNCTUATION_SINCE),
        'Control': ranges(of_age(old, lambda k, c: k in ('Cc', 'Cf', 'Co') and c not in (9, 10, 13))
                          - CONTROL_SINCE),
        'Nonspacing': ranges((of_age(old, lambda k, c: k == 'Mn') | NONSPACING_THEN) - NONSPACING_SINCE),
        'Mark': ranges((of_age(NORMALIZATION_AGE, lambda k, c: k[0] == 'M') | MARK_THEN) - MARK_SINCE),
        'Lowercase': lowercase(),
        'Decomposition': decompositions(age),
        'Composition': compositions(age),
        'CombiningClass': combining_classes(age),
        'Category': categories(),
    }
    print('// Written by tools/make_unicode.py from the Unicode Character Database; do not edit.')
    for name, data in tables.items():
        print(f'inline constexpr uint8_t k{name}Data[{len(data)}] = {{')
        for i in range(0, len(data), 24):
            print('    ' + ','.join(map(str, data[i:i + 24])) + ',')
        print('};')
    print(f'{sum(map(len, tables.values()))} bytes', file=sys.stderr)


# Characters whose category was another one in the version that Hugging Face's crate knows (_THEN:
# had the property, _SINCE: did not have it yet).
PUNCTUATION_THEN = {0x166D, 0x111C9}
PUNCTUATION_SINCE = set()
CONTROL_SINCE = set()
NONSPACING_THEN = {0x1734, 0x1171E}
NONSPACING_SINCE = {0x1885, 0x1886, 0xA9BD, 0x111C9}
MARK_THEN = {0x1CF2, 0x1CF3}
MARK_SINCE = {0x111C9}

if __name__ == '__main__':
    main()
