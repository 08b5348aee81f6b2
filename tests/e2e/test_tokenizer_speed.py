# SPDX-License-Identifier: MIT
"""Tokenizers on long texts: the same ids as llama.cpp's, sooner than its and than those of the `tokenizers` library; no text
takes more than linear time.  Times are processor time, so that other work on the machine does not count.
"""
import os
import random
import resource
import time

import pytest
import test_tokenizers as base
import tokenizers
import vocab_files as made
from llama_vocab import Vocab

LONG = "\n".join(t for t in made.corpus() + base.TEXTS if len(t) < 2000)


def path_of(name):
    model = os.path.join(base.MODELS, name + ".gguf")
    return model if os.path.exists(model) else base.vocab_path(name)


@pytest.mark.parametrize("name", ["smollm2", "gemma3", "gemma-4", "llama-spm", "phi-3", "llama-bpe", "bert-bge", "nomic-bert-moe"])
def test_long_text(name):
    """Words that were seen before, and places where words end, are remembered in long texts only."""
    vocab = Vocab(path_of(name))
    for special in (False, True):
        assert base.encode(path_of(name), [LONG], "bos", *["special"] * special)[0] == vocab.encode(LONG, True, special)
    vocab.close()


def seconds(name, text, tmp_path):
    """Processor time of loading the vocabulary and encoding."""
    file = tmp_path / "text"
    file.write_bytes(text.encode())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    r = base.tool(path_of(name), "time", str(file))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert r.returncode == 0, r.stderr.decode()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def extremes():
    r = random.Random(11)
    n = 1 << 20
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return {
        "one letter": "a" * n,
        "spaces": " " * n,
        "newlines": "\n" * n,
        "letters without spaces": "".join(r.choices(letters, k=n)),
        "Chinese without spaces": "".join(chr(r.randrange(0x4e00, 0x9fa6)) for _ in range(n // 3)),
        "apostrophes and spaces": "' " * (n // 2),
        "less-than signs": "<" * n,
    }


KINDS = ["smollm2", "gemma3", "gemma-4", "llama-bpe", "llama-spm", "bert-bge", "nomic-bert-moe", "rwkv", "plamo2", "whitespace"]


@pytest.mark.parametrize("name", KINDS)
def test_a_megabyte_of_anything(name, tmp_path, monkeypatch):
    if name in ("rwkv", "plamo2"):
        getattr(made, {"rwkv": "rwkv", "plamo2": "plamo"}[name])(str(tmp_path / "v.gguf"), made.corpus())
    elif name == "whitespace":
        import test_tokenizer_kinds
        test_tokenizer_kinds.whitespace(str(tmp_path / "v.gguf"), "whitespace")
    if (tmp_path / "v.gguf").exists():
        monkeypatch.setitem(globals(), "path_of", lambda _: str(tmp_path / "v.gguf"))
    took = {what: seconds(name, text, tmp_path) for what, text in extremes().items()}
    print(f"\n{name}: " + ", ".join(f"{what} {s:.2f} s" for what, s in took.items()))
    assert max(took.values()) < 4, took


def tree():
    """All sources and documents of the tree."""
    text = []
    for folder in ("docs", "src", "tests", "tools"):
        for where, _, names in sorted(os.walk(os.path.join(base.ROOT, folder))):
            for name in sorted(names):
                if name.endswith((".c", ".h", ".def", ".md", ".py", ".sh")):
                    with open(os.path.join(where, name), encoding="utf-8") as f:
                        text.append(f.read())
    return "".join(text)


def huggingface_smollm2():
    import gguf
    r = gguf.GGUFReader(path_of("smollm2"))

    def strings(key):
        return [bytes(r.fields[key].parts[i]).decode() for i in r.fields[key].data]
    t = tokenizers.Tokenizer(tokenizers.models.BPE(
        vocab={s: i for i, s in enumerate(strings("tokenizer.ggml.tokens"))},
        merges=[tuple(m.split(" ")) for m in strings("tokenizer.ggml.merges")]))
    t.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return t


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_speed(name, tmp_path, monkeypatch):
    """MB/s of smelt on 10 MB of source text, of the others on a part of it."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    text = tree()
    text *= 10_000_000 // len(text) + 1
    mb = len(text.encode()) / 1e6
    speed = mb / (seconds(name, text, tmp_path) - seconds(name, "", tmp_path))
    part = text[:200_000]
    vocab = Vocab(path_of(name))
    t0 = time.process_time()
    vocab.encode(part)
    llama = len(part.encode()) / 1e6 / (time.process_time() - t0)
    vocab.close()
    others = f"llama.cpp {llama:.2f}"
    assert speed > llama
    if name == "smollm2":
        hf = huggingface_smollm2()
        part = text[:1_000_000]
        t0 = time.process_time()
        hf.encode(part, add_special_tokens=False)
        rate = len(part.encode()) / 1e6 / (time.process_time() - t0)
        others += f", tokenizers {rate:.2f}"
        assert speed > rate
    print(f"\n{name}: {mb:.1f} MB at {speed:.1f} MB/s ({others})")
