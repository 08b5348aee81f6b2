# SPDX-License-Identifier: MIT
"""Packages of other people's making (tests/fixtures/anyone): every recorded call by `smelt predict`, within its limit."""
import os
import shutil
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from pkg_tools import FIXTURES, SMELT, TOOLS, eval_logits, log_softmax, relative, scratch, smelt, smelt_json

sys.path.insert(0, TOOLS)
import mlmodelc

ANYONE = os.path.join(FIXTURES, "anyone")
LIMITS = {  # max |difference| / max |recorded|
    "llama_stateful_gqa_int4": 2e-3,
    "llama_kv_io": 2e-3,
    "llama_text": 2e-3,
    "conv_parts": 2e-3,
    "conv_update_mask": 2e-3,
    "multifunction": 2e-3,
    "targets": 2e-3,
    "compressed": 2e-3,
    "compressed_twice": 2e-3,
    "encoder_bc1s": 2e-3,
    "control_flow": 2e-3,
    "cnn": 2e-3,
    "classifier": 2e-3,
    "pipeline": 2e-3,
}


def calls_of(name):
    """{package: [(function, inputs, outputs)]} in the order of the recording"""
    with np.load(os.path.join(ANYONE, name, "golden.npz")) as z:
        a = {k: z[k] for k in z.files}
    found = defaultdict(list)
    for n in range(int(a["ncalls"])):
        ins, outs = f"{n:02d}.in.", f"{n:02d}.out."
        found[str(a[f"{n:02d}.pkg"])].append((str(a[f"{n:02d}.fn"]), {k[len(ins):]: v for k, v in a.items() if k.startswith(ins)},
                                              {k[len(outs):]: v for k, v in a.items() if k.startswith(outs)}))
    return dict(found)


CALLS = {(name, pkg): calls for name in LIMITS for pkg, calls in calls_of(name).items()}


def run_calls(path, calls, tag, *more):
    """Outputs of each call"""
    line = []
    for i, (fn, inputs, _) in enumerate(calls):
        npz = scratch("anyone", tag, f"in{i}.npz")
        np.savez(npz, **inputs)
        line += (["--function", fn] if fn else []) + ["--in", npz]
    out = scratch("anyone", tag, "out")
    smelt("predict", path, *line, "--out", out, "-q", *more)
    got = []
    for i in range(len(calls)):
        with np.load(os.path.join(out, f"{i}.npz")) as z:
            got.append({k: z[k] for k in z.files})
    return got


def compare(name, calls, got):
    worst = 0.0
    for n, (_, _, want) in enumerate(calls):
        for k, v in want.items():
            assert got[n][k].shape == v.shape, (n, k)
            worst = max(worst, relative(v, got[n][k]))
    print(f"{name}: {len(calls)} calls, worst {worst:.2g}")
    assert worst <= LIMITS[name.split("/")[0]], worst


@pytest.mark.parametrize("name, pkg", CALLS)
def test_recorded(name, pkg):
    calls = CALLS[name, pkg]
    got = run_calls(os.path.join(ANYONE, name, pkg), calls, f"{name}.{pkg}")
    compare(f"{name}/{pkg}", calls, got)


@pytest.mark.parametrize("dialect, shapes", [("1.0", "json"), ("1.3", "text")])
@pytest.mark.parametrize("name, pkg", CALLS)
def test_compiled(name, pkg, dialect, shapes):
    """The same calls on a compiled model made of the package: its program as text."""
    calls = CALLS[name, pkg]
    path = mlmodelc.convert(os.path.join(ANYONE, name, pkg), scratch("compiled", f"{name}.{pkg}.{dialect}.mlmodelc"), dialect, shapes)
    compare(f"{name}/{pkg}", calls, run_calls(path, calls, f"{name}.{pkg}.{dialect}"))


# ------------------------------------------------------------------ written again
CHECKED = ["tiny_embeddings.mlpackage", "tiny_FFN_PF_lut4_chunk_01of02.mlpackage", "lut4_vector2.mlpackage", "lut6_ios16.mlpackage",
           "block_iOS15.mlpackage"]  # each takes a second


@pytest.mark.parametrize("name, pkg", [c for c in CALLS if c[1].endswith(".mlpackage") and not c[1].startswith("sparse")])
def test_rewritten(name, pkg):
    """Read and written by smelt: the calls give the same, coremltools takes it; a pipeline has become one program."""
    path, out = os.path.join(ANYONE, name, pkg), scratch("rewritten", name, pkg)
    tool = os.path.join(os.path.dirname(SMELT), "tests", "tools", "rewrite_pkg")
    r = subprocess.run([tool, path, out], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    if pkg in CHECKED:
        r = subprocess.run([sys.executable, os.path.join(TOOLS, "check_pkg.py"), out], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stdout
    compare(f"{name}/{pkg}", CALLS[name, pkg], run_calls(out, CALLS[name, pkg], f"rewritten.{name}.{pkg}"))


# ------------------------------------------------------------------ interfaces
def failing_predict(path, rc, **inputs):
    npz = scratch("anyone", "one.npz")
    np.savez(npz, **inputs)
    out = scratch("anyone", "none")
    r = smelt("predict", path, "--in", npz, "--out", out, rc=rc)
    assert not os.path.exists(out)
    return r.stderr


def test_enumerated_shapes():
    pkg = os.path.join(ANYONE, "encoder_bc1s", "model.mlpackage")
    ids, mask = smelt_json("inspect", pkg)["functions"][0]["inputs"]
    assert ids["shapes"] == mask["shapes"] == [[1, 8], [1, 16], [1, 32]]
    assert "one of [1, 8], [1, 16], [1, 32]" in smelt("inspect", pkg).stdout
    for n, m in ((12, 12), (8, 16), (64, 64), (1, 1)):  # between, not together, outside
        text = failing_predict(pkg, 3, input_ids=np.zeros((1, n), np.int32), attention_mask=np.ones((1, m), np.int32))
        assert "[1, 8] with [1, 8] or [1, 16] with [1, 16] or [1, 32] with [1, 32]" in text and f"found [1, {n}] with [1, {m}]" in text


def test_pipeline_is_one_function():
    j = smelt_json("inspect", os.path.join(ANYONE, "pipeline", "model.mlpackage"))
    f, = j["functions"]
    assert j["pipeline_parts"] == 2 and [i["name"] for i in f["inputs"]] == ["x"] and [o["name"] for o in f["outputs"]] == ["y"]
    assert f["ops"] == {"linear": 4, "gelu": 2}


def test_classifier_names_its_labels():
    pkg = os.path.join(ANYONE, "classifier", "model.mlpackage")
    assert smelt_json("inspect", pkg)["classes"] == ["cat", "dog", "a bird"]
    assert "a classifier of 3 labels: cat, dog, a bird" in smelt("inspect", pkg).stdout


CLASSIFY = """program(1.3)
{
    func main<ios18>(tensor<fp32, [1, 3]> x) {
        %s = classify(probabilities = x, classes = %s)%s;
    } -> (label, probs);
}
"""


def classifier_of(tmp_path, *words):
    os.makedirs(tmp_path / "c.mlmodelc", exist_ok=True)
    (tmp_path / "c.mlmodelc" / "model.mil").write_text(CLASSIFY % words)
    return tmp_path / "c.mlmodelc"


@pytest.mark.parametrize("types, classes, labels", [
    ("string label, dict<string, fp64> probs", 'list<string, 3>(["a", "b, ]", "c"])', ["a", "b, ]", "c"]),
    ("tensor<string, []> label, dict<tensor<string, []>, tensor<fp64, []>> probs",
     'list<tensor<string, []>, 3>([tensor<string, []>("a"), string("b"), "c"])', ["a", "b", "c"]),
    ("int64 label, dict<int64, fp64> probs", "list<int64, 3>([7, -1, int64(12)])", ["7", "-1", "12"]),
])
def test_labels_in_text(tmp_path, types, classes, labels):
    path = classifier_of(tmp_path, types, classes, '[name = string("c"), other = list<string, 1>(["]"])]')
    assert smelt_json("inspect", path)["classes"] == labels
    np.savez(tmp_path / "in.npz", x=np.float32([[0.1, 0.2, 0.7]]))
    smelt("predict", path, "--in", tmp_path / "in.npz", "--out", tmp_path / "out")
    with np.load(tmp_path / "out" / "0.npz") as z:
        assert z["label"] == 2 and z["probs"].tolist() == np.float32([0.1, 0.2, 0.7]).tolist()


@pytest.mark.parametrize("types, classes, rest, words", [
    ("string label, dict<string probs", '["a"]', "", "of a dict"),
    ("string label, dict probs", '["a"]', "", "of a dict"),
    ("string label, dict<string, fp64> probs", '["a" "b"]', "", "wanted ','"),
    ("string label, dict<string, fp64> probs", "[1.5]", "", "wanted"),
    ("string label, dict<string, fp64> probs", '"a"', "", "wanted '['"),
    ("string label, dict<string, fp64> probs", '["a"], classes = 3', "", "wanted '['"),
    ("string label, dict<string, fp64> probs", '["a"], probabilities = y', "", "an array defined before"),
    ("string label, dict<string, fp64> probs", '["a"], top = 1', "", "wanted classes or probabilities"),
    ("string label, dict<string, fp64> probs", '["a"]', "[name = string(3);", "wanted"),
    ("string label", '["a"]', "", "wanted an op"),
])
def test_labels_that_make_no_sense(tmp_path, types, classes, rest, words):
    assert words in smelt("inspect", classifier_of(tmp_path, types, classes, rest), rc=3).stderr



def test_functions_share_weights():
    j = smelt_json("inspect", os.path.join(ANYONE, "multifunction", "model.mlpackage"))
    assert {f["name"] for f in j["functions"]} == {"plain", "adapted"} and j["default_function"] == "plain"


# ------------------------------------------------------------------ parts in a folder
@pytest.fixture(scope="module")
def parts_calls():
    """Token by token through all parts: the inputs, and the logits that the recording has from the ninth on"""
    name = "conv_parts"
    ids = np.concatenate([c[1]["input_ids"][0] for c in CALLS[name, "tiny_embeddings.mlpackage"]])
    heads = [c[2] for c in CALLS[name, "tiny_lm_head_lut6.mlpackage"]]
    wanted = [np.concatenate([h[f"logits{i}"] for i in range(1, 5)], -1) for h in heads]
    calls = []
    for at, token in enumerate(ids):
        mask = np.where(np.arange(64) <= at, 0.0, -40000.0).astype(np.float16)[None, None, None]
        calls.append((None, {"input_ids": np.array([[token]], np.int32), "position_ids": np.array([at], np.int32),
                             "causal_mask": mask, "current_pos": np.array([at], np.int32)}, {}))
    assert len(calls) == 8 + len(wanted)
    return calls, wanted


@pytest.mark.parametrize("form", ["packages", "compiled", "no manifest"])
def test_parts_are_one_model(parts_calls, form):
    """A folder of parts is one function: ids to logits, every part's cache its own, slices of logits joined in order."""
    calls, wanted = parts_calls
    src = os.path.join(ANYONE, "conv_parts")
    folder = scratch("parts", form)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for n in os.listdir(src):
        if form == "compiled" and n.endswith(".mlpackage"):
            mlmodelc.convert(os.path.join(src, n), os.path.join(folder, n.replace(".mlpackage", ".mlmodelc")))
        elif n.endswith(".mlpackage") or (n == "meta.yaml" and form != "no manifest"):
            (shutil.copytree if os.path.isdir(os.path.join(src, n)) else shutil.copy)(os.path.join(src, n), os.path.join(folder, n))
    j = smelt_json("inspect", folder)
    f, = j["functions"]
    assert j["pipeline_parts"] == 4 and j.get("name", "") == ("" if form == "no manifest" else "tiny-conv-ctx64")
    assert [i["name"] for i in f["inputs"]] == ["input_ids", "position_ids", "causal_mask", "current_pos"]
    assert [s["name"] for s in f["states"]] == ["kv_cache_0", "kv_cache_0_2"] and f["outputs"][0]["shape"] == [1, 1, 96]
    got = run_calls(folder, calls, f"parts.{form}")
    worst = max(relative(w, g["logits"]) for w, g in zip(wanted, got[8:]))
    print(f"conv_parts as one, {form}: {len(calls)} calls, worst {worst:.2g}")
    assert worst <= 3e-3  # the recording hands on fp16 from part to part


def test_parts_that_are_no_model():
    folder = scratch("parts", "two")
    shutil.rmtree(folder, ignore_errors=True)
    for n in ("a", "b"):
        shutil.copytree(os.path.join(ANYONE, "multifunction", "model.mlpackage"), os.path.join(folder, f"{n}.mlpackage"))
    assert "2 packages that take no hidden states" in smelt("inspect", folder, rc=4).stderr


# ------------------------------------------------------------------ as models: through the engine
def recorded_text(name, pkg, head=None):
    """Token ids of a recording, and the logits of its last rows"""
    if head is None:
        calls = CALLS[name, pkg]
        return np.concatenate([i["inputIds"][0] for _, i, _ in calls]), np.concatenate([o["logits"][0] for _, _, o in calls])
    ids = np.concatenate([i["input_ids"][0] for _, i, _ in CALLS[name, pkg]])
    return ids, np.concatenate([np.concatenate([o[f"logits{k}"][0] for k in range(1, 5)], -1) for _, _, o in CALLS[name, head]])


MODELS = {  # path, recording
    "stateful": ("llama_stateful_gqa_int4/model.mlpackage", ("llama_stateful_gqa_int4", "model.mlpackage")),
    "parts": ("conv_parts", ("conv_parts", "tiny_embeddings.mlpackage", "tiny_lm_head_lut6.mlpackage")),
}


@pytest.mark.parametrize("backend, limit", [("ref", 5e-3), ("cpu", 5e-2)])
@pytest.mark.parametrize("which", MODELS)
def test_engine_gives_the_recorded_logits(which, backend, limit):
    path, recording = MODELS[which]
    ids, want = recorded_text(*recording)
    got = eval_logits(os.path.join(ANYONE, path), ids, "--backend", backend)[-len(want):]
    off = relative(want, got)
    print(f"{which}, {backend}: {len(want)} rows of logits, off by {off:.2g}")
    assert off <= limit and np.abs(log_softmax(want) - log_softmax(got)).max() <= 10 * limit


# ------------------------------------------------------------------ compiled models
def test_compiled_is_the_package():
    """Interface, weights and program of a compiled model are those of the package that it was made of."""
    pkg = os.path.join(ANYONE, "conv_parts", "tiny_FFN_PF_lut4_chunk_01of02.mlpackage")
    path = mlmodelc.convert(pkg, scratch("compiled", "same.mlmodelc"))
    a, b = (smelt_json("inspect", p, "--weights") for p in (pkg, path))
    assert b["format"] == "mlmodelc" and a["format"] == "mlpackage"
    for j in (a, b):
        j["functions"].sort(key=lambda f: f["name"])
    for k in ("functions", "default_function", "specification", "metadata", "encodings", "parameters"):
        assert a[k] == b[k], k
    assert [(w["shape"], w["encoding"]) for w in a["weights"]] == [(w["shape"], w["encoding"]) for w in b["weights"]]


def test_compiled_runs_as_a_model():
    """What the package is recognised as, its compiled form is as well."""
    pkg = os.path.join(ANYONE, "llama_stateful_gqa_int4", "model.mlpackage")
    path = mlmodelc.convert(pkg, scratch("compiled", "llama.mlmodelc"), "1.0")
    a, b = (smelt_json("inspect", p) for p in (pkg, path))
    assert a.get("not_runnable") == b.get("not_runnable") and a.get("layers") == b.get("layers")
    if "not_runnable" not in a:
        ids = "3,17,5,60,8,21,90"
        one, two = (smelt_json("eval", p, "--ids", ids)["tokens"] for p in (pkg, path))
        assert one == two


@pytest.mark.parametrize("damage, rc, words", [
    (lambda t: t[:len(t) // 2], 3, "model.mil:"),
    (lambda t: t.replace("linear(", "linaer(", 1), 3, "linaer"),
    (lambda t: t.replace("x = input_cast_fp16", "x = nobody", 1), 3, "nobody"),
    (lambda t: t.replace("offset = uint64(64)", "offset = uint64(65)"), 3, "weight.bin"),
    (lambda t: t.replace("@model_path/weights/weight.bin", "@model_path/../weight.bin"), 3, "inside the package"),
    (lambda t: t.replace("program(1.3)", "program(2.0)"), 3, "version 1.0 or 1.3"),
    (lambda t: "", 3, "model.mil"),
])
def test_compiled_damage(damage, rc, words):
    path = mlmodelc.convert(os.path.join(ANYONE, "multifunction", "model.mlpackage"), scratch("compiled", "bad.mlmodelc"))
    mil = os.path.join(path, "model.mil")
    with open(mil) as f:
        text = f.read()
    with open(mil, "w") as f:
        f.write(damage(text))
    r = smelt("inspect", path, rc=rc)
    assert words in r.stderr, r.stderr


def test_compiled_metadata_damage():
    path = mlmodelc.convert(os.path.join(ANYONE, "encoder_bc1s", "model.mlpackage"), scratch("compiled", "meta.mlmodelc"), shapes="json")
    meta = os.path.join(path, "metadata.json")
    with open(meta) as f:
        good = f.read()
    for text, words in ((good[:40], "metadata.json"), ("[3]", "an object"), (good.replace("[1, 16]", "[1]"), "flexible shapes")):
        with open(meta, "w") as f:
            f.write(text)
        assert words in smelt("inspect", path, rc=3).stderr
    os.remove(meta)  # then the program's own interface is all there is
    j = smelt_json("inspect", path)
    assert [i["name"] for i in j["functions"][0]["inputs"]] == ["input_ids", "attention_mask"]


# ------------------------------------------------------------------ what is refused
def test_models_of_other_kinds():
    def made(name, data):
        path = scratch("other", name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    files = [("a.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"), ("a.pb", b"\n\x10", "TensorFlow"), ("a.tflite", b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
             ("a.pt", b"PK\x03\x04", "PyTorch"), ("a.pth", b"\x80\x02", "PyTorch"), ("pytorch_model.bin", b"PK\x03\x04aaaa", "PyTorch"),
             ("old.bin", b"\x80\x02\x8a\x0a", "PyTorch"), ("m.h5", b"\x89HDF\r\n\x1a\n", "HDF5"), ("saved/saved_model.pb", b"x", "TensorFlow"),
             ("hf/pytorch_model.bin", b"PK\x03\x04", "PyTorch"), ("net.mlmodelc/coremldata.bin", b"\0" * 8, "compiled"),
             ("net.mlmodelc/model.espresso.net", b"{}", "compiled")]
    for name, data, words in files:
        path = made(name, data)
        path = os.path.dirname(path) if "/" in name else path
        for command in (["inspect", path], ["run", path, "-p", "x"], ["predict", path, "--in", "x.npz", "--out", scratch("other", "out")],
                        ["convert", path, scratch("other", "o.mlpackage")]):
            r = smelt(*command, rc=4)
            assert words in r.stderr and r.stderr.count("\n") == 2, (name, command, r.stderr)  # what it is; what to do


def test_legacy_network():
    r = smelt("predict", os.path.join(ANYONE, "legacy", "network.mlmodel"), "--in", "x.npz", "--out", scratch("other", "out"), rc=4)
    assert "neural network" in r.stderr and 'convert_to="mlprogram"' in r.stderr


# ------------------------------------------------------------------ hostile programs
def damaged_program(change):
    spec = mlmodelc.Model_pb2.Model()
    with open(os.path.join(ANYONE, "pipeline", "program.mlmodel"), "rb") as f:
        spec.ParseFromString(f.read())
    f = spec.mlProgram.functions["main"]
    change(spec, f, f.block_specializations[f.opset])
    path = scratch("hostile", "model.mlmodel")
    with open(path, "wb") as f:
        f.write(spec.SerializeToString())
    return path


def linear_of(block):
    return next(o for o in block.operations if o.type == "linear")


def undefined(spec, f, b):
    linear_of(b).inputs["x"].arguments[0].name = "nobody"


def cycle(spec, f, b):
    o = linear_of(b)
    o.inputs["x"].arguments[0].name = o.outputs[0].name


def wrong_type(spec, f, b):
    o = linear_of(b)
    o.inputs["weight"].arguments[0].name, o.inputs["bias"].arguments[0].name = (
        o.inputs["bias"].arguments[0].name, o.inputs["weight"].arguments[0].name)


def unknown_op(spec, f, b):
    linear_of(b).type = "frobnicate"


def twice(spec, f, b):
    b.operations.append(linear_of(b))


def lists(spec, f, b):
    o = linear_of(b)
    o.inputs["x"].arguments.add().name = "x"


def deep_blocks(spec, f, b):
    o = linear_of(b)
    for _ in range(40):
        inner = o.blocks.add().operations.add()
        inner.type = "cond"
        inner.outputs.add().name = "y"
        o = inner


def huge_constant(spec, f, b):
    o = next(o for o in b.operations if o.type == "const" and o.attributes["val"].type.tensorType.rank > 0)
    v = o.attributes["val"]
    for d in v.type.tensorType.dimensions:
        d.constant.size = 1 << 35


def missing(spec, f, b):
    del linear_of(b).inputs["weight"]


@pytest.mark.parametrize("change, words", [
    (undefined, ['"nobody"', '"linear"']), (cycle, ["before it is defined", '"linear"']), (wrong_type, ['"linear"']),
    (unknown_op, ['"frobnicate"']), (twice, ["defined twice", '"linear"']), (lists, ["wanted one value", '"linear"']),
    (deep_blocks, ["nested", "model.mlmodel"]), (huge_constant, ['"const"']), (missing, ["'weight' is missing", '"linear"'])])
def test_hostile(change, words):
    r = smelt("inspect", damaged_program(change), rc=(3, 4), timeout=20)
    for w in words:
        assert w in r.stderr, (w, r.stderr)


def test_hostile_pipelines():
    spec = mlmodelc.Model_pb2.Model()
    with open(os.path.join(ANYONE, "pipeline", "pipeline.mlmodel"), "rb") as f:
        clean = f.read()

    def broken(change):
        spec.ParseFromString(clean)
        change(spec)
        path = scratch("hostile", "pipeline.mlmodel")
        with open(path, "wb") as f:
            f.write(spec.SerializeToString())
        return smelt("inspect", path, rc=3).stderr

    def rank(s):
        s.pipeline.models[1].mlProgram.functions["main"].inputs[0].type.tensorType.dimensions[1].constant.size = 7

    def swapped(s):
        first = mlmodelc.Model_pb2.Model()
        first.CopyFrom(s.pipeline.models[0])
        s.pipeline.models[0].CopyFrom(s.pipeline.models[1])
        s.pipeline.models[1].CopyFrom(first)

    def output(s):
        s.description.output[0].name = "nobody"

    def empty(s):
        del s.pipeline.models[:]

    assert "part 1 of the pipeline" in broken(rank)
    assert "'middle' of a part: no earlier part gives it" in broken(swapped)
    assert "'nobody' is given by no part" in broken(output)
    assert "without parts" in broken(empty)
