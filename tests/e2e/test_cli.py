# SPDX-License-Identifier: MIT
"""The commands on made and real models: forms of input and output, agreement between commands."""
import math
import os
import re

import pytest

from smelt_cli import make_model, model, smelt, smelt_json, smelt_lines


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "--family", "llama", "--type", "q4_0")


def run_lines(path, *args, **kw):
    lines = smelt_lines("run", path, *args, **kw)
    return lines[:-1], lines[-1]["done"]


def test_run_json(tiny):
    tokens, done = run_lines(tiny, "-p", "a b", "-n", "6", "--temp", "0", "--logprobs", "3", "--ignore-eos")
    assert len(tokens) == 6 and done["generated"] == 6 and done["finish_reason"] == "length"
    assert {"prompt_tokens", "generated", "finish_reason", "ttft_ms", "prompt_tps", "gen_tps", "peak_rss_bytes"} <= set(done)
    for t in tokens:
        assert len(t["top"]) == 3 and t["top"][0]["id"] == t["id"] and t["top"][0]["logprob"] == t["logprob"] <= 0
    text = "".join(t["text"] for t in tokens)
    assert smelt("run", tiny, "-p", "a b", "-n", "6", "--temp", "0", "--ignore-eos")[0].decode() == text + "\n"


def test_prompt_by_any_way(tiny, tmp_path):
    (tmp_path / "p.txt").write_text("a b c\n")
    args = ["-n", "5", "--temp", "0", "--ignore-eos"]
    want = smelt("run", tiny, "-p", "a b c", *args)[0]
    assert smelt("run", tiny, "-f", tmp_path / "p.txt", *args)[0] == want
    assert smelt("run", tiny, "-f", "-", *args, stdin=b"a b c\n")[0] == want
    assert smelt("run", tiny, *args, stdin=b"a b c")[0] == want
    assert smelt("run", "--temp=0", "-n5", "-p", "a b c", "--ignore-eos", "--", tiny)[0] == want


def test_run_agrees_with_eval(tiny):
    ids = smelt_json("tokenize", tiny, "-p", "t a o")["ids"]
    tokens, _ = run_lines(tiny, "-p", "t a o", "-n", "8", "--temp", "0", "--logprobs", "4", "--ignore-eos", "--backend", "ref")
    made = [t["id"] for t in tokens]
    e = smelt_json("eval", tiny, "--ids", ",".join(map(str, ids + made)), "--top", "4", "--backend", "ref")
    assert len(e["tokens"]) == len(ids) + 8 and "id" not in e["tokens"][-1] and len(e["tokens"][-1]["top"]) == 4
    for t, row in zip(tokens, e["tokens"][len(ids) - 1:]):
        assert (row["id"], row["logprob"], row["top"]) == (t["id"], t["logprob"], t["top"])
    nll = -sum(t["logprob"] for t in e["tokens"][:-1]) / (len(ids) + 7)
    assert math.isclose(e["ppl"], math.exp(nll), rel_tol=1e-5)


def test_seeds(tiny):
    run = lambda *a: smelt("run", tiny, "-p", "a", "-n", "20", "--temp", "1.5", "--ignore-eos", *a)[0]
    assert run("--seed", "7") == run("--seed", "7") == run("--seed", "7", "-t", "1")
    assert run("--seed", "7") != run("--seed", "8")
    assert run("--seed", "0") == run("--seed", "0")
    _, done = run_lines(tiny, "-p", "a", "-n", "20", "--temp", "1.5", "--ignore-eos")
    assert run("--seed", done["seed"]) == run("--seed", done["seed"])


def test_stop_texts():
    path = model("smollm2")
    args = ["run", path, "--raw", "-p", "The capital of France is", "--temp", "0", "-n", "24", "--ignore-eos", "--backend", "ref"]
    whole = smelt(*args)[0].decode()[:-1]
    words = re.findall(r"[A-Za-z]{3,}", whole)
    word = words[len(words) // 2]
    tokens, done = run_lines(*args[1:], "--stop", word, "--stop", "never to be seen")
    assert done["finish_reason"] == "stop" and done["generated"] < 24
    assert "".join(t["text"] for t in tokens) == whole[:whole.index(word)]
    # What may begin a stop text is held back, and given out when it does not.
    tokens, done = run_lines(*args[1:], "--stop", word + " and something else")
    assert "".join(t["text"] for t in tokens) == whole and done["finish_reason"] == "length"


def test_chat_turn():
    path = model("smollm2")
    tokens, done = run_lines(path, "-p", "What is 2+2?", "--temp", "0", "-n", "60")
    assert done["prompt_tokens"] > 20  # the template wraps the turn
    with_system, done2 = run_lines(path, "-p", "What is 2+2?", "--system", "Answer in French, at length, and be polite about it.",
                                   "--temp", "0", "-n", "4")
    assert done2["prompt_tokens"] != done["prompt_tokens"]
    raw, done3 = run_lines(path, "-p", "What is 2+2?", "--raw", "--temp", "0", "-n", "4")
    assert done3["prompt_tokens"] < 12
    if done["finish_reason"] == "stop":
        assert tokens[-1]["text"] == "" or not tokens[-1]["text"].endswith("<|im_end|>")


def test_tokenize_detokenize(tiny):
    text = "the rain in Spain é 日本 \n\t x"
    for path in (tiny, model("smollm2"), model("gemma3")):
        ids = smelt_json("tokenize", path, "-p", text, "--no-bos")["ids"]
        assert smelt("detokenize", path, *ids)[0].decode() == text
        assert smelt_json("detokenize", path, *ids)["text"] == text
        assert smelt("tokenize", path, "-p", text, "--no-bos")[0].decode().split() == [str(i) for i in ids]
    assert smelt_json("tokenize", tiny, "-p", "a")["ids"][0] == 1
    special = smelt_json("tokenize", model("smollm2"), "-p", "<|im_start|>")["ids"]
    plain = smelt_json("tokenize", model("smollm2"), "-p", "<|im_start|>", "--no-special")["ids"]
    assert special == [1] and len(plain) > 1


def test_perplexity(tiny, tmp_path):
    """A text's windows are eval --ids' windows: BOS first, second half scored."""
    text = " ".join("etaoinshrdlucmfwypvbgk"[i * 7 % 22] for i in range(150))
    (tmp_path / "t.txt").write_text(text)
    ids = smelt_json("tokenize", tiny, "-f", tmp_path / "t.txt")["ids"]
    r = smelt_json("eval", tiny, "--text", tmp_path / "t.txt", "-c", "32", "--backend", "ref")
    nll = []
    for w in range(len(ids) // 32):
        window = [1] + ids[32 * w + 1:32 * w + 32]
        e = smelt_json("eval", tiny, "--ids", ",".join(map(str, window)), "--backend", "ref")
        nll += [-t["logprob"] for t in e["tokens"][16:31]]
    mean = sum(nll) / len(nll)
    assert r["windows"] == len(ids) // 32 and r["scored"] == len(nll)
    assert math.isclose(r["ppl"], math.exp(mean), rel_tol=1e-5)
    error = math.sqrt((sum(x * x for x in nll) / len(nll) - mean * mean) / (len(nll) - 1)) * r["ppl"]
    assert math.isclose(r["ppl_error"], error, rel_tol=1e-3)
    assert "perplexity" in smelt("eval", tiny, "--text", tmp_path / "t.txt", "-c", "32")[0].decode()
    smelt("eval", tiny, "--text", tmp_path / "t.txt", "-c", "32", "--max-ppl", "1.5", rc=1)
    top = smelt_json("eval", tiny, "--text", tmp_path / "t.txt", "-c", "32", "--top", "2", "--backend", "ref")
    assert len(top["tokens"]) == len(nll) and all(len(t["top"]) == 2 for t in top["tokens"])


def test_long_prompt_in_chunks(tiny):
    """More tokens than one step takes give what one step would."""
    ids = [1] + [260 + 11 * i % 250 for i in range(700)]
    e = smelt_json("eval", tiny, "--ids", ",".join(map(str, ids)), "--top", "1", "--backend", "ref")
    short = smelt_json("eval", tiny, "--ids", ",".join(map(str, ids[:20])), "--top", "1", "--backend", "ref")
    assert e["tokens"][:19] == short["tokens"][:19]
    page = smelt_json("eval", tiny, "--ids", ",".join(map(str, ids)), "--top", "1", "--backend", "ref", env={"SMELT_KV_PAGE": "8"})
    assert page["tokens"] == e["tokens"]


@pytest.mark.parametrize("design", [["-c", "64"], ["-c", "64", "--kv", "io", "--seq", "4"], ["-c", "64", "--quant", "none"]])
@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3"])
def test_package_runs_like_its_source(tmp_path, family, design):
    source = make_model(tmp_path / "m.gguf", "--family", family, "--type", "q8_0", "--layers", "3", "--window", "8")
    package = tmp_path / "m.mlpackage"
    out, _ = smelt("convert", source, package, *design)
    assert b"tensors" in out
    ids = ",".join(map(str, [1] + [260 + 13 * i % 250 for i in range(30)]))
    want = smelt_json("eval", source, "--ids", ids, "--backend", "ref")
    got = smelt_json("eval", package, "--ids", ids, "--backend", "ref")
    differences = [abs(a["logprob"] - b["logprob"]) for a, b in zip(want["tokens"][:-1], got["tokens"][:-1])]
    assert max(differences) < 0.02  # fp16 weights
    assert smelt_json("tokenize", package, "-p", "the rain") == smelt_json("tokenize", source, "-p", "the rain")
    info = smelt_json("inspect", package)
    assert info["context"] == 64 and info["layers"] == 3
    assert info["metadata"]["smelt.source.file"] == "m.gguf"
    smelt("run", package, "-p", "t " * 80, rc=5)


def test_convert_twice_gives_the_same(tiny, tmp_path):
    def files(folder):
        return {os.path.relpath(os.path.join(d, f), folder): open(os.path.join(d, f), "rb").read()
                for d, _, names in os.walk(folder) for f in names}

    a = smelt_json("convert", tiny, tmp_path / "a.mlpackage", "-c", "32")
    smelt("convert", tiny, tmp_path / "b.mlpackage", "-c", "32")
    smelt("convert", tiny, tmp_path / "b.mlpackage", "-c", "32")  # replaces its own
    assert files(tmp_path / "a.mlpackage") == files(tmp_path / "b.mlpackage")
    assert sorted(os.listdir(tmp_path)) == ["a.mlpackage", "b.mlpackage"]
    assert a["transcoded"] > 0 and a["kept"] == a["requantized"] == 0  # Q4_0 holds exactly
    dry = smelt_json("convert", tiny, tmp_path / "c.mlpackage", "-c", "32", "--dry-run")
    assert not os.path.exists(tmp_path / "c.mlpackage")
    exact = lambda r: {t["name"]: t for t in r["tensors"] if t["how"] == "transcoded"}
    assert exact(dry) == exact(a)


def test_inspect(tiny):
    j = smelt_json("inspect", tiny, "--weights", "--graph")
    assert j["architecture"] == j["family"] == "llama" and j["layers"] == 2 and j["vocab"] == 512
    assert len(j["weights"]) == 2 + 9 * 2 and j["encodings"]["q4_0"]["tensors"] == 15
    assert "smelt.attention" in j["graph"]
    out, _ = smelt("inspect", tiny)
    assert b"q4_0" in out and b"llama.block_count" in out
    assert b"smelt.gated_mlp" in smelt("inspect", tiny, "--graph")[0]


def test_help_and_knobs():
    out, _ = smelt("help")
    commands = re.findall(r"^  smelt (\w+)", out.decode(), re.M)
    assert {"run", "tokenize", "detokenize", "predict", "convert", "inspect", "eval", "knobs"} <= set(commands)
    for c in commands:
        text = smelt("help", c)[0]
        assert smelt(c, "--help")[0] == text and text.startswith(f"smelt {c}".encode())
    assert re.fullmatch(rb"smelt \d+\.\d+\.\d+\n", smelt("--version")[0])
    assert any(k["name"] == "SMELT_DEBUG" for k in smelt_json("knobs"))


def test_quiet_and_verbose(tiny):
    args = ["run", tiny, "-p", "a", "-n", "2", "--temp", "0"]
    assert smelt(*args, "-q")[1] == ""
    assert "tokens" in smelt(*args)[1]
    assert "seed" in smelt(*args, "-v")[1]
