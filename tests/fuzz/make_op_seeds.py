# SPDX-License-Identifier: MIT
"""Seeds of single ops for the fuzzers of program text: corpus_miltext/op_NAME.mil, one small program an op, from the tables of
tests/e2e/test_mil_ops_*.py.

    SMELT=build/smelt build/oracle/bin/python tests/fuzz/make_op_seeds.py
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tools"), os.path.join(HERE, "..", "e2e")]
import mil_harness as h  # noqa: E402
import test_mil_ops_a as a  # noqa: E402
import test_mil_ops_b as b  # noqa: E402

LIMIT = 3500  # characters; larger ones teach a fuzzer little


def cases():
    for table in a.TABLES.values():
        yield from table.cases()
    for make in (b.window_cases, b.norm_cases, b.resize_cases, b.sample_cases, b.move_cases, b.nms_cases):
        yield from make()


def text_of(case):
    """The program of one case as text, or None."""
    for live in (case.live, False):
        with tempfile.TemporaryDirectory() as d:
            try:
                prog, _ = h.build_program([h.Form(case, live, "c")], case.opset)
                pkg = h.write_package(prog, case.opset, d)
            except Exception:  # noqa: BLE001  coremltools raises anything
                continue
            r = subprocess.run([h.SMELT, "inspect", "--graph", str(pkg)], capture_output=True, text=True)
            if r.returncode == 0 and len(r.stdout) < LIMIT and re.search(rf"= {case.op}\(|\b{case.op}\(", r.stdout):
                return r.stdout
    return None


def main():
    done, left = {}, set()
    for case in cases():
        if case.op in done:
            continue
        left.add(case.op)
        text = text_of(case)
        if text:
            done[case.op] = text
    for op, text in done.items():
        with open(os.path.join(HERE, "corpus_miltext", f"op_{op}.mil"), "w") as f:
            f.write(text)
    print(len(done), "seeds; no small program for", sorted(left - set(done)))


main()
