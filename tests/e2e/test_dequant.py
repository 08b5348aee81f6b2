"""Every weight of every test model, bit for bit as the package `gguf` decodes it; metadata survives being rewritten.

The tool dump_tensor is built beside the program ($SMELT, default build/smelt); models lie in $SMELT_MODELS, default
build/models.
"""
import functools
import os
import subprocess

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
DUMP = os.path.join(os.path.dirname(SMELT), "tests", "tools", "dump_tensor")
MODELS = os.environ.get("SMELT_MODELS", os.path.join(ROOT, "build", "models"))
NAMES = ["smollm2.gguf", "gemma3.gguf"]


@functools.lru_cache(maxsize=1)  # reading a large vocabulary takes seconds: tests of one file follow each other
def reader(path):
    return gguf.GGUFReader(path)


def dump(path, *args):
    return subprocess.run([DUMP, path, *args], check=True, capture_output=True).stdout


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


def test_every_weight(name):
    path = os.path.join(MODELS, name)
    tensors = reader(path).tensors
    listed = [line.split() for line in dump(path).decode().splitlines()]
    assert [(w[0], [int(d) for d in w[2:]]) for w in listed] == [(t.name, t.shape.tolist()[::-1]) for t in tensors]
    different = []
    with subprocess.Popen([DUMP, path, "all"], stdout=subprocess.PIPE) as p:
        for t in tensors:
            want = np.ascontiguousarray(dequantize(t.data, t.tensor_type), np.float32).reshape(-1)
            got = np.frombuffer(p.stdout.read(want.nbytes), np.float32)
            if not np.array_equal(want.view(np.uint32), got.view(np.uint32)):
                different.append(f"{t.name} ({t.tensor_type.name})")
        assert p.stdout.read() == b""
    assert p.returncode == 0
    assert different == []


def test_metadata_rewritten(name, tmp_path):
    path, small = os.path.join(MODELS, name), str(tmp_path / "vocab.gguf")
    with open(small, "wb") as f:
        f.write(dump(path, "meta"))
    want, got = reader(path), gguf.GGUFReader(small)
    keys = [k for k in want.fields if k.startswith(("general.", "tokenizer."))]
    assert [k for k in got.fields if not k.startswith("GGUF.")] == keys and not got.tensors
    for k in keys:
        assert got.fields[k].types == want.fields[k].types
        assert b"".join(p.tobytes() for p in got.fields[k].parts) == b"".join(p.tobytes() for p in want.fields[k].parts), k
    assert dump(small, "meta") == dump(path, "meta")


def test_every_cut_is_refused_in_words(tmp_path):
    """A real header cut at many places: exit status 3, one line naming the file."""
    path, cut = os.path.join(MODELS, NAMES[0]), tmp_path / "cut.gguf"
    with open(path, "rb") as f:
        data = f.read(1 << 20)
    for n in [0, 3, 4, 7, 8, 20, 24, 25, 100, 1000, 10_000, 100_000, len(data)]:
        cut.write_bytes(data[:n])
        r = subprocess.run([DUMP, str(cut)], capture_output=True, text=True)
        assert r.returncode == 3 and "cut.gguf" in r.stderr and "found" in r.stderr, (n, r)
