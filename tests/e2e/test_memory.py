# SPDX-License-Identifier: MIT
"""Memory: conversion does not grow with the model, running needs the file and little more."""
import os
import re

import numpy as np
import pytest
from pkg_tools import convert, converted, greedy, make_model, reader, scratch, smelt, source, state_call

MB = 1_000_000


def test_convert_real():
    _, report = converted("gemma3")
    assert 0 < report["peak_anon_bytes"] < 200 * MB


def test_convert_does_not_grow_with_the_model():
    """A random model of a billion parameters, Q4_0."""
    gguf, pkg = scratch("large", "1b.gguf"), scratch("large", "1B.mlpackage")
    try:
        make_model(gguf, "--size", "1b", "--vocab", 32000, "--type", "q4_0")
        assert os.path.getsize(gguf) > 550 * MB
        report = convert(gguf, pkg, "-c", 2048)
        assert report["transcoded"] == 16 * 7 + 1
        print("peak anonymous memory:", report["peak_anon_bytes"] // MB, "MB; peak:", report["peak_rss_bytes"] // MB, "MB")
        assert 0 < report["peak_anon_bytes"] < 200 * MB
    finally:
        reader.cache_clear()
        for folder, dirs, files in os.walk(os.path.dirname(gguf), topdown=False):
            for f in files:
                os.remove(os.path.join(folder, f))
            for d in dirs:
                os.rmdir(os.path.join(folder, d))


@pytest.mark.parametrize("what", ["source", "package"])
def test_run(what):
    """-c 2048, a prompt of 64 tokens, 16 more: the peak is the file and 150 MB."""
    model = source("gemma3")
    size, args = os.path.getsize(model), ["-c", 2048]
    if what == "package":
        model, args = converted("gemma3")[0], []
        size = sum(os.path.getsize(os.path.join(b, f)) for b, _, fs in os.walk(model) for f in fs)
    prompt = " ".join(["The quick brown fox jumps over the lazy dog."] * 6 + ["And then it was"])
    _, done = greedy(model, prompt, 16, "--raw", *args)
    assert 60 <= done["prompt_tokens"] <= 70 and done["generated"] == 16
    print("peak", done["peak_rss_bytes"] // MB, "MB, file", size // MB, "MB")
    assert done["peak_rss_bytes"] < size + 150 * MB


def test_predict_holds_weights_once():
    """Run as written, weights are packed as fp16; the pages of the package under them go back."""
    pkg, _ = converted("smollm2")
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(pkg) for f in files)
    call = scratch("memory", "call.npz")
    np.savez(call, **state_call([1], 0))
    told = smelt("predict", pkg, "--in", call, "--out", scratch("memory", "out"), "-v", "-t", "1").stderr
    peak = int(re.search(r"peak memory (\d+) MB", told)[1]) * MB  # its own word: a parent's size would count for the system's
    packed = 2 * 134.5 * MB
    print(f"peak {peak / MB:.0f} MB; package {size / MB:.0f} MB, its weights as fp16 {packed / MB:.0f} MB")
    assert peak < packed + 0.85 * size
