# SPDX-License-Identifier: MIT
"""Packages that coremltools made, with recorded outputs (tests/fixtures/README.md): as written, and through the engine."""
import os

import numpy as np
import pytest
from pkg_tools import FIXTURES, eval_logits, greedy, log_softmax, make_model, predict, relative, scratch, smelt_json

LIMITS = {
    "llama_stateful_ios18": 3e-3,
    "llama_kvio_ios17_lut": 1e-4,
    "variants/int4_sym_block2d": 1e-5,
    "variants/int8_sym_channel": 1e-5,
    "variants/lut4_channel_scale": 1e-5,
    "variants/uint4_lin_block16": 1e-5,
}


def package(name):
    return os.path.join(FIXTURES, name, os.path.basename(name) + ".mlpackage")


def golden(name):
    """[(inputs, outputs)] of each recorded call"""
    with np.load(os.path.join(FIXTURES, name, "golden.npz")) as z:
        a = {k: z[k] for k in z.files}
    calls = []
    for n in range(int(a["ncalls"])):
        inputs, outputs = f"{n:02d}.in.", f"{n:02d}.out."
        calls.append(({k[len(inputs):]: v for k, v in a.items() if k.startswith(inputs)},
                      {k[len(outputs):]: v for k, v in a.items() if k.startswith(outputs)}))
    return calls


@pytest.mark.parametrize("name", LIMITS)
def test_as_written(name):
    calls = golden(name)
    got = predict(package(name), [c[0] for c in calls])
    for n, (_, want) in enumerate(calls):
        assert set(want) <= set(got[n])
        for k in want:
            assert relative(want[k], got[n][k]) <= LIMITS[name], (n, k)


@pytest.mark.parametrize("backend, limit", [("ref", 5e-3), ("cpu", 5e-2)])
@pytest.mark.parametrize("name", LIMITS)
def test_recognised_and_run_like_a_model(name, backend, limit):
    """The calls of the recording are one text; the engine's logits for it are the recorded ones."""
    calls = golden(name)
    j = smelt_json("inspect", package(name))
    assert "not_runnable" not in j and j["layers"] == 2 and j["context"] == 256
    ids = np.concatenate([given["inputIds" if "inputIds" in given else "input_ids"][0] for given, _ in calls])
    want = np.concatenate([out["logits"][0] for _, out in calls])
    got = eval_logits(package(name), ids, "--backend", backend)
    assert relative(want, got) <= limit
    assert np.abs(log_softmax(want) - log_softmax(got)).max() <= 10 * limit
    top = np.sort(want, -1)
    clear = top[:, -1] - top[:, -2] > 0.1
    assert clear.sum() >= 10 and np.array_equal(want.argmax(-1)[clear], got.argmax(-1)[clear])


@pytest.mark.parametrize("name", ["llama_stateful_ios18", "llama_kvio_ios17_lut", "variants/lut4_channel_scale"])
def test_run_with_a_vocabulary_from_elsewhere(name):
    """A package without tokenizer takes one by --tokenizer."""
    vocab = make_model(scratch("vocab", "vocab.gguf"), "--vocab", 512)
    pkg = package(name)
    tokens, done = greedy(pkg, "the rain in the", 6, "--raw", "--tokenizer", vocab)
    ids = smelt_json("tokenize", vocab, "-p", "the rain in the")["ids"]
    assert done["prompt_tokens"] == len(ids) and len(tokens) == 6
    made = [t["id"] for t in tokens]
    scored = smelt_json("eval", pkg, "--ids", ",".join(map(str, ids + made)))["tokens"]
    assert [t["id"] for t in scored[len(ids) - 1:-1]] == made
    for t, s in zip(tokens, scored[len(ids) - 1:-1]):
        assert abs(t["logprob"] - s["logprob"]) < 0.02
