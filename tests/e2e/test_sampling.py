# SPDX-License-Identifier: MIT
"""Sampling: what is left to draw from, against llama.cpp on the same logits; texts that a seed repeats on every backend,
instruction set and number of threads; log-probabilities; ends of replies."""
import os
import subprocess

import numpy as np
import pytest

from smelt_cli import SMELT, Llama, make_model, model, smelt, smelt_json, smelt_lines

TOOL = os.path.join(os.path.dirname(SMELT), "tests", "tools", "sample_tool")
PROMPTS = [
    "The capital of France is",
    "The cat sat on the mat. The dog sat on the mat. The cow sat on the",
]
# llama.cpp's request, fields of sm_sampling.  Everything else is off.
OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
TOOL_OFF = {"temp": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
BREAKERS = ["\n", ":", "\"", "*"]
CASES = {
    "top-k": ({"top_k": 7}, {"top_k": 7}),
    "top-p": ({"top_p": 0.8}, {"top_p": 0.8}),
    "min-p": ({"min_p": 0.03}, {"min_p": 0.03}),
    "typical": ({"typical_p": 0.6}, {"typical_p": 0.6}),
    "top-nsigma": ({"top_n_sigma": 2.5}, {"top_n_sigma": 2.5}),
    "xtc": ({"xtc_probability": 1.0, "xtc_threshold": 0.02, "top_k": 30},
            {"xtc_probability": 1.0, "xtc_threshold": 0.02, "top_k": 30}),
    "temp": ({"temperature": 0.6, "top_k": 20}, {"temp": 0.6, "top_k": 20}),
    "dynatemp": ({"dynatemp_range": 0.5, "dynatemp_exponent": 1.4, "top_k": 30},
                 {"dynatemp_range": 0.5, "dynatemp_exp": 1.4, "top_k": 30}),
    "repeat": ({"repeat_penalty": 1.3, "top_k": 30}, {"repeat_penalty": 1.3, "top_k": 30}),
    "repeat-last-n": ({"repeat_penalty": 1.3, "repeat_last_n": 4, "top_k": 30},
                      {"repeat_penalty": 1.3, "repeat_last_n": 4, "top_k": 30}),
    "presence": ({"presence_penalty": 1.1, "top_k": 30}, {"presence_penalty": 1.1, "top_k": 30}),
    "frequency": ({"frequency_penalty": 0.7, "top_k": 30}, {"frequency_penalty": 0.7, "top_k": 30}),
    "dry": ({"dry_multiplier": 0.8, "dry_sequence_breakers": BREAKERS, "top_k": 30},
            {"dry_multiplier": 0.8, "breaker": BREAKERS, "top_k": 30}),
    "dry-breakers": ({"dry_multiplier": 0.8, "dry_sequence_breakers": [",", "The"], "top_k": 30},
                     {"dry_multiplier": 0.8, "breaker": [",", "The"], "top_k": 30}),
    "dry-length": ({"dry_multiplier": 1.5, "dry_base": 1.2, "dry_allowed_length": 1, "dry_sequence_breakers": BREAKERS,
                    "top_k": 30},
                   {"dry_multiplier": 1.5, "dry_base": 1.2, "dry_allowed_length": 1, "breaker": BREAKERS, "top_k": 30}),
    "mirostat-2": ({"mirostat": 2, "mirostat_tau": 2.0}, {"mirostat": 2, "mirostat_tau": 2.0}),
    "mirostat-1": ({"mirostat": 1, "mirostat_tau": 2.0}, {"mirostat": 1, "mirostat_tau": 2.0}),
    "logit-bias": ({"logit_bias": [[260, 3.0], [7042, -2.0], [264, False]], "top_k": 20},
                   {"bias": ["260:3", "7042:-2", "264:-inf"], "top_k": 20}),
    "usual": ({"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}, {"temp": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}),
    "much": ({"temperature": 1.3, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.95, "presence_penalty": 0.4,
              "dry_multiplier": 0.5, "dry_sequence_breakers": BREAKERS},
             {"temp": 1.3, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.95, "presence_penalty": 0.4,
              "dry_multiplier": 0.5, "breaker": BREAKERS}),
    "order": ({"temperature": 1.5, "top_p": 0.8, "top_k": 60, "samplers": ["top_k", "temperature", "top_p"]},
              {"temp": 1.5, "top_p": 0.8, "top_k": 60, "samplers": "top_k;temperature;top_p"}),
}


@pytest.fixture(scope="module")
def llama():
    return Llama(model("smollm2"))


def ask(llama, ids, **params):
    r = llama.server.handle_completions({"prompt": ids, "n_predict": 1, "cache_prompt": False, "seed": 1, **OFF, **params})
    return r["choices"][0]["logprobs"]["content"][0]


@pytest.fixture(scope="module")
def rows(llama, tmp_path_factory):
    """Of each prompt: its ids and a file with llama.cpp's logits.  It reports them as log-probabilities; what they are
    shifted by, which matters to the repeat penalty alone, is estimated from smelt's own logits."""
    out = []
    folder = tmp_path_factory.mktemp("rows")
    for i, p in enumerate(PROMPTS):
        ids = smelt_json("tokenize", model("smollm2"), "-p", p)["ids"]
        smelt("eval", model("smollm2"), "--ids", ",".join(map(str, ids)), "--backend", "ref", "--logits",
              folder / "x.npz", "--json")
        own = np.load(folder / "x.npz")["logits"][-1].astype(np.float64)
        x = np.full(len(own), -np.inf)
        for t in ask(llama, ids, n_probs=len(own))["top_logprobs"]:
            x[t["id"]] = t["logprob"]
        x += np.median(own - x)
        assert np.isfinite(x).all() and abs(x - own).max() < 1.0
        x.astype("<f4").tofile(folder / f"{i}.f32")
        out.append((ids, folder / f"{i}.f32"))
    return out


def candidates(row, ids, **params):
    args = [f"{k}={v}" for k, vs in params.items() for v in (vs if isinstance(vs, list) else [vs])]
    p = subprocess.run([TOOL, row, model("smollm2"), "ids=" + ",".join(map(str, ids)), *args], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    lines = [line.split() for line in p.stdout.splitlines()]
    return {int(a): float(b) for a, b in lines[:-1]}


@pytest.mark.parametrize("name", CASES)
def test_candidates_as_llama(llama, rows, name):
    theirs, ours = CASES[name]
    worst, sizes = 0.0, []
    for ids, row in rows:
        want = ask(llama, ids, n_probs=3000, post_sampling_probs=True, **theirs)["top_probs"]
        want = {t["id"]: t["prob"] for t in want if t["prob"] > 0.0}
        got = {i: p for i, p in candidates(row, ids, **{**TOOL_OFF, **ours}).items() if p > 1e-40}
        assert set(got) == set(want), (len(got), len(want), sorted(set(got) ^ set(want))[:9])
        worst = max(worst, max(abs(got[i] - want[i]) for i in want))
        sizes.append(len(want))
    print(f"{name}: {sizes} candidates, largest difference in probability {worst:.2g}")
    assert worst < (1e-2 if "repeat_penalty" in ours else 2e-5)  # the shift is not exact


# ------------------------------------------------------------------ the same seed
def text(path, *args, env=None):
    return smelt("run", path, "--raw", "-q", *args, env=env)[0]


CAPS = ["c", "avx2", "avx512", "avx512vnni"]


def test_same_seed_same_text():
    """`ref` and every cap of `cpu`, on SmolLM2.  cpu quantizes activations, so that its logits are not ref's: a text
    may part where two tokens come out within that difference.  docs/sampling.md says how often; these seeds do not."""
    args = [model("smollm2"), "-p", "My favourite season is", "-n", "12", "--ignore-eos"]
    seen = set()
    for seed in range(2):
        want = text(*args, "--seed", seed, "--backend", "ref")
        for threads in 1, 2, 3:  # at the highest cap
            assert text(*args, "--seed", seed, "-t", threads) == want, (seed, threads)
        for cap in CAPS:
            assert text(*args, "--seed", seed, env={"SMELT_CPU": cap}) == want, (seed, cap)
        seen.add(want)
    assert len(seen) == 2


def test_chains_repeat(tmp_path):
    path = make_model(tmp_path / "tiny.gguf", "--family", "llama", "--type", "q4_0")
    chains = [["--temp", "2", "--top-k", "0", "--top-p", "1"], ["--mirostat", "1"], ["--mirostat", "2", "--mirostat-ent", "3"],
              ["--typical", "0.5"], ["--xtc-probability", "0.5", "--xtc-threshold", "0.001"], ["--dry-multiplier", "1"],
              ["--top-nsigma", "1"], ["--dynatemp-range", "0.5"], ["--samplers", "temperature;min_p", "--min-p", "0.1"]]
    texts = []
    for chain in chains:
        args = [path, "-p", "a b", "-n", "30", "--temp", "1.2", "--ignore-eos", "--seed", "5", *chain]
        want = text(*args)
        assert text(*args, "-t", "3") == want and text(*args, env={"SMELT_CPU": "avx2"}) == want, chain
        texts.append(want)
    assert len(set(texts)) >= 7


def test_bias_and_breakers(tmp_path):
    path = make_model(tmp_path / "tiny.gguf", "--family", "llama", "--type", "q4_0")
    ids = lambda *a: [t["id"] for t in smelt_lines("run", path, "--raw", "-p", "a b", "-n", "12", "--temp", "0", "--ignore-eos", *a)[:-1]]
    plain = ids()
    assert set(ids("-l", "300+1000")) == {300}
    assert plain[0] not in ids("--logit-bias", f"{plain[0]}-inf")
    assert ids("--repeat-penalty", "1.5", "--repeat-last-n", "-1") != plain
    once = ids("--presence-penalty", "1000")
    assert len(set(once)) == len(once)
    assert len(set(ids("--frequency-penalty", "1000"))) == 12
    for bad in ["x+1", "5", "5*2", "5+", "5+x", "-5+1", "5+nan"]:
        _, err = smelt("run", path, "-p", "a", "--logit-bias", bad, rc=2)
        assert "--logit-bias" in err
    assert "99999999" in smelt("run", path, "-p", "a", "--logit-bias", "99999999+1", rc=2)[1]
    assert "nonsense" in smelt("run", path, "-p", "a", "--samplers", "top_k;nonsense", rc=2)[1]
    assert "empty" in smelt("run", path, "-p", "a", "--stop", "", rc=2)[1]
    ids("--dry-multiplier", "1", "--dry-sequence-breaker", "\\n", "--dry-sequence-breaker", "ab")
    ids("--dry-multiplier", "1", "--dry-sequence-breaker", "none")


def test_distribution_end_to_end(tmp_path):
    """Counts of the first token over seeds, against softmax of the reported log-probabilities."""
    path = make_model(tmp_path / "tiny.gguf", "--family", "llama", "--type", "q4_0")
    top = smelt_lines("run", path, "--raw", "-p", "a b", "-n", "1", "--temp", "0", "--logprobs", "100000")[0]["top"]
    p = np.exp([t["logprob"] for t in top])
    assert abs(p.sum() - 1.0) < 1e-4
    share = p[:8] / p[:8].sum()
    seen = {t["id"]: 0 for t in top[:8]}
    for seed in range(100):
        out = smelt_lines("run", path, "--raw", "-p", "a b", "-n", "1", "--temp", "1", "--top-k", "8", "--top-p", "1", "--seed", seed)
        seen[out[0]["id"]] += 1
    chi = sum((seen[t["id"]] - 100 * s) ** 2 / (100 * s) for t, s in zip(top[:8], share))
    print("chi-square of 100 first tokens over 8 candidates:", chi)
    assert chi < 29.9  # 7 degrees of freedom, 1e-4


def test_model_defaults(tmp_path):
    """What a model's file asks for holds until an option says otherwise, in the file and in a package made of it."""
    make = lambda name, *says: make_model(tmp_path / name, "--family", "llama", "--type", "q4_0",
                                          *[w for s in says for w in ("--sampling", s)])
    plain, asks = make("plain.gguf"), make("asks.gguf", "temp=1.75", "top_k=5", "top_p=0.75", "min_p=0.125", "penalty_repeat=1.5")
    package = tmp_path / "asks.mlpackage"
    smelt("convert", asks, package, "-c", "64")
    run = lambda path, *a: text(path, "-p", "a b", "-n", "30", "--seed", "3", "--ignore-eos", *a)
    options = ["--temp", "1.75", "--top-k", "5", "--top-p", "0.75", "--min-p", "0.125", "--repeat-penalty", "1.5"]
    usual = ["--temp", "0.8", "--top-k", "40", "--top-p", "0.95", "--min-p", "0", "--repeat-penalty", "1"]
    assert run(asks) == run(plain, *options) != run(plain)
    assert run(plain) == run(plain, *usual) == run(asks, *usual)
    assert run(package) == run(package, *options) != run(package, *usual)


# ------------------------------------------------------------------ ends
def test_ends():
    path = model("smollm2")
    chat = ["run", path, "-p", "Say OK.", "--temp", "0"]
    lines = smelt_lines(*chat, "-n", "100")
    done = lines[-1]["done"]
    whole = "".join(t["text"] for t in lines[:-1])
    assert done["finish_reason"] == "stop" and done["generated"] == len(lines) - 1 and lines[-2]["text"] == ""
    made = done["generated"]
    # One token less than it takes to stop is cut by length, as many is not.
    assert smelt_lines(*chat, "-n", made)[-1]["done"]["finish_reason"] == "stop"
    assert smelt_lines(*chat, "-n", made - 1)[-1]["done"]["finish_reason"] == "length"
    # A stop text that never comes does not change the end; what it held back is given out.
    again = smelt_lines(*chat, "-n", "100", "--stop", whole + "?", "--stop", "never")
    assert "".join(t["text"] for t in again[:-1]) == whole and again[-1]["done"]["finish_reason"] == "stop"
    # Without ends: as many tokens as asked for, none of them an end.
    end = lines[-2]["id"]
    on = smelt_lines(*chat, "-n", made + 10, "--ignore-eos")
    assert on[-1]["done"]["finish_reason"] == "length" and on[-1]["done"]["generated"] == made + 10
    assert end not in [t["id"] for t in on[:-1]]
    # The context is full.
    full = smelt_lines(*chat, "-n", "-1", "--ignore-eos", "-c", "48")
    assert full[-1]["done"]["finish_reason"] == "length"
    assert full[-1]["done"]["prompt_tokens"] + full[-1]["done"]["generated"] == 48
