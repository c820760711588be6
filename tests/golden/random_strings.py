"""The strings of tests/core/text_random_strings.h, drawn the same way."""

MASK = (1 << 64) - 1


def mix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


class Random:
    """core/base/random.h"""

    def __init__(self, seed, stream=0):
        self.key = mix64(mix64(seed) ^ mix64((stream * 0xD1342543DE82EF95 + 1) & MASK))
        self.position = 0

    def below(self, n):
        value = mix64((self.key + self.position * 0x9E3779B97F4A7C15) & MASK)
        self.position += 1
        return (value * n) >> 64


SPACES = [0x20, 9, 10, 13, 0xA0, 0x3000, 0x2003, 0x0B, 0x85, 0x2028]
CONTRACTIONS = ["'s", "'T", "'re", "'VE", "'ll", "'\u017f", "'x", "\u2019s"]
SCRIPTS = [
    (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F),
    (0xE00, 0xE7F), (0x1100, 0x11FF), (0xAC00, 0xD7A3), (0x3040, 0x30FF), (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x10A0, 0x10FF),
    (0x1E00, 0x1EFF), (0xF00, 0xFFF), (0x980, 0x9FF), (0x20000, 0x2A6DF), (0x2150, 0x218F)]
CONTROLS = [0x00, 0x07, 0x1B, 0x7F, 0x85, 0x9F, 0x200B, 0x200D, 0x200F, 0xFEFF, 0xFFFD, 0xE000,
            0xAD, 0x2060]
SPECIALS = ['[CLS]', '[SEP]', '[MASK]', '<s>', '</s>', '<mask>', '<|endoftext|>', '<|im_start|>',
            '[UNK]', '<|eot_id|>', ' <mask> ', '<pad>']


def random_string(index):
    below = Random(20261123, index).below
    s = ''
    if index % 97 == 0:
        letter = 'aA1 .\n'[below(6)]
        s += letter * (200 + below(800))
    for _ in range(1 + below(12)):
        kind = below(16)
        if kind < 4:
            if below(4) > 0:
                s += ' '
            capital = below(5) == 0
            for i in range(1 + below(9)):
                letter = chr(ord('a') + below(26))
                s += letter.upper() if capital and i == 0 else letter
        elif kind == 4:
            for _ in range(1 + below(7)):
                s += chr(ord('0') + below(10))
        elif kind == 5:
            for _ in range(1 + below(4)):
                s += chr(SPACES[below(len(SPACES))])
        elif kind == 6:
            for _ in range(1 + below(4)):
                s += chr(ord('!') + below(15))
        elif kind == 7:
            s += CONTRACTIONS[below(len(CONTRACTIONS))]
        elif kind == 8:
            for _ in range(1 + below(6)):
                s += chr(0xC0 + below(0x190))
        elif kind == 9:
            s += chr(ord('a') + below(26))
            for _ in range(1 + below(3)):
                s += chr(0x300 + below(0x70))
        elif kind == 10:
            first, last = SCRIPTS[below(len(SCRIPTS))]
            for _ in range(1 + below(8)):
                s += chr(first + below(last - first + 1))
        elif kind == 11:
            for _ in range(1 + below(3)):
                s += chr(0x1F300 + below(0x800))
                joiner = below(4)
                s += '\u200d' if joiner == 0 else '\ufe0f' if joiner == 1 else ''
        elif kind == 12:
            for _ in range(1 + below(2)):
                s += chr(CONTROLS[below(len(CONTROLS))])
        elif kind == 13:
            for _ in range(1 + below(3)):
                code = below(0x110000 - 0x800)
                s += chr(code if code < 0xD800 else code + 0x800)
        elif kind == 14:
            s += SPECIALS[below(len(SPECIALS))]
        else:
            count = 2 + below(20)
            s += chr(ord('a') + below(26)) * count
    return s
