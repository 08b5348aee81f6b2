# SPDX-License-Identifier: MIT
"""The forms of test_designs.py from the two real models: coremltools accepts each, what it computes as written (chunk by
chunk, as a host would) and as a model (through the engine) is the source's within what its weights lost, and the text is
the source's where they lost nothing but bits of fp16.

A few forms run in every test; SMELT_FORMS=all runs the whole table (about twenty minutes on two cores) and prints what
docs/numerics.md shows: KL(source || package), mean over the tokens, and the share of equal first choices.
"""
import functools
import json
import os
import shutil

import numpy as np
import pytest
from package_driver import Driver, Function, Pipeline, accepted, check_pkg, drive
from pkg_tools import CTX, REAL, convert, eval_logits, greedy, kl, load_program, same_until_close, scratch, smelt_json, source

TEXT = ("The city of Venice stands on a hundred islands in a shallow lagoon of the Adriatic Sea. Its people built houses on "
        "wooden piles, traded with the East in salt, silk and spices, and for a thousand years were ruled by a duke whom "
        "they elected. Today the water rises, and visitors come in great numbers")
TOKENS = 71  # 64, and chunks of 7 and of 1 behind it
PROMPT = "Once upon a time, in a small village by the sea,"
ANE = ["--units", "cpuAndNeuralEngine"]
ONCE, PARTS, FIXED = [64, 7], [1] * 7 + [64], [8] * 8 + [7]
DECODED = [("prefill", 64)] + [("decode", 1)] * 7
# Bounds of the mean KL: none and auto of the GPU design keep the codes; the others lose what their bits lose.
KEPT, EIGHT = 1e-4, 0.015
# name: (options, calls as written, the bound, the model of which it is in every test)
FORMS = {
    "iOS15 io": (["--target", "iOS15"], ONCE, KEPT, None),
    "iOS16 int8 per channel": (["--target", "iOS16"], ONCE, EIGHT, None),
    "iOS17 lut8": (["--target", "iOS17", "--quant", "lut8"], ONCE, 0.1, None),
    "iOS18": ([], ONCE, KEPT, None),
    "iOS18 io": (["--kv", "io"], ONCE, KEPT, None),
    "iOS18 none": (["--quant", "none"], PARTS, KEPT, None),
    "iOS18 fp32": (["--precision", "fp32"], ONCE, KEPT, None),
    "iOS18 mixed": (["--fp32", "*norm*,blk.0.*"], ONCE, KEPT, None),
    "iOS18 range 2..64": (["--seq", "2..64"], [64, 7], KEPT, None),
    "iOS18 list 1,7,64": (["--seq", "1,7,64"], [1, 64, 1, 1, 1, 1, 1, 1], KEPT, "smollm2"),
    "iOS18 fixed 8": (["--seq", "8"], FIXED, KEPT, None),
    "iOS18 mask made, decomposed": (["--mask", "made", "--attention", "decomposed"], ONCE, KEPT, None),
    "iOS18 functions": (["--functions", "prefill:64,decode:1"], [("prefill", 64)], KEPT, None),
    "iOS18 int8": (["--quant", "int8"], ONCE, EIGHT, None),
    "iOS18 lut6": (["--quant", "lut6"], ONCE, 0.1, None),
    "iOS26": (["--target", "iOS26"], ONCE, KEPT, None),
    "ANE iOS18 none": ([*ANE, "--quant", "none"], DECODED, KEPT, "smollm2"),
    "ANE iOS18 auto": (ANE, DECODED, 0.005, None),
    "ANE iOS18 int8": ([*ANE, "--quant", "int8"], DECODED, EIGHT, None),
    "ANE iOS18 states": ([*ANE, "--kv", "state", "--seq", "8"], FIXED, 0.005, None),
    "ANE iOS18 mask made": ([*ANE, "--mask", "made", "--seq", "8", "--quant", "int8"], FIXED, EIGHT, None),
    "ANE iOS16": ([*ANE, "--target", "iOS16", "--seq", "8", "--quant", "int8"], FIXED, EIGHT, None),
    "ANE iOS26": ([*ANE, "--target", "iOS26", "--quant", "int8"], DECODED, EIGHT, None),
    "iOS18 io, embedding / 2 x layers / head": (["--kv", "io", "--split", "units:2"], ONCE, KEPT, "gemma3"),
    "ANE iOS18, embedding / 2 x layers / head": ([*ANE, "--split", "units:2", "--quant", "int8"], DECODED, EIGHT, None),
}
ALL = os.environ.get("SMELT_FORMS") == "all"
CHOSEN = [(m, f) for m in REAL for f in FORMS if ALL or FORMS[f][3] == m]


@functools.lru_cache(maxsize=1)
def model(name):
    """(path, ids, its logits)"""
    path = source(name)
    ids = smelt_json("tokenize", path, "-p", TEXT)["ids"]
    ids = (ids * 2)[:TOKENS]
    return path, ids, eval_logits(path, ids)


def as_written(pkg, calls, ids):
    """Logits of the calls."""
    if os.path.exists(os.path.join(pkg, "smelt.json")):
        chain, rows, at = Pipeline(pkg), [], 0
        for c in calls:
            name, n = c if isinstance(c, tuple) else (None, c)
            rows.append(chain.step(ids[at:at + n], name)["logits"])
            at += n
        return np.concatenate(rows)
    if calls is FIXED and Function(pkg).states:  # a call of 7 in a function of 8 would write one row too many
        calls = [8] * 8
    return drive(pkg, calls, ids)


def compared(name, form, how, want, got, bound):
    away, same = kl(want[:len(got)], got), (want[:len(got)].argmax(1) == got.argmax(1)).mean()
    print(f"{os.path.basename(name)[:-5]}, {form}, {how}: KL {away.mean():.1e}, first choices {same:.3f}")
    assert away.mean() < bound and np.isfinite(got).all()
    return away.mean()


@pytest.mark.parametrize("name, form", CHOSEN)
def test_form(name, form):
    path, ids, want = model(name)
    options, calls, bound, _ = FORMS[form]
    out = scratch("real", "form" + ("" if "--split" in options else ".mlpackage"))
    report = convert(path, out, "-c", CTX, *options)
    packages = [out]
    if "--split" in options:
        with open(os.path.join(out, "smelt.json")) as f:
            packages = [os.path.join(out, p["package"]) for p in json.load(f)["parts"]]
        for p in packages:
            found, _, _ = check_pkg.check(p, noload=True)
            assert not found.err and not found.warn, (p, found.err, found.warn)
    else:
        quant = options[options.index("--quant") + 1] if "--quant" in options else "auto"
        target = options[options.index("--target") + 1] if "--target" in options else "iOS18"
        design = "ane" if options[:2] == ANE else "gpu"
        fused = "io" not in options and "decomposed" not in options
        if "--precision" not in options:
            accepted(out, report, target, design, quant, fused)
    compared(path, form, "as written", want, as_written(out, calls, ids), bound)
    compared(path, form, "as a model", want, eval_logits(out, ids), bound)
    if bound == KEPT:
        a, _ = greedy(path, PROMPT, 16, "--raw")
        b, _ = greedy(out, PROMPT, 16, "--raw")
        assert same_until_close(a, b, 0.05)[0] >= 4
    load_program.cache_clear()  # a gigabyte
    shutil.rmtree(out)


ROUNDED = [(m, d) for m in REAL for d in ("gpu", "ane") if ALL or (m, d) in (("gemma3", "gpu"), ("smollm2", "ane"))]


@pytest.mark.parametrize("name, design", ROUNDED)
def test_every_value_rounded_to_fp16(name, design):
    """As hardware with fp16 activations computes: an independent interpreter rounds the result of every op that the
    program types as fp16.  What outgrew fp16 would be infinite here, and the logits no numbers."""
    pkg = scratch("real", "rounded.mlpackage")
    ids = smelt_json("tokenize", source(name), "-p", TEXT)["ids"][:8]
    want = eval_logits(source(name), ids)
    report = convert(source(name), pkg, "-c", 64, *([*ANE, "--seq", "8"] if design == "ane" else []), "--quant", "none")
    f, d, top = Function(pkg), Driver(pkg), [0.0]

    def note(op, _, v):
        if op.type == "add" and check_pkg.parse_type(op.outputs[0].type)[1] == "fp16":
            top[0] = max(top[0], float(np.abs(v).max()))
    half = check_pkg.milnp.Package(pkg, True)
    out = half.run(d.fill(f, ids), half.make_state(f.name if f.several else None), f.name if f.several else None, note)
    away = kl(want, d.logits(f, out))
    print(f"{name}, {design}, all in fp16: mean KL {away.mean():.1e}, max {away.max():.1e}; largest sum {top[0]:.3g}, stream "
          f"carried as 1/{1 / report['stream_scale']:.0f}")
    assert away.mean() < 2e-4 and away.max() < 1e-3 and top[0] < 65504
    shutil.rmtree(pkg)


@pytest.mark.parametrize("name", REAL if ALL else ["smollm2"])
def test_chunks_agree(name):
    """1, 7 and 64 tokens a call, as written: the same logits."""
    path, ids, _ = model(name)
    out = scratch("real", "chunks.mlpackage")
    convert(path, out, "-c", CTX, "--kv", "state")
    rows = {n: drive(out, [n] * (63 // n) if n < 64 else [63], ids[:63]) for n in (1, 7, 64)}
    for n in (1, 7):
        off = float(np.abs(rows[n] - rows[64]).max() / np.abs(rows[64]).max())
        print(f"{os.path.basename(path)[:-5]}: calls of {n} against one of 63: {off:.1e}, KL {kl(rows[64], rows[n]).max():.1e}")
        assert kl(rows[64], rows[n]).max() < 1e-4
    shutil.rmtree(out)
