# SPDX-License-Identifier: MIT
"""Small vocabularies of every kind, made from text of the tree, as GGUF files without weights."""
import collections
import glob
import json
import os
import random

import gguf
import tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def write_vocab(path, model, tokens, types=None, scores=None, merges=None, pre=None, roles=None, flags=None, charsmap=None):
    """tokens: bytes or str; roles: {"bos": id, ..}; flags: {"add_bos_token": True, ..} under tokenizer.ggml."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model(model)
    if pre is not None:
        w.add_tokenizer_pre(pre)
    w.add_token_list([t if isinstance(t, bytes) else t.encode() for t in tokens])
    w.add_token_types(types or [NORMAL] * len(tokens))
    if scores is not None:
        w.add_token_scores(scores)
    if merges is not None:
        w.add_token_merges(merges)
    for role, i in (roles or {}).items():
        w.add_uint32(f"tokenizer.ggml.{role}_token_id", i)
    for key, value in (flags or {}).items():
        w.add_bool(f"tokenizer.ggml.{key}", value)
    if charsmap is not None:
        w.add_precompiled_charsmap(charsmap)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    return path


def corpus():
    """Lines to make vocabularies from: the tree's own documents, and the hard texts for scripts beyond ASCII."""
    lines = []
    for page in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))) + [os.path.join(ROOT, "README.md")]:
        with open(page, encoding="utf-8") as f:
            lines += f.read().splitlines()
    return lines


def frequent(texts, longest, n):
    """The n most frequent substrings of up to `longest` characters, of 2 or more."""
    count = collections.Counter()
    for t in texts:
        for size in range(2, longest + 1):
            count.update(t[i:i + size] for i in range(0, len(t) - size + 1))
    return [s for s, _ in sorted(count.items(), key=lambda x: (-x[1] * len(x[0]), x[0]))[:n]]


def byte_names():
    return [f"<0x{b:02X}>" for b in range(256)]


def wordpiece_bytes(path, flags=None):
    """U+2581 and every single byte but 0: ids spell the simplified text."""
    tokens = [b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", "\u2581".encode()] + [bytes([b]) for b in range(1, 256)]
    types = [CONTROL, UNKNOWN, CONTROL, CONTROL] + [NORMAL] * 256
    return write_vocab(path, "bert", tokens, types, roles={"padding": 0, "unknown": 1, "bos": 2, "seperator": 3}, flags=flags)


def rwkv(path, texts):
    """Every byte and frequent byte strings, in Python's notation."""
    pieces = [bytes([b]) for b in range(256)] + [s.encode() for s in frequent(texts, 8, 3000)]
    pieces += [s.encode()[:3] for s in ("\U0001f600", "\u4e00")] + [b"\n\n", b"\\n", b"'", b"'\"", b"\\x41"]
    pieces = list(dict.fromkeys(pieces))
    tokens = ["<s>"] + [repr(p)[2:-1] for p in pieces] + ["[PAD9999]"]
    types = [CONTROL] + [NORMAL] * len(pieces) + [UNUSED]
    return write_vocab(path, "rwkv", tokens, types, roles={"bos": 0, "eos": 0, "eot": 1 + pieces.index(b"\n\n")})


def plamo(path, texts):
    """Special tokens, bytes and frequent strings; scores fall with rank, some too low to be used."""
    r = random.Random(7)
    words = list(dict.fromkeys(c for t in texts for c in t if r.random() < 0.9))[:1500]
    words = list(dict.fromkeys(words + frequent(texts, 7, 3000)))
    special = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>", "<|plamo:fim_prefix|>", "<|plamo:file_separator|>", "</s>"]
    words = [w for w in words if w not in special and w not in byte_names()]
    scores = [0.0] * len(special) + [0.0] * 256 + [-2.0 - 0.003 * i + round(r.random(), 2) for i in range(len(words))]
    for i in range(300, len(scores), 97):
        scores[i] = -2500.0
    types = [UNKNOWN] + [CONTROL] * (len(special) - 1) + [BYTE] * 256 + [NORMAL] * len(words)
    roles = {"unknown": 0, "bos": 1, "eos": 2, "padding": 3}
    return write_vocab(path, "plamo2", special + byte_names() + words, types, scores, roles=roles, flags={"add_bos_token": True})


def unigram(path, texts, size=2000, charsmap=None, flags=None):
    """A model that the `tokenizers` library trains; returns it, with the words of `texts` cut at spaces."""
    t = tokenizers.Tokenizer(tokenizers.models.Unigram())
    t.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=size, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
                                                 show_progress=False)
    t.train_from_iterator([s for s in texts if "<" not in s], trainer)
    model = json.loads(t.to_str())["model"]
    tokens, scores = zip(*model["vocab"])
    assert tokens[:3] == ("<pad>", "</s>", "<unk>") and model["unk_id"] == 2
    types = [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * (len(tokens) - 3)
    write_vocab(path, "t5", tokens, types, list(scores), charsmap=charsmap,
                roles={"padding": 0, "eos": 1, "unknown": 2}, flags=flags or {"add_space_prefix": True, "remove_extra_whitespaces": False})
    return t
