# SPDX-License-Identifier: MIT
"""smelt check: its numbers against numpy on logits that eval wrote, its thresholds, and --locate on damaged models.

Damage is done to single tensors of a GGUF copy by gguf-py; --locate must name the op that reads the tensor, in its layer,
and nothing where models are only quantized or converted.
"""
import os
import re
from xml.etree import ElementTree
import shutil

import gguf
import numpy as np
import pytest

from smelt_cli import make_model, model, smelt, smelt_json

SMOL = model("smollm2")


def check(a, b, *args, rc=0):
    return smelt_json("check", a, b, *args, rc=rc)


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def logits(path, ids, folder, *args):
    smelt("eval", path, "--ids", ",".join(map(str, ids)), "--logits", folder / "x.npz", "--json", *args)
    return np.load(folder / "x.npz")["logits"].astype(np.float64)


def definition(a, b, ids):
    """What check says of one window, from its definitions."""
    e, la, lb = b - a, log_softmax(a), log_softmax(b)
    kl = (np.exp(la) * (la - lb)).sum(axis=1)
    cosine = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    nll = [-np.mean([x[i, t] for i, t in enumerate(ids[1:])]) for x in (la, lb)]
    kl_sorted = np.sort(kl)
    at = lambda p: kl_sorted[(len(kl) - 1) * p // 100]
    return {"max_error": np.abs(e).max(), "mean_error": np.abs(e).mean(), "rmse": np.sqrt((e * e).mean()),
            "psnr": 10 * np.log10((a * a).max() / (e * e).mean()), "snr": 10 * np.log10((a * a).mean() / (e * e).mean()),
            "cosine": cosine.mean(), "min_cosine": cosine.min(), "kl": kl.mean(), "kl_max": kl.max(),
            "kl_error": kl.std() / np.sqrt(len(kl) - 1), "kl_p50": at(50), "kl_p90": at(90), "kl_p99": at(99),
            "top1": (a.argmax(axis=1) == b.argmax(axis=1)).mean(), "ppl_a": np.exp(nll[0]), "ppl_b": np.exp(nll[1]),
            "ppl_ratio": np.exp(nll[1] - nll[0])}


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_numbers(family, tmp_path):
    """A model and a noisy copy: everything in the report, by numpy from logits that eval wrote."""
    a = make_model(tmp_path / "a.gguf", "--family", family, "--type", "f32", "--window", "16", "--layers", "6")
    b = shutil.copy(a, tmp_path / "b.gguf")
    rng = np.random.default_rng(5)
    for t in gguf.GGUFReader(b, "r+").tensors:
        if t.data.dtype == np.float32:
            t.data[:] *= 1 + 0.05 * rng.standard_normal(t.data.shape, np.float32)
    text = tmp_path / "text"
    text.write_text("the moon is in the tin " * 30)
    ids = smelt_json("tokenize", a, "-f", text)["ids"][:70]
    got = check(a, b, "--text", text, "--tokens", 70, "--min-top1", 0, "--max-kl", 9, "--backend", "ref")
    x, y = (logits(p, ids, tmp_path, "--backend", "ref") for p in (a, b))
    want = definition(x, y, ids)
    assert got["pass"] and got["rows"] == 70 and got["scored"] == 69 and got["windows"] == 1 and got["vocab"] == x.shape[1]
    for key, w in want.items():
        assert got[key] == pytest.approx(w, rel=2e-4, abs=1e-7), key
    print(family, "KL", got["kl"], "top-1", got["top1"], "PSNR", got["psnr"])
    assert got["kl"] > 1e-4


def test_windows(tmp_path):
    """Windows are cut as eval cuts them, each begins with BOS, and all their rows count."""
    a = make_model(tmp_path / "a.gguf", "--type", "f32")
    b = make_model(tmp_path / "b.gguf", "--type", "f32", "--linear-rope", "4")
    text = tmp_path / "text"
    text.write_text("a stone in the sand is a stone in the rain " * 12)
    ids = smelt_json("tokenize", a, "-f", text)["ids"][:90]
    got = check(a, b, "--text", text, "--tokens", 90, "-c", 40, "--min-top1", 0, "--max-kl", 9, "--backend", "ref")
    kl = []
    for at in (0, 40, 80):
        window = [ids[0], *ids[at + 1:at + 40]]
        la, lb = (log_softmax(logits(p, window, tmp_path, "--backend", "ref")) for p in (a, b))
        kl += list((np.exp(la) * (la - lb)).sum(axis=1))
    assert got["windows"] == 3 and got["rows"] == len(kl) == 90 and got["scored"] == 87
    assert got["kl"] == pytest.approx(np.mean(kl), rel=1e-3)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    smelt("convert", "-q", SMOL, folder / "keep.mlpackage", "-c", 256)
    smelt("convert", "-q", SMOL, folder / "int4.mlpackage", "-c", 256, "--quant", "int4")
    return folder


def test_package_is_its_model(packages):
    """A conversion that keeps the codes: near, and nothing stands out."""
    got = check(SMOL, packages / "keep.mlpackage", "--locate")
    where = got["locate"]
    print("GGUF and package: KL", got["kl"], "top-1", got["top1"], "PSNR", got["psnr"], "largest NMSE of an op",
          max(o["nmse"] for o in where["ops"]))
    assert got["pass"] and got["kl"] < 1e-4 and got["top1"] >= 0.98
    assert where["named"] is None and where["layers"] == 30
    assert where["matched"] == where["ops_a"] == where["ops_b"] == len(where["ops"])
    assert where["usual"] < 1e-6


def test_quantization_is_no_damage(packages):
    """New 4-bit codes fail the thresholds, but no op stands out."""
    got = check(SMOL, packages / "int4.mlpackage", "--locate", rc=1)
    print("new int4 codes: KL", got["kl"], "top-1", got["top1"], "usual NMSE", got["locate"]["usual"])
    assert not got["pass"] and got["locate"]["named"] is None
    assert 1e-3 < got["locate"]["usual"] < 5e-2
    assert check(SMOL, packages / "int4.mlpackage", "--min-top1", 0.3, "--max-kl", 2, "--tokens", 60)["pass"]
    err = smelt("check", SMOL, packages / "int4.mlpackage", "--tokens", 60, "--min-top1", 0.1, rc=1)[1]
    assert "KL" in err and "0.02" in err


def damage(source, out, name, how):
    shutil.copy(source, out)
    os.chmod(out, 0o644)
    t = next(t for t in gguf.GGUFReader(out, "r+").tensors if t.name == name)
    if how == "roll":  # rows in other places
        t.data[:] = np.roll(np.array(t.data), 1, axis=0)
    elif how == "turn":  # codes of every block turned over, scales kept
        t.data.reshape(t.data.shape[0], -1, 20)[:, :, 4:] ^= 0xFF
    else:
        t.data[:] *= np.float32(how)
    return out


DAMAGE = [  # tensor, how, op, slot, layer
    ("blk.17.ffn_down.weight", "roll", "smelt.gated_mlp", "down", 17),
    ("blk.0.attn_q.weight", "turn", "linear", "weight", 0),
    ("blk.8.ffn_norm.weight", 1.5, "smelt.rms_norm", "gamma", 8),
    ("output_norm.weight", 0.5, "smelt.rms_norm", "gamma", 30),
]


@pytest.mark.parametrize("name,how,op,slot,layer", DAMAGE, ids=[d[0] for d in DAMAGE])
def test_damage_is_located(name, how, op, slot, layer, tmp_path):
    bad = damage(SMOL, tmp_path / "bad.gguf", name, how)
    got = check(SMOL, bad, "--locate", "--tokens", 40, "--min-top1", 0, "--max-kl", 1e9)["locate"]
    named = got["named"]
    assert named["op"] == op and named["layer"] == layer and named["given"] == 0
    worst = max(named["weights"], key=lambda w: w["nmse"])
    assert worst["slot"] == slot and worst["a"] == name.replace(".", "_") and worst["nmse"] > 0.1
    assert [w["slot"] for w in named["weights"] if w["nmse"] > 0] == [slot]
    assert all(o["nmse"] == 0 for o in got["ops"][:[o["a"] for o in got["ops"]].index(named["a"])])


def test_damage_in_a_package(packages, tmp_path):
    """The same between a GGUF and the package of a damaged copy, and between quantizations, where all ops differ."""
    bad = damage(SMOL, tmp_path / "bad.gguf", "blk.12.ffn_up.weight", "roll")
    for quant in ("keep", "int4"):
        smelt("convert", "-q", bad, tmp_path / "bad.mlpackage", "-c", 64, "--quant", quant)
        got = check(SMOL, tmp_path / "bad.mlpackage", "--locate", "--tokens", 40, rc=1)["locate"]
        assert got["named"]["op"] == "smelt.gated_mlp" and got["named"]["layer"] == 12
        worst = max(got["named"]["weights"], key=lambda w: w["nmse"])
        assert worst["slot"] == "up" and worst["encoding_a"] == "q4_1" and worst["encoding_b"].startswith("affine(")


def test_settings_are_located(tmp_path):
    """The same weights turned by other frequencies: rope is named, though no weight differs."""
    a = make_model(tmp_path / "a.gguf", "--type", "f32")
    b = make_model(tmp_path / "b.gguf", "--type", "f32", "--linear-rope", "4")
    got = check(a, b, "--locate", "--min-top1", 0, "--max-kl", 1e9)["locate"]
    assert got["named"]["op"] == "smelt.rope" and got["named"]["layer"] == 0 and got["usual"] == 0
    assert [w["slot"] for w in got["named"]["weights"] if w["nmse"] > 0] == ["inv_freq"]


def test_backends(tmp_path):
    """One model on two backends."""
    got = check(SMOL, SMOL, "--backend", "ref", "--backend-b", "cpu", "--tokens", 40, "--locate")
    print("ref and cpu: KL", got["kl"], "largest NMSE of an op", max(o["nmse"] for o in got["locate"]["ops"]))
    assert got["kl"] < 1e-4 and got["max_error"] > 0 and got["locate"]["named"] is None
    same = check(SMOL, SMOL, "--tokens", 40)
    assert same["max_error"] == 0 and same["kl"] == 0 and same["top1"] == 1 and same["psnr"] is None


def test_text_and_picture(packages, tmp_path):
    out = smelt("check", SMOL, packages / "keep.mlpackage", "--locate", "--tokens", 30, "--svg", tmp_path / "e.svg")[0].decode()
    assert out.splitlines()[-1] == "PASS" and "no op stands out" in out
    assert len(re.findall(r"^\d+ +layer_\d+_mlp_residual", out, re.M)) == 30
    svg = (tmp_path / "e.svg").read_text()
    assert svg.startswith("<svg") and svg.count("<circle") == 363
    assert len(ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}circle")) == 363


def test_refused(tmp_path):
    err = smelt("check", SMOL, model("gemma3"), rc=3)[1]
    assert "49152" in err and "262144" in err
    a = make_model(tmp_path / "a.gguf")
    b = make_model(tmp_path / "b.gguf", "--vocab", "640")
    err = smelt("check", a, b, rc=3)[1]
    assert "512" in err and "640" in err
    smelt("check", a, rc=2)
    smelt("check", a, a, "--svg", tmp_path / "x.svg", rc=2)
    smelt("check", a, tmp_path / "none.gguf", rc=3)
    smelt("check", a, a, "--backend-b", "cuda", rc=4)
    (tmp_path / "one").write_text("")
    smelt("check", a, a, "--text", tmp_path / "one", rc=3)
    smelt("check", a, a, "--locate", "--backend", "null", "--min-top1", 0, "--max-kl", 9, rc=4)
