# SPDX-License-Identifier: MIT
"""What packages say: their greedy text through the engine is the source's, and their numbers as written are those of the
engine and of an independent interpreter (tests/tools/milnp.py)."""
import sys

import numpy as np
import pytest
from pkg_tools import (MASKED, REAL, TOOLS, convert, converted, coremltools, eval_logits, greedy, kl, load_program,
                       make_model, predict, relative, same_until_close, scratch, smelt, smelt_json, source, state_call)

PROMPTS = [
    "Once upon a time, in a small village by the sea,",
    "The three primary colors are",
    "def fibonacci(n):\n    if n < 2:\n",
    "Water boils at 100 degrees Celsius, which is",
]


# ------------------------------------------------------------------ real models
# Two candidates whose log-probabilities are nearer than this may change places: a package's norms, scales and offsets are
# rounded to fp16.
CLOSE = 0.05


@pytest.mark.parametrize("name", REAL)
def test_text_is_the_sources(name):
    pkg, _ = converted(name)
    compared = []
    for prompt in PROMPTS:
        want, _ = greedy(source(name), prompt, 32, "--raw")
        got, done = greedy(pkg, prompt, 32, "--raw")
        assert len(want) == len(got) == done["generated"] == 32
        n, off = same_until_close(want, got, CLOSE)
        compared.append(n)
        assert off < 0.05
    assert sum(compared) >= 40, compared


def test_text_on_the_reference_backend():
    pkg, _ = converted("smollm2")
    args = (PROMPTS[1], 8, "--raw", "--backend", "ref")
    want, _ = greedy(source("smollm2"), *args)
    got, done = greedy(pkg, *args)
    n, off = same_until_close(want, got, CLOSE)
    assert done["backend"] == "ref" and n >= 4 and off < 0.02


@pytest.mark.parametrize("name", REAL)
def test_distributions_are_the_sources(name):
    """The same text through both: the default backend within its rounding, the reference backend within fp16's."""
    pkg, _ = converted(name)
    text = "Once upon a time, in a small village by the sea, there lived a family of four. They were very happy, and"
    ids = smelt_json("tokenize", source(name), "-p", text)["ids"]
    away = kl(eval_logits(source(name), ids), eval_logits(pkg, ids))
    print("KL(source || package), cpu: mean", away.mean(), "max", away.max())
    assert away.mean() < 1e-3 and away.max() < 5e-3
    ids = ids[:8]
    away = kl(eval_logits(source(name), ids, "--backend", "ref"), eval_logits(pkg, ids, "--backend", "ref"))
    print("KL(source || package), ref: mean", away.mean(), "max", away.max())
    assert away.max() < 1e-3


def test_chat_template_travels():
    pkg, _ = converted("smollm2")
    want, a = greedy(source("smollm2"), "Name the planets.", 16)
    got, b = greedy(pkg, "Name the planets.", 16)
    assert a["prompt_tokens"] == b["prompt_tokens"] > 20 and same_until_close(want, got, CLOSE)[0] >= 2


def test_as_written():
    """Six tokens in one call are six calls of one token, and what the engine computes from the source."""
    pkg, _ = converted("smollm2")
    ids = smelt_json("tokenize", source("smollm2"), "-p", "The capital of France is Paris")["ids"][:6]
    assert len(ids) == 6
    whole = predict(pkg, [state_call(ids, 0)])[0]["logits"]
    single = np.concatenate([r["logits"] for r in predict(pkg, [state_call([i], n) for n, i in enumerate(ids)])], 1)
    assert relative(whole, single) <= 1e-3
    away = kl(eval_logits(source("smollm2"), ids), whole[0])
    print("KL(source || package) per token:", away)
    assert away.max() < 0.02
    want = eval_logits(source("smollm2"), ids, "--backend", "ref")
    assert kl(want, whole[0]).max() < 1e-3


# ------------------------------------------------------------------ small random models against milnp
CTX, SEQ = 40, 4
FAMILIES = {
    "llama": ["--family", "llama", "--type", "q4_1", "--untied"],
    "qwen3": ["--family", "qwen3", "--type", "q8_0"],
    "llama-windowed": ["--family", "llama", "--type", "q4_k", "--embed-type", "q6_k", "--biases", "--window", "5"],
    "gemma3": ["--family", "gemma3", "--type", "q5_0", "--embed-type", "q8_0", "--window", "6", "--layers", "7"],
}
IDS = [1, 301, 77, 499, 258, 12, 340, 404, 285, 290, 433, 500]


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request):
    """(source, stateful package, package with caches as inputs and outputs)"""
    gguf = make_model(scratch("tiny-text", request.param + ".gguf"), *FAMILIES[request.param], "--ctx", 256)
    out = [scratch("tiny-text", request.param + suffix) for suffix in ("-state.mlpackage", "-io.mlpackage")]
    convert(gguf, out[0], "-c", CTX)
    convert(gguf, out[1], "-c", CTX, "--kv", "io", "--seq", SEQ)
    return gguf, *out


def interpreter(pkg):
    coremltools()  # before milnp, which otherwise loads the message classes alone
    if TOOLS not in sys.path:
        sys.path.insert(0, TOOLS)
    import milnp
    return milnp.Package(pkg)


def test_stateful_package_is_milnps(tiny):
    calls = [state_call(IDS[:7], 0), state_call(IDS[7:8], 7), state_call(IDS[8:11], 8), state_call(IDS[11:12], 11)]
    p = interpreter(tiny[1])
    state = p.make_state()
    got = np.concatenate([r["logits"] for r in predict(tiny[1], calls)], 1)[0]
    want = np.concatenate([p.run(c, state)["logits"] for c in calls], 1)[0]
    assert relative(want, got) <= 1e-3
    assert kl(eval_logits(tiny[0], IDS), got).max() < 0.01
    assert relative(eval_logits(tiny[1], IDS, "--backend", "ref"), got) <= 1e-2


def io_call(p, ids, past, caches):
    """Inputs of a package with caches as inputs: columns past `past` hold nothing yet, the new ones come last."""
    n = len(ids)
    columns = np.arange(CTX + n)[None]
    seen = (columns < past) | ((columns >= CTX) & (columns - CTX <= np.arange(n)[:, None]))
    return {"inputIds": np.array([ids], np.int32), "positionIds": np.arange(past, past + n, dtype=np.int32)[None],
            "causalMask": np.where(seen, 0.0, MASKED)[None, None].astype(np.float16), **caches}


def test_package_with_caches_as_inputs_is_milnps(tiny):
    p = interpreter(tiny[2])
    shapes = {i.name: tuple(i.type.multiArrayType.shape) for i in p.spec.description.input}
    assert not p.spec.description.state and shapes["inputIds"] == (1, SEQ) and shapes["causalMask"] == (1, 1, SEQ, CTX + SEQ)
    caches = {k: np.zeros(shapes[k], np.float16) for k in ("keyCache", "valueCache")}
    rows = []
    for past in range(0, len(IDS), SEQ):
        call = io_call(p, IDS[past:past + SEQ], past, caches)
        want, got = p.run(call), predict(tiny[2], [call])[0]
        assert set(want) == set(got) == {"logits", "newKeys", "newValues"}
        for k in want:
            assert relative(want[k], got[k]) <= 1e-3, (past, k)
        rows.append(got["logits"][0])
        for cache, new in (("keyCache", "newKeys"), ("valueCache", "newValues")):
            caches[cache][:, :, :, past:past + SEQ] = got[new].astype(np.float16)
    assert kl(eval_logits(tiny[0], IDS), np.concatenate(rows)).max() < 0.01


def test_small_packages_say_what_their_source_says(tiny):
    """Both designs come back to the row form and run like the source; a prompt longer than a call of the second."""
    for prompt in ("the rain in the", "he and"):
        want, _ = greedy(tiny[0], prompt, 10, "--raw")
        for pkg in tiny[1:]:
            got, _ = greedy(pkg, prompt, 10, "--raw")
            assert same_until_close(want, got, CLOSE)[1] < 0.05
    for pkg in tiny[1:]:
        j = smelt_json("inspect", pkg)
        assert "not_runnable" not in j and j["context"] == CTX
        assert kl(eval_logits(tiny[0], IDS), eval_logits(pkg, IDS)).max() < 0.01


def test_small_packages_load_in_coremltools(tiny):
    ct = coremltools()
    for pkg in tiny[1:]:
        program = load_program(pkg)
        assert list(program.functions) == ["main"]
        ct.models.MLModel(pkg, skip_model_load=True)


def test_context_is_never_overrun(tiny):
    """A package's caches hold CTX positions: a text that would need more stops there, a prompt that does is refused."""
    for pkg in tiny[1:]:
        _, done = greedy(pkg, "the", 100, "--raw")
        assert done["prompt_tokens"] + done["generated"] <= CTX + 1 and done["finish_reason"] == "length"
        r = smelt("run", pkg, "--raw", "-n", 1, "-p", "the rain in the " * 30, rc=5)
        assert str(CTX) in r.stderr
        r = smelt("run", pkg, "--raw", "-n", 1, "-p", "the", "-c", CTX + 1, rc=5)
        assert str(CTX) in r.stderr
