# SPDX-License-Identifier: MIT
"""Packages of other people's making (tests/fixtures/anyone): every recorded call by `smelt predict`, within its limit."""
import os
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from pkg_tools import FIXTURES, ROOT, SMELT, TOOLS, model_file, relative, scratch, smelt, smelt_json

sys.path.insert(0, TOOLS)
import mlmodelc

ANYONE = os.path.join(FIXTURES, "anyone")
LIMITS = {  # max |difference| / max |recorded|
    "llama_stateful_gqa_int4": 2e-3,
    "llama_kv_io": 2e-3,
    "conv_parts": 2e-3,
    "conv_update_mask": 2e-3,
    "multifunction": 2e-3,
    "targets": 2e-3,
    "compressed": 2e-3,
    "encoder_bc1s": 2e-3,
    "control_flow": 2e-3,
    "classifier": 2e-3,
    "pipeline": 2e-3,
}


def calls_of(name):
    """{package: [(function, inputs, outputs)]} in the order of the recording"""
    with np.load(os.path.join(ANYONE, name, "golden.npz")) as z:
        a = {k: z[k] for k in z.files}
    found = defaultdict(list)
    for n in range(int(a["ncalls"])):
        ins, outs = f"{n:02d}.in.", f"{n:02d}.out."
        found[str(a[f"{n:02d}.pkg"])].append((str(a[f"{n:02d}.fn"]), {k[len(ins):]: v for k, v in a.items() if k.startswith(ins)},
                                              {k[len(outs):]: v for k, v in a.items() if k.startswith(outs)}))
    return dict(found)


CALLS = {(name, pkg): calls for name in LIMITS for pkg, calls in calls_of(name).items()}


def run_calls(path, calls, tag, *more):
    """Outputs of each call"""
    line = []
    for i, (fn, inputs, _) in enumerate(calls):
        npz = scratch("anyone", tag, f"in{i}.npz")
        np.savez(npz, **inputs)
        line += (["--function", fn] if fn else []) + ["--in", npz]
    out = scratch("anyone", tag, "out")
    smelt("predict", path, *line, "--out", out, "-q", *more)
    got = []
    for i in range(len(calls)):
        with np.load(os.path.join(out, f"{i}.npz")) as z:
            got.append({k: z[k] for k in z.files})
    return got


def compare(name, calls, got):
    worst = 0.0
    for n, (_, _, want) in enumerate(calls):
        for k, v in want.items():
            assert got[n][k].shape == v.shape, (n, k)
            worst = max(worst, relative(v, got[n][k]))
    print(f"{name}: {len(calls)} calls, worst {worst:.2g}")
    assert worst <= LIMITS[name.split("/")[0]], worst


@pytest.mark.parametrize("name, pkg", CALLS)
def test_recorded(name, pkg):
    calls = CALLS[name, pkg]
    got = run_calls(os.path.join(ANYONE, name, pkg), calls, f"{name}.{pkg}")
    compare(f"{name}/{pkg}", calls, got)


@pytest.mark.parametrize("dialect, shapes", [("1.0", "json"), ("1.3", "text")])
@pytest.mark.parametrize("name, pkg", [c for c in CALLS if c[0] != "classifier"])  # how its text says labels is not known
def test_compiled(name, pkg, dialect, shapes):
    """The same calls on a compiled model made of the package: its program as text."""
    calls = CALLS[name, pkg]
    path = mlmodelc.convert(os.path.join(ANYONE, name, pkg), scratch("compiled", f"{name}.{pkg}.{dialect}.mlmodelc"), dialect, shapes)
    compare(f"{name}/{pkg}", calls, run_calls(path, calls, f"{name}.{pkg}.{dialect}"))
