# SPDX-License-Identifier: MIT
"""Every design that convert writes is recognised again: the engine's logits of the package are those of its source."""
import os

import numpy as np
import pytest
from pkg_tools import FIXTURES, convert, eval_logits, greedy, make_model, relative, scratch, smelt, smelt_json

IDS = [3, 17, 5, 60, 2, 33, 8, 41, 9, 1, 22, 7]

DESIGNS = [
    "",
    "--mask made",
    "--attention decomposed",
    "--precision fp32",
    "--fp32 blk.0.*",
    "--logits last",
    "--logits argmax",
    "--logits topk:5",
    "--seq 4",
    "--functions prefill:16,decode:1",
    "--kv io --seq 4",
    "--kv io --seq 1",
    "--kv io --seq 4 --mask made",
    "--kv io --seq 1 --mask made",
    "--kv io --seq 4 --target iOS15",
    "--kv io --seq 4 --target iOS17 --logits last",
    "--units cpuAndNeuralEngine --seq 4",
    "--units cpuAndNeuralEngine --seq 1",
    "--units cpuAndNeuralEngine --seq 4 --mask made",
    "--units cpuAndNeuralEngine --seq 1 --mask made",
    "--units cpuAndNeuralEngine --seq 4 --kv state",
    "--units cpuAndNeuralEngine --seq 4 --target iOS15",
    "--units cpuAndNeuralEngine --seq 4 --logits argmax",
    "--units cpuAndNeuralEngine --functions prefill:16,decode:1",
    "--kv none",
    "--kv none --attention decomposed",
    "--kv none --precision fp32",
    "--kv none --logits last",
    "--kv none --logits argmax",
    "--kv none --seq 12",
    "--kv none --seq 4,12,16",
    "--kv none --target iOS15",
    "--kv none --units cpuAndNeuralEngine --seq 12",
]


@pytest.fixture(scope="module")
def source():
    return make_model(scratch("raised", "source.gguf"))


@pytest.fixture(scope="module")
def wanted(source):
    return eval_logits(source, IDS, "--backend", "ref")


@pytest.mark.parametrize("design", DESIGNS)
def test_logits_of_the_source(source, wanted, design, tmp_path):
    pkg = tmp_path / "P.mlpackage"
    convert(source, pkg, "-c", 64, "--quant", "none", *design.split())
    assert "not_runnable" not in smelt_json("inspect", pkg)
    got = eval_logits(pkg, IDS, "--backend", "ref")
    error = relative(wanted, got)
    print(f"{design or 'usual'}: {error:.2e}")
    assert error <= 5e-3
    assert np.array_equal(wanted.argmax(-1), got.argmax(-1))


def test_on_the_usual_backend(source, wanted, tmp_path):
    pkg = tmp_path / "P.mlpackage"
    convert(source, pkg, "-c", 64, "--units", "cpuAndNeuralEngine", "--seq", 4, "--quant", "none")
    assert relative(wanted, eval_logits(pkg, IDS, "--backend", "cpu")) <= 2e-2


# ------------------------------------------------------------------ packages of other people's making
def recorded(name, ids_name):
    """(ids, logits) of the calls of a recording, which are one text."""
    with np.load(os.path.join(FIXTURES, "anyone", name, "golden.npz")) as z:
        calls = range(int(z["ncalls"]))
        return (np.concatenate([z[f"{n:02d}.in.{ids_name}"][0] for n in calls]),
                np.concatenate([z[f"{n:02d}.out.logits"][0] for n in calls]))


@pytest.mark.parametrize("name, ids_name", [("llama_stateful_gqa_int4", "inputIds"), ("llama_kv_io", "input_ids")])
@pytest.mark.parametrize("backend, limit", [("ref", 5e-3), ("cpu", 3e-2)])
def test_recorded_logits(name, ids_name, backend, limit):
    ids, want = recorded(name, ids_name)
    got = eval_logits(os.path.join(FIXTURES, "anyone", name, "model.mlpackage"), ids, "--backend", backend)
    error = relative(want, got)
    print(f"{name} on {backend}: {error:.2e}")
    assert error <= limit


@pytest.mark.parametrize("backend, limit", [("ref", 5e-3), ("cpu", 3e-2)])
@pytest.mark.parametrize("name, ctx", [("flexible", 64), ("fixed", 12)])
def test_recorded_text(name, ctx, backend, limit):
    """Without caches a call is a whole text: its logits, and those of any beginning of it."""
    pkg = os.path.join(FIXTURES, "anyone", "llama_text", name + ".mlpackage")
    with np.load(os.path.join(FIXTURES, "anyone", "llama_text", "golden.npz")) as z:
        n = next(n for n in range(int(z["ncalls"])) if str(z[f"{n:02d}.pkg"]).startswith(name))
        ids, want = z[f"{n:02d}.in.input_ids"][0], z[f"{n:02d}.out.logits"][0]
    assert smelt_json("inspect", pkg)["context"] == ctx
    got = eval_logits(pkg, ids, "--backend", backend)
    error = relative(want, got[-len(want):])
    print(f"{name} on {backend}: {error:.2e}")
    assert error <= limit
    assert relative(got[:5], eval_logits(pkg, ids[:5], "--backend", backend)) <= limit


def test_text_is_as_long_as_the_package_is(source, tmp_path):
    pkg = tmp_path / "P.mlpackage"
    convert(source, pkg, "-c", 24, "--quant", "none", "--kv", "none")
    want, got = (greedy(m, "hello", 6, "--backend", "ref", "--raw")[0] for m in (source, pkg))
    assert [t["id"] for t in want] == [t["id"] for t in got]
    assert "the package holds 24" in smelt("run", pkg, "-p", "hello", "-c", 25, rc=5).stderr
    assert smelt("eval", pkg, "--ids", ",".join(["3"] * 25), rc=5).stderr


def test_encoder_is_none():
    r = smelt("eval", os.path.join(FIXTURES, "anyone", "encoder_bc1s", "model.mlpackage"), "--ids", "1,2,3", rc=4)
    assert "as in an encoder" in r.stderr
