"""smelt predict over the recorded packages: every call of every package, outputs within the limits of their README."""
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

SMELT = os.environ.get("SMELT", "build/smelt")
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LIMITS = {  # max |difference| / max |golden|
    "llama_stateful_ios18": 3e-3,
    "llama_kvio_ios17_lut": 1e-4,
    "variants/int4_sym_block2d": 1e-5,
    "variants/int8_sym_channel": 1e-5,
    "variants/lut4_channel_scale": 1e-5,
    "variants/uint4_lin_block16": 1e-5,
}


def package(name):
    return FIXTURES / name / (Path(name).name + ".mlpackage")


def golden_calls(name):
    """[(inputs, outputs)] in order"""
    z = np.load(FIXTURES / name / "golden.npz")
    calls = []
    for n in range(int(z["ncalls"])):
        ins, outs = f"{n:02d}.in.", f"{n:02d}.out."
        calls.append(({k[len(ins):]: z[k] for k in z.files if k.startswith(ins)},
                      {k[len(outs):]: z[k] for k in z.files if k.startswith(outs)}))
    return calls


def predict(pkg, inputs, out, *more):
    """Runs one call per entry of inputs; -> CompletedProcess"""
    args = [SMELT, "predict", str(pkg), "--out", str(out), *more]
    for n, arrays in enumerate(inputs):
        path = out.parent / f"in{n}.npz"
        np.savez(path, **arrays)
        args += ["--in", str(path)]
    return subprocess.run(args, capture_output=True, text=True, timeout=600)


def error(got, want):
    return float(np.max(np.abs(got.astype(np.float64) - want))) / float(np.max(np.abs(want)))


@pytest.mark.parametrize("name", LIMITS)
def test_golden(name, tmp_path):
    calls = golden_calls(name)
    run = predict(package(name), [c[0] for c in calls], tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert sorted(os.listdir(tmp_path / "out")) == sorted(f"{n}.npz" for n in range(len(calls)))
    for n, (_, want) in enumerate(calls):
        got = np.load(tmp_path / "out" / f"{n}.npz")
        assert sorted(got.files) == sorted(want)
        for k in want:
            assert got[k].shape == want[k].shape
            assert error(got[k], want[k]) <= LIMITS[name], (n, k)


def test_same_bytes_twice(tmp_path):
    name = "variants/int8_sym_channel"
    first = golden_calls(name)[0][0]
    for d in ("a", "b"):
        (tmp_path / d).mkdir()
        assert predict(package(name), [first], tmp_path / d / "out", "--backend", "ref").returncode == 0
    assert (tmp_path / "a/out/0.npz").read_bytes() == (tmp_path / "b/out/0.npz").read_bytes()


def test_null_backend_knows_shapes(tmp_path):
    name = "llama_kvio_ios17_lut"
    ins, want = golden_calls(name)[0]
    assert predict(package(name), [ins], tmp_path / "out", "--backend", "null").returncode == 0
    got = np.load(tmp_path / "out" / "0.npz")
    assert {k: got[k].shape for k in got.files} == {k: v.shape for k, v in want.items()}
    assert not any(got[k].any() for k in got.files)


def bad(change):
    ins = dict(golden_calls("llama_stateful_ios18")[0][0])
    change(ins)
    return ins


@pytest.mark.parametrize("what, change, words", [
    ("missing", lambda i: i.pop("causalMask"), ["causalMask", "not given"]),
    ("unknown", lambda i: i.update(mask=i["causalMask"]), ["mask", "inputIds"]),
    ("rank", lambda i: i.update(inputIds=i["inputIds"][0]), ["inputIds", "rank 2", "found 1"]),
    ("dtype", lambda i: i.update(inputIds=i["inputIds"].astype(np.float32)), ["inputIds", "int32", "fp32"]),
    ("range", lambda i: i.update(inputIds=i["inputIds"].astype(np.int64) + 2**40), ["inputIds", "int32", "int64"]),
    ("bound", lambda i: i.update(inputIds=np.zeros((1, 100000), np.int32)), ["inputIds", "found 100000"]),
    ("fixed", lambda i: i.update(inputIds=np.zeros((2, 12), np.int32)), ["inputIds", "wanted 1", "found 2"]),
    ("id", lambda i: i.update(inputIds=i["inputIds"] + 100000), ["gather", "index", "512"]),
])
def test_bad_inputs(what, change, words, tmp_path):
    run = predict(package("llama_stateful_ios18"), [bad(change)], tmp_path / "out")
    assert run.returncode == 3, run.stderr
    for w in words:
        assert w in run.stderr, run.stderr
    assert not os.path.exists(tmp_path / "out" / "0.npz")


def test_unknown_function_and_backend(tmp_path):
    ins = golden_calls("llama_stateful_ios18")[0][0]
    run = predict(package("llama_stateful_ios18"), [ins], tmp_path / "out", "--function", "decode")
    assert run.returncode == 3 and "decode" in run.stderr and "main" in run.stderr
    run = predict(package("llama_stateful_ios18"), [ins], tmp_path / "out", "--backend", "abacus")
    assert run.returncode == 4 and "abacus" in run.stderr and "ref" in run.stderr


def test_wide_dtypes_are_taken(tmp_path):
    ins, want = golden_calls("variants/int8_sym_channel")[0]
    wide = {k: v.astype(np.int64 if v.dtype.kind == "i" else np.float64) for k, v in ins.items()}
    run = predict(package("variants/int8_sym_channel"), [wide], tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert error(np.load(tmp_path / "out" / "0.npz")["logits"], want["logits"]) <= 1e-5
