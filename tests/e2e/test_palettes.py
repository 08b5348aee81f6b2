# SPDX-License-Identifier: MIT
"""Palettes against coremltools' own k-means of the same fp16 weights, live: the squared error is never above its.  The CPU time
of both is printed.  What `auto` picks for the Neural Engine: near the weights, no larger than that takes, and packages of both
real models pass `smelt check`."""
import collections
import os
import re
import subprocess
import time

import numpy as np
import pytest
from pkg_tools import REAL, SMELT, converted, made_matrices, scratch, smelt_json, source, source_tensors

SHORT = 0.05  # seconds; what takes less is timed three times, ours always, and the least counts
TOOL = os.path.join(os.path.dirname(SMELT), "tests", "tools", "encode_tensor")


def ours(x, bits, group):
    src, dst = scratch("palette", "in"), scratch("palette", "out")
    x.astype(np.float32).tofile(src)
    rows, cols = x.shape
    r = subprocess.run([TOOL, f"lut(uint{bits}, fp16, [{group or rows}, {cols}])", str(rows), str(cols), src, dst],
                       text=True, capture_output=True)
    assert r.returncode == 0, r.stderr
    return np.fromfile(dst, np.float32).reshape(x.shape), float(r.stdout)


def theirs(x, bits, group):
    from coremltools.optimize.coreml._quantization_passes import palettize_weights
    took = SHORT
    for i in range(3):
        start = time.process_time()
        p = palettize_weights.blockwise_compress(x, "KMEANS", bits, [group, 0], channel_axis=0)
        took = min(took, time.process_time() - start) if i else time.process_time() - start
        if took >= SHORT:
            break
    y, per = np.empty(x.shape, np.float32), x.shape[0] // p.lut.shape[0]
    for i in range(p.lut.shape[0]):
        rows = slice(i * per, (i + 1) * per)
        y[rows] = p.lut[i, 0, :, 0].astype(np.float32)[p.indices[rows]]
    return y, took


def squares(x, y):
    d = y.astype(np.float64) - x.astype(np.float64)
    return float((d * d).sum())


def compare(name, x, cases):
    """Asserts on each error; returns the time of both over all cases."""
    mine = other = 0.0
    for bits, group in cases:
        y, t = ours(x, bits, group)
        z, u = theirs(x, bits, group)
        a, b = squares(x, y), squares(x, z)
        print(f"{name} lut{bits} group {group or 'all'}: error {a / b if b else 1.0:.9f} of coremltools', "
              f"{1e9 * t / x.size:.1f} ns a weight, {u / t:.0f} times faster")
        assert a <= b * (1 + 1e-12), (name, bits, group, a, b)
        mine, other = mine + t, other + u
    return mine, other


WHOLE = [(bits, 0) for bits in (1, 2, 3, 4, 6, 8)]


def matrices():
    rng = np.random.default_rng(5)
    shape = (256, 1024)
    usual = dict(made_matrices(rng, shape))
    yield from usual.items()
    yield "lattice", np.round(rng.normal(size=shape) * 9) / 64
    yield "a few units of fp16", np.round(rng.normal(size=shape) * 30) * 2.0 ** -24
    yield "constant", np.full(shape, 0.3)


@pytest.mark.parametrize("name, x", [pytest.param(n, x, id=n) for n, x in matrices()])
def test_made_weights(name, x):
    compare(name, x.astype(np.float16), WHOLE)


def test_groups():
    x = np.random.default_rng(6).standard_t(5, size=(64, 1024)).astype(np.float16)
    compare("groups", x, [(1, 16), (3, 32), (4, 16), (6, 16)])


def test_real_weights():
    """Matrices of SmolLM2 as fp16, over all widths together."""
    tensors = {t.name: t for t in source_tensors(source("smollm2"))}
    mine = other = 0.0
    for name, cases in [("blk.0.attn_q.weight", WHOLE), ("blk.7.ffn_down.weight", WHOLE),
                        ("blk.29.ffn_up.weight", [(4, 0), (6, 0), (4, 32)])]:
        a, b = compare(name, tensors[name].all().astype(np.float16), cases)
        mine, other = mine + a, other + b
    print(f"all of these: {mine:.3f} s of CPU, coremltools {other:.3f} s: {other / mine:.0f} times")


# ------------------------------------------------------------------ --quant auto, --units cpuAndNeuralEngine
BOUND = 3.5e-5  # of a tensor: squared error over squares (pass.h)
FORMS = [(6, 0), (6, 16), (8, 0), (8, 64), (8, 32), (8, 16)]  # by size; (bits, about so many channels)


def form_of(to, rows):
    """(bits, group) of an encoding; group 0: one table; None for what is no palette."""
    m = re.fullmatch(r"lut\(uint(\d+), fp16, \[(\d+), \d+\]\)", to)
    return m and (int(m[1]), 0 if int(m[2]) == rows else int(m[2]))


def nmse(x, bits, group):
    d = theirs(x, bits, group)[0].astype(np.float64) - x.astype(np.float64)
    return (d * d).sum() / (x.astype(np.float64) ** 2).sum()


@pytest.mark.parametrize("name", REAL)
def test_auto_for_the_neural_engine(name):
    """Every palette is within the bound (a sample of its groups was measured: 15 % are allowed) or the finest form; by
    coremltools' k-means, the next smaller form of three tensors is not.  The package passes `check` as it is called by default."""
    pkg, report = converted(name, "--units", "cpuAndNeuralEngine", "--functions", "decode:1")
    told, forms = {}, {}
    for t in report["tensors"]:  # of a table that is the head as well, the table
        told.setdefault(t["name"], t)
    for src in source_tensors(source(name)):
        t = told.get(src.name, {"to": ""})
        if form := form_of(t["to"], src.shape[0]):
            forms[src.name] = form, src
            assert t["nmse"] <= 1.15 * BOUND or form == (8, 16), t
    print(f"{name}: " + ", ".join(f"{n} of {b} bits, {f'groups of {g}' if g else 'one table'}"
                                  for (b, g), n in collections.Counter(f for f, _ in forms.values()).items()))
    assert len(forms) > 100
    compared = 0
    for n, ((bits, group), src) in forms.items():
        if (bits, group) not in FORMS[1:] or np.prod(src.shape) > 5e5 or compared == 3:
            continue
        smaller = FORMS[FORMS.index((bits, group)) - 1]
        if smaller[1] and src.shape[0] % smaller[1]:
            continue
        left = nmse(src.all().astype(np.float16), *smaller)
        print(f"{n}: {told[n]['to']} leaves {told[n]['nmse']:.2e}, {smaller} would leave {left:.2e}")
        assert left > 0.85 * BOUND
        compared += 1
    assert compared == 3
    c = smelt_json("check", source(name), pkg)
    print(f"{name}: {report['to_bytes'] / 1e6:.1f} MB, KL {c['kl']:.4f}, top-1 {c['top1']:.4f}")
    assert c["pass"]
