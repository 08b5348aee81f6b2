# SPDX-License-Identifier: MIT
"""Drives a package of any design that `convert` writes: fills every input from what the interface and the metadata say
(docs/formats.md), keeps the caches, puts split logits together.  Numbers come from `smelt predict` (as written) or milnp.
"""
import json
import os
import sys

import numpy as np
from pkg_tools import MASKED, TOOLS, coremltools, load_program, predict

sys.path.insert(0, TOOLS)
import check_pkg  # noqa: E402

DTYPES = {65552: np.float16, 65568: np.float32, 131104: np.int32, 131080: np.int8}


class Function:
    """The interface of one function of a package."""

    def __init__(self, pkg, name=None):
        self.pkg, self.spec = pkg, coremltools().utils.load_spec(pkg)
        d = self.spec.description
        self.several = len(d.functions) > 0
        self.name = name or (d.defaultFunctionName if self.several else "main")
        f = next(f for f in d.functions if f.name == self.name) if self.several else d
        self.inputs = {i.name: i.type.multiArrayType for i in f.input}
        self.outputs = [o.name for o in f.output]
        self.states = {s.name: tuple(s.type.stateType.arrayType.shape) for s in f.state}
        meta = dict(d.metadata.userDefined)
        self.turns = json.loads(meta.get("smelt.turns", "[]"))
        self.windows = json.loads(meta.get("smelt.masks", "{}"))
        self.ctx = int(meta["smelt.context"])

    def dtype(self, name):
        return DTYPES[self.inputs[name].dataType]

    def shape(self, name):
        return tuple(self.inputs[name].shape)

    @property
    def fixed(self):
        """Tokens per call, or None where it is flexible."""
        name = "inputIds" if "inputIds" in self.inputs else "hiddenStates"
        a = self.inputs[name]
        return None if a.WhichOneof("ShapeFlexibility") else a.shape[3 if len(a.shape) == 4 else 1]

    @property
    def channels(self):
        if "hiddenStates" in self.inputs:
            return len(self.shape("hiddenStates")) == 4
        name = next((n for n in ("causalMask", "keyCache") if n in self.inputs), None)
        if name is None:
            return len(self.states.get("keyCache", (0,) * 5)) == 4
        s = self.shape(name)
        return s[1] > 1 if name == "causalMask" else s[3] == 1

    @property
    def cache_ctx(self):
        if "keyCache" in self.states:
            return self.states["keyCache"][-2]
        return self.shape("keyCache")[-1 if self.channels else -2]


class Driver:
    """One sequence through the functions of a package, as a host would run it."""

    def __init__(self, pkg):
        self.pkg, self.calls, self.counts, self.functions = pkg, [], [], []
        self.cache, self.past = {}, 0

    def mask(self, f, n, past, window):
        io = "keyCache" in f.inputs
        kv = not io and "positionIds" not in f.inputs  # positions are read off the mask
        cols = np.arange(past + n if kv else f.cache_ctx)
        rows = past + np.arange(n)
        keys = np.concatenate([np.where(cols < past, cols, 1 << 30), rows]) if io else cols
        seen = keys[None] <= rows[:, None]
        if window:
            seen &= rows[:, None] - keys[None] < window
        m = np.where(seen, 0.0, MASKED)
        return m.T[None, :, None, :] if f.channels else m[None, None]

    def fill(self, f, ids, hidden=None):
        n, past, feed = len(ids), self.past, {}
        for name in f.inputs:
            t = f.dtype(name)
            if name == "inputIds":
                v = np.array([ids])
            elif name == "hiddenStates":
                v = hidden
            elif name == "positionIds":
                v = np.arange(past, past + n)[None]
            elif name in f.windows or name == "causalMask":
                v = self.mask(f, n, past, f.windows.get(name, 0))
            elif name in ("keyCache", "valueCache"):
                v = self.cache.setdefault(name, np.zeros(f.shape(name)))
            else:
                turn = next(t for t in f.turns if name in (t["cos"], t["sin"]))
                angle = np.outer(past + np.arange(n), np.array(turn["inv_freq"], np.float32)).astype(np.float32)
                v = turn["scale"] * (np.cos if name == turn["cos"] else np.sin)(np.concatenate([angle, angle], 1))
                v = v.T[None, :, None, :] if f.channels else v[None, None]
            feed[name] = v.astype(t)
        return feed

    def logits(self, f, out):
        """[n, vocab]"""
        names = [o for o in f.outputs if o.startswith("logits")]
        x = np.concatenate([out[o] for o in names], 1 if f.channels else 2)
        return x[0, :, 0, :].T if f.channels else x[0]

    def step(self, ids, function=None, run=None, hidden=None):
        """Outputs of one call over ids, with `logits` as [len(ids), vocab]; static functions are padded."""
        f = Function(self.pkg, function)
        n = len(ids)
        padded = list(ids) + [0] * ((f.fixed or n) - n)
        assert len(padded) == (f.fixed or n), (f.fixed, n)
        feed = self.fill(f, padded, hidden)
        out = run(feed) if run else predict(self.pkg, [feed], *(["--function", f.name] if f.several else []))[0]
        for cache, fresh in (("keyCache", "newKeys"), ("valueCache", "newValues")):
            if fresh in out:
                axis = -1 if f.channels else -2
                at = [slice(None)] * 5
                at[axis] = slice(self.past, self.past + n)
                new = [slice(None)] * 5
                new[axis] = slice(0, n)
                self.cache[cache][tuple(at)] = out[fresh][tuple(new)]
        self.past += n
        out = dict(out)
        if any(o.startswith("logits") for o in f.outputs):
            out["logits"] = self.logits(f, out)[:n]
        return out


class Pipeline:
    """The packages of a directory that `convert --split` made, one after the other."""

    def __init__(self, folder):
        with open(os.path.join(folder, "smelt.json")) as h:
            self.parts = [Driver(os.path.join(folder, p["package"])) for p in json.load(h)["parts"]]

    def step(self, ids, function=None):
        out = {}
        for d in self.parts:
            out = d.step(ids, function, hidden=out.get("outputHiddenStates"))
        return out


def drive(pkg, steps, ids):
    """Logits of ids in calls of so many tokens; a call is a number, or (function, number)."""
    f, d, at, calls, rows = Function(pkg), Driver(pkg), 0, [], []
    for s in steps:
        name, n = s if isinstance(s, tuple) else (None, s)
        if f.states:  # one run of the program: it keeps the states
            calls.append(d.fill(f, ids[at:at + n]))
            d.past += n
        else:
            rows.append(d.step(ids[at:at + n], name)["logits"])
        at += n
    if f.states:
        rows = [d.logits(f, r) for r in predict(pkg, calls, *(["--function", f.name] if f.several else []))]
    return np.concatenate(rows)


SPECIFICATION = {"iOS15": 6, "iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}


def accepted(pkg, report, target, design, quant, fused=True):
    """coremltools loads the package and finds in it what the target and the design ("gpu", "ane") say; fused: attention,
    where both have it."""
    ct = coremltools()
    spec = ct.utils.load_spec(pkg)
    assert spec.specificationVersion == report["specification"] == SPECIFICATION[target]
    load_program.cache_clear()
    program = load_program(pkg)  # types, op versions, operands, weights
    for f in program.functions.values():
        assert f.opset_version.value == spec.specificationVersion, f.opset_version
        kinds = {o.op_type for o in f.operations}
        assert ("scaled_dot_product_attention" in kinds) == (design == "gpu" and spec.specificationVersion >= 9 and fused)
        assert ("conv" in kinds) == (design == "ane") and ("linear" in kinds) == (design == "gpu")
        compressed = any(k.startswith("constexpr") for k in kinds)
        assert compressed == (quant != "none" and target != "iOS15")
        if design == "ane" and target != "iOS15":  # whose interface has no fp16
            floats = [v for o in f.operations if o.op_type != "const" for v in o.outputs
                      if v.dtype is ct.converters.mil.mil.types.fp32]
            assert not floats, floats
    found, _, _ = check_pkg.check(pkg, noload=True)
    assert not found.err and not found.warn, (found.err, found.warn)
