#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/golden/choices.json: log-probabilities of multiple-choice answers, by llama.cpp.

    make_choices.py [LLAMA_PERPLEXITY]

The tasks are this project's own (tests/golden/choices/).  Prompts are spelled here, as lm-evaluation-harness does for
HellaSwag and MMLU, without smelt.  llama.cpp, as xllamacpp carries it, runs a copy of SmolLM2 with F32 weights and gives
the logits of every token.  With the path of llama-perplexity (make_perplexity.py says
how it is built) its --hellaswag score of the same tasks is recorded too, else the one on file is kept.
$SMELT_MODELS names the folder of the models (default build/models).
"""
import csv
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
OUT = os.path.join(HERE, "choices.json")


def clean(text):
    text = text.strip().replace(" [title]", ". ")
    return re.sub("\\[.*?\\]", "", text).replace("  ", " ")


def hellaswag():
    for line in open(os.path.join(HERE, "choices", "hellaswag.jsonl"), encoding="utf-8"):
        o = json.loads(line)
        context = clean(o["activity_label"] + ": " + o["ctx_a"] + " " + o["ctx_b"].capitalize())
        yield context, [" " + clean(e) for e in o["endings"]], int(o["label"])


def mmlu():
    head = "The following are multiple choice questions (with answers) about plain facts.\n\n"
    for row in csv.reader(open(os.path.join(HERE, "choices", "plain_facts_test.csv"), encoding="utf-8", newline="")):
        question, choices, answer = row[0], row[1:-1], row[-1]
        listed = "".join(f"\n{'ABCD'[i]}. {c}" for i, c in enumerate(choices))
        yield head + question + listed + "\nAnswer:", [" " + c for c in "ABCD"], "ABCD".index(answer)


def six_lines():
    """The HellaSwag tasks as llama.cpp reads them."""
    out = []
    for context, endings, gold in hellaswag():
        out += [context, str(gold), *(e[1:] for e in endings)]
    return "\n".join(out) + "\n"


class Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


class Oracle:
    """llama.cpp's C interface, as xllamacpp's module exports it: logits of every token of a text."""

    def __init__(self, path):
        from llama_vocab import Vocab, _lib, _Params

        self.lib, self.vocab = _lib, Vocab(path)
        _lib.llama_context_default_params.restype = _Params
        _lib.llama_init_from_model.argtypes = [ctypes.c_void_p, _Params]
        _lib.llama_init_from_model.restype = ctypes.c_void_p
        _lib.llama_batch_init.argtypes = [ctypes.c_int32] * 3
        _lib.llama_batch_init.restype = Batch
        _lib.llama_decode.argtypes = [ctypes.c_void_p, Batch]
        _lib.llama_get_memory.argtypes = [ctypes.c_void_p]
        _lib.llama_get_memory.restype = ctypes.c_void_p
        _lib.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        _lib.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        _lib.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
        self.model = _lib.llama_model_load_from_file(os.fsencode(path), _lib.llama_model_default_params())
        self.context = _lib.llama_init_from_model(self.model, _lib.llama_context_default_params())
        self.batch = _lib.llama_batch_init(512, 0, 1)
        assert self.model and self.context

    def logprobs(self, ids, first):
        """Log-probability of ids[first:], each under the ids before it."""
        b = self.batch
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        b.n_tokens = len(ids)
        for i, t in enumerate(ids):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = t, i, 1, 0, 1
        assert self.lib.llama_decode(self.context, b) == 0
        out = []
        for i in range(first, len(ids)):
            row = np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, i - 1), (self.vocab.count(),))
            row = row.astype(np.float64)
            out.append(round(float(row[ids[i]] - row.max() - np.log(np.exp(row - row.max()).sum())), 6))
        return out

    def score(self, context, text):
        """Ids of context + text and the log-probability of each that the context does not have."""
        head, ids = self.vocab.encode(context, bos=True), self.vocab.encode(context + text, bos=True)
        assert ids[:len(head)] == head and len(head) > 0
        return {"ids": ids, "logprobs": self.logprobs(ids, len(head))}


def perplexity_tool(program, model):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write(six_lines())
        f.flush()
        p = subprocess.run([program, "-m", model, "-f", f.name, "--hellaswag", "--hellaswag-tasks", "1000", "-c", "512",
                            "--threads", "2", "--no-warmup"], capture_output=True, text=True)
    rows = re.findall(r"^(\d+)\t([0-9.]+)%\t\[([0-9.]+)%, ([0-9.]+)%\]", p.stdout + p.stderr, re.M)
    assert p.returncode == 0 and rows, (p.stdout + p.stderr)[-2000:]
    n, score, low, high = rows[-1]
    return {"tasks": int(n), "score": float(score) / 100, "low": float(low) / 100, "high": float(high) / 100}


def main():
    models = os.environ.get("SMELT_MODELS", os.path.join(ROOT, "build", "models"))
    found = {"made_by": "tests/golden/make_choices.py", "model": "smollm2.gguf with its weights decoded to F32",
             "program": "xllamacpp; llama-perplexity --hellaswag of llama.cpp as in llama-cpp-python 0.3.36"}
    if os.path.exists(OUT):
        found["llama_perplexity"] = json.load(open(OUT))["llama_perplexity"]
    with tempfile.TemporaryDirectory() as d:
        copy = os.path.join(d, "f32.gguf")
        subprocess.run([sys.executable, os.path.join(ROOT, "tests", "tools", "f32_copy.py"),
                        os.path.join(models, "smollm2.gguf"), copy], check=True)
        if len(sys.argv) > 1:
            found["llama_perplexity"] = perplexity_tool(sys.argv[1], copy)
            print(found["llama_perplexity"], flush=True)
        oracle = Oracle(copy)
        for name, tasks in (("hellaswag", hellaswag()), ("mmlu", mmlu())):
            found[name] = []
            for context, texts, gold in tasks:
                found[name].append({"gold": gold, "choices": [oracle.score(context, t) for t in texts]})
    with open(OUT, "w", encoding="ascii") as f:
        json.dump(found, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
