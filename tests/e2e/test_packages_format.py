"""Core ML packages through our reader and writer, judged by coremltools and by our own interpreter of packages.

Fixtures were made by coremltools (tests/fixtures/README.md); other forms come from coremltools' builder here and from
make_pkgs, which builds graphs node by node.  The tools rewrite_pkg and make_pkgs are built beside the program ($SMELT,
default build/smelt).
"""
import glob
import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools as ct
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil.types.type_mapping import string_to_nptype

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.join(ROOT, "tests", "tools")
SMELT = os.environ.get("SMELT", os.path.join(ROOT, "build", "smelt"))
BUILT = os.path.join(os.path.dirname(SMELT), "tests", "tools")
FIXTURES = sorted(f for f in glob.glob(os.path.join(ROOT, "tests", "fixtures", "**", "*.mlpackage"), recursive=True)
                  if "anyone" not in f.split(os.sep))  # those: test_anyone.py
LIMITS = {"llama_stateful_ios18": 3e-3, "llama_kvio_ios17_lut": 1e-4}
DEFAULTS = ["defaults15", "defaults16", "defaults17", "defaults18"]

sys.path.insert(0, TOOLS)
import milnp


def rewrite(*args):
    r = subprocess.run([os.path.join(BUILT, "rewrite_pkg"), *map(str, args)], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def files(pkg):
    out = {}
    for d, _, names in os.walk(pkg):
        for n in names:
            with open(os.path.join(d, n), "rb") as f:
                out[os.path.relpath(os.path.join(d, n), pkg)] = f.read()
    return out


def check(pkg):
    """check_pkg loads with coremltools' milproto loader and MLModel, and compares types, blobs and interface."""
    r = subprocess.run([sys.executable, os.path.join(TOOLS, "check_pkg.py"), str(pkg)], capture_output=True, text=True)
    assert r.returncode == 0 and ", 0 warnings" in r.stdout, r.stdout


def run(pkg, inputs, **kw):
    return milnp.Package(str(pkg)).run(inputs, **kw)


def equal(a, b):
    assert a.keys() == b.keys()
    for k in a:
        np.testing.assert_array_equal(a[k], b[k], err_msg=k)


def name_of(path):
    return os.path.basename(path)[: -len(".mlpackage")]


@pytest.fixture(scope="module", params=FIXTURES, ids=name_of)
def fixture(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("rewritten") / os.path.basename(request.param)
    rewrite(request.param, out)
    return request.param, out


def test_fixtures_are_there():
    assert len(FIXTURES) == 6


def test_rewritten_fixture_loads(fixture):
    before = files(fixture[1])
    check(fixture[1])
    assert files(fixture[1]) == before


def test_rewritten_fixture_gives_the_goldens(fixture):
    golden = os.path.join(os.path.dirname(fixture[0]), "golden.npz")
    ok, found = milnp.run_golden(str(fixture[1]), golden, tol=LIMITS.get(name_of(fixture[0]), 1e-5))
    assert ok, found
    assert found["greedy"][0] == found["greedy"][1]


def test_rewritten_fixture_is_the_same_graph(fixture):
    assert rewrite(fixture[0]) == rewrite(fixture[1])
    assert rewrite(fixture[0], "names") == rewrite(fixture[1], "names")


def test_writing_is_deterministic(fixture, tmp_path):
    rewrite(fixture[0], tmp_path / "a.mlpackage")
    rewrite(fixture[1], tmp_path / "b.mlpackage")
    assert files(tmp_path / "a.mlpackage") == files(fixture[1]) == files(tmp_path / "b.mlpackage")


def test_metadata_is_carried(fixture):
    a, b = (ct.models.MLModel(str(p), skip_model_load=True) for p in fixture)
    assert dict(a.user_defined_metadata) == dict(b.user_defined_metadata)
    for k in ("short_description", "version", "author", "license"):
        assert getattr(a, k) == getattr(b, k)


def test_report_names_each_tensor_once(fixture, tmp_path):
    lines = rewrite(fixture[0], tmp_path / "a.mlpackage", "-v").splitlines()
    names = [x.split()[0] for x in lines[:-1]]
    assert len(names) == len(set(names)) > 10
    assert all(x.split()[1] == "same" and x.split()[3] == "0" for x in lines[:-1])


def test_enumerated_shapes_are_kept(tmp_path):
    src = next(f for f in FIXTURES if name_of(f) == "llama_kvio_ios17_lut")
    pkg = tmp_path / "a.mlpackage"
    shutil.copytree(src, pkg)
    model = pkg / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.utils.load_spec(str(model))
    for i in spec.description.input[:2]:
        a = i.type.multiArrayType
        a.ClearField("shapeRange")
        for n in (4, 16, 8):
            a.enumeratedShapes.shapes.add().shape[:] = [1, n]
        a.shape[:] = [1, 4]
    model.write_bytes(spec.SerializeToString())
    assert "input_ids_1 position_ids_1: 4 4, 16 16, 8 8" in rewrite(pkg, "names")
    rewrite(pkg, tmp_path / "b.mlpackage")
    check(tmp_path / "b.mlpackage")
    again = ct.utils.load_spec(str(tmp_path / "b.mlpackage")).description.input
    for i in again[:2]:
        a = i.type.multiArrayType
        assert [list(s.shape) for s in a.enumeratedShapes.shapes] == [[1, 4], [1, 16], [1, 8]] and list(a.shape) == [1, 4]


# ---- forms made by coremltools' builder

def converted(program, target, path):
    m = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True,
                   compute_precision=ct.precision.FLOAT32, pass_pipeline=ct.PassPipeline.EMPTY)
    m.save(str(path))


def through(program, target, tmp_path, inputs):
    a, b = tmp_path / "a.mlpackage", tmp_path / "b.mlpackage"
    converted(program, target, a)
    rewrite(a, b)
    check(b)
    equal(run(a, inputs), run(b, inputs))
    assert rewrite(a, "names") == rewrite(b, "names")


def test_blocks_and_several_results(tmp_path):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((2, 6)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 6)), mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS15)
    def program(x, flag):
        def swap():
            a, b = mb.split(x=x, num_splits=2, axis=1)
            return mb.concat(values=[b, a], axis=1)
        y = mb.cond(pred=mb.greater(x=mb.squeeze(x=flag), y=0.0), _true_fn=lambda: mb.mul(x=x, y=weight), _false_fn=swap)
        i, z = mb.while_loop(_cond=lambda i, z: mb.less(x=i, y=3), _body=lambda i, z: (mb.add(x=i, y=1), mb.add(x=z, y=y)),
                             loop_vars=(np.int32(0), x))
        v, at = mb.topk(x=z, k=2, axis=1)
        return z, v, at

    x = rng.standard_normal((2, 6)).astype(np.float32)
    for flag in (1, -1):
        through(program, ct.target.iOS15, tmp_path / str(flag), {"x": x, "flag": np.float32([flag])})


def test_constexpr_forms_of_ios16(tmp_path):
    rng = np.random.default_rng(1)
    codes = rng.integers(-128, 127, (6, 4, 3)).astype(np.int8)
    mask = rng.random((6, 4, 1)) < 0.5

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4, 5))], opset_version=ct.target.iOS16)
    def program(x):
        affine = mb.constexpr_affine_dequantize(quantized_data=codes, zero_point=rng.integers(-5, 5, 6).astype(np.int8),
                                                scale=(rng.random(6) + 0.1).astype(np.float32), axis=0)
        sparse = mb.constexpr_sparse_to_dense(nonzero_data=rng.standard_normal(int(mask.sum())).astype(np.float32),
                                              mask=np.packbits(mask.reshape(-1), bitorder="little"), shape=np.uint32([6, 4, 1]))
        lut = mb.constexpr_lut_to_dense(indices=rng.integers(0, 255, 9).astype(np.uint8),
                                        lut=rng.standard_normal(64).astype(np.float32), shape=np.uint32([3, 4]))
        cast = mb.constexpr_cast(source_val=rng.standard_normal((5,)).astype(np.float16), output_dtype="fp32")
        return (mb.conv(x=x, weight=affine), mb.conv(x=x, weight=sparse, strides=[1], pad_type="same"),
                mb.linear(x=mb.transpose(x=x, perm=[0, 2, 1]), weight=lut), mb.add(x=x, y=cast))

    through(program, ct.target.iOS16, tmp_path, {"x": rng.standard_normal((1, 4, 5)).astype(np.float32)})


def test_constexpr_forms_of_ios18(tmp_path):
    rng = np.random.default_rng(2)

    def f(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def u(bits, *shape):
        return rng.integers(0, 2**bits, shape).astype(string_to_nptype(f"uint{bits}"))

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 8))], opset_version=ct.target.iOS18)
    def program(x):
        grouped = mb.constexpr_lut_to_dense(indices=u(2, 4, 8), lut=f(2, 1, 4, 1))
        table = mb.constexpr_blockwise_shift_scale(data=f(2, 1, 16, 1), scale=f(2, 1, 4, 1))  # finer than a table
        weights = [
            grouped,
            mb.constexpr_blockwise_shift_scale(data=grouped, scale=f(4, 2)),
            mb.constexpr_lut_to_dense(indices=u(4, 4, 8), lut=table),
            mb.constexpr_lut_to_dense(indices=u(2, 2, 8), lut=f(1, 1, 4, 2), vector_axis=0),
            mb.constexpr_lut_to_dense(indices=u(2, 4, 4), lut=f(1, 2, 4, 2), vector_axis=-1),
            mb.constexpr_blockwise_shift_scale(data=u(4, 4, 8), scale=f(4, 2), offset=f(4, 2)),
            mb.constexpr_sparse_to_dense(nonzero_data=f(4), mask=np.eye(4, 8).astype(string_to_nptype("uint1"))),
        ]
        return [mb.linear(x=x, weight=w) for w in weights]

    through(program, ct.target.iOS18, tmp_path, {"x": f(2, 8)})


def test_parameters_of_ios17(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))], opset_version=ct.target.iOS17)
    def program(x):
        return (mb.reduce_argmax(x=x, axis=1), mb.gather(x=x, indices=np.int32([1, 0]), axis=1),
                mb.pad(x=x, pad=[0, 0, 1, 1], mode="constant", constant_val=2.0), mb.cast(x=mb.identity(x=x), dtype="int32"))

    a, b = tmp_path / "a.mlpackage", tmp_path / "b.mlpackage"
    converted(program, ct.target.iOS17, a)
    rewrite(a, b)
    check(b)
    x = {"x": np.float32([[1, 5, 2], [9, -3, 4]])}
    equal(run(a, x), run(b, x))


# ---- forms built node by node

@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    subprocess.run([os.path.join(BUILT, "make_pkgs"), str(out)], check=True)
    return out


@pytest.mark.parametrize("name", ["encodings18", "encodings16", "fitted18", "fitted17", "fitted16"])
def test_encodings_decode_to_their_source(made, name):
    pkg = made / (name + ".mlpackage")
    check(pkg)
    got, want = run(pkg, {"scale": np.ones(1, np.float16)}), np.load(made / (name + ".npz"))
    equal(got, {k: want[k] for k in got})
    assert sorted(got) == sorted(want.files)


@pytest.mark.parametrize("name, forms", [("fitted18", 16), ("fitted17", 7), ("fitted16", 7)])
def test_coremltools_decodes_new_codes_alike(made, name, forms):
    """Palettes of 1 to 8 bits, one table or many, and per-channel integers: typed codes, and the flat ones of iOS16."""
    from coremltools.converters.mil.frontend.milproto.load import load
    pkg = str(made / (name + ".mlpackage"))
    spec = ct.utils.load_spec(pkg)
    weights = os.path.join(pkg, "Data", "com.apple.CoreML", "weights")
    ops = load(spec, specification_version=spec.specificationVersion, file_weights_dir=weights).functions["main"].operations
    want, seen = np.load(made / (name + ".npz")), 0
    for op in ops:
        if not op.op_type.startswith("constexpr_"):
            continue
        assert op.opset_version == (ct.target.iOS18 if name == "fitted18" else ct.target.iOS16), op.op_type
        got, need = op.materialized_val_inference(), want[op.outputs[0].name.split("_weight")[0]]
        assert got.dtype == np.float16 and got.shape == need.shape
        assert np.array_equal(got.astype(np.float32), need), op.outputs[0].name
        seen += 1
    assert seen == forms


def test_equal_constants_are_one_blob(made):
    p = milnp.Package(str(made / "encodings18.mlpackage"))
    offsets = {o.outputs[0].name: o.attributes["val"].blobFileValue.offset for o in p.function()[2].operations
               if o.type == "const" and o.attributes["val"].WhichOneof("value") == "blobFileValue"}
    assert offsets["dense_weight"] == offsets["dense_again_weight"]


def test_several_functions(made, tmp_path):
    pkg = made / "multi18.mlpackage"
    check(pkg)
    p = milnp.Package(str(pkg))
    assert sorted(p.functions()) == ["decode", "prefill"] and p.spec.description.defaultFunctionName == "decode"
    state, rng = p.make_state("prefill"), np.random.default_rng(3)
    a = p.run({"x": rng.standard_normal((5, 32)).astype(np.float16)}, state, "prefill")
    first = state["memory"].value.copy()
    b = p.run({"x": rng.standard_normal((1, 32)).astype(np.float16)}, state, "decode")
    np.testing.assert_allclose(first[0], a["out_1"].sum(0), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(state["memory"].value - first, b["out_1"], rtol=1e-3, atol=1e-2)
    assert [u for u in p.spec.description.metadata.userDefined] and (pkg / "Data" / "smelt" / "notes.txt").read_text() == "hello\n"
    offsets = [[v.blobFileValue.offset for i in o.inputs.values() for b in i.arguments for v in [b.value] if b.WhichOneof("binding") == "value"]
               for f in ("prefill", "decode") for o in p.function(f)[2].operations if o.type.startswith("constexpr")]
    assert len(offsets) == 2 and offsets[0] == offsets[1]
    rewrite(pkg, tmp_path / "again.mlpackage")
    assert files(tmp_path / "again.mlpackage") == files(pkg)
    items = json.loads((pkg / "Manifest.json").read_text())["itemInfoEntries"]
    assert sorted(i["path"] for i in items.values()) == ["com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights",
                                                         "smelt/notes.txt"]


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_may_be_left_out_is_spelled_out(made, name, tmp_path):
    pkg = made / (name + ".mlpackage")
    check(pkg)
    rewrite(pkg, tmp_path / "again.mlpackage")
    x = np.random.default_rng(4).random((2, 4, 6)).astype(np.float32)
    equal(run(pkg, {"x": x}), run(tmp_path / "again.mlpackage", {"x": x}))
