# SPDX-License-Identifier: MIT
"""Models in parts: a folder of packages and the file that says which, in order."""
import json
import os

import numpy as np
import pytest
from pkg_tools import FIXTURES, convert, eval_logits, make_model, relative, smelt, smelt_json

PARTS = os.path.join(FIXTURES, "anyone", "conv_parts")
EMBED, HEAD, PICK = "tiny_embeddings.mlpackage", "tiny_lm_head_lut6.mlpackage", "tiny_lm_head_argmax_lut6.mlpackage"
LAYERS = [f"tiny_FFN_PF_lut4_chunk_{k:02d}of02.mlpackage" for k in (1, 2)]


@pytest.fixture(scope="module")
def recorded():
    """ids of the one text, and {row: logits} of those rows that a head was run on"""
    ids, rows = [], {}
    with np.load(os.path.join(PARTS, "golden.npz")) as z:
        for n in range(int(z["ncalls"])):
            p = f"{n:02d}."
            if str(z[p + "pkg"]) == EMBED:
                ids += [int(i) for i in z[p + "in.input_ids"][0]]
            if str(z[p + "pkg"]) == HEAD:
                rows[len(ids) - 1] = np.concatenate([z[p + f"out.logits{k}"].ravel() for k in range(1, 5)])
    assert len(rows) >= 4
    return ids, rows


def check(folder, recorded, *args):
    ids, rows = recorded
    got = eval_logits(folder, ids, *args)
    worst = max(relative(want, got[r]) for r, want in rows.items())
    print(f"{os.path.basename(str(folder))} {args}: {worst:.2e}")
    assert worst <= 2e-3


def folder_of(tmp_path, parts):
    for p in {p["package"] for p in parts}:
        os.symlink(os.path.join(PARTS, p), tmp_path / p)
    (tmp_path / "smelt.json").write_text(json.dumps({"parts": parts}))
    return tmp_path


@pytest.mark.parametrize("backend", ["ref", "cpu"])
def test_as_its_meta_yaml_says(recorded, backend):
    check(PARTS, recorded, "--backend", backend)


@pytest.mark.parametrize("functions", [("infer", "infer"), ("prefill", "prefill"), ("infer", "prefill")])
@pytest.mark.parametrize("head", [HEAD, PICK])
def test_as_our_manifest_says(recorded, tmp_path, functions, head):
    """Any function of a part, and a head that only tells the best ids, are one model."""
    layers = [{"package": p, "function": f} for p, f in zip(LAYERS, functions)]
    check(folder_of(tmp_path, [{"package": EMBED}, *layers, {"package": head}]), recorded, "--backend", "ref")


@pytest.mark.parametrize("part, words", [(EMBED, "token ids and gives rows"), (LAYERS[0], "rows and gives rows"),
                                         (HEAD, "rows and gives logits")])
def test_a_part_alone_is_no_model(part, words):
    j = smelt_json("inspect", os.path.join(PARTS, part))
    assert "a part of a model" in j["not_runnable"] and words in j["not_runnable"]


@pytest.mark.parametrize("order, words", [
    ([LAYERS[0], HEAD], "no part before it gives any"),
    ([EMBED, LAYERS[0], EMBED, HEAD], "does not take the rows"),
    ([EMBED, *LAYERS], "no logits"),
    ([EMBED, HEAD], "no part has attention"),
])
def test_parts_that_do_not_fit(tmp_path, order, words):
    folder = folder_of(tmp_path, [{"package": p} for p in order])
    r = smelt("eval", folder, "--ids", "1,2,3", rc=4)
    assert words in r.stderr


@pytest.mark.parametrize("text, words", [
    ("{", "wanted"), ("{}", "wanted"), ('{"parts": []}', "wanted"), ('{"parts": [{}]}', "part 1"),
    ('{"parts": [{"package": "../x.mlpackage"}]}', "no name of a package"),
    ('{"parts": [{"package": "x", "function": 1}]}', "part 1"),
    ('{"parts": [{"package": "absent.mlpackage"}]}', "absent.mlpackage"),
])
def test_bad_manifests(tmp_path, text, words):
    (tmp_path / "smelt.json").write_text(text)
    r = smelt("eval", tmp_path, "--ids", "1,2,3", rc=3)
    assert words in r.stderr


@pytest.mark.parametrize("design", ["--split 2", "--split units", "--split 2 --units cpuAndNeuralEngine --seq 4",
                                    "--split units --units cpuAndNeuralEngine --seq 4"])
def test_what_convert_splits(tmp_path, design):
    source = make_model(tmp_path / "source.gguf")
    convert(source, tmp_path / "parts", "-c", 64, "--quant", "none", *design.split())
    ids = [3, 17, 5, 60, 2, 33, 8]
    want = eval_logits(source, ids, "--backend", "ref")
    assert relative(want, eval_logits(tmp_path / "parts", ids, "--backend", "ref")) <= 5e-3
