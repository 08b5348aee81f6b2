# SPDX-License-Identifier: MIT
"""Logits: `ref` against llama.cpp, `cpu` against `ref`.

llama.cpp runs a copy of each model with F32 weights (decoded by gguf-py) and F32 caches and continues every prompt
greedily; smelt is given the same tokens.  `ref` must agree to 0.02 in log-probability; `cpu`, which quantizes
activations, is held to `ref` by the KL divergence over the whole vocabulary.
"""
import gc

import numpy as np
import pytest

from smelt_cli import Llama, f32_copy, make_model, model, smelt, smelt_json

PROMPTS = [
    "The capital of France is",
    "Water boils at a temperature of",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Once upon a time, in a small village by the sea, there lived",
    "The three primary colours are red,",
    "Die Hauptstadt von Deutschland ist",
    "1, 2, 3, 4, 5, 6,",
    "In 1969, astronauts landed on",
    "SELECT name, price FROM products WHERE",
    "To be, or not to be, that is",
    "Il était une fois une petite fille qui",
    "The quick brown fox jumps over the lazy dog. The dog was not amused, and so it decided to",
    "Dear Sir or Madam,\n\nI am writing to",
    "Roses are red, violets are",
]
GENERATED = 12


class Case:
    def __init__(self, name, path, folder):
        self.path, self.folder = path, folder
        copy = f32_copy(path, folder / f"{name}-f32.gguf")
        llama = Llama(copy)
        self.prompts, self.answers = [], []
        for p in PROMPTS:
            ids = smelt_json("tokenize", path, "-p", p)["ids"]
            self.prompts.append(ids)
            self.answers.append(llama.greedy(ids, GENERATED))
        del llama
        gc.collect()
        (folder / f"{name}-f32.gguf").unlink()
        self.logits = {}

    def of(self, backend):
        """Log-probabilities [positions, vocabulary] of each prompt with its continuation."""
        if backend not in self.logits:
            self.logits[backend] = []
            for ids, answer in zip(self.prompts, self.answers):
                all_ids = ids + [t for t, _ in answer]
                out = self.folder / "logits.npz"
                smelt("eval", self.path, "--ids", ",".join(map(str, all_ids)), "--backend", backend, "--logits", out,
                      "--json")
                x = np.load(out)["logits"].astype(np.float64)
                x -= x.max(axis=1, keepdims=True)
                x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
                self.logits[backend].append(x.astype(np.float32))
        return self.logits[backend]


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def case(request, tmp_path_factory):
    return Case(request.param, model(request.param), tmp_path_factory.mktemp(request.param))


def compare_with_llama(case, backend):
    """Mean difference of the five most likely log-probabilities, share of equal most likely tokens."""
    differences, same, n = [], 0, 0
    for ids, answer, x in zip(case.prompts, case.answers, case.of(backend)):
        for i, (_, top) in enumerate(answer):
            row = x[len(ids) - 1 + i]
            differences += [abs(row[t] - lp) for t, lp in top]
            same += int(row.argmax()) == top[0][0]
            n += 1
    return float(np.mean(differences)), same / n


def test_ref_equals_llama(case):
    difference, agreement = compare_with_llama(case, "ref")
    print("ref and llama.cpp: mean difference", difference, "same top", agreement)
    assert difference <= 0.02
    assert agreement >= 0.99


def test_cpu_near_ref(case):
    kl, same, n = 0.0, 0, 0
    for want, got in zip(case.of("ref"), case.of("cpu")):
        kl += float((np.exp(want.astype(np.float64)) * (want.astype(np.float64) - got)).sum())
        same += int((want.argmax(axis=1) == got.argmax(axis=1)).sum())
        n += len(want)
    print("cpu and ref: mean KL", kl / n, "same top", same / n, "of", n)
    assert kl / n <= 0.01
    assert same / n >= 0.97


def test_cpu_near_llama(case):
    _, agreement = compare_with_llama(case, "cpu")
    print("cpu and llama.cpp: same top", agreement)
    assert agreement >= 0.97


VARIANTS = {
    "llama-untied": ["--family", "llama", "--untied", "--type", "f32"],
    "llama-biases": ["--family", "llama", "--biases", "--type", "f32"],
    "llama-linear-rope": ["--family", "llama", "--linear-rope", "4", "--type", "f32"],
    "llama-rope-factors": ["--family", "llama", "--rope-factors", "--type", "f32"],
    "llama-wide-heads": ["--family", "llama", "--head-dim", "128", "--kv-heads", "1", "--type", "f32"],
    "gemma3": ["--family", "gemma3", "--layers", "7", "--window", "16", "--type", "f32"],
    "qwen3": ["--family", "qwen3", "--head-dim", "128", "--type", "f32"],
    "qwen3-untied": ["--family", "qwen3", "--untied", "--kv-heads", "4", "--type", "f32"],
    "gemma3-linear-rope": ["--family", "gemma3", "--layers", "6", "--linear-rope", "8", "--type", "f32"],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_random_models(name, tmp_path):
    """What the real models do not have: heads of their own, biases, RoPE scaling, windows that slide."""
    path = make_model(tmp_path / "m.gguf", *VARIANTS[name])
    ids = [1] + [260 + 7 * i % 250 for i in range(60)]
    answer = Llama(path).greedy(ids, 8, never=range(259))  # no single bytes
    got = smelt_json("eval", path, "--ids", ",".join(map(str, ids + [t for t, _ in answer])), "--backend", "ref", "--logits",
                     tmp_path / "x.npz")
    x = np.load(tmp_path / "x.npz")["logits"].astype(np.float64)
    x -= np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True)) + x.max(axis=1, keepdims=True)
    differences = [abs(x[len(ids) - 1 + i][t] - lp) for i, (_, top) in enumerate(answer) for t, lp in top]
    assert len(got["tokens"]) == len(ids) + 8
    assert max(differences) < 4e-3  # llama.cpp rounds gelu to f16
