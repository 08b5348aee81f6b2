# SPDX-License-Identifier: MIT
"""MIL ops one by one in `ref`: elementwise, reductions, products, moves, lists, recurrent and random ops, compression, control
flow, each through a package of coremltools' Builder against coremltools' own value or a definition in numpy.
tests/tools/mil_harness.py says how."""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
from mil_harness import C, run_cases  # noqa: E402

RNG = np.random.default_rng(20)


def f32(*shape, lo=-3.0, hi=3.0):
    return RNG.uniform(lo, hi, shape).astype(np.float32)


def unary(op, lo=-3.0, hi=3.0, **more):
    shapes = [(), (5,), (2, 3), (2, 1, 4), (1, 2, 3, 2), (2, 1, 2, 1, 3), (0, 3)]
    return [C(op, lambda mb, x: getattr(mb, op)(x=x), want=same if 0 in s else None, const=0 not in s,
              x=f32(*s, lo=lo, hi=hi), **more) for s in shapes]


def same(x):
    return x


CASES = []
for name in ("abs", "atan", "ceil", "cos", "erf", "exp", "exp2", "floor", "sign", "sin", "square", "tanh"):
    CASES += unary(name)


def test_ops():
    failed, figures = run_cases(CASES)
    print(figures)
    assert not failed, "\n".join(f"{n}: {t}" for n, t in failed)
