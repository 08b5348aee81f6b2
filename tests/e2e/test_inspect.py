# SPDX-License-Identifier: MIT
"""smelt inspect against the `gguf` package, coremltools, hashlib, and a recorded report of small files."""
import collections
import functools
import glob
import hashlib
import json
import os
import re
import shutil
import sys

import gguf
import numpy as np
import pytest

import pty_session
from pkg_tools import coremltools
from smelt_cli import ROOT, SMELT, make_model, model, smelt, smelt_json

sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))
import make_inspect

FIXTURES = sorted(f for f in glob.glob(os.path.join(ROOT, "tests", "fixtures", "**", "*.mlpackage"), recursive=True)
                  # classify, sparse weights and pipelines are not shown as the file spells them (test_anyone.py)
                  if not re.search("anyone/(classifier|compressed|compressed_twice|pipeline)/", f))
DENSE = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}


def test_golden():
    """Regenerate with tests/golden/make_inspect.py when the report's shape changes on purpose."""
    with open(make_inspect.GOLDEN) as f:
        want = json.load(f)
    got = make_inspect.make(SMELT)
    assert list(got) == list(want)
    for name in want:
        assert got[name] == want[name], name


# ------------------------------------------------------------------ GGUF
@functools.lru_cache(maxsize=4)
def reader(path):
    return gguf.GGUFReader(path)


def field_value(f):
    kind = f.types[0]
    if kind == gguf.GGUFValueType.ARRAY:
        return None
    v = f.parts[f.data[0]]
    return bytes(v).decode() if kind == gguf.GGUFValueType.STRING else v[0].item()


@pytest.mark.parametrize("name", ["smollm2", "tiny"])
def test_tensors_and_keys_are_those_of_the_file(name, tmp_path):
    path = make_model(tmp_path / "t.gguf", "--type", "q6_k", "--family", "qwen3") if name == "tiny" else model(name)
    j = smelt_json("inspect", path, "--weights", "--metadata", "--sha256")
    r = reader(path)
    assert len(j["weights"]) == j["tensors"] == len(r.tensors)
    for got, want in zip(j["weights"], r.tensors):
        kind = want.tensor_type.name
        assert got["name"] == want.name and got["shape"] == [int(d) for d in want.shape[::-1]]
        assert got["encoding"] == DENSE.get(kind, kind.lower())
        assert got["bytes"] == want.n_bytes and got["offset"] == want.data_offset
        assert got["bits_per_weight"] == pytest.approx(8 * want.n_bytes / want.n_elements, rel=1e-8)
    total = sum(int(t.n_elements) for t in r.tensors)
    embedding = next(int(t.n_elements) for t in r.tensors if t.name == "token_embd.weight")
    assert j["parameters"] == total and j["embedding_parameters"] == embedding
    assert j["non_embedding_parameters"] == total - embedding
    assert j["weight_bytes"] == sum(int(t.n_bytes) for t in r.tensors)
    assert j["bits_per_weight"] == pytest.approx(8 * j["weight_bytes"] / total, rel=1e-8)
    by_type = collections.Counter(DENSE.get(t.tensor_type.name, t.tensor_type.name.lower()) for t in r.tensors)
    assert {k: v["tensors"] for k, v in j["encodings"].items()} == by_type
    assert sum(v["bytes"] for v in j["encodings"].values()) == j["weight_bytes"]
    fields = {k: f for k, f in r.fields.items() if not k.startswith("GGUF.")}
    assert set(j["metadata"]) == set(fields)
    for k, f in fields.items():
        got = j["metadata"][k]
        if f.types[0] == gguf.GGUFValueType.ARRAY:
            assert got["elements"] == len(f.data) and len(got["first"]) == min(8, len(f.data))
            if f.types[-1] == gguf.GGUFValueType.STRING:
                assert got["first"] == [bytes(f.parts[i]).decode() for i in f.data[:8]]
            else:
                assert got["first"] == pytest.approx([f.parts[i][0].item() for i in f.data[:8]], rel=1e-7)
        else:
            want = field_value(f)
            assert got == (pytest.approx(want, rel=1e-7) if isinstance(want, float) else want), k
    arch = field_value(r.fields["general.architecture"])
    for key, name in [("block_count", "layers"), ("embedding_length", "width"), ("feed_forward_length", "mlp_width"),
                      ("context_length", "trained_context"), ("attention.head_count", "heads"),
                      ("attention.head_count_kv", "kv_heads")]:
        assert j[name] == field_value(r.fields[f"{arch}.{key}"])
    assert j["rope"]["base"] == pytest.approx(field_value(r.fields[f"{arch}.rope.freq_base"]))
    with open(path, "rb") as f:
        assert j["files"] == [{"path": path, "bytes": os.path.getsize(path), "sha256": hashlib.sha256(f.read()).hexdigest()}]


def blake(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def content_hash(path):
    """As src/job/hash.h defines it."""
    out = b""
    for t in sorted(reader(str(path)).tensors, key=lambda t: t.name.encode()):
        kind = t.tensor_type.name
        dtype = DENSE.get(kind, "fp32")
        data = np.ascontiguousarray(t.data).tobytes()
        head = [t.name, DENSE.get(kind, kind.lower()), dtype, "x".join(str(int(d)) for d in t.shape[::-1]), str(len(data))]
        chunks = b"".join(blake(data[i:i + (1 << 20)]) for i in range(0, len(data), 1 << 20))
        out += blake(b"".join(h.encode() + b"\0" for h in head) + chunks)
    return blake(out).hex()


def rewrite(source, path, order=None, alignment=None, split=0):
    """The same keys and tensors in another file: other order, padding, or several parts."""
    r = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(str(path), field_value(r.fields["general.architecture"]), split_max_tensors=split)
    if alignment:
        w.add_custom_alignment(alignment)
    for k, f in r.fields.items():
        if not k.startswith("GGUF.") and k not in ("general.architecture", "general.alignment"):
            kind = f.types[0]
            w.add_key_value(k, f.contents(), kind, f.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for t in (order or list)(r.tensors):
        w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def test_content_hash_is_of_the_content_alone(tmp_path):
    a = make_model(tmp_path / "a.gguf", "--type", "q4_0", "--width", "1024", "--ff", "4096", "--vocab", "3000")
    want = content_hash(a)
    j = smelt_json("inspect", a)
    assert j["content_hash"] == want and j["weight_bytes"] > 8 << 20  # several chunks a tensor
    assert smelt_json("inspect", a, "-t", "3")["content_hash"] == want
    shutil.copy(a, tmp_path / "renamed.gguf")
    rewrite(a, tmp_path / "shuffled.gguf", order=lambda t: sorted(t, key=lambda t: t.name[::-1]))
    rewrite(a, tmp_path / "padded.gguf", alignment=1024)
    rewrite(a, tmp_path / "parts.gguf", split=7)
    part = next(tmp_path.glob("parts-00001-of-*.gguf"))
    files = {}
    for name in ("renamed.gguf", "shuffled.gguf", "padded.gguf", part.name):
        k = smelt_json("inspect", tmp_path / name, "--sha256")
        assert k["content_hash"] == want, name
        files[name] = k["files"]
    assert len({f[0]["sha256"] for f in files.values()}) == 4
    assert [os.path.basename(f["path"]) for f in files[part.name]] == sorted(p.name for p in tmp_path.glob("parts-*"))
    assert sum(f["bytes"] for f in files[part.name]) == sum(p.stat().st_size for p in tmp_path.glob("parts-*"))
    data = bytearray(open(a, "rb").read())
    data[-1000] ^= 1
    (tmp_path / "changed.gguf").write_bytes(data)
    assert smelt_json("inspect", tmp_path / "changed.gguf")["content_hash"] == content_hash(tmp_path / "changed.gguf") != want


def test_content_hash_of_a_real_model():
    assert smelt_json("inspect", model("smollm2"), "--hash")["content_hash"] == content_hash(model("smollm2"))


def test_memory_grows_with_the_context():
    a, b = (smelt_json("inspect", model("smollm2"), "-c", str(c), "-t", "2")["memory"] for c in (1024, 2048))
    per_token = 30 * 2 * 3 * (64 + 64)  # layers, fp16, key heads, key and value
    assert b["kv_bytes"] - a["kv_bytes"] == 1024 * per_token and a["kv_bytes"] == 1024 * per_token
    assert a["weight_bytes"] == b["weight_bytes"] and a["total_bytes"] == sum(
        a[k] for k in ("weight_bytes", "mapped_bytes", "kv_bytes", "activation_bytes"))
    assert b["read_bytes_per_token"] > a["read_bytes_per_token"] > a["kv_bytes"]


def test_other_architectures_are_described(tmp_path):
    tiny = make_model(tmp_path / "a.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(open(tiny, "rb").read().replace(b"llama", b"mamba"))
    j, known = smelt_json("inspect", other), smelt_json("inspect", tiny)
    assert j["architecture"] == "mamba" and "mamba" in j["not_runnable"] and "unknown" in j["memory"]
    for k in ("layers", "width", "mlp_width", "heads", "kv_heads", "trained_context", "parameters", "content_hash",
              "embedding_parameters", "vocab"):
        assert j[k] == known[k], k
    assert b"not runnable" in smelt("inspect", other)[0]
    assert "mamba" in smelt("inspect", other, "--graph", rc=4)[1]


def test_broken_tensor_list(tmp_path):
    whole = open(make_model(tmp_path / "a.gguf"), "rb").read()
    at = whole.index(b"blk.1.ffn_up.weight") + len(b"blk.1.ffn_up.weight") + 4
    (tmp_path / "b.gguf").write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8:])
    for args in ([], ["--json"], ["--weights"], ["--graph"]):
        out, err = smelt("inspect", tmp_path / "b.gguf", *args, rc=3)
        assert out == b"" and "b.gguf" in err and "blk.1.ffn_up.weight" in err


def test_template(tmp_path):
    path = model("smollm2")
    want = field_value(reader(path).fields["tokenizer.chat_template"])
    assert smelt("inspect", path, "--template")[0].decode() == want + "\n"
    j = smelt_json("inspect", path, "--template")
    assert j["chat_template"]["text"] == want and j["chat_template"]["bytes"] == len(want.encode())
    assert "text" not in smelt_json("inspect", path)["chat_template"]
    assert "no chat template" in smelt("inspect", make_model(tmp_path / "m.gguf"), "--template", rc=3)[1]


def test_text_shows_what_json_says():
    path = model("smollm2")
    text, j = smelt("inspect", path, "--ops", "--weights")[0].decode(), smelt_json("inspect", path, "--ops", "--weights")
    assert j["content_hash"] in text and f"{j['tensors']} tensors" in text
    for w in j["weights"]:
        line = next(s for s in text.splitlines() if s.split()[:1] == [w["name"]])
        assert w["encoding"] in line and str(w["bytes"]) in line and line.endswith(str(w["offset"]))
    for op, n in j["ops"].items():
        assert re.search(rf"\b{re.escape(op)} {n} \(", text)
    assert max(map(len, text.split("\nmetadata")[0].splitlines())) < 180
    assert "\x1b" not in text


# ------------------------------------------------------------------ packages
def proto_ops(block, count):
    for op in block.operations:
        if op.type != "const" and not op.type.startswith("constexpr_"):
            count[op.type] += 1
        for b in op.blocks:
            proto_ops(b, count)


@pytest.mark.parametrize("path", FIXTURES, ids=os.path.basename)
def test_packages_against_coremltools(path):
    spec = coremltools().utils.load_spec(path)
    j = smelt_json("inspect", path, "--weights", "--sha256")
    assert j["specification"] == spec.specificationVersion
    assert j["minimum_os"] == {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}[spec.specificationVersion]
    assert j["metadata"] == dict(spec.description.metadata.userDefined)
    assert j.get("description", "") == spec.description.metadata.shortDescription
    assert sorted(f["name"] for f in j["functions"]) == sorted(spec.mlProgram.functions)
    interfaces = {f.name: f.input for f in spec.description.functions}
    for f in j["functions"]:
        described = {i.name: i for i in interfaces.get(f["name"], spec.description.input)}
        want = spec.mlProgram.functions[f["name"]]
        block = want.block_specializations[want.opset]
        assert f["opset"] == {"CoreML5": "iOS15", "CoreML6": "iOS16", "CoreML7": "iOS17", "CoreML8": "iOS18",
                              "CoreML9": "iOS26"}[want.opset]
        states = [i.name for i in want.inputs if i.type.WhichOneof("type") == "stateType"]
        assert [i["name"] for i in f["inputs"]] == [i.name for i in want.inputs if i.name not in states]
        assert [i["name"] for i in f["states"]] == states
        assert [o["name"] for o in f["outputs"]] == list(block.outputs)
        count = collections.Counter()
        proto_ops(block, count)
        assert f["ops"] == count and sum(f["ops_by_version"].values()) == sum(count.values())
        for i in f["inputs"]:
            if described[i["name"]].type.WhichOneof("Type") == "imageType":
                image = described[i["name"]].type.imageType
                assert i["shape"][2:] == [image.height, image.width]
                continue
            array = described[i["name"]].type.multiArrayType
            assert len(i["shape"]) == len(array.shape)
            if array.WhichOneof("ShapeFlexibility") == "shapeRange":
                for d, size in zip(i["shape"], array.shapeRange.sizeRanges):
                    lo, hi = size.lowerBound, size.upperBound
                    assert d == lo if lo == hi else i["flexible"][d] == ({"least": lo} if hi < 0 else {"least": lo, "most": hi})
            elif not array.WhichOneof("ShapeFlexibility"):
                assert i["shape"] == list(array.shape)
            else:
                assert i["shapes"] == [list(x.shape) for x in array.enumeratedShapes.shapes]
                assert list(array.shape) == i["shapes"][0]
    assert j["weight_bytes"] == sum(w["bytes"] for w in j["weights"])
    for f in j["files"]:
        with open(os.path.join(path, f["path"]), "rb") as h:
            data = h.read()
        assert f["bytes"] == len(data) and f["sha256"] == hashlib.sha256(data).hexdigest()
    assert sum(f["bytes"] for f in j["files"]) == j["file_bytes"]
    assert sorted(f["path"] for f in j["files"]) == sorted(
        os.path.relpath(os.path.join(d, n), path) for d, _, names in os.walk(path) for n in names)


def test_package_hash_is_of_program_and_weights(tmp_path):
    """A package saved again by coremltools has other bytes in model.mlmodel, and the same content."""
    source = FIXTURES[0]
    shutil.copytree(source, tmp_path / "copy.mlpackage")
    ct = coremltools()
    ct.models.MLModel(str(source), skip_model_load=True).save(str(tmp_path / "saved.mlpackage"))
    hashes = {smelt_json("inspect", p)["content_hash"] for p in (source, tmp_path / "copy.mlpackage", tmp_path / "saved.mlpackage")}
    assert len(hashes) == 1
    assert len({smelt_json("inspect", p)["content_hash"] for p in FIXTURES}) == len(FIXTURES)


def test_numbers_of_a_package_are_those_of_its_source(tmp_path):
    source = make_model(tmp_path / "m.gguf", "--family", "gemma3", "--layers", "7", "--window", "16", "--type", "q8_0")
    smelt("convert", source, tmp_path / "m.mlpackage", "-c", "64", "-q")
    a, b = smelt_json("inspect", source), smelt_json("inspect", tmp_path / "m.mlpackage")
    for k in ("layers", "width", "mlp_width", "heads", "kv_heads", "head_dim", "vocab", "sliding_window",
              "sliding_window_layers", "parameters", "embedding_parameters", "kv_bytes_per_token_fp16"):
        assert a[k] == b[k], k
    assert b["rope"]["base"] == pytest.approx(a["rope"]["base"], rel=1e-3)
    assert b["rope"]["local_base"] == pytest.approx(10000, rel=1e-3) == a["rope"]["local_base"]
    assert b["context"] == 64


def test_a_terminal_is_shown_no_escape_sequences(tmp_path):
    """A file's name for itself could rename the window or type into it."""
    with open(os.path.join(ROOT, "tests", "golden", "tiny.gguf"), "rb") as f:
        data = f.read()
    name = reader(os.path.join(ROOT, "tests", "golden", "tiny.gguf")).fields["general.name"]
    was = bytes(name.parts[name.data[0]])
    evil = b"\x1b]0;x\x07"[:len(was)].ljust(len(was), b".")
    assert data.count(was) >= 1 and len(was) >= 4
    path = tmp_path / "evil.gguf"
    path.write_bytes(data.replace(was, evil, 1))
    with pty_session.Terminal("inspect", path, "-q") as t:
        assert t.finish()[0] == 0
        assert b"\x1b" not in t.all and b"^[]0;x^G" in t.all
    assert "\x1b" in json.loads(smelt("inspect", path, "--json")[0])["name"]
