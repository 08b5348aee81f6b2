# SPDX-License-Identifier: MIT
"""Exit codes and messages of what goes wrong: 2 usage, 3 bad input, 4 not supported here, 5 out of a resource.

A message names file, field, place, what was wanted and what was found; stdout stays empty."""
import os
import signal
import subprocess
import time

import pytest

from smelt_cli import SMELT, make_model, model, smelt


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def fails(rc, words, *args, stdin=None):
    out, err = smelt(*args, rc=rc, stdin=stdin)
    assert out == b""
    for w in words:
        assert w in err, f"wanted '{w}' in: {err}"
    assert err.startswith("smelt") and "\x1b" not in err


@pytest.mark.parametrize("args, words", [
    ([], ["smelt run", "smelt convert"]),
    (["frobnicate"], ["frobnicate", "smelt help"]),
    (["run"], ["MODEL"]),
    (["run", "a", "b", "-p", "x"], ["b"]),
    (["run", "a", "--frob"], ["--frob", "smelt help run"]),
    (["run", "a", "-p"], ["--prompt", "TEXT"]),
    (["run", "a", "-p", "x", "-f", "y"], ["-p", "-f"]),
    (["run", "a", "-p", "x", "-n", "many"], ["--predict", "many"]),
    (["run", "a", "-p", "x", "--temp", "hot"], ["--temp", "hot"]),
    (["run", "a", "-p", "x", "--raw=yes"], ["--raw", "yes"]),
    (["run", "a", "-p", "x", "-t", "0"], ["--threads", "1..1024", "0"]),
    (["eval", "a"], ["--text", "--ids"]),
    (["eval", "a", "--ids", "1", "--text", "b"], ["--text", "--ids"]),
    (["eval", "a", "--text", "b", "--logits", "c"], ["--logits", "--ids"]),
    (["detokenize", "a", "one"], ["one"]),
    (["convert", "a"], ["IN OUT"]),
    (["convert", "a", "b.mlpackage", "--seq", "4", "--functions", "f:1"], ["--seq"]),
    (["predict", "a"], ["--in", "--out"]),
    (["help", "frobnicate"], ["frobnicate"]),
])
def test_usage(args, words):
    out, err = smelt(*args, rc=2)
    assert out == b""
    for w in words:
        assert w in err, f"wanted '{w}' in: {err}"


@pytest.mark.parametrize("option, value", [("--temp", "-1"), ("--top-p", "0"), ("--top-p", "1.5"), ("--min-p", "2"),
                                           ("--repeat-penalty", "0")])
def test_sampling_ranges(tiny, option, value):
    fails(2, ["wanted", "found"], "run", tiny, "-p", "x", option, value)


def test_missing_file():
    fails(3, ["/no/such.gguf", "no such file"], "run", "/no/such.gguf", "-p", "x")


def test_not_a_model(tmp_path):
    p = tmp_path / "text.gguf"
    p.write_text("this is a text")
    fails(3, [str(p)], "run", p, "-p", "x")
    (tmp_path / "empty.gguf").write_bytes(b"")
    fails(3, ["empty.gguf"], "inspect", tmp_path / "empty.gguf")


def test_truncated(tiny, tmp_path):
    whole = open(tiny, "rb").read()
    for n in (4, 23, 100, 2000, len(whole) // 2, len(whole) - 1):
        p = tmp_path / "cut.gguf"
        p.write_bytes(whole[:n])
        fails(3, ["cut.gguf"], "run", p, "-p", "x", "--backend", "ref")


@pytest.mark.parametrize("fault, rc, words", [
    ("bad-shape", 3, ["blk.1.ffn_up.weight", "wanted shape [512, 256]", "found [512, 512]"]),
    ("missing", 3, ["blk.1.ffn_up.weight", "missing", "[512, 256]"]),
    ("extra", 4, ["blk.0.surprise.weight", "llama"]),
])
def test_wrong_tensors(tmp_path, fault, rc, words):
    p = make_model(tmp_path / "m.gguf", "--corrupt", fault)
    fails(rc, ["m.gguf", *words], "run", p, "-p", "x")


def test_other_architecture(tiny, tmp_path):
    p = tmp_path / "other.gguf"
    p.write_bytes(open(tiny, "rb").read().replace(b"llama", b"mamba"))
    fails(4, ["mamba", "llama", "gemma3"], "run", p, "-p", "x")
    fails(4, ["mamba"], "convert", p, tmp_path / "o.mlpackage")
    out, _ = smelt("inspect", p)  # still described
    assert b"mamba" in out


@pytest.mark.parametrize("command", ["run", "tokenize"])
def test_invalid_utf8(tiny, tmp_path, command):
    text = "four é".encode() + b"\xc3("
    (tmp_path / "t.txt").write_bytes(text)
    fails(3, ["t.txt", "offset 7", "0xC3"], command, tiny, "-f", tmp_path / "t.txt")
    fails(3, ["standard input", "offset 7"], command, tiny, "-f", "-", stdin=text)
    fails(3, ["standard input", "offset 7"], command, tiny, stdin=text)
    fails(3, ["-p", "offset 0", "0xFF"], command, tiny, "-p", b"\xff".decode("utf-8", "surrogateescape"))


def test_empty_prompt():
    fails(3, ["empty"], "run", model("smollm2"), "--raw", "-p", "")


def test_context_overflow(tiny):
    words = " ".join(["t"] * 40)
    fails(5, ["context", "there are 16", "-c"], "run", tiny, "-p", words, "-c", "16")
    fails(5, ["context", "there are 2", "wanted 3"], "eval", tiny, "--ids", "1,2,3", "-c", "2")
    fails(5, ["there are 2048", "wanted 2100"], "eval", tiny, "--ids", ",".join(["5"] * 2100))


def test_token_range(tiny):
    fails(3, ["0..511", "512"], "eval", tiny, "--ids", "1,512")
    fails(3, ["512"], "detokenize", tiny, "512")


def test_no_such_backend(tiny):
    fails(4, ["cuda", "ref", "cpu"], "run", tiny, "-p", "x", "--backend", "cuda")


@pytest.mark.parametrize("args", [
    ["run", "M", "-p", "x", "--lora", "a.gguf"],
    ["run", "M", "-p", "x", "--grammar", "a"],
    ["convert", "M", "o.gguf"],
    ["convert", "M", "o.mlpackage", "--to", "mlx"],
    ["convert", "M", "o.mlpackage", "--target", "iOS14"],
    ["convert", "M", "o.mlpackage", "--precision", "bf16"],
    ["convert", "M", "o.mlpackage", "--quant", "lut5"],
    ["convert", "M", "o.mlpackage", "--units", "tpu"],
    ["convert", "M", "o.mlpackage", "--kv", "ring"],
    ["convert", "M", "o.mlpackage", "--verify", "t.txt"],
    ["run", "hf:owner/name", "-p", "x"],
])
def test_not_supported_yet(tiny, tmp_path, args):
    out, err = smelt(*[tiny if a == "M" else str(tmp_path / a) if a.startswith("o.") else a for a in args], rc=4)
    assert "support" in err or "not fetched" in err or "only Core ML packages" in err
    assert out == b"" and os.listdir(tmp_path) == []


def test_output_not_replaced(tiny, tmp_path):
    folder = tmp_path / "mine.mlpackage"
    folder.mkdir()
    (folder / "diary.txt").write_text("keep me")
    p = subprocess.run([SMELT, "convert", tiny, str(folder)], capture_output=True)
    assert p.returncode in (2, 3, 5) and b"mine.mlpackage" in p.stderr
    assert (folder / "diary.txt").read_text() == "keep me"


def test_full_disk(tiny):
    p = subprocess.run(f'"{SMELT}" tokenize "{tiny}" -p x > /dev/full', shell=True, capture_output=True)
    assert p.returncode == 5 and b"standard output" in p.stderr


def test_ctrl_c(tiny):
    p = subprocess.Popen([SMELT, "run", tiny, "-p", "x", "-n", "-1", "--ignore-eos", "--backend", "ref", "-c", "1000000"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.read(1)
    time.sleep(0.2)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130, err
