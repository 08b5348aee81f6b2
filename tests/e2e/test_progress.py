# SPDX-License-Identifier: MIT
"""Progress: a bar with rate and time left on a terminal, for work over a second, and nothing of it anywhere else; Ctrl-C
leaves no trace of the work."""
import os
import re
import resource
import subprocess

from pty_session import CTRL_C, Terminal
from smelt_cli import SMELT, make_model, model, smelt

BAR = rb"\r\x1b\[K(\w+)  (?:\[(#*)(\.*)\])? *(\d+)%  ([\d.]+)/([\d.]+) (\w+)  ([\d.]+) (\w+)/s  (\d+):(\d\d) left"
SLOW = ["-c", "128", "--quant", "lut8", "-t", "1"]  # ten seconds of one core


def test_bar_of_a_conversion(tmp_path):
    """It moves, it fits, and with Ctrl-C it is gone and so is what was written."""
    with Terminal("convert", model("smollm2"), tmp_path / "out.mlpackage", *SLOW, cols=72) as t:
        seen = []
        while len(seen) < 3:
            _, m = t.expect(BAR)
            what, full, dots, percent, done, total, unit, rate, rate_unit = m.groups()[:9]
            assert unit.endswith(b"B") and rate_unit.endswith(b"B") and float(done) <= float(total)
            assert abs(len(full) / len(full + dots) - int(percent) / 100) <= 1 / len(full + dots) + 0.01
            assert len(m[0]) - 4 < 72
            seen.append(int(percent))
        assert seen == sorted(seen)
        assert any(".smelt-tmp-" in name for name in os.listdir(tmp_path))  # it is being written
        t.type(CTRL_C)
        rc, shown = t.finish()
        assert rc == 130 and t.restored()
        assert t.all.endswith(b"\r\x1b[K") or t.all.rstrip().endswith(b"\x1b[K"), t.all[-200:]
    assert os.listdir(tmp_path) == []


def test_dry_run_on_a_terminal(tmp_path):
    with Terminal("convert", model("smollm2"), tmp_path / "out.mlpackage", "-c", "128", "--dry-run") as t:
        rc, shown = t.finish()
        assert rc == 0 and "nothing written" in shown and "transcoded" in shown
    assert os.listdir(tmp_path) == []


def test_no_bar_elsewhere(tmp_path):
    out, err = smelt("convert", model("smollm2"), tmp_path / "a.mlpackage", "-c", "128", "--quant", "int8", "-t", "1")
    assert "\r" not in err and "\x1b" not in err and b"\x1b" not in out
    with Terminal("convert", model("smollm2"), tmp_path / "b.mlpackage", *SLOW, "-q") as t:
        for _ in range(12):
            t.read(0.25)
        t.type(CTRL_C)
        assert t.finish()[0] == 130 and b"\x1b" not in t.all and b"%" not in t.all
    assert os.listdir(tmp_path) == ["a.mlpackage"]


def test_no_bar_on_a_plain_terminal(tmp_path):
    with Terminal("convert", model("smollm2"), tmp_path / "c.mlpackage", *SLOW, env={"TERM": "dumb"}) as t:
        for _ in range(10):
            t.read(0.25)
        t.type(CTRL_C)
        assert t.finish()[0] == 130 and b"\x1b" not in t.all and b"%" not in t.all
    assert os.listdir(tmp_path) == []


def test_limit_of_file_size(tmp_path):
    """A write that a limit stops is an error like a full disk, and nothing stays."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 22, 1 << 22))  # noqa: E731
    r = subprocess.run([SMELT, "convert", model("smollm2"), tmp_path / "d.mlpackage", "-c", "128"], capture_output=True,
                       stdin=subprocess.DEVNULL, preexec_fn=limit, text=True)
    assert r.returncode == 5 and "File too large" in r.stderr and os.listdir(tmp_path) == [], r.stderr


def test_bar_of_a_prompt(tmp_path):
    path = make_model(tmp_path / "m.gguf", "--ctx", "20000", "--layers", "4", "--width", "512", "--ff", "2048")
    (tmp_path / "p.txt").write_text("word " * 4000)
    with Terminal("run", path, "-f", tmp_path / "p.txt", "-c", "20000", "--backend", "ref", cols=100) as t:
        _, m = t.expect(BAR)
        assert m[1] == b"prompt" and m[7] == b"tokens" and int(m[6]) > 4000
        t.type(CTRL_C)
        assert t.finish()[0] == 130
    p = subprocess.run([SMELT, "run", path, "-p", "a", "-n", "2"], capture_output=True, stdin=subprocess.DEVNULL)
    assert p.returncode == 0 and b"\x1b" not in p.stderr and not re.search(rb"\d+%", p.stderr)
