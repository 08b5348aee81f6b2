# SPDX-License-Identifier: MIT
"""Token ids exactly as llama.cpp gives them.

Against llama.cpp itself (llama_vocab.py) on the models of $SMELT_MODELS and every vocabulary of $SMELT_VOCABS, and
against the cases that come with the vocabularies (.inp, .out).  Texts: those cases, and tests/golden/hard.json.  The
tool tok_tool is built beside the program ($SMELT, default build/smelt).
"""
import glob
import json
import os
import re
import struct
import subprocess

import pytest
from llama_vocab import Vocab

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
TOOL = os.path.join(os.path.dirname(SMELT), "tests", "tools", "tok_tool")
MODELS = os.environ.get("SMELT_TEST_MODELS") or os.environ.get("SMELT_MODELS") or os.path.join(ROOT, "build", "models")
VOCABS = os.environ.get("SMELT_TEST_VOCABS") or os.environ.get("SMELT_VOCABS") or os.path.join(ROOT, "build", "vocabs")

# Assigned after the Unicode version that the oldest supported PCRE2 knows: what kind of character they are differs.
NEW_CHARACTERS = re.compile(
    "[\u0cf3\u0ece\u2ffc-\u2fff\U00010efd-\U00010eff\U0001123f-\U00011241\U00011b00-\U00011b09\U00011f00-\U00011f59"
    "\U0001342f\U00013440-\U00013455\U0001b132\U0001b155\U0001d2c0-\U0001d2d3\U0001df25-\U0001df2a"
    "\U0001e030-\U0001e08f\U0001e4d0-\U0001e4f9\U0001f6dc\U0001f774-\U0001f77f\U0001f7d9\U0001fa75-\U0001faff"
    "\U0002b739\U0002ebf0-\U0002ee5d\U00031350-\U000323af]")


def vocab_path(name):
    return os.path.join(VOCABS, f"ggml-vocab-{name}.gguf")


def vocab_names():
    return sorted(os.path.basename(p)[11:-5] for p in glob.glob(vocab_path("*")))


def vocab_cases(name):
    """Texts, and the ids without bos, of a vocabulary's own test files."""
    with open(vocab_path(name) + ".inp", encoding="utf-8", newline="") as f:
        texts = f.read().split("\n__ggml_vocab_test__\n")
    with open(vocab_path(name) + ".out", encoding="utf-8") as f:
        ids = [[int(i) for i in line.split()] for line in f]
    return texts[:len(ids)], ids


def texts():
    with open(os.path.join(ROOT, "tests", "golden", "hard.json"), encoding="utf-8") as f:
        out = json.load(f)
    for name in vocab_names():
        if os.path.exists(vocab_path(name) + ".inp"):
            out += vocab_cases(name)[0]
    return [t for t in dict.fromkeys(out) if not NEW_CHARACTERS.search(t)]


TEXTS = texts()


def tool(path, *args, stdin=b""):
    return subprocess.run([TOOL, path, *args], input=stdin, capture_output=True)


def encode(path, texts, *flags):
    data = [t.encode() for t in texts]
    r = tool(path, "encode", *flags, stdin=b"".join(b"%d\n%s" % (len(d), d) for d in data))
    assert r.returncode == 0, r.stderr.decode()
    return [[int(i) for i in line.split()] for line in r.stdout.decode().splitlines()]


def decode(path, ids, how, *flags):
    r = tool(path, how, *flags, stdin="".join(" ".join(map(str, i)) + "\n" for i in ids).encode())
    assert r.returncode == 0, r.stderr.decode()
    out, at = [], 0
    while at < len(r.stdout):
        end = r.stdout.index(b"\n", at)
        n = int(r.stdout[at:end])
        out.append(r.stdout[end + 1:end + 1 + n])
        at = end + 1 + n
    return out


def same_as_llama(path, texts):
    vocab = Vocab(path)
    try:
        for bos in (False, True):
            for special in (False, True):
                flags = ["bos"] * bos + ["special"] * special
                different = [(t, got, want) for t, got in zip(texts, encode(path, texts, *flags), strict=True)
                             if got != (want := vocab.encode(t, bos, special))]
                assert not different, (len(different), flags, min(different, key=lambda d: len(d[0])))
        info = dict(line.split(" ", 1) for line in tool(path, "info").stdout.decode().splitlines() if " " in line)
        assert [int(i) for i in info.get("ends", "").split()] == vocab.ends()
        assert (int(info["bos"]), int(info["eos"]), int(info["tokens"])) == (vocab.bos(), vocab.eos(), vocab.count())
    finally:
        vocab.close()


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_models(name):
    same_as_llama(os.path.join(MODELS, name + ".gguf"), TEXTS)


DONE = {}  # what was compared: (kind, tokens, texts, cases) by vocabulary


@pytest.mark.parametrize("name", vocab_names())
def test_vocabulary(name):
    path = vocab_path(name)
    same_as_llama(path, TEXTS)
    info = dict(line.split(" ", 1) for line in tool(path, "info").stdout.decode().splitlines() if " " in line)
    DONE[name] = [info["kind"], int(info["tokens"]), len(TEXTS), None]


@pytest.mark.parametrize("name", [n for n in vocab_names() if os.path.exists(vocab_path(n) + ".inp")])
def test_recorded_cases(name):
    texts, want = vocab_cases(name)
    assert encode(vocab_path(name), texts) == want
    if name in DONE:
        DONE[name][3] = len(texts)


TABLE = "<!-- table of vocabularies: tests/e2e/test_tokenizers.py -->\n"


def vocabulary_table():
    rows = [f"| {name} | {kind} | {n:,} | {texts} of {texts} | {f'{cases} of {cases}' if cases else 'has none'} |"
            for name, (kind, n, texts, cases) in sorted(DONE.items())]
    return TABLE + "\n".join(["| vocabulary | kind | tokens | texts like llama.cpp | its own cases |", "|---|---|---|---|---|"] + rows) + "\n"


@pytest.mark.skipif(not vocab_names(), reason="no vocabularies")
def test_table_of_documentation():
    """docs/tokenizers.md has the table of what the tests above found; SMELT_WRITE_DOCS=1 writes it."""
    if sorted(DONE) != vocab_names():
        pytest.skip("some vocabularies were left out of this run")
    page = os.path.join(ROOT, "docs", "tokenizers.md")
    with open(page, encoding="utf-8") as f:
        text = f.read()
    at = text.index(TABLE)
    end = text.index("\n\n", at) + 1
    if os.environ.get("SMELT_WRITE_DOCS"):
        with open(page, "w", encoding="utf-8") as f:
            f.write(text[:at] + vocabulary_table() + text[end:])
    print("\n" + vocabulary_table())
    assert len(DONE) == 19 and sum(d[3] is not None for d in DONE.values()) == 15
    assert os.environ.get("SMELT_WRITE_DOCS") or text[at:end] == vocabulary_table()


SOURCE = os.path.join(VOCABS, "llama-vocab.cpp")


@pytest.mark.skipif(not os.path.exists(SOURCE), reason="llama.cpp's source is not there: tools/fetch_models.sh vocabs")
def test_every_name_has_a_row():
    """Names of pre-tokenizers and tokenizer models that llama.cpp's source compares with."""
    with open(SOURCE, encoding="utf-8") as f:
        source = f.read()
    pres = set(re.findall(r'tokenizer_pre\s*==\s*"([^"]+)"', source))
    models = set(re.findall(r'tokenizer_model\s*==\s*"([^"]+)"', source))
    rows = {name for row in pretokenizers() for name in row}
    print(f"{len(pres)} pre-tokenizers, {len(rows)} in the table; models: {' '.join(sorted(models))}")
    assert len(pres) > 80 and not pres - rows, sorted(pres - rows)
    with open(os.path.join(ROOT, "src", "text", "tokenizer.c"), encoding="utf-8") as f:
        known = set(re.findall(r'sm_sv_is\(model, "([^"]+)"\)', f.read()))
    assert models - known == {"test"}  # of hashes, for llama.cpp's own tests


def pretokenizers():
    """Names by row of the table."""
    with open(os.path.join(ROOT, "src", "text", "pretokenizers.def"), encoding="utf-8") as f:
        rows = re.findall(r'^PRE\(((?:"[^"]*"\s*)+),', f.read(), re.M)
    return [" ".join(re.findall(r'"([^"]*)"', row)).split() for row in rows]


def with_pretokenizer(name, path):
    """GPT-2's vocabulary under another pre-tokenizer: the words show in the ids."""
    with open(vocab_path("gpt-2"), "rb") as f:
        data = f.read()
    key = b"tokenizer.ggml.pre"
    at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key) + 4
    n = struct.unpack_from("<Q", data, at)[0]
    with open(path, "wb") as f:
        f.write(data[:at] + struct.pack("<Q", len(name)) + name.encode() + data[at + 8 + n:])


@pytest.mark.skipif(not os.path.exists(vocab_path("gpt-2")), reason="no vocabularies")
@pytest.mark.parametrize("row", pretokenizers(), ids=lambda row: row[0])
def test_pretokenizers(row, tmp_path):
    path = str(tmp_path / "other.gguf")
    short = [t for t in TEXTS if len(t) < 200]
    if row == ["whitespace"]:  # llama.cpp aborts on white space, which its model of that name removes (test_tokenizer_kinds.py)
        short = [t for t in short if not re.search(r"\s", t)]
    for i, name in enumerate(row):  # the first of a row on all texts, the others on some
        texts = short if i == 0 else short[5:900:15]
        with_pretokenizer(name, path)
        vocab = Vocab(path)
        different = [(t, got, want) for t, got in zip(texts, encode(path, texts, "bos"), strict=True)
                     if got != (want := vocab.encode(t, True))]
        vocab.close()
        assert not different, (name, len(different), min(different, key=lambda d: len(d[0])))


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_decoding(name):
    path = os.path.join(MODELS, name + ".gguf")
    ids = encode(path, TEXTS, "special")
    vocab = Vocab(path)
    want = [b"".join(vocab.piece(i) for i in line) for line in ids]
    vocab.close()
    if name == "smollm2":  # the other one makes a space of U+2581
        assert want == [t.encode() for t in TEXTS]
    assert decode(path, ids, "decode", "special") == want
    assert decode(path, ids, "stream", "special") == want


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_pieces(name):
    """Every token alone, control tokens shown and not."""
    path = os.path.join(MODELS, name + ".gguf")
    vocab = Vocab(path)
    every = range(vocab.count())
    for special in (True, False):
        got = decode(path, [[i] for i in every], "decode", *["special"] * special)
        assert [i for i in every if got[i] != vocab.piece(i, special)] == []
    vocab.close()


def test_invalid_text():
    path = os.path.join(MODELS, "smollm2.gguf")
    r = tool(path, "encode", stdin=b"4\nab\xffc")
    assert r.stdout == b"error: text is not UTF-8: offset 2: found byte 0xff\n"


def test_program(tmp_path):
    """The same through the program itself."""
    if not os.access(SMELT, os.X_OK) or subprocess.run([SMELT, "tokenize", "--help"], capture_output=True).returncode:
        pytest.skip("this build has no `smelt tokenize`")
    path, text = os.path.join(MODELS, "smollm2.gguf"), tmp_path / "text"
    for t in TEXTS[::25]:
        text.write_bytes(t.encode())
        for flags in ([], ["--no-special"]):
            r = subprocess.run([SMELT, "tokenize", path, "-f", str(text), "--json", *flags], capture_output=True, check=True)
            want = encode(path, [t], "bos", *([] if flags else ["special"]))[0]
            assert json.loads(r.stdout)["ids"] == want, t


def test_program_with_much_text(tmp_path):
    """Megabytes through a file and through standard input, with each option."""
    path, file = os.path.join(MODELS, "smollm2.gguf"), tmp_path / "text"
    text = "\n".join(TEXTS) * 20
    file.write_bytes(text.encode())
    for flags, how in ([], ["bos", "special"]), (["--no-bos"], ["special"]), (["--no-special"], ["bos"]), (["--no-bos", "--no-special"], []):
        want = encode(path, [text], *how)[0]
        for args, stdin in (["-f", str(file)], b""), (["-f", "-"], text.encode()), ([], text.encode()):
            r = subprocess.run([SMELT, "tokenize", path, *args, *flags, *["--json"] * (not stdin)], input=stdin, capture_output=True, check=True)
            got = json.loads(r.stdout)["ids"] if not stdin else [int(i) for i in r.stdout.split()]
            assert got == want, (flags, args)
    print(f"{len(text.encode()) / 1e6:.1f} MB, {len(want)} ids")
