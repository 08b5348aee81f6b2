#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes inspect.json: what `smelt inspect --json` says of small files that this tree makes (make_model.py, make_pkgs).

    make_inspect.py [SMELT]      writes tests/golden/inspect.json with the given program (default build/smelt)

What depends on the machine (memory plan) or on where the files lie (paths, offsets of a file's padding) is left out;
test_inspect.py checks those against other sources.
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.join(HERE, "..", "tools")
GOLDEN = os.path.join(HERE, "inspect.json")
MODELS = {
    "llama q4_0": ["--type", "q4_0"],
    "gemma3 q4_k, q8_0 table, windows": ["--family", "gemma3", "--type", "q4_k", "--embed-type", "q8_0", "--layers", "3",
                                         "--window", "16"],
    "qwen3 bf16, untied": ["--family", "qwen3", "--type", "bf16", "--untied"],
    "llama, linear rope": ["--type", "q5_1", "--linear-rope", "4"],
}
PACKAGES = ["encodings18", "encodings16", "multi18"]


def facts(smelt, path):
    j = json.loads(subprocess.run([smelt, "inspect", path, "--json", "--weights", "--ops", "--metadata", "--template",
                                   "-c", "64", "-q"], check=True, capture_output=True).stdout)
    memory = j.pop("memory")
    j["memory"] = {k: memory[k] for k in ("context", "kv_bytes", "read_bytes_per_token", "unknown") if k in memory}
    for f in j["files"]:
        f["path"] = os.path.basename(f["path"])
    for w in j["weights"]:
        w.pop("file", None)
    return j


def make(smelt):
    tools = os.path.join(os.path.dirname(os.path.abspath(smelt)), "tests", "tools")
    out = {}
    with tempfile.TemporaryDirectory() as d:
        for name, args in MODELS.items():
            path = os.path.join(d, "m.gguf")
            subprocess.run([sys.executable, os.path.join(TOOLS, "make_model.py"), path, *args], check=True)
            out[name] = facts(smelt, path)
        subprocess.run([os.path.join(tools, "make_pkgs"), d], check=True, stdout=subprocess.DEVNULL)
        for name in PACKAGES:
            out[name] = facts(smelt, os.path.join(d, name + ".mlpackage"))
    return out


def text(golden):
    return json.dumps(golden, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    made = make(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "build", "smelt"))
    with open(GOLDEN, "w") as f:
        f.write(text(made))
