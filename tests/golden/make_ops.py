#!/usr/bin/env python3
"""Makes ops.bin: small cases of every MIL op, their results computed by milnp.py (numpy), composites by the few lines below.

    python make_ops.py          needs numpy and coremltools (for milnp's import); the same file comes out every time

test_ref_ops.c builds a one-op graph from each case and compares.  A case is the arrays whose names start with its number:

    NNN:op:slot:v        operand, an input of the function         NNN:op:slot:c   operand, a constant
    NNN:op:slot:s:TEXT   string parameter                          NNN:op:out:K    result K, floats as float32
    NNN:op:slot:l:K      element K of the list, an input           ...:c:DTYPE     codes of a dtype that numpy lacks

The file is those arrays one after the other: name and dtype as text (a length byte each), rank (a byte), extents (16 bits), elements.
"""
import os
import sys
from types import SimpleNamespace

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "tools"))
import milnp  # noqa: E402

rng = np.random.default_rng(7)
f32, f16, i32 = np.float32, np.float16, np.int32
arrays, count = {}, 0


def R(*shape, dtype=f32, lo=-2.0, hi=2.0):
    return rng.uniform(lo, hi, shape).astype(dtype)


def N(*shape, dtype=i32, lo=-9, hi=9):
    return rng.integers(lo, hi, shape, endpoint=True).astype(dtype)


class C:
    """a constant operand, with the name of a dtype that numpy lacks"""

    def __init__(self, value, dtype=None):
        self.value, self.dtype = np.asarray(value), dtype


def constant(v):
    if isinstance(v, C):
        return v
    a = np.asarray(v)
    return C(a.astype({"f": f32, "i": i32}.get(a.dtype.kind, a.dtype)))


def wide(a):
    return a.astype(f32) if a.dtype == f16 else a


def case(op, expect=None, **slots):
    """slots: ndarray: input; str: string; list of ndarrays: the list; anything else: constant.  expect: results when not milnp's"""
    global count
    head, ins = f"{count:03d}:{op}", {}
    count += 1
    for slot, v in slots.items():
        if isinstance(v, str):
            arrays[f"{head}:{slot}:s:{v}"] = np.zeros((), np.uint8)
            ins[slot] = v
        elif isinstance(v, list) and v and isinstance(v[0], np.ndarray):
            for k, a in enumerate(v):
                arrays[f"{head}:{slot}:l:{k}"] = a
            ins[slot] = [wide(a) for a in v]
        elif isinstance(v, np.ndarray):
            arrays[f"{head}:{slot}:v"] = v
            ins[slot] = wide(v)
        else:
            c = constant(v)
            arrays[f"{head}:{slot}:c" + (f":{c.dtype}" if c.dtype else "")] = c.value
            ins[slot] = wide(c.value)
    ctx = SimpleNamespace(round16=False, op=SimpleNamespace(type=op))
    with np.errstate(all="ignore"):
        out = expect if expect is not None else milnp.OPS[op](ctx, ins)
    for k, y in enumerate(out if isinstance(out, (tuple, list)) else [out]):
        y = np.asarray(y)
        y = y.astype(f32) if y.dtype.kind == "f" else y
        if y.dtype == np.int64:
            y = y.astype(i32)
        arrays[f"{head}:out:{k}"] = y


def elementwise():
    x = R(2, 3, 5)
    for op in "abs atan ceil cos erf exp exp2 floor identity relu round sigmoid sign silu sin softplus square tanh".split():
        case(op, x=x)
        case(op, x=R(4, 3, dtype=f16, lo=-6, hi=6))
    case("round", x=np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5], f32))
    for op in ("acos", "asin"):
        case(op, x=R(7, lo=-1, hi=1))
    for op in ("abs", "sign", "square", "relu", "identity"):
        case(op, x=N(3, 4))
    case("sqrt", x=R(6, lo=0, hi=9))
    case("rsqrt", x=R(6, lo=0.1, hi=9))
    case("rsqrt", x=R(6, lo=0.1, hi=9, dtype=f16), epsilon=0.5)
    case("log", x=R(6, lo=0.1, hi=9))
    case("log", x=R(6, lo=0.1, hi=9), epsilon=1.0)
    case("inverse", x=R(6, lo=0.5, hi=3))
    case("inverse", x=R(6, lo=0.5, hi=3), epsilon=0.25)
    case("clip", x=R(9), alpha=-0.5, beta=0.75)
    case("leaky_relu", x=R(9), alpha=0.1)
    for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
        case("gelu", x=R(3, 7, lo=-5, hi=5), mode=mode)
    case("gelu", x=R(5))
    case("logical_not", x=np.array([True, False, True]))
    case("exp", x=np.array([-np.inf, -65504, 0, 88], f32))
    case("silu", x=np.array([-1e4, -100, 0, 100], f32))
    for d in ("fp16", "fp32", "int32", "int16", "int8", "bool"):
        case("cast", x=np.array([-3.7, -1, -0.2, 0, 0.9, 100.6], f32), dtype=d)
    for d in ("fp32", "uint16", "uint8", "bool", "int8"):
        case("cast", x=np.array([0, 3, 7, 120], i32), dtype=d)
    case("cast", x=np.array([1, 2049, 4097], i32), dtype="fp16")
    case("cast", x=np.array([300, -1, 70000], i32), dtype="int8")
    case("cast", x=np.array([True, False]), dtype="fp16")
    case("cast", x=np.array([True, False]), dtype="int32")
    case("cast", x=np.array([0, 65535, 9], np.uint16), dtype="int32")


def two_operands():
    for op in ("add", "sub", "mul", "real_div", "floor_div", "mod", "maximum", "minimum"):
        case(op, x=R(2, 3, 4), y=R(2, 3, 4, lo=0.3))
        case(op, x=R(2, 3, 4), y=R(3, 1, lo=0.3))
        case(op, x=R(4), y=R(2, 1, 4, lo=0.3))
        case(op, x=R(3, 2, dtype=f16), y=C(np.array(1.5, f16)))
        case(op, x=N(3, 4), y=N(4, lo=1))
        case(op, x=N(3, 4), y=N(lo=-5, hi=-1))
    case("add", x=np.array([2**31 - 1, -2**31], i32), y=np.array([1, -1], i32))
    case("mul", x=np.array([100000, -70000], i32), y=np.array([100000, 70000], i32))
    case("add", x=np.array([30000], np.int16), y=np.array([30000], np.int16))
    case("sub", x=np.array([3], np.uint16), y=np.array([5], np.uint16))
    case("add", x=np.array([-np.inf, -65504, -np.inf], f32), y=np.array([-65504, -65504, -np.inf], f32))
    case("pow", x=R(3, 4, lo=0.1), y=R(3, 1))
    case("pow", x=R(3, 4), y=2.0)
    case("pow", x=R(3, 4), y=C(np.array(3, f16)))
    case("pow", x=N(4, lo=1, hi=5), y=N(4, lo=0, hi=6))
    a, b = N(3, 4, lo=0, hi=2), N(4, lo=0, hi=2)
    for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        case(op, x=a, y=b)
        case(op, x=a.astype(f32), y=b.astype(f32))
        case(op, x=a.astype(np.int16), y=C(np.array(1, np.int16)))
    for op in ("logical_and", "logical_or", "logical_xor"):
        case(op, x=a > 0, y=b > 0)
    case("select", cond=R(3, 4) > 0, a=R(3, 4), b=R(3, 4))
    case("select", cond=R(2, 3, 4) > 0, a=R(3, 4), b=R(4))
    case("select", cond=R(3, 1) > 0, a=N(3, 4), b=C(np.array(5, i32)))
    case("select", cond=np.array(True), a=R(2, dtype=f16), b=R(2, dtype=f16))
    case("select", cond=np.tril(np.ones((4, 4), bool)), a=C(np.array(0, f32)), b=C(np.array(-np.inf, f32)))


def reductions():
    x = R(2, 3, 4)
    for op in ("sum", "mean", "max", "min", "prod", "l2_norm", "sum_square"):
        case("reduce_" + op, x=x, axes=[-1])
        case("reduce_" + op, x=x, axes=[0, 2], keep_dims=True)
        case("reduce_" + op, x=x)
        case("reduce_" + op, x=R(3, 1, dtype=f16), axes=[1])
    for op in ("sum", "max", "min", "prod"):
        case("reduce_" + op, x=N(3, 4), axes=[0])
    for op in ("argmax", "argmin"):
        case("reduce_" + op, x=x)
        case("reduce_" + op, x=x, axis=1, keep_dims=True)
        case("reduce_" + op, x=np.array([[1, 3, 3], [2, 1, 1]], i32), axis=-1)
    case("softmax", x=x)
    case("softmax", x=x, axis=1)
    case("softmax", x=R(2, 3, dtype=f16, lo=-30, hi=30), axis=-1)
    case("softmax", x=np.array([[0, -np.inf, 1], [-65504, -65504, -65504]], f32))
    case("softmax", x=np.array([[-np.inf, -np.inf], [0, 0]], f32), expect=np.array([[0, 0], [0.5, 0.5]], f32))
    case("layer_norm", x=x, axes=[-1], gamma=C(R(4)), beta=C(R(4)))
    case("layer_norm", x=x, axes=[1, 2], gamma=C(R(3, 4)), epsilon=0.01)
    case("layer_norm", x=x, axes=[2, 1], beta=C(R(3, 4)))
    case("layer_norm", x=x, axes=[1])
    case("layer_norm", x=x)
    case("layer_norm", x=R(2, 5, dtype=f16), axes=[-1], gamma=C(R(5, dtype=f16)), epsilon=C(np.array(1e-3, f16)))
    case("l2_norm", x=R(2, 3, 4, 2))
    case("l2_norm", x=R(1, 2, 3), epsilon=0.1)
    for e in (False, True):
        for r in (False, True):
            case("cumsum", x=x, axis=1, exclusive=e, reverse=r)
            case("cumsum", x=N(3, 4), axis=-1, exclusive=e, reverse=r)
    case("cumsum", x=R(5))


def products():
    case("linear", x=R(2, 3, 8), weight=C(R(5, 8)), bias=C(R(5)))
    case("linear", x=R(3, 37), weight=C(R(20, 37)))
    case("linear", x=R(1, 600), weight=C(R(3, 600)), bias=C(R(3)))
    case("linear", x=R(9, 70, dtype=f16), weight=C(R(33, 70, dtype=f16)), bias=C(R(33, dtype=f16)))
    case("linear", x=R(6), weight=C(R(4, 6)))
    for tx in (False, True):
        for ty in (False, True):
            xs, ys = ((2, 5, 3), (2, 5, 4))
            x = R(2, 5, 3) if tx else R(2, 3, 5)
            y = R(2, 4, 5) if ty else R(2, 5, 4)
            case("matmul", x=x, y=y, transpose_x=tx, transpose_y=ty)
    case("matmul", x=R(2, 1, 3, 5), y=R(4, 5, 2))
    case("matmul", x=R(3, 5), y=R(2, 5, 4))
    case("matmul", x=R(5), y=R(5, 4))
    case("matmul", x=R(2, 3, 5), y=R(5))
    case("matmul", x=R(40, 33), y=C(R(33, 21)))
    case("matmul", x=N(2, 3, 4), y=N(2, 4, 2))
    case("matmul", x=R(1, 3, 6, dtype=f16), y=R(1, 6, 2, dtype=f16))
    case("einsum", equation="bnqd,bnkd->bnqk", values=[R(1, 2, 3, 4), R(1, 2, 5, 4)])
    case("einsum", equation="bhcq,bkhc->bkhq", values=[R(1, 2, 4, 3), R(1, 5, 2, 4)])
    case("einsum", equation="ab,bc->ac", values=[R(3, 4), R(4, 2)])
    case("einsum", equation="abc,cd->abd", values=[R(2, 3, 4), R(4, 2)])
    case("einsum", equation="nchw,nwhu->nchu", values=[R(1, 4, 3, 5), R(1, 5, 3, 2)])
    case("conv", x=R(2, 4, 6), weight=C(R(3, 4, 1)), bias=C(R(3)))
    case("conv", x=R(1, 8, 1, 5), weight=C(R(6, 8, 1, 1)), pad_type="valid", strides=[1, 1])
    case("conv", x=R(1, 4, 7), weight=C(R(6, 2, 3)), groups=2, pad_type="custom", pad=[2, 1], dilations=[2], strides=[2])
    case("conv", x=R(1, 2, 6, 5), weight=C(R(3, 2, 3, 2)), bias=C(R(3)), pad_type="same", strides=[2, 1])
    case("conv", x=R(1, 2, 6, 5), weight=C(R(3, 2, 2, 4)), pad_type="same_lower")
    case("conv", x=R(1, 1, 3, 4, 5), weight=C(R(2, 1, 2, 2, 2)), pad_type="custom", pad=[0, 1, 1, 0, 0, 0])
    case("conv", x=R(1, 3, 6), weight=C(R(3, 1, 4)), groups=3, pad_type="custom", pad=[3, 0])
    q, k, v = R(1, 2, 3, 4), R(1, 2, 5, 4), R(1, 2, 5, 6)
    case("scaled_dot_product_attention", query=q, key=k, value=v)
    case("scaled_dot_product_attention", query=q, key=k, value=v, attn_mask=np.where(R(1, 1, 3, 5) > 0.5, -np.inf, 0).astype(f32))
    case("scaled_dot_product_attention", query=q.astype(f16), key=k.astype(f16), value=v.astype(f16),
         attn_mask=np.triu(np.full((3, 5), -65504, f16), 3))
    case("scaled_dot_product_attention", query=q, key=k, value=v, attn_mask=np.tril(np.ones((3, 5), bool), 2))
    case("scaled_dot_product_attention", query=R(2, 3, 4), key=R(2, 5, 4), value=R(2, 5, 4), attn_mask=R(2, 3, 5))


def shapes():
    x = R(2, 3, 4)
    case("reshape", x=x, shape=[6, 4])
    case("reshape", x=x, shape=[0, -1])
    case("reshape", x=x, shape=[2, 0, -1])
    case("reshape", x=x, shape=N(2, lo=0, hi=0) + np.array([4, 6], i32))
    case("reshape", x=N(1, 1), shape=C(np.zeros(0, i32)))
    case("transpose", x=x, perm=[2, 0, 1])
    case("transpose", x=R(2, 3, 4, 5), perm=[0, 2, -1, 1])
    case("transpose", x=N(3, 4), perm=[1, 0])
    case("expand_dims", x=x, axes=[0])
    case("expand_dims", x=x, axes=[1, -1])
    case("squeeze", x=R(1, 3, 1, 4))
    case("squeeze", x=R(1, 3, 1, 4), axes=[2])
    case("squeeze", x=R(1, 3, 1, 4), axes=[-2, 0])
    case("concat", values=[R(2, 3), R(2, 1), R(2, 4)], axis=1)
    case("concat", values=[R(2, 3), R(1, 3)], axis=-2)
    case("concat", values=[N(1), N(1), N(1)], axis=0)
    case("concat", values=[R(2, 3, 2), R(2, 3, 2)], axis=1, interleave=True)
    case("stack", values=[R(2, 3), R(2, 3)], axis=0)
    case("stack", values=[R(2, 3), R(2, 3), R(2, 3)], axis=-1)
    case("stack", values=[N(4), N(4)], axis=1)
    case("split", x=x, num_splits=2, axis=2)
    case("split", x=x, split_sizes=[1, 2], axis=1)
    case("split", x=x, num_splits=3, axis=-2)
    case("tile", x=x, reps=[1, 2, 3])
    case("tile", x=N(2, 2), reps=[2, 1])
    case("tile", x=R(2, 1, 2), reps=np.array([1, 3, 1], i32))
    case("shape", x=x)
    case("shape", x=N(5))
    case("reverse", x=x)
    case("reverse", x=x, axes=[-1, 0])
    case("pad", x=x, pad=[1, 2, 0, 1], mode="constant", constant_val=0.5)
    case("pad", x=x, pad=[1, 0, 1, 2, 2, 3], mode="replicate", constant_val=0.0)
    case("pad", x=x, pad=[2, 1, 3, 2], mode="reflect", constant_val=0.0)


def slices():
    x = R(4, 5, 6)
    case("slice_by_index", x=x, begin=[1, 0, 2], end=[3, 5, 6])
    case("slice_by_index", x=x, begin=[0, -2, 1], end=[4, 5, -1], stride=[2, 1, 2])
    case("slice_by_index", x=x, begin=[0, 0, 0], end=[0, 3, 0], begin_mask=[True, False, True], end_mask=[True, False, True])
    case("slice_by_index", x=x, begin=[1, 2, 0], end=[0, 0, 0], end_mask=[False, False, True], squeeze_mask=[True, True, False])
    case("slice_by_index", x=x, begin=[-1, 4, 0], end=[0, 1, 6], stride=[-1, -2, 1], end_mask=[True, False, False])
    case("slice_by_index", x=x, begin=np.array([0, 1, 2], i32), end=np.array([1, 4, 5], i32))
    case("slice_by_index", x=N(6), begin=[2], end=[3], squeeze_mask=[True])
    case("slice_by_size", x=x, begin=[1, 0, 3], size=[2, -1, 1])
    case("slice_by_size", x=x, begin=[0, 2, 0], size=[4, 3, -1])
    case("slice_update", x=x, update=R(2, 5, 2), begin=[1, 0, 2], end=[3, 5, 4])
    case("slice_update", x=x, update=R(5, 3), begin=[2, 0, 1], end=[0, 5, 6], stride=[1, 1, 2], squeeze_mask=[True, False, False])
    case("slice_update", x=x, update=R(4, 2, 6), begin=np.array([0, 1, 0], i32), end=np.array([0, 3, 0], i32),
         begin_mask=[True, False, True], end_mask=[True, False, True])
    case("slice_update", x=N(3, 3), update=N(3, 1), begin=[0, 2], end=[3, 3])


def indices():
    x = R(4, 5, 3)
    case("gather", x=x, indices=np.array([2, 0, 3], i32), axis=0)
    case("gather", x=x, indices=np.array([[1, 4], [0, -1]], i32), axis=1)
    case("gather", x=x, indices=np.array(2, i32), axis=-1)
    case("gather", x=x, indices=N(4, 2, lo=0, hi=4), axis=1, batch_dims=1)
    case("gather", x=N(6), indices=np.array([5, 1], np.uint16), axis=0)
    case("gather", x=C(R(7, 6, dtype=f16)), indices=np.array([[6, 0], [3, 3]], i32), axis=0)
    case("gather", x=C(R(7, 6)), indices=np.array([1, 5], i32), axis=1)
    case("gather_along_axis", x=x, indices=N(4, 2, 3, lo=0, hi=4), axis=1)
    case("gather_along_axis", x=R(3, 4), indices=N(3, 4, lo=0, hi=2), axis=0)
    case("gather_nd", x=x, indices=np.array([[0, 4], [3, 1]], i32))
    case("gather_nd", x=x, indices=np.array([[1], [2]], i32))
    case("gather_nd", x=x, indices=N(4, 2, 2, lo=0, hi=2), batch_dims=1)
    for mode in ("add", "sub", "mul", "div", "max", "min", "update"):
        case("scatter", data=R(4, 3), indices=np.array([2, 0], i32), updates=R(2, 3, lo=0.5), axis=0, mode=mode)
    case("scatter", data=R(4, 3), indices=np.array([1, 1, 2], i32), updates=R(4, 3), axis=1, mode="add")
    case("scatter", data=N(5), indices=np.array([-1, 0], i32), updates=N(2), axis=0, mode="update")
    case("scatter_nd", data=R(4, 3), indices=np.array([[0, 2], [3, 1]], i32), updates=R(2), mode="update")
    case("scatter_nd", data=R(4, 3), indices=np.array([[1], [1]], i32), updates=R(2, 3), mode="add")
    case("scatter_nd", data=R(4, 3), indices=np.array([[1], [3]], i32), updates=R(2, 3), mode="max")
    k = np.array([[3, 1, 2, 1], [0, 5, 5, -4]], i32)
    for a in (False, True):
        case("argsort", x=R(2, 5), axis=-1, ascending=a)
        case("argsort", x=k, axis=1, ascending=a)
        case("topk", x=R(2, 7), k=3, axis=-1, ascending=a)
        case("topk", x=k, k=2, axis=1, ascending=a)
    case("argsort", x=R(4, 3), axis=0)
    case("topk", x=R(4, 3), k=2, axis=0, output_indices_dtype="uint16")
    case("topk", x=R(4, 3), k=1, axis=-1, return_indices=False)


def makers():
    case("fill", shape=[2, 3], value=1.5)
    case("fill", shape=np.array([3, 1], i32), value=C(np.array(7, i32)))
    case("fill_like", ref_tensor=R(2, 3), value=-2.0)
    case("fill_like", ref_tensor=R(2, 2), value=C(np.array(True)))
    case("range_1d", start=C(np.array(2, i32)), end=C(np.array(11, i32)), step=C(np.array(3, i32)))
    case("range_1d", start=np.array(0, i32), end=np.array(4, i32), step=C(np.array(1, i32)))
    case("range_1d", start=C(np.array(1, f32)), end=C(np.array(-1, f32)), step=C(np.array(-0.5, f32)))
    case("band_part", x=R(2, 4, 5), lower=1, upper=2)
    case("band_part", x=R(4, 4), lower=-1, upper=0)
    case("band_part", x=N(4, 4), lower=0, upper=-1)
    case("one_hot", indices=np.array([1, 0, 3], i32), one_hot_vector_size=4, on_value=1.0, off_value=0.0)
    case("one_hot", indices=np.array([[1, 0], [2, 2]], i32), one_hot_vector_size=3, axis=1, on_value=C(np.array(5, i32)), off_value=C(np.array(-1, i32)))
    case("one_hot", indices=np.array([1, -1], i32), one_hot_vector_size=2, axis=0)


def constants():
    def blockwise(q, s, z=None, dtype=None):
        v = milnp._bss(None, dict(data=q, scale=s, offset=z)).astype(f16).astype(f32)
        slots = dict(data=C(q, dtype), scale=C(s))
        if z is not None:
            slots["offset"] = C(z, dtype if z.dtype.kind in "iu" else None)
        case("constexpr_blockwise_shift_scale", v, **slots)

    blockwise(N(4, 8, dtype=np.int8, lo=-8, hi=7), R(4, 2, dtype=f16), dtype="int4")
    blockwise(N(4, 8, dtype=np.uint8, lo=0, hi=15), R(2, 4, dtype=f16), N(2, 4, dtype=np.uint8, lo=0, hi=15), dtype="uint4")
    blockwise(N(4, 8, dtype=np.uint8, lo=0, hi=15), R(4, 4, dtype=f16), R(4, 4, dtype=f16, lo=0, hi=9), dtype="uint4")
    blockwise(N(4, 6, 1, 1, dtype=np.int8, lo=-127, hi=127), R(4, 1, 1, 1, dtype=f16))

    def lut(ind, table, dtype, axis=None):
        ins = dict(indices=ind, lut=table.astype(f32))
        slots = dict(indices=C(ind, dtype), lut=C(table))
        if axis is not None:
            ins["vector_axis"], slots["vector_axis"] = axis, axis
        case("constexpr_lut_to_dense", milnp._lut(None, ins).astype(f32), **slots)

    lut(N(4, 6, dtype=np.uint8, lo=0, hi=15), R(1, 1, 16, 1, dtype=f16), "uint4")
    lut(N(4, 6, dtype=np.uint8, lo=0, hi=7), R(2, 1, 8, 1, dtype=f16), "uint3")
    lut(N(4, 6, dtype=np.uint8, lo=0, hi=63), R(2, 3, 64, 1, dtype=f16), "uint6")
    lut(N(4, 3, dtype=np.uint8, lo=0, hi=3), R(2, 1, 4, 2, dtype=f16), "uint2", 1)
    lut(N(2, 6, dtype=np.uint8, lo=0, hi=3), R(1, 2, 4, 2, dtype=f16), "uint2", 0)
    packed, table = N(9, dtype=np.uint8, lo=0, hi=255), R(8, dtype=f16)
    dense = milnp._lut(None, dict(indices=packed, lut=table, shape=np.array([4, 6]))).astype(f32)
    case("constexpr_lut_to_dense", dense, indices=C(packed), lut=C(table), shape=C(np.array([4, 6], np.uint32)))
    q = N(3, 5, dtype=np.int8, lo=-128, hi=127)
    for s, z in ((R(3, dtype=f16), N(3, dtype=np.int8)), (np.array(0.25, f16), np.array(3, np.int8))):
        v = milnp._affine(None, dict(quantized_data=q, scale=s, zero_point=z, axis=0)).astype(f16).astype(f32)
        case("constexpr_affine_dequantize", v, quantized_data=C(q), zero_point=C(z), scale=C(s), axis=0)
    case("constexpr_cast", R(3, 2, dtype=f16).astype(f32) * 0 + 1.5, source_val=C(np.full((3, 2), 1.5, f16)), output_dtype="fp32")
    mask = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], np.uint8)
    v = R(4, dtype=f16)
    full = np.zeros((2, 4), f32)
    full[mask != 0] = v
    case("constexpr_sparse_to_dense", full, nonzero_data=C(v), mask=C(mask, "uint1"))
    case("constexpr_sparse_to_dense", full, nonzero_data=C(v), mask=C(np.packbits(mask.reshape(-1), bitorder="little")),
         shape=C(np.array([2, 4], np.uint32)))


def silu(x):
    return x / (1 + np.exp(-x.astype(np.float64)))


def composites():
    ids, table = np.array([3, 0, 6], i32), R(7, 5)
    case("smelt.embed", table[ids], ids=ids, table=C(table))
    case("smelt.embed", table.astype(f16)[ids].astype(f32) * f32(2.5), ids=ids, table=C(table.astype(f16)), scale=2.5)
    x, g = R(3, 2, 8), R(8)
    n = x / np.sqrt(np.mean(x.astype(np.float64) ** 2, -1, keepdims=True) + 1e-5)
    case("smelt.rms_norm", n * g, x=x, gamma=C(g), eps=1e-5)
    case("smelt.rms_norm", n, x=x, eps=1e-5)
    big = np.array([[300.0, -400.0, 0, 500]], f32)
    case("smelt.rms_norm", big / np.sqrt(np.mean(big**2)), x=big, eps=1e-6)
    for rot, scale in ((8, 1.0), (4, 0.75)):
        pos, freq = np.array([0, 5, 1000], i32), (1 / 10000 ** (np.arange(rot // 2) / (rot // 2))).astype(f32)
        a = (pos.astype(f32)[:, None] * freq).astype(np.float64)[:, None]
        h = rot // 2
        u, v = x[..., :h].astype(np.float64), x[..., h:rot].astype(np.float64)
        y = np.concatenate([(u * np.cos(a) - v * np.sin(a)) * scale, (v * np.cos(a) + u * np.sin(a)) * scale, x[..., rot:]], -1)
        case("smelt.rope", y, x=x, pos=pos, inv_freq=C(freq), scale=scale)
    x, gate, up, down = R(3, 6), R(9, 6), R(9, 6), R(6, 9)
    gx = (x @ gate.T).astype(np.float64)
    act = {"silu": silu(gx), "gelu": 0.5 * gx * (1 + milnp.erf(gx / np.sqrt(2))),
           "gelu_tanh": 0.5 * gx * (1 + np.tanh(np.sqrt(2 / np.pi) * (gx + 0.044715 * gx**3)))}
    for name, a in act.items():
        case("smelt.gated_mlp", (a * (x @ up.T)) @ down.T, x=x, gate=C(gate), up=C(up), down=C(down), act=name)
    w, b = R(11, 6), R(11)
    case("smelt.lm_head", x @ w.T, x=x, weight=C(w))
    case("smelt.lm_head", x @ w.T + b, x=x, weight=C(w), bias=C(b))
    case("smelt.lm_head", 3 * np.tanh(x @ w.T / 3), x=x, weight=C(w), softcap=3.0)
    for half in (4, 3):
        x, cs, sn, pos = R(3, 2, 8), R(5, half), R(5, half), np.array([4, 0, 2], i32)
        c, s = cs[pos].astype(np.float64)[:, None] * 1.5, sn[pos].astype(np.float64)[:, None] * 1.5
        u, v = x[..., :half].astype(np.float64), x[..., half:2 * half].astype(np.float64)
        y = np.concatenate([u * c - v * s, v * c + u * s, x[..., 2 * half:]], -1)
        case("smelt.rope_table", y, x=x, pos=pos, cos=C(cs), sin=C(sn), scale=1.5)


def main():
    for part in (elementwise, two_operands, reductions, products, shapes, slices, indices, makers, constants, composites):
        part()
    with open(os.path.join(here, "ops.bin"), "wb") as f:
        for name, a in arrays.items():
            dtype = {"float16": "fp16", "float32": "fp32"}.get(a.dtype.name, a.dtype.name)
            f.write(bytes([len(name)]) + name.encode() + bytes([len(dtype)]) + dtype.encode() + bytes([a.ndim]) + np.array(a.shape, "<u2").tobytes())
            f.write(np.ascontiguousarray(a).tobytes())
    print(count, "cases,", len(arrays), "arrays")


if __name__ == "__main__":
    main()
