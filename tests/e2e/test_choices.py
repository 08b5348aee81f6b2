# SPDX-License-Identifier: MIT
"""smelt eval --choices: prompts and scores against llama.cpp's (tests/golden/choices.json), formats, malformed files.

HellaSwag and MMLU prompts were spelled by make_choices.py in Python and scored by llama.cpp on F32 weights; smelt must
give the same tokens' sums and the same picks.  Other formats are scored again here from `eval --ids`.
"""
import csv
import json
import math
import os

import pytest

from smelt_cli import ROOT, model, smelt, smelt_json

GOLDEN = os.path.join(ROOT, "tests", "golden")
HELLASWAG = os.path.join(GOLDEN, "choices", "hellaswag.jsonl")
MMLU = os.path.join(GOLDEN, "choices", "plain_facts_test.csv")
SMOL = model("smollm2")


@pytest.fixture(scope="module")
def golden():
    return json.load(open(os.path.join(GOLDEN, "choices.json")))


def choices(path, *args):
    return smelt_json("eval", SMOL, "--choices", path, *args)


def argmax(values):
    return max(range(len(values)), key=lambda i: values[i])


def differ(task):
    """Number of the first token in which the choices of a golden task differ."""
    ids = [c["ids"] for c in task["choices"]]
    n = 0
    while all(n < len(i) - 1 and i[n] == ids[0][n] for i in ids):
        n += 1
    return n


def wilson(p, n, z=1.959963984540054):
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def hellaswag_endings():
    return [json.loads(line)["endings"] for line in open(HELLASWAG)]


def test_hellaswag_against_llama(golden):
    got = choices(HELLASWAG)
    worst, right = 0.0, [0, 0, 0]
    assert got["format"] == "hellaswag" and got["tasks"] == len(golden["hellaswag"]) == 24
    for task, item, endings in zip(golden["hellaswag"], got["items"], hellaswag_endings()):
        sums = [sum(c["logprobs"]) for c in task["choices"]]
        first = differ(task)
        tails = [sum(c["logprobs"][max(first - len(c["ids"]), -len(c["logprobs"])):]) / min(len(c["ids"]) - first, len(c["logprobs"]))
                 for c in task["choices"]]
        norms = [s / len(e.encode()) for s, e in zip(sums, endings)]
        picks = [argmax(sums), argmax(norms), argmax(tails)]
        assert [item["pick"], item["pick_norm"], item["pick_token"]] == picks
        assert item["gold"] == task["gold"]
        for c, s, norm, tail, want in zip(item["choices"], sums, norms, tails, task["choices"]):
            assert c["tokens"] == len(want["logprobs"])
            worst = max(worst, abs(c["logprob"] - s))
            assert abs(c["per_byte"] - norm) < 0.01 and abs(c["per_token"] - tail) < 0.05
        right = [r + (p == task["gold"]) for r, p in zip(right, picks)]
    print("largest difference of a choice's log-probability:", worst, "right:", right)
    assert worst < 0.2
    for name, r in zip(["acc", "acc_norm", "acc_token"], right):
        p = r / 24
        assert got[name] == pytest.approx(p, abs=1e-6)
        assert got[name + "_error"] == pytest.approx(math.sqrt(p * (1 - p) / 24), abs=1e-6)
        assert got[name + "_interval"] == pytest.approx(wilson(p, 24), abs=1e-6)
    tool = golden["llama_perplexity"]
    assert got["acc_token"] == pytest.approx(tool["score"], abs=1e-6)
    assert got["acc_token_interval"] == pytest.approx([tool["low"], tool["high"]], abs=1e-5)


def test_mmlu_against_llama(golden):
    got = choices(MMLU)
    assert got["format"] == "mmlu" and got["tasks"] == 20
    worst = 0.0
    for task, item in zip(golden["mmlu"], got["items"]):
        want = [c["logprobs"][0] for c in task["choices"]]
        assert all(len(c["logprobs"]) == 1 for c in task["choices"])
        worst = max([worst] + [abs(c["logprob"] - w) for c, w in zip(item["choices"], want)])
        assert item["pick"] == argmax(want) and item["gold"] == task["gold"]
    print("largest difference of a letter's log-probability:", worst)
    assert worst < 0.05


def test_six_lines_are_the_same_tasks(golden, tmp_path):
    """llama.cpp's text form of the same tasks gives the same scores, to the last bit."""
    lines = []
    for line in open(HELLASWAG):
        o = json.loads(line)
        a = (o["activity_label"] + ": " + o["ctx_a"] + " " + o["ctx_b"].capitalize()).replace(" [title]", ". ")
        lines += [a.replace("[step]", "").replace("  ", " "), str(o["label"]), *o["endings"]]
    (tmp_path / "hs.txt").write_text("\n".join(lines) + "\n")
    got, want = choices(tmp_path / "hs.txt", "--tasks", 9), choices(HELLASWAG, "--tasks", 9)
    assert got["format"] == "hellaswag-text" and got["tasks"] == 9
    for x, y in zip(got["items"], want["items"]):
        assert x["choices"] == y["choices"] and x["gold"] == y["gold"]


def logprob(ids, start):
    tokens = smelt_json("eval", SMOL, "--ids", ",".join(map(str, ids)))["tokens"]
    return sum(t["logprob"] for t in tokens[start - 1:len(ids) - 1])


def ids_of(text):
    return smelt_json("tokenize", SMOL, "-p", text, "--no-special")["ids"]


GENERIC = [
    # line of the file, context of each choice, scored text of each choice, right one
    ({"question": "What do cows eat?", "choices": {"text": ["Grass", "Iron nails", "Glass"], "label": ["1", "2", "3"]},
      "answerKey": "1"}, ["Question: What do cows eat?\nAnswer:"] * 3, [" Grass", " Iron nails", " Glass"], 0),
    ({"question": {"stem": "Which one can fly?", "choices": [{"text": "a stone", "label": "A"}, {"text": "a bird", "label": "B"}]},
      "answerKey": "B"}, ["Question: Which one can fly?\nAnswer:"] * 2, [" a stone", " a bird"], 1),
    ({"query": "The sun rises in the", "choices": ["east", "north", "cellar"], "gold": 0},
     ["The sun rises in the"] * 3, [" east", " north", " cellar"], 0),
    ({"context": "Two and two are", "options": ["five", "four"], "answer": "four"}, ["Two and two are"] * 2,
     [" five", " four"], 1),
    ({"question": "Is ice cold?", "choices": ["no", "yes"], "answer": "B"}, ["Question: Is ice cold?\nAnswer:"] * 2, [" no", " yes"], 1),
    ({"sentence": "The box did not fit into the bag because the _ was too small.", "option1": "box", "option2": "bag",
      "answer": "2"}, ["The box did not fit into the bag because the " + o for o in ("box", "bag")], [" was too small."] * 2, 1),
]


def test_generic_json(tmp_path):
    path = tmp_path / "generic.jsonl"
    path.write_text("\n".join(json.dumps(g[0]) for g in GENERIC) + "\n\n")
    got = choices(path)
    assert got["format"] == "json" and got["tasks"] == len(GENERIC)
    for item, (_, contexts, texts, gold) in zip(got["items"], GENERIC):
        assert item["gold"] == gold
        for c, context, text in zip(item["choices"], contexts, texts):
            head, ids = ids_of(context), ids_of(context + text)
            assert ids[:len(head)] == head
            assert c["tokens"] == len(ids) - len(head) and c["bytes"] == len(text.encode()) - 1
            assert c["logprob"] == pytest.approx(logprob(ids, len(head)), abs=2e-4)


def test_letters_and_examples(tmp_path):
    """--style letters on JSON lines; solved examples before each task."""
    path, shots = tmp_path / "q_test.csv", tmp_path / "dev.csv"
    rows = list(csv.reader(open(MMLU, newline="")))
    csv.writer(open(shots, "w", newline="")).writerows(rows[:3])
    csv.writer(open(path, "w", newline="")).writerows(rows[14:15])
    got = choices(path, "--shots-file", shots, "--shots", 2)["items"][0]
    def listed(r):
        return r[0] + "".join(f"\n{'ABCD'[i]}. {c}" for i, c in enumerate(r[1:5])) + "\nAnswer:"
    head = "The following are multiple choice questions (with answers) about q.\n\n"
    head += "".join(f"{listed(r)} {r[5]}\n\n" for r in rows[:2]) + listed(rows[14])
    assert 'The book "Hamlet"' in head
    want = ids_of(head)
    for c, letter in zip(got["choices"], "ABCD"):
        assert c["logprob"] == pytest.approx(logprob(ids_of(head + " " + letter), len(want)), abs=2e-4)
    smelt("eval", SMOL, "--choices", path, "--shots-file", shots, "--shots", 4, rc=3)
    text = tmp_path / "t.jsonl"
    text.write_text(json.dumps({"question": rows[0][0], "choices": rows[0][1:5], "answer": 0}) + "\n")
    a, b = choices(text, "--style", "letters")["items"][0], smelt_json("eval", SMOL, "--choices", "-", "--style", "letters",
                                                                       stdin=text.read_bytes())["items"][0]
    ids = ids_of(listed(rows[0]) + " A")
    assert a == b and a["choices"][0]["logprob"] == pytest.approx(logprob(ids, len(ids) - 1), abs=2e-4)


def test_prefix_is_computed_once():
    """Tokens computed are the common beginnings and what differs, not choices times contexts."""
    got = choices(MMLU)
    letters = sum(len(c["ids"]) for t in json.load(open(os.path.join(GOLDEN, "choices.json")))["mmlu"] for c in t["choices"][:1])
    assert got["tokens_computed"] == letters - 20


def test_text_output():
    out = smelt("eval", SMOL, "--choices", MMLU, "--tasks", 4)[0].decode().splitlines()
    assert out[0] == "4 tasks (mmlu)" and [line.split()[0] for line in out[1:]] == ["acc", "acc_norm", "acc_token"]


BAD = {
    "not json": ('{"question": "a", "choices": ["b", "c"], "answer": 0}\n{"question": }\n', ["line 2", "wanted JSON"]),
    "not an object": ('{"question": "a", "choices": ["b", "c"], "answer": 0}\n[1]\n', ["line 2", "wanted an object", "found an array"]),
    "no question": ('{"choices": ["b", "c"], "answer": 0}', ["line 1", "'question'", "wanted a string", "found nothing"]),
    "no choices": ('{"question": "a", "answer": 0}', ["line 1", "'choices'", "found 0"]),
    "choice not text": ('{"question": "a", "choices": ["b", 3], "answer": 0}', ["'choices'", "wanted a string", "an integer"]),
    "empty choice": ('{"question": "a", "choices": ["b", ""], "answer": 0}', ["line 1", "choice 2", "found none"]),
    "answer out of range": ('{"question": "a", "choices": ["b", "c"], "answer": 2}', ["'answer'", "0..1", "found 2"]),
    "answer unknown": ('{"question": "a", "choices": ["b", "c"], "answer": "zebra"}', ["'answer'", "zebra"]),
    "answer missing": ('{"question": "a", "choices": ["b", "c"]}', ["'answer'", "found nothing"]),
    "hellaswag label": ('{"ctx": "a", "endings": ["b", "c"], "label": ""}', ["line 1", "'label'"]),
    "no gap": ('{"sentence": "a", "option1": "b", "option2": "c", "answer": "1"}', ["'sentence'", "gap", "found none"]),
    "columns": ("q,a,b,c,d,A\nq,a,b,c,A\n", ["line 2", "wanted 6 columns", "found 5"]),
    "letter": ("q,a,b,c,d,E\n", ["line 1", "field 6", "A..D", '"E"']),
    "quote": ('q,a,b,c,d,A\nq,"a,b,c,d,A\n', ["line 2", "field 2", "closing quote"]),
    "six lines": ("context\n1\na\nb\nc\n", ["line 6", "six lines"]),
    "six lines label": ("context\n1\na\nb\nc\nd\ncontext\nx\na\nb\nc\nd\n", ["line 8", "0..3", '"x"']),
    "empty": ("", ["no tasks"]),
    "utf-8": (b"q,a,\xff,c,d,A\n", ["offset 4", "UTF-8", "0xFF"]),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name, tmp_path):
    text, words = BAD[name]
    path = tmp_path / "bad.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    err = smelt("eval", SMOL, "--choices", path, rc=3)[1]
    err = err.splitlines()[0]
    assert "bad.txt" in err
    for w in words:
        assert w.replace('"', "") in err.replace('"', "").replace("'x'", "x"), err


def test_wrong_usage(tmp_path):
    smelt("eval", SMOL, "--choices", MMLU, "--ids", "1", rc=2)
    smelt("eval", SMOL, "--text", MMLU, "--style", "text", rc=2)
    smelt("eval", SMOL, "--choices", MMLU, "--shots", 2, rc=2)
    smelt("eval", SMOL, "--choices", MMLU, "--style", "song", rc=2)
    smelt("eval", SMOL, "--choices", tmp_path / "none", rc=3)
    err = smelt("eval", SMOL, "--choices", MMLU, "-c", 20, rc=5)[1]
    assert "line" in err and "20" in err
