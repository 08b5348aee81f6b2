# SPDX-License-Identifier: MIT
"""Every design that convert writes is recognised again: the engine's logits of the package are those of its source."""
import numpy as np
import pytest
from pkg_tools import convert, eval_logits, make_model, relative, scratch, smelt_json

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
