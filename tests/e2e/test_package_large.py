# SPDX-License-Identifier: MIT
"""Packages of very many inputs, outputs, values and functions: read in about the time that their bytes take, or refused.
Where time grew with the square of N, each of these took minutes."""
import os
import sys

import numpy as np
import pytest
from pkg_tools import TOOLS, smelt, smelt_json

sys.path.insert(0, TOOLS)
from milnp import Model_pb2  # noqa: E402

N = 40000
FP32, ARRAY_FP32 = 11, 65568


def names(word, n=N):
    return [f"{word}{i}" for i in range(n)]


def tensor(t, dims):
    t.tensorType.dataType, t.tensorType.rank = FP32, len(dims)
    for d in dims:
        x = t.tensorType.dimensions.add()
        if d is None:
            x.unknown.variadic = False
        else:
            x.constant.size = d


def describe(features, name, ranges):
    f = features.add()
    f.name = name
    a = f.type.multiArrayType
    a.dataType = ARRAY_FP32
    a.shape.extend(lo for lo, _ in ranges)
    for lo, hi in ranges:
        if any(lo != hi for lo, hi in ranges):
            r = a.shapeRange.sizeRanges.add()
            r.lowerBound, r.upperBound = lo, hi


def relu_each(model, ins, outs, ranges):
    """One function: outs[i] = relu(ins[i])"""
    model.specificationVersion, model.mlProgram.version = 9, 1
    f = model.mlProgram.functions["main"]
    f.opset = "CoreML8"
    b = f.block_specializations["CoreML8"]
    shape = [lo if lo == hi else None for lo, hi in ranges]
    for x, y in zip(ins, outs):
        i = f.inputs.add()
        i.name = x
        tensor(i.type, shape)
        describe(model.description.input, x, ranges)
        op = b.operations.add()
        op.type = "relu"
        op.inputs["x"].arguments.add().name = x
        o = op.outputs.add()
        o.name = y
        tensor(o.type, shape)
        b.outputs.append(y)
        describe(model.description.output, y, ranges)


def save(model, path):
    with open(path, "wb") as f:
        f.write(model.SerializeToString())
    print(os.path.basename(path), os.path.getsize(path), "bytes")
    return path


def interface(path):
    f, = smelt_json("inspect", path, timeout=60)["functions"]
    return [v["name"] for v in f["inputs"]], [v["name"] for v in f["outputs"]]


def test_flexible_pipeline(tmp_path):
    """What one part gives the other takes, each extent a symbol of its own."""
    m, flexible = Model_pb2.Model(specificationVersion=9), [(1, 1), (1, 4)]
    ins, mid, outs = names("a"), names("b"), names("c")
    relu_each(m.pipeline.models.add(), ins, mid, flexible)
    relu_each(m.pipeline.models.add(), mid, outs, flexible)
    for x in ins:
        describe(m.description.input, x, flexible)
    for x in outs:
        describe(m.description.output, x, flexible)
    assert interface(save(m, tmp_path / "m.mlmodel")) == (ins, outs)


def test_long_names_that_begin_alike(tmp_path):
    """Symbols show 100 characters of a name, and a number where others show the same."""
    m, ins = Model_pb2.Model(), names("a" * 150)
    relu_each(m, ins, names("b"), [(1, 1), (1, 4)])
    path = save(m, tmp_path / "m.mlmodel")
    f, = smelt_json("inspect", path, timeout=60)["functions"]
    assert [v["name"] for v in f["inputs"]] == ins
    assert len({str(v["shape"][1]) for v in f["inputs"]}) == N


def test_images(tmp_path):
    m = Model_pb2.Model()
    relu_each(m, names("a"), names("b"), [(1, 1), (3, 3), (2, 2), (2, 2)])
    del m.description.input[:]
    for x in names("a"):
        f = m.description.input.add(name=x)
        f.type.imageType.width = f.type.imageType.height = 2
        f.type.imageType.colorSpace = 20
    np.savez(tmp_path / "in.npz", a0=np.zeros((1, 3, 2, 2), np.float32))
    path = save(m, tmp_path / "m.mlmodel")
    assert interface(path)[0] == names("a")
    r = smelt("predict", path, "--in", tmp_path / "in.npz", "--out", tmp_path / "out", rc=3, timeout=60)
    assert "'a1'" in r.stderr


def test_parts_side_by_side(tmp_path):
    """Which part is which is told by all arrays of hidden states that it takes and gives."""
    for k in (1, 2):
        os.makedirs(tmp_path / f"p{k}.mlpackage" / "Data" / "m")
        (tmp_path / f"p{k}.mlpackage" / "Manifest.json").write_text(
            '{"fileFormatVersion": "1.0.0", "rootModelIdentifier": "r", "itemInfoEntries": {"r": {"path": "m/m.mlmodel"}}}')
        m = Model_pb2.Model()
        relu_each(m, names("a"), names("b"), [(1, 1), (1, 1), (8, 8)])
        for op, o in zip(m.mlProgram.functions["main"].block_specializations["CoreML8"].operations, names("b")):
            op.type = "expand_dims"  # hidden states of another rank
            op.inputs["axes"].arguments.add().value.CopyFrom(axes())
        save(m, tmp_path / f"p{k}.mlpackage" / "Data" / "m" / "m.mlmodel")
    r = smelt("inspect", tmp_path, rc=4, timeout=60)
    assert "found 0 packages that take no hidden states" in r.stderr


def axes():
    v = Model_pb2.Model().mlProgram.functions["x"].attributes["x"]
    v.type.tensorType.dataType, v.type.tensorType.rank = 23, 1
    v.type.tensorType.dimensions.add().constant.size = 1
    v.immediateValue.tensor.ints.values.append(0)
    return v


@pytest.mark.parametrize("n, rc", [(1000, 0), (1500, 4)])
def test_functions(tmp_path, n, rc):
    m = Model_pb2.Model()
    relu_each(m, ["a"], ["b"], [(1, 1)])
    for name in names("f", n - 1):
        m.mlProgram.functions[name].CopyFrom(m.mlProgram.functions["main"])
    r = smelt("inspect", save(m, tmp_path / "m.mlmodel"), rc=rc, timeout=60)
    assert rc == 0 or "more than 1024 functions" in r.stderr
