# SPDX-License-Identifier: MIT
"""MIL ops one by one in `ref`: convolutions, pools, norms per channel, resizing, sampling, crops, blocks, windows, boxes, pad and
tile, each through a package of coremltools' Builder against a definition in numpy that is written here from the op's
documentation (one result element at a time), coremltools' own value where it has one, PyTorch's recorded results
(tests/golden/vision.npz), and values that Core ML itself gave, as coremltools' tests record them.

tests/tools/mil_harness.py says how packages are made."""
import json
import math
import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools"))
import mil_harness  # noqa: E402
from mil_harness import C, run_cases  # noqa: E402

RNG = np.random.default_rng(27)
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "vision.npz"


def f32(*shape, lo=-3.0, hi=3.0):
    return RNG.uniform(lo, hi, shape).astype(np.float32)


def pick(*options):
    return options[int(RNG.integers(len(options)))]


def ints(n, lo, hi):
    return [int(v) for v in RNG.integers(lo, hi, n, endpoint=True)]


# ------------------------------------------------------------------ where windows lie
def pads_of(pad_type, given, size, reach, strides):
    """(before, behind) per axis; reach: elements from a window's first tap to its last"""
    found = []
    for i, (d, r, s) in enumerate(zip(size, reach, strides)):
        if pad_type == "custom":
            found.append((given[2 * i], given[2 * i + 1]))
        elif pad_type == "valid":
            found.append((0, 0))
        else:
            total = max((math.ceil(d / s) - 1) * s + r - d, 0)
            less = total // 2
            found.append((less, total - less) if pad_type == "same" else (total - less, less))
    return found


def conv_def(x, w, b, strides, dilations, groups, pad_type, pad):
    k = w.shape[2:]
    reach = [(a - 1) * d + 1 for a, d in zip(k, dilations)]
    pads = pads_of(pad_type, pad, x.shape[2:], reach, strides)
    xp = np.pad(x.astype(np.float64), [(0, 0), (0, 0)] + pads)
    out = [(n - r) // s + 1 for n, r, s in zip(xp.shape[2:], reach, strides)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    ci, co = x.shape[1] // groups, w.shape[0] // groups
    for at in np.ndindex(*out):
        taps = tuple(slice(a * s, a * s + r, d) for a, s, r, d in zip(at, strides, reach, dilations))
        for g in range(groups):
            part = xp[(slice(None), slice(g * ci, (g + 1) * ci), *taps)]
            y[(slice(None), slice(g * co, (g + 1) * co), *at)] = np.tensordot(
                part, w[g * co:(g + 1) * co].astype(np.float64), axes=(list(range(1, x.ndim)), list(range(1, x.ndim))))
    return (y + (0 if b is None else b.reshape(-1, *[1] * len(k)))).astype(x.dtype)


def deconv_def(x, w, b, strides, dilations, groups, pad_type, pad, shape):
    k = w.shape[2:]
    reach = [(a - 1) * d + 1 for a, d in zip(k, dilations)]
    full = [(d - 1) * s + r for d, s, r in zip(x.shape[2:], strides, reach)]
    out = list(shape[2:]) if shape else [d * s if pad_type.startswith("same") else f
                                         for d, s, f in zip(x.shape[2:], strides, full)]
    first = [0] * len(k)
    for i in range(len(k)):
        if pad_type == "custom":
            first[i] = pad[2 * i]
            out[i] = out[i] if shape else full[i] - pad[2 * i] - pad[2 * i + 1]
        elif pad_type != "valid":
            total = max(full[i] - out[i], 0)
            first[i] = total // 2 if pad_type == "same" else total - total // 2
    ci, co = x.shape[1] // groups, w.shape[1]
    wide = [max(f, a + o) for f, a, o in zip(full, first, out)]
    y = np.zeros((x.shape[0], co * groups, *wide))
    for at in np.ndindex(*x.shape[2:]):
        taps = tuple(slice(a * s, a * s + r, d) for a, s, r, d in zip(at, strides, reach, dilations))
        for g in range(groups):
            px = x[(slice(None), slice(g * ci, (g + 1) * ci), *at)].astype(np.float64)
            y[(slice(None), slice(g * co, (g + 1) * co), *taps)] += np.tensordot(px, w[g * ci:(g + 1) * ci], axes=(1, 0))
    y = y[(slice(None), slice(None), *[slice(a, a + o) for a, o in zip(first, out)])]
    return (y + (0 if b is None else b.reshape(-1, *[1] * len(k)))).astype(x.dtype)


def pool_def(op, x, k, strides, pad_type, pad, ceil=False, exclude=False):
    pads = pads_of(pad_type, pad, x.shape[2:], k, strides)
    out = []
    for d, (a, b), n, s in zip(x.shape[2:], pads, k, strides):
        o = (d + a + b - n + (s - 1 if ceil else 0)) // s + 1
        out.append(o - 1 if ceil and a + b > 0 and (o - 1) * s >= d + (a + b) / 2 else o)
    y = np.zeros((*x.shape[:2], *out))
    for at in np.ndindex(*out):
        first = [i * s - a for i, s, (a, _) in zip(at, strides, pads)]
        inside = tuple(slice(max(f, 0), max(min(f + n, d), 0)) for f, n, d in zip(first, k, x.shape[2:]))
        v = x[(slice(None), slice(None), *inside)].astype(np.float64).reshape(*x.shape[:2], -1)
        area = np.prod([min(f + n, d + b) - f for f, n, d, (_, b) in zip(first, k, x.shape[2:], pads)])
        y[(slice(None), slice(None), *at)] = {"max_pool": lambda: v.max(-1), "l2_pool": lambda: np.sqrt((v * v).sum(-1)),
                                              "avg_pool": lambda: v.sum(-1) / (v.shape[-1] if exclude else area)}[op]()
    return y.astype(x.dtype)


def window_cases():
    cases = []
    for nd, pad_type, kind in product((1, 2, 3), ("valid", "custom", "same", "same_lower"), range(6)):
        groups = (1, 1, 2, 3, 1, 2)[kind]
        ci, co = groups * pick(1, 2), groups * pick(1, 2, 3)
        k, strides = ints(nd, 1, 3), ints(nd, 1, 3)
        dilations = [1] * nd if kind in (0, 3) else ints(nd, 1, 2)
        size = [n + d * (a - 1) for n, a, d in zip(ints(nd, 2, 6), k, dilations)]
        pad = ints(2 * nd, 0, 2)
        dt = np.float16 if kind == 5 else np.float32
        x, w = f32(pick(1, 2), ci, *size).astype(dt), f32(co, ci // groups, *k).astype(dt)
        b = f32(co).astype(dt) if kind % 2 else None
        args = dict(strides=strides, dilations=dilations, groups=groups, pad_type=pad_type)
        if pad_type == "custom":
            args["pad"] = pad
        fixed = {} if b is None else {"bias": b}

        def build(mb, x, w, bias=None, args=args):
            return mb.conv(x=x, weight=w, **({} if bias is None else {"bias": bias}), **args)

        def want(x, w, bias=None, args=args, pad=pad):
            return conv_def(x, w, bias, args["strides"], args["dilations"], args["groups"], args["pad_type"], pad)

        moving = max(dilations) == 1  # coremltools has no dilated convolution with weights made at run time
        opset = 9 if pad_type == "same_lower" else pick(6, 9) if dt == np.float32 else 9
        cases.append(C("conv", build, want, x=x, opset=opset, note=f"{nd}d {pad_type} {kind}", tol=3e-6,
                       **(dict(w=w, fixed=fixed) if moving else dict(fixed={"w": w, **fixed}))))
        cases += [deconv_case(nd, pad_type, kind)]
    for nd, pad_type, op, kind in product((1, 2, 3), ("valid", "custom", "same", "same_lower"),
                                          ("avg_pool", "max_pool", "l2_pool"), range(4)):
        if op != "l2_pool" or nd < 3:
            cases += pool_case(nd, pad_type, op, kind)
    return cases + quantized_cases()


def deconv_case(nd, pad_type, kind):
    groups = (1, 1, 2, 3, 1, 2)[kind]
    ci, co = groups * pick(1, 2), pick(1, 2, 3)
    k, strides = ints(nd, 1, 4), ints(nd, 1, 3)
    dilations = [1] * nd if kind in (0, 3) else ints(nd, 1, 2)
    size, pad = ints(nd, 2, 5), ints(2 * nd, 0, 1)
    full = [(d - 1) * s + (a - 1) * l + 1 for d, s, a, l in zip(size, strides, k, dilations)]
    if pad_type == "custom" and min(f - 2 for f in full) < 1:
        pad = [0] * (2 * nd)
    x, w, b = f32(2, ci, *size), f32(ci, co, *k), f32(co * groups) if kind % 2 else None
    shape = None
    if pad_type == "same_lower":  # coremltools infers no extents for it: they are given
        shape = [2, co * groups, *[d * s for d, s in zip(size, strides)]]
    elif kind >= 4 and pad_type in ("valid", "custom"):
        shape = [2, co * groups, *[f + s - 1 for f, s in zip(full, strides)]]
    args = dict(strides=strides, dilations=dilations, groups=groups, pad_type=pad_type)
    if pad_type == "custom":
        args["pad"] = pad
    if shape:
        args["output_shape"] = shape

    def build(mb, x, w, bias=None):
        return mb.conv_transpose(x=x, weight=w, **({} if bias is None else {"bias": bias}), **args)

    def want(x, w, bias=None):
        return deconv_def(x, w, bias, strides, dilations, groups, pad_type, pad, shape)

    return C("conv_transpose", build, want, x=x, fixed={"w": w, **({} if b is None else {"bias": b})}, opset=pick(6, 9),
             note=f"{nd}d {pad_type} {kind}", tol=3e-6)


def pool_case(nd, pad_type, op, kind):
    k, strides = ints(nd, 1, 4), ints(nd, 1, 3)
    size = [a + n for a, n in zip(k, ints(nd, 0, 5))]
    ceil = kind == 2 and nd < 3 and not pad_type.startswith("same")
    if ceil:  # else a window may lie wholly behind x
        strides = [min(s, a) for s, a in zip(strides, k)]
    pad = []
    for a in k:
        both = ints(2, 0, a // 2)
        pad += [both[0]] * 2 if ceil else both
    exclude = op == "avg_pool" and kind in (1, 3)
    args = dict(kernel_sizes=k, strides=strides, pad_type=pad_type, ceil_mode=ceil)
    if pad_type == "custom":
        args["pad"] = pad
    if exclude:
        args["exclude_padding_from_average"] = True

    def build(mb, x):
        return getattr(mb, op)(x=x, **args)

    def want(x):
        return pool_def(op, x, k, strides, pad_type, pad, ceil, exclude)

    more = dict(symbolic=(("x", 2),)) if kind == 3 and pad_type in ("same", "valid") else {}
    return [C(op, build, want, x=f32(pick(1, 2), 3, *size).astype(np.float16 if kind == 0 else np.float32),
              opset=9 if pad_type == "same_lower" else pick(6, 9), note=f"{nd}d {pad_type} {kind}", **more)]


def quantized_cases():
    cases = []
    for per_channel, nd in product((False, True), (1, 2)):
        w = RNG.integers(0, 256, (4, 2, *[3] * nd)).astype(np.uint8)
        n = 4 if per_channel else 1
        scale, shift = f32(n, lo=0.01, hi=0.02), f32(n, lo=-1, hi=0)
        if not per_channel:
            scale, shift = scale.reshape(()), shift.reshape(())

        def build(mb, x, w, scale, shift, nd=nd):
            return mb.conv_quantized(x=x, weight=w, quantization_type="linear", nbits=8, quant_scale=scale, quant_bias=shift,
                                     strides=[2] * nd, pad_type="same", groups=2)

        def want(x, w, scale, shift, nd=nd):
            s, t = (np.broadcast_to(v.reshape(-1, *[1] * (nd + 1)), (4, *[1] * (nd + 1))) for v in (scale, shift))
            return conv_def(x, (w * s + t).astype(np.float32), None, [2] * nd, [1] * nd, 2, "same", None)

        cases.append(C("conv_quantized", build, want, x=f32(1, 4, *[7] * nd), fixed=dict(w=w, scale=scale, shift=shift),
                       opset=6, note=f"{nd}d", tol=3e-6))
    return cases


# ------------------------------------------------------------------ norms
def norm_cases():
    cases = []
    for shape, some in product([(2, 3, 5), (1, 4, 3, 2), (2, 2, 3, 2, 2)], (False, True)):
        c = shape[1]
        p = {"gamma": f32(c), "beta": f32(c)} if some else {}
        per = lambda v, n=len(shape): v.reshape(1, -1, *[1] * (n - 2))  # noqa: E731
        stats = dict(mean=f32(c), variance=f32(c, lo=0.1))

        def want_batch(x, mean, variance, gamma=None, beta=None, per=per):
            y = (x - per(mean)) / np.sqrt(per(variance) + np.float32(1e-3))
            return y if gamma is None else y * per(gamma) + per(beta)

        cases.append(C("batch_norm", lambda mb, x, **k: mb.batch_norm(x=x, epsilon=np.float32(1e-3), **k), want_batch,
                       x=f32(*shape), fixed={**stats, **p}, opset=pick(6, 9)))

        def want_instance(x, gamma=None, beta=None, per=per):
            axes = tuple(range(2, x.ndim))
            y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + np.float32(1e-5))
            return y if gamma is None else y * per(gamma) + per(beta)

        cases.append(C("instance_norm", lambda mb, x, **k: mb.instance_norm(x=x, **k), want_instance, x=f32(*shape), fixed=p,
                       opset=pick(6, 9)))
    for shape, size in product([(2, 5, 4), (1, 7, 2, 3)], (1, 2, 3, 4, 9)):
        def want_lrn(x, size=size):
            y = np.empty_like(x)
            for ch in range(x.shape[1]):
                around = x[:, max(ch - size // 2, 0):ch + (size - 1) // 2 + 1].astype(np.float64)
                y[:, ch] = x[:, ch] / (1.5 + 0.2 / size * (around ** 2).sum(1)) ** 0.6
            return y

        cases.append(C("local_response_norm", lambda mb, x, size=size: mb.local_response_norm(
            x=x, size=size, alpha=np.float32(0.2), beta=np.float32(0.6), k=np.float32(1.5)), want_lrn, x=f32(*shape),
            opset=pick(6, 9)))
    for shape, axes in [((2, 3, 4), [2]), ((2, 3, 4), [1]), ((2, 3, 4), [0, 2]), ((2, 3, 4, 2), [-3, -1]), ((4, 3), [0, 1]),
                        ((2, 3, 4, 2), [1, 2, 3]), ((2, 3, 4), [2, 0, 1])]:
        part = [shape[a] for a in sorted(a % len(shape) for a in axes)]

        def want_layer(x, gamma, beta, axes=axes):
            over = tuple(sorted(a % x.ndim for a in axes))
            shape = [n if i in over else 1 for i, n in enumerate(x.shape)]
            y = (x - x.mean(over, keepdims=True)) / np.sqrt(x.var(over, keepdims=True) + np.float32(1e-5))
            return y * gamma.reshape(shape) + beta.reshape(shape)

        cases.append(C("layer_norm", lambda mb, x, gamma, beta, axes=axes: mb.layer_norm(x=x, gamma=gamma, beta=beta, axes=axes),
                       want_layer, x=f32(*shape), fixed=dict(gamma=f32(*part), beta=f32(*part)), opset=pick(6, 9), tol=4e-6))
    return cases


# ------------------------------------------------------------------ resizing
MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def grid(mode, n, m):
    """where m points lie on 0 .. n-1, from coremltools' documentation of resize_bilinear"""
    i = np.arange(m, dtype=np.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        p = i * ((n - 1) / (m - 1)) if m > 1 else np.array([(n - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0])
    elif mode == "DEFAULT":
        p = i * ((n - n / m) / (m - 1)) if m > 1 else np.zeros(1)
    elif mode == "OFFSET_CORNERS":
        p = max(1, n - 1) / m * (0.5 + i)
    else:
        p = i * (n / m) + 0.5 * (n / m) - 0.5
    return np.clip(p, 0, n - 1)


def linear_def(x, axis, points):
    lo = np.minimum(np.floor(points + 1e-12).astype(int), x.shape[axis] - 1)
    hi = np.minimum(lo + 1, x.shape[axis] - 1)
    t = (points - lo).reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
    return np.take(x, lo, axis) * (1 - t) + np.take(x, hi, axis) * t


def bilinear_def(x, h, w, mode):
    y = linear_def(x.astype(np.float64), -2, grid(mode, x.shape[-2], h))
    return linear_def(y, -1, grid(mode, x.shape[-1], w)).astype(x.dtype)


def nearest_def(x, axis, m, shift):
    return np.take(x, [min(int((i + shift) * x.shape[axis] // m), x.shape[axis] - 1) for i in range(m)], axis)


def resize_cases():
    cases = []
    for shape, (h, w), mode in product([(1, 2, 4, 5), (3, 2, 1), (2, 1, 2, 3, 4)], [(7, 3), (1, 9), (4, 5), (2, 1)], MODES):
        dt = pick(np.float32, np.float32, np.float16)
        cases.append(C("resize_bilinear", lambda mb, x, h=h, w=w, mode=mode: mb.resize_bilinear(
            x=x, target_size_height=h, target_size_width=w, sampling_mode=mode),
            lambda x, h=h, w=w, mode=mode: bilinear_def(x, h, w, mode), x=f32(*shape).astype(dt), opset=9 if dt == np.float16
            else pick(6, 8), note=f"{h}x{w} {mode}", tol=3e-6))

        def want_resize(x, h=h, w=w, mode=mode):
            return bilinear_def(x, h, w, mode)

        cases.append(C("resize", lambda mb, x, h=h, w=w, mode=mode: mb.resize(
            x=x, shape=[1, h, w], resized_dims=np.uint32(2), interpolation_mode="LINEAR", sampling_mode=mode), want_resize,
            x=f32(*shape), opset=8, note=f"{h}x{w} {mode}", tol=3e-6))
    for shape, sizes, k in [((2, 3, 4), [5, 6, 7], 3), ((2, 3, 4), [6], 1), ((2, 3, 4), [9, 9, 0], 1), ((2, 3, 4), [0, 8], 2)]:
        def want_axes(x, sizes=sizes, k=k):
            for i in range(k):
                n = sizes[len(sizes) - k + i]
                a = x.ndim - k + i
                x = linear_def(x.astype(np.float64), a, grid("UNALIGN_CORNERS", x.shape[a], n or x.shape[a]))
            return x.astype(np.float32)

        cases.append(C("resize", lambda mb, x, sizes=sizes, k=k: mb.resize(
            x=x, shape=sizes, resized_dims=np.uint32(k), sampling_mode="UNALIGN_CORNERS"), want_axes, x=f32(*shape), opset=8,
            note=f"{k} axes", tol=3e-6))

    def want_moving(x, shape):
        return bilinear_def(x, shape[1], shape[2], "DEFAULT")

    cases.append(C("resize", lambda mb, x, shape: mb.resize(x=x, shape=shape, resized_dims=np.uint32(2)), want_moving,
                   x=f32(2, 3, 4), shape=np.array([2, 5, 7], np.int32), opset=8, note="shape made at run time", tol=3e-6))
    for shape, (h, w) in product([(1, 2, 4, 5), (2, 3, 2), (1, 1, 1, 1)], [(8, 10), (3, 7), (1, 2), (9, 4)]):
        cases.append(C("resize_nearest_neighbor", lambda mb, x, h=h, w=w: mb.resize_nearest_neighbor(
            x=x, target_size_height=h, target_size_width=w),
            lambda x, h=h, w=w: nearest_def(nearest_def(x, x.ndim - 2, h, 0.5), x.ndim - 1, w, 0.5), x=f32(*shape),
            opset=pick(6, 9), note=f"{h}x{w}"))
        cases.append(C("resize", lambda mb, x, h=h, w=w: mb.resize(
            x=x, shape=[h, w], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
            lambda x, h=h, w=w: nearest_def(nearest_def(x, x.ndim - 2, h, 0.5), x.ndim - 1, w, 0.5),
            x=pick(f32(*shape), RNG.integers(-9, 9, shape).astype(np.int32)), opset=8, note=f"nearest {h}x{w}"))
    for shape, fh, fw in product([(1, 2, 3, 4), (2, 3, 5)], (1, 2, 3, 2.5, 0.5), (2, 1, 0.75, 3.5)):
        fh, fw = (fh, fw) if isinstance(fh, int) == isinstance(fw, int) else (float(fh), float(fw))
        h, w = math.floor(shape[-2] * fh), math.floor(shape[-1] * fw)
        kind = np.float32 if isinstance(fh, float) else np.int32
        cases.append(C("upsample_nearest_neighbor", lambda mb, x, fh=kind(fh), fw=kind(fw): mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=fh, scale_factor_width=fw),
            lambda x, h=h, w=w: nearest_def(nearest_def(x, x.ndim - 2, h, 0), x.ndim - 1, w, 0), x=f32(*shape),
            opset=pick(6, 9), note=f"{fh} x {fw}", symbolic=(("x", 0),)))
        for align, half in ((True, None), (False, None), (False, False), (False, True), (True, False)):
            mode = "STRICT_ALIGN_CORNERS" if align else "DEFAULT" if half is False else "UNALIGN_CORNERS"
            more = {} if half is None else {"half_pixel_centers": half}
            cases.append(C("upsample_bilinear", lambda mb, x, fh=kind(fh), fw=kind(fw), align=align, more=more:
                           mb.upsample_bilinear(x=x, scale_factor_height=fh, scale_factor_width=fw, align_corners=align, **more),
                           lambda x, h=h, w=w, mode=mode: bilinear_def(x, h, w, mode), x=f32(*shape),
                           opset=7 if more else pick(6, 9), note=f"{fh} x {fw} {align} {half}", tol=3e-6))
    return cases


# ------------------------------------------------------------------ sampling
def fold(p, n, mode):
    if mode == "border":
        return min(max(p, 0), n - 1)
    if mode in ("reflection", "symmetric"):
        lo, span = (0, n - 1) if mode == "reflection" else (-0.5, n)
        if span == 0:
            return 0.0
        r = abs(p - lo) % (2 * span)
        return min(max(lo + (r if r <= span else 2 * span - r), 0), n - 1)
    return p


def sample_def(img, y, x, nearest, fill):
    h, w = img.shape

    def at(i, j):
        return float(img[i, j]) if 0 <= i < h and 0 <= j < w else fill

    if nearest:
        return at(round(y), round(x))
    i, j = math.floor(y), math.floor(x)
    a, b = y - i, x - j
    return (at(i, j) * (1 - b) + at(i, j + 1) * b) * (1 - a) + (at(i + 1, j) * (1 - b) + at(i + 1, j + 1) * b) * a


def pixel_def(v, n, coords, align):
    v = float(v)
    if coords == "unnormalized":
        return v
    if coords == "normalized_minus_one_to_one":
        return (v + 1) / 2 * (n - 1) if align else ((v + 1) * n - 1) / 2
    return v * (n - 1) if align else v * n - 0.5


def resample_def(x, at, sampling, padding, fill, coords, align):
    n, c, h, w = x.shape
    y = np.zeros((n, c, *at.shape[1:3]), np.float32)
    for b, ch, i, j in np.ndindex(*y.shape):
        px = fold(pixel_def(at[b, i, j, 0], w, coords, align), w, padding)
        py = fold(pixel_def(at[b, i, j, 1], h, coords, align), h, padding)
        y[b, ch, i, j] = sample_def(x[b, ch], py, px, sampling == "nearest", fill)
    return y


def affine_def(x, m, h, w):
    at = np.zeros((x.shape[0], h, w, 2))
    for b, i, j in np.ndindex(*at.shape[:3]):
        a = m[b if m.shape[0] > 1 else 0].astype(np.float64)
        p = np.array([2 * j / (w - 1) - 1 if w > 1 else 0.0, 2 * i / (h - 1) - 1 if h > 1 else 0.0, 1.0])
        at[b, i, j] = a[:3] @ p, a[3:] @ p
    return resample_def(x, at, "bilinear", "constant", 0.0, "normalized_minus_one_to_one", True)


BOXES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")


def crop_def(x, boxes, images, h, w, normal, scale, boxes_as, mode, fill):
    y = np.zeros((len(boxes), x.shape[1], h, w), np.float32)
    for k, box in enumerate(boxes.astype(np.float64) * scale):
        if boxes_as.startswith("CENTER"):
            box = np.array([box[0] - box[2] / 2, box[1] - box[3] / 2, box[0] + box[2] / 2, box[1] + box[3] / 2])
        if "WIDTH_FIRST" in boxes_as:
            box = box[[1, 0, 3, 2]]
        if normal:
            box = box * np.array([x.shape[2] - 1, x.shape[3] - 1] * 2)
        lines = []
        for a, b, m in ((box[0], box[2], h), (box[1], box[3], w)):
            p = grid(mode, abs(b - a) + 1, m) if mode != "OFFSET_CORNERS" else max(1, b - a) / m * (0.5 + np.arange(m))
            lines.append(a + p if b >= a or mode == "OFFSET_CORNERS" else a - p)
        for ch, i, j in np.ndindex(*y.shape[1:]):
            py, px = lines[0][i], lines[1][j]
            inside = -1e-6 <= py <= x.shape[2] - 1 + 1e-6 and -1e-6 <= px <= x.shape[3] - 1 + 1e-6
            py, px = min(max(py, 0), x.shape[2] - 1), min(max(px, 0), x.shape[3] - 1)
            y[k, ch, i, j] = sample_def(x[images[k], ch], py, px, False, 0.0) if inside else fill
    return y


def sample_cases():
    cases = []
    for sampling, padding, coords, align in product(
            ("bilinear", "nearest"), ("constant", "border", "reflection", "symmetric"),
            ("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"), (True, False)):
        lo, hi = {"unnormalized": (-5, 9), "normalized_minus_one_to_one": (-3, 3), "normalized_zero_to_one": (-1, 2)}[coords]
        args = dict(sampling_mode=sampling, padding_mode=padding, padding_value=np.float32(1.25), coordinates_mode=coords,
                    align_corners=align)
        at = pick(f32(2, 3, 4, 2, lo=lo, hi=hi), RNG.integers(lo, hi, (2, 3, 4, 2)).astype(np.int32))
        cases.append(C("resample", lambda mb, x, at, args=args: mb.resample(x=x, coordinates=at, **args),
                       lambda x, at, s=sampling, p=padding, c=coords, a=align: resample_def(x, at, s, p, 1.25, c, a),
                       x=f32(2, 3, pick(1, 4), 5), at=at, opset=pick(6, 8), note=f"{sampling} {padding} {coords} {align}",
                       tol=4e-6))
    for n, (h, w), m in product((1, 2), [(3, 3), (1, 4), (5, 2)], (1, 2)):
        if m <= n:
            cases.append(C("affine", lambda mb, x, m, h=h, w=w: mb.affine(
                x=x, transform_matrix=m, output_height=h, output_width=w, sampling_mode="bilinear", padding_mode="constant",
                padding_value=np.float32(0), coordinates_mode="normalized_minus_one_to_one", align_corners=True),
                lambda x, m, h=h, w=w: affine_def(x, m, h, w), x=f32(n, 2, 4, 5), m=f32(m, 6, lo=-1, hi=1), opset=pick(6, 9),
                note=f"{h}x{w}", tol=4e-6))
    for boxes_as, mode, normal in product(BOXES, MODES, (False, True)):
        far = (1.2, 1.2) if normal else (4.5, 5.5)
        size = far if boxes_as.startswith("CORNERS") else (0.7, 0.7) if normal else (3.0, 3.0)
        order = [0, 1] if "HEIGHT_FIRST" in boxes_as else [1, 0]
        boxes = np.stack([f32(3, lo=0, hi=far[order[0]]), f32(3, lo=0, hi=far[order[1]]), f32(3, lo=0, hi=size[order[0]]),
                          f32(3, lo=0, hi=size[order[1]])], 1).astype(np.float32)
        common = dict(target_height=pick(1, 2, 3), target_width=pick(1, 3, 4), normalized_coordinates=normal,
                      box_coordinate_mode=boxes_as, sampling_mode=mode, spatial_scale=np.float32(pick(1.0, 0.5)))
        h, w, scale = common["target_height"], common["target_width"], float(common["spatial_scale"])
        at = np.array(ints(3, 0, 1), np.int32)

        def want_boxes(x, boxes, at, h=h, w=w, normal=normal, scale=scale, boxes_as=boxes_as, mode=mode):
            return crop_def(x, boxes, at, h, w, normal, scale, boxes_as, mode, 7.0)

        cases.append(C("crop_resize", lambda mb, x, boxes, at, k=common: mb.crop_resize(
            x=x, boxes=boxes, box_indices=at, pad_value=np.float32(7), **k), want_boxes, x=f32(2, 2, 5, 6), boxes=boxes,
            fixed={"at": at}, opset=8, note=f"{boxes_as} {mode} {normal}", tol=4e-6))
        wide = pick(4, 5)
        roi = (boxes if wide == 4 else np.concatenate([at[:, None].astype(np.float32), boxes], 1)).reshape(3, 1, wide, 1, 1)

        def want_roi(x, roi, h=h, w=w, normal=normal, scale=scale, boxes_as=boxes_as, mode=mode, wide=wide):
            flat = roi.reshape(3, wide)
            every = [flat[:, 0].astype(int)] if wide == 5 else [[b] * 3 for b in range(x.shape[0])]
            return np.stack([crop_def(x, flat[:, wide - 4:], b, h, w, normal, scale, boxes_as, mode, 0.0) for b in every], 1)

        cases.append(C("crop_resize", lambda mb, x, roi, k=common: mb.crop_resize(x=x, roi=roi, **k), want_roi,
                       x=f32(2, 2, 5, 6), roi=roi, opset=pick(6, 7), note=f"roi {wide} {boxes_as} {mode} {normal}", tol=4e-6))
    return cases


# ------------------------------------------------------------------ moves
def depth_to_space_def(x, b):
    n, c, h, w = x.shape
    y = np.zeros((n, c // (b * b), h * b, w * b), x.dtype)
    for i, j in product(range(b), range(b)):
        y[:, :, i::b, j::b] = x[:, (i * b + j) * y.shape[1]:(i * b + j + 1) * y.shape[1]]
    return y


def space_to_depth_def(x, b):
    return np.concatenate([x[:, :, i::b, j::b] for i in range(b) for j in range(b)], 1)


def shuffle_def(x, f):
    n, c, h, w = x.shape
    y = np.zeros((n, c // (f * f), h * f, w * f), x.dtype)
    for k, i, j in product(range(y.shape[1]), range(f), range(f)):
        y[:, k, i::f, j::f] = x[:, (k * f + i) * f + j]
    return y


def unshuffle_def(x, f):
    return np.stack([x[:, k, i::f, j::f] for k in range(x.shape[1]) for i in range(f) for j in range(f)], 1)


def to_batch_def(x, block, pads):
    x = np.pad(x, [(0, 0), (0, 0)] + [tuple(p) for p in pads])
    return np.concatenate([x[:, :, i::block[0], j::block[1]] for i in range(block[0]) for j in range(block[1])], 0)


def to_space_def(x, block, crops):
    n = x.shape[0] // (block[0] * block[1])
    y = np.zeros((n, x.shape[1], x.shape[2] * block[0], x.shape[3] * block[1]), x.dtype)
    for i, j in product(range(block[0]), range(block[1])):
        k = (i * block[1] + j) * n
        y[:, :, i::block[0], j::block[1]] = x[k:k + n]
    (a, b), (c, d) = crops
    return y[:, :, a:y.shape[2] - b, c:y.shape[3] - d]


def windows_def(x, axis, size, stride):
    axis %= x.ndim
    return np.stack([np.take(x, range(i * stride, i * stride + size), axis)
                     for i in range((x.shape[axis] - size) // stride + 1)], axis)


def move_cases():
    cases = []
    for b, c, h, w in [(2, 1, 3, 2), (3, 2, 1, 2), (2, 3, 2, 4), (1, 2, 3, 3)]:
        dt, n, ops = pick(np.float32, np.float16), pick(1, 2), pick(7, 9)
        deep, wide = f32(n, c * b * b, h, w).astype(dt), f32(n, c, h * b, w * b).astype(dt)
        for op, arg, val, x, ref in [("depth_to_space", "block_size", b, deep, depth_to_space_def),
                                     ("space_to_depth", "block_size", b, wide, space_to_depth_def),
                                     ("pixel_shuffle", "upscale_factor", b, deep, shuffle_def),
                                     ("pixel_unshuffle", "downscale_factor", np.uint32(b), wide, unshuffle_def)]:
            cases.append(C(op, lambda mb, x, op=op, arg=arg, val=val: getattr(mb, op)(x=x, **{arg: val}),
                           lambda x, ref=ref, b=b: ref(x, b), x=x, opset=ops, note=f"{b}", symbolic=(("x", 0),)))
    for block, pads in [([2, 2], [[0, 0], [2, 0]]), ([1, 3], [[1, 0], [1, 2]]), ([2, 3], [[1, 2], [0, 1]]), ([3, 2], [[4, 1], [5, 1]])]:
        h = pick(3, 7)
        size = [n + (-(n + sum(p))) % b for n, b, p in zip((h, 4), block, pads)]
        x = f32(2, 3, *size)
        cases.append(C("space_to_batch", lambda mb, x, block=block, pads=pads: mb.space_to_batch(
            x=x, block_shape=block, paddings=pads), lambda x, block=block, pads=pads: to_batch_def(x, block, pads), x=x,
            opset=pick(6, 9), note=f"{block} {pads}"))
        cases.append(C("batch_to_space", lambda mb, x, block=block, pads=pads: mb.batch_to_space(
            x=x, block_shape=block, crops=pads), lambda x, block=block, pads=pads: to_space_def(x, block, pads),
            x=f32(2 * block[0] * block[1], 2, 4, 5), opset=pick(6, 9), note=f"{block} {pads}"))
    for shape, (a, b), (c, d) in [((1, 2, 5, 6), (1, 2), (0, 3)), ((3, 4, 5), (0, 0), (1, 1)), ((2, 1, 2, 3, 4), (2, 0), (0, 0))]:
        cases.append(C("crop", lambda mb, x, p=[a, b], q=[c, d]: mb.crop(x=x, crop_height=p, crop_width=q),
                       lambda x, a=a, b=b, c=c, d=d: x[..., a:x.shape[-2] - b, c:x.shape[-1] - d], x=f32(*shape),
                       opset=pick(6, 9), symbolic=(("x", 0),)))
    for rank, size, stride in product((1, 2, 3, 4), (1, 2, 3), (1, 2)):
        for axis in {-rank, pick(*range(rank)), -1}:
            x = f32(*ints(rank, 3, 6)) if rank % 2 else RNG.integers(-99, 99, ints(rank, 3, 6)).astype(np.int32)
            cases.append(C("sliding_windows", lambda mb, x, a=axis, s=size, t=stride: mb.sliding_windows(
                x=x, axis=a, size=s, stride=t), lambda x, a=axis, s=size, t=stride: windows_def(x, a, s, t), x=x,
                opset=pick(6, 9), note=f"{axis} {size} {stride}"))
    for shape, pad, mode in [((3,), [2, 1], "constant"), ((2, 3), [1, 0], "constant"), ((2, 3), [1, 2, 0, 3], "constant"),
                             ((2, 3, 4), [0, 0, 2, 1, 3, 2], "reflect"), ((4, 5), [4, 3], "reflect"),
                             ((2, 3, 4), [5, 1, 2, 0], "replicate"), ((1, 2, 3, 2), [0, 1, 1, 0, 2, 2, 1, 1], "replicate"),
                             ((2, 2, 2, 2, 2), [1, 1], "reflect")]:
        cases.append(C("pad", lambda mb, x, pad=pad, mode=mode: mb.pad(
            x=x, pad=pad, mode=mode, **({"constant_val": np.float32(2.5)} if mode == "constant" else {})), x=f32(*shape),
            opset=pick(6, 9), note=f"{pad} {mode}"))
    cases.append(C("pad", lambda mb, x, p: mb.pad(x=x, pad=p, mode="constant", constant_val=np.float32(-1)),
                   lambda x, p: np.pad(x, p.reshape(-1, 2), constant_values=-1), x=f32(2, 3, 4),
                   p=np.array([1, 0, 0, 2, 3, 1], np.int32), note="made at run time"))
    cases.append(C("pad", lambda mb, x: mb.pad(x=x, pad=[1, 2], mode="reflect"), x=f32(3, 4), symbolic=(("x", 0), ("x", 1)),
                   note="symbolic"))
    for shape, reps in [((3,), [2]), ((2, 3), [1, 3]), ((2, 1, 3), [3, 2, 1]), ((1, 2, 1, 2), [2, 2, 2, 2])]:
        for dt in (np.float32, np.int32, bool):
            x = (RNG.integers(0, 2, shape) if dt is bool else f32(*shape) * 9).astype(dt)
            cases.append(C("tile", lambda mb, x, reps=reps: mb.tile(x=x, reps=reps), x=x, opset=pick(6, 9), note=f"{reps}"))
    cases.append(C("tile", lambda mb, x, r: mb.tile(x=x, reps=r), lambda x, r: np.tile(x, r), x=f32(2, 3),
                   r=np.array([3, 2], np.int32), note="made at run time"))
    return cases


# ------------------------------------------------------------------ boxes
def nms_def(boxes, scores, iou, least, most, per_class):
    """boxes [B, 4] of centres and sizes, scores [B, K] -> indices taken"""
    best, cls = scores.max(1), scores.argmax(1)
    lo, hi = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    area = boxes[:, 2] * boxes[:, 3]
    taken = []
    for i in sorted(range(len(boxes)), key=lambda i: (-best[i], i)):
        if best[i] < least or len(taken) == most:
            continue
        for k in taken:
            both = np.prod(np.maximum(np.minimum(hi[i], hi[k]) - np.maximum(lo[i], lo[k]), 0))
            if (not per_class or cls[i] == cls[k]) and both > iou * (area[i] + area[k] - both):
                break
        else:
            taken.append(i)
    return taken or [int(best.argmax())]


def nms_cases():
    cases = []
    for n, count, k, most, iou, least, per_class in product((1, 2), (1, 12, 40), (1, 3), (5, 50), (0.05, 0.4), (None, 0.2, 9.0),
                                                            (False, True)):
        boxes = np.concatenate([f32(n, count, 2, lo=0, hi=10), f32(n, count, 2, lo=1, hi=6)], 2)
        scores = RNG.permutation(n * count * k).reshape(n, count, k).astype(np.float32) / (n * count * k)
        old = least is not None

        def want(boxes, scores, iou=iou, least=least, most=most, per_class=per_class, old=old):
            b = boxes if old else boxes.transpose(0, 2, 1)
            s = scores if old else scores.transpose(0, 2, 1)
            ob, os_ = np.zeros((len(b), most, 4), np.float32), np.zeros((len(b), most, s.shape[2]), np.float32)
            at, num = np.full((len(b), most), -1, np.int32), np.zeros(len(b), np.int32)
            for i in range(len(b)):
                t = nms_def(b[i].astype(np.float64), s[i], iou, least if old else -np.inf, most, per_class)
                ob[i, :len(t)], os_[i, :len(t)], at[i, :len(t)], num[i] = b[i][t], s[i][t], t, len(t)
            return [ob, os_, at, num] if old else [ob.transpose(0, 2, 1), os_.transpose(0, 2, 1), at]

        def build(mb, boxes, scores, iou=iou, least=least, most=most, per_class=per_class, old=old):
            more = {"score_threshold": np.float32(least)} if old else {}
            return mb.non_maximum_suppression(boxes=boxes, scores=scores, iou_threshold=np.float32(iou), max_boxes=most,
                                              per_class_suppression=per_class, **more)

        cases.append(C("non_maximum_suppression", build, want, boxes=boxes if old else boxes.transpose(0, 2, 1).copy(),
                       scores=scores if old else scores.transpose(0, 2, 1).copy(), opset=pick(6, 7) if old else pick(8, 9),
                       note=f"{most} {iou} {least} {per_class}", const=False))
    return cases


@pytest.mark.parametrize("backend", ["ref", "cpu"])
@pytest.mark.parametrize("family", [window_cases, norm_cases, resize_cases, sample_cases, move_cases, nms_cases],
                         ids=lambda f: f.__name__.replace("_cases", ""))
def test_ops(family, backend, monkeypatch):
    monkeypatch.setattr(mil_harness, "BACKEND", backend)
    failed, figures = run_cases(family())
    print(figures)
    assert not failed, "\n".join(f"{n}: {t}" for n, t in failed[:20]) + f"\n{len(failed)} in all"


# ------------------------------------------------------------------ what PyTorch gives
def test_pytorch():
    """tests/golden/make_vision.py: MIL parameters, inputs, PyTorch's result of the function that Core ML says is equal"""
    cases = []
    with np.load(GOLDEN) as z:
        for i, (op, opset, args) in enumerate(json.loads(str(z["cases"]))):
            given = {k.split(".", 1)[1]: z[k] for k in z.files if k.startswith(f"{i:03d}.") and not k.endswith(".out")}
            args = {k: np.float32(v) if isinstance(v, float) else v for k, v in args.items()}
            moving = {k: v for k, v in given.items() if k in ("x", "coordinates", "transform_matrix")}
            cases.append(C(op, lambda mb, op=op, args=args, **k: getattr(mb, op)(**k, **args),
                           lambda _out=z[f"{i:03d}.out"], **k: _out, opset=opset, note=f"{args}", tol=1e-5, const=False,
                           fixed={k: v for k, v in given.items() if k not in moving}, **moving))
    failed, figures = run_cases(cases)
    print(figures)
    assert len(cases) >= 40 and not failed, "\n".join(f"{n}: {t}" for n, t in failed)


# ------------------------------------------------------------------ what Core ML gave
def test_core_ml_values():
    """values that coremltools' own tests expect of Core ML's runtime"""
    square = np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2)
    at = np.array([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2], np.float32).reshape(1, 2, 2, 2)
    ramp = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    roi = np.array([[0, .1, .3, 1.3, 1], [0, .5, 1.8, 1, .3], [0, 0, .4, .6, .7]], np.float32).reshape(3, 1, 5, 1, 1)
    pair = np.array([-6.174, 9.371], np.float32).reshape(1, 1, 2, 1)
    cases = []

    def case(op, x, args, want, opset=7, **more):
        cases.append(C(op, lambda mb, x, **k: getattr(mb, op)(x=x, **k, **args), lambda x, **k: np.array(want, np.float32), x=x,
                       opset=opset, note=str(args), tol=2e-4, fixed=more))

    m = np.array([[-1, -2, -3.7, -1, 3.5, 1.2]], np.float32)
    fixed = dict(sampling_mode="bilinear", padding_mode="constant", padding_value=np.float32(0),
                 coordinates_mode="normalized_minus_one_to_one", align_corners=True)
    case("affine", square, dict(output_height=3, output_width=3, **fixed),
         [[[[10.752501, 2.5025, 0], [1.98, 0, 0], [0, 0, 0]]]], transform_matrix=m)
    case("affine", square, dict(output_height=2, output_width=5, **fixed),
         [[[[10.752501, 5.94, 2.5025, .44, 0], [0] * 5]]], transform_matrix=m)
    for sampling, padding, fill, coords, align, want in [
            ("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True, [8.585, 6.17, 27.5, 6.17]),
            ("nearest", "border", -1.0, "unnormalized", False, [11, 11, 11, 44]),
            ("bilinear", "reflection", -1.0, "normalized_zero_to_one", True, [22, 36.3, 11, 34.1]),
            ("nearest", "symmetric", -1.0, "normalized_zero_to_one", False, [22, 33, 11, 33])]:
        case("resample", square, dict(sampling_mode=sampling, padding_mode=padding, padding_value=np.float32(fill),
                                      coordinates_mode=coords, align_corners=align), np.reshape(want, (1, 1, 2, 2)),
             coordinates=at)
    for pad in (0.0, 1.0, 10.0):
        case("crop_resize", ramp, dict(target_width=2, target_height=2, normalized_coordinates=True, sampling_mode="ALIGN_CORNERS",
                                       pad_value=np.float32(pad)),
             np.reshape([3.1, 5.2, pad, pad, pad, 7.899, pad, 13.9, 2.2, 3.1, 9.4, 10.3], (3, 1, 1, 2, 2)), roi=roi)
    for box, n, want in [([1, 1, 2, 2], 2, [6, 7, 10, 11]), ([1, 1, 2, 2], 1, [8.5]), ([2, 2, 1, 1], 2, [11, 10, 7, 6])]:
        case("crop_resize", ramp, dict(target_width=n, target_height=n, sampling_mode="ALIGN_CORNERS"),
             np.reshape(want, (1, 1, 1, n, n)), opset=6, roi=np.array(box, np.float32).reshape(1, 1, 4, 1, 1))
    case("resize", pair, dict(shape=[1, 1, 3, 2], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
         np.repeat([-6.174, 9.371, 9.371], 2).reshape(1, 1, 3, 2), opset=8)
    case("upsample_nearest_neighbor", np.array([1.5, -2.5, 3.5], np.float32).reshape(1, 1, 1, 3),
         dict(scale_factor_height=np.float32(3.17), scale_factor_width=np.float32(.67)), [[[[1.5, -2.5]] * 3]], opset=6)
    ends = np.array([0, 1], np.float32).reshape(1, 1, 2)
    for mode, want in [("UNALIGN_CORNERS", [0, .1, .5, .9, 1]), ("STRICT_ALIGN_CORNERS", [0, .25, .5, .75, 1]),
                       ("DEFAULT", [0, .4, .8, 1, 1]), ("OFFSET_CORNERS", [.1, .3, .5, .7, .9])]:
        case("resize_bilinear", ends, dict(target_size_height=1, target_size_width=5, sampling_mode=mode), [[want]], opset=6)
    eight = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    case("avg_pool", eight, dict(kernel_sizes=[2, 2, 2], pad_type="same_lower"),
         np.reshape([.125, .375, .5, 1.25, .75, 1.75, 2, 4.5], (1, 1, 2, 2, 2)))
    four = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    case("l2_pool", four, dict(kernel_sizes=[2, 2], pad_type="same_lower"), [[[[1, 2.236068], [3.162278, 5.477226]]]])
    case("space_to_depth", np.array([[[[7, 9], [4, 6]]]], np.float32), dict(block_size=2), [[[[7]], [[9]], [[4]], [[6]]]])
    case("space_to_batch", np.arange(1, 17, dtype=np.float32).reshape(2, 1, 2, 4),
         dict(block_shape=[2, 2], paddings=[[0, 0], [2, 0]]),
         np.reshape([0, 1, 3, 0, 9, 11, 0, 2, 4, 0, 10, 12, 0, 5, 7, 0, 13, 15, 0, 6, 8, 0, 14, 16], (8, 1, 1, 3)))
    failed, figures = run_cases(cases)
    print(figures)
    assert not failed, "\n".join(f"{n}: {t}" for n, t in failed)


# ------------------------------------------------------------------ programs that mean nothing
def refused(rewrite, text):
    """A package of one conv and one resample, its MIL changed by rewrite(spec): what predict says."""
    import tempfile
    from coremltools.converters.mil.mil import Function, Program, types
    from coremltools.proto import Model_pb2
    mb = mil_harness.mb
    with tempfile.TemporaryDirectory() as d:
        prog = Program()
        with Function({"x": mb.placeholder((1, 4, 6, 6), dtype=types.fp32)}, opset_version=mil_harness.TARGET[8]) as f:
            y = mb.conv(x=f.inputs["x"], weight=f32(4, 2, 3, 3), strides=[1, 1], pad_type="custom", pad=[1, 1, 1, 1], groups=2)
            y = mb.max_pool(x=y, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
            y = mb.resize(x=y, shape=[4, 4], resized_dims=np.uint32(2))
            y = mb.pixel_shuffle(x=y, upscale_factor=2)
            y = mb.sliding_windows(x=y, axis=3, size=2)
            f.set_outputs([y])
        prog.add_function("main", f)
        pkg = mil_harness.write_package(prog, 8, d)
        file = pkg / "Data" / "com.apple.CoreML" / "model.mlmodel"
        spec = Model_pb2.Model()
        spec.ParseFromString(file.read_bytes())
        block = list(spec.mlProgram.functions["main"].block_specializations.values())[0]
        rewrite({o.type: o for o in block.operations if o.type != "const"},
                {o.outputs[0].name: o.attributes["val"].immediateValue.tensor for o in block.operations if o.type == "const"})
        file.write_bytes(spec.SerializeToString())
        got, err = mil_harness.predict(pkg, {"x": f32(1, 4, 6, 6)})
        assert got is None and err.startswith(("exit 3", "exit 4", "exit 5")), err
        for word in text:
            assert word in err, err


def constant_of(op, consts, slot):
    return consts[op.inputs[slot].arguments[0].name]


@pytest.mark.parametrize("op, slot, values, words", [
    ("conv", "strides", [0, 1], ["conv", "strides"]),
    ("conv", "strides", [1, -1], ["conv", "strides"]),
    ("conv", "pad", [-1, 0, 0, 0], ["conv", "pad"]),
    ("conv", "pad", [2**31 - 1, 2**31 - 1, 2**31 - 1, 2**31 - 1], ["conv"]),
    ("conv", "groups", [3], ["conv", "groups"]),
    ("conv", "groups", [0], ["conv", "groups"]),
    ("conv", "pad_type", "everywhere", ["conv", "pad_type", "everywhere"]),
    ("max_pool", "kernel_sizes", [0, 2], ["max_pool", "kernel_sizes"]),
    ("max_pool", "kernel_sizes", [2**31 - 1, 2**31 - 1], ["max_pool", "shorter"]),
    ("max_pool", "strides", [-3, 2], ["max_pool", "strides"]),
    ("resize", "shape", [-4, 4], ["resize", "shape"]),
    ("resize", "shape", [2**31 - 1, 2**31 - 1], ["resize"]),
    ("pixel_shuffle", "upscale_factor", [3], ["pixel_shuffle", "divide"]),
    ("pixel_shuffle", "upscale_factor", [-2], ["pixel_shuffle", "upscale_factor"]),
    ("sliding_windows", "size", [2**31 - 1], ["sliding_windows", "shorter"]),
    ("sliding_windows", "axis", [9], ["sliding_windows", "axis"]),
])
def test_refused(op, slot, values, words):
    def rewrite(ops, consts):
        v = constant_of(ops[op], consts, slot)
        if isinstance(values, str):
            v.strings.values[:] = [values]
        else:
            v.ints.values[:] = values

    refused(rewrite, words)


# ------------------------------------------------------------------ inputs that are images
def image_package(folder, space, channels, limits=None):
    """y = x * 2 over an input described as an image of this colour space"""
    from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types
    from coremltools.proto import Model_pb2
    mb = mil_harness.mb
    size = (get_new_symbol(), get_new_symbol()) if limits else (4, 5)
    prog = Program()
    with Function({"x": mb.placeholder((1, channels, *size), dtype=types.fp32)}, opset_version=mil_harness.TARGET[7]) as f:
        f.set_outputs([mb.mul(x=f.inputs["x"], y=np.float32(2), name="y")])
    prog.add_function("main", f)
    pkg = mil_harness.write_package(prog, 7, folder)
    file = pkg / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = Model_pb2.Model()
    spec.ParseFromString(file.read_bytes())
    del spec.description.input[:]
    image = spec.description.input.add(name="x").type.imageType
    image.width, image.height, image.colorSpace = 5, 4, space
    if limits:
        image.imageSizeRange.heightRange.lowerBound, image.imageSizeRange.heightRange.upperBound = 2, 6
        image.imageSizeRange.widthRange.lowerBound, image.imageSizeRange.widthRange.upperBound = 3, -1
    file.write_bytes(spec.SerializeToString())
    return pkg


@pytest.mark.parametrize("space, order", [(10, None), (20, [0, 1, 2]), (30, [2, 1, 0]), (40, None)])
def test_images(space, order, tmp_path):
    pkg = image_package(tmp_path, space, 3 if order else 1)
    picture = RNG.integers(0, 256, (4, 5, 3) if order else (4, 5)).astype(np.uint8)
    planes = (picture[..., order].transpose(2, 0, 1) if order else picture[None])[None].astype(np.float32)
    for x in (picture, planes, planes.astype(np.uint8), picture[..., None] if not order else picture):
        got, err = mil_harness.predict(pkg, {"x": x})
        assert got is not None, err
        assert np.array_equal(got["y"], planes * 2)
    wrong = np.zeros((4, 5, 1 if order else 3), np.uint8)
    for x, word in [(wrong, "channels"), (np.zeros((5, 4, 3) if order else (5, 4), np.uint8), "axis 2"),
                    (picture.astype(np.float32), "rank 4")]:
        got, err = mil_harness.predict(pkg, {"x": x})
        assert got is None and err.startswith("exit 3") and word in err, err


def test_images_of_any_size(tmp_path):
    pkg = image_package(tmp_path, 20, 3, limits=True)
    got, err = mil_harness.predict(pkg, {"x": np.full((6, 9, 3), 7, np.uint8)})
    assert got is not None and got["y"].shape == (1, 3, 6, 9) and (got["y"] == 14).all(), err
    got, err = mil_harness.predict(pkg, {"x": np.zeros((7, 9, 3), np.uint8)})
    assert got is None and "2 to 6" in err


def test_unknown_colours(tmp_path):
    got, err = mil_harness.predict(image_package(tmp_path, 50, 3), {"x": np.zeros((4, 5, 3), np.uint8)})
    assert got is None and err.startswith("exit 4") and "colour space 50" in err
