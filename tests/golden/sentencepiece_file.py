"""SentencePiece models for make_tokenizer_golden.py: trained here, and read without protobuf."""
import io
import struct
import tempfile

import sentencepiece

# A little of NFKC, and what NMT does to control characters: "source code points, target code points".
RULES = [((0x7,), ()), ((0x1B,), ()), ((0x7F,), ()), ((0x9,), (0x20,)), ((0xA,), (0x20,)), ((0xD,), (0x20,)),
         ((0xD, 0xA), (0x20,)), ((0x3000,), (0x20,)), ((0xA0,), (0x20,)), ((0x200B,), (0x20,)),
         ((0xFEFF,), (0x20,)), ((0xFB00,), (0x66, 0x66)), ((0xBD,), (0x31, 0x2044, 0x32)),
         ((0x65, 0x301), (0xE9,)), ((0x6E, 0x303), (0xF1,)), ((0x61, 0x301, 0x302), (0xE1,)), ((0xB2,), (0x32,)),
         ((0x2026,), (0x2E, 0x2E, 0x2E)), ((0xAD,), ()), ((0x149,), (0x2BC, 0x6E)), ((0x24B6,), (0x41,))]
RULES += [((0xFF01 + i,), (0x21 + i,)) for i in range(94)]
RULES += [((0xC0 + i,), (b, m)) for i, (b, m) in enumerate(((0x41, 0x300), (0x41, 0x301), (0x41, 0x302)))]


def train(sentences, model_type, vocab_size, **options):
    """The bytes of a .model file."""
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile('w', encoding='ascii', suffix='.tsv') as rules:
        for source, target in RULES:
            rules.write('%s\t%s\n' % (' '.join('%X' % c for c in source), ' '.join('%X' % c for c in target)))
        rules.flush()
        settings = dict(normalization_rule_tsv=rules.name, character_coverage=0.9995, num_threads=1,
                        minloglevel=2, hard_vocab_limit=False)
        settings.update(options)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=out, model_type=model_type, vocab_size=vocab_size,
            **settings)
    return out.getvalue()


def fields(data):
    """(number, value) of a protobuf message: integers, floats' bytes, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(data):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            yield number, varint()
        else:
            size = varint() if wire == 2 else 8 if wire == 1 else 4
            yield number, data[at:at + size]
            at += size


class Message:
    def __init__(self, **members):
        self.__dict__.update(members)


def parse(data):
    """What transformers' converters look at of a ModelProto."""
    model = Message(pieces=[], trainer_spec=Message(unk_id=0, model_type=1, byte_fallback=False, unk_piece='<unk>'),
                    normalizer_spec=Message(precompiled_charsmap=b''))
    for number, value in fields(data):
        if number == 1:
            piece = Message(piece='', score=0.0, type=1)
            for n, v in fields(value):
                if n == 1:
                    piece.piece = v.decode('utf-8')
                elif n == 2:
                    piece.score = struct.unpack('<f', v)[0]
                elif n == 3:
                    piece.type = v
            model.pieces.append(piece)
        elif number == 2:
            for n, v in fields(value):
                if n == 3:
                    model.trainer_spec.model_type = v
                elif n == 35:
                    model.trainer_spec.byte_fallback = bool(v)
                elif n == 40:
                    model.trainer_spec.unk_id = v
                elif n == 45:
                    model.trainer_spec.unk_piece = v.decode('utf-8')
        elif number == 3:
            for n, v in fields(value):
                if n == 2:
                    model.normalizer_spec.precompiled_charsmap = v
    return model
