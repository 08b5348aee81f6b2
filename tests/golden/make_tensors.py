#!/usr/bin/env python3
"""Encoded tensors with the values that other readers decode from them: writes tensors.bin beside this file.

    build/oracle/bin/python tests/golden/make_tensors.py

GGUF blocks: random bytes with scales of every kind of fp16 but inf and nan, decoded by the package `gguf`.
Affine: codes and scales decoded by coremltools' own constexpr_blockwise_shift_scale; with a float offset, where
coremltools computes in fp16, by scale * (code - offset) in f32.  Tables: coremltools' lut_to_dense; a result scale
multiplies in f32.  Declared fp16 values round once at the end.

File, little-endian: "SMT1", string provenance, u32 cases, then per case: string name, string encoding, string dtype,
u32 rank, u64 dims, 4 x bytes (data, scale, offset, table), bytes expected (f32).  String and bytes: u64 length, bytes.
"""
import os
import struct
import sys

import numpy as np

SEED = 20240607
HERE = os.path.dirname(os.path.abspath(__file__))
BITS = {"int4": 4, "int8": 8, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "uint8": 8}


def pack(codes, name):
    """Packed codes, least significant bit first, as dtype.h says."""
    n = BITS[name]
    v = np.asarray(codes).reshape(-1).astype(np.int64) & ((1 << n) - 1)
    bits = ((v[:, None] >> np.arange(n)) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def spread(a, shape):
    for axis, n in enumerate(shape):
        a = np.repeat(a, n // a.shape[axis], axis)
    return a


def random_codes(rng, name, shape):
    n = BITS[name]
    lo, hi = (-(1 << n - 1), 1 << n - 1) if name[0] == "i" else (0, 1 << n)
    return rng.integers(lo, hi, shape)


def block_cases(rng):
    import gguf
    from gguf.quants import dequantize

    # offsets of the fp16 fields in a block
    fields = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
              "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
    scales = np.array([0.01, -0.0123, 1.5, 6e-8, -3e-6, 0.0, 0.000061, 60000, -0.0, 0.3333], np.float16)
    for name, places in fields.items():
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows, per_row = (2, 1) if block == 256 else (3, 2)
        raw = rng.integers(0, 256, (rows * per_row, size), dtype=np.uint8)
        for p in places:
            d = rng.choice(scales, rows * per_row)
            raw[:, p:p + 2] = d.view(np.uint8).reshape(-1, 2)
        raw[0, places[0]:places[0] + 2] = np.array([0.017], np.float16).view(np.uint8)
        values = dequantize(raw.reshape(rows, -1), kind)
        yield name.lower(), name.lower(), "fp32", (rows, block * per_row), [raw.tobytes(), b"", b"", b""], values


def affine_cases(rng):
    from coremltools.converters.mil.mil.ops.defs.iOS18.compression import constexpr_blockwise_shift_scale

    forms = [  # codes, scale, offset, dims, block
        ("int4", "fp16", None, (3, 64), (1, 32)),
        ("int8", "fp16", None, (4, 48), (1, 16)),
        ("int8", "fp16", None, (6, 5), (1, 5)),        # per channel
        ("int8", "fp32", "int8", (6, 5), (6, 5)),      # per tensor
        ("uint4", "fp16", "uint4", (4, 6), (2, 3)),
        ("int4", "fp16", "int4", (3, 7), (1, 7)),      # rows that start inside a byte
        ("uint8", "fp16", "uint8", (2, 3, 8), (1, 3, 4)),
        ("uint4", "fp16", "fp16", (3, 64), (1, 32)),
        ("uint8", "fp32", "fp32", (2, 2, 2, 6), (1, 2, 1, 3)),
        ("uint2", "fp16", "fp16", (2, 16), (1, 8)),
        ("uint3", "fp16", None, (3, 5), (3, 1)),
        ("uint6", "fp16", "fp16", (3, 5), (1, 5)),
        ("uint1", "fp16", "fp16", (5, 3), (5, 1)),
        ("int8", "fp16", None, (2, 1300), (1, 650)),   # longer than one batch of the decoder
    ]
    np_of = {"fp16": np.float16, "fp32": np.float32}
    for i, (code, scale, offset, dims, block) in enumerate(forms):
        grid = tuple(d // b for d, b in zip(dims, block))
        q = random_codes(rng, code, dims)
        s = (rng.standard_normal(grid) * 0.05).astype(np_of[scale])
        parts = [pack(q, code), s.tobytes(), b"", b""]
        if offset in np_of:
            o = (rng.standard_normal(grid) * 3 + 7).astype(np_of[offset])
            parts[2] = o.tobytes()
            v = spread(s, dims).astype(np.float32) * (q.astype(np.float32) - spread(o, dims).astype(np.float32))
            v = v.astype(np_of[scale])
        else:
            o = None
            if offset is not None:
                o = random_codes(rng, offset, grid)
                parts[2] = pack(o, offset)
                o = o.astype(np_of[scale])
            v = constexpr_blockwise_shift_scale.decompress(q.astype(np.int16), s, o)
            assert v.dtype == np_of[scale]
        enc = f"affine({code}, {scale}, {'' if offset is None else f'offset {offset}, '}{list(block)})"
        yield f"affine {i}", enc, scale, dims, parts, v


def table_cases(rng):
    from coremltools.optimize import _utils

    forms = [  # codes, entries, dims, block, vector, axis, scale block
        ("uint4", "fp16", (4, 6), (4, 6), 1, 0, None),
        ("uint2", "fp16", (6, 2), (3, 2), 1, 0, None),
        ("uint4", "fp32", (4, 32), (2, 16), 1, 0, None),
        ("uint6", "fp16", (3, 5), (1, 5), 1, 0, None),
        ("uint3", "fp16", (2, 3, 4), (1, 3, 2), 1, 0, None),
        ("uint1", "int8", (2, 6, 2), (2, 6, 2), 3, 1, None),
        ("uint8", "fp16", (4, 8), (4, 4), 2, 1, None),
        ("uint2", "fp16", (8, 3), (4, 3), 4, 0, None),
        ("uint4", "fp16", (4, 6), (4, 6), 1, 0, (1, 6)),
        ("uint4", "int8", (4, 6), (2, 6), 1, 0, (4, 1)),
        ("uint4", "fp16", (2, 1100), (1, 550), 1, 0, None),
        ("uint2", "fp16", (2, 4, 3, 6), (1, 4, 3, 6), 2, 1, (1, 1, 1, 3)),
    ]
    np_of = {"fp16": np.float16, "fp32": np.float32, "int8": np.int8}
    for i, (code, entry, dims, block, vec, axis, sc) in enumerate(forms):
        grid = tuple(d // b for d, b in zip(dims, block))
        index_dims = tuple(d // vec if a == axis else d for a, d in enumerate(dims))
        q = random_codes(rng, code, index_dims)
        shape = grid + (1 << BITS[code], vec)
        lut = rng.integers(-128, 128, shape).astype(np.int8) if entry == "int8" else rng.standard_normal(shape).astype(np_of[entry])
        v = _utils.lut_to_dense(q, lut, axis if vec > 1 else None)
        assert v.shape == dims
        parts = [pack(q, code), b"", b"", lut.tobytes()]
        enc, dtype = f"lut({code}, {entry}, {list(block)}", entry
        if vec > 1:
            enc += f", vec {vec} axis {axis}"
        if sc is not None:
            s = rng.standard_normal(tuple(d // b for d, b in zip(dims, sc))).astype(np.float16)
            parts[1] = s.tobytes()
            v = (v.astype(np.float32) * spread(s, dims).astype(np.float32)).astype(np.float16)
            enc, dtype = enc + f", scale fp16 {list(sc)}", "fp16"
        yield f"table {i}", enc + ")", dtype, dims, parts, v


def make():
    import coremltools
    import gguf
    from importlib.metadata import version

    rng = np.random.default_rng(SEED)
    out = [b"SMT1"]

    def bytes_(b):
        b = b.encode() if isinstance(b, str) else b
        out.append(struct.pack("<Q", len(b)) + b)

    bytes_(f"make_tensors.py, seed {SEED}, gguf {version('gguf')}, coremltools {coremltools.__version__}")
    cases = list(block_cases(rng)) + list(affine_cases(rng)) + list(table_cases(rng))
    out.append(struct.pack("<I", len(cases)))
    for name, enc, dtype, dims, parts, values in cases:
        for s in (name, enc, dtype):
            bytes_(s)
        out.append(struct.pack(f"<I{len(dims)}Q", len(dims), *dims))
        for p in parts:
            bytes_(p)
        bytes_(np.ascontiguousarray(values, np.float32).tobytes())
    return b"".join(out)


if __name__ == "__main__":
    path = os.path.join(HERE, "tensors.bin")
    data = make()
    with open(path, "wb") as f:
        f.write(data)
    print(f"{os.path.basename(path)}: {len(data)} bytes", file=sys.stderr)
