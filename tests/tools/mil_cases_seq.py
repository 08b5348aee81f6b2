# SPDX-License-Identifier: MIT
"""Cases of mil_harness: recurrent, random and list ops, codes, constants that decode, control flow.

The recurrent definitions are what coremltools' own tests compare Core ML with (scaled_tanh is tanh there, hard_sigmoid has
0.2 and 0.5, clip bounds the cell state, a reversed sequence stays in order of computation)."""
import math

import numpy as np
from coremltools.converters.mil.mil import types
from mil_cases_elem import RNG, SEED, call, f16, f32, ints
from mil_harness import C

ACT = {"tanh": np.tanh, "scaled_tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "relu": lambda x: np.maximum(x, 0),
       "linear": lambda x: x, "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1)}
ACT["sigmoid_hard"] = ACT["hard_sigmoid"]


# ------------------------------------------------------------------ recurrent
def rnn_step(x, h, w):
    return w["act"](w["ih"] @ x + w["hh"] @ h + w["b"])


def gru_step(x, h, w):
    n = len(h)
    pre_x, bias = w["ih"] @ x + w["bi"], w["b"]
    r = w["gate"](pre_x[:n] + w["hh"][:n] @ h + bias[:n])
    z = w["gate"](pre_x[2 * n:] + w["hh"][2 * n:] @ h + bias[2 * n:])
    mid = w["hh"][n:2 * n]
    inner = r * (mid @ h + bias[n:2 * n]) if w["after"] else mid @ (r * h) + bias[n:2 * n]
    return (1 - z) * w["act"](pre_x[n:2 * n] + inner) + z * h


def lstm_step(x, h, c, w):
    n, p = len(h), w["p"]
    i, f, o, z = np.split(w["ih"] @ x + w["hh"] @ h + w["b"], 4)
    i, f, z = w["gate"](i + p[:n] * c), w["gate"](f + p[n:2 * n] * c), w["cell"](z)
    c = f * c + i * z
    if w["clip"]:
        c = np.clip(c, -w["clip"], w["clip"])
    return w["gate"](o + p[2 * n:] * c) * w["act"](c), c


def unroll(step, x, states, w, backwards, aligned):
    """Outputs [s, b, h] and last states, by batch element and step; aligned: output t belongs to x[t]."""
    s, b, _ = x.shape
    out = np.zeros((s, b, states[0].shape[1]))
    last = [st.astype(np.float64).copy() for st in states]
    for k in range(b):
        now = [st[k].astype(np.float64) for st in states]
        for t in range(s):
            at = s - 1 - t if backwards else t
            now = step(x[at, k].astype(np.float64), *now, w)
            now = list(now) if isinstance(now, tuple) else [now]
            out[at if aligned else t, k] = now[0]
        for st, v in zip(last, now):
            st[k] = v
    return out, last


def uni(kind, x, states, w, direction, sequence):
    out, last = unroll({"rnn": rnn_step, "gru": gru_step, "lstm": lstm_step}[kind], x, states, w, direction == "reverse", False)
    out = out if sequence else last[0][None]
    return [np.asarray(v, np.float32) for v in (out, *last)]


def recurrent_cases():
    for kind, gates in (("rnn", 1), ("gru", 3), ("lstm", 4)):
        for n, (s, b, i, h, direction, sequence, bias) in enumerate([
                (3, 2, 4, 3, "forward", True, True), (3, 2, 4, 3, "reverse", True, True), (1, 1, 1, 2, "forward", False, False),
                (4, 3, 2, 1, "reverse", False, True), (5, 1, 3, 4, "forward", False, True), (2, 2, 3, 5, "reverse", True, False)]):
            for k, act in enumerate(ACT):
                if kind == "lstm" and act == "sigmoid_hard" or kind != "lstm" and act == "hard_sigmoid" and n:
                    continue
                yield one_recurrent(kind, gates, s, b, i, h, direction, sequence, bias, act,
                                    list(ACT)[(k + n + 2) % 6] if kind != "rnn" else "tanh", 8 if n == 3 else 6)
    yield one_recurrent("gru", 3, 3, 2, 4, 3, "forward", True, True, "tanh", "sigmoid", 9, after=True, input_bias=True)
    yield one_recurrent("gru", 3, 3, 2, 4, 3, "reverse", False, True, "tanh", "sigmoid", 9, input_bias=True)
    yield one_recurrent("gru", 3, 2, 1, 2, 2, "forward", True, False, "tanh", "sigmoid", 9, after=True)
    for clip in (0.0, 0.05, 0.3):
        yield one_recurrent("lstm", 4, 4, 2, 3, 2, "forward", True, True, "tanh", "sigmoid", 9, peephole=True, clip=clip)
    for s, b, i, h, sequence, extra in [(3, 2, 4, 3, True, True), (3, 2, 4, 3, False, False), (1, 1, 2, 1, True, True)]:
        yield both_ways(s, b, i, h, sequence, extra)
    for c in (one_recurrent("lstm", 4, 3, 2, 4, 3, "forward", True, True, "tanh", "sigmoid", 8),
              one_recurrent("gru", 3, 3, 2, 4, 3, "forward", True, True, "tanh", "sigmoid", 8)):
        c.symbolic, c.note = (("x", 0),), c.note + " flexible"
        yield c


def one_recurrent(kind, gates, s, b, i, h, direction, sequence, bias, act, gate, opset, peephole=False, clip=0.0, after=False,
                  input_bias=False):
    fixed = {"weight_ih": f32(gates * h, i, lo=-0.5, hi=0.5), "weight_hh": f32(gates * h, h, lo=-0.5, hi=0.5)}
    zeros = np.zeros(gates * h)
    if bias:
        fixed["bias"] = f32(gates * h, lo=-1, hi=1)
    if peephole:
        fixed["peephole"] = f32(3 * h, lo=-1, hi=1)
    if input_bias:
        fixed["input_bias"] = f32(gates * h, lo=-1, hi=1)
    params = {"direction": direction, "output_sequence": sequence, "activation": act}
    if kind != "rnn":
        params["recurrent_activation"] = gate
    if kind == "lstm":
        params["cell_activation"] = "relu" if act == "linear" else "tanh"
    if clip:
        params["clip"] = np.float32(clip)
    if after:
        params["reset_after"] = True

    def want(x, initial_h, weight_ih, weight_hh, initial_c=None, bias=zeros, peephole=np.zeros(3 * h), input_bias=zeros):
        w = {"ih": weight_ih.astype(np.float64), "hh": weight_hh.astype(np.float64), "b": bias, "bi": input_bias, "p": peephole,
             "act": ACT[act], "gate": ACT[gate], "cell": ACT[params.get("cell_activation", "tanh")], "clip": clip,
             "after": after}
        return uni(kind, x, [initial_h] + ([initial_c] if initial_c is not None else []), w, direction, sequence)
    arrays = {"x": f32(s, b, i, lo=-1, hi=1), "initial_h": f32(b, h, lo=-1, hi=1)}
    if kind == "lstm":
        arrays["initial_c"] = f32(b, h, lo=-1, hi=1)
    return C(kind, call(kind, **params), want, opset=opset, tol=1e-5, infers=False, fixed=fixed,
             note=f"{direction} {act} {gate} {sequence} {clip} {after}", **arrays)


def both_ways(s, b, i, h, sequence, extra):
    fixed = {"weight_ih": f32(4 * h, i), "weight_hh": f32(4 * h, h), "weight_ih_back": f32(4 * h, i),
             "weight_hh_back": f32(4 * h, h)}
    if extra:
        fixed.update(bias=f32(4 * h), bias_back=f32(4 * h), peephole=f32(3 * h), peephole_back=f32(3 * h))

    def want(x, initial_h, initial_c, **f):
        parts = []
        for d, back in enumerate(("", "_back")):
            w = {"ih": f["weight_ih" + back], "hh": f["weight_hh" + back], "b": f.get("bias" + back, np.zeros(4 * h)),
                 "p": f.get("peephole" + back, np.zeros(3 * h)), "gate": ACT["sigmoid"], "cell": np.tanh, "act": np.tanh,
                 "clip": 0}
            col = slice(d * h, (d + 1) * h)
            out, last = unroll(lstm_step, x, [initial_h[:, col], initial_c[:, col]], w, d == 1, True)
            parts.append([out if sequence else last[0][None], *last])
        return [np.concatenate([p[k] for p in parts], axis=-1).astype(np.float32) for k in range(3)]
    return C("lstm", call("lstm", direction="bidirectional", output_sequence=sequence), want, tol=1e-5, infers=False,
             fixed=fixed, note=f"both ways {sequence}", x=f32(s, b, i), initial_h=f32(b, 2 * h), initial_c=f32(b, 2 * h))


# ------------------------------------------------------------------ random: the generator that ref_random.c describes
M64 = (1 << 64) - 1


def mix(z):
    z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & M64
    z = ((z ^ z >> 27) * 0x94d049bb133111eb) & M64
    return z ^ z >> 31


def unit(seed, i):
    return (mix((mix(seed & M64) + (i + 1) * 0x9e3779b97f4a7c15) & M64) >> 11) * 2.0 ** -53


def draws(seed, n):
    return np.array([unit(seed, i) for i in range(n)])


def random_cases():
    for shape, seed in [([4], 1), ([2, 3], 7), ([1, 2, 3, 4], 12345), ([3], 0), ([5], -2)]:
        n = int(np.prod(shape))
        yield C("random_uniform", call("random_uniform", shape=shape, low=np.float32(-2), high=np.float32(3), seed=seed),
                lambda shape=shape, seed=seed, n=n: (-2 + 5 * draws(seed, n)).reshape(shape).astype(np.float32), note=str(seed))
        yield C("random_bernoulli", call("random_bernoulli", shape=shape, prob=np.float32(0.3), seed=seed),
                lambda shape=shape, seed=seed, n=n: (draws(seed, n) < np.float32(0.3)).reshape(shape).astype(np.float32),
                note=str(seed))

        def normal(shape=shape, seed=seed, n=n):
            u = draws(seed, 2 * n)
            z = np.sqrt(-2 * np.log(1 - u[0::2])) * np.cos(2 * math.pi * u[1::2])
            return (1 + 2 * z).reshape(shape).astype(np.float32)
        yield C("random_normal", call("random_normal", shape=shape, mean=np.float32(1), stddev=np.float32(2), seed=seed),
                normal, note=str(seed))
    for op in ("random_uniform", "random_bernoulli", "random_normal"):
        yield C(op, lambda mb, shape, op=op: mb.shape(x=getattr(mb, op)(shape=shape)), lambda shape: shape, const=False,
                infers=False, note="computed shape, no seed", shape=np.array([2, 5], np.int32))
    for mode, s, size in [("probs", (3,), 5), ("logits", (2, 4), 3), ("probs", (2, 2, 3), 2), ("logits", (1, 5), 1)]:
        x = f32(*s, lo=0.1) if mode == "probs" else f32(*s)

        def categorical(x, mode=mode, size=size):
            rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
            w = rows if mode == "probs" else np.exp(rows - rows.max(-1, keepdims=True))
            sums = np.cumsum(w, axis=-1)
            u = draws(9, len(rows) * size).reshape(len(rows), size)
            at = [[int(np.argmax(sums[r] > u[r, k] * sums[r, -1])) for k in range(size)] for r in range(len(rows))]
            return np.array(at, np.float32).reshape(x.shape[:-1] + (size,))
        yield C("random_categorical", call("random_categorical", mode=mode, size=size, seed=9), categorical, note=mode, x=x)


# ------------------------------------------------------------------ codes and constants
def quantize(x, scale, zero=0, axis=None, t=np.int8):
    shape = [-1 if axis is not None and a == axis % x.ndim else 1 for a in range(x.ndim)] if np.ndim(scale) else []
    s, z = np.reshape(scale, shape), np.reshape(zero, shape) if np.ndim(zero) else zero
    lim = np.iinfo(t)
    return np.clip(np.rint(x / s) + z, lim.min, lim.max).astype(t)


def dequantize(x, scale, zero, axis):
    shape = [-1 if axis is not None and a == axis % x.ndim else 1 for a in range(x.ndim)] if np.ndim(scale) else []
    z = np.reshape(zero, shape) if np.ndim(zero) else zero
    return (np.reshape(scale, shape) * (x.astype(np.float32) - np.float32(z))).astype(scale.dtype)


def code_cases():
    for t, name in ((np.int8, "int8"), (np.uint8, "uint8")):
        for s, axis in [((3,), None), ((2, 3), None), ((2, 3), 1), ((2, 3, 4), -2), ((2, 3), 0)]:
            n = () if axis is None else (s[axis],)
            scale, zero = f32(*n, lo=0.01, hi=0.05), ints(*n, lo=0, hi=20, t=t)
            given = {} if axis is None else {"axis": axis}
            yield C("quantize", call("quantize", output_dtype=name, **given), lambda input, scale, zero_point, a=axis, t=t:
                    quantize(input, scale, zero_point.astype(np.float32), a, t), opset=8, note=f"{name} {axis}", input=f32(*s),
                    fixed={"scale": scale, "zero_point": zero})
            yield C("quantize", call("quantize", output_dtype=name, **given), opset=8, note=f"{name} {axis} no zero",
                    input=f32(*s), fixed={"scale": scale})
            yield C("dequantize", call("dequantize", **given), lambda input, scale, zero_point, a=axis:
                    dequantize(input, scale, zero_point, a), opset=8, note=f"{name} {axis}", input=ints(*s, lo=0, hi=99, t=t),
                    fixed={"scale": scale, "zero_point": zero})
            yield C("dequantize", call("dequantize", **given), lambda input, scale, a=axis: dequantize(input, scale, 0, a),
                    opset=8, note=f"{name} {axis} no zero", tol=2e-3,
                    input=ints(*s, lo=0, hi=99, t=t), fixed={"scale": scale.astype(np.float16)})


def materialized(fn):
    """Builds a constexpr op and keeps what coremltools decodes it to as the value it infers."""
    def build(mb, **a):
        out = fn(mb, **a)
        out = list(out) if isinstance(out, (list, tuple)) else [out]
        return [Decoded(mb.identity(x=o), o) for o in out]
    return build


class Decoded:
    """A result beside the constant that it is a copy of."""

    def __init__(self, var, source):
        self.name = var.name
        value = source.op.materialized_val_inference()
        self.val = value[source.op.outputs.index(source)] if isinstance(value, tuple) else value
        self.var = var


def typed_codes(n, *shape):
    dt = {1: types.np_uint1_dtype, 2: types.np_uint2_dtype, 3: types.np_uint3_dtype, 4: types.np_uint4_dtype,
          6: types.np_uint6_dtype}.get(n, np.uint8)
    return RNG.integers(0, 1 << n, shape).astype(dt)


def mask_of(*shape):
    m = RNG.integers(0, 2, shape)
    m.ravel()[0] = 1
    return m.astype(types.np_uint1_dtype)


def constexpr_cases():
    for t in (np.float16, np.float32):
        for n in (1, 2, 3, 4, 6, 8):
            for shape, blocks, vec, axis in [((4, 6), (1, 1), 1, None), ((4, 6), (2, 1), 1, None), ((4, 6), (2, 3), 1, None),
                                             ((4, 6), (1, 1), 2, 0), ((4, 6), (1, 2), 3, 1), ((2, 4, 2), (1, 2, 1), 2, -2),
                                             ((4, 6), (2, 1), 2, -1)]:
                lut = RNG.uniform(-2, 2, (*blocks, 1 << n, vec)).astype(t)
                given = {} if axis is None else {"vector_axis": axis}
                codes = typed_codes(n, *shape)
                yield C("constexpr_lut_to_dense", materialized(lambda mb, c=codes, v=lut, g=given:
                        mb.constexpr_lut_to_dense(indices=c, lut=v, **g)), note=f"{n} {shape} {blocks} {vec} {axis}")
                m = mask_of(*shape)
                data = typed_codes(n, int(np.count_nonzero(m)))
                yield C("constexpr_lut_to_sparse", materialized(lambda mb, m=m, d=data, v=lut, g=given:
                        sparse(mb, mb.constexpr_lut_to_sparse(indices_mask=m, indices_nonzero_data=d, lut=v, **g))),
                        note=f"{n} {shape} {blocks} {vec} {axis}")
        for shape, blocks in [((4, 6), (1, 1)), ((4, 6), (4, 1)), ((4, 6), (2, 3)), ((2, 4, 2), (2, 1, 2))]:
            for dt in (np.int8, np.uint8, types.np_int4_dtype, types.np_uint4_dtype):
                scale = RNG.uniform(0.1, 2, blocks).astype(t)
                for offset in (None, RNG.integers(0, 7, blocks).astype(dt), RNG.uniform(-2, 2, blocks).astype(t)):
                    given = {} if offset is None else {"offset": offset}
                    data = RNG.integers(0, 7, shape).astype(dt)
                    name = f"{np.dtype(dt).name} {shape} {blocks} {'' if offset is None else offset.dtype}"
                    yield C("constexpr_blockwise_shift_scale", materialized(lambda mb, d=data, s=scale, g=given:
                            mb.constexpr_blockwise_shift_scale(data=d, scale=s, **g)), note=name)
                    m = mask_of(*shape)
                    some = data.ravel()[:int(np.count_nonzero(m))]
                    yield C("constexpr_sparse_blockwise_shift_scale", materialized(lambda mb, m=m, d=some, s=scale, g=given:
                            sparse(mb, mb.constexpr_sparse_blockwise_shift_scale(data_mask=m, nonzero_data=d, scale=s,
                                                                                 **g))), note=name)
        m = mask_of(3, 5)
        for dt in (t, np.int8):
            some = RNG.uniform(-9, 9, int(np.count_nonzero(m))).astype(dt)
            yield C("constexpr_sparse_to_dense", materialized(lambda mb, m=m, d=some: mb.constexpr_sparse_to_dense(
                nonzero_data=d, mask=m)), note=f"{np.dtype(dt).name}")
    yield from chained_constexprs()
    for n in (1, 2, 4, 8):  # iOS16: flat, packed
        codes = RNG.integers(0, 1 << n, (3, 8)).astype(np.uint8)
        bits = np.unpackbits(codes.reshape(-1, 1), axis=1, bitorder="little")[:, :n].ravel()
        yield C("constexpr_lut_to_dense", materialized(lambda mb, b=bits, n=n: mb.constexpr_lut_to_dense(
            indices=np.packbits(b, bitorder="little"), lut=np.linspace(-1, 1, 1 << n).astype(np.float32),
            shape=np.array([3, 8], np.uint32))), opset=7, note=f"iOS16 {n}")
    for axis, n in [(0, ()), (0, (3,)), (-1, (4,)), (1, (4,))]:
        for t in (np.int8, np.uint8):
            yield C("constexpr_affine_dequantize", materialized(lambda mb, a=axis, q=ints(3, 4, lo=0, hi=99, t=t),
                    s=f32(*n, lo=0.1), z=ints(*n, lo=0, hi=9, t=t): mb.constexpr_affine_dequantize(
                        quantized_data=q, zero_point=z, scale=s, axis=a)), opset=7, note=f"{axis} {n} {np.dtype(t).name}")
    for opset in (7, 9):
        yield C("constexpr_cast", materialized(lambda mb, v=f16(3, 4): mb.constexpr_cast(source_val=v, output_dtype="fp32")),
                opset=opset)
    bits = RNG.integers(0, 2, 24)
    yield C("constexpr_sparse_to_dense", materialized(lambda mb, b=bits, d=f32(int(bits.sum())): mb.constexpr_sparse_to_dense(
        nonzero_data=d, mask=np.packbits(b.astype(np.uint8), bitorder="little"), shape=np.array([4, 6], np.uint32))), opset=7,
        note="iOS16")


def chained_constexprs():
    """Operands that are constexpr results in their turn: tables of int8 with scales, palettes and codes beside a mask."""
    codes = typed_codes(2, 4, 6)
    for blocks, vec, axis in [((1, 1), 1, None), ((2, 1), 1, None), ((2, 2), 1, None), ((1, 1), 2, 0)]:
        table = RNG.integers(-90, 90, (*blocks, 4, vec)).astype(np.int8)
        given = {} if axis is None else {"vector_axis": axis}
        wide = np.repeat(codes, vec, axis=axis or 0)

        def dense(c=codes, v=table, g=given, vec=vec, axis=axis or 0):
            """Looked up one by one."""
            y = np.zeros([d * (vec if a == axis else 1) for a, d in enumerate(c.shape)], np.float64)
            for at in np.ndindex(y.shape):
                i = [p // (vec if a == axis else 1) for a, p in enumerate(at)]
                b = [p // (d // n) for p, d, n in zip(i, c.shape, v.shape)]
                y[at] = v[tuple(b) + (int(c[tuple(i)]), at[axis] % vec)]
            return y
        name = f"{blocks} {vec}"
        yield C("constexpr_lut_to_dense", lambda mb, v=table, g=given: mb.identity(x=mb.constexpr_lut_to_dense(
            indices=codes, lut=v, **g)), lambda f=dense: f().astype(np.int8), infers=False, note=f"int8 {name}")
        for parts in [(1, 1), (4, 1), (2, 3), (wide.shape[0], 6)]:
            scale = RNG.uniform(0.1, 2, parts).astype(np.float32)
            yield C("constexpr_blockwise_shift_scale", lambda mb, v=table, g=given, s=scale: mb.identity(
                x=mb.constexpr_blockwise_shift_scale(data=mb.constexpr_lut_to_dense(indices=codes, lut=v, **g), scale=s)),
                lambda f=dense, s=scale: spread(s, f().shape) * f().astype(np.float32), infers=False, note=f"of int8 {name} {parts}")
        scale = RNG.uniform(0.1, 2, (*blocks, 1, 1)).astype(np.float32)
        yield C("constexpr_lut_to_dense", lambda mb, v=table, g=given, s=scale: mb.identity(x=mb.constexpr_lut_to_dense(
            indices=codes, lut=mb.constexpr_blockwise_shift_scale(data=v, scale=s), **g)),
            lambda f=dense, v=table, s=scale: f(v=s * v).astype(np.float32), infers=False, note=f"scaled int8 {name}")
    for blocks in ((1, 1), (2, 3)):
        mask = mask_of(4, 6)
        few = typed_codes(2, int(np.count_nonzero(mask)))
        table, scale = RNG.integers(-90, 90, (1, 1, 4, 1)).astype(np.int8), RNG.uniform(0.1, 2, blocks).astype(np.float32)

        def build(mb, m=mask, d=few, v=table, s=scale):
            m2, values = mb.constexpr_lut_to_sparse(indices_mask=m, indices_nonzero_data=d, lut=v)
            m3, scaled = mb.constexpr_sparse_blockwise_shift_scale(data_mask=m2, nonzero_data=values, scale=s)
            return mb.identity(x=mb.constexpr_sparse_to_dense(nonzero_data=scaled, mask=m3))

        def want(m=mask, d=few, v=table, s=scale):
            y = np.zeros(m.shape, np.float32)
            y[m != 0] = v.ravel()[d.astype(int)]
            return y * spread(s, m.shape)
        yield C("constexpr_sparse_blockwise_shift_scale", build, want, infers=False, note=f"of a palette {blocks}")


def spread(blocks, shape):
    for a, d in enumerate(shape):
        blocks = np.repeat(blocks, d // blocks.shape[a], axis=a)
    return blocks


def sparse(mb, result):
    """The values, and what they and their mask make."""
    mask, values = result
    return values, mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


# ------------------------------------------------------------------ lists
def list_cases():
    for shape in [(2,), (2, 3)]:
        def fill(mb, x, shape=shape, dynamic=True):
            ls = mb.make_list(init_length=3, elem_shape=shape, dynamic_length=dynamic)
            for i in range(3):
                ls = mb.list_write(ls=ls, index=2 - i, value=mb.gather(x=x, indices=i, axis=0))
            return ls
        x = f32(3, *shape)
        for dynamic in (True, False):
            yield C("list_write", lambda mb, x, f=fill, d=dynamic: mb.list_gather(ls=f(mb, x, dynamic=d), indices=[0, 1, 2, 1]),
                    lambda x: x[::-1][[0, 1, 2, 1]], infers=False, note=f"{shape} {dynamic}", x=x)
            yield C("list_read", lambda mb, x, f=fill, d=dynamic: mb.list_read(ls=f(mb, x, dynamic=d), index=0),
                    lambda x: x[2], infers=False, note=f"{shape} {dynamic}", x=x)
            yield C("list_length", lambda mb, x, f=fill, d=dynamic: mb.list_length(ls=f(mb, x, dynamic=d)),
                    lambda x: np.array(3, np.int32), infers=False, note=f"{shape} {dynamic}", x=x)
        yield C("list_scatter", lambda mb, x, s=shape: mb.list_gather(ls=mb.list_scatter(
            ls=mb.make_list(init_length=4, elem_shape=s), indices=[3, 0, 1], value=x), indices=[0, 1, 2, 3]),
            lambda x: np.stack([x[1], x[2], np.zeros_like(x[0]), x[0]]), infers=False, note=str(shape), x=x)
    yield C("list_write", lambda mb, x: mb.list_length(ls=mb.list_write(ls=mb.make_list(init_length=1, elem_shape=(2,)),
            index=6, value=x)), lambda x: np.array(7, np.int32), infers=False, note="grows", x=f32(2))
    yield C("make_list", lambda mb, x: mb.list_read(ls=mb.list_write(ls=mb.make_list(init_length=2, dtype="int32",
            elem_shape=(2, "any")), index=1, value=x), index=1), lambda x: x, infers=False, trip=False, note="extent unknown", x=ints(2, 5))
    for t, name in ((np.int32, "int32"), (np.float32, "fp32"), (bool, "bool")):
        yield C("list_gather", lambda mb, x, name=name: mb.list_gather(ls=mb.list_scatter(ls=mb.make_list(
            init_length=2, dtype=name, elem_shape=(3,)), indices=[0, 1], value=x), indices=[1]), lambda x: x[1:], infers=False,
            note=name, x=ints(2, 3).astype(t))


# ------------------------------------------------------------------ control flow
def loop_sum(mb, x, n):
    """x doubled n times, n counted up: loop variables of two types."""
    return mb.while_loop(_cond=lambda i, v: mb.less(x=i, y=n), _body=lambda i, v: (mb.add(x=i, y=1), mb.mul(x=v, y=np.float32(2))),
                         loop_vars=(np.int32(0), x))


def flow_cases():
    for yes in (True, False):
        yield C("cond", lambda mb, p, x: mb.cond(pred=p, _true_fn=lambda: mb.add(x=x, y=np.float32(1)),
                                                 _false_fn=lambda: mb.mul(x=x, y=np.float32(2))),
                lambda p, x: x + 1 if p else x * 2, infers=False, note=str(yes), p=np.array(yes), x=f32(2, 3))
        yield C("cond", lambda mb, p, q, x: mb.cond(
            pred=p, _true_fn=lambda: mb.cond(pred=q, _true_fn=lambda: mb.identity(x=x), _false_fn=lambda: mb.exp(x=x)),
            _false_fn=lambda: mb.square(x=x)), lambda p, q, x: (x if q else np.exp(x)) if p else x * x, infers=False,
            note=f"nested {yes}", p=np.array(True), q=np.array(yes), x=f32(4))
        yield C("cond", lambda mb, p, x, y: mb.cond(pred=p, _true_fn=lambda: (mb.add(x=x, y=y), mb.identity(x=y)),
                                                    _false_fn=lambda: (mb.sub(x=x, y=y), mb.identity(x=x))),
                lambda p, x, y: (x + y, y) if p else (x - y, x), infers=False, note=f"two results {yes}", p=np.array(yes),
                x=f32(3), y=f32(3))
    for n in (0, 1, 5):
        yield C("while_loop", lambda mb, x, n: loop_sum(mb, x, n), lambda x, n: (np.array(n, np.int32), x * 2.0 ** int(n)),
                infers=False, note=str(n), x=f32(2, 2), n=np.array(n, np.int32))

    def nested(mb, x):
        """For i in 0..2: for j in 0..i: v += x[j]"""
        def body(i, v):
            _, inner = mb.while_loop(_cond=lambda j, w: mb.less(x=j, y=i), _body=lambda j, w: (
                mb.add(x=j, y=1), mb.add(x=w, y=mb.gather(x=x, indices=j, axis=0))), loop_vars=(np.int32(0), v))
            return mb.add(x=i, y=1), inner
        return mb.while_loop(_cond=lambda i, v: mb.less(x=i, y=3), _body=body, loop_vars=(np.int32(0), np.float32(0)))[1]
    yield C("while_loop", nested, lambda x: (2 * x[0] + x[1]).astype(np.float32), infers=False, note="nested", x=f32(4))

    def grows(mb, x):
        """A loop-carried shape: x joined to itself until it has 8 rows or more."""
        return mb.while_loop(_cond=lambda v: mb.less(x=mb.gather(x=mb.shape(x=v), indices=0, axis=0), y=8),
                             _body=lambda v: mb.concat(values=(v, v), axis=0), loop_vars=(x,))
    yield C("while_loop", grows, lambda x: np.tile(x, (4, 1)), infers=False, note="shape grows", const=False,
            symbolic=(("x", 0),), x=f32(2, 3))

    def listed(mb, x):
        """List written in a loop, then read whole."""
        _, ls = mb.while_loop(_cond=lambda i, ls: mb.less(x=i, y=4), _body=lambda i, ls: (
            mb.add(x=i, y=1), mb.list_write(ls=ls, index=i, value=mb.mul(x=x, y=mb.cast(x=i, dtype="fp32")))),
            loop_vars=(np.int32(0), mb.make_list(init_length=1, elem_shape=(3,))))
        return mb.list_gather(ls=ls, indices=[0, 1, 2, 3])
    yield C("while_loop", listed, lambda x: np.stack([x * i for i in range(4)]), infers=False, note="list", x=f32(3))

    def branch(mb, x, n):
        """cond inside while: odd steps add, even ones negate."""
        def body(i, v):
            odd = mb.equal(x=mb.mod(x=i, y=2), y=1)
            return mb.add(x=i, y=1), mb.cond(pred=odd, _true_fn=lambda: mb.add(x=v, y=np.float32(1)),
                                             _false_fn=lambda: mb.mul(x=v, y=np.float32(-1)))
        return mb.while_loop(_cond=lambda i, v: mb.less(x=i, y=n), _body=body, loop_vars=(np.int32(0), x))[1]

    def branch_want(x, n):
        for i in range(int(n)):
            x = x + np.float32(1) if i % 2 else -x
        return x
    yield C("while_loop", branch, branch_want, infers=False, note="cond inside", x=f32(3), n=np.array(5, np.int32))


def cases():
    RNG.bit_generator.state = SEED
    return [*recurrent_cases(), *random_cases(), *code_cases(), *constexpr_cases(), *list_cases(), *flow_cases()]
