# SPDX-License-Identifier: MIT
"""Cases of mil_harness: elementwise ops, reductions, norms, products."""
import math

import numpy as np
from mil_harness import C

RNG = np.random.default_rng(20)
SEED = RNG.bit_generator.state  # every table begins with it
SHAPES = [(), (5,), (2, 3), (2, 1, 4), (1, 2, 3, 2), (2, 1, 2, 1, 3)]
PAIRS = [((), ()), ((4,), (4,)), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((1, 2, 3, 2), ()), ((2, 1, 2, 1, 3), (2, 2, 1)),
         ((3, 1), (1, 4))]


def f32(*shape, lo=-3.0, hi=3.0):
    return RNG.uniform(lo, hi, shape).astype(np.float32)


def f16(*shape, lo=-3.0, hi=3.0):
    return RNG.uniform(lo, hi, shape).astype(np.float16)


def ints(*shape, lo=-9, hi=9, t=np.int32):
    return RNG.integers(lo, hi, shape).astype(t)


def bools(*shape):
    return RNG.random(shape) < 0.5


def same(x):
    return x


def call(op, **params):
    """A function that builds op over the arrays of a case."""
    return lambda mb, **arrays: getattr(mb, op)(**arrays, **params)


# ------------------------------------------------------------------ one operand
DOMAIN = {"acos": (-1, 1), "asin": (-1, 1), "atanh": (-0.99, 0.99), "sqrt": (0, 9), "log": (0.1, 9), "rsqrt": (0.1, 9),
          "inverse": (0.5, 4)}
UNARY = ["abs", "acos", "asin", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "inverse", "log",
         "relu", "relu6", "round", "rsqrt", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "softsign", "sqrt",
         "square", "tan", "tanh", "gelu", "identity"]
WITH_INT = ["abs", "exp2", "sign", "square"]
ALPHA_BETA = {  # definitions, and parameters
    "clamped_relu": (lambda x, a, b: np.minimum(np.where(x >= 0, x, a * x), b), (0.3, 1.5)),
    "linear_activation": (lambda x, a, b: a * x + b, (1.7, -0.4)),
    "scaled_tanh": (lambda x, a, b: a * np.tanh(b * x), (1.2, 0.6)),
    "sigmoid_hard": (lambda x, a, b: np.clip(a * x + b, 0, 1), (0.3, 0.4)),
    "clip": (lambda x, a, b: np.clip(x, a, b), (-1.0, 1.25)),
}
ALPHA = {
    "elu": (lambda x, a: np.where(x >= 0, x, a * np.expm1(x)), 0.7),
    "leaky_relu": (lambda x, a: np.where(x >= 0, x, a * x), 0.2),
    "threshold": (lambda x, a: np.maximum(x, a), 0.5),
    "thresholded_relu": (lambda x, a: np.where(x >= a, x, 0), 0.5),
}
DEFINED = {"silu": lambda x: x / (1 + np.exp(-x))}  # coremltools infers nothing


def as_f32(fn):
    return lambda **a: np.asarray(fn(**{k: v.astype(np.float64) for k, v in a.items()}), np.float32)


def unary_cases():
    for op in UNARY:
        lo, hi = DOMAIN.get(op, (-3, 3))
        want = as_f32(DEFINED[op]) if op in DEFINED else None
        for s in SHAPES:
            yield C(op, call(op), want, x=f32(*s, lo=lo, hi=hi))
        yield C(op, call(op), want, opset=6, x=f32(2, 3, lo=lo, hi=hi))
        yield C(op, call(op), same, const=False, x=f32(0, 3))
        yield C(op, call(op), want, symbolic=(("x", 0), ("x", 1)), x=f32(2, 3, lo=lo, hi=hi))
        yield C(op, call(op), want, opset=8, tol=2e-3, x=f16(3, 2, lo=lo, hi=hi))
    for op in WITH_INT:
        yield C(op, call(op), lambda x, op=op: as_int(op, x), infers=False, x=ints(3, 4))
    for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
        yield C("gelu", call("gelu", mode=mode), note=mode, x=f32(4, 5))
    for op in ("inverse", "log", "rsqrt"):
        yield C(op, call(op, epsilon=np.float32(0.25)), note="epsilon", x=f32(4, 3, lo=0.5))
        yield C(op, call(op, epsilon=np.float32(0.25)), opset=8, note="epsilon of another type", tol=2e-3,
                x=f16(4, 3, lo=0.5))
    yield C("round", call("round"), note="ties", x=np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32))
    yield C("sign", call("sign"), note="zeros", x=np.array([-0.0, 0.0, 3, -3], np.float32))
    for s in [(), (3,), (2, 0)] + SHAPES[2:4]:
        yield C("logical_not", call("logical_not"), lambda x: np.logical_not(x), const=0 not in s, x=bools(*s))
    for t in (np.int32, bool):
        yield C("identity", call("identity"), x=ints(2, 3).astype(t))
    yield C("identity", call("identity"), opset=8, x=f16(2, 3))
    for op, (want, (a, b)) in ALPHA_BETA.items():
        for s in SHAPES:
            yield C(op, call(op, alpha=np.float32(a), beta=np.float32(b)), as_f32(lambda x, w=want, a=a, b=b: w(x, a, b)),
                    x=f32(*s))
        yield C(op, call(op, alpha=np.float16(a), beta=np.float16(b)), opset=7, tol=4e-3, x=f16(3, 4))
        if op != "clip":
            yield C(op, call(op, alpha=np.float32(a), beta=np.float32(b)), opset=8, tol=4e-3, note="mixed types", x=f16(3, 4))
    for op, (want, a) in ALPHA.items():
        for s in SHAPES[1:]:
            yield C(op, call(op, alpha=np.float32(a)), as_f32(lambda x, w=want, a=a: w(x, a)), x=f32(*s))
        yield C(op, call(op, alpha=np.float16(a)), opset=7, tol=4e-3, x=f16(3, 4))
    yield C("threshold", call("threshold", alpha=np.int32(2)), x=ints(3, 4))
    for s in [(2, 3, 4), (1, 3, 2, 2), (2, 3, 1, 2, 2)]:
        alpha = f32(3) if len(s) == 4 else np.full(3, 0.3, np.float32)
        yield C("prelu", call("prelu"), lambda x, alpha: np.where(x > 0, x, x * by_channel(alpha, x)), x=f32(*s),
                fixed={"alpha": alpha})
        yield C("softplus_parametric", call("softplus_parametric"),
                lambda x, alpha, beta: by_channel(alpha, x) * np.log1p(np.exp(x * by_channel(beta, x))), tol=4e-6,
                x=f32(*s), fixed={"alpha": f32(3), "beta": f32(3)})
    yield C("prelu", call("prelu"), opset=8, note="mixed types", tol=2e-3, x=f16(1, 3, 2, 2), fixed={"alpha": f32(3)})


def by_channel(v, x):
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def as_int(op, x):
    return {"abs": np.abs, "sign": np.sign, "square": np.square,
            "exp2": lambda v: np.where(v < 0, 0, np.exp2(np.maximum(v, 0)))}[op](x).astype(x.dtype)


# ------------------------------------------------------------------ cast
def cast_cases():
    names = {"fp32": np.float32, "fp16": np.float16, "int32": np.int32, "bool": bool}
    small = {"int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16}
    for opset, to in ((6, {"fp32", "int32", "bool"}), (7, set(names)), (8, set(names) | set(small))):
        every = {**names, **small}
        for a in sorted(to):
            for b in sorted(to):
                x = np.abs(f32(3, 4, lo=-100, hi=100)) if "u" in b or "u" in a else f32(3, 4, lo=-100, hi=100)
                x[0, 0] = 0
                yield C("cast", call("cast", dtype=b), opset=opset, note=f"{a} to {b}", x=x.astype(every[a]))
    yield C("cast", call("cast", dtype="int32"), note="scalar", x=f32())


# ------------------------------------------------------------------ two operands
def int_floor_div(x, y):
    return np.floor_divide(x, y)


def binary_cases():
    for op in ("add", "sub", "mul", "maximum", "minimum", "floor_div", "mod", "real_div", "pow"):
        for a, b in PAIRS:
            x, y = f32(*a), f32(*b, lo=0.5)
            if op == "pow":
                x, y = f32(*a, lo=0.2), f32(*b)
            if op in ("floor_div", "mod"):
                y = y * RNG.choice([-1, 1], b).astype(np.float32)
            yield C(op, call(op), x=x, y=y, tol=4e-6)
        yield C(op, call(op), opset=8, tol=4e-3, x=f16(2, 3, lo=0.5), y=f16(3, lo=0.5))
        yield C(op, call(op), symbolic=(("x", 0), ("y", 1)), x=f32(2, 3, lo=0.3), y=f32(2, 3, lo=0.5), tol=4e-6)
        yield C(op, call(op), lambda x, y: np.zeros((0, 3), np.float32), const=False, x=f32(0, 3), y=f32(3))
        x, y = ints(2, 3, 4), ints(3, 4)
        y[y == 0] = 3
        if op == "pow":
            y = ints(3, 4, lo=0, hi=6)
        want = {"real_div": lambda x, y: np.trunc(x / y).astype(np.int32)}.get(op)
        yield C(op, call(op), want, infers=op != "real_div", note="signs", x=x, y=y)
    yield C("mod", call("mod"), note="exact", x=np.array([6, -6, 6, -6, 0], np.float32),
            y=np.array([3, 3, -3, -3, 2], np.float32))
    for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        for a, b in PAIRS:
            yield C(op, call(op), x=ints(*a, lo=0, hi=3).astype(np.float32), y=ints(*b, lo=0, hi=3).astype(np.float32))
        yield C(op, call(op), x=ints(3, 4, lo=-2, hi=2), y=ints(4, lo=-2, hi=2))
        yield C(op, call(op), opset=7, x=ints(3, 4, lo=0, hi=3).astype(np.float16), y=ints(4, lo=0, hi=3).astype(np.float16))
    for op in ("logical_and", "logical_or", "logical_xor"):
        for a, b in PAIRS:
            yield C(op, call(op), x=bools(*a), y=bools(*b))
    for shapes in [((), (), ()), ((3,), (3,), (3,)), ((2, 1), (2, 3), (3,)), ((1, 3, 1), (2, 1, 2), ()), ((2, 2), (), ())]:
        c, a, b = shapes
        for t in (np.float32, np.int32, bool):
            yield C("select", call("select"), lambda cond, a, b: np.where(cond, a, b), infers=False, cond=bools(*c),
                    a=ints(*a).astype(t), b=ints(*b).astype(t))
        yield C("select", call("select"), lambda cond, a, b: np.where(cond, a, b), infers=False, opset=8, cond=bools(*c),
                a=f16(*a), b=f16(*b))


# ------------------------------------------------------------------ reductions, norms
REDUCE = {"reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min, "reduce_prod": np.prod,
          "reduce_sum_square": lambda x, **k: np.sum(x * x, **k), "reduce_l1_norm": lambda x, **k: np.sum(np.abs(x), **k),
          "reduce_l2_norm": lambda x, **k: np.sqrt(np.sum(x * x, **k)), "reduce_log_sum": lambda x, **k: np.log(np.sum(x, **k)),
          "reduce_log_sum_exp": lambda x, **k: np.log(np.sum(np.exp(x), **k))}


def reduce_cases():
    where = [((4,), [0]), ((2, 3), [1]), ((2, 3), [-2]), ((2, 3, 4), [0, 2]), ((2, 3, 4), None), ((2, 2, 3, 2), [1, -1]),
             ((1, 2, 1, 2, 3), [0, 1, 4])]
    for op, fn in REDUCE.items():
        for s, axes in where:
            for keep in (False, True):
                x = f32(*s, lo=0.1 if op == "reduce_log_sum" else -2, hi=2)
                axis = None if axes is None else tuple(axes)
                given = {} if axes is None else {"axes": axes}
                yield C(op, call(op, keep_dims=keep, **given),
                        as_f32(lambda x, fn=fn, a=axis, k=keep: fn(x, axis=a, keepdims=k)), infers=False, tol=4e-6,
                        note=f"{axes} {keep}", x=x)
        yield C(op, call(op, axes=[1]), opset=6, tol=4e-6, note="inferred", x=f32(3, 4, lo=0.1))
        yield C(op, call(op, axes=[-1], keep_dims=True), symbolic=(("x", 0),), tol=4e-6, x=f32(3, 4, lo=0.1))
        x = ints(3, 4, lo=1, hi=5)
        if op in ("reduce_log_sum", "reduce_log_sum_exp", "reduce_l2_norm", "reduce_mean"):
            continue
        yield C(op, call(op, axes=[1]), lambda x, fn=fn: fn(x, axis=1).astype(np.int32), infers=False, note="int", x=x)
    yield C("reduce_log_sum_exp", call("reduce_log_sum_exp", axes=[1]), note="large",
            want=lambda x: np.array([1000 + np.log(2), -np.inf, np.inf, -999], np.float32), infers=False,
            x=np.array([[1000, 1000], [-np.inf, -np.inf], [np.inf, 0], [-999, -np.inf]], np.float32))
    yield C("reduce_sum", call("reduce_sum", axes=[0]), lambda x: np.zeros(3, np.float32), const=False, x=f32(0, 3))
    for op, fn in (("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)):
        for s in SHAPES[1:]:
            for axis in range(-len(s), len(s)):
                for keep in (False, True):
                    yield C(op, call(op, axis=axis, keep_dims=keep),
                            lambda x, fn=fn, a=axis, k=keep: fn(x, axis=a, keepdims=k).astype(np.int32), infers=False,
                            note=f"{axis}", x=ints(*s, lo=0, hi=4).astype(np.float32))
        yield C(op, call(op), opset=6, x=f32(3, 4))
        yield C(op, call(op, axis=0), x=ints(3, 4))
        for t in ("int32", "uint16"):
            yield C(op, call(op, axis=-1, output_dtype=t), lambda x, fn=fn, t=t: fn(x, axis=-1).astype(t), infers=False,
                    opset=8, note=t, x=f32(3, 4))


def norm_cases():
    for s in SHAPES[1:]:
        for axis in range(-len(s), len(s)):
            yield C("softmax", call("softmax", axis=axis), x=f32(*s))
    yield C("softmax", call("softmax"), note="large", x=f32(3, 4, lo=-900, hi=900))
    yield C("softmax", call("softmax"), opset=7, tol=4e-3, x=f16(3, 4))

    def layer_norm(x, axes, gamma=None, beta=None, eps=1e-5):
        x = x.astype(np.float64)
        m = x.mean(axis=axes, keepdims=True)
        v = ((x - m) ** 2).mean(axis=axes, keepdims=True)
        y = (x - m) / np.sqrt(v + eps)
        shape = [x.shape[a] if a in [k % x.ndim for k in axes] else 1 for a in range(x.ndim)]
        y = y if gamma is None else y * gamma.reshape(shape)
        return (y if beta is None else y + beta.reshape(shape)).astype(np.float32)
    for s, axes in [((3, 4), [1]), ((2, 3, 4), [-1]), ((2, 3, 4), [1, 2]), ((2, 3, 2, 4), [-2, -1])]:
        shape = [s[a] for a in axes]
        yield C("layer_norm", call("layer_norm", axes=axes), lambda x, a=tuple(axes): layer_norm(x, a), infers=False,
                tol=4e-6, x=f32(*s))
        yield C("layer_norm", call("layer_norm", axes=axes, epsilon=np.float32(1e-3)),
                lambda x, gamma, beta, a=tuple(axes): layer_norm(x, a, gamma, beta, 1e-3), infers=False, tol=4e-6,
                x=f32(*s), fixed={"gamma": f32(*shape), "beta": f32(*shape)})
    for s in [(2, 3, 4), (2, 2, 3, 2), (2, 1, 2, 3, 2)]:
        yield C("l2_norm", call("l2_norm", epsilon=np.float32(1e-3)),
                as_f32(lambda x: x / np.sqrt(np.sum(x * x, axis=(-3, -2, -1), keepdims=True) + 1e-3)), tol=4e-6,
                infers=False, x=f32(*s))
    for s in SHAPES[1:]:
        for axis in range(-1, len(s)):
            yield C("cumsum", call("cumsum", axis=axis), tol=4e-6, x=f32(*s))
            yield C("cumsum", call("cumsum", axis=axis, reverse=True), note="reverse", tol=4e-6, x=f32(*s))
            yield C("cumsum", call("cumsum", axis=axis, exclusive=True), note="exclusive", tol=4e-6, const=False,
                    want=lambda x, a=axis: (np.cumsum(x.astype(np.float64), axis=a) - x).astype(np.float32), x=f32(*s))
            yield C("cumsum", call("cumsum", axis=axis, exclusive=True, reverse=True), note="both", tol=4e-6, const=False,
                    want=lambda x, a=axis: np.flip(np.cumsum(np.flip(x.astype(np.float64), a), a), a).astype(np.float32) - x,
                    x=f32(*s))
    yield C("cumsum", call("cumsum"), lambda x: np.cumsum(x, axis=0).astype(np.int32), infers=False, x=ints(3, 4))


# ------------------------------------------------------------------ products
def product_cases():
    for s in [(4,), (2, 4), (2, 3, 4), (1, 2, 3, 4)]:
        for bias in (True, False):
            fixed = {"weight": f32(5, 4), **({"bias": f32(5)} if bias else {})}
            yield C("linear", call("linear"), as_f32(lambda x, weight, bias=0: x @ weight.T + bias), tol=4e-6, infers=False,
                    x=f32(*s), fixed=fixed)
    for a, b, tx, ty in [((3, 4), (4, 5), 0, 0), ((4, 3), (4, 5), 1, 0), ((3, 4), (5, 4), 0, 1), ((4, 3), (5, 4), 1, 1),
                         ((2, 3, 4), (4, 5), 0, 0), ((2, 1, 3, 4), (3, 4, 2), 0, 0), ((4,), (4, 5), 0, 0),
                         ((4,), (2, 4, 3), 0, 0),
                         ((1, 2, 1, 3, 2), (2, 2, 2, 3), 0, 0)]:
        def want(x, y, tx=tx, ty=ty):
            x = np.swapaxes(x, -1, -2) if tx else x
            y = np.swapaxes(y, -1, -2) if ty else y
            return np.matmul(x, y)
        yield C("matmul", call("matmul", transpose_x=bool(tx), transpose_y=bool(ty)), as_f32(want), tol=4e-6, infers=False,
                trip=a != (4,) or len(b) < 3, note=f"{tx}{ty}", x=f32(*a), y=f32(*b))  # coremltools drops the wrong axis
    yield C("matmul", call("matmul"), lambda x, y: (x @ y).astype(np.int32), infers=False, x=ints(3, 4), y=ints(4, 2))
    yield C("matmul", call("matmul"), opset=7, tol=4e-3, x=f16(3, 4), y=f16(4, 2))
    for eq, a, b in [("abcd,adce->abce", (2, 3, 4, 5), (2, 5, 4, 3)), ("nchw,nwhu->nchu", (1, 3, 4, 5), (2, 5, 1, 3)),
                     ("vnm,mno->vno", (2, 3, 4), (4, 3, 2)), ("abc,cbd->abd", (2, 1, 4), (4, 3, 2))]:
        yield C("einsum", lambda mb, x, y, eq=eq: mb.einsum(values=(x, y), equation=eq),
                as_f32(lambda x, y, eq=eq: np.einsum(eq, x, y)), tol=4e-6, infers=False, note=eq, x=f32(*a), y=f32(*b))
    def conv(x, weight, stride, pad, dilation, groups, bias=None):
        n = x.ndim - 2
        x = np.pad(x.astype(np.float64), [(0, 0), (0, 0)] + [(pad[2 * i], pad[2 * i + 1]) for i in range(n)])
        k = [(weight.shape[2 + i] - 1) * dilation[i] + 1 for i in range(n)]
        out = [(x.shape[2 + i] - k[i]) // stride[i] + 1 for i in range(n)]
        y = np.zeros((x.shape[0], weight.shape[0], *out))
        per_in, per_out = weight.shape[1], weight.shape[0] // groups
        for o in range(weight.shape[0]):
            xs = x[:, o // per_out * per_in:(o // per_out + 1) * per_in]
            for at in np.ndindex(*out):
                sl = tuple(slice(at[i] * stride[i], at[i] * stride[i] + k[i], dilation[i]) for i in range(n))
                y[(slice(None), o) + at] = (xs[(slice(None), slice(None)) + sl] * weight[o]).reshape(x.shape[0], -1).sum(1)
        y = y if bias is None else y + bias.reshape((1, -1) + (1,) * n)
        return y.astype(np.float32)
    for n, size in ((1, 7), (2, 6), (3, 5)):
        for stride, dilation, groups, pad in [(1, 1, 1, 0), (2, 1, 1, 1), (1, 2, 2, 2), (2, 1, 4, 1)]:
            xs, ws = (2, 4, *[size] * n), (4, 4 // groups, *[3] * n)
            p = [pad, pad + (pad > 0)] * n
            given = {"strides": [stride] * n, "dilations": [dilation] * n, "groups": groups, "pad": p, "pad_type": "custom"}
            yield C("conv", call("conv", **given),
                    lambda x, weight, bias=None, a=(stride, p, dilation, groups), n=n:
                    conv(x, weight, [a[0]] * n, a[1], [a[2]] * n, a[3], bias), infers=False, tol=4e-6,
                    note=f"{stride}{dilation}{groups}{pad}", x=f32(*xs), fixed={"weight": f32(*ws), "bias": f32(4)})
    for q, k, mask in [((1, 2, 3, 4), (1, 2, 5, 4), None), ((2, 3, 4), (2, 5, 4), "float"), ((1, 2, 3, 4), (1, 2, 5, 4), "bool")]:
        def attend(query, key, value, attn_mask=None):
            s = query.astype(np.float64) @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1])
            if attn_mask is not None:
                s = np.where(attn_mask, s, -np.inf) if attn_mask.dtype == bool else s + attn_mask
            e = np.exp(s - s.max(-1, keepdims=True))
            return (e / e.sum(-1, keepdims=True) @ value).astype(np.float32)
        m = {} if mask is None else {"attn_mask": f32(q[-2], k[-2]) if mask == "float" else
                                     np.triu(np.ones((q[-2], k[-2]), bool), 0) | np.eye(q[-2], k[-2], dtype=bool)}
        yield C("scaled_dot_product_attention", call("scaled_dot_product_attention"), attend, tol=8e-6, infers=False,
                note=str(mask), query=f32(*q), key=f32(*k), value=f32(*k[:-1], 3), **m)


def cases():
    RNG.bit_generator.state = SEED
    return [*unary_cases(), *cast_cases(), *binary_cases(), *reduce_cases(), *norm_cases(), *product_cases()]
