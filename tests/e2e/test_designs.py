# SPDX-License-Identifier: MIT
"""Every form of package that `convert` writes, from small random models: coremltools accepts it, and what it computes is
what the source computes, chunk by chunk, as a host would drive it (package_driver.py).  What a target or design cannot
hold is refused, with the lowest target that can."""
import os

import numpy as np
import pytest
from package_driver import Driver, Function, Pipeline, accepted, check_pkg, drive
from pkg_tools import convert, eval_logits, kl, make_model, predict, relative, scratch, smelt, smelt_json, weight_file

CTX = 40
IDS = [1, 301, 77, 499, 258, 12, 340, 404, 285, 290, 433, 500]
FAMILIES = {
    "llama-biased": ["--family", "llama", "--type", "q4_1", "--untied", "--biases"],
    "gemma3": ["--family", "gemma3", "--type", "q5_0", "--embed-type", "q8_0", "--window", "6", "--layers", "7"],
}
ANE = ["--units", "cpuAndNeuralEngine"]
ANY, FOUR, ALL = [7, 1, 4], [4, 4, 4], [12]
# options, tokens of the calls (with the function's name where there are several)
FORMS = {
    "usual": ([], ANY),
    "io": (["--kv", "io"], ANY),
    "io-static": (["--kv", "io", "--seq", "4"], FOUR),
    "no-cache": (["--kv", "none"], ALL),
    "fp32": (["--precision", "fp32"], ANY),
    "fp32-io-iOS15": (["--precision", "fp32", "--target", "iOS15"], ANY),
    "mixed": (["--fp32", "blk.0.*,*norm*"], ANY),
    "mask-made": (["--mask", "made"], ANY),
    "io-mask-made": (["--kv", "io", "--mask", "made"], ANY),
    "decomposed": (["--attention", "decomposed"], ANY),
    "io-fused": (["--kv", "io", "--attention", "fused"], ANY),
    "static": (["--seq", "4"], FOUR),
    "functions": (["--functions", "prefill:8,decode:1@32"], [("prefill", 8)]),
    "iOS15": (["--target", "iOS15"], ANY),
    "iOS16": (["--target", "macOS13"], ANY),
    "iOS17": (["--target", "iOS17"], ANY),
    "iOS26": (["--target", "iOS26"], ANY),
    "list": (["--seq", "1,4,7"], ANY),
    "io-list": (["--kv", "io", "--seq", "7,4,1"], ANY),
    "ane-list": ([*ANE, "--seq", "1,4"], [4, 1, 4]),
    "ane": (ANE, [("prefill", 7), ("decode", 1), ("prefill", 4)]),
    "ane-static": ([*ANE, "--seq", "4"], FOUR),
    "ane-state": ([*ANE, "--seq", "4", "--kv", "state"], FOUR),
    "ane-mask-made": ([*ANE, "--seq", "4", "--mask", "made"], FOUR),
    "ane-iOS16": ([*ANE, "--seq", "4", "--target", "iOS16"], FOUR),
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    """(source, its logits of IDS)"""
    path = make_model(scratch("designs", request.param + ".gguf"), *FAMILIES[request.param], "--ctx", 256)
    return path, eval_logits(path, IDS, "--backend", "ref")


@pytest.mark.parametrize("form", FORMS)
def test_numbers(model, form):
    """With --quant none: nothing but the rounding to fp16 stands between a package and its source."""
    options, steps = FORMS[form]
    pkg = scratch("designs", "numbers.mlpackage")
    convert(model[0], pkg, "-c", CTX, *options, "--quant", "none")
    got = drive(pkg, steps, IDS)
    want = model[1][:len(got)]
    limit = 2e-6 if "fp32" in form else 3e-3
    print(f"{form}: max |difference| / max {relative(want, got):.1e}, KL {kl(want, got).max():.1e}")
    assert relative(want, got) < limit and kl(want, got).max() < 1e-5
    if form != "no-cache":  # and as a model: found again in row form
        run = eval_logits(pkg, IDS, "--backend", "ref")
        assert relative(model[1], run) < limit and kl(model[1], run).max() < 1e-5


@pytest.mark.parametrize("head", ["last", "argmax", "topk:3"])
@pytest.mark.parametrize("form", ["usual", "io-static", "ane-static"])
def test_heads(model, form, head):
    pkg = scratch("designs", "heads.mlpackage")
    convert(model[0], pkg, "-c", CTX, *FORMS[form][0], "--quant", "none", "--logits", head)
    n = 4
    f, d = Function(pkg), Driver(pkg)
    out = predict(pkg, [d.fill(f, IDS[:n])])[0]
    want = model[1][n - 1]
    if head == "last":
        assert f.outputs[0] == "logits"
        got = d.logits(f, out)
        assert got.shape == (1, len(want)) and kl(want[None], got).max() < 1e-5
    elif head == "argmax":
        assert f.outputs[0] == "token" and out["token"].shape == (1, 1)
        assert want[out["token"][0, 0]] >= want.max() - 1e-2
    else:
        assert f.outputs[:2] == ["topValues", "topIds"] and out["topIds"].shape == (1, 3)
        ids = out["topIds"][0]
        assert np.allclose(out["topValues"][0], want[ids], atol=0.02, rtol=2e-3)
        assert (want[ids] >= np.sort(want)[-3] - 1e-2).all() and len(set(ids)) == 3


def test_head_in_pieces():
    """50257 = 29 * 1733 rows do not divide into even pieces, nor into groups of 16."""
    gguf = make_model(scratch("designs", "wide.gguf"), "--family", "llama", "--type", "q8_0", "--layers", 1, "--width", 64,
                      "--ff", 64, "--vocab", 50257, "--untied", "--ctx", 64)
    pkg = scratch("designs", "wide.mlpackage")
    for quant in ("none", "lut8", "auto"):
        convert(gguf, pkg, "-c", 32, *ANE, "--seq", "2", "--quant", quant)
        f, d = Function(pkg), Driver(pkg)
        names = [o for o in f.outputs if o.startswith("logits")]
        assert names == [f"logits{i + 1}" for i in range(4)]
        got = d.step(IDS[:2])["logits"]
        want = eval_logits(gguf, IDS[:2], "--backend", "ref")
        assert got.shape == want.shape and kl(want, got).max() < (1e-5 if quant == "none" else 5e-3)


# ------------------------------------------------------------------ several packages
SPLITS = [("units", ["embedding", "layers1", "head"]), ("units:2", ["embedding", "layers1", "layers2", "head"]),
          ("2", ["layers1", "layers2"])]


@pytest.mark.parametrize("design", [["--kv", "io"], ["--kv", "io", "--mask", "made"], [*ANE, "--seq", "4"]], ids=" ".join)
@pytest.mark.parametrize("split, parts", SPLITS, ids=lambda v: v if isinstance(v, str) else "")
def test_split(model, design, split, parts):
    out = scratch("designs", "split")
    report = convert(model[0], out, "-c", CTX, *design, "--quant", "none", "--split", split)
    assert sorted(os.listdir(out)) == sorted([p + ".mlpackage" for p in parts] + ["smelt.json"])
    assert report["packages"] == len(parts)
    chain = Pipeline(out)
    steps = FOUR if "--seq" in design else [7, 5]
    rows, at = [], 0
    for n in steps:
        rows.append(chain.step(IDS[at:at + n])["logits"])
        at += n
    got = np.concatenate(rows)
    assert relative(model[1], got) < 3e-3 and kl(model[1], got).max() < 1e-5
    assert kl(model[1], eval_logits(out, IDS, "--backend", "ref")).max() < 1e-5  # joined to one program
    shown = smelt_json("inspect", out)["parts"]
    assert len(shown) == len(parts) and all("a part of a model" in p["not_runnable"] for p in shown)
    assert "smelt run" in smelt("predict", out, "--in", "none.npz", "--out", scratch("designs", "none"), rc=4).stderr
    for d in chain.parts:
        found, _, _ = check_pkg.check(d.pkg)
        assert not found.err and not found.warn, (found.err, found.warn)


def test_split_by_layers_and_size(small, tmp_path):
    """gemma3 of two layers: the embedding is most of it."""
    convert(small, tmp_path / "a", "-c", CTX, "--split", "layers:0-0,1-1")
    assert sorted(os.listdir(tmp_path / "a")) == ["layers1.mlpackage", "layers2.mlpackage", "smelt.json"]
    whole = convert(small, tmp_path / "w.mlpackage", "-c", CTX)["to_bytes"]
    convert(small, tmp_path / "b", "-c", CTX, "--split", f"size:{whole * 2 // 3}")
    sizes = [os.path.getsize(weight_file(tmp_path / "b" / p)) for p in os.listdir(tmp_path / "b") if p != "smelt.json"]
    assert len(sizes) > 1 and max(sizes) <= whole * 2 // 3 + 4096
    for wrong in ("layers:0-0", "layers:1-0", "layers:0-9", "9", "0", "units:9", "size:x", "halves"):
        smelt("convert", small, tmp_path / "c", "-c", CTX, "--split", wrong, rc=2)
    smelt("convert", small, tmp_path / "c", "-c", CTX, "--split", "size:10", rc=4)
    smelt("convert", small, tmp_path / "c.mlpackage", "-c", CTX, "--split", "2", rc=2)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "w.mlpackage"]
    assert convert(small, tmp_path / "c", "-c", CTX, "--split", "size:100G")["packages"] == 1  # a directory all the same
    assert sorted(os.listdir(tmp_path / "c")) == ["layers1.mlpackage", "smelt.json"]
    ids = list(range(5, 12))
    assert kl(eval_logits(tmp_path / "w.mlpackage", ids), eval_logits(tmp_path / "c", ids)).max() < 1e-9


def test_notes(small, tmp_path):
    """What will leave the Neural Engine is said; a package of several parts without an embedding has nothing to say."""
    def rules(*args):
        return {n["rule"] for n in convert(small, tmp_path / "n", "--dry-run", *ANE, *args)["notes"]}
    assert rules("-c", 64, "--seq", "4") == {"LOOKUP"}
    assert rules("-c", 64, "--seq", "4", "--split", "units") == set()
    assert rules("-c", 64, "--seq", "4", "--logits", "argmax") == {"LOOKUP", "BEST"}
    assert rules("-c", 80, "--seq", "72", "--kv", "state") == {"LOOKUP", "STATE", "STATE_EXTENT", "LONG_UPDATE"}
    assert convert(small, tmp_path / "n", "--dry-run", "-c", 80)["notes"] == []


# ------------------------------------------------------------------ coremltools
QUANTS = {
    "iOS15": ["none", "auto"],
    "iOS16": ["none", "auto", "int8", "lut4", "lut8"],
    "iOS17": ["none", "auto", "int8", "uint8", "lut6"],
    "iOS18": ["none", "auto", "int4", "uint4", "int8", "lut3", "lut4", "lut6"],
    "iOS26": ["auto", "int4", "lut4"],
}
SHAPES = {"usual": [], "fixed": ["--seq", "4"], "range": ["--seq", "2..8"], "list": ["--seq", "1,4,8"]}
MATRIX = [(t, d, q, s) for t in QUANTS for d in ("gpu", "ane") for q in QUANTS[t] for s in SHAPES
          if (d == "gpu" or s in ("fixed", "list") or (s == "usual" and t in ("iOS18", "iOS26")))
          and (s != "list" or t in ("iOS18", "iOS26"))
          and not (d == "ane" and q in ("int4", "uint4"))
          and (s == "usual" or q == "auto" or (d == "ane" and t in ("iOS16", "iOS17")))]


@pytest.fixture(scope="module")
def small():
    return make_model(scratch("designs", "small.gguf"), "--family", "gemma3", "--type", "q4_k", "--embed-type", "q6_k",
                      "--layers", 2, "--window", 6, "--ctx", 256)


@pytest.mark.parametrize("target, design, quant, shape", MATRIX, ids=lambda v: v)
def test_coremltools_accepts(small, target, design, quant, shape, tmp_path):
    pkg = str(tmp_path / "p.mlpackage")
    report = convert(small, pkg, "-c", CTX, "--target", target, "--quant", quant, *SHAPES[shape],
                     *(ANE if design == "ane" else []))
    accepted(pkg, report, target, design, quant)


# ------------------------------------------------------------------ what cannot be
REFUSED = [
    (["--target", "iOS17", "--kv", "state"], ["iOS18", "iOS17"]),
    (["--target", "iOS17", "--attention", "fused"], ["iOS18"]),
    (["--target", "iOS17", "--seq", "1,4"], ["iOS18"]),
    (["--target", "iOS17", "--functions", "a:4,b:1"], ["iOS18"]),
    (["--target", "iOS17", "--quant", "int4"], ["iOS18"]),
    (["--target", "iOS16", "--quant", "int8", "--block", "32"], ["iOS18"]),
    (["--target", "iOS16", "--quant", "lut3"], ["iOS18"]),
    (["--target", "iOS17", "--quant", "lut4", "--group", "8"], ["iOS18"]),
    (["--target", "iOS15", "--quant", "int8"], ["iOS16"]),
    (["--target", "iOS15", "--quant", "lut4"], ["iOS16"]),
    (["--target", "iOS15", "--quant", "keep"], ["kept", "iOS15"]),
    (["--target", "iOS14"], ["iOS15", "iOS26"]),
    (["--target", "watchOS9"], ["iOS15"]),
    ([*ANE, "--quant", "int4", "--block", "32"], ["Neural Engine", "lut4"]),
    ([*ANE, "--precision", "fp32"], ["fp16"]),
    ([*ANE, "--seq", "1..8"], ["static"]),
    ([*ANE, "--attention", "fused"], ["Neural Engine"]),
    ([*ANE, "--fp32", "*"], ["fp32"]),
    (["--units", "tpu"], ["cpuAndGPU"]),
    (["--logits", "some"], ["argmax"]),
]


@pytest.mark.parametrize("options, words", REFUSED, ids=lambda v: " ".join(v))
def test_refused(small, options, words, tmp_path):
    r = smelt("convert", small, tmp_path / "x.mlpackage", "-c", CTX, *options, rc=4)
    assert all(w in r.stderr for w in words) and os.listdir(tmp_path) == [], r.stderr


@pytest.mark.parametrize("options", [["--seq", "0"], ["--seq", "8..2"], ["--seq", "1..99"], ["--seq", "4,"],
                                     ["--seq", "4", "--functions", "a:1"], ["--functions", "a"], ["--functions", "a:1,a:2"],
                                     ["--logits", "topk:0"], ["--functions", "a:64"]], ids=" ".join)
def test_wrong_words(small, options, tmp_path):
    smelt("convert", small, tmp_path / "x.mlpackage", "-c", CTX, *options, rc=2)
    assert os.listdir(tmp_path) == []


def test_weights_are_shared_between_functions(small, tmp_path):
    one, two = str(tmp_path / "one.mlpackage"), str(tmp_path / "two.mlpackage")
    convert(small, one, "-c", CTX, *ANE, "--functions", "decode:1")
    convert(small, two, "-c", CTX, *ANE, "--functions", "decode:1,prefill:8,long:8@80")
    assert os.path.getsize(weight_file(one)) == os.path.getsize(weight_file(two))


# ------------------------------------------------------------------ what fp16 holds
@pytest.mark.parametrize("options", [[], ["--kv", "io"], [*ANE, "--seq", "12"], [*ANE, "--seq", "12", "--target", "iOS16"]],
                         ids=lambda v: " ".join(v) or "usual")
def test_stream_fits_fp16(options, tmp_path):
    """Norms that let the residual stream grow beyond 65504: the package carries a smaller one, so that with every value
    rounded to fp16 (milnp) it still computes what the source computes; loaded as a model it is the source again."""
    gguf = make_model(tmp_path / "big.gguf", *FAMILIES["gemma3"], "--ctx", 64, "--post-norm", 9000)
    pkg = str(tmp_path / "big.mlpackage")
    report = convert(gguf, pkg, "-c", CTX, *options, "--quant", "none")
    scale, most = report["stream_scale"], report["stream_most"]
    assert 0 < scale < 0.5 and np.log2(scale) % 1 == 0 and 16384 < scale * most <= 32768
    want = eval_logits(gguf, IDS, "--backend", "ref")
    f, d = Function(pkg), Driver(pkg)
    feed, seen = d.fill(f, IDS), {}
    half = check_pkg.milnp.Package(pkg, True)
    out = half.run(feed, half.make_state(f.name), f.name, lambda op, name, v: seen.setdefault(name, v))
    got = d.logits(f, out)
    assert np.isfinite(got).all() and kl(want, got).max() < 2e-3, kl(want, got)
    wide = check_pkg.milnp.Package(pkg)
    sums = []
    wide.run(feed, wide.make_state(f.name), f.name, lambda op, name, v: sums.append(np.abs(v).max()) if op.type == "add" and
             np.size(v) == len(IDS) * 256 else None)
    print(f"scale 1/{1 / scale:.0f}, bound {most:.3g}, reached {max(sums) / scale:.3g}; fp16: KL {kl(want, got).max():.1e}")
    assert 65504 < max(sums) / scale <= most  # it would not have fitted, and the bound holds
    assert kl(want, eval_logits(pkg, IDS, "--backend", "ref")).max() < 1e-5
    told = smelt("check", gguf, pkg, "--tokens", 12, "--locate", rc=0).stdout
    assert "no op stands out" in told, told


def test_stream_stays_where_it_fits(small, tmp_path):
    assert convert(small, tmp_path / "a", "--dry-run", "-c", CTX)["stream_scale"] == 1
    llama = make_model(tmp_path / "l.gguf", "--family", "llama", "--ctx", 64)  # sums of what is not normed: no bound
    report = convert(llama, tmp_path / "a", "--dry-run", "-c", CTX)
    assert report["stream_scale"] == 1 and report["stream_most"] is None
    big = make_model(tmp_path / "big.gguf", *FAMILIES["gemma3"], "--ctx", 64, "--post-norm", 9000)
    assert convert(big, tmp_path / "a", "--dry-run", "-c", CTX, "--precision", "fp32")["stream_scale"] == 1
