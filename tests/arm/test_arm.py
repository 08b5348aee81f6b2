# SPDX-License-Identifier: MIT
"""The program built for 64-bit ARM, run by an emulator: it picks the kernels that a CPU has, and a real model says what
it says on the machine that runs the test.

$ARM_BUILD is the cross build and $ARM_RUN the emulator's command; $QEMU_CPU tells the emulator which CPU to be.
"""
import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from smelt_cli import SMELT, model  # noqa: E402

RUN = shlex.split(os.environ["ARM_RUN"])
ARM = os.environ["ARM_BUILD"]
PROMPT = "The capital of France is"
# ARMv8.0; with the dot product; with all there is
CPUS = [("cortex-a53", "neon"), ("cortex-a72", "neon"), ("neoverse-n1", "dotprod"), ("max", "i8mm")]


def arm(cpu, program, *args, kernels=""):
    env = {**os.environ, "QEMU_CPU": cpu, "SMELT_CPU": kernels}
    p = subprocess.run([*RUN, os.path.join(ARM, program), *map(str, args)], env=env, capture_output=True, timeout=600)
    assert p.returncode == 0, f"{program} on {cpu}: exit {p.returncode}\n{p.stdout.decode()}\n{p.stderr.decode()}"
    return p.stdout.decode()


def here(*args):
    p = subprocess.run([SMELT, *map(str, args)], capture_output=True, timeout=600)
    assert p.returncode == 0, p.stderr.decode()
    return p.stdout.decode()


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("cpu,kernels", CPUS)
def test_a_cpu_gets_the_kernels_it_has(cpu, kernels):
    # A set that the CPU lacks would die of an illegal instruction: here all names are asked for in turn, too.
    arm(cpu, "tests/unit/test_cpu_rows")
    assert f"# this machine has {kernels}\n" in arm(cpu, "tests/kcheck/kcheck", "--only", "quantize")


@pytest.fixture(scope="module")
def replies():
    args = ["run", model("smollm2"), "--backend", "cpu", "--raw", "-p", PROMPT, "--temp", 0, "-n", 10, "--json",
            "--logprobs", 5, "-t", 2]
    return lines(here(*args)), lines(arm("max", "smelt", *args))


def test_greedy_reply_is_the_same(replies):
    want, got = replies
    assert got[-1]["done"]["isa"] == "i8mm"
    assert [t["id"] for t in got[:-1]] == [t["id"] for t in want[:-1]] and len(got) == 11
    off = max(abs(a["logprob"] - b["logprob"]) for t, u in zip(want[:-1], got[:-1]) for a, b in zip(t["top"], u["top"]))
    print("log-probabilities of", want[-1]["done"]["isa"], "and i8mm differ by at most", off)
    assert off < 0.02


def logits(run, path, ids, *args, **kw):
    run(*args, "eval", model("smollm2"), "--backend", "cpu", "--ids", ",".join(map(str, ids)), "--logits", path, "-t", 2,
        "-q", **kw)
    return np.load(path)["logits"].astype(np.float64)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_logits_of_a_prompt(replies, tmp_path):
    """Against this machine: mean KL divergence.  Between the ARM sets, whose integer sums are exact and whose float
    operations are the same in the same order: equal bits."""
    ids = json.loads(here("tokenize", model("smollm2"), "-p", PROMPT, "--json"))["ids"]
    ids += [t["id"] for t in replies[0][:-1]]
    want = logits(here, tmp_path / "here.npz", ids)
    i8mm = logits(arm, tmp_path / "i8mm.npz", ids, "max", "smelt")
    neon = logits(arm, tmp_path / "neon.npz", ids, "cortex-a53", "smelt")
    assert want.shape == i8mm.shape and np.isfinite(i8mm).all()
    p, q = log_softmax(want), log_softmax(i8mm)
    kl = (np.exp(p) * (p - q)).sum(axis=-1)
    print("KL divergence of i8mm from this machine: mean", kl.mean(), "most", kl.max(), "over", len(kl), "tokens")
    assert kl.mean() < 1e-4 and kl.max() < 1e-3
    assert np.array_equal(neon, i8mm)
