# SPDX-License-Identifier: MIT
"""Tokenizers of every kind on vocabularies made here (vocab_files.py): ids and pieces as llama.cpp has them (llama_vocab.py),
Unigram and WordPiece as the `tokenizers` library has them, text back from ids, streams as a whole.
"""
import json
import os
import random
import struct
import unicodedata

import pytest
import test_tokenizers as base
import tokenizers
import vocab_files as made
from llama_vocab import Vocab

TEXTS = base.TEXTS
SOURCE = made.corpus() + TEXTS
DNA = ["<dna>ACGTAC</dna>", "a <dna>acgtacgta</dna> b", "<dna>", "</dna>", "x<dna></dna>", "<dna>ACGTN</dna><dna>AC", "<dna>ACGTACC",
       "<dna>\u00e9\u00e9</dna>", "ACGTAC", "<dna><dna>ACG</dna></dna>"]


def gpt2_parts():
    """Tokens, types and merges of GPT-2's vocabulary."""
    import gguf
    r = gguf.GGUFReader(base.vocab_path("gpt-2"))
    def strings(key):
        f = r.fields[key]
        return [bytes(f.parts[i]) for i in f.data]
    return strings("tokenizer.ggml.tokens"), [m.decode() for m in strings("tokenizer.ggml.merges")]


def whitespace(path, pre, **flags):
    """BPE over UTF-8 of the words between white space."""
    letters = sorted({c for t in SOURCE for c in t if not c.isspace()})[:4000]
    merges = [(a, b) for a in "aeiou\u00e9" for b in "nrst"] + [("an", "t"), ("e", "\u0301"), ("h", "e"), ("t", "he")]
    tokens = letters + [a + b for a, b in merges if len(a + b) > 1] + made.byte_names()[:128]
    tokens = list(dict.fromkeys(tokens))
    types = [made.BYTE if len(t) == 6 and t.startswith("<0x") else made.NORMAL for t in tokens]
    return made.write_vocab(path, "whitespace", tokens, types, merges=[f"{a} {b}" for a, b in merges], pre=pre,
                            roles={"bos": 0, "eos": 1}, flags=flags)


def hybriddna(path):
    tokens, merges = gpt2_parts()
    kmers = [a + b + c for a in ("AC", "GT", "CC") for b in ("AA", "GT", "CC", "CA") for c in ("AC", "AA", "CC")]
    dna = [b"<dna>", b"</dna>", b"<oov>"] + [k.encode() + "\ue000".encode() for k in kmers]
    types = [made.NORMAL] * (len(tokens) + 3 + len(kmers))
    return made.write_vocab(path, "hybriddna", tokens + dna, types, merges=merges, pre="gpt-2", roles={"bos": 5, "eos": 6})


def raw_bpe(path, pre):
    """BPE over UTF-8 with U+2581 for spaces, and runs of newlines."""
    letters = ["\n", "\n\n", "\n\n\n\n", "\u2581"] + sorted({c for t in SOURCE for c in t if not c.isspace() and c != "\u2581"})[:3000]
    merges = [(a, b) for a in "aeiou\u2581" for b in "nrst\u2581"] + [("an", "t"), ("h", "e"), ("t", "he"), ("\u2581t", "he")]
    tokens = ["<u>", "<b>", "<e>"] + list(dict.fromkeys(letters + [a + b for a, b in merges])) + made.byte_names()
    types = [made.UNKNOWN, made.CONTROL, made.CONTROL] + [made.NORMAL] * (len(tokens) - 259) + [made.BYTE] * 256
    return made.write_vocab(path, "gpt2", tokens, types, merges=[f"{a} {b}" for a, b in merges], pre=pre,
                            roles={"unknown": 0, "bos": 1, "eos": 2})


MAKERS = {
    "raw-gemma4": lambda p: raw_bpe(p, "granite-embed-multi-311m"),
    "raw-sarvam": lambda p: raw_bpe(p, "sarvam-moe"),
    "wordpiece": lambda p: made.wordpiece_bytes(p),
    "wordpiece-cased": lambda p: made.wordpiece_bytes(p, {"normalizer.lowercase": False}),
    "wordpiece-accents": lambda p: made.wordpiece_bytes(p, {"normalizer.strip_accents": False}),
    "rwkv": lambda p: made.rwkv(p, SOURCE),
    "plamo2": lambda p: made.plamo(p, SOURCE),
    "unigram": lambda p: made.unigram(p, SOURCE),
    "unigram-merge": lambda p: made.unigram(p, SOURCE[::2], 800, flags={"add_space_prefix": False, "remove_extra_whitespaces": True}),
    "unigram-bare": lambda p: made.unigram(p, SOURCE[:600], 600, flags={"add_eos_token": False}),
    "unigram-charsmap": lambda p: made.unigram(p, SOURCE[::3], 900, charsmap=nomic_charsmap()),
    "whitespace": lambda p: whitespace(p, "whitespace"),
    "whitespace-gpt-2": lambda p: whitespace(p, "gpt-2"),
    "whitespace-lower": lambda p: whitespace(p, "whitespace", **{"normalizer.lowercase": True}),
    "hybriddna": lambda p: hybriddna(p),
}


def nomic_charsmap():
    with open(base.vocab_path("nomic-bert-moe"), "rb") as f:
        data = f.read()
    at = data.index(b"tokenizer.ggml.precompiled_charsmap") + 35
    kind, element, n = struct.unpack_from("<IIQ", data, at)
    assert (kind, element) == (9, 0)  # array, uint8
    return data[at + 16:at + 16 + n]


@pytest.fixture(scope="module")
def made_vocab(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("vocabs"), {}

    def get(kind):
        if kind not in paths:
            paths[kind] = str(folder / (kind + ".gguf"))
            MAKERS[kind](paths[kind])
        return paths[kind]
    return get


@pytest.mark.parametrize("kind", MAKERS)
def test_ids(kind, made_vocab):
    base.same_as_llama(made_vocab(kind), TEXTS + (DNA if kind == "hybriddna" else []))


@pytest.mark.parametrize("kind", ["unigram", "unigram-charsmap", "rwkv", "plamo2", "hybriddna", "wordpiece"])
def test_pieces(kind, made_vocab):
    path = made_vocab(kind)
    vocab = Vocab(path)
    every = range(vocab.count())
    for special in (True, False):
        got = base.decode(path, [[i] for i in every], "pieces", *["special"] * special)
        assert [i for i in every if got[i] != vocab.piece(i, special)] == []
    vocab.close()


def assigned_characters():
    """Whatever llama.cpp's Unicode tables and those at hand agree about: characters that both have."""
    return [c for c in map(chr, range(1, 0x110000)) if unicodedata.category(c) not in ("Cs", "Cn")]


@pytest.mark.parametrize("flags", [{}, {"normalizer.lowercase": False}, {"normalizer.strip_accents": False}],
                         ids=["uncased", "cased", "accents"])
def test_wordpiece_every_character(flags, tmp_path):
    """How each character is simplified: 64 of them at a time, between letters and after a space."""
    path = made.wordpiece_bytes(str(tmp_path / "v.gguf"), flags)
    characters = [c for c in assigned_characters() if not base.NEW_CHARACTERS.search(c) and not 0xf0000 <= ord(c) < 0x10fff0]
    texts = ["".join(f"a{c}b {c}" for c in characters[i:i + 64]) for i in range(0, len(characters), 64)]
    vocab = Vocab(path)
    different = [(t, got, want) for t, got in zip(texts, base.encode(path, texts), strict=True) if got != (want := vocab.encode(t))]
    vocab.close()
    print(f"{len(characters)} characters, {len(different)} groups differ")
    assert not different, different[0]


# Where llama.cpp's WordPiece is not Hugging Face's: Hangul, spacing and enclosing marks, characters without a name, and U+2581,
# which marks words in a GGUF file.
HF_DIFFERS = {"Mc", "Me", "Cn", "Co"}


def same_in_huggingface(text):
    return not any(0xac00 <= ord(c) <= 0xd7a3 or unicodedata.category(d) in HF_DIFFERS or c in "\u2581\x85\x0b\x0c\x1c\x1d\x1e\x1f" or base.NEW_CHARACTERS.search(c)
                   for c in text for d in unicodedata.normalize("NFD", c)) and max(map(len, text.split()), default=0) <= 100


def test_wordpiece_as_huggingface():
    """bert-bge's vocabulary in BERT's own notation, through the `tokenizers` library."""
    import gguf
    f = gguf.GGUFReader(base.vocab_path("bert-bge")).fields["tokenizer.ggml.tokens"]
    spelled = [bytes(f.parts[i]).decode() for i in f.data]
    own = {}
    for i, s in enumerate(spelled):
        if s.startswith("\u2581"):
            own[s[1:]] = i
        elif s.startswith("["):
            own[s] = i
        else:
            own["##" + s] = i
    hf = tokenizers.BertWordPieceTokenizer(vocab=own, lowercase=True)
    texts = [t for t in TEXTS if same_in_huggingface(t) and "[" not in t]
    got = base.encode(base.vocab_path("bert-bge"), texts, "bos")
    different = [(t, g, want) for t, g in zip(texts, got) if g != (want := hf.encode(t).ids)]
    print(f"{len(texts)} texts of {len(TEXTS)}, {len(different)} differ")
    assert len(texts) > 500 and not different, min(different, key=lambda d: len(d[0]))


def test_unigram_as_huggingface(tmp_path):
    """The trained model itself against the same model as a GGUF file."""
    path = str(tmp_path / "u.gguf")
    hf = made.unigram(path, SOURCE)
    scores = dict(json.loads(hf.to_str())["model"]["vocab"])
    texts = [t for t in TEXTS if t and t[0] != " " and "\u2581" not in t and not any(s in t for s in ("<pad>", "</s>", "<unk>"))]
    different, ties = [], 0
    for t, got in zip(texts, base.encode(path, texts), strict=True):
        want = hf.encode(t, add_special_tokens=False).ids
        worth = [sum(scores[hf.id_to_token(i)] for i in ids) for ids in (got, want)]
        ties += got != want and abs(worth[0] - worth[1]) < 1e-6 * abs(worth[1])  # another cut that is worth as much
        if got != want and abs(worth[0] - worth[1]) >= 1e-6 * abs(worth[1]):
            different.append((t, got, want))
    print(f"{len(texts)} texts, {len(different)} differ, {ties} are cut elsewhere at the same score")
    assert not different and ties < len(texts) / 10, min(different, key=lambda d: len(d[0]), default=ties)


def mended(data):
    """Bytes that no character can come of are one U+FFFD each."""
    out, at = [], 0
    while at < len(data):
        for n in (1, 2, 3, 4):
            try:
                out.append(data[at:at + n].decode())
                break
            except UnicodeDecodeError:
                continue
        else:
            n = 1
            out.append("\ufffd")
        at += n
    return "".join(out)


STREAMED = ["smollm2", "gemma3", "bert-bge", "nomic-bert-moe", "rwkv", "plamo2", "hybriddna", "whitespace"]


@pytest.mark.parametrize("name", STREAMED)
def test_streams_of_any_ids(name, made_vocab):
    """Ids one by one give the text that they give together, in whole characters."""
    path = os.path.join(base.MODELS, name + ".gguf") if name in ("smollm2", "gemma3") else \
        base.vocab_path(name) if os.path.exists(base.vocab_path(name)) else made_vocab(name)
    info = dict(line.split(" ", 1) for line in base.tool(path, "info").stdout.decode().splitlines() if " " in line)
    n, r = int(info["tokens"]), random.Random(name)
    narrow = [i for i in range(min(n, 600))]  # bytes, in most vocabularies
    lines = [[r.choice(narrow) if r.random() < 0.5 else r.randrange(n) for _ in range(r.choice([1, 2, 5, 40]))] for _ in range(800)]
    if name == "bert-bge":  # punctuation and contractions, whose spaces go
        marks = base.encode(path, [". , ? ! ' s re ve m ll t d ' ' hello"])[0]
        lines += [[r.choice(marks) for _ in range(r.choice([3, 8, 20]))] for _ in range(2000)]
    for special in ([], ["special"]):
        whole = base.decode(path, lines, "decode", *special)
        stream = base.decode(path, lines, "stream", *special)
        reply = base.decode(path, lines, "reply", *special)
        pieces = base.decode(path, lines, "pieces", *special)
        wrong = [(i, w, s) for i, w, s in zip(lines, whole, stream) if mended(w) != s.decode()]
        assert not wrong, min(wrong, key=lambda w: len(w[0]))
        if not special:
            wrong = [(i, p, s) for i, p, s in zip(lines, pieces, reply) if mended(p) != s.decode()]
            assert not wrong, min(wrong, key=lambda w: len(w[0]))


def test_wordpiece_decoding():
    """Text comes back simplified, as llama.cpp gives it but for the space before the first word."""
    path = base.vocab_path("bert-bge")
    vocab = Vocab(path)
    r = random.Random(3)
    marks = base.encode(path, [". , ? ! ' s re ve m ll t d ' ' hello , world"])[0]
    lines = base.encode(path, TEXTS, "bos", "special") + [[r.choice(marks) for _ in range(r.choice([2, 5, 12]))] for _ in range(3000)]
    got = base.decode(path, lines, "decode", "special")
    for ids, text in zip(lines, got):
        want = vocab.detokenize(ids)
        assert text == want.removeprefix(b" "), (ids, text, want)
    vocab.close()
    assert base.decode(path, base.encode(path, ["Hello, world! It's a caf\u00e9."]), "decode") == [b"hello, world! it's a cafe."]


@pytest.mark.parametrize("kind", ["rwkv", "plamo2"])
def test_text_comes_back(kind, made_vocab):
    texts = [t for t in TEXTS if not (kind == "plamo2" and t.startswith("\ufeff"))]
    path = made_vocab(kind)
    assert base.decode(path, base.encode(path, texts), "decode", "special") == [t.encode() for t in texts]
