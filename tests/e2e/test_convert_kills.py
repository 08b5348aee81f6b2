# SPDX-License-Identifier: MIT
"""Conversions that end anywhere, and in any number of threads: whole or not at all, the same bytes always; narrow codes
of a package take no more memory than their source's."""
import os
import shutil
import signal
import subprocess
import sys

import pytest
from pkg_tools import SMELT, TOOLS, convert, make_model, scratch, smelt, smelt_json, tree

KILL_AT = os.path.join(os.path.dirname(SMELT), "tests", "tools", "kill_at.so")
preloads = pytest.mark.skipif(not os.path.exists(KILL_AT) or b"libasan" in subprocess.run(["ldd", SMELT], capture_output=True).stdout,
                              reason="nothing can be loaded before the C library here")


@pytest.fixture(scope="module")
def tiny():
    return make_model(scratch("tiny", "kills.gguf"), "--type", "q4_1", "--layers", 1)


def killed_at(n, *args):
    """Exit code of a conversion that is killed at its nth change of the file system."""
    env = dict(os.environ, LD_PRELOAD=KILL_AT, KILL_AT=str(n))
    return subprocess.run([SMELT, "convert", *map(str, args), "-q"], env=env, capture_output=True, timeout=60).returncode


def points(limit=400):
    """Every one of the first changes, then every few."""
    n = 1
    while n < limit:
        yield n
        n += 1 if n < 40 else 3


@preloads
@pytest.mark.parametrize("there", ["nothing", "an older package"])
def test_killed_anywhere(tiny, tmp_path, there):
    """At every moment there is no package, the old one, or the new one, whole; and the next run clears up."""
    out, whole = tmp_path / "K.mlpackage", tmp_path.parent / "whole.mlpackage"
    old = {}
    convert(tiny, whole, "-c", 64, "-t", 2)
    new = tree(whole)
    shutil.rmtree(whole)
    if there != "nothing":
        convert(tiny, out, "-c", 32)
        old = tree(out)
    killed = finished = 0
    for n in points():
        rc = killed_at(n, tiny, out, "-c", 64, "-t", 2)
        assert rc in (0, -signal.SIGKILL), n
        found = tree(out) if out.exists() else {}
        assert found == new if rc == 0 else found in (old, new), n
        if rc == 0:
            finished += 1
            break
        killed += 1
        if found == new and old:  # swapped already: begin again with the old one
            shutil.rmtree(out)
            convert(tiny, out, "-c", 32)
        elif found == new:
            shutil.rmtree(out)
    print(f"killed at {killed} places")
    assert finished and killed > 30
    assert os.listdir(tmp_path) == [out.name]


@pytest.mark.parametrize("quant", ["auto", "int4", "lut4", "none"])
def test_threads(tmp_path, quant):
    """The bytes do not depend on how many threads made them; nor does what the report says of errors."""
    model = make_model(scratch("tiny", "threads.gguf"), "--type", "q5_k", "--size", "small", "--layers", 2)
    want = None
    for threads in (1, 2, 3, 7):
        out = tmp_path / f"{threads}.mlpackage"
        r = convert(model, out, "--quant", quant, "-t", threads)
        got = tree(out), [(t["name"], t["nmse"], t["max_error"]) if "nmse" in t else t for t in r["tensors"]]
        want = want or got
        assert got == want, threads


@pytest.mark.parametrize("kind", ["q5_0", "q5_1", "q5_k", "q6_k", "q8_0"])
def test_narrow_codes_stay_narrow(tmp_path, kind):
    """Core ML has no codes of 5 and 6 bits; in the memory of the cpu backend they are again what they were."""
    model = make_model(scratch("tiny", f"narrow-{kind}.gguf"), "--type", kind, "--size", "small", "--layers", 2)
    out = tmp_path / "N.mlpackage"
    convert(model, out, "-c", 256)
    a, b = (smelt_json("inspect", m, "-c", 256)["memory"]["weight_bytes"] for m in (model, out))
    print(f"{kind}: {a} bytes of weights, {b} from the package")
    assert b <= 1.02 * a
    runs = [reply(m) for m in (model, out)]
    assert runs[0] == runs[1]


def reply(model):
    return smelt("run", model, "--raw", "-p", "a b c", "-n", 12, "--temp", 0, "--ignore-eos", "-t", 1, "-q").stdout


def test_memory_does_not_grow_with_layers(tmp_path):
    """bench/convert.py's table, and its two columns of memory for 2 and for 16 layers (46 MB more of weights)."""
    models = [make_model(scratch("tiny", f"layers{n}.gguf"), "--type", "q8_0", "--size", "small", "--layers", n)
              for n in (2, 16)]
    out = subprocess.run([sys.executable, os.path.join(TOOLS, "..", "..", "bench", "convert.py"), "--sizes", "", "--quant",
                          "int4", "--work", tmp_path, *models], capture_output=True, text=True, timeout=300, check=True)
    print(out.stdout)
    rows = [line.split() for line in out.stdout.splitlines() if line.startswith("layers")]
    few, many = ([float(x) for x in row[2:]] for row in rows)
    assert many[0] - few[0] > 40 and os.listdir(tmp_path) == []
    wall, cpu, by_clock, by_core = many[1:5]
    assert by_clock == pytest.approx(many[0] / wall, rel=0.15) and by_core == pytest.approx(many[0] / cpu, rel=0.15)
    assert many[5] < few[5] + 12 and many[6] < few[6] + 5  # in whole MB
