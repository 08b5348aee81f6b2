# SPDX-License-Identifier: MIT
"""New codes against coremltools' own linear quantization of the same weights, live: for every form and several kinds
of weights the error, counted as coremltools decodes, is below its, or both are nothing."""
import os
import subprocess

import numpy as np
import pytest
from pkg_tools import REAL, SMELT, made_matrices, scratch, source, source_tensors

TOOL = os.path.join(os.path.dirname(SMELT), "tests", "tools", "encode_tensor")
FORMS = {  # coremltools' type and mode
    "int4": ("int4, fp16", "LINEAR_SYMMETRIC"),
    "int8": ("int8, fp16", "LINEAR_SYMMETRIC"),
    "uint4": ("uint4, fp16, offset uint4", "LINEAR"),
    "uint8": ("uint8, fp16, offset uint8", "LINEAR"),
}
BLOCKS = (32, 64, 128, 0)  # 0: a row


def encode(jobs):
    """Each (encoding, matrix) through the encoder and back, as fp16 like a package's constant."""
    lines, outs = [], []
    for i, (enc, x) in enumerate(jobs):
        src, dst = scratch("encode", f"{i}.in"), scratch("encode", f"{i}.out")
        x.astype(np.float32).tofile(src)
        lines.append(f"{enc}\t{x.shape[0]}\t{x.shape[1]}\t{src}\t{dst}")
        outs.append((dst, x.shape))
    r = subprocess.run([TOOL, "-"], input="\n".join(lines) + "\n", text=True, capture_output=True)
    assert r.returncode == 0, r.stderr
    with np.errstate(over="ignore"):
        return [np.fromfile(dst, np.float32).reshape(shape).astype(np.float16) for dst, shape in outs]


def theirs(x, form, block):
    from coremltools.converters.mil.mil import types
    from coremltools.optimize._utils import compute_qparams_by_dtype, dequantize_by_scale_and_zp
    with np.errstate(all="ignore"):
        half = x.astype(np.float16)  # the constants of an fp16 model
        q, scale, zero = compute_qparams_by_dtype(half, types.string_to_builtin(form), FORMS[form][1], [1, block or x.shape[1]])
        return dequantize_by_scale_and_zp(q, scale, zero)


def squares(want, got):
    d = got.astype(np.float64) - want.astype(np.float64)
    return float((d * d).sum()) if np.isfinite(d).all() else np.inf


def compare(name, x, forms=FORMS, blocks=BLOCKS):
    """The errors as shares of coremltools'."""
    pairs = [(form, block) for form in forms for block in blocks]
    shares = []
    for (form, block), y in zip(pairs, encode([(f"affine({FORMS[f][0]}, [1, {b or x.shape[1]}])", x) for f, b in pairs])):
        ours, other = squares(x, y), squares(x, theirs(x, form, block))
        assert np.isfinite(ours), (name, form, block)
        assert ours <= other, (name, form, block, ours, other)
        shares.append(f"{form}/{block or 'row'} {ours / other if 0 < other < np.inf else 0.0:.3f}")
    print(f"{name}: {', '.join(shares)}")


def matrices():
    rng = np.random.default_rng(11)
    shape = (96, 1024)
    usual = dict(made_matrices(rng, shape))
    yield from usual.items()
    gauss = usual["gaussian"]
    yield "rows of all sizes", gauss * np.exp2(rng.integers(-12, 10, size=(shape[0], 1)))
    yield "tiny", gauss * 1e-4
    yield "a few units of fp16", np.round(rng.normal(size=shape) * 3) * 2.0 ** -24
    yield "huge", np.clip(gauss * 1e6, -60000, 60000)
    yield "constant", np.full(shape, 0.3)
    yield "zero", np.zeros(shape)


@pytest.mark.parametrize("name, x", [pytest.param(n, x, id=n) for n, x in matrices()])
def test_made_weights(name, x):
    compare(name, x.astype(np.float32))


@pytest.mark.parametrize("name", REAL)
def test_real_weights(name):
    """Two layers and slices of the embedding, from their f32 values."""
    seen = 0
    for t in source_tensors(source(name)):
        if len(t.shape) != 2 or not (t.name == "token_embd.weight" or t.name.split(".")[1] in ("0", "10")):
            continue
        n = min(t.shape[0], (1 << 18) // t.shape[1])
        lo = (t.shape[0] - n) // 2
        x = t.rows(lo, lo + n)
        compare(f"{name} {t.name}", x, blocks=[b for b in BLOCKS if t.shape[1] % (b or 1) == 0])
        seen += 1
    assert seen >= 13
