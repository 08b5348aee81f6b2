# SPDX-License-Identifier: MIT
"""Cases of mil_harness: shapes, moves, indices, sorting, making."""
import numpy as np
from mil_cases_elem import RNG, SEED, SHAPES, bools, call, f16, f32, ints
from mil_harness import C

ALL = (np.float32, np.int32, bool)
SMALL = (np.int8, np.uint8, np.int16, np.uint16)  # from iOS17


def typed(*shape, t=np.float32):
    return bools(*shape) if t is bool else ints(*shape, lo=0, hi=90).astype(t) if t != np.float32 else f32(*shape)


def pick(n):
    return int(RNG.integers(n))


# ------------------------------------------------------------------ shapes
def shape_cases():
    for s, new in [((2, 3), [6]), ((2, 3), [3, 2]), ((2, 3, 4), [4, -1]), ((6, 4), [0, -1]), ((6,), [1, 2, 1, 3]),
                   ((1,), []), ((2, 3, 4), [2, 0, 4]), ((2, 3, 4), [0, -1, 0])]:
        for opset in (6, 8, 9):
            def want(x, new=new):
                return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(new)])
            yield C("reshape", call("reshape", shape=np.array(new, np.int32)), want, opset=opset, infers=0 not in new,
                    note=str(new), x=f32(*s))
    for s, new in [((2, 3, 4), [0, 12]), ((2, 3, 4), [0, -1, 2]), ((2, 3), [1, 0, 0])]:  # counted from the right
        want = {(0, 12): None}.get(tuple(new), lambda x, new=new: x.reshape(
            [x.shape[x.ndim - len(new) + i] if d == 0 else d for i, d in enumerate(new)]))
        if want is not None:
            yield C("reshape", call("reshape", shape=np.array(new, np.int32)), want, opset=8, infers=False,
                    note=f"from the right {new}", x=f32(*s))
    for t in ALL + SMALL:
        yield C("reshape", call("reshape", shape=[3, 2]), lambda x: x.reshape(3, 2), opset=8, infers=False,
                note=t.__name__, x=typed(2, 3, t=t))
    yield C("reshape", call("reshape"), lambda x, shape: x.reshape(shape), note="computed shape", infers=False, const=False,
            x=f32(2, 6), shape=np.array([3, -1], np.int32))
    yield C("reshape", call("reshape", shape=[-1, 3]), note="flexible", symbolic=(("x", 0),), x=f32(4, 3))
    for s in SHAPES[1:]:
        perm = [int(p) - (len(s) if pick(2) else 0) for p in RNG.permutation(len(s))]
        for t in ALL:
            yield C("transpose", call("transpose", perm=perm), note=str(perm), x=typed(*s, t=t))
        yield C("transpose", call("transpose", perm=perm), lambda x, p=perm: x.transpose([a % x.ndim for a in p]), opset=8,
                infers=False, x=typed(*s, t=np.uint8))
    for s, axes in [((), [0]), ((3,), [0]), ((3,), [-1]), ((2, 3), [0, 2]), ((2, 3), [-1, 1]), ((2, 3, 2), [1, -1])]:
        yield C("expand_dims", call("expand_dims", axes=axes), note=str(axes), x=f32(*s))
    for s, axes in [((1, 3), [0]), ((1, 3), None), ((2, 1, 3, 1), [1]), ((2, 1, 3, 1), [-1, 1]), ((2, 1, 3, 1), None),
                    ((1,), [0]), ((1, 1), None)]:
        yield C("squeeze", call("squeeze", **({} if axes is None else {"axes": axes})), lambda x, a=axes:
                np.squeeze(x, None if a is None else tuple(a)), infers=False, const=s != (1, 1), note=str(axes), x=f32(*s))
    for s in SHAPES[1:]:
        for axis in range(-len(s), len(s)):
            cut = axis % len(s)
            yield C("flatten2d", call("flatten2d", axis=axis), lambda x, c=cut: x.reshape(int(np.prod(x.shape[:c])), -1),
                    note=str(axis), const=cut > 0, x=f32(*s))  # coremltools' product of no extents is a float
    yield C("flatten2d", call("flatten2d", axis=1), lambda x: x.reshape(3, 1), note="all axes", const=False, x=f32(3))
    for s in SHAPES[1:]:
        for t in ALL:
            yield C("shape", call("shape"), x=typed(*s, t=t))
    yield C("shape", call("shape"), lambda x: np.array(x.shape, np.int32), symbolic=(("x", 0), ("x", 2)), const=False,
            x=f32(2, 3, 4))
    for begins, ends, masks, shape in [((0, 1), (2, 0), (False, True), (2, 3, 5, 6)), ((1, 0), (-1, 1), (False, False), (3, 1)),
                                       ((0, 0), (3, 0), (False, False), (2, 3, 4))]:
        yield C("reshape_like",
                lambda mb, x, a, b, v=(begins, ends, masks): mb.reshape_like(x=x, ref_tensors=(a, b), begins=v[0], ends=v[1],
                                                                             end_masks=v[2]),
                lambda x, a, b, s=shape: x.reshape(s), note=str(shape), opset=7, x=f32(*RNG.permutation(shape)),
                a=f32(2, 3, 4), b=ints(1, 5, 6))


# ------------------------------------------------------------------ joining and cutting
def join_cases():
    for s in SHAPES[1:]:
        for axis in range(-len(s), len(s)):
            other = list(s)
            other[axis] = 1 + pick(3)
            for t in ALL:
                yield C("concat", lambda mb, x, y, a=axis: mb.concat(values=(x, y, x), axis=a),
                        lambda x, y, a=axis: np.concatenate((x, y, x), axis=a), infers=False, note=str(axis),
                        x=typed(*s, t=t), y=typed(*other, t=t))
            yield C("concat", lambda mb, x, y, a=axis: mb.concat(values=(x, y), axis=a, interleave=True),
                    lambda x, y, a=axis: np.stack((x, y), axis=a % x.ndim + 1).reshape(
                        [d * 2 if i == a % x.ndim else d for i, d in enumerate(x.shape)]), infers=False,
                    note=f"interleave {axis}", x=f32(*s), y=f32(*s))
    yield C("concat", lambda mb, x, y: mb.concat(values=(x, y), axis=0), lambda x, y: np.array([x, y]), infers=False,
            note="scalars", x=np.array(3, np.int32), y=np.array(4, np.int32))
    yield C("concat", lambda mb, x, y: mb.concat(values=(x, y), axis=0), lambda x, y: y, const=False, note="empty", x=f32(0, 3),
            y=f32(2, 3))
    for s in SHAPES[:5]:
        for axis in range(-len(s) - 1, len(s) + 1):
            for t in ALL:
                yield C("stack", lambda mb, x, y, a=axis: mb.stack(values=(x, y), axis=a),
                        lambda x, y, a=axis: np.stack((x, y), axis=a), infers=False, note=str(axis), x=typed(*s, t=t),
                        y=typed(*s, t=t))
    for s, axis, n in [((6,), 0, 3), ((4, 3), 0, 2), ((4, 3), -1, 3), ((2, 4, 3), 1, 4), ((2, 4, 3), 1, 1)]:
        for t in ALL:
            yield C("split", call("split", axis=axis, num_splits=n), lambda x, a=axis, n=n: np.split(x, n, axis=a), infers=False,
                    note=f"{n} along {axis}", x=typed(*s, t=t))
    for s, axis, sizes in [((6,), 0, [1, 2, 3]), ((4, 3), -2, [3, 1]), ((2, 4, 3), 1, [1, 0, 3])]:
        yield C("split", call("split", axis=axis, split_sizes=sizes), lambda x, a=axis, n=sizes:
                np.split(x, np.cumsum(n)[:-1], axis=a), infers=False, note=f"{sizes}", x=f32(*s))
        yield C("split", call("split", axis=axis, split_sizes=sizes, num_splits=len(sizes)), lambda x, a=axis, n=sizes:
                np.split(x, np.cumsum(n)[:-1], axis=a), infers=False, note=f"both {sizes}", x=f32(*s))
    for s in SHAPES[1:]:
        reps = [1 + pick(3) for _ in s]
        yield C("tile", call("tile", reps=reps), lambda x, r=reps: np.tile(x, r), infers=False, note=str(reps), x=f32(*s))
        yield C("tile", call("tile"), lambda x, reps: np.tile(x, reps), infers=False, const=False, note="computed", x=ints(*s),
                reps=np.array(reps, np.int32))
    for s in SHAPES[1:]:
        axes = [int(a) - (len(s) if pick(2) else 0) for a in RNG.permutation(len(s))[:1 + pick(len(s))]]
        yield C("reverse", call("reverse", axes=axes), note=str(axes), x=f32(*s))
        yield C("reverse", call("reverse"), lambda x: np.flip(x), infers=False, x=typed(*s, t=bool))
    for s, seq, batch in [((4, 3), 0, 1), ((3, 4), 1, 0), ((2, 3, 4), -1, 0), ((2, 3, 4), 0, -1), ((2, 5, 3, 2), 1, 2),
                          ((4, 3), 0, 0)]:
        lengths = ints(s[batch], lo=0, hi=s[seq] + 1)

        def want(x, lengths, seq=seq, batch=batch):
            y = x.copy()
            for at in np.ndindex(x.shape):
                n = lengths[at[batch]]
                src = list(at)
                if at[seq] < n:
                    src[seq % x.ndim] = n - 1 - at[seq]
                y[at] = x[tuple(src)]
            return y
        yield C("reverse_sequence", call("reverse_sequence", seq_axis=seq, batch_axis=batch), want,
                note=f"{seq} {batch}", x=f32(*s), lengths=lengths)


# ------------------------------------------------------------------ slices
def bound(n):
    """Of an axis of n.  coremltools changes what is below -n."""
    return int(RNG.integers(-n, n + 3))


def slice_cases():
    def want(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
        at = []
        for i in range(x.ndim):
            if squeeze_mask is not None and squeeze_mask[i]:
                at.append(int(begin[i]))
                continue
            at.append(slice(None if begin_mask is not None and begin_mask[i] else int(begin[i]),
                            None if end_mask is not None and end_mask[i] else int(end[i]),
                            None if stride is None else int(stride[i])))
        return x[tuple(at)]
    for _ in range(60):
        s = [int(d) for d in RNG.integers(1, 6, 1 + pick(4))]
        p = {"begin": [bound(d) for d in s], "end": [bound(d) for d in s]}
        if pick(2):
            p["stride"] = [int(RNG.choice([1, 1, 2, 3, -1, -2])) for _ in s]
        for m in ("begin_mask", "end_mask"):
            if pick(2):
                p[m] = [bool(pick(2)) for _ in s]
        if pick(3) == 0:
            p["squeeze_mask"] = [bool(pick(2)) for _ in s]
            for i, d in enumerate(s):
                if p["squeeze_mask"][i]:
                    p["begin"][i] = int(RNG.integers(-d, d))
                    if "begin_mask" in p:
                        p["begin_mask"][i] = False
                    if "stride" in p:
                        p["stride"][i] = 1
        x = f32(*s)
        y = want(x, **p)
        t = ALL[pick(3)]
        yield C("slice_by_index", call("slice_by_index", **p), lambda x, p=p: want(x, **p), infers=False, note=str(p),
                const=y.ndim > 0 and y.size > 0, live=y.size > 0, x=typed(*s, t=t))
    for t in SMALL:
        yield C("slice_by_index", call("slice_by_index", begin=[1, 0], end=[3, 2]), lambda x: x[1:3, 0:2], opset=8,
                infers=False, note=t.__name__, x=typed(4, 3, t=t))
    for b, e, st in [(-9, 9, 1), (1, -9, -1), (9, -9, -2), (-1, 9, 3), (-9, -9, 1)]:
        yield C("slice_by_index", call("slice_by_index", stride=[st]), lambda x, begin, end, st=st: x[begin[0]:end[0]:st],
                infers=False, const=False, note=f"outside {b} {e} {st}", x=f32(5), begin=np.array([b], np.int32),
                end=np.array([e], np.int32))
    yield C("slice_by_index", call("slice_by_index", begin_mask=[False, True]), lambda x, begin, end: x[begin[0]:end[0], :end[1]],
            infers=False, const=False, note="computed bounds", x=f32(5, 4), begin=np.array([-3, 9], np.int32),
            end=np.array([9, -1], np.int32))
    for s, b, n in [((5,), [1], [3]), ((4, 5), [1, 2], [2, -1]), ((4, 5), [-2, 0], [2, 5]), ((2, 3, 4), [0, 1, 2], [-1, -1, -1])]:
        yield C("slice_by_size", call("slice_by_size", begin=b, size=n), lambda x, b=b, n=n:
                x[tuple(slice(i % d, None if k < 0 else i % d + k) for i, k, d in zip(b, n, x.shape))], infers=False,
                note=f"{b} {n}", x=f32(*s))
    yield C("slice_by_size", call("slice_by_size", size=[2, 3]), lambda x, begin: x[begin[0]:begin[0] + 2, begin[1]:begin[1] + 3],
            infers=False, const=False, note="computed begin", x=f32(5, 4), begin=np.array([2, 1], np.int32))

    def updated(x, update, **p):
        y, part = x.copy(), want(x, **p)
        view = want(y, **p)
        if isinstance(view, np.ndarray) and view.shape == part.shape and view.base is not None:
            view[...] = update
        return y
    for _ in range(20):
        s = [int(d) for d in RNG.integers(2, 6, 1 + pick(3))]
        b = [int(RNG.integers(0, d)) for d in s]
        e = [int(RNG.integers(i + 1, d + 1)) for i, d in zip(b, s)]
        st = [1 + pick(2) for _ in s]
        x = f32(*s)
        u = f32(*want(x, b, e, st).shape)
        yield C("slice_update", call("slice_update", begin=b, end=e, stride=st), lambda x, update, p=(b, e, st):
                updated(x, update, begin=p[0], end=p[1], stride=p[2]), infers=False, note=f"{b} {e} {st}", x=x, update=u)
    yield C("slice_update", call("slice_update", begin=[0, 1], end=[0, 3], begin_mask=[True, False], end_mask=[True, False]),
            lambda x, update: np.concatenate((x[:, :1], update, x[:, 3:]), 1), infers=False, note="masks", x=f32(2, 4),
            update=f32(2, 2))


# ------------------------------------------------------------------ indices
def put(mode, y, at, u):
    y[at] = {"update": lambda a: u, "add": lambda a: a + u, "sub": lambda a: a - u, "mul": lambda a: a * u, "div": lambda a: a / u,
             "max": lambda a: max(a, u), "min": lambda a: min(a, u)}[mode](y[at])


def index_cases():
    for opset in (6, 7, 8, 9):
        types = {6: (np.int32,), 7: (np.int32, np.int16, np.uint16)}.get(opset, (np.int32, *SMALL))
        for t in types:
            yield C("gather", call("gather", axis=1), lambda x, indices: np.take(x, indices, axis=1), infers=False, opset=opset,
                    note=t.__name__, x=f32(2, 5, 3), indices=ints(2, 2, lo=0, hi=5, t=t))
            yield C("gather_along_axis", call("gather_along_axis", axis=0), lambda x, indices: np.take_along_axis(
                x, indices.astype(np.int64), axis=0), infers=False, opset=opset, note=t.__name__, x=f32(4, 3),
                indices=ints(2, 3, lo=0, hi=4, t=t))
            yield C("gather_nd", call("gather_nd"), lambda x, indices: x[tuple(np.moveaxis(indices, -1, 0))], infers=False,
                    opset=opset, note=t.__name__, x=f32(4, 3), indices=ints(5, 2, lo=0, hi=3, t=t))
    for t in SMALL:
        yield C("gather", call("gather"), lambda x, indices: x[indices], infers=False, opset=8, note=f"of {t.__name__}",
                x=typed(4, 2, t=t), indices=ints(3, lo=0, hi=4))
    for s in SHAPES[1:]:
        for axis in range(-len(s), len(s)):
            for k in [(), (3,), (2, 2)]:
                if len(s) - 1 + len(k) > 5:
                    continue
                n = s[axis]
                yield C("gather", call("gather", axis=axis), lambda x, indices, a=axis: np.take(x, indices, axis=a),
                        opset=6, note=f"{axis}", x=f32(*s), indices=ints(*k, lo=-n, hi=n))
    for s, k, axis, batch in [((2, 4, 3), (2, 5), 1, 1), ((2, 3, 4), (2, 2), 2, 1), ((2, 3, 4), (2, 3, 2), 2, 2), ((2, 4), (2,), 1, 1)]:
        def want(x, indices, axis=axis, batch=batch):
            out = [np.take(x[b], indices[b], axis=axis - batch) for b in np.ndindex(x.shape[:batch])]
            return np.array(out).reshape(x.shape[:batch] + np.asarray(out[0]).shape)
        for opset in (7, 8):
            yield C("gather", call("gather", axis=axis, batch_dims=batch), want, infers=False, opset=opset,
                    note=f"batch {batch} {axis}", x=f32(*s), indices=ints(*k, lo=0, hi=s[axis]))
    yield C("gather", call("gather", validate_indices=True), lambda x, indices: x[indices], infers=False, note="validated",
            x=f32(4, 2), indices=ints(3, lo=0, hi=4))
    for s in SHAPES[1:]:
        for axis in range(-len(s), len(s)):
            k = list(s)
            k[axis] = 1 + pick(4)
            yield C("gather_along_axis", call("gather_along_axis", axis=axis), lambda x, indices, a=axis:
                    np.take_along_axis(x, indices.astype(np.int64), axis=a), infers=False, opset=6, note=str(axis), x=f32(*s),
                    indices=ints(*k, lo=-s[axis], hi=s[axis]))
            for mode in ("update", "add", "sub", "mul", "div", "max", "min"):
                u = f32(*k, lo=0.5)
                ids = ints(*k, lo=0, hi=s[axis])

                def along(data, indices, updates, axis=axis, mode=mode):
                    y = data.copy()
                    for at in np.ndindex(indices.shape):
                        to = list(at)
                        to[axis % data.ndim] = indices[at]
                        put(mode, y, tuple(to), updates[at])
                    return y
                yield C("scatter_along_axis", call("scatter_along_axis", axis=axis, mode=mode), along, infers=False,
                        opset=6, note=f"{axis} {mode}", tol=4e-6, data=f32(*s), indices=ids, updates=u)
    yield C("scatter_along_axis", call("scatter_along_axis", axis=1, validate_indices=True), lambda data, indices, updates:
            data + np.array([[updates[i][indices[i] == j].sum() for j in range(3)] for i in range(2)], np.int32), infers=False,
            opset=8, note="int, validated", data=ints(2, 3), indices=ints(2, 2, lo=0, hi=3), updates=ints(2, 2))
    for s, k, batch in [((4, 3), (5, 2), 0), ((4, 3), (5, 1), 0), ((4, 3, 2), (2, 2, 2), 0), ((2, 4, 3), (2, 5, 1), 1),
                        ((2, 4, 3), (2, 5, 2), 1), ((2, 3, 2, 2), (2, 3, 1), 2)]:
        hi = min(s[batch:batch + k[-1]]) if k[-1] else 1

        def nd(x, indices, batch=batch):
            out = [x[b[:batch] + tuple(indices[b])] for b in np.ndindex(indices.shape[:-1])]
            return np.array(out).reshape(indices.shape[:-1] + out[0].shape)
        yield C("gather_nd", call("gather_nd", **({"batch_dims": batch} if batch else {})), nd, infers=False,
                opset=7 if batch else 6, note=str(batch), x=f32(*s), indices=ints(*k, lo=0, hi=hi))
    for s in SHAPES[1:5]:
        for axis in range(-len(s), len(s)):
            for mode in ("update", "add", "sub", "mul", "div", "max", "min"):
                k = list(s)
                k[axis] = 2
                ids = RNG.permutation(max(s[axis], 2))[:2].astype(np.int32) % s[axis]

                def scatter(data, indices, updates, axis=axis, mode=mode):
                    y = data.copy()
                    for at in np.ndindex(updates.shape):
                        to = list(at)
                        to[axis % data.ndim] = indices[at[axis % data.ndim]]
                        put(mode, y, tuple(to), updates[at])
                    return y
                yield C("scatter", call("scatter", axis=axis, mode=mode), scatter, infers=False, opset=8 if pick(2) else 6,
                        tol=4e-6, note=f"{axis} {mode}", data=f32(*s), indices=ids, updates=f32(*k, lo=0.5))
    for s, k in [((4, 3), (5, 2)), ((4, 3), (2, 1)), ((3, 3, 2), (2, 2, 2))]:
        for mode in ("update", "add", "sub", "mul", "div", "max", "min"):
            def scatter_nd(data, indices, updates, mode=mode):
                y = data.copy()
                for b in np.ndindex(indices.shape[:-1]):
                    for r in np.ndindex(data.shape[indices.shape[-1]:]):
                        put(mode, y, tuple(indices[b]) + r, updates[b + r])
                return y
            yield C("scatter_nd", call("scatter_nd", mode=mode), scatter_nd, infers=False, opset=6, note=mode, tol=4e-6,
                    data=f32(*s), indices=ints(*k, lo=0, hi=3), updates=f32(*k[:-1], *s[k[-1]:], lo=0.5))


# ------------------------------------------------------------------ making and sorting
def make_cases():
    for s in [(3,), (2, 3), (1, 2, 2)]:
        for v in (np.float32(1.5), np.int32(-3), True):
            yield C("fill", call("fill", shape=list(s), value=v), lambda s=s, v=v: np.full(s, v), infers=False,
                    note=f"{s} {v}")
        yield C("fill", call("fill", value=np.float32(2)), lambda shape: np.full(shape, np.float32(2)), infers=False, const=False,
                note="computed", shape=np.array(s, np.int32))
        yield C("fill_like", call("fill_like", value=np.int32(4)), lambda ref_tensor: np.full(ref_tensor.shape, np.int32(4)),
                infers=False, opset=7, ref_tensor=f32(*s))
    yield C("fill", call("fill", shape=[2]), lambda: np.zeros(2, np.float32), infers=False, note="default")
    yield C("fill_like", call("fill_like"), lambda ref_tensor: np.zeros(3, np.float32), infers=False, note="default",
            ref_tensor=ints(3))
    for a, b, s in [(0, 5, 1), (2, 11, 3), (7, -2, -2), (0, 1, 5)]:
        for t in (np.int32, np.float32):
            yield C("range_1d", call("range_1d"), lambda start, end, step, t=t: np.arange(start, end, step).astype(t),
                    infers=False, note=f"{a} {b} {s}", start=np.array(a, t), end=np.array(b, t), step=np.array(s, t))
    yield C("range_1d", call("range_1d"), lambda start, end, step: np.arange(0, 1.05, 0.1, dtype=np.float32), infers=False,
            const=False, start=np.array(0, np.float32), end=np.array(1.05, np.float32), step=np.array(0.1, np.float32))
    for s in [(3, 4), (4, 3), (2, 3, 3)]:
        for lower, upper in [(-1, 0), (0, -1), (0, 0), (1, 2), (-1, -1)]:
            yield C("band_part", call("band_part", lower=lower, upper=upper), note=f"{lower} {upper}", x=f32(*s))
            yield C("band_part", call("band_part", lower=lower, upper=upper), lambda x, lo=lower, up=upper:
                    np.triu(np.tril(x, up if up >= 0 else 99), -lo if lo >= 0 else -99), infers=False,
                    note=f"{lower} {upper}", x=ints(*s))
    for s in [(3,), (2, 3), ()]:
        for axis in range(-len(s) - 1, len(s) + 1):
            def one_hot(indices, axis=axis, on=np.int32(1), off=np.int32(0)):
                y = np.where(np.arange(5) == indices[..., None], on, off)
                return np.moveaxis(y, -1, axis)
            yield C("one_hot", call("one_hot", one_hot_vector_size=5, axis=axis), one_hot, infers=False, note=str(axis),
                    indices=ints(*s, lo=0, hi=5))
            yield C("one_hot", call("one_hot", one_hot_vector_size=5, axis=axis, on_value=np.float32(2), off_value=np.float32(-1)),
                    lambda indices, f=one_hot: f(indices, on=np.float32(2), off=np.float32(-1)), infers=False,
                    note=f"{axis} values", indices=ints(*s, lo=0, hi=5))
    for s in SHAPES[1:]:
        for axis in range(-len(s), len(s)):
            for ascending in (False, True):
                x = RNG.permutation(int(np.prod(s))).reshape(s).astype(np.float32)
                yield C("argsort", call("argsort", axis=axis, ascending=ascending), lambda x, a=axis, up=ascending:
                        np.argsort(x if up else -x, axis=a, kind="stable").astype(np.int32), infers=False,
                        note=f"{axis} {ascending}", x=x)
                k = 1 + pick(s[axis])

                def topk(x, axis=axis, up=ascending, k=k, t=np.int32):
                    at = np.take(np.argsort(x if up else -x, axis=axis, kind="stable"), range(k), axis=axis)
                    return np.take_along_axis(x, at, axis=axis), at.astype(t)
                for opset in (6, 7, 8):
                    yield C("topk", call("topk", k=k, axis=axis, ascending=ascending), topk, infers=False, opset=opset,
                            note=f"{k} {axis} {ascending}", x=x)
        yield C("topk", call("topk", k=1, return_indices=False), lambda x: x.max(-1, keepdims=True), infers=False, opset=7,
                note="values", x=f32(*s))
    for t in ("int32", "uint16"):
        yield C("topk", call("topk", k=2, output_indices_dtype=t), lambda x, t=t:
                (-np.sort(-x, axis=-1)[:, :2], np.argsort(-x, axis=-1)[:, :2].astype(t)), infers=False, opset=8, note=t,
                x=f32(3, 4))
    yield C("topk", call("topk", k=2), lambda x: (-np.sort(-x, axis=-1)[:, :2], np.argsort(-x, axis=-1, kind="stable")[:, :2]
                                                  .astype(np.int32)), infers=False, note="int", x=ints(3, 4))
    for s in SHAPES[1:]:
        for t in ALL:
            x = ints(*s, lo=0, hi=2).astype(t)
            yield C("non_zero", call("non_zero"), lambda x: np.argwhere(x).astype(np.int32), infers=False, x=x)
    for pad, mode in [([1, 2], "constant"), ([0, 1, 2, 0], "constant"), ([1, 1], "reflect"), ([1, 0, 2, 1], "reflect"),
                      ([2, 1], "replicate"), ([1, 2, 0, 3], "replicate")]:
        n = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
        yield C("pad", call("pad", pad=pad, mode=mode, constant_val=np.float32(0)), lambda x, p=pad, m=n: np.pad(
            x, [(0, 0)] * (x.ndim - len(p) // 2) + [(p[2 * i], p[2 * i + 1]) for i in range(len(p) // 2)], mode=m), infers=False,
            note=f"{pad} {mode}", x=f32(2, 3, 4))
    yield C("pad", call("pad", pad=[1, 1], mode="constant", constant_val=np.float32(7)), lambda x: np.pad(
        x, [(1, 1)], constant_values=7), infers=False, note="value", x=f32(3))


def cases():
    RNG.bit_generator.state = SEED
    return [*shape_cases(), *join_cases(), *slice_cases(), *index_cases(), *make_cases()]
