# SPDX-License-Identifier: MIT
"""mil_harness: single MIL ops through packages, many cases at once.

A case names an op, an opset, arrays, and a function that builds the op with coremltools' Builder.  Each case is built
twice: with its arrays as constants (coremltools then infers the value itself: `.val`) and with its arrays as inputs.
All cases of an opset go into functions of one package, written by coremltools' own exporter (its passes are not run: what
the Builder was told is what the file says); `smelt predict` runs it, one call for everything.

The wanted result is coremltools' own inferred value, a definition in numpy given with the case, or both, which then must
agree with each other.  A case that fails alone does not hide the others: a package that is refused is halved.

    C(op, build, want=None, opset=9, tol=.., note="", **arrays)

`build(mb, **vars)` returns a variable or a list of them; `want(**arrays)` an array or a list of them.  want=None: the value
that coremltools infers, which must exist.  const/live: which of the two forms to build (an array that must be constant
goes into `fixed` and is a constant in both).
"""
import itertools
import json
import logging
import os
import subprocess
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
logging.getLogger("coremltools").setLevel(logging.CRITICAL)
import coremltools as ct  # noqa: E402
from coremltools.converters.mil.backend.mil.load import load as export_program  # noqa: E402
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, Program, types  # noqa: E402
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry  # noqa: E402

TARGET = {6: ct.target.iOS15, 7: ct.target.iOS16, 8: ct.target.iOS17, 9: ct.target.iOS18, 10: ct.target.iOS26}
SMELT = os.environ.get("SMELT", "build/smelt")
BACKEND = "ref"
MIL_TYPE = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "bool": types.bool, "int8": types.int8,
            "uint8": types.uint8, "int16": types.int16, "uint16": types.uint16}
TOL = 2e-6  # of float results: |got - want| <= TOL * (|want| + scale of the result)


@dataclass
class Case:
    op: str
    build: object
    want: object = None
    opset: int = 9
    tol: float = TOL
    note: str = ""
    const: bool = True  # build with constant arrays
    live: bool = True  # build with arrays as inputs
    trip: bool = True  # does coremltools load what it wrote, or what we write, of it?
    infers: bool = True  # compare with coremltools' own value where it has one
    fixed: dict = field(default_factory=dict)  # arrays that are constants in both forms
    arrays: dict = field(default_factory=dict)
    symbolic: tuple = ()  # (array, axis) pairs whose extents are unknown in the live form

    @property
    def name(self):
        shapes = ",".join(f"{k}{list(v.shape)}" for k, v in self.arrays.items() if isinstance(v, np.ndarray))
        return f"{self.op}@{self.opset} {self.note} {shapes}".replace("  ", " ")


def C(op, build, want=None, **more):
    names = {f for f in Case.__dataclass_fields__ if f not in ("op", "build", "want", "arrays")}
    given = {k: more.pop(k) for k in list(more) if k in names}
    return Case(op, build, want, arrays={k: np.asarray(v) for k, v in more.items()}, **given)


def as_list(x):
    return list(x) if isinstance(x, (list, tuple)) else [x]


# ------------------------------------------------------------------ packages
def write_package(prog, opset, folder):
    """prog as FOLDER/x.mlpackage, by coremltools' exporter, without its passes."""
    pkg = Path(folder) / "x.mlpackage"
    data = pkg / "Data" / "com.apple.CoreML"
    (data / "weights").mkdir(parents=True)
    desc = ct.proto.Model_pb2.ModelDescription()
    spec = export_program(prog, str(data / "weights"), specification_version=opset, model_description=desc)
    (data / "model.mlmodel").write_bytes(spec.SerializeToString())
    items = {"A": ("model.mlmodel", "com.apple.CoreML/model.mlmodel")}
    if any((data / "weights").iterdir()):
        items["B"] = ("weights", "com.apple.CoreML/weights")
    (pkg / "Manifest.json").write_text(json.dumps({
        "fileFormatVersion": "1.0.0", "rootModelIdentifier": "A",
        "itemInfoEntries": {k: {"author": "com.apple.CoreML", "description": "", "name": n, "path": p}
                            for k, (n, p) in items.items()}}))
    return pkg


def predict(pkg, inputs, *more):
    """One call; (outputs, error text)."""
    with tempfile.TemporaryDirectory() as d:
        np.savez(os.path.join(d, "in.npz"), **inputs)
        out = os.path.join(d, "out")
        r = subprocess.run([SMELT, "predict", str(pkg), "--backend", BACKEND, "-q", "--in", os.path.join(d, "in.npz"),
                            "--out", out, *more], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        if r.returncode != 0:
            return None, f"exit {r.returncode}: {r.stderr.strip()[-600:]}"
        with np.load(os.path.join(out, "0.npz")) as z:
            return {k: z[k] for k in z.files}, ""


# ------------------------------------------------------------------ building
@dataclass
class Form:
    """One form of a case inside a program."""
    case: Case
    live: bool
    tag: str
    inputs: dict = field(default_factory=dict)
    outputs: list = field(default_factory=list)
    vals: list = None
    problem: str = ""


def placeholder_shape(case, key, arr):
    from coremltools.converters.mil.mil import get_new_symbol
    return tuple(get_new_symbol() if (key, a) in case.symbolic else d for a, d in enumerate(arr.shape))


def build_form(form, placeholders, outs):
    case, args = form.case, {}
    for k, arr in case.arrays.items():
        if form.live:
            args[k] = placeholders[f"{form.tag}_{k}"]
            form.inputs[f"{form.tag}_{k}"] = arr
        else:
            args[k] = mb.const(val=arr.copy(), name=f"{form.tag}_{k}")
    for k, arr in case.fixed.items():
        args[k] = mb.const(val=arr if isinstance(arr, str) else np.array(arr), name=f"{form.tag}_{k}")
    results = as_list(case.build(mb, **args))
    form.vals = [r.val for r in results]
    for r in results:
        outs.append(getattr(r, "var", r))
        form.outputs.append(r.name)


def build_program(forms, opset, edge=False):
    """Program of one function with all forms; forms that coremltools refuses get a problem.  edge: outputs are only what
    Core ML lets out of a package."""
    specs = {}
    for f in forms:
        if f.live:
            for k, arr in f.case.arrays.items():
                specs[f"{f.tag}_{k}"] = mb.placeholder(placeholder_shape(f.case, k, arr), dtype=MIL_TYPE[arr.dtype.name],
                                                       allow_rank0_input=True)
    if not specs:  # a program wants an input
        specs["unused"] = mb.placeholder((1,), dtype=types.fp32)
    prog, outs = Program(), []
    with Function(specs, opset_version=TARGET[opset]) as func:
        for f in forms:
            n = len(outs)
            try:
                build_form(f, func.inputs, outs)
            except Exception as e:  # noqa: BLE001  coremltools raises anything
                del outs[n:]
                f.problem = f"{type(e).__name__}: {e}"
                f.outputs = []
        if edge:
            outs = [o for o in outs if o.rank > 0 and o.dtype in (types.fp32, types.int32)]
        if not outs:
            outs = [mb.identity(x=mb.const(val=np.zeros(1, np.float32)), name="nothing")]
        func.set_outputs(outs)
    prog.add_function("main", func)
    return prog, {"unused": np.zeros(1, np.float32)} if "unused" in specs else {}


def run_forms(forms, opset):
    """{tag: outputs or error text}; a refused package is halved until the culprit stands alone."""
    for f in forms:
        f.inputs, f.outputs, f.vals, f.problem = {}, [], None, ""
    with tempfile.TemporaryDirectory() as d:
        try:
            prog, inputs = build_program(forms, opset)
            pkg = write_package(prog, opset, d)
        except Exception as e:  # noqa: BLE001
            got, err = None, f"coremltools: {type(e).__name__}: {e}"
        else:
            for f in forms:
                inputs.update({k: v for k, v in f.inputs.items()})
            for f in forms:  # the function wants all its inputs, those of forms without results too
                if f.live:
                    inputs.update({f"{f.tag}_{k}": v for k, v in f.case.arrays.items()})
            got, err = predict(pkg, inputs)
    if got is not None:
        return {f.tag: f"coremltools: {f.problem}" if f.problem else [got[o] for o in f.outputs] for f in forms}
    if len(forms) == 1:
        return {forms[0].tag: err}
    half = len(forms) // 2
    return {**run_forms(forms[:half], opset), **run_forms(forms[half:], opset)}


# ------------------------------------------------------------------ judging
def differs(got, want, tol):
    """'' or what is wrong."""
    want = np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape}, wanted {want.shape}"
    kind = {"f": "f", "b": "b"}.get(want.dtype.kind, "i")
    if {"f": "f", "b": "b"}.get(got.dtype.kind, "i") != kind:
        return f"dtype {got.dtype}, wanted {want.dtype}"
    if kind != "f":
        if kind == "i" and want.dtype.itemsize < 8 and got.dtype != want.dtype:
            return f"dtype {got.dtype}, wanted {want.dtype}"
        bad = got.astype(np.int64) != want.astype(np.int64)
        return "" if not bad.any() else f"{int(bad.sum())} of {want.size} differ: {got.ravel()[:8]} wanted {want.ravel()[:8]}"
    g, w = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(w)
    scale = np.max(np.abs(w[finite]), initial=0.0)
    limit = (tol if want.dtype != np.float16 else max(tol, 1.5e-3)) * (np.abs(np.where(finite, w, 0)) + scale) + 1e-30
    with np.errstate(invalid="ignore"):
        same = (g == w) | (np.isnan(g) & np.isnan(w)) | (np.abs(g - w) <= limit)
    if same.all():
        return ""
    at = int(np.argmin(same.ravel()))
    return f"{int((~same).sum())} of {w.size} differ: element {at}: {g.ravel()[at]!r} wanted {w.ravel()[at]!r}"


def judge(form, result):
    if isinstance(result, str):
        return result
    c = form.case
    wants = []
    if c.want is not None:
        wants.append(("definition", as_list(c.want(**c.arrays, **c.fixed))))
    if form.vals is not None and all(v is not None for v in form.vals) and c.infers:
        wants.append(("coremltools", form.vals))
    if not wants:
        return "nothing to compare with"
    for who, values in wants:
        if len(values) != len(result):
            return f"{len(result)} results, {who} has {len(values)}"
        for i, (g, w) in enumerate(zip(result, values)):
            text = differs(g, w, c.tol)
            if text:
                return f"result {i} against {who}: {text}"
    return ""


def run_cases(cases, batch=400):
    """[(case name, what is wrong)] of those that fail, and figures."""
    failed, count = [], {"cases": len(cases), "runs": 0, "compared with coremltools": 0, "compared with a definition": 0}
    for opset, group in itertools.groupby(sorted(cases, key=lambda c: c.opset), key=lambda c: c.opset):
        group = list(group)
        for at in range(0, len(group), batch):
            forms = []
            for i, c in enumerate(group[at:at + batch]):
                if c.const:
                    forms.append(Form(c, False, f"k{i}"))
                if c.live and c.arrays:
                    forms.append(Form(c, True, f"r{i}"))
            results = run_forms(forms, opset)
            inferred = {id(f.case): f.vals for f in forms if not f.live and f.vals and all(v is not None for v in f.vals)}
            for f in forms:
                if f.live and f.case.want is None and f.case.infers:  # what the constant form was inferred to be
                    f.vals = inferred.get(id(f.case), f.vals)
                text = judge(f, results[f.tag])
                count["runs"] += 1
                count["compared with coremltools"] += bool(f.case.infers and f.vals and
                                                           all(v is not None for v in f.vals))
                count["compared with a definition"] += f.case.want is not None
                if text:
                    failed.append((f"{f.case.name} {'inputs' if f.live else 'constants'}", text))
    return failed, count


# ------------------------------------------------------------------ our writer
def plain(form):
    """Does Core ML have all its inputs and outputs at a package's edge, and can coremltools load such a file of its own?"""
    if not form.case.trip or form.case.op == "select" or form.case.op.startswith("reduce_") and not form.live:
        return False  # select: its declared type leaves cond out; reduce_: keep_dims of constants fails in NumPy 2
    return all(v.dtype in (np.float32, np.int32) and v.ndim > 0 for v in form.case.arrays.values()) or not form.live


def rewritten(pkg, out):
    """The package through our reader and writer (tests/tools/rewrite_pkg.c); '' or what was said."""
    tool = os.path.join(os.path.dirname(SMELT), "tests", "tools", "rewrite_pkg")
    r = subprocess.run([tool, str(pkg), str(out)], capture_output=True, text=True)
    return "" if r.returncode == 0 else r.stderr.strip()[-600:]


def load_again(pkg):
    """coremltools' own reader of programs, which runs its type inference over every op."""
    spec = ct.proto.Model_pb2.Model()
    spec.ParseFromString((Path(pkg) / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    from coremltools.converters.mil.frontend.milproto.load import load
    load(spec, specification_version=spec.specificationVersion,
         file_weights_dir=str(Path(pkg) / "Data/com.apple.CoreML/weights"))


def round_trip(cases, batch=400):
    """Packages of cases read and written by us: coremltools loads them, and their outputs are the same bytes.
    [(what, what is wrong)], number of forms."""
    failed, n = [], 0
    for opset, group in itertools.groupby(sorted(cases, key=lambda c: c.opset), key=lambda c: c.opset):
        group = list(group)
        for at in range(0, len(group), batch):
            forms = [Form(c, live, f"{'rk'[not live]}{i}") for i, c in enumerate(group[at:at + batch])
                     for live in (False, True) if (c.live and c.arrays if live else c.const)]
            forms = [f for f in forms if plain(f)]
            failed += trip(forms, opset)
            n += len(forms)
    return failed, n


def trip(forms, opset):
    if not forms:
        return []
    for f in forms:
        f.inputs, f.outputs, f.vals, f.problem = {}, [], None, ""
    with tempfile.TemporaryDirectory() as d:
        try:
            prog, inputs = build_program(forms, opset, edge=True)
            pkg = write_package(prog, opset, d)
            for f in forms:
                if f.live:
                    inputs.update({f"{f.tag}_{k}": v for k, v in f.case.arrays.items()})
            err = rewritten(pkg, Path(d) / "y.mlpackage")
            if not err:
                load_again(Path(d) / "y.mlpackage")
                first, err = predict(pkg, inputs)
                second, err = predict(Path(d) / "y.mlpackage", inputs) if not err else (None, err)
                if not err and any(not np.array_equal(first[k], second[k], equal_nan=first[k].dtype.kind == "f") for k in first):
                    err = "other outputs than before"
        except Exception as e:  # noqa: BLE001
            err = f"{type(e).__name__}: {e}"
    if not err:
        return []
    if len(forms) == 1:
        return [(forms[0].case.name, err)]
    half = len(forms) // 2
    return trip(forms[:half], opset) + trip(forms[half:], opset)


# ------------------------------------------------------------------ what there is
def registered():
    """{op name: set of specification versions} as coremltools registers MIL's core ops."""
    found = {}
    for name, versions in SSAOpRegistry.core_ops.items():
        found[name] = {v.value if hasattr(v, "value") else int(v) for v in versions}
    return found


def ops_def(root=Path(__file__).resolve().parents[2]):
    """{MIL name: since} of ops.def's rows."""
    import re
    text = (root / "src/graph/ops.def").read_text()
    return {m[1]: int(m[2]) for m in re.finditer(r'^OP\(\w+,\s*"([^"]+)",\s*(\d+)', text, re.M)}


def slots_of(root=Path(__file__).resolve().parents[2]):
    """{op: {version: ({slot of ops.def: since} or None, names that coremltools has)}}."""
    import re
    text = re.sub(r'"\s*\n?\s*"', "", (root / "src/graph/ops.def").read_text())
    rows = {}
    for m in re.finditer(r'^OP\(\w+,\s*"([^"]+)",\s*(\d+),\s*"([^"]*)"', text, re.M):
        rows[m[1]] = {s.split(":")[0]: int(s.split("@")[1]) if "@" in s else int(m[2]) for s in m[3].split(", ")}
    found = {}
    for name, versions in SSAOpRegistry.core_ops.items():
        found[name] = {v.value: (rows.get(name), {k for k in c.input_spec.input_types if not k.startswith("_")})
                       for v, c in versions.items() if v.value >= 6}
    return found
