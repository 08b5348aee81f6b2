# SPDX-License-Identifier: MIT
"""What the tests of packages share: the program under test, conversions made once, GGUF tensors, coremltools' view.

SMELT names the program (default build/smelt), SMELT_MODELS the folder with smollm2.gguf and gemma3.gguf (default
build/models).  Conversions are made once per test run, in a temporary folder that goes with the process.
"""
import functools
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from gguf.quants import dequantize

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
MODELS = os.environ.get("SMELT_MODELS", os.path.join(ROOT, "build", "models"))
TOOLS = os.path.join(ROOT, "tests", "tools")
FIXTURES = os.path.join(ROOT, "tests", "fixtures")
REAL = ["smollm2", "gemma3"]
CTX = 512  # of the real models' packages
MASKED = -40000.0

_scratch = tempfile.TemporaryDirectory(prefix="smelt-test-")


def scratch(*parts):
    """A path in the run's temporary folder; its parent exists."""
    path = os.path.join(_scratch.name, *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def source(name):
    return os.path.join(MODELS, name + ".gguf")


# ------------------------------------------------------------------ the program
def smelt(*args, rc=0, timeout=300, **kw):
    """Runs the program; fails unless it exits with rc (a number or several; None: any)."""
    if "input" not in kw:
        kw["stdin"] = subprocess.DEVNULL
    r = subprocess.run([SMELT, *map(str, args)], capture_output=True, text=True, timeout=timeout, **kw)
    wanted = (rc,) if isinstance(rc, int) else rc
    assert wanted is None or r.returncode in wanted, (args, r.returncode, r.stderr[-2000:])
    return r


def smelt_json(*args, **kw):
    return json.loads(smelt(*args, "--json", "-q", **kw).stdout)


def convert(src, out, *args):
    """Converts and returns the report."""
    return smelt_json("convert", src, out, *args)


@functools.lru_cache(maxsize=None)
def converted(name, *args):
    """(package, report) of a real model at CTX, made once."""
    out = scratch("converted", f"{name}{len(args)}{'_'.join(args)}.mlpackage")
    return out, convert(source(name), out, "-c", CTX, *args)


def greedy(model, prompt, n, *args):
    """n greedy tokens: [{"id", "text", "logprob", "top"}], and what the run says at its end."""
    lines = smelt("run", model, "--temp", 0, "-n", n, "-p", prompt, "--ignore-eos", "--json", "--logprobs", 2, "-q",
                  *args).stdout.splitlines()
    items = [json.loads(line) for line in lines]
    assert "done" in items[-1] and all("id" in t for t in items[:-1])
    return items[:-1], items[-1]["done"]


def same_until_close(want, got, close):
    """How many tokens are equal; asserts that where they first differ, `want` had two candidates no further apart than
    `close`.  Also the largest difference of the equal tokens' log-probabilities."""
    off = 0.0
    for n, (w, g) in enumerate(zip(want, got)):
        if w["id"] != g["id"]:
            gap = w["top"][0]["logprob"] - w["top"][1]["logprob"]
            assert gap <= close, (n, gap, [t["text"] for t in want], [t["text"] for t in got])
            return n, off
        off = max(off, abs(w["logprob"] - g["logprob"]))
    return min(len(want), len(got)), off


def eval_logits(model, ids, *args):
    """Logits [tokens, vocabulary] through the engine."""
    with tempfile.TemporaryDirectory(dir=_scratch.name) as d:
        npz = os.path.join(d, "logits.npz")
        smelt("eval", model, "--ids", ",".join(map(str, ids)), "--logits", npz, "-q", *args)
        with np.load(npz) as z:
            return z["logits"]


def predict(pkg, calls, *args):
    """Outputs of each call ({name: array}) of a package run as written."""
    with tempfile.TemporaryDirectory(dir=_scratch.name) as d:
        line = []
        for i, inputs in enumerate(calls):
            np.savez(os.path.join(d, f"in{i}.npz"), **inputs)
            line += ["--in", os.path.join(d, f"in{i}.npz")]
        out = os.path.join(d, "out")
        smelt("predict", pkg, *args, *line, "--out", out, "-q")
        results = []
        for i in range(len(calls)):
            with np.load(os.path.join(out, f"{i}.npz")) as z:
                results.append({k: z[k] for k in z.files})
        return results


def state_call(ids, past):
    """Inputs of a stateful package: tokens after `past` others."""
    n = len(ids)
    mask = np.where(np.arange(past + n)[None] <= past + np.arange(n)[:, None], 0.0, MASKED)
    return {"inputIds": np.array([ids], np.int32), "causalMask": mask[None, None].astype(np.float16)}


def make_model(out, *args):
    subprocess.run([sys.executable, os.path.join(TOOLS, "make_model.py"), out, *map(str, args)], check=True,
                   capture_output=True, timeout=300)
    return out


def made_matrices(rng, shape):
    """Weights of the kinds that quantizers meet, under their names."""
    gauss = rng.normal(size=shape) * 0.02
    yield "gaussian", gauss
    yield "heavy-tailed", rng.standard_t(3, size=shape) * 0.02
    yield "uniform", rng.uniform(-1, 1, size=shape)
    yield "one-sided", np.abs(gauss) + 0.01
    yield "outliers", np.where(rng.random(shape) < 1e-3, gauss * 50, gauss)
    yield "sparse", np.where(rng.random(shape) < 0.9, 0.0, gauss)


# ------------------------------------------------------------------ trees
def tree(folder):
    """Every file below with the hash of its content."""
    found = {}
    for base, dirs, files in os.walk(folder):
        dirs.sort()
        for f in files:
            path = os.path.join(base, f)
            with open(path, "rb") as h:
                found[os.path.relpath(path, folder)] = hashlib.file_digest(h, "sha256").hexdigest() \
                    if hasattr(hashlib, "file_digest") else hashlib.sha256(h.read()).hexdigest()
    return found


def model_file(pkg):
    return os.path.join(pkg, "Data", "com.apple.CoreML", "model.mlmodel")


def weight_file(pkg):
    return os.path.join(pkg, "Data", "com.apple.CoreML", "weights", "weight.bin")


# ------------------------------------------------------------------ the source's tensors
class Gguf:
    """Fields (arrays left out) and tensors of a GGUF file.  gguf.GGUFReader takes many seconds over a vocabulary of
    262144; only the layout is read here, decoding is gguf's."""

    SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, path):
        self.bytes = np.memmap(path, np.uint8, "r")
        self.raw, self.at = memoryview(self.bytes), 4
        version, n_tensors, n_fields = self.take("IQQ")
        assert version in (2, 3)
        self.fields = {}
        for _ in range(n_fields):
            key, kind = self.text(), self.take("I")[0]
            self.fields[key] = self.value(kind)
        infos = []
        for _ in range(n_tensors):
            name, rank = self.text(), self.take("I")[0]
            dims = self.take(f"{rank}Q")
            infos.append((name, dims[::-1], *self.take("IQ")))
        align = self.fields.get("general.alignment", 32)
        base = -(-self.at // align) * align
        self.tensors = [self.tensor(base, *i) for i in infos]

    def take(self, fmt):
        values = struct.unpack_from("<" + fmt, self.raw, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values

    def text(self):
        n = self.take("Q")[0]
        self.at += n
        return bytes(self.raw[self.at - n:self.at]).decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind != 9:
            return self.take(self.SCALARS[kind])[0]
        kind, n = self.take("IQ")
        if kind == 8:
            for _ in range(n):
                self.at += 8 + struct.unpack_from("<Q", self.raw, self.at)[0]
        else:
            assert kind in self.SCALARS
            self.at += n * struct.calcsize("<" + self.SCALARS[kind])
        return None

    def tensor(self, base, name, shape, kind, at):
        kind = gguf.GGMLQuantizationType(kind)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        nbytes = int(np.prod(shape)) // block * size
        data = self.bytes[base + at:base + at + nbytes].reshape(*shape[:-1], -1)
        if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            data = data.view(np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16)
        return name, shape, kind, data


@functools.lru_cache(maxsize=None)
def reader(path):
    return Gguf(path)


def field(path, key):
    return reader(path).fields.get(key)


class SourceTensor:
    """A GGUF tensor by slabs of rows, in the order in which packages have them: the rows of q and k of a Llama, which
    GGUF interleaves, in halves."""

    def __init__(self, path, name, shape, kind, data):
        self.name, self.shape, self.kind, self.data, self.order = name, shape, kind, data, None
        if field(path, "general.architecture") == "llama" and re.search(r"attn_[qk]\.weight$", name):
            heads = field(path, "llama.attention.head_count" + ("_kv" if "attn_k" in name else ""))
            self.order = np.arange(shape[0]).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)

    def rows(self, lo, hi):
        if len(self.shape) == 1:
            return dequantize(self.data, self.kind).reshape(-1)
        pick = slice(lo, hi) if self.order is None else self.order[lo:hi]
        return dequantize(np.ascontiguousarray(self.data[pick]), self.kind).reshape(-1, self.shape[1])

    def all(self):
        return self.rows(0, self.shape[0])


def source_tensors(path):
    return [SourceTensor(path, *t) for t in reader(path).tensors]


def program_name(names, tensor):
    """The name among `names` that a GGUF tensor has in a program."""
    plain = re.sub(r"\W", "_", tensor)
    found = [n for n in (plain, plain + "_0", plain + "_1", plain + "_scaled_0") if n in names]
    assert found, f"{tensor}: no constant of that name"
    return found[0]


# ------------------------------------------------------------------ coremltools' view
def coremltools():
    import coremltools as ct
    return ct


@functools.lru_cache(maxsize=2)
def load_program(pkg):
    """The package through coremltools' own loader: a PyMIL program."""
    from coremltools.converters.mil.frontend.milproto.load import load
    spec = coremltools().utils.load_spec(pkg)
    return load(spec, specification_version=spec.specificationVersion, file_weights_dir=os.path.dirname(weight_file(pkg)))


def constants(program):
    """Constant ops of main, dense and compressed, by the name of their value."""
    return {o.outputs[0].name: o for o in program.functions["main"].operations
            if o.op_type == "const" or o.op_type.startswith("constexpr_")}


class PackageTensor:
    """A constant of a loaded program: its f32 product (before any rounding to fp16) and coremltools' own decoding."""

    def __init__(self, op):
        self.op = op
        self.dense = op.op_type == "const"
        assert self.dense or op.op_type == "constexpr_blockwise_shift_scale", op.op_type
        if self.dense:
            self.data = op.outputs[0].val
        else:
            self.data, self.scale = op.data.val, op.scale.val
            self.offset = None if op.offset is None else op.offset.val
        self.shape = self.data.shape

    def product(self, lo, hi):
        if self.dense:
            return (self.data if self.data.ndim == 1 else self.data[lo:hi]).astype(np.float32)
        scale = self.scale[lo:hi].astype(np.float32)[:, :, None]
        x = self.data[lo:hi].astype(np.float32).reshape(*scale.shape[:2], -1)
        if self.offset is not None:
            x -= self.offset[lo:hi].astype(np.float32)[:, :, None]
        x *= scale
        return x.reshape(-1, self.shape[1])

    def coremltools(self, lo, hi):
        if self.dense:
            return self.product(lo, hi)
        cut = slice(lo, hi)
        return self.op.decompress(self.data[cut], self.scale[cut], None if self.offset is None else self.offset[cut])


class Errors:
    """NMSE and largest error, summed over slabs."""

    def __init__(self):
        self.err = self.ref = self.max = 0.0

    def add(self, want, got):
        want, d = want.reshape(-1), np.subtract(got, want, dtype=np.float32).reshape(-1)
        self.err += float(np.dot(d, d))
        self.ref += float(np.dot(want, want))
        self.max = max(self.max, float(np.abs(d, out=d).max(initial=0.0)))

    @property
    def nmse(self):
        return self.err / self.ref if self.ref > 0 else 0.0


def alike(a, b, share=0.01, small=1e-9):
    return abs(a - b) <= share * max(abs(a), abs(b)) or max(abs(a), abs(b)) < small


# ------------------------------------------------------------------ distributions
def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(a, b):
    """KL(a || b) of each row of logits."""
    p, q = log_softmax(a), log_softmax(b)
    return (np.exp(p) * (p - q)).sum(-1)


def relative(want, got):
    """max |difference| / max |want|"""
    want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
    assert want.shape == got.shape
    return float(np.abs(want - got).max() / np.abs(want).max())
