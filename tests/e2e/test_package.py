# SPDX-License-Identifier: MIT
"""Packages as files: the same bytes every time, whole or not at all, accepted by coremltools, with the right interface
and facts."""
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pkg_tools import (CTX, REAL, SMELT, TOOLS, constants, convert, converted, coremltools, field, load_program, make_model,
                       reader, scratch, smelt, smelt_json, source, tree, weight_file)


@pytest.fixture(scope="module", params=REAL)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def tiny():
    return make_model(scratch("tiny", "tiny.gguf"), "--type", "q4_1")


# ------------------------------------------------------------------ files
def test_same_bytes_every_time(tmp_path):
    """Another folder, another name, another number of threads; over nothing, and over an older package."""
    first, report = converted("smollm2")
    again = tmp_path / "Other.mlpackage"
    convert(source("smollm2"), again, "-c", 64)
    assert tree(again) != tree(first)
    convert(source("smollm2"), again, "-c", CTX, "-t", 1)
    assert tree(again) == tree(first)
    assert os.listdir(tmp_path) == ["Other.mlpackage"]
    assert report["written"] is True


def test_report(name):
    pkg, r = converted(name)
    hows = {"same": "same", "transcoded": "transcoded", "kept": "kept", "re-quantized": "requantized", "widened": "widened"}
    counts = {k: sum(t["how"] == k for t in r["tensors"]) for k in hows}
    assert counts == {k: r[v] for k, v in hows.items()} and r["requantized"] == 0
    assert len({t["name"] for t in r["tensors"]}) == len(r["tensors"])
    assert sum(t["to_bytes"] for t in r["tensors"]) == r["to_bytes"] <= os.path.getsize(weight_file(pkg))
    assert sum(t["from_bytes"] for t in r["tensors"]) == r["from_bytes"]
    assert r["context"] == CTX and r["specification"] == 9
    # What each GGUF type becomes: codes survive always, scales and offsets where fp16 holds them.
    fate = {}
    for t in r["tensors"]:
        fate.setdefault(t["from"], set()).add(t["how"])
    for kind, hows_of in fate.items():
        if kind in ("q4_0", "q5_0", "q8_0"):
            assert hows_of == {"transcoded"}, kind
        elif kind.startswith("q"):
            assert hows_of == {"kept"}, kind
    quantized = {kind.name.lower() for _, _, kind, _ in reader(source(name)).tensors} - {"f32", "f16", "bf16"}
    assert quantized == {k for k in fate if k.startswith("q")}


def test_dry_run_writes_nothing(name, tmp_path):
    _, real = converted(name)
    out = [tmp_path / "X.mlpackage"] if name == "gemma3" else []
    r = smelt_json("convert", source(name), *out, "-c", CTX, "--dry-run")
    assert r["written"] is False and os.listdir(tmp_path) == []
    same = ("same", "transcoded", "kept", "requantized", "widened", "from_bytes", "to_bytes")
    assert {k: r[k] for k in same} == {k: real[k] for k in same}
    dry = {t["name"]: t for t in r["tensors"]}
    assert len(dry) == len(real["tensors"]) > 100 and all(dry[t["name"]] == t for t in real["tensors"])
    assert r["from_bytes"] == sum(data.nbytes for _, _, _, data in reader(source(name)).tensors)


def begin_and_stop(args, out, sig):
    """Starts a conversion and sends the signal when a good part of the weights is in the temporary folder."""
    folder = os.path.dirname(out)
    with subprocess.Popen([SMELT, "convert", *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as p:
        end = time.monotonic() + 60
        while time.monotonic() < end and p.poll() is None:
            size = sum(os.path.getsize(os.path.join(b, f)) for b, _, fs in os.walk(folder) for f in fs
                       if b.find(".smelt-tmp") >= 0 and f == "weight.bin" and os.path.exists(os.path.join(b, f)))
            if size > 20_000_000:
                break
            time.sleep(0.002)
        assert p.poll() is None, "the conversion ended before it could be stopped"
        p.send_signal(sig)
        return p.wait(30)


def test_killed_half_way(tmp_path):
    """No package at the place, or the old one untouched; the next run works and clears what was left."""
    out, args = str(tmp_path / "G.mlpackage"), [source("gemma3"), str(tmp_path / "G.mlpackage"), "-c", str(CTX)]
    assert begin_and_stop(args, out, signal.SIGKILL) == -signal.SIGKILL
    assert not os.path.exists(out)
    convert(*args)
    whole = tree(out)
    assert whole == tree(converted("gemma3")[0])
    assert os.listdir(tmp_path) == ["G.mlpackage"]
    assert begin_and_stop(args[:2] + ["-c", "64"], out, signal.SIGKILL) == -signal.SIGKILL
    assert tree(out) == whole


def test_interrupted(tmp_path):
    out = str(tmp_path / "G.mlpackage")
    assert begin_and_stop([source("gemma3"), out], out, signal.SIGINT) == 130
    assert os.listdir(tmp_path) == []


def test_places_that_are_refused(tiny, tmp_path):
    """What is there and is no package is never replaced; a source that is none leaves nothing."""
    folder, file = tmp_path / "Folder.mlpackage", tmp_path / "File.mlpackage"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    file.write_text("mine")
    for out in (folder, file):
        r = smelt("convert", tiny, out, rc=3)
        assert out.name in r.stderr
    assert (folder / "precious.txt").read_text() == file.read_text() == "mine"
    cut = tmp_path / "cut.gguf"
    with open(tiny, "rb") as f:
        cut.write_bytes(f.read()[:-100_000])
    r = smelt("convert", cut, tmp_path / "Cut.mlpackage", rc=3)
    assert "cut.gguf" in r.stderr
    r = smelt("convert", tmp_path / "none.gguf", tmp_path / "Cut.mlpackage", rc=3)
    assert "none.gguf" in r.stderr
    assert sorted(os.listdir(tmp_path)) == ["File.mlpackage", "Folder.mlpackage", "cut.gguf"]


@pytest.mark.parametrize("args, rc", [
    (["--kv", "io", "--seq", "0"], 2), (["--seq", "1..99999", "-c", "64"], 2),
    (["--target", "iOS16", "--kv", "state"], 4), (["--quant", "lut5"], 4), (["--quant", "lut4", "--group", "7"], 4), (["--quant", "lut4", "--block", "32"], 2), (["--group", "8"], 2), (["--quant", "int4", "--block", "7"], 4),
    (["--to", "gguf"], 4), (["--nonsense"], 2),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_what_is_not_supported_says_so(tiny, tmp_path, args, rc):
    r = smelt("convert", tiny, tmp_path / "X.mlpackage", *args, rc=rc)
    assert len(r.stderr.strip()) > 10 and os.listdir(tmp_path) == []


# ------------------------------------------------------------------ coremltools
def test_check_pkg(name):
    r = subprocess.run([sys.executable, "-W", "ignore", os.path.join(TOOLS, "check_pkg.py"), converted(name)[0]],
                       capture_output=True, text=True)
    assert r.returncode == 0 and "0 errors, 0 warnings" in r.stdout, r.stdout[-3000:]


def test_interface(name):
    pkg, report = converted(name)
    spec = coremltools().utils.load_spec(pkg)
    d, gguf_file, array = spec.description, source(name), coremltools().proto.FeatureTypes_pb2.ArrayFeatureType
    arch = field(gguf_file, "general.architecture")
    layers, heads = field(gguf_file, f"{arch}.block_count"), field(gguf_file, f"{arch}.attention.head_count_kv")
    dim = field(gguf_file, f"{arch}.attention.key_length") or (
        field(gguf_file, f"{arch}.embedding_length") // field(gguf_file, f"{arch}.attention.head_count"))
    assert spec.specificationVersion == 9 and list(spec.mlProgram.functions) == ["main"]
    ids, mask = d.input
    assert [ids.name, mask.name] == ["inputIds", "causalMask"] and [o.name for o in d.output] == ["logits"]
    bounds = [[(r.lowerBound, r.upperBound) for r in i.type.multiArrayType.shapeRange.sizeRanges] for i in d.input]
    assert bounds == [[(1, 1), (1, CTX)], [(1, 1), (1, 1), (1, CTX), (1, CTX)]]
    assert ids.type.multiArrayType.dataType == array.INT32
    assert mask.type.multiArrayType.dataType == d.output[0].type.multiArrayType.dataType == array.FLOAT16
    assert [s.name for s in d.state] == ["keyCache", "valueCache"]
    for s in d.state:
        a = s.type.stateType.arrayType
        assert list(a.shape) == [layers, 1, heads, CTX, dim] and a.dataType == array.FLOAT16
    kv_bytes = 2 * 2 * layers * heads * CTX * dim
    assert report["kv_bytes"] == kv_bytes
    meta = dict(d.metadata.userDefined)
    with open(gguf_file, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    assert meta["smelt.context"] == str(CTX) and meta["smelt.kv_cache_bytes"] == str(kv_bytes)
    assert meta["smelt.source.sha256"] == digest and meta["smelt.source.file"] == os.path.basename(gguf_file)
    assert meta["smelt.architecture"] == arch and meta["smelt.trained_context"] == str(field(gguf_file, f"{arch}.context_length"))
    assert meta["smelt.parameters"] == str(sum(int(np.prod(shape)) for _, shape, _, _ in reader(gguf_file).tensors))
    assert meta.get("smelt.chat_template") == field(gguf_file, "tokenizer.chat_template")
    assert d.metadata.shortDescription == field(gguf_file, "general.name")


def test_loaded_by_coremltools(name, tmp_path):
    """The MIL loader takes the program; MLModel opens the package, and what it saves again is the same model with the
    same tokenizer."""
    ct = coremltools()
    pkg, _ = converted(name)
    program = load_program(pkg)
    assert program.functions["main"].opset_version == ct.target.iOS18
    assert sum(o.op_type == "constexpr_blockwise_shift_scale" for o in constants(program).values()) > 100
    model = ct.models.MLModel(pkg, skip_model_load=True)
    assert model.user_defined_metadata["smelt.context"] == str(CTX)
    saved = str(tmp_path / "Saved.mlpackage")
    model.save(saved)
    before, after = tree(pkg), tree(saved)
    assert set(before) == set(after)
    for path in ("Data/smelt/tokenizer.gguf", "Data/com.apple.CoreML/weights/weight.bin"):
        assert before[path] == after[path]
    with open(os.path.join(saved, "Manifest.json")) as f:
        items = json.load(f)["itemInfoEntries"].values()
    assert "smelt/tokenizer.gguf" in [i["path"] for i in items]
    text = "The sun, 3.14 \u00fcber \u4f60\u597d\n  <|im_start|>"
    assert smelt_json("tokenize", saved, "-p", text) == smelt_json("tokenize", source(name), "-p", text)


def test_inspect_says_what_coremltools_says(name):
    pkg, _ = converted(name)
    j = smelt_json("inspect", pkg)
    assert j["specification"] == 9 and j["context"] == CTX and "not_runnable" not in j
    f = j["functions"][0]
    assert [i["name"] for i in f["inputs"]] == ["inputIds", "causalMask"]
    assert [i["name"] for i in f["states"]] == ["keyCache", "valueCache"]
    assert j["metadata"]["smelt.source.file"] == os.path.basename(source(name))
    assert j["items"] == ["smelt/tokenizer.gguf"]
