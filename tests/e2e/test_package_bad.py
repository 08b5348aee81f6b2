# SPDX-License-Identifier: MIT
"""Damaged packages: exit code 3 or 4 and a message that names the file; never a crash, never output left behind."""
import json
import os
import random
import shutil

import numpy as np
import pytest
from pkg_tools import convert, make_model, model_file, scratch, smelt, state_call, tree, weight_file

FLIPS = 36


@pytest.fixture(scope="module")
def good():
    gguf = make_model(scratch("bad", "tiny.gguf"), "--type", "q4_1")
    pkg = scratch("bad", "Good.mlpackage")
    convert(gguf, pkg, "-c", 32)
    np.savez(scratch("bad", "in.npz"), **state_call([1, 300, 301], 0))
    return pkg


@pytest.fixture
def pkg(good, tmp_path):
    copy = str(tmp_path / "Bad.mlpackage")
    shutil.copytree(good, copy)
    return copy


def commands(pkg, out):
    yield "inspect", pkg, "--graph"
    yield "run", pkg, "--raw", "-p", "the rain", "-n", "2", "--temp", "0", "--backend", "cpu"
    yield "predict", pkg, "--in", scratch("bad", "in.npz"), "--out", out


def refused(pkg, *names, may_work=False, only=None):
    """Every command ends with 3 or 4 and names a file (or works, where damage may be harmless); nothing is written."""
    out = os.path.join(os.path.dirname(pkg), "out")
    before, codes = tree(pkg), []
    for args in commands(pkg, out):
        if only is not None and args[0] not in only:
            continue
        r = smelt(*args, rc=None, timeout=60)
        codes.append(r.returncode)
        allowed = (0, 3, 4) if may_work else (3, 4)
        assert r.returncode in allowed, (args, r.returncode, r.stderr[-500:])
        if r.returncode:
            assert any(n in r.stderr for n in ("Bad.mlpackage", *names)), r.stderr
            for n in names:
                assert n in r.stderr, (n, r.stderr)
            assert files_in(os.path.dirname(pkg)) == files_in(pkg), args
        else:
            shutil.rmtree(out, ignore_errors=True)
    assert tree(pkg) == before
    return codes


def files_in(folder):
    return sum(len(files) for _, _, files in os.walk(folder))


def cut(path, n):
    with open(path, "r+b") as f:
        f.truncate(n)


def flip(path, at, bit):
    with open(path, "r+b") as f:
        f.seek(at)
        b = f.read(1)[0]
        f.seek(at)
        f.write(bytes([b ^ 1 << bit]))


def test_the_good_one_works(good, pkg):
    assert refused(pkg, may_work=True) == [0, 0, 0]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_model_cut(pkg, share):
    size = os.path.getsize(model_file(pkg))
    cut(model_file(pkg), int(size * share))
    refused(pkg, "model.mlmodel")


@pytest.mark.parametrize("share", [0.0, 0.00005, 0.0005, 0.5, 0.9999])
def test_weights_cut(pkg, share):
    size = os.path.getsize(weight_file(pkg))
    cut(weight_file(pkg), int(size * share))
    refused(pkg, "weight.bin")


def test_model_bits(pkg):
    """Damage that cannot be told from another model may run; none may crash, hang or blame nobody."""
    rng = random.Random(7)
    path, seen = model_file(pkg), set()
    with open(path, "rb") as f:
        clean = f.read()
    for i in range(FLIPS):
        # The first kilobytes hold description and interface; the rest is mostly operations.
        at = rng.randrange(2000 if i % 3 == 0 else len(clean))
        flip(path, at, rng.randrange(8))
        seen.update(refused(pkg, may_work=True))
        with open(path, "wb") as f:
            f.write(clean)
    assert seen & {3, 4}


def test_weight_bits(pkg):
    """Headers and records of the blob file; the codes themselves are anything."""
    rng = random.Random(8)
    path = weight_file(pkg)
    size, refusals = os.path.getsize(path), 0
    with open(path, "rb") as f:
        data = f.read()
    records, at = [], data.find(b"\xef\xbe\xad\xde")
    while at >= 0:
        records.append(at)
        at = data.find(b"\xef\xbe\xad\xde", at + 1)
    places = [(4, 0), (4, 1)] + [(r + rng.randrange(32), rng.randrange(8)) for r in rng.sample(records, FLIPS // 2)]
    for at, bit in places:
        flip(path, at, bit)
        refusals += any(refused(pkg, may_work=True, only=("run", "predict")))
        flip(path, at, bit)
    assert refusals > len(places) // 2 and os.path.getsize(path) == size


def test_manifest(pkg):
    path = os.path.join(pkg, "Manifest.json")
    with open(path) as f:
        clean = json.load(f)

    def put(change, blamed="Manifest.json"):
        j = json.loads(json.dumps(clean))
        change(j)
        with open(path, "w") as f:
            json.dump(j, f)
        refused(pkg, blamed)

    put(lambda j: j.update(fileFormatVersion="9.0.0"))
    put(lambda j: j.pop("rootModelIdentifier"))
    put(lambda j: j.update(rootModelIdentifier="nobody"))
    put(lambda j: j.update(itemInfoEntries=[1]))
    put(lambda j: j["itemInfoEntries"][j["rootModelIdentifier"]].update(path="../../secret.mlmodel"))
    put(lambda j: j["itemInfoEntries"][j["rootModelIdentifier"]].update(path="com.apple.CoreML/none.mlmodel"), "none.mlmodel")
    for text in ("", "{", "[]", "\xff\xfe"):
        with open(path, "w", encoding="latin-1") as f:
            f.write(text)
        refused(pkg, "Manifest.json")
    os.remove(path)
    refused(pkg)


def test_versions(pkg):
    from coremltools.proto import Model_pb2
    with open(model_file(pkg), "rb") as f:
        clean = f.read()
    for version in (0, 5, 11, 2_000_000_000):
        m = Model_pb2.Model.FromString(clean)
        m.specificationVersion = version
        with open(model_file(pkg), "wb") as f:
            f.write(m.SerializeToString())
        refused(pkg)
    m = Model_pb2.Model()  # a model that is no program
    m.specificationVersion = 9
    m.neuralNetwork.SetInParent()
    with open(model_file(pkg), "wb") as f:
        f.write(m.SerializeToString())
    refused(pkg)


def test_missing_parts(pkg):
    os.remove(weight_file(pkg))
    refused(pkg, "weight.bin")
    os.remove(model_file(pkg))
    refused(pkg, "model.mlmodel")
    shutil.rmtree(os.path.join(pkg, "Data"))
    refused(pkg)


def test_tokenizer_damaged(pkg):
    """Running text says what is wrong with the vocabulary; running as written needs none, but a package whole as its
    manifest says."""
    path = os.path.join(pkg, "Data", "smelt", "tokenizer.gguf")
    cut(path, 100)
    refused(pkg, "tokenizer.gguf", only=("run",))
    assert refused(pkg, may_work=True, only=("predict",)) == [0]
    os.remove(path)
    refused(pkg, "tokenizer.gguf")


def test_inputs_damaged(good, tmp_path):
    """predict says which input of which file is wrong."""
    ok = state_call([1, 300, 301], 0)
    bad = {
        "missing": {"inputIds": ok["inputIds"]},
        "extra": {**ok, "surprise": np.zeros(3, np.float32)},
        "rank": {**ok, "inputIds": ok["inputIds"][0]},
        "dims": {**ok, "inputIds": np.ones((2, 3), np.int32)},
        "long": state_call([1] * 33, 0),
        "kind": {**ok, "inputIds": np.array([["a", "b", "c"]])},
        "outside": {**ok, "inputIds": np.array([[1, 2, 100_000]], np.int32)},
    }
    for what, arrays in bad.items():
        npz = tmp_path / f"{what}.npz"
        np.savez(npz, **arrays)
        r = smelt("predict", good, "--in", npz, "--out", tmp_path / "out", rc=(3, 4, 5))
        assert f"{what}.npz" in r.stderr or "inputIds" in r.stderr or "causalMask" in r.stderr, r.stderr
        assert files_in(tmp_path / "out") == 0, what
    for data in (b"", b"PK\x03\x04 but no more", b"hello"):
        (tmp_path / "junk.npz").write_bytes(data)
        r = smelt("predict", good, "--in", tmp_path / "junk.npz", "--out", tmp_path / "out", rc=3)
        assert "junk.npz" in r.stderr and files_in(tmp_path / "out") == 0
    smelt("predict", good, "--in", tmp_path / "none.npz", "--out", tmp_path / "out", rc=3)
